# SPDX-License-Identifier: Apache-2.0
"""The points of a history in formats that other tools read.

bencher    Bencher Metric Format (bencher.dev/docs/reference/bencher-metric-format): the last run
github-bigger, github-smaller
           github-action-benchmark's customBiggerIsBetter and customSmallerIsBetter (its README): the last run
csv        every point with all that is stored of it
"""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence

from .show import title
from .store import Placed
from .tracks import Line

COLUMNS = ("series", "host", "allocator", "cell", "metric", "commit", "dirty", "at", "run_id", "reference",
           "reference_sha256", "library_sha256", "work", "estimate", "low", "high", "error", "n", "contaminated",
           "problem")  # fmt: skip


def _last(lines: Sequence[Line]) -> list[tuple[Line, Placed]]:
    """The tracks that reach to the last run, with their points of it."""
    with_points = [line for line in lines if line.placed]
    if not with_points:
        return []
    newest = max((line.placed[-1] for line in with_points), key=lambda p: (p.run.at, p.run.started_at)).run.commit
    return [(line, line.placed[-1]) for line in with_points if line.placed[-1].run.commit == newest]


def _value(logarithm: float | None) -> float | None:
    return None if logarithm is None else math.exp(logarithm)


def bencher(lines: Sequence[Line]) -> str:
    """{benchmark: {measure: {value, lower_value, upper_value}}}"""
    out: dict[str, dict[str, dict[str, float]]] = {}
    for line, placed in _last(lines):
        point = placed.point
        ends = {"value": _value(point.estimate), "lower_value": _value(point.low), "upper_value": _value(point.high)}
        name = f"{line.series.allocator}, {line.label}"
        out.setdefault(name, {})[line.series.metric] = {k: v for k, v in ends.items() if v is not None}
    return json.dumps(out, indent=2) + "\n"


def _github(lines: Sequence[Line], bigger: bool) -> str:
    out = []
    for line, placed in _last(lines):
        if line.metric.higher_is_better == bigger:
            point = placed.point
            unit = line.metric.unit or (f"of {line.reference}" if line.reference else "count")
            entry = {"name": title(line), "unit": unit, "value": _value(point.estimate)}
            entry["extra"] = f"series {line.series.key}, {point.n} rounds"
            if point.low is not None and point.high is not None:
                entry["range"] = f"{math.exp(point.low):.6g}..{math.exp(point.high):.6g}"
            out.append(entry)
    return json.dumps(out, indent=2) + "\n"


def as_csv(lines: Sequence[Line]) -> str:
    """All points, failed ones too; a failed one has no estimate."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in lines:
        series = line.series
        for placed in [*line.placed, *line.failures]:
            run, p = placed.run, placed.point
            of_run = [run.commit, int(run.dirty), run.at, run.run_id]
            of_point = [p.reference, p.reference_sha256, p.library_sha256, p.work, p.estimate, p.low, p.high, p.error]
            writer.writerow(
                [series.key, series.host, series.allocator, series.cell, series.metric]
                + [*of_run, *of_point, p.n, p.contaminated, p.problem]
            )
    return file.getvalue()


FORMATS: dict[str, Callable[[Sequence[Line]], str]] = {
    "csv": as_csv,
    "bencher": bencher,
    "github-bigger": lambda lines: _github(lines, True),
    "github-smaller": lambda lines: _github(lines, False),
}

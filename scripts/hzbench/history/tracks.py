# SPDX-License-Identifier: Apache-2.0
"""Points of a database as tracks, the stretches of a series whose points may be compared, and the changes in them with
the commits that made them."""

import math
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from .. import allocators, schema, select, text
from ..errors import InputError, printable
from . import changes
from .points import METRICS, Metric, Point, Run, Series, commit_of
from .store import Placed


@dataclass
class Line:
    """One track: a series relative to one build of the reference, on the same work. A new build of it, or other events
    of the workload, start another track; a run that measured both references is in both."""

    series: Series
    reference: str
    reference_sha256: str
    work: str
    label: str = ""
    placed: list[Placed] = field(default_factory=list)  # in the order of commits, those with an estimate
    failures: list[Placed] = field(default_factory=list)

    @property
    def metric(self) -> Metric:
        """What it is a series of."""
        return METRICS[self.series.metric]

    @property
    def track(self) -> changes.Track:
        """Estimates and errors for the search."""
        return changes.Track(
            np.array([p.point.estimate for p in self.placed], float),
            np.array([math.nan if p.point.error is None else p.point.error for p in self.placed], float),
            self.metric.exact,
        )

    def told(self, estimate: float) -> str:
        """A level as a reader sees it: 1.23, or 45.2 MiB."""
        value = math.exp(estimate)
        return f"{text.mebibytes(value)} MiB" if self.metric.unit == "B" else text.three(value)


@dataclass(frozen=True)
class Found:
    """A change, whom it concerns and between which runs it lies."""

    line: Line
    change: changes.Change
    before: Run  # last one that surely has the old level
    after: Run  # first one that surely has the new one

    @property
    def share(self) -> float:
        """-0.06: 6 % less."""
        return math.expm1(self.change.step)

    @property
    def is_worse(self) -> bool:
        """Slower or larger."""
        return (self.change.step < 0) == self.line.metric.higher_is_better

    @property
    def word(self) -> str:
        """worse or better, suspected or not."""
        return ("suspected " if self.change.suspected else "") + ("worse" if self.is_worse else "better")

    @property
    def interval(self) -> tuple[float, float]:
        """Of `share`; infinite where a level of one point follows one of one point."""
        low, high = (math.expm1(min(v, 50.0)) for v in (self.change.low, self.change.high))
        return low, high

    @property
    def system_changed(self) -> bool:
        """Whether the kernel or the C library are known to be others as well."""
        old, new = self.before.system, self.after.system
        return bool(old and new) and old != new


def lines_of(placed: Iterable[Placed]) -> list[Line]:
    """All tracks, in the order of all tables."""
    lines: dict[tuple[str, str, str, str], Line] = {}
    for p in placed:
        point = p.point
        if point.series.metric not in METRICS:
            continue
        key = (point.series.key, point.reference, point.reference_sha256, point.work)
        line = lines.setdefault(key, Line(point.series, *key[1:]))
        (line.failures if point.estimate is None else line.placed).append(p)
    metrics = list(METRICS)
    for metric in metrics:  # a cell of counts has few parameters; those that runs have besides tell no runs apart
        mine = [line for line in lines.values() if line.series.metric == metric]
        labels = text.cell_labels(sorted({line.series.values for line in mine}, key=schema.cell_order))
        for line in mine:
            line.label = labels[line.series.values]
    return sorted(
        lines.values(),
        key=lambda line: (line.series.host, schema.cell_order(line.series.values),
                          allocators.order(line.series.allocator), metrics.index(line.series.metric), line.reference),
    )  # fmt: skip


def chosen(
    lines: Sequence[Line], keep: select.Filter | None, metrics: Sequence[str] | None, host: str | None
) -> list[Line]:
    """Those that --filter, --metric and --host let through."""
    for metric in metrics or ():
        if metric not in METRICS:
            raise InputError(f"--metric={printable(metric, 40)}: unknown; one of {', '.join(METRICS)}")
    hosts = sorted({line.series.host for line in lines})
    if host is not None and host not in hosts:
        raise InputError(f"--host={printable(host, 60)}: no run of it; hosts are {', '.join(hosts)}")
    kept = [
        line
        for line in lines
        if (not metrics or line.series.metric in metrics) and (host is None or line.series.host == host)
    ]
    if keep is None or not kept:
        return kept
    rows = [
        {"name": line.series.allocator, "file": "", "round": 0, "status": "ok", "contaminated": 0, "at": at,
         **dict(zip(schema.CELL, line.series.values))}
        for at, line in enumerate(kept)
    ]  # fmt: skip
    return [kept[at] for at in keep.rows(pd.DataFrame(rows, dtype=object))["at"]]


def find(lines: Sequence[Line], q: float = changes.Q, since: str = "", smallest: float | None = None) -> list[Found]:
    """The changes in all of `lines`, worst first, suspected ones last: those whose new level began after `since` and
    that are not smaller than what is worth telling of their metric, or than `smallest`."""
    out = []
    for change in changes.find([line.track for line in lines], q):
        line = lines[change.track]
        before, after = line.placed[change.first - 1].run, line.placed[change.last].run
        found = Found(line, change, before, after)
        least = line.metric.least if smallest is None else smallest
        if abs(found.share) >= least and after.at > since:
            out.append(found)
    return sorted(out, key=lambda f: (f.change.suspected, not f.is_worse, -abs(f.change.step), f.line.series.key))


def moment(text_: str, repository: str | Path, runs: Iterable[Run]) -> str:
    """Time of a revision of the repository, of a commit in the history, or a date itself."""
    known = commit_of(repository, text_)
    if known:
        return known[1]
    times = [run.at for run in runs if len(text_) >= 4 and run.commit.startswith(text_)]
    if times:
        return max(times)
    if len(text_) >= 10 and text_[:4].isdigit() and text_[4] == text_[7] == "-":
        return text_
    raise InputError(
        f"--since={printable(text_, 60)}: no revision of {repository} (--repo=DIR), no commit of this history and no"
        " date such as 2026-01-31"
    )


def commits_between(repository: str | Path, before: Run, after: Run) -> list[tuple[str, str]]:
    """(commit, subject) after `before` up to `after`, the newest first; empty where the repository lacks them."""
    command = ["git", "-C", str(repository), "log", "--format=%H%x00%s", f"{before.commit}..{after.commit}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return []
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return [(line.split("\0")[0], line.split("\0")[1]) for line in lines]


def one(lines: Sequence[Line], wanted: str) -> list[Line]:
    """The tracks of the series that `wanted` names: the beginning of its key, or text that is only in its label."""
    by_key = [line for line in lines if line.series.key.startswith(wanted)]
    found = by_key or [
        line for line in lines if wanted in f"{line.metric.title} of {line.series.allocator}, {line.label}"
    ]
    names = list(dict.fromkeys(line.series.key for line in found))
    if len(names) != 1:
        what = "no series" if not names else f"{len(names)} series ({', '.join(names[:4])}, ...)"
        raise InputError(f"'{printable(wanted, 60)}' names {what}; scripts/history list shows their keys")
    return found


def of_point(point: Point) -> str:
    """1.23 [1.20, 1.26], as a ratio or in its unit."""
    if point.estimate is None:
        return point.problem
    line = Line(point.series, point.reference, point.reference_sha256, point.work)
    if point.low is None or point.high is None:
        return line.told(point.estimate)
    return f"{line.told(point.estimate)} [{line.told(point.low)}, {line.told(point.high)}]"

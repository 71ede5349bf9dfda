# SPDX-License-Identifier: Apache-2.0
"""The points of a history in formats that other tools read.

bencher    Bencher Metric Format (bencher.dev/docs/reference/bencher-metric-format): the last run
github-bigger, github-smaller
           github-action-benchmark's customBiggerIsBetter and customSmallerIsBetter (its README): the last run
csv        every point with all that is stored of it

Into a folder, --out=DIR, because these tools want several files:

asv        results_dir of airspeed velocity ("Benchmark suite layout and file formats" of its developer docs): a file a
           host and commit, benchmarks.json and a machine.json a host. For asv more is always worse, so what is better
           when it is larger is told as its reciprocal; its intervals are of 99 %, ours of 95 % are widened to that
otava      Apache Otava ("Importing results from CSV" of its docs): otava.yaml and a CSV a track, with `direction`
"""

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from scipy.stats import norm

from .. import files, stats
from ..errors import InputError, printable
from .points import Point, Run, Series, commit_of
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


def is_export(path: str) -> bool:
    """Whether a CSV holds exported points rather than samples."""
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            return file.readline().strip() == ",".join(COLUMNS)
    except OSError:
        return False


def _given(value: str) -> float | None:
    return float(value) if value else None


def read_csv(path: str, repository: str | Path) -> list[tuple[Run, list[Point]]]:
    """The runs and points of what `as_csv` wrote. Their result files stay elsewhere: when a run began and by which
    command is not known; commits of one second stay in the order of the file."""
    rows: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(io.StringIO(files.read_text(path, "exported history"))):
        rows.setdefault(row["run_id"], []).append(row)
    out = []
    try:
        for position, (run_id, mine) in enumerate(rows.items()):
            first = mine[0]
            began = first["at"].replace("Z", f".{position:06}Z")
            known = commit_of(repository, first["commit"])
            digest = hashlib.sha256(json.dumps(mine).encode()).hexdigest()
            run = Run(run_id, first["host"], first["commit"], first["dirty"] == "1", known[2] if known else "",
                      first["at"], began, path, digest, "", "")  # fmt: skip
            found = [
                Point(Series(row["host"], row["allocator"], row["cell"], row["metric"]), row["reference"],
                      row["reference_sha256"], row["library_sha256"], row["work"], _given(row["estimate"]),
                      _given(row["low"]), _given(row["high"]), _given(row["error"]), int(row["n"]),
                      int(row["contaminated"]), row["problem"])
                for row in mine
            ]  # fmt: skip
            for row, point in zip(mine, found):
                if point.series.key != row["series"] or not isinstance(json.loads(row["cell"]), dict):
                    raise ValueError(f"series {row['series']} is not that of its host, allocator, cell and metric")
            out.append((run, found))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: damaged: {printable(error, 120)}; export it again") from error
    return out


ASV_COLUMNS = ("result", "params", "version", "started_at", "duration", "stats_ci_99_a", "stats_ci_99_b")
_ASV_ENVIRONMENT = "hzbench"


def _javascript_time(at: str) -> int:
    """Milliseconds since 1970."""
    when = datetime.fromisoformat(at.replace("Z", "+00:00"))
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return round(when.timestamp() * 1000)


def _version(line: Line) -> str:
    """Results of another version are not compared by asv: of another build of the reference, or of other work."""
    return "-".join(part for part in (line.reference, line.reference_sha256[:12], line.work) if part) or "1"


def _asv_row(line: Line, placed: Placed) -> list[Any]:
    point, sign = placed.point, -1 if line.metric.higher_is_better else 1
    ends: list[list[float | None]] = [[None], [None]]
    if point.estimate is not None and point.low is not None and point.high is not None:
        widening = float(norm.ppf(0.995) / norm.ppf((1 + stats.LEVEL) / 2))
        ends = [[math.exp(sign * (point.estimate + (end - point.estimate) * widening))]
                for end in sorted((point.low, point.high), key=lambda end: sign * end)]  # fmt: skip
    value = None if point.estimate is None else math.exp(sign * point.estimate)
    return [[value], [], _version(line), _javascript_time(placed.run.started_at), None, *ends]


def asv(lines: Sequence[Line]) -> dict[str, str]:
    """{file: text}. A series of several tracks has the version of its last one."""
    benchmarks: dict[str, Any] = {}
    files: dict[tuple[str, str], dict[str, Any]] = {}
    machines = {}
    for line in sorted(lines, key=lambda one: max(p.run.at for p in [*one.placed, *one.failures])):
        name = f"{line.series.metric}.{line.series.allocator}.{line.series.key}"
        reciprocal = line.metric.higher_is_better
        unit = line.metric.unit or (f"of {line.reference}, smaller is better" if line.reference else "instructions")
        benchmarks[name] = {
            "name": name, "pretty_name": ("reciprocal " if reciprocal else "") + title(line), "type": "track",
            "unit": unit, "params": [], "param_names": [], "version": _version(line), "timeout": 60.0,
            "code": f"scripts/history show {line.series.key}",
        }  # fmt: skip
        for placed in [*line.failures, *line.placed]:
            run = placed.run
            machines[run.host] = {"machine": run.host, "os": run.system, "version": 1}
            file = files.setdefault((run.host, run.commit), {
                "version": 2, "commit_hash": run.commit, "env_name": _ASV_ENVIRONMENT, "date": _javascript_time(run.at),
                "params": {"machine": run.host, "os": run.system}, "python": "", "requirements": {}, "env_vars": {},
                "durations": {}, "result_columns": list(ASV_COLUMNS), "results": {},
            })  # fmt: skip
            file["results"][name] = _asv_row(line, placed)
    out: dict[str, Any] = {"benchmarks.json": {**benchmarks, "version": 2}}
    out |= {f"{host}/machine.json": machine for host, machine in machines.items()}
    out |= {f"{host}/{commit[:8]}-{_ASV_ENVIRONMENT}.json": file for (host, commit), file in files.items()}
    return {name: json.dumps(content, indent=1) + "\n" for name, content in out.items()}


def otava(lines: Sequence[Line]) -> dict[str, str]:
    """{file: text}. One track a CSV, so that no row lacks a value; a metric has its direction."""
    out = {}
    tests = {}
    for number, line in enumerate(line for line in lines if line.placed):
        name = f"{line.series.key}-{number}"
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["time", "commit", "run", line.series.metric])
        for placed in line.placed:
            run = placed.run
            when = datetime.fromtimestamp(_javascript_time(run.at) / 1000, timezone.utc)
            writer.writerow([when.isoformat(timespec="seconds"), run.commit, run.run_id, _value(placed.point.estimate)])
        out[f"{name}.csv"] = file.getvalue()
        metric = {"column": line.series.metric, "direction": 1 if line.metric.higher_is_better else -1}
        tests[f"{name}: {title(line)} ({line.series.host})"] = {
            "type": "csv", "file": f"{name}.csv", "time_column": "time", "attributes": ["commit", "run"],
            "metrics": {line.series.metric: metric}, "csv_options": {"delimiter": ",", "quote_char": '"'},
        }  # fmt: skip
    # JSON is YAML.
    return {**out, "otava.yaml": json.dumps({"tests": tests}, indent=1) + "\n"}


FOLDERS: dict[str, Callable[[Sequence[Line]], dict[str, str]]] = {"asv": asv, "otava": otava}


def save(files: dict[str, str], folder: str) -> None:
    """Writes the files below `folder`."""
    for name, content in files.items():
        path = Path(folder) / name
        if not path.resolve().is_relative_to(Path(folder).resolve()):
            raise InputError(f"{name}: a host or commit of the history is no name of a file; --host chooses one")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path}: cannot write: {error.strerror}") from error


FORMATS: dict[str, Callable[[Sequence[Line]], str]] = {
    "csv": as_csv,
    "bencher": bencher,
    "github-bigger": lambda lines: _github(lines, True),
    "github-smaller": lambda lines: _github(lines, False),
}

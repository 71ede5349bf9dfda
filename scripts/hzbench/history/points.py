# SPDX-License-Identifier: Apache-2.0
"""From a result file to points of series: one estimate with its interval an allocator, cell and metric.

Throughput is the paired log-ratio to a reference allocator of the same run: what the machine does to both cancels.
Memory and counts hardly depend on the machine's load and are logarithms of what was measured.
"""

import hashlib
import json
import math
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from .. import allocators, compare, files, load, model, schema, stats
from ..errors import InputError, printable


@dataclass(frozen=True)
class Metric:
    """A quantity that has a history."""

    name: str  # a column of result files, or `instructions`
    title: str
    unit: str  # "" for a ratio
    higher_is_better: bool = False
    paired: bool = False  # told as the ratio to the reference
    least: float = 0.01  # smallest change that is told, as a share; a page of memory more is no news
    exact: bool = False  # the same every time: one point is proof


METRICS = {
    m.name: m
    for m in (
        Metric("throughput_ops_s", "throughput", "", True, True, 0.005),
        Metric("rss_peak", "peak RSS", "B"),
        Metric("rss_mean", "mean RSS", "B"),
        Metric("rss_joined", "RSS after the join", "B"),
        Metric("rss_100ms", "RSS after 100 ms", "B"),
        Metric("rss_1s", "RSS after 1 s", "B"),
        Metric("rss_purged", "RSS after purge", "B"),
        Metric("instructions", "instructions a malloc and free", "", least=0.001, exact=True),
    )
}
_AFTER = tuple(column for column, _ in model.AFTER)


@dataclass(frozen=True)
class Series:
    """What points are comparable in: one allocator in one cell on one host, one metric of it."""

    host: str
    allocator: str
    cell: str  # JSON of the columns that are set
    metric: str

    @property
    def key(self) -> str:
        """Twelve hex digits that name the series everywhere."""
        return hashlib.sha256("\0".join((self.host, self.allocator, self.cell, self.metric)).encode()).hexdigest()[:12]

    @property
    def values(self) -> schema.Cell:
        """The cell as the rest of the scripts has it."""
        known = json.loads(self.cell)
        return tuple(known.get(column) for column in schema.CELL)


@dataclass(frozen=True)
class Point:
    """One estimate. `low`, `high` and `error` are None where too few rounds give no interval."""

    series: Series
    reference: str  # allocator; "" for what is told as it is
    reference_sha256: str
    library_sha256: str
    work: str  # what was done in the first round: seed and hash of its events
    estimate: float | None  # logarithm; None when the cell failed
    low: float | None
    high: float | None
    error: float | None  # standard error, from the interval
    n: int
    contaminated: int  # pairs with a disturbed sample on either side
    problem: str = ""


@dataclass(frozen=True)
class Run:
    """What all points of one file share."""

    run_id: str
    host: str
    commit: str  # 40 digits, or what the file says
    dirty: bool
    subject: str
    at: str  # where the run stands in its series: time of the commit, or of the run when that is unknown; UTC
    started_at: str
    source: str  # path as given
    sha256: str  # of the file: more rounds make another
    command: str
    system: str  # kernel and C library


# Parameters that came after the first schema: a row without one is the work of its usual value. Those of the first
# schema have no such value: that of `touch` is another in each workload.
_USUAL = {p["name"]: schema.usual(p) for p in schema.PARAMETERS if p["name"] not in schema.SCHEMA_1} | {"pin": "none"}
_UNSET = (None, "", 0)  # 0 is what the runner writes for a workload without the parameter


def cell_text(cell: schema.Cell) -> str:
    """A cell as it is stored. Columns that are added later do not change it, nor do their usual values, so that files
    from before them stay in the series."""
    values = {c: v.item() if isinstance(v, np.generic) else v for c, v in zip(schema.CELL, cell)}
    told = {c: v for c, v in values.items() if v not in _UNSET and v != _USUAL.get(c)}
    return json.dumps(told, sort_keys=True)


def series_name(allocator: str, among: Sequence[str]) -> str:
    """What an allocator is called in a series. A path is told by its library, because each commit's build lies in
    another folder: '/tmp/3f2a/libhz4.so' is hz4, unless another one of the run has that name."""
    if "/" not in allocator:
        return allocator
    short = _of_library(allocator)
    return allocator if short in among or [_of_library(a) for a in among].count(short) > 1 else short


def _of_library(allocator: str) -> str:
    path, brace, options = allocator.partition("{")
    return Path(path).name.removeprefix("lib").split(".so")[0] + brace + options


def commit_of(repository: str | Path, revision: str) -> tuple[str, str, str] | None:
    """(commit, its time in UTC, subject) or None when the repository does not know it."""
    if not revision or revision.startswith("-"):
        return None
    command = ["git", "-C", str(repository), "show", "-s", "--date=format-local:%Y-%m-%dT%H:%M:%SZ",
               "--format=%H%x00%cd%x00%s", f"{revision}^{{commit}}"]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_utc())
    except OSError:
        return None
    parts = done.stdout.strip("\n").split("\0")
    return (parts[0], parts[1], parts[2]) if done.returncode == 0 and len(parts) == 3 else None


def _utc() -> dict[str, str]:
    return {**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8"}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _spread(logs: stats.Floats) -> float | None:
    """Standard error of the mean, widened as a t interval is, for rounds too few for a bootstrap."""
    if len(logs) < 2:
        return None
    widening = t.ppf((1 + stats.LEVEL) / 2, len(logs) - 1) / norm.ppf((1 + stats.LEVEL) / 2)
    return float(np.std(logs, ddof=1) / math.sqrt(len(logs)) * widening)


def _estimate(logs: stats.Floats) -> tuple[float, float | None, float | None, float | None]:
    """(estimate, low, high, standard error) of logarithms."""
    low, high = (_finite(v) for v in stats.bootstrap_interval(logs))
    if low is None or high is None:
        return stats.hodges_lehmann(logs), None, None, _spread(logs)
    return stats.hodges_lehmann(logs), low, high, (high - low) / 2 / float(norm.ppf((1 + stats.LEVEL) / 2))


def _sha256(rows: pd.DataFrame) -> str:
    known = [s for s in rows["library_sha256"] if s]
    return known[0] if known else ""


def _work(rows: pd.DataFrame) -> str:
    first = rows.loc[rows["round"].idxmin()]
    return f"{first['seed']}:{first['stream_hash']}" if first["stream_hash"] else ""


def host_name(run: load.Run) -> str:
    """The host's id, as results/ names it."""
    machine = run.provenance.get("machine")
    name = machine.get("host_id") if isinstance(machine, dict) else None
    return str(name) if name else ""


def digest(path: str | Path) -> str:
    """SHA-256 of a file of text."""
    return hashlib.sha256(files.read_text(path).encode()).hexdigest()


def run_of(results: load.Results, repository: str | Path, commit: str | None, host: str | None) -> Run:
    """What the run's provenance says of it; `commit` and `host` say otherwise."""
    run = results.runs[0]
    record = run.provenance
    build = record.get("build") if isinstance(record.get("build"), dict) else {}
    named = commit or str((build or {}).get("commit") or "")
    if not named:
        raise InputError(f"{run.path}: no commit in its run.json; name it: --commit=REVISION")
    host = host or host_name(run)
    if not host:
        raise InputError(f"{run.path}: no machine in its run.json; name the host: --host=NAME")
    known = commit_of(repository, named)
    if commit and known is None:
        raise InputError(f"--commit={printable(commit, 60)}: {repository} has no such commit (--repo=DIR)")
    started = min(s for s in results.data["started_at"])
    sha, at, subject = known or (named, started, "")
    machine = record.get("machine") if isinstance(record.get("machine"), dict) else {}
    system = ", ".join(str(machine[k]) for k in ("kernel", "libc") if machine and machine.get(k))
    dirty = bool((build or {}).get("dirty")) and not commit
    command = str(record.get("command", ""))
    return Run(run.run_id, host, sha, dirty, subject, at, started, str(run.path), digest(run.path), command, system)


def pick_references(results: load.Results, wanted: Sequence[str]) -> list[str]:
    """The allocators that throughput is told relative to; the first one that is neither ours nor null by default."""
    if wanted:
        for name in wanted:
            if name not in results.allocators:
                raise InputError(
                    f"{results.runs[0].path}: reference '{printable(name, 60)}' was not measured; the file has"
                    f" {', '.join(results.allocators)} (--reference=NAME)"
                )
        return list(wanted)
    for name in compare.CONTROLS:
        if name in results.allocators:
            return [name]
    raise InputError(
        f"{results.runs[0].path}: none of {', '.join(compare.CONTROLS)} was measured; name what throughput is told"
        f" relative to: --reference=NAME, one of {', '.join(results.allocators)}"
    )


def _of_cell(
    results: load.Results, host: str, cell: schema.Cell, references: Sequence[str], rows: pd.DataFrame
) -> Iterator[Point]:
    stored = cell_text(cell)
    failures = {name: model.failure_text(mine) for name, mine in rows.groupby("name")}
    for name in results.allocators:
        mine = rows[rows["name"] == name]
        if not len(mine) or allocators.base_name(name) == allocators.NULL:
            continue
        own, work, bad = _sha256(mine), _work(mine), int(model.is_disturbed(mine).sum())
        for reference in references:
            if name == reference:
                continue
            base = rows[rows["name"] == reference]
            series = Series(host, series_name(name, results.allocators), stored, "throughput_ops_s")
            problem = failures[name] or (failures.get(reference, "no sample") and f"{reference}: no good samples")
            if problem:
                yield Point(series, reference, _sha256(base), own, work, None, None, None, None, 0, bad, problem)
                continue
            new, old, disturbed = model.paired(mine, base, "throughput_ops_s")
            if len(new):
                found = _estimate(np.log(new) - np.log(old))
                yield Point(series, reference, _sha256(base), own, work, *found, len(new), int(disturbed.sum()))
        if failures[name]:
            continue
        after = next((c for c in _AFTER if c in METRICS and mine[c].notna().all()), None)
        for metric in METRICS.values():
            if metric.paired or metric.exact or (metric.name in _AFTER and metric.name != after):
                continue
            values = mine.loc[mine[metric.name] > 0, metric.name].to_numpy(float)
            if len(values) == len(mine):
                series = Series(host, series_name(name, results.allocators), stored, metric.name)
                yield Point(series, "", "", own, work, *_estimate(np.log(values)), len(values), bad)


def of_results(results: load.Results, host: str, references: Sequence[str]) -> list[Point]:
    """The points of one file."""
    out = []
    for cell, rows in results.data.groupby("cell", sort=False):
        out += list(_of_cell(results, host, cell, references, rows))
    return out


def of_instructions(path: str | Path, host: str) -> list[Point]:
    """The points of a file of scripts/instructions --json. They are of a compiler, not of a machine."""
    try:
        record = json.loads(files.read_text(path, "instruction counts"))
        out = []
        for allocator, patterns in record.items():
            for pattern, sizes in patterns.items():
                for size, count in sizes.items():
                    threads = 2 if pattern == "remote" else 1
                    cell = {"workload": pattern, "min_bytes": int(size), "max_bytes": int(size), "threads": threads}
                    cell |= {"load": "dlopen", "platform": "linux"}
                    name = series_name(allocator, list(record))
                    series = Series(host, name, json.dumps(cell, sort_keys=True), "instructions")
                    value = math.log(float(count["pair"]))
                    out.append(Point(series, "", "", "", "", value, value, value, 0.0, 1, 0))
        return out
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a file of scripts/instructions --json: {error}") from error

# SPDX-License-Identifier: Apache-2.0
"""BASE against NEW, cell by cell: has it become faster or slower, larger or smaller?

A side is a result file, or one allocator of it (FILE.csv:ALLOCATOR). Two allocators of one file are paired by round, as
in a table. Two files were measured at different times, so rounds cannot be paired and the machine may have changed in
between: an allocator whose library is the same in both (the control) shows by how much, and is divided out by round.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from . import allocators, errors, harness, load, model, schema, select, stats, text

# What a change of ours does not touch; the first one that both files have in the same build.
CONTROLS = allocators.named(allocators.LIBC) + allocators.named(allocators.PEER)

# The control's samples in one cell of BASE and of NEW.
Controls: TypeAlias = tuple[pd.DataFrame, pd.DataFrame] | tuple[None, None]

_NOTHING = np.empty(0)


@dataclass(frozen=True)
class Side:
    """One argument of compare or gate."""

    text: str
    path: str
    name: str | None  # None: every allocator of the file


@dataclass
class Line:
    """One allocator in one cell. Samples of NEW and BASE are of equal length and order when they are paired."""

    cell: schema.Cell
    name: str
    label: str
    two_names: bool = False  # BASE and NEW are two allocators, `name` is "BASE's -> NEW's"
    problem: str = ""  # why there is nothing to compare; "" when there is
    new_failed: bool = False  # BASE had good samples and NEW does not: a regression, whatever its speed
    base: float = math.nan  # median ops/s
    new: float = math.nan
    speed: stats.Comparison | None = None
    speed_q: float = math.nan
    verdict: str = ""
    speed_logs: tuple[stats.Floats, stats.Floats] = (
        _NOTHING,
        _NOTHING,
    )  # (new, base) logarithms that `speed` was made of; gate tests them against its limit
    quiet: stats.Comparison | None = None  # speed without the disturbed samples, when there are any
    disturbed: int = 0
    base_rss: float = math.nan  # median peak RSS, bytes
    new_rss: float = math.nan
    memory: stats.Comparison | None = None
    memory_q: float = math.nan
    memory_verdict: str = ""
    samples: tuple[pd.DataFrame, ...] = ()  # (base, new) rows, for formats that print every sample

    @property
    def title(self) -> str:
        return f"{self.name}, {self.label}"


@dataclass
class Difference:
    base: str  # the arguments as given
    new: str
    margin: float
    paired: bool
    control: str = ""  # "" when there is none
    drift: list[tuple[str, stats.Comparison]] = field(
        default_factory=list
    )  # (cell label, Comparison) of the control, NEW against BASE
    lines: list[Line] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        bound = [f"Harness-bound, so that ratios of speed are bounds and never 'same': {'; '.join(self.bound)}."]
        return self._timing_notes() + (bound if self.bound else [])

    @property
    def bound(self) -> list[str]:
        """Labels of the cells in which most of the fastest allocator's time is the harness's."""
        return list(dict.fromkeys(line.label for line in self.lines if line.speed and line.speed.is_bound))

    def _timing_notes(self) -> list[str]:
        if self.paired:
            return ["Both sides are of one run: ratios are paired by round."]
        out = ["The files were measured at different times, so rounds cannot be paired."]
        if self.control:
            moved = ", ".join(f"{label} {text.three(c.ratio)}" for label, c in self.drift[:4])
            more = f" and {len(self.drift) - 4} more" if len(self.drift) > 4 else ""
            out.append(
                f"{self.control} is the same library in both; what it moved by ({moved}{more}) is divided out of the"
                " throughput ratios, round by round."
            )
        else:
            out.append(
                "No allocator is the same library in both: drift of the machine between them lies outside the interval."
            )
        return out


def parse_side(argument: str) -> Side:
    """'run.csv' or 'run.csv:hz5'; a file whose name holds a colon wins."""
    path, colon, name = argument.rpartition(":")
    if not colon or Path(argument).exists() or not Path(path).exists():
        # run.csv:./old/libx.so:y has its colon further left
        for at in [i for i, c in enumerate(argument) if c == ":"]:
            if Path(argument[:at]).is_file() and not Path(argument).exists():
                return Side(argument, argument[:at], argument[at + 1 :])
        return Side(argument, argument, None)
    return Side(argument, path, name)


def _rows_of(results: load.Results, side: Side) -> pd.DataFrame:
    data = results.data
    if side.name is None:
        return data
    if side.name not in results.allocators:
        raise errors.InputError(
            f"{side.path} has no allocator '{errors.printable(side.name, 60)}'; it has {', '.join(results.allocators)}"
        )
    return data[data["name"] == side.name]


def _refuse(base: load.Results, new: load.Results, base_path: str, new_path: str) -> None:
    """Two files may be compared when machine, schema, way of loading and work are the same."""
    load.same_host(base.runs[0], new.runs[0])
    for column, what in (("schema", "schema"), ("load", "load mode"), ("platform", "platform")):
        one, other = ({str(v) for v in r.data[column]} for r in (base, new))
        if one != other:
            raise errors.InputError(
                f"{new_path}: {what} {' and '.join(sorted(other))}, but {base_path} has {' and '.join(sorted(one))};"
                " measure both in the same way"
            )
    known: dict[tuple[schema.Cell, str], str] = {}  # (cell, seed): stream
    for path, results in ((base_path, base), (new_path, new)):
        ran = results.data[(results.data["status"] == "ok") & (results.data["stream_hash"] != "")]
        for cell, seed, stream in set(zip(ran["cell"], ran["seed"], ran["stream_hash"])):
            if known.setdefault((cell, seed), stream) != stream:
                title = text.cell_title(text.lookup(cell))
                raise errors.InputError(
                    f"{path}: {title}: other work (stream {stream}) than in {base_path} ({known[(cell, seed)]});"
                    " the workload has changed, so speeds cannot be compared"
                )


def _control(base: load.Results, new: load.Results, skip: Collection[str]) -> str:
    """Name of an allocator with one and the same library in both files, or ''."""
    for name in CONTROLS:
        builds = [set(r.data.loc[r.data["name"] == name, "library_sha256"]) for r in (base, new)]
        if name not in skip and builds[0] == builds[1] and len(builds[0]) == 1 and builds[0] != {""}:
            return name
    return ""


def _logs(rows: pd.DataFrame, control: pd.DataFrame | None, column: str) -> stats.Floats:
    """Log of `column` a round, less the control's in the same round; rounds without a control are left out."""
    rows = rows[rows[column] > 0]
    values = np.log(rows.set_index("block")[column])
    if control is not None:
        values = (values - np.log(control[control[column] > 0].set_index("block")[column])).dropna()
    return values.to_numpy(float)


def _compare(line: Line, base: pd.DataFrame, new: pd.DataFrame, paired: bool, controls: Controls, bound: bool) -> None:
    _compare_samples(line, base, new, paired, controls)
    line.speed, line.quiet = (harness.bounded(c, bound) for c in (line.speed, line.quiet))


def _compare_samples(line: Line, base: pd.DataFrame, new: pd.DataFrame, paired: bool, controls: Controls) -> None:
    line.base, line.new = base["throughput_ops_s"].median(), new["throughput_ops_s"].median()
    line.base_rss, line.new_rss = (r.loc[r["rss_peak"] > 0, "rss_peak"].median() for r in (base, new))
    if paired:
        speeds, olds, disturbed = model.paired(new, base, "throughput_ops_s")
        line.speed_logs = (np.log(speeds), np.log(olds))
        line.speed = stats.compare_paired(speeds, olds)
        line.disturbed = int(disturbed.sum())
        if line.disturbed:
            line.quiet = stats.compare_paired(speeds[~disturbed], olds[~disturbed])
        line.memory = stats.compare_paired(*model.paired(new, base, "rss_peak")[:2])
        return
    old_control, new_control = controls
    line.speed_logs = (_logs(new, new_control, "throughput_ops_s"), _logs(base, old_control, "throughput_ops_s"))
    line.speed = stats.compare_unpaired(np.exp(line.speed_logs[0]), np.exp(line.speed_logs[1]))
    quiet = [rows[~model.is_disturbed(rows)] for rows in (new, base)]
    line.disturbed = len(new) + len(base) - sum(map(len, quiet))
    if line.disturbed:
        undisturbed = zip(quiet, (new_control, old_control))
        speeds, olds = (np.exp(_logs(r, c, "throughput_ops_s")) for r, c in undisturbed)
        line.quiet = stats.compare_unpaired(speeds, olds)
    peaks, old_peaks = (np.exp(_logs(r, None, "rss_peak")) for r in (new, base))
    line.memory = stats.compare_unpaired(peaks, old_peaks)


def _line(
    cell: schema.Cell,
    name: str,
    label: str,
    base: pd.DataFrame,
    new: pd.DataFrame,
    paired: bool,
    controls: Controls,
    bound: bool,
) -> Line:
    line = Line(cell, name, label, samples=(base, new))
    base_problem, new_problem = model.failure_text(base), model.failure_text(new)
    if not len(base) or not len(new):
        line.problem = "only in NEW" if not len(base) else "not in NEW"
    elif base_problem or new_problem:
        line.problem = "; ".join(
            f"{which}: {problem}" for which, problem in (("BASE", base_problem), ("NEW", new_problem)) if problem
        )
        line.new_failed = bool(new_problem) and not base_problem
    else:
        _compare(line, base, new, paired, controls, bound)
        if line.speed is None:
            line.problem = "no round with a good sample on both sides"
    return line


def _good(rows: pd.DataFrame, cell: schema.Cell, name: str) -> pd.DataFrame | None:
    """The control's samples in a cell, None when there are none or one failed."""
    mine = rows[(rows["cell"] == cell) & (rows["name"] == name)]
    return mine if len(mine) and not model.failure_text(mine) else None


def _sides(
    base_side: Side, new_side: Side, keep: select.Filter | None
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[load.Results, ...]]:
    """(rows of BASE, rows of NEW, both Results, or one when it is one file)"""
    if Path(base_side.path).resolve() == Path(new_side.path).resolve():
        if base_side.name is None or new_side.name is None or base_side.name == new_side.name:
            raise errors.InputError(
                f"{base_side.text} and {new_side.text} are the same; give two files, or two allocators of one:"
                f" {base_side.path}:NAME {base_side.path}:OTHER"
            )
        results = load.load([base_side.path])
        return _kept(_rows_of(results, base_side), keep), _kept(_rows_of(results, new_side), keep), (results,)
    base, new = load.load([base_side.path]), load.load([new_side.path])
    if base.runs[0].run_id == new.runs[0].run_id:
        raise errors.InputError(f"{base_side.path} and {new_side.path} are the same run; give two")
    _refuse(base, new, base_side.path, new_side.path)
    # The control stays whole: it is not compared, it tells what the machine did.
    return _kept(_rows_of(base, base_side), keep), _kept(_rows_of(new, new_side), keep), (base, new)


def _kept(rows: pd.DataFrame, keep: select.Filter | None) -> pd.DataFrame:
    return rows if keep is None else keep.rows(rows)


def together(arguments: Sequence[str | Path], keep: select.Filter | None) -> tuple[pd.DataFrame, str]:
    """The samples of all sides in one frame, and the allocator that is first in the first of them."""
    sides = [parse_side(str(argument)) for argument in arguments]
    loaded = {path: load.load([path]) for path in dict.fromkeys(side.path for side in sides)}
    first = sides[0].path
    for path, results in loaded.items():
        if path != first:
            _refuse(loaded[first], results, first, path)
    rows = pd.concat([_rows_of(loaded[side.path], side) for side in sides])
    rows = rows[~rows.index.duplicated() | ~rows.duplicated(["file", "sample"])].reset_index(drop=True)
    return _kept(rows, keep), sides[0].name or model.pick_baseline(loaded[first])


def build(
    base_argument: str | Path,
    new_argument: str | Path,
    margin: float = stats.MARGIN,
    keep: select.Filter | None = None,
) -> Difference:
    """NEW against BASE; with `keep` only the samples that it lets through."""
    return build_all([base_argument, new_argument], margin, keep)[0]


def build_all(
    arguments: Sequence[str | Path], margin: float = stats.MARGIN, keep: select.Filter | None = None
) -> list[Difference]:
    """Each of the others against the first; one family of hypotheses."""
    differences = [_build(arguments[0], other, margin, keep) for other in arguments[1:]]
    lines = [line for difference in differences for line in difference.lines]
    for quantity, verdict, better in (("speed", "verdict", True), ("memory", "memory_verdict", False)):
        compared = [line for line in lines if getattr(line, quantity)]
        q = stats.benjamini_hochberg([getattr(line, quantity).p for line in compared])
        for line, value in zip(compared, q):
            setattr(line, f"{quantity}_q", float(value))
            setattr(line, verdict, getattr(line, quantity).verdict(float(value), margin, better))
    return differences


def _build(
    base_argument: str | Path, new_argument: str | Path, margin: float, keep: select.Filter | None
) -> Difference:
    base_side, new_side = parse_side(str(base_argument)), parse_side(str(new_argument))
    old_rows, new_rows, files = _sides(base_side, new_side, keep)
    difference = Difference(base_side.text, new_side.text, margin, len(files) == 1)
    named = None if base_side.name is None or new_side.name is None else (base_side.name, new_side.name)
    if len(files) == 2:
        difference.control = _control(files[0], files[1], named or ())
    cells = sorted({*old_rows["cell"], *new_rows["cell"]}, key=schema.cell_order)
    labels = text.cell_labels(cells)
    for cell in cells:
        controls: Controls = (None, None)
        bound = any(harness.is_bound(r.data[r.data["cell"] == cell]) for r in files)
        if difference.control:
            old_control, new_control = (_good(r.data, cell, difference.control) for r in files)
            if old_control is not None and new_control is not None:
                controls = (old_control, new_control)
                drift = stats.compare_unpaired(new_control["throughput_ops_s"], old_control["throughput_ops_s"])
                if drift is not None:
                    difference.drift.append((labels[cell], drift))
        old_here, new_here = (r[r["cell"] == cell] for r in (old_rows, new_rows))
        if named:
            one, other = named
            name = one if one == other else f"{one} -> {other}"
            line = _line(cell, name, labels[cell], old_here, new_here, difference.paired, controls, bound)
            line.two_names = one != other
            difference.lines.append(line)
            continue
        for name in sorted({*old_here["name"], *new_here["name"]}, key=allocators.order):
            if allocators.base_name(name) != allocators.NULL and name != difference.control:
                old, new = (r[r["name"] == name] for r in (old_here, new_here))
                difference.lines.append(_line(cell, name, labels[cell], old, new, difference.paired, controls, bound))
    if not difference.drift:
        difference.control = ""
    if not any(line.speed or line.new_failed for line in difference.lines):
        raise errors.InputError(
            f"{base_side.text} and {new_side.text} have no cell in common that both finished; compare runs of the same"
            " plan"
        )
    return difference

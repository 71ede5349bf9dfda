# SPDX-License-Identifier: Apache-2.0
"""From samples to what a table says: one section a cell, one row an allocator, compared with a baseline by round.

Nothing is dropped: an allocator with a failed sample is a row that says so, one without samples is a row that says so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from . import harness, stats, verdict
from .allocators import NULL
from .errors import InputError, printable
from .load import Results
from .schema import CALLS, CELL, LATENCIES, Cell

DISTURBED = 0.05  # share of a thread's time spent runnable but not running from which on a sample counts as disturbed

# The last moment at which RSS was read, best first; a table uses the first one that all its samples have.
AFTER = (
    ("rss_1s", "1 s"),
    ("rss_100ms", "100 ms"),
    ("rss_joined", "join"),
    ("rss_freed", "free"),
)


@dataclass
class Row:
    name: str
    samples: int  # rows in the file
    ok: int
    failure: str  # "" or what went wrong, e.g. "2 of 8 crashed"
    throughput: float = math.nan  # median, ops/s
    throughput_low: float = math.nan  # quartiles
    throughput_high: float = math.nan
    rss_peak: float = math.nan  # median, bytes
    rss_after: float = math.nan
    rss_baseline: float = math.nan
    latency: dict[tuple[str, str], float] = field(
        default_factory=dict
    )  # (call, percentile) -> median ns; only what was timed
    speed: stats.Comparison | None = None  # throughput against the baseline
    speed_q: float = math.nan
    verdict: str = ""
    net: stats.Comparison | None = None  # throughput without the harness's time, where subtraction is sound
    memory: stats.Comparison | None = None  # peak RSS against the baseline
    memory_q: float = math.nan
    memory_verdict: str = ""
    quiet: stats.Comparison | None = None  # throughput without the disturbed rounds, when there are any
    disturbed: int = 0  # pairs with a disturbed sample on either side

    @property
    def spread(self) -> float:
        """Of the samples' throughput: half the distance of its quartiles, as a share of the median."""
        return (self.throughput_high - self.throughput_low) / 2 / self.throughput


@dataclass
class Section:
    cell: Cell
    crowded: bool | None
    rows: list[Row] = field(default_factory=list)
    told: verdict.Cell = field(default_factory=verdict.nothing)  # what all pairs of its allocators say
    harness_ns: float = math.nan  # what null needs for an op, in time of one thread
    harness_bytes: float = math.nan  # that memory is shown without; NaN where the file is older than the column
    harness_bound: bool = False  # ratios of speed are bounds (harness.py)

    def value(self, column: str) -> Any:
        return self.cell[CELL.index(column)]


@dataclass
class Report:
    baseline: str
    margin: float
    after_label: str
    sections: list[Section]
    rounds: int
    seeds: list[str]


def pick_baseline(results: Results, wanted: str | None = None) -> str:
    names = [n for n in results.allocators if n != NULL]
    if wanted is not None:
        if wanted not in results.allocators:
            raise InputError(
                f"baseline '{printable(wanted, 60)}' is not in the files; they have {', '.join(results.allocators)}"
            )
        return wanted
    if not names:
        raise InputError("the files hold no allocator but null; nothing to compare")
    return _first_listed(results, names)


def _first_listed(results: Results, names: Sequence[str]) -> str:
    """The allocator that --alloc named first in the first file: by the plan in its run.json, else by its rows; rows
    before schema 4 without a run.json do not tell."""
    plan = results.runs[0].provenance.get("plan")
    cells = plan.get("cells") if isinstance(plan, dict) else None
    for cell in cells if isinstance(cells, list) else []:
        if isinstance(cell, dict) and cell.get("allocator") in names:
            return cell["allocator"]
    rows = results.data[results.data["name"].isin(names)]
    return rows.loc[rows["cell_index"].idxmin(), "name"] if rows["cell_index"].notna().any() else names[0]


def failure_text(rows: pd.DataFrame) -> str:
    """'' when all samples are ok, else how many ended how; one status with one message also gives the message."""
    bad = rows[rows["status"] != "ok"]
    if not len(bad):
        return ""
    counts = bad["status"].value_counts(sort=False)
    text = ", ".join(f"{n} {s}" for s, n in sorted(counts.items()))
    messages = [m for m in bad["message"].unique() if m]
    if len(counts) == 1 and len(bad) == len(rows):
        text = counts.index[0]
    else:
        text = f"{text} of {len(rows)}"
    return text + (f": {printable(messages[0], 100)}" if len(messages) == 1 else "")


def is_disturbed(rows: pd.DataFrame) -> pd.Series:
    """Per row: whether the runner marked it as contaminated (runner/sample/noise.h). A row of schema 1 has no mark:
    there it is whether threads waited for a CPU although there were enough. NaN (not measured) is not disturbed."""
    share = rows["run_delay_ns"] / (rows["elapsed_ns"] * rows["threads"])
    enough = [c is not True for c in rows["crowded"]]
    by_delay = (share > DISTURBED) & enough
    return (rows["contaminated"] > 0) | (rows["contaminated"].isna() & by_delay)


Samples: TypeAlias = tuple[stats.Floats, stats.Floats, npt.NDArray[np.bool_]]


def _by_block(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Positive values of `column` and whether their rows are disturbed, by block."""
    values = {"value": rows[column].to_numpy(float), "bad": is_disturbed(rows).to_numpy(bool)}
    found = pd.DataFrame(values, index=rows["block"])
    return found[found["value"] > 0]


def _joined(one: pd.DataFrame, other: pd.DataFrame) -> Samples:
    """The values of two _by_block() that share a block, and whether either is disturbed, in the order of the blocks."""
    both = one.join(other, how="inner", lsuffix="_one", rsuffix="_other").sort_index()
    disturbed = (both["bad_one"] | both["bad_other"]).to_numpy(bool)
    return both["value_one"].to_numpy(float), both["value_other"].to_numpy(float), disturbed


def paired(rows: pd.DataFrame, base: pd.DataFrame, column: str) -> Samples:
    """Positive values of `column` of both, joined by block: (new, base, disturbed), one entry a pair."""
    return _joined(_by_block(rows, column), _by_block(base, column))


def _median(values: pd.Series) -> float:
    """NaN, without numpy's warning, where nothing was measured: a program has no RSS baseline."""
    return values.dropna().median()


def _row(name: str, rows: pd.DataFrame) -> Row:
    row = Row(name, len(rows), int((rows["status"] == "ok").sum()), failure_text(rows))
    if not len(rows):
        row.failure = "no sample"
    if row.failure:
        return row
    speed = rows["throughput_ops_s"]
    row.throughput = speed.median()
    row.throughput_low, row.throughput_high = speed.quantile(0.25), speed.quantile(0.75)
    row.rss_peak, row.rss_baseline = _median(rows["rss_peak"]), _median(rows["rss_baseline"])
    for call in CALLS:
        for percentile in LATENCIES:
            values = rows[f"latency_{call}_{percentile}_ns"][rows[f"latency_{call}_count"] > 0]
            if len(values):
                row.latency[call, percentile] = values.median()
    return row


def _compare(row: Row, rows: pd.DataFrame, base: pd.DataFrame, null: pd.DataFrame, bound: bool) -> None:
    new, old, disturbed = paired(rows, base, "throughput_ops_s")
    row.speed = harness.bounded(stats.compare_paired(new, old), bound)
    row.net = harness.without(rows, base, null)
    row.disturbed = int(disturbed.sum())
    if row.disturbed:
        row.quiet = harness.bounded(stats.compare_paired(new[~disturbed], old[~disturbed]), bound)
    new, old, _ = paired(rows, base, "rss_peak")
    row.memory = stats.compare_paired(new, old)


def build(results: Results, baseline: str | None = None, margin: float = stats.MARGIN) -> Report:
    """The report of `results`: a section for each cell, in it a row for each allocator."""
    baseline = pick_baseline(results, baseline)
    data = results.data
    good = data[(data["status"] == "ok") & (data["allocator"] != NULL)]
    after, label = next(((c, t) for c, t in AFTER if len(good) and good[c].notna().all()), (None, ""))
    sections = []
    by_cell = dict(list(data.groupby("cell", sort=False)))
    for cell in results.cells:
        rows = by_cell[cell]
        section = Section(cell, rows["crowded"].iloc[0])
        sections.append(section)
        section.harness_bytes = _median(rows["harness_bytes"])
        null = rows[(rows["name"] == NULL) & (rows["status"] == "ok")]
        if len(null):
            section.harness_ns = harness.op_ns(null).median()
            section.harness_bound = harness.is_bound(rows)
        base = rows[rows["name"] == baseline]
        base_ok = len(base) > 0 and not failure_text(base)
        # Whoever is in a file of this cell belongs into it and lacks samples if there are none; who is only in another
        # file was never asked.
        asked = set(data["name"][data["file"].isin(set(rows["file"]))])
        for name in results.allocators:
            if name not in asked or name == NULL or name.startswith(NULL + "#"):
                continue
            mine = rows[rows["name"] == name]
            row = _row(name, mine)
            section.rows.append(row)
            if row.failure:
                continue
            if after:
                row.rss_after = mine[after].median()
            if base_ok and name != baseline:
                _compare(row, mine, base, null, section.harness_bound)
    _adjust(sections, margin)
    for section in sections:
        section.told = _tell(section, by_cell[section.cell], baseline, margin)
    rounds = data.groupby(["cell", "name"])["block"].nunique().max()
    return Report(baseline, margin, label, sections, int(rounds), sorted(set(data["seed"])))


def _tell(section: Section, rows: pd.DataFrame, baseline: str, margin: float) -> verdict.Cell:
    good = [row for row in section.rows if not row.failure]
    names = sorted((row.name for row in good), key=lambda name: name != baseline)  # stable: the others as in the table

    def values(column: str) -> verdict.Values:
        found = {name: _by_block(rows[rows["name"] == name], column) for name in names}
        return lambda one, other: _joined(found[one], found[other])[:2]

    speed, memory = (
        {
            (row.name, baseline): verdict.of_comparison(getattr(row, quantity), getattr(row, word))
            for row in good
            if getattr(row, quantity)
        }
        for quantity, word in (("speed", "verdict"), ("memory", "memory_verdict"))
    )
    failed = [row.name for row in section.rows if row.failure]
    rounds = max((row.ok for row in good), default=0)
    values_of = (values("throughput_ops_s"), values("rss_peak"))
    return verdict.cell(names, failed, values_of, (speed, memory), rounds, margin, section.harness_bound)


def _adjust(sections: Sequence[Section], margin: float) -> None:
    """One family of hypotheses a quantity: all rows of all sections together."""
    for comparison, q_field, word, better in (
        ("speed", "speed_q", "verdict", True),
        ("memory", "memory_q", "memory_verdict", False),
    ):
        rows = [r for s in sections for r in s.rows if getattr(r, comparison)]
        q = stats.benjamini_hochberg([getattr(r, comparison).p for r in rows])
        for row, value in zip(rows, q):
            setattr(row, q_field, float(value))
            setattr(row, word, getattr(row, comparison).verdict(float(value), margin, better))


@dataclass
class Summary:
    name: str
    cells: int  # compared
    failed: int  # cells with a failure or without a comparison
    speed: float  # geometric mean of ratios, NaN when a cell failed: a mean over the cells that went well would flatter
    memory: float
    verdicts: dict[str, int]  # faster, same, slower, undecided: cells


def summaries(report: Report) -> dict[str, list[Summary]]:
    """Per platform: one Summary an allocator, over all sections of that platform."""
    out = {}
    for platform in dict.fromkeys(s.value("platform") for s in report.sections):
        sections = [s for s in report.sections if s.value("platform") == platform]
        rows = []
        for name in dict.fromkeys(r.name for s in sections for r in s.rows):
            if name == report.baseline:
                continue
            mine = [r for s in sections for r in s.rows if r.name == name]
            compared = [r for r in mine if r.speed]
            speeds = [r.speed.ratio for r in mine if r.speed]
            memories = [r.memory.ratio for r in mine if r.speed and r.memory]
            failed = len(mine) - len(compared)
            verdicts = {v: sum(r.verdict == v for r in compared) for v in ("faster", "same", "slower", "undecided")}
            whole = compared and not failed
            rows.append(
                Summary(
                    name,
                    len(compared),
                    failed,
                    stats.geometric_mean(speeds) if whole else math.nan,
                    stats.geometric_mean(memories) if whole and len(memories) == len(compared) else math.nan,
                    verdicts,
                )
            )
        out[platform] = rows
    return out

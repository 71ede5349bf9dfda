# SPDX-License-Identifier: Apache-2.0
"""Memory as a quantity over time: what an allocator held while it worked, how much of that its program used, what it
kept afterwards, and whether it grows."""

import math
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from . import allocators, errors, load, schema, stats, tables, text
from .cli import Parser

SLOPE_NS = 300 * 10**9  # a shorter series says nothing of hours
HOUR_NS = 3600 * 10**9
AFTER = (("rss_1s", "1 s"), ("rss_100ms", "100 ms"), ("rss_joined", "the join"))  # the latest reading counts


@dataclass(frozen=True)
class Row:
    """One allocator in one cell; medians over its samples, bytes above what the process had before it allocated."""

    name: str
    samples: int
    mean: float  # over the series of the measured part
    peak: float
    fragmentation: float  # mean over mean live bytes
    worst: float  # largest quotient of resident and live bytes at one instant
    kept: float  # after everything was freed
    kept_after: str  # when `kept` was read
    settled: tuple[tuple[float, float], ...]  # (seconds after the join, as `kept`) of each time of --settle
    purged: float  # after the allocator was asked to give everything back
    slopes: tuple[stats.Slope, ...]  # bytes an hour, of each sample whose series is long enough


def _median(values: pd.Series) -> float:
    measured = values.dropna()
    return float(measured.median()) if len(measured) else math.nan


def _after(samples: pd.DataFrame) -> tuple[str, str]:
    return next(((c, label) for c, label in AFTER if samples[c].notna().any()), AFTER[-1])


def readings(settled: str) -> dict[float, float]:
    """Seconds after the join -> resident bytes, of the column rss_settled."""
    pairs = (item.split("s=") for item in settled.split(";") if item)
    return {float(seconds): float(found) for seconds, found in pairs}


def _settled(samples: pd.DataFrame) -> tuple[tuple[float, float], ...]:
    """Medians of the times that all samples have."""
    found = [readings(text_of) for text_of in samples["rss_settled"]]
    times = sorted(set.intersection(*(set(f) for f in found))) if found else []
    base = list(samples["rss_baseline"] + samples["harness_bytes"].fillna(0))  # these readings are the kernel's
    return tuple((t, _median(pd.Series([f[t] - b for f, b in zip(found, base)]))) for t in times)


def _slopes(results: load.Results, samples: pd.DataFrame) -> tuple[stats.Slope, ...]:
    slopes = []
    for run in results.runs:
        long = samples[(samples["file"] == str(run.path)) & (samples["elapsed_ns"] >= SLOPE_NS)]
        series = load.load_series(run) if len(long) else None
        if series is None:
            continue
        series = series[(series["phase"] == "measured") & series["rss_bytes"].notna()]
        for sample in long["sample"]:
            points = series[series["sample"] == sample]
            slopes.append(stats.slope(points["t_ns"] / HOUR_NS, points["rss_bytes"]))
    return tuple(slopes)


def row_of(results: load.Results, name: str, samples: pd.DataFrame) -> Row:
    """The row of one allocator from its samples of one cell that are ok."""
    column, label = _after(samples)
    settled = _settled(samples)
    above = {c: samples[c] - samples["rss_baseline"] for c in ("rss_mean", "rss_peak", column, "rss_purged")}
    return Row(
        name,
        len(samples),
        _median(above["rss_mean"]),
        _median(above["rss_peak"]),
        _median(above["rss_mean"] / samples["live_mean"]),
        _median(samples["fragmentation_worst_ppm"] / 1e6),
        settled[-1][1] if settled else _median(above[column]),
        f"{settled[-1][0]:g} s" if settled else label,
        settled,
        _median(above["rss_purged"]),
        _slopes(results, samples),
    )


def rows_of(results: load.Results, cell: schema.Cell) -> list[Row]:
    """The allocators of a cell in the order of all tables; those without a sample that is ok are left out."""
    data = results.data
    samples = data[[c == cell for c in data["cell"]] & (data["status"] == "ok")]
    names = [n for n in results.allocators if n in set(samples["name"]) and n != allocators.NULL]
    return [row_of(results, name, samples[samples["name"] == name]) for name in names]


def _least(rows: Sequence[Row], field: str) -> float:
    """The most compact of the peers and the C library: what the others are compared with."""
    values = [getattr(r, field) for r in rows if not allocators.is_ours(r.name)]
    values = [v for v in values if v > 0]
    return min(values) if values else math.nan


def _slope(row: Row) -> str:
    if not row.slopes:
        return text.MISSING
    parts = [f"{s.slope / 2**20:+.3g} [{s.low / 2**20:.3g}, {s.high / 2**20:.3g}]" for s in row.slopes]
    return "; ".join(parts)


def table(rows: Sequence[Row]) -> list[str]:
    """Lines of the table of one cell."""
    least_mean, least_kept = _least(rows, "mean"), _least(rows, "kept")
    sloped = any(r.slopes for r in rows)
    times = [t for t, _ in rows[0].settled[:-1]] if len({tuple(t for t, _ in r.settled) for r in rows}) == 1 else []
    head = ["allocator", "n", "mean MiB", "of best", "peak MiB", "mean / live", "worst / live",
            *(f"at {t:g} s" for t in times), "kept MiB", "of best", "purged MiB"]  # fmt: skip
    cells = []
    for r in rows:
        cells.append(
            [r.name, str(r.samples), text.mebibytes(r.mean), text.three(r.mean / least_mean), text.mebibytes(r.peak),
             text.three(r.fragmentation), text.three(r.worst),
             *(text.mebibytes(bytes_) for t, bytes_ in r.settled if t in times), text.mebibytes(r.kept),
             text.three(r.kept / least_kept), text.mebibytes(r.purged)]
            + ([_slope(r)] if sloped else [])
        )  # fmt: skip
    return tables.grid(head + (["MiB an hour"] if sloped else []), cells, [False] + [True] * (len(head) - sloped))


LEGEND = (
    "Medians over n samples of resident memory above what the process had before its first allocation. mean, live: over"
    " the measured part; worst: at one instant with at least 1 MiB live; kept: {after} after everything was freed and"
    " the threads were joined, at: so long after it;"
    " purged: after the allocator was asked to give all back;"
    " of best: against the most compact of the peers and the C library."
)


def render(results: load.Results) -> str:
    """The tables of all cells and what their columns mean."""
    lines = []
    after = set()
    for cell in results.cells:
        rows = rows_of(results, cell)
        if not rows:
            continue
        if all(math.isnan(r.mean) for r in rows):
            raise errors.InputError(
                f"{results.runs[0].path}: no series of memory was taken (--rss-interval=0), so nothing is known over"
                " time"
            )
        after |= {r.kept_after for r in rows}
        lookup = text.lookup(cell)
        lines += [text.cell_title(lookup), f"  {text.cell_details(lookup)}", *table(rows), ""]
    lines += textwrap.wrap(LEGEND.format(after=" or ".join(sorted(after))), 118)
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    """`scripts/memory FILE.csv ...`"""
    parser = Parser("scripts/memory", description="Memory over time from result files of one machine.")
    parser.add_argument("files", nargs="+", metavar="FILE.csv")
    options = parser.parse_args(argv)
    sys.stdout.write(render(load.load(options.files)))
    return errors.OK

# SPDX-License-Identifier: Apache-2.0
"""Aged heaps (`--age`) against fresh ones: by how much an allocator's ratio to the baseline changes with the heap."""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from . import allocators, errors, load, model, schema, stats, tables, text
from .cli import Parser

_OF_THE_AGE = ("age", "age_bytes", "age_live_ppm")


@dataclass(frozen=True)
class Row:
    """One allocator in one pair of cells. Ratios are throughput over the baseline's in the same round."""

    name: str
    fresh: stats.Comparison
    aged: stats.Comparison
    change: stats.Comparison  # the aged ratio over the fresh one, round by round


def fresh_cell(cell: schema.Cell) -> schema.Cell:
    """The same cell on a heap that was not aged."""
    values = list(cell)
    for column, nothing in zip(_OF_THE_AGE, ("none", 0, 0)):
        values[schema.CELL.index(column)] = nothing
    return tuple(values)


def pairs(results: load.Results) -> Iterator[tuple[schema.Cell, schema.Cell]]:
    """(fresh, aged) of every aged cell that has a fresh one in the files."""
    known = set(results.cells)
    for cell in results.cells:
        if cell[schema.CELL.index("age")] not in (None, "", "none") and fresh_cell(cell) in known:
            yield fresh_cell(cell), cell


def _speeds(results: load.Results, cell: schema.Cell) -> pd.DataFrame:
    """Throughput of the samples that are ok: a row a round, a column an allocator."""
    data = results.data
    good = data[[c == cell for c in data["cell"]] & (data["status"] == "ok")]
    return good.pivot(index="block", columns="name", values="throughput_ops_s")


def rows_of(results: load.Results, fresh: schema.Cell, aged: schema.Cell, baseline: str) -> list[Row]:
    """The allocators that have rounds with both cells and the baseline in both; null is none."""
    before, after = _speeds(results, fresh), _speeds(results, aged)
    rows = []
    for name in results.allocators:
        if name in (baseline, allocators.NULL) or any(
            column not in frame for frame in (before, after) for column in (name, baseline)
        ):
            continue
        ratios = pd.DataFrame(
            {"fresh": before[name] / before[baseline], "aged": after[name] / after[baseline]}
        ).dropna()
        one = [1.0] * len(ratios)
        found = [
            stats.compare_paired(ratios[new], base)
            for new, base in (("fresh", one), ("aged", one), ("aged", ratios["fresh"]))
        ]
        if all(found):
            rows.append(Row(name, *(f for f in found if f is not None)))
    return rows


def _told(comparison: stats.Comparison) -> str:
    return text.estimate(comparison.ratio, comparison.low, comparison.high)


def table(rows: Sequence[Row], baseline: str) -> list[str]:
    """Lines of the table of one pair of cells."""
    head = ["allocator", "n", f"fresh / {baseline}", f"aged / {baseline}", "aged / fresh"]
    cells = [[r.name, str(r.change.pairs), _told(r.fresh), _told(r.aged), _told(r.change)] for r in rows]
    return tables.grid(head, cells, [False, True, True, True, True])


def render(results: load.Results, baseline: str) -> str:
    """The tables of all pairs of cells."""
    lines = []
    for fresh, aged in pairs(results):
        rows = rows_of(results, fresh, aged, baseline)
        if rows:
            lookup = text.lookup(aged)
            lines += [
                text.cell_title(lookup),
                *textwrap.wrap(text.cell_details(lookup), 80, initial_indent="  ", subsequent_indent="    "),
            ]
            lines += [*table(rows, baseline), ""]
    if not lines:
        raise errors.InputError(
            "no workload was measured both on a fresh and on an aged heap: give the runner both,"
            " --workload='local,local{age=holes}'"
        )
    legend = (
        f"Throughput over that of {baseline} in the same round, on a fresh heap and on an aged one; aged / fresh is the"
        " quotient of these two, round by round, with its 95 % interval: below 1, the allocator loses more by an aged"
        f" heap than {baseline} does."
    )
    return "\n".join(lines + textwrap.wrap(legend, 80)) + "\n"


def main(argv: list[str]) -> int:
    """`scripts/aged FILE.csv ...`"""
    parser = Parser("scripts/aged", description="What an aged heap costs, from result files of one machine.")
    parser.add_argument("files", nargs="+", metavar="FILE.csv")
    parser.add_argument("--baseline", help="allocator that ratios refer to (default: the first of --alloc)")
    options = parser.parse_args(argv)
    results = load.load(options.files)
    sys.stdout.write(render(results, model.pick_baseline(results, options.baseline)))
    return errors.OK

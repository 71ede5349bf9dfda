# SPDX-License-Identifier: Apache-2.0
"""--rows and --columns: one quantity laid out by any two sets of keys, as benchstat's -row and -col do.

Whatever else tells samples apart makes tables of their own. Each column is compared with the first one of its row: by
round where both are of one run, as two independent sets otherwise (the machine's drift between two files is not taken
out, as scripts/compare without these options does).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pandas as pd

from . import allocators, harness, model, schema, select, stats, tables, text
from .errors import InputError

Values: TypeAlias = tuple[Any, ...]

_KEYS = ("allocator", "file", *schema.CELL)
_QUANTITIES = (("throughput_ops_s", True), ("rss_peak", False))


@dataclass
class Place:
    """The samples of one row and column, and what they are beside the first column."""

    rows: pd.DataFrame
    failure: str
    compared: dict[str, tuple[stats.Comparison, str]] = field(default_factory=dict)  # quantity -> with its verdict


@dataclass
class Table:
    """Samples by row and column; `values` is what they have in common of the keys that are neither."""

    keys: Sequence[str]
    values: Values
    rows: list[Values]
    columns: list[Values]
    places: dict[tuple[Values, Values], Place]


@dataclass
class Pivot:
    """What --rows and --columns ask for."""

    row_keys: list[str]
    column_keys: list[str]
    tables: list[Table]
    margin: float


def _column_of(key: str) -> str:
    return "name" if key == "allocator" else key


def _label(key: str, value: Any) -> str:
    if value is None or value == "":
        return text.MISSING
    if key == "threads":
        return text.plural(int(value), "thread")
    parameter = next((p for p in schema.PARAMETERS if p["name"] == key), None)
    if parameter and parameter["kind"] == "bytes":
        return text.size(value)
    if parameter and parameter["kind"] == "share":
        return f"{value / 1e4:g} % {parameter['parameter']}"
    if parameter and parameter["kind"] == "count":
        return f"{parameter['parameter']} {text.count(value)}"
    return str(value)


def label_of(keys: Sequence[str], values: Values) -> str:
    """'remote, 2 threads'"""
    return ", ".join(_label(key, value) for key, value in zip(keys, values))


def _order(keys: Sequence[str], first: str, files: Sequence[str]) -> Any:
    def order(values: Values) -> list[Any]:
        out: list[Any] = []
        for key, value in zip(keys, values):
            if key == "allocator":
                out.append((value != first, *allocators.order(value)))
            elif key == "file":
                out.append(files.index(value))
            else:
                out.append((value is not None, value if isinstance(value, (int, float)) else 0, str(value)))
        return out

    return order


def _checked(keys: Sequence[str], option: str) -> None:
    wrong = [key for key in keys if key not in _KEYS]
    if wrong:
        raise InputError(f"{option}: '{wrong[0]}' tells the samples of a place apart; only --filter takes it")


def _telling(clean: dict[str, list[Any]], known: list[str], varying: list[str]) -> list[str]:
    """Keys that tell samples apart which the known ones do not: not the share of remote frees where the workload says
    it."""
    found: list[str] = []
    for key in varying:
        if key in known:
            continue
        places = list(zip(*(clean[k] for k in known + found if k in clean)))
        if len(set(zip(places, clean[key]))) > len(set(places)):
            found.append(key)
    return found


def build(
    data: pd.DataFrame, rows: list[str] | None, columns: list[str] | None, baseline: str, margin: float, by_file: bool
) -> Pivot:
    """`rows` and `columns` are keys; None: what is left for rows, the file or the allocator for columns."""
    _checked(rows or [], "--rows")
    _checked(columns or [], "--columns")
    bound = {cell for cell, samples in data.groupby("cell", sort=False) if harness.is_bound(samples)}
    data = data[data["allocator"] != allocators.NULL]
    if columns is None:
        columns = ["file" if by_file and "file" not in (rows or []) else "allocator"]
    if set(columns) & set(rows or []):
        raise InputError(f"--rows and --columns both name '{next(k for k in columns if k in (rows or []))}'")
    # Files hold samples of one kind unless somebody asks for them.
    keys = [key for key in _KEYS if key != "file" or by_file or key in columns + (rows or [])]
    clean = {
        key: [None if isinstance(v, float) and math.isnan(v) else v for v in data[_column_of(key)]] for key in keys
    }
    varying = [key for key in keys if len(set(clean[key])) > 1]
    if rows is None:
        rows = _telling(clean, columns, varying) or ["workload"]
    rest = _telling(clean, rows + columns, varying)
    groups: dict[tuple[Values, Values, Values], list[int]] = {}
    for at in range(len(data)):
        place = tuple(tuple(clean[key][at] if key in clean else None for key in part) for part in (rest, rows, columns))
        groups.setdefault(place, []).append(at)  # type: ignore[arg-type]
    files = list(dict.fromkeys(data["file"]))
    made: list[Table] = []
    for values in sorted({g[0] for g in groups}, key=_order(rest, baseline, files)):
        mine = {(row, column): data.iloc[at] for (one, row, column), at in groups.items() if one == values}
        made.append(
            Table(
                rest,
                values,
                sorted({row for row, _ in mine}, key=_order(rows, baseline, files)),
                sorted({column for _, column in mine}, key=_order(columns, baseline, files)),
                {where: Place(samples, model.failure_text(samples)) for where, samples in mine.items()},
            )
        )
    _compare(made, margin, bound)
    return Pivot(rows, columns, made, margin)


def _beside(new: pd.DataFrame, base: pd.DataFrame, quantity: str) -> stats.Comparison | None:
    if set(new["block"]) & set(base["block"]) and new["block"].is_unique and base["block"].is_unique:
        return stats.compare_paired(*model.paired(new, base, quantity)[:2])
    return stats.compare_unpaired(*(r.loc[r[quantity] > 0, quantity] for r in (new, base)))


def _compare(made: list[Table], margin: float, bound: set[schema.Cell]) -> None:
    for quantity, better in _QUANTITIES:
        found: list[tuple[Place, stats.Comparison]] = []
        for table in made:
            for row in table.rows:
                base = table.places.get((row, table.columns[0]))
                for column in table.columns[1:]:
                    place = table.places.get((row, column))
                    if base and place and not base.failure and not place.failure:
                        cells = {*place.rows["cell"], *base.rows["cell"]}
                        is_bound = quantity != "rss_peak" and not bound.isdisjoint(cells)
                        comparison = harness.bounded(_beside(place.rows, base.rows, quantity), is_bound)
                        if comparison:
                            found.append((place, comparison))
        q = stats.benjamini_hochberg([comparison.p for _, comparison in found])
        for (place, comparison), adjusted in zip(found, q):
            place.compared[quantity] = (comparison, comparison.verdict(float(adjusted), margin, better))


_MARKS = {"undecided": " ~", "same": " ="}


def _median(place: Place, quantity: str) -> float:
    return place.rows.loc[place.rows[quantity] > 0, quantity].median()


def _speeds(table: Table) -> text.Column:
    """By the table's rows."""
    speeds: dict[Values, list[tuple[schema.Cell, float]]] = {row: [] for row in table.rows}
    for (row, _), place in table.places.items():
        middle = math.nan if place.failure else _median(place, "throughput_ops_s")
        speeds[row] += [(cell, middle) for cell in set(place.rows["cell"])]
    return text.Column(speeds)


def _value(place: Place | None, quantity: str, row: Values, speeds: text.Column) -> str:
    if place is None:
        return text.MISSING
    if place.failure:
        return "failed"
    median = _median(place, quantity)
    return text.mebibytes(median) if quantity == "rss_peak" else speeds(row, median)


def _grid(pivot: Pivot, table: Table, quantity: str) -> tuple[list[str], list[list[str]], list[bool]]:
    first = label_of(pivot.column_keys, table.columns[0])
    head, numeric = [", ".join(pivot.row_keys), first], [False, True]
    for column in table.columns[1:]:
        head += [label_of(pivot.column_keys, column), f"/ {first}" if len(first) <= 10 else "/ first"]
        numeric += [True, True]
    rows = []
    speeds = _speeds(table)
    for row in table.rows:
        first_value = _value(table.places.get((row, table.columns[0])), quantity, row, speeds)
        cells = [label_of(pivot.row_keys, row), first_value]
        for column in table.columns[1:]:
            place = table.places.get((row, column))
            compared = place.compared.get(quantity) if place else None
            ratio = text.ratio_of(compared[0]) + _MARKS.get(compared[1], "  ") if compared else text.MISSING
            cells += [_value(place, quantity, row, speeds), ratio]
        rows.append(cells)
    return head, rows, numeric


def _title(table: Table, quantity: str) -> str:
    unit = "peak RSS, MiB" if quantity == "rss_peak" else _speeds(table).unit
    return ", ".join(part for part in (label_of(table.keys, table.values), unit) if part)


def _legend(pivot: Pivot) -> str:
    return (
        "Medians; beside them the ratio to the first column of the row (of speeds, of peak RSS). ~: undecided, =: the"
        f" interval lies within {100 * pivot.margin:g} %, else the interval excludes 1 and the rank test says so at 5 %"
        " after control of false discoveries over all ratios of the quantity. 'at least', 'at most': harness-bound."
    )


def as_text(pivot: Pivot, width: int | None) -> str:
    """Tables no wider than `width`: columns that have no room beside the others stand below them."""
    lines: list[str] = []
    for table in pivot.tables:
        for quantity, _ in _QUANTITIES:
            head, rows, numeric = _grid(pivot, table, quantity)
            lines += tables.wrapped(_title(table, quantity), width)
            start = 2
            while start <= max(2, len(head) - 1):
                end = start + 2
                part = _part(head, rows, numeric, start, end)
                while end < len(head) and _fits(_part(head, rows, numeric, start, end + 2), width):
                    end += 2
                    part = _part(head, rows, numeric, start, end)
                lines += [*part, ""]
                start = end
    return "\n".join([*lines, *tables.wrapped(_legend(pivot), width)]) + "\n"


def _part(head: list[str], rows: list[list[str]], numeric: list[bool], start: int, end: int) -> list[str]:
    """The grid of the row's labels, the first column and those from `start` to `end`."""
    places = [0, 1, *range(start, min(end, len(head)))]
    part = [[row[i] for i in places] for row in rows]
    return tables.grid([head[i] for i in places], part, [numeric[i] for i in places], tables.LONGEST_NAME)


def _fits(lines: list[str], width: int | None) -> bool:
    return width is None or max(map(len, lines)) <= width


def as_markdown(pivot: Pivot) -> str:
    """The same as Markdown."""
    parts = []
    for table in pivot.tables:
        for quantity, _ in _QUANTITIES:
            head, rows, numeric = _grid(pivot, table, quantity)
            parts += [
                f"### {tables.markdown_escape(_title(table, quantity))}",
                tables.markdown_grid(head, rows, numeric).strip("\n"),
            ]
    return "\n\n".join([*parts, tables.markdown_escape(_legend(pivot))]) + "\n"


def keys_of(rows: str | None, columns: str | None) -> tuple[list[str] | None, list[str] | None]:
    """The keys of both options; None where one was not given."""
    return (
        select.keys_of(rows, "--rows") if rows is not None else None,
        select.keys_of(columns, "--columns") if columns is not None else None,
    )


def render(pivot: Pivot, form: str, width: int | None) -> str:
    """Text or Markdown."""
    if form not in ("text", "markdown"):
        raise InputError(f"--rows and --columns are of --format=text and markdown, not {form}")
    return as_text(pivot, width) if form == "text" else as_markdown(pivot)

# SPDX-License-Identifier: Apache-2.0
"""Numbers and names as a reader sees them; shared by tables and figures."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from . import schema

MISSING = "-"

Lookup: TypeAlias = Callable[[str], Any]  # value of a cell by the name of its column


def three(value: float | None) -> str:
    """Three significant digits without an exponent: 31.2, 1.02, 0.0654, 1240."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    digits = 2 - math.floor(math.log10(abs(rounded)))  # 9.999 becomes 10.0, not 10.00
    return f"{rounded:.{max(digits, 0)}f}"


@dataclass(frozen=True)
class Rate:
    """The unit in which throughputs are shown."""

    unit: str
    size: float  # one of the unit, in ops/s

    def __call__(self, value: float) -> str:
        return three(value / self.size)


@dataclass(frozen=True)
class Duration:
    """A program's throughput as what its user waits for."""

    unit: str = "s a run"

    def __call__(self, value: float) -> str:
        return three(1 / value if value else math.nan)


MILLIONS = Rate("M ops/s", 1e6)
EACH = Rate("ops/s", 1)


def _unit(cell: schema.Cell) -> str:
    """What an op of a program is; '' for objects."""
    workload = cell[schema.CELL.index("workload")]
    if workload == "app":
        return schema.UNITS.get(cell[schema.CELL.index("input")], "ops")
    return "runs" if workload == "program" else ""


def rate_of(cells: Iterable[schema.Cell]) -> Rate:
    """Objects come in millions a second; an op of a program takes milliseconds and is what the program does: requests,
    pages, runs."""
    units = {_unit(cell) for cell in cells}
    if "" in units or not units:
        return MILLIONS
    return Rate(f"{units.pop()}/s", 1) if len(units) == 1 else EACH


def speed_of(cells: Iterable[schema.Cell]) -> Rate | Duration:
    """As `rate_of`, but runs of a program in seconds."""
    cells = list(cells)
    return Duration() if {_unit(cell) for cell in cells} == {"runs"} else rate_of(cells)


def is_program(cell: schema.Cell) -> bool:
    """Whether its ops are no objects."""
    return _unit(cell) != ""


def mebibytes(value: float) -> str:
    return three(value / 2**20)


def percent(share: float) -> str:
    """0.034 -> '3.4 %'; above 1000 % precision is noise."""
    if math.isinf(share):
        return "any size"
    return f"{100 * share:.1f} %" if share < 0.1 else f"{min(100 * share, 9999):.0f} %"


def size(value: float) -> str:
    """A byte count as it is typed on the command line: 16 B, 2 KiB, 1 MiB."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= factor and value % factor == 0:
            return f"{int(value // factor)} {unit}"
    return f"{int(value)} B"


def count(value: float) -> str:
    """1000000 -> '1 000 000': groups without a sign that another language reads as a decimal point."""
    return f"{int(value):,}".replace(",", " ")


def plural(n: int, word: str) -> str:
    return f"{n} {word}" + ("" if n == 1 else "s")


def lookup(cell: schema.Cell) -> Lookup:
    """What cell_title and cell_details ask for the values of a cell."""
    return lambda column: cell[schema.CELL.index(column)]


def cell_title(value: Lookup, platforms: int = 1) -> str:
    """'remote, 2 threads' and what else tells cells apart; `value` looks a CELL column up."""
    if value("workload") == "program":
        parts = [value("input")]
    else:
        named = value("workload") + (f":{value('input')}" if value("input") else "")
        parts = [named, plural(value("threads"), "thread")]
        if value("load") != "dlopen" and value("workload") != "app":
            parts.append(value("load"))
    if platforms > 1:
        parts.append(value("platform"))
    return ", ".join(parts)


# Parameters that have words of their own below; any other is told by its name.
_TOLD = {
    "threads",
    "seed",
    "min_bytes",
    "max_bytes",
    "sizes",
    "working_set",
    "topology",
    "duration_ns",
    "ops_per_thread",
    "rounds",
    "touch",
}


def cell_details(value: Lookup) -> str:
    """The parameters of a cell in one line; those that are unset or 0 are left out."""
    if value("workload") == "program":
        return "one run of the program a sample"
    if value("workload") == "app":
        unit = schema.UNITS.get(value("input"), "ops")
        return f"{count(value('ops_per_thread') * value('threads'))} {unit} a sample"
    parts = []
    low, high = value("min_bytes"), value("max_bytes")
    if low is not None and high is not None and not value("input"):  # an input brings its own sizes
        kind = f" {value('sizes')}" if value("sizes") else ""
        parts.append(f"{size(low)}..{size(high)}{kind}")
    if value("working_set"):
        parts.append(f"working set {count(value('working_set'))}")
    for parameter in schema.PARAMETERS:
        if parameter["kind"] == "share" and value(parameter["name"]):
            parts.append(f"{value(parameter['name']) / 1e4:g} % {parameter['parameter']}")
    if value("topology") and value("remote_ppm"):
        parts.append(f"topology {value('topology')}")
    if value("duration_ns"):
        parts.append(f"{value('duration_ns') / 1e9:g} s")
    elif value("ops_per_thread"):
        parts.append(f"{count(value('ops_per_thread'))} ops a thread")
    if value("rounds"):
        parts.append(plural(int(value("rounds")), "generation"))
    if value("touch"):
        parts.append(f"touch {value('touch')}")
    for parameter in schema.PARAMETERS:
        if parameter["name"] in _TOLD or parameter["kind"] == "share":
            continue
        told = value(parameter["name"])
        if told and told != "none":
            parts.append(f"{parameter['parameter']} {told}")
    if value("pin") and value("pin") != "none":
        parts.append(f"pinned {value('pin')}")
    return ", ".join(parts)


# How a parameter is named where it tells two cells of one title apart.
_DISTINCT = {
    "min_bytes": lambda v: f"from {size(v)}",
    "max_bytes": lambda v: f"to {size(v)}",
    "working_set": lambda v: f"ws {count(v)}",
    "ops_per_thread": lambda v: f"{count(v)} ops",
    "duration_ns": lambda v: f"{v / 1e9:g} s",
} | {
    p["name"]: lambda v, label=p["parameter"]: f"{v / 1e4:g} % {label}"
    for p in schema.PARAMETERS
    if p["kind"] == "share"
}


def cell_labels(cells: Sequence[schema.Cell]) -> dict[schema.Cell, str]:
    """{cell: title}, every title different: cells that would share one get the parameters in which they differ."""
    columns = schema.CELL
    platforms = len({c[columns.index("platform")] for c in cells})
    groups: dict[str, list[schema.Cell]] = {}
    for cell in cells:
        groups.setdefault(cell_title(lookup(cell), platforms), []).append(cell)
    labels = {}
    for title, group in groups.items():
        differ = [i for i in range(len(columns)) if len({cell[i] for cell in group}) > 1]
        for cell in group:
            parts = [
                (
                    _DISTINCT[columns[i]](cell[i])
                    if columns[i] in _DISTINCT
                    else f"{columns[i].replace('_', ' ')} {cell[i]}"
                )
                for i in differ
                if cell[i] is not None and cell[i] != ""
            ]
            labels[cell] = ", ".join([title, *parts])
    return labels

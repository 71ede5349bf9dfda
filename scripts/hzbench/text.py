# SPDX-License-Identifier: Apache-2.0
"""Numbers and names as a reader sees them; shared by tables and figures."""

import math
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from . import schema

MISSING = "-"

Lookup: TypeAlias = Callable[[str], Any]  # value of a cell by the name of its column


class Ratio(Protocol):
    """stats.Comparison or verdict.Pair."""

    @property
    def ratio(self) -> float:
        ...

    @property
    def low(self) -> float:
        ...

    @property
    def high(self) -> float:
        ...

    @property
    def is_bound(self) -> bool:
        ...


def ratio_of(comparison: Ratio) -> str:
    """'1.35', or 'at least 1.35' where most of both times is the harness's and the direction is known."""
    side = ""
    if comparison.is_bound:
        side = "at least " if comparison.low > 1 else "at most " if comparison.high < 1 else ""
    return side + three(comparison.ratio)


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


def interval(low: float, high: float) -> str:
    """'[1.21, 2.69]'."""
    return f"[{three(low)}, {three(high)}]"


def estimate(value: float, low: float, high: float) -> str:
    """'1.64 [1.21, 2.69]'."""
    return f"{three(value)} {interval(low, high)}"


def ten_digits(value: float | None) -> float | None:
    """For JSON: the last of sixteen digits are another machine's, whose numpy takes logarithms by other
    instructions."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{float(value):.10g}")


def letter(place: int, what: str) -> str:
    """A, B, ... Z; then, with `what` a file, 'file 27'."""
    return string.ascii_uppercase[place] if place < 26 else f"{what} {place + 1}"


@dataclass(frozen=True)
class Rate:
    """How throughputs are shown: a unit and its size, or the seconds of a run."""

    unit: str
    size: float = 1  # one of the unit, in ops/s
    is_time: bool = False  # what a user waits for: 1 / throughput

    @property
    def label(self) -> str:
        """Of an axis."""
        return f"{'time' if self.is_time else 'throughput'}, {self.unit}"

    def of(self, speeds: Any) -> Any:
        """A speed in ops/s, or an array of them, in the unit."""
        return 1 / speeds if self.is_time else speeds / self.size

    def __call__(self, value: float) -> str:
        return three(self.of(value) if value or not self.is_time else math.nan)

    def holds(self, other: "Rate") -> bool:
        """Whether a number of `other` can stand in a column of this unit: the same quantity, and not 0.00000400."""
        ours, theirs = (rate.unit if rate not in _OBJECTS else "" for rate in (self, other))
        return ours == theirs and other.size * 1000 >= self.size


EACH = Rate("ops/s")
MILLIONS = Rate("M ops/s", 1e6)
_OBJECTS = (Rate("G ops/s", 1e9), MILLIONS, Rate("k ops/s", 1e3), EACH)
SECONDS = Rate("s a run", is_time=True)


def _unit(cell: schema.Cell) -> str:
    """What an op of a program is; '' for objects."""
    workload = cell[schema.CELL.index("workload")]
    if workload == "app":
        return schema.UNITS.get(cell[schema.CELL.index("input")], "ops")
    return "runs" if workload == "program" else ""


def rate_of(speeds: Iterable[tuple[schema.Cell, float]]) -> Rate:
    """The one unit for (cell, ops/s) that stand beside one another: of objects the largest that the fastest reaches; of
    programs what they do, requests or pages; runs are told in seconds. Where objects stand beside programs, theirs."""
    speeds = list(speeds)
    units = {_unit(cell) for cell, _ in speeds}
    if units == {"runs"}:
        return SECONDS
    if units and "" not in units:
        return Rate(f"{units.pop()}/s") if len(units) == 1 else EACH
    fastest = max((speed for cell, speed in speeds if _unit(cell) == "" and speed > 0), default=1e6)
    return next((rate for rate in _OBJECTS if fastest >= rate.size), EACH)


class Column:
    """Speeds of several rows in one unit, named once; where one does not suit all, each row has its own."""

    def __init__(self, rows: Mapping[Any, Sequence[tuple[schema.Cell, float]]]) -> None:
        self._own = {row: rate_of(speeds) for row, speeds in rows.items()}
        self.rate = rate_of(pair for speeds in rows.values() for pair in speeds)
        self.is_one = all(self.rate.holds(own) for own in self._own.values())
        self.unit = self.rate.unit if self.is_one else "each with its unit"

    def __call__(self, row: Any, value: float) -> str:
        own = self._own[row]
        return self.rate(value) if self.is_one else f"{own(value)} {own.unit}"


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


_OF_HANDING_OVER = {"handover_batch", "receiver"}


def _hands_over(value: Lookup) -> bool:
    """Not where the share is 0, nor where one thread has nobody to hand to; workloads without a share always do."""
    return value("remote_ppm") is None or (value("remote_ppm") > 0 and value("threads") > 1)


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
        if parameter["name"] in _OF_HANDING_OVER and not _hands_over(value):
            continue
        told = value(parameter["name"])
        if told and told != schema.usual(parameter):
            parts.append(f"{parameter['parameter']} {size(told) if parameter['kind'] == 'bytes' else told}")
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
_DISTINCT["memory_limit_bytes"] = lambda v: f"limit {size(v)}"


def _sizes(cell: schema.Cell) -> str:
    """Sizes of one cell, as one of several that differ by them."""
    low, high = (cell[schema.CELL.index(c)] for c in ("min_bytes", "max_bytes"))
    return size(low) if low == high else f"{size(low)} to {size(high)}"


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
        bounds = [columns.index(c) for c in ("min_bytes", "max_bytes")]
        for cell in group:
            has_both = set(bounds) <= set(differ) and all(cell[i] for i in bounds)
            parts = [
                (
                    _DISTINCT[columns[i]](cell[i])
                    if columns[i] in _DISTINCT
                    else f"{columns[i].replace('_', ' ')} {cell[i]}"
                )
                for i in differ
                if cell[i] is not None and cell[i] != "" and not (has_both and i in bounds)
            ]
            labels[cell] = ", ".join([title, *([_sizes(cell)] if has_both else []), *parts])
    return labels

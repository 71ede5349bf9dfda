# SPDX-License-Identifier: Apache-2.0
"""What the samples of a cell say about its allocators, in one sentence; words and rule are those of the runner
(runner/results/verdict.c), a test holds one against the other.

A name stands in front only when the data separates it from each of the others. Pairs with the baseline are decided by
the comparison that the table shows; the others by the exact interval of the same ratios and the rank test, after
control of false discoveries over all of them in the cell.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from . import stats, text

# (name, other) -> values of the rounds that both have.
Values: TypeAlias = Callable[[str, str], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]

OPPOSITE = {"faster": "slower", "slower": "faster", "smaller": "larger", "larger": "smaller"}


@dataclass(frozen=True)
class Pair:
    """One allocator against another: how many times its speed or its memory."""

    ratio: float
    low: float
    high: float
    verdict: str
    pairs: int
    is_bound: bool = False  # most of both times is the harness's: the true ratio lies farther from 1

    @property
    def turned(self) -> "Pair":
        return Pair(1 / self.ratio, 1 / self.high if self.high else math.inf, 1 / self.low if self.low else math.inf,
                    OPPOSITE.get(self.verdict, self.verdict), self.pairs, self.is_bound)  # fmt: skip


Pairs: TypeAlias = dict[tuple[str, str], Pair]


@dataclass
class Cell:
    """The allocators of a cell that have good samples throughout, the baseline first; pairs by (name, other)."""

    names: list[str]
    speed: "Pairs"
    memory: "Pairs"
    rounds: int
    margin: float
    failed: list[str]
    harness_bound: bool = False  # ratios of speed are bounds, and none is called the same

    @property
    def base(self) -> str:
        return self.names[0]


def nothing() -> Cell:
    """Of a cell without good samples."""
    return Cell([], {}, {}, 0, stats.MARGIN, [])


def of_comparison(comparison: stats.Comparison, verdict: str) -> Pair:
    return Pair(comparison.ratio, comparison.low, comparison.high, verdict, comparison.pairs, comparison.is_bound)


def _all_pairs(
    names: Sequence[str], values_of: Values, known: Pairs, better: bool, margin: float, bound: bool
) -> Pairs:
    """{(name, other): Pair}; `known` has those with the baseline."""
    found: Pairs = {}
    open_: list[tuple[tuple[str, str], npt.NDArray[np.float64]]] = []
    for at, one in enumerate(names):
        for other in names[:at]:
            if (one, other) in known:
                found[one, other] = known[one, other]
            else:
                new, old = values_of(one, other)
                if len(new):
                    open_.append(((one, other), np.log(new) - np.log(old)))
    q = stats.benjamini_hochberg([stats.signed_rank_p(d) for _, d in open_])
    for ((one, other), d), adjusted in zip(open_, q):
        comparison = replace(stats.exact_paired(d), is_bound=bound)
        found[one, other] = of_comparison(comparison, comparison.verdict(float(adjusted), margin, better))
    return found | {(other, one): pair.turned for (one, other), pair in found.items()}


def cell(
    names: list[str],
    failed: list[str],
    values_of: tuple[Values, Values],
    known: tuple[Pairs, Pairs],
    rounds: int,
    margin: float,
    harness_bound: bool,
) -> Cell:
    """`values_of` and `known`: of speed and of memory; `known` has the pairs with the baseline."""
    return Cell(
        names,
        _all_pairs(names, values_of[0], known[0], True, margin, harness_bound),
        _all_pairs(names, values_of[1], known[1], False, margin, False),
        rounds,
        margin,
        failed,
        harness_bound,
    )


class _Ranking:
    """Names from the best on; those that cannot be told from the best have moved up behind it."""

    def __init__(self, cell_: Cell, pairs: Pairs, better: str, worse: str) -> None:
        self.pairs, self.worse = pairs, worse
        self.plan = cell_.names
        sign = -1 if better == "faster" else 1
        value = {name: pairs[name, cell_.base].ratio if (name, cell_.base) in pairs else 1.0 for name in cell_.names}
        self.order = sorted(cell_.names, key=lambda name: sign * value[name])
        self.leaders = self.gather(0)

    def gather(self, first: int) -> int:
        one = self.order[first]
        near = [n for n in self.order[first + 1 :] if self._is_near(n, one)]
        far = [n for n in self.order[first + 1 :] if n not in near]
        self.order[first:] = [one, *near, *far]
        return first + 1 + len(near)

    def _is_near(self, name: str, one: str) -> bool:
        return (name, one) not in self.pairs or self.pairs[name, one].verdict != self.worse

    def names(self, start: int, end: int) -> str:
        """In the order of the plan: among equals nobody is first."""
        return listed([n for n in self.plan if n in self.order[start:end]])


def listed(names: Sequence[str]) -> str:
    """'a, b and c'"""
    return " and ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), *names[-1:]])


def apart(bound: bool) -> str:
    """Of several; and why those whose times look equal are not called the same."""
    return "cannot be told apart" + (" (harness-bound)" if bound else "")


def _percent(share: float) -> str:
    return f"{100 * share:.{1 if 100 * share < 9.95 else 0}f}"


def factor(name: str, pair: Pair, before: str = "", other: str = "") -> str:
    """How many times as fast, with its interval."""
    beside = f" as {other}" if other else ""
    interval = f"[{text.three(pair.low)}, {text.three(pair.high)}]"
    return f"{name}{before} {text.ratio_of(pair)} times as fast{beside} {interval}"


def needs(pair: Pair | None) -> str:
    """'12 % less memory', '2.4 times the memory', '' where nothing is decided."""
    if pair is None or pair.verdict not in ("smaller", "larger"):
        return ""
    if pair.verdict == "smaller":
        return f"{_percent(1 - pair.ratio)} % less memory"
    return (
        f"{text.three(pair.ratio)} times the memory" if pair.ratio >= 2 else f"{_percent(pair.ratio - 1)} % more memory"
    )


def _winner(cell_: Cell, speed: _Ranking) -> str:
    winner = speed.order[0]
    other = cell_.base if winner != cell_.base else speed.order[1]
    many = len(cell_.names) > 2
    said = factor(winner, cell_.speed[winner, other], " is the fastest," if many else " is", other)
    memory = needs(cell_.memory.get((winner, other)))
    return said + (f"{',' if many else ''} and needs {memory}" if memory else "")


def _leaders(cell_: Cell, speed: _Ranking) -> str:
    said = f"{speed.names(0, speed.leaders)} are the fastest and {apart(cell_.harness_bound)}"
    pair = cell_.speed.get((speed.order[0], cell_.base))
    if pair is not None and pair.verdict == "faster":
        said += ", " + factor(speed.order[0], pair, "", cell_.base)
    return said


def _no_leader(cell_: Cell) -> str:
    beside = [cell_.speed.get((name, cell_.base)) for name in cell_.names[1:]]
    if all(pair is not None and pair.verdict == "same" for pair in beside):
        return f"no difference you could notice in time (all within {100 * cell_.margin:g} %)"
    said = f"{listed(cell_.names)} {apart(cell_.harness_bound)}"
    if len(cell_.names) == 2 and beside[0] is not None:
        said += ": " + factor(cell_.names[1], beside[0])
    return said


def _least_memory(cell_: Cell, told: str) -> str:
    memory = _Ranking(cell_, cell_.memory, "smaller", "larger")
    least = memory.order[0]
    if memory.leaders != 1 or least == told or (told and len(cell_.names) == 2):
        return ""
    said = f"; {least} needs the least memory"
    pair = cell_.memory.get((least, cell_.base))
    if pair is not None and pair.verdict == "smaller":
        low, high = _percent(1 - pair.high), _percent(1 - pair.low)
        said += f", {_percent(1 - pair.ratio)} % [{low}, {high}] less than {cell_.base}"
    return said


def _others(cell_: Cell, speed: _Ranking) -> str:
    groups, place = [], speed.leaders
    while place < len(cell_.names):
        end = speed.gather(place)
        if end - place > 1:
            groups.append(speed.names(place, end))
        place = end
    others = "".join(f", nor can {g}" for g in groups[1:])
    return f"; {groups[0]} {apart(cell_.harness_bound)}{others}" if groups else ""


def sentence(cell_: Cell) -> str:
    """'' for a single allocator."""
    failed = f"Without good samples throughout: {', '.join(cell_.failed)}." if cell_.failed and cell_.names else ""
    if len(cell_.names) < 2:
        return failed
    if not any(math.isfinite(pair.high) for pair in cell_.speed.values()):
        pairs = len(cell_.names) * (len(cell_.names) - 1) // 2
        runs = math.ceil(math.log2(2 * pairs / stats.ALPHA)) + 2
        said = (
            f"{text.plural(cell_.rounds, 'round')} {'decides' if cell_.rounds == 1 else 'decide'} nothing about"
            f" {len(cell_.names)} allocators - take more,"
            f" such as --runs={runs}."
        )
        return f"{said} {failed}".rstrip()
    speed = _Ranking(cell_, cell_.speed, "faster", "slower")
    won = speed.leaders == 1
    if won:
        said = _winner(cell_, speed)
    elif speed.leaders < len(cell_.names):
        said = _leaders(cell_, speed)
    else:
        said = _no_leader(cell_)
    said += _least_memory(cell_, speed.order[0] if won else "") + _others(cell_, speed)
    return f"{said}. {failed}".rstrip()

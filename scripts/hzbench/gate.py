# SPDX-License-Identifier: Apache-2.0
"""The gate: throughput fails only on proof, peak RSS beyond its limit fails as it is (it hardly depends on load).

Proof is both: the interval lies wholly beyond the limit, and the rank test against the limit, not against 1, holds at
5 % after control of false discoveries over all cells of the gate. Many cells therefore do not cry wolf more often.
"""

import json
import math
from collections.abc import Collection
from pathlib import Path

import numpy as np

from . import errors, files, stats, text
from .compare import Difference, Line


def _p_against(line: Line, limit: float, paired: bool) -> float:
    """p of the hypothesis that the true ratio is `limit`."""
    new, base = line.speed_logs
    if paired:
        return stats.signed_rank_p(np.asarray(new) - base - math.log(limit))
    return stats.rank_sum_p(np.asarray(new) - math.log(limit), base)


def _speed(line: Line, c: stats.Comparison, limit: float, q: float, family: int, paired: bool) -> tuple[str, str]:
    numbers = f"{line.title}: {text.ratio_of(c)} [{text.three(c.low)}, {text.three(c.high)}]"
    if c.low >= limit and c.enough:
        if c.is_bound and c.low < 1:
            return "open", f"{numbers}: harness-bound, a loss is larger than it looks"
        return "pass", numbers
    needed = stats.rounds_for(family, paired)
    if c.high < limit and q <= stats.ALPHA:
        return "fail", f"{numbers}, limit {text.three(limit)}"
    if c.pairs < needed:
        return (
            "open",
            f"{numbers}, limit {text.three(limit)}: {c.pairs} rounds cannot prove anything here, {needed} can",
        )
    return "open", f"{numbers}, limit {text.three(limit)} is not excluded"


def _memory(line: Line, limit: float) -> tuple[str, str]:
    c = line.memory
    if c is None:
        return "open", f"{line.title}: peak RSS was not measured on both sides"
    numbers = f"{line.title}: peak RSS {text.three(c.ratio)} [{text.three(c.low)}, {text.three(c.high)}]"
    return ("fail", f"{numbers}, limit {text.three(limit)}") if c.ratio > limit else ("pass", numbers)


def _has_power(c: stats.Comparison, max_worse: float, family: int, paired: bool) -> bool:
    """Whether a loss of `max_worse` would have been seen four times in five."""
    return c.pairs >= stats.rounds_for(family, paired) and c.visible <= max_worse


def _power_line(weak: list[stats.Comparison], cells: int, max_worse: float, family: int, paired: bool) -> str:
    """What a gate that could not have failed must say."""
    worst = max(weak, key=lambda c: c.visible)
    line = (
        f"gate: warning: no power: in {len(weak)} of {text.plural(cells, 'cell')} these rounds would not have shown a"
        f" loss of {text.percent(max_worse)} (4 times in 5)"
    )
    if not math.isfinite(worst.visible):
        return f"{line}; {stats.rounds_for(family, paired)} rounds or more can show something"
    rounds = max(math.ceil(worst.pairs * (worst.visible / max_worse) ** 2), stats.rounds_for(family, paired))
    return f"{line}; about {rounds} rounds would"


def check(
    difference: Difference,
    max_worse: float,
    max_rss: float | None = None,
    only: Collection[str] | None = None,
    strict: bool = False,
) -> tuple[list[str], int]:
    """(lines to print, exit code). 1: a loss beyond `max_worse` is proven, memory is beyond `max_rss`, or NEW fails
    where BASE did not. 5, only when strict: nothing failed but something could neither fail nor pass. Open cells whose
    rounds could not have shown such a loss are a warning: that nothing failed says nothing there."""
    unknown = set(only or ()) - {line.name for line in difference.lines}
    if unknown:
        raise errors.InputError(f"--alloc={errors.printable(sorted(unknown)[0], 60)} is not in the files")
    lines = [line for line in difference.lines if not only or line.name in only]
    limit = 1 - max_worse
    compared = [line for line in lines if line.speed]
    q = stats.benjamini_hochberg([_p_against(line, limit, difference.paired) for line in compared])
    adjusted = {id(line): float(value) for line, value in zip(compared, q)}
    outcomes = []
    weak = []
    for line in lines:
        if line.new_failed or line.problem == "not in NEW":
            outcomes.append(("fail", f"{line.title}: {line.problem}"))
        elif line.speed is None:
            outcomes.append(("open", f"{line.title}: {line.problem}"))
        else:
            outcomes.append(_speed(line, line.speed, limit, adjusted[id(line)], len(compared), difference.paired))
            if outcomes[-1][0] == "open" and not _has_power(line.speed, max_worse, len(compared), difference.paired):
                weak.append(line.speed)
            if max_rss is not None:
                outcomes.append(_memory(line, 1 + max_rss))
    counts = {kind: sum(k == kind for k, _ in outcomes) for kind in ("fail", "open", "pass")}
    out = [f"{kind}  {what}" for kind, what in outcomes]
    out.append(f"gate: {counts['fail']} failed, {counts['open']} open, {counts['pass']} passed")
    if weak:
        out.insert(-1, _power_line(weak, len(compared), max_worse, len(compared), difference.paired))
    if counts["fail"]:
        return out, errors.GATE_FAILED
    return out, errors.INCONCLUSIVE if counts["open"] and strict else errors.OK


def _instructions(path: str | Path) -> dict[tuple[str, str], float]:
    """{(pattern, size): instructions of a malloc and its free} of the one allocator in a file of
    scripts/instructions."""
    try:
        record = json.loads(files.read_text(path, "instruction counts"))
        (patterns,) = record.values()
        return {(p, size): float(cell["pair"]) for p, sizes in patterns.items() for size, cell in sizes.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.InputError(
            f"{path}: not the counts of one allocator (scripts/instructions --json): {error}"
        ) from error


def check_instructions(base_path: str | Path, new_path: str | Path, max_worse: float) -> tuple[list[str], int]:
    """(lines, exit code) for two files of scripts/instructions. Counts are exact: more is more, no proof is needed."""
    base, new = _instructions(base_path), _instructions(new_path)
    if set(base) != set(new):
        raise errors.InputError(f"{base_path} and {new_path} count other patterns or sizes; count the same in both")
    outcomes = []
    for key in base:
        kind = "fail" if new[key] > base[key] * (1 + max_worse) else "pass"
        outcomes.append(kind)
        outcomes.append(f"{kind}  {key[0]}, {key[1]} B: {base[key]:g} -> {new[key]:g} instructions a malloc and free")
    failed = outcomes[::2].count("fail")
    lines = [*outcomes[1::2], f"gate: {failed} failed, 0 open, {len(base) - failed} passed"]
    return lines, errors.GATE_FAILED if failed else errors.OK

# SPDX-License-Identifier: Apache-2.0
"""Decides the hypotheses of the paper by rules that were written before the runs. No rule looks at prose.

Each answers (outcome, evidence): supported, refuted, mixed or undecided, and counts that a reader can check.
A failed cell never helps the allocator that failed: it counts as lost.
"""

from collections import Counter
from typing import TypeAlias

from .. import stats
from .evidence import Evidence
from .spec import Rule

Facts: TypeAlias = dict[str, int | float]  # counts and ratios behind an outcome
Decision: TypeAlias = tuple[str, Facts]


def verdict(evidence: Evidence, cell: str, new: str, base: str) -> str:
    """Of the throughput of `new` against `base` in a cell; one that failed there is slower than all others."""
    comparison = evidence.compare(cell, new, base)
    if comparison is None:
        return "slower" if evidence.row(cell, new).failure else "faster"
    return comparison.verdict()


def _outcome(won: int, lost: int, total: int) -> str:
    if won == total:
        return "supported"
    if lost == 0:
        return "undecided"
    return "refuted" if lost >= won else "mixed"


def fastest(evidence: Evidence, rule: Rule) -> Decision:
    """Faster than every rival in every cell; with peak_limit, also no larger than that times the most compact rival."""
    cells = evidence.spec.cells_of(rule)
    verdicts = [verdict(evidence, c, rule["allocator"], r) for c in cells for r in rule["rivals"]]
    counts = Counter(verdicts)
    outcome = _outcome(counts["faster"], counts["slower"], len(verdicts))
    facts: Facts = {"comparisons": len(verdicts), "faster": counts["faster"], "slower": counts["slower"]}
    if "peak_limit" in rule:
        within = sum(_peak_share(evidence, c, rule) <= rule["peak_limit"] for c in cells)
        facts |= {"cells": len(cells), "within": within}
        if within < len(cells) and outcome == "supported":
            outcome = "mixed"
    return outcome, facts


def _peak_share(evidence: Evidence, cell: str, rule: Rule) -> float:
    mine = evidence.row(cell, rule["allocator"])
    rivals = [r for r in (evidence.row(cell, name) for name in rule["peak_rivals"]) if not r.failure]
    return float("inf") if mine.failure or not rivals else mine.rss_peak / min(r.rss_peak for r in rivals)


def dominates(evidence: Evidence, rule: Rule) -> Decision:
    """Faster, and smaller by the factor, in every cell."""
    cells = evidence.spec.cells_of(rule)
    fast = [verdict(evidence, c, rule["allocator"], rule["rival"]) for c in cells]
    small = []
    for cell in cells:
        peak = evidence.compare(cell, rule["allocator"], rule["rival"], "rss_peak")
        small.append(peak is not None and peak.high <= 1 / rule["memory_factor"])
    both = sum(f == "faster" and s for f, s in zip(fast, small))
    outcome = "supported" if both == len(cells) else "mixed" if both else "refuted"
    return outcome, {"cells": len(cells), "faster": fast.count("faster"), "smaller": sum(small), "both": both}


def curve(evidence: Evidence, _rule: Rule) -> Decision:
    """No setting of the knob is worse than another in both throughput and memory, beyond the margin of 'same'."""
    knob = evidence.spec.curve["knob"]
    pairs = dominated = 0
    for cell in evidence.spec.curve["cells"]:
        for one in knob:
            for other in knob:
                if one == other:
                    continue
                pairs += 1
                speed = evidence.compare(cell, one, other)
                peak = evidence.compare(cell, one, other, "rss_peak")
                lost = speed is None or (
                    speed.high < 1 - stats.MARGIN and peak is not None and peak.low > 1 + stats.MARGIN
                )
                dominated += lost
    return ("supported" if dominated == 0 else "refuted"), {"pairs": pairs, "dominated": dominated}


def collapse(evidence: Evidence, rule: Rule) -> Decision:
    """Without the mechanism throughput falls below the factor of what it is with it."""
    comparison = evidence.compare(rule["cell"], rule["without"], rule["with"])
    if comparison is None:
        return "undecided", {}
    outcome = (
        "supported"
        if comparison.high < rule["factor"]
        else "refuted"
        if comparison.low >= rule["factor"]
        else "undecided"
    )
    return outcome, {"ratio": comparison.ratio, "low": comparison.low, "high": comparison.high}


def not_slower(evidence: Evidence, rule: Rule) -> Decision:
    cells = evidence.spec.cells_of(rule)
    comparisons = {c: evidence.compare(c, rule["allocator"], rule["rival"]) for c in cells}
    slower = sum(x is None or x.verdict() == "slower" for x in comparisons.values())
    settled = sum(x is not None and x.verdict() in ("same", "faster") for x in comparisons.values())
    outcome = "refuted" if slower else "supported" if settled == len(cells) else "undecided"
    ratios = [x.ratio for x in comparisons.values() if x is not None]
    return outcome, {"cells": len(cells), "slower": slower, "ratio": stats.geometric_mean(ratios)}


RULES = {
    "fastest": fastest,
    "dominates": dominates,
    "curve": curve,
    "collapse": collapse,
    "not-slower": not_slower,
}


def decide(evidence: Evidence) -> dict[str, Decision]:
    """{hypothesis id: (outcome, evidence)}"""
    return {h.id: RULES[h.rule["kind"]](evidence, h.rule) for h in evidence.spec.hypotheses}

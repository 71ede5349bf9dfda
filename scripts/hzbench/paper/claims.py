# SPDX-License-Identifier: Apache-2.0
"""The claims of the paper: as a table in the form that artifact reviewers ask for (claim, command, expected, tolerance,
time), and each held against fresh rows (scripts/claims)."""

import dataclasses
from collections.abc import Collection
from pathlib import Path

from ..errors import InputError
from ..tables import markdown_escape
from . import hypotheses
from .evidence import Evidence
from .hypotheses import Facts
from .spec import Hypothesis, Rule, Spec

BEGIN, END = "<!-- claims: made by scripts/paper claims -->", "<!-- end of claims -->"

_TOLERANCE = {
    "fastest": "no comparison decided the other way round",
    "dominates": "no comparison decided the other way round",
    "curve": "the same outcome, with a margin of 2 %",
    "collapse": "the whole interval on the same side of the factor",
    "not-slower": "no comparison decided the other way round",
}


def _expected(outcome: str, facts: Facts) -> str:
    shown = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in facts.items())
    return f"{outcome} ({shown})" if shown else outcome


def runs_of(spec: Spec, rule: Rule) -> list[str]:
    """The runs that a claim is decided from."""
    cells = (
        spec.curve["cells"] if rule["kind"] == "curve" else [rule["cell"]] if "cell" in rule else spec.cells_of(rule)
    )
    return list(dict.fromkeys(spec.cells[c].run for c in cells))


def _minutes(evidence: Evidence, run: str) -> int:
    """How long the committed run took, from its samples' start times."""
    started = sorted(evidence.results[run].data["started_at"])
    return max(1, round((_seconds(started[-1]) - _seconds(started[0])) / 60))


def _seconds(stamp: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def table(evidence: Evidence) -> str:
    lines = ["| claim | command | found here | tolerance | time |", "|---|---|---|---|---|"]
    decided = hypotheses.decide(evidence)
    for h in evidence.spec.hypotheses:
        runs = runs_of(evidence.spec, h.rule)
        time = sum(_minutes(evidence, r) for r in runs)
        lines.append(
            f"| ({h.id}) {markdown_escape(h.text['en'])} | `scripts/claims {h.id}` | {_expected(*decided[h.id])} |"
            f" {_TOLERANCE[h.rule['kind']]} | {time} min |"
        )
    return "\n".join(lines)


def write(path: Path, body: str) -> None:
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise InputError(f"{path}: has no '{BEGIN}' and '{END}' to put the table between")
    head, rest = text.split(BEGIN, 1)
    path.write_text(f"{head}{BEGIN}\n\n{body}\n\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")


def part_of(spec: Spec, claim: Hypothesis) -> Spec:
    """The description reduced to one claim and the runs that it needs, so that it can be decided alone."""
    runs = runs_of(spec, claim.rule)
    return dataclasses.replace(
        spec,
        runs={name: spec.runs[name] for name in runs},
        cells={name: cell for name, cell in spec.cells.items() if cell.run in runs},
        hypotheses=(claim,),
    )


@dataclasses.dataclass(frozen=True)
class Judgement:
    """One claim on fresh rows. `held` is None when these rows cannot tell; `reason` says why, or what they show."""

    claim: str
    held: bool | None
    reason: str

    def line(self) -> str:
        verdict = {True: "held", False: "not held here", None: "cannot be tested here"}[self.held]
        return f"({self.claim}) {verdict}: {self.reason}"


def _absent(evidence: Evidence, needed: Collection[str]) -> str:
    """Why an allocator of the claim has no samples, or nothing."""
    for cell in evidence.spec.cells:
        for name in needed:
            if name in evidence.allocators(cell) and not evidence.row(cell, name).failure:
                continue
            messages = [m for m in evidence.samples(cell, name)["message"].dropna() if m]
            return f"{name} has no complete samples in '{cell}'{': ' + messages[0] if messages else ''}"
    return ""


def _allocators(spec: Spec, rule: Rule) -> list[str]:
    names = [rule[k] for k in ("allocator", "rival", "with", "without") if k in rule]
    return names + list(rule.get("rivals", [])) + (spec.curve["knob"] if rule["kind"] == "curve" else [])


def _turned(paper: Evidence, here: Evidence, rule: Rule) -> list[str]:
    """The comparisons that the paper decided one way and these rows decide the other way."""
    opposite = {"faster": "slower", "slower": "faster"}
    rivals = rule.get("rivals") or [rule["rival"]]
    return [
        f"{rule['allocator']} against {rival} in {cell}"
        for cell in here.spec.cells_of(rule)
        for rival in rivals
        if opposite.get(hypotheses.verdict(paper, cell, rule["allocator"], rival))
        == hypotheses.verdict(here, cell, rule["allocator"], rival)
    ]


def judge(paper: Evidence, here: Evidence, claim: Hypothesis) -> Judgement:
    """Holds what the committed rows say of a claim against fresh rows; both may be reduced to it by `part_of`."""
    absent = _absent(here, _allocators(here.spec, claim.rule))
    if absent:
        return Judgement(claim.id, None, absent)
    rule = hypotheses.RULES[claim.rule["kind"]]
    (said, _), (found, facts) = rule(paper, claim.rule), rule(here, claim.rule)
    shown = f"the paper finds it {said}, these rows {_expected(found, facts)}"
    if claim.rule["kind"] in ("curve", "collapse"):
        if found == "undecided":
            return Judgement(claim.id, None, f"{shown}; more rounds may decide")
        return Judgement(claim.id, found == said, shown)
    turned = _turned(paper, here, claim.rule)
    if turned:
        more = f" and {len(turned) - 1} more" if len(turned) > 1 else ""
        return Judgement(claim.id, False, f"{shown}; decided the other way round: {turned[0]}{more}")
    return Judgement(claim.id, True, shown)

# SPDX-License-Identifier: Apache-2.0
"""The claims table of docs/reproducibility.md, in the form artifact reviewers ask for: claim, command, expected,
tolerance, time."""

from pathlib import Path

from ..errors import InputError
from ..tables import markdown_escape
from . import hypotheses
from .evidence import Evidence
from .hypotheses import Facts
from .spec import Rule, Spec

BEGIN, END = "<!-- claims: made by scripts/paper claims -->", "<!-- end of claims -->"

_TOLERANCE = {
    "fastest": "a verdict a cell and rival; another machine may order neighbours differently",
    "dominates": "both intervals must clear their limit in each cell",
    "curve": "2 % margin",
    "collapse": "the whole interval on one side of the factor",
    "not-slower": "2 % margin",
}


def _expected(outcome: str, facts: Facts) -> str:
    shown = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in facts.items())
    return f"{outcome} ({shown})" if shown else outcome


def _runs(spec: Spec, rule: Rule) -> list[str]:
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
        runs = _runs(evidence.spec, h.rule)
        command = "scripts/paper measure " + " ".join(f"--only={r}" for r in runs) + " --out=DIR"
        time = sum(_minutes(evidence, r) for r in runs)
        lines.append(
            f"| ({h.id}) {markdown_escape(h.text['en'])} | `{command}` | {_expected(*decided[h.id])} |"
            f" {_TOLERANCE[h.rule['kind']]} | {time} min |"
        )
    return "\n".join(lines)


def write(path: Path, body: str) -> None:
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise InputError(f"{path}: has no '{BEGIN}' and '{END}' to put the table between")
    head, rest = text.split(BEGIN, 1)
    path.write_text(f"{head}{BEGIN}\n\n{body}\n\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")

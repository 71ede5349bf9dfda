# SPDX-License-Identifier: Apache-2.0
"""Notices results that have changed under a finished paper: paper/derived.json holds a digest of what each figure,
table and number shows. `accept` writes it after somebody has read the paper again; `stale` names what differs."""

import hashlib
import json
import re
from pathlib import Path

from ..errors import InputError
from . import figures, tables
from .evidence import Evidence
from .spec import LANGUAGES, ROOT

DERIVED = ROOT / "paper" / "derived.json"
_COMMENT = re.compile(r"^%.*$", re.M)
_NUMBER = re.compile(r"\\hz\{([^}]+)\}")
_INTERVAL = re.compile(r"\\hzinterval\{([^}]+)\}")


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode("utf-8")).hexdigest()[:16]


def used_keys() -> set[str]:
    """Keys that the text of either language uses."""
    keys = set()
    for language in LANGUAGES:
        text = _COMMENT.sub("", (ROOT / "paper" / language / "paper.tex").read_text(encoding="utf-8"))
        keys |= set(_NUMBER.findall(text))
        keys |= {f"{cell}/{part}" for cell in _INTERVAL.findall(text) for part in ("ratio", "low", "high")}
    return keys


def digests(evidence: Evidence) -> dict[str, str]:
    out = {}
    for stem in figures.names_of(evidence.spec):
        out[f"figure {stem}"] = _digest(figures.inputs(evidence, stem))
    for group in evidence.spec.groups.values():
        out[f"table speed-{group.id}"] = _digest(tables.group_table(evidence, group, "en", tables.ratio_entry))
        out[f"table memory-{group.id}"] = _digest(tables.group_table(evidence, group, "en", tables.memory_entry))
    out["table hypotheses"] = _digest(tables.hypothesis_table(evidence, "en"))
    out["table instructions"] = _digest(tables.instruction_table(evidence, "en"))
    numbers = tables.all_numbers(evidence)
    for key in sorted(used_keys()):
        if key not in numbers:
            raise InputError(f"the text uses \\hz{{{key}}}, but the results have no such number (scripts/why --list)")
        out[f"number {key}"] = _digest(numbers[key])
    return out


def stale(evidence: Evidence) -> list[str]:
    """What shows other things than when it was accepted, as lines; empty when all is current."""
    try:
        accepted = json.loads(DERIVED.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{DERIVED}: missing; scripts/paper accept writes it") from error
    now = digests(evidence)
    lines = [
        f"stale: {name} has changed since the paper was accepted"
        for name in now
        if accepted.get(name) not in (None, now[name])
    ]
    lines += [f"stale: {name} is new since the paper was accepted" for name in now if name not in accepted]
    return lines + [f"stale: {name} is gone since the paper was accepted" for name in accepted if name not in now]


def accept(evidence: Evidence) -> Path:
    DERIVED.write_text(json.dumps(digests(evidence), indent=1) + "\n", encoding="utf-8")
    return DERIVED

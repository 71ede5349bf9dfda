# SPDX-License-Identifier: Apache-2.0
"""LaTeX of the paper's tables and of its numbers. The words come from paper.toml, so both languages share every
cell."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from .. import text
from ..allocators import NULL
from ..tables import tex_escape
from . import hypotheses
from .evidence import Evidence
from .spec import Group, Words

INSTRUCTION_SIZES = ("16", "256", "4096", "65536")


def short(name: str) -> str:
    """hz5{profile=rss} -> hz5 rss: what fits above a column."""
    base, _, options = name.partition("{")
    return base if not options else f"{base} {options.rstrip('}').split('=')[-1]}"


def allocators_of(evidence: Evidence, group: Group) -> list[str]:
    """Those of every cell of the group; the baseline last but for others' ratios it is 1."""
    names = evidence.allocators(group.cells[0])
    return [n for n in names if n != NULL and all(n in evidence.allocators(c) for c in group.cells)]


def ratio_entry(evidence: Evidence, cell: str, name: str, words: Words, language: str) -> str:
    row = evidence.row(cell, name)
    if row.failure:
        return rf"\hzfailed{{{tex_escape(words['failed'][language])}}}"
    if name == evidence.spec.baseline:
        return rf"\hzrate{{{text.MILLIONS(row.throughput)}}}"
    if row.speed is None:
        return text.MISSING
    mark = {"faster": "hzfaster", "slower": "hzslower"}.get(row.verdict, "hzplain")
    return rf"\{mark}{{{text.three(row.speed.ratio)}}}{{{text.three(row.speed.low)}}}{{{text.three(row.speed.high)}}}"


def memory_entry(evidence: Evidence, cell: str, name: str, words: Words, language: str) -> str:
    row = evidence.row(cell, name)
    if row.failure:
        return rf"\hzfailed{{{tex_escape(words['failed'][language])}}}"
    smallest = min(r.rss_peak for r in evidence.sections[cell].rows if not r.failure)
    body = text.mebibytes(row.rss_peak)
    body = rf"\textbf{{{body}}}" if row.rss_peak == smallest else body
    return rf"\hzpeak{{{body}}}{{{text.mebibytes(row.rss_after)}}}"


def _grid(columns: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    return "\n".join([*lines, *(" & ".join(row) + r" \\" for row in rows), r"\bottomrule", r"\end{tabular}"]) + "\n"


def group_table(
    evidence: Evidence, group: Group, language: str, entry: Callable[[Evidence, str, str, Words, str], str]
) -> str:
    names = allocators_of(evidence, group)
    words = evidence.spec.words
    head = [tex_escape(words["workload"][language])] + [tex_escape(short(n)) for n in names]
    rows = [
        [rf"\hzcell{{{tex_escape(evidence.spec.cells[cell].title[language])}}}"]
        + [entry(evidence, cell, name, words, language) for name in names]
        for cell in group.cells
    ]
    return _grid("l" + "c" * len(names), head, rows)


def hypothesis_table(evidence: Evidence, language: str) -> str:
    words = evidence.spec.words
    head = ["", tex_escape(words["hypothesis"][language]), tex_escape(words["outcome"][language])]
    decided = hypotheses.decide(evidence)
    rows = [
        [f"({h.id})", tex_escape(h.text[language]), tex_escape(words[decided[h.id][0]][language])]
        for h in evidence.spec.hypotheses
    ]
    return _grid(r"lp{0.62\linewidth}l", head, rows)


def instruction_table(evidence: Evidence, language: str) -> str:
    numbers, words = evidence.numbers, evidence.spec.words
    names = [n for n in ("hz3", "hz4", "hz5") if f"instructions/{n}/local/16/malloc" in numbers]
    head = [tex_escape(words["bytes"][language])] + [f"{n} {what}" for n in names for what in ("malloc", "free")]
    rows = [
        [size]
        + [
            numbers.get(f"instructions/{n}/local/{size}/{what}", text.MISSING)
            for n in names
            for what in ("malloc", "free")
        ]
        for size in INSTRUCTION_SIZES
    ]
    return _grid("r" + "rr" * len(names), head, rows)


def all_numbers(evidence: Evidence, language: str = "en") -> dict[str, str]:
    """{key: text}: what was measured and what the hypotheses' rules made of it."""
    values = dict(evidence.numbers)
    for h_id, (outcome, facts) in hypotheses.decide(evidence).items():
        values[f"hypothesis/{h_id}/outcome"] = evidence.spec.words[outcome][language]
        for name, value in facts.items():
            shown = text.three(value) if isinstance(value, float) and not math.isinf(value) else str(value)
            values[f"hypothesis/{h_id}/{name}"] = shown
    return values


def number_definitions(evidence: Evidence, language: str) -> str:
    """One csname a number; \\hz{key} looks it up and stops the build when there is none."""
    lines = ["% Made by scripts/paper build. Do not edit."]
    for key, value in all_numbers(evidence, language).items():
        if "{" not in key:  # options in braces are for tables only; a csname cannot hold them
            lines.append(rf"\expandafter\def\csname hz@{key}\endcsname{{{tex_escape(value)}}}")
    return "\n".join(lines) + "\n"


def write_all(evidence: Evidence, directory: Path, language: str) -> dict[str, str]:
    """Writes the inputs of paper.tex; returns {file name: text}."""
    files = {"numbers.tex": number_definitions(evidence, language)}
    for group in evidence.spec.groups.values():
        files[f"speed-{group.id}.tex"] = group_table(evidence, group, language, ratio_entry)
        files[f"memory-{group.id}.tex"] = group_table(evidence, group, language, memory_entry)
    files["hypotheses.tex"] = hypothesis_table(evidence, language)
    files["instructions.tex"] = instruction_table(evidence, language)
    for name, body in files.items():
        (directory / name).write_text(body, encoding="utf-8")
    return files

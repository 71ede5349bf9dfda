# SPDX-License-Identifier: Apache-2.0
"""A pool as text, Markdown, LaTeX and JSON."""

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

from .. import schema, stats, tables, text
from . import explain, hosts, meta
from .build import QUANTITIES, Line, Local, Pool

FORMATS = ("text", "markdown", "latex", "json")
_BESIDE = 3  # so many hosts have a column of their own where the width is limited


def _local(local: Local | None, whole: bool) -> str:
    if local is None:
        return text.MISSING
    c = local.comparison
    if c is None:
        return local.verdict or text.MISSING
    return text.estimate(c.ratio, c.low, c.high) if whole else text.three(c.ratio)


def _pooled(pool: Pool) -> bool:
    return any(line.pooled for line in pool.lines)


def _head(pool: Pool, width: int | None) -> list[str]:
    letters = [host.letter for host in pool.hosts]
    if width is not None and len(letters) > _BESIDE:
        letters = ["hosts"]
    if not _pooled(pool):
        return ["allocator", *letters, "verdicts"]
    return ["allocator", *letters, "pooled [95 %]", "next host", "I2", "verdict"]


def _row(line: Line, pool: Pool, width: int | None) -> list[str]:
    by_letter = {local.host.letter: local for local in line.locals}
    whole = width is None or (len(pool.hosts) <= 2 and not _pooled(pool))
    if width is not None and len(pool.hosts) > _BESIDE:
        ratios = [local.comparison.ratio for local in line.locals if local.comparison]
        told = [f"{text.three(min(ratios))}..{text.three(max(ratios))}" if ratios else text.MISSING]
    else:
        told = [_local(by_letter.get(host.letter), whole) for host in pool.hosts]
    if not _pooled(pool):
        return [line.name, *told, ", ".join(local.verdict or text.MISSING for local in line.locals)]
    p = line.pooled
    if p is None:
        return [line.name, *told, text.MISSING, text.MISSING, text.MISSING, f"none: {line.why_not}"]
    mean, low, high, next_low, next_high = (math.exp(v) for v in (p.mean, p.low, p.high, p.next_low, p.next_high))
    return [
        line.name,
        *told,
        text.estimate(mean, low, high),
        text.interval(next_low, next_high),
        text.percent(p.i2),
        "disagree" if line.crosses else line.verdict,
    ]


def _numeric(head: Sequence[str]) -> list[bool]:
    return [0 < i < len(head) - 1 for i in range(len(head))]


def _grids(pool: Pool, width: int | None) -> list[tuple[str, str, list[str], list[list[str]]]]:
    """(title of the cell, its details, head, rows) for each cell and quantity; the details once a cell."""
    labels = text.cell_labels(pool.cells)
    found = []
    for cell in pool.cells:
        details = text.cell_details(text.lookup(cell))
        for quantity in QUANTITIES:
            rows = [_row(line, pool, width) for line in pool.of(cell, quantity)]
            if rows:
                found.append((f"{labels[cell]}: {quantity} / {pool.baseline}", details, _head(pool, width), rows))
                details = ""
    return found


def _hosts(pool: Pool) -> tuple[list[str], list[list[str]], str]:
    """(head, rows, sentence of what is equal) of the table of hosts: a row a fact in which they differ."""
    shared = hosts.common(pool.hosts)
    differing = [name for name in pool.hosts[0].facts if name not in shared]
    rows = [[name, *(host.facts[name] for host in pool.hosts)] for name in differing]
    rows.append(["commit", *((host.commit[:12] or "unknown") for host in pool.hosts)])
    rounds = [str(host.results.data.groupby(["cell", "name"])["block"].nunique().max()) for host in pool.hosts]
    rows.append(["rounds", *rounds])
    equal = ", ".join(f"{name} {value}" for name, value in shared.items() if value != text.MISSING)
    return ["", *(host.letter for host in pool.hosts)], rows, f"Equal on all: {equal}." if equal else ""


def why_nothing(pool: Pool) -> str:
    """One line when nothing is pooled."""
    if _pooled(pool):
        return ""
    reasons = sorted({line.why_not for line in pool.lines})
    return (
        f"No verdict across hosts: {'; '.join(reasons)}. Each host's own ratios stand side by side; how the next host"
        " would decide cannot be said from them."
    )


def legend(pool: Pool) -> list[str]:
    """How to read the tables."""
    margin = f"{100 * pool.margin:g} %"
    lines = [
        "A host's ratio: Hodges-Lehmann estimate over the rounds of that host, each allocator paired with"
        f" {pool.baseline} by round."
    ]
    if _pooled(pool):
        lines += [
            "pooled: mean over hosts of the logarithms (random effects, tau^2 by Paule and Mandel), with the interval"
            " of Knapp and Hartung, modified; next host: where the ratio of one more host of this kind lies, 95 times"
            " in 100; I2: share of the spread that the hosts' own errors do not explain.",
            "faster, slower (smaller, larger): the pooled interval excludes 1 and its p-value, adjusted over the table,"
            f" is at most 5 %; same: all of it within {margin} of 1; disagree: one host's own verdict is the opposite"
            " of another's.",
        ]
    return lines


def _explained(pool: Pool) -> list[str]:
    labels = text.cell_labels(pool.cells)
    out = []
    for change in explain.changes(pool):
        word, opposite = ("faster", "slower") if QUANTITIES[change.quantity][1] else ("larger", "smaller")
        ratios = ", ".join(f"{letter} {text.three(ratio)}" for letter, ratio in change.ratios.items())
        goes = (
            f" Goes with {change.property} (rank correlation {change.rho:+.2f}, n = {change.hosts} hosts)."
            if change.property
            else " No recorded property of the hosts differs."
        )
        out.append(
            f"{labels[change.cell]}, {change.quantity}: {change.one} is {word} than {change.other} on"
            f" {', '.join(change.ahead)} and {opposite} on {', '.join(change.behind)} ({ratios}).{goes}"
        )
    few = len(pool.hosts)
    if not out:
        return ["No two allocators change their order between hosts beyond the hosts' own intervals."]
    if few < 6:
        out.append(
            f"With {few} hosts one property in {math.factorial(few) // 2} has a rank correlation of 1 or -1 by"
            " chance alone: this names what to look at, not a cause."
        )
    return out


def as_text(pool: Pool, width: int | None, explained: bool) -> str:
    head, rows, equal = _hosts(pool)
    lines = ["Hosts", *tables.fitted(head, rows, [False] * len(head), width, ()), *tables.wrapped(equal, width), ""]
    lines += tables.wrapped(why_nothing(pool), width) + ([""] if why_nothing(pool) else [])
    for title, details, columns, cells in _grids(pool, width):
        lines += [*tables.wrapped(title, width), *tables.wrapped(details, width, "  ")]
        lines += [*tables.fitted(columns, cells, _numeric(columns), width, ("I2",)), ""]
    for paragraph in (_explained(pool) if explained else []) + legend(pool):
        lines += tables.wrapped(paragraph, width)
    return "\n".join(lines) + "\n"


def as_markdown(pool: Pool, explained: bool) -> str:
    head, rows, equal = _hosts(pool)
    parts = [
        "## Hosts",
        tables.markdown_grid([head[0] or " ", *head[1:]], rows, [False] * len(head)).strip("\n"),
        equal,
    ]
    parts += [tables.markdown_escape(why_nothing(pool))]
    for title, details, columns, cells in _grids(pool, None):
        grid = tables.markdown_grid(columns, cells, _numeric(columns)).strip("\n")
        parts += [f"### {tables.markdown_escape(title)}", tables.markdown_escape(details), grid]
    parts += [tables.markdown_escape(p) for p in (_explained(pool) if explained else []) + legend(pool)]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_latex(pool: Pool, explained: bool) -> str:
    notes = " ".join([why_nothing(pool), *(_explained(pool) if explained else []), *legend(pool)]).strip()
    parts = []
    for title, details, columns, cells in _grids(pool, None):
        grid = tables.latex_grid(columns, cells, _numeric(columns))
        caption = tables.tex_escape(". ".join(part for part in (title, details, notes) if part))
        parts.append(f"\\begin{{table}}\n\\caption{{{caption}}}\n\\small\n{grid}\\end{{table}}\n")
    return "\n".join(parts)


def _local_json(said: Local) -> dict[str, Any]:
    c = said.comparison
    return {
        "host": said.host.letter,
        "problem": said.problem or None,
        "verdict": said.verdict or None,
        "disturbed": said.disturbed,
        "rounds": c.pairs if c else 0,
        "ratio": text.ten_digits(c.ratio) if c else None,
        "low": text.ten_digits(c.low) if c else None,
        "high": text.ten_digits(c.high) if c else None,
    }


def _pooled_json(line: Line) -> dict[str, Any] | None:
    p = line.pooled
    if p is None:
        return None
    ratios = {"ratio": p.mean, "low": p.low, "high": p.high, "next_low": p.next_low, "next_high": p.next_high}
    numbers = {"p": p.p, "q": line.q, "tau": p.tau, "cochran_q": p.q, "i2": p.i2}
    return {
        "hosts": p.hosts,
        **{name: text.ten_digits(math.exp(log)) for name, log in ratios.items()},
        **{name: text.ten_digits(value) for name, value in numbers.items()},
        "verdict": line.verdict,
    }


def _line_json(line: Line) -> dict[str, Any]:
    return {
        **dict(zip(schema.CELL, line.cell)),
        "allocator": line.name,
        "quantity": line.quantity,
        "hosts": [_local_json(said) for said in line.locals],
        "pooled": _pooled_json(line),
        "why_not": line.why_not or None,
        "hosts_disagree": line.crosses,
    }


def as_json(pool: Pool) -> str:
    labels = text.cell_labels(pool.cells)
    record = {
        "baseline": pool.baseline,
        "margin": pool.margin,
        "level": stats.LEVEL,
        "least_hosts": meta.MIN_HOSTS,
        "hosts": [hosts.as_json(host) for host in pool.hosts],
        "groups": {fact: hosts.groups(pool.hosts, fact) for fact in pool.hosts[0].facts},
        "lines": [_line_json(line) for line in pool.lines],
        "changes": [
            {**dataclasses.asdict(c), "cell": labels[c.cell], "rho": text.ten_digits(c.rho)}
            for c in explain.changes(pool)
        ],
    }
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def render(pool: Pool, form: str, width: int | None, explained: bool) -> str:
    """The pool in one of FORMATS; `width` as for tables."""
    if form == "json":
        return as_json(pool)
    if form == "markdown":
        return as_markdown(pool, explained)
    return as_latex(pool, explained) if form == "latex" else as_text(pool, width, explained)

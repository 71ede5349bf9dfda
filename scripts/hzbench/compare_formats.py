# SPDX-License-Identifier: Apache-2.0
"""A comparison as text, as Markdown short enough for a pull request, as JSON, and as input of Go's benchstat."""

import json
import math
import re
import textwrap

from . import schema, stats, tables, text
from .compare import Difference, Line

PULL_REQUEST_LINES = 30

NUMERIC = (False, True, True, True, True, False, True, True, False)
# What a reader must see first. Failures, then changes, then what is open.
ORDER = ("failed", "slower", "faster", "undecided", "same")


def _interval(comparison: stats.Comparison) -> str:
    return f"[{text.three(comparison.low)}, {text.three(comparison.high)}]"


def _head(rate: text.Rate) -> list[str]:
    return [
        "allocator, cell",
        f"BASE {rate.unit}",
        f"NEW {rate.unit}",
        "NEW / BASE",
        "95 % interval",
        "verdict",
        "visible",
        "peak RSS NEW / BASE",
        "verdict",
    ]


def _cells(line: Line, rate: text.Rate) -> list[str]:
    if line.problem or line.speed is None:
        return [line.title, *[text.MISSING] * 4, line.problem, *[text.MISSING] * 3]
    memory = text.three(line.memory.ratio) if line.memory else text.MISSING
    visible = text.percent(line.speed.visible)
    return [line.title, rate(line.base), rate(line.new), text.three(line.speed.ratio),
            _interval(line.speed), line.verdict, visible, memory, line.memory_verdict or text.MISSING]  # fmt: skip


LEGEND = (
    "faster, slower: the interval excludes 1 and the rank test says so at 5 % after control of false discoveries over"
    " all lines; same: the interval lies within {margin}; undecided: neither. visible: the smallest effect these"
    " samples would have shown 4 times in 5."
)


def _disturbed(difference: Difference) -> list[str]:
    parts = [
        f"{line.title} {line.disturbed}, without them "
        + (f"{text.three(line.quiet.ratio)} {_interval(line.quiet)}" if line.quiet else "nothing is left")
        for line in difference.lines
        if line.disturbed
    ]
    return [f"Samples in which other load took the CPU (kept above): {'; '.join(parts)}."] if parts else []


def as_text(difference: Difference) -> str:
    rate = text.rate_of(line.cell for line in difference.lines)
    lines = tables.grid(_head(rate), [_cells(line, rate) for line in difference.lines], NUMERIC)
    lines.append("")
    legend = LEGEND.format(margin=f"{100 * difference.margin:g} %")
    for note in [*difference.notes, *_disturbed(difference), legend]:
        lines += textwrap.wrap(note, 118)
    return "\n".join(lines) + "\n"


def _kind(line: Line) -> str:
    return "failed" if line.problem else line.verdict


def as_markdown(difference: Difference) -> str:
    """At most PULL_REQUEST_LINES lines: the count of each verdict, then as many rows as fit, the telling ones first."""
    counts = {kind: sum(_kind(line) == kind for line in difference.lines) for kind in ORDER}
    head = [
        (
            f"**{', '.join(f'{n} {kind}' for kind, n in counts.items() if n)}** of {len(difference.lines)} comparisons"
            f" of {tables.markdown_escape(difference.new)} with {tables.markdown_escape(difference.base)}"
        ),
        "",
    ]
    legend = LEGEND.format(margin=f"{100 * difference.margin:g} %")
    disturbed = sum(line.disturbed for line in difference.lines)
    notes = [*difference.notes, legend]
    if disturbed:
        notes.insert(
            0,
            f"{text.plural(disturbed, 'sample')} marked: other load took the CPU (kept; --format=text shows without).",
        )
    tail = ["", f"<sub>{' '.join(tables.markdown_escape(n) for n in notes)}</sub>"]
    room = PULL_REQUEST_LINES - len(head) - len(tail) - 2  # two lines are the head of the table
    lines = sorted(difference.lines, key=lambda line: (ORDER.index(_kind(line)), -_size(line)))
    more = []
    if len(lines) > room:
        room -= 2
        hidden = lines[room:]
        rest = {kind: sum(_kind(line) == kind for line in hidden) for kind in ORDER}
        more = ["", f"and {len(hidden)} more: {', '.join(f'{n} {kind}' for kind, n in rest.items() if n)}"]
    rate = text.rate_of(line.cell for line in difference.lines)
    grid = (
        tables.markdown_grid(_head(rate), [_cells(line, rate) for line in lines[:room]], NUMERIC)
        .strip("\n")
        .split("\n")
    )
    return "\n".join([*head, *grid, *more, *tail]) + "\n"


def _size(line: Line) -> float:
    return abs(math.log(line.speed.ratio)) if line.speed else math.inf


def _number(value: float) -> float | None:
    """Ten digits: the last of sixteen are another machine's, whose numpy takes logarithms by other instructions."""
    value = float(value)
    return float(f"{value:.10g}") if math.isfinite(value) else None


def _comparison(
    c: stats.Comparison | None, q: float, verdict: str | None
) -> dict[str, int | float | str | None] | None:
    if c is None:
        return None
    values = {k: _number(getattr(c, k)) for k in ("ratio", "low", "high", "p", "visible")}
    return {"samples": c.pairs, **values, "q": _number(q), "verdict": verdict}


def _text_or_none(value: str) -> str | None:
    return None if value == "" else value


def as_json(difference: Difference) -> str:
    record = {
        "base": difference.base,
        "new": difference.new,
        "margin": difference.margin,
        "paired": difference.paired,
        "control": _text_or_none(difference.control),
        "drift": [{"cell": label, "ratio": _number(c.ratio), "low": _number(c.low), "high": _number(c.high)}
                  for label, c in difference.drift],  # fmt: skip
        "notes": difference.notes,
        "cells": [
            {
                **dict(zip(schema.CELL, line.cell)),
                "allocator": line.name,
                "problem": _text_or_none(line.problem),
                "base_ops_s": _number(line.base),
                "new_ops_s": _number(line.new),
                "throughput": _comparison(line.speed, line.speed_q, line.verdict),
                "disturbed": line.disturbed,
                "throughput_undisturbed": _comparison(line.quiet, math.nan, None),
                "base_rss_peak": _number(line.base_rss),
                "new_rss_peak": _number(line.new_rss),
                "rss_peak": _comparison(line.memory, line.memory_q, line.memory_verdict),
            }
            for line in difference.lines
        ],
    }
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def _benchmark_name(line: Line) -> str:
    """Benchmark names hold no blanks; a word of the label with a number is a key of benchstat's."""
    words = re.sub(r"[^A-Za-z0-9_.={}+-]+", "_", line.label).strip("_")
    threads = line.cell[schema.CELL.index("threads")]
    # benchstat compares equal names; where the sides are two allocators, `side` says which, and the name must not.
    allocator = "" if line.two_names else "/allocator=" + re.sub(r"\s+", "_", line.name)
    return f"Benchmark{words[:1].upper()}{words[1:]}{allocator}-{threads}"


def as_benchstat(difference: Difference) -> str:
    """The Go benchmark format with a line a sample; `benchstat -col side FILE` compares the two sides."""
    out = ["Unit ops/s better=higher", "Unit peak-RSS-bytes better=lower"]
    for index, side in enumerate((difference.base, difference.new)):
        out += ["", f"side: {side}"]
        for line in difference.lines:
            if line.problem:
                out.append(f"# {line.title}: {line.problem}")
                continue
            for row in line.samples[index].sort_values("block").itertuples():
                values = [
                    f"{int(row.ops)}",
                    f"{row.elapsed_ns / row.ops:.6g} ns/op",
                    f"{row.throughput_ops_s:.9g} ops/s",
                ]
                if row.rss_peak > 0:
                    values.append(f"{int(row.rss_peak)} peak-RSS-bytes")
                out.append("\t".join([_benchmark_name(line), *values]))
    return "\n".join(out) + "\n"


_RENDERERS = {"text": as_text, "markdown": as_markdown, "json": as_json, "benchstat": as_benchstat}
FORMATS = tuple(_RENDERERS)


def render(difference: Difference, form: str) -> str:
    return _RENDERERS[form](difference)

# SPDX-License-Identifier: Apache-2.0
"""A comparison as text, as Markdown short enough for a pull request, as JSON, and as input of Go's benchstat."""

import json
import math
import re
from collections.abc import Callable, Iterable

from . import schema, stats, tables, text, verdict
from .compare import Difference, Line

PULL_REQUEST_LINES = 30

NUMERIC = (False, True, True, True, True, False, True, True, False)
# What a reader must see first. Failures, then changes, then what is open.
ORDER = ("failed", "slower", "faster", "undecided", "same")


def _interval(comparison: stats.Comparison) -> str:
    return text.interval(comparison.low, comparison.high)


def _said(line: Line) -> str:
    """'' where nothing is decided."""
    if line.speed is None or line.verdict not in ("faster", "slower"):
        return ""
    one, other = line.name.split(" -> ", 1)[::-1] if line.two_names else ("NEW", "BASE")
    pair = verdict.of_comparison(line.speed, line.verdict)
    said = verdict.factor(one, pair, " is", other)
    memory = verdict.needs(verdict.of_comparison(line.memory, line.memory_verdict) if line.memory else None)
    return said + (f" and needs {memory}" if memory else "")


def _subject(line: Line) -> str:
    return line.name.replace(" -> ", " and ") if line.two_names else line.name


def _undecided(line: Line) -> str:
    said = f"{_subject(line)} {verdict.apart(line.speed is not None and line.speed.is_bound)}"
    if line.speed is None or not line.speed.enough:
        return said
    pair = verdict.of_comparison(line.speed, line.verdict)
    return f"{said}: {verdict.factor(line.name.split(' -> ')[-1], pair)}"


def sentences(difference: Difference) -> list[str]:
    """One a cell: what has changed, and of whom that cannot be said."""
    cells: dict[str, list[Line]] = {}
    for line in difference.lines:
        cells.setdefault(line.label, []).append(line)
    out = []
    for label, lines in cells.items():
        parts = [(_said(line) if line.two_names else f"{line.name}: {_said(line)}") for line in lines if _said(line)]
        same = [_subject(line) for line in lines if line.verdict == "same"]
        if same:
            parts.append(
                f"{verdict.listed(same)}: no difference you could notice (within {100 * difference.margin:g} %)"
            )
        undecided = [line for line in lines if line.verdict == "undecided"]
        if undecided and undecided[0].two_names:
            parts += [_undecided(line) for line in undecided]
        elif undecided:
            apart = verdict.apart(any(line.speed is not None and line.speed.is_bound for line in undecided))
            parts.append(f"{verdict.listed([line.name for line in undecided])}: BASE and NEW {apart}")
        parts += [f"{line.name}: {line.problem}" for line in lines if line.problem]
        out.append(f"{label}: {'; '.join(parts)}.")
    return out


def _speeds(lines: Iterable[Line]) -> text.Column:
    """By the labels of their cells."""
    speeds: dict[str, list[tuple[schema.Cell, float]]] = {}
    for line in lines:
        speeds.setdefault(line.label, []).extend((line.cell, speed) for speed in (line.base, line.new))
    return text.Column(speeds)


def _head(speeds: text.Column) -> list[str]:
    unit = f" {speeds.unit}" if speeds.is_one else ""
    return [
        "allocator, cell",
        f"BASE{unit}",
        f"NEW{unit}",
        "speed NEW / BASE" if speeds.rate.is_time else "NEW / BASE",
        "95 % interval",
        "verdict",
        "visible",
        "peak RSS NEW / BASE",
        "verdict",
    ]


def _cells(line: Line, speeds: text.Column) -> list[str]:
    if line.problem or line.speed is None:
        return [line.title, *[text.MISSING] * 4, line.problem, *[text.MISSING] * 3]
    memory = text.three(line.memory.ratio) if line.memory else text.MISSING
    visible = text.percent(line.speed.visible)
    return [line.title, speeds(line.label, line.base), speeds(line.label, line.new), text.ratio_of(line.speed),
            _interval(line.speed), line.verdict, visible, memory, line.memory_verdict or text.MISSING]  # fmt: skip


LEGEND = (
    "faster, slower: the interval excludes 1 and the rank test says so at 5 % after control of false discoveries over"
    " all lines; same: the interval lies within {margin}; undecided: neither. visible: the smallest effect these"
    " samples would have shown 4 times in 5."
)

_NARROW_LEGEND = (
    "faster, slower: the interval excludes 1 and the rank test says so at 5 % after control of false discoveries over"
    " all lines; same: the interval lies within {margin}; undecided: neither (--wide: the smallest effect these samples"
    " would have shown 4 times in 5)."
)


def _disturbed(difference: Difference) -> list[str]:
    parts = [
        f"{line.title} {line.disturbed}, without them "
        + (f"{text.three(line.quiet.ratio)} {_interval(line.quiet)}" if line.quiet else "nothing is left")
        for line in difference.lines
        if line.disturbed
    ]
    return [f"Samples in which other load took the CPU (kept above): {'; '.join(parts)}."] if parts else []


# The narrow table: no columns for what most lines have, and cells as titles.
_NARROW_NUMERIC = (False, True, True, True, True, False, True, False)
_NARROW_DROPPED = ("memory", "BASE", "NEW", "95 % interval")


def _grouped(lines: list[Line], cells_of: Callable[[Line], list[str]]) -> list[list[str]]:
    """Rows below the title of their cell, which goes without when there is but one."""
    rows: list[list[str]] = []
    labels = list(dict.fromkeys(line.label for line in lines))
    for label in labels:
        rows += [[label]] if len(labels) > 1 else []
        rows += [cells_of(line) for line in lines if line.label == label]
    return rows


def _narrow_cells(line: Line, speeds: text.Column) -> list[str]:
    if line.problem or line.speed is None:
        return [line.name, *[text.MISSING] * 4, "failed", text.MISSING, ""]
    memory = text.three(line.memory.ratio) if line.memory else text.MISSING
    return [line.name, speeds(line.label, line.base), speeds(line.label, line.new), text.ratio_of(line.speed),
            _interval(line.speed), line.verdict, memory, line.memory_verdict or text.MISSING]  # fmt: skip


def _narrow_table(difference: Difference, width: int) -> list[str]:
    speeds = _speeds(difference.lines)
    head = ["allocator", "BASE", "NEW", "NEW/BASE", "95 % interval", "verdict", "peak RSS", "memory"]
    rows = _grouped(difference.lines, lambda line: _narrow_cells(line, speeds))
    title = f"BASE and NEW: {speeds.unit}, medians; NEW/BASE: ratio of speeds; peak RSS: ratio"
    return [*tables.wrapped(title, width), *tables.fitted(head, rows, _NARROW_NUMERIC, width, _NARROW_DROPPED)]


def as_text(difference: Difference, width: int | None = tables.WIDTH) -> str:
    """A sentence a cell, the table under it; `width` as in tables."""
    lines = [line for said in sentences(difference) for line in tables.wrapped(said, width)] + [""]
    if width is None:
        speeds = _speeds(difference.lines)
        lines += tables.grid(_head(speeds), [_cells(line, speeds) for line in difference.lines], NUMERIC)
    else:
        lines += _narrow_table(difference, width)
    lines.append("")
    legend = LEGEND if width is None else _NARROW_LEGEND
    legend = legend.format(margin=f"{100 * difference.margin:g} %")
    for note in [*difference.notes, *_disturbed(difference), legend]:
        lines += tables.wrapped(note, width)
    return "\n".join(lines) + "\n"


# ---- three files and more -------------------------------------------------------------------------------------------


def _by_line(differences: list[Difference]) -> dict[tuple[str, str], list[Line | None]]:
    """(label, name) -> its line against each file, None where that lacks it."""
    found: dict[tuple[str, str], list[Line | None]] = {}
    for at, difference in enumerate(differences):
        for line in difference.lines:
            name = line.name.split(" -> ")[0] if line.two_names else line.name
            found.setdefault((line.label, name), [None] * len(differences))[at] = line
    return found


def _letters(count: int) -> list[str]:
    """A, B, ... Z, file 27, ..."""
    return [text.letter(place, "file") for place in range(count)]


def _beside(differences: list[Difference], width: int | None) -> tuple[list[str], list[list[str]], list[bool]]:
    """Head, rows and kinds of a table of all files side by side."""
    letters = _letters(len(differences) + 1)
    speeds = _speeds(line for difference in differences for line in difference.lines)
    head, numeric = ["allocator", letters[0]], [False, True]
    for letter in letters[1:]:
        head += [letter, f"{letter}/{letters[0]}", *(["95 % interval"] if width is None else []), "verdict"]
        numeric += [True, True, *([True] if width is None else []), False]
    found = _by_line(differences)
    rows: list[list[str]] = []
    labels = list(dict.fromkeys(label for label, _ in found))
    for label in labels:
        rows += [[label]] if len(labels) > 1 else []
        for name in (n for at, n in found if at == label):
            lines = found[label, name]
            base = next((speeds(line.label, line.base) for line in lines if line and line.speed), text.MISSING)
            row = [name, base]
            for line in lines:
                if line is None or line.speed is None:
                    row += [
                        text.MISSING,
                        text.MISSING,
                        *([text.MISSING] if width is None else []),
                        "failed" if line else "",
                    ]
                else:
                    middle = [_interval(line.speed)] if width is None else []
                    row += [speeds(line.label, line.new), text.ratio_of(line.speed), *middle, line.verdict]
            rows.append(row)
    return head, rows, numeric


def _several_text(differences: list[Difference], width: int | None) -> str:
    letters = _letters(len(differences) + 1)
    names = [differences[0].base, *(difference.new for difference in differences)]
    speeds = _speeds(line for difference in differences for line in difference.lines)
    lines = []
    for letter, name in zip(letters, names):
        lines += tables.wrapped(f"{letter}  {name}", width)
    lines.append("")
    for letter, difference in zip(letters[1:], differences):
        for said in sentences(difference):
            said = re.sub(r"\bNEW\b", letter, re.sub(r"\bBASE\b", letters[0], said))
            lines += tables.wrapped(f"{letter}, {said}", width)
    lines += [
        "",
        *tables.wrapped(
            f"{', '.join(letters[:3])}{' ...' if len(letters) > 3 else ''}: {speeds.unit}, medians;"
            " B/A: ratio of speeds",
            width,
        ),
    ]
    head, rows, numeric = _beside(differences, width)
    per_file = (len(head) - 2) // len(differences)
    count = len(differences)
    while count > 1 and width is not None and _grid_width(head, rows, numeric, 2 + per_file * count) > width:
        count -= 1
    for first in range(0, len(differences), count):
        places = [0, 1, *range(2 + per_file * first, min(2 + per_file * (first + count), len(head)))]
        part = [row if len(row) == 1 else [row[i] for i in places] for row in rows]
        lines += ["", *tables.fitted([head[i] for i in places], part, [numeric[i] for i in places], width, ())]
    legend = (LEGEND if width is None else _NARROW_LEGEND).format(margin=f"{100 * differences[0].margin:g} %")
    notes = [(letter, note) for letter, difference in zip(letters[1:], differences) for note in difference.notes]
    common = dict.fromkeys(note for _, note in notes if sum(note == other for _, other in notes) == len(differences))
    lines.append("")
    for note in [*common, *(f"{letter}: {note}" for letter, note in notes if note not in common), legend]:
        lines += tables.wrapped(note, width)
    return "\n".join(lines) + "\n"


def _grid_width(head: list[str], rows: list[list[str]], numeric: list[bool], columns: int) -> int:
    part = [row if len(row) == 1 else row[:columns] for row in rows]
    return max(map(len, tables.grid(head[:columns], part, numeric[:columns], tables.LONGEST_NAME)))


def _several_markdown(differences: list[Difference]) -> str:
    letters = _letters(len(differences) + 1)
    names = [differences[0].base, *(difference.new for difference in differences)]
    head, rows, numeric = _beside(differences, None)
    flat: list[list[str]] = []
    label = ""
    for row in rows:
        label = row[0] if len(row) == 1 else label
        flat += [] if len(row) == 1 else [[f"{row[0]}, {label}" if label else row[0], *row[1:]]]
    files = ", ".join(f"{letter}: {tables.markdown_escape(name)}" for letter, name in zip(letters, names))
    return f"{files}\n\n{tables.markdown_grid(head, flat, numeric).strip(chr(10))}\n"


def render_several(differences: list[Difference], form: str, width: int | None = tables.WIDTH) -> str:
    """Each of the others beside the first."""
    if form == "json":
        records = [json.loads(as_json(difference)) for difference in differences]
        return json.dumps({"base": differences[0].base, "comparisons": records}, indent=1, allow_nan=False) + "\n"
    if form == "benchstat":
        return as_benchstat(*differences)
    return _several_markdown(differences) if form == "markdown" else _several_text(differences, width)


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
    speeds = _speeds(difference.lines)
    grid = (
        tables.markdown_grid(_head(speeds), [_cells(line, speeds) for line in lines[:room]], NUMERIC)
        .strip("\n")
        .split("\n")
    )
    return "\n".join([*head, *grid, *more, *tail]) + "\n"


def _size(line: Line) -> float:
    return abs(math.log(line.speed.ratio)) if line.speed else math.inf


def _comparison(
    c: stats.Comparison | None, q: float, verdict: str | None
) -> dict[str, int | float | str | None] | None:
    if c is None:
        return None
    values = {k: text.ten_digits(getattr(c, k)) for k in ("ratio", "low", "high", "p", "visible")}
    return {"samples": c.pairs, **values, "q": text.ten_digits(q), "verdict": verdict}


def _text_or_none(value: str) -> str | None:
    return None if value == "" else value


def as_json(difference: Difference) -> str:
    record = {
        "base": difference.base,
        "new": difference.new,
        "margin": difference.margin,
        "paired": difference.paired,
        "control": _text_or_none(difference.control),
        "drift": [
            {
                "cell": label,
                "ratio": text.ten_digits(c.ratio),
                "low": text.ten_digits(c.low),
                "high": text.ten_digits(c.high),
            }
            for label, c in difference.drift
        ],
        "notes": difference.notes,
        "cells": [
            {
                **dict(zip(schema.CELL, line.cell)),
                "allocator": line.name,
                "problem": _text_or_none(line.problem),
                "base_ops_s": text.ten_digits(line.base),
                "new_ops_s": text.ten_digits(line.new),
                "throughput": _comparison(line.speed, line.speed_q, line.verdict),
                "disturbed": line.disturbed,
                "throughput_undisturbed": _comparison(line.quiet, math.nan, None),
                "base_rss_peak": text.ten_digits(line.base_rss),
                "new_rss_peak": text.ten_digits(line.new_rss),
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


def as_benchstat(*differences: Difference) -> str:
    """The Go benchmark format with a line a sample; `benchstat -col side FILE` compares the sides."""
    out = ["Unit ops/s better=higher", "Unit peak-RSS-bytes better=lower"]
    sides = [(0, differences[0], differences[0].base), *((1, difference, difference.new) for difference in differences)]
    for index, difference, side in sides:
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


FORMATS = ("text", "markdown", "json", "benchstat")


def render(difference: Difference, form: str, width: int | None = tables.WIDTH) -> str:
    if form == "text":
        return as_text(difference, width)
    if form == "benchstat":
        return as_benchstat(difference)
    return as_json(difference) if form == "json" else as_markdown(difference)

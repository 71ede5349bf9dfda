# SPDX-License-Identifier: Apache-2.0
"""Tables of a report as text, Markdown, LaTeX or CSV. All four say the same; CSV says it with every digit."""

import csv
import io
import json
import math
import re
import textwrap
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from . import harness, load, model, stats, text, verdict
from .schema import CALLS, CELL, LATENCIES

FORMATS = ("text", "sentences", "markdown", "latex", "csv", "json")
WIDTH = 80  # of a terminal that nobody has widened
WIDE = 118
LONGEST_NAME = 24  # in a table that has to fit; a longer one stands on a line of its own


def _interval(comparison: stats.Comparison) -> str:
    return text.interval(comparison.low, comparison.high)


def _verdict(verdict: str, speed: stats.Comparison) -> str:
    if verdict == "undecided":
        if not speed.enough:
            return f"undecided (needs {stats.MIN_PAIRS} rounds)"
        if speed.is_bound:
            return "undecided (harness-bound)"
        return f"undecided (would see {text.percent(speed.visible)})"
    return verdict


def speed_of(section: model.Section) -> text.Rate:
    """The unit of a section's speeds."""
    return text.rate_of((section.cell, row.throughput) for row in section.rows)


SPREAD = "spread"


def headers(report: model.Report, section: model.Section) -> list[str]:
    base = report.baseline
    speed = speed_of(section)
    return [
        "allocator",
        "n",
        speed.unit,
        SPREAD,
        f"speed / {base}" if speed.is_time else f"ratio to {base}",
        "95 % interval",
        "verdict",
        "without harness",
        "peak RSS MiB",
        "peak ratio",
        f"RSS after {report.after_label} MiB" if report.after_label else "RSS after MiB",
    ]


NUMERIC = (False, True, True, True, True, True, False, True, True, True, True)


VERDICT = NUMERIC.index(False, 1)


def cells_of(row: model.Row, report: model.Report, section: model.Section) -> list[str]:
    if row.failure:
        return [row.name, str(row.samples), "failed", *[text.MISSING] * 3, row.failure] + [text.MISSING] * 4
    if row.name == report.baseline:
        ratio, interval, verdict, memory = "1", text.MISSING, "baseline", "1"
    elif row.speed is None:
        ratio, interval, verdict, memory = text.MISSING, text.MISSING, "no baseline to compare", text.MISSING
    else:
        ratio, interval, verdict = text.ratio_of(row.speed), _interval(row.speed), _verdict(row.verdict, row.speed)
        memory = text.three(row.memory.ratio) if row.memory else text.MISSING
    return [
        row.name,
        str(row.ok),
        speed_of(section)(row.throughput),
        text.percent(row.spread) if row.ok > 1 else text.MISSING,
        ratio,
        interval,
        verdict,
        f"{text.three(row.net.ratio)} {_interval(row.net)}" if row.net else text.MISSING,
        text.mebibytes(row.rss_peak),
        memory,
        text.mebibytes(row.rss_after),
    ]


_CALL_NAMES = {"malloc": "malloc", "free_local": "free", "free_remote": "free of others"}
_SHOWN = {"p50": "p50", "p99": "p99", "p999": "p99.9"}


def latencies_of(section: model.Section) -> tuple[list[str], list[list[str]]]:
    """(calls that were timed, rows of a name and their percentiles in ns); ([], []) when none was."""
    calls = [c for c in _CALL_NAMES if any((c, "p50") in row.latency for row in section.rows)]
    rows = [
        [
            row.name,
            *(text.count(row.latency[c, p]) if (c, p) in row.latency else text.MISSING for c in calls for p in _SHOWN),
        ]
        for row in section.rows
        if row.latency
    ]
    return calls, rows


def latency_head(calls: Sequence[str]) -> list[str]:
    return ["allocator", *(f"{_CALL_NAMES[c]} {shown} ns" for c in calls for shown in _SHOWN.values())]


def _latency_lines(section: model.Section, width: float | None) -> list[str]:
    """The percentiles under their calls, whose names have a line of their own."""
    calls, rows = latencies_of(section)
    if not calls:
        return []
    lines = grid(["allocator", *list(_SHOWN.values()) * len(calls)], rows, (False, *[True] * len(calls) * len(_SHOWN)),
                 _name_room(width))  # fmt: skip
    ends = [m.end() for m in re.finditer(r"p99\.9", lines[0])]
    head = "latency, ns"
    for call, end in zip(calls, ends):
        name = _CALL_NAMES[call]
        head += " " * (end - len(head) - len(name)) + name
    return [head, *lines]


def notes_of(section: model.Section, report: model.Report) -> list[str]:
    """What a reader must know about this section, one sentence each."""
    notes = []
    if section.value("platform") == "wine":
        notes.append("Measured under wine: for tests, not to be ranked beside Linux or Windows.")
    if section.crowded:
        notes.append("More threads than CPUs: these rows measure the scheduler as well.")
    if section.crowded is None and not text.is_program(section.cell):
        notes.append("No run.json beside the file: whether threads outnumbered CPUs is unknown.")
    if not math.isnan(section.harness_ns):
        note = f"The harness alone (null) takes {text.three(section.harness_ns)} ns an op and thread; not subtracted."
        nets = [(row.name, row.net) for row in section.rows if row.net]
        ratios = [f"{name} {text.three(net.ratio)} {_interval(net)}" for name, net in nets]
        if ratios:
            note += f" Ratios without it: {', '.join(ratios)}."
        if section.harness_bound:
            note += (
                f" Harness-bound: that is over {100 * harness.SHARE:g} % of the fastest allocator's time, so the ratios"
                " above are bounds, and none is called the same."
            )
        notes.append(note)
    baseline_rss = [r.rss_baseline for r in section.rows if not math.isnan(r.rss_baseline)]
    if baseline_rss:
        low, high = text.mebibytes(min(baseline_rss)), text.mebibytes(max(baseline_rss))
        notes.append(f"RSS before the first allocation: {low if low == high else f'{low} to {high}'} MiB, included.")
    if section.harness_bytes > 0:
        notes.append(f"Memory is without the harness's own {text.mebibytes(section.harness_bytes)} MiB.")
    disturbed = [(r, r.speed) for r in section.rows if r.disturbed and r.speed]
    if disturbed:
        parts = []
        for row, speed in disturbed:
            quiet = text.three(row.quiet.ratio) + " " + _interval(row.quiet) if row.quiet else "none left"
            parts.append(f"{row.name} {row.disturbed} of {speed.pairs}, without them {quiet}")
        notes.append(f"Rounds in which other load took the CPU (kept above): {'; '.join(parts)}.")
    return notes


def summary_headers(report: model.Report) -> list[str]:
    return ["allocator", "cells", f"throughput / {report.baseline}", f"peak RSS / {report.baseline}",
            "faster", "same", "slower", "undecided", "failed"]  # fmt: skip


SUMMARY_NUMERIC = (False,) + (True,) * 8


def summary_cells(summary: model.Summary) -> list[str]:
    verdicts = [str(summary.verdicts[v]) for v in ("faster", "same", "slower", "undecided")]
    return [
        summary.name,
        str(summary.cells + summary.failed),
        text.three(summary.speed),
        text.three(summary.memory),
        *verdicts,
        str(summary.failed),
    ]


def legend(report: model.Report, has_spread: bool = True) -> list[str]:
    margin = f"{100 * report.margin:g} %"
    lines = [
        (
            f"Medians of n samples. Ratio: Hodges-Lehmann estimate of the ratios to {report.baseline} in the same"
            " round, with its bootstrap interval."
        ),
        (
            "faster, slower: the interval excludes 1 and the rank test says so at 5 % after control of false"
            f" discoveries over the table; same: the interval lies within {margin}; undecided: neither, with the effect"
            " that would have been seen 4 times in 5."
        ),
    ]
    if has_spread:
        lines.append("Spread: half the distance of the quartiles of the n throughputs, in percent of their median.")
    if report.rounds < stats.MIN_PAIRS:
        lines.append(
            f"With {text.plural(report.rounds, 'round')} no rank test can reach 5 %: at least {stats.MIN_PAIRS} are"
            " needed for a verdict."
        )
    return lines


def _width(s: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in s)


def grid(
    head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], name_room: int | None = None
) -> list[str]:
    """Lines of a plain-text table; `numeric` columns are aligned right. A first cell longer than `name_room` stands on
    a line of its own, its row below it; a row of a single cell is a title of those below."""
    long = [name_room is not None and len(r) > 1 and _width(r[0]) > name_room for r in rows]
    short = [["", *r[1:]] if is_long else r for r, is_long in zip(rows, long)]
    widths = [max(_width(r[i]) for r in [head, *short] if len(r) > 1) for i in range(len(head))]
    lines = []
    for at, row in enumerate([head, ["-" * w for w in widths], *short]):
        if at > 1 and long[at - 2]:
            lines.append(rows[at - 2][0])
        if len(row) == 1 < len(head):
            lines.append(row[0])
            continue
        parts = [
            (" " * (w - _width(c)) + c) if number else (c + " " * (w - _width(c)))
            for c, w, number in zip(row, widths, numeric)
        ]
        lines.append("  ".join(parts).rstrip())
    return lines


def _name_room(width: float | None) -> int | None:
    return None if width is None else LONGEST_NAME


def fitted(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    numeric: Sequence[bool],
    width: float | None,
    dropped: Sequence[str],
) -> list[str]:
    """The lines of a grid no wider than `width` columns; None: any width. Columns in which nothing stands go, then
    those that `dropped` names by how their heads begin, one by one."""
    if width is not None:
        empty = [i for i in range(1, len(head)) if rows and all(r[i] in ("", text.MISSING) for r in rows if len(r) > 1)]
        head, rows, numeric = _without(head, rows, numeric, empty)
    lines = grid(head, rows, numeric, _name_room(width))
    for name in dropped:
        if width is None or max(map(_width, lines)) <= width:
            break
        head, rows, numeric = _without(head, rows, numeric, [i for i, h in enumerate(head) if h.startswith(name)][:1])
        lines = grid(head, rows, numeric, _name_room(width))
    if width is not None and max(map(_width, lines)) > width:
        lines = grid(head, rows, numeric, _width(head[0]))
    return lines


def _without(
    head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], places: Sequence[int]
) -> tuple[list[str], list[list[str]], list[bool]]:
    def kept(values: Sequence[Any]) -> list[Any]:
        return [v for i, v in enumerate(values) if i not in places]

    return kept(head), [kept(r) for r in rows], kept(numeric)


def wrapped(paragraph: str, width: int | None, indent: str = "") -> list[str]:
    """Lines of a paragraph; a percent sign stays with its number."""
    tied = paragraph.replace(" %", "\u00a0%")
    lines = textwrap.wrap(tied, width or WIDE, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return [line.replace("\u00a0", " ") for line in lines]


def _narrow(report: model.Report, section: model.Section) -> tuple[list[str], list[list[str]], list[str]]:
    """The table for a terminal: short heads, and a failure or the effect that would have been seen below it."""
    speed = speed_of(section)
    base = report.baseline if len(report.baseline) <= 8 else "baseline"
    speed_head = f"speed / {base}" if speed.is_time else f"/ {base}"
    head = ["allocator", "n", speed.unit, SPREAD, speed_head, "95 % interval", "verdict", "without harness", "peak MiB",
            f"/ {base}", f"MiB after {report.after_label}"]  # fmt: skip
    rows, notes, unseen = [], [], []
    for row in section.rows:
        cells = cells_of(row, report, section)
        if row.failure:
            notes.append(f"{row.name} failed: {row.failure}.")
            cells[VERDICT] = "failed"
            cells[2] = text.MISSING
        elif row.speed is None and row.name != report.baseline:
            cells[VERDICT] = text.MISSING
        elif row.verdict == "undecided":
            cells[VERDICT] = row.verdict
            if row.speed and row.speed.enough and not row.speed.is_bound:
                unseen.append(f"{row.name} {text.percent(row.speed.visible)}")
        rows.append(cells)
    if any(r.speed is None and not r.failure and r.name != report.baseline for r in section.rows):
        notes.append(f"No ratios: the baseline {report.baseline} has no good samples throughout.")
    if unseen:
        notes.append(f"Undecided; seen 4 times in 5 would have been: {', '.join(unseen)}.")
    return head, rows, notes


# What goes first where the terminal is too narrow, by how its head begins.
_NARROW_DROPPED = ("without harness", SPREAD, "MiB after", "n", "95 % interval", "peak MiB")


def as_text(report: model.Report, width: int | None = WIDTH) -> str:
    """`width`: columns of the terminal; None: all columns of the table, however wide."""
    platforms = len({s.value("platform") for s in report.sections})
    lines = []
    left_out, has_spread = False, width is None
    for section in report.sections:
        lines += wrapped(text.cell_title(section.value, platforms), width)
        lines += wrapped(text.cell_details(section.value), width, "  ")
        lines += wrapped(verdict.sentence(section.told), width) + [""]
        notes: list[str] = []
        if width is None:
            lines += grid(headers(report, section), [cells_of(r, report, section) for r in section.rows], NUMERIC)
        else:
            head, cells, notes = _narrow(report, section)
            fit = fitted(head, cells, NUMERIC, width, _NARROW_DROPPED)
            lines += fit
            has_spread = has_spread or SPREAD in fit[0]
            left_out = left_out or fit != fitted(head, cells, NUMERIC, math.inf, ())
        latencies = _latency_lines(section, width)
        lines += ["", *latencies, ""] if latencies else []
        for note in [*notes, *notes_of(section, report)]:
            first, *more = wrapped(note, (width or WIDE) - 4)
            lines += ["  " + first, *("    " + line for line in more)]
        lines.append("")
    for platform, rows in model.summaries(report).items():
        if not rows or (len(report.sections) == 1 and width is not None):  # a mean of one
            continue
        to_base = "" if width is None else f" to {report.baseline}"
        lines += wrapped(f"Geometric mean of ratios{to_base}" + (f", {platform}" if platforms > 1 else ""), width)
        head = summary_headers(report)
        if width is not None:
            head[2:4] = "speed", "peak RSS"
        lines += fitted(head, [summary_cells(r) for r in rows], SUMMARY_NUMERIC, width, ("cells",)) + [""]
    for paragraph in legend(report, has_spread):
        lines += wrapped(paragraph, width)
    if left_out:
        lines += wrapped("--wide shows all columns.", width)
    return "\n".join(lines) + "\n"


def as_sentences(report: model.Report, width: int | None = WIDTH) -> str:
    """What the data says of each cell, without the table behind it."""
    platforms = len({s.value("platform") for s in report.sections})
    labels = text.cell_labels([s.cell for s in report.sections])
    lines = []
    for section in report.sections:
        title = labels[section.cell] if platforms == 1 else text.cell_title(section.value, platforms)
        lines += [*wrapped(title, width), *wrapped(verdict.sentence(section.told), width, "  ")]
    return "\n".join(lines) + "\n"


_MARKDOWN = re.compile(r"([\\`*_\[\]|~#])")
_TEX = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
        "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
        '"': r"\textquotedbl{}", "|": r"\textbar{}", "[": "{[}", "]": "{]}"}  # fmt: skip


def markdown_escape(value: object) -> str:
    return _MARKDOWN.sub(r"\\\1", str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def tex_escape(value: object) -> str:
    return "".join(_TEX.get(c, c) for c in str(value)).replace(" \\%", "\\,\\%")


def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    # Brackets that neither LaTeX nor Markdown use, so that a template reads like what it makes.
    env = jinja2.Environment(loader=loader, block_start_string="<%", block_end_string="%>", variable_start_string="<<",
                             variable_end_string=">>", comment_start_string="<#", comment_end_string="#>",
                             trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
                             undefined=jinja2.StrictUndefined, autoescape=False)  # fmt: skip
    env.filters["md"] = markdown_escape
    env.filters["tex"] = tex_escape
    return env


def _latency_grid(section: model.Section) -> dict[str, Any] | None:
    calls, rows = latencies_of(section)
    return (
        {"head": latency_head(calls), "rows": rows, "numeric": [False] + [True] * len(calls) * len(_SHOWN)}
        if calls
        else None
    )


def _render(report: model.Report, template: str) -> str:
    platforms = len({s.value("platform") for s in report.sections})
    sections = [
        {
            "title": text.cell_title(s.value, platforms),
            "details": text.cell_details(s.value),
            "sentence": verdict.sentence(s.told),
            "latency": _latency_grid(s),
            "head": headers(report, s),
            "rows": [cells_of(r, report, s) for r in s.rows],
            "notes": notes_of(s, report),
        }
        for s in report.sections
    ]
    summary = [
        {"title": platform if platforms > 1 else "", "rows": [summary_cells(r) for r in rows]}
        for platform, rows in model.summaries(report).items()
        if rows
    ]
    return (
        _environment()
        .get_template(template)
        .render(
            numeric=NUMERIC,
            sections=sections,
            summary_head=summary_headers(report),
            summary_numeric=SUMMARY_NUMERIC,
            summary=summary,
            legend=legend(report),
        )
    )


def as_markdown(report: model.Report) -> str:
    return _render(report, "table.md.j2")


def markdown_grid(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> str:
    return getattr(_environment().get_template("grid.md.j2").module, "grid")(head, rows, numeric)


def latex_grid(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> str:
    return getattr(_environment().get_template("grid.tex.j2").module, "grid")(head, rows, numeric)


def as_latex(report: model.Report) -> str:
    return _render(report, "table.tex.j2")


_COMPARISON = ("pairs", "ratio", "low", "high", "p", "visible")


def as_csv(report: model.Report) -> str:
    """One line a cell and allocator with all digits; empty where there is nothing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [*CELL, "allocator", "baseline", "samples", "ok", "failure", "throughput_ops_s", "throughput_q1",
         "throughput_q3", "rss_peak", "rss_after", "rss_after_when", "rss_baseline", "null_ns_per_op", "harness_bound",
         "crowded"]
        + [f"throughput_{c}" for c in _COMPARISON] + ["throughput_q", "throughput_verdict"]
        + [f"throughput_without_harness_{c}" for c in ("ratio", "low", "high")]
        + [f"rss_peak_{c}" for c in _COMPARISON] + ["rss_peak_q", "rss_peak_verdict", "disturbed_pairs", "quiet_ratio"]
        + [f"latency_{c}_{p}_ns" for c in CALLS for p in LATENCIES]
    )  # fmt: skip
    for section in report.sections:
        for r in section.rows:
            values = [*section.cell, r.name, report.baseline, r.samples, r.ok, r.failure, r.throughput,
                      r.throughput_low, r.throughput_high, r.rss_peak, r.rss_after, report.after_label, r.rss_baseline,
                      section.harness_ns, int(section.harness_bound),
                      "" if section.crowded is None else int(section.crowded)]  # fmt: skip
            values += [getattr(r.speed, c) if r.speed else "" for c in _COMPARISON] + [r.speed_q, r.verdict]
            values += [getattr(r.net, c) if r.net else "" for c in ("ratio", "low", "high")]
            values += [getattr(r.memory, c) if r.memory else "" for c in _COMPARISON] + [r.memory_q, r.memory_verdict]
            values += [r.disturbed, r.quiet.ratio if r.quiet else ""]
            values += [r.latency.get((c, p)) for c in CALLS for p in LATENCIES]
            writer.writerow([_plain(v) for v in values])
    return out.getvalue()


def _plain(value: object) -> object:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.10g}" if isinstance(value, float) else value


def _comparison_json(comparison: stats.Comparison | None, q: float, verdict_: str) -> dict[str, Any] | None:
    if comparison is None:
        return None
    numbers = {c: text.ten_digits(getattr(comparison, c)) for c in ("ratio", "low", "high", "p", "visible")}
    return {"pairs": comparison.pairs, **numbers, "q": text.ten_digits(q), "verdict": verdict_}


def _net_json(net: stats.Comparison | None) -> dict[str, Any] | None:
    return {c: text.ten_digits(getattr(net, c)) for c in ("ratio", "low", "high")} if net else None


def _row_json(row: model.Row, samples: pd.DataFrame) -> dict[str, Any]:
    mine = samples[samples["name"] == row.name].sort_values(["block", "sample"])
    return {
        "allocator": row.name,
        "samples": row.samples,
        "ok": row.ok,
        "failure": row.failure or None,
        "throughput_ops_s": text.ten_digits(row.throughput),
        "throughput_q1": text.ten_digits(row.throughput_low),
        "throughput_q3": text.ten_digits(row.throughput_high),
        "rss_peak": text.ten_digits(row.rss_peak),
        "rss_after": text.ten_digits(row.rss_after),
        "rss_baseline": text.ten_digits(row.rss_baseline),
        "latency_ns": {
            c: {p: text.ten_digits(row.latency.get((c, p))) for p in LATENCIES}
            for c in CALLS
            if (c, "p50") in row.latency
        },
        "throughput": _comparison_json(row.speed, row.speed_q, row.verdict),
        "throughput_without_harness": _net_json(row.net),
        "memory": _comparison_json(row.memory, row.memory_q, row.memory_verdict),
        "disturbed_pairs": row.disturbed,
        "rounds": [
            {
                "run_id": s.run_id,
                "round": int(s.round),
                "status": s.status,
                "elapsed_ns": text.ten_digits(s.elapsed_ns),
                "throughput_ops_s": text.ten_digits(s.throughput_ops_s),
                "cpu_ns": text.ten_digits(s.user_ns + s.system_ns),
                "rss_peak": text.ten_digits(s.rss_peak),
                "contaminated": text.ten_digits(s.contaminated),
            }
            for s in mine.itertuples()
        ],
    }


def as_json(report: model.Report, results: load.Results) -> str:
    """The whole run: what the tables say, and each sample that they say it of (results/SCHEMA.md)."""
    by_cell = dict(list(results.data.groupby("cell", sort=False)))
    record = {
        "format": 1,
        "baseline": report.baseline,
        "margin": report.margin,
        "rss_after": report.after_label or None,
        "runs": [
            {
                "run_id": run.run_id,
                "command": run.provenance.get("command"),
                "build": run.provenance.get("build"),
                "machine": run.provenance.get("machine"),
                "allocators": run.provenance.get("allocators"),
            }
            for run in results.runs
        ],
        "cells": [
            {
                **dict(zip(CELL, section.cell)),
                "unit": speed_of(section).unit,
                "sentence": verdict.sentence(section.told) or None,
                "crowded": None if section.crowded is None else bool(section.crowded),
                "harness_ns_per_op": text.ten_digits(section.harness_ns),
                "harness_bound": section.harness_bound,
                "rows": [_row_json(row, by_cell[section.cell]) for row in section.rows],
            }
            for section in report.sections
        ],
        "summary": {
            platform: [
                {"allocator": s.name, "cells": s.cells, "failed": s.failed, "throughput": text.ten_digits(s.speed),
                 "rss_peak": text.ten_digits(s.memory), **s.verdicts}
                for s in rows
            ]
            for platform, rows in model.summaries(report).items()
        },
    }  # fmt: skip
    return json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def render(report: model.Report, form: str, results: load.Results | None = None, width: int | None = WIDTH) -> str:
    """`results` for the form that tells each sample; `width` for text."""
    if form == "json" and results is not None:
        return as_json(report, results)
    if form in ("text", "sentences"):
        return (as_text if form == "text" else as_sentences)(report, width)
    return {"markdown": as_markdown, "latex": as_latex, "csv": as_csv}[form](report)

# SPDX-License-Identifier: Apache-2.0
"""Tables of a report as text, Markdown, LaTeX or CSV. All four say the same; CSV says it with every digit."""

import csv
import io
import math
import re
import textwrap
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import jinja2

from . import model, stats, text
from .schema import CELL

FORMATS = ("text", "markdown", "latex", "csv")


def _interval(comparison: stats.Comparison) -> str:
    return f"[{text.three(comparison.low)}, {text.three(comparison.high)}]"


def _verdict(verdict: str, speed: stats.Comparison) -> str:
    if verdict == "undecided":
        if not speed.enough:
            return f"undecided (needs {stats.MIN_PAIRS} rounds)"
        return f"undecided (would see {text.percent(speed.visible)})"
    return verdict


def headers(report: model.Report, section: model.Section) -> list[str]:
    base = report.baseline
    return [
        "allocator",
        "n",
        text.rate_of([section.cell]).unit,
        f"ratio to {base}",
        "95 % interval",
        "verdict",
        "peak RSS MiB",
        "peak ratio",
        f"RSS after {report.after_label} MiB" if report.after_label else "RSS after MiB",
    ]


NUMERIC = (False, True, True, True, True, False, True, True, True)


def cells_of(row: model.Row, report: model.Report, section: model.Section) -> list[str]:
    if row.failure:
        return [row.name, str(row.samples), "failed", text.MISSING, text.MISSING, row.failure] + [text.MISSING] * 3
    if row.name == report.baseline:
        ratio, interval, verdict, memory = "1", text.MISSING, "baseline", "1"
    elif row.speed is None:
        ratio, interval, verdict, memory = text.MISSING, text.MISSING, "no baseline to compare", text.MISSING
    else:
        ratio, interval, verdict = text.three(row.speed.ratio), _interval(row.speed), _verdict(row.verdict, row.speed)
        memory = text.three(row.memory.ratio) if row.memory else text.MISSING
    return [
        row.name,
        str(row.ok),
        text.rate_of([section.cell])(row.throughput),
        ratio,
        interval,
        verdict,
        text.mebibytes(row.rss_peak),
        memory,
        text.mebibytes(row.rss_after),
    ]


def notes_of(section: model.Section, report: model.Report) -> list[str]:
    """What a reader must know about this section, one sentence each."""
    notes = []
    if section.value("platform") == "wine":
        notes.append("Measured under wine: for tests, not to be ranked beside Linux or Windows.")
    if section.crowded:
        notes.append("More threads than CPUs: these rows measure the scheduler as well.")
    if section.crowded is None:
        notes.append("No run.json beside the file: whether threads outnumbered CPUs is unknown.")
    if not math.isnan(section.harness_ns):
        note = f"The harness alone (null) takes {text.three(section.harness_ns)} ns an op and thread; not subtracted."
        net = {row.name: section.net_ns(row) for row in section.rows if not row.failure}
        base_ns = net.pop(report.baseline, math.nan)
        ratios = [f"{name} {text.three(base_ns / ns)}" for name, ns in net.items() if not math.isnan(base_ns / ns)]
        if ratios:
            note += f" Ratios of medians without it: {', '.join(ratios)}."
        notes.append(note)
    baseline_rss = [r.rss_baseline for r in section.rows if not math.isnan(r.rss_baseline)]
    if baseline_rss:
        low, high = text.mebibytes(min(baseline_rss)), text.mebibytes(max(baseline_rss))
        notes.append(f"RSS before the first allocation: {low if low == high else f'{low} to {high}'} MiB, included.")
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


def legend(report: model.Report) -> list[str]:
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
    if report.rounds < stats.MIN_PAIRS:
        lines.append(
            f"With {text.plural(report.rounds, 'round')} no rank test can reach 5 %: at least {stats.MIN_PAIRS} are"
            " needed for a verdict."
        )
    return lines


def _width(s: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in s)


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> list[str]:
    """Lines of a plain-text table; `numeric` columns are aligned right."""
    widths = [max(_width(r[i]) for r in [head, *rows]) for i in range(len(head))]
    lines = []
    for row in [head, ["-" * w for w in widths], *rows]:
        parts = [
            (" " * (w - _width(c)) + c) if number else (c + " " * (w - _width(c)))
            for c, w, number in zip(row, widths, numeric)
        ]
        lines.append("  ".join(parts).rstrip())
    return lines


def as_text(report: model.Report) -> str:
    platforms = len({s.value("platform") for s in report.sections})
    lines = []
    for section in report.sections:
        lines += [text.cell_title(section.value, platforms), f"  {text.cell_details(section.value)}"]
        lines += grid(headers(report, section), [cells_of(r, report, section) for r in section.rows], NUMERIC)
        for note in notes_of(section, report):
            lines += textwrap.wrap(note, 118, initial_indent="  ", subsequent_indent="    ")
        lines.append("")
    for platform, rows in model.summaries(report).items():
        if not rows:
            continue
        lines.append("Geometric mean of ratios" + (f", {platform}" if platforms > 1 else ""))
        lines += grid(summary_headers(report), [summary_cells(r) for r in rows], SUMMARY_NUMERIC) + [""]
    for paragraph in legend(report):
        lines += textwrap.wrap(paragraph, 118)
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


def _render(report: model.Report, template: str) -> str:
    platforms = len({s.value("platform") for s in report.sections})
    sections = [
        {
            "title": text.cell_title(s.value, platforms),
            "details": text.cell_details(s.value),
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


def as_latex(report: model.Report) -> str:
    return _render(report, "table.tex.j2")


_COMPARISON = ("pairs", "ratio", "low", "high", "p", "visible")


def as_csv(report: model.Report) -> str:
    """One line a cell and allocator with all digits; empty where there is nothing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [*CELL, "allocator", "baseline", "samples", "ok", "failure", "throughput_ops_s", "throughput_q1",
         "throughput_q3", "rss_peak", "rss_after", "rss_after_when", "rss_baseline", "null_ns_per_op", "crowded"]
        + [f"throughput_{c}" for c in _COMPARISON] + ["throughput_q", "throughput_verdict"]
        + [f"rss_peak_{c}" for c in _COMPARISON] + ["rss_peak_q", "rss_peak_verdict", "disturbed_pairs", "quiet_ratio"]
    )  # fmt: skip
    for section in report.sections:
        for r in section.rows:
            values = [*section.cell, r.name, report.baseline, r.samples, r.ok, r.failure, r.throughput,
                      r.throughput_low, r.throughput_high, r.rss_peak, r.rss_after, report.after_label, r.rss_baseline,
                      section.harness_ns, "" if section.crowded is None else int(section.crowded)]  # fmt: skip
            values += [getattr(r.speed, c) if r.speed else "" for c in _COMPARISON] + [r.speed_q, r.verdict]
            values += [getattr(r.memory, c) if r.memory else "" for c in _COMPARISON] + [r.memory_q, r.memory_verdict]
            values += [r.disturbed, r.quiet.ratio if r.quiet else ""]
            writer.writerow([_plain(v) for v in values])
    return out.getvalue()


def _plain(value: object) -> object:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.10g}" if isinstance(value, float) else value


def render(report: model.Report, form: str) -> str:
    return {"text": as_text, "markdown": as_markdown, "latex": as_latex, "csv": as_csv}[form](report)

# SPDX-License-Identifier: Apache-2.0
"""Bars: peak RSS. White tick: RSS after all was freed. Dashed line: what the live objects alone would need."""

import math
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from .. import text
from ..model import AFTER
from .axes import foot, plain_axis
from .data import Panel, is_program, live_is_resident, some_threads
from .style import FAILED, FAINT, INK, PANEL_WIDTH, WHITE, short

STEM = "peak-rss"


@dataclass
class _Part:
    """One drawn panel: a cell at its place in the grid."""

    axis: plt.Axes
    panel: Panel
    cell: tuple
    threads: int


def _parts(data, columns):
    """(figure, parts): a row a workload, a column a thread count; where there is no cell there is no axis."""
    kept = [(p, {t: c for c, t in zip(p.cells, p.threads) if t in columns}) for p in data.panels]
    kept = [(p, cells) for p, cells in kept if cells]
    height = 0.75 + 0.22 * len(data.names)
    figure, grid = plt.subplots(
        len(kept),
        len(columns),
        squeeze=False,
        constrained_layout=True,
        figsize=((PANEL_WIDTH + 0.2) * len(columns) + 0.3, height * len(kept) + 0.35),
    )
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.03, hspace=0.04)
    parts = []
    for row, (panel, cells) in zip(grid, kept):
        for axis, threads in zip(row, columns):
            if threads in cells:
                parts.append(_Part(axis, panel, cells[threads], threads))
            else:
                axis.remove()
    return figure, parts


def _instead(axis, place, words, colour):
    """Words where a bar would be."""
    axis.text(0.01, place, words, transform=axis.get_yaxis_transform(), va="center", fontsize=8, color=colour, zorder=5,
              bbox=WHITE)  # fmt: skip


def _tick_after(axis, place, group):
    """The tick of what remained after the work, where all samples have it; returns its place or 0."""
    for column, _ in AFTER:
        after = group[column].dropna() / 2**20
        if len(after) == len(group):
            at = float(after.median())
            axis.plot([at, at], [place - 0.33, place + 0.33], color="white", lw=2.2, solid_capstyle="butt")
            axis.plot([at, at], [place - 0.33, place + 0.33], color=INK, lw=0.9, solid_capstyle="butt")
            return at
    return 0


def _bar(data, part, place):
    """Draws one allocator; returns (its largest peak, what its live objects need in each sample), both in MiB."""
    axis, name = part.axis, data.names[place]
    colour, dash = data.styles[name]
    group = data.samples(part.cell, name)
    if group is None:
        _instead(axis, place, data.failures.get((part.cell, name), "no sample"), FAILED)
        return 0, []
    peaks = group["rss_peak"].dropna().to_numpy() / 2**20
    if not len(peaks):
        _instead(axis, place, "not measured", FAINT)
        return 0, []
    peak = float(np.median(peaks))
    axis.barh(place, peak, height=0.66, color=colour, alpha=1 if dash == "-" else 0.6, lw=0)
    axis.plot([peaks.min(), peaks.max()], [place, place], color=INK, lw=1, solid_capstyle="butt")
    label_at = max(peaks.max(), _tick_after(axis, place, group))
    axis.text(label_at, place, f"  {text.three(peak)}", va="center", ha="left", fontsize=8)
    needs = (group["live_peak"] + group["rss_baseline"]).dropna() / 2**20 if live_is_resident(part.cell) else ()
    return peaks.max(), list(needs)


def _fill(data, part):
    """Draws one panel; returns its width in MiB."""
    axis = part.axis
    bars = [_bar(data, part, place) for place in range(len(data.names))]
    needs = [n for _, more in bars for n in more]
    if needs:
        axis.axvline(np.median(needs), color=INK, lw=0.9, ls=(0, (3, 2)), zorder=3)
    axis.set_ylim(len(data.names) - 0.45, -0.55)
    axis.set_yticks(range(len(data.names)), [short(n) for n in data.names])
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    plain_axis(axis.xaxis)
    axis.grid(axis="x")
    axis.set_xlabel("MiB")
    mark = " *" if data.pus and part.threads > data.pus else ""
    axis.set_title(data.title(part.panel, part.threads) + mark)
    return max(0, *(top for top, _ in bars), *needs)


def _limit(parts, widths):
    """One scale a row, unless that would make its smallest panel unreadable; room for the numbers; names once a row."""
    seen = set()
    for part, width in zip(parts, widths):
        row = [w for p, w in zip(parts, widths) if p.panel.key == part.panel.key]
        part.axis.set_xlim(0, (max(row) if max(row) <= 3 * min(row) else width) * 1.25 or 1)
        part.axis.tick_params(labelleft=part.panel.key not in seen)
        seen.add(part.panel.key)


def _legend(figure, data, parts, columns):
    handles = [
        Patch(color=FAINT, label="peak RSS, median of samples"),
        Line2D([], [], color=INK, marker="|", ms=9, mew=1, ls="none", label="RSS after the work"),
    ]
    if any(live_is_resident(p.cell) for p in parts):
        handles.append(
            Line2D([], [], color=INK, lw=0.9, ls=(0, (3, 2)), label="live bytes + RSS before the first allocation")
        )
    if not all(live_is_resident(p.cell) for p in parts if not is_program(p.cell)):
        handles.append(Line2D([], [], ls="none", label="(no dashes: objects not touched throughout)"))
    if any(data.pus and p.threads > data.pus for p in parts):
        handles.append(Line2D([], [], ls="none", label=f"* more threads than the {data.pus} CPUs"))
    left_out = sorted({t for p in data.panels for t in p.threads} - set(columns))
    if left_out:
        listed = ", ".join(str(t) for t in left_out)
        handles.append(Line2D([], [], ls="none", label=f"not drawn: {listed} threads"))
    across = max(1, min(len(handles), int(figure.get_figwidth() / 2.4)))
    foot(figure, " ", lines=math.ceil(len(handles) / across))  # keeps room for the legend
    figure.legend(handles=handles, loc="lower left", ncols=across, frameon=False, fontsize=7.5, handletextpad=0.6,
                  columnspacing=1.6)  # fmt: skip


def draw(data):
    columns = some_threads(sorted({t for p in data.panels for t in p.threads}), data.pus)
    figure, parts = _parts(data, columns)
    _limit(parts, [_fill(data, part) for part in parts])
    _legend(figure, data, parts, columns)
    return figure

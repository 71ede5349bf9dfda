# SPDX-License-Identifier: Apache-2.0
"""Bars: peak RSS. White tick: RSS after all was freed. Dashed line: what the live objects alone would need."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ..model import AFTER
from ..schema import Cell
from .axes import headline, instead, name_rows, number_after, plain_axis, settle, subplots, text_width
from .data import Data, Panel, is_program, live_is_resident, some_threads
from .style import FAILED, FAINT, INK, PANEL_WIDTH

STEM = "peak-rss"


@dataclass
class _Part:
    """One drawn panel: a cell at its place in the grid."""

    axis: Axes
    panel: Panel
    cell: Cell
    threads: int


def _parts(data: Data, columns: Sequence[int]) -> tuple[Figure, list[_Part]]:
    """(figure, parts): a row a workload and a column a thread count where each has all of them, else three in a row."""
    shown = [(p, c, t) for p in data.panels for c, t in zip(p.cells, p.threads) if t in columns]
    whole = len(columns) > 1 and len(shown) == len({p.key for p, _, _ in shown}) * len(columns)
    figure, axes = subplots(len(shown), columns=len(columns) if whole else 3, height=0.75 + 0.22 * len(data.names),
                            width=PANEL_WIDTH + 0.2)  # fmt: skip
    return figure, [_Part(axis, *one) for axis, one in zip(axes, shown)]


def _tick_after(axis: Axes, place: int, group: pd.DataFrame) -> float:
    """The tick of what remained after the work, where all samples have it; returns its place or 0."""
    for column, _ in AFTER:
        after = group[column].dropna() / 2**20
        if len(after) == len(group):
            at = float(after.median())
            axis.plot([at, at], [place - 0.33, place + 0.33], color="white", lw=2.2, solid_capstyle="butt")
            axis.plot([at, at], [place - 0.33, place + 0.33], color=INK, lw=0.9, solid_capstyle="butt")
            return at
    return 0


def _bar(data: Data, part: _Part, place: int) -> tuple[float, list[float]]:
    """Draws one allocator; returns (its largest peak, what its live objects need in each sample), both in MiB."""
    axis, name = part.axis, data.names[place]
    colour, dash = data.styles[name]
    group = data.samples(part.cell, name)
    if group is None:
        instead(axis, place, data.failures.get((part.cell, name), "no sample"), FAILED)
        return 0, []
    peaks = group["rss_peak"].dropna().to_numpy() / 2**20
    if not len(peaks):
        instead(axis, place, "not measured", FAINT)
        return 0, []
    peak = float(np.median(peaks))
    axis.barh(place, peak, height=0.66, color=colour, alpha=1 if dash == "-" else 0.6, lw=0)
    axis.plot([peaks.min(), peaks.max()], [place, place], color=INK, lw=1, solid_capstyle="butt")
    number_after(axis, place, max(peaks.max(), _tick_after(axis, place, group)), peak)
    needs = (group["live_peak"] + group["rss_baseline"]).dropna() / 2**20 if live_is_resident(part.cell) else ()
    return peaks.max(), list(needs)


def _fill(data: Data, part: _Part) -> float:
    """Draws one panel; returns how far its marks reach in MiB."""
    axis = part.axis
    bars = [_bar(data, part, place) for place in range(len(data.names))]
    needs = [n for _, more in bars for n in more]
    need = float(np.median(needs)) if needs else 0
    if needs:
        axis.axvline(need, color=INK, lw=0.9, ls=(0, (3, 2)), zorder=3)
    name_rows(axis, data.names, axis.get_subplotspec().is_first_col())
    axis.xaxis.set_major_locator(MaxNLocator(4))
    plain_axis(axis.xaxis)
    axis.set_xlabel("peak RSS, MiB")
    return max(need, *(top for top, _ in bars))


def _limit(parts: Sequence[_Part], widths: Sequence[float]) -> None:
    """One scale for the thread counts of a workload, unless one of them would fill less than half of it; room for the
    numbers."""
    for part, width in zip(parts, widths):
        row = [w for p, w in zip(parts, widths) if p.panel.key == part.panel.key]
        part.axis.set_xlim(0, (max(row) if max(row) <= 2 * min(row) else width) * 1.25 or 1)


def _legend(figure: Figure, data: Data, parts: Sequence[_Part], columns: Sequence[int]) -> None:
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
    words = max(text_width(figure, h.get_label(), FontProperties(size=7.5)) for h in handles)
    across = max(1, min(len(handles), int(figure.get_figwidth() / (words + 0.6))))
    lines = math.ceil(len(handles) / across)
    figure.set_figheight(figure.get_figheight() + 0.15 * lines + 0.12)
    below = (0.15 * lines + 0.12) / figure.get_figheight()
    figure.get_layout_engine().set(rect=(0, below, 1, 1 - below))
    figure.legend(handles=handles, loc="lower left", ncols=across, frameon=False, fontsize=7.5, handletextpad=0.6,
                  columnspacing=1.6, borderaxespad=0.2)  # fmt: skip


def draw(data: Data) -> Figure:
    columns = some_threads(sorted({t for p in data.panels for t in p.threads}), data.pus)
    figure, parts = _parts(data, columns)
    above, heads = data.headings([(p.panel, p.threads) for p in parts])
    headline(figure, above)
    _limit(parts, [_fill(data, part) for part in parts])
    for part, title in zip(parts, heads):
        part.axis.set_title(title)
    _legend(figure, data, parts, columns)
    settle(figure)
    return figure

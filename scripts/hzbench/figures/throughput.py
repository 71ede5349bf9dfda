# SPDX-License-Identifier: Apache-2.0
"""Median throughput by threads, a panel a workload; dots are single samples, shading marks threads > CPUs. Where
nothing was measured with two thread counts: a row an allocator."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..schema import Cell

from .axes import (Point, curve_size, end_labels, foot, headline, instead, log_axis, log_if_wide, name_room, name_rows,
                   name_speeds, note_failures, number_after, plain_axis, settle, subplots)  # fmt: skip
from .data import Data, Panel
from .style import FAILED, PANEL_WIDTH

STEM = "throughput"


def _line(axis: Axes, data: Data, panel: Panel, place: int) -> tuple[list[float], list[float], Point | None]:
    """Draws one allocator's samples and medians; returns (all speeds, medians, label of its last good point or
    None)."""
    name = data.names[place]
    colour, dash = data.styles[name]
    jitter = 0.06 * (place - (len(data.names) - 1) / 2) / max(len(data.names) - 1, 1)
    rate = data.rate(panel.cells)
    values: list[float] = []
    xs: list[float] = []
    ys: list[float] = []
    for tick, cell in enumerate(panel.cells):
        group = data.samples(cell, name)
        if group is None:
            xs.append(tick)
            ys.append(math.nan)  # a gap: no line across a count at which it failed
            continue
        speeds = rate.of(group["throughput_ops_s"].to_numpy())
        values += list(speeds)
        axis.plot(np.full(len(speeds), tick + jitter), speeds, ".", color=colour, alpha=0.28, ms=3.5, mew=0, zorder=2)
        xs.append(tick + jitter)
        ys.append(float(np.median(speeds)))
    good = [(x, y) for x, y in zip(xs, ys) if not math.isnan(y)]
    if good:
        axis.plot(xs, ys, color=colour, ls=dash, lw=1.6, zorder=3, **data.styles.mark(name, 5))
    return values, [y for _, y in good], (*good[-1], name, colour) if good else None


def _scale(axis: Axes, values: Sequence[float], medians: Sequence[float]) -> None:
    if log_if_wide(medians, 25):  # one sample that was held up must not change the scale
        axis.set_yscale("log")
        log_axis(axis.yaxis, *axis.get_ylim())
    elif values:
        axis.set_ylim(0, max(values) * 1.08)
        axis.yaxis.set_major_locator(MaxNLocator(5))
    plain_axis(axis.yaxis)


def _shade_crowded(axis: Axes, data: Data, panel: Panel) -> bool:
    """Shades the thread counts above the CPUs; returns whether there are any."""
    crowded = [i for i, t in enumerate(panel.threads) if data.pus and t > data.pus]
    if crowded:
        axis.axvspan(crowded[0] - 0.5, len(panel.threads) - 0.65, color="#F1EEE6", zorder=0, lw=0)
    return bool(crowded)


def _strip(axis: Axes, data: Data, cell: Cell) -> None:
    """The samples of one cell, a row a name: median, quartiles and single samples."""
    rate = data.rate([cell])
    speeds = {n: rate.of(g["throughput_ops_s"].to_numpy())
              for n in data.names if (g := data.samples(cell, n)) is not None}  # fmt: skip
    medians = {n: float(np.median(v)) for n, v in speeds.items()}
    low, high = min(medians.values(), default=1), max((v.max() for v in speeds.values()), default=1)
    name_rows(axis, data.names, axis.get_subplotspec().is_first_col())
    if log_if_wide(medians.values(), 25):
        least = min(v.min() for v in speeds.values())
        axis.set_xscale("log")
        axis.set_xlim(least / 1.3, high * (high / least) ** 0.25)
        log_axis(axis.xaxis, low, high)
    else:
        axis.set_xlim(0, high * 1.25)
        axis.xaxis.set_major_locator(MaxNLocator(4))
    plain_axis(axis.xaxis)
    for place, name in enumerate(data.names):
        if name not in speeds:
            instead(axis, place, data.failures.get((cell, name), "no sample"), FAILED)
            continue
        colour, values = data.styles[name][0], speeds[name]
        axis.plot(values, np.full(len(values), place), ".", color=colour, alpha=0.4, ms=4, mew=0, zorder=2)
        axis.plot(np.quantile(values, [0.25, 0.75]), [place, place], color=colour, lw=1.4, zorder=3)
        axis.plot(medians[name], place, ls="none", zorder=4, **data.styles.mark(name, 6))
        number_after(axis, place, values.max(), medians[name])


def _strips(data: Data) -> Figure:
    """Where no panel has two thread counts there is nothing to join: a row a name instead of an axis with one tick."""
    figure, axes = subplots(len(data.panels), width=PANEL_WIDTH + 0.2, height=0.75 + 0.22 * len(data.names))
    shown = [(p, p.threads[0]) for p in data.panels]
    above, heads = data.headings(shown)
    marks, meaning = data.daggers(shown)
    headline(figure, above)
    for axis, panel, title, mark in zip(axes, data.panels, heads, marks):
        _strip(axis, data, panel.cells[0])
        axis.set_title(title + mark)
        axis.set_xlabel(data.rate(panel.cells).label)
    foot(figure, "dots: single samples; marks: their median, with quartiles" + data.stars(shown) + meaning)
    settle(figure)
    return figure


def _lines(data: Data) -> Figure:
    width, height = curve_size(data.names)
    figure, axes = subplots(len(data.panels), width=width, height=height)
    above, heads = data.headings([(p, 0) for p in data.panels])
    marks, meaning = data.daggers([(p, 0) for p in data.panels])
    headline(figure, above)
    pending = []
    shaded = False
    for axis, panel, title, mark in zip(axes, data.panels, heads, marks):
        lines = [_line(axis, data, panel, place) for place in range(len(data.names))]
        _scale(axis, [v for values, _, _ in lines for v in values], [m for _, medians, _ in lines for m in medians])
        axis.set_xlim(-0.35, len(panel.threads) - 0.65)
        axis.set_xticks(range(len(panel.threads)), [str(t) for t in panel.threads])
        axis.grid(axis="y")
        axis.set_title(title + mark)
        axis.set_xlabel("threads")
        shaded |= _shade_crowded(axis, data, panel)
        note_failures(axis, data, panel.cells)
        pending.append((axis, [label for _, _, label in lines if label]))
        name_room(axis, data.names)
    name_speeds(axes, [data.rate(panel.cells) for panel in data.panels])
    foot(figure, "dots: single samples; marks: their median"
                 + (f"; shaded: more threads than the {data.pus} CPUs" if shaded else "") + meaning)  # fmt: skip
    settle(figure)
    for axis, labels in pending:
        end_labels(axis, labels, 1.045)
    return figure


def draw(data: Data) -> Figure:
    return _lines(data) if any(len(p.cells) > 1 for p in data.panels) else _strips(data)

# SPDX-License-Identifier: Apache-2.0
"""Median throughput by threads, a panel a workload; dots are single samples, shading marks threads > CPUs."""

import math

import numpy as np
from matplotlib.ticker import MaxNLocator, NullLocator

from .axes import end_labels, foot, log_if_wide, name_room, note_failures, plain_axis, row_starts, settle, subplots
from .data import panel_title
from .style import PANEL_WIDTH

STEM = "throughput"


def _line(axis, data, panel, place):
    """Draws one allocator's samples and medians; returns (all speeds, medians, label of its last good point or
    None)."""
    name = data.names[place]
    colour, dash = data.styles[name]
    jitter = 0.06 * (place - (len(data.names) - 1) / 2) / max(len(data.names) - 1, 1)
    values, xs, ys = [], [], []
    for tick, cell in enumerate(panel.cells):
        group = data.samples(cell, name)
        if group is None:
            xs.append(tick)
            ys.append(math.nan)  # a gap: no line across a count at which it failed
            continue
        speeds = group["throughput_ops_s"].to_numpy() / data.rate.size
        values += list(speeds)
        axis.plot(np.full(len(speeds), tick + jitter), speeds, ".", color=colour, alpha=0.28, ms=3.5, mew=0, zorder=2)
        xs.append(tick + jitter)
        ys.append(float(np.median(speeds)))
    good = [(x, y) for x, y in zip(xs, ys) if not math.isnan(y)]
    if good:
        axis.plot(xs, ys, color=colour, ls=dash, lw=1.6, zorder=3, **data.styles.mark(name, 5))
    return values, [y for _, y in good], (*good[-1], name, colour) if good else None


def _scale(axis, values, medians):
    if log_if_wide(medians, 25):  # one sample that was held up must not change the scale
        axis.set_yscale("log")
        axis.yaxis.set_minor_locator(NullLocator())
    elif values:
        axis.set_ylim(0, max(values) * 1.08)
        axis.yaxis.set_major_locator(MaxNLocator(5))
    plain_axis(axis.yaxis)


def _shade_crowded(axis, data, panel):
    """Shades the thread counts above the CPUs; returns whether there are any."""
    crowded = [i for i, t in enumerate(panel.threads) if data.pus and t > data.pus]
    if crowded:
        axis.axvspan(crowded[0] - 0.5, len(panel.threads) - 0.65, color="#F1EEE6", zorder=0, lw=0)
    return bool(crowded)


def draw(data):
    figure, axes = subplots(len(data.panels), width=PANEL_WIDTH + 0.5)
    pending = []
    shaded = False
    for axis, panel in zip(axes, data.panels):
        lines = [_line(axis, data, panel, place) for place in range(len(data.names))]
        _scale(axis, [v for values, _, _ in lines for v in values], [m for _, medians, _ in lines for m in medians])
        axis.set_xlim(-0.35, len(panel.threads) - 0.65)
        axis.set_xticks(range(len(panel.threads)), [str(t) for t in panel.threads])
        axis.grid(axis="y")
        axis.set_title(panel_title(panel, data.panels))
        axis.set_xlabel("threads")
        shaded |= _shade_crowded(axis, data, panel)
        note_failures(axis, data, panel.cells)
        pending.append((axis, [label for _, _, label in lines if label]))
        name_room(axis, data.names)
    for row_start in row_starts(axes):
        row_start.set_ylabel(f"throughput, {data.rate.unit}")
    foot(figure, "dots: single samples; marks: their median"
                 + (f"; shaded: more threads than the {data.pus} CPUs" if shaded else ""))  # fmt: skip
    settle(figure)
    for axis, labels in pending:
        end_labels(axis, labels, 1.045)
    return figure

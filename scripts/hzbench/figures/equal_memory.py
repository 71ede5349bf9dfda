# SPDX-License-Identifier: Apache-2.0
"""Throughput at equal memory: the limit of `--memory-limit` from small to large, the median throughput under it, and a
cross where an allocator did not get through."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import text
from ..schema import CELL, Cell
from .axes import Point, curve_size, end_labels, foot, headline, log_axis, log_if_wide, name_room, name_speeds
from .axes import plain_axis, settle, subplots
from .data import Data, Panel, titles

STEM = "throughput-at-equal-memory"

_LIMIT = CELL.index("memory_limit_bytes")


def limit_of(cell: Cell) -> float:
    """Bytes; infinity where nothing was limited."""
    return float(cell[_LIMIT] or math.inf)


def swept(data: Data) -> list[Panel]:
    """The cells that differ in their limit alone, two limits or more, smallest first; each as one panel."""
    groups: dict[Cell, list[Cell]] = {}
    for panel in data.panels:
        cell = data.busiest(panel)
        groups.setdefault(cell[:_LIMIT] + cell[_LIMIT + 1 :], []).append(cell)
    panels = []
    for key, cells in groups.items():
        if len(cells) > 1:
            panels.append(Panel(key, cells))
            panels[-1].cells.sort(key=limit_of)
    return panels


def _draw_name(axis: Axes, data: Data, panel: Panel, place: int) -> Point | None:
    """Draws the medians and crosses of one allocator; returns the label of its last good point or None."""
    name = data.names[place]
    colour, dash = data.styles[name]
    jitter = 0.08 * (place - (len(data.names) - 1) / 2) / max(len(data.names) - 1, 1)
    rate = data.rate(panel.cells)
    xs, ys = [], []
    for tick, cell in enumerate(panel.cells):
        group = data.samples(cell, name)
        xs.append(tick + jitter)
        ys.append(math.nan if group is None else float(np.median(rate.of(group["throughput_ops_s"].to_numpy()))))
        if (cell, name) in data.failures:
            low = 0.04 + 0.045 * place
            axis.plot(tick + jitter, low, "x", color=colour, ms=6, mew=1.6, transform=axis.get_xaxis_transform())
    axis.plot(xs, ys, color=colour, ls=dash, lw=1.6, zorder=3, **data.styles.mark(name, 5))
    good = [(x, y) for x, y in zip(xs, ys) if not math.isnan(y)]
    return (*good[-1], name, colour) if good else None


def _scale(axis: Axes, labels: list[Point]) -> None:
    speeds = [y for line in axis.lines for y in line.get_ydata() if line.get_marker() != "x" and not math.isnan(y)]
    if log_if_wide(speeds, 12):
        axis.set_yscale("log")
        low, high = min(speeds), max(speeds)
        axis.set_ylim(low / (high / low) ** 0.45, high * 1.3)
        log_axis(axis.yaxis, *axis.get_ylim())
    elif labels:
        axis.set_ylim(0, max(speeds) * 1.08)
    plain_axis(axis.yaxis)


def draw(data: Data) -> Figure | None:
    """None when nothing was measured under two limits."""
    panels = swept(data)
    if not panels:
        return None
    width, height = curve_size(data.names)
    figure, axes = subplots(len(panels), width=width, height=height)
    shared, own = titles(panels)
    headline(figure, shared)
    pending = []
    for axis, panel in zip(axes, panels):
        labels = [label for place in range(len(data.names)) if (label := _draw_name(axis, data, panel, place))]
        _scale(axis, labels)
        limits = [limit_of(cell) for cell in panel.cells]
        axis.set_xticks(range(len(limits)), [text.size(v) if math.isfinite(v) else "none" for v in limits])
        axis.set_xlim(-0.35, len(limits) - 0.65)
        axis.grid(axis="y")
        axis.set_title(own[panel.key])
        axis.set_xlabel("memory limit")
        name_room(axis, data.names)
        pending.append((axis, labels))
    name_speeds(axes, [data.rate(panel.cells) for panel in panels])
    foot(figure, "marks: medians of the samples; crosses: a sample ran out of memory, crashed or did not end")
    settle(figure)
    for axis, labels in pending:
        end_labels(axis, labels, 1.045)
    return figure

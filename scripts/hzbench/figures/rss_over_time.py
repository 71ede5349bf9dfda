# SPDX-License-Identifier: Apache-2.0
"""RSS of the median sample over the phases of a run; the grey area is what the program holds alive."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..schema import CELL, Cell
from ..stats import Floats
from .axes import (
    Point,
    curve_size,
    end_labels,
    foot,
    headline,
    name_room,
    note_failures,
    plain_axis,
    row_starts,
    settle,
    subplots,
)
from .data import SEGMENTS, Data, aligned, live_is_resident, thinned
from .style import GRID

STEM = "rss-over-time"
POINTS = 2000  # of one curve


def _curves(axis: Axes, data: Data, cell: Cell) -> tuple[list[Point], list[tuple[Floats, Floats]], list[float], float]:
    """Draws the curves of a cell; returns (labels, [(x, live MiB)], [RSS before the first allocation], largest RSS)."""
    labels, lives, floors, top = [], [], [], 0
    for name in data.names:
        group, series = data.samples(cell, name), data.middle_series(cell, name)
        if group is None or series is None:
            continue
        xs, rss, live = aligned(series)
        if not len(xs):
            continue
        colour, dash = data.styles[name]
        kept = thinned(rss, POINTS)  # hours have more than can be seen
        xs, rss, live = xs[kept], rss[kept], live[kept]
        axis.plot(xs, rss / 2**20, color=colour, lw=1.5, ls=dash, zorder=3, solid_joinstyle="round")
        labels.append((xs[-1], rss[-1] / 2**20, name, colour))
        lives.append((xs, live / 2**20))
        floors.append(float(group["rss_baseline"].dropna().median()) / 2**20)
        top = max(top, rss.max() / 2**20)
    return labels, lives, floors, top


def _shade_live(axis: Axes, lives: Sequence[tuple[Floats, Floats]], floors: Sequence[float]) -> float:
    """Live bytes upon what was resident before; returns the top of it. They are equal for all allocators but for the
    times of the readings: the ones with most readings are drawn."""
    xs, live = max(lives, key=lambda item: len(item[0]))
    floor = np.nan_to_num(np.median(floors))
    axis.fill_between(xs, floor, floor + np.maximum(live, 0), color="#D9D9D9", lw=0, zorder=1)
    axis.axhspan(0, floor, color="#EFEFEF", lw=0, zorder=0)
    return floor + live.max()


def _phases(axis: Axes) -> None:
    edges = np.cumsum([0] + [w for _, _, w in SEGMENTS])
    for edge in edges[1:-1]:
        axis.axvline(edge, color=GRID, lw=0.9, zorder=0)
    axis.set_xlim(0, edges[-1])
    axis.set_xticks((edges[1:] + edges[:-1]) / 2, [s for s, _, _ in SEGMENTS])
    axis.tick_params(axis="x", length=0, labelsize=8)


def draw(data: Data) -> Figure | None:
    """None when no run has a series."""
    if not data.series:
        return None
    width, height = curve_size(data.names)
    figure, axes = subplots(len(data.panels), width=width, height=height)
    pending, shades = [], []
    cells = [data.busiest(panel) for panel in data.panels]
    shown = [(p, c[CELL.index("threads")]) for p, c in zip(data.panels, cells)]
    above, heads = data.headings(shown)
    headline(figure, above)
    for axis, cell, title in zip(axes, cells, heads):
        labels, lives, floors, top = _curves(axis, data, cell)
        if lives and live_is_resident(cell):
            top = max(top, _shade_live(axis, lives, floors))
            shades = [
                "light grey: RSS before the first allocation; grey: live bytes, where objects are touched throughout"
            ]
        _phases(axis)
        axis.set_ylim(0, top * 1.08 or 1)
        axis.yaxis.set_major_locator(MaxNLocator(5))
        plain_axis(axis.yaxis)
        axis.grid(axis="y")
        axis.set_title(title)
        axis.set_xlabel("phases of the run")
        note_failures(axis, data, [cell])
        name_room(axis, data.names)
        pending.append((axis, labels))
    if not any(labels for _, labels in pending):
        plt.close(figure)
        return None
    for axis in row_starts(axes):
        axis.set_ylabel("RSS, MiB")
    notes = ["phases have the same width for all, whatever time they took", "sample with the median peak", *shades]
    foot(figure, "; ".join(notes) + data.stars(shown))
    settle(figure)
    for axis, labels in pending:
        end_labels(axis, labels, 1.045)
    return figure

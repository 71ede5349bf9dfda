# SPDX-License-Identifier: Apache-2.0
"""Throughput against peak RSS: up and left is better; the line joins those that nobody beats in both."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..schema import CELL, Cell
from .axes import (
    Line,
    Point,
    better,
    foot,
    frame,
    headline,
    name_speeds,
    note_failures,
    plane_size,
    point_labels,
    settle,
    subplots,
)
from .data import Data

STEM = "throughput-against-rss"


def _point(axis: Axes, data: Data, cell: Cell, name: str) -> tuple[Point, list[Line]] | None:
    """Draws the medians of one allocator with their quartiles; returns ((x, y, name, colour), its two bars) or None."""
    group = data.samples(cell, name)
    if group is None:
        return None
    rss = group["rss_peak"].dropna() / 2**20
    if not len(rss):
        return None
    speed = data.rate([cell]).of(group["throughput_ops_s"])
    colour, _ = data.styles[name]
    x, y = float(rss.median()), float(speed.median())
    wide, high = rss.quantile([0.25, 0.75]), speed.quantile([0.25, 0.75])
    axis.plot(wide, [y, y], color=colour, lw=1.1, alpha=0.8)
    axis.plot([x, x], high, color=colour, lw=1.1, alpha=0.8)
    axis.plot(x, y, ls="none", zorder=4, **data.styles.mark(name, 7))
    bars: list[Line] = [((wide.iloc[0], y), (wide.iloc[1], y)), ((x, high.iloc[0]), (x, high.iloc[1]))]
    return (x, y, name, colour), bars


def front(points: Sequence[Point], is_time: bool = False) -> list[tuple[float, float]]:
    """Points that no other one beats in both, from small RSS to large."""
    best: list[tuple[float, float]] = []
    sign = -1 if is_time else 1
    for x, y, *_ in sorted(points, key=lambda p: (p[0], -sign * p[1])):
        if not best or sign * y > sign * best[-1][1]:
            best.append((x, y))
    return best


def draw(data: Data) -> Figure:
    width, height = plane_size(data.names)
    figure, axes = subplots(len(data.panels), width=width, height=height)
    pending = []
    cells = [data.busiest(panel) for panel in data.panels]
    shown = [(p, c[CELL.index("threads")]) for p, c in zip(data.panels, cells)]
    above, heads = data.headings(shown)
    marks, meaning = data.daggers(shown)
    headline(figure, above)
    for axis, cell, title, mark in zip(axes, cells, heads, marks):
        drawn = [d for d in (_point(axis, data, cell, name) for name in data.names) if d]
        points, lines = [p for p, _ in drawn], [bar for _, both in drawn for bar in both]
        if points:
            frame(axis, points, lines)
        rate = data.rate([cell])
        joined = front(points, rate.is_time)
        if len(joined) > 1:
            xs, ys = zip(*joined)
            axis.step(xs, ys, where="post", color="#BBBBBB", lw=1, zorder=1)
            lines += [((x0, y0), (x1, y0), (x1, y1)) for (x0, y0), (x1, y1) in zip(joined, joined[1:])]
        axis.grid()
        axis.set_title(title + mark)
        axis.set_xlabel("peak RSS, MiB")
        words = [better(axis, rate, points), *note_failures(axis, data, [cell], bottom=True)]
        pending.append((axis, points, lines, words))
    name_speeds(axes, [data.rate([cell]) for cell in cells])
    caption = "marks: medians of the samples, with their quartiles; grey: the line of those that nobody beats in both"
    foot(figure, caption + data.stars(shown) + meaning)
    settle(figure)
    for place in pending:
        point_labels(*place)
    return figure

# SPDX-License-Identifier: Apache-2.0
"""Throughput against peak RSS: up and left is better; the line joins those that nobody beats in both."""

from ..schema import CELL
from .axes import better, frame, note_failures, point_labels, row_starts, settle, subplots
from .style import PANEL_WIDTH

STEM = "throughput-against-rss"


def _point(axis, data, cell, name):
    """Draws the medians of one allocator with their quartiles; returns ((x, y, name, colour), its two bars) or None."""
    group = data.samples(cell, name)
    rss = group["rss_peak"].dropna() / 2**20 if group is not None else ()
    if not len(rss):
        return None
    speed = group["throughput_ops_s"] / data.rate.size
    colour, _ = data.styles[name]
    x, y = float(rss.median()), float(speed.median())
    wide, high = rss.quantile([0.25, 0.75]), speed.quantile([0.25, 0.75])
    axis.plot(wide, [y, y], color=colour, lw=1.1, alpha=0.8)
    axis.plot([x, x], high, color=colour, lw=1.1, alpha=0.8)
    axis.plot(x, y, ls="none", zorder=4, **data.styles.mark(name, 7))
    bars = [((wide.iloc[0], y), (wide.iloc[1], y)), ((x, high.iloc[0]), (x, high.iloc[1]))]
    return (x, y, name, colour), bars


def front(points):
    """Points that no other one beats in both, from small RSS to large."""
    best = []
    for x, y, *_ in sorted(points, key=lambda p: (p[0], -p[1])):
        if not best or y > best[-1][1]:
            best.append((x, y))
    return best


def draw(data):
    figure, axes = subplots(len(data.panels), width=PANEL_WIDTH + 0.2, height=2.75)
    pending = []
    for axis, panel in zip(axes, data.panels):
        cell = data.busiest(panel)
        drawn = [d for d in (_point(axis, data, cell, name) for name in data.names) if d]
        points, bars = [p for p, _ in drawn], [bar for _, both in drawn for bar in both]
        if points:
            frame(axis, points)
        joined = front(points)
        if len(joined) > 1:
            xs, ys = zip(*joined)
            axis.step(xs, ys, where="post", color="#BBBBBB", lw=1, zorder=1)
        axis.grid()
        axis.set_title(data.title(panel, cell[CELL.index("threads")]))
        axis.set_xlabel("peak RSS, MiB")
        arrow = better(axis)
        note_failures(axis, data, [cell], bottom=True)
        pending.append((axis, points, bars, arrow))
    for axis in row_starts(axes):
        axis.set_ylabel(f"throughput, {data.rate.unit}")
    settle(figure)
    for axis, points, bars, arrow in pending:
        point_labels(axis, points, bars, arrow)
    return figure

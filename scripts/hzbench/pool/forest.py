# SPDX-License-Identifier: Apache-2.0
"""The forest plot: each host's ratio with its interval, a panel an allocator, a row a cell; pooled as a diamond."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from .. import figures, text
from ..figures import axes as drawing
from ..figures import style
from .build import QUANTITIES, Line, Pool

MARKERS = "osD^vPX*<>"  # one a host
_ROW = 0.17  # inches of a host's line; the pooled one takes as much
_LONGEST = 34  # characters of a row's label on one line

STEMS = {"throughput": "forest-throughput", "peak RSS": "forest-peak-rss"}


def _marks(axis: Axes, line: Line, pool: Pool, top: float, colour: str) -> list[float]:
    """Draws one line below `top`; returns the ends of what was drawn, for the limits."""
    ends = []
    for local in line.locals:
        at = pool.hosts.index(local.host)
        y, c = top + at, local.comparison
        if c is None:
            axis.text(1, y, local.verdict or "-", color=style.FAILED, fontsize=7, va="center", ha="center")
            continue
        known = c.low > 0 and math.isfinite(c.high)
        if known:
            axis.plot([c.low, c.high], [y, y], color=colour, lw=1)
            ends += [c.low, c.high]
        axis.plot(c.ratio, y, marker=MARKERS[at % len(MARKERS)], ms=4.5, mfc=colour if known else "white", mec=colour)
        ends.append(c.ratio)
    p = line.pooled
    if p is not None:
        y = top + len(pool.hosts)
        mean, low, high, first, last = (math.exp(v) for v in (p.mean, p.low, p.high, p.next_low, p.next_high))
        axis.plot([first, last], [y, y], color=style.FAINT, lw=1, zorder=1)
        axis.fill([low, mean, high, mean], [y, y - 0.4, y, y + 0.4], color=style.INK, lw=0.5, zorder=3)
        ends += [low, high, first, last]
    return ends


def _scale(axis: Axes, ends: Sequence[float]) -> None:
    low, high = min([*ends, 1 / 1.1]), max([*ends, 1.1])
    axis.set_xscale("log")
    axis.set_xlim(low / (high / low) ** 0.04, high * (high / low) ** 0.04)
    wide = high / low
    steps = (1,) if wide > 300 else (1, 3) if wide > 30 else (1, 2, 5) if wide > 3 else (1, 1.2, 1.5, 2, 3, 5, 7, 8, 9)
    axis.xaxis.set_major_locator(LogLocator(subs=steps))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text.three(value).rstrip("0").rstrip(".")))


def draw(pool: Pool, quantity: str) -> Figure | None:
    """None when the quantity was compared nowhere."""
    lines = [line for line in pool.lines if line.quantity == quantity]
    if not lines:
        return None
    names = list(dict.fromkeys(line.name for line in lines))
    cells = [cell for cell in pool.cells if any(line.cell == cell for line in lines)]
    labels = text.cell_labels(cells)
    step = len(pool.hosts) + (2 if any(line.pooled for line in lines) else 1)  # one line of space between cells
    height = max(2.0, _ROW * step * len(cells) + 0.5)
    figure, axes = drawing.subplots(len(names), columns=3, height=height, width=style.PANEL_WIDTH + 0.6, sharey=True)
    styles = style.Styles(names)
    starts = drawing.row_starts(axes)
    for axis, name in zip(axes, names):
        ends: list[float] = []
        for line in (line for line in lines if line.name == name):
            ends += _marks(axis, line, pool, cells.index(line.cell) * step, styles[name][0])
        _scale(axis, ends)
        axis.axvline(1, color=style.FAINT, lw=0.7, zorder=0)
        axis.grid(axis="x")
        axis.set_title(style.short(name))
        axis.set_xlabel(f"{quantity} / {pool.baseline}")
        axis.set_ylim(len(cells) * step - 0.6, -1)
        axis.set_yticks([i * step + (step - 2) / 2 for i in range(len(cells))])
        axis.set_yticklabels(
            [drawing.wrap(figure, labels[c], 2.0, axis.yaxis.label.get_fontproperties()) for c in cells]
        )
        axis.tick_params(axis="y", length=0, labelleft=axis in starts)
    drawing.foot(figure, _caption(pool, any(line.pooled for line in lines)))
    drawing.settle(figure)
    return figure


_SHAPES = {"o": "circle", "s": "square", "D": "diamond", "^": "triangle", "v": "triangle pointing down", "P": "plus",
           "X": "cross", "*": "star", "<": "triangle pointing left", ">": "triangle pointing right"}  # fmt: skip


def _caption(pool: Pool, pooled: bool) -> str:
    who = "; ".join(f"{_SHAPES[MARKERS[i % len(MARKERS)]]}: host {host.title}" for i, host in enumerate(pool.hosts))
    shared = "commits: " + ", ".join(f"{h.letter} {h.commit[:10] or 'unknown'}" for h in pool.hosts)
    end = (
        "black diamond: pooled, with its interval as width; grey line: interval of the next host"
        if pooled
        else "no verdict across hosts: " + "; ".join(sorted({line.why_not for line in pool.lines}))
    )
    return f"{who}; lines: 95 % intervals; {end}; {shared}"


def write(pool: Pool, directory: str | Path) -> list[Path]:
    """Writes the forest plots into `directory`, made when missing; returns the paths."""
    figures.make_directory(Path(directory))
    paths: list[Path] = []
    with matplotlib.rc_context(style.RC):
        for quantity in QUANTITIES:
            figure = draw(pool, quantity)
            if figure is not None:
                paths += figures.save(figure, Path(directory), STEMS[quantity])
    return paths

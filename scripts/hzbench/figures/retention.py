# SPDX-License-Identifier: Apache-2.0
"""One knob's curve: throughput against peak RSS, the settings of `retain` joined in order."""

import re
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import text
from ..allocators import base_name
from ..schema import CELL, Cell
from .axes import Line, Point, better, foot, frame, headline, name_speeds, note_failures, point_labels, settle, subplots
from .data import Data
from .style import PANEL_WIDTH

STEM = "retention"

_RETAIN = re.compile(r"[{,]retain=(\d+)(KiB|MiB|GiB)?[,}]")
_UNIT: dict[str | None, int] = {None: 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def retained(name: str) -> int | None:
    """The bytes that an allocator such as hz5{retain=64MiB} was told to keep, or None."""
    match = _RETAIN.search(name)
    return int(match[1]) * _UNIT[match[2]] if match else None


def _sweeps(names: Sequence[str]) -> list[list[str]]:
    """The names of each allocator that was measured with three settings or more, in the order of the settings."""
    sweeps: dict[str, list[tuple[int, str]]] = {}  # what each was told to keep, and its name
    for name in names:
        kept = retained(name)
        if kept is not None:
            sweeps.setdefault(base_name(name), []).append((kept, name))
    return [[name for _, name in sorted(swept, key=lambda s: s[0])] for swept in sweeps.values() if len(swept) >= 3]


def _medians(data: Data, cell: Cell) -> dict[str, tuple[float, float]]:
    """{name: (peak RSS in MiB, throughput)}"""
    where = {}
    for name in data.names:
        group = data.samples(cell, name)
        if group is None:
            continue
        rss = group["rss_peak"].dropna() / 2**20
        if len(rss):
            where[name] = (float(rss.median()), float(data.rate([cell]).of(group["throughput_ops_s"].median())))
    return where


def _fill(axis: Axes, data: Data, cell: Cell, sweeps: Sequence[Sequence[str]]) -> tuple[list[Point], list[Line]]:
    """Draws one panel; returns the points to label and the lines between them."""
    where = _medians(data, cell)
    lines: list[Line] = []
    for names in sweeps:
        line = [where[name] for name in names if name in where]
        if line:
            lines.append(line)
            axis.plot(*zip(*line), color=data.styles[names[-1]][0], lw=1.4, alpha=0.7, zorder=2)
    points = []
    for name, (x, y) in where.items():
        axis.plot(x, y, ls="none", zorder=4, **data.styles.mark(name, 7))
        kept = retained(name)
        points.append((x, y, name if kept is None else f"retain {text.size(kept)}", data.styles[name][0]))
    if points:
        frame(axis, points, lines)
    return points, lines


def draw(data: Data) -> Figure | None:
    """None when no allocator was measured with three settings."""
    sweeps = _sweeps(data.names)
    if not sweeps:
        return None
    figure, axes = subplots(len(data.panels), columns=2, width=PANEL_WIDTH + 1.4, height=3.2)
    pending = []
    cells = [data.busiest(panel) for panel in data.panels]
    shown = [(p, c[CELL.index("threads")]) for p, c in zip(data.panels, cells)]
    above, heads = data.headings(shown)
    headline(figure, above)
    for axis, cell, title in zip(axes, cells, heads):
        points, lines = _fill(axis, data, cell, sweeps)
        axis.grid()
        axis.set_title(title)
        axis.set_xlabel("peak RSS, MiB")
        words = [better(axis, data.rate([cell]), points), *note_failures(axis, data, [cell], bottom=True)]
        pending.append((axis, points, lines, words))
    name_speeds(axes, [data.rate([cell]) for cell in cells])
    whose = " and ".join(dict.fromkeys(base_name(names[0]) for names in sweeps))
    foot(figure, f"marks: medians of the samples; lines: {whose} by what it is told to retain" + data.stars(shown))
    settle(figure)
    for place in pending:
        point_labels(*place)
    return figure

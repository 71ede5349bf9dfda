# SPDX-License-Identifier: Apache-2.0
"""Drawing that figures share: rows of panels, limits, and labels that do not lie upon one another."""

import math

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from .. import text
from ..allocators import is_ours
from ..schema import CELL
from .style import FAILED, FAINT, PANEL_WIDTH, ink, short


def subplots(count, columns=3, height=2.6, width=PANEL_WIDTH, **more):
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(width * columns + 0.3, height * rows + 0.25),
        squeeze=False,
        constrained_layout=True,
        **more,
    )
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, wspace=0.04, hspace=0.06)
    flat = list(axes.flat)
    for unused in flat[count:]:
        unused.remove()
    return figure, flat[:count]


def spread(positions, gap):
    """Moves sorted positions as little as needed until neighbours are `gap` apart (pooling of adjacent violators)."""
    blocks = []
    for p in positions:
        blocks.append([p, 1])  # centre, members
        while len(blocks) > 1:
            (c1, n1), (c2, n2) = blocks[-2], blocks[-1]
            if c2 - c1 >= gap * (n1 + n2) / 2:
                break
            blocks[-2:] = [[(c1 * n1 + c2 * n2) / (n1 + n2), n1 + n2]]
    return [c + gap * (i - (n - 1) / 2) for c, n in blocks for i in range(n)]


def end_labels(axis, labels, x_text):
    """Names at the right edge, in their colour, apart from one another; a hairline leads to each line's end.

    labels: (x, y in data coordinates, name, colour).
    """
    if not labels:
        return
    box = axis.get_window_extent()
    points = box.height / axis.figure.dpi * 72
    gap = 10.5 / points
    ends = []
    for x, y, name, colour in labels:
        fx, fy = axis.transAxes.inverted().transform(axis.transData.transform((x, y)))
        ends.append((fy, fx, name, colour))
    ends.sort()
    placed = spread([e[0] for e in ends], gap)
    shift = max(0, (0 - placed[0])) if placed[0] < 0 else min(0, 1.02 - placed[-1])
    for (fy, fx, name, colour), at in zip(ends, placed):
        at += shift
        axis.plot([fx, x_text - 0.015], [fy, at], transform=axis.transAxes, color=colour, lw=0.5, alpha=0.6,
                  clip_on=False, solid_capstyle="butt", zorder=1)  # fmt: skip
        axis.text(x_text, at, short(name), transform=axis.transAxes, color=ink(colour), fontsize=8.5, va="center",
                  ha="left", fontweight="bold" if is_ours(name) else "normal", clip_on=False)  # fmt: skip


def note_failures(axis, data, cells, bottom=False):
    failed = {}
    for cell in cells:
        for name, status in data.failed(cell):
            failed.setdefault(f"{short(name)}: {status}", []).append(str(cell[CELL.index("threads")]))
    if failed:
        lines = [f"{what} (T={','.join(threads)})" for what, threads in failed.items()]
        if not bottom:  # room above the curves
            low, high = axis.get_ylim()
            room = 0.1 * len(lines)
            log = axis.get_yscale() == "log"
            axis.set_ylim(low, high * (high / low) ** room if log else high + (high - low) * room)
        axis.text(0.02, 0.02 if bottom else 0.985, "\n".join(lines), transform=axis.transAxes, fontsize=7.5,
                  va="bottom" if bottom else "top", color=FAILED)  # fmt: skip


def settle(figure):
    """Lays the figure out now and keeps it so: labels placed afterwards are computed from final positions."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def row_starts(axes):
    return [a for a in axes if a.get_subplotspec().is_first_col()]


def log_if_wide(values, factor=12):
    values = [v for v in values if v > 0]
    return bool(values) and max(values) / min(values) > factor


def plain_axis(axis):
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}" if v < 1e4 else text.count(v)))


def foot(figure, line, lines=1):
    figure.supxlabel(line + "\n " * lines if line == " " else line, fontsize=7.5, color="#555555", x=0.01, ha="left")


def name_room(axis, names):
    """Room for the names beside an axis; constrained layout sees only what lies inside, so it is bought with a blank
    text."""
    axis.text(1.02, 0.5, max((short(n) for n in names), key=len), transform=axis.transAxes, fontsize=9.5, alpha=0)


def better(axis):
    """An arrow to where more speed and less memory are."""
    return axis.annotate(
        "better",
        xy=(0.03, 0.97),
        xytext=(0.15, 0.87),
        xycoords="axes fraction",
        fontsize=7.5,
        color=FAINT,
        ha="left",
        va="top",
        arrowprops={"arrowstyle": "->", "color": FAINT, "lw": 0.9},
    )


def frame(axis, points):
    """Limits with room for labels; logarithmic where values span more than a factor of 12."""
    for values, scale, limits, which in (
        ([p[0] for p in points], axis.set_xscale, axis.set_xlim, axis.xaxis),
        ([p[1] for p in points], axis.set_yscale, axis.set_ylim, axis.yaxis),
    ):
        low, high = min(values), max(values)
        if log_if_wide(values):
            scale("log")
            pad = (high / low) ** 0.22
            limits(low / pad, high * pad)
            which.set_minor_locator(NullLocator())
        else:
            limits(0, high * 1.32)
            which.set_major_locator(MaxNLocator(5))
        plain_axis(which)


def point_labels(axis, points, bars, arrow):
    """A name beside each point, at the first place where it hits no point, no spread, no name and no edge."""
    renderer = axis.figure.canvas.get_renderer()
    dots = [axis.transData.transform((x, y)) for x, y, *_ in points]
    box = axis.get_window_extent()
    unit = axis.figure.dpi / 72
    taken = [(px - 5 * unit, py - 5 * unit, px + 5 * unit, py + 5 * unit) for px, py in dots]
    for ends in bars:
        (x0, y0), (x1, y1) = (axis.transData.transform(end) for end in ends)
        taken.append((x0 - unit, y0 - unit, x1 + unit, y1 + unit))
    around = arrow.get_window_extent(renderer)
    taken.append((around.x0, around.y0, around.x1, around.y1))
    diagonal = [(1, 1, "left", "bottom"), (1, -1, "left", "top"), (-1, 1, "right", "bottom"), (-1, -1, "right", "top")]
    places = [
        (8, 0, "left", "center"),
        (-8, 0, "right", "center"),
        (0, 8, "center", "bottom"),
        (0, -8, "center", "top"),
    ]
    places += [(6 * dx, far * dy, ha, va) for far in (6, 15, 26, 38) for dx, dy, ha, va in diagonal]

    def clash(extent, own):
        inside = box.x0 <= extent.x0 and extent.x1 <= box.x1 + 2 * unit and box.y0 <= extent.y0 and extent.y1 <= box.y1
        hits = sum(
            extent.x0 < x1 and x0 < extent.x1 and extent.y0 < y1 and y0 < extent.y1
            for i, (x0, y0, x1, y1) in enumerate(taken)
            if i != own
        )
        return hits + (0 if inside else 2)

    for own, (x, y, name, colour) in enumerate(points):
        best = None
        for dx, dy, ha, va in places:
            label = axis.annotate(short(name), (x, y), xytext=(dx, dy), textcoords="offset points", ha=ha, va=va,
                                  fontsize=8.5, color=ink(colour), zorder=5, annotation_clip=False,
                                  fontweight="bold" if is_ours(name) else "normal")  # fmt: skip
            extent = label.get_window_extent(renderer)
            score = clash(extent, own)
            if best is None or score < best[0]:
                if best:
                    best[1].remove()
                best = (score, label, extent)
            else:
                label.remove()
            if score == 0:
                break
        taken.append((best[2].x0, best[2].y0, best[2].x1, best[2].y1))
        if abs(best[1].xyann[1]) > 10:  # far from its point: say which it belongs to
            axis.annotate(
                "",
                (x, y),
                xytext=best[1].xyann,
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5, "shrinkA": 0, "shrinkB": 3},
            )

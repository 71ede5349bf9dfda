# SPDX-License-Identifier: Apache-2.0
"""Drawing that figures share: panels, limits, and words that neither lie upon one another nor leave the canvas."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from .. import text
from ..allocators import is_ours
from ..schema import CELL, Cell
from .data import Data
from .style import FAILED, FAINT, PANEL_WIDTH, WHITE, ink, short

Point: TypeAlias = tuple[float, float, str, str]  # x and y in data coordinates, name, colour
Line: TypeAlias = Sequence[tuple[float, float]]  # points in data coordinates
Box: TypeAlias = tuple[float, float, float, float]  # left, bottom, right, top in pixels


def subplots(
    count: int, columns: int = 3, height: float = 2.6, width: float = PANEL_WIDTH, **more: Any
) -> tuple[Figure, list[Axes]]:
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


def text_width(figure: Figure, words: str, font: FontProperties) -> float:
    """Of one line in that font, in inches."""
    renderer = figure.canvas.get_renderer()
    return renderer.get_text_width_height_descent(words, font, False)[0] / figure.dpi


def wrap(figure: Figure, words: str, inches: float, font: FontProperties) -> str:
    """The words on lines that are no wider than that; a word that is wider alone is cut."""
    lines: list[str] = []
    for word in words.split(" "):
        if lines and text_width(figure, f"{lines[-1]} {word}", font) <= inches:
            lines[-1] += f" {word}"
            continue
        while len(word) > 4 and text_width(figure, word, font) > inches:
            word = word[:-4] + "..."
        lines.append(word)
    return "\n".join(lines)


def _long(names: Sequence[str]) -> float:
    return 0.07 * max(0, max(len(short(n)) for n in names) - 10)


def plane_size(names: Sequence[str]) -> tuple[float, float]:
    """Width and height of a panel that has room for these names beside their points, wherever those lie."""
    return PANEL_WIDTH + 0.2 + _long(names), max(2.75, 0.9 + 0.2 * len(names))


def curve_size(names: Sequence[str]) -> tuple[float, float]:
    """Width and height of a panel with these names at its right edge."""
    return PANEL_WIDTH + 0.5 + _long(names), max(2.6, 1 + 0.15 * len(names))


def spread(positions: Sequence[float], gap: float, low: float = -math.inf, high: float = math.inf) -> list[float]:
    """Moves sorted positions as little as needed until neighbours are `gap` apart (pooling of adjacent violators), and
    into the range where they fit."""
    blocks: list[tuple[float, int]] = []  # centre, members
    for p in positions:
        blocks.append((p, 1))
        while len(blocks) > 1:
            (c1, n1), (c2, n2) = blocks[-2], blocks[-1]
            if c2 - c1 >= gap * (n1 + n2) / 2:
                break
            blocks[-2:] = [((c1 * n1 + c2 * n2) / (n1 + n2), n1 + n2)]
    placed = [c + gap * (i - (n - 1) / 2) for c, n in blocks for i in range(n)]
    for i in range(len(placed)):
        placed[i] = max(placed[i], low + i * gap)
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], high - (len(placed) - 1 - i) * gap)
    return placed


def end_labels(axis: Axes, labels: Sequence[Point], x_text: float) -> None:
    """Names at the right edge, in their colour, apart from one another; a hairline leads to each line's end.

    labels: (x, y in data coordinates, name, colour).
    """
    if not labels:
        return
    points = axis.get_window_extent().height / axis.figure.dpi * 72
    line = min(10.5, points / len(labels))  # many names are written smaller
    gap = line / points
    ends = []
    for x, y, name, colour in labels:
        fx, fy = axis.transAxes.inverted().transform(axis.transData.transform((x, y)))
        ends.append((fy, fx, name, colour))
    ends.sort()
    placed = spread([e[0] for e in ends], gap, gap / 2, 1 - gap / 2)
    for (fy, fx, name, colour), at in zip(ends, placed):
        axis.plot([fx, x_text - 0.015], [fy, at], transform=axis.transAxes, color=colour, lw=0.5, alpha=0.6,
                  clip_on=False, solid_capstyle="butt", zorder=1)  # fmt: skip
        axis.text(x_text, at, short(name), transform=axis.transAxes, color=ink(colour), fontsize=8.5 * line / 10.5,
                  va="center_baseline", ha="left", fontweight="bold" if is_ours(name) else "normal",
                  clip_on=False)  # fmt: skip


def note_failures(axis: Axes, data: Data, cells: Sequence[Cell], bottom: bool = False) -> list[Text]:
    """What failed, in words inside the panel; returns the texts."""
    failed: dict[str, list[str]] = {}
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
        words = axis.text(0.02, 0.02 if bottom else 0.985, "\n".join(lines), transform=axis.transAxes, fontsize=7.5,
                          va="bottom" if bottom else "top", color=FAILED)  # fmt: skip
        return [words]
    return []


def name_rows(axis: Axes, names: Sequence[str], labelled: bool) -> None:
    """A row a name, from the top; the names stand at the left where the panel is the first of its row."""
    axis.set_ylim(len(names) - 0.45, -0.55)
    axis.set_yticks(range(len(names)), [short(n) for n in names])
    axis.tick_params(axis="y", length=0, labelleft=labelled)
    axis.spines["left"].set_visible(False)
    axis.grid(axis="x")


def instead(axis: Axes, place: int, words: str, colour: str) -> None:
    """Words in a row where a value would be."""
    axis.text(0.01, place, words, transform=axis.get_yaxis_transform(), va="center", fontsize=8, color=colour, zorder=5,
              bbox=WHITE)  # fmt: skip


def number_after(axis: Axes, place: int, at: float, value: float) -> None:
    """A number right of what is drawn in a row."""
    words = text.three(value)
    if value >= 1e4:  # grouped as the ticks are
        words = text.count(float(words))
    axis.annotate(words, (at, place), xytext=(6, 0), textcoords="offset points", va="center", ha="left",
                  fontsize=8, zorder=4, bbox=WHITE)  # fmt: skip


def _rooms(figure: Figure) -> dict[Axes, float]:
    """{axis: how far its title may reach, in inches}: to the first thing right of it in its row, or to the edge."""
    renderer = figure.canvas.get_renderer()
    own = {axis: axis.get_window_extent(renderer) for axis in figure.axes}
    left = {axis: axis.get_tightbbox(renderer, for_layout_only=True).x0 - 0.08 * figure.dpi for axis in figure.axes}
    rooms = {}
    for axis, box in own.items():
        beside = [left[a] for a, b in own.items() if b.x0 > box.x0 and b.y0 < box.y1 and box.y0 < b.y1]
        rooms[axis] = (min([figure.bbox.x1 - 0.05 * figure.dpi, *beside]) - box.x0) / figure.dpi
    return rooms


def _wrap_titles(figure: Figure) -> bool:
    """Wraps the titles at the panels' width, makes the figure as much higher as their lines need, and says whether any
    did."""
    titles = {axis: axis._left_title for axis in figure.axes}  # pylint: disable=protected-access
    if all(text_width(figure, t.get_text(), t.get_fontproperties()) * figure.dpi <= axis.bbox.width
           for axis, t in titles.items()):  # fmt: skip
        return False
    extra: dict[int, int] = {}  # row of panels: lines
    for axis, room in _rooms(figure).items():
        title = titles[axis]
        words = wrap(figure, title.get_text(), room, title.get_fontproperties())
        title.set_text(words)
        row = axis.get_subplotspec().rowspan.start
        extra[row] = max(extra.get(row, 0), words.count("\n"))
    figure.set_figheight(figure.get_figheight() + 0.16 * sum(extra.values()))
    return any(extra.values())


def settle(figure: Figure) -> None:
    """Lays the figure out now and keeps it so: labels placed afterwards are computed from final positions."""
    engine = figure.get_layout_engine()
    engine.execute(figure)
    if _wrap_titles(figure):
        engine.execute(figure)
    figure.set_layout_engine("none")


def row_starts(axes: Sequence[Axes]) -> list[Axes]:
    return [a for a in axes if a.get_subplotspec().is_first_col()]


def name_speeds(axes: Sequence[Axes], rates: Sequence[text.Rate]) -> None:
    """The names of vertical axes of speeds: once a row of panels where all have one unit."""
    labelled = set(row_starts(axes)) if len(set(rates)) == 1 else set(axes)
    for axis, rate in zip(axes, rates):
        if axis in labelled:
            axis.set_ylabel(rate.label)


def log_if_wide(values: Iterable[float], factor: float = 12) -> bool:
    values = [v for v in values if v > 0]
    return bool(values) and max(values) / min(values) > factor


def plain_axis(axis: Axis) -> None:
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}" if v < 1e4 else text.count(v)))


def log_axis(axis: Axis, low: float, high: float) -> None:
    """Ticks of a logarithmic axis that a reader can read between, however few decades it spans."""
    subs = (1, 2, 5) if high / low < 300 else (1,)
    few = sum(low <= sub * 10.0**decade <= high for sub in subs for decade in range(-12, 16)) < 2
    axis.set_major_locator(MaxNLocator(5, steps=(1, 2, 2.5, 5, 10)) if few else LogLocator(subs=subs, numticks=20))
    axis.set_minor_locator(NullLocator())


def headline(figure: Figure, words: str) -> None:
    """What all panels have in common, above them."""
    if words:
        figure.suptitle(wrap(figure, words, figure.get_figwidth() - 0.1, FontProperties(size=10)),
                        fontsize=10, x=0.01, ha="left")  # fmt: skip
        figure.set_figheight(figure.get_figheight() + 0.2)


def foot(figure: Figure, words: str) -> None:
    """A caption below all panels, wrapped at the figure's width."""
    words = wrap(figure, words, figure.get_figwidth() - 0.12, FontProperties(size=7.5))
    figure.set_figheight(figure.get_figheight() + 0.13 * words.count("\n"))
    figure.supxlabel(words, fontsize=7.5, color="#555555", x=0.01, ha="left")


def name_room(axis: Axes, names: Sequence[str]) -> None:
    """Room for the names beside an axis; constrained layout sees only what lies inside, so it is bought with a blank
    text."""
    axis.text(1.02, 0.5, max((short(n) for n in names), key=len), transform=axis.transAxes, fontsize=9,
              fontweight="bold", alpha=0)  # fmt: skip


# Where the arrow may stand, in shares of the panel, left and top; the corner that it points to first.
_CORNERS = ((0.03, 0.97), (0.72, 0.97), (0.72, 0.3), (0.03, 0.3))


def better(axis: Axes, rate: text.Rate, points: Sequence[Point]) -> Text:
    """An arrow to where more speed and less memory are, in a corner without points."""
    taken = [axis.transAxes.inverted().transform(axis.transData.transform(point[:2])) for point in points]
    corners = [(x, 1.12 - y if rate.is_time else y) for x, y in _CORNERS]
    left, top = next(
        (
            (x, y)
            for x, y in corners
            if not any(x - 0.05 < px < x + 0.3 and y - 0.22 < py < y + 0.05 for px, py in taken)
        ),
        corners[0],
    )
    return axis.annotate(
        "better",
        xy=(left, top - 0.12 if rate.is_time else top),
        xytext=(left + 0.12, top if rate.is_time else top - 0.1),
        xycoords="axes fraction",
        fontsize=7.5,
        color=FAINT,
        ha="left",
        va="top",
        arrowprops={"arrowstyle": "->", "color": FAINT, "lw": 0.9},
    )


def frame(axis: Axes, points: Sequence[Point], bars: Sequence[Line]) -> None:
    """Limits of a plane of memory and speed, with room for labels and for the bars of the points: memory from zero,
    speed logarithmic where it spans more than a factor of 12."""
    right, top = (max((end[way] for bar in bars for end in bar), default=0) * 1.04 for way in (0, 1))
    axis.set_xlim(0, max(right, max(p[0] for p in points) * 1.32))
    axis.xaxis.set_major_locator(MaxNLocator(5))
    low, high = min(p[1] for p in points), max(p[1] for p in points)
    if log_if_wide([low, high]):
        axis.set_yscale("log")
        pad = (high / low) ** 0.22
        below = min((end[1] for bar in bars for end in bar if end[1] > 0), default=low) / 1.04
        low, high = min(below, low / pad), max(top, high * pad)
        axis.set_ylim(low, high)
        log_axis(axis.yaxis, low, high)
    else:
        axis.set_ylim(0, max(top, high * 1.32))
        axis.yaxis.set_major_locator(MaxNLocator(5))
    plain_axis(axis.xaxis)
    plain_axis(axis.yaxis)


# Where a name may stand beside its point: (dx, dy in points, ha, va). Near ones first; the far ones get a hairline.
_NEAR = [(8, 0, "left", "center"), (-8, 0, "right", "center"), (0, 8, "center", "bottom"), (0, -8, "center", "top")]
_NEAR += [(6 * dx, 6 * dy, "left" if dx > 0 else "right", "bottom" if dy > 0 else "top")
          for dx, dy in ((1, 1), (1, -1), (-1, 1), (-1, -1))]  # fmt: skip


# Places all over the panel, the nearest first.
_FAR = [(dx, dy, "left" if dx > 0 else "right" if dx < 0 else "center", "center")
        for dx in range(-240, 241, 12) for dy in range(-160, 161, 8) if math.hypot(dx, dy) > 14]  # fmt: skip
_FAR.sort(key=lambda place: math.hypot(*place[:2]))
_PLACES = [*_NEAR, *_FAR]
_POINT, _WORDS, _LINE, _EDGE = 4, 6, 1, 40  # how bad it is to lie upon one, or outside


def _box(x: float, y: float, width: float, height: float, ha: str, va: str) -> Box:
    left = x - {"left": 0, "right": width, "center": width / 2}[ha]
    low = y - {"bottom": 0, "top": height, "center": height / 2}[va]
    return left, low, left + width, low + height


def _touch(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _pieces(axis: Axes, line: Line, unit: float) -> Iterator[Box]:
    """A drawn line as boxes small enough to go round."""
    ends = axis.transData.transform(line)
    for (x0, y0), (x1, y1) in zip(ends, ends[1:]):
        count = max(1, int(math.hypot(x1 - x0, y1 - y0) / (4 * unit)))
        for i in range(count):
            xs = sorted((x0 + (x1 - x0) * i / count, x0 + (x1 - x0) * (i + 1) / count))
            ys = sorted((y0 + (y1 - y0) * i / count, y0 + (y1 - y0) * (i + 1) / count))
            yield xs[0] - unit, ys[0] - unit, xs[1] + unit, ys[1] + unit


def point_labels(axis: Axes, points: Sequence[Point], lines: Sequence[Line], words: Sequence[Text]) -> None:
    """A name beside each point, at the nearest place where it hits no point, no line, no other words and no edge.

    lines: drawn in the plane, as lists of points; words: texts that are there already.
    """
    figure = axis.figure
    renderer = figure.canvas.get_renderer()
    unit = figure.dpi / 72
    inside = axis.get_window_extent()
    inside = (inside.x0, inside.y0 + 2 * unit, max(inside.x1, figure.bbox.x1 - 3 * unit)
              if axis.get_subplotspec().is_last_col() else inside.x1 + 4 * unit, inside.y1)  # fmt: skip
    taken = []  # (box, how bad)
    for x, y, *_ in points:
        px, py = axis.transData.transform((x, y))
        taken.append(((px - 5 * unit, py - 5 * unit, px + 5 * unit, py + 5 * unit), _POINT))
    for line in lines:
        taken += [(piece, _LINE) for piece in _pieces(axis, line, unit)]
    taken += [(w.get_window_extent(renderer).extents, _WORDS) for w in words]

    for own, (x, y, name, colour) in enumerate(points):
        weight = "bold" if is_ours(name) else "normal"
        font = FontProperties(size=8.5, weight=weight)
        width, height, _ = renderer.get_text_width_height_descent(short(name), font, False)
        px, py = axis.transData.transform((x, y))
        best = (math.inf, _NEAR[0], _box(px, py, width, height, "center", "center"))  # how bad, where, on what
        for place in _PLACES:
            dx, dy, ha, va = place
            away = max(0, math.hypot(dx, dy) - 14) / 25  # far from its point is bad as well
            if best[0] <= away:
                break
            box = _box(px + dx * unit, py + dy * unit, width, height + 2 * unit, ha, va)
            out = box[0] < inside[0] or box[1] < inside[1] or box[2] > inside[2] or box[3] > inside[3]
            score = (
                away + _EDGE * out + sum(bad for i, (other, bad) in enumerate(taken) if i != own and _touch(box, other))
            )
            if score < best[0]:
                best = (score, place, box)
        _, (dx, dy, ha, va), box = best
        far = math.hypot(dx, dy) > 12
        axis.annotate(
            short(name), (x, y), xytext=(dx, dy), textcoords="offset points", ha=ha, va=va, fontsize=8.5,
            color=ink(colour), zorder=5, annotation_clip=False, fontweight=weight,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5, "shrinkA": 0, "shrinkB": 3} if far else None,
        )  # fmt: skip
        taken.append((box, _WORDS))

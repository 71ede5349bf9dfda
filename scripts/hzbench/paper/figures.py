# SPDX-License-Identifier: Apache-2.0
"""The paper's figures as PDF: speed with intervals, peak memory, and the retention curve. Colours and markers are those
of scripts/figures. Equal input gives equal bytes (the date inside is SOURCE_DATE_EPOCH's)."""

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.font_manager
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from .. import text
from ..allocators import NULL
from ..errors import InputError
from ..figures import style as house
from .evidence import Evidence
from .spec import Group, Spec
from .tables import allocators_of, short

WIDTH = 6.3  # inches: the text width of the paper
JAPANESE = "IPAexGothic"


def fonts(language: str) -> dict[str, str | bool]:
    if language != "ja":
        return {"font.family": "DejaVu Sans"}
    if JAPANESE not in {f.name for f in matplotlib.font_manager.fontManager.ttflist}:
        # The cache of an earlier matplotlib run may be older than the font.
        for path in matplotlib.font_manager.findSystemFonts():
            if "ipaexg" in path.lower():
                matplotlib.font_manager.fontManager.addfont(path)
                break
        else:
            raise InputError(
                f"font {JAPANESE} not found; Debian: apt-get install fonts-ipaexfont (or scripts/setup paper)"
            )
    return {"font.family": JAPANESE, "axes.unicode_minus": False}


def _axes(count: int, height: float, columns: int) -> tuple[Figure, list[Axes]]:
    rows = -(-count // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(WIDTH, height * rows), squeeze=False, layout="constrained")
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.set_visible(False)
    return figure, axes[:count]


def _plain(axis: Axes) -> None:
    axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.xaxis.set_minor_locator(NullLocator())


def _points(styles: house.Styles, names: Sequence[str]) -> list[Line2D]:
    return [plt.Line2D([], [], ls="", label=short(n), **styles.mark(n, 5)) for n in names]


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """One line above the axes, which the layout keeps out of."""
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.25 / figure.get_figheight()))
    figure.legend(handles=handles, loc="upper center", ncols=min(len(handles), 9), frameon=False, fontsize=7.5,
                  handletextpad=0.2, columnspacing=1.0, borderaxespad=0.1)  # fmt: skip


def speed(evidence: Evidence, group: Group, language: str) -> Figure:
    """One line a cell: every allocator's ratio to the baseline with its interval, on a logarithmic axis."""
    names = [n for n in allocators_of(evidence, group) if n != evidence.spec.baseline]
    styles = house.Styles(allocators_of(evidence, group))
    figure, (axis,) = _axes(1, 0.5 + 0.52 * len(group.cells), 1)
    for line, cell in enumerate(group.cells):
        for place, name in enumerate(names):
            row = evidence.row(cell, name)
            y = line + 0.7 * ((place + 0.5) / len(names) - 0.5)
            if row.failure or row.speed is None:
                continue
            colour, _ = styles[name]
            axis.plot([row.speed.low, row.speed.high], [y, y], color=colour, lw=1.2)
            axis.plot([row.speed.ratio], [y], ls="", **styles.mark(name, 4.5))
        if line:
            axis.axhline(line - 0.5, color=house.GRID, lw=0.7)
    axis.axvline(1, color=house.INK, lw=0.8)
    axis.set_xscale("log")
    ticks = [t for t in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if axis.get_xlim()[0] <= t <= axis.get_xlim()[1]]
    axis.set_xticks(ticks)
    _plain(axis)
    axis.set_yticks(
        range(len(group.cells)), [evidence.spec.cells[c].title[language] for c in group.cells], fontsize=7.5
    )
    axis.set_ylim(len(group.cells) - 0.5, -0.5)
    axis.set_xlabel(evidence.spec.words["throughput"][language])
    axis.grid(axis="x")
    _legend(figure, _points(styles, names))
    return figure


def memory(evidence: Evidence, group: Group, language: str) -> Figure:
    """One panel a cell: throughput against peak RSS, what an allocator buys with memory."""
    names = allocators_of(evidence, group)
    styles = house.Styles(names)
    figure, axes = _axes(len(group.cells), 1.85, 3)
    for axis, cell in zip(axes, group.cells):
        for name in names:
            row = evidence.row(cell, name)
            if not row.failure:
                axis.plot([row.rss_peak / 2**20], [row.throughput / 1e6], ls="", **styles.mark(name, 6))
        axis.set_title("\n".join(textwrap.wrap(evidence.spec.cells[cell].title[language], 30)), fontsize=7)
        axis.set_ylim(bottom=0)
        axis.set_xlim(left=0)
        axis.grid(True)
    figure.supxlabel(evidence.spec.words["peak"][language], fontsize=8.5)
    figure.supylabel(evidence.spec.words["rate"][language], fontsize=8.5)
    _legend(figure, _points(styles, names))
    return figure


def retention(evidence: Evidence, language: str) -> Figure:
    """The knob's settings joined by a line, the peers as points beside it."""
    spec = evidence.spec
    knob, cells = spec.curve["knob"], spec.curve["cells"]
    peers = [n for n in evidence.allocators(cells[0]) if n not in knob and n != NULL]
    styles = house.Styles([knob[0], *peers])
    figure, axes = _axes(len(cells), 2.4, 2)
    for axis, cell in zip(axes, cells):
        rows = [evidence.row(cell, name) for name in knob]
        rows = [r for r in rows if not r.failure]
        colour, _ = styles[knob[0]]
        axis.plot(
            [r.rss_peak / 2**20 for r in rows], [r.throughput / 1e6 for r in rows], "-o", color=colour, ms=4, lw=1.2
        )
        for row in rows:
            axis.annotate(short(row.name).split()[-1], (row.rss_peak / 2**20, row.throughput / 1e6), fontsize=6.5,
                          xytext=(4, -8), textcoords="offset points")  # fmt: skip
        for name in peers:
            row = evidence.row(cell, name)
            if not row.failure:
                axis.plot([row.rss_peak / 2**20], [row.throughput / 1e6], ls="", **styles.mark(name, 6))
        axis.set_title(spec.cells[cell].title[language], fontsize=8)
        axis.set_xlabel(spec.words["peak"][language])
        axis.set_ylabel(spec.words["rate"][language])
        axis.set_ylim(bottom=0)
        axis.set_xlim(left=0)
        axis.grid(True)
    _legend(
        figure, [plt.Line2D([], [], color=styles[knob[0]][0], marker="o", ms=4, label="hz5"), *_points(styles, peers)]
    )
    return figure


def names_of(spec: Spec) -> dict[str, tuple[Callable[..., Figure], tuple[Group, ...]]]:
    """{file stem: (function, arguments after evidence)}"""
    table: dict[str, tuple[Callable[..., Figure], tuple[Group, ...]]] = {}
    for group in spec.groups.values():
        table[f"speed-{group.id}"] = (speed, (group,))
        table[f"peak-{group.id}"] = (memory, (group,))
    table["retention"] = (retention, ())
    return table


def write_all(evidence: Evidence, directory: Path, language: str) -> None:
    settings: dict[str, object] = {**house.RC, **fonts(language), "font.size": 8, "pdf.fonttype": 42}
    with plt.rc_context(settings):
        for stem, (draw, arguments) in names_of(evidence.spec).items():
            figure = draw(evidence, *arguments, language)
            figure.savefig(directory / f"{stem}.pdf", metadata={"Creator": "hzbench", "Producer": None})
            plt.close(figure)


def inputs(evidence: Evidence, stem: str) -> str:
    """What a figure shows, as text: equal text, equal figure. For the check of stale results."""
    draw, arguments = names_of(evidence.spec)[stem]
    cells = arguments[0].cells if arguments else evidence.spec.curve["cells"]
    lines = []
    for cell in cells:
        for name in evidence.allocators(cell):
            row = evidence.row(cell, name)
            shown = [text.three(v) for v in (row.throughput, row.rss_peak)]
            if draw is speed and row.speed is not None:
                shown += [text.three(v) for v in (row.speed.ratio, row.speed.low, row.speed.high)]
            lines.append(f"{cell} {name} {row.failure} {' '.join(shown)}")
    return "\n".join(lines)

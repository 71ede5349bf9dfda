# SPDX-License-Identifier: Apache-2.0
"""Throughput against the baseline's in the same rounds, with its 95 % interval: a panel a workload, a row an
allocator."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import model
from ..schema import CELL
from ..stats import Comparison
from .axes import foot, headline, instead, log_axis, name_rows, number_after, plain_axis, settle, subplots
from .data import Data
from .style import FAILED, FAINT, PANEL_WIDTH, short

STEM = "ratio"


def limits_of(speeds: list[Comparison]) -> tuple[float, float]:
    """Of the axis: 1, the ratios, and the ends of intervals that do not reach far beyond all ratios."""
    ratios = [1.0, *(speed.ratio for speed in speeds)]
    low, high = min(ratios) / 1.5, max(ratios) * 1.5
    ends = [end for speed in speeds for end in (speed.low, speed.high) if low <= end <= high]
    low, high = min([*ratios, *ends]), max([*ratios, *ends])
    room = max(high / low, 1.05)
    return low / room**0.06, high * room**0.06


def row_axis(axis: Axes, names: Sequence[str], limits: tuple[float, float]) -> None:
    """A logarithmic axis of ratios with a row for each name and a line at 1."""
    axis.set_xscale("log")
    axis.set_xlim(limits[0], limits[1] * (limits[1] / limits[0]) ** 0.25)  # room for the numbers
    log_axis(axis.xaxis, *limits)
    plain_axis(axis.xaxis)
    name_rows(axis, names, axis.get_subplotspec().is_first_col())
    axis.axvline(1, color=FAINT, lw=0.8, zorder=1)


def interval(
    axis: Axes, data: Data, place: int, name: str, found: Comparison, limits: tuple[float, float], dash: str = "-"
) -> None:
    """The ratio with its bar, cut at the axis' limits, and its number."""
    low, high = max(found.low, limits[0]), min(found.high, limits[1])
    axis.plot([low, high], [place, place], color=data.styles[name][0], lw=1.6, ls=dash, zorder=3)
    axis.plot(found.ratio, place, ls="none", zorder=4, **data.styles.mark(name, 6))
    number_after(axis, place, high, found.ratio)


def _row(axis: Axes, data: Data, place: int, row: model.Row, limits: tuple[float, float], baseline: str) -> None:
    if row.name == baseline and not row.failure:
        axis.plot(1, place, ls="none", zorder=4, **data.styles.mark(row.name, 6))
        return
    if row.failure or row.speed is None:
        instead(axis, place, row.failure.split(":")[0] or "no round with the baseline", FAILED)
        return
    interval(axis, data, place, row.name, row.speed, limits, ":" if row.verdict == "undecided" else "-")


def draw(data: Data) -> Figure | None:
    """None when there is nothing beside the baseline."""
    report = model.build(data.results)
    sections = {section.cell: {row.name: row for row in section.rows} for section in report.sections}
    cells = [data.busiest(panel) for panel in data.panels]
    if not any(sections[cell][name].speed for cell in cells for name in data.names if name in sections[cell]):
        return None
    figure, axes = subplots(len(cells), width=PANEL_WIDTH + 0.2, height=0.75 + 0.22 * len(data.names))
    shown = [(p, c[CELL.index("threads")]) for p, c in zip(data.panels, cells)]
    above, heads = data.headings(shown)
    marks, meaning = data.daggers(shown)
    headline(figure, above)
    base = short(report.baseline) if len(short(report.baseline)) <= 12 else "baseline"
    for axis, cell, title, mark in zip(axes, cells, heads, marks):
        rows = sections[cell]
        limits = limits_of([row.speed for name in data.names if name in rows and (row := rows[name]).speed])
        row_axis(axis, data.names, limits)
        axis.axvspan(1 - report.margin, 1 + report.margin, color="#F1EEE6", zorder=0, lw=0)
        for place, name in enumerate(data.names):
            if name in rows:
                _row(axis, data, place, rows[name], limits, report.baseline)
        axis.set_title(title + mark)
        axis.set_xlabel(f"throughput / {base}")
    foot(figure, f"ratios to {report.baseline} in the same rounds; bars: 95 % interval, dotted where the verdict is"
                 f" undecided; shaded: within {100 * report.margin:g} %, the same" + data.stars(shown)
                 + meaning)  # fmt: skip
    settle(figure)
    return figure

# SPDX-License-Identifier: Apache-2.0
"""Latency of single calls at percentiles, where the run timed some (`--latency`): a panel a cell and kind of call."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import text
from ..schema import CALLS, CELL, LATENCIES, Cell
from ..stats import Floats
from .axes import (
    Point,
    curve_size,
    end_labels,
    foot,
    headline,
    log_axis,
    name_room,
    note_failures,
    plain_axis,
    row_starts,
    settle,
    subplots,
)
from .data import Data

STEM = "latency"
WORDS = {"malloc": "malloc", "free_local": "free, same thread", "free_remote": "free, other thread"}
TICKS = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9", "max": "max"}


def _samples(data: Data, cell: Cell, name: str, call: str) -> Floats:
    """Nanoseconds, a row a sample and a column a percentile; empty without a timed call."""
    group = data.samples(cell, name)
    if group is None:
        return np.empty((0, len(LATENCIES)))
    return group[[f"latency_{call}_{p}_ns" for p in LATENCIES]].dropna().to_numpy()


def _fill(axis: Axes, data: Data, cell: Cell, call: str) -> list[Point]:
    """Draws one panel; returns the labels of the curves and the largest value."""
    labels, values = [], []
    for place, name in enumerate(data.names):
        timed = np.maximum(_samples(data, cell, name, call), 1)
        if not len(timed):
            continue
        colour, dash = data.styles[name]
        xs = np.arange(len(LATENCIES)) + 0.12 * (place - (len(data.names) - 1) / 2) / max(len(data.names) - 1, 1)
        axis.plot(np.repeat(xs, len(timed)), timed.T.ravel(), ".", color=colour, alpha=0.28, ms=3.5, mew=0, zorder=2)
        medians = np.median(timed, axis=0)
        axis.plot(xs, medians, color=colour, ls=dash, lw=1.5, zorder=3, **data.styles.mark(name, 5))
        labels.append((xs[-1], medians[-1], name, colour))
        values.append(timed)
    axis.set_xlim(-0.3, len(LATENCIES) - 0.7)
    axis.set_xticks(range(len(LATENCIES)), [TICKS[p] for p in LATENCIES])
    axis.set_yscale("log")
    low, high = min(v.min() for v in values), max(v.max() for v in values)
    axis.set_ylim(low / 1.5, high * 1.5)
    log_axis(axis.yaxis, low, high)
    plain_axis(axis.yaxis)
    axis.grid(axis="y")
    axis.set_xlabel("share of the timed calls")
    return labels


def draw(data: Data) -> Figure | None:
    """None when no call was timed."""
    cells = [(panel, data.busiest(panel)) for panel in data.panels]
    shown = [(panel, cell, call) for panel, cell in cells for call in CALLS
             if any(len(_samples(data, cell, name, call)) for name in data.names)]  # fmt: skip
    if not shown:
        return None
    width, height = curve_size(data.names)
    figure, axes = subplots(len(shown), width=width, height=height)
    threads = [(p, c[CELL.index("threads")]) for p, c, _ in shown]
    above, heads = data.headings(threads)
    headline(figure, above)
    one = len({panel.key for panel, _, _ in shown}) == 1
    pending = []
    for axis, (_, cell, call), title in zip(axes, shown, heads):
        pending.append((axis, _fill(axis, data, cell, call)))
        axis.set_title(f"{WORDS[call]}" if one and above else f"{title}: {WORDS[call]}")
        note_failures(axis, data, [cell])
        name_room(axis, data.names)
    for axis in row_starts(axes):
        axis.set_ylabel("latency, ns")
    rows = data.results.data[data.results.data["platform"] == data.platform]
    every, timer = rows["latency_every"].dropna(), rows["latency_timer_ns"].dropna()
    foot(figure, "medians of the samples, dots: single samples"
                 + (f"; one call in {text.count(every.median())} was timed" if len(every) else "")
                 + (f"; contained: {text.three(timer.median())} ns of the timer" if len(timer) else "")
                 + data.stars(threads))  # fmt: skip
    settle(figure)
    for axis, labels in pending:
        end_labels(axis, labels, 1.045)
    return figure

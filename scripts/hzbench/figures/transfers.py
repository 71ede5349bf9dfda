# SPDX-License-Identifier: Apache-2.0
"""Cache lines that travel an operation (scripts/coherence) over threads: a panel a workload, a line an allocator, bars
for the interval over seeds. What null moves is the harness's own: the floor, shaded."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .. import allocators, stats
from .axes import Point, curve_size, end_labels, foot, headline, log_axis, name_room, row_starts, settle, subplots
from .style import Styles

STEM = "transfers"
LOG_FROM = 30  # ratio of the largest to the smallest mean from which on the axis is logarithmic
LEAST = 0.005  # moves an operation: what is below stands there on a logarithmic axis

Rows = Sequence[Mapping[str, Any]]


def options_of(workload: str) -> tuple[str, list[str]]:
    """'remote{topology=all,receiver=frees}' -> ('remote', ['topology all', 'receiver frees'])"""
    name, _, rest = workload.partition("{")
    return name, [pair.replace("=", " ") for pair in rest.rstrip("}").split(",") if pair]


def titles(workloads: Sequence[str]) -> tuple[str, list[str]]:
    """(what all share, a title each)"""
    parted = [options_of(w) for w in workloads]
    shared = [o for o in parted[0][1] if len(parted) > 1 and all(o in options for _, options in parted)]
    return ", ".join(shared), [", ".join([n, *(o for o in options if o not in shared)]) for n, options in parted]


def means(rows: Rows, threads: Sequence[int]) -> tuple[list[float], list[float]]:
    """Mean moves at each thread count, nan where there is none, and half the interval's width, 0 for one seed."""
    centres, halves = [], []
    for count in threads:
        values = [float(row["moves"]) for row in rows if row["threads"] == count]
        mean, half = stats.mean_and_half(values) if values else (math.nan, 0.0)
        centres.append(mean)
        halves.append(half if math.isfinite(half) else 0.0)
    return centres, halves


def _panel(axis: Axes, rows: Rows, names: Sequence[str], styles: Styles) -> list[Point]:
    threads = sorted({row["threads"] for row in rows})
    lines = {name: means([r for r in rows if r["allocator"] == name], threads) for name in names}
    known = [max(v, LEAST) for centres, _ in lines.values() for v in centres if not math.isnan(v)]
    is_log = max(known) / min(known) > LOG_FROM
    floor, _ = means([r for r in rows if r["allocator"] == allocators.NULL], threads)
    least = LEAST if is_log else 0
    axis.fill_between(range(len(threads)), [max(v, least) for v in floor], least, color="#EDEDED", lw=0, zorder=0)
    labels: list[Point] = []
    for name, (centres, halves) in lines.items():
        colour, dash = styles[name]
        ys = [max(v, least) for v in centres]
        axis.errorbar(range(len(threads)), ys, yerr=halves, color=colour, ls=dash, lw=1.6, elinewidth=0.8, zorder=3,
                      **styles.mark(name, 5))  # fmt: skip
        good = [(x, y) for x, y in enumerate(ys) if not math.isnan(y)]
        if good:
            labels.append((*good[-1], name, colour))
    if is_log:
        axis.set_yscale("log")
        axis.set_ylim(LEAST * 0.9, max(known) * 1.5)
        log_axis(axis.yaxis, LEAST, max(known))
        axis.yaxis.set_major_formatter("{x:g}")
    else:
        axis.set_ylim(0, max([*known, *(v for v in floor if not math.isnan(v))]) * 1.08)
        axis.yaxis.set_major_locator(MaxNLocator(5))
    axis.set_xlim(-0.35, len(threads) - 0.65)
    axis.set_xticks(range(len(threads)), [str(t) for t in threads])
    axis.grid(axis="y")
    axis.set_xlabel("threads")
    return labels


def draw(rows: Rows) -> Figure:
    """Of rows of scripts/coherence that hold an allocator other than null."""
    names = sorted({row["allocator"] for row in rows} - {allocators.NULL}, key=allocators.order)
    workloads = list(dict.fromkeys(row["workload"] for row in rows))
    styles = Styles(names)
    width, height = curve_size(names)
    figure, axes = subplots(len(workloads), width=width, height=height)
    shared, heads = titles(workloads)
    headline(figure, "Cache lines that travel between threads" + (f"; {shared}" if shared else ""))
    pending = []
    for axis, workload, title in zip(axes, workloads, heads):
        pending.append((axis, _panel(axis, [r for r in rows if r["workload"] == workload], names, styles)))
        axis.set_title(title)
        name_room(axis, names)
    for row_start in row_starts(axes):
        row_start.set_ylabel("lines moved an operation")
    quanta = sorted({str(row["quantum"]) for row in rows})
    foot(figure, "mean over seeds, bars: 95 % interval; quantum of " + ", ".join(quanta)
                 + " instructions; shaded: null, what the harness itself moves")  # fmt: skip
    settle(figure)
    for axis, labels in pending:
        end_labels(axis, labels, 1.045)
    return figure

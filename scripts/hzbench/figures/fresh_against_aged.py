# SPDX-License-Identifier: Apache-2.0
"""What an aged heap changes: throughput against the baseline's on a heap that was aged, over the same on a fresh one,
with its 95 % interval; a panel an aged workload, a row an allocator."""

from matplotlib.figure import Figure

from .. import aged, model
from .axes import foot, headline, instead, settle, subplots
from .data import Data, Panel, titles
from .ratio import interval, limits_of, row_axis
from .style import FAILED, PANEL_WIDTH

STEM = "fresh-against-aged"


def draw(data: Data) -> Figure | None:
    """None when no workload was measured on both heaps."""
    baseline = model.pick_baseline(data.results, None)
    pairs = [pair for pair in aged.pairs(data.results) if pair[1] in data.cells]
    rows = {old: {row.name: row for row in aged.rows_of(data.results, fresh, old, baseline)} for fresh, old in pairs}
    panels = [Panel(cell, [cell]) for cell, found in rows.items() if found]
    if not panels:
        return None
    names = [name for name in data.names if name != baseline]
    figure, axes = subplots(len(panels), width=PANEL_WIDTH + 0.2, height=0.75 + 0.22 * len(names))
    shared, own = titles(panels)
    headline(figure, shared)
    for axis, panel in zip(axes, panels):
        found = rows[panel.key]
        limits = limits_of([row.change for row in found.values()])
        row_axis(axis, names, limits)
        for place, name in enumerate(names):
            if name in found:
                interval(axis, data, place, name, found[name].change, limits)
            else:
                instead(axis, place, "no round with the baseline", FAILED)
        axis.set_title(own[panel.key])
        axis.set_xlabel("aged / fresh")
    foot(figure, f"throughput over that of {baseline} in the same round on an aged heap, over the same on a fresh one:"
                 f" left of 1 an allocator loses more by age than {baseline}; bars: 95 % interval")  # fmt: skip
    settle(figure)
    return figure

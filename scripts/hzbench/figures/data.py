# SPDX-License-Identifier: Apache-2.0
"""What figures show: the samples of one platform, the panels they fall into, and the RSS series on a common axis."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .. import harness, text
from ..allocators import NULL
from ..errors import printable
from ..load import Results, load_series
from ..schema import CELL, PHASES, Cell
from ..model import failure_text
from ..stats import Floats
from .style import Styles


class Panel:
    """What one panel of a figure shows: the cells that differ only in the number of threads."""

    def __init__(self, key: Cell, cells: Sequence[Cell]) -> None:
        self.key = key
        self.cells = sorted(cells, key=lambda c: c[CELL.index("threads")])

    @property
    def threads(self) -> list[int]:
        return [c[CELL.index("threads")] for c in self.cells]

    def value(self, column: str) -> Any:
        return self.cells[-1][CELL.index(column)]  # of the most threads: a single one has no remote share


_ALONE = tuple(CELL.index(c) for c in ("remote_ppm", "topology"))  # mean nothing to a single thread
_THREADS = CELL.index("threads")


def panels_of(cells: Sequence[Cell]) -> list[Panel]:
    """Cells that differ in threads alone share a panel; a single thread joins the panel it is the start of."""
    groups: dict[Cell, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell[:_THREADS] + cell[_THREADS + 1 :], []).append(cell)
    for key, group in list(groups.items()):
        cell = group[0]
        if len(group) == 1 and cell[_THREADS] == 1:
            rest = [v for i, v in enumerate(cell) if i not in (*_ALONE, _THREADS)]
            hosts = [k for k, g in groups.items() if k != key and g[0][_THREADS] > 1
                     and [v for i, v in enumerate(g[0]) if i not in (*_ALONE, _THREADS)] == rest]  # fmt: skip
            if len(hosts) == 1:
                groups[hosts[0]].append(cell)
                del groups[key]
    return [Panel(k, v) for k, v in groups.items()]


def live_is_resident(cell: Cell) -> bool:
    """Whether live bytes must be resident: every page of an object touched, or no object with an inner page."""
    touch, largest = cell[CELL.index("touch")], cell[CELL.index("max_bytes")]
    return touch == "all" or (touch == "ends" and largest is not None and largest <= 4096)


def is_program(cell: Cell) -> bool:
    """Whether a program ran, whose objects the harness neither makes nor counts."""
    return cell[CELL.index("workload")] in ("app", "program")


TIED = "\u00a0"  # between words that stay on one line

# How a parameter is told in a title; any other by its name. Earlier ones are preferred to tell panels apart: the work a
# sample does (ops, duration, rounds) is chosen to fit the rest and says least.
_TOLD: dict[str, Callable[[Any], str]] = {
    "age": lambda v: "fresh" if v == "none" else f"aged by {v}",
    "topology": str,
    "remote_ppm": lambda v: f"{v / 1e4:g} % remote",
    "max_bytes": lambda v: "up to " + text.size(v),
    "min_bytes": lambda v: text.size(v) + " and up",
    "sizes": str,
    "working_set": lambda v: f"working set {text.count(v)}",
    "touch": lambda v: f"touch {v}",
    "realloc_ppm": lambda v: f"{v / 1e4:g} % realloc",
    "aligned_ppm": lambda v: f"{v / 1e4:g} % aligned",
    "calloc_ppm": lambda v: f"{v / 1e4:g} % calloc",
    "memory_limit_bytes": lambda v: f"limit {text.size(v)}" if v else "no limit",
    "thp": lambda v: f"huge pages: {v}",
    "cpu_quota_ppm": lambda v: f"{v / 1e4:g} % of a CPU" if v else "no quota",
    "load": str,
    "pin": lambda v: f"pinned {v}",
    "rounds": lambda v: text.plural(int(v), "round"),
    "ops_per_thread": lambda v: f"{text.count(v)} ops",
    "duration_ns": lambda v: f"{v / 1e9:g} s",
}


def _name(panel: Panel) -> str:
    """The workload with its input as a reader knows them: local, gcc, trace redis, fleet 3."""
    workload, given = panel.value("workload"), panel.value("input")
    if not given:
        return printable(workload, 60)
    if is_program(panel.cells[-1]):
        return printable(given, 60)
    stem = given.rsplit("/", 1)[-1]
    for ending in (".hzt", ".profile.csv", ".csv"):
        stem = stem.removesuffix(ending)
    return printable(f"{workload} {stem}", 60)


def _apart(panels: Sequence[Panel]) -> list[str]:
    """The fewest parameters, in the order of _TOLD, that tell these panels apart."""

    def values(chosen: Sequence[str]) -> list[tuple[Any, ...]]:
        return [tuple(p.value(c) for c in chosen) for p in panels]

    chosen: list[str] = []
    for column in _TOLD:
        if len(set(values(chosen))) == len(panels):
            break
        if len(set(values([*chosen, column]))) > len(set(values(chosen))):
            chosen.append(column)
    whole = len(set(values(chosen)))
    for column in reversed(list(chosen)):
        fewer = [c for c in chosen if c != column]
        if len(set(values(fewer))) == whole:
            chosen = fewer
    return chosen


def titles(panels: Sequence[Panel]) -> tuple[str, dict[Cell, str]]:
    """(what all panels share, {panel key: what is only its own}): the workload's name, and what tells those of one name
    apart. A single panel has its name as its own."""
    groups: dict[str, list[Panel]] = {}
    for panel in panels:
        groups.setdefault(_name(panel), []).append(panel)
    shared = next(iter(groups)) if len(groups) == 1 and len(panels) > 1 else ""
    own = {}
    for name, group in groups.items():
        columns = _apart(group)
        for panel in group:
            told = [_TOLD[c](v).replace(" ", TIED) for c in columns if (v := panel.value(c)) not in (None, "")]
            own[panel.key] = ", ".join(([] if shared else [name]) + told) or name
    return shared, own


class Data:
    """The samples of one platform, ready to draw: good samples a cell and name, failures apart."""

    def __init__(self, results: Results, platform: str) -> None:
        self.results = results
        self.platform = platform
        rows = results.data[(results.data["platform"] == platform) & (results.data["allocator"] != NULL)]
        self.cells = [c for c in results.cells if c[0] == platform and c in set(rows["cell"])]
        self.names = [n for n in results.allocators if n in set(rows["name"])]
        self.files = set(rows["file"])
        self.styles = Styles(self.names)
        self.panels = panels_of(self.cells)
        self.shared, self.own = titles(self.panels)
        every = results.data.groupby("cell", sort=False)
        self.bound = {cell for cell, samples in every if cell in self.cells and harness.is_bound(samples)}
        self.pus = max((r.pus for r in results.runs), default=0)
        self.groups = dict(list(rows.groupby(["cell", "name"], sort=False)))
        self.failures: dict[tuple[Cell, str], str] = {}
        for key, group in self.groups.items():
            if failure_text(group):
                statuses = sorted(set(group.loc[group["status"] != "ok", "status"]))
                self.failures[key] = ", ".join(statuses)

    def rate(self, cells: Sequence[Cell]) -> text.Rate:
        """The unit in which a panel with these cells shows speeds."""
        groups = [(cell, self.samples(cell, name)) for cell in cells for name in self.names]
        found = [(cell, float(group["throughput_ops_s"].median())) for cell, group in groups if group is not None]
        return text.rate_of(found or ((cell, math.nan) for cell in cells))

    def samples(self, cell: Cell, name: str) -> pd.DataFrame | None:
        """Samples of a cell and name, None when there are none or one of them failed."""
        group = self.groups.get((cell, name))
        return None if group is None or (cell, name) in self.failures else group

    @functools.cached_property
    def series(self) -> dict[tuple[str, int], pd.DataFrame]:
        """{(run id, sample): frame} of the RSS series, {} when no run has one."""
        table = {}
        for run in self.results.runs:
            frame = load_series(run) if str(run.path) in self.files else None
            if frame is None:
                continue
            order = {p: i for i, p in enumerate(PHASES)}
            frame = frame.assign(stage=frame["phase"].map(order)).sort_values(
                ["sample", "stage", "t_ns"], kind="stable"
            )
            for sample, group in frame.groupby("sample", sort=False):
                table[(run.run_id, sample)] = group
        return table

    def middle_series(self, cell: Cell, name: str) -> pd.DataFrame | None:
        """The series of the sample with the median peak RSS, a curve that was measured and no average; None without
        one."""
        group = self.samples(cell, name)
        if group is None:
            return None
        having = sorted(
            (peak, run, sample)
            for peak, run, sample in zip(group["rss_peak"], group["run_id"], group["sample"])
            if (run, sample) in self.series
        )
        return self.series[having[(len(having) - 1) // 2][1:]] if having else None

    def busiest(self, panel: Panel) -> Cell:
        """The cell with most threads that still have a CPU each; the smallest one when none has."""
        fitting = [c for c, t in zip(panel.cells, panel.threads) if not self.pus or t <= self.pus]
        return fitting[-1] if fitting else panel.cells[0]

    def stars(self, shown: Sequence[tuple[Panel, int]]) -> str:
        """What the stars of headings() mean, as the end of a caption; empty without one."""
        starred = bool(self.pus) and any(threads > self.pus for _, threads in shown)
        return f"; * more threads than the {self.pus} CPUs" if starred else ""

    def headings(self, shown: Sequence[tuple[Panel, int]]) -> tuple[str, list[str]]:
        """(headline, titles) for the (panel, threads) of a figure, each of which shows one thread count (0: all).
        A headline says what all have in common, a title what is only its own."""
        counts = {threads for _, threads in shown}
        common = text.plural(counts.pop(), "thread").replace(" ", TIED) if len(counts) == 1 and 0 not in counts else ""
        tell = not common or len(shown) == 1
        heads = [
            ", ".join(
                [self.own[panel.key]]
                + ([text.plural(threads, "thread").replace(" ", TIED)] if tell and threads else [])
            )
            + (f"{TIED}*" if self.pus and threads > self.pus else "")
            for panel, threads in shown
        ]
        return "" if len(shown) == 1 else ", ".join(h for h in (self.shared, common) if h), heads

    def daggers(self, shown: Sequence[tuple[Panel, int]]) -> tuple[list[str], str]:
        """(what marks the title of each panel in which speeds are harness-bound, the end of a caption that says what
        the mark means)."""
        at = CELL.index("threads")
        bound = [any(c in self.bound and threads in (0, c[at]) for c in panel.cells) for panel, threads in shown]
        if not any(bound):
            return [""] * len(shown), ""
        return (
            [f"{TIED}\u2020" if is_bound else "" for is_bound in bound],
            "; \u2020 over half of the fastest's time is the harness: the allocators differ by more",
        )

    def failed(self, cell: Cell) -> list[tuple[str, str]]:
        return [(n, self.failures[(cell, n)]) for n in self.names if (cell, n) in self.failures]


def some_threads(threads: Sequence[int], pus: int, most: int = 4) -> Sequence[int]:
    """At most `most` of the thread counts: the ends, the last that fits the machine, and what lies evenly between."""
    if len(threads) <= most:
        return threads
    fitting = [t for t in threads if not pus or t <= pus]
    keep = {threads[0], threads[-1], fitting[-1] if fitting else threads[0]}
    for t in (threads[round(i * (len(threads) - 1) / (most - 1))] for i in range(most)):
        if len(keep) < most:
            keep.add(t)
    return sorted(keep)


# The phases of the series as a reader needs them: the x axis gives each of them a share of the width.
SEGMENTS = (
    ("warm-up", ("warm-up",), 1.0),
    ("work", ("measured",), 2.2),
    ("free", ("tear-down",), 0.8),
    ("after", ("joined", "settle"), 1.0),  # before the purge, which not every allocator offers,
)


def thinned(values: Floats, most: int) -> Any:
    """Numbers of the points of a curve that are kept so that it has about `most`: both ends, and of each stretch the
    lowest and the highest, so that no peak and no trough is lost."""
    if len(values) <= most:
        return np.arange(len(values))
    edges = np.unique(np.linspace(0, len(values), most // 2).astype(int))
    kept = [0, len(values) - 1]
    for low, high in zip(edges, edges[1:]):
        kept += [low + int(np.argmin(values[low:high])), low + int(np.argmax(values[low:high]))]
    return np.unique(kept)


def aligned(series: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """Positions on the common axis of one sample's points: progress within a segment, scaled to the segment's width."""
    xs, rss, live = [], [], []
    edge = 0.0
    for _, phases, width in SEGMENTS:
        part = series[series["phase"].isin(phases)]
        if len(part):
            t = part["t_ns"].to_numpy(float)
            span = t[-1] - t[0]
            xs += list(edge + width * ((t - t[0]) / span if span > 0 else np.full(len(t), 0.5)))
            rss += list(part["rss_bytes"])
            live += list(part["live_bytes"])
        edge += width
    return np.array(xs), np.array(rss, float), np.array(live, float)

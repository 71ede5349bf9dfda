# SPDX-License-Identifier: Apache-2.0
"""The figures: throughput by threads, peak RSS, RSS over time, throughput against RSS. One set a platform.

Each allocator has one colour, marker and place in every figure. The palette is Okabe and Ito's, which stays apart for
colour-blind readers; markers and direct labels carry the same information without colour. Equal input gives equal SVG.
"""

import math
import os
import re
import tempfile
from pathlib import Path

if not os.access(os.environ.get("HOME", ""), os.W_OK):  # else matplotlib warns on stderr when HOME is missing
    os.environ.setdefault("MPLCONFIGDIR", os.path.join(tempfile.gettempdir(), f"hzbench-matplotlib-{os.getuid()}"))

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator  # noqa: E402

from . import text  # noqa: E402
from .errors import InputError, printable  # noqa: E402
from .load import CELL, NULL, PHASES, base_name, load_series  # noqa: E402
from .model import failure_text  # noqa: E402

STYLE = {  # base name: colour, marker
    "hz5": ("#D55E00", "o"),
    "hz4": ("#E69F00", "D"),
    "hz3": ("#CC79A7", "p"),
    "mimalloc": ("#0072B2", "^"),
    "jemalloc": ("#009E73", "v"),
    "tcmalloc": ("#56B4E9", "s"),
    "system": ("#4D4D4D", "X"),
}
OTHERS = (("#882255", "<"), ("#999933", ">"), ("#44AA99", "p"), ("#AA4499", "h"), ("#6699CC", "*"), ("#661100", "d"))
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))  # for variants of one allocator: profiles and A/A copies

INK = "#222222"
FAINT = "#8A8A8A"
GRID = "#E4E4E4"
FAILED = "#B00020"
WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
PANEL_WIDTH = 2.9  # inches; three panels make a page's text width at 75 %
DPI = 200

RC = {
    "svg.hashsalt": "hzbench",
    "svg.fonttype": "path",  # looks the same where the font is missing
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "figure.dpi": DPI,
}


class Styles:
    """Colour, marker and dash of every name in the files; the same name always looks the same in one set of figures."""

    def __init__(self, names):
        self.table = {}
        variants = {}
        unknown = []
        for name in names:
            base = base_name(name)
            if base not in STYLE and base not in unknown:
                unknown.append(base)
            colour, marker = STYLE.get(base) or OTHERS[unknown.index(base) % len(OTHERS)]
            index = variants[base] = variants.get(base, -1) + 1
            self.table[name] = (colour, marker, index)

    def __getitem__(self, name):
        """(colour, line style)"""
        colour, _, index = self.table[name]
        return colour, DASHES[index % len(DASHES)]

    def mark(self, name, points):
        """Arguments of plot for the marker: filled for the first of its name, hollow and half filled for variants."""
        colour, marker, index = self.table[name]
        fill = ("full", "none", "left", "right", "top", "bottom")[index % 6]
        edge = "white" if index == 0 else colour
        return {"marker": marker, "ms": points, "mfc": colour, "mec": edge, "mew": 0.7 if index == 0 else 1.1,
                "fillstyle": fill, "markerfacecoloralt": "white"}  # fmt: skip


def ink(colour):
    """The colour for words: light ones are darkened until they can be read on white (contrast about 4:1)."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return tuple(rgb * min(1.0, (0.19 / luminance) ** (1 / 2.4))) if luminance > 0 else tuple(rgb)


def short(name):
    """A label that fits: a path becomes its file name, long options are cut."""
    base, brace, options = name.partition("{")
    return printable(base.rsplit("/", 1)[-1] + brace + options, 26)


class Panel:
    """What one panel of a figure shows: the cells that differ only in the number of threads."""

    def __init__(self, key, cells):
        self.key = key
        self.cells = sorted(cells, key=lambda c: c[CELL.index("threads")])

    @property
    def threads(self):
        return [c[CELL.index("threads")] for c in self.cells]

    def value(self, column):
        return self.cells[-1][CELL.index(column)]  # of the most threads: a single one has no remote share


_ALONE = tuple(CELL.index(c) for c in ("remote_ppm", "topology"))  # mean nothing to a single thread
_THREADS = CELL.index("threads")


def panels_of(cells):
    """Cells that differ in threads alone share a panel; a single thread joins the panel it is the start of."""
    groups = {}
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


def live_is_resident(cell):
    """Whether live bytes must be resident: every page of an object touched, or no object with an inner page."""
    touch, largest = cell[CELL.index("touch")], cell[CELL.index("max_bytes")]
    return touch == "all" or (touch == "ends" and largest is not None and largest <= 4096)


def is_program(cell):
    """Whether a program ran, whose objects the harness neither makes nor counts."""
    return cell[CELL.index("workload")] == "app"


# Which parameters tell two panels of one workload apart, as a short addition to the title.
_VARIANTS = {
    "min_bytes": lambda v: text.size(v("min_bytes")) + " and up",
    "max_bytes": lambda v: "up to " + text.size(v("max_bytes")),
    "remote_ppm": lambda v: f"{v('remote_ppm') / 1e4:g} % remote",
    "working_set": lambda v: f"ws {text.count(v('working_set'))}",
}


def panel_title(panel, panels):
    same = [p for p in panels if p.value("workload") == panel.value("workload")]
    parts = [panel.value("workload")]
    for column in CELL:
        if column in ("platform", "threads", "workload") or len({p.value(column) for p in same}) == 1:
            continue
        value = panel.value(column)
        if value is not None and value != "":
            parts.append(_VARIANTS[column](panel.value) if column in _VARIANTS else f"{column.replace('_', ' ')} {value}")
    return printable(", ".join(parts), 46)


class Data:
    """The samples of one platform, ready to draw: good samples a cell and name, failures apart."""

    def __init__(self, results, platform):
        self.results = results
        self.platform = platform
        rows = results.data[(results.data["platform"] == platform) & (results.data["allocator"] != NULL)]
        self.cells = [c for c in results.cells if c[0] == platform and c in set(rows["cell"])]
        self.names = [n for n in results.allocators if n in set(rows["name"])]
        self.styles = Styles(self.names)
        self.panels = panels_of(self.cells)
        self.rate = text.rate_of(self.cells)
        self.pus = max((r.pus for r in results.runs), default=0)
        self.groups = dict(list(rows.groupby(["cell", "name"], sort=False)))
        self.failures = {}  # (cell, name): short text
        for key, group in self.groups.items():
            if failure_text(group):
                statuses = sorted(set(group.loc[group["status"] != "ok", "status"]))
                self.failures[key] = ", ".join(statuses)

    def samples(self, cell, name):
        """Samples of a cell and name, None when there are none or one of them failed."""
        group = self.groups.get((cell, name))
        return None if group is None or (cell, name) in self.failures else group

    def failed(self, cell):
        return [(n, self.failures[(cell, n)]) for n in self.names if (cell, n) in self.failures]


def _subplots(count, columns=3, height=2.6, width=PANEL_WIDTH, **more):
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns + 0.3, height * rows + 0.25), squeeze=False, constrained_layout=True, **more
    )
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, wspace=0.04, hspace=0.06)
    flat = list(axes.flat)
    for unused in flat[count:]:
        unused.remove()
    return figure, flat[:count]


def _spread(positions, gap):
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


def _end_labels(axis, labels, x_text):
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
    placed = _spread([e[0] for e in ends], gap)
    shift = max(0, (0 - placed[0])) if placed[0] < 0 else min(0, 1.02 - placed[-1])
    for (fy, fx, name, colour), at in zip(ends, placed):
        at += shift
        axis.plot([fx, x_text - 0.015], [fy, at], transform=axis.transAxes, color=colour, lw=0.5, alpha=0.6,
                  clip_on=False, solid_capstyle="butt", zorder=1)  # fmt: skip
        axis.text(x_text, at, short(name), transform=axis.transAxes, color=ink(colour), fontsize=8.5, va="center",
                  ha="left", fontweight="bold" if base_name(name).startswith("hz") else "normal", clip_on=False)  # fmt: skip


def _note_failures(axis, data, cells, bottom=False):
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


def _log_if_wide(values, factor=12):
    values = [v for v in values if v > 0]
    return bool(values) and max(values) / min(values) > factor


def _plain_axis(axis):
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}" if v < 1e4 else text.count(v)))


def throughput(data):
    """Median throughput by threads, a panel a workload; dots are single samples, shading marks threads > CPUs."""
    figure, axes = _subplots(len(data.panels), width=PANEL_WIDTH + 0.5)
    pending = []
    shaded = False
    for axis, panel in zip(axes, data.panels):
        ticks = {t: i for i, t in enumerate(panel.threads)}
        values, medians, labels = [], [], []
        for place, name in enumerate(data.names):
            colour, dash = data.styles[name]
            xs, ys = [], []
            jitter = 0.06 * (place - (len(data.names) - 1) / 2) / max(len(data.names) - 1, 1)
            for cell, threads in zip(panel.cells, panel.threads):
                group = data.samples(cell, name)
                if group is None:
                    xs.append(ticks[threads])
                    ys.append(math.nan)  # a gap: no line across a count at which it failed
                    continue
                speeds = group["throughput_ops_s"].to_numpy() / data.rate.size
                values += list(speeds)
                axis.plot(np.full(len(speeds), ticks[threads] + jitter), speeds, ".", color=colour, alpha=0.28, ms=3.5,
                          mew=0, zorder=2)  # fmt: skip
                xs.append(ticks[threads] + jitter)
                ys.append(float(np.median(speeds)))
                medians.append(ys[-1])
            good = [(x, y) for x, y in zip(xs, ys) if not math.isnan(y)]
            if good:
                axis.plot(xs, ys, color=colour, ls=dash, lw=1.6, zorder=3, **data.styles.mark(name, 5))
                labels.append((*good[-1], name, colour))
        wide = _log_if_wide(medians, 25)  # one sample that was held up must not change the scale
        if wide:
            axis.set_yscale("log")
            axis.yaxis.set_minor_locator(NullLocator())
        elif values:
            axis.set_ylim(0, max(values) * 1.08)
            axis.yaxis.set_major_locator(MaxNLocator(5))
        _plain_axis(axis.yaxis)
        axis.set_xlim(-0.35, len(ticks) - 0.65)
        axis.set_xticks(range(len(ticks)), [str(t) for t in ticks])
        axis.grid(axis="y")
        axis.set_title(panel_title(panel, data.panels))
        axis.set_xlabel("threads")
        crowded = [i for t, i in ticks.items() if data.pus and t > data.pus]
        if crowded:
            axis.axvspan(crowded[0] - 0.5, len(ticks) - 0.65, color="#F1EEE6", zorder=0, lw=0)
            shaded = True
        _note_failures(axis, data, panel.cells)
        pending.append((axis, labels))
        # Room for the names; constrained layout sees only what lies inside the axes, so it is bought with a blank title
        axis.text(1.02, 0.5, max((short(n) for n in data.names), key=len), transform=axis.transAxes, fontsize=9.5, alpha=0)
    for row_start in _row_starts(axes):
        row_start.set_ylabel(f"throughput, {data.rate.unit}")
    _foot(figure, "dots: single samples; marks: their median"
                  + (f"; shaded: more threads than the {data.pus} CPUs" if shaded else ""))  # fmt: skip
    _settle(figure)
    for axis, labels in pending:
        _end_labels(axis, labels, 1.045)
    return figure


def _row_starts(axes):
    return [a for a in axes if a.get_subplotspec().is_first_col()]


def _settle(figure):
    """Lays the figure out now and keeps it so: labels placed afterwards are computed from final positions."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def peak_rss(data):
    """Bars: peak RSS. White tick: RSS after all was freed. Dashed line: what the live objects alone would need."""
    columns = _some_threads(sorted({t for p in data.panels for t in p.threads}), data.pus)
    kept = [(p, {t: c for c, t in zip(p.cells, p.threads) if t in columns}) for p in data.panels]
    kept = [(p, cells) for p, cells in kept if cells]
    height = 0.75 + 0.22 * len(data.names)
    figure, grid = plt.subplots(len(kept), len(columns), squeeze=False, constrained_layout=True,
                                figsize=((PANEL_WIDTH + 0.2) * len(columns) + 0.3, height * len(kept) + 0.35))  # fmt: skip
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.03, hspace=0.04)
    panels, axes = [], []
    for row, (panel, cells) in zip(grid, kept):
        for axis, threads in zip(row, columns):
            if threads in cells:
                panels.append((panel, cells[threads], threads))
                axes.append(axis)
            else:
                axis.remove()
    widths = []
    for axis, (panel, cell, threads) in zip(axes, panels):
        top = 0
        needs = []
        for place, name in enumerate(data.names):
            colour, dash = data.styles[name]
            group = data.samples(cell, name)
            if group is None:
                status = data.failures.get((cell, name), "no sample")
                axis.text(0.01, place, status, transform=axis.get_yaxis_transform(), va="center", fontsize=8,
                          color=FAILED, zorder=5, bbox=WHITE)  # fmt: skip
                continue
            peaks = group["rss_peak"].dropna().to_numpy() / 2**20
            if not len(peaks):
                axis.text(0.01, place, "not measured", transform=axis.get_yaxis_transform(), va="center", fontsize=8,
                          color=FAINT, zorder=5, bbox=WHITE)  # fmt: skip
                continue
            peak = float(np.median(peaks))
            top = max(top, peaks.max())
            axis.barh(place, peak, height=0.66, color=colour, alpha=1 if dash == "-" else 0.6, lw=0)
            axis.plot([peaks.min(), peaks.max()], [place, place], color=INK, lw=1, solid_capstyle="butt")
            label_at = peaks.max()
            for column in ("rss_1s", "rss_100ms", "rss_joined", "rss_freed"):
                after = group[column].dropna() / 2**20
                if len(after) == len(group):
                    at = float(after.median())
                    axis.plot([at, at], [place - 0.33, place + 0.33], color="white", lw=2.2, solid_capstyle="butt")
                    axis.plot([at, at], [place - 0.33, place + 0.33], color=INK, lw=0.9, solid_capstyle="butt")
                    label_at = max(label_at, at)
                    break
            axis.text(label_at, place, f"  {text.three(peak)}", va="center", ha="left", fontsize=8)
            if live_is_resident(cell):
                needs += list((group["live_peak"] + group["rss_baseline"]).dropna() / 2**20)
        if needs:
            axis.axvline(np.median(needs), color=INK, lw=0.9, ls=(0, (3, 2)), zorder=3)
        axis.set_ylim(len(data.names) - 0.45, -0.55)
        axis.set_yticks(range(len(data.names)), [short(n) for n in data.names])
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        widths.append(max(0, top, *needs))
        axis.xaxis.set_major_locator(MaxNLocator(4))
        _plain_axis(axis.xaxis)
        axis.grid(axis="x")
        mark = " *" if data.pus and threads > data.pus else ""
        axis.set_title(f"{panel_title(panel, data.panels)}, {text.plural(threads, 'thread')}{mark}")
    seen = set()
    for axis, (panel, _, _), width in zip(axes, panels, widths):
        row = [w for (p, _, _), w in zip(panels, widths) if p.key == panel.key]
        # One scale a row, unless that would make its smallest panel unreadable; room for the numbers.
        axis.set_xlim(0, (max(row) if max(row) <= 3 * min(row) else width) * 1.25 or 1)
        axis.tick_params(labelleft=panel.key not in seen)
        axis.set_xlabel("MiB")
        seen.add(panel.key)
    handles = [
        Patch(color=FAINT, label="peak RSS, median of samples"),
        Line2D([], [], color=INK, marker="|", ms=9, mew=1, ls="none", label="RSS after the work"),
    ]
    if any(live_is_resident(c) for _, c, _ in panels):
        handles.append(Line2D([], [], color=INK, lw=0.9, ls=(0, (3, 2)), label="live bytes + RSS before the first allocation"))
    if not all(live_is_resident(c) for _, c, _ in panels if not is_program(c)):
        handles.append(Line2D([], [], ls="none", label="(no dashes: objects not touched throughout)"))
    if any(data.pus and t > data.pus for _, _, t in panels):
        handles.append(Line2D([], [], ls="none", label=f"* more threads than the {data.pus} CPUs"))
    left_out = sorted({t for p in data.panels for t in p.threads} - set(columns))
    if left_out:
        listed = ", ".join(str(t) for t in left_out)
        handles.append(Line2D([], [], ls="none", label=f"not drawn: {listed} threads"))
    columns_of_legend = max(1, min(len(handles), int(figure.get_figwidth() / 2.4)))
    _foot(figure, " ", lines=math.ceil(len(handles) / columns_of_legend))  # keeps room for the legend
    figure.legend(handles=handles, loc="lower left", ncols=columns_of_legend, frameon=False, fontsize=7.5,
                  handletextpad=0.6, columnspacing=1.6)  # fmt: skip
    return figure


def _some_threads(threads, pus, most=4):
    """At most `most` of the thread counts: the ends, the last that fits the machine, and what lies evenly between."""
    if len(threads) <= most:
        return threads
    fitting = [t for t in threads if not pus or t <= pus]
    keep = {threads[0], threads[-1], fitting[-1] if fitting else threads[0]}
    for t in (threads[round(i * (len(threads) - 1) / (most - 1))] for i in range(most)):
        if len(keep) < most:
            keep.add(t)
    return sorted(keep)


def _foot(figure, line, lines=1):
    figure.supxlabel(line + "\n " * lines if line == " " else line, fontsize=7.5, color="#555555", x=0.01, ha="left")


# The phases of the series as a reader needs them: the x axis gives each of them a share of the width.
SEGMENTS = (
    ("warm-up", ("warm-up",), 1.0),
    ("work", ("measured",), 2.2),
    ("free", ("tear-down",), 0.8),
    ("after", ("joined", "settle"), 1.0),  # before the purge, which not every allocator offers,
)


def aligned(series):
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


def _all_series(results):
    """{(run id, sample): frame}, {} when no run has a series."""
    table = {}
    for run in results.runs:
        series = load_series(run)
        if series is not None:
            order = {p: i for i, p in enumerate(PHASES)}
            series = series.assign(stage=series["phase"].map(order)).sort_values(["sample", "stage", "t_ns"], kind="stable")
            for sample, group in series.groupby("sample", sort=False):
                table[(run.run_id, sample)] = group
    return table


def _middle_sample(group, table):
    """The sample with a series whose peak RSS is the median one: a real curve, not an average nobody measured."""
    having = [(peak, run, sample) for peak, run, sample in zip(group["rss_peak"], group["run_id"], group["sample"])
              if (run, sample) in table]  # fmt: skip
    having.sort()
    return table[having[(len(having) - 1) // 2][1:]] if having else None


def _busiest(panel, pus):
    """The cell with most threads that still have a CPU each; the smallest one when none has."""
    fitting = [c for c, t in zip(panel.cells, panel.threads) if not pus or t <= pus]
    return fitting[-1] if fitting else panel.cells[0]


def rss_over_time(data, table):
    """RSS of the median sample over the phases of a run; the grey area is what the program holds alive."""
    figure, axes = _subplots(len(data.panels), width=PANEL_WIDTH + 0.5)
    pending = []
    drawn, shades = False, []
    edges = np.cumsum([0] + [w for _, _, w in SEGMENTS])
    for axis, panel in zip(axes, data.panels):
        cell = _busiest(panel, data.pus)
        labels, top, lives, floors = [], 0, [], []
        for name in data.names:
            group = data.samples(cell, name)
            series = None if group is None else _middle_sample(group, table)
            if series is None:
                continue
            xs, rss, live = aligned(series)
            if not len(xs):
                continue
            drawn = True
            colour, dash = data.styles[name]
            axis.plot(xs, rss / 2**20, color=colour, lw=1.5, ls=dash, zorder=3, solid_joinstyle="round")
            labels.append((xs[-1], rss[-1] / 2**20, name, colour))
            lives.append((len(xs), xs, live / 2**20))
            floors.append(float(group["rss_baseline"].dropna().median()) / 2**20)
            top = max(top, rss.max() / 2**20)
        if lives and live_is_resident(cell):
            shades = ["light grey: RSS before the first allocation;\ngrey: live bytes, where objects are touched throughout"]
            # Equal for all allocators but for the times of the readings: the one with most of them.
            _, xs, live = max(lives, key=lambda item: item[0])
            floor = np.nan_to_num(np.median(floors))
            axis.fill_between(xs, floor, floor + np.maximum(live, 0), color="#D9D9D9", lw=0, zorder=1)
            axis.axhspan(0, floor, color="#EFEFEF", lw=0, zorder=0)
            top = max(top, floor + live.max())
        for edge in edges[1:-1]:
            axis.axvline(edge, color=GRID, lw=0.9, zorder=0)
        axis.set_xlim(0, edges[-1])
        axis.set_ylim(0, top * 1.08 or 1)
        axis.yaxis.set_major_locator(MaxNLocator(5))
        _plain_axis(axis.yaxis)
        axis.set_xticks((edges[1:] + edges[:-1]) / 2, [s for s, _, _ in SEGMENTS])
        axis.tick_params(axis="x", length=0, labelsize=8)
        axis.grid(axis="y")
        axis.set_title(f"{panel_title(panel, data.panels)}, {text.plural(cell[CELL.index('threads')], 'thread')}")
        _note_failures(axis, data, [cell])
        axis.text(1.02, 0.5, max((short(n) for n in data.names), key=len), transform=axis.transAxes, fontsize=9.5, alpha=0)
        pending.append((axis, labels))
    if not drawn:
        plt.close(figure)
        return None
    for axis in _row_starts(axes):
        axis.set_ylabel("RSS, MiB")
    foot = ["phases have the same width for all, whatever time they took", "sample with the median peak", *shades]
    _foot(figure, "; ".join(foot))
    _settle(figure)
    for axis, labels in pending:
        _end_labels(axis, labels, 1.045)
    return figure


def tradeoff(data):
    """Throughput against peak RSS: up and left is better; the line joins those that nobody beats in both."""
    figure, axes = _subplots(len(data.panels), width=PANEL_WIDTH + 0.2, height=2.75)
    pending = []
    for axis, panel in zip(axes, data.panels):
        cell = _busiest(panel, data.pus)
        points, bars = [], []
        for name in data.names:
            group = data.samples(cell, name)
            if group is None:
                continue
            speed = group["throughput_ops_s"] / data.rate.size
            rss = group["rss_peak"].dropna() / 2**20
            if not len(rss):
                continue
            colour, _ = data.styles[name]
            x, y = float(rss.median()), float(speed.median())
            wide, high = rss.quantile([0.25, 0.75]), speed.quantile([0.25, 0.75])
            axis.plot(wide, [y, y], color=colour, lw=1.1, alpha=0.8)
            axis.plot([x, x], high, color=colour, lw=1.1, alpha=0.8)
            bars += [((wide.iloc[0], y), (wide.iloc[1], y)), ((x, high.iloc[0]), (x, high.iloc[1]))]
            axis.plot(x, y, ls="none", zorder=4, **data.styles.mark(name, 7))
            points.append((x, y, name, colour))
        if points:
            _frame(axis, points)
        front = _front(points)
        if len(front) > 1:
            xs, ys = zip(*front)
            axis.step(xs, ys, where="post", color="#BBBBBB", lw=1, zorder=1)
        axis.grid()
        axis.set_title(f"{panel_title(panel, data.panels)}, {text.plural(cell[CELL.index('threads')], 'thread')}")
        axis.set_xlabel("peak RSS, MiB")
        arrow = axis.annotate("better", xy=(0.03, 0.97), xytext=(0.15, 0.87), xycoords="axes fraction", fontsize=7.5, color=FAINT,
                      ha="left", va="top", arrowprops={"arrowstyle": "->", "color": FAINT, "lw": 0.9})  # fmt: skip
        _note_failures(axis, data, [cell], bottom=True)
        pending.append((axis, points, bars, arrow))
    for axis in _row_starts(axes):
        axis.set_ylabel(f"throughput, {data.rate.unit}")
    _settle(figure)
    for axis, points, bars, arrow in pending:
        _point_labels(axis, points, bars, arrow)
    return figure


_RETAIN = re.compile(r"[{,]retain=(\d+)(KiB|MiB|GiB)?[,}]")
_RETAIN_UNIT = {None: 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def _retained(name):
    """The bytes that an allocator such as hz5{retain=64MiB} was told to keep, or None."""
    match = _RETAIN.search(name)
    return int(match[1]) * _RETAIN_UNIT[match[2]] if match else None


def retention(data):
    """One knob's curve: throughput against peak RSS, the settings of `retain` joined in order; None with fewer than three."""
    sweeps = {}
    for name in data.names:
        if _retained(name) is not None:
            sweeps.setdefault(base_name(name), []).append(name)
    sweeps = {base: sorted(names, key=_retained) for base, names in sweeps.items() if len(names) >= 3}
    if not sweeps:
        return None
    figure, axes = _subplots(len(data.panels), columns=2, width=PANEL_WIDTH + 1.4, height=3.2)
    pending = []
    for axis, panel in zip(axes, data.panels):
        cell = _busiest(panel, data.pus)
        where = {}
        for name in data.names:
            group = data.samples(cell, name)
            rss = group["rss_peak"].dropna() / 2**20 if group is not None else ()
            if len(rss):
                where[name] = (float(rss.median()), float(group["throughput_ops_s"].median() / data.rate.size))
        for names in sweeps.values():
            line = [where[name] for name in names if name in where]
            if line:
                axis.plot(*zip(*line), color=data.styles[names[-1]][0], lw=1.4, alpha=0.7, zorder=2)
        points = []
        for name, (x, y) in where.items():
            axis.plot(x, y, ls="none", zorder=4, **data.styles.mark(name, 7))
            kept = _retained(name)
            label = name if kept is None else f"retain {text.size(kept)}"
            points.append((x, y, label, data.styles[name][0]))
        if points:
            _frame(axis, points)
        axis.grid()
        axis.set_title(f"{panel_title(panel, data.panels)}, {text.plural(cell[CELL.index('threads')], 'thread')}")
        axis.set_xlabel("peak RSS, MiB")
        arrow = axis.annotate("better", xy=(0.03, 0.97), xytext=(0.15, 0.87), xycoords="axes fraction", fontsize=7.5, color=FAINT,
                      ha="left", va="top", arrowprops={"arrowstyle": "->", "color": FAINT, "lw": 0.9})  # fmt: skip
        _note_failures(axis, data, [cell], bottom=True)
        pending.append((axis, points, arrow))
    for axis in _row_starts(axes):
        axis.set_ylabel(f"throughput, {data.rate.unit}")
    _settle(figure)
    for axis, points, arrow in pending:
        _point_labels(axis, points, [], arrow)
    return figure


def _frame(axis, points):
    """Limits with room for labels; logarithmic where values span more than a factor of 12."""
    for values, scale, limits, which in (
        ([p[0] for p in points], axis.set_xscale, axis.set_xlim, axis.xaxis),
        ([p[1] for p in points], axis.set_yscale, axis.set_ylim, axis.yaxis),
    ):
        low, high = min(values), max(values)
        if _log_if_wide(values):
            scale("log")
            pad = (high / low) ** 0.22
            limits(low / pad, high * pad)
            which.set_minor_locator(NullLocator())
        else:
            limits(0, high * 1.32)
            which.set_major_locator(MaxNLocator(5))
        _plain_axis(which)


def _front(points):
    """Points that no other one beats in both, from small RSS to large."""
    front = []
    for x, y, *_ in sorted(points, key=lambda p: (p[0], -p[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


def _point_labels(axis, points, bars, arrow):
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
    places = [(8, 0, "left", "center"), (-8, 0, "right", "center"), (0, 8, "center", "bottom"), (0, -8, "center", "top")]
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
                                  fontweight="bold" if base_name(name).startswith("hz") else "normal")  # fmt: skip
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
            axis.annotate("", (x, y), xytext=best[1].xyann, textcoords="offset points",
                          arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5, "shrinkA": 0, "shrinkB": 3})  # fmt: skip


def _save(figure, directory, stem):
    paths = [directory / f"{stem}.svg", directory / f"{stem}.png"]
    try:
        figure.savefig(paths[0], metadata={"Date": None, "Creator": None})
        figure.savefig(paths[1], dpi=DPI, metadata={"Software": None})
    except OSError as error:
        raise InputError(f"{directory}: cannot write {stem}: {error.strerror}") from error
    plt.close(figure)
    return paths


def write_all(results, directory):
    """Writes every figure the samples allow into `directory`; returns the paths. Platforms never share a figure."""
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory}: cannot make the directory for figures: {error.strerror}") from error
    paths = []
    table = _all_series(results)
    with matplotlib.rc_context(RC):
        for platform in dict.fromkeys(c[0] for c in results.cells):
            data = Data(results, platform)
            if not data.names:
                continue
            for stem, figure in (
                ("throughput", throughput(data)),
                ("peak-rss", peak_rss(data)),
                ("rss-over-time", rss_over_time(data, table) if table else None),
                ("throughput-against-rss", tradeoff(data)),
                ("retention", retention(data)),
            ):
                if figure is not None:
                    paths += _save(figure, directory, f"{stem}-{platform}")
    if not paths:
        raise InputError("the files hold no allocator but null; nothing to draw")
    return paths

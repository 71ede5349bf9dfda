# SPDX-License-Identifier: Apache-2.0
"""Every figure of every committed result set, and of made ones with long names: no two texts overlap, none leaves the
canvas."""

import itertools
import os

import fixtures
import matplotlib
import matplotlib.pyplot as plt
import pytest
from conftest import ROOT
from hzbench import figures, load, schema, text
from hzbench.figures import axes, style
from matplotlib.text import Text

RESULTS = sorted(
    p
    for p in (ROOT / "results").glob("*/**/*.csv")
    if not p.name.endswith((".rss.csv", ".latency.csv")) and p.parent.name not in ("coherence", "attack")
)
PART, PARTS = (int(n) for n in os.environ.get("HZBENCH_PART", "0/1").split("/"))  # which of them this run draws
TOUCH = 1.0  # pixels: boxes are rounded up


def written(figure):
    """(text, its box in pixels) of all that drawing the figure writes: ticks outside the limits are never drawn."""
    drawn = []
    draw = Text.draw

    def record(artist, renderer, *arguments, **more):
        if artist.get_visible() and artist.get_text().strip() and artist.get_alpha() != 0:
            drawn.append((artist.get_text(), Text.get_window_extent(artist, renderer).extents))
        return draw(artist, renderer, *arguments, **more)

    Text.draw = record
    try:
        figure.draw_without_rendering()
    finally:
        Text.draw = draw
    return drawn


def faults(figure):
    """What overlaps or leaves the canvas, in words."""
    shown = written(figure)
    assert len(shown) > 5
    width, height = figure.bbox.x1, figure.bbox.y1
    found = [
        f"'{words}' leaves the canvas"
        for words, (x0, y0, x1, y1) in shown
        if x0 < -TOUCH or y0 < -TOUCH or x1 > width + TOUCH or y1 > height + TOUCH
    ]
    for (a, (ax0, ay0, ax1, ay1)), (b, (bx0, by0, bx1, by1)) in itertools.combinations(shown, 2):
        if min(ax1, bx1) - max(ax0, bx0) > TOUCH and min(ay1, by1) - max(ay0, by0) > TOUCH:
            found.append(f"'{a}' and '{b}' overlap")
    return found


def faults_of(file):
    found = []
    with matplotlib.rc_context(style.RC):
        for stem, figure in figures.drawn(load.load([file])):
            found += [f"{stem}: {fault}" for fault in faults(figure)]
            plt.close(figure)
    return found


def test_planted_faults_are_found():
    results = load.load([next(p for p in RESULTS if p.parent.name == "quickstart")])
    with matplotlib.rc_context(style.RC):
        stem, figure = next(figures.drawn(results))
        assert faults(figure) == []
        axis = figure.axes[0]
        axis.set_title(
            axis.get_title(loc="left") + ", a title that reaches far into the next panel of its row", loc="left"
        )
        assert any("overlap" in f and "next panel" in f for f in faults(figure))
        figure.axes[0].set_title("")
        figure.text(0.97, 0.5, "words cut at the edge")
        assert any(f == "'words cut at the edge' leaves the canvas" for f in faults(figure)), stem
    plt.close("all")


def test_there_are_results():
    assert len(RESULTS) > 20


@pytest.mark.parametrize("names", [2, 7, 14][PART::PARTS])
def test_long_names_failures_and_latencies(tmp_path, names):
    """What no committed file has: long names, failed cells, timed calls, many thread counts."""

    def edit(rows):
        for row in rows:
            if row["allocator"] == "hz5" and row["threads"] == 2:
                row.update(status="crashed", throughput_ops_s="", ops="")
            for call, (step, percentile) in itertools.product(schema.CALLS, enumerate(schema.LATENCIES)):
                row[f"latency_{call}_{percentile}_ns"] = 20 * 4**step * (1 + len(row["allocator"]) % 5)
            row.update(latency_every=64, latency_timer_ns=21)

    known = ("hz5", "mimalloc", "jemalloc{narenas:1,dirty_decay_ms:0}", "tcmalloc", "system")
    more = tuple(f"hz5{{retain={4 * i}MiB,profile=rss}}" for i in range(max(0, names - len(known))))
    plan = fixtures.Plan(allocators=(*known[:names], *more), threads=(1, 2, 8), workloads=("local", "remote"), rounds=3)
    file = fixtures.write_run(tmp_path / "a.csv", plan, edit)
    assert faults_of(file) == []


@pytest.mark.parametrize("file", RESULTS[PART::PARTS], ids=lambda p: str(p.relative_to(ROOT / "results")))
def test_committed_results(file):
    assert faults_of(file) == []


@pytest.mark.parametrize("rate", [text.MILLIONS, text.SECONDS], ids=lambda rate: rate.unit)
@pytest.mark.parametrize("taken", [(5, 95), (90, 95), (5, 5), (90, 5)])
def test_the_arrow_stands_where_no_point_is(rate, taken):
    with matplotlib.rc_context(style.RC):
        figure, (axis,) = axes.subplots(1)
        axis.set(xlim=(0, 100), ylim=(0, 100))
        axes.settle(figure)
        box = axes.better(axis, rate, [(*taken, "hz5", "#000000")]).get_window_extent(figure.canvas.get_renderer())
        plt.close(figure)
    assert not box.padded(20).contains(*axis.transData.transform(taken))
    inside = axis.bbox.padded(1)
    assert inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1)

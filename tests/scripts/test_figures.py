# SPDX-License-Identifier: Apache-2.0
"""Figures: all there, not blank, well formed, the same twice, platforms apart, failures visible."""

import xml.etree.ElementTree as xml

import fixtures
import matplotlib
import matplotlib.image
import numpy as np
import pytest
from hzbench import aged, allocators, figures, load, model, schema
from hzbench.figures import (
    axes,
    data,
    equal_memory,
    fresh_against_aged,
    peak_rss,
    ratio,
    retention,
    rss_over_time,
    style,
    throughput,
    tradeoff,
)

KINDS = ("throughput", "ratio", "peak-rss", "rss-over-time", "throughput-against-rss")
PLAN = fixtures.Plan(threads=(1, 2, 4))


def luminance(colour):
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    return float(np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    directory = tmp_path_factory.mktemp("figures")
    file = fixtures.write_run(directory / "a.csv", PLAN)
    return file, figures.write_all(load.load([file]), directory / "out")


def test_all_in_both_formats(drawn):
    assert [p.name for p in drawn[1]] == [f"{k}-linux.{e}" for k in KINDS for e in ("svg", "png")]
    assert all(p.stat().st_size > 5000 for p in drawn[1])


def test_a_sweep_of_one_knob_is_joined_in_order(tmp_path):
    names = tuple(f"hz5{{retain={size}}}" for size in ("64MiB", "1MiB", "16MiB"))
    plan = fixtures.Plan(allocators=(*names, "hz5{profile=rss}", "mimalloc"), workloads=("local",), threads=(1,))
    paths = figures.write_all(load.load([fixtures.write_run(tmp_path / "a.csv", plan)]), tmp_path / "out")
    drawing = next(p for p in paths if p.name == "retention-linux.svg").read_text()
    assert all(f"<!-- retain {size} -->" in drawing for size in ("1 MiB", "16 MiB", "64 MiB"))
    assert "hz5{profile=rss}" in drawing and "mimalloc" in drawing
    assert [retention.retained(n) for n in sorted(names, key=retention.retained)] == [1 << 20, 16 << 20, 64 << 20]


def test_speed_under_each_limit_with_a_cross_where_an_allocator_died(tmp_path):
    limits = [8 << 20, 64 << 20, 0]

    def edit(rows):
        for row in rows:
            row["memory_limit_bytes"] = limits[row["threads"] - 1]
            row["threads"] = 1
            if row["allocator"] == "hz5" and row["memory_limit_bytes"] == limits[0]:
                row.update(status="out-of-memory", throughput_ops_s="", ops="")

    plan = fixtures.Plan(allocators=("system", "hz5"), workloads=("local",), threads=(1, 2, 3))
    results = load.load([fixtures.write_run(tmp_path / "a.csv", plan, edit, with_series=False)])
    with matplotlib.rc_context(style.RC):
        figure = equal_memory.draw(data.Data(results, "linux"))
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["8 MiB", "64 MiB", "none"]
    crosses = [line for line in axis.lines if line.get_marker() == "x" and len(line.get_xdata()) == 1]
    assert len(crosses) == 1 and round(crosses[0].get_xdata()[0]) == 0
    curves = [line for line in axis.lines if len(line.get_xdata()) == 3]
    assert sorted(int(np.isnan(line.get_ydata()).sum()) for line in curves) == [0, 1]
    assert equal_memory.draw(data.Data(load.load([fixtures.write_run(tmp_path / "b.csv", plan)]), "linux")) is None


def test_what_an_aged_heap_changes_is_that_of_scripts_aged(tmp_path):
    def edit(rows):
        for row in rows:
            is_aged = row["threads"] == 2
            row.update(
                threads=1, age="holes" if is_aged else "none", age_bytes=1000 * is_aged, age_live_ppm=5 * is_aged
            )

    plan = fixtures.Plan(allocators=("system", "hz5", "mimalloc"), workloads=("local",), threads=(1, 2))
    results = load.load([fixtures.write_run(tmp_path / "a.csv", plan, edit, with_series=False)])
    with matplotlib.rc_context(style.RC):
        figure = fresh_against_aged.draw(data.Data(results, "linux"))
    (axis,) = figure.axes
    ((fresh, old),) = aged.pairs(results)
    baseline = model.pick_baseline(results, None)
    told = {row.name: row.change for row in aged.rows_of(results, fresh, old, baseline)}
    marks = {line.get_ydata()[0]: line.get_xdata()[0] for line in axis.lines if len(line.get_xdata()) == 1}
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert set(names) == {"system", "hz5", "mimalloc"} - {baseline}
    assert [marks[i] for i in range(2)] == [told[name].ratio for name in names]
    assert (
        fresh_against_aged.draw(data.Data(load.load([fixtures.write_run(tmp_path / "b.csv", plan)]), "linux")) is None
    )


def test_a_long_curve_keeps_its_ends_peaks_and_troughs():
    values = np.full(100_000, 5.0)
    values[[1234, 50_000, 98_765]] = 9
    values[[777, 60_001]] = 1
    kept = data.thinned(values, 240)
    assert len(kept) <= 242 and {0, 777, 1234, 50_000, 60_001, 98_765, 99_999} <= set(kept)
    assert list(data.thinned(values[:240], 240)) == list(range(240))


def test_ratios_are_those_of_the_table_and_undecided_ones_dotted(tmp_path):
    def edit(rows):
        for row in rows:
            if row["allocator"] == "tcmalloc":
                row.update(status="crashed", throughput_ops_s="", ops="")

    names = ("system", "hz5", "mimalloc", "tcmalloc")
    plan = fixtures.Plan(allocators=names, threads=(1,), workloads=("local",), rounds=6)
    results = load.load([fixtures.write_run(tmp_path / "a.csv", plan, edit)])
    with matplotlib.rc_context(style.RC):
        figure = ratio.draw(data.Data(results, "linux"))
    told = {row.name: row for row in model.build(results).sections[0].rows}
    (axis,) = figure.axes
    rows = [label.get_text() for label in axis.get_yticklabels()]
    drawn = {rows[round(line.get_ydata()[0])]: line for line in axis.lines if len(set(line.get_ydata())) == 1
             and len(line.get_xdata()) == 2}  # fmt: skip
    assert set(drawn) == {"hz5", "mimalloc"}
    for name, line in drawn.items():
        speed = told[name].speed
        low, high = line.get_xdata()
        assert low >= speed.low - 1e-12 and high <= speed.high + 1e-12 and low < speed.ratio < high
        assert line.get_linestyle() == (":" if told[name].verdict == "undecided" else "-")
    assert any("crashed" in words.get_text() for words in axis.texts)
    alone = fixtures.Plan(allocators=("hz5",), threads=(1,), workloads=("local",), rounds=6)
    assert ratio.draw(data.Data(load.load([fixtures.write_run(tmp_path / "b.csv", alone)]), "linux")) is None


def test_not_blank_and_in_the_allocators_colours(drawn):
    for path in drawn[1]:
        if path.suffix != ".png":
            continue
        pixels = matplotlib.image.imread(path)[..., :3]
        assert pixels.var() > 0.005, path.name
        assert pixels.shape[1] >= 1500  # wide enough for print
        for name in ("hz5", "mimalloc", "jemalloc", "tcmalloc", "system"):
            wanted = np.array(matplotlib.colors.to_rgb(allocators.BY_NAME[name].colour))
            assert (np.abs(pixels - wanted).max(axis=2) < 0.02).sum() > 50, (path.name, name)


def test_svg_is_well_formed_and_has_no_date(drawn):
    for path in drawn[1]:
        if path.suffix == ".svg":
            root = xml.parse(path).getroot()
            assert root.tag.endswith("svg") and len(list(root.iter())) > 100
            text = path.read_text()
            assert "dc:date" not in text and str(path.parent) not in text


def test_the_same_input_gives_the_same_bytes(drawn, script, tmp_path):
    done = script("figures", drawn[0], f"--out={tmp_path / 'again'}", env={"PYTHONHASHSEED": "5"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [str(tmp_path / "again" / p.name) for p in drawn[1]]
    for path in drawn[1]:
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_platforms_never_share_a_figure(tmp_path):
    a = fixtures.write_run(tmp_path / "a.csv", fixtures.Plan(workloads=("local",)))
    b = fixtures.write_run(tmp_path / "b.csv", fixtures.Plan(workloads=("local",), run=2, platform="wine"))
    names = {p.name for p in figures.write_all(load.load([a, b]), tmp_path / "out")}
    assert names == {f"{k}-{p}.{e}" for k in KINDS for p in ("linux", "wine") for e in ("svg", "png")}


def test_without_a_series_the_other_three_are_drawn(tmp_path):
    file = fixtures.write_run(tmp_path / "a.csv", fixtures.Plan(workloads=("local",)), with_series=False)
    names = {p.name for p in figures.write_all(load.load([file]), tmp_path / "out")}
    assert names == {f"{k}-linux.{e}" for k in KINDS if k != "rss-over-time" for e in ("svg", "png")}


def texts(figure):
    return [" ".join(t.get_text().split()) for t in figure.findobj(matplotlib.text.Text)]


def test_failures_and_oversubscription_are_written_into_the_figure(tmp_path):
    def edit(rows):
        for row in rows:
            if row["allocator"] == "jemalloc" and row["threads"] == 2 and row["round"] == 1:
                row.update(status="crashed", throughput_ops_s="")

    file = fixtures.write_run(tmp_path / "a.csv", fixtures.Plan(workloads=("local",), threads=(1, 2, 4)), edit)
    results = load.load([file])
    with matplotlib.rc_context(style.RC):
        shown = data.Data(results, "linux")
        speed, peak, series, both = (m.draw(shown) for m in (throughput, peak_rss, rss_over_time, tradeoff))
    assert "jemalloc: crashed (T=2)" in texts(speed)
    assert any("more threads than the 2 CPUs" in t for t in texts(speed))
    assert "crashed" in texts(peak) and "local, 4 threads *" in texts(peak)
    assert "jemalloc: crashed (T=2)" in texts(series) and "jemalloc: crashed (T=2)" in texts(both)
    # the failed count is a gap in the line, not a bridge from 1 to 4 threads
    colour = allocators.BY_NAME["jemalloc"].colour
    lines = [a for a in speed.axes[0].get_lines() if a.get_color() == colour and len(a.get_xdata()) == 3]
    assert [np.isnan(line.get_ydata()).tolist() for line in lines] == [[False, True, False]]
    matplotlib.pyplot.close("all")


def test_only_null_has_nothing_to_draw(script, tmp_path):
    file = fixtures.write_run(tmp_path / "a.csv", fixtures.Plan(allocators=("null",)))
    done = script("figures", file, f"--out={tmp_path / 'out'}")
    assert done.returncode == 2 and "nothing to draw" in done.stderr and done.stderr.count("\n") == 1


def test_an_output_that_cannot_be_written(script, tmp_path):
    file = fixtures.write_run(tmp_path / "a.csv", fixtures.Plan(workloads=("local",)))
    done = script("figures", file, f"--out={file}")
    assert done.returncode == 2 and "cannot make the directory" in done.stderr and done.stderr.count("\n") == 1


def test_styles_are_fixed_distinct_and_readable():
    names = [*allocators.BY_NAME, "hz5{profile=rss}", "./libfoo.so", "bar"]
    styles = style.Styles(names)
    assert styles["hz5"][0] == allocators.BY_NAME["hz5"].colour == styles["hz5{profile=rss}"][0]
    assert styles["hz5"][1] != styles["hz5{profile=rss}"][1]
    colours = {styles[n][0] for n in names}
    assert len(colours) == len(names) - 1
    assert len({style.Styles(list(reversed(names)))["hz4"], styles["hz4"]}) == 1
    for colour in colours:
        assert 1.05 / (luminance(style.ink(colour)) + 0.05) >= 3.9  # contrast of words on white


def test_labels_are_spread_and_keep_their_order():
    placed = axes.spread([0.1, 0.11, 0.12, 0.9, 0.9], 0.1)
    assert placed == sorted(placed)
    assert all(b - a >= 0.1 - 1e-9 for a, b in zip(placed, placed[1:]))
    assert np.mean(placed[:3]) == pytest.approx(0.11)
    assert axes.spread([0.2, 0.8], 0.1) == [0.2, 0.8]


def test_the_front_is_what_nobody_beats_in_both():
    points = [(1, 5, "a", ""), (2, 4, "b", ""), (3, 9, "c", ""), (1, 6, "d", ""), (9, 9, "e", "")]
    assert tradeoff.front(points) == [(1, 6), (3, 9)]


def test_many_thread_counts_keep_the_ends_and_the_machine():
    assert data.some_threads([1, 2, 4], 2) == [1, 2, 4]
    chosen = data.some_threads([1, 2, 4, 8, 16, 32, 64], 16)
    assert len(chosen) == 4 and {1, 16, 64} <= set(chosen)


def cell(**values):
    base = dict.fromkeys(schema.CELL) | {"platform": "linux", "load": "dlopen", "workload": "mixed", "threads": 2}
    return tuple((base | values)[c] for c in schema.CELL)


def test_a_single_thread_starts_the_line_of_its_workload():
    """With one thread nothing is remote: the runner says 0 %, and the curve must still go from 1 to 2 to 4."""
    alone = cell(threads=1, remote_ppm=0, topology="")
    pair, four = cell(remote_ppm=250000, topology="ring"), cell(threads=4, remote_ppm=250000, topology="ring")
    (panel,) = data.panels_of([alone, pair, four])
    assert panel.threads == [1, 2, 4] and panel.value("remote_ppm") == 250000
    other = cell(remote_ppm=500000, topology="ring")
    assert len(data.panels_of([alone, pair, other])) == 3  # of which of two it is the start nobody can say


def test_live_bytes_are_drawn_only_where_they_must_be_resident():
    assert data.live_is_resident(cell(touch="all", max_bytes=1 << 20))
    assert data.live_is_resident(cell(touch="ends", max_bytes=2048))
    assert not data.live_is_resident(cell(touch="ends", max_bytes=1 << 20))
    assert not data.live_is_resident(cell(touch="none", max_bytes=64))

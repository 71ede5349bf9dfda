# SPDX-License-Identifier: Apache-2.0
"""Tables from fixtures: exact text (golden files), and that nothing is dropped, flattered or left unescaped.

A wanted change of the text: run with HZBENCH_REGENERATE=1, read the difference, commit it.
"""

import csv
import io
import json
import math
import os
import re
import subprocess
import warnings
from pathlib import Path

import fixtures
import pandas as pd
import pytest
from hzbench import harness, load, model, schema, stats, tables, text, verdict
from hzbench.figures.data import Data

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"
BUILD = Path(os.environ.get("HZBENCH_BUILD", Path(__file__).resolve().parents[2] / "build"))
PLAN = fixtures.Plan(threads=(1, 2, 4), workloads=("local", "remote"))


def spoil(rows):
    """One crash, one allocator that could not be loaded, one that corrupts, one interrupted cell, one disturbed
    round."""
    kept = []
    for row in rows:
        key = (row["allocator"], row["workload"], row["threads"])
        if key == ("jemalloc", "remote", 2) and row["round"] == 3:
            row.update(
                status="crashed", message="killed by signal 11 in the measured part", throughput_ops_s="", ops=""
            )
        if row["allocator"] == "tcmalloc" and row["workload"] == "local":
            row.update(status="unavailable", message="libtcmalloc_minimal.so.4 not found", throughput_ops_s="")
        if key == ("mimalloc", "local", 1):
            status = ("corrupt", "timeout")[row["round"] % 2]
            row.update(status=status, message="bad", throughput_ops_s="")
        if key == ("mimalloc", "remote", 4) and row["round"] >= 5:
            continue
        if row["workload"] == "remote" and row["threads"] == 2 and row["round"] == 1:
            row["run_delay_ns"] = row["elapsed_ns"] // 2
            row.update(contaminated=1, contamination="run-delay")
        kept.append(row)
    return kept


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tables")
    return {
        "plain": fixtures.write_run(directory / "plain.csv", PLAN),
        "spoilt": fixtures.write_run(directory / "spoilt.csv", PLAN, spoil),
    }


def golden(name, text):
    file = GOLDEN / name
    if os.environ.get("HZBENCH_REGENERATE"):
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_the_baseline_is_the_first_of_the_command_and_not_of_the_alphabet(tmp_path):
    """Two builds, the old one named first, and no system beside them."""
    builds = ("./old/libhz5.so", "./new/libhz5.so")
    speed = {name: fixtures.SPEED["hz5"] for name in builds}
    fixtures.OVERHEAD.update({name: fixtures.OVERHEAD["hz5"] for name in builds})
    plan = fixtures.Plan(allocators=builds, workloads=("local",), threads=(1,), speed=speed)
    results = load.load([fixtures.write_run(tmp_path / "builds.csv", plan, with_series=False)])
    assert model.build(results).baseline == "./old/libhz5.so"
    (tmp_path / "builds.run.json").unlink()  # its rows know the plan, too
    assert model.build(load.load([tmp_path / "builds.csv"])).baseline == "./old/libhz5.so"


def test_the_first_of_the_command_goes_before_the_c_library(files):
    later = fixtures.Plan(allocators=("mimalloc", "system", "hz5"), workloads=("local",), threads=(1,))
    path = fixtures.write_run(files["plain"].parent / "later.csv", later, with_series=False)
    assert model.build(load.load([path])).baseline == "mimalloc"


def test_a_program_has_ops_and_not_millions_of_them(tmp_path):
    def programs(rows):
        for row in rows:
            row.update(
                workload="app", input="gcc", elapsed_ns=2_000_000_000, ops=60, throughput_ops_s="30.0", live_peak=""
            )

    results = load.load(
        [fixtures.write_run(tmp_path / "apps.csv", fixtures.Plan(workloads=("local",), threads=(1,)), programs)]
    )
    for form in ("text", "markdown", "latex"):
        shown = tables.render(model.build(results), form)
        assert "functions/s" in shown and "M ops/s" not in shown and "30.0" in shown and "0.00003" not in shown
        assert "touch" not in shown and "1 000 000 functions a sample" in shown


def timed(rows):
    """The first cell with the latencies of the C library's, times ten for hz5."""
    for row in rows:
        factor = 10 if row["allocator"] == "hz5" else 1
        row.update(
            latency_every=64, latency_malloc_count=100, latency_free_local_count=100, latency_free_remote_count=0
        )
        for call in ("malloc", "free_local"):
            for percentile, ns in (("p50", 20), ("p90", 30), ("p99", 150), ("p999", 1234), ("max", 99999)):
                row[f"latency_{call}_{percentile}_ns"] = factor * ns


def test_latencies_are_shown_when_they_were_measured(tmp_path):
    path = fixtures.write_run(
        tmp_path / "a.csv", fixtures.Plan(workloads=("local",), threads=(1,)), timed, with_series=False
    )
    results = load.load([path])
    report = model.build(results)
    shown = tables.as_text(report)
    assert re.search(r"^latency, ns +malloc +free\nallocator +p50 +p99 +p99\.9 +p50 +p99 +p99\.9\n", shown, re.M)
    assert re.search(r"^hz5 +200 +1 500 +12 340 +200 +1 500 +12 340$", shown, re.M) and "free of others" not in shown
    head = shown.split("latency, ns")[1].split("\n")
    assert len(head[0]) + len("latency, ns") == len(head[1])  # the last call's name ends where its columns do
    assert "malloc p99.9 ns" in tables.as_markdown(report) and "12 340" in tables.as_latex(report)
    row = next(r for r in csv.DictReader(io.StringIO(tables.as_csv(report))) if r["allocator"] == "hz5")
    assert row["latency_malloc_p999_ns"] == "12340" and row["latency_free_remote_p50_ns"] == ""
    told = json.loads(tables.as_json(report, results))["cells"][0]["rows"][0]
    assert told["latency_ns"]["malloc"]["max"] == 999990 and set(told["latency_ns"]) == {"malloc", "free_local"}


def test_text_fits_80_columns_and_wide_has_everything(tmp_path, files):
    longest = "./a/directory/with/a/long/name/liballocator.so"

    def rename(rows):
        for row in rows:
            row["allocator"] = {"hz5": longest, "system": "system-of-the-c-library"}.get(
                row["allocator"], row["allocator"]
            )

    path = fixtures.write_run(tmp_path / "a.csv", PLAN, lambda rows: rename(rows) or timed(rows), with_series=False)
    for report in (
        model.build(load.load([path])),
        model.build(load.load([path]), longest),
        model.build(load.load([files["spoilt"]])),
    ):
        lines = tables.as_text(report).splitlines()
        assert max(map(len, lines)) <= 80, max(lines, key=len)
        assert "--wide shows all columns." in lines and "MiB after" not in "".join(lines)
    wide = tables.as_text(report, None)
    assert "RSS after 100 ms MiB" in wide and "peak ratio" in wide and "--wide" not in wide
    assert "MiB after 100 ms" in tables.as_text(report, 100)


def plain(text):
    """On one line, without numbers but those in names."""
    return re.sub(r"(?<![a-z\d])\d[\d.]*", "N", " ".join(text.split()))


def test_the_sentences_are_those_of_the_runner(tmp_path, script):
    """Both are given rows with a planted truth; the runner tells of a finished file what it told at its end."""
    options = "--alloc=system,hz5,hz3,null --workload=local,large,aligned,replace,pingpong --ops=50 --settle=0"
    runner = [BUILD / "runner", *options.split(), "--rss-interval=0", "--runs=12", "--output=r.csv"]
    subprocess.run(runner, cwd=tmp_path, check=True, capture_output=True)
    random = fixtures.Random(5)
    truths = {  # seconds and MiB: a winner, two leaders, the baseline in front, nobody, mostly the harness
        "local": {"system": (1, 50), "hz5": (0.5, 44), "hz3": (0.8, 60)},
        "large": {"system": (1, 50), "hz5": (0.5, 40), "hz3": (0.5, 60)},
        "aligned": {"system": (1, 50), "hz5": (1.5, 50), "hz3": (1.5, 150)},
        "replace": {"system": (1, 50), "hz5": (1, 50), "hz3": (1, 45)},
        "pingpong": {"system": (1, 50), "hz5": (0.5, 50), "hz3": (0.5, 45)},
    }
    with open(tmp_path / "r.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        null = (0.3, 1) if row["workload"] == "pingpong" else (0.1, 1)
        seconds, mebibytes = truths[row["workload"]].get(row["allocator"], null)
        noise = math.exp((0.001 if row["workload"] == "replace" else 0.03) * random.normal())
        row["elapsed_ns"] = int(seconds * noise * 1e9)
        row["throughput_ops_s"] = f"{int(row['ops']) / row['elapsed_ns'] * 1e9:.6f}"
        row["rss_peak"] = int(mebibytes * 2**20 * math.exp(0.0005 * random.normal()))
    fixtures.write_rows(tmp_path / "r.csv", rows, tuple(rows[0]))
    told = subprocess.run(runner, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    report = model.build(load.load([tmp_path / "r.csv"]))
    ours = [plain(verdict.sentence(section.told)) for section in report.sections]
    assert len(ours) == 5 and all(sentence in plain(told) for sentence in ours), (ours, told)
    shown = plain(script("tables", tmp_path / "r.csv").stdout)
    assert all(sentence in shown for sentence in ours)
    assert any(
        s.startswith("hz5 is the fastest, N times as fast as system [N, N], and needs N % less memory") for s in ours
    )
    assert any("are the fastest and cannot be told apart" in s for s in ours) and any(
        "no difference" in s for s in ours
    )
    bound = next(s for s in ours if "harness-bound" in s)
    assert "hz5 and hz3 are the fastest and cannot be told apart (harness-bound), hz" in bound
    assert " at least N times as fast as system [N, N]" in bound and "no difference" not in bound
    share = "Harness-bound: null takes N % of the fastest allocator's time, so ratios are bounds."
    assert share in plain(told) and plain(told).count("Harness-bound") == 1


@pytest.mark.parametrize(
    "workload, threads, remote, told",
    [
        ("remote", 2, 900000, True),
        ("xmalloc", 2, None, True),
        ("mixed", 2, 250000, True),
        ("mixed", 1, 250000, False),
        ("mixed", 2, 0, False),
        ("fleet", 1, 0, False),
    ],
)
def test_a_batch_is_told_where_objects_change_hands(workload, threads, remote, told):
    values = {"workload": workload, "threads": threads, "remote_ppm": remote, "handover_batch": 16, "receiver": "frees"}
    said = text.cell_details(values.get)
    assert ("handover-batch 16" in said) == told and ("receiver frees" in said) == told


def cell_of(workload, given=""):
    values = {"workload": workload, "input": given}
    return tuple(values.get(column, "") for column in schema.CELL)


@pytest.mark.parametrize(
    "workload, given, speed, shown",
    [
        ("app", "redis", 120000, "120000 requests/s"),
        ("app", "sqlite", 3.5, "3.50 rows/s"),
        ("program", "gcc", 0.5, "2.00 s a run"),
        ("local", "", 2.5e9, "2.50 G ops/s"),
        ("local", "", 31.2e6, "31.2 M ops/s"),
        ("local", "", 31.2e3, "31.2 k ops/s"),
        ("values", "", 4, "4.00 ops/s"),
        ("values", "", math.nan, "- M ops/s"),
    ],
)
def test_speeds_have_a_unit_that_suits_them(workload, given, speed, shown):
    rate = text.rate_of([(cell_of(workload, given), speed)])
    assert f"{rate(speed)} {rate.unit}" == shown


def test_one_unit_a_column_and_where_none_suits_all_one_a_row():
    local, values, gcc = cell_of("local"), cell_of("values"), cell_of("program", "gcc")
    near = text.Column({1: [(local, 31.2e6), (local, 5e5)], 2: [(local, 70e3)]})
    assert (near.unit, near(1, 5e5), near(2, 70e3)) == ("M ops/s", "0.500", "0.0700")
    far = text.Column({1: [(local, 31.2e6), (local, 5e5)], 2: [(values, 4)], 3: [(gcc, 0.5)]})
    assert far.unit == "each with its unit"
    assert (far(1, 5e5), far(2, 4), far(3, 0.5)) == ("0.500 M ops/s", "4.00 ops/s", "2.00 s a run")


def test_the_readme_shows_what_is_printed(script):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = next(block for block in readme.split("```\n") if block.startswith("local, 1 thread\n"))
    run = ROOT / "results" / "2026-11-28-7ca88deb-c11db20" / "quickstart" / "run.csv"
    printed = script("tables", run, "--baseline=system").stdout
    cells = re.split(r"\n\n(?=\w+, \d)", shown.strip("\n"))
    assert len(cells) == 2 and all(cell in printed for cell in cells)


def test_json_has_the_whole_run(script, files):
    done = script("tables", files["spoilt"], "--format=json")
    record = json.loads(done.stdout, parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))
    assert record["baseline"] == "system" and record["runs"][0]["machine"]["cpu_model"] == "Example CPU"
    cell = next(c for c in record["cells"] if (c["workload"], c["threads"]) == ("remote", 2))
    rows = {r["allocator"]: r for r in cell["rows"]}
    assert cell["sentence"].startswith("hz5 is the fastest, ") and cell["unit"] == "M ops/s"
    assert rows["hz5"]["throughput"]["verdict"] == "faster" and rows["system"]["throughput"] is None
    assert rows["jemalloc"]["failure"].startswith("1 crashed of 8")
    assert [r["status"] for r in rows["jemalloc"]["rounds"]].count("crashed") == 1
    values = sorted(r["throughput_ops_s"] for r in rows["hz5"]["rounds"])
    assert len(values) == 8 and (values[3] + values[4]) / 2 == pytest.approx(rows["hz5"]["throughput_ops_s"])


@pytest.mark.parametrize("form,ending", [("text", "txt"), ("markdown", "md"), ("latex", "tex"), ("csv", "csv")])
@pytest.mark.parametrize("which", ["plain", "spoilt"])
def test_exact_tables(script, files, which, form, ending):
    done = script("tables", files[which], f"--format={form}")
    assert (done.returncode, done.stderr) == (0, "")
    golden(f"{which}.{ending}", done.stdout)


def test_output_does_not_depend_on_row_order_or_locale(script, files, tmp_path):
    lines = files["plain"].read_text().splitlines(keepends=True)
    turned = tmp_path / "turned.csv"
    turned.write_text(lines[0] + "".join(reversed(lines[1:])))
    (tmp_path / "turned.run.json").write_text(Path(str(files["plain"])[:-4] + ".run.json").read_text())
    expected = script("tables", files["plain"]).stdout
    assert script("tables", turned, env={"LC_ALL": "C", "PYTHONHASHSEED": "7"}).stdout == expected


def test_recovers_the_speeds_that_were_put_in(files):
    report = model.build(load.load([files["plain"]]))
    for section in report.sections:
        for row in section.rows:
            if row.name != "system":
                truth = fixtures.SPEED[row.name] / fixtures.SPEED["system"]
                assert row.speed.ratio == pytest.approx(truth, rel=0.02)
                assert row.verdict == "faster"


def test_the_spread_is_half_the_distance_of_the_quartiles(tmp_path):
    def edit(rows):
        for row, speed in zip((r for r in rows if r["allocator"] == "hz5"), (90e6, 95e6, 100e6, 110e6, 200e6)):
            row.update(throughput_ops_s=speed)

    plan = fixtures.Plan(allocators=("system", "hz5"), threads=(1,), workloads=("local",), rounds=5)
    report = model.build(load.load([fixtures.write_run(tmp_path / "a.csv", plan, edit)]))
    line = next(line for line in tables.as_text(report, None).splitlines() if line.startswith("hz5 "))
    assert line.split()[:5] == ["hz5", "5", "100", "7.5", "%"]  # quartiles 95 and 110
    (row,) = (row for row in report.sections[0].rows if row.name == "hz5")
    assert row.spread == pytest.approx(0.075)
    assert "Spread: half" in tables.as_text(report, None) and "spread" in tables.as_text(report, 200)


def test_failed_cells_are_rows_and_spoil_the_mean(files):
    report = model.build(load.load([files["spoilt"]]))
    names = ["hz5", "mimalloc", "jemalloc", "tcmalloc", "system"]
    assert all([r.name for r in s.rows] == names for s in report.sections)
    summary = {s.name: s for s in model.summaries(report)["linux"]}
    assert summary["hz5"].failed == 0 and summary["hz5"].speed > 1
    for name, failed in (("jemalloc", 1), ("tcmalloc", 3), ("mimalloc", 1)):
        assert summary[name].failed == failed and summary[name].speed != summary[name].speed  # NaN: no flattering mean


def test_a_failed_baseline_leaves_no_ratio(tmp_path):
    def edit(rows):
        for row in rows:
            if row["allocator"] == "system" and row["round"] == 0:
                row.update(status="timeout", throughput_ops_s="")

    plan = fixtures.Plan(workloads=("local",), threads=(1,))
    report = model.build(load.load([fixtures.write_run(tmp_path / "a.csv", plan, edit)]))
    text = tables.as_text(report, None)
    assert all(r.speed is None for r in report.sections[0].rows)
    assert "No ratios: the baseline system has no good samples throughout." in " ".join(tables.as_text(report).split())
    assert text.count("no baseline to compare") == 4 and "1 timeout of 8" in text


def test_an_allocator_missing_from_a_cell_is_a_row(tmp_path):
    plan = fixtures.Plan(workloads=("local",))
    edit = lambda rows: [r for r in rows if (r["allocator"], r["threads"]) != ("hz5", 2)]  # noqa: E731
    text = tables.as_text(model.build(load.load([fixtures.write_run(tmp_path / "a.csv", plan, edit)])), None)
    assert re.search(r"^hz5 +0 +failed .* no sample", text, re.M)


def test_disturbed_rounds_are_shown_with_and_without(files):
    report = model.build(load.load([files["spoilt"]]))
    section = next(s for s in report.sections if s.value("workload") == "remote" and s.value("threads") == 2)
    row = section.rows[0]
    assert row.disturbed == 1 and row.speed.pairs == 8 and row.quiet.pairs == 7
    assert any("hz5 1 of 8, without them" in n for n in tables.notes_of(section, report))


def test_too_few_rounds_say_so(tmp_path):
    plan = fixtures.Plan(workloads=("local",), threads=(1,), rounds=3)
    text = tables.as_text(model.build(load.load([fixtures.write_run(tmp_path / "a.csv", plan)])), None)
    assert "3 rounds decide nothing about 5 allocators - take more, such as --runs=11." in text
    assert "undecided (needs 6 rounds)" in text and "With 3 rounds no rank test can reach 5 %" in text
    assert "faster  " not in text.split("faster, slower:")[0].split("Geometric")[0]


def test_baseline_and_margin(script, files):
    done = script("tables", files["plain"], "--baseline=mimalloc", "--margin=50%", "--format=csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {r["baseline"] for r in rows} == {"mimalloc"}
    assert {r["throughput_verdict"] for r in rows if r["allocator"] == "jemalloc"} == {"same"}  # 60/45 is inside 50 %
    assert {r["throughput_verdict"] for r in rows if r["allocator"] == "hz5"} == {"faster"}


def test_wine_and_linux_have_separate_sections_and_means(tmp_path):
    a = fixtures.write_run(tmp_path / "a.csv", fixtures.Plan(workloads=("local",), threads=(1,)))
    b = fixtures.write_run(
        tmp_path / "b.csv", fixtures.Plan(workloads=("local",), threads=(1,), run=2, platform="wine")
    )
    report = model.build(load.load([a, b]))
    assert [s.value("platform") for s in report.sections] == ["linux", "wine"]
    assert list(model.summaries(report)) == ["linux", "wine"]
    text = tables.as_text(report)
    assert "local, 1 thread, wine" in text and "Geometric mean of ratios to system, wine" in text
    sections = report.sections
    notes = {s.value("platform"): " ".join(tables.notes_of(s, report)) for s in sections}
    assert "not to be ranked" in notes["wine"] and "wine" not in notes["linux"]
    assert all(
        len({row.name for row in s.rows}) == len(s.rows) for s in sections
    )  # no allocator twice: no rows of both


HOSTILE = r"./a|b_$&#%{x}~^<script>`*[c]\d" + '"é界'


def test_hostile_names_are_escaped(tmp_path):
    def edit(rows):
        for row in rows:
            if row["allocator"] == "hz5":
                row["allocator"] = HOSTILE

    report = model.build(
        load.load([fixtures.write_run(tmp_path / "a.csv", fixtures.Plan(workloads=("local",), threads=(1,)), edit)])
    )
    assert HOSTILE in tables.as_text(report)
    markdown = next(
        line for line in tables.as_markdown(report).splitlines() if line.startswith("|") and "script" in line
    )
    assert "<script>" not in markdown
    assert len(re.findall(r"(?<!\\)\|", markdown)) == 12  # eleven cells, whatever the name holds
    # The caption names it too, in its notes.
    tex = next(line for line in tables.as_latex(report).splitlines() if "textless" in line and "caption" not in line)
    assert len(re.findall(r"(?<!\\)&", tex)) == 10 and tex.endswith(r"\\")
    assert not re.search(r"(?<!\\)[#%$_^~]", tex.replace(r"\textasciicircum", "").replace(r"\textasciitilde", ""))
    parsed = list(csv.DictReader(io.StringIO(tables.as_csv(report))))
    assert HOSTILE in {r["allocator"] for r in parsed}


def test_latex_has_equal_columns_and_balanced_groups(files):
    for which in ("plain", "spoilt"):
        text = tables.as_latex(model.build(load.load([files[which]])))
        assert text.count(r"\begin{") == text.count(r"\end{")
        bare = text.replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}")
        for block in re.findall(r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}(.*?)\\end\{tabular\}", text, re.S):
            rows = [line for line in block[1].splitlines() if line.endswith(r"\\")]
            assert rows and all(len(re.findall(r"(?<!\\)&", r)) + 1 == len(block[0]) for r in rows)


def test_a_closed_pipe_is_no_error(files):
    command = f"{fixtures.__file__[:-len('tests/scripts/fixtures.py')]}scripts/tables {files['plain']} | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.stderr == "" and done.stdout.count("\n") == 1


def test_verdicts_follow_the_adjusted_p_values(files):
    report = model.build(load.load([files["plain"]]))
    rows = [r for s in report.sections for r in s.rows if r.speed]
    assert [r.speed_q for r in rows] == pytest.approx(list(stats.benjamini_hochberg([r.speed.p for r in rows])))


def test_a_program_has_no_sizes_and_no_baseline_and_no_warning(tmp_path):
    def program(rows):
        for row in rows:
            row.update(workload="app", input="redis")
        return rows

    path = fixtures.write_run(tmp_path / "app.csv", fixtures.Plan(threads=(1,), workloads=("local",)), program)
    results = load.load([path])
    results.data["rss_baseline"] = math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = model.build(results)
    assert report.sections[0].rows and all(math.isnan(row.rss_baseline) for row in report.sections[0].rows)
    assert "B.." not in text.cell_details(report.sections[0].value)


def samples_of(name, times, **more):
    """Rounds of one allocator in a cell, one thread, an operation: its nanoseconds."""
    rows = [dict(name=name, status="ok", block=f"a/{i}", elapsed_ns=ns, threads=1, ops=1, remote_frees=0, **more)
            for i, ns in enumerate(times)]  # fmt: skip
    return pd.DataFrame(rows)


def test_ratios_without_the_harness():
    """By hand: null 4 ns, base 12 ns, fast 8 ns: twice as fast without the harness, 1.5 times with it. Beside the
    harness nothing can be said of an allocator that costs next to nothing, nor where objects change hands."""
    null, base, fast, free = (
        samples_of(name, [ns * (1 + 0.001 * i) for i in range(8)])
        for name, ns in (("null", 4.0), ("base", 12.0), ("fast", 8.0), ("free", 4.4))
    )
    net = harness.without(fast, base, null)
    assert net.pairs == 8 and net.ratio == pytest.approx(2) and net.low <= 2 <= net.high
    assert harness.without(free, base, null) is None
    assert harness.without(fast, base, null.assign(remote_frees=1)) is None
    assert harness.without(fast, base, null[:0]) is None


def test_a_harness_bound_ratio_is_a_bound_and_never_same():
    null, fast, slow = (samples_of(name, [ns] * 8) for name, ns in (("null", 4.1), ("fast", 8.0), ("slow", 20.0)))
    cell = pd.concat([null, fast, slow])
    assert harness.share(cell) == (pytest.approx(4.1 / 8), "fast") and harness.is_bound(cell)
    assert not harness.is_bound(cell.assign(elapsed_ns=cell["elapsed_ns"].replace(4.1, 3.9)))
    assert not harness.is_bound(pd.concat([fast, slow]))
    above, level, below = (stats.compare_paired([x] * 8, [1.0] * 8) for x in (1.5, 1.0, 0.5))
    assert [text.ratio_of(harness.bounded(c, True)) for c in (above, level, below)] == [
        "at least 1.50", "1.00", "at most 0.500",
    ]  # fmt: skip
    assert level.verdict() == "same" and harness.bounded(level, True).verdict() == "undecided"
    assert text.ratio_of(above) == "1.50" and harness.bounded(None, True) is None


def test_a_harness_bound_cell_in_tables_compare_gate_and_figures(tmp_path, script):
    speed = {**fixtures.SPEED, "hz5": 400e6, "hz4": 399e6, "null": 500e6}
    plan = fixtures.Plan(allocators=("hz5", "hz4", "null"), workloads=("local",), threads=(1,), rounds=12, speed=speed)
    file = fixtures.write_run(tmp_path / "a.csv", plan, with_series=False)
    record = json.loads(script("tables", file, "--format=json").stdout)
    assert record["cells"][0]["harness_bound"] is True
    assert [row["throughput"]["verdict"] for row in record["cells"][0]["rows"][1:]] == ["undecided"]
    assert "Harness-bound" in script("tables", file, "--wide").stdout
    compared = script("compare", f"{file}:hz5", f"{file}:hz4").stdout
    assert "Harness-bound, so that ratios of speed are bounds" in " ".join(compared.split())
    gated = script("gate", f"{file}:hz5", f"{file}:hz4", "--max-worse=20%")
    assert "harness-bound, a loss is larger than it looks" in gated.stdout and "1 open, 0 passed" in gated.stdout
    data = Data(load.load([file]), "linux")
    marks, meaning = data.daggers([(data.panels[0], 1)])
    assert marks[0].endswith("\u2020") and "harness" in meaning

# SPDX-License-Identifier: Apache-2.0
"""The page of scripts/report: self-contained, safe against names in the files, and clicked through in Chromium, where
each baseline must give the ratios that scipy gives. HZBENCH_SCREENSHOTS=DIR keeps the screenshots and the PDF."""

import csv
import io
import itertools
import json
import math
import os
import re
import shutil
import subprocess
from pathlib import Path

import fixtures
import numpy as np
import pytest
import scipy.stats
from conftest import ROOT
from hzbench import allocators, errors, load, model, report

BUILD = Path(os.environ.get("HZBENCH_BUILD") or ROOT / "build")
MODULES = BUILD / "npm" / "node_modules"
HOSTILE = "./</script><script>alert(1)</script>\"'&<b>.so"
CALLS = ("malloc", "free_local", "free_remote")


def spoil(rows):
    """A failure, a hostile name, marked samples and latencies."""
    for row in rows:
        if (row["allocator"], row["workload"], row["threads"]) == ("tcmalloc", "remote", 2) and row["round"] == 1:
            row.update(status="crashed", message="killed by <signal> 11", throughput_ops_s="", ops="")
        if row["allocator"] == "hz4":
            row["allocator"] = HOSTILE
        if row["round"] == 3 and row["threads"] == 2:
            row.update(contaminated=1, contamination="run-delay;steal")
        for call, (step, percentile) in itertools.product(CALLS, enumerate(report.PERCENTILES)):
            row[f"latency_{call}_{percentile}_ns"] = int(20 * 4**step * (1 + len(row["allocator"]) % 5))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if not (MODULES / "uplot").is_dir():
        pytest.fail(f"{MODULES}/uplot not found: scripts/setup test installs it")
    os.environ["BUILD_DIR"] = str(BUILD)
    directory = tmp_path_factory.mktemp("report")
    plan = fixtures.Plan(allocators=("hz5", "hz4", "mimalloc", "jemalloc", "tcmalloc", "system", "null"),
                         workloads=("local", "remote"), threads=(1, 2), noise=0.03)  # fmt: skip
    file = fixtures.write_run(directory / "run.csv", plan, spoil)
    report.write(load.load([file]), directory / "page.html", "A <title> & more")
    return file, directory / "page.html"


def test_loads_nothing_and_holds_every_sample(page):
    file, path = page
    text = path.read_text()
    assert not re.search(r"""(src|href)\s*=\s*["']?(?!["']?#)["']?\w|@import|url\(""", text.split("<script>")[0])
    assert "default-src 'none'" in text
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])
    assert data["files"][0]["csv"] == file.read_text()
    assert len(data["samples"]) == sum(1 for row in csv.DictReader(file.open()) if row["allocator"] != "null")


def test_names_cannot_become_markup(page):
    text = page[1].read_text()
    assert "<script>alert" not in text and "A &lt;title&gt; &amp; more" in text
    assert text.count("</script>") == 5  # the data and four scripts


def test_equal_input_gives_the_same_page(page):
    assert report.render(load.load([page[0]]), "A <title> & more") == page[1].read_text()


def test_without_npm_packages_one_line_says_what_to_do(page, script, tmp_path):
    done = script("report", page[0], f"--out={tmp_path / 'x.html'}", env={"BUILD_DIR": str(tmp_path)})
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "scripts/setup report" in done.stderr
    done = script("report", tmp_path / "missing.csv", "--out=x.html", env={"BUILD_DIR": str(tmp_path)})
    assert "scripts/setup report" in done.stderr  # said before the files are read, not after computing over them
    with pytest.raises(errors.InputError, match="cannot write"):
        report.write(load.load([page[0]]), tmp_path / "no" / "x.html", "x")
    done = script("report", page[0], f"--out={tmp_path / 'x.html'}", env={"BUILD_DIR": str(BUILD)})
    assert done.returncode == 0 and (tmp_path / "x.html").stat().st_size > 100_000


@pytest.fixture(scope="module")
def saw(page, tmp_path_factory):
    """What the browser saw. Without a browser this is a failure, not a skip: scripts/setup test installs one."""
    folder = Path(os.environ.get("HZBENCH_SCREENSHOTS") or tmp_path_factory.mktemp("browser"))
    folder.mkdir(exist_ok=True)
    chromium = shutil.which("chromium") or pytest.fail("chromium not found: scripts/setup test installs it")
    done = subprocess.run(
        ["node", Path(__file__).parent / "browse_report.cjs", MODULES, chromium, page[1], folder],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"folder": folder}


def test_the_page_runs_without_an_error_or_a_request(saw):
    assert saw["errors"] == [] and saw["requests"] == [] and saw["title"] == "A <title> & more"
    assert saw["sections"][:5] == ["summary", "ratios", "throughput", "peak", "pareto"]
    assert "latency" in saw["sections"]


def scipy_ratio(rows, base, column):
    """Hodges-Lehmann as scipy.stats would have it: the centre of the signed-rank statistic, by its own definition."""
    both = (
        rows.set_index("block")[[column]].join(base.set_index("block")[[column]], lsuffix="_a", rsuffix="_b").dropna()
    )
    d = np.log(both[f"{column}_a"] / both[f"{column}_b"]).to_numpy()
    walsh = [(a + b) / 2 for a, b in itertools.combinations_with_replacement(d, 2)]
    ratio = math.exp(np.median(walsh))
    # The estimate balances scipy's statistic: just below it the positive rank sum is the larger one, just above the
    # smaller.
    for shift, sign in ((-1e-9, 1), (1e-9, -1)):
        moved = d - math.log(ratio) - shift * 1e3
        ranks = scipy.stats.rankdata(np.abs(moved))
        assert sign * (ranks[moved > 0].sum() - ranks[moved < 0].sum()) >= 0
    return ratio


def test_every_baseline_gives_the_ratios_of_scipy_and_the_verdicts_of_our_tables(page, saw):
    results = load.load([page[0]])
    assert saw["options"] == [n for n in results.allocators if n != "null"] and HOSTILE in saw["options"]
    checked = 0
    for baseline, shown in saw["tables"].items():
        sections = model.build(results, baseline).sections
        expected = {(i, r.name): r for i, s in enumerate(sections) for r in s.rows}
        assert {(r["cell"], r["name"]) for r in shown} == set(expected)
        for row in shown:
            ours = expected[(row["cell"], row["name"])]
            if not ours.speed:
                continue
            rows = results.data[results.data["cell"] == sections[row["cell"]].cell]
            mine, base = rows[rows["name"] == row["name"]], rows[rows["name"] == baseline]
            assert row["ratio"] == pytest.approx(scipy_ratio(mine, base, "throughput_ops_s"), rel=1e-12)
            assert row["ratio"] == pytest.approx(ours.speed.ratio, rel=1e-12)
            assert row["memory"] == pytest.approx(ours.memory.ratio, rel=1e-12)
            assert row["speed"] == pytest.approx(ours.throughput, rel=1e-12)
            assert row["verdict"] == ours.verdict
            checked += 1
    assert checked == 80  # two cells of 6 x 5, one of 5 x 4 without the failed one


def test_p_values_in_the_download_equal_scipys(page, saw):
    """ratios.csv was saved with the last baseline chosen."""
    results = load.load([page[0]])
    baseline = saw["options"][-1]
    sections = model.build(results, baseline).sections
    expected = {
        (report.text.cell_labels([x.cell for x in sections])[s.cell], r.name): r for s in sections for r in s.rows
    }
    rows = list(csv.DictReader(io.StringIO((saw["folder"] / "ratios.csv").read_text())))
    assert len(rows) == len(expected) and {r["baseline"] for r in rows} == {baseline}
    for row in rows:
        ours = expected[(row["cell"], row["allocator"])]
        if ours.speed:
            for key, value in (
                ("p", ours.speed.p),
                ("q", ours.speed_q),
                ("low", ours.speed.low),
                ("high", ours.speed.high),
            ):
                assert float(row[key]) == pytest.approx(value, rel=1e-9)
            mine = results.data[(results.data["name"] == row["allocator"]) & (results.data["cell"] == sections[0].cell)]
            base = results.data[(results.data["name"] == baseline) & (results.data["cell"] == sections[0].cell)]
            if row["cell"] == report.text.cell_labels([sections[0].cell])[sections[0].cell]:
                d = np.log(mine.set_index("block")["throughput_ops_s"] / base.set_index("block")["throughput_ops_s"])
                assert float(row["p"]) == pytest.approx(scipy.stats.wilcoxon(d, mode="exact").pvalue, rel=1e-9)


def test_without_marked_samples_the_ratio_is_our_quiet_ratio(page, saw):
    results = load.load([page[0]])
    sections = model.build(results, saw["options"][-1]).sections  # the last one that was chosen
    compared = 0
    for row in saw["quiet"]:
        ours = next(r for r in sections[row["cell"]].rows if r.name == row["name"])
        if ours.quiet:
            assert row["ratio"] == pytest.approx(ours.quiet.ratio, rel=1e-12)
            compared += 1
    assert compared > 0


def test_sorting_filtering_and_hiding(saw):
    down = [v for v in saw["sortedDown"] if v is not None]
    assert down == sorted(down, reverse=True) and saw["ariaSort"] == "descending"
    up = [v for v in saw["sortedUp"] if v is not None]
    assert up == sorted(up) and saw["focusKept"] == "speed" and "ascending" in saw["status"]
    assert None not in saw["sortedUp"][: len(up)]  # failures last, whichever way
    assert saw["filtered"]["cells"] and all(c.startswith(saw["filtered"]["workload"]) for c in saw["filtered"]["cells"])
    assert saw["hiding"][1] < saw["hiding"][0]


def test_figures_are_drawn_and_described(saw):
    assert len(saw["canvases"]) >= 4 and all(
        n > 5 for n in saw["canvases"] + saw["darkCanvases"] + saw["phoneCanvases"]
    )
    assert saw["tooWide"] == 0  # no figure reaches into its neighbour
    assert saw["planes"] >= 8 and all(len(label) > 20 for label in saw["labels"])


def test_an_allocator_looks_as_in_the_png_figures(page, saw):
    """One shape a marker of matplotlib, none of them the stand-in for an unknown one; dots are the single samples."""
    known = (report.SOURCES / "charts.js").read_text()
    markers = {a.marker for a in allocators.ALLOCATORS} | {marker for _, marker in allocators.OTHERS}
    for marker in markers:
        assert re.search(rf'(?<![\w"]){re.escape(marker)}: |"{re.escape(marker)}": ', known), marker
    shapes = dict(saw["marks_of"])
    ours = [n for n in shapes if n in allocators.BY_NAME]
    assert len({shapes[n] for n in ours}) == len(ours) == 5
    rows = load.load([page[0]]).data
    alone = rows[(rows["workload"] == "remote") & (rows["name"] != "null")]
    failed = set(alone.loc[alone["status"] != "ok", "name"])
    assert saw["dots"] == sum(name not in failed for name in alone["name"])


def test_a_table_that_scrolls_says_so(saw):
    assert any(wider for wider, _ in saw["hints"]) and all(wider == told for wider, told in saw["hints"])
    assert saw["cut"] == []


def test_failures_and_marks_are_listed(saw):
    text = " ".join(saw["marks"])
    assert "crashed" in text and "killed by <signal> 11" in text and "run-delay, steal" in text
    assert any(r["verdict"].startswith("crashed (1 of 8)") for t in saw["tables"].values() for r in t)


def test_readable_by_keyboard_in_the_dark_and_on_a_phone(saw):
    assert saw["keyboard"] and saw["unlabelled"] == 0
    for which in ("lightContrast", "darkContrast"):
        assert min(saw[which].values()) >= 4.5, {k: v for k, v in saw[which].items() if v < 4.5}
    assert saw["darkPaper"] != "rgb(246, 245, 242)"
    assert saw["desktopOverflow"] <= 0 and saw["phoneOverflow"] <= 0 and saw["smallTargets"] == 0


def test_downloads_are_the_files(page, saw):
    assert (saw["folder"] / saw["downloaded"]).read_bytes() == page[0].read_bytes()


def test_print_has_pages_and_is_not_dark(saw):
    pdf = (saw["folder"] / "print.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-") and 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 20
    assert (saw["folder"] / "phone.png").stat().st_size > 20_000
    if shutil.which("pdftoppm"):
        image = subprocess.run(["pdftoppm", "-r", "20", "-f", "1", "-l", "1", "-gray", saw["folder"] / "print.pdf"],
                               capture_output=True, check=True).stdout  # fmt: skip
        pixels = image.split(b"\n255\n", 1)[1]
        assert sum(pixels) / len(pixels) > 200  # dark ink on white paper, though the screen was dark

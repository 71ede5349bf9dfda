# SPDX-License-Identifier: Apache-2.0
"""The page of a history: self-contained, safe against names, clicked through in Chromium with ten thousand points.
HZBENCH_SCREENSHOTS=DIR keeps the screenshots."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from hzbench.history import page, points, store, tracks

BUILD = Path(os.environ.get("HZBENCH_BUILD") or ROOT / "build")
MODULES = BUILD / "npm" / "node_modules"
HOSTILE = "</script><script>alert(1)</script>\"'&<b>"
COMMITS, SERIES = 50, 200
PLATFORM = {"platform": "linux"}


def fill(database):
    """200 series of 50 points: one loses 6 % at the 30th commit, another holds an eighth more memory from the 20th on,
    a third gains 8 %, a fourth loses 20 % at its end."""
    random = np.random.default_rng(1)
    names = ("hz5", "hz4", HOSTILE)
    for number in range(COMMITS):
        at = f"2026-{1 + number // 28:02}-{1 + number % 28:02}T12:00:00Z"
        commit = f"{number:02}{'c' * 38}"
        subject = f"Change {number} {HOSTILE if number == 30 else ''}"
        run = points.Run(f"{number:016x}", "host", commit, False, subject, at, at, "f", "s", "", "kernel")
        made = []
        for series in range(SERIES):
            cell = {"workload": ("local", "remote")[series % 2], "threads": 1 + series, "load": "dlopen"} | PLATFORM
            memory = series % 4 == 3
            metric = "rss_peak" if memory else "throughput_ops_s"
            key = points.Series("host", names[series % 3], json.dumps(cell), metric)
            value = (18.0 if memory else 0.3) + 0.004 * random.normal()
            value += {0: -0.06 * (number >= 30), 3: 0.12 * (number >= 20), 4: 0.08 * (number >= 25),
                      8: -0.2 * (number >= COMMITS - 1)}.get(series, 0.0)  # fmt: skip
            reference = ("", "") if memory else ("system", "a" * 64)
            made.append(points.Point(key, *reference, "b" * 64, "1:2", value, value - 0.01, value + 0.01, 0.005, 8, 0))
        assert len({p.series.key for p in made}) == SERIES
        database.add(run, made)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    if not (MODULES / "uplot").is_dir():
        pytest.fail(f"{MODULES}/uplot not found: scripts/setup test installs it")
    os.environ["BUILD_DIR"] = str(BUILD)
    folder = tmp_path_factory.mktemp("page")
    database = store.open_store(str(folder / "h.db"), True)
    fill(database)
    lines = tracks.lines_of(database.points())
    found = tracks.find(lines)
    text = page.render(lines, found, folder, f"History {HOSTILE}", "v1.0")
    (folder / "page.html").write_text(text)
    return folder / "page.html", lines, found


def test_loads_nothing_and_holds_every_point(made):
    text = made[0].read_text()
    assert not re.search(r"""(src|href)\s*=\s*["']?(?!["']?#)["']?\w|@import|url\(""", text.split("<script>")[0])
    assert "default-src 'none'" in text and "<script>alert" not in text
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])
    assert sum(len(line["estimates"]) for line in data["lines"]) == COMMITS * SERIES == 10_000
    assert len(text) < 3_000_000


def test_what_is_planted_is_what_is_told(made):
    found = made[2]
    for metric, step, at in (("throughput_ops_s", -0.06, 30), ("rss_peak", 0.12, 20), ("throughput_ops_s", 0.08, 25)):
        (one,) = [f for f in found if f.line.series.metric == metric and f.change.at == at]
        assert one.change.step == pytest.approx(step, abs=0.006) and not one.change.suspected
    assert any(f.change.suspected and f.change.at == COMMITS - 1 for f in found)
    assert len(found) <= 5  # the four, and one may be false


def test_clicked_through_in_chromium(made, tmp_path):
    browser = shutil.which("chromium")
    assert browser, "chromium is not installed: scripts/setup test"
    folder = Path(os.environ.get("HZBENCH_SCREENSHOTS") or tmp_path)
    folder.mkdir(exist_ok=True)
    script = Path(__file__).with_name("browse_history.cjs")
    done = subprocess.run(
        ["node", script, MODULES, browser, made[0], folder], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    saw = json.loads(done.stdout)
    (folder / "history.json").write_text(json.dumps(saw, indent=1))
    assert saw["errors"] == [] and saw["requests"] == []
    assert saw["first"] == "What got worse since v1.0" and "10000points" in saw["facts"]
    # CPU time of the page, not the clock: opening 10,000 points.
    assert saw["metrics"]["ScriptDuration"] + saw["metrics"]["LayoutDuration"] < 3
    assert re.match(r"\+1[23]\.\d %", saw["worse"][0]) and any(re.match(r"−[56]\.\d %", row) for row in saw["worse"])
    assert any("suspected" in row for row in saw["worse"]) and saw["cards"] == 60 and saw["marks"] >= 4
    assert saw["picked"].startswith("peak RSS of") and saw["points"] == COMMITS
    assert max(saw["canvases"]) > 4 and re.match(r"\d\dccccccc 2026-", saw["readout"])
    assert saw["filtered"] and all(name.startswith("peak RSS of") for name in saw["filtered"])
    assert len(saw["filteredWorse"]) == 1
    assert saw["keyboard"] and saw["unlabelled"] == 0
    assert saw["overflow"] <= 0 and saw["phoneOverflow"] <= 0 and saw["smallTargets"] == [] and saw["cut"] == 0

# SPDX-License-Identifier: Apache-2.0
"""--rows and --columns: every sample has its place, ratios are those of the tables, and what cannot be is one line."""

import re

import fixtures
import pytest
from hzbench import load, model, pivot, stats

PLAN = fixtures.Plan(workloads=("local", "remote"), threads=(1, 2, 4), allocators=("mimalloc", "hz5", "system", "null"))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return fixtures.write_run(tmp_path_factory.mktemp("pivot") / "run.csv", PLAN, with_series=False)


def test_a_table_for_each_workload_and_the_ratios_of_the_tables(file):
    results = load.load([file])
    laid_out = pivot.build(results.data, ["threads"], ["allocator"], model.pick_baseline(results), stats.MARGIN, False)
    assert [table.values for table in laid_out.tables] == [("local",), ("remote",)]
    local = laid_out.tables[0]
    assert local.rows == [(1,), (2,), (4,)] and local.columns == [("mimalloc",), ("hz5",), ("system",)]
    assert sum(len(place.rows) for table in laid_out.tables for place in table.places.values()) == 8 * 3 * 5
    section = next(s for s in model.build(results).sections if s.value("threads") == 2)
    row = next(row for row in section.rows if row.name == "hz5")
    assert local.places[(2,), ("hz5",)].compared["throughput_ops_s"][0] == row.speed


def test_columns_of_one_allocator_are_paired_by_round(file):
    data = load.load([file]).data
    laid_out = pivot.build(data, ["allocator"], ["threads"], "mimalloc", stats.MARGIN, False)
    comparison, verdict = laid_out.tables[0].places[("hz5",), (2,)].compared["throughput_ops_s"]
    assert comparison.paired and comparison.ratio == pytest.approx(1.8, rel=0.05) and verdict == "faster"


def test_text_fits_the_terminal_and_says_what_is_undecided(file, script):
    done = script("tables", file, "--rows=workload", "--columns=threads,allocator")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "") and max(map(len, lines)) <= 80
    assert len([line for line in lines if line.startswith("workload ")]) > 2  # what has no room stands below
    one = script("tables", file, "--rows=threads", "--filter=workload:local").stdout
    assert re.search(r"^M ops/s\nthreads +mimalloc +hz5 +/ mimalloc +system +/ mimalloc\n", one, re.M)
    assert re.search(r"^2 threads +[\d.]+ +[\d.]+ +2\.\d+ +[\d.]+ +0\.3\d+$", one, re.M)
    assert "peak RSS, MiB" in one and " = " not in one
    assert "| 2 threads |" in script("tables", file, "--rows=threads", "--format=markdown").stdout


def test_files_are_columns_of_compare(tmp_path, file, script):
    other = fixtures.write_run(
        tmp_path / "b.csv", fixtures.Plan(**{**vars(PLAN), "run": 2, "speed": {**fixtures.SPEED, "hz5": 300e6}})
    )
    done = script("compare", file, other, "--rows=allocator", "--filter=workload:remote threads:2")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^hz5 +[\d.]+ +[\d.]+ +2\.[5-9]\d$", done.stdout, re.M), done.stdout
    failing = fixtures.write_run(tmp_path / "c.csv", fixtures.Plan(**{**vars(PLAN), "run": 3}), crash)
    assert re.search(
        r"^hz5 +[\d.]+ +failed +-$",
        script("compare", file, failing, "--rows=allocator,threads", "--filter=allocator:hz5 threads:1").stdout.replace(
            ", 1 thread", ""
        ),
        re.M,
    )


def crash(rows):
    for row in rows:
        if row["allocator"] == "hz5":
            row.update(status="crashed", throughput_ops_s="")


@pytest.mark.parametrize(
    "options,why",
    [
        (("--rows=speed",), "there is no key 'speed'"),
        (("--rows=round",), "only --filter takes it"),
        (("--rows=threads", "--columns=threads"), "both name 'threads'"),
        (("--columns=threads,threads",), "names a key twice"),
        (("--rows=threads", "--format=csv"), "are of --format=text and markdown, not csv"),
    ],
)
def test_layouts_that_cannot_be(file, script, options, why):
    done = script("tables", file, *options)
    assert done.returncode == 2 and why in done.stderr and len(done.stderr.splitlines()) == 1

# SPDX-License-Identifier: Apache-2.0
"""scripts/merge: two runs of one plan become one whose rows and verdicts are theirs; whatever else is one line."""

import csv
import json
import os
import subprocess
from pathlib import Path

import fixtures
import pytest
from hzbench import load, model

BUILD = Path(os.environ.get("HZBENCH_BUILD", Path(__file__).resolve().parents[2] / "build"))


def plan(run, **more):
    more = {"threads": (1, 2), "workloads": ("local",), "allocators": ("system", "hz5"), "seed": run, **more}
    return fixtures.Plan(run=run, **more)


def make(directory, name, run, edit=None, **more):
    return fixtures.write_run(directory / f"{name}.csv", plan(run, **more), edit)


def test_two_runs_become_one(tmp_path, script):
    a, b = make(tmp_path, "a", 1, rounds=5), make(tmp_path, "b", 2, rounds=3)
    done = script("merge", a, b, f"--output={tmp_path / 'all.csv'}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 'all.csv'}: 32 samples in 8 rounds of 2 runs\n"
    apart, joined = load.load([a, b]), load.load([tmp_path / "all.csv"])
    assert sorted(joined.data["round"].unique()) == list(range(8)) and joined.data["sample"].is_unique
    measured = ["cell", "name", "throughput_ops_s", "rss_peak"]
    assert joined.data[measured].values.tolist() == apart.data[measured].values.tolist()
    one, other = model.build(apart), model.build(joined)
    for left, right in zip(one.sections, other.sections):
        assert [r.speed for r in left.rows] == [r.speed for r in right.rows]
    series = load.load_series(joined.runs[0])
    assert len(series) == sum(len(load.load_series(run)) for run in apart.runs)
    assert set(series["sample"]) == set(joined.data["sample"])
    record = json.loads((tmp_path / "all.run.json").read_text())
    assert [m["run_id"] for m in record["merged"]] == [run.run_id for run in apart.runs]
    assert (record["plan"]["runs"], record["plan"]["samples"]) == (8, 32)


def other_cells(path):
    record = json.loads(path.read_text())
    record["plan"]["cells"][0]["ops_per_thread"] = 7
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "more,change,why",
    [
        ({"cpu": "Other CPU"}, None, "another machine"),
        ({"build": "b"}, None, "is another build"),
        ({}, other_cells, "another plan than"),
        ({"allocators": ("system", "hz4")}, None, "another plan than"),
        ({"run": 1}, None, "same run as"),
        ({}, lambda path: path.unlink(), "no run.json with a machine beside it"),
    ],
)
def test_what_does_not_belong_together_is_one_line(tmp_path, script, more, change, why):
    a = make(tmp_path, "a", 1)
    b = make(tmp_path, "b", **{"run": 2, **more})
    if change:
        change(tmp_path / "b.run.json")
    before = sorted(p.name for p in tmp_path.iterdir())
    done = script("merge", a, b, f"--output={tmp_path / 'all.csv'}")
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert why in done.stderr and sorted(p.name for p in tmp_path.iterdir()) == before


def test_usage(tmp_path, script):
    a, b = make(tmp_path, "a", 1), make(tmp_path, "b", 2)
    for arguments, why in (
        ((a, f"--output={tmp_path / 'all.csv'}"), "two or more result files"),
        ((a, b, f"--output={a}"), "is there already"),
        ((a, b, "--output=all.txt"), "must be a file name that ends in .csv"),
        ((a, b), "--output"),
    ):
        done = script("merge", *arguments, cwd=tmp_path)
        assert done.returncode == 2 and why in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_runner_does_not_go_on_with_a_joined_file(tmp_path, script):
    command = ["--alloc=null", "--workload=local", "--ops=100", "--settle=0", "--runs=2", "--quiet"]
    for name in ("a", "b"):
        subprocess.run(
            [BUILD / "runner", *command, f"--output={name}.csv"], cwd=tmp_path, check=True, capture_output=True
        )
    assert script("merge", "a.csv", "b.csv", "--output=all.csv", cwd=tmp_path).returncode == 0
    again = subprocess.run(
        [BUILD / "runner", *command, "--output=all.csv"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (
        again.returncode == 2 and "belongs to another plan (scripts/merge a.csv b.csv --output=all.csv)" in again.stderr
    )
    with open(tmp_path / "all.csv", newline="") as file:
        assert [r["round"] for r in csv.DictReader(file)] == ["0", "1", "2", "3"]

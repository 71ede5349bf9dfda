# SPDX-License-Identifier: Apache-2.0
"""runner.exe as a user meets it, under wine: exit codes, rows, provenance, faults, and the same events as on Linux.

HZBENCH_BUILD is the build for Windows; HZBENCH_LINUX_BUILD the one for Linux, which scripts/test names.
"""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ["HZBENCH_BUILD"])
LINUX_BUILD = os.environ.get("HZBENCH_LINUX_BUILD")
RUNNER = [str(ROOT / "scripts" / "wine"), str(BUILD / "runner.exe")]
FAULTS = "Z:" + str(BUILD / "tests" / "windows" / "faults.dll")
SMALL = ("--settle=0", "--rss-interval=0", "--pin=none")
QUICK = ("--workload=local", "--ops=2000", *SMALL)
EVENTS = ("stream_hash", "age_hash", "ops", "remote_frees", "local_frees")

# What keeps a workload small that takes no --ops, or whose objects are large. fleet takes a program's number.
BOUNDS = {
    "churn": "{working-set=100,rounds=20}",
    "phase": "{working-set=100,rounds=20}",
    "bleed": "{working-set=100,rounds=20}",
    "fill-50": "{working-set=2000}",
    "fill-90": "{working-set=2000}",
    "fill-99": "{working-set=2000}",
    "idle": "",
    "fresh": "{ops=50}",
    "grow-double": "{working-set=2,rounds=2}",
    "grow-step": "{working-set=2,rounds=2}",
    "spikes": "{working-set=50,rounds=3}",
    "drift": "{working-set=1000,rounds=5}",
    "values": "{ops=100,working-set=4,sizes=16..64KiB}",
    "pool-turns": "{working-set=200,rounds=2}",
    "sleeping-producer": "{working-set=200,rounds=2}",
    "requests": "{working-set=20,rounds=20}",
    "odd-sizes": "{ops=200,working-set=50}",
    "fleet": ":3{ops=2000}",
    "profile": ":small{ops=2000}",
}
# trace: the recordings are compressed, and the build for Windows has no zstd; app, program: start programs of Linux.
ELSEWHERE = {"trace", "app", "program"}


@pytest.fixture
def run(tmp_path):
    def call(*arguments, program=RUNNER, env=None):
        return subprocess.run(
            [*program, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1200,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
        )

    return call


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_bad_usage_is_one_line_and_exit_2(run):
    done = run("--alloc=hz6")
    assert done.returncode == 2
    assert done.stderr == "runner: unknown allocator 'hz6' - did you mean 'hz3'? (--list-allocators)\n"
    assert run("--alloc=system", "--load=preload").returncode == 2


def test_a_missing_library_is_exit_3(run):
    done = run("--alloc=./absent.dll", *QUICK)
    assert done.returncode == 3 and "./absent.dll: no such file" in done.stderr


def test_a_run_of_all_backends(run, tmp_path):
    done = run(
        "--alloc=null,system,heapapi,hz3,hz4,hz5",
        "--workload=remote",
        "--threads=2",
        "--runs=1",
        "--output=w.csv",
        "--ops=2000",
        "--settle=100ms",
        "--pin=none",
    )
    assert done.returncode == 0, done.stderr
    samples = rows(tmp_path / "w.csv")
    assert len(samples) == 6 and {row["status"] for row in samples} == {"ok"}
    assert {row["platform"] for row in samples} == {"wine"}
    assert len({row["stream_hash"] for row in samples}) == 1
    for row in samples:
        assert 0 < int(row["rss_baseline"]) <= int(row["rss_peak"]) and float(row["throughput_ops_s"]) > 0
        # All threads wait between the two readings; only the sampler may have touched a page.
        assert abs(int(row["windows_working_set_bytes"]) - int(row["rss_work"])) < 2**20
        assert int(row["windows_peak_working_set_bytes"]) > 0
        assert (
            row["windows_private_usage_bytes"]
            == row["cycles"]
            == row["voluntary_switches"]
            == row["minor_faults"]
            == ""
        )  # not measured, never 0
    document = json.loads((tmp_path / "w.run.json").read_text(encoding="utf-8"))
    assert document["machine"]["platform"] == "wine" and document["machine"]["virtualisation"].startswith("wine ")
    assert document["machine"]["pus"] == len(os.sched_getaffinity(0))
    found = {item["allocator"]: item for item in document["allocators"]}
    assert found["system"]["path"].endswith("/" + document["machine"]["libc"] + ".dll")
    for name in ("hz3", "hz4", "hz5"):
        file = BUILD / "allocators" / name / f"{name}.dll"
        assert found[name]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert found[name]["path"] == "Z:" + str(file) and len(found[name]["build_id"]) == 32
    assert all(
        row["library_build_id"] == found[row["allocator"]]["build_id"]
        for row in samples
        if row["allocator"] in "hz3hz4hz5"
    )


def test_resume_repairs_a_cut_row(run, tmp_path):
    command = ("--alloc=null,hz5", "--runs=2", "--output=r.csv", *QUICK)
    assert run(*command).returncode == 0
    whole = (tmp_path / "r.csv").read_bytes()
    (tmp_path / "r.csv").write_bytes(whole[:-40])
    done = run(*command)
    assert done.returncode == 0 and "a row cut in the middle was removed" in done.stderr
    assert len(rows(tmp_path / "r.csv")) == 4
    assert len(json.loads((tmp_path / "r.run.json").read_text(encoding="utf-8"))["sessions"]) == 2


@pytest.mark.parametrize(
    "fault, status, words",
    [
        ("crash", "crashed", "access violation in the"),
        ("hang", "timeout", "no end after 3 s"),
        ("corrupt", "corrupt", "had a wrong byte"),
        ("none", "ok", ""),
    ],
)
def test_a_library_by_its_path_and_its_faults(run, tmp_path, fault, status, words):
    done = run(
        f"--alloc={FAULTS}",
        "--timeout=3s" if fault == "hang" else "--timeout=60s",
        "--runs=1",
        "--output=f.csv",
        *QUICK,
        env={"HZBENCH_FAULT": fault},
    )
    [row] = rows(tmp_path / "f.csv")
    assert row["status"] == status and words in row["message"]
    assert done.returncode == (0 if status == "ok" else 4)


@pytest.mark.skipif(not LINUX_BUILD, reason="HZBENCH_LINUX_BUILD names no build for Linux to compare with")
@pytest.mark.parametrize("seed", [1, 20261124])
def test_events_are_those_of_linux(run, tmp_path, seed):
    linux = [str(Path(LINUX_BUILD) / "runner")]
    listed = run("--list-workloads", program=linux).stdout
    names = [line.split()[0] for line in listed.splitlines() if line and not line[0].isspace()]
    names = [name for name in names if name not in ELSEWHERE]
    assert len(names) >= 34
    shutil.copy(ROOT / "tests" / "traces" / "profiles" / "small", tmp_path)
    workloads = ",".join(name + BOUNDS.get(name, "{ops=2000}") for name in names)
    workloads += ",local{ops=2000,age=drift,age-bytes=200k}"
    command = ("--alloc=hz5", f"--workload={workloads}", "--threads=2", "--runs=1", f"--seed={seed}", *SMALL)
    events = {}
    for name, program in (("linux", linux), ("wine", RUNNER)):
        done = run(*command, f"--output={name}.csv", program=program)
        assert done.returncode == 0, done.stderr
        events[name] = {
            (row["workload"], row["topology"], row["age"], row["round"], row["seed"]): tuple(row[key] for key in EVENTS)
            for row in rows(tmp_path / f"{name}.csv")
        }
    assert len(events["linux"]) == len(names) + 1
    assert all(value[0] for value in events["linux"].values())
    assert events["wine"] == events["linux"]
    with open(tmp_path / "linux.csv", encoding="utf-8") as a, open(tmp_path / "wine.csv", encoding="utf-8") as b:
        assert a.readline() == b.readline()  # one schema


@pytest.mark.skipif(not LINUX_BUILD, reason="HZBENCH_LINUX_BUILD names no build for Linux to compare with")
def test_numbers_of_wine_and_linux_stay_apart(run, tmp_path):
    for name, program in (("linux", [str(Path(LINUX_BUILD) / "runner")]), ("wine", RUNNER)):
        assert run("--alloc=null,hz5", "--runs=1", f"--output={name}.csv", *QUICK, program=program).returncode == 0
    for tool in ("tables", "figures --out=figures", "report --out=report.html", "compare"):
        script, *options = tool.split()
        done = run(*options, "linux.csv", "wine.csv", program=[str(ROOT / "scripts" / script)])
        assert done.returncode == 2 and "another machine or system than" in done.stderr, tool
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".json"}
    assert "mixed-hosts" in run("linux.csv", "wine.csv", program=[str(ROOT / "scripts" / "lint")]).stdout
    assert "Measured under wine" in run("wine.csv", program=[str(ROOT / "scripts" / "tables")]).stdout

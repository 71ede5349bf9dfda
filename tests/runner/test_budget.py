# SPDX-License-Identifier: Apache-2.0
"""What a sample may use: --memory-limit and --cpu-quota, by a control group where one can be made, else by RLIMIT."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from conftest import RUNNER, clean_environment, rows

# Some 20 MiB live, then half as much again.
LIVE = "local{working-set=5000,sizes=4KiB,ops=20k"
QUIET = ("--settle=0", "--rss-interval=0", "--runs=1", "--quiet", "--output=b.csv")


def without_groups():
    """The words before a command that hide all control groups from it; skips where that cannot be done."""
    words = ["unshare", *([] if os.geteuid() == 0 else ["-Ur"]), "-m", "sh", "-c"]
    words += ['mount -t tmpfs none /sys/fs/cgroup && exec "$@"', "sh"]
    if subprocess.run([*words, "true"], capture_output=True).returncode != 0:
        pytest.skip("no mount namespace can be made here, so control groups cannot be hidden")
    return words


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    """Skips where no memory group can be made."""
    told = subprocess.run([RUNNER, "--alloc=null", "--workload=local", "--ops=10", "--runs=1", "--settle=0",
                           "--memory-limit=1GiB"], capture_output=True, text=True, env=clean_environment(),
                          cwd=tmp_path_factory.mktemp("groups"))  # fmt: skip
    if "no memory control group" in told.stderr:
        pytest.skip(told.stderr.strip())


def left_over():
    return [path for path in Path("/sys/fs/cgroup").rglob("hzbench-*") if path.is_dir()]


def run_hidden(tmp_path, *arguments):
    return subprocess.run([*without_groups(), str(RUNNER), *arguments], capture_output=True, text=True, cwd=tmp_path,
                          env=clean_environment(), timeout=120)  # fmt: skip


def test_out_of_memory_by_a_group_is_a_row_and_the_others_follow(groups, run, tmp_path):
    cells = f"{LIVE},memory-limit=8MiB}},{LIVE},memory-limit=64MiB}},{LIVE}}}"
    result = run("--alloc=system,hz5", f"--workload={cells}", *QUIET)
    assert result.code == 4, result.err
    table = {(row["allocator"], row["memory_limit_bytes"]): row for row in rows(tmp_path / "b.csv")}
    assert len(table) == 6
    for (_, limit), row in table.items():
        died = limit == str(8 << 20)
        assert row["status"] == ("out-of-memory" if died else "ok"), row["message"]
        assert row["limited_by"].startswith("memory=cgroup-v") == (limit != "0")
        # What the harness holds does not count: with all of it no sample would have got through.
        if limit == str(64 << 20):
            assert int(row["rss_peak"]) - int(row["rss_baseline"]) < 64 << 20
    killed = table["system", str(8 << 20)]["message"]
    assert killed == "killed by the system in the warm-up: the memory limit of 8192 KiB was used up"
    assert left_over() == []


def test_a_program_and_its_children_have_one_limit(groups, run, tmp_path):
    command = ("--", "/bin/sh", "-c", "python3 -c 'x = bytearray(64 << 20)'; true")
    result = run("--alloc=system", "--memory-limit=32MiB", *QUIET, *command)
    (row,) = rows(tmp_path / "b.csv")
    assert (result.code, row["status"]) == (4, "out-of-memory"), (result.err, row["message"])
    assert left_over() == []


def test_a_quota_is_kept(run, tmp_path):
    result = run("--alloc=null", "--workload=local", "--ops=30M", "--cpu-quota=20%", *QUIET)
    if result.code == 3:
        assert "--cpu-quota: CPU time can be limited only by a cpu control group" in result.err
        pytest.skip(result.err.strip())
    (row,) = rows(tmp_path / "b.csv")
    assert row["cpu_quota_ppm"] == "200000" and row["limited_by"].startswith("cpu=cgroup-v")
    # CPU time against elapsed time of one sample, whatever the machine does: a tenth more is a period at each end.
    used, elapsed = int(row["user_ns"]) + int(row["system_ns"]), int(row["elapsed_ns"])
    assert used < 0.3 * elapsed, (used, elapsed)
    assert left_over() == []


def test_without_groups_memory_is_limited_by_rlimit_in_one_line(tmp_path):
    cells = f"{LIVE},memory-limit=8MiB}},{LIVE},memory-limit=64MiB}}"
    result = run_hidden(tmp_path, "--alloc=system", f"--workload={cells}", "--settle=0", "--runs=1", "--output=b.csv")
    assert result.returncode == 4
    told = [line for line in result.stderr.splitlines() if "--memory-limit" in line]
    assert len(told) == 1 and "RLIMIT_DATA limits memory that is mapped writable" in told[0], result.stderr
    small, large = sorted(rows(tmp_path / "b.csv"), key=lambda row: int(row["memory_limit_bytes"]))
    assert (small["status"], large["status"]) == ("out-of-memory", "ok"), (small["message"], large["message"])
    assert small["message"].startswith("an allocation returned NULL with ")
    assert {small["limited_by"], large["limited_by"]} == {"memory=RLIMIT_DATA"}


def test_without_groups_a_program_has_the_limit_too(tmp_path):
    command = ("--", "python3", "-c", "x = bytearray(64 << 20)")
    result = run_hidden(tmp_path, "--alloc=system", "--memory-limit=32MiB", *QUIET, *command)
    (row,) = rows(tmp_path / "b.csv")
    assert (result.returncode, row["status"]) == (4, "crashed")
    assert "MemoryError" in row["message"] and row["limited_by"] == "memory=RLIMIT_DATA"


def test_without_groups_a_quota_is_refused_in_one_line(tmp_path):
    result = run_hidden(tmp_path, "--alloc=null", "--workload=local", "--cpu-quota=20%", *QUIET)
    assert result.returncode == 3 and not (tmp_path / "b.csv").exists()
    assert len(result.stderr.splitlines()) == 1 and "none can be made here" in result.stderr


def test_bad_limits_and_what_the_plan_says(run):
    for text, wanted in (
        ("--memory-limit=many", "needs one size in bytes, KiB or MiB, such as 64MiB"),
        ("--memory-limit=1..2MiB", "needs one size"),
        ("--cpu-quota=200%", "between 0% and 100%"),
    ):
        result = run("--alloc=null", "--workload=local", text)
        assert result.code == 2 and wanted in result.err, result.err
    plan = run("--alloc=null", "--workload=local", "--memory-limit=64MiB", "--cpu-quota=25%", "--plan")
    assert "memory-limit=64MiB cpu-quota=25%" in plan.out
    program = run("--alloc=null", "--memory-limit=64MiB", "--plan", "--", "true")
    assert "true memory-limit=64MiB" in program.out


def test_the_limit_is_in_the_plan_and_other_limits_are_other_runs(run, tmp_path):
    assert run("--alloc=system", "--workload=local", "--ops=10", "--memory-limit=64MiB", *QUIET).code == 0
    cells = json.loads((tmp_path / "b.run.json").read_text())["plan"]["cells"]
    assert cells[0]["memory_limit_bytes"] == 64 << 20
    assert run("--alloc=system", "--workload=local", "--ops=10", "--memory-limit=32MiB", *QUIET).code == 2

# SPDX-License-Identifier: Apache-2.0
"""A disk that is full, read-only or gone: one line, exit code 3, and nothing measured is lost."""

import os
import subprocess

import pytest

from conftest import QUICK, RUNNER, clean_environment, rows

ADVICE = "make room or fix the path, then resume with the same command"


def test_directory_that_is_not_there(run):
    result = run("--alloc=null", "--workload=local", *QUICK, "--output=nowhere/r.csv")
    assert result.lines == ["runner: nowhere/r.csv: No such file or directory - choose another --output"]
    assert (result.code, result.out) == (3, "")


@pytest.mark.parametrize("name", ["r.csv", "r.rss.csv"])
def test_dev_full(run, tmp_path, name):
    (tmp_path / name).symlink_to("/dev/full")
    result = run("--alloc=null", "--workload=local", *QUICK, "--runs=1", "--output=r.csv")
    assert result.lines == [f"runner: {name}: No space left on device - {ADVICE}"]
    assert (result.code, result.out) == (3, "")


def can_mount():
    mounted = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    return mounted.returncode == 0


@pytest.mark.skipif(not can_mount(), reason="mounting a small tmpfs needs root")
def test_disk_that_fills_up_keeps_whole_rows_and_resumes(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [
        str(RUNNER),
        "--alloc=null",
        "--workload=local",
        *QUICK,
        "--rss-interval=1ms",
        "--fake-clock",
        "--runs=60",
        "--output=disk/r.csv",
    ]
    script = """
        mount -t tmpfs -o size=36k none disk || exit 99
        "$@" >first.out 2>first.err; echo $? >first.code
        cp disk/r.csv first.csv; cp disk/r.rss.csv first.rss.csv
        mount -o remount,size=4m disk || exit 99
        "$@" >second.out 2>second.err; echo $? >second.code
        cp disk/r.csv second.csv; cp disk/r.rss.csv second.rss.csv
        """
    subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *command],
        cwd=tmp_path,
        check=True,
        timeout=120,
        env=clean_environment(),
    )

    def read(name):
        return (tmp_path / name).read_text()

    assert read("first.code") == "3\n"
    assert read("first.err") in (
        f"runner: disk/r.csv: No space left on device - {ADVICE}\n",
        f"runner: disk/r.rss.csv: No space left on device - {ADVICE}\n",
    )
    first = rows(tmp_path / "first.csv")
    assert 0 < len(first) < 60
    assert read("first.csv").endswith("\n") and read("first.rss.csv").endswith("\n")
    assert {p["sample"] for p in rows(tmp_path / "first.rss.csv")} == {r["sample"] for r in first}
    assert f"Incomplete: {len(first)} of 60 samples." in read("first.out")
    assert read("second.code") == "0\n"
    assert read("second.csv").startswith(read("first.csv"))
    assert [int(r["sample"]) for r in rows(tmp_path / "second.csv")] == list(range(60))


def test_a_pipe_takes_rows_and_is_never_resumed(tmp_path):
    os.mkfifo(tmp_path / "r.csv")
    reader = subprocess.Popen(["cat", "r.csv"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    process = subprocess.run(
        [str(RUNNER), "--alloc=null", "--workload=local", *QUICK, "--runs=2", "--output=r.csv"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=60,
    )
    out, _ = reader.communicate(timeout=30)
    assert (process.returncode, process.stderr) == (0, "")
    assert len(out.splitlines()) == 3

# SPDX-License-Identifier: Apache-2.0
"""Shared set-up of the tests of scripts/cluster: the command, a small matrix, and what its rows must be."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
RUNNER = Path(os.environ.get("HZBENCH_BUILD") or ROOT / "build") / "runner"
sys.path.insert(0, str(SCRIPTS))
sys.dont_write_bytecode = True

# Two tasks when none need be longer than a second.
MATRIX = """# two lines, three cells of two allocators
--alloc=hz5,system --workload=local{ops=200k},remote{ops=20k} --threads=1,2 --runs=6 --settle=0
"""
SMALL = ["--minutes=0.01", "--retries=0"]


def call_in(folder, *arguments, env=None, timeout=400):
    """Runs scripts/cluster in the folder."""
    return subprocess.run(
        [SCRIPTS / "cluster", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=folder,
        env={**os.environ, "BUILD_DIR": str(RUNNER.parent), **(env or {})},
    )


@pytest.fixture
def cluster(tmp_path):
    """scripts/cluster in a directory of its own, which has a matrix."""
    (tmp_path / "matrix").write_text(MATRIX)

    def call(*arguments, **more):
        return call_in(tmp_path, *arguments, **more)

    return call


def measured(folder):
    """What each row below `folder` is, but for what was found: the same in every run of a plan."""
    found = set()
    for path in sorted(folder.rglob("*.csv")):
        if path.name.endswith(".rss.csv"):
            continue
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                names = (
                    "allocator",
                    "workload",
                    "threads",
                    "ops_per_thread",
                    "round",
                    "order",
                    "seed",
                    "stream_hash",
                    "status",
                )
                key = tuple(row[name] for name in names)
                assert key not in found, f"{path}: twice: {key}"
                found.add(key)
    return found


@pytest.fixture
def eventually():
    """Waits until `ask` says something true; the limit is for a test that would hang, not a speed that is asserted."""

    def wait(ask, what, seconds=400):
        for _ in range(seconds * 5):
            answer = ask()
            if answer:
                return answer
            time.sleep(0.2)
        raise AssertionError(f"waited in vain: {what}")

    return wait


def processes_of(folder):
    """Processes whose environment or arguments name the folder, but this one and its parents."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in (os.getpid(), os.getppid()):
            continue
        try:
            told = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in told:
            found.append(int(entry.name))
    return found


def kill_all(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

# SPDX-License-Identifier: Apache-2.0
"""Shared set-up of the runner's tests: the built runner, and small libraries that misbehave on purpose."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("HZBENCH_BUILD", HERE.parents[1] / "build"))
RUNNER = BUILD / "runner"

# Small, quick and without the second of settling that only memory rows need.
QUICK = ("--ops=2000", "--settle=0", "--rss-interval=0")


def clean_environment(extra=None):
    # What run.json records of the environment; meson sets LD_LIBRARY_PATH for tests that depend on libraries.
    drop = (
        "MALLOC_",
        "MIMALLOC_",
        "TCMALLOC_",
        "HZ3_",
        "HZ4_",
        "HZ5_",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "GLIBC_TUNABLES",
    )
    return {**{k: v for k, v in os.environ.items() if not k.startswith(drop)}, **(extra or {})}


class Result:
    def __init__(self, process):
        self.code = process.returncode
        self.out = process.stdout
        self.err = process.stderr
        self.lines = process.stderr.splitlines()


@pytest.fixture
def run(tmp_path):
    """Runs the runner in a directory of its own; stderr is a pipe."""

    def call(*arguments, env=None, timeout=120, program=RUNNER):
        return Result(
            subprocess.run(
                [str(program), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                cwd=tmp_path,
                env=clean_environment(env),
            )
        )

    return call


@pytest.fixture
def start(tmp_path):
    """Starts the runner and leaves it running; whatever is left of it is killed after the test."""
    started = []

    def call(*arguments, stderr=subprocess.PIPE):
        process = subprocess.Popen(
            [str(RUNNER), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=tmp_path,
            env=clean_environment(),
        )
        started.append(process)
        return process

    yield call
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def fake(tmp_path):
    """Builds ./libNAME.so from fake_allocator.c with one fault, or from a source text."""

    def build(name, fault=None, source=None):
        path = tmp_path / f"lib{name}.so"
        text = tmp_path / f"{name}.c"
        if source is not None:
            text.write_text(source)
        else:
            text = HERE / "fake_allocator.c"
        command = [
            "cc",
            "-std=gnu11",
            "-D_GNU_SOURCE",
            "-O1",
            "-fno-builtin",
            "-shared",
            "-fPIC",
            "-o",
            str(path),
            str(text),
        ]
        subprocess.run(command + ([f"-DFAULT=fault_{fault}"] if fault else []), check=True, timeout=60)
        return f"./lib{name}.so"

    return build


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def children_of(pid):
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []

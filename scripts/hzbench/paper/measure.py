# SPDX-License-Identifier: Apache-2.0
"""Runs what paper.toml lists: one runner command a run, resumable, the exact counts beside them."""

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from ..errors import InputError
from .spec import ROOT, Spec

ROUNDS = {"quick": 6, "full": 12}  # 6 are what a rank test needs to reach 5 %
SETTINGS = ("--settle=100ms", "--rss-interval=20ms", "--keep-going")


def commands(spec: Spec, build: str | Path, out: str | Path, rounds: int) -> list[tuple[str, list[str]]]:
    """[(run id, command)]"""
    runner = Path(build) / "runner"
    return [
        (run.id, [str(runner), f"--alloc={run.allocators}", f"--workload={run.workloads}", f"--threads={run.threads}",
                  f"--runs={rounds}", *SETTINGS, f"--output={Path(out) / run.id}.csv"])
        for run in spec.runs.values()
    ]  # fmt: skip


def estimate(spec: Spec, build: str | Path, out: str | Path, rounds: int) -> list[str]:
    """Lines of the runner's own plans: cells, samples and expected time of each run."""
    lines = []
    for run, command in commands(spec, build, out, rounds):
        done = subprocess.run([*command, "--plan"], capture_output=True, text=True, check=False)
        lines.append(f"{run}: {(done.stdout.strip().splitlines() or [done.stderr.strip()])[-1]}")
    return lines


def measure(spec: Spec, build: str | Path, out: str | Path, rounds: int, only: Collection[str] | None = None) -> int:
    """Returns the worst exit code that still leaves results (0, 3 or 4); raises for anything else."""
    if not (Path(build) / "runner").exists():
        raise InputError(f"{build}/runner not found; build first: meson setup {build} && ninja -C {build}")
    for name in only or ():
        if name not in spec.runs:
            raise InputError(f"no run '{name}' in paper/paper.toml; there are {', '.join(spec.runs)}")
    Path(out).mkdir(parents=True, exist_ok=True)
    worst = 0
    todo = [(run, command) for run, command in commands(spec, build, out, rounds) if not only or run in only]
    for number, (run, command) in enumerate(todo, 1):
        print(f"paper: run {number} of {len(todo)}: {run}", file=sys.stderr, flush=True)
        code = subprocess.run(
            command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd=ROOT, check=False
        ).returncode
        if code == 130:
            raise KeyboardInterrupt
        if code not in (0, 3, 4):
            raise InputError(
                f"run '{run}' ended with exit code {code} (its reason stands above); the same command resumes"
            )
        worst = max(worst, code)
    return worst

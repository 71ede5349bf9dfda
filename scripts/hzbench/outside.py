# SPDX-License-Identifier: Apache-2.0
"""Does a loop that shares nothing with the runner see the same ratios? tests/outside/bare.c on each allocator, beside
the runner's own workloads of the same sizes, shares and number of live objects."""

import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from . import cli, harness, instructions, load, model, stats, tables, text
from .allocators import NULL
from .errors import GATE_FAILED, OK, InputError

ROOT = Path(__file__).resolve().parents[2]
PAIRS = {"local": [("hz3", "tcmalloc")], "remote": [("hz4", "tcmalloc"), ("hz4", "mimalloc")]}
THREADS = {"local": 1, "remote": 2}
OPS = {"local": 10_000_000, "remote": 4_000_000}  # of a thread, some tenths of a second
SLOPE_OPS = 20_000
SLOPE_TOLERANCE = 0.05  # sizes are drawn by another generator


@dataclass(frozen=True)
class Check:
    """One pair: how many times as fast the first is in the bare loop, and in the runner."""

    workload: str
    one: str
    other: str
    bare: stats.Comparison
    printed: stats.Comparison
    without: stats.Comparison | None  # the runner's ratio without the harness, where subtraction is sound

    @property
    def holds(self) -> bool:
        """The bare loop draws sizes and slots too, but less than the runner does: its ratio lies between the printed
        one and the one without the harness, as far as their intervals go. Where there is none without, it lies on the
        same side of 1 as the printed one and no nearer to 1."""
        if self.without is not None:
            low, high = min(self.printed.low, self.without.low), max(self.printed.high, self.without.high)
            return self.bare.low <= high and low <= self.bare.high
        printed, bare = math.log(self.printed.ratio), math.log(self.bare.ratio)
        nearest = self.printed.low if printed > 0 else self.printed.high
        reached = self.bare.high if printed > 0 else self.bare.low
        return printed * bare > 0 and abs(math.log(reached)) >= abs(math.log(nearest))


def _rows(results: load.Results, name: str) -> pd.DataFrame:
    rows = results.data[results.data["name"] == name]
    failure = model.failure_text(rows) if len(rows) else "no sample"
    if failure:
        raise InputError(f"{results.runs[0].path}: {name}: {failure}")
    return rows


def _ratio(results: load.Results, one: str, other: str) -> stats.Comparison:
    new, old, _ = model.paired(_rows(results, one), _rows(results, other), "throughput_ops_s")
    found = stats.compare_paired(new, old)
    if found is None:
        raise InputError(f"{results.runs[0].path}: no round in which both {one} and {other} were measured")
    return found


def checks(bare: str | Path, runner: str | Path, workload: str) -> list[Check]:
    """The pairs of a workload, from a run of `hzrun bench` on the bare loop and one of the runner with null."""
    outside, inside = load.load([bare]), load.load([runner])
    null = _rows(inside, NULL)
    return [
        Check(
            workload,
            one,
            other,
            _ratio(outside, one, other),
            _ratio(inside, one, other),
            harness.without(_rows(inside, one), _rows(inside, other), null),
        )
        for one, other in PAIRS[workload]
    ]


def _told(c: stats.Comparison | None) -> str:
    return text.estimate(c.ratio, c.low, c.high) if c else text.MISSING


def render(found: Sequence[Check]) -> str:
    """The table of all pairs."""
    head = ["speed of", "bare loop", "runner", "without harness", ""]
    rows = [
        [f"{c.one} / {c.other}, {c.workload}", _told(c.bare), _told(c.printed), _told(c.without),
         "holds" if c.holds else "DIFFERS"] for c in found
    ]  # fmt: skip
    return "\n".join(tables.grid(head, rows, [False, True, True, True, False])) + "\n"


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise InputError(f"{Path(command[0]).name} ended with {done.returncode}{': ' + said[-1] if said else ''}", 4)


def measure(build: Path, rounds: int, out: Path) -> list[Check]:
    """Runs both on this machine, into `out`."""
    found = []
    for workload, pairs in PAIRS.items():
        names = list(dict.fromkeys(name for one, other in pairs for name in (other, one)))
        bare, runner = out / f"bare-{workload}.csv", out / f"runner-{workload}.csv"
        alloc = f"--alloc={','.join(names)}"
        loop = [str(build / "tests/outside/bare"), workload, str(OPS[workload])]
        _run([build / "hzrun", "bench", alloc, f"--runs={rounds}", f"--output={bare}", "--", *loop])
        cell = f"--workload={workload}{{ops={OPS[workload]}}}"
        more = [f"--threads={THREADS[workload]}", f"--runs={rounds}", f"--output={runner}", "--quiet"]
        _run([build / "runner", f"{alloc},{NULL}", cell, *more])
        found += checks(bare, runner, workload)
    return found


def bare_cost(bare: Path, library: Path) -> float:
    """Instructions an object's life in the allocator's object in the bare loop `local`, as a slope over two lengths."""
    counts = []
    for ops in (SLOPE_OPS, 2 * SLOPE_OPS):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "callgrind.out"
            command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", str(bare), "local", str(ops)]
            # valgrind itself must not run on it: it passes the variable on to the program only.
            environment = {**os.environ, "LD_PRELOAD": str(library)}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            if done.returncode != 0:
                raise InputError(f"{bare} on {library} ended with {done.returncode} under valgrind", 4)
            costs = instructions.parse_callgrind(out.read_text(encoding="utf-8", errors="replace"))
            counts.append(instructions.library_costs(costs, os.path.realpath(library)))
    return (counts[1] - counts[0]) / SLOPE_OPS


def runner_cost(runner: Path, name: str) -> float:
    """The same in the runner's workload `local`."""
    counts = []
    for ops in (SLOPE_OPS, 2 * SLOPE_OPS):
        sample = instructions.run_workload(runner, name, "local", 1, f"ops={ops}")
        if sample is None:
            raise InputError(f"local: the runner refuses ops={ops}", 4)
        counts.append(sample[0])
    return (counts[1] - counts[0]) / SLOPE_OPS


def check_instructions(build: Path, names: Sequence[str]) -> int:
    """Exit code of --instructions: 1 when an allocator does other work in the runner's local than in the bare loop."""
    print("allocator  bare  runner  instructions an object")
    failed = False
    for name in names:
        bare = bare_cost(build / "tests/outside/bare", build / f"allocators/{name}/lib{name}.so")
        inside = runner_cost(build / "runner", name)
        failed |= abs(bare - inside) > SLOPE_TOLERANCE * inside
        print(f"{name:9} {bare:5.1f} {inside:7.1f}", flush=True)
    return GATE_FAILED if failed else OK


def main(argv: list[str]) -> int:
    """`scripts/outside-check`."""
    parser = cli.Parser("scripts/outside-check", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12, metavar="N", help="of each (default 12: about 3 minutes)")
    parser.add_argument("--out", metavar="DIR", help="keep the result files there")
    parser.add_argument("--build", type=Path, default=ROOT / "build", metavar="DIR")
    parser.add_argument("--instructions", action="store_true", help="count instead: what each does for an object")
    options = parser.parse_args(argv)
    build = options.build.resolve()
    if not (build / "tests/outside/bare").exists():
        raise InputError(
            f"{build}/tests/outside/bare not found - build first (scripts/quickstart or ninja -C build)", 3
        )
    if options.instructions:
        if shutil.which("valgrind") is None:
            raise InputError("valgrind not found. Debian: apt-get install valgrind", 3)
        return check_instructions(build, ("hz3", "hz4", "hz5"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(options.out or folder)
        out.mkdir(parents=True, exist_ok=True)
        found = measure(build, options.rounds, out)
    sys.stdout.write(render(found))
    return OK if all(c.holds for c in found) else GATE_FAILED

# SPDX-License-Identifier: Apache-2.0
"""Executed instructions per malloc and per free, counted by callgrind.

The same program runs with N and with 2N rounds; the difference of what the allocator's own object executed, divided by
the operations in between, has start-up cancelled and is exact: callgrind counts, it does not sample, and a loaded
machine changes nothing. Instructions of the driver, of the C library and of the dynamic linker are not in the figure.
"""

import csv
import json
import math
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from . import cli
from .allocators import LIBC, PEER, named
from .errors import GATE_FAILED, OK, InputError

ROUNDS = {"local": 2000, "remote": 8}
OPS_A_ROUND = {"local": 4, "remote": 4096}
SIZES = (16, 64, 256, 1024, 4096, 16384, 65536)

Costs: TypeAlias = dict[tuple[str, str], int]  # (object, function): instructions
Table: TypeAlias = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]  # allocator, pattern, size, what
Workloads: TypeAlias = Mapping[str, Mapping[str, tuple[int, float]]]  # allocator, workload: (threads, instructions)


def parse_callgrind(text: str) -> Costs:
    """Exclusive instruction counts: {(object, function): count}."""
    names: dict[str, dict[str, str]] = {"ob": {}, "fn": {}}
    costs: Costs = {}
    current = {"ob": "", "fn": ""}
    skip = False
    header = re.compile(r"^(ob|fn)=\((\d+)\)(?: (.*))?$")
    cost = re.compile(r"^[+\-*\d]\S* (\d+)$")
    callee = re.compile(r"^c(ob|fn)=\((\d+)\)(?: (.*))?$")
    for line in text.splitlines():
        match = header.match(line) or callee.match(line)
        if match:
            kind, number, name = match.groups()
            if name is not None:
                names[kind][number] = name
            if not line.startswith("c"):
                current[kind] = names[kind][number]
        elif line.startswith("calls="):
            skip = True  # the next line is the inclusive cost of the call
        elif (match := cost.match(line)) is not None:
            if not skip:
                key = (current["ob"], current["fn"])
                costs[key] = costs.get(key, 0) + int(match.group(1))
            skip = False
    return costs


def run(budget: Path, allocator: str, pattern: str, size: int, rounds: int) -> Costs:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        # Fair scheduling keeps the two threads of `remote` in step; nothing else may write into the file.
        command = [
            "valgrind",
            "--tool=callgrind",
            "--fair-sched=yes",
            f"--callgrind-out-file={out}",
            str(budget),
            allocator,
            pattern,
            str(size),
            str(rounds),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.startswith("budget: ")]
            raise InputError(
                said[-1].removeprefix("budget: ") if said else f"{allocator}: the driver ended with {done.returncode}",
                3 if done.returncode == 3 else 4,
            )
        return parse_callgrind(out.read_text(encoding="utf-8", errors="replace"))


# Backends that export a table and no malloc: all of their object is counted, malloc and free not apart.
TABLE_ONLY = {"faulty": "libhzfaulty.", "faulty-hz5": "hzfaulty_hz5", "null": "hznull"}


def table_costs(costs: Costs, library: str) -> tuple[float, float, float] | None:
    """The same three figures for such a backend; the first two are not known."""
    total = sum(n for (ob, _), n in costs.items() if library in Path(ob).name)
    return (math.nan, math.nan, total) if total else None


def object_costs(costs: Costs, is_malloc: str) -> tuple[float, float, float] | None:
    """Instructions of the object that holds the allocator's malloc: (in malloc, in free, all)."""
    objects = {ob for (ob, fn) in costs if fn == is_malloc or fn.startswith(is_malloc + ".")}
    objects.discard("")
    # The driver and the dynamic linker have functions of that name too; the allocator's is the one called most.
    best = max(
        objects, key=lambda ob: sum(n for (o, fn), n in costs.items() if o == ob and fn == is_malloc), default=None
    )
    if best is None:
        return None
    total = {name: sum(n for (ob, fn), n in costs.items() if ob == best and fn == name) for name in ("malloc", "free")}
    return total["malloc"], total["free"], sum(n for (ob, _), n in costs.items() if ob == best)


def measure(budget: Path, allocator: str, pattern: str, size: int) -> dict[str, float]:
    """Instructions an operation: {"malloc", "free", "pair"}; free and malloc are exclusive of what they call."""
    rounds = ROUNDS[pattern]
    library = TABLE_ONLY.get(re.split("{", allocator)[0])
    once, twice = (
        table_costs(costs, library) if library else object_costs(costs, "malloc")
        for costs in (run(budget, allocator, pattern, size, n) for n in (rounds, 2 * rounds))
    )
    if once is None or twice is None:
        raise InputError(f"{allocator}: no function called malloc in the profile (stripped library?)", 3)
    ops = rounds * OPS_A_ROUND[pattern]
    malloc, free, pair = ((b - a) / ops for a, b in zip(once, twice))
    return {"malloc": round(malloc, 2), "free": round(free, 2), "pair": round(pair, 2)}


# Functions that callgrind ascribes to no object when the library gives them a section of its own, as tcmalloc does.
MALLOC_FAMILY = ("malloc", "free", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign")


def library_costs(costs: Costs, library: str) -> int:
    """Instructions executed in the library, a resolved path; the process must have no other malloc of unknown
    object."""
    return sum(n for (ob, fn), n in costs.items()
               if (fn in MALLOC_FAMILY if ob in ("", "???") else os.path.realpath(ob) == library))  # fmt: skip


# What makes a workload twice as long: the first of these that the runner takes for it, with the shorter value.
LENGTHS = (("ops", 4000), ("rounds", 4), ("working-set", 4000))


def run_sample(
    runner: Path, allocator: str, spec: str, threads: int, *options: str
) -> tuple[dict[str, str], list[Costs]] | None:
    """The row of one sample under callgrind with these options, and the counts of each process of the run; None when
    the runner refuses the plan."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        command = [
            "valgrind",
            "--tool=callgrind",
            "--fair-sched=yes",
            "--trace-children=yes",
            *options,
            f"--callgrind-out-file={folder}/callgrind.%p",
            str(runner),
            f"--alloc={allocator}",
            f"--workload={spec}",
            f"--threads={threads}",
            "--runs=1",
            "--settle=0",
            "--rss-interval=0",
            "--pin=none",
            "--timeout=600s",
            f"--output={folder}/sample.csv",
            "--quiet",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 2:
            return None
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if not line.startswith("==")]
            raise InputError(
                f"{allocator}, {spec}: the runner ended with {done.returncode}{': ' + said[-1] if said else ''}", 4
            )
        with open(folder / "sample.csv", encoding="utf-8", newline="") as file:
            row = next(csv.DictReader(file))
        profiles = folder.glob("callgrind.*")
        return row, [parse_callgrind(p.read_text(encoding="utf-8", errors="replace")) for p in profiles]


def run_workload(runner: Path, allocator: str, workload: str, threads: int, length: str) -> tuple[int, int] | None:
    """Instructions of the allocator's object and objects served in one sample of a workload; None when the runner
    refuses."""
    spec = workload[:-1] + "," + length + "}" if workload.endswith("}") else workload + "{" + length + "}"
    sample = run_sample(runner, allocator, spec, threads)
    if sample is None:
        return None
    row, profiles = sample
    library = os.path.realpath(row["library_path"])
    return sum(library_costs(costs, library) for costs in profiles), int(row["ops"])


def measure_workload(runner: Path, allocator: str, workload: str, threads: int = 1) -> float:
    """Instructions an object's life in the allocator's object, as a slope over two lengths of a workload of the
    runner."""
    for name, value in LENGTHS:
        once, twice = (run_workload(runner, allocator, workload, threads, f"{name}={n}") for n in (value, 2 * value))
        if once is not None and twice is not None:
            return round((twice[0] - once[0]) / (twice[1] - once[1]), 2)
    raise InputError(
        f"'{workload}' takes none of {', '.join(n for n, _ in LENGTHS)}, so it has no slope (runner --list-workloads)",
        2,
    )


# What the harness may cost on `null`, whose own instructions are among them, and the length it is counted over. The
# hand-over rings hold 1,024 words, so that shorter runs would mostly count how the two threads take turns.
HARNESS_BUDGETS = {("local", 1): 40, ("remote", 2): 60}
HARNESS_LENGTH = 20000
HARNESS_TRIES = 6


def harness_sample(runner: Path, workload: str, threads: int, ops: int) -> tuple[int, int]:
    """Instructions of all objects in the measured part of one sample on `null`, and its operations."""
    sample = run_sample(runner, "null", f"{workload}{{ops={ops}}}", threads, "--toggle-collect=workload_measured")
    if sample is None:
        raise InputError(f"{workload}: the runner refuses ops={ops}", 4)
    row, profiles = sample
    served = int(row["ops"])
    # The run's other workers execute next to nothing there, or a fixed number of operations that is far above.
    totals = [sum(costs.values()) for costs in profiles]
    return min(total for total in totals if total > served), served


def harness_cost(runner: Path, workload: str, threads: int) -> float:
    """Instructions an operation of the harness and `null` in the measured part, as a slope over two lengths."""
    once, twice = (harness_sample(runner, workload, threads, n) for n in (HARNESS_LENGTH, 2 * HARNESS_LENGTH))
    return round((twice[0] - once[0]) / (twice[1] - once[1]), 2)


def check_harness(runner: Path) -> int:
    """Exit code of --harness: 1 when a budget is exceeded."""
    print(f"{'workload':10} threads  instructions  budget")
    failed = False
    for (workload, threads), budget in HARNESS_BUDGETS.items():
        # Two threads now and then wait for each other, which is no work on an object: the least of some counts.
        cost = math.inf
        for _ in range(HARNESS_TRIES):
            cost = min(cost, harness_cost(runner, workload, threads))
            if cost <= budget:
                break
        print(f"{workload:10} {threads:7} {cost:13.2f} {budget:7}", flush=True)
        failed |= cost > budget
    return GATE_FAILED if failed else OK


def render_workloads(result: Workloads) -> str:
    lines = [f"{'allocator':20} {'workload':32} threads  instructions an object"]
    for name, workloads in result.items():
        for workload, (threads, count) in workloads.items():
            lines.append(f"{name:20} {workload:32} {threads:7} {count:23.2f}")
    return "\n".join(lines)


def table(budget: Path, allocators: Sequence[str], patterns: Sequence[str], sizes: Sequence[int]) -> Table:
    return {
        name: {pattern: {str(size): measure(budget, name, pattern, size) for size in sizes} for pattern in patterns}
        for name in allocators
    }


def render(result: Table) -> str:
    lines = ["allocator            pattern   bytes   malloc     free     pair"]
    for name, patterns in result.items():
        for pattern, sizes in patterns.items():
            for size, cell in sizes.items():
                lines.append(
                    f"{name:20} {pattern:7} {size:>7} {cell['malloc']:8.2f} {cell['free']:8.2f} {cell['pair']:8.2f}"
                )
    return "\n".join(lines)


def differences(golden: Table, now: Table) -> Iterator[str]:
    """Cells that differ: local counts must be equal to the instruction, remote ones (slow paths, two threads) within 3
    %."""
    for name, patterns in golden.items():
        for pattern, sizes in patterns.items():
            for size, cell in sizes.items():
                for what, expected in cell.items():
                    got = now[name][pattern][size][what]
                    slack = 0 if pattern == "local" else max(0.5, 0.03 * expected)
                    if abs(got - expected) > slack:
                        yield f"{name} {pattern} {size} B {what}: {got} instructions, the reviewed figure is {expected}"


def main(argv: list[str]) -> int:
    parser = cli.Parser("scripts/instructions", description=__doc__.splitlines()[0])
    parser.add_argument("--alloc", default=",".join(["hz5", *named(PEER, LIBC)]), help="backends, comma separated")
    parser.add_argument("--pattern", default="local,remote")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--workload", help="count in workloads of the runner instead: local, 'mixed{aligned=0%%}', ...")
    parser.add_argument("--threads", type=int, default=1, help="of --workload; a single thread is exact")
    parser.add_argument("--harness", action="store_true", help="count the harness on null; exit 1 above its budgets")
    parser.add_argument("--budget", type=Path, help="the driver (default: build/tests/budget/budget)")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--check", type=Path, help="compare with reviewed figures; exit 1 when one differs")
    args = parser.parse_args(argv)
    if shutil.which("valgrind") is None:
        raise InputError("valgrind not found. Debian: apt-get install valgrind", 3)
    budget = args.budget or Path(__file__).resolve().parents[2] / "build/tests/budget/budget"
    if not budget.exists():
        raise InputError(f"{budget} not found - build first (scripts/quickstart or ninja -C build)", 3)
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=16384")
    if args.harness:
        return check_harness(budget.resolve().parents[2] / "runner")
    if args.workload:
        runner = budget.parents[2] / "runner"
        # Commas within braces belong to one workload.
        workloads = re.findall(r"[^,{]+(?:\{[^}]*\})?", args.workload)
        counted = {
            a: {w: (args.threads, measure_workload(runner, a, w, args.threads)) for w in workloads}
            for a in re.findall(r"[^,{]+(?:\{[^}]*\})?", args.alloc)
        }
        print(render_workloads(counted))
        if args.json:
            args.json.write_text(json.dumps(counted, indent=1) + "\n", encoding="utf-8")
        return OK
    golden: Table = {}
    if args.check:
        golden = json.loads(args.check.read_text(encoding="utf-8"))
        now: Table = {
            name: {
                pattern: {size: measure(budget, name, pattern, int(size)) for size in sizes}
                for pattern, sizes in patterns.items()
            }
            for name, patterns in golden.items()
        }
    else:
        now = table(budget, args.alloc.split(","), args.pattern.split(","), [int(s) for s in args.sizes.split(",")])
    print(render(now))
    if args.json:
        args.json.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    if args.check:
        wrong = list(differences(golden, now))
        for line in wrong:
            print(line)
        return GATE_FAILED if wrong else OK
    return OK

# SPDX-License-Identifier: Apache-2.0
"""Throughput against threads on a large machine, from counts: instructions and travelling lines of scripts/coherence,
and the published cost of one transfer.

    time of an operation (ns) = instructions x ns an instruction + moves x ns a move

ns an instruction is calibrated on each allocator's single-thread throughput; ns a move is that of a published
microbenchmark, averaged over all pairs of the cores in use, filled one socket after the other. The model leaves out
waiting for a line that others want too, memory-level parallelism, misses that are no transfers, and bandwidth; so every
prediction is held against measured ratios first, and where those are missed, the answer is "no prediction".
"""

import csv
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from . import allocators, cli, coherence, errors

TOLERANCE = 0.25  # of a predicted ratio against a measured one, from which on there is no prediction
THREADS = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192)
MEASURED_KEYS = ("workload", "threads", "allocator", "topology", "remote_ppm", "min_bytes", "max_bytes", "working_set",
                 "receiver", "touch", "sizes", "duration_ns", "realloc_ppm", "age")  # fmt: skip

Row: TypeAlias = Mapping[str, Any]
Speeds: TypeAlias = dict[tuple[str, int], float]  # by allocator and threads: operations a second, of all threads


@dataclass(frozen=True)
class Machine:
    """What one transfer costs, in ns: between cores that share a cache, of one socket, of two."""

    name: str
    cache_cores: int
    socket_cores: int
    sockets: int
    within_cache: float
    within_socket: float
    across: float
    source: str

    def cost(self, threads: int) -> float:
        """Mean over all pairs of the cores in use."""
        if threads < 2:
            return 0.0
        sums = 0.0
        for core in range(1, threads):  # pairs with core 0 and, by symmetry, with any other
            if core < self.cache_cores:
                sums += self.within_cache
            elif core < self.socket_cores:
                sums += self.within_socket
            else:
                sums += self.across
        return sums / (threads - 1)


LATENCIES = "github.com/nviennot/core-to-core-latency, README"
MACHINES = {
    machine.name: machine
    for machine in (
        Machine("epyc-7r13", 8, 48, 2, 23, 107, 197, f"{LATENCIES}: AMD EPYC 7R13 (Milan), medians"),
        # The cores of a Genoa socket as AMD sells them to this cloud; its costs are those of the closest published one.
        Machine("epyc-9r14", 8, 96, 2, 23, 107, 197, f"{LATENCIES}: AMD EPYC 7R13 (the 9R14 is not listed)"),
        Machine("xeon-8375c", 32, 32, 2, 51, 51, 108, f"{LATENCIES}: Intel Xeon Platinum 8375C, medians"),
    )
}  # fmt: skip

# Larson, `./larson 5 8 1000 5000 100 4141 THREADS`, 192 cores of AMD EPYC 9R14, millions a second.
PUBLIC_SOURCE = "github.com/emeryberger/Hoard/pull/94"
PUBLIC = {
    "mimalloc": {64: 1453, 128: 2810, 192: 3343},
    "jemalloc": {64: 1172, 128: 2151, 192: 2464},
    "system": {64: 939, 128: 1578, 192: 1488},
}


@dataclass(frozen=True)
class Counts:
    """Of one allocator in one workload: instructions and moves an operation, by threads."""

    instructions: dict[int, float]
    moves: dict[int, float]

    def at(self, threads: int) -> tuple[float, float]:
        """Between counted thread counts on a line over their logarithms; beyond them as at the nearest."""
        return _between(self.instructions, threads), _between(self.moves, threads)

    def ns(self, threads: int, per_instruction: float, machine: Machine) -> float:
        instructions, moves = self.at(threads)
        return instructions * per_instruction + (moves * machine.cost(threads) if threads > 1 else 0)


def _between(known: Mapping[int, float], threads: int) -> float:
    below = max((t for t in known if t <= threads), default=min(known))
    above = min((t for t in known if t >= threads), default=max(known))
    if below >= above:
        return known[below]
    share = math.log(threads / below) / math.log(above / below)
    return known[below] + share * (known[above] - known[below])


def read_counts(rows: Iterable[Row], workload: str) -> dict[str, Counts]:
    """Means over seeds; null, which is no competitor, left out."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        if row["workload"] == workload and row["allocator"] != allocators.NULL:
            groups.setdefault((row["allocator"], int(row["threads"])), []).append(row)
    counts: dict[str, Counts] = {}
    for (name, threads), group in groups.items():
        own = counts.setdefault(name, Counts({}, {}))
        own.instructions[threads] = statistics.fmean(float(r["instructions"]) for r in group)
        own.moves[threads] = statistics.fmean(float(r["moves"]) for r in group)
    if not counts:
        raise errors.InputError(f"no row of the counts is of the workload '{workload}'", errors.USAGE)
    return counts


def without_preparation(counts: Mapping[str, Counts], alone: Mapping[str, Counts]) -> dict[str, Counts]:
    """What one thread moves comes from the harness's main thread, which prepares the memory before the clock starts."""
    moves_alone = {name: own.moves.get(1, 0.0) for name, own in alone.items()}
    return {
        name: Counts(own.instructions, {t: max(0.0, m - moves_alone.get(name, 0.0)) for t, m in own.moves.items()})
        for name, own in counts.items()
    }


def read_measured(paths: Sequence[Path], workload: str) -> Speeds:
    """Median throughput of rows of the runner that are of this workload, whose parameters all agree."""
    name, _, rest = workload.partition("{")
    wanted = dict(pair.split("=") for pair in rest.rstrip("}").split(",") if pair)
    speeds: dict[tuple[str, int], list[float]] = {}
    kinds = set()
    for path in paths:
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["workload"] != name or row["status"] != "ok":
                    continue
                if any(row.get(key, value) not in (value, "") for key, value in wanted.items()):
                    continue
                kinds.add(tuple((key, row.get(key)) for key in MEASURED_KEYS if key not in ("threads", "allocator")))
                speeds.setdefault((row["allocator"], int(row["threads"])), []).append(float(row["throughput_ops_s"]))
    if len(kinds) > 1:
        differing = sorted({key for (key, _), *others in zip(*kinds) if len({v for _, v in [(key, _), *others]}) > 1})
        raise errors.InputError(
            f"the measured rows of '{workload}' differ in {', '.join(differing)} - give files of one cell", errors.USAGE
        )
    return {key: statistics.median(values) for key, values in speeds.items()}


def calibrate(counts: Mapping[str, Counts], speeds: Speeds) -> dict[str, float]:
    """ns an instruction of each allocator measured with one thread, which moves no line: they differ in what their
    instructions wait for."""
    costs = {
        name: 1e9 / speeds[name, 1] / own.instructions[1]
        for name, own in counts.items()
        if (name, 1) in speeds and 1 in own.instructions
    }
    if not costs:
        raise errors.InputError(
            "no allocator is both counted and measured with 1 thread: an instruction has no cost", errors.USAGE
        )
    return costs


@dataclass(frozen=True)
class Check:
    """One allocator's throughput against the geometric mean of all, measured and predicted."""

    allocator: str
    threads: int
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        return max(self.measured / self.predicted, self.predicted / self.measured) - 1


def checks(counts: Mapping[str, Counts], speeds: Speeds, costs: Mapping[str, float], machine: Machine) -> list[Check]:
    found = []
    for threads in sorted({t for _, t in speeds if t > 1}):
        names = [n for n in counts if n in costs and (n, threads) in speeds]
        if len(names) < 2:
            continue
        measured = {n: speeds[n, threads] for n in names}
        predicted = {n: 1 / counts[n].ns(threads, costs[n], machine) for n in names}
        middles = [statistics.geometric_mean(v.values()) for v in (measured, predicted)]
        found += [Check(n, threads, measured[n] / middles[0], predicted[n] / middles[1]) for n in names]
    return found


def concordant(
    counts: Mapping[str, Counts], costs: Mapping[str, float], machine: Machine
) -> tuple[int, int, list[str]]:
    """Pairs of the public table in the predicted order: (how many, of how many, lines)."""
    right = total = 0
    lines = []
    for threads in (64, 128, 192):
        names = [n for n in PUBLIC if n in counts and n in costs]
        speeds = {n: threads / counts[n].ns(threads, costs[n], machine) * 1e3 for n in names}
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                total += 1
                right += (speeds[a] > speeds[b]) == (PUBLIC[a][threads] > PUBLIC[b][threads])
        lines.append(f"  {threads:3} threads  " + "  ".join(
            f"{n} {speeds[n]:.0f} (public {PUBLIC[n][threads]})" for n in names))  # fmt: skip
    return right, total, lines


def render(
    counts: Mapping[str, Counts], speeds: Speeds, costs: Mapping[str, float], machine: Machine, workload: str
) -> str:
    """`costs`: what calibrate has found."""
    counted = sorted({t for own in counts.values() for t in own.moves})
    lines = [f"{workload} on {machine.name}: a move costs {machine.within_cache:g} ns within a cache, "
             f"{machine.within_socket:g} within the socket, {machine.across:g} across",
             f"  ({machine.source})",
             "ns an instruction, measured with 1 thread: "
             + ", ".join(f"{name} {costs[name]:.3f}" for name in sorted(costs, key=allocators.order)),
             ""]  # fmt: skip
    bad = {name: "it is not measured with 1 thread" for name in counts if name not in costs}
    found = checks(counts, speeds, costs, machine)
    for check in found:
        lines.append(f"check: {check.allocator:10} {check.threads} threads, against the mean of all: measured "
                     f"{check.measured:.2f}, predicted {check.predicted:.2f}, off by {check.error:.0%}")  # fmt: skip
        if check.error > TOLERANCE:
            bad.setdefault(check.allocator, f"its rank with {check.threads} threads is missed by {check.error:.0%}")
    checked = {check.allocator for check in found}
    for name in counts:
        if name not in checked:
            bad.setdefault(name, "nothing is measured here with two threads or more to hold it against")
    if workload.partition("{")[0] == "larson" and any(n in counts for n in PUBLIC):
        right, total, table = concordant(counts, costs, machine)
        lines += ["", f"public table ({PUBLIC_SOURCE}), M/s: {right} of {total} pairs in the predicted order", *table]
        if right < total:
            bad |= {name: "the order of the public table is missed" for name in counts}
    lines += ["", f"M ops/s by threads (counted: {', '.join(map(str, counted))}; beyond the last as there)",
              f"{'allocator':12}" + "".join(f"{t:>8}" for t in THREADS)]  # fmt: skip
    for name in sorted(counts, key=allocators.order):
        if name in bad:
            lines.append(f"{name:12}  no prediction: {bad[name]}")
            continue
        values = [t / counts[name].ns(t, costs[name], machine) * 1e3 for t in THREADS]
        lines.append(f"{name:12}" + "".join(f"{v:8.1f}" if v < 1e4 else f"{v:8.0f}" for v in values))
    good = [check.error for check in found if check.allocator not in bad]
    if good:
        lines.append(f"Error where it could be checked: at most {max(good):.0%}; untested above "
                     f"{max(check.threads for check in found)} threads.")  # fmt: skip
    return "\n".join(lines) + "\n"


def make_parser() -> cli.Parser:
    parser = cli.Parser(
        "scripts/predict",
        description="Throughput by threads on a large machine, from counted instructions and moves; or why not.",
    )
    parser.add_argument(
        "counts", type=Path, metavar="COUNTS.csv", help="of scripts/coherence --output, 1 thread among them"
    )
    parser.add_argument(
        "--measured", type=Path, nargs="+", required=True, metavar="FILE.csv",
        help="of the runner, the same workload on this machine: calibrates and checks",
    )  # fmt: skip
    parser.add_argument("--workload", default="local", help="as the counts name it (default: local)")
    parser.add_argument(
        "--calibration", default="local", metavar="WORKLOAD", help="with 1 thread, for the cost of an instruction"
    )
    parser.add_argument(
        "--machine",
        choices=sorted(MACHINES),
        default="epyc-9r14",
        help="where a move's cost comes from (default: epyc-9r14)",
    )
    return parser


def main(argv: list[str]) -> int:
    """The command line."""
    args = make_parser().parse_args(argv)
    rows = coherence.read_csv(args.counts)
    alone = read_counts(rows, args.calibration)
    costs = calibrate(alone, read_measured(args.measured, args.calibration))
    counts = without_preparation(read_counts(rows, args.workload), alone)
    speeds = read_measured(args.measured, args.workload)
    print(render(counts, speeds, costs, MACHINES[args.machine], args.workload), end="")
    return errors.OK

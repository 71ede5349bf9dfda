# SPDX-License-Identifier: Apache-2.0
"""Cache lines that travel between threads, an operation of a workload, for any allocator and 1 to 64 threads.

QEMU runs the program and tells a plug-in (runner/coherence) each memory access; the plug-in lets one thread run at a
time, for a quantum of instructions, and keeps a directory of the lines that each thread's cache holds. So two cores, or
one, are enough to count what N threads do to each other, and a busy machine changes nothing. Each cell runs with N and
with 2N operations a thread; the difference has start-up cancelled. Seeds vary the lengths of turns and the workload's
events; the interval is over them.
"""

import argparse
import concurrent.futures
import csv
import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from . import allocators, cli, stats
from .errors import OK, InputError

COUNTS = ("from_modified", "from_clean", "for_ownership", "upgrades", "invalidations", "false_shared", "atomics")
CODES = ("allocator", "other")
DATA = ("user", "metadata", "other")
# Moves by who accessed and what the line holds: the columns behind the counts.
PARTS = tuple(f"{code}_{data}" for code in CODES for data in DATA)
IDENTITY = ("allocator", "workload", "threads", "seed", "quantum", "length", "ops")
COLUMNS = (*IDENTITY, "moves", *COUNTS, *PARTS, "instructions")


Report: TypeAlias = dict[str, Any]  # the JSON of runner/coherence
Counted: TypeAlias = tuple[Report, int]  # a report and the operations that it counts
Run: TypeAlias = Callable[[int, int, int], Counted]  # of a length, a quantum and a seed
Row: TypeAlias = dict[str, Any]  # of COLUMNS

# QEMU keeps an entry for each page that a program reserves: of the 64 GiB that our allocators reserve, 900 MB, which
# take a second to fill. They are content with less where the address space is limited, and move the same lines.
OUR_ADDRESS_SPACE = 16 << 30
PROGRAM_PROCESSORS = 64  # that a program sees; a workload sees one a thread
REPORT = "coherence.json"


@dataclass(frozen=True)
class Cell:
    allocator: str
    workload: str
    threads: int


@dataclass(frozen=True)
class Tools:
    qemu: str
    plugin: Path
    runner: Path


def find_tools(build: Path) -> Tools:
    qemu = shutil.which("qemu-x86_64")
    if qemu is None:
        raise InputError("qemu-x86_64 not found. Debian: apt-get install qemu-user", 3)
    plugin = build / "libhzcoherence.so"
    if not plugin.exists():
        raise InputError(f"{plugin} not found - build first (ninja -C build); it needs x86-64 Linux", 3)
    return Tools(qemu, plugin, build / "runner")


def malloc_range(library: str | Path) -> str:
    """Own addresses of malloc's part of the C library, 'FIRST-END' in hexadecimal, from its dynamic symbols.

    malloc.c is one object file, so all between its first and its last exported function is its own.
    """
    names = {"malloc", "free", "calloc", "realloc", "memalign", "malloc_trim", "mallopt", "mallinfo", "malloc_info",
             "malloc_usable_size", "posix_memalign", "aligned_alloc", "pvalloc", "valloc"}  # fmt: skip
    listed = subprocess.run(
        ["nm", "-D", "-S", "--defined-only", str(library)], capture_output=True, text=True, check=True
    )
    ranges = []
    for line in listed.stdout.splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[3].split("@")[0] in names:
            ranges.append((int(fields[0], 16), int(fields[0], 16) + int(fields[1], 16)))
    if not ranges:
        raise InputError(f"{library} exports no malloc: what is the allocator there?", 2)
    return f"{min(r[0] for r in ranges):x}-{max(r[1] for r in ranges):x}"


def code_option(library: str) -> str:
    """What of a library is the allocator: all of it, but for the C library."""
    name = os.path.basename(os.path.realpath(library))
    return f"{name}:{malloc_range(library)}" if name.startswith("libc.so") else name


def plugin_option(tools: Tools, report: Path, code: str, quantum: int, seed: int, processors: int = 0) -> str:
    option = f"{tools.plugin},out={report},quantum={quantum},seed={seed},processors={processors}"
    return option + (f",code={code}" if code else "")


def write_processors(folder: Path, count: int) -> None:
    """Files below `folder` that QEMU opens instead of the system's."""
    cpu = folder / "sys/devices/system/cpu"
    cpu.mkdir(parents=True)
    for name in ("online", "possible", "present"):
        (cpu / name).write_text(f"0-{count - 1}\n" if count > 1 else "0\n", encoding="utf-8")


def emulator(tools: Tools, folder: Path, library: str, quantum: int, seed: int, processors: int) -> list[str]:
    """The command that runs a program with an allocator preloaded on a machine of so many processors.

    Addresses, random numbers, the clock and the processors are the same in each run: the plug-in, preloaded into the
    emulator, answers for the system. The report is written to `folder`.
    """
    write_processors(folder, processors)
    option = plugin_option(tools, folder / REPORT, code_option(library), quantum, seed, processors)
    is_c_library = os.path.basename(os.path.realpath(library)).startswith("libc.so")
    preload = ["-U", "LD_PRELOAD"] if is_c_library else ["-E", f"LD_PRELOAD={library}"]
    return ["setarch", "-R", "env", f"LD_PRELOAD={tools.plugin}", tools.qemu, "-L", str(folder), "-seed", str(seed),
            *preload, "-plugin", option]  # fmt: skip


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def library_paths(tools: Tools) -> dict[str, str]:
    """Path of each allocator's library, as the runner finds it."""
    listed = subprocess.run([str(tools.runner), "--list-allocators"], capture_output=True, text=True, check=False)
    paths: dict[str, str] = {}
    name = None
    for line in listed.stdout.splitlines():
        if line and not line[0].isspace():
            name = line.split()[0]
        elif name is not None and line.strip().startswith("/"):
            paths.setdefault(name, line.strip().split(";")[0])
    return paths


def with_ops(workload: str, ops: int) -> str:
    return workload[:-1] + f",ops={ops}" + "}" if workload.endswith("}") else workload + f"{{ops={ops}}}"


def run_sample(tools: Tools, cell: Cell, library: str, ops: int, quantum: int, seed: int) -> Counted:
    """(report of the plug-in, operations of all threads) of one sample of a workload."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / REPORT
        limit = f"prlimit --as={OUR_ADDRESS_SPACE} " if allocators.is_ours(cell.allocator) else ""
        wrapper = limit + " ".join(emulator(tools, Path(folder), library, quantum, seed, cell.threads))
        command = [str(tools.runner), f"--alloc={cell.allocator}", f"--workload={with_ops(cell.workload, ops)}",
                   f"--threads={cell.threads}", "--runs=1", f"--seed={seed}", "--pin=none", "--settle=0",
                   "--rss-interval=0", "--timeout=1200s", f"--wrapper={wrapper}", f"--output={folder}/sample.csv",
                   "--quiet"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not report.exists():
            code = done.returncode if done.returncode in (2, 3) else 4
            raise InputError(
                f"{cell.allocator}, {cell.workload}, {cell.threads} threads: {last_line(done.stderr)}", code
            )
        with open(f"{folder}/sample.csv", encoding="utf-8", newline="") as file:
            row = next(csv.DictReader(file))
        return json.loads(report.read_text(encoding="utf-8")), int(row["ops"])


def run_program(tools: Tools, library: str, program: Sequence[str], length: int, quantum: int, seed: int) -> Counted:
    """(report, length) of one run of a program with the allocator preloaded."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / REPORT
        command = emulator(tools, Path(folder), library, quantum, seed, PROGRAM_PROCESSORS)
        arguments = [argument.replace("{n}", str(length)) for argument in program]
        found = shutil.which(arguments[0])
        if found is None:
            raise InputError(f"{arguments[0]}: no such program", 2)
        done = subprocess.run(
            [*command, found, *arguments[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode != 0 or not report.exists():
            raise InputError(f"{arguments[0]} ended with {done.returncode}: {last_line(done.stderr)}", 4)
        return json.loads(report.read_text(encoding="utf-8")), length


def totals(report: Report) -> dict[str, int]:
    """Sums of a report: the counts over all code and data, and the moves by part."""
    sums = dict.fromkeys((*COUNTS, *PARTS), 0)
    for code in CODES:
        for data in DATA:
            counts = report["moves"][code][data]
            for name in COUNTS:
                sums[name] += counts[name]
            sums[f"{code}_{data}"] += counts["from_modified"] + counts["from_clean"]
    return sums


def slope(short: Counted, long: Counted) -> dict[str, float]:
    """Counts an operation between two lengths of one cell."""
    (report, ops), (long_report, long_ops) = short, long
    before, after = totals(report), totals(long_report)
    row: dict[str, float] = {name: (after[name] - before[name]) / (long_ops - ops) for name in before}
    row["moves"] = row["from_modified"] + row["from_clean"]
    row["instructions"] = (long_report["instructions"] - report["instructions"]) / (long_ops - ops)
    return row


def measure(run: Run, lengths: tuple[int, int], quantum: int, seeds: Iterable[int], identity: Row) -> list[Row]:
    """A row a seed: slopes of all counts."""
    rows = []
    for seed in seeds:
        short, long = (run(length, quantum, seed) for length in lengths)
        row: Row = {**identity, "seed": seed, "quantum": quantum, "length": lengths[0], "ops": long[1] - short[1]}
        rows.append(row | slope(short, long))
    return rows


def grouped(rows: Iterable[Row]) -> dict[tuple[str, int, str], list[Row]]:
    cells: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        cells.setdefault((row["workload"], row["threads"], row["allocator"]), []).append(row)
    return cells


def render(rows: Sequence[Row]) -> str:
    """Text tables, one a workload and thread count: what travels, and between whom."""
    lines = []
    heading = None
    for (workload, threads, allocator), cell in grouped(rows).items():
        if heading != (workload, threads):
            heading = (workload, threads)
            lines += ["", f"{workload}, {threads} thread{'s' if threads != 1 else ''}: an operation",
                      f"{'allocator':14} {'moves':>7} {'+-':>6} {'user':>7} {'meta':>7} {'harness':>7} {'upgrades':>8} "
                      f"{'inval.':>7} {'false':>6} {'atomics':>7}"]  # fmt: skip
        mean, half = stats.mean_and_half([row["moves"] for row in cell])
        by = {name: sum(row[name] for row in cell) / len(cell) for name in (*COUNTS, *PARTS)}
        user, metadata, other = (by[f"allocator_{data}"] + by[f"other_{data}"] for data in DATA)
        lines.append(
            f"{allocator:14} {mean:7.3f} {half:6.3f} {user:7.3f} {metadata:7.3f} {other:7.3f} "
            f"{by['upgrades']:8.3f} {by['invalidations']:7.3f} {by['false_shared']:6.3f} {by['atomics']:7.3f}"
        )
    return "\n".join(lines[1:]) + "\n"


# ---- where it happens ----------------------------------------------------------------------------------------------


class Symbols:
    """Names of addresses in the objects of a report."""

    def __init__(self, objects: list[dict[str, Any]]) -> None:
        self.objects = objects
        self.tables: dict[str, list[tuple[int, int, str]]] = {}

    def table(self, path: str) -> list[tuple[int, int, str]]:
        if path not in self.tables:
            rows = set()
            tables: tuple[list[str], ...] = ([], ["-D"])  # the symbols' own table and that of the dynamic linker
            for which in tables:
                listed = subprocess.run(
                    ["nm", *which, "-S", "--defined-only", path], capture_output=True, text=True, check=False
                )
                for line in listed.stdout.splitlines():
                    fields = line.split()
                    if len(fields) == 4:
                        rows.add((int(fields[0], 16), int(fields[1], 16), fields[3].split("@")[0]))
            self.tables[path] = sorted(rows)
        return self.tables[path]

    def name(self, address: int) -> str:
        """'library: symbol+offset', or the bare address."""
        for entry in self.objects:
            if entry["base"] <= address < entry["end"]:
                own = address - entry["base"]
                near = [row for row in self.table(entry["path"]) if row[0] <= own < row[0] + max(row[1], 1)]
                short = os.path.basename(entry["path"])
                return f"{short}: {near[-1][2]}+{own - near[-1][0]}" if near else f"{short}+{own:#x}"
        return f"{address:#x}"

    def names_in_line(self, address: int) -> list[str]:
        """Symbols whose bytes lie in the line at `address`."""
        found = []
        for entry in self.objects:
            if entry["base"] <= address < entry["end"]:
                own = address - entry["base"]
                found += [
                    name for start, size, name in self.table(entry["path"]) if start < own + 64 and start + size > own
                ]
        return sorted(set(found))


def travels(counts: Mapping[str, int]) -> int:
    return counts["from_modified"] + counts["from_clean"]


def render_top(report: Report, count: int = 10) -> str:
    """The places in the code and the lines that most travel comes from, of one run, start-up included."""
    symbols = Symbols(report["objects"])
    lines = ["    moves  upgrades  atomics  place in the code"]
    for site in sorted(report["sites"], key=lambda s: -travels(s))[:count]:
        lines.append(f"{travels(site):9} {site['upgrades']:9} {site['atomics']:8}  {symbols.name(site['address'])}"
                     f"{' (allocator)' if site['is_allocator'] else ''}")  # fmt: skip
    lines.append("    moves  upgrades    false  line")
    for line in sorted(report["lines"], key=lambda s: -travels(s))[:count]:
        names = symbols.names_in_line(line["address"])
        last = f", last moved by {symbols.name(line['last_site'])}" if "last_site" in line else ""
        lines.append(f"{travels(line):9} {line['upgrades']:9} {line['false_shared']:8}  "
                     f"{line['kind']}: {', '.join(names) if names else hex(line['address'])}{last}")  # fmt: skip
    return "\n".join(lines) + "\n"


# ---- command line --------------------------------------------------------------------------------------------------


def split_specs(text: str) -> list[str]:
    """Commas within braces belong to one item."""
    return re.findall(r"[^,{]+(?:\{[^}]*\})?", text)


def numbers(text: str) -> list[int]:
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of whole numbers such as 2,8,32") from error
    if not values or min(values) < 1:
        raise argparse.ArgumentTypeError(f"'{text}': numbers from 1, such as 2,8,32")
    return values


def make_parser() -> cli.Parser:
    parser = cli.Parser(
        "scripts/coherence",
        description="Cache lines that travel between threads, an operation, counted under qemu-user.",
        epilog=(
            "With '-- PROGRAM ARG...' that program runs instead of a workload; {n} in its arguments stands for the"
            " length, and counts are a unit of it."
        ),
    )
    parser.add_argument(
        "--alloc",
        default=",".join([*allocators.named(allocators.OURS, allocators.PEER, allocators.LIBC), allocators.NULL]),
        help="allocators, comma separated (default: all that quickstart measures, and null)",
    )
    parser.add_argument("--workload", default="local,remote", help="workloads of the runner (default: local,remote)")
    parser.add_argument("--threads", type=numbers, default=[2, 8], help="thread counts (default: 2,8)")
    parser.add_argument(
        "--length", type=int, default=2000, help="shorter of the two lengths (default: 2000 operations a thread)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="repetitions, each with a seed of its own (default: 3)")
    parser.add_argument(
        "--quantum",
        type=int,
        default=100,
        help="instructions a turn: no thread gets further ahead of another that can run (default: 100)",
    )
    parser.add_argument("--top", action="store_true", help="also the places in the code and the lines that move most")
    parser.add_argument(
        "--output", type=Path, metavar="FILE.csv", help="write a row a cell and seed (results/SCHEMA.md)"
    )
    parser.add_argument("--figure", type=Path, metavar="FOLDER", help="draw moves over threads there, as SVG and PNG")
    parser.add_argument(
        "--read", type=Path, nargs="+", metavar="FILE.csv", help="measure nothing: show what was written"
    )
    parser.add_argument("--json", type=Path, metavar="FILE.json", help="write rows and, with --top, reports")
    parser.add_argument("--build", type=Path, help="build directory (default: build)")
    parser.add_argument("program", nargs="*", metavar="PROGRAM ARG", help=argparse.SUPPRESS)
    return parser


def plan(args: argparse.Namespace, tools: Tools) -> Iterator[tuple[Row, Run]]:
    """What to run: (identity, run) for each cell."""
    libraries = library_paths(tools)
    for allocator in split_specs(args.alloc):
        name = allocator.split("{")[0]
        library = libraries.get(name, name)
        if not os.path.exists(library):
            raise InputError(f"no allocator '{name}' (runner --list-allocators), and no such file", 3)
        if args.program:
            identity = {"allocator": allocator, "workload": " ".join(args.program), "threads": 0}
            yield identity, functools.partial(run_program, tools, library, args.program)
            continue
        for workload in split_specs(args.workload):
            for threads in args.threads:
                cell = Cell(allocator, workload, threads)
                identity = {"allocator": allocator, "workload": workload, "threads": threads}
                yield identity, functools.partial(run_sample, tools, cell, library)


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: f"{v:.6g}" if isinstance(v := row[name], float) else v for name in COLUMNS})


def read_csv(path: Path) -> list[Row]:
    """Rows that write_csv has written."""
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path}: no column '{missing[0]}' - is it of scripts/coherence --output?", 2)
        try:
            return [{name: _value(name, row[name]) for name in COLUMNS} for row in reader]
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}, line {reader.line_num}: not a row of scripts/coherence ({error})", 2) from error


def _value(name: str, text: str) -> str | int | float:
    if name in ("allocator", "workload"):
        return text
    return int(text) if name in IDENTITY else float(text)


def show(rows: list[Row], args: argparse.Namespace) -> None:
    """Prints, writes and draws what is asked for."""
    print(render(rows), end="")
    if args.output:
        write_csv(args.output, rows)
    if args.figure:
        from . import figures  # pylint: disable=import-outside-toplevel  # matplotlib takes a second

        for path in figures.write_transfers(rows, args.figure):
            print(path)


def main(argv: list[str]) -> int:
    """The command line."""
    args = make_parser().parse_args(argv)
    if args.read:
        show([row for path in args.read for row in read_csv(path)], args)
        return OK
    tools = find_tools(args.build or Path(__file__).resolve().parents[2] / "build")
    if args.length < 1 or args.seeds < 1 or args.quantum < 2:
        raise InputError("--length and --seeds begin at 1, --quantum at 2", 2)
    lengths = (args.length, 2 * args.length)
    cells = list(plan(args, tools))
    seeds = range(1, args.seeds + 1)
    # A run has one thread at work at a time: as many cells at once as there are cores.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        pending = [pool.submit(measure, run, lengths, args.quantum, seeds, identity) for identity, run in cells]
        rows = [row for future in pending for row in future.result()]
    rows.sort(key=lambda row: (row["workload"], row["threads"]))
    show(rows, args)
    reports = {}
    if args.top:
        for identity, run in cells:
            title = f"{identity['allocator']}, {identity['workload']}, {identity['threads']} threads"
            report, _ = run(lengths[1], args.quantum, 1)
            reports[title] = report
            print(f"\n{title}, {lengths[1]} operations a thread, start included\n{render_top(report)}", end="")
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "reports": reports}, indent=1) + "\n", encoding="utf-8")
    return OK

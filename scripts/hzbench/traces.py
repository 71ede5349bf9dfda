# SPDX-License-Identifier: Apache-2.0
"""scripts/trace: what is in a trace, as text and figure; the reading is hztrace's (runner/tools/hztrace.c)."""

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

from . import errors

MATRIX_LANES = 12  # a wider matrix is no longer read in a terminal; the figure shows all of it
BAR = 40

Tables: TypeAlias = dict[str, list[tuple[str, str, str]]]  # name: (first, second, value) of each row


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise errors.InputError(f"{message} ({self.prog} --help)")


def hztrace() -> str:
    built = Path(os.environ.get("BUILD_DIR", Path(__file__).resolve().parents[2] / "build")) / "hztrace"
    if not built.exists():
        raise errors.InputError(f"{built} not found - build first: scripts/quickstart, or set BUILD_DIR")
    return str(built)


def read(path: str) -> tuple[Tables, int]:
    """The tables of `hztrace info` and its exit code; none unless that is 0."""
    process = subprocess.run([hztrace(), "info", path], stdout=subprocess.PIPE, text=True)
    if process.returncode != 0:
        return {}, process.returncode
    tables: Tables = {}
    for row in csv.DictReader(process.stdout.splitlines()):
        tables.setdefault(row["table"], []).append((row["first"], row["second"], row["value"]))
    return tables, 0


def amount(number: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number >= size:
            return f"{number / size:.4g} {unit}"
    return f"{number} B"


def doublings(rows: Iterable[tuple[str, str, str]]) -> list[tuple[str, int]]:
    """Exact and eighth-of-a-doubling bins, summed up to doublings for a terminal: (label, count)."""
    sums: dict[int, int] = {}
    for first, _, value in rows:
        power = max(int(first), 1).bit_length() - 1
        sums[power] = sums.get(power, 0) + int(value)
    return [(f"{amount(1 << p)} .. {amount((2 << p) - 1)}", n) for p, n in sorted(sums.items())]


def bars(title: str, rows: Sequence[tuple[str, int]]) -> list[str]:
    total = sum(count for _, count in rows) or 1
    most = max((count for _, count in rows), default=1)
    width = max((len(label) for label, _ in rows), default=0)
    lines = [title]
    for label, count in rows:
        lines.append(f"  {label:>{width}}  {100 * count / total:5.1f} %  {'#' * max(1, round(BAR * count / most))}")
    return lines


def lifetimes(tables: Tables) -> list[tuple[str, int]]:
    return [(f"{a} .. {b}" if a else "to the end", int(n)) for a, b, n in tables.get("lifetime", [])]


def matrix_lines(tables: Tables, lanes: int) -> list[str]:
    freed = {(int(a), int(b)): int(n) for a, b, n in tables.get("freed", [])}
    shown = min(lanes, MATRIX_LANES)
    lines = ["frees: whose objects (rows) were freed by which lane (columns)"]
    width = max([len(str(n)) for n in freed.values()] + [6])
    lines.append("  lane  " + "  ".join(f"{lane:>{width}}" for lane in range(shown)))
    for owner in range(shown):
        lines.append(f"  {owner:>4}  " + "  ".join(f"{freed.get((owner, lane), 0):>{width}}" for lane in range(shown)))
    if shown < lanes:
        lines.append(f"  and {lanes - shown} more lanes")
    return lines


def text(tables: Tables) -> str:
    summary = {name: value for name, _, value in tables["summary"]}
    number = {name: int(value) for name, value in summary.items() if name != "program"}
    frees = number["frees"] or 1
    lines = [
        (
            f"{summary['program']}: {number['calls']} calls, {number['objects']} objects, {number['threads']} threads"
            f" in {number['lanes']} lanes"
        ),
        "  calls: "
        + ", ".join(f"{name} {value}" for name, _, value in tables["calls"] if value != "0")
        + f"; left out {number['left_out']}",
        (
            f"  peak: {amount(number['peak_live_bytes'])} in at most {number['peak_live_objects']} objects;"
            f" alive at the end: {number['left_alive']}"
        ),
        f"  freed by another lane: {number['remote_frees']} ({100 * number['remote_frees'] / frees:.2f} % of frees)",
    ]
    lines += bars("sizes", doublings(tables.get("size", [])))
    lines += bars("lifetimes, in allocations of the whole program", lifetimes(tables))
    points = tables.get("live", [])
    step = max(1, len(points) // 16)
    lines += ["live, at every so many calls"] if points else []
    most = max((int(p[2]) for p in points), default=1) or 1
    for calls, objects, size in points[::step]:
        lines.append(
            f"  {int(calls):>10}  {amount(int(size)):>10}  {objects:>9} objects  {'#' * round(BAR * int(size) / most)}"
        )
    return "\n".join(lines + matrix_lines(tables, number["lanes"])) + "\n"


def figure(tables: Tables, path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    summary = {name: value for name, _, value in tables["summary"]}
    lanes = int(summary["lanes"])
    drawn, ((sizes, lives), (curve, matrix)) = plt.subplots(2, 2, figsize=(10, 7))
    drawn.suptitle(f"{summary['program']}: {int(summary['calls']):,} calls, {summary['threads']} threads")
    rows = [(int(a), int(b), int(n)) for a, b, n in tables.get("size", [])]
    sizes.stairs([n / (b - a + 1) for a, b, n in rows], [a for a, _, _ in rows] + [rows[-1][1] + 1] if rows else [0])
    sizes.set(xscale="symlog", yscale="log", xlabel="bytes asked for", ylabel="objects a byte of size")
    labels = lifetimes(tables)
    lives.bar(range(len(labels)), [n for _, n in labels], color="C1")
    lives.set_xticks(range(len(labels)), [label.split(" .. ")[0] for label, _ in labels], rotation=60, fontsize=7)
    lives.set(xlabel="lifetime in allocations, from", ylabel="objects")
    points = [(int(a), int(b), int(n)) for a, b, n in tables.get("live", [])]
    curve.plot([p[0] for p in points], [p[2] / (1 << 20) for p in points])
    curve.set(xlabel="calls", ylabel="live MiB", ylim=(0, None))
    grid = [[0] * lanes for _ in range(lanes)]
    for owner, lane, count in tables.get("freed", []):
        grid[int(owner)][int(lane)] = int(count)
    image = matrix.imshow(grid, norm=matplotlib.colors.SymLogNorm(1, vmin=0), cmap="Blues")
    matrix.set(xlabel="freed by lane", ylabel="allocated by lane")
    drawn.colorbar(image, ax=matrix, label="objects")
    drawn.tight_layout()
    drawn.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)
    plt.close(drawn)


def info_command(argv: list[str]) -> int:
    parser = Parser("scripts/trace info", description="Sizes, lifetimes, live curve and remote frees of a trace.")
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--figure", metavar="FILE.svg", help="draw them, too; .svg or .png")
    options = parser.parse_args(argv)
    if options.figure and not options.figure.endswith((".svg", ".png")):
        raise errors.InputError(f"--figure={options.figure}: must end in .svg or .png")
    tables, code = read(options.file)
    if code != 0:
        return code
    sys.stdout.write(text(tables))
    if options.figure:
        figure(tables, options.figure)
    return errors.OK


def profile_command(argv: list[str]) -> int:
    parser = Parser(
        "scripts/trace profile", description="What may be shared of a trace (docs/traces.md), to standard output."
    )
    parser.add_argument("file", metavar="FILE")
    options = parser.parse_args(argv)
    return subprocess.run([hztrace(), "profile", options.file]).returncode


COMMANDS = {"info": info_command, "profile": profile_command}


def main(argv: list[str]) -> int:
    if not argv or argv[0] not in COMMANDS:
        wanted = argv and argv[0] in ("-h", "--help")
        print(
            "usage: scripts/trace info FILE [--figure=FILE.svg] | scripts/trace profile FILE",
            file=sys.stdout if wanted else sys.stderr,
        )
        return errors.OK if wanted else errors.USAGE
    return COMMANDS[argv[0]](argv[1:])

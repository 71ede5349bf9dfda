# SPDX-License-Identifier: Apache-2.0
"""scripts/replay-fidelity: redis-server itself and the replay of its trace, on each allocator, ordered by peak RSS."""

import argparse
import csv
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from . import cli, errors
from .allocators import LIBC, OURS, PEER, named

BUILD = Path(os.environ.get("BUILD_DIR", Path(__file__).resolve().parents[2] / "build"))
ALLOCATORS = ",".join(named(LIBC, PEER, OURS))
BATCH = 64  # commands sent before their answers are read: redis sees them in the same pieces each time
NEAR = 0.02  # two peaks closer than this have no order


def commands(scale: int) -> Iterator[tuple[str, ...]]:
    """The same load in every run: strings of many sizes, half of them deleted, larger ones in their place, lists,
    hashes."""
    draw = random.Random(8)
    keys = 30 * scale
    for key in range(keys):
        yield "SET", f"key:{key}", "x" * int(16 * 2 ** draw.uniform(0, 7))
    for key in draw.sample(range(keys), keys // 2):
        yield "DEL", f"key:{key}"
    for key in range(keys):
        if draw.random() < 0.3:
            yield "APPEND", f"key:{key}", "y" * draw.randint(8, 900)
        yield "HSET", f"hash:{key % (scale + 1)}", f"field{key}", "z" * draw.randint(1, 120)
        yield "RPUSH", f"list:{key % (scale // 4 + 1)}", "w" * draw.randint(1, 300)
    for key in draw.sample(range(scale), scale // 2):
        yield "DEL", f"hash:{key}"
    for key in range(keys // 3):
        yield "SET", f"late:{key}", "v" * draw.randint(700, 1500)


def encoded(command: Sequence[str]) -> bytes:
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in command)


def drive(port: int, scale: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        answers = connection.makefile("rb")

        def send(batch: Sequence[Sequence[str]]) -> None:
            connection.sendall(b"".join(encoded(command) for command in batch))
            for _ in batch:
                if answers.readline()[:1] not in (b"+", b":"):
                    raise errors.InputError("redis-server refused a command - does it run with other settings?")

        batch = []
        for command in commands(scale):
            batch.append(command)
            if len(batch) == BATCH:
                send(batch)
                batch = []
        send(batch)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def server_of(hzrun: subprocess.Popen[str]) -> int:
    children = Path(f"/proc/{hzrun.pid}/task/{hzrun.pid}/children")
    for _ in range(200):
        pids = children.read_text().split()
        if pids:
            return int(pids[0])
        time.sleep(0.05)
    raise errors.InputError("redis-server did not start under hzrun")


def peak_of(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise errors.InputError("no VmHWM in /proc - this needs Linux")


def run_redis(allocator: str, scale: int, directory: str, record: str | None = None) -> int:
    """Peak RSS of one run in bytes."""
    port = free_port()
    options = [f"--record={record}"] if record else []
    server = [
        "redis-server",
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        directory,
    ]
    process = subprocess.Popen(
        [str(BUILD / "hzrun"), *options, allocator, "--", *server],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise errors.InputError(
                        f"redis-server on {allocator}: {process.communicate()[1].strip()}", errors.FAILED
                    )
                time.sleep(0.05)
        drive(port, scale)
        peak = peak_of(server_of(process))
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(encoded(("SHUTDOWN", "NOSAVE")))
        said = process.communicate(timeout=120)[1]
        if record:
            print(said.strip(), file=sys.stderr)
        return peak
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def replay(allocators: Sequence[str], runs: int, directory: str) -> dict[str, list[int]]:
    """allocator -> peak RSS of each run, above what the replay itself held before the first allocation."""
    output = Path(directory) / "replay.csv"
    command = [
        str(BUILD / "runner"),
        f"--alloc={','.join(allocators)}",
        "--workload=trace:redis.hzt",
        f"--runs={runs}",
        "--touch=all",
        "--settle=0",
        "--quiet",
        f"--output={output}",
    ]
    process = subprocess.run(command, cwd=directory, stdout=subprocess.DEVNULL)
    if process.returncode != 0:
        raise errors.InputError(f"the replay ended with exit code {process.returncode}", errors.FAILED)
    peaks: dict[str, list[int]] = {}
    with open(output, newline="") as file:
        for row in csv.DictReader(file):
            peaks.setdefault(row["allocator"], []).append(int(row["rss_peak"]) - int(row["rss_baseline"]))
    return peaks


def mebibytes(peaks: Sequence[float]) -> str:
    return f"{statistics.median(peaks) / (1 << 20):9.1f} [{min(peaks) / (1 << 20):.1f}, {max(peaks) / (1 << 20):.1f}]"


def swapped(first: Mapping[str, float], second: Mapping[str, float]) -> tuple[list[tuple[str, str]], int]:
    """Pairs that stand in another order, of those that differ in both by more than NEAR."""
    names = list(first)
    wrong, compared = [], 0
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            in_first, in_second = first[a] / first[b], second[a] / second[b]
            if abs(in_first - 1) < NEAR or abs(in_second - 1) < NEAR:
                continue
            compared += 1
            if (in_first > 1) != (in_second > 1):
                wrong.append((a, b))
    return wrong, compared


def measure(options: argparse.Namespace, directory: str) -> int:
    allocators = options.alloc.split(",")
    run_redis("system", options.scale, directory, record=f"{directory}/redis.hzt")
    idle = {name: run_redis(name, 0, directory) for name in allocators}
    redis: dict[str, list[int]] = {name: [] for name in allocators}
    for _ in range(options.runs):
        for name in allocators:
            redis[name].append(run_redis(name, options.scale, directory) - idle[name])
    replayed = replay(allocators, options.runs, directory)
    order = sorted(allocators, key=lambda name: statistics.median(redis[name]))
    print("peak RSS above the empty program, MiB: median [least, most]")
    print(f"{'allocator':<10}  {'redis-server':>24}  {'its trace replayed':>24}")
    for name in order:
        print(f"{name:<10}  {mebibytes(redis[name]):>24}  {mebibytes(replayed[name]):>24}")
    medians = [
        {n: statistics.median(v) for n, v in peaks.items()} for peaks in (redis, {n: replayed[n] for n in redis})
    ]
    wrong, compared = swapped(*medians)
    print(
        f"{compared} of {len(order) * (len(order) - 1) // 2} pairs differ by more than {NEAR:.0%} in both;"
        f" {compared - len(wrong)} in the same order" + "".join(f"; {a} and {b} swapped" for a, b in wrong)
    )
    return 1 if wrong else 0


def main(argv: list[str]) -> int:
    parser = cli.Parser("scripts/replay-fidelity", description=__doc__.split(": ", 1)[1])
    parser.add_argument("--alloc", default=ALLOCATORS, help=f"default {ALLOCATORS}")
    parser.add_argument("--runs", type=int, default=3, help="of redis-server and of the replay, on each allocator (3)")
    parser.add_argument("--scale", type=int, default=1000, help="size of the load: 1000 keeps some 40 MiB (default)")
    options = parser.parse_args(argv)
    if not shutil.which("redis-server"):
        raise errors.InputError("redis-server not found. Debian: apt-get install redis-server", errors.UNAVAILABLE)
    with tempfile.TemporaryDirectory() as directory:
        return measure(options, directory)

# SPDX-License-Identifier: Apache-2.0
"""Makes result files of schema 5 with a known truth: each allocator has a set speed and memory, plus seeded noise.

Noise has what real rounds have: a disturbance all samples of a round share, and one of each sample's own. Random
numbers come from a small generator of our own, so that golden files do not depend on a library's version.
"""

import csv
import hashlib
import json
import math
from dataclasses import dataclass, field

from hzbench.schema import COLUMNS, RSS_COLUMNS

SPEED = {
    "hz5": 110e6,
    "hz4": 50e6,
    "mimalloc": 45e6,
    "jemalloc": 60e6,
    "tcmalloc": 69e6,
    "system": 15e6,
    "null": 500e6,
}  # 1 thread
OVERHEAD = {
    "hz5": 1.1,
    "hz4": 1.3,
    "mimalloc": 1.6,
    "jemalloc": 1.5,
    "tcmalloc": 2.4,
    "system": 1.2,
    "null": 0.0,
}  # RSS per live byte
WORKLOADS = {
    "local": {"min_bytes": 16, "max_bytes": 2048, "sizes": "uniform", "remote_ppm": 0, "speed": 1.0},
    "remote": {"min_bytes": 16, "max_bytes": 2048, "sizes": "uniform", "remote_ppm": 900000, "speed": 0.25},
    "mixed": {"min_bytes": 16, "max_bytes": 1 << 20, "sizes": "log-uniform", "remote_ppm": 300000, "speed": 0.1},
}
MIB = 1 << 20


class Random:
    """splitmix64."""

    def __init__(self, seed):
        self.state = seed & (2**64 - 1)

    def bits(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & (2**64 - 1)
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        return z ^ (z >> 31)

    def uniform(self):
        return (self.bits() >> 11) / 2**53

    def normal(self):
        return math.sqrt(-2 * math.log(1 - self.uniform())) * math.cos(2 * math.pi * self.uniform())

    def shuffled(self, items):
        items = list(items)
        for i in range(len(items) - 1, 0, -1):
            j = self.bits() % (i + 1)
            items[i], items[j] = items[j], items[i]
        return items


@dataclass
class Plan:
    allocators: tuple = ("system", "hz5", "mimalloc", "jemalloc", "tcmalloc", "null")
    workloads: tuple = ("local", "remote", "mixed")
    threads: tuple = (1, 2)
    rounds: int = 8
    seed: int = 1
    run: int = 1  # makes the run id
    platform: str = "linux"
    pus: int = 2
    cpu: str = "Example CPU"
    noise: float = 0.01
    speed: dict = field(default_factory=lambda: dict(SPEED))
    build: str = "a"  # other text: other library hashes
    commit: str = "c0ffee" + 34 * "0"
    costs: dict = field(default_factory=dict)  # of the machine, in nanoseconds


def samples(plan):
    """The rows of the CSV as dicts, in the order they were run."""
    random = Random(plan.seed)
    cells = [(a, w, t) for w in plan.workloads for t in plan.threads for a in plan.allocators if t > 1 or w == "local"]
    for round_ in range(plan.rounds):
        shared = 0.1 * random.normal()
        for order, index in enumerate(random.shuffled(range(len(cells)))):
            yield _sample(plan, random, cells[index], round_, order, round_ * len(cells) + index, shared) | {
                "cell_index": index
            }


def _sample(plan, random, cell, round_, order, sample, shared):
    allocator, workload, threads = cell
    kind = WORKLOADS[workload]
    ops_per_thread = 1_000_000
    base = allocator.split("{")[0]
    scale = min(threads, plan.pus) * 0.9 ** (threads - 1)
    speed = plan.speed[base] * kind["speed"] * scale * math.exp(shared + plan.noise * random.normal())
    elapsed = int(threads * ops_per_thread / speed * 1e9)
    live = threads * 1000 * (kind["min_bytes"] + min(kind["max_bytes"], 1 << 18)) // 2
    baseline = 4 * MIB
    peak = int(baseline + live * OVERHEAD[base] * (1 + 0.002 * random.normal())) // 4096 * 4096
    crowded = threads > plan.pus
    row = {c: "" for c in COLUMNS}
    row.update(
        schema=5,
        run_id=f"{plan.run:016x}",
        sample=sample,
        round=round_,
        order=order,
        platform=plan.platform,
        allocator=allocator,
        load="dlopen",
        workload=workload,
        threads=threads,
        seed=plan.seed,
        ops_per_thread=ops_per_thread,
        duration_ns=0,
        working_set=1000,
        min_bytes=kind["min_bytes"],
        max_bytes=kind["max_bytes"],
        sizes=kind["sizes"],
        topology="ring",
        remote_ppm=kind["remote_ppm"],
        realloc_ppm=0,
        aligned_ppm=0,
        calloc_ppm=0,
        rounds="",
        touch="ends",
        pin="compact",
        status="ok",
        library_path=f"lib{base}.so",
        library_version="1.0",
        library_sha256=hashlib.sha256(f"{base}{plan.build}".encode()).hexdigest(),
        stream_hash=hashlib.sha256(f"{workload}{threads}{plan.seed}".encode()).hexdigest()[:16],
        elapsed_ns=elapsed,
        ops=threads * ops_per_thread,
        throughput_ops_s=f"{threads * ops_per_thread / elapsed * 1e9:.3f}",
        remote_frees=threads * ops_per_thread * kind["remote_ppm"] // 1_000_000,
        local_frees=threads * ops_per_thread * (1_000_000 - kind["remote_ppm"]) // 1_000_000,
        remote_share=f"{kind['remote_ppm'] / 1e6:.6f}",
        waits=0,
        corruptions=0,
        failures=0,
        user_ns=elapsed,
        system_ns=elapsed // 20,
        run_delay_ns=elapsed if crowded else elapsed // 1000,
        rss_baseline=baseline,
        rss_mean=int(0.97 * peak),
        rss_p95=int(0.99 * peak),
        rss_peak=peak,
        rss_work=peak,
        live_work=live,
        rss_freed=int(0.6 * peak),
        rss_joined=int(0.5 * peak),
        rss_100ms=int(0.4 * peak),
        live_peak=live,
        started_at="2024-01-01T00:00:00Z",
        reference_loop_fastest_ns=200_000,
        reference_loop_before_ns=201_000,
        reference_loop_after_ns=202_000,
        pressure_cpu_ns=0,
        pressure_memory_ns=0,
        pressure_io_ns=0,
        steal_ns=0,
        contaminated=0,
    )
    return row


def series(plan, rows):
    """An RSS series for each ok row: rise, plateau, fall and rest, sampled each millisecond or at 40 points a phase."""
    for row in rows:
        if row["status"] != "ok":
            continue
        baseline, peak, live = row["rss_baseline"], row["rss_peak"], row["live_work"]
        freed, settled = row["rss_freed"], row["rss_100ms"]
        t = 1_000_000
        phases = (
            ("loaded", 2, 1_000_000, lambda x: (baseline, 0)),
            ("warm-up", 20, 20_000_000, lambda x: (baseline + x * 0.9 * (peak - baseline), x * live)),
            ("measured", 40, row["elapsed_ns"], lambda x: (peak - (1 - x) * 0.1 * (peak - baseline), live)),
            ("tear-down", 8, 5_000_000, lambda x: (peak - x * (peak - freed), (1 - x) * live)),
            ("joined", 1, 100_000, lambda x: (row["rss_joined"], 0)),
            ("settle", 20, 100_000_000, lambda x: (row["rss_joined"] - x * (row["rss_joined"] - settled), 0)),
        )
        for phase, points, duration, curve in phases:
            for i in range(points):
                rss, alive = curve((i + 1) / points)
                yield [
                    5,
                    row["run_id"],
                    row["sample"],
                    int(t + duration * (i + 1) / points),
                    int(rss),
                    int(alive),
                    phase,
                ]
            t += duration


def provenance(plan):
    return {
        "schema": 5,
        "run_id": f"{plan.run:016x}",
        "plan": {"cells": [{"allocator": a} for a in plan.allocators]},
        "build": {"commit": plan.commit},
        "machine": {
            "host_id": f"host of {plan.cpu}",
            "cpu_model": plan.cpu,
            "packages": 1,
            "cores": plan.pus,
            "pus": plan.pus,
            "machine_pus": plan.pus,
            "kernel": "6.1.0",
            "costs": plan.costs,
        },
    }


def write_rows(path, rows, columns=tuple(COLUMNS)):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([r[c] for c in columns] for r in rows)


def write_run(path, plan=None, edit=None, with_series=True):
    """Writes NAME.csv, NAME.rss.csv and NAME.run.json; `edit` may change the list of rows first. Returns the CSV's
    path."""
    plan = plan or Plan()
    rows = list(samples(plan))
    if edit:
        rows = edit(rows) or rows
    write_rows(path, rows)
    stem = str(path)[:-4]
    if with_series:
        with open(stem + ".rss.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(RSS_COLUMNS)
            writer.writerows(series(plan, rows))
    with open(stem + ".run.json", "w", encoding="utf-8") as file:
        json.dump(provenance(plan), file)
    return path

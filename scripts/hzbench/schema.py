# SPDX-License-Identifier: Apache-2.0
"""The columns of result files of schemas 1 to 4 (results/SCHEMA.md): their kinds, and which values a row may hold."""

import math
import re

from .errors import printable

SCHEMA = "4"  # written today; rows of an older one get the columns it lacks, all of them empty

# Column -> kind. u: unsigned integer; f: finite number >= 0; t: text. Upper case: must not be empty.
COLUMNS = {
    "schema": "U", "run_id": "T", "sample": "U", "round": "U", "order": "U", "platform": "T", "allocator": "T",
    "load": "T", "workload": "T", "threads": "U", "seed": "T", "ops_per_thread": "u", "duration_ns": "u",
    "working_set": "u", "min_bytes": "u", "max_bytes": "u", "sizes": "t", "topology": "t", "remote_ppm": "u",
    "realloc_ppm": "u", "aligned_ppm": "u", "calloc_ppm": "u", "rounds": "u", "touch": "t", "pin": "t",
    "status": "T", "message": "t", "library_path": "t", "library_version": "t", "library_build_id": "t",
    "library_sha256": "t", "contract": "t", "stream_hash": "t", "elapsed_ns": "u", "ops": "u",
    "throughput_ops_s": "f", "remote_frees": "u", "local_frees": "u", "remote_share": "f", "waits": "u",
    "corruptions": "u", "failures": "u", "user_ns": "u", "system_ns": "u", "run_delay_ns": "u",
    "voluntary_switches": "u", "involuntary_switches": "u", "minor_faults": "u", "major_faults": "u",
    "rss_baseline": "u", "rss_mean": "f", "rss_p95": "f", "rss_peak": "u", "rss_work": "u", "live_work": "u",
    "rss_freed": "u", "rss_joined": "u", "rss_100ms": "u", "rss_1s": "u", "rss_purged": "u", "live_peak": "u",
    "reserved_bytes": "u", "committed_bytes": "u", "metadata_bytes": "u", "rejects": "t", "cycles": "u",
    "instructions": "u", "cache_misses": "u", "dtlb_misses": "u", "started_at": "t",
}  # fmt: skip
SCHEMA_1 = tuple(COLUMNS)

CALLS = ("malloc", "free_local", "free_remote")  # what the latency probe times
LATENCIES = ("p50", "p90", "p99", "p999", "max")
COLUMNS |= {"input": "t", "latency_every": "u", "latency_probe_ns": "u"}
for _call in CALLS:
    COLUMNS |= {f"latency_{_call}_count": "u"} | {f"latency_{_call}_{p}_ns": "u" for p in LATENCIES}
COLUMNS |= {
    "canary_reference_ns": "u", "canary_before_ns": "u", "canary_after_ns": "u", "pressure_cpu_ns": "u",
    "pressure_memory_ns": "u", "pressure_io_ns": "u", "steal_ns": "u", "contaminated": "u", "contamination": "t",
}  # fmt: skip
SCHEMA_2 = tuple(COLUMNS)

COLUMNS |= {f"windows_{_what}_bytes": "u" for _what in ("working_set", "peak_working_set", "private_usage")}
SCHEMA_3 = tuple(COLUMNS)

COLUMNS |= {"cell_index": "u"}

# Columns of each schema that can be read, in the order the runner writes them.
SCHEMAS = {"1": SCHEMA_1, "2": SCHEMA_2, "3": SCHEMA_3, SCHEMA: tuple(COLUMNS)}

STATUSES = ("ok", "unavailable", "corrupt", "out-of-memory", "refused-free", "crashed", "timeout", "error")
PLATFORMS = ("linux", "windows", "wine")
LOADS = ("dlopen", "preload")

# What makes two rows samples of the same cell, apart from the allocator. `rounds` is the workload's parameter.
CELL = ("platform", "load", "workload", "threads", "ops_per_thread", "duration_ns", "working_set", "min_bytes",
        "max_bytes", "sizes", "topology", "remote_ppm", "realloc_ppm", "aligned_ppm", "calloc_ppm", "rounds", "touch",
        "pin", "input")  # fmt: skip

RSS_COLUMNS = ("schema", "run_id", "sample", "t_ns", "rss_bytes", "live_bytes", "phase")
PHASES = ("start", "loaded", "warm-up", "measured", "tear-down", "joined", "settle", "purged", "done")

UNSIGNED = re.compile(r"[0-9]{1,20}")
SIGNED = re.compile(r"-?[0-9]{1,19}")
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?")
_RUN_ID = re.compile(r"[0-9a-f]{16}")


def value_of(kind, text):
    """The field as a number or text; raises ValueError with the reason."""
    if text == "":
        if kind.isupper():
            raise ValueError("is empty but required")
        return "" if kind == "t" else math.nan
    kind = kind.lower()
    if kind == "t":
        if not text.isprintable():
            raise ValueError("holds control characters")
        return text
    if kind == "u":
        if not UNSIGNED.fullmatch(text) or int(text) >= 2**64 - 1:  # UINT64_MAX is C's "not measured", never a value
            raise ValueError("is not an unsigned integer")
        return int(text)
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    if not math.isfinite(number):
        raise ValueError("is not a finite number >= 0")
    return number


def check_row(values):
    if values["platform"] not in PLATFORMS:
        raise ValueError(f"platform '{printable(values['platform'], 40)}' is none of {', '.join(PLATFORMS)}")
    if values["load"] not in LOADS:
        raise ValueError(f"load '{printable(values['load'], 40)}' is none of {', '.join(LOADS)}")
    if values["status"] not in STATUSES:
        raise ValueError(f"status '{printable(values['status'], 40)}' is none of {', '.join(STATUSES)}")
    if not _RUN_ID.fullmatch(values["run_id"]):
        raise ValueError("run_id is not 16 hex digits")
    if not UNSIGNED.fullmatch(values["seed"]):
        raise ValueError("seed is not an unsigned integer")
    if values["threads"] < 1:
        raise ValueError("threads is 0")
    if max(values[c] for c in ("sample", "round", "order", "threads")) >= 2**31:
        raise ValueError("sample, round, order or threads is out of range")
    if values["status"] == "ok":
        for column in ("throughput_ops_s", "ops", "elapsed_ns"):
            if not values[column] > 0:
                raise ValueError(f"status is ok but {column} is empty or 0")
        share = values["remote_share"]
        if not (math.isnan(share) or share <= 1):
            raise ValueError("remote_share is above 1")


_WORKLOADS = ("local", "remote", "mixed")  # in this order before all others


def cell_order(cell):
    values = dict(zip(CELL, cell))
    known = values["workload"] in _WORKLOADS
    first = (
        PLATFORMS.index(values["platform"]),
        LOADS.index(values["load"]),
        _WORKLOADS.index(values["workload"]) if known else len(_WORKLOADS),
        values["workload"],
        values["threads"],
    )
    # What is left orders variants of one workload; None (unset) goes first.
    rest = tuple((v is not None, v if isinstance(v, (int, float)) else 0, str(v)) for v in cell)
    return first + rest

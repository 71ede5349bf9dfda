# SPDX-License-Identifier: Apache-2.0
"""The columns of result files of schemas 1 to 5 (results/SCHEMA.md): their kinds, and which values a row may hold."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from .errors import printable

# What the runner says of its columns (runner --schema); a test holds the file against the runner.
_DESCRIBED = json.loads((Path(__file__).resolve().parents[2] / "results" / "schema.json").read_text(encoding="utf-8"))
SCHEMA = str(_DESCRIBED["schema"])  # written today; rows of an older one get the columns it lacks, all of them empty

UNITS = _DESCRIBED["units"]  # app -> what an op of it is, in the plural

# Parameters of workloads: {name, parameter (its option), kind (count, time, share, bytes, name), ...}.
PARAMETERS = tuple(c for c in _DESCRIBED["columns"] if "parameter" in c)

_KINDS = {"integer": "u", "number": "f", "text": "t"}
_KIND_OF = {"seed": "t"}  # compared and never computed with


def _kind(column: dict[str, Any]) -> str:
    kind = _KIND_OF.get(column["name"], _KINDS[column["type"]])
    return kind.upper() if column["required"] else kind


# Column -> kind. u: unsigned integer; f: finite number >= 0; t: text. Upper case: must not be empty.
COLUMNS = {c["name"]: _kind(c) for c in _DESCRIBED["columns"]}

CALLS = ("malloc", "free_local", "free_remote")  # what the latency timer times
LATENCIES = ("p50", "p90", "p99", "p999", "max")

# Columns of each schema that can be read, in the order the runner wrote them. Those of old ones never change.
SCHEMA_1 = tuple(
    """
    schema run_id sample round order platform allocator load workload threads seed ops_per_thread duration_ns
    working_set min_bytes max_bytes sizes topology remote_ppm realloc_ppm aligned_ppm calloc_ppm rounds touch pin
    status message library_path library_version library_build_id library_sha256 contract stream_hash elapsed_ns ops
    throughput_ops_s remote_frees local_frees remote_share waits corruptions failures user_ns system_ns run_delay_ns
    voluntary_switches involuntary_switches minor_faults major_faults rss_baseline rss_mean rss_p95 rss_peak rss_work
    live_work rss_freed rss_joined rss_100ms rss_1s rss_purged live_peak reserved_bytes committed_bytes
    metadata_bytes rejects cycles instructions cache_misses dtlb_misses started_at""".split()
)
SCHEMA_2 = SCHEMA_1 + ("input", "latency_every", "latency_probe_ns")
for _call in CALLS:
    SCHEMA_2 += (f"latency_{_call}_count", *(f"latency_{_call}_{p}_ns" for p in LATENCIES))
SCHEMA_2 += ("canary_reference_ns", "canary_before_ns", "canary_after_ns", "pressure_cpu_ns", "pressure_memory_ns",
             "pressure_io_ns", "steal_ns", "contaminated", "contamination")  # fmt: skip
SCHEMA_3 = SCHEMA_2 + tuple(f"windows_{w}_bytes" for w in ("working_set", "peak_working_set", "private_usage"))
SCHEMA_4 = tuple(
    """
    schema run_id sample round order cell_index platform allocator load workload input threads seed
    ops_per_thread duration_ns remote_ppm topology min_bytes max_bytes sizes working_set touch realloc_ppm
    aligned_ppm calloc_ppm rounds age age_bytes age_live_ppm settle_work handover_batch receiver pin status
    message library_path library_version library_build_id library_sha256 contract stream_hash elapsed_ns ops
    throughput_ops_s remote_frees local_frees remote_share waits corruptions failures in_flight_peak user_ns
    system_ns run_delay_ns voluntary_switches involuntary_switches minor_faults major_faults harness_bytes
    rss_baseline rss_mean rss_p95 rss_peak rss_work live_work rss_freed rss_joined rss_100ms rss_1s rss_purged
    rss_settled live_peak live_mean fragmentation_worst_ppm age_hash age_rss age_live reserved_bytes
    committed_bytes metadata_bytes rejects cycles instructions cache_misses dtlb_misses started_at latency_every
    latency_timer_ns latency_malloc_count latency_malloc_p50_ns latency_malloc_p90_ns latency_malloc_p99_ns
    latency_malloc_p999_ns latency_malloc_max_ns latency_free_local_count latency_free_local_p50_ns
    latency_free_local_p90_ns latency_free_local_p99_ns latency_free_local_p999_ns latency_free_local_max_ns
    latency_free_remote_count latency_free_remote_p50_ns latency_free_remote_p90_ns latency_free_remote_p99_ns
    latency_free_remote_p999_ns latency_free_remote_max_ns reference_loop_fastest_ns reference_loop_before_ns
    reference_loop_after_ns pressure_cpu_ns pressure_memory_ns pressure_io_ns steal_ns contaminated
    contamination windows_working_set_bytes windows_peak_working_set_bytes windows_private_usage_bytes""".split()
)
SCHEMAS = {"1": SCHEMA_1, "2": SCHEMA_2, "3": SCHEMA_3, "4": SCHEMA_4, SCHEMA: tuple(COLUMNS)}

# What schemas 2 and 3 call a column of today; their `contamination` says `canary` for `slow-cpu`.
OLD_NAMES = {"latency_timer_ns": "latency_probe_ns", "reference_loop_fastest_ns": "canary_reference_ns",
             "reference_loop_before_ns": "canary_before_ns", "reference_loop_after_ns": "canary_after_ns"}  # fmt: skip

# What parameters were that older samples could not have, so that their cells are those of today's samples without.
NOT_YET: dict[str, int | float | str] = {"memory_limit_bytes": 0, "cpu_quota_ppm": 0, "thp": "default"}

STATUSES = ("ok", "unavailable", "corrupt", "out-of-memory", "refused-free", "crashed", "timeout", "error")
PLATFORMS = ("linux", "windows", "wine")
LOADS = ("dlopen", "preload")

# What makes two rows samples of the same cell, apart from the allocator: in the order of schema 1, which orders tables,
# then what came later. `rounds` is the workload's parameter.
_OF_A_CELL = {"platform", "load", "workload", "pin", "input"} | {c["name"] for c in PARAMETERS} - {"seed"}
CELL = tuple(c for c in dict.fromkeys((*SCHEMA_1, *COLUMNS)) if c in _OF_A_CELL)

# Values of the CELL columns; each has the type that schema.json gives its column, None when the parameter is unset.
Cell: TypeAlias = tuple[Any, ...]
Value: TypeAlias = int | float | str  # of any column; NaN or "" when it is empty

# Readings of the kernel, which contain harness_bytes. rss_settled is a list of them, as text.
RESIDENT = tuple(c for c in COLUMNS if (c.startswith("rss_") or c == "age_rss") and COLUMNS[c].lower() == "u")

RSS_COLUMNS = ("schema", "run_id", "sample", "t_ns", "rss_bytes", "live_bytes", "phase")
PHASES = ("start", "loaded", "warm-up", "measured", "tear-down", "joined", "settle", "purged", "done")

UNSIGNED = re.compile(r"[0-9]{1,20}")
SIGNED = re.compile(r"-?[0-9]{1,19}")
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?")
_RUN_ID = re.compile(r"[0-9a-f]{16}")


def usual(parameter: dict[str, Any]) -> Value:
    """What a parameter is where nobody set it, the same for every workload unless the column is of schema 1."""
    return parameter["values"][0] if parameter["kind"] == "name" else parameter.get("usual", 0)


def value_of(kind: str, text: str) -> Value:
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


def check_row(values: Mapping[str, Any]) -> None:
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


def cell_order(cell: Cell) -> tuple[Any, ...]:
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

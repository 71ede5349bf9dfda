# SPDX-License-Identifier: Apache-2.0
"""Reads result files of schemas 1 to 4 (results/SCHEMA.md) and refuses, with one line, whatever is not exactly that.

A file is checked as a whole before any number of it is used: columns, types, whole last line, one run, one build of each
allocator, one machine, identical work in each cell. An empty cell becomes NaN, never 0.
"""

import csv
import io
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from .errors import InputError, printable

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

NULL = "null"  # the backend that costs nothing: it measures the harness and is no competitor

_UNSIGNED = re.compile(r"[0-9]{1,20}")
_SIGNED = re.compile(r"-?[0-9]{1,19}")
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?")
_RUN_ID = re.compile(r"[0-9a-f]{16}")
_MAX_FIELD = 8192


@dataclass(frozen=True)
class Run:
    """One result file: its provenance (empty when run.json is missing) and where its series lies."""

    path: Path
    run_id: str
    provenance: dict
    host: str  # text that is equal for two runs of one machine; "" when unknown
    pus: int  # processing units of the machine, 0 when unknown


@dataclass
class Results:
    """All samples of some files. `data` has one row a sample, the columns of the schema and:

    file    path of the CSV
    block   the round as a hashable, unique over all files; rows of one block may be paired
    name    allocator, with #2, #3 ... for further copies in the same block (A/A runs)
    cell    tuple of the CELL columns
    crowded True when the sample had more threads than the machine has processing units, None when unknown
    """

    data: pd.DataFrame
    runs: list = field(default_factory=list)

    @property
    def allocators(self):
        return sorted(set(self.data["name"]), key=allocator_order)

    @property
    def cells(self):
        return sorted(set(self.data["cell"]), key=cell_order)


# The order in which tables and figures show things: ours, peers, libc, others by name; never the order of measurement,
# which is shuffled, and never by result, which would move rows from table to table.
_ALLOCATORS = ("hz5", "hz4", "hz3", "mimalloc", "jemalloc", "tcmalloc", "system")
_WORKLOADS = ("local", "remote", "mixed")


def base_name(name):
    """'hz5{profile=rss}#2' -> 'hz5'."""
    return re.split(r"[{#]", name, maxsplit=1)[0]


def allocator_order(name):
    base = base_name(name)
    return (_ALLOCATORS.index(base) if base in _ALLOCATORS else len(_ALLOCATORS), base, name)


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


def read_text(path, what="result file"):
    try:
        raw = Path(path).read_bytes()
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a directory, not a {what}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot read the {what}: {error.strerror}") from error
    if not raw:
        raise InputError(f"{path}: the {what} is empty")
    try:
        text = raw.decode("utf-8-sig")  # spreadsheets and editors of Windows put a byte order mark before the first column
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}, so not a {what}") from error
    if "\0" in text:
        raise InputError(f"{path}: holds a NUL byte, so it is not a {what}, or the disk lost part of it")
    return text


def _rows(path, text, *versions):
    """Yields (line number, dict of fields) of a CSV whose header holds exactly the columns of one of `versions`, which
    go from old to new, each with all columns of the one before."""
    if not text.endswith("\n"):
        line = text.count("\n") + 1
        raise InputError(
            f"{path}:{line}: the last line is cut off; run the same runner command again to resume, or delete that line"
        )
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    limit = csv.field_size_limit(_MAX_FIELD)
    try:
        header = next(reader)
        columns = versions[0]
        for older, newer in zip(versions, versions[1:]):
            if any(c in header for c in newer if c not in older):
                columns = newer
        missing = [c for c in columns if c not in header]
        unknown = [c for c in header if c not in columns]
        if missing:
            raise InputError(
                f"{path}: no column {_some(missing)}; not a file of a schema that is known (results/SCHEMA.md)"
            )
        if unknown or len(header) != len(columns):
            extra = unknown or sorted({c for c in header if header.count(c) > 1})
            raise InputError(
                f"{path}: unknown or repeated column {_some(extra)}; not a file of a schema that is known"
                " (results/SCHEMA.md)"
            )
        places = [header.index(c) for c in columns]
        for row in reader:
            if len(row) != len(columns):
                raise InputError(f"{path}:{reader.line_num}: {len(row)} fields, the header has {len(columns)}")
            yield reader.line_num, {c: row[p] for c, p in zip(columns, places)}
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not valid CSV: {error}") from error
    except StopIteration:
        raise InputError(f"{path}: the result file is empty") from None
    finally:
        csv.field_size_limit(limit)


def _some(names):
    shown = ", ".join(f"'{printable(n, 40)}'" for n in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _value(kind, text):
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
        if not _UNSIGNED.fullmatch(text) or int(text) >= 2**64 - 1:  # UINT64_MAX is C's "not measured", never a value
            raise ValueError("is not an unsigned integer")
        return int(text)
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    if not math.isfinite(number):
        raise ValueError("is not a finite number >= 0")
    return number


def _check_row(values):
    if values["platform"] not in PLATFORMS:
        raise ValueError(f"platform '{printable(values['platform'], 40)}' is none of {', '.join(PLATFORMS)}")
    if values["load"] not in LOADS:
        raise ValueError(f"load '{printable(values['load'], 40)}' is none of {', '.join(LOADS)}")
    if values["status"] not in STATUSES:
        raise ValueError(f"status '{printable(values['status'], 40)}' is none of {', '.join(STATUSES)}")
    if not _RUN_ID.fullmatch(values["run_id"]):
        raise ValueError("run_id is not 16 hex digits")
    if not _UNSIGNED.fullmatch(values["seed"]):
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


def _read_csv(path):
    text = read_text(path)
    rows = []
    names = list(COLUMNS)
    for line, fields in _rows(path, text, *SCHEMAS.values()):
        if SCHEMAS.get(fields["schema"]) != tuple(fields):
            known = next(name for name, columns in SCHEMAS.items() if columns == tuple(fields))
            raise InputError(
                f"{path}:{line}: schema '{printable(fields['schema'], 20)}', but the columns are those of schema {known};"
                f" these scripts read schemas {', '.join(SCHEMAS)}"
            )
        values = {}
        for name in names:
            cell = fields.get(name, "")
            try:
                values[name] = _value(COLUMNS[name], cell)
            except ValueError as error:
                raise InputError(f"{path}:{line}: {name} '{printable(cell, 40)}' {error}") from error
        try:
            _check_row(values)
        except ValueError as error:
            raise InputError(f"{path}:{line}: {error}") from error
        rows.append(values)
    if not rows:
        raise InputError(f"{path}: a header but no samples; has the run started?")
    data = pd.DataFrame(rows, columns=names)
    runs = data["run_id"].unique()
    if len(runs) > 1:
        raise InputError(f"{path}: rows of {len(runs)} runs ({', '.join(runs[:2])}) in one file; keep one run a file")
    twice = data.loc[data["sample"].duplicated(), "sample"]
    if len(twice):
        raise InputError(f"{path}: sample {twice.iloc[0]} occurs twice; files must not be concatenated by hand")
    return data


def sibling(path, ending):
    """NAME.csv -> NAME + ending."""
    path = Path(path)
    stem = path.name[:-4] if path.name.endswith(".csv") else path.name
    return path.with_name(stem + ending)


def _provenance(path, run_id):
    file = sibling(path, ".run.json")
    if not file.exists():
        return {}
    try:
        record = json.loads(read_text(file, "provenance file"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not valid JSON: {error}") from error
    if not isinstance(record, dict):
        raise InputError(f"{file}: not a JSON object")
    if record.get("run_id") != run_id:
        raise InputError(f"{file}: belongs to run {printable(record.get('run_id'), 40)}, the CSV to run {run_id}")
    return record


# What tells two machines, or two systems on one machine, apart. Load, frequency and free memory change from run to run
# and are left out.
_HOST_KEYS = ("host_id", "cpu_model", "packages", "cores", "machine_pus", "pus", "numa_nodes", "kernel", "libc",
              "virtualisation")  # fmt: skip


def _host(record):
    machine = record.get("machine")
    if not isinstance(machine, dict):
        return "", 0
    pus = machine.get("pus")
    pus = pus if isinstance(pus, int) and 0 < pus < 2**20 else 0
    return json.dumps({k: machine.get(k) for k in _HOST_KEYS}, sort_keys=True), pus


def _number_copies(data):
    """Names further rows of one allocator in one cell and block: hz5, hz5#2, ... (an A/A run lists it twice).

    A copy keeps its name through all rounds by its cell of the plan. Rows before schema 4 do not tell it: there the
    order within the round has to do, so that the copies of such a run differ by their positions.
    """
    ordered = data.sort_values(["cell_index", "sample"], kind="stable")
    rank = ordered.groupby(["block", "cell", "allocator"], sort=False).cumcount().reindex(data.index)
    planned = data["cell_index"].notna()
    copies = data[planned].groupby(["file", "cell", "allocator"], sort=False)["cell_index"]
    rank[planned] = copies.rank(method="dense").astype(int) - 1
    return [a if r == 0 else f"{a}#{r + 1}" for a, r in zip(data["allocator"], rank)]


def load(paths):
    """Loads and cross-checks one or more result files of one machine."""
    if not paths:
        raise InputError("no result file given; name one or more NAME.csv")
    frames, runs = [], []
    for path in dict.fromkeys(str(p) for p in paths):
        data = _read_csv(path)
        run_id = data["run_id"].iloc[0]
        clash = next((r for r in runs if r.run_id == run_id), None)
        if clash:
            raise InputError(f"{path}: same run as {clash.path} ({run_id}); give each run once")
        record = _provenance(path, run_id)
        host, pus = _host(record)
        run = Run(Path(path), run_id, record, host, pus)
        if runs:
            same_host(runs[0], run)
        runs.append(run)
        data["file"] = path
        data["block"] = [f"{run_id}/{r}" for r in data["round"]]
        data["crowded"] = [bool(t > pus) if pus else None for t in data["threads"]]
        frames.append(data)
    data = pd.concat(frames, ignore_index=True)
    data["cell"] = _cells(data)
    data["name"] = _number_copies(data)
    _same_builds(data)
    _same_work(data)
    return Results(data, runs)


def _cells(data):
    # NaN is not equal to itself, so an unset parameter becomes None before it goes into a key.
    columns = [[None if isinstance(v, float) and math.isnan(v) else v for v in data[c]] for c in CELL]
    return list(zip(*columns))


def same_host(first, second):
    """Raises InputError unless both runs are known to be of one machine."""
    if not first.host or not second.host:
        lacking = first if not first.host else second
        raise InputError(
            f"{lacking.path}: no run.json with a machine beside it, so it cannot be shown that the files are of one"
            " machine; give it alone"
        )
    if first.host != second.host:
        one, other = json.loads(first.host), json.loads(second.host)
        differ = [f"{k} {other[k]}, not {one[k]}" for k in _HOST_KEYS if one[k] != other[k]]
        raise InputError(
            f"{second.path}: another machine or system than {first.path} ({printable('; '.join(differ), 160)});"
            " numbers of two machines are not put in one table"
        )


def _same_builds(data):
    known = data[data["library_sha256"] != ""]
    for allocator, group in known.groupby("allocator", sort=False):
        builds = group.drop_duplicates("library_sha256")
        if len(builds) > 1:
            a, b = builds.iloc[0], builds.iloc[1]
            raise InputError(
                f"{b['file']}: {allocator} is another build ({b['library_sha256'][:12]}) than in {a['file']}"
                f" ({a['library_sha256'][:12]}); use scripts/compare for two builds"
            )


def _same_work(data):
    """Fixed work must be the same work: one event stream hash in each cell and seed."""
    ran = data[(data["status"] == "ok") & (data["stream_hash"] != "")]
    for _, group in ran.groupby(["cell", "seed"], sort=False):
        hashes = group.drop_duplicates("stream_hash")
        if len(hashes) > 1:
            a, b = hashes.iloc[0], hashes.iloc[1]
            raise InputError(
                f"{b['file']}: {b['workload']} with {b['threads']} threads: {b['name']} did other work (stream"
                f" {b['stream_hash']}) than {a['name']} ({a['stream_hash']}); such rows cannot be compared"
            )


def load_series(run):
    """The RSS series of a run as a frame (sample, t_ns, rss_bytes, live_bytes, phase; live_bytes NaN for programs), or None when there is none."""
    file = sibling(run.path, ".rss.csv")
    if not file.exists():
        return None
    rows = []
    for line, fields in _rows(file, read_text(file, "RSS series"), RSS_COLUMNS):
        schema, run_id, sample, t_ns, rss, live, phase = fields.values()
        if schema not in SCHEMAS or run_id != run.run_id:
            raise InputError(f"{file}:{line}: not of a known schema and of run {run.run_id}")
        if phase not in PHASES:
            raise InputError(f"{file}:{line}: phase '{printable(phase, 40)}' is none of {', '.join(PHASES)}")
        numbers = (sample, t_ns, rss)
        if not all(_UNSIGNED.fullmatch(v) and int(v) < 2**63 for v in numbers) or not (live == "" or _SIGNED.fullmatch(live)):
            raise InputError(f"{file}:{line}: sample, t_ns, rss_bytes and live_bytes must be integers")
        rows.append((int(sample), int(t_ns), int(rss), int(live) if live else float("nan"), phase))
    return pd.DataFrame(rows, columns=["sample", "t_ns", "rss_bytes", "live_bytes", "phase"])

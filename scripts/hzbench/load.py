# SPDX-License-Identifier: Apache-2.0
"""Reads result files of schemas 1 to 5 (results/SCHEMA.md) and refuses, with one line, whatever is not exactly that.

A file is checked as a whole before any number of it is used: columns, types, whole last line, one run, one build of
each allocator, one machine, identical work in each cell. An empty cell becomes NaN, never 0.
"""
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from . import allocators
from .errors import InputError, printable
from .files import read_text, rows_of, sibling

from .schema import (CELL, COLUMNS, NOT_YET, OLD_NAMES, PHASES, RESIDENT, RSS_COLUMNS, SCHEMA, SCHEMAS, SIGNED,
                     UNSIGNED, Cell, Value, cell_order, check_row, value_of)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One result file: its provenance (empty when run.json is missing) and where its series lies."""

    path: Path
    run_id: str
    provenance: dict[str, Any]  # run.json
    host: str  # text that is equal for two runs of one machine; "" when unknown
    pus: int  # processing units of the machine, 0 when unknown
    harness: dict[int, int] = field(default_factory=dict)  # sample -> bytes that the harness kept resident


@dataclass
class Results:
    """All samples of some files. `data` has one row a sample, the columns of the schema - those of RESIDENT without the
    harness's own memory - and:

    file    path of the CSV
    block   the round as a hashable, unique over all files; rows of one block may be paired
    name    allocator, with #2, #3 ... for further copies in the same block (A/A runs)
    cell    tuple of the CELL columns
    crowded True when the sample had more threads than the machine has processing units, None when unknown
    """

    data: pd.DataFrame
    runs: list[Run] = field(default_factory=list)

    @property
    def allocators(self) -> list[str]:
        return sorted(set(self.data["name"]), key=allocators.order)

    @property
    def cells(self) -> list[Cell]:
        return sorted(set(self.data["cell"]), key=cell_order)


def _read_csv(path: str | Path) -> pd.DataFrame:
    text = read_text(path)
    rows = []
    names = list(COLUMNS)
    for line, fields in rows_of(path, text, *SCHEMAS.values()):
        if SCHEMAS.get(fields["schema"]) != tuple(fields):
            known = next(name for name, columns in SCHEMAS.items() if columns == tuple(fields))
            raise InputError(
                f"{path}:{line}: schema '{printable(fields['schema'], 20)}', but the columns are those of schema"
                f" {known}; these scripts read schemas {', '.join(SCHEMAS)}"
            )
        values: dict[str, Value] = {}
        for name in names:
            written = name if name in fields else OLD_NAMES.get(name, name)
            cell = fields.get(written, "")
            try:
                # An older schema lacks what came later.
                values[name] = value_of(COLUMNS[name] if written in fields else COLUMNS[name].lower(), cell)
            except ValueError as error:
                raise InputError(f"{path}:{line}: {written} '{printable(cell, 40)}' {error}") from error
        if fields["schema"] != SCHEMA:
            values["contamination"] = str(values["contamination"]).replace("canary", "slow-cpu")
            values |= NOT_YET
        try:
            check_row(values)
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
    return _without_harness(data)


def _without_harness(data: pd.DataFrame) -> pd.DataFrame:
    """What the harness itself keeps is in every reading of the kernel and no allocator's; a file that is older than
    `harness_bytes` is taken as it is."""
    harness = data["harness_bytes"].fillna(0).astype("int64")
    for column in RESIDENT:
        data[column] = (data[column] - harness).clip(lower=0)
    return data


def _harness(data: pd.DataFrame) -> dict[int, int]:
    return dict(zip(data["sample"], data["harness_bytes"].fillna(0).astype(int)))


def _provenance(path: str | Path, run_id: str) -> dict[str, Any]:
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


def _host(record: dict[str, Any]) -> tuple[str, int]:
    machine = record.get("machine")
    if not isinstance(machine, dict):
        return "", 0
    pus = machine.get("pus")
    pus = pus if isinstance(pus, int) and 0 < pus < 2**20 else 0
    return json.dumps({k: machine.get(k) for k in _HOST_KEYS}, sort_keys=True), pus


def _number_copies(data: pd.DataFrame) -> list[str]:
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


def load(paths: Iterable[str | Path]) -> Results:
    """Loads and cross-checks one or more result files of one machine."""
    if not paths:
        raise InputError("no result file given; name one or more NAME.csv")
    frames: list[pd.DataFrame] = []
    runs: list[Run] = []
    for path in dict.fromkeys(str(p) for p in paths):
        data = _read_csv(path)
        run_id = data["run_id"].iloc[0]
        clash = next((r for r in runs if r.run_id == run_id), None)
        if clash:
            raise InputError(f"{path}: same run as {clash.path} ({run_id}); give each run once")
        record = _provenance(path, run_id)
        host, pus = _host(record)
        run = Run(Path(path), run_id, record, host, pus, _harness(data))
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


def _cells(data: pd.DataFrame) -> list[Cell]:
    # NaN is not equal to itself, so an unset parameter becomes None before it goes into a key.
    columns = [[None if isinstance(v, float) and math.isnan(v) else v for v in data[c]] for c in CELL]
    return list(zip(*columns))


def same_host(first: Run, second: Run) -> None:
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


def _same_builds(data: pd.DataFrame) -> None:
    known = data[data["library_sha256"] != ""]
    for allocator, group in known.groupby("allocator", sort=False):
        builds = group.drop_duplicates("library_sha256")
        if len(builds) > 1:
            a, b = builds.iloc[0], builds.iloc[1]
            raise InputError(
                f"{b['file']}: {allocator} is another build ({b['library_sha256'][:12]}) than in {a['file']}"
                f" ({a['library_sha256'][:12]}); use scripts/compare for two builds"
            )


def _same_work(data: pd.DataFrame) -> None:
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


def load_series(run: Run) -> pd.DataFrame | None:
    """The RSS series of a run as a frame (sample, t_ns, rss_bytes, live_bytes, phase; live_bytes NaN for programs), or
    None when there is none. rss_bytes is without the harness's own memory."""
    file = sibling(run.path, ".rss.csv")
    if not file.exists():
        return None
    rows = []
    for line, fields in rows_of(file, read_text(file, "RSS series"), RSS_COLUMNS):
        schema, run_id, sample, t_ns, rss, live, phase = fields.values()
        if schema not in SCHEMAS or run_id != run.run_id:
            raise InputError(f"{file}:{line}: not of a known schema and of run {run.run_id}")
        if phase not in PHASES:
            raise InputError(f"{file}:{line}: phase '{printable(phase, 40)}' is none of {', '.join(PHASES)}")
        numbers = (sample, t_ns, rss)
        if not all(UNSIGNED.fullmatch(v) and int(v) < 2**63 for v in numbers) or not (
            live == "" or SIGNED.fullmatch(live)
        ):
            raise InputError(f"{file}:{line}: sample, t_ns, rss_bytes and live_bytes must be integers")
        resident = max(int(rss) - run.harness.get(int(sample), 0), 0)
        rows.append((int(sample), int(t_ns), resident, int(live) if live else float("nan"), phase))
    return pd.DataFrame(rows, columns=["sample", "t_ns", "rss_bytes", "live_bytes", "phase"])

# SPDX-License-Identifier: Apache-2.0
"""scripts/merge: joins files of one machine and plan into one run, whose rounds are theirs one after another.

The rows stay as they are but for run id, sample and round. The result has a plan hash of its own: rounds of two runs
follow two orders, so the runner could not find its place in it and refuses to go on with it.
"""

import csv
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

from . import errors, files, load
from .cli import Parser
from .errors import InputError

_EXTENT = ("hash", "samples", "runs")  # of a plan: how many rows, not which
_SERIES = (".rss.csv", ".latency.csv")


def _plan(run: load.Run) -> dict[str, Any]:
    plan = run.provenance.get("plan")
    if not isinstance(plan, dict) or not isinstance(plan.get("cells"), list):
        raise InputError(
            f"{run.path}: its run.json has no plan; only runs of which it is known what they are can be joined"
        )
    return {key: value for key, value in plan.items() if key not in _EXTENT}


def _same_plan(first: load.Run, second: load.Run) -> None:
    one, other = _plan(first), _plan(second)
    differ = [key for key in sorted({*one, *other}) if one.get(key) != other.get(key)]
    if differ:
        detail = ", ".join(f"{k} {other.get(k)}, not {one.get(k)}" if k != "cells" else "other cells" for k in differ)
        raise InputError(
            f"{second.path}: another plan than {first.path} ({errors.printable(detail, 160)}); give runs of one"
        )


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    head, *rows = csv.reader(io.StringIO(files.read_text(path), newline=""))
    return head, rows


class _Joined:
    """One file of the result, to which the parts add their rows."""

    def __init__(self) -> None:
        self.head: list[str] = []
        self.rows: list[list[str]] = []

    def add(self, path: Path, run_id: str, samples: int, rounds: int) -> None:
        head, rows = _table(path)
        if self.head and head != self.head:
            raise InputError(f"{path}: other columns than the files before it; join files of one schema")
        self.head = head
        for row in rows:
            for column, offset in (("sample", samples), ("round", rounds)):
                if column in head:
                    row[head.index(column)] = str(int(row[head.index(column)]) + offset)
            row[head.index("run_id")] = run_id
        self.rows += rows

    def text(self) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([self.head, *self.rows])
        return out.getvalue()


def _record(results: load.Results, run_id: str, rounds: int, samples: int, out: Path) -> dict[str, Any]:
    runs = results.runs
    names = " ".join(str(run.path) for run in runs)
    record: dict[str, Any] = {
        **runs[0].provenance,
        "run_id": run_id,
        "command": f"scripts/merge {names} --output={out}",
    }
    digest = hashlib.sha256(f"merged {run_id}".encode()).hexdigest()
    record["plan"] = {**record["plan"], "hash": digest, "runs": rounds, "samples": samples}
    record["sessions"] = [s for run in runs for s in run.provenance.get("sessions", [])]
    record["merged"] = [
        {"run_id": run.run_id, "command": run.provenance.get("command"), "build": run.provenance.get("build"),
         "environment": run.provenance.get("environment")} for run in runs
    ]  # fmt: skip
    return record


def merge(paths: list[str], out: Path) -> str:
    """Writes the files of the joined run; returns one line that says what it holds."""
    results = load.load(paths)  # one machine, one build of each allocator, the same work
    if len(results.runs) < 2:
        raise InputError("give two or more result files to join")
    for run in results.runs[1:]:
        _same_plan(results.runs[0], run)
    run_id = hashlib.sha256(" ".join(run.run_id for run in results.runs).encode()).hexdigest()[:16]
    cells = len(_plan(results.runs[0])["cells"])
    if results.data["cell_index"].notna().any():
        cells = max(cells, int(results.data["cell_index"].max()) + 1)
    rounds = 0
    joined: dict[str, _Joined] = {".csv": _Joined()}
    for run in results.runs:
        joined[".csv"].add(run.path, run_id, rounds * cells, rounds)
        for ending in _SERIES:
            path = files.sibling(run.path, ending)
            if path.exists():
                joined.setdefault(ending, _Joined()).add(path, run_id, rounds * cells, rounds)
        mine = results.data[results.data["file"] == str(run.path)]
        rounds += int(mine["round"].max()) + 1
    record = _record(results, run_id, rounds, rounds * cells, out)
    written = {ending: table.text() for ending, table in joined.items() if ending != ".csv"}
    written[".run.json"] = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    written[".csv"] = joined[".csv"].text()  # last: rows imply the files beside them
    for ending, text in written.items():
        path = files.sibling(out, ending)
        part = path.with_name(path.name + ".part")
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    return f"{out}: {len(joined['.csv'].rows)} samples in {rounds} rounds of {len(results.runs)} runs"


def main(argv: list[str]) -> int:
    """The command."""
    parser = Parser("scripts/merge", description="Joins result files of one machine and plan into one run.")
    parser.add_argument("files", nargs="+", metavar="FILE.csv")
    parser.add_argument("--output", required=True, metavar="NAME.csv", help="must not exist")
    options = parser.parse_args(argv)
    out = Path(options.output)
    if out.suffix != ".csv" or not out.stem:
        raise InputError(f"--output={out}: must be a file name that ends in .csv")
    for ending in (".csv", ".run.json", *_SERIES):
        if files.sibling(out, ending).exists():
            raise InputError(f"{files.sibling(out, ending)}: is there already; choose another --output")
    print(merge(options.files, out))
    return errors.OK

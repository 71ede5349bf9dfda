# SPDX-License-Identifier: Apache-2.0
"""scripts/export: a bundle of results that can be given away, and the check of one that was received.

A bundle is an archive of the files of some runs, of protocol.json, which tells the same without our tools, and of
MANIFEST.sha256 over all of them. With --redact it names neither the user nor the host nor any directory of theirs.
"""

import csv
import getpass
import hashlib
import io
import json
import math
import os
import re
import socket
import tarfile
import tempfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from . import allocators, artifact, errors, files, load, text
from .cli import Parser
from .errors import InputError

FORMAT = "hzbench bundle 1"
_TABLES = (".csv", ".rss.csv", ".latency.csv")
_ENDINGS = (*_TABLES, ".run.json")
_LARGEST = 2**31  # bytes of all files of a bundle that is read

# Directories that every system has, which tell nothing of a person.
_SYSTEM = ("usr", "lib", "lib64", "bin", "sbin", "etc", "proc", "sys", "dev")
_PATH = re.compile(r"(?<![\w.\-/$])/[\w.+@%~\-]+(?:/[\w.+@%~\-]+)*")

# Where a person's words stand: names are replaced there only, so that a user called `local` leaves workloads alone.
_WORDED_COLUMNS = ("library_path", "message")
_WORDED_KEYS = ("command", "item", "path", "why", "prepare", "wrapper", "setup", "cleanup")
_NAMED_COLUMNS = ("allocator", "input")  # parts of what a sample is called: directories only


class Redactor:
    """Replaces directories by private1, private2 ... and names by name1, name2 ..., the same ones alike throughout."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = sorted({name for name in names if len(name) > 1 and name != "root"}, key=len, reverse=True)
        self.directories: dict[str, str] = {}

    def paths(self, words: str) -> str:
        """`words` without directories."""
        return _PATH.sub(self._path, words)

    def _path(self, found: re.Match[str]) -> str:
        directory, _, name = found[0].rpartition("/")
        if found[0].split("/")[1] in _SYSTEM:
            return found[0]
        if not directory:
            return f"/private/{name}"
        return f"{self.directories.setdefault(directory, f'private{len(self.directories) + 1}')}/{name}"

    def words(self, words: str) -> str:
        """`words` without directories and names."""
        words = self.paths(words)
        for place, name in enumerate(self.names, 1):
            words = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", f"name{place}", words)
        return words

    def leak(self, words: str) -> str:
        """A directory that is still in `words`, or ''."""
        return next((directory for directory in self.directories if directory in words), "")


def names_of_this_machine() -> list[str]:
    """The user's and the host's, by all that knows them."""
    host = socket.gethostname()
    found = [host, host.split(".")[0], os.environ.get("SUDO_USER", ""), Path.home().name]
    try:
        found.append(getpass.getuser())
    except (KeyError, OSError):  # a user without a name
        pass
    return found


def _redact_csv(table: str, redactor: Redactor) -> str:
    head, *rows = csv.reader(io.StringIO(table, newline=""))
    worded = [head.index(c) for c in _WORDED_COLUMNS if c in head]
    named = [head.index(c) for c in _NAMED_COLUMNS if c in head]
    for row in rows:
        for place in worded:
            row[place] = redactor.words(row[place])
        for place in named:
            row[place] = redactor.paths(row[place])
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([head, *rows])
    return out.getvalue()


def _redact_json(value: Any, redactor: Redactor, key: str = "") -> Any:
    if isinstance(value, dict):
        kept = value
        if key == "environment":
            kept = {name: redactor.words(str(v)) for name, v in value.items() if allocators.is_setting(name)}
        return {name: _redact_json(v, redactor, name) for name, v in kept.items()}
    if isinstance(value, list):
        return [_redact_json(v, redactor, key) for v in value]
    if not isinstance(value, str):
        return value
    return redactor.words(value) if key in _WORDED_KEYS else redactor.paths(value)


def _or_none(value: Any) -> Any:
    """JSON's null for what was not measured."""
    if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value


def _sample(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: _or_none(row[name]) for name in ("sample", "round", "order", "allocator", "workload", "threads")},
        "library": {name: _or_none(row[f"library_{name}"]) for name in ("version", "sha256")},
        "status": row["status"],
        "message": _or_none(row["message"]),
        "elapsed_ns": _or_none(row["elapsed_ns"]),
        "ops": _or_none(row["ops"]),
        "memory": {name: _or_none(row[name]) for name in ("rss_baseline", "rss_mean", "rss_peak", "rss_freed")},
    }


def _told(results: load.Results, record: dict[str, Any]) -> dict[str, Any]:
    """What was run and what came of it, failed samples among it; `record` is the run's run.json."""
    (run,) = results.runs
    plan = record["plan"] if isinstance(record.get("plan"), dict) else {}
    return {
        "run_id": run.run_id,
        "file": run.path.name,
        "command": record.get("command"),
        "requested_runs": plan.get("runs"),
        "requested_samples": plan.get("samples"),
        "runner": record.get("build"),
        "machine": record.get("machine"),
        "environment": record.get("environment"),
        "allocators": record.get("allocators"),
        "failed_samples": int((results.data["status"] != "ok").sum()),
        "samples": [_sample(row) for row in results.data.sort_values("sample").to_dict("records")],
    }


def _text(record: Any) -> bytes:
    return (json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _epoch(records: list[dict[str, Any]]) -> int:
    """When the first run began: the time that the archive's files have."""
    try:
        return int(datetime.fromisoformat(records[0]["sessions"][0]["started_at"].replace("Z", "+00:00")).timestamp())
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return 0


def _add(packed: artifact.Files, name: str, body: bytes) -> None:
    if name in packed:
        raise InputError(f"two files are called {name}; rename one, a bundle has them side by side")
    packed[name] = (body, False)


def make(paths: list[str], more: list[str], redactor: Redactor | None) -> tuple[artifact.Files, int]:
    """The files of a bundle of the runs `paths` and the texts `more`, and the time that they have."""
    packed: artifact.Files = {}
    records: list[dict[str, Any]] = []
    told: list[dict[str, Any]] = []
    for path in paths:
        results = load.load([path])
        (run,) = results.runs
        if not run.provenance:
            raise InputError(
                f"{path}: no run.json beside it; a result that does not say where it is from is not exported"
            )
        record = _redact_json(run.provenance, redactor) if redactor else run.provenance
        records.append(record)
        told.append(_told(_redacted(results, redactor), record))
        _add(packed, files.sibling(run.path, ".run.json").name, _text(record))
        for ending in _TABLES:
            file = files.sibling(run.path, ending)
            if file.exists():
                table = files.read_text(file)
                _add(packed, file.name, (_redact_csv(table, redactor) if redactor else table).encode())
    _add(packed, "protocol.json", _text({"format": FORMAT, "redacted": redactor is not None, "runs": told}))
    for path in more:
        log = files.read_text(path, "text file")
        _add(packed, f"logs/{Path(path).name}", (redactor.words(log) if redactor else log).encode())
    for name, (body, _) in packed.items():
        leak = redactor.leak(body.decode()) if redactor else ""
        if leak:
            raise InputError(
                f"{name}: still names the directory {leak}; please report this, and export without that file"
            )
    lines = "".join(f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, (body, _) in sorted(packed.items()))
    packed["MANIFEST.sha256"] = (lines.encode(), False)
    return packed, _epoch(records)


def _redacted(results: load.Results, redactor: Redactor | None) -> load.Results:
    if redactor is None:
        return results
    data = results.data.copy()
    for columns, change in ((_WORDED_COLUMNS, redactor.words), (_NAMED_COLUMNS, redactor.paths)):
        for column in columns:
            data[column] = [change(v) if isinstance(v, str) else v for v in data[column]]
    return load.Results(data, results.runs)


def read(path: str | Path) -> dict[str, bytes]:
    """{name: content} of a bundle, without its outer directory; nothing of it is trusted."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            total = 0
            for member in archive:
                name = member.name.partition("/")[2]
                total += member.size
                parts = Path(name).parts
                if not member.isfile() or not name or name in found or ".." in parts or Path(name).is_absolute():
                    raise InputError(f"{path}: has an entry {errors.printable(member.name, 60)} that no bundle has")
                if total > _LARGEST:
                    raise InputError(f"{path}: holds more than 2 GiB; a bundle of results is smaller")
                content = archive.extractfile(member)
                found[name] = content.read() if content else b""
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{path}: cannot be read as a bundle: {error}") from error
    return found


def check(found: dict[str, bytes], path: str | Path) -> dict[str, Any]:
    """Raises InputError unless the bundle is whole and its results can be read; returns its protocol."""
    manifest = found.get("MANIFEST.sha256")
    if manifest is None:
        raise InputError(f"{path}: has no MANIFEST.sha256, so it is no bundle of scripts/export")
    listed = {}
    for line in manifest.decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    for name in sorted({*listed, *found} - {"MANIFEST.sha256"}):
        if name not in found:
            raise InputError(f"{path}: {errors.printable(name, 60)} is missing")
        if name not in listed:
            raise InputError(f"{path}: {errors.printable(name, 60)} is not in the manifest")
        if hashlib.sha256(found[name]).hexdigest() != listed[name]:
            raise InputError(f"{path}: {errors.printable(name, 60)} has been changed: its sha256 is not the manifest's")
    try:
        protocol = json.loads(found["protocol.json"])
        known = protocol["format"] == FORMAT
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: has no protocol.json that can be read") from error
    if not known:
        raise InputError(f"{path}: format {errors.printable(protocol['format'], 40)}; this is for {FORMAT}")
    with tempfile.TemporaryDirectory() as folder:
        for csv_file in extract(found, folder):
            load.load([csv_file])
    return protocol


def extract(found: dict[str, bytes], folder: str | Path) -> list[Path]:
    """Writes the results of a bundle into `folder`; returns the paths of the samples' files."""
    for name, body in found.items():
        if "/" not in name and name.endswith(_ENDINGS):
            Path(folder, name).write_bytes(body)
    return sorted(p for p in Path(folder).glob("*.csv") if not p.name.endswith((".rss.csv", ".latency.csv")))


def _verify(path: str) -> None:
    protocol = check(read(path), path)
    samples = sum(len(run["samples"]) for run in protocol["runs"])
    failed = sum(run["failed_samples"] for run in protocol["runs"])
    print(
        f"{path}: whole; {text.plural(len(protocol['runs']), 'run')}, {samples} samples, {failed} of them failed,"
        f" {'redacted' if protocol['redacted'] else 'not redacted'}"
    )


def main(argv: list[str]) -> int:
    """`scripts/export`."""
    parser = Parser("scripts/export", description="Packs results into a bundle that can be given away, or checks one.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="result files, NAME.csv; with --verify: bundles")
    parser.add_argument("--output", metavar="NAME.tar.gz", help="the bundle; must not exist")
    parser.add_argument("--redact", action="store_true", help="replace names of user, host and directories")
    parser.add_argument("--hide", action="append", default=[], metavar="WORD", help="with --redact: this name, too")
    parser.add_argument("--log", action="append", default=[], metavar="FILE", help="a text to go along, such as output")
    parser.add_argument("--verify", action="store_true", help="check bundles instead of making one")
    options = parser.parse_args(argv)
    if options.verify:
        for path in options.files:
            _verify(path)
        return errors.OK
    if options.hide and not options.redact:
        raise InputError("--hide needs --redact")
    out = Path(options.output or "")
    if not out.name.endswith(".tar.gz") or out.name == ".tar.gz":
        raise InputError(f"--output={options.output or ''}: must be a file name that ends in .tar.gz")
    if out.exists():
        raise InputError(f"{out}: is there already; choose another --output")
    redactor = Redactor([*names_of_this_machine(), *options.hide]) if options.redact else None
    packed, epoch = make(options.files, options.log, redactor)
    part = out.with_name(out.name + ".part")
    artifact.pack(packed, out.name[: -len(".tar.gz")], epoch, part)
    os.replace(part, out)
    _verify(str(out))
    return errors.OK

# SPDX-License-Identifier: Apache-2.0
"""The hosts behind result files: which files are of one host, what each host is, and in what they differ."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import errors, load, text


@dataclass(frozen=True)
class Host:
    """One machine under one system, with all its result files."""

    letter: str  # A, B, ... in tables and figures
    results: load.Results
    commit: str  # of the runner, "" when unknown
    facts: dict[str, str]  # what is told of it: name of the fact -> its value

    @property
    def title(self) -> str:
        return f"{self.letter}: {self.facts['processor']}, {self.facts['CPUs']} CPUs"


def _cache(machine: dict[str, Any], level: int) -> str:
    sizes = [
        cache["bytes"]
        for cache in machine.get("caches") or []
        if isinstance(cache, dict) and cache.get("level") == level and cache.get("type") != "instruction"
    ]
    return text.size(sizes[0]) if sizes and isinstance(sizes[0], int) else text.MISSING


def _facts(run: load.Run) -> dict[str, str]:
    machine = run.provenance["machine"]

    def told(key: str) -> str:
        value = machine.get(key)
        return text.MISSING if value in (None, "") else errors.printable(value, 60)

    return {
        "id": told("host_id")[:8],
        "processor": told("cpu_model"),
        "CPUs": told("pus"),
        "packages": told("packages"),
        "NUMA nodes": told("numa_nodes"),
        "L1d": _cache(machine, 1),
        "L2": _cache(machine, 2),
        "L3": _cache(machine, 3),
        "system": f"{told('platform')} {told('kernel')}",
        "C library": told("libc"),
        "virtual": told("virtualisation"),
        "huge pages": told("transparent_hugepages"),
    }


def _commit(run: load.Run) -> str:
    build = run.provenance.get("build")
    commit = build.get("commit") if isinstance(build, dict) else None
    return commit if isinstance(commit, str) and commit != "unknown" else ""


def read(paths: Iterable[str | Path]) -> list[Host]:
    """The hosts of the files, in the order in which they are given. A host is known by what its run.json says of the
    machine, never by the name of a file; files of one host are read together, as every other command reads them."""
    files: dict[str, list[Path]] = {}
    for path in dict.fromkeys(Path(p) for p in paths):
        (run,) = load.load([path]).runs
        if not run.host:
            raise errors.InputError(
                f"{path}: no run.json with a machine beside it, so its host is unknown; copy NAME.run.json"
                " with NAME.csv"
            )
        files.setdefault(run.host, []).append(path)
    hosts: list[Host] = []
    for mine in files.values():
        results = load.load(mine)
        commits = {_commit(run) for run in results.runs}
        if len(commits) > 1:
            raise errors.InputError(
                f"{mine[0]} and further files of that host are of {len(commits)} commits"
                f" ({', '.join(sorted(c[:12] or 'unknown' for c in commits))}); give those of one"
            )
        hosts.append(Host(text.letter(len(hosts), "host"), results, commits.pop(), _facts(results.runs[0])))
    _same_work(hosts)
    return hosts


def _same_work(hosts: Sequence[Host]) -> None:
    """Fixed work must be the same work on every host."""
    known: dict[tuple[object, str], tuple[str, Host]] = {}
    for host in hosts:
        data = host.results.data
        ran = data[(data["status"] == "ok") & (data["stream_hash"] != "")]
        for cell, seed, stream in sorted(set(zip(ran["cell"], ran["seed"], ran["stream_hash"])), key=str):
            first, other = known.setdefault((cell, seed), (stream, host))
            if first != stream:
                raise errors.InputError(
                    f"{host.results.runs[0].path}: {text.cell_title(text.lookup(cell))}: other work (stream {stream})"
                    f" than on host {other.letter} ({first}); ratios of different work are not put together"
                )


def common(hosts: Sequence[Host]) -> dict[str, str]:
    """The facts that all hosts share."""
    first = hosts[0].facts
    return {name: value for name, value in first.items() if all(h.facts[name] == value for h in hosts)}


def groups(hosts: Sequence[Host], fact: str) -> dict[str, list[str]]:
    """{value of the fact: letters of the hosts that have it}"""
    found: dict[str, list[str]] = {}
    for host in hosts:
        found.setdefault(host.facts[fact], []).append(host.letter)
    return found


def as_json(host: Host) -> dict[str, Any]:
    machine = host.results.runs[0].provenance["machine"]
    return {
        "letter": host.letter,
        "commit": host.commit or None,
        "files": [str(run.path) for run in host.results.runs],
        "runs": [run.run_id for run in host.results.runs],
        "machine": json.loads(json.dumps(machine)),
    }

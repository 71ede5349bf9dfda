# SPDX-License-Identifier: Apache-2.0
"""Takes results in: those of a plan's tasks, each checked against plan and manifest, and bundles of other hosts."""

import hashlib
import json
import os
import shlex
import shutil
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import bundle, errors, files, load, text
from ..errors import InputError
from .engines import State
from .plan import Command, Plan

_SKEW = 5  # seconds by which two clocks may differ unmentioned
_LARGEST = 2**31  # bytes of a zip that is read


@dataclass
class Collected:
    """What came of it; `problems` has a line for each thing that is not there, or not as it should be."""

    files: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def _check_manifest(task: Path) -> None:
    listed = {}
    for line in files.read_text(task / "MANIFEST.sha256", "manifest").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    for path in (p for p in sorted([*task.glob("*.csv"), *task.glob("*.json")]) if p.is_file()):
        if hashlib.sha256(path.read_bytes()).hexdigest() != listed.pop(path.name, ""):
            raise InputError(f"{path.name} is not what the task wrote: its sha256 is not the manifest's")
    if listed:
        raise InputError(f"{', '.join(sorted(listed))} is missing")


def _check_origin(run: load.Run, command: Command, plan: Plan) -> None:
    """Raises InputError unless the run is one of the plan's: by commit and command, not by where it lies."""
    build = run.provenance.get("build")
    commit = str(build.get("commit")) if isinstance(build, dict) else "unknown"
    if isinstance(build, dict) and build.get("dirty"):
        commit = commit.removesuffix("-dirty") + "-dirty"
    if commit != plan.commit:
        raise InputError(f"{run.path.name} is of commit {commit[:12]}, the plan of {plan.commit[:12]}")
    words = shlex.split(str(run.provenance.get("command")))
    before = words[: words.index("--")] if "--" in words else words
    ours = [w for w in before[1:] if w != "--quiet" and not w.startswith("--output=")] + words[len(before) :]
    if ours != command:
        raise InputError(f"{run.path.name} is of another plan: measured by {errors.printable(shlex.join(ours), 100)}")


def _take(task: Path, commands: Sequence[Command], plan: Plan, out: Path) -> tuple[list[Path], int]:
    """Copies a task's runs to OUT-NUMBER.csv and so on; (the files of samples, how many samples)."""
    taken: list[Path] = []
    samples = 0
    for number, command in enumerate(commands, 1):
        path = task / f"{number}.csv"
        if not path.is_file():
            continue
        results = load.load([path])
        _check_origin(results.runs[0], command, plan)
        samples += len(results.data)
        for source in (p for p in sorted(task.glob(f"{number}.*")) if p.is_file()):
            out.parent.mkdir(parents=True, exist_ok=True)
            target = out.with_name(f"{out.name}-{source.name}")
            part = target.with_name(target.name + ".part")
            shutil.copyfile(source, part)
            os.replace(part, target)
        taken.append(out.with_name(f"{out.name}-{number}.csv"))
    return taken, samples


def _clock(state: State, plan: Plan) -> str:
    """What is wrong with the clock of the task's host, or ''."""
    early, late = plan.created - state.start, state.end - int(time.time())
    if max(early, late) <= _SKEW:
        return ""
    return (
        f"{state.host}: its clock is {max(early, late)} s {'behind' if early > late else 'ahead of'} this machine's;"
        " the times of its rows are off, its ratios are not"
    )


def _same_host_twice(taken: Sequence[Path]) -> list[str]:
    names: dict[str, set[str]] = {}
    for path in taken:
        run = load.load([path]).runs[0]
        names.setdefault(run.host, set()).add(path.parent.name)
    return [f"{' and '.join(sorted(n))} are one machine: its results count once" for n in names.values() if len(n) > 1]


def tasks(plan: Plan, results: Path, states: Sequence[State], out: Path) -> Collected:
    """Takes in what there is of each task: whole ones checked by manifest, the rows of others with the reason."""
    got = Collected()
    wanted = [(host, name) for host in plan.hosts or [""] for name in plan.names]
    for host, name in wanted:
        here = sorted((s for s in states if s.task == name and host in ("", s.host)), key=lambda s: s.word != "done")
        if not here:
            got.problems.append(f"task {name}{f' on {host}' if host else ''}: has not started")
            continue
        state = here[0]
        task = results / state.host / name
        where = f"task {name} on {state.host}"
        try:
            if state.word == "done":
                if state.rest.split()[-1:] != [plan.digest]:
                    raise InputError("is of another plan")
                _check_manifest(task)
            taken, samples = _take(task, plan.tasks[int(name)].commands, plan, out / state.host / name)
        except InputError as error:
            got.problems.append(f"{where}: refused: {error}")
            continue
        got.files += taken
        if state.word == "done" and state.rest.split()[0] != "0":
            got.problems.append(f"{where}: done, but not all samples are ok; the tables say which")
        elif state.word != "done":
            why = f": {state.rest.partition(' ')[2]}" if state.word == "failed" else ""
            got.problems.append(f"{where}: {state.word}{why}; {text.plural(samples, 'sample')} taken as they are")
        clock = _clock(state, plan)
        if clock and clock not in got.problems:
            got.problems.append(clock)
    got.problems += _same_host_twice(got.files)
    return got


def _bundles(path: str) -> list[tuple[str, Path | bytes]]:
    """The bundles in a zip, such as a download of a workflow's results, or the file itself when it is one."""
    if not zipfile.is_zipfile(path):
        return [(path, Path(path))]
    found: list[tuple[str, Path | bytes]] = []
    try:
        with zipfile.ZipFile(path) as archive:
            inside = [i for i in archive.infolist() if i.filename.endswith(".tar.gz")]
            if sum(i.file_size for i in inside) > _LARGEST:
                raise InputError(f"{path}: holds more than 2 GiB; bundles of results are smaller")
            found += [(f"{path}:{errors.printable(i.filename, 60)}", archive.read(i)) for i in inside]
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if not found:
        raise InputError(f"{path}: has no NAME.tar.gz of scripts/export in it")
    return found


def take_bundle(path: str, out: Path) -> list[Path]:
    """Takes the bundles of scripts/export in `path` in: a folder for each host, called PLATFORM-HOST."""
    taken: list[Path] = []
    for name, source in _bundles(path):
        with tempfile.TemporaryDirectory() as scratch:
            if isinstance(source, bytes):
                Path(scratch, "bundle.tar.gz").write_bytes(source)
            found = bundle.read(Path(scratch, "bundle.tar.gz") if isinstance(source, bytes) else source)
            bundle.check(found, name)
            inside = Path(scratch, "inside")
            inside.mkdir()
            for file in bundle.extract(found, inside):
                taken.append(_file_by_host(file, out, name))
    return taken


def _file_by_host(file: Path, out: Path, name: str) -> Path:
    results = load.load([file])
    (run,) = results.runs
    machine = run.provenance.get("machine")
    identity = str(machine.get("host_id", "")) if isinstance(machine, dict) else ""
    if not run.host or not identity.isalnum():
        raise InputError(f"{name}: {file.name} does not say of which machine it is")
    folder = out / f"{results.data['platform'].iloc[0]}-{identity[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name
    if target.exists() and target.read_bytes() != file.read_bytes():
        raise InputError(f"{target}: is there already, with other samples; collect into another --out")
    for ending in (".csv", ".rss.csv", ".latency.csv", ".run.json"):
        if files.sibling(file, ending).exists():
            shutil.copyfile(files.sibling(file, ending), files.sibling(target, ending))
    return target


def record(plan: Plan, got: Collected, out: Path) -> None:
    """collected.json: what the collected files are of."""
    told = {"plan": plan.digest, "commit": plan.commit, "files": [str(p.relative_to(out)) for p in got.files],
            "problems": got.problems}  # fmt: skip
    (out / "collected.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")

# SPDX-License-Identifier: Apache-2.0
"""A plan: runner commands cut into tasks, each of which one node runs, and the folder that a node needs for them."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import allocators, errors
from ..errors import InputError

ROOT = Path(__file__).resolve().parents[3]
FORMAT = "hzbench plan 1"
TASK = Path(__file__).with_name("task.sh")
ENGINES = ("slurm", "clush", "local")
BUILDS = ("once", "per-node")

# Options that a task gives itself, or with which nothing is measured.
_NOT_OURS = ("--output", "--quiet", "--plan", "--doctor", "--schema", "--help", "--version", "--list-allocators",
             "--list-workloads", "selftest")  # fmt: skip
_CUT = ("--workload", "--threads")  # by these a command falls into parts; all allocators of a cell stay together

Command = list[str]


@dataclass(frozen=True)
class Task:
    seconds: int  # as the runner guesses
    commands: list[Command]


@dataclass
class Plan:
    """What is measured where. `digest` names it: results of another one are refused."""

    engine: str
    build: str
    commit: str
    tasks: list[Task]
    hosts: list[str] = field(default_factory=list)  # each runs all tasks; none: Slurm gives each task some node
    partition: str = ""
    limit: int = 4  # tasks of an array that run at once
    retries: int = 1  # arrays that run what the one before left
    more: list[str] = field(default_factory=list)  # arguments for sbatch or clush
    place: str = ""  # folder on hosts that ssh reaches; their home directory
    environment: dict[str, str] = field(default_factory=dict)
    started_in: str = ""
    created: int = 0

    @property
    def digest(self) -> str:
        what = [self.commit, self.build, self.environment, [task.commands for task in self.tasks]]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    @property
    def names(self) -> list[str]:
        """Of the tasks."""
        return [f"{number:03}" for number in range(len(self.tasks))]


def find_runner() -> Path:
    runner = Path(os.environ.get("BUILD_DIR", ROOT / "build")) / "runner"
    installed = ROOT.parents[1] / "libexec" / "hzbench" / "runner"  # of PREFIX/share/hzbench
    found = next((path for path in (runner, installed) if os.access(path, os.X_OK)), None)
    if found is None:
        raise InputError(f"{runner} not found - build first: scripts/quickstart, or set BUILD_DIR", errors.UNAVAILABLE)
    return found


def commit_of(runner: Path) -> str:
    """The commit that the runner was built from."""
    told = subprocess.run([runner, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\(commit ([0-9a-f]{40})(-dirty)?", told)
    return found[1] + (found[2] or "") if found else "unknown"


def read_matrix(path: str) -> list[Command]:
    """The commands of a file, one line each, or of a matrix of scripts/matrix."""
    if Path(path).is_file():
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    else:
        done = subprocess.run(
            [ROOT / "scripts" / "matrix", path, "--commands"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise InputError(f"{path}: neither a file nor a matrix of scripts/matrix")
        text = done.stdout
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise InputError(f"{path}:{number}: {error}") from error
        if words:
            found.append(words)
    if not found:
        raise InputError(f"{path}: no command in it; a line has the runner's options, such as --alloc=hz5,system")
    return found


def _items(text: str) -> list[str]:
    """The parts of a list, whose commas in braces part nothing."""
    return re.findall(r"(?:[^,{]|\{[^}]*\})+", text)


def _values(option: str, text: str) -> list[str]:
    items = _items(text)
    if option == "--workload":
        return items
    found: list[str] = []
    for item in items:
        ends = re.fullmatch(r"(\d{1,6})-(\d{1,6})", item)
        found += map(str, range(int(ends[1]), int(ends[2]) + 1)) if ends else [item]
    return found


def _guess(runner: Path, command: Command) -> int | None:
    """Seconds that the command takes, as the runner guesses; None when it has no cell."""
    done = subprocess.run(
        [runner, *command, "--plan"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        if "needs at least" in done.stderr and "threads" in done.stderr:
            return None
        raise InputError((done.stderr.strip().splitlines() or ["the runner said nothing"])[-1], done.returncode)
    told = done.stdout.strip().rpartition("\n")[2]
    length = {"h": 3600, "m": 60, "s": 1}
    return max(1, sum(int(n) * length[unit] for n, unit in re.findall(r"\b(\d+)([hms])\b", told)))


def _parts(runner: Path, command: Command) -> list[tuple[int, Command]]:
    """The command cut into its parts, one workload and number of threads each: (seconds, command)."""
    options = command[: command.index("--")] if "--" in command else command
    for word in options:
        if word.partition("=")[0] in _NOT_OURS:
            raise InputError(f"{word}: not in a matrix: it is for a run of the runner by hand")
    for option in _CUT:
        if sum(word.startswith(option + "=") for word in options) > 1:
            raise InputError(f"{option}: is there twice; give one list")
    if _guess(runner, command) is None:
        raise InputError(f"{shlex.join(command)}: has no cell that could be measured")
    whole: list[Command] = [command]
    for option in reversed(_CUT):
        place = next((i for i, word in enumerate(options) if word.startswith(option + "=")), None)
        if place is not None:
            values = _values(option, command[place].partition("=")[2])
            whole = [c[:place] + [f"{option}={v}"] + c[place + 1 :] for c in whole for v in values]
    return [(seconds, part) for part in whole if (seconds := _guess(runner, part)) is not None]


def _joined(parts: Sequence[Command]) -> list[Command]:
    """The parts of a task, those that differ in their workload only as one command again."""
    found: list[Command] = []
    for part in parts:
        last = found[-1] if found else []
        differ = [i for i, (a, b) in enumerate(zip(last, part)) if a != b]
        if len(last) == len(part) and len(differ) == 1 and part[differ[0]].startswith("--workload="):
            last[differ[0]] += "," + part[differ[0]].partition("=")[2]
        else:
            found.append(list(part))
    return found


def cut(runner: Path, commands: Iterable[Command], minutes: float) -> list[Task]:
    """Tasks of at least so many minutes, but for a plan that has fewer."""
    tasks: list[tuple[int, list[Command]]] = []
    for command in commands:
        for seconds, part in _parts(runner, command):
            if tasks and tasks[-1][0] < minutes * 60:
                tasks[-1] = (tasks[-1][0] + seconds, [*tasks[-1][1], part])
            else:
                tasks.append((seconds, [part]))
    if len(tasks) > 1 and tasks[-1][0] < minutes * 60:
        seconds, parts = tasks.pop()
        tasks[-1] = (tasks[-1][0] + seconds, tasks[-1][1] + parts)
    return [Task(seconds, _joined(parts)) for seconds, parts in tasks]


def inputs(plan: Plan) -> list[str]:
    """What the commands read by path, which a host without our files does not have."""
    words = (word for task in plan.tasks for command in task.commands for word in command)
    return sorted({item for word in words if word.startswith(("--alloc=", "--workload="))
                   for item in _items(word.partition("=")[2]) if "/" in item})  # fmt: skip


def carried_environment() -> dict[str, str]:
    """Of this process's environment what allocators read."""
    return {name: value for name, value in sorted(os.environ.items()) if allocators.is_setting(name)}


def _stage_build(runner: Path, folder: Path) -> None:
    """Copies the programs into folder/build: what is built anew meanwhile must not change what is measured."""
    with tempfile.TemporaryDirectory(dir=folder) as stage:
        if runner.parent.parent.name == "libexec":
            prefix = runner.parents[2]
        else:
            command = ["meson", "install", "-C", str(runner.parent), "--no-rebuild", "--quiet", "--destdir", stage]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found = next(Path(stage).glob("**/libexec/hzbench/runner"), None)
            if done.returncode or found is None:
                why = (done.stderr or done.stdout).strip().splitlines() or ["it has no libexec/hzbench/runner"]
                raise InputError(f"{runner.parent}: cannot be carried to a node: {why[-1]}", errors.UNAVAILABLE)
            prefix = found.parents[2]
        part = Path(stage, "carried")
        for place in ("libexec/hzbench", "share/hzbench/apps"):
            if (prefix / place).is_dir():
                shutil.copytree(prefix / place, part / place, symlinks=True)
        (part / "lib").mkdir()
        for library in (prefix / "lib").glob("libhz*"):
            shutil.copy2(library, part / "lib", follow_symlinks=False)
        os.replace(part, folder / "build")


def _stage_source(commit: str, folder: Path) -> None:
    if commit.endswith("-dirty") or commit == "unknown":
        raise InputError(f"--build=per-node: the source of commit {commit} is not to be had; commit first, then build")
    (folder / "source").mkdir()
    packed = subprocess.run(["git", "-C", ROOT, "archive", commit], capture_output=True, check=False)
    if packed.returncode:
        raise InputError(f"--build=per-node: git has no commit {commit[:12]} in {ROOT}")
    subprocess.run(["tar", "-x", "-C", folder / "source"], input=packed.stdout, check=True)


def write(plan: Plan, folder: Path, runner: Path) -> None:
    """Makes the plan's folder; plan.json is written last, so a folder that has one is whole."""
    for place in ("build", "source", "tasks"):
        shutil.rmtree(folder / place, ignore_errors=True)
    (folder / "tasks").mkdir(parents=True)
    (folder / "results").mkdir(exist_ok=True)
    if plan.build == "once":
        _stage_build(runner, folder)
    else:
        _stage_source(plan.commit, folder)
    for name, task in zip(plan.names, plan.tasks):
        text = "".join(shlex.join(command) + "\n" for command in task.commands)
        (folder / "tasks" / name).write_text(text, encoding="utf-8")
    settings = {"plan": plan.digest, "build": plan.build, "anywhere": "no" if plan.hosts else "yes"}
    lines = [f"{name}={shlex.quote(value)}" for name, value in settings.items()]
    lines += [f"from={shlex.quote(plan.started_in) if plan.engine != 'clush' else '$dir'}", "results=$dir/results"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in plan.environment.items()]
    (folder / "environment").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.copy(TASK, folder / "task.sh")
    part = folder / "plan.json.part"
    record = {"format": FORMAT, "digest": plan.digest, **asdict(plan)}
    part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(part, folder / "plan.json")


def read(folder: Path) -> Plan:
    path = folder / "plan.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known, digest = record.pop("format") == FORMAT, record.pop("digest")
        record["tasks"] = [Task(**task) for task in record["tasks"]]
        plan = Plan(**record)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; a plan is made by scripts/cluster submit") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a plan of scripts/cluster submit") from error
    if not known or digest != plan.digest or plan.engine not in ENGINES:
        raise InputError(f"{path}: not as scripts/cluster submit wrote it; submit into a new folder")
    return plan


def made(**values: Any) -> Plan:
    """A plan of now and here."""
    return Plan(environment=carried_environment(), started_in=os.getcwd(), created=int(time.time()), **values)

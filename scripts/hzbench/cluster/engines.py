# SPDX-License-Identifier: Apache-2.0
"""What runs the tasks of a plan: Slurm, clustershell's clush over ssh, or this machine. Each is asked by its own
commands; which task runs when is Slurm's decision, and elsewhere a host takes one after the other."""

import os
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .. import errors
from ..errors import InputError
from .plan import Plan


@dataclass(frozen=True)
class State:
    """Of one task on one host, as its file says (task.sh)."""

    host: str
    task: str
    word: str
    start: int = 0
    end: int = 0
    rest: str = ""  # done: code and plan; failed: code and why

    @staticmethod
    def parse(host: str, task: str, text: str) -> "State":
        found = re.match(r"(running|done|failed) (\d+)(?: (\d+) (.*))?$", text.strip())
        if not found:
            return State(host, task, "damaged")
        return State(host, task, found[1], int(found[2]), int(found[3] or 0), found[4] or "")


def _call(command: Sequence[str | Path], what: str) -> str:
    """Standard output of a command; its failure is one line."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise InputError(
            f"{command[0]} not found: {what} is not on this machine; --engine=slurm, clush or local", errors.UNAVAILABLE
        ) from error
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith("clush: ")] or lines  # that it failed; before it, why
        raise InputError(
            f"{what}: {lines[-1] if lines else f'{command[0]} ended with {done.returncode}'}", errors.UNAVAILABLE
        )
    return str(done.stdout)


def read_states(results: Path) -> list[State]:
    found = []
    for path in sorted(results.glob("*/*/state")):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        found.append(State.parse(path.parent.parent.name, path.parent.name, text))
    return found


class Slurm:
    """A job array a host (one for all where Slurm may choose the nodes), then arrays for what it left."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.jobs_file = folder / "jobs"

    @staticmethod
    def hosts(partition: str, wanted: int) -> list[str]:
        """So many nodes of the partition, idle ones first; Slurm's own complaint when there is none of the name."""
        told = _call(["sinfo", "-h", "-N", "-p", partition, "-o", "%t %N"], "Slurm")
        nodes = [line.split() for line in told.splitlines()]
        usable = sorted((state.strip("*~#%$@^-!+") not in ("idle",), name) for state, name in nodes
                        if state.strip("~#%$@^-!+") in ("idle", "mix", "alloc", "comp", "resv", "plnd"))  # fmt: skip
        if not nodes:
            raise InputError(f"Slurm has no partition {partition}; sinfo lists what there is", errors.UNAVAILABLE)
        if len(usable) < wanted:
            raise InputError(
                f"--hosts={wanted}: partition {partition} has {len(usable)} of {len(nodes)} nodes up; ask for fewer",
                errors.UNAVAILABLE,
            )
        return [name for _, name in usable[:wanted]]

    def submit(self, tasks: dict[str, list[str]]) -> list[str]:
        plan = self.plan
        jobs = []
        for host, names in tasks.items():
            last = ""
            for _ in range(1 + plan.retries):
                command = [
                    "sbatch",
                    "--parsable",
                    f"--job-name=hzbench-{plan.digest[:8]}",
                    f"--partition={plan.partition}",
                ]
                command += ["--nodes=1", "--ntasks=1", "--exclusive", "--requeue", "--open-mode=append"]
                command += [f"--array={','.join(str(int(name)) for name in names)}%{plan.limit}"]
                command += [f"--output={self.folder}/slurm-%A_%a.out", f"--chdir={self.folder}"]
                command += [f"--export=HZBENCH_PLAN_DIR={self.folder}"]
                command += [f"--nodelist={host}"] if host else []
                command += [f"--dependency=afternotok:{last}", "--kill-on-invalid-dep=yes"] if last else []
                last = _call([*command, *plan.more, self.folder / "task.sh", "-"], "Slurm").strip().partition(";")[0]
                jobs.append(last)
                with open(self.jobs_file, "a", encoding="utf-8") as file:
                    file.write(last + "\n")
        return [f"job {job}" for job in jobs]

    def _jobs(self) -> list[str]:
        return self.jobs_file.read_text(encoding="utf-8").split() if self.jobs_file.exists() else []

    def alive(self) -> dict[tuple[str, str], str]:
        """{(host or '', task): Slurm's word for it}"""
        ours = set(self._jobs())
        if not ours:
            return {}
        name = f"hzbench-{self.plan.digest[:8]}"
        told = _call(["squeue", "-h", "-r", "-n", name, "-o", "%F|%K|%T|%N|%r"], "Slurm")
        found: dict[tuple[str, str], str] = {}
        for line in told.splitlines():
            job, task, word, node, why = line.split("|", 4)
            if job in ours and why != "Dependency" and task.isdigit():
                waits = f"{word.lower()} ({why})" if word == "PENDING" and why not in ("None", "") else word.lower()
                found[node if word == "RUNNING" else "", f"{int(task):03}"] = waits
        return found

    def fetch(self) -> tuple[Path, list[str]]:
        return self.folder / "results", []

    def states(self) -> tuple[list[State], list[str]]:
        return read_states(self.folder / "results"), []

    def cancel(self) -> None:
        if self._jobs():
            _call(["scancel", "--quiet", *self._jobs()], "Slurm")
        self.jobs_file.unlink(missing_ok=True)


class Shell:
    """Hosts on which a shell runs: this one. Each takes the tasks one after the other."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder

    def place(self, host: str) -> str:
        """The plan's folder on the host."""
        del host
        return str(self.folder)

    def on(self, host: str, command: str) -> str:
        """What the command prints there."""
        del host
        return _call(["sh", "-c", command], "this machine")

    def _on_each(self, command: Callable[[str], str], hosts: Iterable[str]) -> tuple[dict[str, str], list[str]]:
        """({host: what it said}, what went wrong on others), several hosts at a time."""
        said: dict[str, str] = {}
        wrong: list[str] = []
        with ThreadPoolExecutor(16) as pool:
            asked = {host: pool.submit(self.on, host, command(host)) for host in hosts}
            for host, answer in asked.items():
                try:
                    said[host] = answer.result()
                except InputError as error:
                    wrong.append(f"{host}: {error}")
        return said, wrong

    def carry(self, hosts: Sequence[str]) -> None:
        """Brings the plan's folder to the hosts."""

    def submit(self, tasks: dict[str, list[str]]) -> list[str]:
        self.carry(list(tasks))

        def start(host: str) -> str:
            place, name = shlex.quote(self.place(host)), shlex.quote(host)
            words = " ".join([name, *tasks[host]])
            mine = f"{place}/results/{name}"
            before = " ".join(f"{mine}/{task}/state" for task in tasks[host])
            return (
                f"mkdir -p {mine} && rm -f {before} && {{"
                f" setsid nohup sh {place}/task.sh {words} >>{mine}/log 2>&1 </dev/null & echo $! >{mine}/pid; }}"
            )

        _, wrong = self._on_each(start, tasks)
        if wrong:
            raise InputError("; ".join(wrong), errors.UNAVAILABLE)
        return list(tasks)

    def _told(self) -> tuple[dict[str, str], list[str]]:
        def ask(host: str) -> str:
            place = shlex.quote(f"{self.place(host)}/results/{host}")
            return (
                f"cd {place} 2>/dev/null || exit 0; for s in */state; do [ ! -f $s ] || echo $s $(cat $s); done;"
                " [ ! -f pid ] || ! kill -0 $(cat pid) 2>/dev/null || echo alive"
            )

        return self._on_each(ask, self.plan.hosts)

    def alive(self) -> dict[tuple[str, str], str]:
        said, _ = self._told()
        running: dict[tuple[str, str], str] = {}
        for host, text in said.items():
            if "alive" in text.splitlines():
                here = [s for s in _states_of(host, text)]
                ended = {s.task for s in here if s.word != "running"}
                now = {s.task for s in here if s.word == "running"}
                running |= {(host, t): "running" if t in now else "waiting" for t in self.plan.names if t not in ended}
        return running

    def states(self) -> tuple[list[State], list[str]]:
        said, wrong = self._told()
        return [state for host, text in said.items() for state in _states_of(host, text)], wrong

    def fetch(self) -> tuple[Path, list[str]]:
        return self.folder / "results", []

    def cancel(self) -> None:
        _, wrong = self._on_each(
            lambda host: f"cd {shlex.quote(f'{self.place(host)}/results/{host}')} 2>/dev/null || exit 0;"
            " [ ! -f pid ] || kill -TERM $(cat pid) 2>/dev/null || true",
            self.plan.hosts,
        )
        if wrong:
            raise InputError("; ".join(wrong), errors.UNAVAILABLE)


def _states_of(host: str, text: str) -> list[State]:
    lines = (line.partition("/state ") for line in text.splitlines() if "/state " in line)
    return [State.parse(host, task, state) for task, _, state in lines]


class Clush(Shell):
    """Hosts that ssh reaches, through Debian's clustershell; the plan's folder is copied to each."""

    def place(self, host: str) -> str:
        name = f"hzbench-{self.plan.digest[:8]}-{host}"  # hosts may share the directory
        return f"{self.plan.place}/{name}" if self.plan.place else name

    def _clush(self, host: str, *arguments: str | Path) -> str:
        told = _call(["clush", "-w", host, "-N", "-S", *self.plan.more, *arguments], f"clush to {host}")
        return told

    def on(self, host: str, command: str) -> str:
        return self._clush(host, "--", f"sh -c {shlex.quote(command)}")

    def carry(self, hosts: Sequence[str]) -> None:
        _, wrong = self._on_each(lambda host: f"mkdir -p {shlex.quote(self.place(host))}", hosts)
        if wrong:
            raise InputError("; ".join(wrong), errors.UNAVAILABLE)
        packed = self.folder / "plan.tar.gz"
        with tarfile.open(packed, "w:gz") as archive:
            for name in ("plan.json", "environment", "task.sh", "tasks", "build", "source"):
                if (self.folder / name).exists():
                    archive.add(self.folder / name, name)
        try:
            for host in hosts:
                place = self.place(host)
                self._clush(host, "--copy", packed, f"--dest={place}/plan.tar.gz")
                self.on(host, f"cd {shlex.quote(place)} && tar -xzf plan.tar.gz && rm plan.tar.gz")
        finally:
            packed.unlink(missing_ok=True)

    def fetch(self) -> tuple[Path, list[str]]:
        wrong = []
        for host in self.plan.hosts:
            arrived = self.folder / f"results.{host}"  # as clush calls it
            shutil.rmtree(arrived, ignore_errors=True)
            try:
                self._clush(host, "--rcopy", f"{self.place(host)}/results", f"--dest={self.folder}")
                shutil.copytree(arrived / host, self.folder / "results" / host, dirs_exist_ok=True)
            except (InputError, OSError) as error:
                wrong.append(f"{host}: nothing fetched: {error}")
            shutil.rmtree(arrived, ignore_errors=True)
        return self.folder / "results", wrong


Engine = Slurm | Shell | Clush


def of(plan: Plan, folder: Path) -> Engine:
    """The engine that the plan names."""
    if plan.engine == "slurm":
        return Slurm(plan, folder)
    return Clush(plan, folder) if plan.engine == "clush" else Shell(plan, folder)


def this_host() -> str:
    return os.uname().nodename

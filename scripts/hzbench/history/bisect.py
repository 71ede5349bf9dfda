# SPDX-License-Identifier: Apache-2.0
"""Which commit made a change: measures commits between two against both of them, in one run, and halves.

Each step builds one commit in the middle in a worktree of its own and measures it beside the good and the bad build,
so that all three have the same minutes. It counts as good or bad by the interval of its distance to the half way
between the two. What no number of rounds within the limit decides, is said to be undecided. The commit that is left is
measured once more against the one before it, because the comparison that began the search errs once in twenty times.
"""

import csv
import json
import math
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from .. import load, model, schema, stats, text
from ..errors import FAILED, INCONCLUSIVE, OK, InputError, printable

BUILD = "meson setup {build} && ninja -C {build} {targets}"
RUNNER = "runner hzbench-worker"  # of the bad end; all builds are measured with it
MEASURE = (
    "{runner} --alloc=good={good}/{library},bad={bad}/{library},middle={middle}/{library} --workload={workload}"
    " --threads={threads} --runs={rounds} --settle=0 --rss-interval=0 --output={output}"
)
# Counts of instructions are exact, so one is enough, and a loaded machine counts the same.
COUNT = (
    "{scripts}/instructions --alloc={good}/{library},{bad}/{library},{middle}/{library} --pattern={pattern}"
    " --sizes={size} --budget={budget} --json={output}"
)
# What only a bisect compares by: it leaves out the time in which other programs had the processor.
CPU_TIME = "cpu_time"
ROUNDS_AT_LEAST = 8
GROW = 2  # times as many rounds where the first ones do not decide


@dataclass(frozen=True)
class Commit:
    """One candidate."""

    sha: str
    subject: str

    @property
    def short(self) -> str:
        """As people write it."""
        return self.sha[:9]


@dataclass(frozen=True)
class Plan:
    """What to build and to measure with; words in braces are filled in."""

    repository: Path
    folder: Path  # for worktrees and results
    build: str
    measure: str
    words: dict[str, str]
    metric: str
    exact: bool  # counts of COUNT, which need no rounds
    rounds: int
    most_rounds: int


def git(repository: Path, *arguments: str) -> str:
    """What git says; one line for what it refuses."""
    done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = printable(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "failed", 160)
        raise InputError(f"git {arguments[0]} in {repository}: {said}")
    return done.stdout


def between(repository: Path, good: str, bad: str) -> list[Commit]:
    """The commits after `good` up to `bad`, the oldest first."""
    out = git(repository, "log", "--reverse", "--first-parent", "--format=%H%x00%s", f"{good}..{bad}")
    commits = [Commit(*line.split("\0", 1)) for line in out.splitlines()]
    if not commits:
        raise InputError(
            f"no commit between {printable(good, 40)} and {printable(bad, 40)}: is the good one the older?"
        )
    return commits


_NINE_IN_TEN = float(norm.ppf(0.975)) + float(norm.ppf(0.9))


def rounds_for(share: float, noise: float) -> int:
    """Rounds with which the middle of two builds `share` apart is excluded nine times in ten, when the log-ratio of
    a round varies by `noise`."""
    half = abs(math.log1p(share)) / 2
    return max(ROUNDS_AT_LEAST, math.ceil((_NINE_IN_TEN * noise / half) ** 2))


def share_seen(rounds: int, noise: float) -> float:
    """The smallest loss for which so many rounds are enough: `rounds_for` the other way round."""
    return -math.expm1(-2 * _NINE_IN_TEN * noise / math.sqrt(rounds))


def _spread(values: stats.Floats) -> float:
    """Standard deviation as the middle half of the values shows it: a busy machine makes some rounds very slow."""
    low, high = np.quantile(values, (0.25, 0.75))
    return float(high - low) / 1.349


class Bisect:
    """One search. Builds stay in the folder, so that the same command again goes on where it was."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.say = say
        self.rounds = plan.rounds
        self.runner = plan.folder / "runner"  # of the bad end, once that is built
        self.step = self.noise = 0.0  # of the last judgement: logarithm from good to bad, spread of a round
        self._count = 0

    def _run(self, command: str, words: dict[str, str], folder: Path, log: Path) -> bool:
        line = command
        for word, value in words.items():
            line = line.replace("{" + word + "}", value)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ {line}\n")
            file.flush()
            done = subprocess.run(["/bin/sh", "-c", line], cwd=folder, stdin=subprocess.DEVNULL, stdout=file,
                                  stderr=subprocess.STDOUT, check=False)  # fmt: skip
        return done.returncode == 0

    def built(self, commit: Commit, more: str = "") -> Path | None:
        """The build of a commit, with the targets `more` besides its library; None when it does not build."""
        tree = self.plan.folder / commit.short
        build, log = tree / "build-bisect", self.plan.folder / f"{commit.short}.log"
        if (tree / ".built").exists():
            return build
        if not tree.exists():
            git(self.plan.repository, "worktree", "add", "--detach", "--force", str(tree), commit.sha)
        library = self.plan.words["targets"]  # empty: everything
        words = {"build": shlex.quote(str(build)), "tree": shlex.quote(str(tree)), "commit": commit.sha,
                 "targets": f"{library} {more}".rstrip() if library else ""}  # fmt: skip
        if not self._run(self.plan.build, words, tree, log):
            self.say(f"{commit.short} does not build ({log}); left out")
            return None
        (tree / ".built").touch()
        return build

    def measured(self, good: Path, bad: Path, middle: Path, rounds: int) -> tuple[stats.Floats, stats.Floats]:
        """Log-ratios of the middle to the good build and to the bad one, round by round, of all measurements so far."""
        self._count += 1
        output = self.plan.folder / f"step-{self._count}.csv"
        output.unlink(missing_ok=True)
        words = {**self.plan.words, "good": shlex.quote(str(good)), "bad": shlex.quote(str(bad)),
                 "middle": shlex.quote(str(middle)), "rounds": str(rounds), "output": shlex.quote(str(output)),
                 "runner": shlex.quote(str(self.runner))}  # fmt: skip
        log = self.plan.folder / f"step-{self._count}.log"
        if not self._run(self.plan.measure, words, self.plan.folder, log) or not output.exists():
            raise InputError(f"measuring failed; what it said: {log}", FAILED)
        if self.plan.exact:
            return self.counts(output, (good, bad, middle))
        return self.ratios(output)

    def ratios(self, output: Path) -> tuple[stats.Floats, stats.Floats]:
        """From a result file of the runner, or from a CSV with the columns round, good, bad and middle."""
        with output.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if rows and {"round", "good", "bad", "middle"} <= set(rows[0]):
            try:
                columns = {c: np.array([float(row[c]) for row in rows]) for c in ("good", "bad", "middle")}
            except ValueError as error:
                raise InputError(f"{output}: not a number: {error}", FAILED) from error
            logs = {c: np.log(v) for c, v in columns.items()}
            return logs["middle"] - logs["good"], logs["middle"] - logs["bad"]
        results = load.load([output])
        by_name = {name: rows for name, rows in results.data.groupby("name")}
        problems = {name: model.failure_text(by_name[name]) for name in ("good", "bad", "middle") if name in by_name}
        if len(problems) < 3 or any(problems.values()):
            raise InputError(f"{output}: a sample failed: {printable(problems)}", FAILED)
        if self.plan.metric == CPU_TIME:
            by_name = {n: rows.assign(cpu_time=(rows["user_ns"] + rows["system_ns"]) / rows["ops"])
                       for n, rows in by_name.items()}  # fmt: skip
        out = []
        for base in ("good", "bad"):
            new, old, _ = model.paired(by_name["middle"], by_name[base], self.plan.metric)
            out.append(np.log(new) - np.log(old))
        return out[0], out[1]

    def counts(self, output: Path, builds: Sequence[Path]) -> tuple[stats.Floats, stats.Floats]:
        """From a file of scripts/instructions --json, whose names are the paths of the libraries."""
        record = json.loads(output.read_text(encoding="utf-8"))
        pattern, size = self.plan.words["pattern"], self.plan.words["size"]
        library = self.plan.words["library"]
        good, bad, middle = (math.log(record[f"{build}/{library}"][pattern][size]["pair"]) for build in builds)
        return np.array([middle - good]), np.array([middle - bad])

    def judge(self, good: Path, bad: Path, middle: Path, commit: Commit) -> str:
        """'good', 'bad' or '' when the rounds do not tell."""
        against_good: list[stats.Floats] = []
        against_bad: list[stats.Floats] = []
        rounds = self.rounds
        spent = 0
        while True:
            one, other = self.measured(good, bad, middle, rounds)
            against_good.append(one)
            against_bad.append(other)
            spent += rounds
            # The distance of the middle to the half way between good and bad: the mean of its distances to both.
            from_half = (np.concatenate(against_good) + np.concatenate(against_bad)) / 2
            step = float(np.median(np.concatenate(against_good) - np.concatenate(against_bad)))  # bad less good
            self.step, self.noise = step, _spread(from_half)
            low, high = (float(from_half[0]),) * 2 if self.plan.exact else stats.bootstrap_interval(from_half)
            ratio = stats.hodges_lehmann(np.concatenate(against_good))
            side = "" if low <= 0 <= high else ("good" if (low > 0) == (step < 0) else "bad")
            self.say(
                f"{commit.short} {'is ' + side if side else 'undecided':9}"
                f" {'by its count' if self.plan.exact else 'after ' + text.plural(spent, 'round')}:"
                f" {100 * math.expm1(ratio):+.1f} % against good, good to bad {100 * math.expm1(step):+.1f} %"
                f"  {printable(commit.subject, 60)}"
            )
            if side or self.plan.exact or spent + rounds * GROW > self.plan.most_rounds:
                return side
            rounds *= GROW

    def search(self, good: Commit, commits: Sequence[Commit]) -> tuple[int, str]:
        """(exit code, sentence). The last of `commits` is the bad one."""
        good_build, bad_build = self.built(good), self.built(commits[-1], "" if self.plan.exact else RUNNER)
        if good_build is None or bad_build is None:
            raise InputError("the good or the bad commit does not build; choose others", FAILED)
        self.runner = bad_build / "runner"
        self.say(f"{text.plural(len(commits), 'commit')} between {good.short} and {commits[-1].short}, about"
                 f" {max(0, math.ceil(math.log2(len(commits))))} steps"
                 + ("" if self.plan.exact else f" of {self.plan.rounds} rounds"))  # fmt: skip
        # The two ends first: where they cannot be told apart, nothing between them can.
        if self.judge(good_build, bad_build, bad_build, commits[-1]) != "bad":
            if self.plan.exact:
                return INCONCLUSIVE, f"cannot tell: {good.short} and {commits[-1].short} have the same count"
            seen = share_seen(self.plan.most_rounds, self.noise)
            return INCONCLUSIVE, (
                f"cannot tell: {good.short} and {commits[-1].short} do not differ here within"
                f" {self.plan.most_rounds} rounds, which show {100 * seen:.2g} % and more while a round varies by"
                f" {100 * self.noise:.2g} %; the change was the machine's, or it needs --max-rounds, an idle machine or"
                f" --metric={CPU_TIME}"
            )
        whole = self.step
        if not self.plan.exact:
            wanted = rounds_for(math.expm1(whole), self.noise)
            self.rounds = min(max(self.plan.rounds, wanted), self.plan.most_rounds)
        first, last = 0, len(commits) - 1  # the change is one of commits[first .. last]
        skipped: set[int] = set()
        while first < last:
            open_ = [i for i in range(first, last) if i not in skipped]
            if not open_:
                break
            middle = min(open_, key=lambda i: (abs(i - (first + last - 1) / 2), i))
            build = self.built(commits[middle])
            side = self.judge(good_build, bad_build, build, commits[middle]) if build is not None else ""
            if side == "good":
                first = middle + 1
            elif side == "bad":
                last = middle
            else:
                skipped.add(middle)
        found = commits[first : last + 1]
        if len(found) == 1:
            before = commits[first - 1] if first else good
            if len(commits) > 1 and not self.plan.exact and not self._is_confirmed(before, found[0], whole):
                return INCONCLUSIVE, (
                    f"cannot tell: {found[0].short} is where the halving ended, but measured again it does not differ"
                    f" from {before.short}, the commit before it, as the bad end does from the good one"
                )
            return OK, f"{found[0].sha} made the change: {printable(found[0].subject, 100)}"
        names = ", ".join(c.short for c in found)
        return (
            INCONCLUSIVE,
            f"cannot tell which of {len(found)} commits made the change: {names} (undecided or not built)",
        )

    def _is_confirmed(self, before: Commit, found: Commit, whole: float) -> bool:
        """Whether the commit differs from the one before it, and in the direction of the whole change."""
        old, new = self.built(before), self.built(found)
        if old is None or new is None:
            return False
        self.say(f"once more, {found.short} against {before.short}, the commit before it:")
        return self.judge(old, new, new, found) == "bad" and self.step * whole > 0

    def clean(self) -> None:
        """Removes the worktrees; results and logs stay."""
        for tree in self.plan.folder.iterdir():
            if (tree / ".git").is_file():
                git(self.plan.repository, "worktree", "remove", "--force", str(tree))


def folder_of(wanted: str | None) -> Path:
    """Where builds and results go; made when missing."""
    folder = Path(wanted) if wanted else Path(tempfile.mkdtemp(prefix="hzbench-bisect-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror}") from error
    return folder.resolve()


def _written(kind: str, value: Any) -> str:
    """A parameter as the runner reads it."""
    if kind == "share":
        return f"{value / 1e4:g}%"
    return f"{value:.0f}ns" if kind == "time" else str(value)


_SIZES = ("min_bytes", "max_bytes")
# Shares that are above 0 where they are not given: a stored cell leaves zeros out.
_ABOVE_ZERO = {"remote": ("remote",), "mixed": ("remote", "realloc", "aligned", "calloc")}


def workload_of(cell: str) -> str:
    """The --workload item of a stored cell."""
    values = json.loads(cell)
    if values["workload"] in ("program", "app", "trace", "profile"):
        raise InputError(f"a cell of {values['workload']} is not built from parameters; give --workload=ITEM")
    parts = [
        f"{p['parameter']}={_written(str(p['kind']), values[p['name']])}"
        for p in schema.PARAMETERS
        if p["name"] in values and p["name"] not in (*_SIZES, "threads", "seed", "sizes")
    ]
    parts += [f"{p['parameter']}=0%" for p in schema.PARAMETERS
              if p["name"] not in values and p["parameter"] in _ABOVE_ZERO.get(values["workload"], ())]  # fmt: skip
    if all(c in values for c in _SIZES) and not values.get("input"):
        parts.append(f"sizes={values['min_bytes']}..{values['max_bytes']}")
        if values.get("sizes", "uniform") != "uniform":
            parts.append(f"size-distribution={values['sizes']}")
    name = values["workload"] + (f":{values['input']}" if values.get("input") else "")
    return name + (f"{{{','.join(parts)}}}" if parts else "")


def words_of(workload: str, threads: int, allocator: str) -> dict[str, str]:
    """What the default commands are filled with."""
    name = allocator.split("{", 1)[0]
    library = os.path.join("allocators", name, f"lib{name}.so")
    size = re.search(r"sizes=([0-9]+)", workload)
    root = Path(__file__).resolve().parents[3]
    budget = Path(os.environ.get("BUILD_DIR") or root / "build") / "tests" / "budget" / "budget"
    return {"workload": shlex.quote(workload), "threads": str(threads), "library": library,
            "targets": library if name else "",
            "pattern": shlex.quote(workload.split("{", 1)[0]), "size": size[1] if size else "64",
            "scripts": shlex.quote(str(root / "scripts")), "budget": shlex.quote(str(budget))}  # fmt: skip

# SPDX-License-Identifier: Apache-2.0
"""The bisect of a history on a scratch repository of 16 commits: a planted loss of 10 % is found by a measuring command
that reads what each commit says it costs; without a difference, or with a commit that does not build, it says so."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from hzbench import errors
from hzbench.history import bisect

PLANTED = 11  # of 16 commits: from it on 10 % slower

# Reads cost and noise of the three builds and writes as many rounds; deterministic, but other noise in each round.
MEASURE = """
import csv, hashlib, math, sys
output, rounds, *builds = sys.argv[1:]
costs = [float(open(b + '/cost').read()) for b in builds]
with open(output, 'w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(['round', 'good', 'bad', 'middle'])
    for r in range(int(rounds)):
        row = [r]
        for i, cost in enumerate(costs):
            noise = int(hashlib.sha256(f'{output}{r}{i}'.encode()).hexdigest()[:8], 16) / 2**32 - 0.5
            row.append(1e6 / cost * math.exp(0.05 * noise))
        writer.writerow(row)
"""


def git(folder, *arguments):
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
           "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org"}  # fmt: skip
    return subprocess.run(["git", "-C", folder, *arguments], env=env, check=True, capture_output=True, text=True).stdout


def make(folder, costs, broken=()):
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for number, cost in enumerate(costs):
        (folder / "cost").write_text(f"{cost}\n")
        (folder / "number").write_text(f"{number}\n")
        (folder / "broken").write_text("yes" if number in broken else "no")
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", f"Change number {number}")
    return git(folder, "log", "--reverse", "--format=%H").split()


def run(script, tmp_path, commits, *more):
    (tmp_path / "measure.py").write_text(MEASURE)
    return script(
        "history", "bisect", f"--repo={tmp_path / 'repo'}", f"--good={commits[0]}", f"--bad={commits[-1]}",
        f"--folder={tmp_path / 'work'}", "--build=grep -q no broken && mkdir -p {build} && cp cost {build}/cost",
        f"--measure={sys.executable} {tmp_path}/measure.py {{output}} {{rounds}} {{good}} {{bad}} {{middle}}"
        " && : --runner={runner}", *more,
        timeout=300,
    )  # fmt: skip


def test_a_planted_regression_is_found_among_sixteen_commits(script, tmp_path):
    commits = make(tmp_path / "repo", [100 if n < PLANTED else 111 for n in range(17)])
    done = run(script, tmp_path, commits)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{commits[PLANTED]} made the change: Change number {PLANTED}"
    steps = [line for line in done.stdout.splitlines() if " is good" in line or " is bad" in line]
    logs = "".join(log.read_text() for log in (tmp_path / "work").glob("step-*.log"))
    assert set(re.findall(r"--runner=(.*)", logs)) == {str(tmp_path / "work" / commits[-1][:9] / "build-bisect/runner")}
    assert len(steps) == 6  # the bad end, log2 of 16, and the commit against the one before it
    assert git(tmp_path / "repo", "worktree", "list").count("\n") == 1  # nothing is left behind
    if os.environ.get("HZBENCH_SCREENSHOTS"):
        with open(os.path.join(os.environ["HZBENCH_SCREENSHOTS"], "bisect.txt"), "w", encoding="utf-8") as file:
            file.write(done.stdout)


ALLOCATOR = """
#include <stddef.h>
// Never gives memory back: its cost is this loop alone.
static char memory[1 << 26];
static size_t used;
static int work(int n) {
    for (int i = 0; i < n; i++)
        __asm__ volatile("" : "+r"(i));
    return n;
}
void *malloc(size_t size) {
    work(WORK);
    char *at = memory + used;
    used = (used + size + 31) & ~(size_t)31;
    if (used > sizeof memory - 4096)
        used = 0;
    return at;
}
void free(void *p) { (void)p; }
void *calloc(size_t n, size_t size) { return malloc(n * size); }
void *realloc(void *p, size_t size) {
    char *at = malloc(size);
    for (size_t i = 0; p && i < size; i++)
        at[i] = ((char *)p)[i];
    return at;
}
"""


def planted(folder, work):
    """A repository of a small allocator in which malloc loops work[n] times in the n-th commit."""
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for number, loops in enumerate(work):
        (folder / "planted.c").write_text(f"#define WORK {loops} // {number}" + ALLOCATOR)
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", f"Change number {number}")
    return git(folder, "log", "--reverse", "--format=%H").split()


@pytest.mark.skipif("HZBENCH_BUILD" not in os.environ, reason="HZBENCH_BUILD names no build directory (meson sets it)")
def test_a_library_that_executes_more_is_found_by_counts(script, tmp_path):
    """Builds and counts for real: 12 % more instructions from the eleventh of 16 commits on."""
    commits = planted(tmp_path / "repo", [20 if n < PLANTED else 23 for n in range(17)])
    done = script(
        "history", "bisect", f"--repo={tmp_path / 'repo'}", f"--good={commits[0]}", f"--bad={commits[-1]}",
        f"--folder={tmp_path / 'work'}", "--metric=instructions", "--alloc=planted", "--workload=local{sizes=64..64}",
        "--build=mkdir -p {build}/allocators/planted && cc -O2 -shared -fPIC -fno-builtin planted.c"
        " -o {build}/allocators/planted/libplanted.so",
        env={"BUILD_DIR": os.environ["HZBENCH_BUILD"]}, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{commits[PLANTED]} made the change: Change number {PLANTED}"
    assert done.stdout.count("by its count") == 5 and "round" not in done.stdout
    steps = [float(line.split("good to bad ")[1].split(" %")[0]) for line in done.stdout.splitlines() if " is " in line]
    assert len(set(steps)) == 1 and 8 < steps[0] < 14


def search_of(tmp_path, sides, most_rounds=160, noise=0.02):
    """A search whose measurements are given: the n-th of `sides` is the logarithm from good to bad that the n-th one
    shows, and where the middle lies between them. Returns the answer and the rounds asked for."""
    asked = []

    class Given(bisect.Bisect):
        def built(self, commit, more=""):
            return tmp_path / commit.sha

        def measured(self, good, bad, middle, rounds):
            step, part = sides[min(len(asked), len(sides) - 1)]
            asked.append(rounds)
            wave = np.resize([-noise, -noise / 2, 0, noise / 2, noise], rounds)
            return step * part + wave, step * (part - 1) + wave

    plan = bisect.Plan(tmp_path, tmp_path, "", "", {}, "throughput_ops_s", False, 8, most_rounds)
    search = Given(plan, lambda line: None)
    commits = [bisect.Commit(f"{number:09}", "") for number in range(1, 5)]
    return search.search(bisect.Commit("0" * 9, ""), commits), asked


def test_a_difference_that_was_chance_names_no_commit(tmp_path):
    # The ends seem to differ, the halving goes on by that; the commit that is left is as fast as the one before it.
    (code, sentence), _ = search_of(tmp_path, [(-0.1, 1), (-0.1, 0), (-0.1, 1), (0, 1)])
    assert code == errors.INCONCLUSIVE and "measured again it does not differ" in sentence
    (code, sentence), _ = search_of(tmp_path, [(-0.1, 1), (-0.1, 0), (-0.1, 1), (0.1, 1)])
    assert code == errors.INCONCLUSIVE and "cannot tell" in sentence
    (code, sentence), _ = search_of(tmp_path, [(-0.1, 1), (-0.1, 0), (-0.1, 1), (-0.1, 1)])
    assert code == 0 and sentence.startswith("000000003 made the change")


def test_the_noise_of_the_ends_tells_how_many_rounds_the_steps_get(tmp_path):
    _, asked = search_of(tmp_path, [(-0.1, 1), (-0.1, 0)], noise=0.02)
    assert set(asked) == {bisect.ROUNDS_AT_LEAST}
    _, asked = search_of(tmp_path, [(-0.1, 1), (-0.1, 0)], noise=0.12)
    assert asked[-1] > 2 * bisect.ROUNDS_AT_LEAST and asked[-1] <= 160


def test_it_says_which_loss_the_rounds_would_have_shown(tmp_path):
    (code, sentence), asked = search_of(tmp_path, [(0, 1)], most_rounds=40, noise=0.2)
    assert code == errors.INCONCLUSIVE and "while a round varies by" in sentence and sum(asked) == 24
    assert bisect.share_seen(bisect.rounds_for(-0.02, 0.1), 0.1) == pytest.approx(0.02, rel=0.01)


def test_without_a_difference_it_says_that_it_cannot_tell(script, tmp_path):
    commits = make(tmp_path / "repo", [100] * 5)
    done = run(script, tmp_path, commits, "--max-rounds=40")
    assert done.returncode == errors.INCONCLUSIVE and "cannot tell" in done.stdout.splitlines()[-1]


def test_a_commit_that_does_not_build_is_left_out_and_named_when_it_may_be_the_one(script, tmp_path):
    costs = [100, 100, 100, 111, 111, 111]
    commits = make(tmp_path / "repo", costs, broken=(1,))
    assert run(script, tmp_path, commits).stdout.splitlines()[-1].startswith(f"{commits[3]} made the change")
    second = tmp_path / "second"
    second.mkdir()
    commits = make(second / "repo", costs, broken=(3,))
    done = run(script, second, commits)
    assert done.returncode == errors.INCONCLUSIVE
    assert commits[3][:9] in done.stdout.splitlines()[-1] and commits[4][:9] in done.stdout.splitlines()[-1]


def test_a_gain_is_found_too(script, tmp_path):
    commits = make(tmp_path / "repo", [100, 100, 90, 90, 90])
    assert run(script, tmp_path, commits).stdout.splitlines()[-1].startswith(commits[2])


def test_more_rounds_for_smaller_changes():
    assert bisect.rounds_for(-0.1, 0.02) == bisect.ROUNDS_AT_LEAST
    assert bisect.rounds_for(-0.02, 0.02) > 4 * bisect.rounds_for(-0.1, 0.02)


def test_the_workload_of_a_cell_is_written_as_the_runner_takes_it():
    cell = {"workload": "remote", "threads": 2, "min_bytes": 16, "max_bytes": 2048, "remote_ppm": 900000,
            "ops_per_thread": 200000, "topology": "ring", "load": "dlopen", "platform": "linux"}  # fmt: skip
    assert bisect.workload_of(json.dumps(cell)) == "remote{ops=200000,remote=90%,topology=ring,sizes=16..2048}"
    del cell["remote_ppm"]
    assert bisect.workload_of(json.dumps(cell)) == "remote{ops=200000,topology=ring,remote=0%,sizes=16..2048}"
    mixed = bisect.workload_of(json.dumps({"workload": "mixed", "touch": "none", "calloc_ppm": 50000}))
    assert mixed == "mixed{touch=none,calloc=5%,remote=0%,realloc=0%,aligned=0%}"
    with pytest.raises(errors.InputError, match="--workload"):
        bisect.workload_of(json.dumps({"workload": "program", "input": "x"}))


def test_usage_errors_are_one_line(script, tmp_path):
    commits = make(tmp_path / "repo", [1, 1])
    for arguments in (
        (),
        (f"--repo={tmp_path / 'repo'}", "--good=nothing", f"--bad={commits[1]}", "--measure=x", "--build=x"),
        (f"--repo={tmp_path / 'repo'}", f"--good={commits[1]}", f"--bad={commits[0]}", "--measure=x", "--build=x"),
        ("abcdef", f"--db={tmp_path / 'none.db'}"),
    ):
        done = script("history", "bisect", *arguments, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, (arguments, done.stderr)

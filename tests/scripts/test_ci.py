# SPDX-License-Identifier: Apache-2.0
"""The CI recipe as a user runs it, on real builds: passes on itself, fails on a library that costs more. And its
workflow."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, SCRIPTS
from hzbench import errors, gate

BUILD = os.environ.get("HZBENCH_BUILD")
real = pytest.mark.skipif(not BUILD, reason="HZBENCH_BUILD names no build directory (meson sets it)")


def counts(path, pairs):
    path.write_text(
        json.dumps({"x": {"local": {size: {"malloc": 1, "free": 1, "pair": n} for size, n in pairs.items()}}})
    )
    return path


def test_instructions_are_gated_without_proof(tmp_path, script):
    base = counts(tmp_path / "base.json", {"64": 50, "1024": 60})
    worse = counts(tmp_path / "new.json", {"64": 50, "1024": 63})
    assert gate.check_instructions(base, worse, 0.06)[1] == errors.OK
    done = script("gate", base, worse, "--max-worse=1%")
    assert done.returncode == 1 and "fail  local, 1024 B: 60 -> 63" in done.stdout
    with pytest.raises(errors.InputError, match="other patterns or sizes"):
        gate.check_instructions(base, counts(tmp_path / "other.json", {"64": 50}), 0.01)
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(errors.InputError, match="not the counts of one allocator"):
        gate.check_instructions(base, tmp_path / "bad.json", 0.01)


# Short samples on a machine that runs other tests: limits so wide that only a change of kind goes beyond them.
WIDE = ("--runs=8", "--workload=local{ops=50k},remote{ops=20k}", "--max-worse=60%", "--max-rss=60%", "--max-behind=95%")


def recipe(script, out, base, new, *more):
    return script("ci-recipe", f"--base={base}", f"--new={new}", f"--out={out}", *WIDE, *more,
                  env={"BUILD_DIR": BUILD}, timeout=500)  # fmt: skip


@real
def test_the_recipe_passes_on_itself(script, tmp_path):
    library = Path(BUILD) / "allocators" / "hz5" / "libhz5.so"
    done = recipe(script, tmp_path / "out", library, library, "--also=hz5,hz5{profile=rss},mimalloc,null")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("ci-recipe: passed")
    for name in (
        "run.csv",
        "run.run.json",
        "gates.txt",
        "instructions.txt",
        "pull-request.md",
        "table.txt",
        "lint.txt",
        *(["report.html"] if (Path(BUILD) / "npm" / "node_modules" / "uplot").is_dir() else []),
    ):
        assert (tmp_path / "out" / name).stat().st_size > 0, name
    assert len((tmp_path / "out" / "pull-request.md").read_text().splitlines()) <= 30
    verdicts = re.findall(r"^gate: \d+ failed", (tmp_path / "out" / "gates.txt").read_text(), re.MULTILINE)
    assert len(verdicts) == 4  # counts, builds, profile, mimalloc; a warning of too few rounds may stand beside each


@real
def test_the_recipe_fails_on_a_library_that_executes_more(script, tmp_path):
    """hz5's checks cost instructions that hz3 does not execute: hz3 before, hz5 after is a loss that must be found."""
    libraries = [Path(BUILD) / "allocators" / n / f"lib{n}.so" for n in ("hz3", "hz5")]
    done = recipe(script, tmp_path / "out", *libraries, "--also=null")
    assert done.returncode == 1 and done.stdout.rstrip().endswith("ci-recipe: failed"), done.stdout + done.stderr
    assert re.search(r"^fail  local, 64 B: ", (tmp_path / "out" / "gates.txt").read_text(), re.M)


def test_usage_errors_are_one_line(script, tmp_path):
    for arguments in ((), ("--base=/nonexistent.so",), ("--what",)):
        done = script("ci-recipe", *arguments, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1


@real
def test_a_history_in_ci_adds_main_commits_and_tells_of_a_pull_request(script, tmp_path):
    """Four commits of main, then a pull request whose library executes as much as hz5 where it was hz4: what main has
    is untouched, the comment is short and tells the instructions, and a lost database comes back from the files."""
    repo, built = tmp_path / "repo", Path(BUILD) / "allocators"
    git = ["git", "-C", repo, "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "init", "-q", "-b", "main", repo], check=True)
    (tmp_path / "lib").mkdir()

    def measure(library, day, *more):
        shutil.copy(built / library / f"lib{library}.so", tmp_path / "lib" / "libmine.so")
        date = f"2026-01-{day:02}T12:00:00Z"
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", f"Change {day}"], check=True,
                       env={**os.environ, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date})  # fmt: skip
        where = [f"--folder={tmp_path / 'history'}", f"--repo={repo}", f"--out={tmp_path / 'out'}"]
        work = [f"--alloc={tmp_path}/lib/libmine.so,system", "--workload=local{ops=20k}", "--runs=2"]
        done = script("history-recipe", *where, *work, *more, env={"BUILD_DIR": BUILD}, timeout=500)
        assert done.returncode == 0, done.stdout + done.stderr
        return (tmp_path / "out" / "changes.md").read_text()

    for day in range(1, 5):
        measure("hz4", day)
    kept = sorted((tmp_path / "history").rglob("*"))
    database = tmp_path / "history" / "history.db"
    database.unlink()
    told = measure("hz5", 5, "--pull-request")
    assert len(told.splitlines()) <= 30 and "instructions a malloc and free of mine" in told and "| worse" in told
    assert "made anew from 8 of 8 files" in (tmp_path / "out" / "rebuild.txt").read_text()
    assert [*sorted((tmp_path / "history").rglob("*"))] == [path for path in kept if path != database]
    if (Path(BUILD) / "npm" / "node_modules" / "uplot").is_dir():
        assert "<html" in (tmp_path / "out" / "history.html").read_text()


@pytest.mark.parametrize("name, recipe", [("allocator-gate", "ci-recipe"), ("allocator-history", "history-recipe")])
def test_the_workflow_runs_what_is_there(name, recipe):
    text = (ROOT / "docs" / "ci" / f"{name}.yml").read_text()
    called = set(re.findall(r"new/scripts/([a-z-]+)", text))
    assert called == {"setup", recipe} and all(os.access(SCRIPTS / name, os.X_OK) for name in called)
    help_ = subprocess.run([SCRIPTS / recipe, "--help"], capture_output=True, text=True, check=True).stdout
    lines = [line for line in text.splitlines() if f"scripts/{recipe}" in line]
    assert lines and all(option in help_ for option in re.findall(r"(--[a-z-]+)", " ".join(lines)))
    assert "\t" not in text and not re.search(r"^ *- name:.*:.*:", text, re.M)

# SPDX-License-Identifier: Apache-2.0
"""The CI recipe as a user runs it, on real builds: passes on itself, fails on a library that costs more. And its
workflow."""

import json
import os
import re
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


def test_the_workflow_runs_what_is_there():
    text = (ROOT / "docs" / "ci" / "allocator-gate.yml").read_text()
    called = set(re.findall(r"new/scripts/([a-z-]+)", text))
    assert called == {"setup", "ci-recipe"} and all(os.access(SCRIPTS / name, os.X_OK) for name in called)
    help_ = subprocess.run([SCRIPTS / "ci-recipe", "--help"], capture_output=True, text=True, check=True).stdout
    line = next(line for line in text.splitlines() if "scripts/ci-recipe" in line)
    assert all(option in help_ for option in re.findall(r"(--[a-z-]+)=", line))
    assert "\t" not in text and not re.search(r"^ *- name:.*:.*:", text, re.M)

# SPDX-License-Identifier: Apache-2.0
"""A parameter that a successor adds in its two places is known everywhere: a scratch build with one more shows it.

Command line, help, braces, refusals, the plan's hash (a run with another value is not resumed), run.json, the CSV,
`runner --schema` and the scripts follow from the table in workloads/parameters.c.
"""

import json
import shutil
import subprocess
import sys

import pytest

from conftest import HERE, clean_environment, rows

ROOT = HERE.parents[1]
FOLDERS = ("allocators", "workloads", "runner", "scripts", "results", "tests/traces/profiles")

FIELD = "    uint32_t zeal_ppm; // share of nothing at all\n"
ENTRY = """    {.name = "zeal",
     .column = "zeal_ppm",
     .kind = PARAMETER_SHARE,
     FIELD(zeal_ppm),
     .most = ALL_PPM,
     .value = "SHARE",
     .help = "of nothing at all"},
"""


def insert(path, before, text):
    whole = path.read_text()
    assert whole.count(before) == 1, (path, before)
    path.write_text(whole.replace(before, text + before))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """The tree with one more parameter, built as far as a run of null needs it."""
    tree = tmp_path_factory.mktemp("scratch") / "tree"
    tree.mkdir()
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("20??-*", "__pycache__"))
    for name in ("meson.build", "meson_options.txt", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tree / name)
    description = tree / "meson.build"
    description.write_text(description.read_text().replace("subdir('tests')", ""))
    insert(tree / "workloads" / "workload.h", "    char input[WORKLOAD_INPUT_BYTES];", FIELD)
    insert(tree / "workloads" / "parameters.c", "};\n\nconst size_t parameter_count", ENTRY)
    environment = clean_environment({"CC": "ccache gcc"} if shutil.which("ccache") else {})
    targets = ("runner", "hzbench-worker", "allocators/null/libhznull.so")
    for command in (["meson", "setup", "build", "-Doptimization=0"], ["ninja", "-C", "build", *targets]):
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=850)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return tree


def run(tree, cwd, *arguments):
    return subprocess.run(
        [tree / "build" / "runner", *arguments],
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


QUICK = ("--alloc=null", "--ops=2000", "--settle=0", "--rss-interval=0", "--runs=1", "--fake-clock")


def test_help_and_refusals_know_it(scratch, tmp_path):
    assert "--zeal=SHARE          of nothing at all" in run(scratch, tmp_path, "--help").stdout
    refused = run(scratch, tmp_path, "--workload=local", *QUICK, "--zeal=150%")
    assert (refused.returncode, refused.stderr) == (2, "runner: --zeal=150%: a share lies between 0% and 100%\n")
    assert "did you mean '--zeal'?" in run(scratch, tmp_path, "--zael=1%").stderr
    assert " zeal" in run(scratch, tmp_path, "--workload=local{remote=1%}", *QUICK).stderr


def test_the_hash_knows_it_so_another_value_is_not_resumed(scratch, tmp_path):
    command = ("--workload=local{zeal=5%}", *QUICK, "--output=r.csv")
    assert run(scratch, tmp_path, *command).returncode == 0
    assert [r["zeal_ppm"] for r in rows(tmp_path / "r.csv")] == ["50000"]
    record = json.loads((tmp_path / "r.run.json").read_text())
    assert [cell["zeal_ppm"] for cell in record["plan"]["cells"]] == [50000]
    assert run(scratch, tmp_path, *command).returncode == 0  # the same plan is found again
    other = run(scratch, tmp_path, "--workload=local{zeal=6%}", *QUICK, "--output=r.csv")
    assert other.returncode == 2 and "belongs to another plan" in other.stderr
    assert "zeal=5%" in run(scratch, tmp_path, *command[:-1], "--plan").stdout


def test_schema_and_scripts_know_it(scratch, tmp_path):
    described = run(scratch, tmp_path, "--schema").stdout
    assert [c["parameter"] for c in json.loads(described)["columns"] if c["name"] == "zeal_ppm"] == ["zeal"]
    (scratch / "results" / "schema.json").write_text(described)
    assert run(scratch, tmp_path, "--workload=local{zeal=5%},local", *QUICK, "--output=r.csv").returncode == 0
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from hzbench import load, schema, text\n"
        "cells = load.load([sys.argv[2]]).cells\n"
        "print(len(cells), sorted(c[schema.CELL.index('zeal_ppm')] for c in cells))\n"
        "print(text.cell_details(lambda name: cells[-1][schema.CELL.index(name)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, scratch / "scripts", tmp_path / "r.csv"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "2 [0, 50000]"
    assert "5 % zeal" in done.stdout.splitlines()[1]

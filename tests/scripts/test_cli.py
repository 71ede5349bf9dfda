# SPDX-License-Identifier: Apache-2.0
"""How commands end: nothing but a failed gate ends as 1, and no name breaks a terminal of another encoding."""

import importlib
import os
import re
import subprocess
from pathlib import Path

import fixtures
import pytest
from conftest import ROOT, SCRIPTS
from hzbench import __main__, cli, errors

BUILD = Path(os.environ.get("HZBENCH_BUILD") or ROOT / "build")
PLAN = fixtures.Plan(allocators=("hz5", "system"), workloads=("local",), threads=(1,))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return fixtures.write_run(tmp_path_factory.mktemp("cli") / "run.csv", PLAN, with_series=False)


@pytest.mark.parametrize(
    "command", ["tables {0}", "lint {0}", "compare {0}:system {0}:hz5", "gate {0}:system {0}:hz5", "tables --help"]
)
def test_a_full_disk_is_no_failed_gate(file, command):
    name, *arguments = command.format(file).split()
    with open("/dev/full", "w") as full:
        done = subprocess.run([SCRIPTS / name, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (errors.USAGE, f"{name}: standard output: No space left on device\n")


def test_a_name_that_the_terminal_cannot_show_is_escaped(tmp_path, script):
    def rename(rows):
        for row in rows:
            if row["allocator"] == "hz5":
                row["allocator"] = "./日本/libhz5.so"

    file = fixtures.write_run(tmp_path / "run.csv", PLAN, rename, with_series=False)
    done = script("tables", file, env={"PYTHONIOENCODING": "latin-1:strict"})
    assert done.returncode == 0, done.stderr
    assert r"\u65e5\u672c" in done.stdout


def test_a_fault_of_the_script_has_a_code_of_its_own(capsys):
    def broken(_):
        raise AttributeError("planted")

    assert cli.run("gate", broken, []) == errors.FAULT == 70
    said = capsys.readouterr().err
    assert "planted" in said and said.endswith(
        "gate: a fault of the script, not of its input; please report the lines above\n"
    )


def test_an_error_carries_its_exit_code(capsys):
    def absent(_):
        raise errors.InputError("redis-server not found", errors.UNAVAILABLE)

    assert cli.run("replay-fidelity", absent, []) == 3
    assert capsys.readouterr().err == "replay-fidelity: redis-server not found\n"


def test_each_command_is_a_link_and_a_line_of_the_index():
    links = {p.name for p in SCRIPTS.iterdir() if p.is_symlink()}
    assert {(SCRIPTS / name).readlink().name for name in links} == {"command"}
    assert links == set(__main__.COMMANDS)
    index = {
        name: line
        for line in (SCRIPTS / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([^`]+)`", line.split(" | ")[0])
    }
    files = {p.name for p in SCRIPTS.iterdir() if p.is_file() and p.suffix not in (".md", ".txt")}
    assert set(index) - {"stats"} >= files and {n for n, line in index.items() if f"`{n}`¹" in line} == links


@pytest.mark.parametrize("name", [*__main__.COMMANDS, *__main__.PARTS])
def test_each_command_is_there(name):
    module, function = {**__main__.COMMANDS, **__main__.PARTS}[name].split(":")
    assert callable(getattr(importlib.import_module(f"hzbench.{module}"), function))


def test_paper_has_help(script):
    done = script("paper", "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: scripts/paper {measure,build,")


def test_the_dispatcher_names_what_it_knows(script):
    done = script("command", "tabels")
    assert done.returncode == 2 and done.stderr.startswith(
        "scripts: unknown command 'tabels' (one of tables, figures, "
    )
    assert script("command", "allocators", "peer", "libc").stdout == "mimalloc,jemalloc,tcmalloc,system\n"
    assert script("command", "allocators", "rivals").returncode == 2


def helps():
    """Every command that has a help, and how it is asked for it."""
    for path in sorted(p for p in SCRIPTS.iterdir() if p.is_file() and os.access(p, os.X_OK)):
        is_python = path.is_symlink() and path.name != "paper"  # whose commands each have their own
        if is_python or (not path.is_symlink() and "-h | --help)" in path.read_text(encoding="utf-8")):
            yield path.name, [path, "--help"]
    for name, *more in (["hzrun"], ["hzrun", "bench"], ["hzrun", "advise"], ["hztrace"], ["runner"]):
        yield " ".join([name, *more]), [BUILD / name, *more, "--help"]


@pytest.mark.parametrize("command", [pytest.param(c, id=name) for name, c in helps()])
def test_help_fits_80_columns(command):
    environment = os.environ | {"COLUMNS": "80"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout and [line for line in done.stdout.splitlines() if len(line) > 80] == []

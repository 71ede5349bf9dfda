# SPDX-License-Identifier: Apache-2.0
"""hzrun as a user meets it: exit codes, the proof, the summary, and one clear line for whatever cannot work."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

BUILD = Path(os.environ["HZBENCH_BUILD"])
HZRUN = BUILD / "hzrun"
TESTS = BUILD / "tests" / "preload"
VICTIM, STATIC, OWN_MALLOC = (TESTS / name for name in ("victim", "victim_static", "own_malloc"))
OURS = ["hz3", "hz4", "hz5"]


def environment():
    drop = ("LD_", "HZ", "MALLOC_", "GLIBC_TUNABLES")
    return {k: v for k, v in os.environ.items() if not k.startswith(drop)}


def hzrun(*arguments, **kwargs):
    return subprocess.run(
        [str(HZRUN), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={**environment(), **kwargs.pop("env", {})},
        **kwargs,
    )


@pytest.mark.parametrize("allocator", [*OURS, "system"])
def test_ends_as_the_program_does(allocator):
    for code in (0, 1, 3, 77):
        run = hzrun(allocator, "--", VICTIM, "exit", code)
        assert (run.returncode, run.stdout, run.stderr) == (code, "", "")
    assert hzrun(allocator, "--", VICTIM, "die").returncode == -signal.SIGSEGV


@pytest.mark.parametrize("allocator", OURS)
def test_hands_signals_on(allocator):
    with subprocess.Popen(
        [HZRUN, allocator, "--", VICTIM, "signal"], stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 42


@pytest.mark.parametrize("allocator", OURS)
def test_summary_tells_what_was_held(allocator):
    run = hzrun("--stats", allocator, "--", VICTIM, "hold")
    assert run.returncode == 0
    peak, committed, live, metadata = map(
        float,
        re.search(
            r"peak RSS ([\d.]+) MiB; at exit committed ([\d.]+) MiB, live ([\d.]+) MiB, metadata ([\d.]+) MiB",
            run.stderr,
        ).groups(),
    )
    assert 64 <= live <= committed < 80 and 64 <= peak < 90 and 0 < metadata < 8
    assert "rejects: none" in run.stderr
    assert f"{allocator} took in 1 process image" in run.stderr
    assert f"lib{allocator}.so" in run.stderr


@pytest.mark.parametrize("allocator", OURS)
def test_summary_survives_fork_and_exec(allocator):
    run = hzrun("--stats", allocator, "--", VICTIM, "family")
    assert run.returncode == 5
    assert "took in 2 process images" in run.stderr and "2 processes reported at exit" in run.stderr


def test_summary_names_rejects(tmp_path):
    run = hzrun("--stats", "hz5", "reject=count", "--", VICTIM, "bad-free")
    assert run.returncode == 0 and "  rejects: misaligned 1\n" in run.stderr
    file = tmp_path / "stats.txt"
    run = hzrun(f"--stats={file}", "hz5{reject=count}", "--", VICTIM, "bad-free")
    assert run.stderr == "" and "  rejects: misaligned 1\n" in file.read_text()


def test_settings_reach_the_allocator():
    assert hzrun("hz5", "--", VICTIM, "bad-free").returncode == -signal.SIGABRT
    assert hzrun("hz5", "profile=rss,reject=count", "--", VICTIM, "bad-free").returncode == 0


def test_leaves_nothing_behind(tmp_path):
    assert hzrun("hz5", "--", VICTIM, "exit", env={"TMPDIR": str(tmp_path)}).returncode == 0
    assert hzrun("hz5", "--", VICTIM, "die", env={"TMPDIR": str(tmp_path)}).returncode == -signal.SIGSEGV
    assert list(tmp_path.iterdir()) == []


def test_keeps_what_is_preloaded_already():
    # What stands in LD_PRELOAD comes after ours.
    run = hzrun("hz5", "--", "sh", "-c", "echo $LD_PRELOAD", env={"LD_PRELOAD": "libm.so.6"})
    assert re.fullmatch(r"\S*libhz5\.so:\S*libhzrun\.so:libm\.so\.6\n", run.stdout)


def test_program_at_a_fixed_address():
    # Its own symbol table has an entry for malloc, whose address it takes, but no malloc.
    run = hzrun("--stats", "hz5", "--", TESTS / "victim_fixed", "hold")
    assert run.returncode == 0 and "hz5 took in 1 process image" in run.stderr


@pytest.mark.parametrize("name", ["jemalloc", "mimalloc", "tcmalloc"])
def test_peers_run_too(name):
    run = hzrun("--stats", name, "--", VICTIM, "hold")
    assert run.returncode == 0 and f"{name} took in 1 process image" in run.stderr and "not told" in run.stderr


@pytest.mark.parametrize(
    "arguments, code, line",
    [
        ([], 2, r"no allocator given"),
        (["hz5"], 2, r"no program given"),
        (["hz5", "--"], 2, r"no program given"),
        (["hz5", "a", "b", "--", "true"], 2, r"'b' is one word too many"),
        (["hz6", "--", "true"], 2, r"unknown allocator 'hz6' - did you mean"),
        (["mimalloc", "x=1", "--", "true"], 2, r"'mimalloc' takes no options"),
        (["--stat", "hz5", "--", "true"], 2, r"unknown option '--stat'"),
        (["-s", "hz5", "--", "true"], 2, r"unknown option '-s'"),
        (["--stats=", "hz5", "--", "true"], 2, r"--stats= is followed by nothing"),
        (["--stats=/nowhere/x", "hz5", "--", "true"], 2, r"--stats=/nowhere/x: cannot be written"),
        (["hz5", "--", "no-such-program"], 2, r"no-such-program: no such program in PATH"),
        (["hz5", "--", "/no/such/file"], 2, r"/no/such/file: No such file or directory"),
        (["hz5", "--", "/etc/passwd"], 2, r"/etc/passwd: not an executable file"),
        (["./nowhere.so", "--", "true"], 3, r"\./nowhere\.so: no such file"),
        (["/etc/passwd", "--", "true"], 3, r"/etc/passwd: not a shared library"),
        (["null", "--", "true"], 3, r"the library exports no malloc"),
        (["hz5", "--", STATIC, "exit"], 3, r"victim_static: statically linked"),
        (["hz5", "--", OWN_MALLOC], 3, r"own_malloc would take malloc from .*brings a malloc of its own"),
    ],
)
def test_one_clear_line(arguments, code, line):
    run = hzrun(*arguments)
    assert run.returncode == code
    assert run.stdout == "" and len(run.stderr.splitlines()) == 1
    assert run.stderr.startswith("hzrun: ") and re.search(line, run.stderr)


def test_scripts_are_followed(tmp_path):
    script = tmp_path / "script"
    script.write_text(f"#!{STATIC} exit\n")
    script.chmod(0o755)
    run = hzrun("hz5", "--", script)
    assert run.returncode == 3 and "victim_static: statically linked" in run.stderr
    script.write_text("#!/no/interpreter\n")
    run = hzrun("hz5", "--", script)
    assert run.returncode == 3 and "its interpreter '/no/interpreter' is not there" in run.stderr
    script.write_text(f"#!/bin/sh\nexec {VICTIM} exit 6\n")
    assert hzrun("--stats", "hz5", "--", script).returncode == 6


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_privileged_program_is_refused(tmp_path):
    program = tmp_path / "privileged"
    program.write_bytes(VICTIM.read_bytes())
    os.chown(program, 65534, 65534)
    program.chmod(0o4755)
    run = hzrun("hz5", "--", program, "exit")
    assert run.returncode == 3 and "setuid" in run.stderr and "nothing was started" in run.stderr


def test_help_lists_allocators():
    run = hzrun("--help")
    assert run.returncode == 0 and all(f"  {name} " in run.stdout for name in [*OURS, "system", "jemalloc"])

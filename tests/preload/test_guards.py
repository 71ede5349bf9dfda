# SPDX-License-Identifier: Apache-2.0
"""What our libraries do about the program they find themselves in: one with privileges that its caller lacks, and one
that is built with a sanitizer."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

BUILD = Path(os.environ["HZBENCH_BUILD"])
VICTIM = Path(__file__).with_name("victim.c")
OURS = ["hz3", "hz4", "hz5"]
LIBRARY = {name: BUILD / "allocators" / name / f"lib{name}.so" for name in OURS}
NOBODY = 65534


def compile_victim(program, *arguments):
    subprocess.run(["gcc", "-fno-builtin", "-w", "-o", program, *map(str, arguments)], check=True, timeout=60)


# ---- set-uid ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder():
    """A directory that every user can read, on a file system where set-uid counts."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a program of root's for another user")
    if "NoNewPrivs:\t0" not in Path("/proc/self/status").read_text():
        pytest.skip("no_new_privs is set: set-uid does not count here")
    with tempfile.TemporaryDirectory(prefix="hz-setuid-") as name:
        if os.statvfs(name).f_flag & os.ST_NOSUID:
            pytest.skip(f"{tempfile.gettempdir()} is mounted nosuid - set TMPDIR to a directory elsewhere")
        path = Path(name)
        path.chmod(0o755)
        yield path


class Privileged:
    """The victim, linked with a library, as a user meets it: `plain`, or root's set-uid program."""

    def __init__(self, folder, library):
        self.folder = folder
        self.program = folder / "victim"
        copy = folder / library.name
        shutil.copy(library, copy)
        copy.chmod(0o755)
        compile_victim(self.program, VICTIM, "-Wl,--no-as-needed", copy, f"-Wl,-rpath,{folder}")

    def run(self, is_privileged, *arguments, **environment):
        self.program.chmod(0o4755 if is_privileged else 0o755)
        return subprocess.run(
            [self.program, *arguments],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.mark.parametrize("name, variable", [("hz3", "HZ3_OPTIONS"), ("hz4", "HZ4_OPTIONS"), ("hz5", "HZ5_OPTIONS")])
def test_privileged_program_does_not_take_settings(folder, name, variable):
    program = Privileged(folder, LIBRARY[name])
    assert program.run(False, "foreign-free", **{variable: "reject=count"}).returncode == 0
    assert program.run(False, "foreign-free").returncode == -signal.SIGABRT
    assert program.run(True, "foreign-free", **{variable: "reject=count"}).returncode == -signal.SIGABRT
    assert program.run(False, "hold", **{variable: "nonsense"}).stderr != ""
    assert program.run(True, "hold", **{variable: "nonsense"}).stderr == ""


def test_privileged_program_does_not_take_faults(folder):
    program = Privileged(folder, BUILD / "allocators" / "faulty" / "libhzfaulty.so")
    assert program.run(False, "exit", FAULTY_OPTIONS="nonsense").returncode == 2
    assert program.run(True, "exit", FAULTY_OPTIONS="nonsense").returncode == 0


def test_privileged_program_does_not_report_where_it_is_told(folder):
    program = Privileged(folder, BUILD / "libhzrun.so")
    report = folder / "report"
    settings = {"HZRUN_REPORT": str(report), "HZRUN_LIBRARY": "/nowhere", "HZRUN_STATS": "1"}
    for is_privileged in (False, True):
        report.write_bytes(b"")
        report.chmod(0o666)
        assert program.run(is_privileged, "exit", **settings).returncode == 0
        assert (report.stat().st_size == 0) == is_privileged


def test_privileged_program_does_not_record_where_it_is_told(folder):
    program = Privileged(folder, BUILD / "libhzrecord.so")
    for is_privileged in (False, True):
        directory = folder / f"recordings-{is_privileged}"
        directory.mkdir()
        directory.chmod(0o777)
        assert program.run(is_privileged, "hold", HZRECORD=str(directory / "trace")).returncode == 0
        assert (list(directory.iterdir()) == []) == is_privileged


# ---- settings --------------------------------------------------------------------------------------------------------


def run_with(name, settings, *arguments):
    environment = {"LD_PRELOAD": str(LIBRARY[name]), f"{name.upper()}_OPTIONS": settings}
    return subprocess.run(
        [BUILD / "tests" / "preload" / "victim", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize(
    "wrong",
    [
        "nonsense=1",
        "reject=nonsense",
        "reject",
        "retain=1.5MiB",
        "retain=-1",
        "decay=99999999",
        "decay=",
        "profile=nonsense",
        "reject=" + 80 * "x",
    ],
)
def test_a_setting_that_is_none_ends_the_process(name, wrong):
    for settings in (wrong, f"reject=count,{wrong}", f"{wrong},retain=1MiB"):
        run = run_with(name, settings, "foreign-free")
        assert (run.returncode, run.stdout) == (3, "")
        line = run.stderr.splitlines()
        assert len(line) == 1
        assert line[0].startswith(f"{name}: {name.upper()}_OPTIONS: '{wrong[:47]}' is no setting - write")
        assert "reject=abort|report|count retain=BYTES decay=MS" in line[0]


@pytest.mark.parametrize("name", OURS)
def test_settings_are_the_same_for_all(name):
    for settings in ("reject=count", "retain=64MiB,decay=100,reject=count", "reject=count,decay=0,retain=0"):
        run = run_with(name, settings, "foreign-free")
        assert (run.returncode, run.stderr) == (0, "")
    told = run_with(name, "retain=1MiB,reject=report", "foreign-free")
    assert told.returncode == 0 and told.stderr.startswith(f"{name}: refused free(")
    assert run_with(name, "retain=1MiB", "foreign-free").returncode == -signal.SIGABRT


# ---- sanitizers ------------------------------------------------------------------------------------------------------


def run_under(library, program, *arguments):
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={"LD_PRELOAD": str(library), "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"},
    )


@pytest.mark.parametrize("sanitizer, title", [("address", "AddressSanitizer"), ("thread", "ThreadSanitizer")])
@pytest.mark.parametrize("position", ["-pie", "-no-pie"])
def test_sanitizer_behind_us_is_refused(tmp_path, sanitizer, title, position):
    program = tmp_path / "victim"
    compile_victim(program, VICTIM, f"-fsanitize={sanitizer}", position)
    assert subprocess.run([program, "exit", "7"], timeout=60).returncode == 7
    for name, library in LIBRARY.items():
        run = run_under(library, program, "exit", "7")
        assert run.returncode == 3
        assert (
            run.stderr
            == f"{name}: the program is built with {title}, which needs a malloc of its own - run it without this "
            "library, or build it without -fsanitize\n"
        )


# Those that have no malloc, or have it in the program itself, in front of ours.
@pytest.mark.parametrize(
    "compiler, arguments",
    [
        ("gcc", ["-fsanitize=undefined"]),
        ("gcc", ["-fsanitize=leak"]),
        ("gcc", ["-fsanitize=address", "-static-libasan"]),
        ("clang-14", ["-fsanitize=address"]),
        ("clang-14", ["-fsanitize=thread"]),
        ("clang-14", ["-fsanitize=memory"]),
    ],
)
def test_sanitizer_that_does_no_harm(tmp_path, compiler, arguments):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not there - scripts/setup test installs it")
    program = tmp_path / "victim"
    subprocess.run([compiler, "-w", "-o", program, VICTIM, *arguments], check=True, timeout=60)
    for library in LIBRARY.values():
        run = run_under(library, program, "hold")
        assert (run.returncode, run.stderr) == (0, "")

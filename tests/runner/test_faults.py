# SPDX-License-Identifier: Apache-2.0
"""Allocators that are missing, not what they claim, or go bad in the middle: each is a line, a row and an exit code."""

import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from conftest import HERE, QUICK, RUNNER, children_of, rows

LOCAL = "--workload=local"


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError("timed out")


def unavailable(run, tmp_path, alloc, line, *more):
    result = run(f"--alloc={alloc}", LOCAL, *QUICK, "--runs=1", "--output=r.csv", *more)
    assert result.lines == ["runner: " + line]
    assert (result.code, result.out) == (3, "")
    assert not list(tmp_path.glob("r.*"))


def test_missing_file(run, tmp_path):
    unavailable(
        run, tmp_path, "./libfoo.so", "./libfoo.so: no such file or not readable - give the path of a shared library"
    )


def test_not_a_library(run, tmp_path):
    (tmp_path / "libtext.so").write_text("no library\n")
    line = "./libtext.so: not a shared library for this machine - give another file"
    unavailable(run, tmp_path, "./libtext.so", line)


def test_library_without_malloc(run, fake, tmp_path):
    library = fake("answer", source="#include <unistd.h>\nint answer(void);\nint answer(void) { return getpid(); }\n")
    unavailable(
        run,
        tmp_path,
        library,
        "./libanswer.so: loaded but malloc still resolves to libc.so.6 - not measuring libc as 'libanswer.so'",
    )
    unavailable(
        run,
        tmp_path,
        library,
        "./libanswer.so: preloaded but malloc still resolves to libc.so.6 - not measuring libc as 'libanswer.so'",
        "--load=preload",
    )


@pytest.mark.parametrize("load", ["dlopen", "preload"])
def test_library_that_crashes_while_loading(run, fake, tmp_path, load):
    library = fake(
        "crash",
        source="""
        #include <signal.h>
        #include <stddef.h>
        __attribute__((constructor)) static void crash(void) { raise(SIGSEGV); }
        void *malloc(size_t bytes) { return (void *)bytes; }
        void free(void *block) { (void)block; }
        void *realloc(void *block, size_t bytes) { (void)bytes; return block; }
        """,
    )
    unavailable(run, tmp_path, library, "libcrash.so: cannot be loaded: SIGSEGV while loading", f"--load={load}")


def test_null_cannot_be_preloaded(run, tmp_path):
    unavailable(
        run,
        tmp_path,
        "null",
        "null: cannot be preloaded, it exports a table but no malloc - use --load=dlopen",
        "--load=preload",
    )


UNKNOWN = ["hz3{nonsense=1}", "hz4{reject=nonsense}", "hz5{profile=nonsense}", "hz5{nonsense=1}"]


@pytest.mark.parametrize("load", ["dlopen", "preload"])
@pytest.mark.parametrize("alloc", UNKNOWN)
def test_settings_that_ours_do_not_know_are_not_measured(run, tmp_path, alloc, load):
    result = run(f"--alloc={alloc}", LOCAL, *QUICK, "--runs=1", "--output=r.csv", f"--load={load}")
    assert (result.code, result.out, len(result.lines)) == (3, "", 1)
    assert result.lines[0].startswith("runner: " + alloc.split("{")[0]) and "nonsense" in result.lines[0]
    assert not list(tmp_path.glob("r.*"))


@pytest.mark.parametrize("load", ["dlopen", "preload"])
def test_jemalloc_refuses_settings_it_does_not_know_and_takes_the_others(run, tmp_path, load):
    known = run("--alloc=jemalloc{narenas:2}", LOCAL, *QUICK, "--runs=1", f"--load={load}")
    if known.code == 3 and "apt-get install" in known.err:
        pytest.skip("libjemalloc2 is not installed")
    assert (known.code, known.err) == (0, "")
    result = run("--alloc=jemalloc{nonsense:true}", LOCAL, *QUICK, "--runs=1", f"--load={load}")
    assert (result.code, len(result.lines)) == (3, 1)
    assert "Invalid conf pair: nonsense:true" in result.lines[0]


def test_what_a_library_prints_stands_in_its_row(run, fake, tmp_path):
    library = fake(
        "talks",
        source="#define FAULT fault_none\n"
        + (HERE / "fake_allocator.c").read_text()
        + """
        #include <unistd.h>
        __attribute__((constructor)) static void talk(void) {
            static const char line[] = "talks: old settings are ignored\\n";
            if (write(2, line, sizeof line - 1) < 0) _exit(1);
        }
        """,
    )
    result = run(f"--alloc={library}", LOCAL, *QUICK, "--runs=1", "--output=r.csv")
    assert result.code == 0
    row = rows(tmp_path / "r.csv")[0]
    assert (row["status"], row["message"]) == ("ok", "talks: old settings are ignored")


def test_worker_is_missing(run, tmp_path):
    lonely = tmp_path / "bin"
    lonely.mkdir()
    shutil.copy(RUNNER, lonely / "runner")
    result = run("--alloc=null", LOCAL, program=lonely / "runner")
    assert result.lines == ["runner: hzbench-worker is not beside runner - build everything (ninja -C BUILD)"]
    assert (result.code, result.out) == (3, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="unmounting /proc needs root")
def test_a_system_without_proc_is_named(tmp_path):
    script = 'umount -l /proc && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", RUNNER, "--alloc=null", LOCAL],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "umount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(done.stderr)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("runner: /proc/self/exe: ") and "mount /proc" in done.stderr


def test_a_program_that_is_missing_is_told_once(run, tmp_path):
    # Nothing of app:redis is in this PATH, whatever is installed.
    (tmp_path / "bin").mkdir()
    for name in ("sh", "bash", "dirname", "basename", "cat", "sed", "awk"):
        if shutil.which(name):
            (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    result = run(
        "--alloc=system,hz5",
        "--workload=app:redis",
        "--runs=3",
        "--settle=0",
        "--output=r.csv",
        env={"PATH": str(tmp_path / "bin")},
    )
    assert result.code == 3
    assert len(rows(tmp_path / "r.csv")) == 6 and {r["status"] for r in rows(tmp_path / "r.csv")} == {"unavailable"}
    assert "apt-get install" in result.lines[0] and len(result.lines) == 1


def test_all_unavailable_ones_are_named_before_anything_is_measured(run, tmp_path):
    result = run("--alloc=./a.so,null,./b.so", LOCAL, *QUICK, "--output=r.csv")
    assert [line.split(":")[1] for line in result.lines] == [" ./a.so", " ./b.so"]
    assert result.code == 3 and not list(tmp_path.glob("r.*"))


def test_keep_going_measures_the_others(run, tmp_path):
    result = run("--alloc=./a.so,null", LOCAL, *QUICK, "--runs=2", "--output=r.csv", "--keep-going")
    assert result.code == 3
    assert len(result.lines) == 1
    table = rows(tmp_path / "r.csv")
    assert sorted((r["allocator"], r["status"]) for r in table) == [
        ("./a.so", "unavailable"),
        ("./a.so", "unavailable"),
        ("null", "ok"),
        ("null", "ok"),
    ]
    gone = [r for r in table if r["status"] == "unavailable"]
    assert {r["message"] for r in gone} == {"./a.so: no such file or not readable - give the path of a shared library"}
    assert {r["throughput_ops_s"] for r in gone} == {""}


FAULTS = [
    ("abort", "crashed", "SIGABRT in the measured part: fake: the heap is broken"),
    ("segv", "crashed", "SIGSEGV in the measured part"),
    ("exit", "crashed", "exit with code 7 in the measured part"),
    ("hang", "timeout", "no end after 1 s, killed in the measured part - raise --timeout if that is too short"),
]


@pytest.mark.parametrize("fault,status,message", FAULTS, ids=[f[0] for f in FAULTS])
def test_fault_is_a_row_and_the_others_go_on(run, fake, tmp_path, fault, status, message):
    library = fake(fault, fault)
    result = run(f"--alloc={library},system", LOCAL, *QUICK, "--runs=2", "--timeout=1s", "--output=r.csv")
    assert result.code == 4
    table = rows(tmp_path / "r.csv")
    assert len(table) == 4
    assert [r["status"] for r in table if r["allocator"] == "system"] == ["ok", "ok"]
    bad = [r for r in table if r["allocator"] == library]
    assert [(r["status"], r["message"]) for r in bad] == [(status, message)] * 2
    assert {r["throughput_ops_s"] for r in bad} == {""}
    cell = f"{library} local threads=1 ops=2000 sizes=16..2KiB working-set=1000"
    first = bad[0]["sample"]
    assert result.lines == [
        f"runner: sample {first} ({cell}): {status}: {message}",
        f"runner: 1 more sample failed as sample {first} did",
    ]
    assert f"Without good samples throughout: {library}." in " ".join(result.out.split())
    assert re.search(rf"^  {re.escape(library)} +-  - +- +0/2$", result.out, re.M)


def test_each_cell_that_fails_is_named(run, fake, tmp_path):
    libraries = [fake("one", "segv"), fake("two", "segv")]
    result = run(f"--alloc={','.join(libraries)}", LOCAL, *QUICK, "--runs=3", "--output=r.csv")
    assert result.code == 4 and len(result.lines) == 4
    for library in libraries:
        (line,) = [line for line in result.lines if f"({library} " in line]
        assert f"runner: 2 more samples failed as sample {line.split()[2]} did" in result.lines


def test_overlapping_blocks_are_corruption(run, fake, tmp_path):
    library = fake("overlap", "overlap")
    result = run(f"--alloc={library}", LOCAL, *QUICK, "--runs=1", "--output=r.csv")
    row = rows(tmp_path / "r.csv")[0]
    assert result.code == 4
    assert row["status"] == "corrupt" and int(row["corruptions"]) > 0
    assert len(result.lines) == 1 and result.lines[0].endswith(f": corrupt: {row['message']}")


def test_exhausted_memory_is_said(run, fake, tmp_path):
    library = fake("exhausted", "exhausted")
    result = run(f"--alloc={library}", LOCAL, *QUICK, "--runs=1", "--output=r.csv")
    row = rows(tmp_path / "r.csv")[0]
    assert result.code == 4
    assert row["status"] == "out-of-memory" and int(row["failures"]) > 0
    assert len(result.lines) == 1


def test_a_sound_library_by_path_is_measured(run, fake, tmp_path):
    library = fake("sound", "none")
    result = run(f"--alloc={library}", LOCAL, *QUICK, "--runs=1", "--output=r.csv")
    assert (result.code, result.err) == (0, "")
    assert rows(tmp_path / "r.csv")[0]["library_path"] == str(tmp_path / "libsound.so")


def test_a_killed_worker_is_a_row(start, tmp_path):
    process = start("--alloc=null", LOCAL, "--duration=20s", "--settle=0", "--runs=1", "--output=r.csv")
    wait_for(lambda: (tmp_path / "r.csv").exists() and "schema" in (tmp_path / "r.csv").read_text())
    in_measured_part(tmp_path, process)
    worker = children_of(process.pid)[0]
    os.kill(worker, signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 4
    row = rows(tmp_path / "r.csv")[0]
    assert (row["status"], row["message"]) == ("crashed", "SIGKILL in the measured part")
    assert err.count("\n") == 1


def test_end_of_a_batch_job_is_no_crash(start, tmp_path):
    """Slurm ends a job by SIGTERM for each of its processes, the worker's before or after ours."""
    process = start("--alloc=null", LOCAL, "--duration=20s", "--settle=0", "--runs=1", "--output=r.csv")
    wait_for(lambda: (tmp_path / "r.csv").exists() and "schema" in (tmp_path / "r.csv").read_text())
    worker = wait_for(lambda: children_of(process.pid))[0]
    os.kill(worker, signal.SIGTERM)
    wait_for(lambda: not os.path.exists(f"/proc/{worker}"))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    assert rows(tmp_path / "r.csv") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_interrupt_keeps_finished_samples(start, run, tmp_path, number):
    command = ("--alloc=null", LOCAL, "--duration=400ms", "--settle=0", "--runs=40", "--output=r.csv")
    process = start(*command)
    wait_for(lambda: (tmp_path / "r.csv").exists() and (tmp_path / "r.csv").read_text().count("\n") >= 3)
    worker = wait_for(lambda: children_of(process.pid))[0]
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert err == ""
    text = (tmp_path / "r.csv").read_text()
    table = rows(tmp_path / "r.csv")
    assert text.endswith("\n") and 2 <= len(table) < 40
    assert {r["status"] for r in table} == {"ok"}
    assert f"Incomplete: {len(table)} of 40 samples." in out
    assert not os.path.exists(f"/proc/{worker}")


def in_measured_part(tmp_path, process):
    """Waits until the worker that runs the sample works: it has used CPU time."""

    def works():
        for worker in children_of(process.pid):
            try:
                fields = open(f"/proc/{worker}/stat").read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[11]) + int(fields[12]) > 50:  # clock ticks: half a second
                return True
        return False

    wait_for(lambda: (tmp_path / "r.csv").exists() and works(), 120)


LONG = ("--alloc=null", "--workload=spikes", "--duration=1h", "--rss-interval=10ms")


def test_an_interrupt_ends_a_long_sample_and_keeps_its_row(start, run, tmp_path):
    command = (*LONG, "--settle=100ms", "--runs=2", "--output=r.csv")
    process = start(*command)
    in_measured_part(tmp_path, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "this sample ends now and is kept" in err
    (row,) = rows(tmp_path / "r.csv")
    assert row["status"] == "ok" and re.fullmatch(
        r"interrupted: ended after [0-9.]+ s instead of 3600 s", row["message"]
    )
    assert row["rss_100ms"] != "" and int(row["elapsed_ns"]) < 3600e9 and int(row["ops"]) > 0
    series = rows(tmp_path / "r.rss.csv")
    assert {p["phase"] for p in series} >= {"measured", "settle"}


def test_a_second_interrupt_drops_a_long_sample(start, tmp_path):
    command = (*LONG, "--settle=1h", "--runs=2", "--output=r.csv")
    process = start(*command)
    in_measured_part(tmp_path, process)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130 and rows(tmp_path / "r.csv") == []


def test_progress_is_told_within_a_long_sample(tmp_path):
    """On a terminal: one sample, and the time that is left changes while it runs."""
    controller, terminal = os.openpty()
    arguments = ("--alloc=null", LOCAL, "--duration=12s", "--settle=0", "--runs=1", "--pin=none")
    process = subprocess.Popen([RUNNER, *arguments], cwd=tmp_path, stderr=terminal, stdout=subprocess.DEVNULL)
    os.close(terminal)
    text = b""
    try:
        while chunk := os.read(controller, 4096):
            text += chunk
    except OSError:  # the other end is closed
        pass
    assert process.wait(timeout=60) == 0
    os.close(controller)
    left = re.findall(r"0/1  (\S+) left  null local", text.decode())
    assert len(left) >= 3 and len(set(left)) >= 2, text


def test_a_killed_runner_takes_its_worker_along(start, tmp_path):
    process = start("--alloc=null", LOCAL, "--duration=60s", "--settle=0", "--runs=1", "--output=r.csv")
    wait_for(lambda: (tmp_path / "r.csv").exists())
    worker = wait_for(lambda: children_of(process.pid))[0]
    process.kill()
    process.communicate()

    def is_gone():
        try:
            return open(f"/proc/{worker}/stat").read().split(")")[1].split()[0] == "Z"
        except OSError:
            return True

    wait_for(is_gone, 5)

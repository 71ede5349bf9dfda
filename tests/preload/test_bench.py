# SPDX-License-Identifier: Apache-2.0
"""`hzrun bench` as a user meets it: any program, what its rows say, and one line for whatever cannot work."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
BUILD = Path(os.environ["HZBENCH_BUILD"])
TESTS = BUILD / "tests" / "preload"
STATIC, OWN_MALLOC = TESTS / "victim_static", TESTS / "own_malloc"
MIB = 1 << 20


def environment(extra=None):
    drop = ("LD_", "HZ", "MALLOC_", "GLIBC_TUNABLES")
    return {**{k: v for k, v in os.environ.items() if not k.startswith(drop)}, **(extra or {})}


@pytest.fixture
def bench(tmp_path):
    def call(*arguments, env=None):
        return subprocess.run([str(BUILD / "hzrun"), "bench", *map(str, arguments)], stdin=subprocess.DEVNULL, cwd=tmp_path,
                              capture_output=True, text=True, timeout=120, env=environment(env))

    return call


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def one_line(run, code):
    assert run.returncode == code, run.stderr
    (line,) = run.stderr.splitlines()
    return line


def python(text):
    return ["/usr/bin/python3", "-S", "-c", text]


def test_every_allocator_runs_the_program_in_each_round_and_the_row_says_so(bench, tmp_path):
    done = bench("--alloc=hz5,hz3,system", "--runs=4", "--output=o.csv", "--", *python("bytes(1 << 25)"))
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "o.csv")
    assert len(found) == 12 and {row["status"] for row in found} == {"ok"}
    orders = ["".join(row["allocator"][-1] for row in found if row["round"] == str(n)) for n in range(4)]
    assert {"".join(sorted(order)) for order in orders} == {"35m"} and len(set(orders)) > 1
    for row in found:
        assert row["workload"] == "program" and row["input"].startswith("/usr/bin/python3 -S -c 'bytes")
        name = "libc.so" if row["allocator"] == "system" else f"lib{row['allocator']}.so"
        assert name in row["library_path"] and row["ops"] == "1"
        assert int(row["elapsed_ns"]) > 0 and int(row["user_ns"]) + int(row["system_ns"]) > 0
        assert float(row["throughput_ops_s"]) == pytest.approx(1e9 / int(row["elapsed_ns"]), rel=1e-3)
    run = json.loads((tmp_path / "o.run.json").read_text())
    assert run["command"].endswith("-- /usr/bin/python3 -S -c 'bytes(1 << 25)'")
    assert "s a run" in done.stdout and "4/4" in done.stdout


def test_the_program_has_the_users_words_directory_and_environment(bench, tmp_path):
    words = ["a b", "it's", "", "*", "two\nlines", "--alloc=x", "--"]
    text = "import json,os,sys; json.dump([sys.argv[1:], os.getcwd(), dict(os.environ)], open('told', 'w'))"
    env = {"HOME": "/nowhere", "MINE": "1", "GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}
    done = bench("--alloc=hz5", "--runs=1", "--", *python(text), *words, env=env)
    assert done.returncode == 0, done.stderr
    arguments, directory, seen = json.loads((tmp_path / "told").read_text())
    assert arguments == words and Path(directory) == tmp_path
    assert {name: seen[name] for name in env} == env


def test_memory_is_that_of_all_processes_and_no_short_peak_is_missed(bench, tmp_path):
    tree = """
import os, time
block = bytearray(b"x") * (20 << 20)
for _ in range(2):
    if os.fork() == 0:
        mine = bytearray(b"y") * (30 << 20)
        time.sleep(2)
        os._exit(0)
os.wait(); os.wait()
"""
    assert bench("--alloc=system", "--runs=1", "--output=tree.csv", "--", *python(tree)).returncode == 0
    peak = int(rows(tmp_path / "tree.csv")[0]["rss_peak"])
    assert 80 * MIB < peak < 100 * MIB  # 20 shared, counted once, and twice 30
    short = "import sys; x = bytearray(b'x') * (64 << 20); del x"
    for interval in ("0", "10ms"):
        done = bench("--alloc=system", "--runs=1", f"--rss-interval={interval}", f"--output=s{interval}.csv", "--", *python(short))
        assert done.returncode == 0 and int(rows(tmp_path / f"s{interval}.csv")[0]["rss_peak"]) > 64 * MIB


def test_a_run_that_fails_is_a_row(bench, tmp_path):
    done = bench("--alloc=hz5,system", "--runs=2", "--output=o.csv", "--", "sh", "-c", "echo no such luck >&2; exit 7")
    assert done.returncode == 4
    assert {(r["status"], r["message"]) for r in rows(tmp_path / "o.csv")} == {("crashed", "sh ended with code 7: no such luck")}
    assert bench("--alloc=system", "--runs=1", "--output=k.csv", "--", "sh", "-c", "kill -SEGV $$").returncode == 4
    assert rows(tmp_path / "k.csv")[0]["message"] == "sh ended by SIGSEGV"


def test_a_program_that_cannot_be_preloaded_is_one_line(bench, tmp_path):
    assert "statically linked" in one_line(bench("--alloc=hz5,system", "--setup=touch s", "--", STATIC), 3)
    assert not list(tmp_path.iterdir())
    line = one_line(bench("--alloc=hz5,hz3,system", "--runs=2", "--output=o.csv", "--", OWN_MALLOC), 3)
    assert "brings a malloc of its own" in line
    assert {row["status"] for row in rows(tmp_path / "o.csv")} == {"unavailable"}
    done = bench("--alloc=hz5", "--runs=1", "--output=c.csv", "--", "sh", "-c", f"{OWN_MALLOC}; true")
    assert done.returncode == 0 and "1 of its processes took malloc from elsewhere" in rows(tmp_path / "c.csv")[0]["message"]


def test_commands_run_around_the_samples(bench, tmp_path):
    done = bench("--alloc=hz5,system", "--runs=3", "--setup=echo s >>log", "--prepare=echo p >>log", "--cleanup=echo c >>log", "--",
                 "sh", "-c", "echo r >>log")
    assert done.returncode == 0, done.stderr
    assert "".join((tmp_path / "log").read_text().split()) == "s" + "pr" * 6 + "c"


def test_a_command_that_fails_is_told(bench, tmp_path):
    assert "--setup ended with code 3" in one_line(bench("--alloc=system", "--setup=exit 3", "--output=o.csv", "--", "true"), 2)
    assert not list(tmp_path.iterdir())
    done = bench("--alloc=system", "--runs=1", "--prepare=echo why >&2; exit 3", "--output=o.csv", "--", "true")
    row = rows(tmp_path / "o.csv")[0]
    assert done.returncode == 4 and (row["status"], row["message"]) == ("error", "--prepare ended with code 3: why")
    assert "--cleanup ended with code 3" in one_line(bench("--alloc=system", "--runs=1", "--cleanup=exit 3", "--", "true"), 2)


def left_over(marker):
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker in (entry / "cmdline").read_bytes().decode(errors="replace"):
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_a_program_that_never_ends_is_killed_with_all_it_started(bench, tmp_path):
    marker = f"98765.{os.getpid()}"
    done = bench("--alloc=system", "--runs=1", "--timeout=1s", "--output=o.csv", "--", "sh", "-c", f"sleep {marker} & sleep {marker}")
    row = rows(tmp_path / "o.csv")[0]
    assert done.returncode == 4 and row["status"] == "timeout" and "--timeout" in row["message"]
    for _ in range(50):
        if not left_over(f"sleep\0{marker}"):
            return
        time.sleep(0.1)
    raise AssertionError(left_over(f"sleep\0{marker}"))


def test_ctrl_c_keeps_what_is_finished_and_the_same_command_resumes(bench, tmp_path):
    options = ["--alloc=system,hz5", "--runs=2", "--cleanup=echo c >>log", "--output=o.csv", "--", "sh", "-c",
               "echo r >>runs; [ $(wc -l <runs) = 3 ] && sleep 100; true"]
    with subprocess.Popen([BUILD / "hzrun", "bench", *options], cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, start_new_session=True, env=environment()) as process:
        while not (tmp_path / "runs").exists() or len((tmp_path / "runs").read_text()) < 6:
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        process.communicate(timeout=30)
    assert process.returncode == 130 and len(rows(tmp_path / "o.csv")) == 2 and (tmp_path / "log").read_text() == "c\n"
    assert bench(*options).returncode == 0
    assert [row["status"] for row in rows(tmp_path / "o.csv")] == ["ok"] * 4
    assert "another plan" in one_line(bench(*options[:-1], "true"), 2)


@pytest.mark.parametrize("arguments, code, text", [
    (["--alloc=hz5"], 2, "no program"),
    (["--alloc=hz5", "--"], 2, "no program"),
    (["--", "true"], 2, "--alloc is missing"),
    (["--alloc=hz5", "true"], 2, "put -- before"),
    (["--alloc=hz6", "--", "true"], 2, "did you mean"),
    (["--alloc=hz5", "--", "no-such-program"], 2, "no such program"),
    (["--alloc=hz5", "--no-such-option", "--", "true"], 2, "no-such-option"),
    (["--alloc=hz5", "--workload=local", "--", "true"], 2, "one of them"),
    (["--alloc=hz5", "--threads=2", "--", "true"], 2, "--threads"),
    (["--alloc=hz5", "--ops=5", "--", "true"], 2, "--ops"),
    (["--alloc=hz5", "--output=foreign.csv", "--", "true"], 2, "foreign.csv"),
])
def test_what_makes_no_sense_is_one_line(bench, tmp_path, arguments, code, text):
    (tmp_path / "foreign.csv").write_text("mine,not,yours\n1,2,3\n")
    assert text in one_line(bench(*arguments), code)
    assert (tmp_path / "foreign.csv").read_text() == "mine,not,yours\n1,2,3\n"


def test_a_long_command_is_told_apart_by_its_end(bench, tmp_path):
    for name, end in (("a", "1"), ("b", "2")):
        assert bench("--alloc=system", "--runs=1", f"--output={name}.csv", "--", "true", "x" * 400 + end).returncode == 0
    inputs = [rows(tmp_path / f"{name}.csv")[0]["input"] for name in "ab"]
    assert inputs[0] != inputs[1] and all(len(text) < 256 and text.startswith("true xxx") for text in inputs)
    assert "script" in one_line(bench("--alloc=system", "--", "true", "x" * 20000), 2)

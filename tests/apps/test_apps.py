# SPDX-License-Identifier: Apache-2.0
"""app:NAME: every program runs under hz5 with the proof that it did; what goes wrong is a row with a reason; nothing of
it is left behind."""

import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from conftest import APPS, BUILD

NAMES = sorted(path.stem for path in APPS.glob("*.app"))
SMALL = {"redis": 4000, "memcached": 2000, "postgres": 20, "sqlite": 2000, "gcc": 2, "python": 200, "ghostscript": 1,
         "prefork": 2000, "generations": 500}  # fmt: skip
# Programs of our own, whose events are the same for every allocator: of these operations and the
# seed of the first round of --seed=1.
HASHED = {"prefork": "9561b58eca25cc59", "generations": "64d9a4229c286e3a"}


def head(name, key):
    return re.search(rf"^# {key}: (.+)$", (APPS / f"{name}.app").read_text(), re.M)[1]


def test_every_program_has_a_small_load():
    assert sorted(SMALL) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_program_runs_under_hz5(bench, name):
    code, rows, err = bench.run("--alloc=hz5", f"--workload=app:{name}{{ops={SMALL[name]}}}", "--rss-interval=5ms")
    row = rows[0]
    if row["status"] == "unavailable" and "apt-get install" in row["message"]:
        pytest.skip(row["message"])
    assert (code, row["status"], row["message"]) == (0, "ok", ""), err
    assert (row["load"], row["pin"], row["input"]) == ("preload", "none", name)
    assert os.path.basename(row["library_path"]) == "libhz5.so"
    assert int(row["ops"]) == SMALL[name] and float(row["throughput_ops_s"]) > 0
    assert (row["stream_hash"] != "") == (name in HASHED) and row["live_work"] == ""
    # The kernel measures the sum; it divides it by what its ticks have met, and a load of a few milliseconds may meet
    # none in the program itself.
    assert int(row["user_ns"]) + int(row["system_ns"]) > 0
    series = bench.rows("r.rss.csv")
    assert series and {p["live_bytes"] for p in series} == {""}
    # A program this short may end before the second look, and the first may meet it before exec: the lower bound is for
    # servers, below.
    assert int(row["rss_peak"]) >= max(int(p["rss_bytes"]) for p in series) > 0
    if head(name, "kind") == "server":
        assert {"warm-up", "measured", "tear-down"} >= {p["phase"] for p in series} > {"measured"}
        assert int(row["rss_work"]) > 500_000 and int(row["rss_baseline"]) > 500_000
    assert bench.left_over() == []


@pytest.mark.parametrize("name", sorted(HASHED))
def test_forks_do_the_same_events_under_every_allocator(bench, name):
    cell = f"--workload=app:{name}{{ops={SMALL[name]}}}"
    code, rows, err = bench.run("--alloc=hz3,hz4,hz5,system", cell, "--rss-interval=5ms")
    assert code == 0, err
    assert {row["stream_hash"] for row in rows} == {HASHED[name]}
    # Pages that parent and children share count once: eight copies of some 30 MiB would be far above this.
    assert all(int(row["rss_peak"]) < 130 << 20 for row in rows), [row["rss_peak"] for row in rows]
    assert bench.left_over() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts programs as another user")
@pytest.mark.parametrize("name", [name for name in NAMES if "# user: " in (APPS / f"{name}.app").read_text()])
def test_a_build_in_a_closed_home_serves_programs_of_other_users(bench, name):
    # Debian's /root has mode 0700.
    home = bench.path / "home"
    for file in ("runner", "hzbench-app", "hzbench-worker", "libhzrun.so", "allocators/hz5/libhz5.so"):
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(BUILD / file, home / file)
    shutil.copytree(BUILD / "workloads/apps", home / "workloads/apps")
    home.chmod(0o700)
    code, rows, err = bench.run("--alloc=hz5,system", f"--workload=app:{name}{{ops={SMALL[name]}}}", build=home)
    if rows[0]["status"] == "unavailable" and "apt-get install" in rows[0]["message"]:
        pytest.skip(rows[0]["message"])
    assert (code, [(row["status"], row["message"]) for row in rows]) == (0, [("ok", "")] * 2), err
    paths = {row["allocator"]: row["library_path"] for row in rows}
    assert paths["hz5"] == str(home / "allocators/hz5/libhz5.so")  # what was asked for, not its copy
    assert bench.left_over() == []
    bench.temporary.chmod(0o700)
    code, rows, _ = bench.run(
        "--alloc=hz5", f"--workload=app:{name}{{ops={SMALL[name]}}}", build=home, out="closed.csv"
    )
    assert (code, rows[0]["status"]) == (4, "error") and "set TMPDIR to a directory that every user can enter" in rows[
        0
    ]["message"]
    assert bench.left_over() == []


def test_two_threads_are_two_times_the_work(bench):
    code, rows, err = bench.run("--alloc=system", "--workload=app:memcached{ops=300}", "--threads=2")
    if rows[0]["status"] == "unavailable":
        pytest.skip(rows[0]["message"])
    assert (code, int(rows[0]["ops"])) == (0, 600), err


def test_redis_can_be_measured_on_the_c_library(bench):
    # Debian's redis-server brings jemalloc along: without the preload, `system` would measure that.
    code, rows, err = bench.run("--alloc=system,hz3", "--workload=app:redis{ops=2000}")
    if rows[0]["status"] == "unavailable" and "apt-get" in rows[0]["message"]:
        pytest.skip(rows[0]["message"])
    assert code == 0, err
    assert {os.path.basename(r["library_path"]) for r in rows} == {"libc.so.6", "libhz3.so"}


def test_a_missing_program_names_its_package(bench):
    only = bench.path / "bin"
    only.mkdir()
    for name in ("sh", "sed"):
        (only / name).symlink_to(subprocess.run(["which", name], capture_output=True, text=True).stdout.strip())
    code, rows, told = bench.run("--alloc=hz5,hz3,system", "--workload=app:sqlite", path=str(only))
    assert {row["status"] for row in rows} == {"unavailable"} and len(rows) == 3 and code != 0
    assert told.count("which is not installed") == 1, told  # not for each allocator and round
    assert rows[0]["message"] == "app:sqlite needs sqlite3, which is not installed. Debian: apt-get install sqlite3"
    assert bench.left_over() == []


def test_a_program_that_crashes_is_a_row_with_a_reason(bench):
    path = bench.shadow("sqlite3", "#!/bin/sh\necho about to go\nkill -SEGV $$\n")
    code, rows, _ = bench.run("--alloc=hz5", "--workload=app:sqlite{ops=10}", path=path)
    assert (code, rows[0]["status"]) == (4, "crashed")
    assert rows[0]["message"] == "app:sqlite: `work` ended by SIGSEGV: about to go"
    assert bench.left_over() == []


def test_a_server_that_dies_is_a_row_with_a_reason(bench):
    path = bench.shadow("redis-server", "#!/bin/sh\necho no room >&2\nexit 7\n")
    for name in ("redis-cli", "redis-benchmark"):
        bench.shadow(name, "#!/bin/sh\nexit 1\n")
    code, rows, _ = bench.run("--alloc=hz5", "--workload=app:redis", path=path)
    assert (code, rows[0]["status"]) == (4, "crashed")
    assert rows[0]["message"] == "app:redis: `serve` ended with code 7: no room"


def test_without_the_allocator_there_is_no_number(bench):
    source = bench.path / "static.c"
    source.write_text("int main(void) { return 0; }\n")
    bench.shadow("sqlite3", "")
    subprocess.run(["cc", "-static", "-o", str(bench.path / "shadow" / "sqlite3"), str(source)], check=True)
    path = f"{bench.path / 'shadow'}:{os.environ['PATH']}"
    code, rows, _ = bench.run("--alloc=hz5", "--workload=app:sqlite{ops=10}", path=path)
    assert (code != 0, rows[0]["status"]) == (True, "unavailable")
    assert "nothing proves that sqlite3 took malloc from" in rows[0]["message"]


def test_null_cannot_run_programs_and_unknown_ones_are_usage(bench):
    code, rows, _ = bench.run("--alloc=null", "--workload=app:sqlite")
    assert rows[0]["status"] == "unavailable" and "null stores nothing" in rows[0]["message"]
    done = subprocess.run(
        bench.command("--alloc=hz5", "--workload=app:nginx"), cwd=bench.path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "workload 'app' has no program 'nginx' - it has redis, " in done.stderr


# It leaves its process group and its parent, as daemons do.
DAEMON = """#!/bin/sh
setsid sh -c 'echo $$ >>"$DIR/../pids"; exec sleep 600' &
echo $$ >>"$DIR/../pids"
sleep 600
"""


def pids(bench):
    file = bench.temporary / "pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def wait_until(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


def are_gone(numbers):
    def is_there(number):
        try:
            with open(f"/proc/{number}/stat") as file:
                return file.read().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False

    return not any(is_there(n) for n in numbers)


def test_a_timeout_leaves_nothing_behind(bench):
    path = bench.shadow("sqlite3", DAEMON)
    code, rows, _ = bench.run("--alloc=hz5", "--workload=app:sqlite{ops=10}", "--timeout=2s", path=path)
    assert (code, rows[0]["status"]) == (4, "timeout")
    numbers = pids(bench)
    assert len(numbers) == 2
    assert wait_until(lambda: are_gone(numbers))
    assert wait_until(lambda: bench.left_over() == ["pids"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_end_of_the_runner_is_the_end_of_the_program(bench, number):
    path = bench.shadow("sqlite3", DAEMON)
    runner = subprocess.Popen(
        bench.command("--alloc=hz5", "--workload=app:sqlite{ops=10}"),
        cwd=bench.path,
        env=bench.environment(path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert wait_until(lambda: len(pids(bench)) == 2)
        runner.send_signal(number)
        assert runner.wait(timeout=60) in (130, -signal.SIGKILL)
        assert wait_until(lambda: are_gone(pids(bench)))
        assert wait_until(lambda: bench.left_over() == ["pids"])
    finally:
        runner.kill()

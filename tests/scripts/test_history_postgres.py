# SPDX-License-Identifier: Apache-2.0
"""The history of a team in Postgres: a server of the test, on a socket in its directory, holds the same points as a
file does."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hzbench import errors
from hzbench.history import points, store

PROGRAMS = Path("/usr/lib/postgresql/15/bin")


def as_server(*command):
    """Postgres refuses to run as root."""
    return (["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []) + [str(c) for c in command]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    # Sockets have short paths, and the server's user must reach them.
    folder = Path(
        subprocess.run(["mktemp", "-d", "/tmp/hzpg.XXXXXX"], check=True, capture_output=True, text=True).stdout.strip()
    )
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    run = {"check": True, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "timeout": 300, "cwd": "/tmp"}
    subprocess.run(as_server(PROGRAMS / "initdb", "-D", data, "-A", "trust", "-U", "test", "--no-sync"), **run)
    options = f"-k {folder} -c listen_addresses= -c fsync=off"
    subprocess.run(
        as_server(PROGRAMS / "pg_ctl", "-D", data, "-w", "-t", "200", "-l", folder / "log", "-o", options, "start"),
        **run,
    )
    yield f"postgresql://test@/postgres?host={folder}"
    subprocess.run(as_server(PROGRAMS / "pg_ctl", "-D", data, "-m", "immediate", "stop"), **run)
    shutil.rmtree(folder)


def run_of(number, sha="s"):
    at = f"2026-01-{number:02}T12:00:00Z"
    return points.Run(
        f"{number:016x}", "host", f"{number:040x}", False, "subject", at, at, "file", sha, "command", "kernel"
    )


def points_of(number):
    cell = '{"load": "dlopen", "platform": "linux", "threads": 1, "workload": "local"}'
    series = points.Series("host", "hz5", cell, "throughput_ops_s")
    other = points.Series("host", "hz4", cell, "throughput_ops_s")
    return [points.Point(series, "system", "a", "b", "1:2", 0.1234567890123 * number, -0.5, 0.5, 0.25, 8, 1),
            points.Point(other, "system", "a", "b", "1:2", None, None, None, None, 0, 0, "crashed")]  # fmt: skip


def test_a_server_holds_what_a_file_holds(url, tmp_path):
    file, server = store.open_store(str(tmp_path / "h.db"), True), store.open_store(url, True)
    for database in (file, server):
        assert [database.add(run_of(n), points_of(n)) for n in (2, 1, 3)] == ["added"] * 3
        assert (
            database.add(run_of(2), points_of(2)) == "known"
            and database.add(run_of(2, "t"), points_of(2)) == "replaced"
        )
    assert server.points() == file.points() and len(server.points()) == 6
    assert server.problems() == [] and server.version() == file.version()
    server.close()
    file.close()


def test_the_commands_work_on_it(url, script):
    listed = script("history", "list", f"--db={url}")
    assert listed.returncode == 0 and "throughput of hz5" in listed.stdout, listed.stderr
    assert "nothing is wrong" in script("history", "doctor", f"--db={url}").stdout
    assert script("history", "rebuild", f"--db={url}").returncode == errors.USAGE


def test_a_second_writer_waits(url):
    import threading

    first, second = store.open_store(url, True), store.open_store(url, True)
    done = []
    with first.writing():
        thread = threading.Thread(target=lambda: done.append(second.add(run_of(9), points_of(9))))
        thread.start()
        thread.join(2)
        assert thread.is_alive() and done == []
    thread.join(100)
    assert done == ["added"]


def test_a_server_that_is_not_there_is_one_line(script):
    done = script("history", "list", "--db=postgresql://nobody@/x?host=/nonexistent")
    assert done.returncode == errors.UNAVAILABLE and done.stderr.count("\n") == 1

# SPDX-License-Identifier: Apache-2.0
"""--thp: by prctl where that suffices, else by the system's switch, which is set back however the runner ends.

Where the switch has to change, the runner sees a file of ours in its place (a mount of its own): no other test must
meet another setting of the machine.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from conftest import QUICK, RUNNER, clean_environment, rows

SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")
LONG = ("--workload=local", "--ops=1G", "--runs=1", "--rss-interval=0", "--quiet")

pytestmark = pytest.mark.skipif(not SWITCH.exists(), reason="this kernel has no transparent huge pages")


@pytest.fixture
def switch(tmp_path):
    """The file that stands for the switch, and the words before a command that sees it there."""
    file = tmp_path / "enabled"
    file.write_text("[madvise]\n")

    def words(after=""):
        inside = f'mount --bind {file} {SWITCH} {after} && exec "$@"'
        found = ["unshare", *([] if os.geteuid() == 0 else ["-Ur"]), "-m", "sh", "-c", inside, "sh"]
        if subprocess.run([*found, "true"], capture_output=True).returncode != 0:
            pytest.skip("no mount namespace can be made here")
        return found

    return file, words


def wait_until(condition, what):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail(f"one minute and still not: {what}")


def begin(words, tmp_path, *arguments):
    return subprocess.Popen([*words, str(RUNNER), "--alloc=null", *arguments], cwd=tmp_path, env=clean_environment(),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_switch_is_set_back_however_the_runner_ends(switch, tmp_path, number):
    file, words = switch
    runner = begin(words(), tmp_path, "--thp=always", *LONG)
    try:
        wait_until(lambda: file.read_text().startswith("always"), "switched")
        os.kill(runner.pid, number)
        runner.communicate(timeout=60)
        assert runner.returncode == (-9 if number == signal.SIGKILL else 130)
        wait_until(lambda: file.read_text().startswith("madvise"), "set back")
    finally:
        runner.kill()


def test_cells_of_all_settings_in_one_run(switch, tmp_path):
    file, words = switch
    cells = ",".join(f"local{{thp={setting}}}" for setting in ("default", "never", "madvise", "always"))
    command = [*words(), str(RUNNER), "--alloc=system", f"--workload={cells}", *QUICK, "--runs=2", "--output=t.csv"]
    done = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert file.read_text().startswith("madvise")
    table = rows(tmp_path / "t.csv")
    assert len(table) == 8 and {row["status"] for row in table} == {"ok"}
    assert {(row["thp"], row["thp_by"]) for row in table} == {
        ("default", ""),
        ("never", "prctl"),
        ("madvise", ""),
        ("always", "switch"),
    }
    assert all(int(row["thp_fault_allocs"]) >= 0 and row["anon_huge_bytes"] != "" for row in table)
    assert all(row["anon_huge_bytes"] == "0" for row in table if row["thp"] == "never")


def test_a_switch_that_cannot_be_changed_makes_rows_unavailable(switch, tmp_path):
    file, words = switch
    closed = words(f"&& mount -o remount,ro,bind {SWITCH}")
    cells = "local{thp=always},local"
    command = [*closed, str(RUNNER), "--alloc=null", f"--workload={cells}", *QUICK, "--runs=1", "--output=t.csv"]
    done = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 3 and file.read_text() == "[madvise]\n"
    status = {row["thp"]: (row["status"], row["message"]) for row in rows(tmp_path / "t.csv")}
    assert status["default"] == ("ok", "")
    assert status["always"][0] == "unavailable"
    assert "--thp=always: the system's switch is at madvise and cannot be changed (Read-only" in status["always"][1]


def test_of_two_runs_one_changes_the_switch(switch, tmp_path):
    file, words = switch
    first = begin(words(), tmp_path, "--thp=always", *LONG)
    try:
        wait_until(lambda: file.read_text().startswith("always"), "switched")
        second = begin(words(), tmp_path, "--thp=always", "--workload=local", *QUICK, "--runs=1")
        _, told = second.communicate(timeout=60)
        assert second.returncode == 3 and "another run has changed" in told
        assert file.read_text().startswith("always")
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
    wait_until(lambda: file.read_text().startswith("madvise"), "set back")


def test_a_sample_without_huge_pages_is_told_so_by_the_kernel(start):
    def worker_status(runner):
        children = Path(f"/proc/{runner.pid}/task/{runner.pid}/children").read_text().split()
        texts = [Path(f"/proc/{child}/status").read_text() for child in children]
        return [text for text in texts if text.startswith("Name:\thzbench-worker")]

    def disabled(runner):
        try:
            return any("THP_enabled:\t0\n" in text for text in worker_status(runner))
        except OSError:  # a worker that has just ended
            return False

    if "THP_enabled:" not in Path("/proc/self/status").read_text():
        pytest.skip("this kernel does not tell THP_enabled")
    before = SWITCH.read_text()
    runner = start("--alloc=null", "--thp=never", *LONG)
    wait_until(lambda: disabled(runner), "huge pages off in the worker")
    assert SWITCH.read_text() == before
    assert "THP_enabled:\t1\n" in Path(f"/proc/{runner.pid}/status").read_text()

# SPDX-License-Identifier: Apache-2.0
"""A plan on a real Slurm: requeued in the middle, and on a node that dies; its rows are those of a local run."""

import json

import pytest

from conftest import MATRIX, call_in, measured
from slurm_node import NODE, PARTITION, Slurm

# Long enough to be met in the middle: the first task by its many rounds.
LONG = """--alloc=hz5,system --workload=local{ops=1M} --threads=1,2 --runs=10 --settle=0
--alloc=hz5,system --workload=remote{ops=20k} --runs=10 --settle=0
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    running = Slurm(tmp_path_factory.mktemp("slurm"))
    yield running
    running.stop()


@pytest.fixture
def submit(slurm, tmp_path, eventually):
    eventually(slurm.is_idle, f"an idle node (see {slurm.folder}/slurmctld.log)")

    def call(*arguments):
        return call_in(tmp_path, *arguments, env=slurm.environment)

    return call


def rows_of(tmp_path, task):
    path = tmp_path / "out" / "results" / NODE / task / "1.csv"
    return path.read_text().count("\n") - 1 if path.exists() else 0


def test_requeue_and_a_node_that_dies(submit, slurm, tmp_path, eventually):
    (tmp_path / "matrix").write_text(LONG)
    tasks = ["--minutes=0.05", f"--partition={PARTITION}", "--retries=1"]
    started = submit("submit", "matrix", "--out=out", *tasks, "--hosts=1", "--sbatch=--comment=mine")
    assert started.returncode == 0, started.stderr
    jobs = (tmp_path / "out" / "jobs").read_text().split()
    assert len(jobs) == 2 and "to slurm: job" in started.stdout
    told = slurm.ask("scontrol", "show", "job", jobs[0])
    assert "Comment=mine" in told and "OverSubscribe=NO" in told and f"ReqNodeList={NODE}" in told
    assert f"Dependency=afternotok:{jobs[0]}" in slurm.ask("scontrol", "show", "job", jobs[1])

    # Requeued by an administrator, or because a job of more weight came.
    eventually(lambda: rows_of(tmp_path, "000") >= 2, "two rows of task 000")
    first = f"{jobs[0]}_0"
    slurm.ask("scontrol", "requeue", first)
    eventually(lambda: "Restarts=1" in slurm.ask("scontrol", "show", "job", first), "the requeue")
    slurm.ask("scontrol", "update", f"JobId={first}", "StartTime=now")

    # Then a node goes down under a task, whichever runs, and comes back.
    now = eventually(lambda: slurm.ask("squeue", "-h", "-r", "-t", "R", "-o", "%K"), "a running task")
    eventually(lambda: rows_of(tmp_path, f"{int(now):03}") >= 3, "rows of it")
    slurm.kill_node()
    status = submit("status", "--out=out")
    assert status.stdout.splitlines()[0].startswith("out (slurm): ") and status.stdout.count(" to go (") == 1
    eventually(lambda: "down" in slurm.ask("sinfo", "-h", "-o", "%t"), "Slurm to miss the node")
    slurm.start("slurmd", "-D", "-N", NODE)

    def over():
        for job in slurm.ask("squeue", "-h", "-r", "-t", "PD", "-o", "%i %r").splitlines():
            if job.endswith(" BeginTime"):
                slurm.ask("scontrol", "update", f"JobId={job.split()[0]}", "StartTime=now")
        states = [path.read_text() for path in (tmp_path / "out/results").glob("*/*/state")]
        return len(states) == 2 and all(state.startswith("done ") for state in states)

    eventually(over, "the end of both tasks")
    assert submit("status", "--out=out").stdout == "out (slurm): 2 done, 0 running, 0 waiting, 0 failed\n"
    collected = submit("collect", "--out=out")
    assert (collected.returncode, collected.stderr) == (0, ""), collected.stderr
    sessions = [json.loads(p.read_text())["sessions"] for p in (tmp_path / "out/collected").rglob("*.run.json")]
    assert max(map(len, sessions)) >= 2, "nothing was resumed"

    here = submit("submit", "matrix", "--engine=local", "--out=here", "--minutes=10", "--wait")
    assert here.returncode == 0, here.stderr
    rows = measured(tmp_path / "out/collected")
    assert rows == measured(tmp_path / "here/results") and len(rows) == 60
    assert submit("submit", "matrix", "--out=out", *tasks).stdout.startswith("out: all tasks done;")


def test_what_slurm_refuses(submit, tmp_path):
    (tmp_path / "matrix").write_text(MATRIX)
    for arguments, line in (
        (["--partition=none"], "Slurm has no partition none; sinfo lists what there is"),
        (
            [f"--partition={PARTITION}", "--hosts=2"],
            f"--hosts=2: partition {PARTITION} has 1 of 1 nodes up; ask for fewer",
        ),
        ([f"--partition={PARTITION}", "--hosts=a"], "--hosts=a: with Slurm a number of nodes"),
        ([f"--partition={PARTITION}", "--sbatch=--no-such"], "Slurm: "),
    ):
        done = submit("submit", "matrix", "--out=out", *arguments)
        assert done.returncode == (2 if "=a" in arguments[-1] else 3), done.stderr
        assert done.stderr.startswith(f"cluster: {line}") and len(done.stderr.splitlines()) == 1


def test_cancel(submit, slurm, tmp_path, eventually):
    long = [
        "--out=out",
        f"--partition={PARTITION}",
        "--",
        "--alloc=hz5",
        "--workload=local",
        "--ops=200k",
        "--runs=900",
        "--settle=0",
    ]
    assert submit("submit", *long).returncode == 0
    eventually(lambda: rows_of(tmp_path, "000") >= 3, "three rows")
    again = submit("submit", *long)
    assert again.returncode == 2 and "this plan is running" in again.stderr
    assert submit("cancel", "--out=out").returncode == 0
    eventually(lambda: not slurm.ask("squeue", "-h"), "an empty queue")
    assert submit("status", "--out=out").returncode == 4
    collected = submit("collect", "--out=out")
    assert collected.returncode == 4 and len(measured(tmp_path / "out/collected")) >= 3

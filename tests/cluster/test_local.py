# SPDX-License-Identifier: Apache-2.0
"""A plan on this machine alone, what is refused, and what is taken in of a plan that went wrong."""

import io
import json
import os
import re
import shutil
import subprocess
import zipfile

import pytest

from conftest import MATRIX, RUNNER, SCRIPTS, SMALL, call_in, measured

HOST = os.uname().nodename


@pytest.fixture(scope="module")
def measured_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    (folder / "matrix").write_text(MATRIX)
    ended = call_in(folder, "submit", "matrix", "--engine=local", "--out=out", "--wait")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[0].endswith(f" in all (a guess), to local: {HOST}")
    return folder / "out"


@pytest.fixture
def done(measured_once, tmp_path):
    """A plan that was measured: a copy of its folder."""
    return shutil.copytree(measured_once, tmp_path / "out", ignore=shutil.ignore_patterns("build"))


def test_a_plan_here(cluster, done, tmp_path):
    again = cluster("submit", "matrix", "--engine=local", "--out=out", "--minutes=10")
    assert (again.returncode, again.stdout) == (0, "out: all tasks done; scripts/cluster collect --out=out\n")
    assert cluster("status", "--out=out").stdout == "out (local): 1 done, 0 running, 0 waiting, 0 failed\n"
    collected = cluster("collect", "--out=out")
    assert (collected.returncode, collected.stdout) == (0, f"out/collected/{HOST}: 2 of 2 files\n"), collected.stderr
    rows = measured(done / "collected")
    assert len(rows) == 3 * 2 * 6  # remote has no cell with 1 thread
    assert {row[-1] for row in rows} == {"ok"}
    told = json.loads((done / "collected/collected.json").read_text())
    assert told["problems"] == [] and len(told["files"]) == 2
    tables = subprocess.run(
        [SCRIPTS / "tables", *sorted((done / "collected" / HOST).glob("*-?.csv"))], capture_output=True, text=True
    )
    assert tables.returncode == 0 and "remote, 2 threads" in tables.stdout


def test_cut_into_tasks(cluster, tmp_path):
    """Parts of a command are split between tasks only with all their allocators and rounds."""
    (tmp_path / "big").write_text(
        "--alloc=hz5,hz4,system --workload=local{ops=100M,sizes=16..32},remote{ops=9M} --threads=1-2 --runs=8"
        " --settle=0\n"
        "--alloc=hz3 --workload=churn --runs=2 '--wrapper=nice -n 5'\n"
    )
    from hzbench.cluster import plan

    runner = plan.find_runner()
    commands = plan.read_matrix(str(tmp_path / "big"))
    tasks = plan.cut(runner, commands, 5)
    assert len(tasks) == 2 and all(task.seconds >= 300 for task in tasks)
    words = [command for task in tasks for command in task.commands]
    assert all("--alloc=hz5,hz4,system" in c and "--runs=8" in c for c in words if "--alloc=hz3" not in c)
    assert ["--alloc=hz3", "--workload=churn", "--runs=2", "--wrapper=nice -n 5"] in words
    cells = {(t, w) for c in words for o in c if o.startswith("--threads=") for t in [o[10:]]
             for p in c if p.startswith("--workload=") for w in re.findall(r"local|remote", p)}  # fmt: skip
    assert cells == {("1", "local"), ("2", "local"), ("2", "remote")}
    assert len(plan.cut(runner, commands, 10000)) == 1


def test_a_matrix_of_ours(script_matrix="fleet"):
    from hzbench.cluster import plan

    first = plan.read_matrix(script_matrix)[0]
    assert first[0].startswith("--alloc=hz3,hz4,hz5,") and "--threads=1" in first and first[-1] == "--settle=100ms"


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ("submit", 2, "give a MATRIX, or the runner's options after --, not both"),
        ("submit nothing --engine=local", 2, "nothing: neither a file nor a matrix of scripts/matrix"),
        ("submit empty --engine=local", 2,
         "empty: no command in it; a line has the runner's options, such as --alloc=hz5,system"),
        ("submit matrix", 2, "--partition: name the one to measure on; sinfo lists what there is"),
        ("submit matrix --engine=local --hosts=2", 2, "--hosts: --engine=local has one, this machine"),
        ("submit matrix --engine=clush", 2, "--hosts=: with clush the names of hosts, as a,b"),
        ("submit matrix --engine=clush --hosts=a,b,a", 2, "--hosts: a is there twice; each host measures once"),
        ("submit matrix --engine=clush --hosts=-oProxy", 2, "--hosts=-oProxy: with clush the names of hosts, as a,b"),
        ("submit --engine=clush --hosts=a -- --alloc=./mine.so --workload=local", 2,
         "./mine.so: a file of this machine, which the hosts do not have; give names only"),
        ("submit --engine=local -- --alloc=hz5 --workload=local --output=x.csv", 2,
         "--output=x.csv: not in a matrix: it is for a run of the runner by hand"),
        ("submit --engine=local -- --alloc=hz5 --workload=local --workload=remote", 2,
         "--workload: is there twice; give one list"),
        ("submit --engine=local -- --alloc=hz5 --workload=remote --threads=1", 2,
         "--alloc=hz5 --workload=remote --threads=1: has no cell that could be measured"),
        ("status --out=none", 2,
         "{tmp}/none/plan.json: No such file or directory; a plan is made by scripts/cluster submit"),
        ("collect --zip=matrix", 2, "matrix: cannot be read as a bundle: not a gzip file"),
    ],
)  # fmt: skip
def test_bad_input(cluster, tmp_path, arguments, code, line):
    (tmp_path / "empty").write_text("# nothing\n")
    done = cluster(*arguments.split())
    assert (done.returncode, done.stderr) == (code, f"cluster: {line.format(tmp=tmp_path)}\n")
    assert done.stdout == "" and not (tmp_path / "cluster-out" / "plan.json").exists()


@pytest.mark.parametrize("engine", ["--partition=quick", "--engine=clush --hosts=a"])
def test_without_the_engine(cluster, tmp_path, engine):
    """Neither Slurm nor clush: one line that names the others."""
    path = tmp_path / "bin"
    path.mkdir()
    for name in ("sh", "env", "dirname", "basename", "python3", "meson", "dpkg-query"):
        if shutil.which(name):
            (path / name).symlink_to(shutil.which(name))
    ended = cluster("submit", "matrix", *engine.split(), env={"PATH": str(path)})
    name, what = ("sinfo", "Slurm") if "partition" in engine else ("clush", "clush to a")
    assert ended.returncode == 3
    assert f"{name} not found: {what} is not on this machine; --engine=slurm, clush or local" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_another_plan_in_the_folder(cluster, done):
    other = cluster("submit", "--engine=local", "--out=out", "--", "--alloc=hz5", "--workload=local")
    assert (other.returncode, other.stderr) == (
        2,
        "cluster: out: holds another plan; collect it and choose another --out\n",
    )


def test_a_full_disk_and_the_same_command_again(cluster, tmp_path):
    here = tmp_path / "out" / "results" / HOST / "001"
    here.mkdir(parents=True)
    (here / "1.csv").symlink_to("/dev/full")
    ended = cluster("submit", "matrix", "--engine=local", "--out=out", *SMALL, "--wait")
    assert ended.returncode == 4
    lines = ended.stdout.splitlines()
    assert lines[1] == "out (local): 2 done, 0 running, 0 waiting, 1 failed"
    assert re.fullmatch(rf"  task 001 on {HOST}: runner: .*/1.csv: No space left on device - make room .*", lines[2])
    collected = cluster("collect", "--out=out")
    assert collected.returncode == 4 and collected.stdout == f"out/collected/{HOST}: 2 of 2 files\n"
    assert len(collected.stderr.splitlines()) == 1 and collected.stderr.startswith(
        f"cluster: task 001 on {HOST}: failed: runner: "
    )
    assert collected.stderr.endswith("; 0 samples taken as they are\n")
    (here / "1.csv").unlink()
    assert cluster("submit", "matrix", "--engine=local", "--out=out", *SMALL, "--wait").returncode == 0
    assert cluster("collect", "--out=out").returncode == 0
    assert len(measured(tmp_path / "out/collected")) == 3 * 2 * 6


def _edit(path, change):
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("file", "change", "why"),
    [
        ("1.csv", lambda t: t.replace(",ok,", ",ok,x", 1), "refused: 1.csv is not what the task wrote"),
        ("state", lambda t: t[:-9] + "00000000\n", "refused: is of another plan"),
        ("state", lambda t: "what?\n", "damaged"),
        ("state", lambda t: "running 1795900000\n", "running; 36 samples taken as they are"),
        ("state", lambda t: "failed 1 2 130 stopped by a signal\n", "failed: stopped by a signal; 36 samples taken"),
    ],
)
def test_what_collect_refuses_or_tells(cluster, done, file, change, why):
    _edit(done / "results" / HOST / "000" / file, change)
    ended = cluster("collect", "--out=out")
    assert ended.returncode == 4
    told = [line for line in ended.stderr.splitlines() if "its clock is" not in line]
    assert len(told) == 1 and told[0].startswith(f"cluster: task 000 on {HOST}: ") and why in told[0], told


def _hashed(task):
    done = subprocess.run("sha256sum -- *.csv *.json >MANIFEST.sha256", shell=True, cwd=task)
    assert done.returncode == 0


def test_results_of_another_commit_or_command(cluster, done):
    task = done / "results" / HOST / "000"
    whole = (task / "1.run.json").read_text()
    commit = json.loads(whole)["build"]["commit"]
    for wrong, why in (
        (whole.replace(commit, "0" * 40), "1.run.json is of commit 000000000000"),
        (whole.replace("--runs=6", "--runs=7"), "1.run.json is of another plan: measured by --alloc=hz5,system"),
    ):
        (task / "1.run.json").write_text(wrong)
        _hashed(task)
        ended = cluster("collect", "--out=out")
        assert ended.returncode == 4 and why.replace("1.run.json", "1.csv") in ended.stderr, ended.stderr
        assert not (done / "collected" / HOST).exists()


def test_clocks_that_differ(cluster, done):
    _edit(done / "results" / HOST / "000" / "state", lambda t: re.sub(r"done \d+", "done 1000", t))
    ended = cluster("collect", "--out=out")
    assert ended.returncode == 4 and ended.stdout == f"out/collected/{HOST}: 2 of 2 files\n"
    assert re.fullmatch(
        rf"cluster: {HOST}: its clock is \d+ s behind this machine's;"
        r" the times of its rows are off, its ratios are not\n",
        ended.stderr,
    )


def test_the_same_host_twice(cluster, done):
    shutil.copytree(done / "results" / HOST, done / "results" / "other")
    from hzbench.cluster import collect, engines, plan

    made = plan.read(done)
    made.hosts = [HOST, "other"]
    got = collect.tasks(made, done / "results", engines.read_states(done / "results"), done / "collected")
    assert len(got.files) == 4
    assert got.problems == [f"{' and '.join(sorted([HOST, 'other']))} are one machine: its results count once"]


def test_cancel_keeps_what_was_measured(cluster, tmp_path, eventually):
    long = [
        "--engine=local",
        "--out=out",
        "--",
        "--alloc=hz5",
        "--workload=local",
        "--ops=200k",
        "--runs=400",
        "--settle=0",
    ]
    assert cluster("submit", *long).returncode == 0
    rows = tmp_path / "out" / "results" / HOST / "000" / "1.csv"
    eventually(lambda: rows.exists() and rows.read_text().count("\n") > 3, "three rows")
    running = cluster("submit", *long)
    assert running.returncode == 2 and "this plan is running" in running.stderr
    told = cluster("status", "--out=out").stdout.splitlines()
    assert told[0] == "out (local): 0 done, 1 running, 0 waiting, 0 failed" and told[1].endswith(" to go (a guess)")
    assert cluster("cancel", "--out=out").returncode == 0
    eventually(lambda: cluster("status", "--out=out").returncode == 4, "the end of the task")
    assert f"  task 000 on {HOST}: stopped by a signal\n" in cluster("status", "--out=out").stdout
    before = rows.read_text()
    assert before.endswith("\n") and before.count("\n") < 400
    collected = cluster("collect", "--out=out")
    assert collected.returncode == 4 and "failed: stopped by a signal" in collected.stderr
    assert (tmp_path / "out/collected" / HOST / "000-1.csv").read_text() == before


def test_a_bundle_of_another_platform(cluster, done, tmp_path):
    """A redacted bundle, alone and in a zip as a workflow's results are, is taken in as a host of its platform."""
    from_here = done / "results" / HOST / "000"
    (tmp_path / "other").mkdir()
    for name in ("1.csv", "1.run.json"):
        text = (from_here / name).read_text()
        (tmp_path / "other" / name).write_text(
            re.sub(json.loads((from_here / "1.run.json").read_text())["run_id"], "0" * 16, text)
            .replace(",linux,", ",windows,")
            .replace('"linux"', '"windows"')
        )
    made = subprocess.run(
        [SCRIPTS / "export", "other/1.csv", "--redact", "--output=mine.tar.gz"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    buffer = io.BytesIO((tmp_path / "mine.tar.gz").read_bytes())
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.writestr("results/mine.tar.gz", buffer.getvalue())
    identity = json.loads((from_here / "1.run.json").read_text())["machine"]["host_id"][:8]
    for file in ("mine.tar.gz", "mine.zip"):
        taken = cluster("collect", "--out=out", f"--zip={file}")
        assert (taken.returncode, taken.stdout) == (0, f"out/collected/windows-{identity}/1.csv\n"), taken.stderr
    pooled = subprocess.run(
        [SCRIPTS / "pool", f"out/collected/windows-{identity}/1.csv", "out/results/" + HOST + "/000/1.csv"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert pooled.returncode == 2 and "never" in pooled.stderr
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("readme", "")
    none = cluster("collect", "--zip=none.zip")
    assert (none.returncode, none.stderr) == (2, "cluster: none.zip: has no NAME.tar.gz of scripts/export in it\n")


def test_the_workflow_for_hosts(cluster, tmp_path):
    """What its steps call is here; the last of them, run here, gives a bundle that is taken in."""
    text = (SCRIPTS.parent / "docs" / "ci" / "hosts.yml").read_text()
    called = set(re.findall(r"\bscripts/[a-z-]+", text))
    assert called == {"scripts/setup", "scripts/configure", "scripts/host-bundle", "scripts/cluster"}
    assert all(os.access(SCRIPTS.parent / name, os.X_OK) for name in called)
    told = subprocess.run(["meson", "introspect", "--tests", RUNNER.parent], check=True, capture_output=True, text=True)
    suites = {suite.split(":")[1] for test in json.loads(told.stdout) for suite in test["suite"]}
    assert {"unit", "contract", "race", "workloads"} == set(re.findall(r"--suite (\S+)", text)) <= suites

    small = ["--runs=6", "--workload=local{ops=2k},remote{ops=2k}", "--alloc=system,hz5,null", "--settle=0"]
    made = subprocess.run(
        [SCRIPTS / "host-bundle", "--out=bundle", *small],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "BUILD_DIR": str(RUNNER.parent)},
    )
    assert made.returncode == 0, made.stderr
    name = f"hzbench-linux-{os.uname().machine}"
    assert {f"{name}.tar.gz", f"{name}.txt"} <= {path.name for path in (tmp_path / "bundle").iterdir()}
    taken = cluster("collect", f"--zip=bundle/{name}.tar.gz")
    assert taken.returncode == 0 and re.fullmatch(rf"cluster-out/collected/linux-\w{{8}}/{name}.csv\n", taken.stdout)
    assert len(measured(tmp_path / "cluster-out")) == 3 * 3 * 6

# SPDX-License-Identifier: Apache-2.0
"""The real runner's files through the scripts: what C writes is what Python reads."""

import csv
import io
import os
import pty
import subprocess
import time
from pathlib import Path

import pytest
from hzbench import load, model

BUILD = os.environ.get("HZBENCH_BUILD")
pytestmark = pytest.mark.skipif(not BUILD, reason="HZBENCH_BUILD names no build directory (meson sets it)")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """One short run: two allocators that are always there, an A/A pair, the harness alone; RSS series included."""
    file = tmp_path_factory.mktemp("real") / "run.csv"
    done = subprocess.run(
        [Path(BUILD) / "runner", "--alloc=hz5,system,system,null", "--workload=local,remote", "--threads=2", "--runs=6",
         "--ops=20k", "--settle=100ms", "--rss-interval=1ms", f"--output={file}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return file


def test_the_loader_takes_all_of_it(real):
    results = load.load([real])
    assert results.allocators == ["hz5", "system", "system#2", "null"]
    assert len(results.data) == 2 * 4 * 6 and (results.data["status"] == "ok").all()
    assert results.data.groupby(["name", "workload"])["cell_index"].nunique().eq(1).all()
    run = results.runs[0]
    assert run.pus > 0 and run.host and run.provenance["run_id"] == run.run_id
    series = load.load_series(run)
    assert set(series["sample"]) == set(results.data["sample"])
    assert {"measured", "tear-down"} <= set(series["phase"])


def test_what_was_asked_for_was_done(real):
    data = load.load([real]).data
    remote = data[data["workload"] == "remote"]
    assert (remote["remote_share"] - remote["remote_ppm"] / 1e6).abs().max() < 1e-3
    assert (data["ops"] == data["threads"] * data["ops_per_thread"]).all()
    rate = data["ops"] / data["elapsed_ns"] * 1e9
    assert ((data["throughput_ops_s"] - rate).abs() <= 1e-3 * rate).all()


def test_all_tables_and_figures(real, script, tmp_path):
    text = script("tables", real)
    assert text.returncode == 0 and "local, 2 threads" in text.stdout and "system#2" in text.stdout, text.stderr
    assert "The harness alone (null)" in text.stdout
    rows = list(csv.DictReader(io.StringIO(script("tables", real, "--format=csv").stdout)))
    assert len(rows) == 6 and all(float(r["rss_peak"]) > 0 and float(r["rss_after"]) > 0 for r in rows)
    done = script("figures", real, f"--out={tmp_path}")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 10, done.stderr


def test_report_of_a_real_run_has_a_ratio_for_each_allocator(real):
    report = model.build(load.load([real]))
    for section in report.sections:
        assert section.harness_ns > 0
        for row in section.rows:
            assert not row.failure and (row.speed is not None) == (row.name != report.baseline)


def test_quickstart(script, tmp_path):
    """The whole path of a newcomer but for installing and building; a second run finds everything done."""
    arguments = (f"--built={BUILD}", f"--out={tmp_path / 'a dir'}", "--runs=1")
    first = script("quickstart", *arguments, timeout=400)
    assert first.returncode == 0, first.stderr
    for name in ("table.txt", "table.md", "run.csv", "run.rss.csv", "run.run.json", "throughput-linux.svg",
                 "peak-rss-linux.png", "rss-over-time-linux.svg", "throughput-against-rss-linux.png"):  # fmt: skip
        assert (tmp_path / "a dir" / name).stat().st_size > 0
        assert name in first.stdout or name.startswith("run.r")
    assert "remote, 2 threads" in first.stdout and "The harness alone (null)" in first.stdout
    measured = set(load.load([tmp_path / "a dir" / "run.csv"]).allocators)
    assert {"hz3", "hz4", "hz5", "mimalloc", "jemalloc", "tcmalloc", "system"} <= measured
    *_, said, figure = first.stdout.split("\n\n")  # ends with a sentence a cell and one figure
    assert (
        said.startswith("What these rounds say:")
        and said.count(" thread") == 5
        and said.count("decides nothing about 7 allocators") == 5
    )
    assert figure == f"Open first: {tmp_path / 'a dir' / 'throughput-against-rss-linux.png'}\n"
    rows = (tmp_path / "a dir" / "run.csv").read_bytes()
    again = script("quickstart", *arguments, timeout=100)
    assert again.returncode == 0 and again.stdout == first.stdout
    assert "are in " in again.stderr and "about" not in again.stderr
    assert (tmp_path / "a dir" / "run.csv").read_bytes() == rows


def test_ctrl_c_at_a_terminal_says_that_the_samples_are_kept(tmp_path):
    """The terminal sends SIGINT to the shell and to the runner; the shell must still say what comes next."""
    rows = tmp_path / "run.csv"
    pid, terminal = pty.fork()
    if pid == 0:
        script = Path(__file__).parents[2] / "scripts/quickstart"
        os.execv(script, [str(script), f"--built={BUILD}", f"--out={tmp_path}"])
    until = time.monotonic() + 120
    while not (rows.exists() and rows.read_bytes().count(b"\n") > 3) and time.monotonic() < until:
        time.sleep(0.05)
    os.write(terminal, b"\x03")
    said = b""
    try:
        while block := os.read(terminal, 4096):
            said += block
    except OSError:  # the terminal's last process has ended
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert said.count(b"quickstart: interrupted; finished samples are kept") == 1


def test_quickstart_refuses_what_it_does_not_know(script):
    done = script("quickstart", "--fast")
    assert done.returncode == 2 and done.stderr.count("\n") == 1

# SPDX-License-Identifier: Apache-2.0
"""The same command finds its place again; anything else is refused in one line and left as it was."""

import fcntl
import json
import signal
import time

import pytest

from conftest import QUICK, rows

COMMAND = ("--alloc=null,system", "--workload=local", *QUICK, "--runs=3", "--rss-interval=1ms", "--output=r.csv")


@pytest.fixture
def finished(run, tmp_path):
    result = run(*COMMAND)
    assert (result.code, result.err) == (0, "")
    return tmp_path / "r.csv"


def snapshot(tmp_path):
    return {p.name: p.read_bytes() for p in tmp_path.iterdir()}


def refused(run, tmp_path, line, *arguments):
    before = snapshot(tmp_path)
    result = run(*(arguments or COMMAND))
    assert result.lines == ["runner: " + line]
    assert (result.code, result.out) == (2, "")
    assert snapshot(tmp_path) == before


def edit_json(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_complete_run_is_not_run_again(run, tmp_path, finished):
    before = snapshot(tmp_path)
    result = run(*COMMAND)
    assert result.code == 0
    assert result.lines == ["runner: r.csv: 6 of 6 samples are there already"]
    assert "system" in result.out and "3/3" in result.out
    assert snapshot(tmp_path) == before


def test_only_missing_samples_are_run(run, tmp_path, finished):
    lines = finished.read_text().splitlines(keepends=True)
    kept = [lines[0], lines[1], lines[3], lines[4]]
    finished.write_text("".join(kept))
    result = run(*COMMAND)
    assert result.code == 0
    assert result.lines == ["runner: r.csv: 3 of 6 samples are there already"]
    text = finished.read_text()
    assert text.startswith("".join(kept))
    assert [int(r["sample"]) for r in rows(finished)] == [0, 2, 3, 1, 4, 5]
    document = json.loads((tmp_path / "r.run.json").read_text())
    assert [s["samples_before"] for s in document["sessions"]] == [0, 3]
    assert {r["run_id"] for r in rows(finished)} == {document["run_id"]}


@pytest.mark.parametrize("cut", [1, 40, 300])
def test_a_cut_row_is_repaired(run, tmp_path, finished, cut):
    text = finished.read_text()
    last = text.splitlines(keepends=True)[-1]
    finished.write_text(text[:-cut])
    result = run(*COMMAND)
    assert result.code == 0
    assert result.lines == [
        f"runner: r.csv: a row cut in the middle was removed ({len(last) - cut} bytes), its sample is run again",
        "runner: r.csv: 5 of 6 samples are there already",
    ]
    assert finished.read_text().startswith(text[: -len(last)])
    assert [int(r["sample"]) for r in rows(finished)] == list(range(6))


def test_a_cut_header_is_repaired(run, tmp_path, finished):
    text = finished.read_text()
    finished.write_text(text[:20])
    result = run(*COMMAND)
    assert result.code == 0
    assert [int(r["sample"]) for r in rows(finished)] == list(range(6))
    assert finished.read_text().splitlines()[0] == text.splitlines()[0]


def test_series_without_its_row_is_removed(run, tmp_path, finished):
    series = tmp_path / "r.rss.csv"
    lines = finished.read_text().splitlines(keepends=True)
    finished.write_text("".join(lines[:-1]))
    series.write_text(series.read_text()[:-7])  # and the last point is cut
    result = run(*COMMAND)
    assert result.code == 0
    points = rows(series)
    assert {p["sample"] for p in points} == {r["sample"] for r in rows(finished)}
    keys = [(p["sample"], p["t_ns"]) for p in points]
    assert len(keys) == len(set(keys))
    assert all(p["phase"] for p in points)


def test_a_killed_runner_is_resumed(start, run, tmp_path):
    command = ("--alloc=null", "--workload=local", "--duration=50ms", "--settle=0", "--runs=12", "--output=r.csv")
    process = start(*command)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if (tmp_path / "r.csv").exists() and (tmp_path / "r.csv").read_text().count("\n") >= 4:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = (tmp_path / "r.csv").read_text()
    assert before.endswith("\n")
    result = run(*command)
    assert result.code == 0
    assert (tmp_path / "r.csv").read_text().startswith(before)
    assert [int(r["sample"]) for r in rows(tmp_path / "r.csv")] == list(range(12))


def test_failed_samples_of_an_earlier_session_still_count(run, fake, tmp_path):
    library = fake("abort", "abort")
    command = (f"--alloc={library}", "--workload=local", *QUICK, "--runs=2", "--output=r.csv")
    assert run(*command).code == 4
    again = run(*command)
    assert again.code == 4
    assert again.lines == ["runner: r.csv: 2 of 2 samples are there already"]


def test_another_plan_is_refused(run, tmp_path, finished):
    command = json.loads((tmp_path / "r.run.json").read_text())["command"]
    line = f"r.csv: belongs to another plan ({command}) - repeat that command or choose another --output"
    for other in ("--seed=2", "--ops=2001", "--settle=100ms", "--pin=none", "--threads=2"):
        refused(run, tmp_path, line, *COMMAND, other)


def test_a_run_grows(run, tmp_path, finished):
    before = finished.read_text()
    longer = [o if not o.startswith("--runs") else "--runs=5" for o in COMMAND]
    result = run(*longer)
    assert (result.code, result.lines) == (0, ["runner: r.csv: 6 of 10 samples are there already"])
    text = finished.read_text()
    assert text.startswith(before) and [int(r["sample"]) for r in rows(finished)] == list(range(10))
    document = json.loads((tmp_path / "r.run.json").read_text())
    assert (document["plan"]["runs"], document["plan"]["samples"]) == (5, 10)
    assert [s["samples_before"] for s in document["sessions"]] == [0, 6]
    # As if five rounds had been asked for at once.
    at_once = ("r2.csv" if o == "r.csv" else o for o in longer)
    assert run(*[o.replace("r.csv", "r2.csv") for o in at_once]).code == 0
    key = lambda path: [(r["sample"], r["cell_index"], r["seed"], r["stream_hash"]) for r in rows(path)]  # noqa: E731
    assert key(finished) == key(tmp_path / "r2.csv")
    refused(
        run,
        tmp_path,
        "r.csv: has 5 rounds already, --runs=3 would be fewer - give at least as many, or choose another --output",
    )


def test_another_host_is_refused(run, tmp_path, finished):
    edit_json(tmp_path / "r.run.json", lambda d: d["machine"].update(host_id="0" * 16))
    refused(run, tmp_path, "r.csv: was measured on another host - choose another --output")


def test_another_schema_is_refused(run, tmp_path, finished):
    edit_json(tmp_path / "r.run.json", lambda d: d.update(schema=2))
    refused(run, tmp_path, "r.csv: holds rows of schema 2, this runner writes schema 5 - choose another --output")


def test_another_library_is_refused(run, tmp_path, finished):
    edit_json(tmp_path / "r.run.json", lambda d: d["allocators"][1].update(sha256="0" * 64))
    refused(run, tmp_path, "r.csv: the library of 'system' has changed since - choose another --output")


def test_foreign_csv_is_refused(run, tmp_path):
    (tmp_path / "r.csv").write_text("a,b\n1,2\n")
    refused(run, tmp_path, "r.csv: not a result file of schema 5, its header differs - choose another --output")


def test_rows_without_provenance_are_refused(run, tmp_path, finished):
    (tmp_path / "r.run.json").unlink()
    refused(run, tmp_path, "r.csv: cannot be resumed without its r.run.json - choose another --output")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"schema": 5, "generator": "hzbench"}', "\x00" * 64])
def test_damaged_provenance_is_refused(run, tmp_path, finished, text):
    (tmp_path / "r.run.json").write_text(text)
    refused(run, tmp_path, "r.run.json: not a run of hzbench - choose another --output")


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.replace(",local,", ',"lo"cal,', 1),
        lambda line: "1,2,3",
        lambda line: "",
        lambda line: line + ",",
        lambda line: line.replace(line.split(",")[1], "0" * 16, 1),
        lambda line: ",".join(line.split(",")[:2] + ["99"] + line.split(",")[3:]),
        lambda line: ",".join(line.split(",")[:2] + ["-1"] + line.split(",")[3:]),
        lambda line: "\x00" + line,
    ],
    ids=["quote", "short", "empty", "long", "run-id", "sample-too-large", "sample-negative", "nul"],
)
def test_a_damaged_row_is_refused(run, tmp_path, finished, damage):
    lines = finished.read_text().splitlines()
    lines[2] = damage(lines[2])
    finished.write_text("\n".join(lines) + "\n")
    refused(run, tmp_path, "r.csv: line 3 is no row of this run - restore the file or choose another --output")


def test_a_repeated_row_is_refused(run, tmp_path, finished):
    lines = finished.read_text().splitlines(keepends=True)
    finished.write_text("".join(lines + lines[1:2]))
    refused(run, tmp_path, "r.csv: line 8 is no row of this run - restore the file or choose another --output")


def test_foreign_series_is_refused(run, tmp_path, finished):
    (tmp_path / "r.rss.csv").write_text("t,rss\n")
    refused(run, tmp_path, "r.rss.csv: not the series of this run - choose another --output")


def test_a_file_in_use_is_refused(run, tmp_path, finished):
    with open(finished, "a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused(run, tmp_path, "r.csv: another runner is writing it - wait for it or choose another --output")


def test_provenance_of_another_plan_without_rows_is_refused(run, tmp_path, finished):
    finished.unlink()
    (tmp_path / "r.rss.csv").unlink()
    command = json.loads((tmp_path / "r.run.json").read_text())["command"]
    refused(
        run,
        tmp_path,
        f"r.csv: belongs to another plan ({command}) - repeat that command or choose another --output",
        *COMMAND,
        "--seed=5",
    )


def test_differing_event_streams_are_an_error(run, tmp_path, finished):
    lines = finished.read_text().splitlines(keepends=True)
    table = rows(finished)
    first, second = table[0], table[1]  # the two allocators of round 0
    assert first["stream_hash"] == second["stream_hash"]
    lines[1] = lines[1].replace(first["stream_hash"], "00000000deadbeef")
    finished.write_text("".join(lines[:2] + lines[3:]))
    result = run(*COMMAND)
    assert result.code == 4
    message = (
        f"its event stream {second['stream_hash']} differs from 00000000deadbeef of sample 0, which did other work"
        " - a bug of the harness, do not use this round"
    )
    assert [line for line in result.lines if "event stream" in line] == [
        f"runner: sample 1 ({second['allocator']} local threads=1 ops=2000 sizes=16..2KiB working-set=1000): error:"
        f" {message}"
    ]
    row = [r for r in rows(finished) if r["sample"] == "1"][0]
    assert (row["status"], row["message"]) == ("error", message)

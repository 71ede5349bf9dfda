# SPDX-License-Identifier: Apache-2.0
"""Calibration, latency, noise and rounds-until: what the runner says about itself and about the machine."""

import json
import re
import time

import pytest

from conftest import QUICK, rows

CALLS = ("malloc", "free_local", "free_remote")


def test_the_selftest_finds_every_fault(run):
    # A test asserts no wall-clock time: the three faults of time must be measured and compared, the five others found.
    result = run("selftest")
    assert result.code in (0, 1) and result.err == "", result.out
    lines = result.out.splitlines()
    for fault in ("waste=25%", "leak=64", "corrupt=1000", "overlap=1000", "fallback"):
        assert any(line.startswith(fault) and line.endswith(" ok") for line in lines), (fault, result.out)
    verdicts = [
        line for line in lines if re.match(r"(slow|slow-remote|spike)=.* [0-9.]+ +\+-[0-9.]+ +(ok|NOT FOUND)$", line)
    ]
    assert len(verdicts) == 3, result.out
    assert result.code == any(line.endswith("NOT FOUND") for line in lines)


def test_a_fault_that_is_unknown_is_named(run):
    result = run("--alloc=faulty{quick=3}", "--workload=local", *QUICK, "--runs=1")
    assert result.code == 3
    assert "faulty: cannot understand 'quick=3' - slow=20ns" in result.err


@pytest.mark.parametrize("every", ["1", "10"])
def test_latency_rows_and_histograms_agree(run, tmp_path, every):
    result = run(
        "--alloc=system",
        "--workload=remote",
        "--ops=20k",
        "--settle=0",
        "--rss-interval=0",
        "--runs=2",
        f"--latency={every}",
        "--output=r.csv",
        "--quiet",
    )
    assert (result.code, result.err) == (0, "")
    buckets = rows(tmp_path / "r.latency.csv")
    for row in rows(tmp_path / "r.csv"):
        assert row["latency_every"] == every and int(row["latency_timer_ns"]) < 10_000
        for call in CALLS:
            mine = [b for b in buckets if b["sample"] == row["sample"] and b["call"] == call.replace("_", "-")]
            count = int(row[f"latency_{call}_count"])
            assert sum(int(b["count"]) for b in mine) == count > 0
            steps = [int(row[f"latency_{call}_{p}_ns"]) for p in ("p50", "p90", "p99", "p999", "max")]
            assert steps == sorted(steps)
            seen = 0
            for bucket in mine:
                seen += int(bucket["count"])
                if 2 * seen >= count:
                    break
            assert steps[0] == min(int(bucket["high_ns"]), steps[-1])
        if every == "1":  # then every call is there, and nothing but the calls
            assert int(row["latency_malloc_count"]) == 40_000
            assert int(row["latency_free_local_count"]) == int(row["local_frees"])
            assert int(row["latency_free_remote_count"]) == int(row["remote_frees"])
        else:
            assert 3_000 < int(row["latency_malloc_count"]) < 5_000


def test_without_the_timer_there_is_no_latency(run, tmp_path):
    assert run("--alloc=null", "--workload=local", *QUICK, "--runs=1", "--output=r.csv").code == 0
    row = rows(tmp_path / "r.csv")[0]
    assert all(row[name] == "" for name in row if name.startswith("latency_"))
    assert not (tmp_path / "r.latency.csv").exists()


def test_noise_is_in_every_row(run, tmp_path):
    assert run("--alloc=system", "--workload=local", "--ops=100k", "--settle=0", "--runs=2", "--output=r.csv").code == 0
    for row in rows(tmp_path / "r.csv"):
        assert 0 < int(row["reference_loop_fastest_ns"])
        assert int(row["reference_loop_before_ns"]) > 0 and int(row["reference_loop_after_ns"]) > 0
        assert (row["contaminated"] == "1") == (row["contamination"] != "")
        slowest = max(int(row[f"reference_loop_{when}_ns"]) for when in ("before", "after"))
        slow = slowest > 1.25 * int(row["reference_loop_fastest_ns"])
        assert ("slow-cpu" in row["contamination"].split(";")) == slow
        delayed = int(row["run_delay_ns"]) > 0.05 * int(row["elapsed_ns"])
        assert ("run-delay" in row["contamination"].split(";")) == delayed


def test_rounds_until_stops_when_all_is_decided(run, tmp_path):
    command = (
        "--alloc=faulty,faulty{slow=5us}",
        "--workload=local",
        "--ops=5k",
        "--settle=0",
        "--rss-interval=0",
        "--rounds-until=20%",
        "--budget=2min",
        "--output=r.csv",
    )
    result = run(*command)
    assert result.code == 0, result.err
    count = int(re.search(r"1 of 1 pairs decided after (\d+) rounds", result.err).group(1))
    assert count in (8, 12, 18, 27) and len(rows(tmp_path / "r.csv")) == 2 * count
    said = " ".join(result.out.split())
    assert re.search(r"faulty\{slow=5us\} is 0\.\d+ times as fast as faulty \[0\.\d+, 0\.\d+\]\.", said), said
    assert "Incomplete" not in result.out
    before = (tmp_path / "r.csv").read_bytes()
    assert run(*command).code == 0  # again: nothing is left to do
    assert (tmp_path / "r.csv").read_bytes() == before


def test_rounds_until_ends_with_its_budget(run, tmp_path):
    # Two equal allocators are told apart in one of twenty comparisons. These two are so slow that the budget
    # ends before the eighth round, which is the first that may decide.
    result = run(
        "--alloc=faulty{slow=500us},faulty{slow=500us}",
        "--workload=local",
        "--ops=1k",
        "--settle=0",
        "--rss-interval=0",
        "--rounds-until=0.01%",
        "--budget=1s",
        "--output=r.csv",
    )
    assert result.code == 5
    assert re.search(r"0 of 1 pairs decided after [1-7] rounds: the budget is spent", result.err)
    said = " ".join(result.out.split())
    assert "faulty{slow=500us}#2 and faulty{slow=500us} are undecided" in said and "Incomplete" not in said


@pytest.mark.parametrize(
    "option, message",
    [
        ("--rounds-until=5", "needs a difference from 0.0001% to 50%, such as 5%"),
        ("--rounds-until=0%", "needs a difference from 0.0001% to 50%, such as 5%"),
        ("--latency=0", "needs a whole number from 1 to 1000000"),
        ("--budget=0", "must be above 0"),
    ],
)
def test_bad_values(run, option, message):
    result = run("--alloc=null,null", "--workload=local", option)
    assert result.code == 2 and message in result.err
    assert run("--alloc=null", "--workload=local", "--rounds-until=5%").code == 2


def settled(row):
    pairs = (item.split("s=") for item in row["rss_settled"].split(";") if item)
    return {float(seconds): int(found) for seconds, found in pairs}


def test_memory_is_read_when_settle_says(run, tmp_path):
    command = ("--alloc=system", "--workload=local", "--ops=20k", "--runs=1", "--rss-interval=1ms")
    began = time.monotonic()
    assert run(*command, "--settle=20ms,100ms,300ms", "--output=r.csv").code == 0
    assert time.monotonic() - began >= 0.3
    (row,) = rows(tmp_path / "r.csv")
    found = settled(row)
    assert list(found) == [0.02, 0.1, 0.3] and all(b > 1 << 20 for b in found.values())
    assert row["rss_100ms"] == str(found[0.1]) and row["rss_1s"] == ""
    waited = [int(p["t_ns"]) for p in rows(tmp_path / "r.rss.csv") if p["phase"] == "settle"]
    assert waited[-1] - waited[0] >= 250_000_000
    document = json.loads((tmp_path / "r.run.json").read_text())
    assert document["plan"]["settle"] == "0.02s,0.1s,0.3s"
    refused = run(*command, "--settle=20ms,100ms,301ms", "--output=r.csv")
    assert refused.code == 2 and "belongs to another plan" in refused.err
    assert run(*command, "--settle=0", "--output=none.csv").code == 0
    assert rows(tmp_path / "none.csv")[0]["rss_settled"] == ""


def test_light_work_goes_on_while_memory_settles(run, fake, tmp_path):
    library = fake("tells", "tell_large")
    command = (f"--alloc={library}", "--workload=local,local{settle-work=light}", "--sizes=16..64", "--ops=2000")
    assert run(*command, "--settle=100ms", "--runs=1", "--output=r.csv").code == 0
    table = {row["settle_work"]: row for row in rows(tmp_path / "r.csv")}
    assert table["none"]["message"] == "" and "more than 64 bytes" in table["light"]["message"]
    assert table["none"]["stream_hash"] == table["light"]["stream_hash"]
    assert table["none"]["ops"] == table["light"]["ops"]
    assert run(*command, "--settle=0", "--runs=1", "--output=no.csv").code == 0
    assert {row["message"] for row in rows(tmp_path / "no.csv")} == {""}  # nothing is watched, so nobody works

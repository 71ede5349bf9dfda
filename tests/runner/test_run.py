# SPDX-License-Identifier: Apache-2.0
"""What a good run leaves behind: golden rows, rounds, seeds, proof, provenance; and what it prints where."""

import csv
import io
import json
import os
import pty
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import HERE, QUICK, RUNNER, children_of, clean_environment, rows

SCHEMA = HERE.parents[1] / "results" / "SCHEMA.md"
GOLDEN = HERE / "golden"


def normalised(path):
    """The rows without what depends on where the library lies and how it was compiled."""
    table = rows(path)
    for row in table:
        row["library_path"] = Path(row["library_path"]).name
        assert re.fullmatch(r"[0-9a-f]{64}", row["library_sha256"])
        assert re.fullmatch(r"[0-9a-f]{40}", row["library_build_id"])
        for name in ("library_sha256", "library_build_id", "run_id"):
            row[name] = "X"
    out = io.StringIO()
    writer = csv.DictWriter(out, table[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return out.getvalue()


def matches_golden(name, text):
    """HZBENCH_UPDATE_GOLDEN=1 writes the file anew; the change is then read in the diff."""
    path = GOLDEN / name
    if os.environ.get("HZBENCH_UPDATE_GOLDEN"):
        path.write_text(text)
    return path.read_text() == text


def test_golden_rows_on_null_with_a_fake_clock(run, tmp_path):
    result = run(
        "--alloc=null,null",
        "--workload=local,remote",
        "--threads=1,2",
        "--ops=5000",
        "--runs=2",
        "--seed=7",
        "--fake-clock",
        "--output=r.csv",
        "--quiet",
    )
    assert (result.code, result.err) == (0, "")
    assert matches_golden("null.csv", normalised(tmp_path / "r.csv"))
    run_id = rows(tmp_path / "r.csv")[0]["run_id"]
    assert matches_golden("null.rss.csv", (tmp_path / "r.rss.csv").read_text().replace(run_id, "X"))
    table = re.sub(r"Harness: [\d.]+", "Harness: N", result.out)
    assert matches_golden("null.txt", table)


def test_two_runs_with_a_fake_clock_are_equal_byte_for_byte(run, tmp_path):
    command = ("--alloc=null", "--workload=remote", "--ops=5000", "--runs=3", "--fake-clock", "--quiet")
    assert run(*command, "--output=a.csv").code == 0
    assert run(*command, "--output=b.csv").code == 0
    for end in (".csv", ".rss.csv"):
        assert (tmp_path / f"a{end}").read_bytes() == (tmp_path / f"b{end}").read_bytes()


def table_of(columns):
    """Rows of results/SCHEMA.md: a column without a meaning of its own stands with those before it."""
    groups = []
    for column in columns:
        if "meaning" in column:
            groups.append(([column["name"]], column["meaning"]))
        else:
            groups[-1][0].append(column["name"])
    return "".join(f"| {', '.join(names)} | {meaning} |\n" for names, meaning in groups)


def test_the_documented_schema_is_what_the_runner_says(run):
    """HZBENCH_UPDATE_GOLDEN=1 writes results/schema.json and the table of SCHEMA.md anew."""
    result = run("--schema")
    assert (result.code, result.err) == (0, "")
    columns = json.loads(result.out)["columns"]
    text = SCHEMA.read_text()
    head, rest = text.split("| column | meaning |\n|---|---|\n", 1)
    tail = rest[rest.index("\n## NAME.rss.csv") :]
    expected = f"{head}| column | meaning |\n|---|---|\n{table_of(columns)}{tail}"
    if os.environ.get("HZBENCH_UPDATE_GOLDEN"):
        SCHEMA.with_name("schema.json").write_text(result.out)
        SCHEMA.write_text(expected)
    assert SCHEMA.with_name("schema.json").read_text() == result.out
    assert SCHEMA.read_text() == expected


def test_columns_are_those_of_the_schema(run, tmp_path):
    run("--alloc=null", "--workload=local", *QUICK, "--runs=1", "--output=r.csv")
    described = [c["name"] for c in json.loads(run("--schema").out)["columns"]]
    assert (tmp_path / "r.csv").read_text().splitlines()[0].split(",") == described
    assert (tmp_path / "r.rss.csv").read_text() == "schema,run_id,sample,t_ns,rss_bytes,live_bytes,phase\n"


def test_rounds_visit_each_cell_once_in_their_own_order(run, tmp_path):
    result = run(
        "--alloc=null,system,jemalloc", "--workload=local,remote", "--threads=2", *QUICK, "--runs=4", "--output=r.csv"
    )
    assert (result.code, result.err) == (0, "")
    table = rows(tmp_path / "r.csv")
    assert [int(r["sample"]) for r in table] == list(range(24))
    orders = []
    for number in range(4):
        part = [r for r in table if int(r["round"]) == number]
        assert [int(r["order"]) for r in part] == list(range(6))
        orders.append(tuple((r["allocator"], r["workload"]) for r in part))
        assert len(set(orders[-1])) == 6
        assert len({r["seed"] for r in part}) == 1
        for workload in ("local", "remote"):
            assert len({r["stream_hash"] for r in part if r["workload"] == workload}) == 1
    assert len(set(orders)) > 1
    assert len({r["seed"] for r in table}) == 4
    assert len({r["stream_hash"] for r in table if r["workload"] == "local"}) == 4
    assert all(r["remote_share"] == "0.900000" for r in table if r["workload"] == "remote")


def test_the_seed_makes_order_and_events(run, tmp_path):
    command = ("--alloc=null,null,null", "--workload=local,remote", "--threads=2", *QUICK, "--runs=3")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run(*command, f"--seed={seed}", f"--output={name}.csv").code == 0

    def key(name):
        return [(r["workload"], r["seed"], r["stream_hash"]) for r in rows(tmp_path / f"{name}.csv")]

    assert key("a") == key("b") != key("c")


def test_rows_prove_the_library(run, tmp_path):
    for load in ("dlopen", "preload"):
        result = run(
            "--alloc=system,jemalloc", "--workload=local", *QUICK, "--runs=1", f"--load={load}", f"--output={load}.csv"
        )
        assert (result.code, result.err) == (0, "")
        for row in rows(tmp_path / f"{load}.csv"):
            assert row["load"] == load and row["status"] == "ok"
            assert {"system": "libc.so", "jemalloc": "libjemalloc.so"}[row["allocator"]] in row["library_path"]
            digest = subprocess.run(["sha256sum", row["library_path"]], capture_output=True, text=True, check=True)
            assert digest.stdout.split()[0] == row["library_sha256"]


def test_what_was_not_measured_is_empty(run, tmp_path):
    assert run("--alloc=null", "--workload=local", *QUICK, "--runs=1", "--output=r.csv").code == 0
    row = rows(tmp_path / "r.csv")[0]
    for name in (
        "rss_mean",
        "rss_p95",
        "live_mean",
        "fragmentation_worst_ppm",
        "rss_100ms",
        "rss_1s",
        "live_peak",
        "cycles",
        "instructions",
        "topology",
        "windows_working_set_bytes",
        "windows_peak_working_set_bytes",
        "windows_private_usage_bytes",
    ):
        assert row[name] == "", name
    assert row["corruptions"] == row["failures"] == "0"
    assert float(row["throughput_ops_s"]) > 0


def test_run_json_tells_build_machine_libraries_and_environment(run, tmp_path):
    environment = {"MALLOC_CONF": "narenas:2", "MIMALLOC_VERBOSE": "0", "UNRELATED": "x"}
    result = run(
        "--alloc=null,jemalloc{narenas:1}",
        "--workload=remote",
        *QUICK,
        "--runs=1",
        "--seed=9",
        "--output=r.csv",
        env=environment,
    )
    assert (result.code, result.err) == (0, "")
    document = json.loads((tmp_path / "r.run.json").read_text())
    table = rows(tmp_path / "r.csv")
    assert document["schema"] == 5 and document["seed"] == 9
    assert re.fullmatch(r"[0-9a-f]{16}", document["run_id"])
    assert {r["run_id"] for r in table} == {document["run_id"]}
    assert document["command"].endswith("--runs=1 --seed=9 --output=r.csv")
    assert "'--alloc=null,jemalloc{narenas:1}'" in document["command"]
    assert document["environment"] == {"MALLOC_CONF": "narenas:2", "MIMALLOC_VERBOSE": "0"}
    machine = document["machine"]
    for name in ("cpu_model", "kernel", "libc", "transparent_hugepages", "overcommit", "virtualisation", "host_id"):
        assert machine[name], name
    for name in ("packages", "cores", "pus", "numa_nodes"):
        assert machine[name] >= 1
    assert re.fullmatch(r"[0-9a-f]{64}", document["build"]["worker_sha256"])
    assert machine["costs"]["first_touch_ns"] > 0
    assert machine["costs"]["line_transfer_ns"] is None or machine["cores"] > 1
    assert {"version", "commit", "dirty", "compiler", "flags"} <= set(document["build"])
    assert [a["allocator"] for a in document["allocators"]] == ["null", "jemalloc{narenas:1}"]
    for allocator, row in zip(document["allocators"], sorted(table, key=lambda r: r["allocator"] != "null")):
        assert allocator["available"] is True
        assert allocator["path"] == row["library_path"]
        assert allocator["sha256"] == row["library_sha256"]
        assert (allocator["version"] or "") == row["library_version"]
    assert [cell["workload"] for cell in document["plan"]["cells"]] == ["remote", "remote"]
    assert document["plan"]["samples"] == 2


def test_a_preloaded_runner_does_not_preload_its_workers(run, tmp_path):
    library = subprocess.run(
        ["ldconfig", "-p"],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
    ).stdout
    jemalloc = re.search(r"libjemalloc\.so\.2 .* => (\S+)", library).group(1)
    result = run(
        "--alloc=system",
        "--workload=local",
        *QUICK,
        "--runs=1",
        "--load=preload",
        "--output=r.csv",
        env={"LD_PRELOAD": jemalloc},
    )
    assert (result.code, result.err) == (0, "")
    assert rows(tmp_path / "r.csv")[0]["status"] == "ok"
    assert json.loads((tmp_path / "r.run.json").read_text())["environment"]["LD_PRELOAD"] == jemalloc


def test_series_covers_the_phases(run, tmp_path):
    result = run(
        "--alloc=system",
        "--workload=local",
        "--ops=300k",
        "--runs=1",
        "--rss-interval=1ms",
        "--settle=100ms",
        "--output=r.csv",
    )
    assert (result.code, result.err) == (0, "")
    row = rows(tmp_path / "r.csv")[0]
    series = rows(tmp_path / "r.rss.csv")
    assert {p["sample"] for p in series} == {"0"} and {p["run_id"] for p in series} == {row["run_id"]}
    assert {"measured", "settle"} <= {p["phase"] for p in series}
    assert int(row["rss_baseline"]) <= int(row["rss_mean"]) <= int(row["rss_p95"]) <= int(row["rss_peak"])
    assert row["rss_100ms"] != "" and row["rss_1s"] == ""
    points = [p for p in series if p["phase"] == "measured"]
    live = [int(p["live_bytes"]) for p in points]
    assert int(row["live_mean"]) == sum(live) // len(live)
    worst = max(
        (int(p["rss_bytes"]) - int(row["rss_baseline"])) / int(p["live_bytes"])
        for p in points
        if int(p["live_bytes"]) >= 1 << 20
    )
    assert int(row["fragmentation_worst_ppm"]) == int(worst * 1e6)


def shown_mebibytes(out: str, name: str) -> float:
    """The column `peak MiB` of the runner's table."""
    return float(next(line.split()[3] for line in out.splitlines() if line.split()[:1] == [name]))


@pytest.mark.parametrize("workload, threads, allocator", [("local", 1, "hz3"), ("remote", 2, "hz4")])
def test_shown_memory_does_not_grow_with_the_events(run, tmp_path, workload, threads, allocator):
    """Events are drawn ahead, 8 bytes each: 3.8 MiB here and eight times as many there."""
    few, many = 500_000, 4_000_000
    shown, harness = {}, {}
    for ops in (few, many):
        file = tmp_path / f"{ops}.csv"
        result = run(
            f"--alloc=null,{allocator}", f"--workload={workload}", f"--threads={threads}", f"--ops={ops}", "--runs=1",
            "--settle=0", f"--output={file.name}",
        )  # fmt: skip
        assert (result.code, result.err) == (0, "")
        for row in rows(file):
            name = row["allocator"]
            harness[name, ops] = int(row["harness_bytes"])
            shown[name, ops] = shown_mebibytes(result.out, name)
            rest = (int(row["rss_peak"]) - harness[name, ops]) / 2**20
            assert shown[name, ops] == pytest.approx(rest, rel=0.006)  # three digits
            assert int(row["rss_baseline"]) > harness[name, ops]
    for name in ("null", allocator):
        events = 8 * threads * (many - few)
        assert 0 <= harness[name, many] - harness[name, few] - events <= 0.02 * events  # the steps' sums are there, too
        noise = 1 if name == "null" else 4  # what two threads have on the way to each other differs from run to run
        assert abs(shown[name, many] - shown[name, few]) < noise, (name, shown)  # of 27 and 53 MiB


def test_a_duration_gives_no_hash(run, tmp_path):
    result = run(
        "--alloc=null,system", "--workload=local", "--duration=30ms", "--settle=0", "--runs=1", "--output=r.csv"
    )
    assert (result.code, result.err) == (0, "")
    for row in rows(tmp_path / "r.csv"):
        assert row["stream_hash"] == "" and row["duration_ns"] == "30000000"
        assert int(row["elapsed_ns"]) > 0 and int(row["ops"]) > 0


def test_pinning_is_what_the_row_says(start, run, tmp_path):
    allowed = sorted(os.sched_getaffinity(0))
    process = start(
        "--alloc=null",
        "--workload=local",
        "--duration=3s",
        "--runs=1",
        f"--pin={allowed[-1]}",
        "--settle=0",
        "--output=r.csv",
    )
    seen = set()
    while process.poll() is None:
        for worker in children_of(process.pid):
            try:
                for task in Path(f"/proc/{worker}/task").iterdir():
                    text = (task / "status").read_text()
                    seen.add(re.search(r"Cpus_allowed_list:\t(\S+)", text).group(1))
            except (OSError, AttributeError):
                pass
    assert process.wait() == 0
    assert str(allowed[-1]) in seen
    assert rows(tmp_path / "r.csv")[0]["pin"] == str(allowed[-1])


def test_a_terminal_gets_a_live_line_and_a_pipe_none(tmp_path):
    command = [str(RUNNER), "--alloc=null", "--workload=local", *QUICK, "--runs=3"]
    for quiet in (False, True):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            command + ["--quiet"] * quiet,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
            cwd=tmp_path,
            env=clean_environment(),
        )
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            seen += part
        out, _ = process.communicate()
        os.close(ours)
        assert process.returncode == 0 and b"null" in out
        assert (b"0/3" in seen and b"2/3" in seen and b" left " in seen) != quiet
        assert not (quiet and seen)


def test_table_goes_to_stdout(run):
    result = run("--alloc=null,system", "--workload=local", *QUICK, "--runs=3")
    assert (result.code, result.err) == (0, "")
    for name in ("null", "system"):
        assert re.search(rf"^  {name} +[\d.]+  [\d.]+\.\.[\d.]+ +[\d.]+ +3/3$", result.out, re.M), name
    assert re.search(r"^Harness: [\d.]+ ns an op over the null allocator", result.out, re.M)


def test_what_is_printed_fits_a_terminal(run):
    """Two names, one too long for its column, latencies, a copy; a sentence first, and no column without numbers."""
    named = "a-name-of-forty-characters-and-no-blanks"
    result = run(
        f"--alloc=null,system,{named}=system,system",
        "--workload=local,remote",
        "--threads=2",
        *QUICK,
        "--runs=3",
        "--latency=1",
    )
    assert (result.code, result.err) == (0, "")
    assert max(map(len, result.out.splitlines())) <= 80
    local, remote = result.out.split("\n\n")[:2]
    assert "3 rounds decide nothing about 3 allocators - take more, such as --runs=9." in " ".join(local.split())
    assert re.search(rf"^  {named}\n {{11,}}[\d.]+ ", local, re.M) and re.search(r"^  system#2 +[\d.]+  ", local, re.M)
    assert "MiB after 1s" not in result.out
    head = r"^  allocator +p50 +p99 +p99.9 +p50 +p99 +p99.9"
    assert re.search(head + "$", local, re.M) and "free of others" not in local
    assert re.search(head + r" +p50 +p99 +p99.9$", remote, re.M) and "free of others, ns" in remote
    assert re.search(r"^  system( +\d+){9}$", remote, re.M)


def test_a_program_is_told_in_its_own_unit(run):
    if shutil.which("sqlite3") is None:
        pytest.skip("sqlite3 is not installed")
    result = run("--alloc=system", "--workload=app:sqlite{ops=200}", "--runs=1")
    assert result.code == 0, result.err
    assert re.search(r"^  allocator +rows/s  min\.\.max +peak MiB +CPU s +ok$", result.out, re.M), result.out
    assert "ops/s" not in result.out and "object" not in result.out and "Harness" not in result.out


def test_names_of_allocators(run, tmp_path):
    """Rows, run.json, --plan and the table have the name; the library is that of the item."""
    null = rows_of_null(run, tmp_path)
    command = (f"--alloc=old={null},new=system", "--workload=local", *QUICK, "--runs=7", "--output=r.csv")
    plan = run(*command, "--plan").out
    assert re.search(r"^cell 0: old local", plan) and re.search(r"^cell 1: new local", plan, re.M)
    result = run(*command)
    assert (result.code, result.err) == (0, "")
    assert {(r["allocator"], Path(r["library_path"]).name == Path(null).name) for r in rows(tmp_path / "r.csv")} == {
        ("old", True),
        ("new", False),
    }
    document = json.loads((tmp_path / "r.run.json").read_text())
    assert [(a["allocator"], a["item"]) for a in document["allocators"]] == [("old", null), ("new", "system")]
    assert re.search(r"^  (old|new) ", result.out, re.M)
    assert (
        "belongs to another plan" in run(f"--alloc=old={null},newer=system", *command[1:]).err
    )  # the rows would not fit
    assert run(*command).lines == ["runner: r.csv: 14 of 14 samples are there already"]


def rows_of_null(run, tmp_path):
    """The path of the null library, as a row proves it."""
    assert run("--alloc=null", "--workload=local", *QUICK, "--runs=1", "--output=null.csv").code == 0
    return rows(tmp_path / "null.csv")[0]["library_path"]


def test_full_stdout_is_an_error(tmp_path):
    with open("/dev/full", "w") as full:
        process = subprocess.run([str(RUNNER), "--help"], stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.returncode == 3
    assert (
        process.stderr
        == "runner: standard output: No space left on device - the rows of --output are complete all the same\n"
    )

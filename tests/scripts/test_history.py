# SPDX-License-Identifier: Apache-2.0
"""The database of a history: what a point is, what survives damage, two writers and a later schema; which changes are
told, and of which commits."""

import csv
import itertools
import json
import math
import os
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import fixtures
import numpy as np
import pytest
from conftest import ROOT, SCRIPTS
from fixtures import Plan
from hzbench import errors, load, schema, stats
from hzbench.history import commands, points, store, tracks

BUILD = Path(os.environ.get("HZBENCH_BUILD") or ROOT / "build")
ALLOCATORS = ("hz5", "hz4", "system")


def git(folder, *arguments, date=None):
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
           "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org"}  # fmt: skip
    if date:
        env |= {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    return subprocess.run(["git", "-C", folder, *arguments], env=env, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    """A repository of 14 commits, a day apart, the sixth tagged."""
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "-q", "-b", "main")
    for day in range(1, 15):
        date = f"2026-01-{day:02}T12:00:00+01:00"
        git(folder, "commit", "-q", "--allow-empty", "-m", f"Change number {day}", date=date)
        if day == 6:
            git(folder, "tag", "v1")
    return folder


def commits_of(repository):
    return git(repository, "log", "--reverse", "--format=%H").split()


def plan_of(number, **changes):
    return Plan(**{"allocators": ALLOCATORS, "workloads": ("local",), "threads": (1, 2), "rounds": 6, "noise": 0.004,
                   "seed": 7, "run": number + 1, **changes})  # fmt: skip


def measure(folder, number, edit=None, **changes):
    """The run of one commit: its own noise, the same work."""

    def own_noise(rows):
        random = fixtures.Random(1000 + number)
        for row in rows:
            for column in ("throughput_ops_s",):
                row[column] = f"{float(row[column]) * math.exp(0.004 * random.normal()):.3f}"
        return edit(rows) if edit else rows

    return fixtures.write_run(folder / f"run-{number:02}.csv", plan_of(number, **changes), own_noise, with_series=False)


def faster(**factors):
    return {name: value * factors.get(name, 1.0) for name, value in fixtures.SPEED.items()}


@pytest.fixture(scope="session")
def measured(tmp_path_factory, repository):
    """A run a commit: from the eighth on the machine is 30 % slower for all, from the tenth on hz4 loses 6 %."""
    folder = tmp_path_factory.mktemp("measured")
    files = []
    for number in range(14):
        machine = 0.7 if number >= 7 else 1.0
        speed = faster(**dict.fromkeys(ALLOCATORS, machine) | {"hz4": machine * (0.94 if number >= 9 else 1.0)})
        files.append(measure(folder, number, speed=speed))
    return files


def add(database, repository, files, *more):
    """Adds the runs of the first commits, in this process: what is tested is seldom the start of Python."""
    for commit, file in zip(commits_of(repository), files):
        commands.main(["add", str(file), f"--db={database}", f"--repo={repository}", f"--commit={commit}", *more])


@pytest.fixture(scope="session")
def finished(tmp_path_factory, repository, measured):
    database = tmp_path_factory.mktemp("history") / "all.db"
    add(database, repository, measured)
    return database


@pytest.fixture
def history(finished):
    """A database of all runs that may be spoilt, beside the first one: its journal has relative paths."""
    names = itertools.count()
    copy = next(p for p in (finished.with_name(f"{n}.db") for n in names) if not p.exists())
    for ending in ("", ".sources.jsonl"):
        shutil.copy(str(finished) + ending, str(copy) + ending)
    return copy


def stored(database):
    opened = store.open_store(str(database), False)
    placed = opened.points()
    opened.close()
    return placed


def test_a_point_is_the_paired_log_ratio_of_its_run(capsys, tmp_path, repository, measured):
    add(tmp_path / "h.db", repository, measured[:1])
    assert "added 22 points" in capsys.readouterr().out
    results = load.load([measured[0]])
    placed = stored(tmp_path / "h.db")
    assert {p.run.commit for p in placed} == {commits_of(repository)[0]} and placed[0].run.at == "2026-01-01T11:00:00Z"
    for name in ("hz5", "hz4"):
        data = results.data[(results.data["threads"] == 1)]
        new, old = (data[data["name"] == n].set_index("block")["throughput_ops_s"] for n in (name, "system"))
        expected = stats.compare_paired(new, old.loc[new.index])
        (point,) = [
            p.point for p in placed
            if p.point.series.metric == "throughput_ops_s" and p.point.series.allocator == name
            and json.loads(p.point.series.cell)["threads"] == 1
        ]  # fmt: skip
        assert math.exp(point.estimate) == pytest.approx(expected.ratio)
        assert (math.exp(point.low), math.exp(point.high)) == pytest.approx((expected.low, expected.high))
        assert point.n == 6 and point.reference == "system"
        assert point.reference_sha256 == data.loc[data["name"] == "system", "library_sha256"].iloc[0]
    (rss,) = [p.point for p in placed if p.point.series.metric == "rss_peak" and p.point.series.allocator == "hz5"
              and json.loads(p.point.series.cell)["threads"] == 2]  # fmt: skip
    peaks = results.data.loc[(results.data["name"] == "hz5") & (results.data["threads"] == 2), "rss_peak"]
    assert math.exp(rss.estimate) == pytest.approx(peaks.median(), rel=1e-3) and rss.reference == ""


def test_a_file_is_added_once_and_again_when_it_has_grown(capsys, tmp_path, repository, measured):
    database = tmp_path / "h.db"
    add(database, repository, measured[:1])
    add(database, repository, measured[:1])
    assert "known already" in capsys.readouterr().out
    before = len(stored(database))
    grown = measure(tmp_path, 0, rounds=9)
    add(database, repository, [grown])
    assert "replaced" in capsys.readouterr().out
    assert len(stored(database)) == before and {p.point.n for p in stored(database)} == {9}


def test_the_change_is_told_with_its_commits_and_the_drift_of_the_machine_is_not(script, history, repository):
    done = script("history", "changes", f"--db={history}", f"--repo={repository}", "--metric=throughput_ops_s")
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith(("worse", "better", "suspected"))]
    assert len(told) == 2 and all("throughput of hz4" in line for line in told)  # with 1 thread and with 2
    assert "Change number 10" in done.stdout and "2 worse, 0 better" in done.stdout
    found = json.loads(script("history", "changes", f"--db={history}", f"--repo={repository}", "--format=json",
                              "--metric=throughput_ops_s").stdout)  # fmt: skip
    for change in found:
        assert change["low"] < change["share"] < change["high"] and change["low"] < -0.06 < change["high"]
        assert commits_of(repository)[9] in change["commits"] and not change["suspected"]


def test_since_a_tag_markdown_and_strict(script, history, repository):
    common = (f"--db={history}", f"--repo={repository}", "--metric=throughput_ops_s")
    assert script("history", "changes", *common, "--since=v1", "--strict").returncode == errors.GATE_FAILED
    late = script("history", "changes", *common, "--since=2026-01-12", "--strict")
    assert late.returncode == 0 and late.stdout.startswith("0 worse, 0 better")
    bad = script("history", "changes", *common, "--since=nothing")
    assert bad.returncode == 2 and bad.stderr.count("\n") == 1
    table = script("history", "changes", *common, "--format=markdown").stdout
    assert len(table.splitlines()) <= 30 and "| worse" in table


def test_list_and_show(script, history, repository):
    listed = script(
        "history", "list", f"--db={history}", "--filter=allocator:hz4 threads:2", "--metric=throughput_ops_s"
    )
    rows = [line for line in listed.stdout.splitlines() if "throughput of" in line]
    assert len(rows) == 1 and "hz4, local, 2 threads" in rows[0] and " 14 " in rows[0]
    key = rows[0].split()[0]
    shown = script("history", "show", key, f"--db={history}", f"--repo={repository}").stdout
    assert shown.count("Change number") == 14 and shown.count("worse -") == 1
    for wrong in ("nothing", "hz4"):
        done = script("history", "show", wrong, f"--db={history}")
        assert done.returncode == 2 and "names" in done.stderr and done.stderr.count("\n") == 1
    done = script("history", "list", f"--db={history}", "--metric=weight")
    assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_a_new_reference_library_starts_a_track_and_one_run_with_both_is_in_both(tmp_path, repository):
    """From the third run on the reference is another build; the third has both, the old one by another name."""
    database = tmp_path / "h.db"
    for number in range(5):
        build = "a" if number < 2 else "b"

        def with_old(rows, number=number):
            for row in rows:
                if row["allocator"] == "mimalloc":
                    row["allocator"] = "old" if number == 2 else "mimalloc"
                    row["library_sha256"] = fixtures.hashlib.sha256(b"systema").hexdigest()
            return rows if number == 2 else [r for r in rows if r["allocator"] != "mimalloc"]

        file = measure(tmp_path, number, with_old, build=build, allocators=("hz5", "mimalloc", "system"))
        both = ["--reference=system,old"] if number == 2 else []
        commit = f"--commit={commits_of(repository)[number]}"
        commands.main(["add", str(file), f"--db={database}", f"--repo={repository}", commit, *both])
    placed = [p for p in stored(database) if p.point.series.allocator == "hz5"]
    lines = [line for line in tracks.lines_of(placed) if line.series.metric == "throughput_ops_s"]
    by_length = {
        (line.reference, line.reference_sha256[:4]): len(line.placed)
        for line in lines
        if '"threads": 1' in line.series.cell
    }
    old, new = (fixtures.hashlib.sha256(f"system{b}".encode()).hexdigest()[:4] for b in "ab")
    assert by_length == {("system", old): 2, ("old", old): 1, ("system", new): 3}


def test_a_page_more_of_memory_is_no_news_and_a_tenth_is(tmp_path, repository):
    database = store.open_store(str(tmp_path / "h.db"), True)
    for number in range(12):

        def grown(rows, number=number):
            for row in rows:
                page, tenth = (4096, 1.1) if number >= 6 else (0, 1.0)
                row["rss_peak"] = 100 * fixtures.MIB + (page if row["allocator"] == "hz5" else 0)
                if row["allocator"] == "hz4":
                    row["rss_peak"] = int(100 * fixtures.MIB * tenth)
            return rows

        results = load.load([measure(tmp_path, number, grown)])
        run = points.run_of(results, repository, commits_of(repository)[number], "host")
        database.add(run, points.of_results(results, run.host, ["system"]))
    lines = [line for line in tracks.lines_of(database.points()) if line.series.metric == "rss_peak"]
    found = tracks.find(lines)
    assert {f.line.series.allocator for f in found} == {"hz4"} and all(f.is_worse for f in found)
    assert all(f.share == pytest.approx(0.1, rel=1e-6) and f.change.at == 6 for f in found)


def test_a_cell_that_crashes_is_a_failure_in_the_history(script, capsys, tmp_path, repository):
    def crash(rows):
        for row in rows:
            if row["allocator"] == "hz4" and row["threads"] == 2:
                row.update(status="crashed", throughput_ops_s="", ops="", message="killed by signal 11")
        return rows

    add(tmp_path / "h.db", repository, [measure(tmp_path, 0, crash)])
    assert "failed: hz4: crashed: killed by signal 11" in capsys.readouterr().out
    (failed,) = [p.point for p in stored(tmp_path / "h.db") if p.point.estimate is None]
    assert failed.series.allocator == "hz4" and "crashed" in failed.problem
    assert " failed " in script("history", "list", f"--db={tmp_path / 'h.db'}").stdout


def test_instruction_counts_are_points_without_a_host(script, tmp_path, repository):
    commits = commits_of(repository)
    for number, commit in enumerate(commits[:8]):
        count = 50 if number < 7 else 52
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps({"hz5": {"local": {"64": {"malloc": 20, "free": 20, "pair": count}}}}))
        add(tmp_path / "h.db", repository, [file], f"--commit={commit}")
    (change,) = json.loads(script("history", "changes", f"--db={tmp_path / 'h.db'}", f"--repo={repository}",
                                  "--format=json").stdout)  # fmt: skip
    assert change["share"] == pytest.approx(0.04) and change["commits"] == [commits[7]] and not change["suspected"]
    done = script("history", "add", tmp_path / "0.json", f"--db={tmp_path / 'h.db'}")
    assert done.returncode == 2 and "--commit" in done.stderr


def test_counts_beside_runs_leave_the_names_of_the_runs_short(capsys, tmp_path, repository, measured):
    database = tmp_path / "h.db"
    add(database, repository, measured[:1])
    short = {line.label for line in tracks.lines_of(stored(database))}
    (tmp_path / "counts.json").write_text(
        json.dumps({"hz5": {"local": {"64": {"malloc": 20, "free": 20, "pair": 40}}}})
    )
    add(database, repository, [tmp_path / "counts.json"])
    lines = tracks.lines_of(stored(database))
    assert {line.label for line in lines} == short and len({line.series.metric for line in lines}) > 1


def test_confirm_says_what_to_run(script, tmp_path, repository):
    files = []
    for number in range(12):
        files.append(measure(tmp_path, number, speed=faster(hz4=0.8 if number == 11 else 1.0)))
        record = json.loads(files[-1].with_suffix("").with_suffix(".run.json").read_text())
        record["command"] = "build/runner --alloc=hz5,hz4,system --output=old.csv"
        files[-1].with_suffix("").with_suffix(".run.json").write_text(json.dumps(record))
    add(tmp_path / "h.db", repository, files)
    done = script("history", "confirm", f"--db={tmp_path / 'h.db'}", "--metric=throughput_ops_s")
    last = commits_of(repository)[11]
    assert f"git checkout {last}" in done.stdout and f"--output=confirm-{last[:9]}-1.csv" in done.stdout
    assert "old.csv" not in done.stdout and "suspected worse" in done.stdout
    again = measure(tmp_path, 30, speed=faster(hz4=0.8))
    add(tmp_path / "h.db", repository, [again], f"--commit={last}")
    done = script("history", "confirm", f"--db={tmp_path / 'h.db'}", "--metric=throughput_ops_s")
    assert done.stdout.startswith("Nothing is suspected")
    told = script(
        "history", "changes", f"--db={tmp_path / 'h.db'}", f"--repo={repository}", "--metric=throughput_ops_s"
    )
    assert "2 worse, 0 better" in told.stdout and "suspected" not in told.stdout


@pytest.mark.parametrize("damage", ("text", "cut", "page"))
def test_a_damaged_file_is_told_and_made_anew_by_one_command(script, history, damage):
    before = [(p.run, p.point) for p in stored(history)]
    content = bytearray(history.read_bytes())
    if damage == "text":
        content = bytearray(b"this is no database\n" * 100)
    elif damage == "cut":
        del content[len(content) // 3 :]
    else:
        content[4096 : len(content) // 2] = os.urandom(len(content) // 2 - 4096)
    history.write_bytes(content)
    done = script("history", "list", f"--db={history}")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "scripts/history rebuild" in done.stderr
    done = script("history", "rebuild", f"--db={history}")
    assert done.returncode == 0 and "made anew from 14 of 14 files" in done.stdout, done.stdout + done.stderr
    after = [(p.run, p.point) for p in stored(history)]
    assert [p for _, p in after] == [p for _, p in before]
    assert [(r.run_id, r.commit, r.at) for r, _ in after] == [(r.run_id, r.commit, r.at) for r, _ in before]
    assert script("history", "doctor", f"--db={history}").returncode == 0
    assert history.with_name(history.name + ".old").read_bytes() == bytes(content)  # nothing is thrown away


def test_damage_that_is_found_while_rows_are_read_is_told(history):
    content = bytearray(history.read_bytes())
    content[4096:12288] = b"\xff" * 8192
    history.write_bytes(content)
    with pytest.raises(errors.InputError, match="damaged.*scripts/history rebuild"):
        commands.main(["doctor", f"--db={history}"])
    history.with_name(history.name + ".sources.jsonl").unlink()
    with pytest.raises(errors.InputError, match="rebuild RESULT"):
        commands.main(["rebuild", f"--db={history}"])


def test_rebuild_says_what_it_left_out(script, history, measured, tmp_path):
    journal = history.with_name(history.name + ".sources.jsonl")
    journal.write_text(journal.read_text().replace("run-03.csv", "gone.csv"))
    done = script("history", "rebuild", f"--db={history}")
    assert done.returncode == errors.FAILED and "left out" in done.stdout and "13 of 14" in done.stdout
    assert "gone" in script("history", "doctor", f"--db={history}").stdout
    done = script("history", "rebuild", measured[0].parent, f"--db={tmp_path / 'new.db'}")
    assert done.returncode == 0 and "made anew from 14 of 14 files" in done.stdout
    done = script("history", "rebuild", f"--db={tmp_path / 'other.db'}")
    assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_doctor_finds_what_is_inconsistent(script, history):
    assert "nothing is wrong" in script("history", "doctor", f"--db={history}").stdout
    with sqlite3.connect(history) as connection:
        connection.execute("DELETE FROM run WHERE run_id = (SELECT min(run_id) FROM run)")
    done = script("history", "doctor", f"--db={history}")
    assert done.returncode == errors.FAILED and "refers to a row that is missing" in done.stdout


def test_a_second_writer_waits_for_the_first(script, tmp_path, repository, measured):
    database = tmp_path / "h.db"
    add(database, repository, measured[:1])
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    commit = commits_of(repository)[1]
    process = subprocess.Popen([SCRIPTS / "history", "add", measured[1], f"--db={database}", f"--repo={repository}",
                                f"--commit={commit}"], stdout=subprocess.PIPE, text=True)  # fmt: skip
    time.sleep(3)
    assert process.poll() is None  # it waits
    connection.execute("COMMIT")
    connection.close()
    assert process.wait(timeout=120) == 0 and "added" in process.stdout.read()


def test_many_writers_lose_nothing(tmp_path, repository, measured):
    database = tmp_path / "h.db"
    common = [f"--db={database}", f"--repo={repository}"]
    running = [
        subprocess.Popen([SCRIPTS / "history", "add", file, *common, f"--commit={commit}"], stdout=subprocess.DEVNULL)
        for commit, file in list(zip(commits_of(repository), measured))[:5]
    ]
    assert [process.wait(timeout=300) for process in running] == [0] * 5
    assert len({p.run.run_id for p in stored(database)}) == 5
    journal = (tmp_path / "h.db.sources.jsonl").read_text().splitlines()
    assert len(journal) == 5 and len({json.loads(line)["file"] for line in journal}) == 5


def test_an_older_schema_is_migrated_and_a_later_one_refused(script, history, monkeypatch):
    before = stored(history)
    with monkeypatch.context() as later:
        later.setattr(store, "MIGRATIONS", store.MIGRATIONS + (("CREATE TABLE extra (x INTEGER)",),))
        assert stored(history) == before
        opened = store.open_store(str(history), False)
        assert opened.version() == len(store.MIGRATIONS) and opened.rows("SELECT count(*) FROM extra") == [(0,)]
        opened.close()
    done = script("history", "list", f"--db={history}")
    assert done.returncode == 2 and "later hzbench" in done.stderr and done.stderr.count("\n") == 1


def test_a_series_holds_files_from_before_a_parameter(tmp_path, repository):
    """The same work in files with and without the columns of parameters that came later; another value is another
    series, and so is `touch=none`, which no workload means where nothing is said."""
    later = {p["name"]: schema.usual(p) for p in schema.PARAMETERS if p["name"] not in schema.SCHEMA_1}
    assert later["handover_batch"] == 8 and later["receiver"] == "reads" and later["age_bytes"] == 0

    def run(number, **values):
        def edit(rows):
            for row in rows:
                row.update(values)
            return rows

        (tmp_path / str(number)).mkdir()
        file = measure(tmp_path / str(number), number, edit, workloads=("remote",), threads=(2,))
        results = load.load([file])
        found = points.of_results(results, "host", ["system"])
        return {p.series.key for p in found if p.series.allocator == "hz4" and p.series.metric == "throughput_ops_s"}

    old = run(0, **dict.fromkeys(later, ""))
    assert len(old) == 1 and run(1, **later) == old
    for number, (name, value) in enumerate((("handover_batch", 1), ("receiver", "frees"), ("age", "holes"),
                                            ("settle_work", "light"), ("touch", "none")), 2):  # fmt: skip
        assert run(number, **{**later, name: value}) != old, name


@pytest.mark.parametrize("name", ("remote", "mixed", "pipeline", "xmalloc"))
def test_the_usual_value_is_the_default_of_every_workload(tmp_path, name):
    output = tmp_path / "run.csv"
    command = [BUILD / "runner", "--alloc=system", f"--workload={name}{{ops=1000}}", "--threads=4", "--runs=1"]
    subprocess.run([*command, "--settle=0", f"--output={output}"], check=True, capture_output=True)
    with output.open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    for parameter in schema.PARAMETERS:
        if parameter["name"] not in schema.SCHEMA_1:
            assert row[parameter["name"]] == str(schema.usual(parameter)), parameter["name"]


def test_a_path_is_the_series_of_its_library():
    names = ["/tmp/3f2a/allocators/hz4/libhz4.so{profile=rss}", "build/libmimalloc.so.2.0", "system", "a/libhz5.so",
             "b/libhz5.so", "c/libsystem.so"]  # fmt: skip
    assert [points.series_name(n, names) for n in names] == ["hz4{profile=rss}", "mimalloc", *names[2:]]


def test_asv_gets_the_folder_that_its_developer_docs_describe(history, capsys, tmp_path):
    """asv.readthedocs.io, "Benchmark suite layout and file formats": `benchmarks.json` maps names to dictionaries with
    `params`, `param_names` and `version`; MACHINE/HASH-*.json has `version` 2, `commit_hash`, a JavaScript `date` and
    `results` such that dict(zip(result_columns, results[name])) has lists of one item, with `null` for what failed, and
    [] for the `params` of a benchmark without any."""
    commands.main(["export", f"--db={history}", "--format=asv", f"--out={tmp_path}"])
    benchmarks = json.loads((tmp_path / "benchmarks.json").read_text())
    assert benchmarks.pop("version") == 2
    assert all(b["params"] == b["param_names"] == [] and b["name"] == name for name, b in benchmarks.items())
    placed = stored(history)
    files = [f for f in tmp_path.glob("*/*.json") if f.name != "machine.json"]
    assert len(files) == len({p.run.commit for p in placed}) and len(list(tmp_path.glob("*/machine.json"))) == 1
    seen = 0
    for file in files:
        record = json.loads(file.read_text())
        assert record["version"] == 2 and file.name.startswith(record["commit_hash"][:8] + "-")
        assert 1767225600000 < record["date"] < 1769904000000  # of January 2026
        assert record["params"]["machine"] == file.parent.name
        for name, values in record["results"].items():
            row = dict(zip(record["result_columns"], values))
            metric, allocator, key = name.split(".")
            (point,) = [p.point for p in placed
                        if p.point.series.key == key and p.run.commit == record["commit_hash"]]  # fmt: skip
            assert point.series.allocator == allocator and row["version"] == benchmarks[name]["version"]
            sign = -1 if metric == "throughput_ops_s" else 1  # asv: more is worse
            assert row["result"] == [pytest.approx(math.exp(sign * point.estimate))] and row["params"] == []
            (low,), (high,) = row["stats_ci_99_a"], row["stats_ci_99_b"]
            ends = sorted(math.exp(sign * end) for end in (point.low, point.high))
            assert low <= ends[0] <= row["result"][0] <= ends[1] <= high
            seen += 1
    assert seen == len(placed)


def test_otava_gets_a_file_a_track_and_its_configuration(script, history, capsys, tmp_path):
    """Otava's "Importing results from CSV": a test has `type: csv`, `file`, `time_column`, `attributes` and `metrics`;
    `direction: -1` is "lower is better" (its Graphite page). YAML is a superset of JSON."""
    commands.main(["export", f"--db={history}", "--format=otava", f"--out={tmp_path}"])
    tests = json.loads((tmp_path / "otava.yaml").read_text())["tests"]
    placed, seen = stored(history), []
    for test in tests.values():
        assert test["type"] == "csv"
        with (tmp_path / test["file"]).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter=test["csv_options"]["delimiter"]))
        ((metric, described),) = test["metrics"].items()
        assert described["direction"] == (1 if metric == "throughput_ops_s" else -1)
        assert {test["time_column"], described["column"], *test["attributes"]} <= set(rows[0])
        times = [row[test["time_column"]] for row in rows]
        assert times == sorted(times) and times[0] == "2026-01-01T11:00:00+00:00" and len(rows) == 14
        seen += [math.log(float(row[described["column"]])) for row in rows]
    assert sorted(seen) == pytest.approx(sorted(p.point.estimate for p in placed))
    for wrong in (("--format=otava",), ("--format=csv", f"--out={tmp_path}")):
        done = script("history", "export", f"--db={history}", *wrong)
        assert done.returncode == 2 and "--out" in done.stderr and done.stderr.count("\n") == 1


def test_usage_errors_are_one_line(script, tmp_path, measured):
    for arguments in (
        (),
        ("ad",),
        ("list", f"--db={tmp_path / 'missing.db'}"),
        ("add", measured[0], f"--db={tmp_path / 'x.db'}", "--commit=nothing", f"--repo={tmp_path}"),
        ("add", tmp_path / "missing.csv", f"--db={tmp_path / 'x.db'}"),
        ("list", f"--db={tmp_path}/no/such/folder/x.db"),
    ):
        done = script("history", *arguments, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, (arguments, done.stderr)


def test_the_reference_stays_the_one_of_the_history(script, tmp_path, repository, measured):
    database = tmp_path / "h.db"
    add(database, repository, measured[:1])
    without = measure(tmp_path, 1, allocators=("hz5", "mimalloc"))
    done = script("history", "add", without, f"--db={database}", f"--repo={repository}", "--commit=main")
    assert done.returncode == 2 and "relative to system" in done.stderr and done.stderr.count("\n") == 1
    done = script("history", "add", without, f"--db={database}", f"--repo={repository}", "--commit=main",
                  "--reference=mimalloc")  # fmt: skip
    assert done.returncode == 0 and np.isfinite([p.point.estimate for p in stored(database)]).all()


def test_exports_hold_the_points_of_the_last_run(history, capsys):
    """Bencher Metric Format and the lists of github-action-benchmark, by their public descriptions: a number `value` a
    measure, `lower_value` and `upper_value` around it; `name`, `unit` and `value` an entry."""
    placed = [p for p in stored(history) if p.run.commit == stored(history)[-1].run.commit]
    capsys.readouterr()

    def export(form):
        commands.main(["export", f"--db={history}", f"--format={form}"])
        return capsys.readouterr().out

    found = json.loads(export("bencher"))
    measures = {(name, measure): ends for name, mine in found.items() for measure, ends in mine.items()}
    assert len(measures) == len(placed)
    for (_, measure), ends in measures.items():
        assert ends["lower_value"] <= ends["value"] <= ends["upper_value"] and measure in points.METRICS
    assert sorted(e["value"] for e in measures.values()) == pytest.approx(
        sorted(math.exp(p.point.estimate) for p in placed)
    )
    bigger, smaller = (json.loads(export(f"github-{which}")) for which in ("bigger", "smaller"))
    assert len(bigger) + len(smaller) == len(placed) and all("throughput" in e["name"] for e in bigger)
    assert all({"name", "unit", "value", "extra", "range"} == set(e) for e in bigger + smaller)
    rows = list(csv.DictReader(export("csv").splitlines()))
    assert len(rows) == len(stored(history))
    assert float(rows[0]["estimate"]) in [p.point.estimate for p in stored(history)]


def test_an_exported_history_is_added_as_it_was(history, tmp_path, capsys, repository):
    def export(database):
        capsys.readouterr()
        commands.main(["export", f"--db={database}"])
        return capsys.readouterr().out

    whole = export(history)
    (tmp_path / "whole.csv").write_text(whole)
    commands.main(["add", str(tmp_path / "whole.csv"), f"--db={tmp_path / 'new.db'}", f"--repo={repository}"])
    assert export(tmp_path / "new.db") == whole
    # A part of a run that is known takes nothing away.
    head, *rows = whole.splitlines()
    (tmp_path / "part.csv").write_text("\n".join([head, rows[0]]) + "\n")
    commands.main(["add", str(tmp_path / "part.csv"), f"--db={history}"])
    assert export(history) == whole
    commands.main(["rebuild", f"--db={tmp_path / 'new.db'}", f"--repo={repository}"])
    assert export(tmp_path / "new.db") == whole


@pytest.mark.parametrize("old, new", [(",hz4,", ",hz9,"), ("estimate", "estimates"), (",system,", ",system,,")])
def test_a_damaged_export_is_one_line(script, history, tmp_path, capsys, old, new):
    commands.main(["export", f"--db={history}"])
    (tmp_path / "spoilt.csv").write_text(capsys.readouterr().out.replace(old, new))
    done = script("history", "add", tmp_path / "spoilt.csv", f"--db={tmp_path / 'x.db'}")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "spoilt.csv" in done.stderr


def test_commits_that_changed_nothing_raise_the_alarms_that_method_md_tells(tmp_path, capsys):
    """Real runs of 20 commits of documentation on a machine with 20 tasks a core."""
    commands.main(["add", str(ROOT / "docs" / "history" / "same-code.csv"), f"--db={tmp_path / 'same.db'}"])
    capsys.readouterr()
    commands.main(["simulate", "--same", f"--db={tmp_path / 'same.db'}"])
    throughput, memory = capsys.readouterr().out.splitlines()[-2:]
    assert throughput.split()[:4] == ["throughput", "15", "195", "0"]
    assert memory.split()[:5] == ["peak", "RSS", "20", "260", "1"]

# SPDX-License-Identifier: Apache-2.0
"""From a program to a trace to a row: recording survives what programs do, replays are equal, bad files are refused."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("HZBENCH_BUILD", ROOT / "build"))
GENERATOR = BUILD / "tests" / "traces" / "generator"
TRACES = ROOT / "workloads" / "traces"


def run(*command, cwd, env=None, timeout=120):
    drop = ("LD_LIBRARY_PATH", "LD_PRELOAD", "GLIBC_TUNABLES")
    clean = {k: v for k, v in os.environ.items() if k not in drop}
    return subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env={**clean, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def record(cwd, *program, name="t"):
    return run(BUILD / "hzrun", f"--record={name}", "system", "--", *program, cwd=cwd)


def info(path):
    process = run(BUILD / "hztrace", "info", path, cwd=path.parent)
    assert process.returncode == 0, process.stderr
    tables = {}
    for row in csv.DictReader(process.stdout.splitlines()):
        tables.setdefault(row["table"], {})[row["first"], row["second"]] = row["value"]
    return tables


def counts(text):
    return {name: int(value) for name, value in (line.split() for line in text.splitlines())}


def replay(cwd, trace, *options):
    return run(
        BUILD / "runner", f"--workload=trace:{trace}", "--settle=0", "--rss-interval=0", "--runs=1", *options, cwd=cwd
    )


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("threads", [1, 3])
def test_what_a_program_counts_is_in_its_trace_and_in_every_replay(tmp_path, threads):
    recorded = record(tmp_path, GENERATOR, threads, 5000)
    assert recorded.returncode == 0, recorded.stderr
    assert "recording took" in recorded.stderr or "too few calls" in recorded.stderr
    told = counts(recorded.stdout)
    tables = info(tmp_path / "t")
    calls = {name: int(n) for (name, _), n in tables["calls"].items()}
    born_by_system = 0 if threads == 1 else threads - 1  # glibc's table of thread-local storage, by calloc
    assert calls == {**{k: told[k] for k in calls}, "calloc": told["calloc"] + born_by_system}
    assert int(tables["summary"]["remote_frees", ""]) == told["remote_frees"]
    assert int(tables["summary"]["threads", ""]) == threads
    freed = {(int(a), int(b)): int(n) for (a, b), n in tables["freed"].items()}
    assert sum(n for (a, b), n in freed.items() if a != b) == told["remote_frees"]
    result = replay(tmp_path, "t", "--alloc=hz3,hz4,hz5,system,null", "--output=o.csv")
    assert result.returncode == 0, result.stderr
    got = rows(tmp_path / "o.csv")
    assert [row["status"] for row in got] == ["ok"] * 5
    assert len({row["stream_hash"] for row in got}) == 1
    for row in got:
        assert int(row["threads"]) == threads and row["input"] == "t"
        assert int(row["ops"]) == told["free"]
        assert int(row["remote_frees"]) == told["remote_frees"]


def test_a_trace_of_three_lanes_is_folded_on_fewer_threads_and_copied_on_more(tmp_path):
    assert record(tmp_path, GENERATOR, 3, 2000).returncode == 0
    frees = int(info(tmp_path / "t")["calls"]["free", ""])
    result = replay(tmp_path, "t", "--alloc=hz5,system", "--threads=1,2,6", "--output=o.csv")
    assert result.returncode == 0, result.stderr
    for row in rows(tmp_path / "o.csv"):
        assert row["status"] == "ok"
        assert int(row["ops"]) == (2 * frees if row["threads"] == "6" else frees)
        assert (row["remote_frees"] == "0") == (row["threads"] == "1")
    refused = replay(tmp_path, "t", "--alloc=system", "--threads=4")
    assert refused.returncode == 2 and "3 lanes" in refused.stderr and len(refused.stderr.splitlines()) == 1


def test_a_killed_program_leaves_a_whole_trace(tmp_path):
    killed = record(tmp_path, GENERATOR, 2, 3000, "kill")
    assert killed.returncode == -9, killed.stderr
    assert "left without exit handlers" in killed.stderr
    told = counts(killed.stdout)
    assert int(info(tmp_path / "t")["calls"]["free", ""]) == told["free"]
    assert replay(tmp_path, "t", "--alloc=system").returncode == 0


def test_every_image_of_exec_has_its_trace_and_a_forked_child_adds_nothing(tmp_path):
    script = (
        "import os\nfor i in range(3):\n  if os.fork() == 0:\n    x = [bytearray(100000) for _ in range(100)]\n   "
        f" os._exit(0)\n  os.wait()\nos.system('{GENERATOR} 1 50')\nos.execv('{GENERATOR}', ['generator', '1',"
        " '200'])\n"
    )
    done = record(tmp_path, "/usr/bin/python3", "-S", "-c", script)
    assert done.returncode == 0, done.stderr
    programs = {path.name: info(path)["summary"]["program", ""] for path in tmp_path.iterdir()}
    assert programs["t"].startswith("python3") and not list(tmp_path.glob("*.part"))
    assert sorted(programs.values()).count("generator") == 2
    of_exec = [name for name in programs if name.endswith("-2")]
    assert [programs[name] for name in of_exec] == ["generator"]
    profile = run(BUILD / "hztrace", "profile", "t", cwd=tmp_path).stdout.splitlines()
    big = [row.split(",") for row in profile if row.startswith("98304,")]
    assert sum(int(row[5]) for row in big) < 100  # the children had 300


def test_threads_that_come_and_go_share_lanes(tmp_path):
    script = (
        "import threading\nfor i in range(300):\n  t = threading.Thread(target=lambda: [bytearray(600) for _ in"
        " range(5)])\n  t.start()\n  t.join()\n"
    )
    done = record(tmp_path, "/usr/bin/python3", "-S", "-c", script)
    assert done.returncode == 0, done.stderr
    summary = info(tmp_path / "t")["summary"]
    assert (
        int(summary["threads", ""]) == 301 and int(summary["lanes", ""]) <= 30
    )  # a joined thread may still be leaving
    assert replay(tmp_path, "t", "--alloc=hz5").returncode == 0


def test_a_recording_is_refused_where_it_would_be_wrong(tmp_path):
    other = run(BUILD / "hzrun", "--record=t", "hz5", "--", "true", cwd=tmp_path)
    assert other.returncode == 2 and "system" in other.stderr and len(other.stderr.splitlines()) == 1
    (tmp_path / "mine").write_text("a table of another tool\n")
    foreign = record(tmp_path, "sh", "-c", "touch started", name="mine")
    assert (foreign.returncode, foreign.stderr) == (
        2,
        "hzrun: --record=mine: is there and no recording - give another file; nothing was started\n",
    )
    assert (tmp_path / "mine").read_text() == "a table of another tool\n" and not (tmp_path / "started").exists()
    nowhere = record(tmp_path, "true", name="no/such/place")
    assert nowhere.returncode == 2 and len(nowhere.stderr.splitlines()) == 1


def test_a_program_with_a_malloc_of_its_own_is_no_recording(tmp_path):
    (tmp_path / "own.c").write_text(
        """
        #include <stddef.h>
        static char heap[1 << 20];
        static size_t used;
        void *malloc(size_t bytes) { used += (bytes + 15) & ~(size_t)15; return heap + used - bytes; }
        void free(void *block) { (void)block; }
        void *calloc(size_t count, size_t bytes) { return malloc(count * bytes); }
        void *realloc(void *block, size_t bytes) { (void)block; return malloc(bytes); }
        int main(void) { return malloc(10) == NULL; }
        """
    )
    subprocess.run(["cc", "-O1", "-fno-builtin", "-o", "own", "own.c"], cwd=tmp_path, check=True)
    done = record(tmp_path, "./own")
    assert done.returncode == 3 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "no call of malloc" in done.stderr and not list(tmp_path.glob("t*"))


def record_on_a_small_disk(folder, size, after, *program):
    """A recording into `disk`, a file system of `size`; the shell's `after` prints what there is of it."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    (folder / "disk").mkdir()
    script = f'mount -t tmpfs -o size={size} none disk || exit 99; "$@"; code=$?; {after}; exit $code'
    command = [BUILD / "hzrun", "--record=disk/t", "system", "--", *program]
    done = run("unshare", "-m", "sh", "-c", script, "sh", *command, cwd=folder)
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip(done.stderr)
    return done


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    done = record_on_a_small_disk(tmp_path, "64k", "ls -A disk", "/bin/true")
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert "No space left" in line and "nothing was started" in line


def test_a_disk_that_fills_up_is_one_line_a_recording_and_no_empty_file(tmp_path):
    done = record_on_a_small_disk(tmp_path, "5m", "find disk -type f -size 0", GENERATOR, "2", "2000000")
    assert not [line for line in done.stdout.splitlines() if line.startswith("disk")]
    assert len([line for line in done.stderr.splitlines() if "full" in line or "No space" in line]) == 1, done.stderr


def script_of(tmp_path, work):
    """A script that starts other programs before and after its own work, as a wrapper or a build does."""
    script = tmp_path / "app"
    script.write_text(
        f"#!/usr/bin/env sh\n{BUILD}/tests/traces/generator 1 10 >/dev/null\n{work}\n/bin/ls / >/dev/null\n"
    )
    script.chmod(0o755)
    return script


def test_the_trace_is_of_the_program_that_did_the_work(tmp_path):
    done = record(tmp_path, script_of(tmp_path, f"{GENERATOR} 1 20000"))
    assert done.returncode == 0, done.stderr
    first, others, *_ = done.stderr.splitlines()
    assert " of generator in " in first and "others, by size:" in others, done.stderr
    births = {path.name: sum(int(n) for n in info(path)["calls"].values()) for path in tmp_path.glob("t*")}
    assert max(births, key=births.get) == "t" and len(births) > 2
    listed = [births[word] for word in others.replace(",", "").split() if word in births]
    assert listed == sorted(listed, reverse=True) and len(listed) == min(5, len(births) - 1)


def test_one_program_of_several_can_be_named(tmp_path):
    done = record(tmp_path, script_of(tmp_path, f"{GENERATOR} 1 20000"), name="t")
    named = run(BUILD / "hzrun", "--record=n", "--record-only=ls", "system", "--", tmp_path / "app", cwd=tmp_path)
    assert done.returncode == named.returncode == 0, named.stderr
    assert [path.name for path in tmp_path.glob("n*")] == ["n"] and " of ls in " in named.stderr
    nobody = run(BUILD / "hzrun", "--record=o", "--record-only=l", "system", "--", tmp_path / "app", cwd=tmp_path)
    assert nobody.returncode == 3 and not list(tmp_path.glob("o*"))
    (line,) = nobody.stderr.splitlines()
    assert "no program of that name" in line and "generator" in line and " ls" in line
    alone = run(BUILD / "hzrun", "--record-only=ls", "system", "--", "/bin/ls", cwd=tmp_path)
    assert alone.returncode == 2 and len(alone.stderr.splitlines()) == 1


def test_python_is_told_where_its_objects_are(tmp_path):
    python = ["/usr/bin/python3", "-S", "-c", "pass"]
    assert "PYTHONMALLOC=malloc" in record(tmp_path, *python).stderr
    done = run(BUILD / "hzrun", "--record=u", "system", "--", *python, cwd=tmp_path, env={"PYTHONMALLOC": "malloc"})
    assert done.returncode == 0 and "PYTHONMALLOC" not in done.stderr


def test_packing_shows_on_a_terminal_how_far_it_is(tmp_path):
    ours, theirs = os.openpty()
    command = [BUILD / "hzrun", "--record=t", "system", "--", GENERATOR, "1", "400000"]
    with subprocess.Popen(
        [str(c) for c in command], cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs
    ) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                got = os.read(ours, 4096)
            except OSError:  # the other side is closed
                got = b""
            if not got:
                break
            text += got
    os.close(ours)
    assert process.returncode == 0 and text.count(b"packing,") > 1, text


@pytest.mark.parametrize("left", [0, 50, 1000, 60000, -1])
def test_a_cut_file_replays_to_its_last_whole_frame_or_is_refused(tmp_path, left):
    whole = (TRACES / "lua.hzt").read_bytes()
    (tmp_path / "t").write_bytes(whole[:left])
    result = replay(tmp_path, "t", "--alloc=system", "--output=o.csv")
    if 0 <= left < 128:
        assert result.returncode == 2 and len(result.stderr.splitlines()) == 1, result.stderr
        return
    if left == 1000:  # not one whole frame
        assert result.returncode == 2 and "no allocation in it" in result.stderr
        return
    assert result.returncode == 0, result.stderr
    assert "cut off after" in result.stderr
    assert rows(tmp_path / "o.csv")[0]["status"] == "ok" and int(rows(tmp_path / "o.csv")[0]["ops"]) > 1000


def test_bad_files_get_one_line_and_exit_2(tmp_path):
    whole = bytearray((TRACES / "lua.hzt").read_bytes())
    whole[5000] ^= 1
    (tmp_path / "damaged").write_bytes(whole)
    (tmp_path / "text").write_text("no trace\n" * 100)
    shutil.copy(TRACES / "lua.hzt", tmp_path / "long")
    with open(tmp_path / "long", "ab") as file:
        file.write(b"x")
    (tmp_path / "directory").mkdir()
    for name, says in [
        ("damaged", "checksum"),
        ("text", "not a trace"),
        ("long", "bytes that are no frame"),
        ("directory", "not a regular file"),
        ("missing", "No such file"),
    ]:
        result = replay(tmp_path, name, "--alloc=system")
        assert result.returncode == 2, (name, result.stderr)
        assert says in result.stderr and len(result.stderr.splitlines()) == 1, (name, result.stderr)
        checked = run(BUILD / "hztrace", "check", name, cwd=tmp_path)
        assert checked.returncode == 4 and len(checked.stderr.splitlines()) == 1


def test_every_committed_trace_is_whole_small_and_has_its_origin():
    traces = sorted(TRACES.glob("*.hzt"))
    assert [t.stem for t in traces] == ["gcc", "git", "lua", "python3", "redis", "sqlite3"]
    for trace in traces:
        assert trace.stat().st_size < 1 << 20
        origin = trace.with_suffix(".txt").read_text()
        assert all(f"\n{key}: " in "\n" + origin for key in ("program", "command", "date", "trace"))
        summary = info(trace)["summary"]
        assert f"{summary['objects', '']} objects" in origin


def test_info_prints_and_draws_and_profile_sums_up(tmp_path):
    shown = run(ROOT / "scripts" / "trace", "info", TRACES / "python3.hzt", "--figure=f.png", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "freed by another lane" in shown.stdout and "lifetimes" in shown.stdout
    assert (tmp_path / "f.png").stat().st_size > 10000
    profile = run(ROOT / "scripts" / "trace", "profile", TRACES / "python3.hzt", cwd=tmp_path).stdout.splitlines()
    keys = dict(line[2:].split(" ") for line in profile if line.startswith("# "))
    table = list(csv.DictReader(line for line in profile if not line.startswith("#")))
    assert keys["hzbench-profile"] == "1" and sum(int(row["objects"]) for row in table) == int(keys["objects"])
    for row in table:
        assert (
            int(row["size_min"]) * int(row["objects"])
            <= int(row["bytes"])
            <= int(row["size_max"]) * int(row["objects"])
        )


def write_profile(cwd, trace, name):
    written = run(BUILD / "hztrace", "profile", trace, cwd=cwd)
    assert written.returncode == 0, written.stderr
    (cwd / name).write_text(written.stdout)
    return dict(line[2:].split(" ") for line in written.stdout.splitlines() if line.startswith("# "))


def test_a_profile_drives_what_the_recorded_programs_did(tmp_path):
    for threads in (1, 3):
        assert record(tmp_path, GENERATOR, threads, 5000, name=f"of{threads}").returncode == 0
    traces = [tmp_path / "of1", tmp_path / "of3", *sorted(TRACES.glob("*.hzt"))]
    for trace in traces:
        write_profile(tmp_path, trace, f"{trace.stem}.csv")
    compared = run(BUILD / "tests" / "traces" / "profile_streams", *(f"{t.stem}.csv" for t in traces), cwd=tmp_path)
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert compared.stdout.count("KS distance of sizes") == len(traces)


@pytest.mark.parametrize("threads", [1, 3])
def test_every_allocator_gets_the_same_of_a_profile(tmp_path, threads):
    assert record(tmp_path, GENERATOR, threads, 5000).returncode == 0
    keys = write_profile(tmp_path, "t", "p.csv")
    table = [row.split(",") for row in (tmp_path / "p.csv").read_text().splitlines() if row[0].isdigit()]
    remote = sum(int(row[5]) for row in table if row[4] == "1")
    assert (remote > 0) == (threads > 1)
    result = run(
        BUILD / "runner",
        "--workload=profile:p.csv",
        "--alloc=hz3,hz4,hz5,system,null",
        "--ops=20000",
        "--settle=0",
        "--rss-interval=0",
        "--runs=1",
        "--output=o.csv",
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    got = rows(tmp_path / "o.csv")
    assert [row["status"] for row in got] == ["ok"] * 5
    assert len({row["stream_hash"] for row in got}) == len({row["remote_frees"] for row in got}) == 1
    for row in got:
        assert int(row["threads"]) == threads == int(keys["threads"]) and row["input"] == "p.csv"
        assert int(row["remote_ppm"]) == round(1e6 * remote / int(keys["objects"]))


def test_bad_profiles_get_one_line_and_exit_2(tmp_path):
    good = (ROOT / "tests" / "traces" / "profiles" / "small").read_text()
    bad = {
        "trace": ("\x7f" * 300, "not a profile"),
        "empty": ("", "not a profile"),
        "cut": (good[:-9], "cut off"),
        "version": (good.replace("profile 1", "profile 2", 1), "'# hzbench-profile' is 2"),
        "twice": (good + good.splitlines()[-1] + "\n", "each bin comes once"),
        "sum": (good.replace(",40211,643376", ",40210,643360"), "the rows have 52562 objects, the head says 52563"),
        "order": (good.replace("16,16,1,1,0", "16,15,1,1,0"), "size_max"),
        "bytes": (good.replace("643376", "643377"), "bytes is not the sum"),
        "huge": (good.replace("40211", "9" * 400), "longer than any line"),
        "million": (good.replace("calloc_ppm 12000", "calloc_ppm 1000001"), "calloc_ppm"),
        "windows": (good.replace("\n", "\r\n"), "line 1: ends with CR LF"),
        "windows-row": (good.replace("\n16,", "\r\n16,", 1), "ends with CR LF"),
        "marked": ("\ufeff" + good, "byte order mark"),
        "nothing": ("".join(good.splitlines(True)[:9]).replace("52563", "0").replace("2211", "0"), "no object"),
    }
    for name, (content, says) in bad.items():
        (tmp_path / name).write_bytes(content.encode())
        result = run(BUILD / "runner", f"--workload=profile:{name}", "--alloc=system", "--runs=1", cwd=tmp_path)
        assert result.returncode == 2 and says in result.stderr and len(result.stderr.splitlines()) == 1, (
            name,
            result.stderr,
        )
    for name, says in [("missing", "No such file"), (".", "not a regular file")]:
        result = run(BUILD / "runner", f"--workload=profile:{name}", "--alloc=system", "--runs=1", cwd=tmp_path)
        assert result.returncode == 2 and says in result.stderr and len(result.stderr.splitlines()) == 1, (
            name,
            result.stderr,
        )

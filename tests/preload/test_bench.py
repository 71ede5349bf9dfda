# SPDX-License-Identifier: Apache-2.0
"""`hzrun bench` as a user meets it: any program, what its rows say, and one line for whatever cannot work."""

import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
BUILD = Path(os.environ["HZBENCH_BUILD"])
TESTS = BUILD / "tests" / "preload"
STATIC, OWN_MALLOC = TESTS / "victim_static", TESTS / "own_malloc"
MIB = 1 << 20


def environment(extra=None):
    drop = ("LD_", "HZ", "MALLOC_", "GLIBC_TUNABLES")
    return {**{k: v for k, v in os.environ.items() if not k.startswith(drop)}, **(extra or {})}


@pytest.fixture
def bench(tmp_path):
    def call(*arguments, env=None, under=()):
        return subprocess.run(
            [*under, str(BUILD / "hzrun"), "bench", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            env=environment(env),
        )

    return call


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def one_line(run, code):
    assert run.returncode == code, run.stderr
    (line,) = run.stderr.splitlines()
    return line


def python(text):
    return ["/usr/bin/python3", "-S", "-c", text]


def test_every_allocator_runs_the_program_in_each_round_and_the_row_says_so(bench, tmp_path):
    done = bench("--alloc=hz5,hz3,system", "--runs=4", "--output=o.csv", "--", *python("bytes(1 << 25)"))
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "o.csv")
    assert len(found) == 12 and {row["status"] for row in found} == {"ok"}
    orders = ["".join(row["allocator"][-1] for row in found if row["round"] == str(n)) for n in range(4)]
    assert {"".join(sorted(order)) for order in orders} == {"35m"} and len(set(orders)) > 1
    for row in found:
        assert row["workload"] == "program" and row["input"].startswith("/usr/bin/python3 -S -c 'bytes")
        name = "libc.so" if row["allocator"] == "system" else f"lib{row['allocator']}.so"
        assert name in row["library_path"] and row["ops"] == "1"
        assert int(row["elapsed_ns"]) > 0 and int(row["user_ns"]) + int(row["system_ns"]) > 0
        assert float(row["throughput_ops_s"]) == pytest.approx(1e9 / int(row["elapsed_ns"]), rel=1e-3)
    run = json.loads((tmp_path / "o.run.json").read_text())
    assert run["command"].endswith("-- /usr/bin/python3 -S -c 'bytes(1 << 25)'")
    assert "s a run" in done.stdout and "4/4" in done.stdout


def test_the_program_has_the_users_words_directory_and_environment(bench, tmp_path):
    words = ["a b", "it's", "", "*", "two\nlines", "--alloc=x", "--"]
    text = "import json,os,sys; json.dump([sys.argv[1:], os.getcwd(), dict(os.environ)], open('told', 'w'))"
    env = {"HOME": "/nowhere", "MINE": "1", "GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}
    done = bench("--alloc=hz5", "--runs=1", "--", *python(text), *words, env=env)
    assert done.returncode == 0, done.stderr
    arguments, directory, seen = json.loads((tmp_path / "told").read_text())
    assert arguments == words and Path(directory) == tmp_path
    assert {name: seen[name] for name in env} == env


def test_memory_is_that_of_all_processes_and_no_short_peak_is_missed(bench, tmp_path):
    tree = """
import os, time
block = bytearray(b"x") * (20 << 20)
for _ in range(2):
    if os.fork() == 0:
        mine = bytearray(b"y") * (30 << 20)
        time.sleep(2)
        os._exit(0)
os.wait(); os.wait()
"""
    assert bench("--alloc=system", "--runs=1", "--output=tree.csv", "--", *python(tree)).returncode == 0
    peak = int(rows(tmp_path / "tree.csv")[0]["rss_peak"])
    assert 80 * MIB < peak < 100 * MIB  # 20 shared, counted once, and twice 30
    short = "import sys; x = bytearray(b'x') * (64 << 20); del x"
    for interval in ("0", "10ms"):
        done = bench(
            "--alloc=system",
            "--runs=1",
            f"--rss-interval={interval}",
            f"--output=s{interval}.csv",
            "--",
            *python(short),
        )
        assert done.returncode == 0 and int(rows(tmp_path / f"s{interval}.csv")[0]["rss_peak"]) > 64 * MIB


def test_a_run_that_fails_is_a_row(bench, tmp_path):
    done = bench("--alloc=hz5,system", "--runs=2", "--output=o.csv", "--", "sh", "-c", "echo no such luck >&2; exit 7")
    assert done.returncode == 4
    assert {(r["status"], r["message"]) for r in rows(tmp_path / "o.csv")} == {
        ("crashed", "sh ended with code 7: no such luck")
    }
    assert bench("--alloc=system", "--runs=1", "--output=k.csv", "--", "sh", "-c", "kill -SEGV $$").returncode == 4
    assert rows(tmp_path / "k.csv")[0]["message"] == "sh ended by SIGSEGV"


def test_a_program_that_cannot_be_preloaded_is_one_line(bench, tmp_path):
    assert "statically linked" in one_line(bench("--alloc=hz5,system", "--setup=touch s", "--", STATIC), 3)
    assert not list(tmp_path.iterdir())
    line = one_line(bench("--alloc=hz5,hz3,system", "--runs=2", "--output=o.csv", "--", OWN_MALLOC), 3)
    assert "brings a malloc of its own" in line
    assert {row["status"] for row in rows(tmp_path / "o.csv")} == {"unavailable"}
    done = bench("--alloc=hz5", "--runs=1", "--output=c.csv", "--", "sh", "-c", f"{OWN_MALLOC}; true")
    assert (
        done.returncode == 0
        and "1 of its processes took malloc from elsewhere" in rows(tmp_path / "c.csv")[0]["message"]
    )


def test_commands_run_around_the_samples(bench, tmp_path):
    done = bench(
        "--alloc=hz5,system",
        "--runs=3",
        "--setup=echo s >>log",
        "--prepare=echo p >>log",
        "--cleanup=echo c >>log",
        "--",
        "sh",
        "-c",
        "echo r >>log",
    )
    assert done.returncode == 0, done.stderr
    assert "".join((tmp_path / "log").read_text().split()) == "s" + "pr" * 6 + "c"


def test_a_command_that_fails_is_told(bench, tmp_path):
    assert "--setup ended with code 3" in one_line(
        bench("--alloc=system", "--setup=exit 3", "--output=o.csv", "--", "true"), 2
    )
    assert not list(tmp_path.iterdir())
    done = bench("--alloc=system", "--runs=1", "--prepare=echo why >&2; exit 3", "--output=o.csv", "--", "true")
    row = rows(tmp_path / "o.csv")[0]
    assert done.returncode == 4 and (row["status"], row["message"]) == ("error", "--prepare ended with code 3: why")
    done = bench("--alloc=system,hz5", "--runs=4", "--prepare=echo why >&2; exit 3", "--output=p.csv", "--", "true")
    told = [line for line in done.stderr.splitlines() if "%" not in line]
    assert len(told) == 2 and told[0].endswith("error: --prepare ended with code 3: why"), done.stderr
    assert told[1] == "runner: 7 more samples failed as sample 0 did" and len(rows(tmp_path / "p.csv")) == 8
    assert "--cleanup ended with code 3" in one_line(
        bench("--alloc=system", "--runs=1", "--cleanup=exit 3", "--", "true"), 2
    )


def without_proc(script):
    """Words before a command that has a name space of mounts in which `script` was run."""
    words = ["unshare", "--mount", "sh", "-c", f'{script} || exit 99; exec "$@"', "sh"]
    done = subprocess.run([*words, "true"], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        pytest.skip(f"mounting needs root: {done.stderr}")
    return words


@pytest.mark.parametrize(
    "words",
    [
        ["bench", "--alloc=system,hz5", "--output=o.csv", "--", "/bin/true"],
        ["advise", "--", "/bin/true"],
        ["hz5", "--", "/bin/true"],
        ["--record=o.hzt", "system", "--", "/bin/true"],
    ],
    ids=lambda words: words[0],
)
def test_without_proc_there_is_one_line(tmp_path, words):
    done = subprocess.run(
        [*without_proc("umount -l /proc"), str(BUILD / "hzrun"), *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert one_line(done, 3) == "hzrun: cannot tell where it lies itself - is /proc mounted?"
    assert done.stdout == "" and not list(tmp_path.iterdir())


def test_a_proc_that_shows_processes_alone_leaves_cells_empty(bench, tmp_path):
    under = without_proc("mount -t proc -o subset=pid proc /proc")
    done = bench(
        "--alloc=system,hz5", "--runs=1", "--output=o.csv", "--", *python(f"x = b'1' * {40 * MIB}"), under=under
    )
    assert done.returncode == 0, done.stderr
    for row in rows(tmp_path / "o.csv"):
        assert row["status"] == "ok" and 40 * MIB < int(row["rss_peak"]) < 80 * MIB
        assert {row[f"pressure_{what}_ns"] for what in ("cpu", "memory", "io")} | {row["steal_ns"]} == {""}


def test_memory_that_proc_does_not_show_is_no_number(bench, tmp_path):
    """A process that is not dumpable hides its memory from all but those who may trace it."""
    under = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    hide = "import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); "
    program = f"import time; x = b'1' * {40 * MIB}; time.sleep(1)"
    for name, text in (("seen", program), ("hidden", hide + program)):
        done = bench("--alloc=system", "--runs=1", f"--output={name}.csv", "--", *python(text), under=under)
        assert done.returncode == 0, done.stderr
    (seen,), (hidden,) = rows(tmp_path / "seen.csv"), rows(tmp_path / "hidden.csv")
    assert int(seen["rss_peak"]) > 40 * MIB and seen["message"] == ""
    assert (hidden["rss_peak"], hidden["rss_mean"], hidden["rss_p95"]) == ("", "", "")
    assert "memory of all its processes" in hidden["message"] and int(hidden["elapsed_ns"]) > 0
    assert len((tmp_path / "hidden.rss.csv").read_text().splitlines()) == 1


def left_over(marker):
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker in (entry / "cmdline").read_bytes().decode(errors="replace"):
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_a_program_that_never_ends_is_killed_with_all_it_started(bench, tmp_path):
    marker = f"98765.{os.getpid()}"
    done = bench(
        "--alloc=system",
        "--runs=1",
        "--timeout=1s",
        "--output=o.csv",
        "--",
        "sh",
        "-c",
        f"sleep {marker} & sleep {marker}",
    )
    row = rows(tmp_path / "o.csv")[0]
    assert done.returncode == 4 and row["status"] == "timeout" and "--timeout" in row["message"]
    for _ in range(50):
        if not left_over(f"sleep\0{marker}"):
            return
        time.sleep(0.1)
    raise AssertionError(left_over(f"sleep\0{marker}"))


def test_ctrl_c_keeps_what_is_finished_and_the_same_command_resumes(bench, tmp_path):
    options = [
        "--alloc=system,hz5",
        "--runs=2",
        "--cleanup=echo c >>log",
        "--output=o.csv",
        "--",
        "sh",
        "-c",
        "echo r >>runs; [ $(wc -l <runs) = 3 ] && sleep 100; true",
    ]
    with subprocess.Popen(
        [BUILD / "hzrun", "bench", *options],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=environment(),
    ) as process:
        while not (tmp_path / "runs").exists() or len((tmp_path / "runs").read_text()) < 6:
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        process.communicate(timeout=30)
    assert process.returncode == 130 and len(rows(tmp_path / "o.csv")) == 2 and (tmp_path / "log").read_text() == "c\n"
    assert bench(*options).returncode == 0
    assert [row["status"] for row in rows(tmp_path / "o.csv")] == ["ok"] * 4
    assert "another plan" in one_line(bench(*options[:-1], "true"), 2)


@pytest.mark.parametrize(
    "arguments, code, text",
    [
        (["--alloc=hz5"], 2, "no program"),
        (["--alloc=hz5", "--"], 2, "no program"),
        (["--", "true"], 2, "--alloc is missing"),
        (["--alloc=hz5", "true"], 2, "put -- before"),
        (["--alloc=hz6", "--", "true"], 2, "did you mean"),
        (["--alloc=hz5", "--", "no-such-program"], 2, "no such program"),
        (["--alloc=hz5", "--no-such-option", "--", "true"], 2, "no-such-option"),
        (["--alloc=hz5", "--workload=local", "--", "true"], 2, "one of them"),
        (["--alloc=hz5", "--threads=2", "--", "true"], 2, "--threads"),
        (["--alloc=hz5", "--ops=5", "--", "true"], 2, "--ops"),
        (["--alloc=hz5", "--output=foreign.csv", "--", "true"], 2, "foreign.csv"),
    ],
)
def test_what_makes_no_sense_is_one_line(bench, tmp_path, arguments, code, text):
    (tmp_path / "foreign.csv").write_text("mine,not,yours\n1,2,3\n")
    assert text in one_line(bench(*arguments), code)
    assert text in one_line(bench("--setup=touch started", *arguments), code)
    assert not (tmp_path / "started").exists()
    assert (tmp_path / "foreign.csv").read_text() == "mine,not,yours\n1,2,3\n"


def test_a_long_command_is_told_apart_by_its_end(bench, tmp_path):
    for name, end in (("a", "1"), ("b", "2")):
        assert (
            bench("--alloc=system", "--runs=1", f"--output={name}.csv", "--", "true", "x" * 400 + end).returncode == 0
        )
    inputs = [rows(tmp_path / f"{name}.csv")[0]["input"] for name in "ab"]
    assert inputs[0] != inputs[1] and all(len(text) < 256 and text.startswith("true xxx") for text in inputs)
    assert "script" in one_line(bench("--alloc=system", "--", "true", "x" * 20000), 2)


def test_names_stand_in_rows_sentences_and_advice(bench, tmp_path):
    done = bench("--alloc=old=system,new=hz5", "--runs=6", "--output=o.csv", "--", *python("bytes(1 << 25)"))
    assert done.returncode == 0, done.stderr
    table = rows(tmp_path / "o.csv")
    assert {(row["allocator"], Path(row["library_path"]).name.startswith("libhz5")) for row in table} == {
        ("old", False),
        ("new", True),
    }
    head, sentence = done.stdout.splitlines()[:2]
    assert head.startswith("/usr/bin/python3 -S -c ") and re.match(r"  (old|new|no difference)", sentence), done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80 and "s a run" in done.stdout
    lines = advise(tmp_path, "--from=o.csv").stdout.splitlines()
    table = next(i for i, line in enumerate(lines) if line.startswith("  allocator"))
    assert "MiB on old" in " ".join(lines[:table]) and lines[table + 1].startswith("  new ")


# ---- hzrun advise ----------------------------------------------------------------------------------------------------


def advise(cwd, *arguments, env=None):
    return subprocess.run(
        [str(BUILD / "hzrun"), "advise", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(env),
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Rows of a real bench: three allocators, twelve rounds."""
    directory = tmp_path_factory.mktemp("measured")
    command = [BUILD / "hzrun", "bench", "--alloc=system,hz5,hz3", "--runs=12", "--output=o.csv", "--", "true"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True, env=environment())
    return directory / "o.csv"


def said(measured, tmp_path, value, rounds=12):
    """What is said of the rows with times and memory by value(allocator, round)."""
    table = [row for row in rows(measured) if int(row["round"]) < rounds]
    for row in table:
        seconds, mebibytes = value(row["allocator"], int(row["round"]))
        row["elapsed_ns"], row["rss_peak"] = str(int(seconds * 1e9)), str(int(mebibytes * MIB))
    with open(tmp_path / "v.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, table[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    done = advise(tmp_path, "--from=v.csv")
    assert done.returncode == 0, done.stderr
    return sentences(done.stdout)


def sentences(out):
    """What is said of time and of memory, below a table that leaves room for it."""
    lines = out.splitlines()
    assert len(lines) <= 12 and max(map(len, lines)) <= 80, out
    return re.search(
        r"^Time: (.*) Memory: (.*)$",
        " ".join(lines[next(i for i, line in enumerate(lines) if line.startswith("Time: ")) :]),
    ).groups()


def test_advice_on_many_allocators_has_twelve_lines_of_eighty_columns(measured, tmp_path):
    one = [row for row in rows(measured) if row["allocator"] == "system"]
    noise = random.Random(3)
    names = ["system", *(f"variant-{i}" for i in range(9)), "broken", "gone"]
    table = []
    for index, name in enumerate(names):
        for row in one:
            status = (
                ("crashed", "SIGSEGV, a message that is too long for the line " * 2)
                if name in ("broken", "gone")
                else ("ok", "")
            )
            more = {"allocator": name, "cell_index": index, "status": status[0], "message": status[1]}
            more["elapsed_ns"] = str(int(1e9 * noise.uniform(0.8, 1.2)))
            table.append({**row, **more, "input": "a command of some words " * 4})
    with open(tmp_path / "v.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, table[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    done = advise(tmp_path, "--from=v.csv")
    time_, _ = sentences(done.stdout)
    lines = done.stdout.splitlines()
    assert len(lines) == 12 and "cannot be told apart" in time_ and "gone" in done.stdout
    assert re.search(r"^  then: .* \d\.\d+, 1\.0+.*\d more$", done.stdout, re.M), done.stdout


def test_a_winner_that_the_data_separates_is_named_with_its_interval(measured, tmp_path):
    noise = random.Random(1)
    factor = {"system": 1, "hz5": 0.8, "hz3": 0.95}
    time_, memory = said(
        measured, tmp_path, lambda name, _: (factor[name] * noise.uniform(0.99, 1.01), 50 / factor[name])
    )
    assert re.fullmatch(
        r"hz5 is the fastest, 1\.2[456] times as fast as system \[1\.2\d, 1\.2\d\], and needs 25 % more memory;"
        r" system needs the least memory\.",
        time_,
    )
    assert memory == "system needs the least, less than each of the others."


def test_nobody_wins_who_is_not_separated_from_each_other(measured, tmp_path):
    noise = random.Random(2)
    factor = {"system": 1, "hz5": 0.8, "hz3": 0.8}
    time_, memory = said(
        measured, tmp_path, lambda name, _: (factor[name] * noise.uniform(0.95, 1.05), noise.uniform(49.9, 50.1))
    )
    assert re.fullmatch(
        (
            r"hz5 and hz3 are the fastest and cannot be told apart, hz[35] 1\.2\d times as fast as system \[1\.2\d,"
            r" 1\.\d\d\]\."
        ),
        time_,
    )
    assert memory == "no difference you could notice (all within 2 %)."


def test_noise_alone_names_nobody(measured, tmp_path):
    named = 0
    for seed in range(60):
        noise = random.Random(seed)
        time_, _ = said(measured, tmp_path, lambda *_: (noise.lognormvariate(0, 0.1), 50))
        named += "fastest" in time_
    assert named <= 7  # at 5 % a run of 60 has more once in 50 000


def test_few_rounds_decide_nothing_and_say_how_many_would(measured, tmp_path):
    time_, memory = said(measured, tmp_path, lambda name, _: ({"system": 1, "hz5": 0.1, "hz3": 10}[name], 50), rounds=4)
    assert time_ == memory == "4 rounds decide nothing about 3 allocators - take more, such as --runs=9."
    nine, _ = said(measured, tmp_path, lambda name, _: ({"system": 1, "hz5": 0.1, "hz3": 10}[name], 50), rounds=9)
    assert nine.startswith("hz5 is the fastest, 10.0 times as fast as system")


def test_advice_on_a_program(tmp_path):
    (tmp_path / "tmp").mkdir()
    done = advise(
        tmp_path,
        "--alloc=system,hz5",
        "--runs=7",
        "--output=o.csv",
        "--",
        *python("x = [bytes(1000) for _ in range(20000)]"),
        env={"TMPDIR": str(tmp_path / "tmp")},
    )
    assert done.returncode == 0, done.stderr
    sentences(done.stdout)
    facts, _, table = done.stdout.partition("\n  allocator")
    calls = int(
        re.search(r"(\d+) calls of malloc and free, (?:less than )?\d+ % of its CPU time\.$", " ".join(facts.split()))[
            1
        ]
    )
    assert 40000 < calls < 80000
    assert len(rows(tmp_path / "o.csv")) == 14 and not list((tmp_path / "tmp").iterdir())
    assert advise(tmp_path, "--from=o.csv").stdout.partition("\n  allocator")[2] == table


def test_advise_refuses_before_it_starts_the_program(tmp_path):
    """What the runner would refuse after the recording is refused before it."""
    (tmp_path / "foreign.csv").write_text("a table of another tool\n")
    started = ("--", "sh", "-c", "touch started")
    assert "did you mean 'hz3'" in one_line(advise(tmp_path, "--alloc=hz9", *started), 2)
    assert "choose another --output" in one_line(advise(tmp_path, "--output=foreign.csv", *started), 2)
    assert "choose another --output" in one_line(advise(tmp_path, "--output=no/such.csv", *started), 2)
    assert "needs a time with its unit" in one_line(advise(tmp_path, "--timeout=9x", *started), 2)
    assert (tmp_path / "foreign.csv").read_text() == "a table of another tool\n"
    assert not (tmp_path / "started").exists()


def test_advise_ends_a_program_that_does_not_end(tmp_path):
    line = one_line(advise(tmp_path, "--timeout=1s", "--", "sh", "-c", "echo $$ >pid; exec sleep 1000"), 4)
    assert "did not end within 1s - raise --timeout" in line
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def interrupt(tmp_path, words, is_ready):
    """hzrun with these words, and Ctrl-C as a terminal sends it once is_ready(); code and both outputs."""
    (tmp_path / "tmp").mkdir(exist_ok=True)
    with subprocess.Popen(
        [BUILD / "hzrun", *words],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment({"TMPDIR": str(tmp_path / "tmp")}),
    ) as process:
        while not is_ready():
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        told, said = process.communicate(timeout=30)
    assert not list((tmp_path / "tmp").iterdir())
    return process.returncode, told, said


# Sleeps in its nth start, once it has said so in the file `runs`.
def sleeper(nth):
    return ["sh", "-c", f"echo r >>runs; [ $(wc -l <runs) = {nth} ] && sleep 100; true"]


def started(tmp_path, times):
    return lambda: (tmp_path / "runs").exists() and len((tmp_path / "runs").read_text()) >= 2 * times


def test_ctrl_c_ends_advise_while_it_records(tmp_path):
    words = ["advise", "--alloc=system,hz5", "--runs=2", "--cleanup=echo c >>log", "--", *sleeper(1)]
    code, told, said = interrupt(tmp_path, words, started(tmp_path, 1))
    assert (code, told) == (130, "") and said.splitlines()[-1].endswith("recorded sh - nothing is measured yet")
    assert (tmp_path / "log").read_text() == "c\n"


def test_ctrl_c_while_advise_measures_tells_what_is_finished(tmp_path):
    """The recording is the program's first start; two rounds are four more."""
    words = ["advise", "--alloc=system,hz5", "--runs=4", "--", *sleeper(6)]
    code, told, said = interrupt(tmp_path, words, started(tmp_path, 6))
    assert code == 130 and "2 rounds decide nothing" in " ".join(told.split())
    assert said == "hzrun advise: interrupted: these are the finished rounds; --output=NAME.csv would keep them\n"


def test_ctrl_c_leaves_advise_a_file_to_go_on_with(tmp_path):
    words = ["advise", "--alloc=system,hz5", "--runs=2", "--output=o.csv", "--", *sleeper(4)]
    code, told, said = interrupt(tmp_path, words, started(tmp_path, 4))
    assert code == 130 and "the finished samples are in o.csv, and the same command goes on" in said
    assert len(rows(tmp_path / "o.csv")) == 2
    done = advise(tmp_path, *words[1:])
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in rows(tmp_path / "o.csv")] == ["ok"] * 4


def test_ctrl_c_keeps_what_was_recorded(tmp_path):
    """The program dies of it as it would alone, and so does hzrun; its trace is whole."""
    words = ["--record=t", "system", "--", *python("import time; open('runs', 'w').write('r\\n'); time.sleep(100)")]
    code, _, said = interrupt(tmp_path, words, started(tmp_path, 1))
    assert code == -signal.SIGINT and re.search(r"^hzrun: \S+/t: \d+ calls of python3", said, re.MULTILINE)
    replay = [BUILD / "runner", "--alloc=system", "--workload=trace:t", "--runs=1", "--settle=0"]
    done = subprocess.run(replay, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_words_that_are_nearly_right(tmp_path):
    def hzrun(*arguments):
        return subprocess.run(
            [str(BUILD / "hzrun"), *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )

    assert "unknown command 'bensh' - did you mean 'bench'" in one_line(hzrun("bensh", "--", "true"), 2)
    assert "did you mean 'advise'" in one_line(hzrun("advice", "--", "true"), 2)
    assert "as: sh -c 'COMMAND'" in one_line(hzrun("bench", "--alloc=system", "--", "echo hi | cat"), 2)


def test_what_cannot_be_advised_on_is_one_line(tmp_path):
    assert "statically linked" in one_line(advise(tmp_path, "--", STATIC), 3)
    assert "malloc" in one_line(advise(tmp_path, "--", OWN_MALLOC), 3)
    nothing = one_line(advise(tmp_path, "--", "true"), 3)
    assert "true: the program made no call of malloc" in nothing and "--record" not in nothing
    assert "ended with code 5" in one_line(advise(tmp_path, "--", "sh", "-c", "exit 5"), 4)
    assert "--setup ended with code 1" in one_line(advise(tmp_path, "--setup=false", "--", "true"), 2)
    assert "no program" in one_line(advise(tmp_path, "--runs=3"), 2)
    runner = [
        BUILD / "runner",
        "--alloc=null",
        "--workload=local,fresh",
        "--ops=100",
        "--settle=0",
        "--runs=1",
        "--output=two.csv",
    ]
    subprocess.run(runner, cwd=tmp_path, check=True, capture_output=True, env=environment())
    assert "holds more than one workload" in one_line(advise(tmp_path, "--from=two.csv"), 2)
    assert "No such file" in one_line(advise(tmp_path, "--from=none.csv"), 2)
    assert "no rows" in one_line(advise(tmp_path, "--from=/etc/passwd"), 2)
    once = "[ -e ran ] && exit 9; touch ran"  # the recording succeeds, no sample does
    assert (
        "fails already on system" in advise(tmp_path, "--alloc=system,hz5", "--runs=1", "--", "sh", "-c", once).stderr
    )

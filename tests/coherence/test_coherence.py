# SPDX-License-Identifier: Apache-2.0
"""The coherence instrument on programs whose travelling lines are known, and on planted false sharing."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from hzbench import coherence

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
BUILD = Path(os.environ["HZBENCH_BUILD"])
PROOF = BUILD / "tests/coherence/proof"
TOOLS = coherence.find_tools(BUILD)
HARNESS_LINES = 0.35  # an operation of `remote`: hand-over words (0.9 * 8 / 64), heads and tails


def report(pattern, rounds, threads, tmp_path, quantum=100, seed=1):
    out = tmp_path / f"{pattern}-{rounds}-{threads}-{quantum}-{seed}.json"
    option = coherence.plugin_option(TOOLS, out, "", quantum, seed)
    subprocess.run([TOOLS.qemu, "-plugin", option, PROOF, pattern, str(rounds), str(threads)], check=True, timeout=300)
    return json.loads(out.read_text(encoding="utf-8"))


def line_of(data, name):
    """Counts of the line that holds the global `name` of the proof program; all zero where it never moved."""
    symbols = coherence.Symbols(data["objects"])
    for line in data["lines"]:
        if name in symbols.names_in_line(line["address"]):
            return line
    return dict.fromkeys(coherence.COUNTS, 0)


def line_slope(pattern, name, threads, rounds, tmp_path, what=coherence.travels):
    """Counts a round of one line, between two lengths."""
    short, long = (line_of(report(pattern, n, threads, tmp_path), name) for n in (rounds, 2 * rounds))
    return (what(long) - what(short)) / rounds


def test_a_line_written_in_turns_moves_twice_a_round(tmp_path):
    assert line_slope("ping-pong", "word", 2, 1000, tmp_path) == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize("readers", [1, 4, 8])
def test_a_line_read_by_n_moves_n_times(tmp_path, readers):
    assert line_slope("one-to-all", "word", readers + 1, 300, tmp_path) == pytest.approx(readers, rel=0.01)


@pytest.mark.parametrize("name", ["tickets", "turn"])
def test_a_ticket_lock_moves_each_of_its_lines_once_an_acquisition(tmp_path, name):
    moved = line_slope("ticket", name, 2, 6000, tmp_path)
    assert moved / 2 == pytest.approx(1, rel=0.01)  # a round is an acquisition of each of two threads


def test_padded_words_do_not_move(tmp_path):
    assert line_slope("padded", "own", 8, 5000, tmp_path) == 0


def test_false_sharing_is_told_from_true_sharing(tmp_path):
    apart = line_of(report("false", 20000, 2, tmp_path), "words")
    assert coherence.travels(apart) > 1000
    assert apart["false_shared"] == pytest.approx(coherence.travels(apart), rel=0.01)
    together = line_of(report("ping-pong", 1000, 2, tmp_path), "word")
    assert together["false_shared"] <= 0.01 * coherence.travels(together)


def test_the_same_seed_gives_the_same_counts(tmp_path):
    runs = [coherence.totals(report("one-to-all", 300, 5, tmp_path, seed=7)) for _ in range(2)]
    moves = [sum(run[part] for part in coherence.PARTS) for run in runs]
    assert moves[0] == pytest.approx(moves[1], rel=0.02)


@pytest.mark.parametrize("allocator", ["system", "mimalloc"])
def test_locks_and_clocks_of_an_allocator_change_no_count(allocator):
    """glibc's threads sleep for its locks; mimalloc returns memory by the clock."""
    library = coherence.library_paths(TOOLS).get(allocator)
    if library is None:
        pytest.skip(f"{allocator} is not installed")
    cell = coherence.Cell(allocator, "remote{receiver=frees,working-set=50}", 6)
    runs = [coherence.totals(coherence.run_sample(TOOLS, cell, library, 600, 100, 3)[0]) for _ in range(3)]
    moves = [sum(run[part] for part in coherence.PARTS) for run in runs]
    assert max(moves) <= 1.02 * min(moves)


def emulated(tmp_path, name, processors, *program):
    folder = tmp_path / name
    folder.mkdir()
    command = coherence.emulator(TOOLS, folder, "/lib/x86_64-linux-gnu/libc.so.6", 100, 1, processors)
    done = subprocess.run([*command, *program], capture_output=True, text=True, check=True, timeout=300)
    return done.stdout


@pytest.mark.parametrize("processors", [1, 5, 64])
def test_the_program_sees_a_processor_a_thread(tmp_path, processors):
    assert emulated(tmp_path, "some", processors, "/usr/bin/nproc") == f"{processors}\n"
    assert emulated(tmp_path, "all", processors, "/usr/bin/nproc", "--all") == f"{processors}\n"


def test_the_clock_runs_with_the_instructions(tmp_path):
    """Three threads sleep one after another while they hold a lock; the same in each run."""
    runs = [emulated(tmp_path, name, 3, PROOF, "clock", "10000", "3") for name in ("once", "again")]
    once, again = (sorted(map(int, run.split())) for run in runs)
    assert once == pytest.approx(again, abs=1000)
    for slept, time in zip((1, 2, 3), once):
        assert 50_000_000 * slept <= time < 50_000_000 * slept + 2_000_000


def test_a_longer_quantum_hides_false_sharing(tmp_path):
    """What the bound on the threads' skew does: a thread writes on undisturbed while its turn lasts."""
    fine, coarse = (line_of(report("false", 20000, 2, tmp_path, quantum=q), "words") for q in (20, 500))
    assert coherence.travels(fine) > 10 * coherence.travels(coarse) > 0


def test_planted_false_sharing_of_an_allocator_is_found_and_named():
    """faulty{false-sharing} counts in one line that all threads write: it leads the list of lines, by its name."""
    library = coherence.library_paths(TOOLS)["faulty"]
    cell = coherence.Cell("faulty{false-sharing}", "local", 4)
    data, _ = coherence.run_sample(TOOLS, cell, library, 1000, 100, 1)
    first = max(data["lines"], key=coherence.travels)
    assert "faulty_shared_counters" in coherence.Symbols(data["objects"]).names_in_line(first["address"])
    assert first["kind"] == "metadata"
    assert first["false_shared"] > 0.9 * coherence.travels(first) > 100
    assert "faulty_shared_counters" in coherence.render_top(data)


def test_moves_are_told_apart_by_code_and_data():
    """null works on no memory: what moves with it are the harness's queues and the payload that both threads touch."""
    library = coherence.library_paths(TOOLS)["null"]
    cell = coherence.Cell("null", "remote", 2)
    short, long = (coherence.run_sample(TOOLS, cell, library, n, 100, 1) for n in (1000, 2000))
    row = coherence.slope(short, long)
    assert row["other_other"] > 0.05 and sum(row[f"allocator_{data}"] for data in coherence.DATA) < 0.01
    assert row["other_other"] <= HARNESS_LINES
    own = coherence.library_paths(TOOLS)["hz5"]
    cell = coherence.Cell("hz5", "remote", 2)
    short, long = (coherence.run_sample(TOOLS, cell, own, n, 100, 1) for n in (1000, 2000))
    assert coherence.slope(short, long)["other_user"] > 0.5  # the receiver reads each payload


@pytest.mark.parametrize("workload", ["remote", "pipeline"])
def test_a_receiver_that_frees_unread_moves_no_payload(workload):
    """hz5 keeps its metadata apart, so a free touches no line of the object."""
    own = coherence.library_paths(TOOLS)["hz5"]
    moved = {}
    for receiver in ("reads", "frees"):
        spec = f"{workload}{{receiver={receiver}}}"
        cell = coherence.Cell("hz5", spec, 2)
        short, long = (coherence.run_sample(TOOLS, cell, own, n, 100, 1) for n in (1000, 2000))
        moved[receiver] = coherence.slope(short, long)["other_user"]
    assert moved["reads"] > 0.5
    assert moved["frees"] < 0.5 * moved["reads"]


def test_threads_that_exchange_nothing_move_nothing_in_hz4():
    """More than four threads: each keeps to memory of its own, and looks at no other's heap."""
    library = coherence.library_paths(TOOLS)["hz4"]
    cell = coherence.Cell("hz4", "local{working-set=300}", 8)
    short, long = (coherence.run_sample(TOOLS, cell, library, n, 100, 1) for n in (2000, 4000))
    row = coherence.slope(short, long)
    ours = sum(row[f"{code}_{data}"] for code in coherence.CODES for data in ("user", "metadata"))
    assert ours < 0.1


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        (("--alloc=nonsense",), 3, "no allocator 'nonsense'"),
        (("--threads=none",), 2, "list of whole numbers"),
        (("--quantum=1",), 2, "--quantum at 2"),
        (("--alloc=hz5", "--", "no-such-program"), 2, "no such program"),
        (("--alloc=hz5", "--", "false"), 4, "ended with 1"),
    ],
)
def test_bad_input_is_one_line(arguments, code, said):
    done = subprocess.run(
        [SCRIPTS / "coherence", f"--build={BUILD}", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr

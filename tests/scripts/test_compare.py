# SPDX-License-Identifier: Apache-2.0
"""compare and gate against planted truth: what was changed is found, what was not is left alone, and what cannot be
compared is refused. Exact text is in golden files; HZBENCH_REGENERATE=1 rewrites them."""

import json
import math
import os
import re
from pathlib import Path

import fixtures
import numpy as np
import pytest
from hzbench import compare, compare_formats, errors, gate, load, schema, select, stats

GOLDEN = Path(__file__).parent / "golden"
SLOWER = {**fixtures.SPEED, "hz5": 80e6}  # of 110e6


def plan(run, **more):
    more = {"threads": (1, 2), "workloads": ("local",), "seed": run, **more}
    return fixtures.Plan(run=run, **more)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("compare")
    return {
        "base": fixtures.write_run(directory / "base.csv", plan(3), with_series=False),
        "slower": fixtures.write_run(directory / "slower.csv", plan(2, speed=SLOWER), with_series=False),
    }


def make(directory, name, run, edit=None, **more):
    return fixtures.write_run(directory / f"{name}.csv", plan(run, **more), edit, with_series=False)


def golden(name, text):
    file = GOLDEN / name
    if os.environ.get("HZBENCH_REGENERATE"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "form,ending", [("text", "txt"), ("markdown", "md"), ("json", "json"), ("benchstat", "benchstat")]
)
def test_exact_comparison(files, form, ending, monkeypatch):
    monkeypatch.chdir(files["base"].parent)
    golden(f"compare.{ending}", compare_formats.render(compare.build("base.csv", "slower.csv"), form))


def test_text_fits_80_columns_and_begins_with_a_sentence_a_cell(files, tmp_path):
    shown = compare_formats.as_text(compare.build(files["base"], files["slower"]))
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    said = " ".join(shown.split("\n\n")[0].split())
    found = re.findall(r"local, (\d) threads?: hz5: NEW is 0\.7\d+ times as fast as BASE \[0\.\d+, 0\.\d+\];", said)
    assert (
        found == ["1", "2"] and said.count("mimalloc, jemalloc and tcmalloc: BASE and NEW cannot be told apart.") == 2
    )
    assert "visible" in compare_formats.as_text(compare.build(files["base"], files["slower"]), None)
    pair = compare.build(f"{files['base']}:system", f"{files['base']}:hz5")
    said = " ".join(compare_formats.as_text(pair).split())
    assert re.match(r"local, 1 thread: hz5 is 7\.\d+ times as fast as system \[", said), said
    alike = make(tmp_path, "alike", 12, speed={**fixtures.SPEED, "hz5": 60.5e6, "jemalloc": 60e6}, noise=0.1)
    said = " ".join(compare_formats.as_text(compare.build(f"{alike}:jemalloc", f"{alike}:hz5")).split())
    assert re.match(r"local, 1 thread: jemalloc and hz5 cannot be told apart: hz5 \d\.\d+ times as fast \[", said), said


def test_programs_and_objects_each_have_their_unit(tmp_path):
    def program(rows):
        for row in rows:
            if row["threads"] == 2:
                row.update(
                    workload="app", input="redis", throughput_ops_s=f"{float(row['throughput_ops_s']) / 1e6:.6f}"
                )

    difference = compare.build(make(tmp_path, "a", 1, program), make(tmp_path, "b", 2, program))
    for shown in (compare_formats.as_text(difference), compare_formats.as_text(difference, None)):
        assert " requests/s" in shown and " M ops/s" in shown and "0.0001" not in shown


def test_more_than_two_files_stand_side_by_side(files, tmp_path, script):
    third = make(tmp_path, "third", 7, speed={**fixtures.SPEED, "hz5": 200e6})
    paths = [files["base"], files["slower"], third]
    differences = compare.build_all(paths)
    assert [d.new for d in differences] == [str(p) for p in paths[1:]]
    shown = script("compare", *paths)
    assert (shown.returncode, shown.stderr) == (0, "") and max(map(len, shown.stdout.splitlines())) <= 80 + len(
        str(third)
    )
    head, row = (re.search(rf"^{start}.*$", shown.stdout, re.M)[0].split() for start in ("allocator  ", "hz5  "))
    assert head == "allocator A B B/A verdict C C/A verdict".split()
    assert row[4] == "slower" and row[7] == "faster" and float(row[3]) < 0.8 < 1.6 < float(row[6])
    # One family: with more lines, each p-value counts for less.
    alone = compare.build(paths[0], paths[1])
    assert all(
        joint.speed_q >= line.speed_q * 0.999 or joint.speed_q >= joint.speed.p
        for joint, line in zip(differences[0].lines, alone.lines)
    )
    record = json.loads(script("compare", *paths, "--format=json").stdout)
    assert record["base"] == str(paths[0]) and [c["new"] for c in record["comparisons"]] == [str(p) for p in paths[1:]]
    sides = re.findall(r"^side: (.+)$", script("compare", *paths, "--format=benchstat").stdout, re.M)
    assert sides == [str(p) for p in paths]
    many = script(
        "compare", files["base"], *[make(tmp_path, f"n{n}", 40 + n) for n in range(5)], "--filter=allocator:hz5"
    )
    blocks = re.findall(r"^allocator .*$", many.stdout, re.M)  # what does not fit beside goes below
    assert len(blocks) > 1 and max(map(len, blocks)) <= 80 and all(b.split()[1] == "A" for b in blocks)
    assert script("compare", *paths, "--format=markdown").stdout.count("| hz5, local") == 2


def filtered(path, text):
    data = select.Filter(text).rows(load.load([path]).data)
    return {(r["name"], r["threads"], r["round"]) for r in data.to_dict("records")}


def test_filters_are_those_of_benchstat(files):
    everything = filtered(files["base"], "*")
    names, threads = {n for n, _, _ in everything}, {1, 2}

    def wanted(keep):
        return {s for s in everything if keep(*s)}

    assert len(everything) == 6 * 2 * 8 and names > {"hz5", "null"} and {t for _, t, _ in everything} == threads
    for text, keep in (
        ("allocator:hz5", lambda n, t, r: n == "hz5"),
        ("allocator:(hz5 OR system) threads:2", lambda n, t, r: n in ("hz5", "system") and t == 2),
        ("-allocator:hz5 AND threads:1", lambda n, t, r: n != "hz5" and t == 1),
        ("allocator:hz5 OR threads:1 round:3", lambda n, t, r: n == "hz5" or (t == 1 and r == 3)),
        ("-(allocator:hz5 OR threads:1)", lambda n, t, r: n != "hz5" and t != 1),
        ("allocator:/^(je|tc)malloc$/", lambda n, t, r: n in ("jemalloc", "tcmalloc")),
        ('allocator:"hz5" max_bytes:2KiB remote:0%', lambda n, t, r: n == "hz5"),
        ("workload:* -round:(0 OR 1 OR 2 OR 3 OR 4 OR 5 OR 6)", lambda n, t, r: r == 7),
    ):
        assert filtered(files["base"], text) == wanted(keep), text


@pytest.mark.parametrize(
    "text,why",
    [
        ("alloc:hz5", "there is no key 'alloc'; keys are allocator, file, "),
        ("hz5", "'hz5' is no match; write key:value"),
        ("allocator:", "allocator: has no value"),
        ("(allocator:hz5", "a parenthesis is not closed"),
        ("allocator:(hz5 OR system", "not closed by a parenthesis"),
        ("allocator:hz5)", "')' closes nothing"),
        ("allocator:hz5 OR", "something is missing at its end"),
        ("allocator:/(/", "is no regular expression"),
        ("allocator:hz9", "no sample matches; allocators are "),
        (":", "cannot be read at ':'"),
    ],
)
def test_filters_that_cannot_be(files, script, text, why):
    for command in (("tables", files["base"]), ("compare", files["base"], files["slower"])):
        done = script(*command, f"--filter={text}")
        assert done.returncode == 2 and why in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_a_filtered_comparison_keeps_its_control(files):
    difference = compare.build(files["base"], files["slower"], keep=select.Filter("allocator:hz5 threads:2"))
    whole = next(
        line for line in compare.build(files["base"], files["slower"]).lines if line.title == "hz5, local, 2 threads"
    )
    assert difference.control == "system" and [line.name for line in difference.lines] == ["hz5"]
    assert difference.lines[0].speed == whole.speed


def test_the_command_prints_the_same(files, script):
    done = script("compare", "base.csv", "slower.csv", "--format=json", cwd=files["base"].parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (GOLDEN / "compare.json").read_text()


def test_finds_what_was_changed_and_nothing_else(files):
    difference = compare.build(files["base"], files["slower"])
    verdicts = {(line.name, line.cell[schema.CELL.index("threads")]): line.verdict for line in difference.lines}
    assert {k for k, v in verdicts.items() if v == "slower"} == {("hz5", 1), ("hz5", 2)}
    assert "faster" not in verdicts.values()


def test_the_control_divides_the_drift_of_the_machine_out(tmp_path):
    """NEW was measured on a machine that had become 30 % slower for everybody: nothing is slower than it was."""
    slow = {name: speed * 0.7 for name, speed in fixtures.SPEED.items()}
    base, new = make(tmp_path, "base", 4), make(tmp_path, "new", 5, speed=slow)
    difference = compare.build(base, new)
    assert difference.control == "system" and difference.drift[0][1].ratio == pytest.approx(0.7, rel=0.1)
    assert all(line.verdict not in ("slower", "faster") for line in difference.lines)
    assert all(line.speed.ratio == pytest.approx(1, rel=0.02) for line in difference.lines)
    assert gate.check(difference, 0.05)[1] == errors.OK


def test_without_a_common_library_there_is_no_control_and_a_note(tmp_path):
    difference = compare.build(make(tmp_path, "base", 4), make(tmp_path, "new", 5, build="b"))
    assert difference.control == "" and "drift of the machine" in " ".join(difference.notes)
    assert {line.name for line in difference.lines} >= {"system", "hz5"}


def test_two_allocators_of_one_run_are_paired_by_round(files):
    base = str(files["base"])
    difference = compare.build(f"{base}:mimalloc", f"{base}:hz5")
    assert difference.paired and [line.name for line in difference.lines] == ["mimalloc -> hz5"] * 2
    data = load.load([base]).data
    for line in difference.lines:
        rows = data[data["cell"] == line.cell]
        new, old = (rows[rows["name"] == n].set_index("block")["throughput_ops_s"] for n in ("hz5", "mimalloc"))
        expected = stats.compare_paired(new.sort_index(), old.sort_index())
        assert (line.speed.ratio, line.speed.low, line.speed.p) == (expected.ratio, expected.low, expected.p)
        assert line.verdict == "faster"
    with pytest.raises(errors.InputError, match="has no allocator 'hz9'"):
        compare.build(f"{base}:mimalloc", f"{base}:hz9")
    for same in (base, f"{base}:hz5"):
        with pytest.raises(errors.InputError, match="are the same; give two"):
            compare.build(same, same)


def test_a_side_is_a_file_or_an_allocator_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b:c.csv"):
        Path(name).write_text("")
    assert compare.parse_side("a.csv") == compare.Side("a.csv", "a.csv", None)
    assert compare.parse_side("a.csv:./old/lib:x.so") == compare.Side("a.csv:./old/lib:x.so", "a.csv", "./old/lib:x.so")
    assert compare.parse_side("b:c.csv") == compare.Side("b:c.csv", "b:c.csv", None)
    assert compare.parse_side("b:c.csv:hz5") == compare.Side("b:c.csv:hz5", "b:c.csv", "hz5")
    assert compare.parse_side("absent.csv:hz5").path == "absent.csv:hz5"


def preload(rows):
    for row in rows:
        row["load"] = "preload"


def other_work(rows):
    for row in rows:
        row["stream_hash"] = "0123456789abcdef"


@pytest.mark.parametrize(
    "more,edit,why",
    [
        ({"cpu": "Other CPU"}, None, "another machine"),
        ({}, preload, "load mode preload, but"),
        ({"platform": "wine"}, None, "platform wine"),
        ({"seed": 3}, other_work, "the workload has changed"),
        ({"workloads": ("remote",), "threads": (2,)}, None, "no cell in common"),
    ],
)
def test_refuses_what_cannot_be_compared(tmp_path, files, more, edit, why):
    with pytest.raises(errors.InputError, match=why):
        compare.build(files["base"], make(tmp_path, "new", 7, edit, **more))


def test_disturbed_samples_are_shown_with_and_without_on_both_sides(tmp_path, files):
    def disturb(rows):
        for row in rows:
            if row["round"] == 2 and row["allocator"] == "hz5":
                row.update(contaminated=1, contamination="run-delay")

    new = make(tmp_path, "new", 8, disturb)
    for pair in ((files["base"], new), (new, files["base"])):
        difference = compare.build(*pair)
        line = difference.lines[0]
        assert (line.name, line.disturbed, line.speed.pairs, line.quiet.pairs) == ("hz5", 1, 8, 7)
        assert "hz5, local, 1 thread 1, without them" in compare_formats.as_text(difference).replace("\n", " ")


def test_markdown_fits_a_pull_request_and_loses_no_count(tmp_path):
    threads = tuple(range(1, 41))
    base = make(tmp_path, "base", 4, threads=threads, allocators=("hz5", "hz4", "system"), pus=64)
    new = make(tmp_path, "new", 5, threads=threads, allocators=("hz5", "hz4", "system"), pus=64,
               speed=SLOWER)  # fmt: skip
    difference = compare.build(base, new)
    text = compare_formats.as_markdown(difference)
    lines = text.splitlines()
    assert len(difference.lines) == 80 and len(lines) <= compare_formats.PULL_REQUEST_LINES
    assert re.match(r"\*\*40 slower, .* of 80 comparisons", lines[0])
    shown = [line for line in lines if line.startswith("| hz")]
    hidden = int(re.search(r"and (\d+) more: ", text)[1])
    assert len(shown) + hidden == 80 and all(" slower " in line for line in shown)


def test_benchstat_lines_follow_the_go_benchmark_format(files):
    text = compare_formats.as_benchstat(compare.build(files["base"], files["slower"]))
    sides = re.findall(r"^side: (.+)$", text, re.M)
    rows = [line for line in text.splitlines() if line.startswith("Benchmark")]
    assert sides == [str(files["base"]), str(files["slower"])] and len(rows) == 2 * 8 * 8  # sides, lines, rounds
    for row in rows:
        name, iterations, *pairs = row.split()
        assert re.fullmatch(r"Benchmark[A-Z]\S*/allocator=\S+-\d+", name) and int(iterations) > 0
        values = dict(zip(pairs[1::2], map(float, pairs[::2])))
        assert set(values) == {"ns/op", "ops/s", "peak-RSS-bytes"}
        assert values["ns/op"] * values["ops/s"] == pytest.approx(1e9, rel=1e-4)


def test_benchstat_compares_two_allocators_of_one_file_under_one_name_and_labels_neither_as_the_other(files):
    difference = compare.build(f"{files['base']}:system", f"{files['base']}:hz5")
    base, new = compare_formats.as_benchstat(difference).split("side: ")[1:]
    assert base.startswith(f"{files['base']}:system\n") and new.startswith(f"{files['base']}:hz5\n")
    names = [re.findall(r"^(Benchmark\S+)", side, re.M) for side in (base, new)]
    assert names[0] == names[1] and len(names[0]) == 2 * 8 and "hz5" not in "".join(names[0])
    speed = [float(re.search(r"(\S+) ops/s", side)[1]) for side in (base, new)]
    assert speed[1] > 3 * speed[0]  # the samples are each side's own


def test_json_is_strict_and_has_the_smallest_visible_effect(files):
    record = json.loads(
        compare_formats.as_json(compare.build(files["base"], files["slower"])),
        parse_constant=lambda text: pytest.fail(f"{text} is not JSON"),
    )
    for cell in record["cells"]:
        t = cell["throughput"]
        assert t["low"] <= t["ratio"] <= t["high"] and t["visible"] > 0 and t["q"] >= t["p"]


def test_gate_fails_on_what_is_proven_only(files, script):
    difference = compare.build(files["base"], files["slower"])
    assert gate.check(difference, 0.05)[1] == errors.GATE_FAILED
    assert gate.check(difference, 0.5)[1] == errors.OK
    assert gate.check(difference, 0.2, only=["mimalloc"])[1] == errors.OK
    lines, code = gate.check(difference, 0.001, only=["mimalloc"], strict=True)
    assert code == errors.INCONCLUSIVE and lines[0].startswith("open  mimalloc")
    assert gate.check(difference, 0.001, only=["mimalloc"])[1] == errors.OK
    with pytest.raises(errors.InputError):
        gate.check(difference, 0.05, only=["none"])
    done = script("gate", files["base"], files["slower"], "--max-worse=5%", "--alloc=hz5")
    assert done.returncode == 1 and done.stdout.endswith("gate: 2 failed, 0 open, 0 passed\n")


def test_gate_fails_on_a_new_crash_and_on_a_missing_cell(tmp_path, files):
    def crash(rows):
        for row in rows:
            if row["allocator"] == "hz5" and row["round"] == 0:
                row.update(status="crashed", throughput_ops_s="")

    broken = make(tmp_path, "broken", 9, crash)
    lines, code = gate.check(compare.build(files["base"], broken), 0.5)
    assert code == errors.GATE_FAILED and "NEW: 1 crashed of 8" in lines[0]
    assert gate.check(compare.build(broken, files["base"]), 0.5)[1] == errors.OK
    fewer = make(tmp_path, "fewer", 10, lambda rows: [r for r in rows if (r["allocator"], r["threads"]) != ("hz5", 2)])
    lines, code = gate.check(compare.build(files["base"], fewer), 0.5)
    assert code == errors.GATE_FAILED and any("not in NEW" in line for line in lines)


def test_gate_on_memory_needs_no_proof(tmp_path, files):
    def waste(rows):
        for row in rows:
            if row["allocator"] == "hz5":
                row["rss_peak"] = int(row["rss_peak"] * 1.2)

    difference = compare.build(files["base"], make(tmp_path, "fat", 11, waste))
    assert gate.check(difference, 0.5)[1] == errors.OK
    lines, code = gate.check(difference, 0.5, max_rss=0.1)
    assert code == errors.GATE_FAILED and sum(line.startswith("fail") for line in lines) == 2
    assert gate.check(difference, 0.5, max_rss=0.3)[1] == errors.OK


def test_gate_says_how_many_rounds_could_prove_something(tmp_path):
    base, new = (make(tmp_path, n, r, rounds=3, speed=s) for n, r, s in (("a", 4, fixtures.SPEED), ("b", 5, SLOWER)))
    lines, code = gate.check(compare.build(base, new), 0.05, strict=True)
    assert code == errors.INCONCLUSIVE
    assert "3 rounds cannot prove anything here, " in lines[0] and lines[0].startswith("open")


def test_a_gate_without_power_says_so(tmp_path, files, script):
    """Three rounds, or noise of 20 %, cannot show a loss of 5 %; rounds that can say nothing of it."""
    warning = "gate: warning: no power: in "
    few = [make(tmp_path, f"few{n}", 20 + n, rounds=3) for n in (1, 2)]
    lines, code = gate.check(compare.build(*few), 0.05)
    assert (
        code == errors.OK and lines[-2].startswith(f"{warning}8 of 8 cells") and "rounds or more can show" in lines[-2]
    )
    assert gate.check(compare.build(*few), 0.05, strict=True)[1] == errors.INCONCLUSIVE
    noisy = [make(tmp_path, f"noisy{n}", 30 + n, noise=0.2) for n in (1, 2)]
    done = script("gate", *noisy, "--max-worse=5%", "--strict")
    found = re.search(
        rf"^{warning}(\d+) of 8 cells .* a loss of 5\.0 % \(4 times in 5\); about (\d+) rounds would$",
        done.stdout,
        re.M,
    )
    assert done.returncode == errors.INCONCLUSIVE and int(found[1]) > 4 and int(found[2]) > 50
    assert warning not in script("gate", files["base"], files["slower"], "--max-worse=5%").stdout


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("family", [1, 4, 40])
def test_rounds_for_is_the_first_number_that_can_reach_5_percent(paired, family):
    n = stats.rounds_for(family, paired)

    def smallest(rounds):
        new, base = np.arange(rounds) + 1000.0, -np.arange(rounds) - 1.0
        return stats.signed_rank_p(new - base) if paired else stats.rank_sum_p(new, base)

    assert family * smallest(n) <= stats.ALPHA
    assert n == (stats.MIN_PAIRS if paired else 4) or family * smallest(n - 1) > stats.ALPHA


def test_a_gate_of_many_cells_does_not_cry_wolf():
    """40 cells, 10 rounds each, exactly at the limit: the worst case in which nothing is beyond it. At 5 % for each
    cell by itself nearly every gate would fail; controlled, at most one in twenty may."""
    rng = np.random.default_rng(12)
    gates = 60
    wrong = alone = 0
    for _ in range(gates):
        lines = []
        for cell in range(40):
            new = rng.normal(math.log(0.95), 0.03, 10)
            low, high = stats.bootstrap_interval(new, resamples=400)
            speed = stats.Comparison(10, math.exp(stats.hodges_lehmann(new)), math.exp(low), math.exp(high), 0.0, 0.1)
            lines.append(compare.Line((), f"cell {cell}", "", speed=speed, speed_logs=(new, np.zeros(10))))
        difference = compare.Difference("a", "b", 0.02, True, lines=lines)
        wrong += gate.check(difference, 0.05)[1] == errors.GATE_FAILED
        alone += any(line.speed.high < 0.95 for line in lines)
    print(f"gates of 40 cells at the limit: {wrong} of {gates} failed, by intervals alone {alone}")
    assert wrong / gates <= 0.05 < alone / gates

# SPDX-License-Identifier: Apache-2.0
"""Counts of travelling lines: written and read, drawn, and turned into a prediction or a refusal of one."""

import csv
from pathlib import Path

import matplotlib
import pytest
from hzbench import coherence, errors, figures, predict
from hzbench.figures import style, transfers
from test_figure_texts import faults

MOVES = {"null": 0.3, "system": 5.0, "mimalloc": 3.0, "jemalloc": 3.4, "hz3": 1.4, "hz5": 0.7}
WORKLOADS = ("local", "remote{receiver=reads}", "remote{receiver=frees}", "larson")
INSTRUCTIONS = 200.0


def count_rows(workloads=WORKLOADS, threads=(1, 2, 8, 64), seeds=(1, 2)):
    rows = []
    for workload in workloads:
        for count in threads:
            for name, moves in MOVES.items():
                for seed in seeds:
                    row = dict.fromkeys(coherence.COLUMNS, 0.0)
                    row |= {"allocator": name, "workload": workload, "threads": count, "seed": seed, "quantum": 100,
                            "length": 500, "ops": 500 * count, "instructions": INSTRUCTIONS,
                            "moves": round(moves * (1 + 0.01 * seed) * (count > 1), 4)}  # fmt: skip
                    rows.append(row)
    return rows


def speeds_of(per_instruction, per_move, wrong=()):
    """What a machine measures on which the model holds, but for the allocators in `wrong`, twice as slow."""
    speeds = {}
    for name, moves in MOVES.items():
        for threads in (1, 2):
            ns = INSTRUCTIONS * per_instruction + (moves * 1.015 * per_move if threads > 1 else 0)
            speeds[name, threads] = threads * 1e9 / ns / (2 if name in wrong and threads > 1 else 1)
    return speeds


def write_measured(path, speeds, workload="local"):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["workload", "threads", "allocator", "status", "throughput_ops_s", "working_set"])
        for (name, threads), speed in speeds.items():
            writer.writerow([workload, threads, name, "ok", speed, 1000])
    return path


def test_rows_are_read_as_written(tmp_path):
    rows = count_rows()
    coherence.write_csv(tmp_path / "a.csv", rows)
    assert coherence.read_csv(tmp_path / "a.csv") == rows


@pytest.mark.parametrize("text, said", [("a,b\n1,2\n", "no column"), (None, "not a row")])
def test_other_files_are_refused(tmp_path, text, said):
    path = tmp_path / "a.csv"
    path.write_text(text or ",".join(coherence.COLUMNS) + "\nx,y,many\n", encoding="utf-8")
    with pytest.raises(errors.InputError, match=said):
        coherence.read_csv(path)


def test_the_figure_has_a_panel_a_workload_and_no_text_upon_another():
    with matplotlib.rc_context(style.RC):
        figure = transfers.draw(count_rows(threads=(2, 8, 32, 64)))
        assert [axis.get_title(loc="left") for axis in figure.axes] == [
            "local", "remote, receiver reads", "remote, receiver frees", "larson"]  # fmt: skip
        assert faults(figure) == []
        matplotlib.pyplot.close(figure)


def test_the_figure_is_written_from_a_file(tmp_path, script):
    coherence.write_csv(tmp_path / "a.csv", count_rows(threads=(2, 8)))
    done = script("coherence", "--read", tmp_path / "a.csv", f"--figure={tmp_path / 'out'}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "hz5" in done.stdout and (tmp_path / "out/transfers.png").stat().st_size > 5000
    with pytest.raises(errors.InputError, match="no allocator but null"):
        figures.write_transfers([r for r in count_rows() if r["allocator"] == "null"], tmp_path)


def test_a_move_costs_more_the_more_sockets_are_in_use():
    machine = predict.MACHINES["epyc-7r13"]
    assert machine.cost(1) == 0
    assert machine.cost(2) == machine.cost(8) == machine.within_cache
    assert machine.cost(48) == pytest.approx((7 * 23 + 40 * 107) / 47)
    assert machine.within_socket < machine.cost(96) < machine.across


def prediction(speeds, workload="local", machine="epyc-7r13"):
    counts = predict.read_counts(count_rows(), workload)
    costs = predict.calibrate(predict.read_counts(count_rows(), "local"), speeds)
    return predict.render(counts, speeds, costs, predict.MACHINES[machine], workload)


def test_what_the_model_explains_is_predicted():
    text = prediction(speeds_of(0.1, 23))
    assert "no prediction" not in text and "Error where it could be checked: at most 0%" in text
    line = next(line for line in text.splitlines() if line.startswith("hz5 "))
    ns = INSTRUCTIONS * 0.1 + 0.7 * 1.015 * predict.MACHINES["epyc-7r13"].cost(64)
    assert float(line.split()[1 + predict.THREADS.index(64)]) == pytest.approx(64e3 / ns, rel=0.01)


def test_an_allocator_that_the_model_misses_gets_no_prediction():
    text = prediction(speeds_of(0.1, 23, wrong=("jemalloc",)))
    assert "jemalloc      no prediction: its rank with 2 threads is missed by" in text
    assert "hz5           no prediction" not in text


def test_what_one_thread_moves_is_the_harness():
    alone = {"hz5": predict.Counts({1: 200.0}, {1: 0.125})}
    own = predict.without_preparation({"hz5": predict.Counts({2: 200.0}, {2: 0.625, 8: 0.1})}, alone)
    assert own["hz5"].moves == {2: 0.5, 8: 0.0}


def test_without_a_measurement_there_is_no_prediction():
    only_one = {key: speed for key, speed in speeds_of(0.1, 23).items() if key[1] == 1}
    assert prediction(only_one).count("no prediction: nothing is measured here") == len(MOVES) - 1
    with pytest.raises(errors.InputError, match="no allocator is both counted and measured"):
        predict.calibrate(predict.read_counts(count_rows(), "local"), {})


def test_the_public_table_is_held_against_larson():
    text = prediction(speeds_of(0.1, 23), "larson")
    assert "9 of 9 pairs in the predicted order" in text


def test_command(tmp_path, script):
    coherence.write_csv(tmp_path / "counts.csv", count_rows())
    measured = write_measured(tmp_path / "measured.csv", speeds_of(0.1, 23))
    done = script("predict", tmp_path / "counts.csv", f"--measured={measured}", "--machine=epyc-7r13")
    assert (done.returncode, done.stderr) == (0, "") and "M ops/s by threads" in done.stdout
    done = script("predict", tmp_path / "counts.csv", f"--measured={measured}", "--workload=none")
    assert done.returncode == 2 and "no row of the counts is of the workload 'none'" in done.stderr
    with open(measured, "a", encoding="utf-8") as file:
        file.write("local,2,hz5,ok,1e6,5\n")
    done = script("predict", tmp_path / "counts.csv", f"--measured={measured}")
    assert done.returncode == 2 and "differ in working_set" in done.stderr
    assert Path(measured).exists()

# SPDX-License-Identifier: Apache-2.0
"""Aged heaps against fresh ones, on samples whose difference is planted."""

import pytest
from fixtures import Plan, write_run
from hzbench import aged, errors, load

PLANTED = {"hz5": 2.0, "mimalloc": 4.0}  # by so much an aged heap slows them down; the others not at all


def with_aged(rows):
    """Each sample once more, on an aged heap, slower by what is planted."""
    more = []
    for row in rows:
        row.update(age="none", age_bytes=0, age_live_ppm=0)
        again = dict(row, age="holes", age_bytes=1 << 26, age_live_ppm=100_000)
        again["sample"], again["cell_index"] = row["sample"] + 10**6, row["cell_index"] + 1000
        again["elapsed_ns"] = int(row["elapsed_ns"] * PLANTED.get(row["allocator"].split("{")[0], 1.0))
        again["throughput_ops_s"] = f"{row['ops'] / again['elapsed_ns'] * 1e9:.3f}"
        more.append(again)
    return rows + more


def test_the_planted_change_is_found(tmp_path):
    write_run(tmp_path / "a.csv", Plan(rounds=8), with_aged, with_series=False)
    results = load.load([tmp_path / "a.csv"])
    found = list(aged.pairs(results))
    assert len(found) * 2 == len(results.cells)
    for fresh, old in found:
        for row in aged.rows_of(results, fresh, old, "mimalloc"):
            expected = PLANTED["mimalloc"] / PLANTED.get(row.name.split("{")[0], 1.0)
            assert row.change.pairs == 8
            assert row.change.ratio == pytest.approx(expected, rel=1e-3)
            assert row.aged.ratio / row.fresh.ratio == pytest.approx(expected, rel=1e-2)
    assert "age holes" in aged.render(results, "mimalloc")


def test_without_both_heaps_there_is_nothing_to_compare(tmp_path):
    write_run(tmp_path / "a.csv", Plan(rounds=1), with_series=False)
    with pytest.raises(errors.InputError, match="both on a fresh and on an aged heap"):
        aged.render(load.load([tmp_path / "a.csv"]), "mimalloc")

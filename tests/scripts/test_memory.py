# SPDX-License-Identifier: Apache-2.0
"""Memory over time: the numbers of a row from samples that are known, and the slope of series that are known."""

import numpy as np
import pytest
from fixtures import Plan, write_run
from hzbench import load, memory, stats

MIB = 1 << 20


def told(path, edit=None, **plan):
    write_run(path, Plan(**plan), edit)
    results = load.load([path])
    return results, {row.name: row for row in memory.rows_of(results, results.cells[0])}


def test_a_row_is_the_median_of_its_samples(tmp_path):
    def edit(rows):
        for row in rows:
            row["rss_baseline"], row["rss_mean"], row["live_mean"] = 4 * MIB, (14 + row["round"]) * MIB, 5 * MIB
            row["fragmentation_worst_ppm"], row["rss_100ms"], row["rss_purged"] = 3_500_000, 6 * MIB, 4 * MIB
        return rows

    _, rows = told(tmp_path / "a.csv", edit, rounds=3)
    for row in rows.values():
        assert (row.samples, row.mean, row.fragmentation, row.worst) == (3, 11 * MIB, 11 / 5, 3.5)
        assert (row.kept, row.kept_after, row.purged, row.slopes) == (2 * MIB, "100 ms", 0, ())


def test_each_time_of_settle_is_a_column(tmp_path):
    def edit(rows):
        for row in rows:
            row["rss_baseline"] = 4 * MIB
            row["rss_settled"] = f"0.1s={(9 + row['round']) * MIB};2s={8 * MIB};10s={6 * MIB}"
        return rows

    _, rows = told(tmp_path / "a.csv", edit, rounds=3)
    for row in rows.values():
        assert row.settled == ((0.1, 6 * MIB), (2, 4 * MIB), (10, 2 * MIB))
        assert (row.kept, row.kept_after) == (2 * MIB, "10 s")
    lines = memory.table(list(rows.values()))
    assert "at 0.1 s  at 2 s  kept MiB" in lines[0]
    assert lines[2].split()[7:10] == ["6.00", "4.00", "2.00"]


def test_shares_are_of_the_most_compact_foreign_allocator(tmp_path):
    means = {"hz5": 8, "mimalloc": 20, "jemalloc": 10, "tcmalloc": 40, "system": 12}

    def edit(rows):
        for row in rows:
            row["rss_baseline"], row["live_mean"] = 0, MIB
            row["rss_mean"] = means.get(row["allocator"].split("{")[0], 100) * MIB
        return rows

    results, rows = told(tmp_path / "a.csv", edit, rounds=2)
    lines = memory.table(list(rows.values()))
    of_best = {line.split()[0]: line.split()[3] for line in lines[2:]}
    assert of_best["hz5"] == "0.800" and of_best["jemalloc"] == "1.00" and of_best["mimalloc"] == "2.00"
    assert "most compact" in " ".join(memory.render(results).split())


def test_a_long_series_gives_growth_an_hour(tmp_path):
    def edit(rows):
        for row in rows:
            row["elapsed_ns"] = 3600 * 10**9
            row["throughput_ops_s"] = f"{row['ops'] / 3600:.3f}"
        return rows

    _, rows = told(tmp_path / "a.csv", edit, rounds=1)
    row = next(iter(rows.values()))
    grown = 0.1 * (row.peak)  # the fixture's measured part rises by a tenth, evenly
    (slope,) = row.slopes
    assert slope.slope == pytest.approx(grown, rel=0.05) and slope.low <= slope.slope <= slope.high


def test_the_interval_of_a_slope_covers_the_truth():
    rng = np.random.default_rng(7)
    x = np.linspace(0, 2, 4000)
    covered = flat = 0
    for _ in range(300):
        found = stats.slope(x, 3 * x + rng.normal(0, 1, len(x)))
        covered += found.low <= 3 <= found.high
        still = stats.slope(x, rng.normal(0, 1, len(x)))
        flat += still.low <= 0 <= still.high
    assert covered >= 275 and flat >= 275  # 95 % of 300 are 285; below 275 lie 0.5 % of fair draws
    assert np.isnan(stats.slope([1, 2], [1, 2]).slope)


def test_without_a_series_there_is_nothing_to_say(tmp_path):
    def edit(rows):
        for row in rows:
            row["rss_mean"] = row["rss_p95"] = ""
        return rows

    write_run(tmp_path / "a.csv", Plan(rounds=1), edit)
    with pytest.raises(Exception, match="no series of memory was taken"):
        memory.render(load.load([tmp_path / "a.csv"]))

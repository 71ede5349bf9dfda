# SPDX-License-Identifier: Apache-2.0
"""When a bare loop's ratio agrees with the runner's, and when it does not."""

import pytest
from fixtures import SPEED, Plan, write_run
from hzbench import errors, outside

NULL_NS, OWN_NS = 1e9 / SPEED["null"], {name: 1e9 / SPEED[name] for name in ("hz5", "mimalloc")}
WITHOUT = (OWN_NS["mimalloc"] - NULL_NS) / (OWN_NS["hz5"] - NULL_NS)  # what the allocators alone would show
PRINTED = OWN_NS["mimalloc"] / OWN_NS["hz5"]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Makes the two files of a workload: the runner's as always, the bare loop's with hz5 so many times as fast."""
    monkeypatch.setattr(outside, "PAIRS", {"local": [("hz5", "mimalloc")], "remote": [("hz5", "mimalloc")]})

    def make(workload, ratio):
        threads = (2,) if workload == "remote" else (1,)
        bare = Plan(run=1, workloads=(workload,), threads=threads, speed=SPEED | {"hz5": ratio * SPEED["mimalloc"]})
        inside = Plan(run=2, workloads=(workload,), threads=threads)
        paths = [write_run(tmp_path / f"{p.run}.csv", p, None, False) for p in (bare, inside)]
        return outside.checks(*paths, workload)[0]

    return make


def test_the_ratio_lies_between_the_printed_one_and_that_without_the_harness(runs):
    assert runs("local", WITHOUT).holds and runs("local", PRINTED).holds
    assert not runs("local", 0.9 * PRINTED).holds
    assert not runs("local", 1.1 * WITHOUT).holds
    assert not runs("local", 1 / WITHOUT).holds


def test_where_objects_change_hands_the_printed_ratio_is_a_bound(runs):
    check = runs("remote", 1.2 * PRINTED)
    assert check.without is None and check.holds
    assert not runs("remote", 0.7 * PRINTED).holds
    assert not runs("remote", 1 / PRINTED).holds


def test_the_table_says_which_pair_differs(runs):
    shown = outside.render([runs("local", WITHOUT), runs("local", 0.5 * PRINTED)])
    assert [line.rsplit(" ", 1)[-1] for line in shown.splitlines()[2:]] == ["holds", "DIFFERS"]


def test_without_null_there_is_nothing_to_hold_it_against(tmp_path):
    plan = Plan(allocators=("hz5", "mimalloc"), workloads=("local",), threads=(1,))
    path = write_run(tmp_path / "a.csv", plan, None, False)
    with pytest.raises(errors.InputError, match="null: no sample"):
        outside.checks(path, path, "local")

# SPDX-License-Identifier: Apache-2.0
"""Verdicts across hosts: the statistics against published examples, metafor and simulation; then whole files of hosts
whose truth is planted."""

import json
import math

import numpy as np
import pytest
from fixtures import SPEED, Plan, write_run
from hzbench import cli, errors
from hzbench.pool import build, commands, explain, forest, hosts, meta, render

# Thirteen trials of BCG against tuberculosis (Colditz et al. 1994, JAMA 271:698): logarithms of the risk ratios and
# their variances, and what r-cran-metafor 3.8-1 gives for them: rma(yi, vi, method="PM", test="adhoc",
# control=list(tol=1e-14)).
BCG = (
    [-0.8893113339202, -1.5853886572014, -1.3480731482997, -1.4415511900213, -0.2175473222113, -0.7861155858189,
     -1.6208982235984, 0.0119523335238, -0.4694176487381, -1.3713448034728, -0.3393588283384, 0.4459134005714,
     -0.0173139482169],
    [0.32558476500396, 0.19458112139814, 0.41536796536797, 0.02001003190225, 0.05121017216963, 0.00690561845591,
     0.22301724757232, 0.00396157929782, 0.05643421046325, 0.07302479361303, 0.01241221397156, 0.53250584520015,
     0.07140465968399],
    (-0.714968153493444, -1.109098381202240, -0.320837925784648, 0.001919271831278, 0.318068452205024,
     152.233008082373289),
)  # fmt: skip
NEAR = (
    [0.10, 0.30, 0.35],
    [0.01, 0.02, 0.015],
    (0.231245328825545, -0.115905826091139, 0.578396483742229, 0.103228026877035, 0.005364466553972, 2.884615384615384),
)
FAR = (
    [0.0, 0.4, 0.9],
    [0.01, 0.02, 0.015],
    (0.4299988550509, -0.6962832603053, 1.5562809704071, 0.2421564643976, 0.1906431597365, 32.4615384615385),
)


@pytest.mark.parametrize("effects, variances, expected", [BCG, NEAR, FAR])
def test_pooled_values_are_those_of_metafor(effects, variances, expected):
    p = meta.pool(effects, variances)
    found = (p.mean, p.low, p.high, p.p, p.tau**2, p.q)
    assert found == pytest.approx(expected, rel=1e-9)
    assert p.i2 == pytest.approx((p.q - len(effects) + 1) / p.q)


def test_equal_effects_have_no_spread_and_the_scale_does_not_matter():
    p = meta.pool([0.1, 0.1, 0.1], [1e-6] * 3)
    assert p.tau == 0 and p.i2 == 0 and p.mean == pytest.approx(0.1)
    small = meta.pool([v / 1e3 for v in FAR[0]], [v / 1e6 for v in FAR[1]])
    large = meta.pool(FAR[0], FAR[1])
    for one, other in ((small.mean, large.mean), (small.next_low, large.next_low), (small.tau, large.tau)):
        assert 1e3 * one == pytest.approx(other, rel=1e-6)


def test_fewer_than_three_hosts_cannot_be_pooled():
    with pytest.raises(ValueError, match="cannot be pooled"):
        meta.pool([0.1, 0.2], [0.01, 0.01])


@pytest.mark.parametrize("k", [3, 5, 10])
def test_intervals_cover_what_they_claim(k, monkeypatch):
    """Hosts with a known spread, their errors estimated from eight rounds each."""
    monkeypatch.setattr(meta, "RESAMPLES", 1000)
    rng = np.random.default_rng(k)
    tau, times = 0.1, 1000
    mean_held = next_held = 0
    for seed in range(times):
        errors_of = rng.uniform(0.01, 0.05, k)
        estimates = rng.normal(rng.normal(0, tau, k), errors_of)
        p = meta.pool(estimates, errors_of**2 * rng.chisquare(7, k) / 7, seed)
        mean_held += p.low <= 0 <= p.high
        next_held += p.next_low <= rng.normal(0, tau) <= p.next_high
    assert 0.93 <= mean_held / times <= 0.97
    assert 0.93 <= next_held / times <= 0.97


# ---- files of several hosts -----------------------------------------------------------------------------------------


def host_files(folder, speeds, **more):
    """A run of each host: `speeds` has what each allocator's speed is multiplied by, a host at a time."""
    paths = []
    for number, factors in enumerate(speeds):
        speed = {name: value * factors.get(name, 1.0) for name, value in SPEED.items()}
        plan = Plan(run=number + 1, cpu=f"CPU {number}", pus=2 + number, speed=speed, workloads=("local",),
                    threads=(1,), costs={"first_touch_ns": 100.0 + 50 * number}, **more)  # fmt: skip
        paths.append(write_run(folder / f"host{number}.csv", plan, with_series=False))
    return paths


def pool_of(paths, **more):
    return build.build(hosts.read(paths), **more)


def line_of(pool, name, quantity="throughput"):
    return next(line for line in pool.lines if (line.name, line.quantity) == (name, quantity))


def test_three_hosts_that_agree_give_a_verdict(tmp_path):
    pool = pool_of(host_files(tmp_path, [{}, {"hz5": 1.1}, {"hz5": 0.95}]), baseline="mimalloc")
    line = line_of(pool, "hz5")
    truth = SPEED["hz5"] / SPEED["mimalloc"]
    assert line.verdict == "faster" and line.pooled.hosts == 3
    assert math.exp(line.pooled.mean) == pytest.approx(truth * (1.1 * 0.95) ** (1 / 3), rel=0.02)
    assert line.pooled.next_low < line.pooled.low and line.pooled.high < line.pooled.next_high
    assert line_of(pool, "hz5", "peak RSS").verdict == "smaller"
    shown = render.render(pool, "text", 80, True)
    assert max(map(len, shown.splitlines())) <= 80
    assert "CPU 0" in shown and "faster" in shown and "No two allocators change" in shown


def test_hosts_that_disagree_are_undecided_and_explained(tmp_path):
    pool = pool_of(host_files(tmp_path, [{}, {"hz5": 0.6}, {"hz5": 0.3}]), baseline="jemalloc")
    line = line_of(pool, "hz5")
    assert line.verdict == "undecided" and line.crosses and line.pooled.i2 > 0.9
    change = next(c for c in explain.changes(pool) if {c.one, c.other} == {"hz5", "jemalloc"})
    assert (set(change.ahead), set(change.behind)) in (({"A", "B"}, {"C"}), ({"C"}, {"A", "B"}))
    assert change.property in ("first_touch_ns", "pus") and abs(change.rho) == 1 and change.hosts == 3
    assert "one property in 3 has a rank correlation of 1 or -1 by chance" in render.render(pool, "text", 80, True)


@pytest.mark.parametrize(
    "speeds, more, reason",
    [
        ([{}, {}], {}, "2 of at least 3 hosts"),
        ([{}, {}, {}], {"rounds": 4}, "fewer than 6 rounds on A, B, C"),
        ([{}, {}, {}], {"commit": "unknown"}, "the commit that a host measured is unknown"),
    ],
)
def test_no_verdict_is_told_in_one_line(tmp_path, speeds, more, reason):
    pool = pool_of(host_files(tmp_path, speeds, **more))
    assert all(line.pooled is None and not line.verdict for line in pool.lines)
    assert reason in render.why_nothing(pool) and "\n" not in render.why_nothing(pool)
    shown = render.render(pool, "text", 80, False)
    assert "pooled" not in shown.split("A host's ratio")[0] and max(map(len, shown.splitlines())) <= 80


def test_different_commits_are_not_pooled(tmp_path):
    paths = host_files(tmp_path, [{}, {}, {}])
    record = json.loads((tmp_path / "host2.run.json").read_text())
    record["build"]["commit"] = "b" * 40
    (tmp_path / "host2.run.json").write_text(json.dumps(record))
    assert "different commits" in render.why_nothing(pool_of(paths))


def test_a_failure_on_one_host_is_a_line_that_says_so(tmp_path):
    paths = host_files(tmp_path, [{}, {}, {}])

    def crash(rows):
        for row in rows:
            if row["allocator"] == "hz5" and row["round"] == 3:
                row.update(status="crashed", message="signal 11")

    plan = Plan(run=3, cpu="CPU 2", pus=4, workloads=("local",), threads=(1,))
    write_run(paths[2], plan, crash, with_series=False)
    line = line_of(pool_of(paths), "hz5")
    assert line.pooled is None and line.why_not == "failed on C"


def test_a_host_is_known_by_its_machine_and_not_by_its_file(tmp_path):
    paths = host_files(tmp_path, [{}, {}])
    again = write_run(tmp_path / "x.csv", Plan(run=9, cpu="CPU 0", workloads=("local",), threads=(1,)), None, False)
    pool = pool_of([*paths, again])
    assert len(pool.hosts) == 2
    assert line_of(pool, "hz5").locals[0].comparison.pairs == 16


def _another(folder, edit=None, **plan):
    """Another run in place of host 1's."""
    more = {"run": 2, "cpu": "B", "workloads": ("local",), "threads": (1,)} | plan
    write_run(folder / "host1.csv", Plan(**more), edit, False)


def _other_work(rows):
    return [row | {"stream_hash": "0" * 16} for row in rows]


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda folder: (folder / "host1.run.json").unlink(), "no run.json with a machine"),
        (lambda folder: _another(folder, _other_work), "other work"),
        (lambda folder: _another(folder, allocators=("hz5", "hz4")), "no rows of the baseline"),
        (lambda folder: _another(folder, platform="wine"), "2 platforms"),
        (lambda folder: (folder / "host1.csv").write_text("x"), "cut off"),
    ],
)
def test_bad_input_is_one_line(tmp_path, spoil, message):
    paths = host_files(tmp_path, [{}, {}])
    spoil(tmp_path)
    with pytest.raises(errors.InputError, match=message):
        pool_of(paths)


def test_all_formats_and_the_forest_plot(tmp_path, capsys):
    paths = [str(p) for p in host_files(tmp_path, [{}, {"hz5": 1.2}, {"hz5": 0.9}, {}])]
    for form in render.FORMATS:
        assert cli.run("scripts/pool", commands.main, [*paths, f"--format={form}", "--explain"]) == errors.OK
        shown = capsys.readouterr().out
        if form == "json":
            record = json.loads(shown)
            line = next(x for x in record["lines"] if (x["allocator"], x["quantity"]) == ("hz5", "throughput"))
            assert line["pooled"]["hosts"] == 4 and len(line["hosts"]) == 4
        else:
            assert "hz5" in shown and "next host" in shown
    assert cli.run("scripts/pool", commands.main, [*paths, "--figures", str(tmp_path / "out")]) == errors.OK
    written = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert written == sorted(f"{stem}{end}" for stem in forest.STEMS.values() for end in (".svg", ".png"))
    first = (tmp_path / "out" / "forest-throughput.svg").read_bytes()
    assert cli.run("scripts/pool", commands.main, [*paths, "--figures", str(tmp_path / "out")]) == errors.OK
    assert (tmp_path / "out" / "forest-throughput.svg").read_bytes() == first


def test_platforms_stand_beside_one_another(tmp_path, capsys):
    """Each platform's own verdicts, and which agree: jemalloc beats mimalloc on one, on the other it loses."""
    paths = [str(p) for p in host_files(tmp_path, [{}])]
    (tmp_path / "other").mkdir()
    paths += [str(p) for p in host_files(tmp_path / "other", [{"jemalloc": 0.5}], platform="windows")]
    record = json.loads((tmp_path / "other" / "host0.run.json").read_text())
    text = (tmp_path / "other" / "host0.csv").read_text()
    (tmp_path / "other" / "host0.csv").write_text(text.replace(record["run_id"], "0" * 16))
    record |= {"run_id": "0" * 16}
    record["machine"]["cpu_model"] = "another"
    (tmp_path / "other" / "host0.run.json").write_text(json.dumps(record))
    arguments = [*paths, "--beside", "--baseline=mimalloc"]
    assert cli.run("pool", commands.main, arguments) == errors.OK
    shown = capsys.readouterr().out
    assert shown.startswith("Linux beside Windows\n") and max(map(len, shown.splitlines())) <= 80
    said = {tuple(line.split()) for line in shown.splitlines()}
    assert ("hz5", "throughput", "faster", "faster", "agree") in said
    assert ("jemalloc", "throughput", "faster", "slower", "differ") in said
    assert "differ. A verdict is the platform's own" in " ".join(shown.split())
    for wrong, why in (
        (arguments[:1] + ["--beside"], "of one platform"),
        ([*arguments, "--format=json"], "text alone"),
    ):
        assert cli.run("pool", commands.main, wrong) == errors.USAGE
        assert why in capsys.readouterr().err

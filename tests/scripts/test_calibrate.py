# SPDX-License-Identifier: Apache-2.0
"""Calibration against simulated runs whose truth is known: fit and plan of a pilot, rates, recovered values, gates,
refusals."""

import dataclasses
import math

import fixtures
import numpy as np
import pytest
import scipy.stats
from hzbench import __main__, calibrate, errors

LEVELS = {0.02: "slow2", 0.05: "slow5", 0.1: "slow10", 0.2: "slow20"}
BASE = "system"
NS = 1e9 / fixtures.SPEED[BASE]  # an op of the base
FIT = calibrate.Fit(0.015, 0.0147, 0.0153, 0.001, -0.004, 0.005)
PLAN = calibrate.Plan(BASE, NS, FIT, LEVELS, "local{ops=1M}", 1, "system,slow2", 2, 0.08)


def simulate(path, rounds, noise, levels=LEVELS, copies=4, seed=1):
    """Four copies of a base and variants that take 1 + level times as long an op, in interleaved rounds."""
    speed = dict(fixtures.SPEED) | {name: fixtures.SPEED[BASE] / (1 + level) for level, name in levels.items()}
    fixtures.OVERHEAD.update({name: 1.2 for name in levels.values()})
    plan = fixtures.Plan(allocators=(BASE,) * copies + tuple(levels.values()), workloads=("local",), threads=(1,),
                         rounds=rounds, noise=noise, speed=speed, seed=seed, run=seed)  # fmt: skip
    fixtures.write_run(path, plan, with_series=False)
    path.with_name(path.stem + ".plan.json").write_text(calibrate.store_plan(dataclasses.replace(PLAN, levels=levels)))
    return path


def pilot(path, noise=0.01, costs=lambda ns: ns / NS, delays=(0, 20, 40, 80), rounds=25):
    """A pilot run in which a delay of `ns` takes the share costs(ns) of the base's time more."""
    speed = {f"slow{1000 * ns}": fixtures.SPEED[BASE] / (1 + costs(ns)) for ns in delays}
    fixtures.OVERHEAD.update({name: 1.2 for name in speed})
    plan = fixtures.Plan(
        allocators=tuple(speed), workloads=("local",), threads=(1,), rounds=rounds, noise=noise, speed=speed
    )
    return fixtures.write_run(path, plan, with_series=False)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    file = simulate(tmp_path_factory.mktemp("calibrate") / "local.csv", 160, 0.02)
    return file, calibrate.analyse([(file, PLAN)])


def test_nothing_is_called_something_in_at_most_5_percent(result):
    rate = next(iter(result[1].aa.values()))
    assert rate.trials == 40  # 20 windows of 8 rounds, two pairs of copies that share no sample
    assert scipy.stats.binomtest(rate.hits, rate.trials, 0.05, alternative="greater").pvalue > 0.01
    assert result[1].aa_adjusted.hits <= 1


def test_what_was_injected_is_recovered(result):
    for (_, level), (value, low, high) in result[1].recovered.items():
        assert low <= value <= high and value == pytest.approx(level, abs=0.006)


def test_detection_grows_with_effect_and_rounds_and_never_has_the_wrong_sign(result):
    curve = result[1].curve
    for rounds in calibrate.CURVE_ROUNDS:
        shares = [curve[(rounds, level)].share for level in LEVELS]
        assert shares == sorted(shares) and shares[-1] == 1
    assert curve[(32, 0.02)].share > curve[(8, 0.02)].share
    assert result[1].wrong_sign.share <= 0.02


def test_the_gate_fails_on_the_planted_and_passes_on_itself(result):
    assert (result[1].planted.trials, result[1].unchanged.trials, result[1].gate_rounds) == (20, 20, 8)
    assert result[1].planted.hits >= 18 and result[1].unchanged.hits == 0


def test_table_and_figure(result, tmp_path, capsys):
    text = calibrate.render(result[1])
    assert "of 40 = " in text and "+10 %" in text and "on itself: failed 0 of 20" in text
    assert text.count(": ok\n") >= 3 and "NOT FOUND" not in text and "1 ns costs 1.50 % [1.47, 1.53]" in text
    calibrate.draw(result[1], tmp_path / "c.svg")
    assert (tmp_path / "c.svg").stat().st_size > 5000
    small = simulate(tmp_path / "small.csv", 16, 0.02, seed=9)
    assert __main__.main(["calibrate-tables", str(small), f"--figure={tmp_path / 'd.png'}"]) == 0
    assert "A/A pairs of 8 rounds" in capsys.readouterr().out and (tmp_path / "d.png").stat().st_size > 5000


def test_two_workloads_are_one_calibration(tmp_path):
    one, other = simulate(tmp_path / "a.csv", 16, 0.02), simulate(tmp_path / "b.csv", 24, 0.02, seed=5)
    other.write_text(other.read_text().replace(",local,", ",remote,"))
    both = calibrate.analyse([(one, PLAN), (other, PLAN)])
    assert [r.trials for r in both.aa.values()] == [4, 6] and both.aa_adjusted.trials == 10
    assert both.curve[(8, 0.1)].trials == 5
    with pytest.raises(errors.InputError, match="in two files"):
        calibrate.analyse([(one, PLAN), (one, PLAN)])


def test_rate_has_an_exact_interval():
    low, high = calibrate.Rate(10, 200).interval
    assert low == pytest.approx(scipy.stats.beta.ppf(0.025, 10, 191)) and high == pytest.approx(
        scipy.stats.beta.ppf(0.975, 11, 190)
    )
    assert calibrate.Rate(0, 0).interval == (0.0, 1.0)


def test_the_fit_of_a_pilot_recovers_what_a_delay_costs():
    rng, ns = np.random.default_rng(3), np.array([20.0, 40, 80])
    covered, starts = 0, 0
    for seed in range(40):
        logs = np.log1p(0.008 * ns) + 0.03 * rng.standard_t(3, (25, 3))
        found = calibrate.fit(logs, ns, seed=seed, resamples=200)
        assert found.slope == pytest.approx(0.008, rel=0.1) and found.error < 0.15
        covered += found.low <= 0.008 <= found.high
        starts += found.adds
    assert covered >= 34 and starts >= 34  # 38 expected; below 34 once in 100


def test_the_fit_tells_when_a_delay_hides():
    ns = np.array([20.0, 40, 80])
    logs = np.log1p(np.maximum(0, 0.008 * (ns - 15))) + 0.005 * np.random.default_rng(1).normal(size=(25, 3))
    found = calibrate.fit(logs, ns)
    assert not found.adds and found.start == pytest.approx(-0.12, abs=0.02)


def test_a_plan_injects_the_shares_that_were_asked_for(tmp_path):
    plan = calibrate.plan(pilot(tmp_path / "pilot.csv"), "slow@", "local{ops=@}")
    assert plan.base == "slow0" and plan.base_ns == pytest.approx(NS, rel=0.1) and plan.threads == 1 and plan.fit.adds
    assert list(plan.levels) == [0.02, 0.05, 0.1, 0.2]
    for share, name in plan.levels.items():
        assert float(name[len("slow") :]) == pytest.approx(1000 * share * NS, rel=0.05)
    two, five, ten, twenty = plan.levels.values()
    assert plan.alloc.split(",") == ["slow0"] * calibrate.COPIES + [two, five] + [ten] * calibrate.PLANTED_COPIES + [
        twenty
    ]
    assert plan.count == len(plan.alloc.split(","))
    assert 1000 * float(plan.workload[len("local{ops=") : -2]) == pytest.approx(
        calibrate.SAMPLE_S * 1e9 / plan.base_ns, rel=0.01
    )


def test_a_plan_from_a_pilot_in_which_half_of_a_delay_is_hidden_injects_twice_as_much(tmp_path):
    plan = calibrate.plan(pilot(tmp_path / "pilot.csv", costs=lambda ns: ns / NS / 2), "slow@", "local{ops=@}")
    assert float(plan.levels[0.1][len("slow") :]) == pytest.approx(1000 * 0.2 * NS, rel=0.05)


def test_a_plan_is_stored_and_announced(tmp_path, capsys):
    assert (
        __main__.main(
            ["calibrate-plan", str(pilot(tmp_path / "pilot.csv")), "--variant=slow@", "--workload=local{ops=@}"]
        )
        == 0
    )
    file = tmp_path / "local.plan.json"
    file.write_text(capsys.readouterr().out)
    plan = calibrate.load_plan(file)
    assert plan == calibrate.plan(tmp_path / "pilot.csv", "slow@", "local{ops=@}")
    assert __main__.main(["calibrate-announce", str(file), str(file), "--rounds=100"]) == 0
    text = capsys.readouterr().out
    assert (
        text.startswith("local: local{ops=")
        and "1 ns costs 1.5" in text
        and "injected 2.0 %, 5.0 %, 10.0 %, 20.0 %" in text
    )
    assert f"100 rounds take about {2 * 100 * plan.count * plan.sample_s / 60:.1f} minutes" in text


def test_what_a_sample_takes_beside_its_work_is_in_the_plan(tmp_path):
    def begin(rows):
        for i, row in enumerate(rows):
            row["elapsed_ns"] = 60_000_000
            row["started_at"] = f"2024-01-01T00:00:{i // 10:02d}Z"  # ten a second: 100 ms each

    file = pilot(tmp_path / "pilot.csv")
    rows = [dict(zip(fixtures.COLUMNS, line.split(","))) for line in file.read_text().splitlines()[1:]]
    begin(rows)
    fixtures.write_rows(file, rows)
    plan = calibrate.plan(file, "slow@", "local{ops=@}")
    slowed = calibrate.SAMPLE_S * (0.02 + 0.05 + calibrate.PLANTED_COPIES * 0.1 + 0.2) / plan.count
    assert plan.sample_s == pytest.approx(calibrate.SAMPLE_S + slowed + 0.04, abs=0.012)


def test_a_pilot_that_cannot_be_planned_from_is_refused(tmp_path):
    with pytest.raises(errors.InputError, match="too short to be injected"):
        calibrate.plan(pilot(tmp_path / "fast.csv"), "slow@", "local{ops=@}", levels=(0.002, 0.1))
    with pytest.raises(errors.InputError, match="lost in noise"):
        calibrate.plan(pilot(tmp_path / "noise.csv", noise=0.5, costs=lambda ns: ns / 1e6), "slow@", "local{ops=@}")
    with pytest.raises(errors.InputError, match="two delays or more; it has slow0, slow20000"):
        calibrate.plan(pilot(tmp_path / "one.csv", delays=(0, 20)), "slow@", "local{ops=@}")
    with pytest.raises(errors.InputError, match="5 rounds; a pilot needs 6"):
        calibrate.plan(pilot(tmp_path / "few.csv", rounds=5), "slow@", "local{ops=@}")


def test_gates_are_as_long_as_can_be_and_share_no_sample():
    rounds = list(range(136))
    turns = calibrate._turns([("a", "x"), ("b", "y"), ("c", "z")], rounds, 5)
    assert [len(w) for _, _, w in turns] == [68] * 5
    used = [(pair, r) for *pair, window in turns for r in window]
    assert len({(tuple(pair), r) for pair, r in used}) == len(used) == 340
    assert calibrate._turns([("a", "x")], rounds[:20], 5) == [
        ("a", "x", rounds[i : i + 6]) for i in (0, 6, 12)
    ]  # fewer have no power
    assert calibrate._turns([], rounds, 5) == calibrate._turns([("a", "x")], rounds, 0) == []


def test_an_error_as_large_as_the_fault_finds_nothing():
    assert calibrate._recovery(0.1, 0.005, 0.103, 0.098, 0.108) == "ok"
    assert calibrate._recovery(0.1, 0.005, 0.08, 0.076, 0.084) == "NOT FOUND"
    assert calibrate._recovery(0.02, 0.001, 0.01, -0.02, 0.04) == "too noisy"
    assert calibrate._slowdown(0.5) == 1 and calibrate._slowdown(0.0) == math.inf


def test_refusals(tmp_path):
    file = simulate(tmp_path / "a.csv", 8, 0.02, copies=1)
    with pytest.raises(errors.InputError, match="occurs once"):
        calibrate.analyse([(file, PLAN)])
    with pytest.raises(errors.InputError, match="no allocator 'none'"):
        calibrate.analyse([(file, dataclasses.replace(PLAN, base="none"))])
    (tmp_path / "a.plan.json").write_text("[]")
    with pytest.raises(errors.InputError, match="not a calibration plan"):
        calibrate.load_plan(tmp_path / "a.plan.json")

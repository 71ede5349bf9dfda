# SPDX-License-Identifier: Apache-2.0
"""Calibration against simulated runs whose truth is known: rates, recovered values, gates, and what it refuses."""

import json

import fixtures
import pytest
import scipy.stats
from hzbench import __main__, calibrate, errors

LEVELS = {0.02: "slow2", 0.05: "slow5", 0.1: "slow10", 0.2: "slow20"}
BASE = "system"


def simulate(path, rounds, noise, levels=LEVELS, copies=4, seed=1):
    """Four copies of a base and variants that take 1 + level times as long an op, in interleaved rounds."""
    speed = dict(fixtures.SPEED) | {name: fixtures.SPEED[BASE] / (1 + level) for level, name in levels.items()}
    fixtures.OVERHEAD.update({name: 1.2 for name in levels.values()})
    plan = fixtures.Plan(allocators=(BASE,) * copies + tuple(levels.values()), workloads=("local",), threads=(1,),
                         rounds=rounds, noise=noise, speed=speed, seed=seed, run=seed)  # fmt: skip
    fixtures.write_run(path, plan, with_series=False)
    path.with_name(path.stem + ".plan.json").write_text(json.dumps({"base": BASE, "levels": levels}))
    return path


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    file = simulate(tmp_path_factory.mktemp("calibrate") / "local.csv", 160, 0.02)
    return file, calibrate.analyse([(file, BASE, LEVELS)])


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
    assert (result[1].planted.trials, result[1].unchanged.trials) == (20, 20)
    assert result[1].planted.hits >= 18 and result[1].unchanged.hits == 0


def test_table_and_figure(result, tmp_path, capsys):
    text = calibrate.render(result[1])
    assert "of 40 = " in text and "+10 %" in text and "on itself: failed 0 of 20" in text
    calibrate.draw(result[1], tmp_path / "c.svg")
    assert (tmp_path / "c.svg").stat().st_size > 5000
    small = simulate(tmp_path / "small.csv", 16, 0.02, seed=9)
    assert __main__.main(["calibrate", str(small), f"--figure={tmp_path / 'd.png'}"]) == 0
    assert "A/A pairs of 8 rounds" in capsys.readouterr().out and (tmp_path / "d.png").stat().st_size > 5000


def test_two_workloads_are_one_calibration(tmp_path):
    one, other = simulate(tmp_path / "a.csv", 16, 0.02), simulate(tmp_path / "b.csv", 24, 0.02, seed=5)
    other.write_text(other.read_text().replace(",local,", ",remote,"))
    both = calibrate.analyse([(one, BASE, LEVELS), (other, BASE, LEVELS)])
    assert [r.trials for r in both.aa.values()] == [4, 6] and both.aa_adjusted.trials == 10
    assert both.curve[(8, 0.1)].trials == 5
    with pytest.raises(errors.InputError, match="in two files"):
        calibrate.analyse([(one, BASE, LEVELS), (one, BASE, LEVELS)])


def test_rate_has_an_exact_interval():
    low, high = calibrate.Rate(10, 200).interval
    assert low == pytest.approx(scipy.stats.beta.ppf(0.025, 10, 191)) and high == pytest.approx(scipy.stats.beta.ppf(0.975, 11, 190))
    assert calibrate.Rate(0, 0).interval == (0.0, 1.0)


def test_plan_injects_whole_nanoseconds_and_refuses_what_is_too_fast(tmp_path):
    pilot = simulate(tmp_path / "pilot.csv", 9, 0.001, levels={}, copies=1)
    plan = calibrate.plan(pilot, BASE, "faulty{slow=@ns}")
    assert plan["base_ns"] == pytest.approx(66, rel=0.3)
    assert plan["alloc"].startswith("system,system,system,system,faulty{slow=1ns},faulty{slow=")
    for share, name in plan["levels"].items():
        assert share * plan["base_ns"] == pytest.approx(float(name[len("faulty{slow=") : -3]), abs=0.01)
    with pytest.raises(errors.InputError, match="whole nanoseconds"):
        calibrate.plan(pilot, BASE, "x@", levels=(0.002, 0.1))


def test_refusals(tmp_path):
    file = simulate(tmp_path / "a.csv", 8, 0.02, copies=1)
    with pytest.raises(errors.InputError, match="occurs once"):
        calibrate.analyse([(file, BASE, LEVELS)])
    with pytest.raises(errors.InputError, match="no allocator 'none'"):
        calibrate.analyse([(file, "none", LEVELS)])
    (tmp_path / "a.plan.json").write_text("[]")
    with pytest.raises(errors.InputError, match="not a calibration plan"):
        calibrate.load_plan(tmp_path / "a.plan.json")

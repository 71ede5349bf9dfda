# SPDX-License-Identifier: Apache-2.0
"""Statistics against scipy and against the truth of simulated rounds."""

import itertools
import math

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hzbench import stats

FINITE = st.floats(-1e3, 1e3, allow_nan=False).map(lambda v: round(v, 6))


def brute_hodges_lehmann(d):
    return float(np.median([(a + b) / 2 for a, b in itertools.combinations_with_replacement(d, 2)]))


@given(st.lists(FINITE, min_size=1, max_size=12))
def test_hodges_lehmann_is_the_median_of_all_pairwise_means(d):
    assert stats.hodges_lehmann(d) == pytest.approx(brute_hodges_lehmann(d), abs=1e-9)


@given(st.lists(FINITE, min_size=1, max_size=12), FINITE)
def test_hodges_lehmann_moves_with_the_data_and_turns_with_its_sign(d, shift):
    moved = stats.hodges_lehmann([v + shift for v in d])
    assert moved == pytest.approx(stats.hodges_lehmann(d) + shift, abs=1e-6)
    assert stats.hodges_lehmann([-v for v in d]) == pytest.approx(-stats.hodges_lehmann(d), abs=1e-9)


@pytest.mark.parametrize("n", [1, 2, 5, 6, 8, 13, 20, 25])
def test_signed_rank_equals_scipy_exact_without_ties(n):
    rng = np.random.default_rng(n)
    for shift in (0.0, 0.4, 1.5):
        d = rng.normal(shift, 1, n)
        assert stats.signed_rank_p(d) == pytest.approx(scipy.stats.wilcoxon(d, mode="exact").pvalue, rel=1e-12)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_signed_rank_with_ties_equals_enumeration_of_all_signs(d):
    kept = [v for v in d if v]
    if not kept:
        assert stats.signed_rank_p(d) == 1.0
        return
    ranks = scipy.stats.rankdata(np.abs(kept))
    sums = [sum(r for r, s in zip(ranks, signs) if s) for signs in itertools.product((0, 1), repeat=len(kept))]
    observed = sum(r for r, v in zip(ranks, kept) if v > 0)
    centre = ranks.sum() / 2
    as_far = np.mean([abs(s - centre) >= abs(observed - centre) - 1e-9 for s in sums])
    assert stats.signed_rank_p(d) == pytest.approx(as_far, abs=1e-12)


@pytest.mark.parametrize("sizes", [(4, 4), (5, 8), (10, 7), (20, 20)])
def test_rank_sum_equals_scipy_exact_without_ties(sizes):
    rng = np.random.default_rng(sum(sizes))
    for shift in (0.0, 0.7, 2.0):
        x, y = rng.normal(shift, 1, sizes[0]), rng.normal(0, 1, sizes[1])
        expected = scipy.stats.mannwhitneyu(x, y, method="exact").pvalue
        assert stats.rank_sum_p(x, y) == pytest.approx(expected, rel=1e-9)


def test_rank_sum_with_ties_equals_enumeration():
    x, y = [1, 2, 2, 5], [2, 3, 3, 1, 1]
    ranks = scipy.stats.rankdata(x + y)
    centre = len(x) * (len(ranks) + 1) / 2
    observed = abs(ranks[: len(x)].sum() - centre)
    far = [abs(ranks[list(c)].sum() - centre) >= observed - 1e-9 for c in itertools.combinations(range(9), len(x))]
    assert stats.rank_sum_p(x, y) == pytest.approx(np.mean(far), abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_benjamini_hochberg_equals_its_definition(p):
    """q of p(i) is the smallest level at which the step-up procedure rejects it."""
    q = stats.benjamini_hochberg(p)
    for value, adjusted in zip(p, q):
        candidates = [pk * len(p) / sum(v <= pk for v in p) for pk in p if pk >= value]
        assert adjusted == pytest.approx(min(1.0, *candidates) if candidates else 1.0, rel=1e-9, abs=1e-300)
        assert adjusted >= value or adjusted == pytest.approx(value)


def test_benjamini_hochberg_on_the_example_of_its_paper():
    """Benjamini and Hochberg 1995, section 3.2: of these 15 values four are discoveries at 5 %."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590,
         1.0]  # fmt: skip
    assert sum(stats.benjamini_hochberg(p) <= 0.05) == 4


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    """95 % intervals: at least 95 % over all cases less sampling error, and in no case credibly below 94 %."""
    trials, covered = 300, {}
    for n in (6, 8, 12, 20):
        for name, draw, truth in (
            ("normal", lambda rng, n: rng.normal(0, 1, n), 0.0),
            # the pseudomedian of an exponential: median of the mean of two, a gamma of shape 2 and scale 1/2
            ("skewed", lambda rng, n: rng.exponential(1, n), scipy.stats.gamma.median(2, scale=0.5)),
            ("heavy", lambda rng, n: rng.standard_t(3, n), 0.0),
        ):
            rng = np.random.default_rng(100 + n)
            intervals = [stats.bootstrap_interval(draw(rng, n), resamples=600) for _ in range(trials)]
            hits = covered[name, n] = sum(low <= truth <= high for low, high in intervals)
            assert scipy.stats.binomtest(hits, trials, 0.94, alternative="less").pvalue > 0.01, (name, n, hits)
    total, count = sum(covered.values()), trials * len(covered)
    print(f"95 % intervals cover the truth in {total} of {count}; by case {covered}")
    assert scipy.stats.binomtest(total, count, 0.95, alternative="less").pvalue > 0.01


def test_bootstrap_is_seeded():
    d = np.random.default_rng(3).normal(size=9)
    assert stats.bootstrap_interval(d) == stats.bootstrap_interval(d)
    assert stats.bootstrap_interval(d, seed=1) != stats.bootstrap_interval(d, seed=2)


@given(st.lists(FINITE, min_size=stats.MIN_PAIRS, max_size=12))
def test_interval_holds_the_estimate_and_stays_within_the_data(d):
    low, high = stats.bootstrap_interval(d, resamples=400)
    assert min(d) - 1e-9 <= low <= stats.hodges_lehmann(d) + 1e-9
    assert stats.hodges_lehmann(d) - 1e-9 <= high <= max(d) + 1e-9


@pytest.mark.parametrize("n", range(2, 12))
def test_no_interval_where_the_samples_cannot_reach_95_percent(n):
    """n values all lie on one side of their median in 2 of 2^n cases; no bootstrap interval reaches beyond them."""
    values = [math.log(1.5 + 0.01 * i) for i in range(n)]
    assert math.isinf(stats.bootstrap_interval(values)[1]) == (2 / 2**n > 0.05)
    assert math.isinf(stats.bootstrap_shift_interval(values, values)[0]) == (2 / math.comb(2 * n, n) > 0.05)


def test_one_value_has_no_interval():
    assert stats.bootstrap_interval([0.3]) == (-math.inf, math.inf)
    assert stats.compare_paired([2.0], [1.0]).verdict() == "undecided"


def rounds(rng, n, effect, noise=0.03):
    """Throughputs of two allocators in `n` rounds: a shared wander, own noise, and now and then a sample hit hard."""
    shared = np.cumsum(rng.normal(0, 0.03, n))

    def one(level):
        hit = np.where(rng.random(n) < 0.05, rng.exponential(0.3, n), 0.0)
        return 1e8 * np.exp(level + shared + rng.normal(0, noise, n) - hit)

    return one(math.log(effect)), one(0.0)


def test_a_a_pairs_are_called_different_in_at_most_5_percent():
    """Two equal allocators. The exact test's own rate at 5 % is 3.1 % with 6 rounds and 4.9 % with 20: of all pairs at
    most 5 % may be called different, and for no number of rounds may the rate be credibly above 5 %."""
    wrong, pairs = {}, 400
    for n in (6, 8, 12, 20):
        rng = np.random.default_rng(20 + n)
        comparisons = [stats.compare_paired(*rounds(rng, n, 1.0), resamples=1000) for _ in range(pairs)]
        wrong[n] = sum(c.verdict() in ("faster", "slower") for c in comparisons)
        assert scipy.stats.binomtest(wrong[n], pairs, 0.05, alternative="greater").pvalue > 0.01, wrong
        q = stats.benjamini_hochberg([c.p for c in comparisons])  # as for a table of 400 rows
        assert sum(c.verdict(v) in ("faster", "slower") for c, v in zip(comparisons, q)) / pairs <= 0.005
    total = sum(wrong.values())
    print(f"A/A: {total} of {pairs * len(wrong)} pairs called different; by rounds {wrong}")
    assert total / (pairs * len(wrong)) <= 0.05


def test_a_a_unpaired_is_called_different_in_at_most_5_percent():
    rng = np.random.default_rng(5)
    pairs = 300
    wrong = 0
    for _ in range(pairs):
        x, y = np.exp(rng.normal(0, 0.05, (2, 8)))
        wrong += stats.compare_unpaired(x, y, resamples=1000).verdict() in ("faster", "slower")
    print(f"A/A unpaired: {wrong} of {pairs} called different")
    assert wrong / pairs <= 0.05


def test_real_effects_are_found_and_have_the_right_sign():
    """20 % in 12 rounds of 3 % noise with hits: the conventional power of 80 %, and never the wrong way round."""
    rng = np.random.default_rng(8)
    found = [stats.compare_paired(*rounds(rng, 12, e), resamples=1000).verdict() for e in [1.2] * 100 + [1 / 1.2] * 100]
    assert found[:100].count("faster") >= 80 and "slower" not in found[:100]
    assert found[100:].count("slower") >= 80 and "faster" not in found[100:]


def test_pairing_removes_what_a_round_shares():
    rng = np.random.default_rng(9)
    shared = rng.normal(0, 0.2, 12)  # much more than each sample's own 1 %
    new, base = (np.exp(level + shared + rng.normal(0, 0.01, 12)) for level in (math.log(1.1), 0.0))
    paired, unpaired = stats.compare_paired(new, base), stats.compare_unpaired(new, base)
    assert paired.verdict() == "faster" and unpaired.verdict() == "undecided"
    assert math.log(paired.high / paired.low) < math.log(unpaired.high / unpaired.low) / 5


def test_same_needs_the_whole_interval_inside_the_margin():
    base = np.full(10, 100.0)
    tiny = base * np.exp(np.linspace(0.004, 0.006, 10))
    assert stats.compare_paired(tiny, base).verdict(margin=0.02) == "same"
    assert stats.compare_paired(tiny, base).verdict(margin=0.003) == "faster"
    wide = base * np.exp(np.linspace(-0.05, 0.05, 10))
    assert stats.compare_paired(wide, base).verdict(margin=0.02) == "undecided"


def test_a_false_same_is_rare():
    """Equivalence must not be claimed for a true difference of the margin itself: that is what TOST limits to 5 %."""
    rng = np.random.default_rng(31)
    trials = 300
    claimed = 0
    for _ in range(trials):
        new = np.exp(rng.normal(math.log(1.02), 0.01, 10))
        claimed += stats.compare_paired(new, np.ones(10), resamples=1000).verdict(margin=0.02) == "same"
    assert claimed / trials <= 0.05


def test_too_few_rounds_never_give_a_verdict():
    for n in range(1, stats.MIN_PAIRS):
        base = np.full(n, 1.0)
        assert stats.compare_paired(base * 3, base).verdict() == "undecided"
        assert stats.compare_paired(base, base).verdict() == "undecided"
    assert stats.signed_rank_p([1, 2, 3, 4, 5]) > stats.ALPHA >= stats.signed_rank_p([1, 2, 3, 4, 5, 6])


def test_smallest_visible_effect_is_seen_about_four_times_in_five():
    rng = np.random.default_rng(77)
    n, noise, trials = 12, 0.05, 200
    visible = np.median([stats.compare_paired(np.exp(rng.normal(0, noise, n)), np.ones(n)).visible for _ in range(60)])
    seen = sum(
        stats.compare_paired(np.exp(rng.normal(math.log1p(visible), noise, n)), np.ones(n), resamples=1000).verdict(
            margin=1e-9
        )
        == "faster"
        for _ in range(trials)
    )
    print(f"effect of {visible:.3f} seen in {seen / trials:.2f} of the trials")
    assert 0.65 <= seen / trials <= 0.95


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=20), st.floats(0.1, 10))
def test_geometric_mean_scales_and_inverts(ratios, factor):
    mean = stats.geometric_mean(ratios)
    assert min(ratios) * (1 - 1e-9) <= mean <= max(ratios) * (1 + 1e-9)
    assert stats.geometric_mean([r * factor for r in ratios]) == pytest.approx(mean * factor)
    assert stats.geometric_mean([1 / r for r in ratios]) == pytest.approx(1 / mean)


@given(st.lists(st.tuples(st.floats(1, 1e9), st.floats(1, 1e9)), min_size=2, max_size=8))
def test_swapping_the_sides_inverts_the_ratio(pairs):
    new, base = zip(*pairs)
    assume(len(set(pairs)) > 1)
    one, other = stats.compare_paired(new, base), stats.compare_paired(base, new)
    assert one.ratio == pytest.approx(1 / other.ratio, rel=1e-6)
    assert one.p == pytest.approx(other.p)

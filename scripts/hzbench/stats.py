# SPDX-License-Identifier: Apache-2.0
"""The statistics of a comparison. Everything works on logarithms of ratios, so 2x and 1/2x weigh the same.

Samples of one round ran within the same minute and share its disturbances; pairing them by round removes what they
share. The ratio is the Hodges-Lehmann estimate, its interval a bootstrap, its p-value an exact rank test, and a table
of many comparisons controls the rate of false discoveries. All randomness is seeded: equal input gives equal output.
"""

import functools
import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.stats import norm, t, theilslopes

Floats: TypeAlias = npt.NDArray[np.float64]
Interval: TypeAlias = tuple[float, float]  # low, high

LEVEL = 0.95
ALPHA = 0.05
MARGIN = 0.02  # differences inside +-2 % are called the same: layout and link order alone move a program that much
RESAMPLES = 4000
SEED = 20240517
MIN_PAIRS = 6  # with 5 pairs the smallest possible two-sided p of a rank test is 2/2^5 = 0.0625
MIN_SIDE = 4  # with 3 values a side it is 2/20 = 0.1, with 4 it is 2/70

_CHUNK = 2_000_000  # numbers a bootstrap holds at once


def hodges_lehmann(d: npt.ArrayLike) -> float:
    """Median of all pairwise means (Walsh averages) of `d`, each value with itself included."""
    return float(_walsh_medians(np.asarray(d, float)[None, :])[0])


def _walsh_medians(rows: Floats) -> Floats:
    i, j = np.triu_indices(rows.shape[1])
    return np.median((rows[:, i] + rows[:, j]) / 2, axis=1)


def hodges_lehmann_shift(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Median of all differences x[i] - y[j]: the shift between two unpaired samples."""
    return float(np.median(np.subtract.outer(np.asarray(x, float), np.asarray(y, float))))


def expanded_levels(n: int, level: float = LEVEL) -> tuple[float, float]:
    """Percentile levels that give a bootstrap of `n` values about the coverage it claims.

    Resampling n values understates the spread by (n-1)/n and ignores that the spread itself is estimated; the levels of
    a t interval make up for both (Hesterberg, 'What Teachers Should Know About the Bootstrap', 2015, section 3.3).
    """
    tail = norm.cdf(-math.sqrt(n / (n - 1)) * t.ppf((1 + level) / 2, n - 1))
    return tail, 1 - tail


def bootstrap_interval(
    d: npt.ArrayLike, level: float = LEVEL, seed: int = SEED, resamples: int = RESAMPLES
) -> Interval:
    """Interval of the Hodges-Lehmann estimate of `d`; infinite for fewer than MIN_PAIRS values: no bootstrap leaves
    their range, and n values all lie on one side of the truth once in 2^(n-1) times, which for 5 is more often than 5
    %."""
    d = np.asarray(d, float)
    n = len(d)
    if n < MIN_PAIRS:
        return -math.inf, math.inf
    if np.ptp(d) == 0:
        return float(d[0]), float(d[0])
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // (n * (n + 1) // 2))
    parts = [
        _walsh_medians(d[rng.integers(0, n, (min(step, resamples - done), n))]) for done in range(0, resamples, step)
    ]
    low, high = np.quantile(np.concatenate(parts), expanded_levels(n, level))
    return float(low), float(high)


def bootstrap_shift_interval(
    x: npt.ArrayLike, y: npt.ArrayLike, level: float = LEVEL, seed: int = SEED, resamples: int = RESAMPLES
) -> Interval:
    """Interval of the Hodges-Lehmann shift between two unpaired samples; infinite for fewer than MIN_SIDE values a
    side."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if min(len(x), len(y)) < MIN_SIDE:
        return -math.inf, math.inf
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // (len(x) * len(y)))
    parts = []
    for done in range(0, resamples, step):
        count = min(step, resamples - done)
        xs = x[rng.integers(0, len(x), (count, len(x)))]
        ys = y[rng.integers(0, len(y), (count, len(y)))]
        parts.append(np.median((xs[:, :, None] - ys[:, None, :]).reshape(count, -1), axis=1))
    low, high = np.quantile(np.concatenate(parts), expanded_levels(min(len(x), len(y)), level))
    return float(low), float(high)


def signed_rank_p(d: npt.ArrayLike) -> float:
    """Exact two-sided p of Wilcoxon's signed-rank test, midranks for ties, zeros dropped. No zero-free value: 1.

    The null distribution of the rank sum is built exactly, ties included, from doubled ranks (which are integers).
    """
    values = np.asarray(d, float)
    values = values[values != 0]
    if len(values) == 0:
        return 1.0
    ranks = _doubled_midranks(np.abs(values))
    total = int(ranks.sum())
    ways = np.zeros(total + 1)
    ways[0] = 1.0
    for rank in ranks:  # each rank joins the positive sum with probability 1/2
        joined = np.zeros_like(ways)
        joined[rank:] = ways[: total + 1 - rank]
        ways = (ways + joined) / 2
    positive = int(ranks[values > 0].sum())
    smaller = min(positive, total - positive)
    return float(min(1.0, 2 * ways[: smaller + 1].sum()))


def _doubled_midranks(values: Floats) -> npt.NDArray[np.int64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (2 * last - counts + 1)[inverse]  # first rank + last rank of the tie group


def rank_sum_p(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Exact two-sided p of the Mann-Whitney test (permutation distribution of the midrank sum)."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    n, total = len(x), len(x) + len(y)
    if n == 0 or n == total:
        return 1.0
    ranks = _doubled_midranks(np.concatenate([x, y]))
    top = int(np.sort(ranks)[-n:].sum())
    ways = np.zeros((n + 1, top + 1))  # ways[k][s]: subsets of k ranks with sum s, scaled
    ways[0, 0] = 1.0
    for seen, rank in enumerate(ranks, 1):
        for k in range(min(seen, n), 0, -1):
            if rank <= top:
                ways[k, rank:] += ways[k - 1, : top + 1 - rank]
    probability = ways[n] / special.comb(total, n)
    observed = int(ranks[:n].sum())
    mean = n * (total + 1)  # of doubled ranks
    distance = np.abs(np.arange(top + 1) - mean)
    return float(min(1.0, probability[distance >= abs(observed - mean)].sum()))


def benjamini_hochberg(p: npt.ArrayLike) -> Floats:
    """Adjusted p-values (q): calling everything with q <= a a discovery keeps the false ones among them below a."""
    p = np.asarray(p, float)
    if len(p) == 0:
        return p
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty_like(p)
    q[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return q


def word(low: float, high: float, q: float, enough: bool, margin: float, higher_is_better: bool) -> str:
    """faster, slower, same or undecided (for a quantity where less is better: smaller, larger).

    same: the whole interval of the ratio lies within the margin, however sure the small difference is.
    faster, slower: the interval excludes 1 and the (adjusted) p-value is at most 5 %.
    `enough`: whether there are samples enough for any verdict at all.
    """
    if enough and low >= 1 - margin and high <= 1 + margin:
        return "same"
    if q <= ALPHA and low > 1:
        return "faster" if higher_is_better else "larger"
    if q <= ALPHA and high < 1:
        return "slower" if higher_is_better else "smaller"
    return "undecided"


@dataclass(frozen=True)
class Comparison:
    """New against base. Ratios are new / base; `visible` is the smallest effect seen 4 times in 5, as a share."""

    pairs: int
    ratio: float
    low: float
    high: float
    p: float
    visible: float
    paired: bool = True
    is_bound: bool = False  # the true ratio lies farther from 1: most of both times is the harness's (harness.py)

    def verdict(self, q: float | None = None, margin: float = MARGIN, higher_is_better: bool = True) -> str:
        """What `word` says of the ratio and of its p-value, or of the adjusted one; no bound is `same`."""
        said = word(self.low, self.high, self.p if q is None else q, self.enough, margin, higher_is_better)
        return "undecided" if self.is_bound and said == "same" else said

    @property
    def enough(self) -> bool:
        """Whether there are samples enough for any verdict at all."""
        return self.pairs >= (MIN_PAIRS if self.paired else MIN_SIDE)


SLOPE_BLOCKS = 60  # neighbouring readings of memory are nearly equal; medians of so many stretches count instead


@dataclass(frozen=True)
class Slope:
    """How fast a series grows, per unit of its time, with an interval at LEVEL."""

    slope: float
    low: float
    high: float


def slope(x: npt.ArrayLike, y: npt.ArrayLike) -> Slope:
    """Theil and Sen's slope of y over x, the median of the slopes between all pairs of block medians; its interval is
    Sen's (1968), from Kendall's tau. NaN for fewer than three points."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) < 3:
        return Slope(math.nan, math.nan, math.nan)
    blocks = np.array_split(np.arange(len(x)), min(SLOPE_BLOCKS, len(x)))
    found = theilslopes([np.median(y[b]) for b in blocks], [np.median(x[b]) for b in blocks], LEVEL)
    return Slope(float(found.slope), float(found.low_slope), float(found.high_slope))


def rounds_for(family: int, paired: bool = True) -> int:
    """Fewest rounds (a side) with which one rank test out of `family` can still reach 5 % after the correction."""
    rounds = MIN_PAIRS if paired else MIN_SIDE
    while family * 2 / (2 ** rounds if paired else special.comb(2 * rounds, rounds)) > ALPHA:
        rounds += 1
    return rounds


def smallest_visible(low: float, high: float) -> float:
    """Effect that an interval of this width would have shown with 80 % power, as a share (0.05: 5 %)."""
    half = (high - low) / 2
    # min: beyond a factor of e^50 "not visible" is all there is to say
    return (
        math.inf if not math.isfinite(half) or half > 50 else math.expm1(half * (1 + norm.ppf(0.8) / norm.ppf(0.975)))
    )


def _comparison(count: int, shift: float, interval: Interval, p: float, paired: bool) -> Comparison:
    low, high = interval
    return Comparison(
        count,
        math.exp(shift),
        math.exp(low) if math.isfinite(low) else 0.0,
        math.exp(high) if math.isfinite(high) else math.inf,
        p,
        smallest_visible(low, high),
        paired,
    )


def compare_paired(
    new: npt.ArrayLike, base: npt.ArrayLike, seed: int = SEED, resamples: int = RESAMPLES
) -> Comparison | None:
    """Comparison of positive samples paired by position; None without a pair."""
    d = np.log(np.asarray(new, float)) - np.log(np.asarray(base, float))
    if len(d) == 0:
        return None
    return _comparison(len(d), hodges_lehmann(d), bootstrap_interval(d, LEVEL, seed, resamples), signed_rank_p(d), True)


@functools.lru_cache(maxsize=512)
def _signed_rank_tail(n: int, level: float) -> int:
    """Largest k with P(W < k) at most half of what `level` leaves, W the signed-rank sum of n differences."""
    ways = np.zeros(n * (n + 1) // 2 + 1)
    ways[0] = 1.0
    for rank in range(1, n + 1):
        joined = np.zeros_like(ways)
        joined[rank:] = ways[: len(ways) - rank]
        ways = (ways + joined) / 2
    return int(np.searchsorted(np.cumsum(ways), (1 - level) / 2, side="right"))


def exact_paired(d: npt.ArrayLike, level: float = LEVEL) -> Comparison:
    """Comparison of log-ratios `d` by the exact interval of their Walsh averages: no resampling, for the many pairs of
    which only the verdict is told. As runner/plan/sequential.c."""
    values = np.asarray(d, float)
    i, j = np.triu_indices(len(values))
    averages = np.sort((values[i] + values[j]) / 2)
    k = _signed_rank_tail(len(values), level)
    interval = (float(averages[k - 1]), float(averages[-k])) if k else (-math.inf, math.inf)
    return _comparison(len(values), float(np.median(averages)), interval, signed_rank_p(values), True)


def compare_unpaired(
    new: npt.ArrayLike, base: npt.ArrayLike, seed: int = SEED, resamples: int = RESAMPLES
) -> Comparison | None:
    """Comparison of two independent sets of positive samples; None when either is empty."""
    x, y = np.log(np.asarray(new, float)), np.log(np.asarray(base, float))
    if min(len(x), len(y)) == 0:
        return None
    interval = bootstrap_shift_interval(x, y, LEVEL, seed, resamples)
    return _comparison(min(len(x), len(y)), hodges_lehmann_shift(x, y), interval, rank_sum_p(x, y), False)


def mean_and_half(values: npt.ArrayLike) -> tuple[float, float]:
    """Mean and half the width of its interval by Student's t; infinite for a single value."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return float(values.mean()), math.inf
    half = t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean()), float(half)


def geometric_mean(ratios: npt.ArrayLike) -> float:
    ratios = np.asarray(ratios, float)
    return float(np.exp(np.log(ratios).mean())) if len(ratios) else math.nan

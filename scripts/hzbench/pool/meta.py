# SPDX-License-Identifier: Apache-2.0
"""Random-effects meta-analysis of a few estimates (one a host) with their variances.

The hosts at hand are taken for a sample of hosts: host i's true effect lies around the mean with variance tau^2, its
estimate around that with its own variance. Few hosts is the usual case, which decides the choice of methods: tau^2 by
Paule and Mandel (Veroniki et al. 2016, Research Synthesis Methods 7:55), the mean's interval by Knapp and Hartung in
the form that is never narrower than the one without their factor (Roever, Knapp and Friede 2015, BMC Medical Research
Methodology 15:99), the interval of the next host's effect from the confidence distribution of tau^2 (Nagashima, Noma
and Furukawa 2019, Statistical Methods in Medical Research 28:1689), as the usual one takes tau^2 for known.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from .. import errors, stats

try:
    from statsmodels.stats.meta_analysis import combine_effects
except ImportError as error:
    raise errors.InputError(
        "statsmodels is missing, which estimates the spread between hosts: scripts/setup report", errors.UNAVAILABLE
    ) from error

MIN_HOSTS = 3  # two effects tell nothing of how a third would spread: the interval has one degree of freedom
RESAMPLES = 20_000


@dataclass(frozen=True)
class Pooled:
    """What k hosts say together. Effects are on the scale of the input (here logarithms of ratios)."""

    hosts: int
    mean: float
    low: float  # interval of the mean over hosts, at stats.LEVEL
    high: float
    next_low: float  # interval in which the next host's effect lies
    next_high: float
    p: float  # two-sided, of a mean of 0
    tau: float  # spread of the true effects between hosts, a standard deviation
    q: float  # Cochran's
    i2: float  # share of the spread that is not the estimates' own error: max(0, (Q - df) / Q)


def pool(effects: npt.ArrayLike, variances: npt.ArrayLike, seed: int = stats.SEED) -> Pooled:
    """`effects` with their `variances` (both of length k >= MIN_HOSTS, variances above 0) as one."""
    y, v = np.asarray(effects, float), np.asarray(variances, float)
    k = len(y)
    if k < MIN_HOSTS or len(v) != k or not (v > 0).all():
        raise ValueError(f"{k} effects and {len(v)} variances cannot be pooled")
    with np.errstate(divide="ignore", invalid="ignore"):  # it divides by Q, which is 0 for equal effects
        # Its search ends at an error of 1e-8 in Q; a smaller bound would be within rounding.
        found = combine_effects(y, v, method_re="iterated", use_t=True, atol=1e-8, maxiter=500)
    mean, weights, q = float(found.mean_effect_re), np.asarray(found.weights_re, float), max(float(found.q), 0.0)
    error = math.sqrt(max(1.0, float(found.scale_hksj_re)) / float(weights.sum()))
    half = float(t.ppf((1 + stats.LEVEL) / 2, k - 1)) * error
    next_low, next_high = _next(y, v, q, seed)
    return Pooled(
        k,
        mean,
        mean - half,
        mean + half,
        min(next_low, mean - half),  # one more host cannot be surer than the mean is
        max(next_high, mean + half),
        float(2 * t.sf(abs(mean) / error, k - 1)),
        math.sqrt(max(float(found.tau2), 0.0)),
        q,
        max(0.0, (q - (k - 1)) / q) if q > 0 else 0.0,
    )


def _next(y: stats.Floats, v: stats.Floats, q: float, seed: int) -> stats.Interval:
    """Interval of the next host's effect: quantiles of draws from mean + N(0, tau^2), with tau^2 and mean drawn too.

    Cochran's Q is distributed as the sum of (1 + tau^2 a_i) X_i, X_i independent chi-squared of one degree and a_i the
    k - 1 positive eigenvalues of W - ww'/sum(w), w = 1/v: linear in tau^2, so each draw of the X_i gives the tau^2 at
    which Q would be what it is, and these have the confidence distribution of tau^2.
    """
    k = len(y)
    rng = np.random.default_rng(seed)
    w = 1 / v
    a = np.linalg.eigvalsh(np.diag(w) - np.outer(w, w) / w.sum())[1:]
    x = rng.chisquare(1, (RESAMPLES, k - 1))
    tau2 = np.maximum(0.0, (q - x.sum(axis=1)) / (x @ a))
    weights = 1 / (v + tau2[:, None])
    total = weights.sum(axis=1)
    means = (weights * y).sum(axis=1) / total
    errors = np.sqrt((weights * (y - means[:, None]) ** 2).sum(axis=1) / (k - 1) / total)
    draws = means + np.sqrt(tau2) * rng.standard_normal(RESAMPLES) - errors * rng.standard_t(k - 1, RESAMPLES)
    low, high = np.quantile(draws, [(1 - stats.LEVEL) / 2, (1 + stats.LEVEL) / 2])
    return float(low), float(high)

# SPDX-License-Identifier: Apache-2.0
"""Changes of level in series of points.

E-divisive (Matteson and James, 'A Nonparametric Approach for Multiple Change Point Analysis of Multivariate Data', JASA
109, 2014) with weights from each point's interval, permutations that are seeded, and false discoveries controlled over
all series together. A permutation cannot see a change that the last three points make: those are held against the level
before them by a t test. One point alone is `suspected` only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from .. import stats

Q = 0.01  # share of false ones among the changes of one look; a page is looked at after each commit
SMALLEST = 2  # points of a level
LONGEST = 2000  # points of one series that are looked at, the last ones: a permutation costs their square
EXCEEDED = 10  # permutations as extreme as the series after which its p is known well enough (Besag and Clifford 1991)
FEWEST, MOST = 199, 99_999  # permutations
END = 3  # last points that are held against the level before them
BEFORE = 4  # points that such a level needs
_CHUNK = 8000  # numbers in a matrix of a batch of permutations: small enough for the second cache

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Track:
    """A series of estimates, all relative to one reference library. `errors` are NaN where nothing is known."""

    values: stats.Floats
    errors: stats.Floats
    exact: bool = False


@dataclass(frozen=True)
class Change:
    """The level changes between the points `at` - 1 and `at`, or anywhere between `first` - 1 and `last`."""

    track: int
    at: int
    first: int
    last: int
    before: float  # level, as in the track
    after: float
    low: float  # of after - before
    high: float
    q: float
    suspected: bool

    @property
    def step(self) -> float:
        """By how much the level rose."""
        return self.after - self.before


def weights_of(track: Track) -> stats.Floats:
    """1 for a point as sure as its neighbours agree, less for one whose own interval is wider. A narrow interval gains
    nothing: runs differ by more than what one of them knows of itself."""
    errors = np.where(np.isfinite(track.errors), track.errors, np.nan)
    noise = 0.0
    if len(track.values) > 2:
        noise = float(np.median(np.abs(np.diff(track.values))) / 0.6745 / math.sqrt(2))
    known = errors[~np.isnan(errors)]
    floor = max(noise, float(np.median(known)) if len(known) else 0.0) ** 2
    squares = np.where(np.isnan(errors), np.nanmax(known, initial=math.sqrt(floor)), errors) ** 2
    if floor == 0:
        return np.where(squares > 0, 1e-3, 1.0)
    return floor / np.maximum(floor, squares)


def energies(values: stats.Floats, weights: stats.Floats) -> stats.Floats:
    """The statistic of each row of `values` for every pair (t, k): points [0, t) against [t, k). Minus infinity where
    one of them has fewer than SMALLEST points. With equal weights it is the published one, nm / (n + m) times the
    energy distance; with others each pair of points counts as the product of its weights."""
    rows, n = values.shape
    w = weights * n / weights.sum(axis=1, keepdims=True)
    pairs = np.abs(values[:, :, None] - values[:, None, :])
    pairs *= w[:, :, None]
    pairs *= w[:, None, :]
    sums = np.zeros((rows, n + 1, n + 1))
    np.cumsum(pairs, axis=1, out=pairs)
    np.cumsum(pairs, axis=2, out=sums[:, 1:, 1:])
    sums[:, 1:, 1:] = np.cumsum(pairs, axis=2)
    diagonal = np.einsum("rii->ri", sums).copy()
    one = np.concatenate([np.zeros((rows, 1)), np.cumsum(w, axis=1)], axis=1)
    two = np.concatenate([np.zeros((rows, 1)), np.cumsum(w * w, axis=1)], axis=1)
    left, squares = one[:, :, None], two[:, :, None]
    right = one[:, None, :] - left
    with np.errstate(divide="ignore", invalid="ignore"):
        between = 2 * (sums - diagonal[:, :, None]) / (left * right)
        within_left = (diagonal / (one * one - two))[:, :, None]
        within_right = (diagonal[:, None, :] + diagonal[:, :, None] - 2 * sums) / (
            right * right - (two[:, None, :] - squares)
        )
        found = left * right / (left + right) * (between - within_left - within_right)
    t_of, k_of = np.indices((n + 1, n + 1))
    valid = (t_of >= SMALLEST) & (k_of - t_of >= SMALLEST)
    return np.where(valid[None], found, -np.inf)


def split(values: stats.Floats, weights: stats.Floats) -> tuple[float, int]:
    """(largest statistic, first point of the new level)"""
    found = energies(values[None], weights[None])[0]
    place = int(np.argmax(found))
    return float(found.flat[place]), place // (len(values) + 1)


@dataclass
class _Segment:
    """Points [start, end) of a track, and the test of whether they have one level."""

    track: int
    start: int
    end: int
    values: stats.Floats
    weights: stats.Floats
    statistic: float = 0.0
    at: int = 0
    done: int = 0
    exceeded: int = 0
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(stats.SEED))

    def __post_init__(self) -> None:
        self.statistic, self.at = split(self.values, self.weights)

    @property
    def is_settled(self) -> bool:
        return self.exceeded >= EXCEEDED

    @property
    def p(self) -> float:
        """Sequential Monte Carlo p-value."""
        return self.exceeded / self.done if self.is_settled else (self.exceeded + 1) / (self.done + 1)

    def permute(self, until: int) -> None:
        """Goes on to `until` permutations, or stops when enough are as extreme."""
        n = len(self.values)
        limit = self.statistic * (1 - 1e-9) if self.statistic > 0 else self.statistic
        while self.done < until and not self.is_settled:
            count = min(max(1, min(64, _CHUNK // (n * n))), until - self.done)
            order = np.argsort(self.random.random((count, n)), axis=1)
            found = energies(self.values[order], self.weights[order]).reshape(count, -1).max(axis=1)
            for one in found:  # one by one: where it stops must not depend on the size of a batch
                self.done += 1
                self.exceeded += bool(one >= limit)
                if self.is_settled:
                    return


def _rejected(family: Sequence[_Segment], q: float) -> list[tuple[_Segment, float]]:
    """(segment, q-value) of those of the family that do not have one level."""
    until = FEWEST
    while True:
        for segment in family:
            segment.permute(until)
        adjusted = stats.benjamini_hochberg([s.p for s in family])
        # More permutations can only help who has few that are as extreme and is not there yet.
        open_ = [s for s, a in zip(family, adjusted) if not s.is_settled and a > q]
        if not open_ or until >= min(MOST, math.ceil(2 * len(family) / q)):
            return [(s, float(a)) for s, a in zip(family, adjusted) if a <= q]
        until = min(until * 4, MOST)


def _segments(tracks: Sequence[Track], bounds: Sequence[tuple[int, int, int]]) -> list[_Segment]:
    out = []
    for track, start, end in bounds:
        values, weights = tracks[track].values[start:end], weights_of(tracks[track])[start:end]
        if end - start >= 2 * SMALLEST and np.ptp(values) > 0:
            out.append(_Segment(track, start, end, values, weights))
    return out


def _level(values: stats.Floats, weights: stats.Floats) -> tuple[float, float, float]:
    """(level, variance of a point of weight 1, sum of weights)"""
    level = float(np.average(values, weights=weights))
    freedom = max(1, len(values) - 1)
    return level, float((weights * (values - level) ** 2).sum() / freedom), float(weights.sum())


def _describe(track: Track, number: int, bounds: tuple[int, int, int], q: float, suspected: bool) -> Change:
    """The change at bounds[1] between the levels [bounds[0], bounds[1]) and [bounds[1], bounds[2])."""
    start, at, end = bounds
    values, weights = track.values, weights_of(track)
    old, old_variance, old_sum = _level(values[start:at], weights[start:at])
    new, new_variance, new_sum = _level(values[at:end], weights[at:end])
    old_freedom, new_freedom = at - start - 1, end - at - 1
    freedom = old_freedom + new_freedom
    if freedom:
        variance = (old_variance * old_freedom + new_variance * new_freedom) / freedom
        half = float(t.ppf((1 + stats.LEVEL) / 2, freedom)) * math.sqrt(variance * (1 / old_sum + 1 / new_sum))
    else:
        variance, half = 0.0, math.inf
    first, last = _places(values[start:end], weights[start:end], at - start, variance)
    return Change(number, at, start + first, start + last, old, new, new - old - half, new - old + half, q, suspected)


def _places(values: stats.Floats, weights: stats.Floats, at: int, variance: float) -> tuple[int, int]:
    """First and last place around `at` that explain the points no worse than chance allows (likelihood ratio, 95 %)."""

    def misfit(place: int) -> float:
        parts = ((values[:place], weights[:place]), (values[place:], weights[place:]))
        return float(sum((w * (v - np.average(v, weights=w)) ** 2).sum() for v, w in parts))

    limit = misfit(at) + 3.84 * variance
    first = last = at
    while first > 1 and misfit(first - 1) <= limit:
        first -= 1
    while last < len(values) - 1 and misfit(last + 1) <= limit:
        last += 1
    return first, last


def _end(track: Track, start: int) -> tuple[float, int]:
    """(p, first point) of the last one to END points against the level before them, which began at `start`."""
    values, weights, n = track.values, weights_of(track), len(track.values)
    best = (1.0, n)
    looks = [k for k in range(1, END + 1) if n - k - start >= BEFORE]
    for k in looks:
        old, variance, old_sum = _level(values[start : n - k], weights[start : n - k])
        new = float(np.average(values[n - k :], weights=weights[n - k :]))
        if (np.abs(values[n - k :] - new) > np.abs(values[n - k :] - old)).any():
            continue  # a spike among points of the old level, no level of its own
        spread = math.sqrt(variance * (1 / old_sum + 1 / float(weights[n - k :].sum())))
        if spread == 0:
            p = 0.0 if new != old else 1.0
        else:
            p = float(2 * t.sf(abs(new - old) / spread, n - k - start - 1))
        best = min(best, (min(1.0, p * len(looks)), n - k))
    return best


def find(tracks: Sequence[Track], q: float = Q) -> list[Change]:
    """The changes in all tracks; of those that are told, about a share `q` is false. Equal input gives equal output."""
    offsets = [max(0, len(track.values) - LONGEST) for track in tracks]
    cuts: list[dict[int, float]] = [{} for _ in tracks]  # track: {first point of a level: q}
    family = _segments(tracks, [(i, offsets[i], len(track.values)) for i, track in enumerate(tracks)])
    while family:
        halves = []
        for segment, adjusted in _rejected(family, q):
            middle = segment.start + segment.at
            cuts[segment.track][middle] = adjusted
            halves += [(segment.track, segment.start, middle), (segment.track, middle, segment.end)]
        # A level below is tested only where the one above was cut: the families of a tree (Yekutieli, JASA 103, 2008).
        family = _segments(tracks, halves)
    ends = [_end(track, max(cut, default=offset)) for track, cut, offset in zip(tracks, cuts, offsets)]
    suspected = set()
    for number, (adjusted, (_, at)) in enumerate(zip(stats.benjamini_hochberg([p for p, _ in ends]), ends)):
        if adjusted <= q and at not in cuts[number]:
            cuts[number][at] = float(adjusted)
            if at == len(tracks[number].values) - 1 and not tracks[number].exact:
                suspected.add(number)
    out = []
    for number, (track, cut, offset) in enumerate(zip(tracks, cuts, offsets)):
        places = [offset, *sorted(cut), len(track.values)]
        for start, at, end in zip(places, places[1:], places[2:]):
            is_suspected = number in suspected and at == len(track.values) - 1
            out.append(_describe(track, number, (start, at, end), cut[at], is_suspected))
    return out

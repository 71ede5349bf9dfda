# SPDX-License-Identifier: Apache-2.0
"""Changes of level: the published statistic, published breaks of two series, and what must not alarm.

The two series are in the R package strucchange 1.5-3 (r-cran-strucchange of Debian 12, R 4.2.2), whose breakpoints()
finds the breaks by least squares and BIC: `library(strucchange); data(Nile); breakpoints(Nile ~ 1)` gives 28,
`data(RealInt); breakpoints(RealInt ~ 1, h = 15)` gives 47 and 79, the breaks of Bai and Perron (J. Applied Econometrics
18, 2003). Its numbers are those of the last points before a break."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hzbench.history import changes
from hzbench.history.changes import Track

NILE = [1120, 1160, 963, 1210, 1160, 1160, 813, 1230, 1370, 1140, 995, 935, 1110, 994, 1020, 960, 1180, 799, 958, 1140,
        1100, 1210, 1150, 1250, 1260, 1220, 1030, 1100, 774, 840, 874, 694, 940, 833, 701, 916, 692, 1020, 1050, 969,
        831, 726, 456, 824, 702, 1120, 1100, 832, 764, 821, 768, 845, 864, 862, 698, 845, 744, 796, 1040, 759, 781, 865,
        845, 944, 984, 897, 822, 1010, 771, 676, 649, 846, 812, 742, 801, 1040, 860, 874, 848, 890, 744, 749, 838, 1050,
        918, 986, 797, 923, 975, 815, 1020, 906, 901, 1170, 912, 746, 919, 718, 714, 740]  # fmt: skip
REAL_INT = [1.99132, 0.00403, 2.27, 0.84833, 1.89112, -0.28, 3.68431, 1.62478, 1.21599, 1.28373, 1.70141, 3.16687,
            2.32779, 2.26202, 1.91218, 3.53196, -0.31777, 3.44694, 1.52422, 0.74268, 1.31541, 0.36646, 3.59562, 3.6574,
            0.97494, -0.5328, 1.12681, 0.31123, 0.57834, 1.08163, 0.24977, 0.23792, -0.32653, 1.14733, 1.19323, 2.58962,
            0.01195, 2.63842, 0.42092, 2.58823, -2.19809, 2.89548, 1.8213, 0.86332, 0.67496, 0.34435, 1.22762, -2.83991,
            -1.8163, -2.22965, -1.58457, -6.31184, -2.46258, -5.61479, -3.53887, 1.0178, -1.58875, -1.85396, -0.2567,
            2.42226, -1.29502, -0.48977, 1.21167, -4.85498, -3.599, 0.17094, 1.51603, -1.85304, -5.60478, -1.25767,
            0.96658, -3.09451, -5.26773, -4.03154, -1.76618, -5.73978, 3.83047, 0.52007, -0.18033, 3.82808, 3.01171,
            2.75289, 11.74184, 9.91701, 3.03444, 10.15143, 9.29177, 6.87498, 2.43675, 4.37202, 6.77774, 4.16692,
            5.65037, 5.17734, 9.41206, 3.77006, 4.24568, 4.53154, 3.39706, 8.93951, 4.20825, 3.43461,
            4.30529]  # fmt: skip


def track(values, errors=math.nan):
    values = np.asarray(values, float)
    return Track(values, np.broadcast_to(np.asarray(errors, float), values.shape).copy())


def test_the_break_of_the_nile_is_where_strucchange_has_it():
    (found,) = changes.find([track(NILE)])
    assert found.at == 28 and found.first <= 28 <= found.last and not found.suspected
    assert found.before == pytest.approx(np.mean(NILE[:28])) and found.after == pytest.approx(np.mean(NILE[28:]))
    assert found.low < found.step < found.high < 0 and found.q <= changes.Q


def test_the_breaks_of_the_real_interest_rate_are_where_strucchange_has_them():
    places = [f.at for f in changes.find([track(REAL_INT)])]
    # The second one rises over some quarters: the energy statistic puts it three before the least squares.
    assert len(places) == 2 and places[0] == 47 and abs(places[1] - 79) <= 3


def brute_force(x, w):
    """nm/(n+m) (2 E|X-Y| - E|X-X'| - E|Y-Y'|) of all pairs (t, k), written down as it is published."""

    def mean(left, right, same):
        pairs = [(i, j) for i in left for j in right if not same or i < j]
        return sum(w[i] * w[j] * abs(x[i] - x[j]) for i, j in pairs) / sum(w[i] * w[j] for i, j in pairs)

    n = len(x)
    best = (-math.inf, 0)
    for t, k in itertools.product(range(2, n - 1), range(4, n + 1)):
        if k - t >= 2:
            a, b = range(t), range(t, k)
            one, two = sum(w[i] for i in a), sum(w[i] for i in b)
            distance = 2 * mean(a, b, False) - mean(a, a, True) - mean(b, b, True)
            best = max(best, (one * two / (one + two) * distance, t))
    return best


@given(st.lists(st.tuples(st.integers(-50, 50), st.floats(0.1, 1)), min_size=4, max_size=9))
def test_the_statistic_is_the_published_one(points):
    x, w = np.array([p[0] for p in points], float), np.array([p[1] for p in points])
    w = w * len(w) / w.sum()
    value, place = changes.split(x, w)
    expected, at = brute_force(x, w)
    assert value == pytest.approx(expected, abs=1e-6)
    assert place == at or brute_force(x, w)[0] == pytest.approx(expected)


def test_equal_input_gives_equal_changes_and_the_order_of_tracks_does_not_matter():
    random = np.random.default_rng(3)
    tracks = [track(random.normal(0, 0.01, 30)) for _ in range(6)]
    tracks[2].values[17:] += 0.05
    once = changes.find(tracks)
    assert once == changes.find(tracks) and [(f.track, f.at) for f in once] == [(2, 17)]
    turned = changes.find(tracks[::-1])
    assert [(5 - f.track, f.at, f.q) for f in turned] == [(f.track, f.at, f.q) for f in once]


def test_a_bump_has_two_edges_and_levels_of_two_points_are_found():
    random = np.random.default_rng(4)
    values = random.normal(0, 0.002, 40)
    values[20:26] += 0.1
    assert [f.at for f in changes.find([track(values)])] == [20, 26]
    values = random.normal(0, 0.002, 40)
    values[38:] -= 0.1  # the last two points
    (found,) = changes.find([track(values)])
    assert found.at == 38 and not found.suspected


def test_the_last_point_alone_is_suspected_and_a_spike_that_goes_away_is_nothing():
    random = np.random.default_rng(5)
    values = random.normal(0, 0.003, 25)
    values[-1] -= 0.08
    (found,) = changes.find([track(values)])
    assert found.suspected and found.at == 24
    back = np.append(values, random.normal(0, 0.003, 2))
    assert changes.find([track(back)]) == []
    confirmed = np.append(values, values[-1])
    (found,) = changes.find([track(confirmed)])
    assert not found.suspected and found.at == 24
    (exact,) = changes.find([Track(np.array([1.0] * 6 + [1.1]), np.zeros(7), True)])
    assert not exact.suspected  # counts need no second run


def test_points_of_wide_intervals_count_less():
    """Two points far off: a change when they are as sure as the others, nothing when their own intervals say that they
    know nothing."""
    random = np.random.default_rng(6)
    values, errors = random.normal(0, 0.004, 24), np.full(24, 0.004)
    values[22:] += 0.06
    assert [f.at for f in changes.find([track(values, errors)])] == [22]
    errors[22:] = 0.08
    assert changes.find([track(values, errors)]) == []
    assert changes.weights_of(track(values, errors))[22:].max() < 0.02


def test_a_page_without_a_change_is_quiet():
    """40 pages of 10 series of 20 points: no more than 5 % of them may alarm, up to chance (p of 6 or more: 2 %)."""
    random = np.random.default_rng(7)
    alarmed = sum(bool(changes.find([track(random.normal(0, 0.01, 20)) for _ in range(10)])) for _ in range(40))
    assert alarmed <= 5


def test_few_or_equal_points_are_no_change():
    assert changes.find([track([]), track([1]), track([1, 2, 3]), track([5] * 30)]) == []

# SPDX-License-Identifier: Apache-2.0
"""How often the changes of a history err, on simulated series that are looked at after each commit, as CI does.

A run is simulated as the harness measures it: rounds of an allocator and of the reference with a shared disturbance,
the same estimate as of a real file. The machine may drift, noise may have long tails.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from .. import stats, tables, text
from ..errors import InputError
from . import changes
from .points import METRICS
from .tracks import Line

SERIES = 10  # of a page
POINTS = 40  # commits of a page, looked at after each
FIRST = 8  # points before the first look
ROUNDS = 8  # of a run
NOISE = 0.02  # of a round, each side
BETWEEN = 0.004  # of a run: layout, placement, temperature
STEPS = (0.02, 0.05, 0.10)
AFTER = (1, 2, 3, 4, 6, 8, 12, 16)  # points after a step at which the share found is told
BASE = 20  # points before a step

Draw = Callable[[np.random.Generator, tuple[int, ...]], stats.Floats]


@dataclass(frozen=True)
class Kind:
    """A kind of series without a change."""

    name: str
    draw: Draw  # noise of variance one
    drift: float = 0.0  # of the machine over the whole page, in logarithms
    between: float = BETWEEN


def _normal(random: np.random.Generator, shape: tuple[int, ...]) -> stats.Floats:
    return random.normal(size=shape)


def _tailed(random: np.random.Generator, shape: tuple[int, ...]) -> stats.Floats:
    return random.standard_t(3, size=shape) / math.sqrt(3)


KINDS = (
    Kind("normal noise", _normal),
    Kind("long tails (t of 3 degrees)", _tailed),
    Kind("machine drifts by 30 %", _normal, math.log(0.7)),
)


def page(random: np.random.Generator, kind: Kind, series: int, points: int) -> list[changes.Track]:
    """Tracks of log-ratios, each point from ROUNDS paired rounds."""
    shared = 0.1 * kind.draw(random, (points, ROUNDS)) + kind.drift * np.linspace(0, 1, points)[:, None]
    reference = shared + NOISE * kind.draw(random, (points, ROUNDS))
    out = []
    for _ in range(series):
        own = shared + NOISE * kind.draw(random, (points, ROUNDS)) + kind.between * kind.draw(random, (points, 1))
        logs = own - reference
        values = np.array([stats.hodges_lehmann(row) for row in logs])
        # The standard error of the mean stands for the bootstrap's, which costs a thousand times as much.
        errors = logs.std(axis=1, ddof=1) / math.sqrt(ROUNDS)
        out.append(changes.Track(values, errors))
    return out


@dataclass
class Alarms:
    """What pages without a change said."""

    kind: str
    points: int = 0  # of all series
    changes: int = 0  # told as changes
    suspected: int = 0  # told as suspected, once each
    pages: int = 0
    alarmed: int = 0  # pages with at least one false change


def _rate(count: int, of: int) -> tuple[float, float, float]:
    """(rate, low, high): Clopper and Pearson's interval."""
    tail = (1 - stats.LEVEL) / 2
    low = float(beta.ppf(tail, count, of - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - tail, count + 1, of - count)) if count < of else 1.0
    return count / of, low, high


def false_alarms(kind: Kind, pages: int, seed: int = stats.SEED) -> Alarms:
    """Looks at each page after each of its commits; an alarm counts once, when it is first raised."""
    found = Alarms(kind.name)
    for number in range(pages):
        tracks = page(np.random.default_rng([seed, number]), kind, SERIES, POINTS)
        told: set[tuple[int, int]] = set()
        suspected: set[tuple[int, int]] = set()
        for until in range(FIRST, POINTS + 1):
            for one in changes.find([changes.Track(t.values[:until], t.errors[:until]) for t in tracks]):
                (suspected if one.suspected else told).add((one.track, one.at))
        # The same alarm may move by a point or two as the series grows.
        told = {(t, a) for t, a in told if not any((t, a - d) in told for d in (1, 2))}
        found.points += SERIES * (POINTS - FIRST + 1)
        found.changes += len(told)
        found.suspected += len(suspected)
        found.pages += 1
        found.alarmed += bool(told)
    return found


def detection(step: float, pages: int, seed: int = stats.SEED) -> tuple[dict[int, int], dict[int, int]]:
    """({points after the step: pages in which it is told as a change within two points of its place}, the same with
    suspicions)."""
    sure = dict.fromkeys(AFTER, 0)
    either = dict.fromkeys(AFTER, 0)
    for number in range(pages):
        tracks = page(np.random.default_rng([seed, 10**6 + number]), KINDS[0], SERIES, BASE + max(AFTER))
        tracks[0].values[BASE:] += math.log1p(-step)
        for after in AFTER:
            until = BASE + after
            found = [f for f in changes.find([changes.Track(t.values[:until], t.errors[:until]) for t in tracks])
                     if f.track == 0 and abs(f.at - BASE) <= 2 and f.step < 0]  # fmt: skip
            either[after] += bool(found)
            sure[after] += any(not f.suspected for f in found)
    return sure, either


def same(lines: Sequence[Line]) -> list[str]:
    """Alarms in a history of commits that changed nothing, looked at after each of them."""
    moments = sorted({p.run.at for line in lines for p in line.placed})
    if len(moments) < FIRST:
        raise InputError(f"{text.plural(len(moments), 'commit')} only; a look needs at least {FIRST}")
    raised: set[tuple[int, int, bool]] = set()
    for moment in moments[FIRST - 1 :]:
        tracks = []
        for line in lines:
            until = sum(p.run.at <= moment for p in line.placed)
            tracks.append(changes.Track(line.track.values[:until], line.track.errors[:until], line.metric.exact))
        raised |= {(one.track, one.at, one.suspected) for one in changes.find(tracks)
                   if abs(math.expm1(one.step)) >= lines[one.track].metric.least}  # fmt: skip
    told = {(t, a) for t, a, is_suspected in raised if not is_suspected}
    told = {(t, a) for t, a in told if not any((t, a - d) in told for d in (1, 2))}
    rows = []
    for metric in METRICS.values():
        mine = [i for i, line in enumerate(lines) if line.metric is metric]
        looked = sum(max(0, len(lines[i].placed) - FIRST + 1) for i in mine)
        if looked:
            count = sum(t in mine for t, _ in told)
            suspected = sum(t in mine for t, _, is_suspected in raised if is_suspected)
            rows.append([metric.title, str(len(mine)), text.count(looked), str(count), _share(count, looked),
                         str(suspected)])  # fmt: skip
    head = ["metric", "series", "points", "false changes", "a hundred points", "suspected"]
    return [
        f"{len(moments)} commits, looked at after each from number {FIRST} on; each alarm counts once.",
        "",
        *tables.grid(head, rows, [False, True, True, True, True, True]),
    ]


def _share(count: int, of: int) -> str:
    rate, low, high = _rate(count, of)
    return f"{100 * rate:.3g} [{100 * low:.2g}, {100 * high:.2g}]"


def render(pages: int, say: Callable[[str], None]) -> list[str]:
    """Both tables as they come about."""
    rows = []
    for kind in KINDS:
        a = false_alarms(kind, pages)
        rows.append([kind.name, text.count(a.points), str(a.changes), _share(a.changes, a.points),
                     str(a.suspected), _share(a.suspected, a.points), f"{a.alarmed} of {a.pages}"])  # fmt: skip
        say(f"{kind.name}: {a.changes} false changes, {a.suspected} suspected in {text.count(a.points)} points")
    head = [
        "no change, but",
        "points",
        "false changes",
        "a hundred points",
        "suspected",
        "a hundred points",
        "pages with one",
    ]
    out = ["False alarms: each page is looked at after each commit, each alarm counts once.", ""]
    out += tables.grid(head, rows, [False, True, True, True, True, True, True])
    rows = []
    for step in STEPS:
        sure, either = detection(step, pages)
        rows.append([f"-{100 * step:g} %", "change", *[f"{100 * sure[a] / pages:.0f}" for a in AFTER]])
        rows.append(["", "or suspected", *[f"{100 * either[a] / pages:.0f}" for a in AFTER]])
        say(f"step of {100 * step:g} %: told in {sure[max(AFTER)]} of {pages} pages after {max(AFTER)} points")
    out += ["", f"Found, in % of {pages} pages, after so many points at the new level ({BASE} before it):", ""]
    out += tables.grid(["step", "told as", *[str(a) for a in AFTER]], rows, [False, False, *[True] * len(AFTER)])
    out += ["", *tables.wrapped(
        f"Pages of {SERIES} series, one of which has the step; {ROUNDS} rounds a run with {100 * NOISE:g} % noise a"
        f" round on each side, {100 * BETWEEN:g} % from run to run, 10 % shared by a round's allocators.",
        tables.WIDTH)]  # fmt: skip
    return out

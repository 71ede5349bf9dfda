# SPDX-License-Identifier: Apache-2.0
"""What of an operation's time is the harness's: `null`, the allocator that does nothing, measured beside the others.

Both sides of a ratio contain that time, so a printed ratio lies closer to 1 than that of the allocators. Where it is
more than SHARE of what the fastest allocator takes, the row is harness-bound: its ratios are bounds, and nobody can
call two allocators the same.
"""

import dataclasses
import math

import numpy as np
import pandas as pd

from . import stats
from .allocators import NULL, base_name

SHARE = 0.5  # of the fastest allocator's time
LEAST_LEFT = 1 / 8  # of the harness's time: two times that are closer leave noise when one is taken from the other


def op_ns(rows: pd.DataFrame) -> "pd.Series[float]":
    """Time of an operation and thread of each sample."""
    return rows["elapsed_ns"] * rows["threads"] / rows["ops"]


def share(rows: pd.DataFrame) -> tuple[float, str]:
    """(the harness's share of the fastest allocator's time, that allocator) in the samples of one cell; NaN where null
    was not measured or nobody else was."""
    good = rows[rows["status"] == "ok"]
    medians = op_ns(good).groupby(good["name"]).median()
    null = [n for n in medians.index if base_name(n) == NULL]
    others = medians.drop(null)
    if not null or others.empty:
        return math.nan, ""
    return float(medians[null[0]] / others.min()), str(others.idxmin())


def is_bound(rows: pd.DataFrame) -> bool:
    """Whether the ratios of these samples of one cell are bounds."""
    return share(rows)[0] > SHARE


def bounded(comparison: stats.Comparison | None, bound: bool) -> stats.Comparison | None:
    """The comparison, marked when its ratio is a bound."""
    return dataclasses.replace(comparison, is_bound=True) if comparison and bound else comparison


def without(rows: pd.DataFrame, base: pd.DataFrame, null: pd.DataFrame) -> stats.Comparison | None:
    """Speed of `rows` against `base` with the harness's time of the same round taken off both. None where that is not
    sound: where objects change hands, as a slow allocator hides behind the waiting that null does alone; and where
    little more than the harness's time is there in some round."""
    null = null[null["status"] == "ok"]
    if null.empty or bool((null["remote_frees"] > 0).any()):
        return None
    times = [op_ns(r).set_axis(r["block"]).rename(str(i)) for i, r in enumerate((rows, base, null))]
    rounds = pd.concat(times, axis=1, join="inner").sort_index()
    nets = [(rounds[which] - rounds["2"]).to_numpy(float) for which in ("0", "1")]
    if rounds.empty or min(np.min(net / rounds["2"]) for net in nets) < LEAST_LEFT:
        return None
    return stats.compare_paired(1 / nets[0], 1 / nets[1])

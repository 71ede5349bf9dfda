# SPDX-License-Identifier: Apache-2.0
"""Which order of two allocators changes from host to host, and which property of the hosts goes with it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from .. import allocators, model, schema, stats
from .build import QUANTITIES, Pool
from .hosts import Host


@dataclass(frozen=True)
class Change:
    """`one` is ahead of `other` on some hosts and behind on others, decided on each of them."""

    cell: schema.Cell
    quantity: str
    one: str
    other: str
    ratios: dict[str, float]  # letter of the host -> one / other
    ahead: list[str]  # letters where `one` is faster, or larger
    behind: list[str]
    property: str  # of the hosts, whose order agrees best with that of the ratios; "" when none differs
    rho: float
    hosts: int  # that have the property


def properties(host: Host) -> dict[str, float]:
    """Numbers of a host that may explain a ratio; those that its run.json has."""
    machine = host.results.runs[0].provenance["machine"]
    found: dict[str, Any] = {name: machine.get(name) for name in ("pus", "packages", "numa_nodes")}
    for cache in machine.get("caches") or []:
        if isinstance(cache, dict) and cache.get("type") != "instruction":
            found[f"L{cache.get('level')}_bytes"] = cache.get("bytes")
    costs = machine.get("costs")
    found |= costs if isinstance(costs, dict) else {}
    return {name: float(v) for name, v in found.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def _goes_with(hosts: Sequence[Host], ratios: dict[str, float]) -> tuple[str, float, int]:
    """(property, Spearman's rho, hosts) of the property whose order agrees best; ("", nan, 0) when none differs."""
    best = ("", math.nan, 0)
    known = {host.letter: properties(host) for host in hosts if host.letter in ratios}
    for name in sorted({name for values in known.values() for name in values}):
        having = [letter for letter, values in known.items() if name in values]
        x, y = [known[letter][name] for letter in having], [ratios[letter] for letter in having]
        if len(set(x)) < 2 or len(set(y)) < 2:
            continue
        rho = float(spearmanr(x, y).statistic)
        if not best[0] or abs(rho) > abs(best[1]):
            best = (name, rho, len(having))
    return best


def _words(host: Host, cell: schema.Cell, one: str, other: str, quantity: str, margin: float) -> tuple[float, str]:
    """(one / other, the host's own verdict), by the exact interval; (nan, '') when it did not measure both."""
    data = host.results.data
    here = data[[c == cell for c in data["cell"]]]
    sides: list[pd.DataFrame] = [here[here["name"] == name] for name in (one, other)]
    if any(not len(rows) or model.failure_text(rows) for rows in sides):
        return math.nan, ""
    column, higher = QUANTITIES[quantity]
    new, old, _ = model.paired(sides[0], sides[1], column)
    if len(new) < stats.MIN_PAIRS:
        return math.nan, ""
    found = stats.exact_paired(np.log(new) - np.log(old))
    return found.ratio, found.verdict(None, margin, higher)


def changes(pool: Pool) -> Iterator[Change]:
    """All pairs whose order is decided both ways, cell by cell."""
    names = sorted({n for h in pool.hosts for n in h.results.allocators}, key=allocators.order)
    names = [n for n in names if allocators.base_name(n) != allocators.NULL]
    for cell in pool.cells:
        for quantity in QUANTITIES:
            for at, one in enumerate(names):
                for other in names[at + 1 :]:
                    said = {h.letter: _words(h, cell, one, other, quantity, pool.margin) for h in pool.hosts}
                    ahead = [letter for letter, (_, w) in said.items() if w in ("faster", "larger")]
                    behind = [letter for letter, (_, w) in said.items() if w in ("slower", "smaller")]
                    if ahead and behind:
                        ratios = {letter: ratio for letter, (ratio, _) in said.items() if math.isfinite(ratio)}
                        goes = _goes_with(pool.hosts, ratios)
                        yield Change(cell, quantity, one, other, ratios, ahead, behind, *goes)

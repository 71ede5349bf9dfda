# SPDX-License-Identifier: Apache-2.0
"""From hosts to verdicts: in each cell each allocator's ratio to the baseline, a host at a time and pooled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from scipy.stats import t

from .. import allocators, errors, model, schema, stats
from . import meta
from .hosts import Host

# A ratio is never known better than to 0.1 %: where rounds agree exactly (memory does), layout still differs by build.
LEAST_ERROR = 0.001

QUANTITIES = {"throughput": ("throughput_ops_s", True), "peak RSS": ("rss_peak", False)}  # column, higher is better


@dataclass(frozen=True)
class Local:
    """One host's word: its comparison, or why it has none."""

    host: Host
    comparison: stats.Comparison | None
    verdict: str  # by the host's own p-value
    problem: str = ""
    disturbed: int = 0

    @property
    def log(self) -> float:
        return math.log(self.comparison.ratio) if self.comparison else math.nan

    @property
    def variance(self) -> float:
        """Of the logarithm of the ratio, from the width of its interval (which is one of Student's t)."""
        c = self.comparison
        if c is None or not c.enough or not math.isfinite(c.high) or c.low <= 0:
            return math.nan
        half = (math.log(c.high) - math.log(c.low)) / 2
        return max(half / float(t.ppf((1 + stats.LEVEL) / 2, c.pairs - 1)), LEAST_ERROR) ** 2


@dataclass
class Line:
    """One allocator in one cell for one quantity."""

    cell: schema.Cell
    name: str
    quantity: str
    locals: list[Local]
    pooled: meta.Pooled | None = None
    why_not: str = ""  # why nothing is pooled
    q: float = math.nan  # the pooled p-value, adjusted over the table
    verdict: str = ""

    @property
    def crosses(self) -> bool:
        """Hosts disagree: one's verdict is the opposite of another's."""
        said = {local.verdict for local in self.locals}
        return {"faster", "slower"} <= said or {"smaller", "larger"} <= said


@dataclass
class Pool:
    hosts: list[Host]
    baseline: str
    margin: float
    lines: list[Line] = field(default_factory=list)

    @property
    def cells(self) -> list[schema.Cell]:
        return sorted({line.cell for line in self.lines}, key=schema.cell_order)

    def of(self, cell: schema.Cell, quantity: str) -> list[Line]:
        return [line for line in self.lines if line.cell == cell and line.quantity == quantity]


def _local(host: Host, cell: schema.Cell, name: str, baseline: str, quantity: str, margin: float) -> Local | None:
    """None when the host did not measure the allocator in this cell."""
    data = host.results.data
    here = data[[c == cell for c in data["cell"]]]
    mine, base = here[here["name"] == name], here[here["name"] == baseline]
    if not len(mine) or not len(base):
        return None
    for rows, who in ((mine, ""), (base, f"{baseline} ")):
        failure = model.failure_text(rows)
        if failure:
            return Local(host, None, "failed", f"{who}{failure}")
    column, higher = QUANTITIES[quantity]
    new, old, disturbed = model.paired(mine, base, column)
    comparison = stats.compare_paired(new, old)
    if comparison is None:
        return Local(host, None, "", "no round in which both were measured")
    return Local(host, comparison, comparison.verdict(None, margin, higher), "", int(disturbed.sum()))


def _pool(line: Line, commits: Sequence[str]) -> None:
    failed = [local.host.letter for local in line.locals if local.problem]
    usable = [local for local in line.locals if math.isfinite(local.variance)]
    few = [local.host.letter for local in line.locals if not local.problem and not math.isfinite(local.variance)]
    if failed:
        line.why_not = f"failed on {', '.join(failed)}"
    elif few:
        line.why_not = f"fewer than {stats.MIN_PAIRS} rounds on {', '.join(few)}"
    elif len(usable) < meta.MIN_HOSTS:
        line.why_not = f"{len(usable)} of at least {meta.MIN_HOSTS} hosts"
    elif "" in commits:
        line.why_not = "the commit that a host measured is unknown"
    elif len(set(commits)) > 1:
        line.why_not = "the hosts measured different commits"
    else:
        line.pooled = meta.pool([local.log for local in usable], [local.variance for local in usable])


def _judge(lines: Sequence[Line], margin: float) -> None:
    pooled = [(line, line.pooled) for line in lines if line.pooled]
    adjusted = stats.benjamini_hochberg([p.p for _, p in pooled])
    for (line, p), q in zip(pooled, adjusted):
        line.q = float(q)
        line.verdict = stats.word(math.exp(p.low), math.exp(p.high), line.q, True, margin, QUANTITIES[line.quantity][1])


def build(hosts: list[Host], baseline: str | None = None, margin: float = stats.MARGIN) -> Pool:
    """The pool of `hosts`; the baseline is the first of --alloc on the first host unless it is named."""
    baseline = model.pick_baseline(hosts[0].results, baseline)
    for host in hosts[1:]:
        if baseline not in host.results.allocators:
            raise errors.InputError(
                f"{host.results.runs[0].path}: host {host.letter} has no rows of the baseline {baseline}; it has"
                f" {', '.join(host.results.allocators)}; name one that all have with --baseline"
            )
    platforms = {c[schema.CELL.index("platform")] for h in hosts for c in h.results.cells}
    if len(platforms) > 1:
        raise errors.InputError(
            f"the hosts are of {len(platforms)} platforms ({', '.join(sorted(map(str, platforms)))}), which are never"
            " pooled; give files of one, or --beside to see which verdicts agree"
        )
    pool = Pool(hosts, baseline, margin)
    names = sorted({n for h in hosts for n in h.results.allocators}, key=allocators.order)
    for cell in sorted({c for h in hosts for c in h.results.cells}, key=schema.cell_order):
        for quantity in QUANTITIES:
            for name in names:
                if name == baseline or allocators.base_name(name) == allocators.NULL:
                    continue
                found = [_local(h, cell, name, baseline, quantity, margin) for h in hosts]
                said = [local for local in found if local is not None]
                if any(local.comparison or local.problem for local in said):
                    line = Line(cell, name, quantity, said)
                    _pool(line, [h.commit for h in hosts])
                    pool.lines.append(line)
    if not pool.lines:
        raise errors.InputError(f"no host measured an allocator beside {baseline}; nothing to compare")
    for quantity in QUANTITIES:
        _judge([line for line in pool.lines if line.quantity == quantity], margin)
    return pool

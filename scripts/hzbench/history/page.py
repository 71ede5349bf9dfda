# SPDX-License-Identifier: Apache-2.0
"""A history as one HTML page: what got worse first, each series with its changes; everything inlined."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import report
from ..schema import CELL
from .points import METRICS
from .tracks import Found, Line, commits_between

NAMED = 8  # commits of a change that the page holds


def _number(value: float | None) -> float | None:
    """Six digits of a logarithm tell a millionth."""
    return None if value is None or not math.isfinite(value) else round(value, 6)


def payload(lines: Sequence[Line], found: Sequence[Found], repository: str | Path) -> dict[str, Any]:
    """Everything the page knows, as plain data."""
    runs = {p.run.run_id: p.run for line in lines for p in line.placed}
    index = {run_id: at for at, run_id in enumerate(runs)}
    told = []
    for one in found:
        commits = commits_between(repository, one.before, one.after) or [(one.after.commit, one.after.subject)]
        low, high = one.interval
        told.append({
            "line": lines.index(one.line), "at": one.change.at, "share": _number(one.share), "worse": one.is_worse,
            "suspected": one.change.suspected, "before": one.before.commit, "count": len(commits),
            "low": _number(low) if math.isfinite(one.change.low) else None,
            "high": _number(high) if math.isfinite(one.change.high) else None,
            "commits": commits[:NAMED],
            "system": f"{one.before.system} -> {one.after.system}" if one.system_changed else "",
        })  # fmt: skip
    return {
        "metrics": {m.name: m.title for m in METRICS.values()},
        "runs": [{"commit": r.commit, "at": r.at, "subject": r.subject} for r in runs.values()],
        "changes": told,
        "lines": [
            {
                "label": line.label, "allocator": line.series.allocator, "metric": line.series.metric,
                "workload": str(line.series.values[CELL.index("workload")]), "host": line.series.host,
                "bytes": line.metric.unit == "B", "reference": line.reference,
                "reference_sha256": line.reference_sha256,
                "runs": [index[p.run.run_id] for p in line.placed],
                "estimates": [_number(p.point.estimate) for p in line.placed],
                "lows": [_number(p.point.low) for p in line.placed],
                "highs": [_number(p.point.high) for p in line.placed],
                "n": [p.point.n for p in line.placed],
                "bad": [p.point.contaminated for p in line.placed],
            }
            for line in lines
        ],
    }  # fmt: skip


def render(lines: Sequence[Line], found: Sequence[Found], repository: str | Path, title: str, since: str) -> str:
    """The page as text."""
    return report.fill(
        "history.html.j2",
        payload(lines, found, repository),
        ["report.css", "history.css"],
        ["charts.js", "history.js"],
        title=title,
        since=since or "the first run",
    )

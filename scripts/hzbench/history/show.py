# SPDX-License-Identifier: Apache-2.0
"""A history as text: its series, the points of one, the changes and who made them."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import tables, text
from ..errors import printable
from .points import Run
from .tracks import Found, Line, commits_between, of_point

BLOCKS = "▁▂▃▄▅▆▇█"
SPARK = 24  # points of a line of blocks
NAMED = 6  # commits of a change that are named


def short(run: Run) -> str:
    """A commit as people write it."""
    return run.commit[:9] + ("-dirty" if run.dirty else "")


def spark(values: Sequence[float]) -> str:
    """The last points as blocks; the lowest and the highest of them span the height, at least 1 %."""
    values = list(values)[-SPARK:]
    low, high = min(values), max(values)
    middle, half = (low + high) / 2, max(high - low, 0.01) / 2
    return "".join(BLOCKS[min(7, int((v - middle + half) / (2 * half) * 8))] for v in values)


def title(line: Line) -> str:
    """'throughput of hz4, remote, 2 threads'"""
    return f"{line.metric.title} of {line.series.allocator}, {line.label}"


def listing(lines: Sequence[Line], width: int | None) -> str:
    """A row a track."""
    head = ["series", "points", "last", "course", "of what"]
    rows = []
    for line in lines:
        last = line.placed[-1] if line.placed else line.failures[-1]
        values = [p.point.estimate for p in line.placed if p.point.estimate is not None]
        relative = f" / {line.reference} {line.reference_sha256[:8]}" if line.reference else ""
        rows.append([line.series.key, str(len(line.placed)),
                     of_point(last.point).split(" [")[0] if line.placed else "failed",
                     spark(values) if values else "",
                     printable(f"{title(line)}{relative} ({line.series.host})")])  # fmt: skip
    out = tables.grid(head, rows, [False, True, True, False, False])
    count = len({line.series.key for line in lines})
    told = f"{len(lines)} tracks of {count} series. Throughput is told as the ratio to the reference behind the slash."
    out += tables.wrapped(told, width)
    return "\n".join(out) + "\n"


def points(lines: Sequence[Line], found: Sequence[Found]) -> str:
    """The points of one series, a table a track, with the changes where they lie."""
    out = []
    for line in lines:
        relative = f", relative to {line.reference} ({line.reference_sha256[:12]})" if line.reference else ""
        out.append(printable(f"{title(line)}{relative}; host {line.series.host}"))
        marks = {f.change.at: f for f in found if f.line is line}
        rows = []
        for at, placed in enumerate(line.placed):
            note = f"{marks[at].word} {signed(marks[at].share)}" if at in marks else ""
            noise = f"{placed.point.contaminated} disturbed" if placed.point.contaminated else ""
            rows.append([short(placed.run), placed.run.at[:10], of_point(placed.point), str(placed.point.n), noise,
                         note, printable(placed.run.subject, 50)])  # fmt: skip
        for placed in line.failures:
            rows.append([short(placed.run), placed.run.at[:10], "failed", "0", "", printable(placed.point.problem, 40),
                         printable(placed.run.subject, 50)])  # fmt: skip
        out += tables.grid(["commit", "date", "estimate", "n", "noise", "change", "subject"], rows,
                           [False, False, True, True, False, False, False])  # fmt: skip
        out.append("")
    return "\n".join(out)


def signed(share: float) -> str:
    """-0.062 -> '-6.2 %'; small ones keep a digit that says something."""
    if not math.isfinite(share) or abs(share) > 1e6:
        return "any"
    return f"{100 * share:+.1f} %" if abs(share) >= 0.002 else f"{100 * share:+.2g} %"


def _where(found: Found, repository: str | Path) -> list[str]:
    """Lines that name the commits of a change."""
    before, after = found.before, found.after
    if before.commit == after.commit:
        return [f"both sides are of {short(after)}: not a commit, the machine or the run"]
    commits = commits_between(repository, before, after)
    count = f" ({text.plural(len(commits), 'commit')})" if commits else ""
    lines = [f"after {short(before)} of {before.at[:10]}, up to {short(after)} of {after.at[:10]}{count}"]
    named = commits[:NAMED] if commits else [(after.commit, after.subject)]
    lines += [f"  {sha[:9]} {printable(subject, 68)}".rstrip() for sha, subject in named]
    if len(commits) > NAMED:
        lines.append(f"  and {len(commits) - NAMED} more")
    if found.system_changed:
        lines.append(f"the system changed as well: {printable(before.system, 60)} -> {printable(after.system, 60)}")
    return lines


def _interval(found: Found) -> str:
    return " to ".join(signed(v) for v in found.interval)


def changes_text(found: Sequence[Found], lines: Sequence[Line], q: float, repository: str | Path) -> str:
    """One paragraph a change, the worst first."""
    out = []
    for one in found:
        levels = f"{one.line.told(one.change.before)} -> {one.line.told(one.change.after)}"
        out.append(printable(f"{one.word:6} {signed(one.share)} [{_interval(one)}]  {title(one.line)}"))
        out.append(f"       {levels}; series {one.line.series.key}, host {printable(one.line.series.host)}")
        out += [f"       {line}" for line in _where(one, repository)]
        out.append("")
    out += tables.wrapped(summary(found, lines, q), tables.WIDTH)
    return "\n".join(out) + "\n"


def summary(found: Sequence[Found], lines: Sequence[Line], q: float) -> str:
    """How many of how many, and what the control promises."""
    told = [f for f in found if not f.change.suspected]
    worse = sum(f.is_worse for f in told)
    total = sum(len(line.placed) for line in lines)
    suspected = len(found) - len(told)
    more = f" {suspected} more suspected at the end (scripts/history confirm)." if suspected else ""
    return (
        f"{worse} worse, {len(told) - worse} better in {text.plural(len(lines), 'track')} of"
        f" {text.plural(total, 'point')}; about {text.percent(q)} of them may be false.{more}"
    )


def changes_markdown(found: Sequence[Found], lines: Sequence[Line], q: float, repository: str | Path) -> str:
    """At most 30 lines, for a pull request."""
    head = ["", "change", "95 % interval", "of what", "commits"]
    rows = []
    for one in found[:20]:
        commits = commits_between(repository, one.before, one.after)
        count = f" ({len(commits)})" if len(commits) > 1 else ""
        rows.append([one.word, signed(one.share), _interval(one), title(one.line),
                     f"{short(one.before)}..{short(one.after)}{count}"])  # fmt: skip
    out = ["### History of results", ""]
    if rows:
        out += tables.markdown_grid(head, rows, [False, True, True, False, False]).rstrip("\n").split("\n") + [""]
    if len(found) > 20:
        out += [f"{len(found) - 20} more: `scripts/history changes`.", ""]
    return "\n".join([*out, summary(found, lines, q)]) + "\n"


def changes_json(found: Sequence[Found], repository: str | Path) -> str:
    """The same for programs."""
    out: list[dict[str, Any]] = []
    for one in found:
        low, high = one.interval
        out.append({
            "series": one.line.series.key, "host": one.line.series.host, "allocator": one.line.series.allocator,
            "metric": one.line.series.metric, "cell": json.loads(one.line.series.cell), "label": one.line.label,
            "reference": one.line.reference, "reference_sha256": one.line.reference_sha256,
            "verdict": "worse" if one.is_worse else "better", "suspected": one.change.suspected, "share": one.share,
            "low": low if math.isfinite(one.change.low) else None,
            "high": high if math.isfinite(one.change.high) else None, "q": one.change.q,
            "before": one.before.commit, "after": one.after.commit, "at": one.after.at,
            "commits": [sha for sha, _ in commits_between(repository, one.before, one.after)],
        })  # fmt: skip
    return json.dumps(out, indent=2) + "\n"


def confirm_text(found: Sequence[Found], db: str) -> str:
    """What to run so that a suspicion becomes a change or goes away."""
    suspected = [f for f in found if f.change.suspected]
    if not suspected:
        return "Nothing is suspected: no command is needed.\n"
    out = []
    for number, run in enumerate({f.after.run_id: f.after for f in suspected}.values(), 1):
        mine = [f for f in suspected if f.after.run_id == run.run_id]
        out += [f"{short(run)} of {run.at[:10]} on {printable(run.host)}: {printable(run.subject, 60)}".rstrip(" :")]
        out += [f"  {f.word} {signed(f.share)}: {printable(title(f.line))}" for f in mine]
        output = f"confirm-{run.commit[:9]}-{number}.csv"
        command = " ".join(w for w in run.command.split(" ") if not w.startswith(("--output=", "'--output=")))
        out += ["measure the same commit again:", f"  git checkout {run.commit} && ninja -C build",
                f"  {printable(command) or 'build/runner ... (its run.json has no command)'} --output={output}",
                f"  scripts/history add {output} --db={printable(db)}", ""]  # fmt: skip
    return (
        "\n".join([*out, "A second point at the new level makes it a change, one at the old level clears it."]) + "\n"
    )

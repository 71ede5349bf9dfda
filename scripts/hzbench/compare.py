# SPDX-License-Identifier: Apache-2.0
"""Two result files of one machine, cell by cell: has NEW become faster or slower than BASE, and a gate on the answer.

The files were measured at different times, so rounds cannot be paired and slow drift of the machine lies outside the
interval. To compare two builds closely, measure both in one run (--alloc=./old/libx.so,./new/libx.so) and use tables.
"""

import json
import math
from dataclasses import dataclass

from . import errors, load, model, stats, tables, text

FORMATS = ("text", "markdown", "json")


@dataclass
class Line:
    cell: tuple
    name: str
    problem: str = ""  # why there is nothing to compare; "" when there is
    new_failed: bool = False  # BASE had good samples and NEW does not: a regression, whatever its speed
    base: float = math.nan  # median ops/s
    new: float = math.nan
    speed: stats.Comparison | None = None
    verdict: str = ""
    base_rss: float = math.nan  # median peak RSS, bytes
    new_rss: float = math.nan
    memory: stats.Comparison | None = None
    memory_verdict: str = ""

    @property
    def title(self):
        return f"{self.name}, {text.cell_title(lambda c: self.cell[load.CELL.index(c)])}"


@dataclass
class Difference:
    base_path: str
    new_path: str
    margin: float
    lines: list


def _line(cell, name, base, new):
    line = Line(cell, name)
    base_problem, new_problem = model.failure_text(base), model.failure_text(new)
    if not len(base) or not len(new):
        line.problem = "only in NEW" if not len(base) else "not in NEW"
        return line
    if base_problem or new_problem:
        line.problem = "; ".join(
            f"{which}: {problem}" for which, problem in (("BASE", base_problem), ("NEW", new_problem)) if problem
        )
        line.new_failed = bool(new_problem) and not base_problem
        return line
    line.base, line.new = base["throughput_ops_s"].median(), new["throughput_ops_s"].median()
    line.speed = stats.compare_unpaired(new["throughput_ops_s"], base["throughput_ops_s"])
    old_rss, new_rss = base["rss_peak"].dropna(), new["rss_peak"].dropna()
    old_rss, new_rss = old_rss[old_rss > 0], new_rss[new_rss > 0]
    line.base_rss, line.new_rss = old_rss.median(), new_rss.median()
    line.memory = stats.compare_unpaired(new_rss, old_rss)
    return line


def build(base_path, new_path, margin=stats.MARGIN):
    base, new = load.load([base_path]), load.load([new_path])
    if base.runs[0].run_id == new.runs[0].run_id:
        raise errors.InputError(f"{base_path} and {new_path} are the same run; give two")
    load.same_host(base.runs[0], new.runs[0])
    lines = []
    for cell in sorted({*base.cells, *new.cells}, key=load.cell_order):
        old_rows, new_rows = (r.data[[c == cell for c in r.data["cell"]]] for r in (base, new))
        for name in sorted({*old_rows["name"], *new_rows["name"]}, key=load.allocator_order):
            if load.base_name(name) != load.NULL:
                lines.append(_line(cell, name, old_rows[old_rows["name"] == name], new_rows[new_rows["name"] == name]))
    if not any(line.speed or line.new_failed for line in lines):
        raise errors.InputError(
            f"{base_path} and {new_path} have no cell in common that both finished; compare runs of the same plan"
        )
    for quantity, verdict, better in (("speed", "verdict", True), ("memory", "memory_verdict", False)):
        compared = [line for line in lines if getattr(line, quantity)]
        q = stats.benjamini_hochberg([getattr(line, quantity).p for line in compared])
        for line, value in zip(compared, q):
            setattr(line, verdict, getattr(line, quantity).verdict(float(value), margin, better))
    return Difference(str(base_path), str(new_path), margin, lines)


HEAD = ["allocator, cell", "BASE M ops/s", "NEW M ops/s", "NEW / BASE", "95 % interval", "verdict", "peak RSS NEW / BASE",
        "verdict"]  # fmt: skip
NUMERIC = (False, True, True, True, True, False, True, False)


def _cells(line):
    if line.problem:
        return [line.title, *[text.MISSING] * 4, line.problem, text.MISSING, text.MISSING]
    verdict = line.verdict
    if verdict == "undecided":
        verdict += f" (would see {text.percent(line.speed.visible)})"
    interval = f"[{text.three(line.speed.low)}, {text.three(line.speed.high)}]"
    memory = text.three(line.memory.ratio) if line.memory else text.MISSING
    return [line.title, text.millions(line.base), text.millions(line.new), text.three(line.speed.ratio), interval,
            verdict, memory, line.memory_verdict or text.MISSING]  # fmt: skip


def _note():
    return "The files were measured at different times: drift of the machine between them lies outside the interval."


def render(difference, form):
    if form == "json":
        return json.dumps(_as_json(difference), indent=1, allow_nan=False) + "\n"
    rows = [_cells(line) for line in difference.lines]
    if form == "text":
        return "\n".join([*tables.grid(HEAD, rows, NUMERIC), "", _note()]) + "\n"
    return tables.markdown_grid(HEAD, rows, NUMERIC) + "\n" + _note() + "\n"


def _number(value):
    return value if isinstance(value, float) and math.isfinite(value) else None


def _comparison(c, verdict):
    if c is None:
        return None
    return {
        "samples": c.pairs,
        **{k: _number(float(getattr(c, k))) for k in ("ratio", "low", "high", "p", "visible")},
        "verdict": verdict,
    }


def _as_json(difference):
    return {
        "base": difference.base_path,
        "new": difference.new_path,
        "margin": difference.margin,
        "note": _note(),
        "cells": [
            {
                **dict(zip(load.CELL, line.cell)),
                "allocator": line.name,
                "problem": line.problem or None,
                "base_ops_s": _number(float(line.base)),
                "new_ops_s": _number(float(line.new)),
                "throughput": _comparison(line.speed, line.verdict),
                "base_rss_peak": _number(float(line.base_rss)),
                "new_rss_peak": _number(float(line.new_rss)),
                "rss_peak": _comparison(line.memory, line.memory_verdict),
            }
            for line in difference.lines
        ],
    }


def gate(difference, max_worse, only=None, conclusive=False):
    """(lines to print, exit code): 1 when a loss beyond `max_worse` is proven or NEW fails where BASE did not."""
    lines = [line for line in difference.lines if not only or line.name in only]
    unknown = set(only or ()) - {line.name for line in difference.lines}
    if unknown:
        raise errors.InputError(f"--alloc={errors.printable(sorted(unknown)[0], 60)} is not in the files")
    limit = 1 - max_worse
    out, failed, open_ = [], 0, 0
    for line in lines:
        if line.new_failed or line.problem == "not in NEW":
            failed += 1
            out.append(f"fail  {line.title}: {line.problem}")
        elif not line.speed:
            open_ += 1
            out.append(f"open  {line.title}: {line.problem}")
        else:
            c = line.speed
            numbers = f"{text.three(c.ratio)} [{text.three(c.low)}, {text.three(c.high)}]"
            if c.enough and c.high < limit:
                failed += 1
                out.append(f"fail  {line.title}: {numbers}, limit {text.three(limit)}")
            elif c.enough and c.low >= limit:
                out.append(f"pass  {line.title}: {numbers}")
            else:
                open_ += 1
                out.append(f"open  {line.title}: {numbers}, limit {text.three(limit)} inside the interval or too few samples")
    out.append(f"gate: {failed} failed, {open_} open, {len(lines) - failed - open_} passed")
    if failed:
        return out, errors.GATE_FAILED
    return out, errors.INCONCLUSIVE if open_ and conclusive else errors.OK

# SPDX-License-Identifier: Apache-2.0
"""One HTML page from result files: everything inlined, samples included, nothing loaded from anywhere.

The page recomputes ratios, tests and verdicts from the embedded samples when a reader picks another baseline. Intervals
are bootstraps; they are computed here for every pair of allocators, because a bootstrap depends on its random numbers.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

import jinja2
import numpy as np
import numpy.typing as npt

from . import allocators, files, model, stats, tables, text
from .errors import InputError
from .figures.data import SEGMENTS, Data, aligned, live_is_resident, thinned
from .figures.style import short
from .load import Results, Run
from .schema import Cell

SOURCES = Path(__file__).parent / "page"
POINTS = 240  # of one RSS curve: more than a panel has pixels for
PERCENTILES = ("p50", "p90", "p99", "p999", "max")
CALLS = (("malloc", "malloc"), ("free_local", "free, same thread"), ("free_remote", "free, other thread"))

Json: TypeAlias = Any  # what json.dumps takes: dict, list, str, int, float, bool or None


def npm_file(*parts: str) -> str:
    """A file that scripts/setup report has installed from the lock file of scripts/npm."""
    build = os.environ.get("BUILD_DIR") or Path(__file__).resolve().parents[2] / "build"
    path = Path(build, "npm", "node_modules", *parts)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} not found - uPlot draws the curves of the page; install it: scripts/setup report"
        ) from error


_UPLOT = (("uplot", "dist", "uPlot.min.css"), ("uplot", "dist", "uPlot.iife.min.js"))


def check() -> None:
    """Raises InputError when what the page is drawn with is not there: told before the samples are read, not after."""
    for parts in _UPLOT:
        npm_file(*parts)


def _number(value: Any) -> Json:
    """A number JSON can hold, None for what is not one; integers stay integers."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _clean(value: Any) -> Json:
    if isinstance(value, dict):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(v) for v in value]
    return _number(value)


def _samples(results: Results, cells: Sequence[Cell], names: Sequence[str], after: str | None) -> list[dict[str, Any]]:
    data = results.data
    disturbed = model.is_disturbed(data)
    columns = zip(
        data["cell"],
        data["name"],
        data["block"],
        data["file"],
        data["sample"],
        data["status"],
        data["message"],
        data["throughput_ops_s"],
        data["rss_peak"],
        data[after] if after else [None] * len(data),
        disturbed,
        data["contamination"],
        data["run_delay_ns"] / (data["elapsed_ns"] * data["threads"]),
    )
    out = []
    for cell, name, block, file, sample, status, message, speed, peak, later, bad, mark, delay in columns:
        if name not in names:
            continue
        why = (str(mark).replace(";", ", ") or f"waited for a CPU {text.percent(delay)} of its time") if bad else ""
        out.append(
            {
                "cell": cells.index(cell),
                "name": names.index(name),
                "block": block,
                "file": Path(file).name,
                "sample": sample,
                "status": status,
                "message": message,
                "speed": speed,
                "peak": peak,
                "after": later,
                "marked": bool(bad),
                "why": why,
            }
        )
    return out


def _interval(new: npt.ArrayLike, old: npt.ArrayLike) -> list[Json] | None:
    c = stats.compare_paired(new, old)
    return None if c is None else [_number(c.low), _number(c.high)]


def _intervals(
    results: Results, cells: Sequence[Cell], names: Sequence[str]
) -> dict[int, dict[str, list[list[Json] | None]]]:
    """{cell: {"i/j": [interval of speed, speed without marked samples, memory]}} for i < j; the page turns them
    round."""
    out: dict[int, dict[str, list[list[Json] | None]]] = {}
    groups = dict(list(results.data.groupby(["cell", "name"], sort=False)))
    for index, cell in enumerate(cells):
        mine = out[index] = {}
        good = [n for n in names if (cell, n) in groups and not model.failure_text(groups[(cell, n)])]
        for a, b in combinations(good, 2):
            rows, base = groups[(cell, a)], groups[(cell, b)]
            new, old, marked = model.paired(rows, base, "throughput_ops_s")
            whole = _interval(new, old)
            quiet = _interval(new[~marked], old[~marked]) if marked.any() else whole
            memory = _interval(*model.paired(rows, base, "rss_peak")[:2])
            mine[f"{names.index(a)}/{names.index(b)}"] = [whole, quiet, memory]
    return out


def _curve(data: Data, cell: Cell) -> dict[str, Any] | None:
    """RSS curves of the middle samples in one cell, over the phases of a run."""
    out, live = {}, None
    for name in data.names:
        series = data.middle_series(cell, name)
        if series is None:
            continue
        xs, rss, alive = aligned(series)
        if not len(xs):
            continue
        keep = thinned(rss, POINTS)
        out[name] = [[round(float(x), 4) for x in xs[keep]], [int(v) for v in rss[keep]]]
        if live_is_resident(cell) and (live is None or len(keep) > len(live[0])):
            live = [out[name][0], [max(0, int(v)) for v in alive[keep]]]
    return {"curves": out, "live": live} if out else None


def _latency(data: Data, cell: Cell) -> dict[str, dict[str, list[Json]]]:
    """{call: {allocator: nanoseconds at PERCENTILES, medians over the samples}} of one cell, {} when none was timed."""
    out: dict[str, dict[str, list[Json]]] = {}
    for call, _ in CALLS:
        columns = [f"latency_{call}_{p}_ns" for p in PERCENTILES]
        for name in data.names:
            group = data.samples(cell, name)
            if group is not None and group[columns[0]].notna().any():
                out.setdefault(call, {})[name] = [_number(float(group[c].median())) for c in columns]
    return out


def _panels(
    results: Results, platform: str, cells: Sequence[Cell], names: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, dict[str, str | int]]]:
    data = Data(results, platform)
    out = []
    for panel in data.panels:
        shown = data.busiest(panel)
        out.append({
            "rate": _rate(data.rate(panel.cells)),
            "title": ", ".join(t for t in (data.shared, data.own[panel.key]) if t),
            "platform": platform,
            "cells": [cells.index(c) for c in panel.cells],
            "threads": panel.threads,
            "shown": cells.index(shown),
            "rss": _curve(data, shown),
            "latency": _latency(data, shown),
        })  # fmt: skip
    styles: dict[str, dict[str, str | int]] = {
        n: {"colour": data.styles.table[n][0], "marker": data.styles.table[n][1], "variant": data.styles.table[n][2]}
        for n in data.names
        if n in names
    }
    return out, styles


def _rate(rate: text.Rate) -> dict[str, Any]:
    return {**asdict(rate), "label": rate.label}


def _cell(section: model.Section, label: str) -> dict[str, Any]:
    return {"label": label, "rate": _rate(tables.speed_of(section)),
            "workload": section.value("workload"), "threads": section.value("threads"),
            "platform": section.value("platform"), "details": text.cell_details(section.value),
            "crowded": section.crowded, "harness_ns": section.harness_ns,
            "harness_bound": section.harness_bound}  # fmt: skip


def _file(run: Run) -> dict[str, Any]:
    record = run.provenance
    return {
        "name": run.path.name,
        "run_id": run.run_id,
        "csv": files.read_text(run.path),
        "command": record.get("command", ""),
        "build": record.get("build", {}),
        "machine": {k: v for k, v in (record.get("machine") or {}).items() if not isinstance(v, (list, dict))},
        "environment": record.get("environment", {}),
        "allocators": [
            {k: a.get(k) for k in ("allocator", "path", "version", "build_id", "sha256", "why")}
            for a in record.get("allocators", [])
            if isinstance(a, dict)
        ],
    }


def payload(results: Results, baseline: str | None = None, margin: float = stats.MARGIN) -> Json:
    """Everything the page knows, as plain data."""
    report = model.build(results, baseline, margin)
    cells = [s.cell for s in report.sections]
    names = [n for n in results.allocators if allocators.base_name(n) != allocators.NULL]
    labels = text.cell_labels(cells)
    speeds = text.Column({s.cell: [(s.cell, row.throughput) for row in s.rows] for s in report.sections})
    panels: list[dict[str, Any]] = []
    styles: dict[str, dict[str, str | int]] = {}
    for platform in dict.fromkeys(s.value("platform") for s in report.sections):
        more, colours = _panels(results, platform, cells, names)
        panels += more
        styles |= colours
    good = results.data[(results.data["status"] == "ok") & (results.data["allocator"] != allocators.NULL)]
    after = next((c for c, _ in model.AFTER if len(good) and good[c].notna().all()), None)
    return _clean({
        "baseline": names.index(report.baseline) if report.baseline in names else 0,
        "rate": _rate(speeds.rate) if speeds.is_one else None,
        "margin": margin,
        "alpha": stats.ALPHA,
        "min_pairs": stats.MIN_PAIRS,
        "after": report.after_label,
        "pus": max((r.pus for r in results.runs), default=0),
        "rounds": report.rounds,
        "started": min((s for s in results.data["started_at"] if s), default=""),
        "allocators": [{"name": n, "short": short(n), **styles[n], "ours": allocators.is_ours(n)}
                       for n in names],
        "cells": [_cell(s, labels[s.cell]) for s in report.sections],
        "panels": panels,
        "segments": [[label, width] for label, _, width in SEGMENTS],
        "percentiles": PERCENTILES,
        "calls": CALLS,
        "samples": _samples(results, cells, names, after),
        "intervals": _intervals(results, cells, names),
        "files": [_file(r) for r in results.runs],
    })  # fmt: skip


def _json(value: Json) -> str:
    """JSON that may stand inside a script element: no end tag, no comment and no line separator can come from data."""
    out = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        out = out.replace(character, f"\\u{ord(character):04x}")
    return out


def fill(template: str, data: Json, styles: Sequence[str], scripts: Sequence[str], **more: str) -> str:
    """A page of SOURCES that holds `data`, uPlot and these of its styles and scripts."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(SOURCES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip

    def read(name: str) -> str:
        return (SOURCES / name).read_text(encoding="utf-8")

    return environment.get_template(template).render(
        data=data,
        json=_json(data),
        css=npm_file(*_UPLOT[0]) + "".join(map(read, styles)),
        scripts=[npm_file(*_UPLOT[1]), *map(read, scripts)],
        **more,
    )


def render(results: Results, title: str, baseline: str | None = None, margin: float = stats.MARGIN) -> str:
    data = payload(results, baseline, margin)
    return fill("report.html.j2", data, ["report.css"], ["stats.js", "charts.js", "report.js"], title=title)


def save(page: str, out: str | Path) -> None:
    """Writes a page, with one line for what hinders it."""
    try:
        Path(out).write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out}: cannot write the page: {error.strerror}") from error


def write(
    results: Results, out: str | Path, title: str, baseline: str | None = None, margin: float = stats.MARGIN
) -> None:
    save(render(results, title, baseline, margin), out)

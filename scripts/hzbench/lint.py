# SPDX-License-Identifier: Apache-2.0
"""Benchmark crimes: what makes a result file, or a table made from one, say more than was measured.

Each rule is one function that yields findings; RULES names them and says why each is a crime. Rules that look at
several files read them one by one, because files that must not be mixed are just what they look for.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from . import allocators, files, harness, load, model, schema, stats, text
from .errors import InputError, printable

PEERS = allocators.named(allocators.LIBC, allocators.PEER)  # what a reader knows to compare with
CORE = ("local", "remote", "mixed")
SHORT_NS = 50e6  # below it one scheduler tick of a few milliseconds is several percent of a sample

Labels: TypeAlias = dict[schema.Cell, str]
Findings: TypeAlias = Iterator[tuple[str, str]]  # (where, what)
Table: TypeAlias = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Finding:
    rule: str
    where: str
    what: str


def no_baseline(results: load.Results, labels: Labels) -> Findings:
    for cell in results.cells:
        names = {allocators.base_name(n) for n in results.data.loc[results.data["cell"] == cell, "name"]}
        names.discard(allocators.NULL)
        if not names & set(PEERS):
            yield labels[cell], f"only {', '.join(sorted(names))}: nothing that a reader knows to compare with"


def peers_missing(results: load.Results, labels: Labels) -> Findings:
    """Only looks when a table compares with somebody at all; without any reference `no-baseline` has spoken."""
    names = {allocators.base_name(n) for n in results.allocators}
    missing = [p for p in PEERS if p not in names]
    if missing and names & set(PEERS):
        yield "file", f"{', '.join(missing)} not measured: whom a table leaves out is chosen by its author"


def few_rounds(results: load.Results, labels: Labels) -> Findings:
    counts = results.data[results.data["allocator"] != allocators.NULL].groupby(["cell", "name"])["block"].nunique()
    for cell in results.cells:
        mine = counts[[c == cell for c, _ in counts.index]]
        if len(mine) and mine.min() < stats.MIN_PAIRS:
            name = mine.idxmin()[1]
            yield (
                labels[cell],
                f"{name} has {text.plural(int(mine.min()), 'round')}; no rank test reaches 5 % below {stats.MIN_PAIRS}",
            )


def failures_dropped(results: load.Results, labels: Labels) -> Findings:
    """Samples that the plan promises and the file lacks: rows deleted, or a run that never ended."""
    for run in results.runs:
        plan = run.provenance.get("plan")
        planned = plan.get("samples") if isinstance(plan, dict) else None
        mine = results.data[results.data["file"] == str(run.path)]
        present = set(mine["sample"])
        missing = set(range(planned if isinstance(planned, int) and planned < 10**7 else max(present) + 1)) - present
        if missing:
            shown = ", ".join(map(str, sorted(missing)[:5])) + (" ..." if len(missing) > 5 else "")
            yield (
                run.path.name,
                f"{text.plural(len(missing), 'sample')} of the plan not in the file ({shown}): failed rows must stay",
            )


def uneven_rounds(results: load.Results, labels: Labels) -> Findings:
    counts = results.data[results.data["allocator"] != allocators.NULL].groupby(["cell", "name"])["block"].nunique()
    for cell in results.cells:
        mine = {name: int(n) for (c, name), n in counts.items() if c == cell}
        if mine and max(mine.values()) != min(mine.values()):
            least = min(mine, key=mine.__getitem__)
            yield labels[cell], f"{least} has {mine[least]} rounds, others {max(mine.values())}: a selection of rounds"


def mixed_load_modes(results: load.Results, labels: Labels) -> Findings:
    loads = sorted(set(results.data["load"]))
    if len(loads) > 1:
        yield (
            "files",
            f"{' and '.join(loads)} in one table; a preloaded allocator also serves the harness and the C library",
        )


def mixed_platforms(results: load.Results, labels: Labels) -> Findings:
    platforms = sorted(set(results.data["platform"]))
    if len(platforms) > 1:
        yield "files", f"{' and '.join(platforms)} in one table; they count memory differently"


def oversubscribed(results: load.Results, labels: Labels) -> Findings:
    """Crowded cells are fine when they are marked; marking needs the number of CPUs."""
    for cell in results.cells:
        rows = results.data[results.data["cell"] == cell]
        crowded = rows["crowded"].iloc[0]
        if crowded is None:
            yield labels[cell], "no run.json, so whether threads outnumber CPUs is unknown and cannot be marked"
        elif crowded:
            yield (
                labels[cell],
                f"{text.plural(int(rows['threads'].iloc[0]), 'thread')} on fewer CPUs: say so wherever the numbers go",
            )


def short_samples(results: load.Results, labels: Labels) -> Findings:
    ran = results.data[(results.data["status"] == "ok") & (results.data["allocator"] != allocators.NULL)]
    for cell in results.cells:
        times = ran.loc[ran["cell"] == cell].groupby("name")["elapsed_ns"].median()
        if len(times) and times.min() < SHORT_NS:
            yield (
                labels[cell],
                (
                    f"{times.idxmin()} is measured for {text.three(times.min() / 1e6)} ms; give it more --ops (at least"
                    f" {SHORT_NS / 1e6:g} ms)"
                ),
            )


def subset_of_matrix(results: load.Results, labels: Labels) -> Findings:
    """Thread counts or core workloads that some have and others lack: a matrix with holes."""
    data = results.data[results.data["allocator"] != allocators.NULL]
    everywhere = set(results.cells)
    for name in [n for n in results.allocators if allocators.base_name(n) != allocators.NULL]:
        lacking = everywhere - set(data.loc[data["name"] == name, "cell"])
        if lacking:
            yield name, f"not measured in {', '.join(sorted(labels[c] for c in lacking)[:3])}; others are"


def core_workloads(results: load.Results, labels: Labels) -> Findings:
    lacking = [w for w in CORE if w not in set(results.data["workload"])]
    if lacking:
        yield "file", f"no {', '.join(lacking)}: a claim about the allocator needs all three core workloads"


def unequal_work(results: load.Results, labels: Labels) -> Findings:
    """By the clock nobody does the same work: fine for throughput, not for memory."""
    for cell in results.cells:
        duration = cell[schema.CELL.index("duration_ns")]
        if duration:
            yield labels[cell], "measured by the clock: the faster one allocates more, so memory must not be compared"


def harness_dominates(results: load.Results, labels: Labels) -> Findings:
    """`null` measures the harness; without it the reader cannot know its share."""
    ok = results.data[results.data["status"] == "ok"]
    for cell in results.cells:
        here = ok[ok["cell"] == cell]
        share, fastest = harness.share(here)
        if allocators.NULL not in set(here["name"]):
            yield labels[cell], "null was not measured: the harness's share of the time is unknown"
        elif share > harness.SHARE:
            yield (
                labels[cell],
                f"harness-bound: {100 * share:.0f} % of the time of {fastest} is the harness: ratios are bounds",
            )


def contaminated(results: load.Results, labels: Labels) -> Findings:
    bad = model.is_disturbed(results.data)
    if bad.mean() > 0.2:
        yield (
            "file",
            f"{100 * bad.mean():.0f} % of the samples are marked: measure again on a machine that is left alone",
        )


def no_provenance(results: load.Results, labels: Labels) -> Findings:
    for run in results.runs:
        if not run.provenance:
            yield run.path.name, "no run.json: machine, build, libraries and command are unknown"
        elif (run.provenance.get("build") or {}).get("commit") == "unknown":
            yield (
                run.path.name,
                (
                    "measured by a build of unknown commit: nobody can build this again (scripts/commit says what it"
                    " finds)"
                ),
            )
        elif (run.provenance.get("build") or {}).get("dirty") is True:
            yield run.path.name, "measured with uncommitted changes: nobody can build this again"


def best_of_profiles(results: load.Results, labels: Labels) -> Findings:
    """Several profiles of ours beside peers in one setting each invite to pick the best one a row."""
    profiles: dict[str, set[str]] = {}
    for name in results.allocators:
        profiles.setdefault(allocators.base_name(name), set()).add(name.split("#")[0])
    many = {b: p for b, p in profiles.items() if len(p) > 1 and b not in (allocators.NULL,)}
    if many and any(len(p) == 1 and b in PEERS for b, p in profiles.items()):
        b, names = next(iter(many.items()))
        yield "file", f"{len(names)} profiles of {b} beside peers with one each: never a column 'best of {b}'"


def mixed_hosts(runs: Sequence[load.Run]) -> Findings:
    known = [r for r in runs if r.host]
    for run in known[1:]:
        if run.host != known[0].host:
            yield run.path.name, f"another machine or system than {known[0].path.name}"


def mixed_schemas(runs: Sequence[load.Run], schemas: Sequence[str]) -> Findings:
    if len(set(schemas)) > 1:
        yield "files", f"schemas {', '.join(sorted(set(map(str, schemas))))}: other versions of the harness"


def mean_of_ratios(path: Path, table: Table) -> Findings:
    """A table that summarises ratios by their arithmetic mean: 2x and 1/2x then average to a gain of 25 %."""
    for row in table:
        said = " ".join(row).lower()
        if re.search(r"\b(arithmetic )?(mean|average|avg)\b", said) and not re.search(
            r"geo(metric)?[ -]?mean|geomean", said
        ):
            column = _averaged_column(table, row)
            if column:
                yield (
                    path.name,
                    (
                        f"'{printable(' '.join(row), 50)}' is the arithmetic mean of column '{column}'; ratios take the"
                        " geometric one"
                    ),
                )


def _averaged_column(table: Table, row: Sequence[str]) -> str | None:
    """Header of a ratio column whose arithmetic, and not geometric, mean stands in `row`."""
    for at, name in _ratio_columns(table[0]):
        if at >= len(row):
            continue
        values = [
            v for v in (_float(r[at]) for r in table[1:] if r is not row and at < len(r)) if v is not None and v > 0
        ]
        claimed = _float(row[at])
        if claimed is None or len(values) < 2:
            continue
        arithmetic, geometric = float(np.mean(values)), stats.geometric_mean(values)
        if abs(claimed - arithmetic) < abs(claimed - geometric) and math.isclose(claimed, arithmetic, rel_tol=0.01):
            return name
    return None


def _ratio_columns(head: Sequence[str]) -> list[tuple[int, str]]:
    """[(place, header)] of the columns that hold ratios."""
    return [(at, name) for at, name in enumerate(head) if "ratio" in name.lower()]


def _float(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


RULES = {  # rule: (function over one set of samples, why)
    "no-baseline": (no_baseline, "a number without a reference says nothing"),
    "peers-missing": (peers_missing, "the comparison must not be chosen by its winner"),
    "few-rounds": (few_rounds, "too few rounds for any verdict"),
    "failures-dropped": (failures_dropped, "what failed is a result"),
    "uneven-rounds": (uneven_rounds, "all take part in every round"),
    "mixed-load-modes": (mixed_load_modes, "different things are measured"),
    "mixed-platforms": (mixed_platforms, "different things are measured"),
    "oversubscribed": (oversubscribed, "the scheduler is measured as well"),
    "short-samples": (short_samples, "start-up and ticks are measured"),
    "subset-of-matrix": (subset_of_matrix, "holes hide what went badly"),
    "core-workloads": (core_workloads, "one pattern is not an allocator"),
    "unequal-work": (unequal_work, "memory of unequal work cannot be compared"),
    "harness-dominates": (harness_dominates, "the harness flattens ratios"),
    "contaminated": (contaminated, "somebody else's load is measured"),
    "no-provenance": (no_provenance, "nobody can repeat it"),
    "best-of-profiles": (best_of_profiles, "one setting has to do everything"),
}
FILE_RULES = {  # rule: why; these look at several files, or at tables
    "mixed-hosts": "numbers of two machines are not put in one table",
    "mixed-schemas": "numbers of two harnesses are not put in one table",
    "mean-of-ratios": "only the geometric mean of ratios means something",
}


def _is_samples(first_line: str) -> bool:
    return first_line.startswith("schema,")


def _read(paths: Iterable[str | Path]) -> tuple[list[list[str]], list[load.Run], list[str], list[tuple[Path, Table]]]:
    """(groups of result files that go together, runs, schemas, tables)"""
    runs: list[load.Run] = []
    tables: list[tuple[Path, Table]] = []
    schemas, loaded = [], []
    for path in dict.fromkeys(str(p) for p in paths):
        content = files.read_text(path)
        if _is_samples(content.split("\n", 1)[0]):
            results = load.load([path])
            loaded.append(path)
            runs += results.runs
            schemas.append(results.data["schema"].iloc[0])
        else:
            tables.append((Path(path), list(csv.reader(io.StringIO(content)))))
    hosts: dict[str, list[str]] = {}
    for run, path in zip(runs, loaded):
        hosts.setdefault(run.host or path, []).append(path)
    return list(hosts.values()), runs, schemas, tables


def check(paths: Iterable[str | Path]) -> list[Finding]:
    """All findings, by rule in the order of RULES."""
    groups, runs, schemas, tables = _read(paths)
    found = []
    for group in groups:
        results = load.load(group)
        labels = text.cell_labels(results.cells)
        for rule, (function, _) in RULES.items():
            found += [Finding(rule, where, what) for where, what in function(results, labels)]
    found += [Finding("mixed-hosts", *f) for f in mixed_hosts(runs)]
    found += [Finding("mixed-schemas", *f) for f in mixed_schemas(runs, schemas)]
    for path, table in tables:
        if len(table) < 2 or not _ratio_columns(table[0]):
            raise InputError(
                f"{path}: neither a result file nor a CSV table with rows and a column of ratios; nothing to check"
            )
        found += [Finding("mean-of-ratios", *f) for f in mean_of_ratios(path, table)]
    return found


def why(rule: str) -> str:
    return RULES[rule][1] if rule in RULES else FILE_RULES[rule]


def render(findings: Sequence[Finding], form: str) -> str:
    if form == "json":
        return (
            json.dumps(
                [{"rule": f.rule, "where": f.where, "what": f.what, "why": why(f.rule)} for f in findings], indent=1
            )
            + "\n"
        )
    lines = [f"warning  {f.rule}: {f.where}: {f.what}" for f in findings]
    lines.append(
        f"lint: {text.plural(len(findings), 'warning')} of {len(RULES) + len(FILE_RULES)} rules"
        if findings
        else "lint: nothing found"
    )
    return "\n".join(lines) + "\n"

# SPDX-License-Identifier: Apache-2.0
"""Answers where a figure, a table or a number of the paper comes from: samples, command, commit, machine, stream
hash."""

from collections.abc import Sequence

from .. import text
from ..allocators import NULL
from ..errors import InputError, printable
from . import figures, tables
from .evidence import Evidence
from .spec import Rule, Spec


def cells_behind(evidence: Evidence, what: str) -> list[tuple[str, str | None]]:
    """[(cell, allocator or None)] of a key, a figure or a table."""
    spec = evidence.spec
    kind, _, rest = what.partition(" ")
    if kind in ("figure", "table") and rest:
        if rest == "retention":
            return [(c, None) for c in spec.curve["cells"]]
        if rest == "hypotheses":
            return [(c, None) for h in spec.hypotheses for c in _cells_of_rule(spec, h.rule)]
        stem = rest.split("-", 1)[-1]
        if stem in spec.groups:
            return [(c, None) for c in spec.groups[stem].cells]
    parts = what.split("/")
    if parts[0] in spec.cells and len(parts) == 3:
        return [(parts[0], parts[1])]
    if parts[0] in spec.cells and parts[1:] == ["harness-ns"]:
        return [(parts[0], NULL)]
    if parts[0] == "geomean" and len(parts) == 4 and parts[1] in spec.groups:
        return [(c, parts[2]) for c in spec.groups[parts[1]].cells]
    if parts[0] == "hypothesis" and len(parts) == 3:
        for h in spec.hypotheses:
            if h.id == parts[1]:
                return [(c, None) for c in _cells_of_rule(spec, h.rule)]
    return []


def _cells_of_rule(spec: Spec, rule: Rule) -> Sequence[str]:
    if rule["kind"] == "curve":
        return spec.curve["cells"]
    return [rule["cell"]] if "cell" in rule else spec.cells_of(rule)


def things(evidence: Evidence) -> list[str]:
    """Everything that can be asked for."""
    named = [f"figure {s}" for s in figures.names_of(evidence.spec)]
    named += [f"table {kind}-{g}" for g in evidence.spec.groups for kind in ("speed", "memory")]
    return [*named, "table hypotheses", "table instructions", *tables.all_numbers(evidence)]


_SHOWN = (
    "allocator",
    "round",
    "status",
    "throughput_ops_s",
    "rss_peak",
    "run_delay_ns",
    "stream_hash",
    "library_sha256",
)


def explain(evidence: Evidence, what: str) -> list[str]:
    numbers = tables.all_numbers(evidence)
    known = what in numbers or what in things(evidence)
    if not known:
        near = [k for k in things(evidence) if what.split("/")[0] in k][:4]
        hint = f"; did you mean {', '.join(near)}" if near else ""
        raise InputError(f"the paper has no '{printable(what, 60)}'{hint} (scripts/why --list)")
    lines = [f"{what} = {numbers[what]}" if what in numbers else what]
    if what.startswith("instructions/") or what == "table instructions":
        return [*lines, "counted by callgrind: scripts/instructions --check tests/budget/golden.json repeats it"]
    if what.startswith("run/"):
        runs = [what.split("/")[1]]
        behind: list[tuple[str, str | None]] = []
    else:
        behind = cells_behind(evidence, what)
        runs = list(dict.fromkeys(evidence.spec.cells[c].run for c, _ in behind))
    for run in runs:
        results = evidence.results[run]
        record = results.runs[0].provenance
        build, machine = record.get("build", {}), record.get("machine", {})
        lines += [
            f"run {run}: {results.runs[0].path}, run id {results.runs[0].run_id}",
            f"  command: {record.get('command', 'unknown')}",
            f"  commit: {build.get('commit', 'unknown')}{' with changes' if build.get('dirty') else ''}",
            f"  host: {machine.get('host_id', 'unknown')}, {machine.get('cpu_model')}, kernel {machine.get('kernel')}",
        ]
    for cell, allocator in behind:
        samples = evidence.samples(cell, allocator)
        if allocator not in (None, NULL, evidence.spec.baseline):
            samples = evidence.samples(cell)
            samples = samples[samples["name"].isin([allocator, evidence.spec.baseline])]
        lines.append(f"cell {cell}: {text.plural(len(samples), 'sample')}")
        lines.append("  " + ",".join(_SHOWN))
        for _, row in samples.sort_values(["round", "name"]).iterrows():
            lines.append("  " + ",".join(str(row[c])[:16] for c in _SHOWN))
    return lines

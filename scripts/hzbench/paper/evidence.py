# SPDX-License-Identifier: Apache-2.0
"""The numbers of the paper, each under a key, each traceable to its samples.

CELL/ALLOCATOR/STATISTIC   one allocator in one cell: rate, ratio, low, high, peak, peak-ratio, after, samples, verdict
geomean/GROUP/ALLOCATOR/speed|peak   geometric mean of the ratios to the baseline over a group, 'failed' when a cell
failed run/RUN/commit|date|rounds|cpu|...   where a run comes from instructions/ALLOCATOR/PATTERN/SIZE/malloc|free|pair
exact counts, tests/budget
"""

import json
import math
from functools import cached_property

import pandas as pd

from .. import load, model, stats, text
from ..errors import InputError
from .spec import ROOT, Cell, Spec

STATISTICS = (
    "rate",
    "ratio",
    "low",
    "high",
    "peak",
    "peak-ratio",
    "peak-low",
    "peak-high",
    "after",
    "samples",
    "verdict",
)
INSTRUCTIONS = ROOT / "tests" / "budget" / "golden.json"


class Evidence:
    """Everything that the committed runs say about the cells of the paper."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.results: dict[str, load.Results] = {}  # by run id
        self.sections: dict[str, model.Section] = {}  # by cell id
        self._reports: dict[str, model.Report] = {}
        self._compared: dict[tuple[str, str, str, str], stats.Comparison | None] = {}
        for run in spec.runs.values():
            path = spec.results / f"{run.id}.csv"
            if not path.exists():
                raise InputError(f"{path}: missing; scripts/paper measure --out={spec.results} makes it")
            self.results[run.id] = load.load([path])
            baseline = spec.baseline if spec.baseline in self.results[run.id].allocators else None
            self._reports[run.id] = model.build(self.results[run.id], baseline)
        for cell in spec.cells.values():
            self.sections[cell.id] = self._section(cell)

    def _section(self, cell: Cell) -> model.Section:
        found = [s for s in self._reports[cell.run].sections if all(s.value(k) == v for k, v in cell.match.items())]
        if len(found) != 1:
            raise InputError(
                f"cell '{cell.id}' of the paper matches {len(found)} cells of run '{cell.run}' in {self.spec.results};"
                " its match in paper/paper.toml must name exactly one"
            )
        return found[0]

    def row(self, cell: str, allocator: str) -> model.Row:
        for row in self.sections[cell].rows:
            if row.name == allocator:
                return row
        raise InputError(
            f"'{allocator}' was not measured in cell '{cell}'; there are {', '.join(self.allocators(cell))}"
        )

    def allocators(self, cell: str) -> list[str]:
        return [row.name for row in self.sections[cell].rows]

    def samples(self, cell: str, allocator: str | None = None) -> pd.DataFrame:
        """The raw rows behind a cell."""
        data = self.results[self.spec.cells[cell].run].data
        data = data[[c == self.sections[cell].cell for c in data["cell"]]]
        return data if allocator is None else data[data["name"] == allocator]

    def compare(self, cell: str, new: str, base: str, column: str = "throughput_ops_s") -> stats.Comparison | None:
        """Paired comparison of two allocators in one cell; None when one of them failed there."""
        key = (cell, new, base, column)
        if key not in self._compared:
            if self.row(cell, new).failure or self.row(cell, base).failure:
                return None
            a, b, _ = model.paired(self.samples(cell, new), self.samples(cell, base), column)
            self._compared[key] = stats.compare_paired(a, b)
        return self._compared[key]

    def statistics(self, cell: str, allocator: str) -> dict[str, str]:
        """{statistic: text} of one allocator in one cell; '' where there is none."""
        row = self.row(cell, allocator)
        if row.failure:
            return {name: "failed" if name in ("rate", "ratio", "verdict") else "" for name in STATISTICS}
        base = allocator == self.spec.baseline
        speed, memory = row.speed, row.memory
        three = text.three
        return {
            "rate": text.MILLIONS(row.throughput),
            "ratio": "1" if base else three(speed.ratio) if speed else "",
            "low": three(speed.low) if speed else "",
            "high": three(speed.high) if speed else "",
            "peak": text.mebibytes(row.rss_peak),
            "peak-ratio": "1" if base else three(memory.ratio) if memory else "",
            "peak-low": three(memory.low) if memory else "",
            "peak-high": three(memory.high) if memory else "",
            "after": text.mebibytes(row.rss_after),
            "samples": str(row.ok),
            "verdict": "baseline" if base else row.verdict,
        }

    def geometric_mean(self, group: str, allocator: str, quantity: str) -> float:
        rows = [self.row(cell, allocator) for cell in self.spec.groups[group].cells]
        if allocator == self.spec.baseline:
            return 1.0
        found = [getattr(r, quantity) for r in rows]
        return stats.geometric_mean([c.ratio for c in found]) if all(found) else math.nan

    @cached_property
    def numbers(self) -> dict[str, str]:
        """{key: text} of everything."""
        out = {}
        for cell in self.spec.cells:
            for allocator in self.allocators(cell):
                for name, value in self.statistics(cell, allocator).items():
                    out[f"{cell}/{allocator}/{name}"] = value
            if not math.isnan(self.sections[cell].harness_ns):
                out[f"{cell}/harness-ns"] = text.three(self.sections[cell].harness_ns)
        for group in self.spec.groups.values():
            shared = [a for a in self.allocators(group.cells[0]) if all(a in self.allocators(c) for c in group.cells)]
            for allocator in shared:
                for key, quantity in (("speed", "speed"), ("peak", "memory")):
                    mean = self.geometric_mean(group.id, allocator, quantity)
                    out[f"geomean/{group.id}/{allocator}/{key}"] = "failed" if math.isnan(mean) else text.three(mean)
        for run in self.spec.runs:
            out.update(self._origin(run))
        for allocator, patterns in json.loads(INSTRUCTIONS.read_text(encoding="utf-8")).items():
            for pattern, sizes in patterns.items():
                for size, counts in sizes.items():
                    for what, value in counts.items():
                        out[f"instructions/{allocator}/{pattern}/{size}/{what}"] = f"{value:g}"
        return out

    def _origin(self, run: str) -> dict[str, str]:
        results = self.results[run]
        record = results.runs[0].provenance
        machine, build = record.get("machine", {}), record.get("build", {})
        facts = {
            "commit": build.get("commit", "")[:7],
            "date": min(results.data["started_at"])[:10],
            "rounds": str(results.data["round"].nunique()),
            "samples": text.count(len(results.data)),
            "failed": str(int((results.data["status"] != "ok").sum())),
            "cpu": machine.get("cpu_model") or "unknown",
            "cores": str(machine.get("pus") or "unknown"),
            "kernel": machine.get("kernel") or "unknown",
            "libc": machine.get("libc") or "unknown",
            "compiler": build.get("compiler") or "unknown",
        }
        return {f"run/{run}/{name}": value for name, value in facts.items()}

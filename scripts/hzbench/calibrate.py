# SPDX-License-Identifier: Apache-2.0
"""Calibration of the statistics on real samples: how often is nothing called something, and how often is something seen?

One run holds several copies of a base allocator and slowed-down variants of it, over many rounds. Windows of a few rounds
are comparisons of their own, none of which shares a sample with another one of its kind, so their verdicts can be counted:
copies against copies give the false-positive rate, base against variants the detection curve, and the gate is run as a
user runs it, on a file of each window.
"""

import csv
import io
import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.stats

from . import compare, errors, gate, load, model, stats, text

AA_ROUNDS = 8
CURVE_ROUNDS = (8, 16, 32)
GATES = 20
GATE_LIMIT = 0.05
PLANTED = 0.10
RESAMPLES = 1000


@dataclass
class Rate:
    """`hits` of `trials`, with a 95 % interval (Clopper and Pearson)."""

    hits: int
    trials: int

    @property
    def share(self):
        return self.hits / self.trials if self.trials else math.nan

    @property
    def interval(self):
        if not self.trials:
            return 0.0, 1.0
        found = scipy.stats.binomtest(self.hits, self.trials).proportion_ci(0.95, method="exact")
        return float(found.low), float(found.high)

    def __str__(self):
        if not self.trials:
            return "no window of so many rounds"
        low, high = self.interval
        return f"{self.hits} of {self.trials} = {100 * self.share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


@dataclass
class Calibration:
    levels: dict  # injected share of the base's time an op: name of the variant
    aa: dict  # cell label: Rate of A/A pairs called different
    pairs: list  # Comparison of each A/A pair
    aa_adjusted: Rate  # the same pairs judged as one table, after control of false discoveries
    spread: dict  # cell label: median visible effect of an A/A pair
    recovered: dict  # (cell label, level): estimate over all rounds, share of time added
    curve: dict  # (rounds, level): Rate of windows called slower
    wrong_sign: Rate  # windows of slowed variants called faster
    planted: Rate  # gates that failed on the variant with PLANTED
    unchanged: Rate  # gates that failed on a copy


def _windows(blocks, rounds):
    """Disjoint runs of `rounds` consecutive rounds, in the order they were measured."""
    return [blocks[i : i + rounds] for i in range(0, len(blocks) - rounds + 1, rounds)]


def _speeds(results, cell, name):
    """{block: ops/s} of the good samples."""
    rows = results.data[(results.data["cell"] == cell) & (results.data["name"] == name) & (results.data["status"] == "ok")]
    return dict(zip(rows["block"], rows["throughput_ops_s"]))


def _ordered_blocks(results):
    data = results.data.sort_values("sample")
    return list(dict.fromkeys(zip(data["file"], data["round"], data["block"])))


def _compare(new, base, window):
    both = [b for b in window if b in new and b in base]
    return stats.compare_paired([new[b] for b in both], [base[b] for b in both], resamples=RESAMPLES) if both else None


def _copies(results, base):
    """Names of the copies of `base` in one run: base, base#2, ..."""
    return [n for n in results.allocators if n == base or n.startswith(base + "#")]


def _gates(path, base, new, cells_rounds):
    """Runs the gate once for each window of rounds on a file that holds just these rounds."""
    content = load.read_text(path)
    reader = csv.reader(io.StringIO(content))
    head = next(reader)
    rows = list(reader)
    at = head.index("round")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "window.csv"
        provenance = load.sibling(path, ".run.json")
        if provenance.exists():
            load.sibling(file, ".run.json").write_bytes(provenance.read_bytes())
        for window in cells_rounds:
            wanted = {str(r) for r in window}
            with file.open("w", newline="", encoding="utf-8") as out:
                writer = csv.writer(out, lineterminator="\n")
                writer.writerow(head)
                writer.writerows(r for r in rows if r[at] in wanted)
            difference = compare.build(f"{file}:{base}", f"{file}:{new}")
            failed += gate.judge(difference, GATE_LIMIT)[1] == errors.GATE_FAILED
    return Rate(failed, len(cells_rounds))


def _add(a, b):
    return Rate(a.hits + b.hits, a.trials + b.trials)


def analyse(runs):
    """Calibration from several (result file, base, {injected share: name of the variant}), a file a workload."""
    parts = [_analyse(*run) for run in runs]
    whole = parts[0]
    for part in parts[1:]:
        for field in ("aa", "spread", "recovered"):
            clash = set(getattr(whole, field)) & set(getattr(part, field))
            if clash:
                raise errors.InputError(f"{next(iter(clash))} is in two files; give each workload once")
            getattr(whole, field).update(getattr(part, field))
        for key, rate in part.curve.items():
            whole.curve[key] = _add(whole.curve.get(key, Rate(0, 0)), rate)
        whole.levels |= part.levels
        whole.pairs += part.pairs
        for field in ("wrong_sign", "planted", "unchanged"):
            setattr(whole, field, _add(getattr(whole, field), getattr(part, field)))
    q = stats.benjamini_hochberg([c.p for c in whole.pairs])
    whole.aa_adjusted = Rate(sum(c.verdict(v) in ("faster", "slower") for c, v in zip(whole.pairs, q)), len(whole.pairs))
    return whole


def _analyse(path, base, levels):
    results = load.load([path])
    for name in (base, *levels.values()):
        if name not in results.allocators:
            raise errors.InputError(f"{path}: no allocator '{errors.printable(name, 60)}'; it has {', '.join(results.allocators)}")
    labels = text.cell_labels(results.cells)
    blocks = [b for _, _, b in _ordered_blocks(results)]
    copies = _copies(results, base)
    if len(copies) < 2:
        raise errors.InputError(f"{path}: {base} occurs once; a false-positive rate needs it at least twice in --alloc")
    aa, spread, everything = {}, {}, []
    recovered, curve = {}, {}
    wrong = [0, 0]
    for cell in results.cells:
        speeds = {n: _speeds(results, cell, n) for n in (*copies, *levels.values())}
        pairs = list(zip(copies[::2], copies[1::2]))  # no copy is in two pairs
        compared = [_compare(speeds[a], speeds[b], w) for w in _windows(blocks, AA_ROUNDS) for a, b in pairs]
        compared = [c for c in compared if c]
        aa[labels[cell]] = Rate(sum(c.verdict() in ("faster", "slower") for c in compared), len(compared))
        spread[labels[cell]] = float(np.median([c.visible for c in compared])) if compared else math.nan
        everything += compared
        for level, name in levels.items():
            whole = _compare(speeds[name], speeds[base], blocks)
            recovered[(labels[cell], level)] = (1 / whole.ratio - 1, 1 / whole.high - 1, 1 / whole.low - 1)
            nominal = round(100 * level) / 100  # shares in whole nanoseconds differ a little from workload to workload
            for rounds in CURVE_ROUNDS:
                found = [c for w in _windows(blocks, rounds) if (c := _compare(speeds[name], speeds[base], w))]
                rate = curve.setdefault((rounds, nominal), Rate(0, 0))
                rate.hits += sum(c.verdict() == "slower" for c in found)
                rate.trials += len(found)
                wrong[0] += sum(c.verdict() == "faster" for c in found)
                wrong[1] += len(found)
    rounds = sorted(set(results.data["round"]))
    windows = _windows(rounds, max(stats.MIN_PAIRS, len(rounds) // GATES))[:GATES]
    planted = next((n for level, n in levels.items() if abs(level - PLANTED) < 0.005), None)
    return Calibration(
        dict(levels), aa, everything, Rate(0, 0), spread, recovered, curve, Rate(*wrong),
        _gates(path, base, planted, windows) if planted else Rate(0, 0), _gates(path, base, copies[1], windows),
    )  # fmt: skip


def render(c):
    total = Rate(sum(r.hits for r in c.aa.values()), sum(r.trials for r in c.aa.values()))
    out = [f"A/A pairs of {AA_ROUNDS} rounds called different (at 5 %; no sample is in two pairs)"]
    for label, rate in c.aa.items():
        out.append(f"  {label}: {rate}; a pair would see {text.percent(c.spread[label]) if rate.trials else text.MISSING}")
    out += [f"  all: {total}", f"  all as one table, false discoveries controlled: {c.aa_adjusted}", ""]
    out.append("Injected and recovered slow-down (share of the time an op, all rounds, 95 % interval)")
    for (label, level), (value, low, high) in c.recovered.items():
        out.append(f"  {label}: +{100 * level:.1f} % injected, {100 * value:+.1f} % found [{100 * low:+.1f}, {100 * high:+.1f}]")
    out += ["", "Windows in which the slow-down was called slower"]
    for rounds in CURVE_ROUNDS:
        cells = [f"+{100 * level:g} %: {rate}" for (n, level), rate in sorted(c.curve.items()) if n == rounds and rate.trials]
        if cells:
            out += [f"  {rounds} rounds"] + [f"    {cell}" for cell in cells]
    out += [f"  called faster: {c.wrong_sign}", ""]
    out.append(f"The gate (--max-worse={100 * GATE_LIMIT:g}%), one run for each window of rounds over all cells")
    out.append(f"  on a planted slow-down of {100 * PLANTED:g} %: failed {c.planted}")
    out.append(f"  on itself: failed {c.unchanged}")
    return "\n".join(out) + "\n"


def draw(c, path):
    """Detection curve as SVG or PNG: share of windows called slower by injected slow-down, a line a number of rounds."""
    from . import figures

    plt = figures.plt
    with plt.rc_context(figures.RC):
        figure, axis = plt.subplots(figsize=(5.2, 3.4), constrained_layout=True)
        total = Rate(sum(r.hits for r in c.aa.values()), sum(r.trials for r in c.aa.values()))
        axis.axhspan(0, 5, color="#EFEFEF", lw=0, zorder=0)
        for rounds, (colour, marker) in zip(CURVE_ROUNDS, (("#56B4E9", "s"), ("#0072B2", "^"), ("#D55E00", "o"))):
            points = [(100 * level, rate) for (n, level), rate in sorted(c.curve.items()) if n == rounds and rate.trials]
            if not points:
                continue
            if rounds == AA_ROUNDS:
                points.insert(0, (0.0, Rate(total.hits, total.trials)))
            xs, ys = [x for x, _ in points], [100 * r.share for _, r in points]
            errors_ = [[100 * (r.share - r.interval[0]) for _, r in points], [100 * (r.interval[1] - r.share) for _, r in points]]
            axis.errorbar(xs, ys, yerr=errors_, color=colour, marker=marker, ms=5, lw=1.6, capsize=2.5, label=f"{rounds} rounds")
        axis.set_xlabel("injected slow-down, % of the time an op")
        axis.set_ylabel("called slower, % of windows")
        axis.set_ylim(-2, 102)
        axis.set_xlim(left=-0.6)
        axis.grid(axis="y")
        axis.legend(frameon=False, loc="lower right")
        axis.set_title("What the statistics see (0 %: A/A pairs called different)")
        metadata = {"Date": None} if str(path).endswith(".svg") else None
        figure.savefig(path, metadata=metadata)
        plt.close(figure)


def pilot(path, allocator):
    """Median CPU nanoseconds an op of each cell: what a share of the time is in nanoseconds. Not the clock on the wall: a
    delay takes CPU time, too, so the share is right on a busy machine as well."""
    results = load.load([path])
    out = {}
    labels = text.cell_labels(results.cells)
    for cell in results.cells:
        rows = results.data[(results.data["cell"] == cell) & (results.data["name"] == allocator)]
        problem = model.failure_text(rows) or ("" if len(rows) else "no sample")
        if problem:
            raise errors.InputError(f"{path}: {allocator}, {labels[cell]}: {problem}")
        out[labels[cell]] = float(((rows["user_ns"] + rows["system_ns"]) / rows["ops"]).median())
    return out


def plan(pilot_path, base, variant, copies=4, levels=(0.02, 0.05, PLANTED, 0.2)):
    """What to measure: `variant` is an --alloc item in which @ stands for nanoseconds an op."""
    ns = list(pilot(pilot_path, base).values())
    if len(ns) != 1:
        raise errors.InputError(f"{pilot_path}: {len(ns)} cells; a pilot has one")
    injected = {level: round(level * ns[0]) for level in levels}
    if 0 in injected.values() or len(set(injected.values())) < len(injected):
        raise errors.InputError(f"{pilot_path}: {text.three(ns[0])} ns an op; {100 * min(levels):g} % of it cannot be injected in whole nanoseconds")
    # What was asked for in whole nanoseconds is what is recovered, so the share is that of the rounded number.
    named = {round(n / ns[0], 4): variant.replace("@", str(n)) for n in injected.values()}
    return {"base": base, "base_ns": ns[0], "levels": named, "alloc": ",".join([base] * copies + list(named.values()))}


def load_plan(path):
    """(base, {level: name}) of the JSON file that scripts/calibrate writes beside a run."""
    try:
        plan = json.loads(load.read_text(path, "calibration plan"))
        return plan["base"], {float(level): name for level, name in plan["levels"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.InputError(f"{path}: not a calibration plan ({error})") from error

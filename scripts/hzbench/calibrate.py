# SPDX-License-Identifier: Apache-2.0
"""Calibration of the statistics on real samples: how often is nothing called something, and how often is something
seen?

A pilot of each workload measures what a delay costs there, in shares of the workload's own time an op; a plan follows:
the delays that cost 2, 5, 10 and 20 %, and samples of a set length. One run then holds several copies of a base
allocator and the slowed variants of it, over many rounds. Windows of a few rounds are comparisons of their own, none of
which shares a sample with another one of its kind, so their verdicts can be counted: copies against copies give the
false-positive rate, base against variants the detection curve, and the gate is run as a user runs it, on a file of each
window.
"""

import csv
import io
import json
import math
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.stats

from . import compare, errors, files, gate, load, model, stats, text
from .schema import Cell

AA_ROUNDS = 8
CURVE_ROUNDS = (8, 16, 32)
GATES = 20  # of each kind, over all workloads
GATE_LIMIT = 0.05
PLANTED = 0.10
LEVELS = (0.02, 0.05, PLANTED, 0.2)
COPIES = 6
PLANTED_COPIES = 3  # so that gates have more rounds; each is compared with a copy of the base of its own
SAMPLE_S = 0.045  # measured part of a sample of the base: twice what starting a process takes
SHORTEST_PS = 1000  # a delay is whole clock cycles, 300 ps or so
RESAMPLES = 1000

T = TypeVar("T")
Speeds: TypeAlias = dict[str, float]  # block: ops/s
Turn: TypeAlias = tuple[str, str, Sequence[int]]  # base, new, rounds


@dataclass
class Rate:
    """`hits` of `trials`, with a 95 % interval (Clopper and Pearson)."""

    hits: int
    trials: int

    @property
    def share(self) -> float:
        return self.hits / self.trials if self.trials else math.nan

    @property
    def interval(self) -> stats.Interval:
        if not self.trials:
            return 0.0, 1.0
        found = scipy.stats.binomtest(self.hits, self.trials).proportion_ci(0.95, method="exact")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        if not self.trials:
            return "no window of so many rounds"
        low, high = self.interval
        return f"{self.hits} of {self.trials} = {100 * self.share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


@dataclass
class Fit:
    """What a delay costs: share of the base's time an op = slope * ns. The delay is fenced in both, so nothing costs
    nothing; whether that holds, `start` tells: where the line would begin if it were free. All with a 95 % interval."""

    slope: float  # share a ns
    low: float
    high: float
    start: float
    start_low: float
    start_high: float

    @property
    def error(self) -> float:
        """Of what is injected, as a share of it."""
        return max(self.high - self.slope, self.slope - self.low) / self.slope

    @property
    def adds(self) -> bool:
        """Whether the pilot is compatible with a delay that simply adds to the work."""
        return self.start_low <= 0 <= self.start_high


@dataclass
class Plan:
    """What to measure with one workload, and what is known of it."""

    base: str
    base_ns: float  # wall time an op of one thread
    fit: Fit
    levels: dict[float, str]  # injected share of the base's time an op: name of the variant
    workload: str
    threads: int
    alloc: str
    count: int  # of allocators in `alloc`
    sample_s: float  # of a process, from start to end


@dataclass
class Calibration:
    plans: dict[str, Plan]  # cell label: Plan
    aa: dict[str, Rate]  # cell label: Rate of A/A pairs called different
    pairs: list[stats.Comparison]  # Comparison of each A/A pair
    aa_adjusted: Rate  # the same pairs as one table, after control of false discoveries
    spread: dict[str, float]  # cell label: median visible effect of an A/A pair
    recovered: dict[
        tuple[str, float], tuple[float, float, float]
    ]  # (cell label, level): share of time added, low, high
    curve: dict[tuple[int, float], Rate]  # (rounds, level): Rate of windows called slower
    wrong_sign: Rate  # windows of slowed variants called faster
    planted: Rate  # gates that failed on the variant with PLANTED
    unchanged: Rate  # gates that failed on a copy
    gate_rounds: int  # fewest rounds a gate had


def _windows(blocks: Sequence[T], rounds: int) -> list[Sequence[T]]:
    """Disjoint runs of `rounds` consecutive rounds, in the order they were measured."""
    return [blocks[i : i + rounds] for i in range(0, len(blocks) - rounds + 1, rounds)]


def _speeds(results: load.Results, cell: Cell, name: str) -> Speeds:
    """{block: ops/s} of the good samples."""
    rows = results.data[
        (results.data["cell"] == cell) & (results.data["name"] == name) & (results.data["status"] == "ok")
    ]
    return dict(zip(rows["block"], rows["throughput_ops_s"]))


def _ordered_blocks(results: load.Results) -> list[tuple[str, int, str]]:
    data = results.data.sort_values("sample")
    return list(dict.fromkeys(zip(data["file"], data["round"], data["block"])))


def _compare(new: Speeds, base: Speeds, window: Iterable[str]) -> stats.Comparison | None:
    both = [b for b in window if b in new and b in base]
    return stats.compare_paired([new[b] for b in both], [base[b] for b in both], resamples=RESAMPLES) if both else None


def _copies(results: load.Results, base: str) -> list[str]:
    """Names of the copies of `base` in one run: base, base#2, ..."""
    return [n for n in results.allocators if n == base or n.startswith(base + "#")]


def _slowdown(ratio: float) -> float:
    return 1 / ratio - 1 if ratio > 0 else math.inf


def _average(speeds: Sequence[Speeds]) -> Speeds:
    """Geometric mean of several {block: ops/s} in the blocks that all of them have."""
    return {b: stats.geometric_mean([s[b] for s in speeds]) for b in speeds[0] if all(b in s for s in speeds)}


def _turns(pairs: Sequence[tuple[str, str]], rounds: Sequence[int], gates: int) -> list[Turn]:
    """[(base, new, rounds)] for so many gates, as long as can be, none of which shares a sample with another."""
    if not pairs or not gates:
        return []
    windows = _windows(rounds, max(stats.MIN_PAIRS, len(rounds) // math.ceil(gates / len(pairs))))
    return [(*pair, window) for window in windows for pair in pairs][:gates]


def _gates(path: str | Path, turns: Sequence[Turn]) -> Rate:
    """Runs the gate once for each turn, on a file that holds just its rounds."""
    content = files.read_text(path)
    reader = csv.reader(io.StringIO(content))
    head = next(reader)
    rows = list(reader)
    at = head.index("round")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "window.csv"
        provenance = files.sibling(path, ".run.json")
        if provenance.exists():
            files.sibling(file, ".run.json").write_bytes(provenance.read_bytes())
        for base, new, window in turns:
            wanted = {str(r) for r in window}
            with file.open("w", newline="", encoding="utf-8") as out:
                writer = csv.writer(out, lineterminator="\n")
                writer.writerow(head)
                writer.writerows(r for r in rows if r[at] in wanted)
            difference = compare.build(f"{file}:{base}", f"{file}:{new}")
            failed += gate.check(difference, GATE_LIMIT)[1] == errors.GATE_FAILED
    return Rate(failed, len(turns))


def _add(a: Rate, b: Rate) -> Rate:
    return Rate(a.hits + b.hits, a.trials + b.trials)


def analyse(runs: Sequence[tuple[str, Plan]]) -> Calibration:
    """Calibration from several (result file, Plan), a file a workload."""
    turns = [GATES * i // len(runs) for i in range(len(runs) + 1)]
    parts = [_analyse(*run, end - begin) for run, begin, end in zip(runs, turns, turns[1:])]
    whole = parts[0]
    for part in parts[1:]:
        for field in ("plans", "aa", "spread", "recovered"):
            clash = set(getattr(whole, field)) & set(getattr(part, field))
            if clash:
                raise errors.InputError(f"{next(iter(clash))} is in two files; give each workload once")
            getattr(whole, field).update(getattr(part, field))
        for key, rate in part.curve.items():
            whole.curve[key] = _add(whole.curve.get(key, Rate(0, 0)), rate)
        whole.pairs += part.pairs
        for field in ("wrong_sign", "planted", "unchanged"):
            setattr(whole, field, _add(getattr(whole, field), getattr(part, field)))
        whole.gate_rounds = min(whole.gate_rounds, part.gate_rounds)
    q = stats.benjamini_hochberg([c.p for c in whole.pairs])
    whole.aa_adjusted = Rate(
        sum(c.verdict(v) in ("faster", "slower") for c, v in zip(whole.pairs, q)), len(whole.pairs)
    )
    return whole


def _analyse(path: str, plan: Plan, gates: int) -> Calibration:
    results = load.load([path])
    base, levels = plan.base, plan.levels
    for name in (base, *levels.values()):
        if name not in results.allocators:
            raise errors.InputError(
                f"{path}: no allocator '{errors.printable(name, 60)}'; it has {', '.join(results.allocators)}"
            )
    labels = text.cell_labels(results.cells)
    blocks = [b for _, _, b in _ordered_blocks(results)]
    copies = _copies(results, base)
    if len(copies) < 2:
        raise errors.InputError(f"{path}: {base} occurs once; a false-positive rate needs it at least twice in --alloc")
    aa, spread = {}, {}
    everything: list[stats.Comparison] = []
    recovered: dict[tuple[str, float], tuple[float, float, float]] = {}
    curve: dict[tuple[int, float], Rate] = {}
    wrong = [0, 0]
    variants = {level: _copies(results, name) for level, name in levels.items()}
    pairs = list(zip(copies[::2], copies[1::2]))  # no copy is in two pairs
    for cell in results.cells:
        speeds = {n: _speeds(results, cell, n) for n in (*copies, *sum(variants.values(), []))}
        halves = [(speeds[a], speeds[b], w) for w in _windows(blocks, AA_ROUNDS) for a, b in pairs]
        compared = [c for one in halves if (c := _compare(*one))]
        aa[labels[cell]] = Rate(sum(c.verdict() in ("faster", "slower") for c in compared), len(compared))
        spread[labels[cell]] = float(np.median([c.visible for c in compared])) if compared else math.nan
        everything += compared
        average = _average([speeds[n] for n in copies])
        for level, names in variants.items():
            whole = _compare(_average([speeds[n] for n in names]), average, blocks)
            if whole:
                found_slower = (_slowdown(whole.ratio), _slowdown(whole.high), _slowdown(whole.low))
                recovered[(labels[cell], level)] = found_slower
            for length in CURVE_ROUNDS:
                windows = [(speeds[n], speeds[b], w) for n, b in zip(names, copies) for w in _windows(blocks, length)]
                found = [c for one in windows if (c := _compare(*one))]
                rate = curve.setdefault((length, level), Rate(0, 0))
                rate.hits += sum(c.verdict() == "slower" for c in found)
                rate.trials += len(found)
                wrong[0] += sum(c.verdict() == "faster" for c in found)
                wrong[1] += len(found)
    rounds = sorted(set(results.data["round"]))
    planted = _turns(list(zip(copies, variants.get(PLANTED, []))), rounds, gates)
    unchanged = _turns(pairs, rounds, gates)
    return Calibration(
        {labels[cell]: plan for cell in results.cells},
        aa,
        everything,
        Rate(0, 0),
        spread,
        recovered,
        curve,
        Rate(*wrong),
        _gates(path, planted),
        _gates(path, unchanged),
        min((len(w) for _, _, w in planted + unchanged), default=0),
    )


def render(c: Calibration) -> str:
    total = Rate(sum(r.hits for r in c.aa.values()), sum(r.trials for r in c.aa.values()))
    out = [f"A/A pairs of {AA_ROUNDS} rounds called different (at 5 %; no sample is in two pairs)"]
    for label, rate in c.aa.items():
        out.append(
            f"  {label}: {rate}; a pair would see {text.percent(c.spread[label]) if rate.trials else text.MISSING}"
        )
    out += [f"  all: {total}", f"  all as one table, false discoveries controlled: {c.aa_adjusted}", ""]
    out.append("What a delay costs (pilot: share of the time an op = slope x ns, 95 % interval)")
    out += [f"  {label}: {_fit_text(plan)}" for label, plan in c.plans.items()]
    out += ["", "Injected and recovered slow-down (share of the time an op, all rounds, 95 % interval)"]
    for (label, level), (value, low, high) in c.recovered.items():
        off = c.plans[label].fit.error * level
        verdict = _recovery(level, off, value, low, high)
        injected = f"+{100 * level:.1f} % +-{100 * off:.1f} injected"
        out.append(
            f"  {label}: {injected}, {100 * value:+.1f} % found [{100 * low:+.1f}, {100 * high:+.1f}]: {verdict}"
        )
    out += ["", "Windows in which the slow-down was called slower"]
    for rounds in CURVE_ROUNDS:
        cells = [
            f"+{100 * level:g} %: {rate}" for (n, level), rate in sorted(c.curve.items()) if n == rounds and rate.trials
        ]
        if cells:
            out += [f"  {rounds} rounds"] + [f"    {cell}" for cell in cells]
    out += [f"  called faster: {c.wrong_sign}", ""]
    out.append(f"The gate (--max-worse={100 * GATE_LIMIT:g}%), {c.gate_rounds} rounds of one workload each")
    out.append(f"  on a planted slow-down of {100 * PLANTED:g} %: failed {c.planted}")
    out.append(f"  on itself: failed {c.unchanged}")
    return "\n".join(out) + "\n"


def draw(c: Calibration, path: str | Path) -> None:
    """Detection curve as SVG or PNG: share of windows called slower by injected slow-down, a line a number of
    rounds."""
    from .figures import style  # before pyplot: it chooses where matplotlib draws

    import matplotlib.pyplot as plt

    with plt.rc_context(style.RC):
        figure, axis = plt.subplots(figsize=(5.2, 3.4), constrained_layout=True)
        total = Rate(sum(r.hits for r in c.aa.values()), sum(r.trials for r in c.aa.values()))
        axis.axhspan(0, 5, color="#EFEFEF", lw=0, zorder=0)
        for rounds, (colour, marker) in zip(CURVE_ROUNDS, (("#56B4E9", "s"), ("#0072B2", "^"), ("#D55E00", "o"))):
            points = [
                (100 * level, rate) for (n, level), rate in sorted(c.curve.items()) if n == rounds and rate.trials
            ]
            if not points:
                continue
            if rounds == AA_ROUNDS:
                points.insert(0, (0.0, Rate(total.hits, total.trials)))
            xs, ys = [x for x, _ in points], [100 * r.share for _, r in points]
            errors_ = [
                [100 * (r.share - r.interval[0]) for _, r in points],
                [100 * (r.interval[1] - r.share) for _, r in points],
            ]
            axis.errorbar(
                xs, ys, yerr=errors_, color=colour, marker=marker, ms=5, lw=1.6, capsize=2.5, label=f"{rounds} rounds"
            )
        axis.set_xlabel("injected slow-down, % of the time an op")
        axis.set_ylabel("called slower, % of windows")
        axis.set_ylim(-2, 102)
        axis.set_xlim(left=-0.6)
        axis.grid(axis="y")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, loc="lower right")
        axis.set_title("What the statistics see (0 %: A/A pairs called different)")
        metadata = {"Date": None} if str(path).endswith(".svg") else None
        figure.savefig(path, metadata=metadata)
        plt.close(figure)


def _recovery(level: float, off: float, value: float, low: float, high: float) -> str:
    """As in runner selftest: an error as large as the fault itself would find anything."""
    if abs(value - level) > off + (value - low if value > level else high - value):
        return "NOT FOUND"
    return "ok" if off + (high - low) / 2 < level else "too noisy"


def _fit_text(plan: Plan) -> str:
    f = plan.fit
    start = f"the line begins at {100 * f.start:+.1f} % [{100 * f.start_low:+.1f}, {100 * f.start_high:+.1f}]"
    return (
        f"{text.three(plan.base_ns)} ns an op, {_slope_text(f)}; {start}{'' if f.adds else ': it does not simply add'}"
    )


def _slope_text(f: Fit) -> str:
    return f"1 ns costs {100 * f.slope:.2f} % [{100 * f.low:.2f}, {100 * f.high:.2f}]"


def _lines(logs: stats.Floats, ns: stats.Floats) -> tuple[float, float]:
    """(slope through the origin, start of a free line) of log(time with delay / time without), a row a round."""
    share = np.array([math.expm1(stats.hodges_lehmann(column)) for column in logs.T])
    return float(ns @ share / (ns @ ns)), float(np.polyfit(ns, share, 1)[1])


def fit(logs: npt.ArrayLike, ns: npt.ArrayLike, seed: int = stats.SEED, resamples: int = RESAMPLES) -> Fit:
    """Fit of a pilot: `logs` has a row a round and a column for each delay of `ns`. The intervals are a bootstrap of
    rounds."""
    logs, ns = np.asarray(logs, float), np.asarray(ns, float)
    slope, start = _lines(logs, ns)
    rng = np.random.default_rng(seed)
    again = np.array([_lines(logs[rng.integers(0, len(logs), len(logs))], ns) for _ in range(resamples)])
    (low, start_low), (high, start_high) = np.quantile(again, stats.expanded_levels(len(logs)), axis=0)
    return Fit(slope, float(low), float(high), start, float(start_low), float(start_high))


def _start_seconds(rows: pd.DataFrame, measured_s: float) -> float:
    """What a sample takes beside its measured part, from when the samples began; those times are whole seconds."""
    begun = pd.to_datetime(rows["started_at"])
    passed_s = (begun.max() - begun.min()).total_seconds()
    return max(0.0, passed_s / max(1, len(rows) - 1) - measured_s)


def _pilot(path: str | Path, variant: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(rows, ops/s with a row a round and a column for each delay in ns, 0 first) of a pilot run."""
    results = load.load([path])
    if len(results.cells) != 1:
        raise errors.InputError(f"{path}: {len(results.cells)} cells; a pilot has one")
    problem = model.failure_text(results.data)
    if problem:
        raise errors.InputError(f"{path}: {problem}")
    delay = re.compile(re.escape(variant).replace("@", r"(\d+)"))
    delays = {name: int(m[1]) / 1000 for name in results.allocators if (m := delay.fullmatch(name))}
    if 0 not in delays.values() or len(delays) < 3:
        has = errors.printable(", ".join(results.allocators), 200)
        raise errors.InputError(f"{path}: a pilot has {variant.replace('@', '0')} and two delays or more; it has {has}")
    speeds = results.data.pivot(index="block", columns="name", values="throughput_ops_s")
    speeds = speeds[list(delays)].rename(columns=delays).sort_index(axis=1).dropna()
    if len(speeds) < stats.MIN_PAIRS:
        raise errors.InputError(f"{path}: {len(speeds)} rounds; a pilot needs {stats.MIN_PAIRS}")
    return results.data, speeds


def plan(path: str | Path, variant: str, workload: str, levels: Sequence[float] = LEVELS) -> Plan:
    """Plan from the pilot run of one cell: the variant with 0 ps and with others. `variant` is an --alloc item in which
    @ stands for picoseconds; in `workload` @ stands for the operations of a thread."""
    rows, speeds = _pilot(path, variant)
    delays = speeds.columns[1:]
    found = fit(np.log(speeds[[0]].to_numpy() / speeds[delays].to_numpy()), delays)
    if found.low <= 0:
        raise errors.InputError(
            f"{path}: the delays are lost in noise ({_slope_text(found)}); measure on a quieter machine"
        )
    threads = int(rows["threads"].iloc[0])
    base_ns = float(threads * 1e9 / speeds[0].median())
    injected_ps = {level: round(1000 * level / found.slope) for level in levels}
    if min(injected_ps.values()) < SHORTEST_PS:
        least = f"{100 * min(levels):g} % of {text.three(base_ns)} ns"
        raise errors.InputError(f"{path}: {least} is too short to be injected; take a workload with more work an op")
    base = variant.replace("@", "0")
    named = {level: variant.replace("@", str(ps)) for level, ps in injected_ps.items()}
    thousands = max(1, round(SAMPLE_S * 1e6 / base_ns))
    slowed = [level for level in named for _ in range(PLANTED_COPIES if level == PLANTED else 1)]
    slowed_s = SAMPLE_S * (1 + sum(slowed) / (COPIES + len(slowed)))
    start_s = _start_seconds(rows, float(rows["elapsed_ns"].mean()) / 1e9)
    return Plan(
        base,
        base_ns,
        found,
        named,
        workload.replace("@", f"{thousands}k"),
        threads,
        ",".join([base] * COPIES + [named[level] for level in slowed]),
        COPIES + len(slowed),
        slowed_s + start_s,
    )


def store_plan(plan: Plan) -> str:
    return json.dumps(asdict(plan), indent=1)


def load_plan(path: str | Path) -> Plan:
    """Plan in the JSON file that scripts/calibrate writes beside a run."""
    try:
        content = json.loads(files.read_text(path, "calibration plan"))
        content["fit"] = Fit(**content["fit"])
        content["levels"] = {float(level): name for level, name in content["levels"].items()}
        return Plan(**content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.InputError(f"{path}: not a calibration plan ({error})") from error


def announce(plans: Sequence[tuple[str, Plan]], rounds: int) -> str:
    """What is going to be measured and how long it takes: a line for each (name, Plan)."""
    out, total_s = [], 0.0
    for name, plan in plans:
        samples = rounds * plan.count
        total_s += samples * plan.sample_s
        delays = ", ".join(f"{100 * level:.1f} %" for level in plan.levels)
        out.append(f"{name}: {plan.workload}, {_fit_text(plan)}")
        out.append(
            f"  injected {delays}, +-{100 * plan.fit.error:.0f} % of it; {samples} samples of"
            f" {1000 * plan.sample_s:.0f} ms"
        )
    out.append(f"{rounds} rounds take about {total_s / 60:.1f} minutes")
    return "\n".join(out)

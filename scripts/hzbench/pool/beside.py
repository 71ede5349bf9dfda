# SPDX-License-Identifier: Apache-2.0
"""Hosts of several platforms beside one another: in each cell, which verdicts agree. Nothing is pooled across
platforms: their C libraries, schedulers and page faults differ, so a mean of them would be of nothing."""

from collections.abc import Sequence

from .. import allocators, schema, tables, text
from . import build
from .build import QUANTITIES, Line
from .hosts import Host

_PLATFORM = schema.CELL.index("platform")
_DECIDED = ("faster", "slower", "smaller", "larger", "same")


def _of_one(line: Line) -> str:
    """A platform's verdict: the pooled one, of one host its own, of more that agree theirs."""
    if line.pooled:
        return line.verdict
    said = {local.verdict for local in line.locals}
    return said.pop() if len(said) == 1 else "hosts differ"


def _agreement(said: Sequence[str]) -> str:
    if any(word == text.MISSING for word in said):
        return "one side only"
    if not all(word in _DECIDED for word in said):
        return "undecided"
    return "agree" if len(set(said)) == 1 else "differ"


def _without_platform(cell: schema.Cell) -> schema.Cell:
    return (*cell[:_PLATFORM], None, *cell[_PLATFORM + 1 :])


def split(found: Sequence[Host]) -> dict[str, list[Host]]:
    """{platform: its hosts}, in the order of the schema."""
    by_name: dict[str, list[Host]] = {}
    for host in found:
        (name,) = {cell[_PLATFORM] for cell in host.results.cells}
        by_name.setdefault(str(name), []).append(host)
    return {name: by_name[name] for name in schema.PLATFORMS if name in by_name}


def render(found: Sequence[Host], baseline: str | None, margin: float, width: int | None) -> str:
    """A table a cell and quantity: each platform's verdict, and whether they agree; then how often they do."""
    platforms = split(found)
    names = list(platforms)
    first = build.build(platforms[names[0]], baseline, margin)
    pools = {names[0]: first, **{n: build.build(platforms[n], first.baseline, margin) for n in names[1:]}}
    said: dict[tuple[schema.Cell, str], dict[str, dict[str, str]]] = {}
    example: dict[schema.Cell, schema.Cell] = {}
    for platform, pool in pools.items():
        for line in pool.lines:
            key = _without_platform(line.cell)
            example.setdefault(key, line.cell)
            said.setdefault((key, line.quantity), {}).setdefault(line.name, {})[platform] = _of_one(line)
    title = " beside ".join({"linux": "Linux", "windows": "Windows"}.get(name, name) for name in names)
    lines = [title, ""]
    for name in names:
        who = "; ".join(f"{host.title}" for host in platforms[name])
        lines += tables.wrapped(f"{name}: {who}", width)
    count = dict.fromkeys(("agree", "differ", "undecided", "one side only"), 0)
    for key in sorted({key for key, _ in said}, key=lambda k: schema.cell_order(example[k])):
        lines += ["", *tables.wrapped(text.cell_title(text.lookup(example[key])), width)]
        rows = []
        for quantity in QUANTITIES:
            for name, words in sorted(
                said.get((key, quantity), {}).items(), key=lambda item: allocators.order(item[0])
            ):
                told = [words.get(platform, text.MISSING) for platform in names]
                word = _agreement(told)
                count[word] += 1
                rows.append([name, quantity, *told, word])
        head = ["allocator", f"against {first.baseline}", *names, "verdicts"]
        lines += tables.fitted(head, rows, [False] * len(head), width, ())
    total = sum(count.values())
    decided = count["agree"] + count["differ"]
    lines += ["", *tables.wrapped(
        f"Of {total} comparisons {decided} are decided on each platform: {count['agree']} agree, "
        f"{count['differ']} differ. A verdict is the platform's own (pooled where it has enough hosts); ratios are"
        " not put together, nor are rates and bytes comparable.", width)]  # fmt: skip
    return "\n".join(lines) + "\n"

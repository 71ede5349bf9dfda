# SPDX-License-Identifier: Apache-2.0
"""Reads paper/paper.toml and refuses with one line what does not fit together."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from ..errors import InputError
from ..schema import CELL

ROOT = Path(__file__).resolve().parents[3]
LANGUAGES = ("en", "ja")

Rule: TypeAlias = dict[str, Any]  # of a hypothesis: its kind, cells and limits as paper.toml has them
Words: TypeAlias = dict[str, dict[str, str]]  # word -> language -> text


@dataclass(frozen=True)
class Run:
    id: str
    threads: str
    allocators: str
    workloads: str


@dataclass(frozen=True)
class Cell:
    id: str
    run: str
    match: dict[str, int | str]
    title: dict[str, str]  # language -> text


@dataclass(frozen=True)
class Group:
    id: str
    cells: tuple[str, ...]
    title: dict[str, str]


@dataclass(frozen=True)
class Hypothesis:
    id: str
    text: dict[str, str]
    rule: Rule


@dataclass(frozen=True)
class Spec:
    results: Path  # directory of RUN.csv, RUN.rss.csv, RUN.run.json
    baseline: str
    runs: dict[str, Run]
    cells: dict[str, Cell]
    groups: dict[str, Group]
    curve: dict[str, list[str]]  # the knob's settings, the cells
    hypotheses: tuple[Hypothesis, ...]
    words: Words

    def cells_of(self, rule: Rule) -> tuple[str, ...]:
        return tuple(self.groups[rule["group"]].cells if "group" in rule else rule["cells"])


T = TypeVar("T", Run, Cell, Group)


def _by_id(items: Iterable[T], what: str, path: Path) -> dict[str, T]:
    table = {}
    for item in items:
        if item.id in table:
            raise InputError(f"{path}: {what} '{item.id}' is defined twice")
        table[item.id] = item
    return table


def _texts(entry: dict[str, Any]) -> dict[str, str]:
    return {language: entry[language] for language in LANGUAGES}


def read(path: str | Path | None = None, results: str | Path | None = None) -> Spec:
    path = Path(path or ROOT / "paper" / "paper.toml")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        spec = Spec(
            Path(results) if results else ROOT / raw["results"],
            raw["baseline"],
            _by_id([Run(**r) for r in raw["run"]], "run", path),
            _by_id([Cell(c["id"], c["run"], c["match"], _texts(c)) for c in raw["cell"]], "cell", path),
            _by_id([Group(g["id"], tuple(g["cells"]), _texts(g)) for g in raw["group"]], "group", path),
            raw["curve"],
            tuple(Hypothesis(h["id"], _texts(h), h["rule"]) for h in raw["hypothesis"]),
            raw["words"],
        )
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a valid description of the paper: {error}") from error
    for cell in spec.cells.values():
        if cell.run not in spec.runs:
            raise InputError(f"{path}: cell '{cell.id}' names run '{cell.run}', which is not defined")
        for column in cell.match:
            if column not in CELL:
                raise InputError(f"{path}: cell '{cell.id}' matches '{column}', which is no parameter of a cell")
    named = [c for g in spec.groups.values() for c in g.cells] + list(spec.curve["cells"])
    for hypothesis in spec.hypotheses:
        rule = hypothesis.rule
        if "group" in rule and rule["group"] not in spec.groups:
            raise InputError(
                f"{path}: hypothesis '{hypothesis.id}' names group '{rule['group']}', which is not defined"
            )
        named += rule.get("cells", []) + ([rule["cell"]] if "cell" in rule else [])
    for name in named:
        if name not in spec.cells:
            raise InputError(f"{path}: cell '{name}' is named but not defined")
    return spec

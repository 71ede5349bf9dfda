# SPDX-License-Identifier: Apache-2.0
"""--filter: which samples a table or comparison is of, in the words of Go's benchstat.

`key:value` and `key:/regexp/` match one key; matches are joined by AND (or nothing), OR, a leading - (not) and
parentheses; `key:(a OR b)` is short for `(key:a OR key:b)`, `*` matches everything.
"""

import math
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import pandas as pd

from . import schema
from .errors import InputError, printable

Row: TypeAlias = dict[str, Any]
Match: TypeAlias = Callable[[Row], bool]

# Beside the columns that make a cell. A parameter may be named as its option or as its column.
_SAMPLE = ("allocator", "file", "round", "status", "contaminated")
KEYS = _SAMPLE + schema.CELL
_OPTIONS = {p["parameter"]: p for p in schema.PARAMETERS}
_FACTORS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "k": 1000, "M": 10**6, "%": 10**4,
            "ns": 1, "us": 1000, "ms": 10**6, "s": 10**9}  # fmt: skip
_TOKEN = re.compile(r'\s*(?:([()])|"([^"]*)"|(/(?:[^/\\]|\\.)*/)(?=[\s)]|$)|([^\s():"]+)(:?)|(:))')


def key_of(name: str, option: str) -> str:
    """The column that a key names."""
    if name in KEYS:
        return name
    if name in _OPTIONS and _OPTIONS[name]["name"] in KEYS:
        return str(_OPTIONS[name]["name"])
    raise InputError(f"{option}: there is no key '{printable(name, 40)}'; keys are {', '.join(KEYS)}")


def value_of(row: Row, key: str) -> Any:
    """What stands in a row under a key; the allocator by the name of tables."""
    return row["name"] if key == "allocator" else row[key]


def _number(text: str) -> float | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z%]*)", text)
    if not match or (match[2] and match[2] not in _FACTORS):
        return None
    return float(match[1]) * _FACTORS.get(match[2], 1)


def _equals(key: str, wanted: str) -> Match:
    number = _number(wanted)

    def match(row: Row) -> bool:
        value = value_of(row, key)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return wanted == ""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return number is not None and float(value) == number
        return str(value) == wanted

    return match


def _like(key: str, expression: str, option: str) -> Match:
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise InputError(f"{option}: /{printable(expression, 60)}/ is no regular expression: {error}") from error
    return lambda row: pattern.search(str(value_of(row, key))) is not None


class _Parser:
    """Recursive descent over (kind, text) tokens: '(', ')', 'word', 'key', 'quoted', 'regexp'."""

    def __init__(self, text: str, option: str) -> None:
        self.option = option
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if not match or match[6]:
                raise self.error(f"cannot be read at '{printable(text[at:].strip(), 30)}'")
            if match[1]:
                self.tokens.append((match[1], match[1]))
            elif match[2] is not None:
                self.tokens.append(("quoted", match[2]))
            elif match[3]:
                self.tokens.append(("regexp", match[3][1:-1]))
            else:
                self.tokens.append(("key" if match[5] else "word", match[4]))
            at = match.end()

    def error(self, why: str) -> InputError:
        """What is wrong, with an example."""
        return InputError(f"{self.option}: {why}; write key:value, such as 'workload:remote AND -threads:(1 OR 2)'")

    def peek(self) -> tuple[str, str]:
        """The next token; of kind '' at the end."""
        return self.tokens[0] if self.tokens else ("", "")

    def any_of(self) -> Match:
        """a OR b"""
        parts = [self.all_of()]
        while self.peek() == ("word", "OR"):
            self.tokens.pop(0)
            parts.append(self.all_of())
        return lambda row: any(part(row) for part in parts)

    def all_of(self) -> Match:
        """a b, a AND b"""
        parts = [self.one()]
        while self.peek()[0] not in ("", ")") and self.peek() != ("word", "OR"):
            if self.peek() == ("word", "AND"):
                self.tokens.pop(0)
            parts.append(self.one())
        return lambda row: all(part(row) for part in parts)

    def one(self) -> Match:
        """A match, its negation or what stands in parentheses."""
        kind, text = self.tokens.pop(0) if self.tokens else ("", "")
        if kind == "(":
            inner = self.any_of()
            if not self.tokens or self.tokens.pop(0)[0] != ")":
                raise self.error("a parenthesis is not closed")
            return inner
        if kind in ("key", "word") and text.startswith("-"):
            self.tokens.insert(0, (kind, text[1:]) if text != "-" else self.tokens.pop(0))
            inner = self.one()
            return lambda row: not inner(row)
        if (kind, text) == ("word", "*"):
            return lambda row: True
        if kind != "key":
            raise self.error(f"'{printable(text, 30)}' is no match" if text else "something is missing at its end")
        return self.values(key_of(text, self.option))

    def values(self, key: str) -> Match:
        """What stands behind `key:`."""
        kind, text = self.tokens.pop(0) if self.tokens else ("", "")
        if kind == "(":
            parts = [self.values(key)]
            while self.peek() == ("word", "OR"):
                self.tokens.pop(0)
                parts.append(self.values(key))
            if not self.tokens or self.tokens.pop(0)[0] != ")":
                raise self.error(f"the values of {key} are not closed by a parenthesis")
            return lambda row: any(part(row) for part in parts)
        if kind == "regexp":
            return _like(key, text, self.option)
        if (kind, text) == ("word", "*"):
            return lambda row: True
        if kind not in ("word", "quoted"):
            raise self.error(f"{key}: has no value")
        return _equals(key, text)


class Filter:
    """A --filter that has been read."""

    def __init__(self, text: str, option: str = "--filter") -> None:
        self.text, self.option = text, option
        parser = _Parser(text, option)
        self._match = parser.any_of()
        if parser.tokens:
            raise parser.error(f"'{printable(parser.tokens[0][1], 30)}' closes nothing")

    def rows(self, data: pd.DataFrame) -> pd.DataFrame:
        """Those samples of `data` that match."""
        kept = data[[self._match(row) for row in data.to_dict("records")]]
        if not len(kept):
            names = ", ".join(dict.fromkeys(data["name"]))
            workloads = ", ".join(dict.fromkeys(data["workload"]))
            raise InputError(
                f"{self.option}={printable(self.text, 60)}: no sample matches; allocators are {printable(names, 100)},"
                f" workloads {printable(workloads, 100)}"
            )
        return kept


def keys_of(text: str, option: str) -> list[str]:
    """'threads,allocator' -> its keys."""
    names = [name.strip() for name in text.split(",")]
    keys = [key_of(name, option) for name in names]
    if len(set(keys)) != len(keys):
        raise InputError(f"{option}={printable(text, 60)}: names a key twice")
    return keys

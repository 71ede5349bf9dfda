# SPDX-License-Identifier: Apache-2.0
"""The allocators that the scripts know by name: who stands where, in which colour, and who is measured beside whom.

The one list of them in scripts/; `scripts/command allocators` prints it for shell scripts. An allocator that is not in
it (a library given by path) comes after these, ordered by name, in a colour of its own.
"""

import re
import sys
from dataclasses import dataclass

from . import errors

OURS = "ours"
PEER = "peer"  # measured beside ours by quickstart, matrix and the CI recipe; lint asks for it
KNOWN = "known"  # has a place and a colour, and is measured when it is asked for
LIBC = "libc"


@dataclass(frozen=True)
class Allocator:
    """One line of the list. Colours are Okabe's and Ito's, which stay apart for colour-blind readers, where they
    suffice."""

    name: str
    kind: str
    colour: str
    marker: str  # matplotlib's


# In the order of tables and figures: never the order of measurement, which is shuffled, and never by result, which
# would move rows from table to table.
ALLOCATORS = (
    Allocator("hz5", OURS, "#D55E00", "o"),
    Allocator("hz4", OURS, "#E69F00", "D"),
    Allocator("hz3", OURS, "#CC79A7", "p"),
    Allocator("mimalloc", PEER, "#0072B2", "^"),
    Allocator("jemalloc", PEER, "#009E73", "v"),
    Allocator("tcmalloc", PEER, "#56B4E9", "s"),
    Allocator("tbbmalloc", KNOWN, "#882255", "<"),
    Allocator("scudo", KNOWN, "#999933", ">"),
    Allocator("system", LIBC, "#4D4D4D", "X"),
)
OTHERS = (("#44AA99", "p"), ("#AA4499", "h"), ("#6699CC", "*"), ("#661100", "d"))

BY_NAME = {a.name: a for a in ALLOCATORS}
SYSTEM = "system"  # the C library's, the baseline when it is there
NULL = "null"  # the backend that costs nothing: it measures the harness and is no competitor

# Environment variables that allocators and the loader read.
_SETTING = re.compile(r"(MALLOC|MIMALLOC|TCMALLOC|JE_MALLOC|RPMALLOC|SNMALLOC|SCUDO|HZ[345]|GLIBC|LD)_\w+$")


def is_setting(name: str) -> bool:
    """Whether the environment variable may change what is measured: its value goes along with tasks and results."""
    return _SETTING.match(name) is not None


def named(*kinds: str) -> list[str]:
    """Names of the allocators of these kinds, in order."""
    return [a.name for a in ALLOCATORS if a.kind in kinds]


def base_name(name: str) -> str:
    """'hz5{profile=rss}#2' -> 'hz5'."""
    return re.split(r"[{#]", name, maxsplit=1)[0]


def is_ours(name: str) -> bool:
    """Whether it is one of this project's, in whatever setting."""
    found = BY_NAME.get(base_name(name))
    return found is not None and found.kind == OURS


def order(name: str) -> tuple[int, str, str]:
    """Sort key: the place in ALLOCATORS, what is not there behind it by name."""
    base = base_name(name)
    place = next((i for i, a in enumerate(ALLOCATORS) if a.name == base), len(ALLOCATORS))
    return place, base, name


def main(argv: list[str]) -> int:
    """Prints the names of the kinds given, comma-separated, for --alloc."""
    wrong = [kind for kind in argv if kind not in (OURS, PEER, KNOWN, LIBC)]
    if wrong or not argv:
        raise errors.InputError(f"give kinds of allocators: {OURS}, {PEER}, {KNOWN}, {LIBC}")
    sys.stdout.write(",".join(named(*argv)) + "\n")
    return errors.OK

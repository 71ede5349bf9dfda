# SPDX-License-Identifier: Apache-2.0
"""Lines of the allocators' own that move, an operation, with 2, 8 and 32 threads: not more than golden.json says. A
line that threads begin to share without need fails this. HZBENCH_UPDATE_GOLDEN=1 writes the file anew: read what
changed.
"""

import concurrent.futures
import functools
import json
import os
from pathlib import Path

from hzbench import coherence

BUILD = Path(os.environ["HZBENCH_BUILD"])
GOLDEN = Path(__file__).with_name("golden.json")
TOOLS = coherence.find_tools(BUILD)
LOCAL, REMOTE = "local{working-set=50}", "remote{receiver=frees,working-set=50}"
OURS = ("hz3", "hz4", "hz5")
CELLS = [coherence.Cell(name, LOCAL, 8) for name in OURS]
CELLS += [coherence.Cell(name, REMOTE, threads) for threads in (2, 8, 32) for name in OURS]
OPS = 16000  # of all threads in the shorter run: the start, which is not the same each time, is little beside them
# What a count may exceed its golden value by. Repeats differ by less; a line that all threads write is more.
SHARE, MOVES = 0.2, 0.15


def key(cell):
    return f"{cell.allocator} {cell.workload} {cell.threads}"


def own_moves(cell):
    """Of user blocks and the allocator's metadata; what the harness moves is held by another test."""
    library = coherence.library_paths(TOOLS)[cell.allocator.split("{")[0]]
    run = functools.partial(coherence.run_sample, TOOLS, cell, library)
    length = OPS // cell.threads
    (row,) = coherence.measure(run, (length, 2 * length), 100, (1,), {})
    return sum(row[f"{code}_{data}"] for code in coherence.CODES for data in ("user", "metadata"))


def exceeds(moves, golden):
    return moves > golden * (1 + SHARE) + MOVES


@functools.lru_cache(maxsize=1)
def counted():
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return dict(zip(map(key, CELLS), pool.map(own_moves, CELLS)))


def golden():
    if os.environ.get("HZBENCH_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps({k: round(v, 3) for k, v in counted().items()}, indent=1) + "\n", encoding="utf-8")
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_no_more_lines_move_than_before():
    known = golden()
    assert list(known) == [key(cell) for cell in CELLS]
    worse = [f"{k}: {moves:.3f} lines an operation, golden {known[k]:.3f}"
             for k, moves in counted().items() if exceeds(moves, known[k])]  # fmt: skip
    assert not worse, "\n".join(worse)


def test_planted_false_sharing_would_fail():
    """A line in which all threads count is more than the tolerance, on the worst golden value of ours."""
    worst = max(v for k, v in golden().items() if f" {LOCAL} " in k)
    plain, planted = (own_moves(coherence.Cell(name, LOCAL, 8)) for name in ("faulty", "faulty{false-sharing}"))
    assert exceeds(worst + planted - plain, worst)

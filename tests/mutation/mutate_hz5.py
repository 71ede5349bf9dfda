#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Disables each check of hz5 in turn, in a copy, and demands that the matching test row goes red.

A test that stays green without the check it is there for proves nothing. Usage:
mutate_hz5.py SOURCE_ROOT MISUSE_PROGRAM RACE_PROGRAM [--all]
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable

COMPILE = [
    "gcc",
    "-std=gnu11",
    "-D_GNU_SOURCE",
    "-O1",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-builtin-malloc",
    "-fno-builtin-calloc",
    "-fno-builtin-realloc",
    "-fno-builtin-free",
    "-fno-stack-protector",
    "-mprfchw",
    '-DHZBENCH_VERSION="mutant"',
]

# (what is disabled, file, pattern, replacement, misuse case or race mode that must go red; under policy count a second
# remote free would still be found by the audit, hence one row under policy abort). A pattern must match exactly once,
# inside the named function, so that a change of the source is noticed here instead of silently testing nothing.
MUTANTS = [
    ("local free: state is LIVE", "hz5_malloc.c", "free_block",
     r"!hz5_is_live\(state\)", "0", "case:double_now"),
    ("local free: exact start", "hz5_malloc.c", "free_block",
     r"position\.remainder >= HZ5_OWN\(desc, uint64_t, remainder_bound\)", "0", "case:interior_near"),
    ("remote free: exact start", "hz5_malloc.c", "free_remote",
     r"position\.remainder >= reciprocal", "reciprocal == 0", "case:interior_middle"),
    ("remote free: a block may start here", "hz5_malloc.c", "free_remote",
     r"position\.remainder >= reciprocal", "reciprocal != 0 && position.remainder >= reciprocal",
     "case:large_inside_unit"),
    ("remote free: state is LIVE", "hz5_malloc.c", "free_remote",
     r"!hz5_block_free_remote\(state\)", "(hz5_block_rest(state, HZ5_REMOTE), 0)",
     "abort:double_there_there"),
    ("free: inside the arena", "hz5_malloc.c", "free_block", r"!arena_has_fast\(unit\)", "0", "case:kernel_half"),
    ("free: the run is this thread's", "hz5_malloc.c", "free_block",
     r"hz5_owner_of\([^;{]*\) != hz5_thread\.owner", "0", "case:double_owner_elsewhere"),
    ("sized free: size", "hz5_malloc.c", "hzn_free_sized", r"bytes > usable_bytes\(desc\)", "0", "case:wrong_size"),
    ("large free: state is LIVE", "hz5_malloc.c", "free_large",
     r"!hz5_block_free_large\(state\)", "((void)state, 0)", "race:k2"),
    ("lookup: state is LIVE", "hz5_find.c", "hz5_find_live",
     r"!hz5_block_is_live\(\*state\)", "0", "case:double_interleaved"),
    ("lookup: exact start", "hz5_find.c", "hz5_find_small", r"position\.remainder >= reciprocal", "reciprocal == 0",
     "case:interior_last"),
    ("lookup: start of a large run", "hz5_find.c", "hz5_find_large",
     r"\(uintptr_t\)pointer % ARENA_UNIT_BYTES != 0", "0", "case:interior_near"),
    ("reason: alignment", "hz5_reject.c", "hz5_classify", r"\(uintptr_t\)pointer % SIZECLASS_GRANULE != 0", "0",
     "case:misaligned_one"),
    ("reason: inside a large run", "hz5_reject.c", "hz5_classify", r"is_inside_run\(unit\)", "((void)is_inside_run, 0)",
     "case:large_inside_unit"),
    ("reason: counted", "../common/reject.c", "reject", r"reject_add\(reason, 1\)", "reject_add(reason, 0)",
     "case:stack"),
    ("reason: counted once", "../common/reject.c", "reject", r"reject_add\(reason, 1\)", "reject_add(reason, 2)",
     "case:static"),
    ("tail of a run is no block", "hz5_array.c", "hz5_array_take",
     r"hz5_block_rest\(array \+ i, HZ5_NO_BLOCK\);\n    return",
     "hz5_block_rest(array + i, HZ5_LIVE);\n    return", "case:run_tail"),
    ("realloc by another thread: the owner has not freed it", "hz5_malloc.c", "give_moved",
     r"!hz5_block_give_moved\(state\)", "(hz5_block_rest(state, HZ5_REMOTE), 0)",
     "race:realloc"),
    ("queues: a run that has bits is put into its owner's", "hz5_remote.c", "hz5_remote_enqueue", r"push\(run\);",
     "(void)push;", "race:queues"),
    ("queues: the last look for bits", "hz5_remote.c", "hz5_remote_drain_class",
     r"hz5_bits_look\(&run->remote_bits\) != 0", "0", "race:handover"),
    ("queues: regions left over by a refill", "hz5_remote.c", "drain", r"return 0;", "run->draining = 0; return 0;",
     "race:queues"),
    ("queues: who frees into an abandoned heap drains", "hz5_remote.c", "push",
     r"hz_status_is_abandoned\(&heap->common\.status\)", "0", "race:queues"),
    ("absorbed double frees are counted", "hz5_table.c", "report_absorbed",
     r"issued > seen \? issued - seen : 0", "0 * issued",
     "race:k2"),
]  # fmt: skip
# Red only when two frees really meet; not for a busy machine with two processors.
NEEDS_LUCK = {
    "queues: the last look for bits",
    "realloc by another thread: the owner has not freed it",
    "absorbed double frees are counted",
}


def mutate(text: str, function: str, pattern: str, replacement: str) -> str | None:
    start = re.search(r"^[^\n;]*\b%s\([^;{]*\) \{$" % re.escape(function), text, re.M)
    if not start:
        return None
    end = text.index("\n}\n", start.end())
    body, count = re.subn(pattern, replacement, text[start.end() : end])
    return text[: start.end()] + body + text[end:] if count == 1 else None


def compile_one(source: pathlib.Path, target: pathlib.Path, build: pathlib.Path, root: pathlib.Path) -> None:
    subprocess.run(
        COMPILE
        + [
            "-I",
            str(build),
            "-I",
            str(root / "allocators/hz5"),
            "-I",
            str(root / "allocators/common"),
            "-c",
            str(source),
            "-o",
            str(target),
        ],
        check=True,
    )


def link(objects: Iterable[pathlib.Path], target: pathlib.Path) -> None:
    subprocess.run(
        ["gcc", "-shared", "-Wl,-Bsymbolic", "-Wl,-z,nodelete", *map(str, objects), "-o", str(target), "-lpthread"],
        check=True,
    )


def turns_red(row: str, library: pathlib.Path, misuse: str, race: str, tries: int, rounds: int = 20000) -> bool:
    """True if one of up to `tries` runs of the row fails. Two frees of one block must meet within some instructions: on
    a machine whose second processor is taken, 20,000 rounds may pass without. A run that fails ends the search."""
    return any(is_red(row, library, misuse, race, rounds) for _ in range(tries if row.startswith("race:") else 1))


def is_red(row: str, library: pathlib.Path, misuse: str, race: str, rounds: int = 20000) -> bool:
    kind, name = row.split(":")
    environment = dict(os.environ, GLIBC_TUNABLES="glibc.rtld.optional_static_tls=16384")
    if kind == "race":
        command = [race, str(library), name, str(rounds)]
    else:
        command = [misuse, str(library), "--policy", "abort" if kind == "abort" else "count", "--case", name]
    try:
        return (
            subprocess.run(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=400
            ).returncode
            != 0
        )
    except subprocess.TimeoutExpired:
        return True  # a hang is not green


def main() -> int:
    root, misuse, race = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    everything = "--all" in sys.argv[4:]
    failures = caught = 0
    with tempfile.TemporaryDirectory() as directory:
        build = pathlib.Path(directory)
        (build / "hz5_build.h").write_text('#define HZ5_SOURCE_COMMIT "mutant"\n')
        sources = sorted((root / "allocators/common").glob("*.c")) + sorted((root / "allocators/hz5").glob("*.c"))
        sources = [source for source in sources if not source.stem.endswith("_windows")]
        objects = {source.name: build / (source.name + ".o") for source in sources}
        for source in sources:
            compile_one(source, objects[source.name], build, root)
        sound = build / "libsound.so"
        link(objects.values(), sound)
        wanted = [m for m in MUTANTS if everything or m[0] not in NEEDS_LUCK]
        for row in sorted({mutant[5] for mutant in wanted}):
            if is_red(row, sound, misuse, race):
                print(f"FAIL: row {row} is red without any mutation")
                failures += 1
        for what, name, function, pattern, replacement, row in wanted:
            mutated = mutate((root / "allocators/hz5" / name).read_text(), function, pattern, replacement)
            if mutated is None:
                print(f"FAIL: {what}: the check is no longer found once in {function}() of {name}: adapt MUTANTS")
                failures += 1
                continue
            # Includes with "../" are relative to the file: the copy stands where the original would.
            original = (root / "allocators/hz5" / name).resolve()
            place = build / "allocators" / original.parent.name
            place.mkdir(parents=True, exist_ok=True)
            mutated = mutated.replace('"../', f'"{root}/allocators/')
            (place / original.name).write_text(mutated)
            compile_one(place / original.name, place / (original.name + ".o"), build, root)
            library = build / "libmutant.so"
            link(
                [place / (original.name + ".o") if key == original.name else path for key, path in objects.items()],
                library,
            )
            red = turns_red(row, library, misuse, race, 50)
            print(f"{'red ' if red else 'FAIL: still green'} {row:28} without: {what}")
            caught += red
            failures += not red
    print(f"mutants: {caught} of {len(wanted)} turn their row red")
    return 1 if failures else 0


sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what the compiler does not: headers that stand alone, layers, OS headers, argued memory orders.

check_sources.py ROOT COMPILER...    checks the tree; one line a violation, exit 1 if there is any
check_sources.py --self-test COMPILER...    plants one violation of each kind and demands that each is found
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

SOURCE_ROOTS = ["allocators", "workloads", "runner", "tests"]

# Which folders the files of a folder may include from, themselves always among them. What is not named here is a
# violation: a new folder states its place first. "allocators" alone means the files directly in it.
LAYERS: dict[str, list[str] | None] = {
    "allocators": [],
    "allocators/loader": ["allocators", "allocators/external"],
    "allocators/common": ["allocators"],
    "allocators/common/windows": [],
    "allocators/external": ["allocators"],
    "allocators/null": ["allocators", "allocators/common"],
    "allocators/faulty": ["allocators", "allocators/common"],
    "allocators/heapapi": ["allocators", "allocators/common"],
    "allocators/hz3": ["allocators", "allocators/common"],
    "allocators/hz4": ["allocators", "allocators/common"],
    "allocators/hz5": ["allocators", "allocators/common"],
    "workloads": ["allocators", "allocators/loader", "workloads/trace"],
    "workloads/trace": [],
    "workloads/recorder": ["workloads/trace"],
    "workloads/apps": [],
    "runner": ["allocators/loader", "workloads", "runner/plan", "runner/results", "runner/sample", "runner/system"],
    "runner/text": [],
    "runner/system": ["allocators/loader", "workloads", "runner/text"],
    "runner/plan": ["allocators/loader", "workloads", "runner/text"],
    "runner/sample": ["allocators/loader", "workloads", "runner/plan", "runner/system", "runner/text", "runner/tools"],
    "runner/results": [
        "allocators/loader",
        "workloads",
        "runner/plan",
        "runner/sample",
        "runner/system",
        "runner/text",
    ],
    "runner/results/windows": [],
    "runner/tools": [
        "runner/text",
        "allocators",
        "allocators/loader",
        "runner/plan",
        "runner/results",
        "workloads/trace",
        "workloads/recorder",
    ],
    "runner/coherence": [],
    "tests": None,  # may look at anything
}

# Headers of one operating system. Not among them: pthread.h, which the Windows toolchain has as well.
OS_HEADERS = re.compile(
    r"^(sys/|linux/|asm/|bits/|windows\.h|winsock|(dirent|dlfcn|elf|fcntl|link|malloc|poll|sched|sysexits|syslog|"
    r"termios|unistd)\.h$)"
)

# Files that are one operating system's by their name.
OS_FILE = re.compile(r"(^|/)(os_[^/]*|[^/]*_(linux|windows|posix))\.[ch]$")

# The exceptions: file, header, why.
OS_ALLOWED = [
    ("allocators/external/system.c", "malloc.h", "the adapter of the C library's malloc calls what is declared there"),
    ("allocators/common/front.c", "malloc.h", "defines the functions that it declares"),
    ("runner/progress.c", "unistd.h", "isatty, which the Windows toolchain declares there, too"),
    ("allocators/hz3/hz3_table.c", "malloc.h", "the table names the functions that it declares"),
    ("allocators/hz4/hz4_table.c", "malloc.h", "the table names the functions that it declares"),
    ("allocators/hz5/hz5_table.c", "malloc.h", "the table names the functions that it declares"),
]

# Written by the build into its own directory, so not found in the tree.
GENERATED = re.compile(r"^(hz\d_build|build_[a-z]+)\.h$")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
STRONG_ORDER = re.compile(r"memory_order_(acquire|release|acq_rel|seq_cst)")
# The words of the allocators' protocols (allocators/common/protocol.h): only steps of their tables touch them. Their
# type keeps atomics of the language away; the member inside it, and a cast to an atomic, would get around that.
PROTOCOL_MEMBER = re.compile(r"\bprotocol_word\b")
PROTOCOL_CAST = re.compile(r"(?<!_Atomic)\(\s*(const\s+)?_Atomic\b[^()]*\*\s*\)")
PROTOCOL_FILE = re.compile(r"^allocators/(common/(protocol|heap_states)|hz\d/hz\d_states)\.h$")
PARTNER = re.compile(r"partners?:|partners? |\bas (above|in|for|at|[a-z0-9]+(_[a-z0-9]+)+)\b")
ORDER_WINDOW = 12  # lines above the operation in which its argument stands


def folder_of(path: str) -> str:
    """The layer of a file: its folder, or `tests` for all of the tests."""
    return "tests" if path.startswith("tests/") else os.path.dirname(path)


def files_of(root: str) -> Iterator[str]:
    for base in SOURCE_ROOTS:
        for directory, folders, names in os.walk(os.path.join(root, base)):
            folders.sort()
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(directory, name), root).replace(os.sep, "/")


def without_comments(text: str) -> str:
    """Comments become blanks of the same number of lines; string literals stay."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.S)
    return pattern.sub(lambda m: m[0] if m[0].startswith('"') else re.sub(r"[^\n]", " ", m[0]), text)


def check_headers(root: str, headers: Sequence[str], compiler: list[str]) -> Iterator[str]:
    flags = [
        "-std=gnu11",
        "-D_GNU_SOURCE",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Wundef",
        "-Wstrict-prototypes",
        "-Werror",
        "-fsyntax-only",
        "-xc",
        "-",
    ]
    for header in headers:
        if header.endswith("_windows.h") or "/windows/" in header:
            continue  # the cross build compiles it
        line = f'#include "{os.path.join(os.path.abspath(root), header)}"\n'
        for times in (1, 2):
            # The declaration keeps a header of nothing but macros from being an empty translation unit.
            unit = line * times + "extern int check_sources_unit;\n"
            run = subprocess.run(compiler + flags, input=unit, capture_output=True, text=True)
            if run.returncode != 0:
                errors = [text for text in run.stderr.splitlines() if "error" in text]
                first = (errors or run.stderr.splitlines() or ["no message"])[0]
                yield f"{header}: does not compile alone, included {times} time(s) - {first}"
                break


def check_includes(root: str, path: str, text: str) -> Iterator[str]:
    layer = folder_of(path)
    if layer not in LAYERS:
        yield f"{path}: folder {layer} has no place in the layers - add it to LAYERS in tests/headers/check_sources.py"
        return
    for kind, name in INCLUDE.findall(text):
        if kind == "<":
            is_allowed = OS_FILE.search(path) or any(path == file and name == header for file, header, _ in OS_ALLOWED)
            if OS_HEADERS.match(name) and layer != "tests" and not is_allowed:
                yield f"{path}: includes <{name}> - OS headers belong into os_*.c or *_linux.c"
            continue
        target = os.path.normpath(os.path.join(os.path.dirname(path), name)).replace(os.sep, "/")
        if not os.path.isfile(os.path.join(root, target)):
            # Tests may use the include directories of what they test.
            if not GENERATED.match(name) and layer != "tests":
                yield f'{path}: includes "{name}", which is not there - write the path relative to the file'
            continue
        permitted = LAYERS[layer]
        if permitted is not None and folder_of(target) != layer and folder_of(target) not in permitted:
            yield f'{path}: includes "{name}" - {layer} may not know {folder_of(target)}'


def check_orders(path: str, raw: str, text: str) -> Iterator[str]:
    raw_lines = raw.splitlines()
    for number, line in enumerate(text.splitlines()):
        order = STRONG_ORDER.search(line)
        if order is None:
            continue
        argued = False
        for above in range(number, max(-1, number - ORDER_WINDOW - 1), -1):
            if above < number and raw_lines[above].startswith("}"):
                break  # an argument in another function is not this one's
            if "ORDER:" in raw_lines[above]:
                argued = True
                break
        if not argued:
            yield f"{path}:{number + 1}: {order[0]} without an ORDER: comment within {ORDER_WINDOW} lines above"


def check_partners(path: str, raw: str) -> Iterator[str]:
    """In the allocators, an argument says which access of another thread it is about."""
    lines = raw.splitlines()
    for number, line in enumerate(lines):
        if not path.startswith("allocators/") or "// ORDER:" not in line:
            continue
        argument = line.split("// ORDER:")[1]
        for following in lines[number + 1 :]:
            if not following.strip().startswith("//") or "ORDER:" in following:
                break
            argument += following
        if not PARTNER.search(argument):
            yield f"{path}:{number + 1}: ORDER: without a partner - name the access that it pairs with (partner: ...)"


def check_protocol(root: str, path: str, text: str) -> Iterator[str]:
    folder = os.path.dirname(path)
    has_table = os.path.isfile(os.path.join(root, folder, os.path.basename(folder) + "_steps.h"))
    if not path.startswith("allocators/") or PROTOCOL_FILE.match(path):
        return
    for number, line in enumerate(text.splitlines()):
        for pattern, what in ((PROTOCOL_MEMBER, "touches a protocol word"), (PROTOCOL_CAST, "casts to an atomic")):
            if pattern.search(line) and (has_table or pattern is PROTOCOL_MEMBER):
                yield f"{path}:{number + 1}: {what} - make a step of it in the table of the protocol (hzN_steps.h)"


def check_allowances(root: str) -> Iterator[str]:
    """An exception that is no longer used goes; one of a file that is not there yet stays silent."""
    for path, header, _ in OS_ALLOWED:
        try:
            with open(os.path.join(root, path), encoding="utf-8") as file:
                used = ("<", header) in INCLUDE.findall(without_comments(file.read()))
        except FileNotFoundError:
            continue
        if not used:
            yield f"{path}: may include <{header}> but does not - take it out of OS_ALLOWED"


def check_tree(root: str, compiler: list[str]) -> tuple[list[str], tuple[int, int, int]]:
    """(violations, counts of headers, files and strong orders)"""
    files = list(files_of(root))
    headers = [path for path in files if path.endswith(".h")]
    orders = 0
    violations = list(check_headers(root, headers, compiler))
    for path in files:
        with open(os.path.join(root, path), encoding="utf-8") as file:
            raw = file.read()
        text = without_comments(raw)
        orders += len(STRONG_ORDER.findall(text))
        violations += check_includes(root, path, text)
        violations += check_orders(path, raw, text)
        violations += check_partners(path, raw)
        violations += check_protocol(root, path, text)
    violations += check_allowances(root)
    return violations, (len(headers), len(files), orders)


PLANTED = {
    "allocators/allocator.h": (
        "#ifndef A\n#define A\n#include <stddef.h>\nstruct allocator { size_t bytes; };\n#endif\n"
    ),
    "allocators/incomplete.h": "#ifndef B\n#define B\nstruct b { size_t bytes; };\n#endif\n",
    "allocators/unguarded.h": "struct twice { int x; };\n",
    "allocators/hz3/hz3.h": '#ifndef C\n#define C\n#include "../allocator.h"\n#endif\n',
    "allocators/hz5/crossing.c": '// "../allocator.h"\n#include "../hz3/hz3.h"\n',
    "allocators/hz5/os_fine.c": "#include <sys/mman.h>\n",
    "allocators/hz5/system_call.c": "#include <sys/mman.h>\n#include <pthread.h>\n/*\n#include <unistd.h>\n*/\n",
    "allocators/common/lost.c": '#include "nowhere.h"\n',
    "allocators/external/system.c": "#include <stddef.h>\n",
    "allocators/unknown/file.c": "int x;\n",
    "workloads/orders.c": (
        "// ORDER: acquire, partner f: x.\nint f(void) { return memory_order_acquire; }\nint g(void) {\n"
        "    return 0;\n}\nint h(void) {\n    return memory_order_release;\n}\n"
        "// memory_order_seq_cst in a comment needs no argument\n"
    ),
    "allocators/hz4/protocol.c": (
        "void f(struct hz4_word *at) {\n    at->protocol_word = 1;\n    g((_Atomic int *)at);\n"
        "    // at->protocol_word\n}\n"
    ),
    "allocators/hz4/hz4_steps.h": (
        "// ORDER: acquire: what was done.\n// ORDER: release: x;\n// partner: take.\n// ORDER: seq_cst: as in_f.\n"
    ),
    "allocators/hz3/no_table.c": "int *f(void *at) {\n    return (_Atomic int *)at;\n}\n",
    "allocators/hz4/hz4_states.h": "#ifndef D\n#define D\nstruct word { int protocol_word; };\n#endif\n",
    "runner/tools/fine.c": '#include "../../allocators/allocator.h"\n',
}

EXPECTED = [
    "allocators/incomplete.h: does not compile alone, included 1 time(s)",
    "allocators/unguarded.h: does not compile alone, included 2 time(s)",
    'allocators/hz5/crossing.c: includes "../hz3/hz3.h" - allocators/hz5 may not know allocators/hz3',
    "allocators/hz5/system_call.c: includes <sys/mman.h>",
    'allocators/common/lost.c: includes "nowhere.h", which is not there',
    "allocators/external/system.c: may include <malloc.h> but does not",
    "allocators/unknown/file.c: folder allocators/unknown has no place",
    "allocators/hz4/protocol.c:2: touches a protocol word",
    "allocators/hz4/protocol.c:3: casts to an atomic",
    "allocators/hz4/hz4_steps.h:1: ORDER: without a partner",
    "workloads/orders.c:7: memory_order_release without an ORDER: comment",
]


def self_test(compiler: list[str]) -> int:
    with tempfile.TemporaryDirectory() as root:
        for path, text in PLANTED.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
        found, _ = check_tree(root, compiler)
    missed = [line for line in EXPECTED if not any(item.startswith(line) for item in found)]
    false = [item for item in found if not any(item.startswith(line) for line in EXPECTED)]
    for line in missed:
        print(f"missed: {line}")
    for line in false:
        print(f"false alarm: {line}")
    print(
        f"headers self-test: {len(EXPECTED) - len(missed)} of {len(EXPECTED)} planted violations found, "
        f"{len(false)} false alarms"
    )
    return 1 if missed or false else 0


def main(arguments: list[str]) -> int:
    if len(arguments) < 2:
        print("check_sources: a root and a compiler are needed - check_sources.py ROOT COMPILER...", file=sys.stderr)
        return 2
    if arguments[0] == "--self-test":
        return self_test(arguments[1:])
    violations, counts = check_tree(arguments[0], arguments[1:])
    for line in violations:
        print(line)
    print(
        f"headers: {counts[0]} headers compiled alone and twice, {counts[1]} files, {counts[2]} strong memory orders, "
        f"{len(violations)} violations"
    )
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

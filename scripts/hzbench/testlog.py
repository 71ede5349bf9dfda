# SPDX-License-Identifier: Apache-2.0
"""Turns meson's testlog.json into the one last line of scripts/test: N passed, N failed[, N skipped]."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable

PASSED = {"OK", "EXPECTEDFAIL"}
SKIPPED = {"SKIP"}  # all else (FAIL, TIMEOUT, ERROR, INTERRUPT, UNEXPECTEDPASS, ...) is a failure


class LogError(Exception):
    pass


def count(lines: Iterable[str]) -> tuple[int, int, int, list[str]]:
    """(passed, failed, skipped, names of the failed) of the lines of a testlog.json."""
    passed = skipped = 0
    failed = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            name, result = entry["name"], entry["result"]
        except (ValueError, KeyError, TypeError) as error:
            raise LogError(f"line {number} of meson's test log is not a test result ({error!r})") from error
        if result in PASSED:
            passed += 1
        elif result in SKIPPED:
            skipped += 1
        else:
            failed.append(f"{name} ({result.lower()})")
    return passed, len(failed), skipped, failed


def verdict(passed: int, failed: int, skipped: int) -> str:
    line = f"{passed} passed, {failed} failed"
    return line + (f", {skipped} skipped" if skipped else "")


def registered(build: str) -> int:
    text = subprocess.run(["meson", "introspect", "--tests", build], check=True, capture_output=True, text=True).stdout
    return len(json.loads(text))


def packages(build: str, arguments: list[str]) -> list[str]:
    """Of the tests that `meson test` with these arguments runs: the packages that they name before `--` of
    scripts/needs."""
    told = subprocess.run(
        ["meson", "test", "-C", build, "--no-rebuild", "--list", *arguments], stdout=subprocess.PIPE, text=True
    )
    if told.returncode != 0:
        raise LogError(f"meson test --list {' '.join(arguments)} failed")
    chosen = set(told.stdout.splitlines())
    text = subprocess.run(["meson", "introspect", "--tests", build], check=True, capture_output=True, text=True).stdout
    named: list[str] = []
    for test in json.loads(text):
        command = test["cmd"]
        project = test["suite"][0].split(":")[0]
        suites = "+".join(suite.split(":")[1] for suite in test["suite"])
        if f"{project}:{suites} / {test['name']}" in chosen and os.path.basename(command[0]) == "needs":
            named += [name for name in command[1 : command.index("--")] if name not in named]
    return named


def outcome(log: str, build: str, scope: str, status: str) -> tuple[int, int, int]:
    """(passed, failed, skipped) of one build; prints what failed, and what makes its log not worth believing."""
    try:
        with open(log, encoding="utf-8") as file:
            passed, failed, skipped, names = count(file)
    except (OSError, LogError) as error:
        print(f"test: no usable test log: {error}; the output of meson test above says why", file=sys.stderr)
        return 0, 1, 0
    for name in names:
        print(f"failed: {name}")
    problem = None
    ran = passed + failed + skipped
    if ran == 0:
        problem = "no test ran"
    elif scope == "--all" and ran != registered(build):
        problem = f"only {ran} of {registered(build)} registered tests left a result"
    elif int(status) != 0 and failed == 0:
        problem = f"meson test ended with status {status} though no test failed"
    if problem:
        print(f"test: {problem}; counted as one failure")
        failed += 1
    return passed, failed, skipped


def main(argv: list[str]) -> int:
    """LOG BUILD --all|--some STATUS, once for each build; the last line is the sum. Or --packages BUILD ARGUMENT..."""
    if argv[0] == "--packages":
        try:
            print(" ".join(packages(argv[1], argv[2:])))
        except LogError as error:
            print(f"test: {error}", file=sys.stderr)
            return 2
        return 0
    builds = [outcome(*argv[i : i + 4]) for i in range(0, len(argv), 4)]
    passed, failed, skipped = (sum(column) for column in zip(*builds))
    print(verdict(passed, failed, skipped))
    return 1 if failed else 0

# SPDX-License-Identifier: Apache-2.0
"""Runs modules of Python's own test suite; prints each test with what became of it, in order of names."""

import io
import os
import sys
import unittest

MODULES = """
test_json test_re test_ctypes test_struct test_array test_list test_dict test_functools test_collections test_heapq
test_random test_fractions test_memoryio test_csv test_configparser test_generators test_coroutines test_thread
test_threading_local test_mmap test_memoryview test_difflib test_sort test_contextlib test_enum test_dataclasses
test_typing test_copy test_hashlib test_fork1 test_threading.LockTests test_threading.ThreadJoinOnShutdown
test_subprocess.POSIXProcessTestCase.test_preexec test_subprocess.ProcessTestCase.test_communicate
test_subprocess.ProcessTestCase.test_stdout_pipe test_sqlite3.test_dbapi.ConnectionTests test_sqlite3.test_types
test_sqlite3.test_regression test_asyncio.test_queues test_asyncio.test_locks
test_multiprocessing_fork.WithProcessesTestQueue.test_put test_multiprocessing_fork.WithProcessesTestQueue.test_fork
test_multiprocessing_fork.WithProcessesTestValue test_multiprocessing_fork.WithProcessesTestArray
test_multiprocessing_spawn.WithProcessesTestValue.test_value
test_multiprocessing_spawn.WithProcessesTestArray.test_array
""".split()


class Outcomes(unittest.TestResult):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def note(self, test: unittest.TestCase, outcome: str) -> None:
        self.lines.append(f"{test.id()} {outcome}")

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.note(test, "ok")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.note(test, "skipped")

    def addExpectedFailure(self, test: unittest.TestCase, error: object) -> None:
        self.note(test, "expected failure")

    def addFailure(self, test: unittest.TestCase, error: object) -> None:
        self.note(test, "FAILED")

    def addError(self, test: unittest.TestCase, error: object) -> None:
        self.note(test, "FAILED")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self.note(test, "FAILED")


if __name__ == "__main__":
    keep = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    sys.stdout = sys.stderr = io.StringIO()
    outcomes = Outcomes()
    for module in MODULES:
        unittest.defaultTestLoader.loadTestsFromName(f"test.{module}").run(outcomes)
    lines = sorted(outcomes.lines)
    os.write(keep, ("\n".join([*lines, f"{len(MODULES)} modules and classes, {len(lines)} tests"]) + "\n").encode())
    os._exit(0)

# SPDX-License-Identifier: Apache-2.0
"""Instruction counts are exact: the same twice, and three more instructions in a backend are three more."""

import os
import shutil
from pathlib import Path

import pytest

from hzbench import instructions

BUDGET = Path(os.environ.get("HZBENCH_BUILD", "build")) / "tests/budget/budget"

pytestmark = pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")


@pytest.fixture(autouse=True)
def room_for_tls(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=16384")


@pytest.mark.parametrize("size", [64, 4096])
def test_three_more_instructions_are_three_more(size):
    plain = instructions.measure(BUDGET, "faulty", "local", size)["pair"]
    more = instructions.measure(BUDGET, "faulty{instructions=3}", "local", size)["pair"]
    assert plain > 10 and more - plain == 3


def test_two_runs_are_equal_to_the_instruction():
    one, other = (instructions.measure(BUDGET, "hz5", "local", 256) for _ in range(2))
    assert one == other


def test_a_workload_of_the_runner_has_an_exact_cost():
    runner = BUDGET.parents[2] / "runner"
    one, other = (instructions.measure_workload(runner, "hz5", "local") for _ in range(2))
    assert one == other
    # malloc and free together, fast paths with their share of slow ones
    pair = instructions.measure(BUDGET, "hz5", "local", 256)["pair"]
    assert pair <= one < 4 * pair


def test_lengths_that_a_workload_does_not_take_are_passed_over():
    runner = BUDGET.parents[2] / "runner"
    assert instructions.run_workload(runner, "hz5", "churn", 1, "ops=1000") is None
    assert instructions.measure_workload(runner, "hz5", "churn") > 0


def test_a_malloc_outside_the_known_sections_of_its_library_counts():
    profile = """ob=(1) /usr/lib/libfast.so
fn=(1) refill
10 700
ob=(2) ???
fn=(2) malloc
10 40
calls=1 10
11 700
fn=(3) strlen
10 9
ob=(3) /usr/lib/libc.so.6
fn=(2)
10 5
"""
    costs = instructions.parse_callgrind(profile)
    assert instructions.library_costs(costs, os.path.realpath("/usr/lib/libfast.so")) == 740

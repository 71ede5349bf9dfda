# SPDX-License-Identifier: Apache-2.0
"""The command line: every refusal is one exact line and exit code 2; lists, plan, help and doctor."""

import json
import os
import re

import pytest

from conftest import QUICK, RUNNER

NULL = "--alloc=null"
LOCAL = "--workload=local"
PAIR = (NULL, LOCAL)

REFUSALS = [
    (("--workload=local",), "--alloc is missing, as in runner --alloc=hz5 --workload=remote (--help)"),
    (("--alloc=null",), "--workload is missing, as in runner --alloc=hz5 --workload=remote (--help)"),
    (("--alloc=nul", LOCAL), "unknown allocator 'nul' - did you mean 'null'? (--list-allocators)"),
    (("--alloc=hz55", LOCAL), "unknown allocator 'hz55' - did you mean 'hz5'? (--list-allocators)"),
    ((NULL, "--workload=remot"), "unknown workload 'remot' - did you mean 'remote'? (--list-workloads)"),
    ((NULL, "--workload=quite-another"), "unknown workload 'quite-another' (--list-workloads)"),
    ((*PAIR, "--thraeds=2"), "unknown option '--thraeds' - did you mean '--threads'? (--help)"),
    ((*PAIR, "--fake-clok"), "unknown option '--fake-clok' (--help)"),
    ((*PAIR, "-x"), "unknown option '-x' (--help)"),
    ((*PAIR, "--threads"), "option '--threads' needs a value (--help)"),
    (
        (*PAIR, "--ops=5", "--duration=1s"),
        "--ops is a fixed amount of work, --duration ends it by the clock - give one of them",
    ),
    (
        (NULL, "--workload=local{ops=5,duration=1s}"),
        "workload 'local': ops is a fixed amount of work, duration ends it by the clock - give one",
    ),
    (("selftst",), "unexpected argument 'selftst' - did you mean 'selftest'? (--help)"),
    (
        (NULL, "--workload=trace:missing.hzt"),
        "workload 'trace': missing.hzt: No such file or directory - give the path of a file that can be read",
    ),
    ((*PAIR, "more"), "unexpected argument 'more' - options are written --name=value (--help)"),
    ((NULL, "--workload=remote", "--threads=1"), "workload 'remote' needs at least 2 threads (got --threads=1)"),
    ((NULL, "--workload=remote", "--remote=120%"), "--remote=120%: a share lies between 0% and 100%"),
    ((NULL, "--workload=remote", "--remote=-1%"), "--remote=-1%: a share lies between 0% and 100%"),
    ((NULL, "--workload=remote", "--remote=90"), "--remote=90: needs a share in percent, such as 90%"),
    ((NULL, "--workload=remote", "--remote=nan%"), "--remote=nan%: needs a share in percent, such as 90%"),
    ((NULL, "--workload=remote{remote=101%}"), "workload 'remote': remote=101%: a share lies between 0% and 100%"),
    (
        (NULL, "--workload=remote{remote=50%"),
        "workload 'remote{remote=50%': the brace is not closed - write name{key=value,key=value}",
    ),
    ((NULL, "--workload=remote{ops}"), "workload 'remote': parameter 'ops' needs a value, as in remote{ops=...}"),
    ((*PAIR, "--remote=50%"), "--remote: no workload of this run has that parameter (--list-workloads)"),
    ((*PAIR, "--topology=ring"), "--topology: no workload of this run has that parameter (--list-workloads)"),
    (
        (NULL, "--workload=remote", "--topology=star"),
        "--topology=star: must be a list of ring, pairs, all, fan-in, fan-out",
    ),
    ((*PAIR, "--threads=0"), "--threads=0: needs counts from 1 to 256, such as 1,2,4 or 1-4"),
    ((*PAIR, "--threads=4-1"), "--threads=4-1: needs counts from 1 to 256, such as 1,2,4 or 1-4"),
    ((*PAIR, "--threads=1,,2"), "--threads=1,,2: needs counts from 1 to 256, such as 1,2,4 or 1-4"),
    ((*PAIR, "--threads=257"), "--threads=257: needs counts from 1 to 256, such as 1,2,4 or 1-4"),
    (
        (*PAIR, "--threads=99999999999999999999"),
        "--threads=99999999999999999999: needs counts from 1 to 256, such as 1,2,4 or 1-4",
    ),
    ((*PAIR, "--runs=0"), "--runs=0: needs a whole number from 1 to 100000"),
    ((*PAIR, "--ops=0"), "--ops=0: needs a whole number from 1 to 1099511627776, such as 1000 or 500k"),
    ((*PAIR, "--ops=5x"), "--ops=5x: needs a whole number from 1 to 1099511627776, such as 1000 or 500k"),
    ((*PAIR, "--sizes=64..16"), "--sizes=64..16: the smallest size must be at least 1 and not above the largest"),
    ((*PAIR, "--sizes=16kb"), "--sizes=16kb: needs one size or MIN..MAX in bytes, KiB or MiB, such as 16..64KiB"),
    ((*PAIR, "--sizes=0"), "--sizes=0: the smallest size must be at least 1 and not above the largest"),
    ((*PAIR, "--size-distribution=normal"), "--size-distribution=normal: must be one of uniform, log-uniform"),
    ((*PAIR, "--touch=some"), "--touch=some: must be one of none, ends, all"),
    ((*PAIR, "--settle=1"), "--settle=1: needs a time with its unit, such as 500ms or 2s"),
    ((*PAIR, "--settle=1s,100ms"), "--settle=1s,100ms: the times must ascend, as in 100ms,1s,10s"),
    ((*PAIR, "--settle=1s,"), "--settle=1s,: needs a time with its unit, such as 500ms or 2s"),
    (
        (*PAIR, "--settle=1s,2s,3s,4s,5s,6s,7s,8s,9s"),
        "--settle=1s,2s,3s,4s,5s,6s,7s,8s,9s: names more than 8 times",
    ),
    ((*PAIR, "--settle-work=heavy"), "--settle-work=heavy: must be one of none, light"),
    (
        ("--alloc=hz5", "--workload=app:redis", "--settle-work=light"),
        "--settle-work: no workload of this run has that parameter (--list-workloads)",
    ),
    ((*PAIR, "--timeout=0s"), "--timeout=0s: must be above 0"),
    ((*PAIR, "--load=static"), "--load=static: must be one of dlopen, preload"),
    ((*PAIR, "--pin=near"), "--pin=near: must be none, compact, spread or a list of CPUs such as 0,2 or 0-3"),
    ((*PAIR, "--output=rows.txt"), "--output=rows.txt: must be a file name that ends in .csv"),
    ((*PAIR, "--output=.csv"), "--output=.csv: must be a file name that ends in .csv"),
    (("--alloc=null,", LOCAL), "--alloc=null,: an item of the list is empty"),
    (("--alloc=null{a=1}", LOCAL), "allocator 'null' takes no options - write 'null'"),
]


@pytest.mark.parametrize("arguments,line", REFUSALS, ids=[" ".join(a) for a, _ in REFUSALS])
def test_refused_in_one_line(run, tmp_path, arguments, line):
    result = run(*arguments)
    assert result.lines == ["runner: " + line]
    assert (result.code, result.out) == (2, "")
    assert list(tmp_path.iterdir()) == []


def test_workload_without_the_parameter_lists_those_it_has(run):
    result = run(NULL, "--workload=local{remote=5%}")
    assert result.code == 2
    assert result.lines == [
        "runner: workload 'local' has no parameter 'remote' - it has ops, duration, sizes, size-distribution,"
        " working-set, touch, age, age-bytes, age-live, settle-work, free, memory-limit, thp, cpu-quota"
    ]


def test_pin_to_a_cpu_that_is_not_there(run):
    result = run(*PAIR, "--pin=9999")
    assert result.code == 2
    assert len(result.lines) == 1
    assert re.fullmatch(
        r"runner: --pin=9999: CPU 9999 is not one of those this process may use: [\d,-]+", result.lines[0]
    )


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_only_the_cpus_of_the_caller_are_used(run, tmp_path):
    first, last = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))

    def bound(*arguments):
        return run("-c", last, RUNNER, *PAIR, "--ops=2000", "--settle=0", "--runs=1", *arguments, program="taskset")

    refused = bound(f"--pin={first}")
    assert (refused.code, refused.out) == (2, "")
    assert refused.lines == [f"runner: --pin={first}: CPU {first} is not one of those this process may use: {last}"]
    for pin in ("spread", "compact", str(last)):
        done = bound(f"--pin={pin}", "--threads=2", f"--output={pin}.csv")
        assert (done.code, done.err) == (0, "")
        assert json.loads((tmp_path / f"{pin}.run.json").read_text())["machine"]["pus"] == 1


def test_braces_go_before_the_command_line_for_time_and_work(run):
    plan = run(NULL, "--workload=local{ops=5},remote", "--duration=1s", "--plan", "--runs=1").out
    assert "local threads=1 ops=5 " in plan and "remote threads=2 duration=1s " in plan
    plan = run(NULL, "--workload=local{duration=2s},remote", "--ops=7", "--plan", "--runs=1").out
    assert "local threads=1 duration=2s " in plan and "remote threads=2 ops=7 " in plan


def test_thread_count_that_does_not_fit_is_skipped_when_another_does(run):
    result = run(NULL, "--workload=remote,local", "--threads=1,2", "--plan", "--ops=1000", "--runs=2", "--settle=0")
    assert result.code == 0
    assert result.lines == ["runner: workload 'remote' needs at least 2 threads (got --threads=1) - skipped"]
    assert (
        re.sub(r"about \S+", "about X", result.out)
        == "cell 0: null remote threads=2 ops=1000 remote=90% topology=ring sizes=16..2KiB working-set=1000\n"
        "cell 1: null local threads=1 ops=1000 sizes=16..2KiB working-set=1000\n"
        "cell 2: null local threads=2 ops=1000 sizes=16..2KiB working-set=1000\n"
        "3 cells x 2 runs = 6 samples, about X (a guess)\n"
    )
    quiet = run(NULL, "--workload=remote,local", "--threads=1,2", "--plan", "--quiet")
    assert (quiet.code, quiet.err) == (0, "")


def test_plan_runs_nothing_and_writes_nothing(run, tmp_path):
    result = run("--alloc=null,hz5,hz5", LOCAL, "--output=r.csv", "--plan", "--runs=3")
    assert (result.code, result.err) == (0, "")
    assert "3 cells x 3 runs = 9 samples" in result.out
    assert list(tmp_path.iterdir()) == []


def test_lists_ranges_and_units(run):
    result = run(
        NULL,
        "--workload=remote{remote=12.5%,sizes=64,topology=all},mixed",
        "--threads=2-3,2",
        "--topology=pairs,ring",
        "--sizes=16..64KiB",
        "--ops=3k",
        "--plan",
        "--runs=1",
    )
    assert result.code == 0
    cells = [line.split(": ", 1)[1] for line in result.out.splitlines()[:-1]]
    assert cells[:2] == [
        "null remote threads=2 ops=3000 remote=12.5% topology=all sizes=64..64 working-set=1000",
        "null remote threads=3 ops=3000 remote=12.5% topology=all sizes=64..64 working-set=1000",
    ]
    mixed = [cell for cell in cells if cell.startswith("null mixed")]
    assert [re.search(r"threads=(\d).*topology=(\S+) sizes=16\.\.64KiB", cell).groups() for cell in mixed] == [
        ("2", "pairs"),
        ("2", "ring"),
        ("3", "ring"),
    ]
    assert result.lines == [
        "runner: workload 'mixed' with --topology=pairs needs an even number of threads (got --threads=3) - skipped"
    ]


def test_lists_name_what_is_unavailable_and_why(run):
    allocators = run("--list-allocators")
    assert (allocators.code, allocators.err) == (0, "")
    for name in ("null", "system", "jemalloc", "mimalloc", "tcmalloc", "hz3", "hz4", "hz5"):
        entry = re.search(rf"^{name} +\S.*\n +(\S.*)$", allocators.out, re.M)
        assert entry, name
        assert entry.group(1).startswith("/") or entry.group(1).startswith("unavailable: ")
    workloads = run("--list-workloads")
    assert (workloads.code, workloads.err) == (0, "")
    for name in ("local", "remote", "mixed"):
        assert re.search(rf"^{name} +\S", workloads.out, re.M)


@pytest.mark.parametrize(
    "item, line",
    [
        ("a=system,a=null", "--alloc: two items are called 'a' - give each a name of its own"),
        ("a=system,a=system", "--alloc: two items are called 'a' - give each a name of its own"),
        ("hz5=system", "--alloc=hz5=system: 'hz5' is an allocator's own name - choose another"),
        ("a b=system", "--alloc=a b=system: a name has 1 to 40 letters, digits or one of _ . + -"),
        ("a#2=system", "--alloc=a#2=system: a name has 1 to 40 letters, digits or one of _ . + -"),
        ("x" * 41 + "=system", f"--alloc={'x' * 41}=system: a name has 1 to 40 letters, digits or one of _ . + -"),
        ("a=", "'' names no allocator - use a name from --list-allocators or the path of a library"),
        ("a=b=system", "unknown allocator 'b=system' - did you mean 'system'? (--list-allocators)"),
    ],
)
def test_names_that_cannot_be(run, item, line):
    result = run(f"--alloc={item}", "--workload=local", "--plan")
    assert (result.code, result.lines) == (2, ["runner: " + line])


def test_help_fits_one_screen(run):
    result = run("--help")
    assert (result.code, result.err) == (0, "")
    assert len(result.out.splitlines()) <= 71
    assert max(map(len, result.out.splitlines())) <= 80
    assert "fake-clock" not in result.out
    assert run("-h").out == result.out


def test_version_names_commit_and_compiler(run):
    result = run("--version")
    assert (result.code, result.err) == (0, "")
    assert re.fullmatch(r"hzbench \d+\.\d+\.\d+ \(commit \S+, \S+ \S+, buildtype=.*\)\n", result.out)


def test_doctor_reports_and_measures_the_harness(run):
    result = run("--doctor")
    assert (result.code, result.err) == (0, "")
    findings = [line for line in result.out.splitlines() if line.startswith(("ok ", "HURTS"))]
    for name in (
        "governor",
        "CPU pressure",
        "steal",
        "hardware counters",
        "timer",
        "transparent huge pages",
        "overcommit",
        "address randomisation",
    ):
        assert sum(line[6:].startswith(name) for line in findings) == 1, name
    assert float(re.search(r"harness +([\d.]+) ns an op", result.out).group(1)) > 0
    hurts = sum(line.startswith("HURTS") for line in findings)
    assert result.out.count("\n" + " " * 29 + "-> ") == hurts
    assert re.search(rf"^{hurts} things? on this machine will hurt\.$", result.out, re.M)


def test_no_output_option_leaves_no_files(run, tmp_path):
    result = run(*PAIR, *QUICK, "--runs=1")
    assert (result.code, result.err) == (0, "")
    assert list(tmp_path.iterdir()) == []

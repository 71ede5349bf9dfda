# SPDX-License-Identifier: Apache-2.0
"""One planted crime a rule: the rule finds it, and nothing else changes its mind about the clean file."""

import json

import fixtures
import pytest
from hzbench import errors, lint

PLAN = {"threads": (1, 2), "rounds": 8}
PEERS = ("hz5", "mimalloc", "jemalloc", "tcmalloc", "system", "null")


def rows_where(**wanted):
    return lambda row: all(row[k] == v for k, v in wanted.items())


def drop(**wanted):
    return lambda rows: [r for r in rows if not rows_where(**wanted)(r)]


def change(update, **wanted):
    def edit(rows):
        for row in rows:
            if rows_where(**wanted)(row):
                row.update({k: v(row) if callable(v) else v for k, v in update.items()})

    return edit


def slow(rows):
    """The fixtures' samples are as long as the plan's million operations take; the clean file's must not be short."""
    for row in rows:
        row["elapsed_ns"] *= 20
        row["throughput_ops_s"] = f"{row['ops'] / row['elapsed_ns'] * 1e9:.3f}"


def write(directory, name="run", edit=None, plan=None):
    def both(rows):
        slow(rows)
        return (edit(rows) if edit else None) or rows

    return fixtures.write_run(
        directory / f"{name}.csv", fixtures.Plan(**{**PLAN, **(plan or {})}), both, with_series=False
    )


def without_provenance(path):
    path.with_name(path.stem + ".run.json").unlink()
    return path


def built(path, **build):
    file = path.with_name(path.stem + ".run.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"build": build}))
    return path


def test_a_build_of_unknown_commit_is_named(tmp_path):
    found = lint.check([built(write(tmp_path), commit="unknown", dirty=False)])
    assert any(f.rule == "no-provenance" and "unknown commit" in f.what for f in found)
    assert not any(
        f.rule == "no-provenance" for f in lint.check([built(write(tmp_path, "b"), commit="0" * 40, dirty=False)])
    )


def table(path, mean):
    path.write_text(f"cell,allocator,ratio\na,hz5,2\nb,hz5,0.5\n{mean}\n")
    return path


SECONDS = {"elapsed_ns": lambda r: r["elapsed_ns"] // 2000}
CRIMES = {
    "no-baseline": lambda d: [write(d, plan={"allocators": ("hz5", "null")})],
    "peers-missing": lambda d: [write(d, plan={"allocators": ("hz5", "system", "null")})],
    "few-rounds": lambda d: [write(d, plan={"rounds": 5})],
    "failures-dropped": lambda d: [write(d, edit=drop(allocator="hz5", round=2, workload="local", threads=1))],
    "uneven-rounds": lambda d: [write(d, edit=drop(allocator="hz5", round=7))],
    "mixed-load-modes": lambda d: [write(d), write(d, "other", change({"load": "preload"}), {"run": 2})],
    "mixed-platforms": lambda d: [write(d), write(d, "other", plan={"run": 2, "platform": "wine"})],
    "oversubscribed": lambda d: [write(d, plan={"threads": (1, 2, 4)})],
    "short-samples": lambda d: [write(d, edit=change(SECONDS, allocator="hz5"))],
    "subset-of-matrix": lambda d: [write(d, edit=drop(allocator="hz5", threads=2, workload="mixed"))],
    "core-workloads": lambda d: [write(d, plan={"workloads": ("local",)})],
    "unequal-work": lambda d: [write(d, edit=change({"duration_ns": 10**9}))],
    "harness-dominates": lambda d: [write(d, edit=drop(allocator="null"))],
    "contaminated": lambda d: [write(d, edit=change({"contaminated": 1, "contamination": "steal"}, threads=1))],
    "no-provenance": lambda d: [built(write(d), dirty=True)],
    "best-of-profiles": lambda d: [write(d, plan={"allocators": (*PEERS, "hz5{profile=rss}")})],
    "mixed-hosts": lambda d: [write(d), write(d, "other", plan={"run": 2, "cpu": "Other CPU"})],
    "mean-of-ratios": lambda d: [write(d), table(d / "table.csv", "mean,hz5,1.25")],
}


def test_the_clean_file_is_clean(tmp_path):
    assert lint.check([write(tmp_path)]) == []
    assert (
        lint.check(
            [
                write(tmp_path),
                table(tmp_path / "t.csv", "geometric mean,hz5,1"),
                table(tmp_path / "u.csv", "mean,hz5,1"),
            ]
        )
        == []
    )


@pytest.mark.parametrize("rule", CRIMES)
def test_each_rule_finds_its_crime(rule, tmp_path):
    found = {f.rule for f in lint.check(CRIMES[rule](tmp_path))}
    assert rule in found
    # A crime may well be two: a deleted row is also a round that one allocator lacks.
    assert len(found) <= 3, found


def test_every_rule_has_a_fixture_and_a_reason(monkeypatch):
    assert set(CRIMES) | {"mixed-schemas"} == set(lint.RULES) | set(lint.FILE_RULES)
    assert all(len(lint.why(rule)) > 15 for rule in CRIMES)
    assert list(lint.mixed_schemas([], ["2", "3"])) and not list(lint.mixed_schemas([], ["3", "3"]))


def test_an_unknown_number_of_cpus_cannot_be_marked(tmp_path):
    found = {f.rule for f in lint.check([without_provenance(write(tmp_path))])}
    assert {"no-provenance", "oversubscribed"} <= found


def test_a_fast_allocator_that_mostly_waits_for_the_harness(tmp_path):
    found = lint.check([write(tmp_path, plan={"speed": {**fixtures.SPEED, "hz5": 400e6}})])
    assert any(f.rule == "harness-dominates" and "harness-bound" in f.what and "hz5" in f.what for f in found)


def test_command(script, tmp_path):
    file = write(tmp_path, plan={"rounds": 5})
    done = script("lint", file)
    assert (
        done.returncode == 0
        and "warning  few-rounds: local, 1 thread: " in done.stdout
        and "lint: 4 warnings" in done.stdout
    )
    assert script("lint", file, "--strict", "--format=json").returncode == 1
    assert script("lint", file, "--strict", "--ignore=few-rounds").returncode == 0


def test_what_is_no_table_is_refused(tmp_path):
    """What no rule can look at is not found to be without crimes."""
    for content in (
        "hello\n",
        "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon,,,:/:/bin/sh\n",
        "name,speed\na,1\n",
    ):
        (tmp_path / "x.csv").write_text(content)
        with pytest.raises(errors.InputError, match="neither a result file nor a CSV table with .* ratios"):
            lint.check([tmp_path / "x.csv"])

# SPDX-License-Identifier: Apache-2.0
"""One small cell of every workload that needs neither a file nor a program, on hz5 and on the C library: each does its
work, and both see the same events."""

import csv
import re

NEED_A_FILE = {"profile", "trace", "app", "program"}
# Their operations follow from these.
SIZES = {
    "churn": "{rounds=4}",
    "fill-50": "{working-set=2000}",
    "fill-90": "{working-set=2000}",
    "fill-99": "{working-set=2000}",
    "fleet": ":mix",
}


def test_one_cell_of_every_workload(run, tmp_path):
    names = re.findall(r"^([a-z][a-z0-9-]*)\s", run("--list-workloads").out, re.M)
    assert len(names) > 25 and NEED_A_FILE < set(names)
    for name in names:
        if name in NEED_A_FILE:
            continue
        cell = [
            f"--workload={name}{SIZES.get(name, '')}",
            "--alloc=hz5,system",
            "--threads=2",
            "--runs=1",
            "--settle=0",
            f"--output={name}.csv",
        ]
        result = run(*cell, "--ops=500")
        if "leave --ops out" in result.err:
            result = run(*cell)
        assert result.code == 0, (name, result.err)
        with open(tmp_path / f"{name}.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["status"] for row in rows] == ["ok", "ok"], (name, rows)
        assert len({row["stream_hash"] for row in rows}) == 1 and all(int(row["ops"]) > 0 for row in rows), name

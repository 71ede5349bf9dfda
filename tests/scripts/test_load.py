# SPDX-License-Identifier: Apache-2.0
"""The loader: what it reads, and that everything else is one line and exit 2."""

import json
import math
import re
import shutil

import fixtures
import hypothesis.strategies as st
import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hzbench import load, schema
from hzbench.errors import InputError

SMALL = fixtures.Plan(allocators=("hz5", "system", "null"), workloads=("local",), threads=(1, 2), rounds=2)


@pytest.fixture
def run(tmp_path):
    return fixtures.write_run(tmp_path / "a.csv", SMALL, with_series=False)


def refuse(script, *arguments, name="tables"):
    """The message of a script that must refuse: one line, named after the script, no traceback, exit 2."""
    done = script(name, *arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert re.fullmatch(rf"{name}: [^\n]+\n", done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_columns_are_those_of_the_schema_document():
    text = (ROOT / "results" / "SCHEMA.md").read_text()
    table = text.split("## NAME.csv")[1].split("## NAME.rss.csv")[0]
    documented = []
    for line in table.splitlines():
        if line.startswith("| ") and not line.startswith("| column"):
            documented += [c.strip() for c in line.split("|")[1].split(",")]
    assert documented == list(schema.COLUMNS)
    assert ",".join(schema.RSS_COLUMNS) in text
    for word in (*schema.STATUSES, *schema.PLATFORMS, *schema.PHASES):
        assert re.search(rf"\b{re.escape(word)}\b", text), word


def test_reads_types_and_keeps_empty_apart_from_zero(run):
    results = load.load([run])
    data = results.data
    assert len(data) == 12 and results.allocators == ["hz5", "system", "null"]
    assert data["rss_1s"].isna().all() and (data["waits"] == 0).all()
    assert data["throughput_ops_s"].dtype == float and data["threads"].dtype == int
    assert [c[schema.CELL.index("threads")] for c in results.cells] == [1, 2]
    assert results.runs[0].pus == 2 and not data["crowded"].any()


@pytest.mark.parametrize("end,mark", [("\n", "\ufeff"), ("\r\n", ""), ("\r\n", "\ufeff")])
def test_a_byte_order_mark_and_lines_of_windows_change_nothing(run, end, mark):
    wanted = load.load([run]).data
    run.write_text(mark + run.read_text(), encoding="utf-8", newline=end)
    assert load.load([run]).data.equals(wanted)


def as_of_schema(version, row):
    renamed = schema.OLD_NAMES if version in ("2", "3") else {}
    return {renamed.get(name, name): value for name, value in row.items()} | {"schema": version}


@pytest.mark.parametrize("version", ["1", "2", "4"])
def test_rows_of_older_schemas_are_read_with_the_later_columns_empty(tmp_path, run, version):
    rows = [as_of_schema(version, row) for row in fixtures.samples(SMALL)]
    old = tmp_path / "old.csv"
    fixtures.write_rows(old, rows, schema.SCHEMAS[version])
    data = load.load([old]).data
    assert list(data.columns)[: len(schema.COLUMNS)] == list(schema.COLUMNS)
    known = {
        *schema.SCHEMAS[version],
        *(new for new, old in schema.OLD_NAMES.items() if old in schema.SCHEMAS[version]),
    }
    later = [c for c in schema.COLUMNS if c not in known]
    assert ("windows_private_usage_bytes" in later) == (version != "4") and ("contaminated" in later) == (
        version == "1"
    )
    assert "limited_by" in later
    assert all(((data[c] == "") | data[c].isna()).all() for c in later if c not in schema.NOT_YET)
    assert all((data[c] == value).all() for c, value in schema.NOT_YET.items())
    assert data["throughput_ops_s"].equals(load.load([run]).data["throughput_ops_s"])
    for file in sorted((ROOT / "results").glob("*/*.csv"))[:3]:
        if not file.name.endswith(".rss.csv"):
            assert len(load.load([file]).data)


@pytest.mark.parametrize("version", ["2", "3"])
def test_columns_of_older_schemas_are_read_under_the_names_of_today(tmp_path, version):
    rows = list(fixtures.samples(SMALL))
    old = [as_of_schema(version, row) | {"contamination": "run-delay;canary", "contaminated": 1} for row in rows]
    fixtures.write_rows(tmp_path / "old.csv", old, schema.SCHEMAS[version])
    data = load.load([tmp_path / "old.csv"]).data
    assert set(data["contamination"]) == {"run-delay;slow-cpu"}
    renamed = [*schema.OLD_NAMES]
    assert all(c.startswith("reference_loop_") for c in renamed[1:]) and len(renamed) == 4
    assert [list(row) for row in data[renamed[1:]].values] == [[row[c] for c in renamed[1:]] for row in rows]
    fixtures.write_rows(tmp_path / "bad.csv", [old[0] | {"canary_before_ns": "soon"}], schema.SCHEMAS[version])
    with pytest.raises(InputError, match="canary_before_ns 'soon' is not"):
        load.load([tmp_path / "bad.csv"])


def test_column_order_does_not_matter(tmp_path, run):
    rows = list(fixtures.samples(SMALL))
    turned = tmp_path / "b.csv"
    fixtures.write_rows(turned, rows, tuple(reversed(schema.COLUMNS)))
    shutil.copy(tmp_path / "a.run.json", tmp_path / "b.run.json")
    assert (
        load.load([turned])
        .data[["name", "sample", "elapsed_ns"]]
        .equals(load.load([run]).data[["name", "sample", "elapsed_ns"]])
    )


def test_copies_of_one_allocator_are_told_apart(tmp_path):
    plan = fixtures.Plan(allocators=("hz5", "hz5"), workloads=("local",), threads=(1,), rounds=3)
    results = load.load([fixtures.write_run(tmp_path / "a.csv", plan)])
    assert results.allocators == ["hz5", "hz5#2"]
    assert results.data["name"].value_counts().to_dict() == {"hz5": 3, "hz5#2": 3}


def test_a_copy_is_one_cell_of_the_plan_in_every_round(tmp_path):
    plan = fixtures.Plan(allocators=("hz5", "system", "hz5"), workloads=("local",), threads=(1, 2), rounds=12)
    data = load.load([fixtures.write_run(tmp_path / "a.csv", plan)]).data
    assert {n: set(d["cell_index"]) for n, d in data.groupby("name")} == {
        "hz5": {0, 3},
        "system": {1, 4},
        "hz5#2": {2, 5},
    }
    first = data[data["name"].isin(["hz5", "hz5#2"])].sort_values("order").groupby(["block", "cell"]).first()["name"]
    assert set(first) == {"hz5", "hz5#2"}  # either may come first in a round


def test_two_runs_of_one_machine_are_joined_but_not_paired(tmp_path):
    files = [
        fixtures.write_run(tmp_path / f"{n}.csv", fixtures.Plan(run=n, seed=n, workloads=("local",))) for n in (1, 2)
    ]
    data = load.load(files).data
    assert data["block"].nunique() == 16
    assert data["stream_hash"].nunique() == 4  # two seeds, two thread counts: equal work is asked for within a seed


BROKEN = {
    "missing column": (lambda t: re.sub(r"throughput_ops_s", "tput", t), r"no column 'throughput_ops_s'"),
    "unknown column": (lambda t: t.replace("started_at", "started_at,extra", 1).replace("Z\n", "Z,1\n"), "'extra'"),
    "repeated column": (lambda t: t.replace("started_at", "started_at,pin", 1).replace("Z\n", "Z,1\n"), "'pin'"),
    "wrong schema": (lambda t: re.sub(r"(?m)^5,", "6,", t), r"schema '6', .* these scripts read schemas 1, 2, 3, 4, 5"),
    "schema 1 with the columns of 5": (
        lambda t: re.sub(r"(?m)^5,", "1,", t),
        r"schema '1', but the columns are those of schema 5",
    ),
    "schema 3 with the columns of 5": (
        lambda t: re.sub(r"(?m)^5,", "3,", t),
        r"schema '3', but the columns are those of schema 5",
    ),
    "columns between 2 and 3": (
        lambda t: t.replace(",windows_private_usage_bytes", "", 1),
        "no column 'windows_private_usage_bytes'",
    ),
    "truncated last line": (lambda t: t[:-30], r"last line is cut off"),
    "truncated to a whole field": (lambda t: t.rsplit(",", 3)[0], r"last line is cut off"),
    "header only": (lambda t: t.split("\n")[0] + "\n", "no samples"),
    "empty": (lambda t: "", "is empty"),
    "short row": (lambda t: re.sub(r",[^,\n]*\n$", "\n", t), r"fields, the header has"),
    "text for a number": (lambda t: t.replace(",1000000,", ",many,", 1), r"'many' is not an unsigned integer"),
    "negative": (lambda t: t.replace(",1000000,", ",-1000000,", 1), r"'-1000000' is not an unsigned"),
    "not a number": (lambda t: t.replace(",1000000,", ",nan,", 1), r"'nan'"),
    "infinite": (lambda t: re.sub(r",\d+\.\d{3},", ",inf,", t, count=1), r"throughput_ops_s 'inf' is not a finite"),
    "overflowing": (lambda t: re.sub(r",\d+\.\d{3},", ",1e999,", t, count=1), r"'1e999' is not a finite"),
    "too large": (lambda t: t.replace(",1000000,", ",18446744073709551616,", 1), "is not an unsigned integer"),
    "C's 'not measured'": (lambda t: t.replace(",1000000,", ",18446744073709551615,", 1), "is not an unsigned"),
    "unknown status": (lambda t: t.replace(",ok,", ",fine,", 1), r"status 'fine' is none of"),
    "unknown platform": (lambda t: t.replace(",linux,", ",amiga,", 1), r"platform 'amiga' is none of"),
    "ok without throughput": (lambda t: re.sub(r",\d+\.\d{3},", ",,", t, count=1), "status is ok but throughput_ops_s"),
    "zero throughput": (lambda t: re.sub(r",\d+\.\d{3},", ",0,", t, count=1), "status is ok but throughput_ops_s"),
    "empty allocator": (lambda t: t.replace(",hz5,", ",,", 1), "allocator '' is empty but required"),
    "control characters": (lambda t: t.replace(",hz5,", ",hz\x1b[31m5,", 1), r"holds control characters"),
    "line break in a field": (lambda t: t.replace(",hz5,", ',"hz\n5",', 1), r"holds control characters"),
    "NUL byte": (lambda t: t.replace("hz5", "h\0z5", 1), "NUL byte"),
    "open quote": (lambda t: t.replace(",hz5,", ',"hz5,', 1), r"not valid CSV|fields, the header"),
    "huge field": (lambda t: t.replace(",hz5,", "," + "x" * 100_000 + ",", 1), "not valid CSV"),
    "two runs": (lambda t: t.replace(",0000000000000001,", ",0000000000000002,", 1), "rows of 2 runs"),
    "sample twice": (lambda t: t + t.splitlines()[-1] + "\n", "occurs twice"),
    "other work": (
        lambda t: re.sub(r"(5,0{15}1,1,[^\n]*,)([0-9a-f]{16})(,\d+,\d+,)", r"\1ffffffffffffffff\3", t, count=1),
        "did other work",
    ),
    "two builds": (
        lambda t: re.sub(r"(5,0{15}1,1,[^\n]*,)([0-9a-f]{64})(,)", r"\1" + "f" * 64 + r"\3", t, count=1),
        "is another build",
    ),
    "binary": (lambda t: "\x7fELF\x02" + t, "no column 'schema'"),
    "threads zero": (lambda t: re.sub(r",local,,1,", ",local,,0,", t, count=1), "threads is 0"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_bad_input_is_refused_with_one_line(run, what):
    edit, message = BROKEN[what]
    before = run.read_text()
    after = edit(before)
    assert after != before
    run.write_text(after)
    with pytest.raises(InputError, match=message) as caught:
        load.load([run])
    text = str(caught.value)
    assert "\n" not in text and text.isprintable() and len(text) < 500 and str(run) in text


@pytest.mark.parametrize("name", ["tables", "figures"])
def test_scripts_say_one_line_and_exit_2(script, run, name, tmp_path):
    out = ["--out", tmp_path / "out"] if name == "figures" else []
    run.write_text(run.read_text()[:-10])
    assert "cut off" in refuse(script, run, *out, name=name)
    assert "No such file" in refuse(script, tmp_path / "none.csv", *out, name=name)
    assert "is a directory" in refuse(script, tmp_path, *out, name=name)
    assert "--help" in refuse(script, run, "--no-such-option", *out, name=name)
    assert "required" in refuse(script, *out, name=name)
    assert not (tmp_path / "out").exists()


def test_not_utf8(script, run):
    run.write_bytes(b"schema\xff\xfe\n")
    assert "not UTF-8 at byte 6" in refuse(script, run)


def test_mixed_hosts(script, tmp_path, run):
    other = fixtures.write_run(tmp_path / "b.csv", fixtures.Plan(run=2, cpu="Other CPU"))
    assert "another machine" in refuse(script, run, other)
    assert "another machine" in refuse(script, run, other, name="compare")


def test_hosts_that_cannot_be_known_are_not_mixed(script, tmp_path, run):
    other = fixtures.write_run(tmp_path / "b.csv", fixtures.Plan(run=2))
    (tmp_path / "b.run.json").unlink()
    assert "no run.json" in refuse(script, run, other)
    assert script("tables", other).returncode == 0


def test_the_same_run_twice(script, tmp_path, run):
    shutil.copy(run, tmp_path / "copy.csv")
    assert "same run as" in refuse(script, run, tmp_path / "copy.csv")


def test_two_builds_in_two_files(script, tmp_path, run):
    other = fixtures.write_run(tmp_path / "b.csv", fixtures.Plan(run=2, build="b", allocators=("hz5", "system")))
    assert "is another build" in refuse(script, run, other)


@pytest.mark.parametrize("text", ["{", "[]", '{"run_id": "feedfeedfeedfeed"}', "\x00", '"' + "[" * 5000, "[" * 100_000])
def test_bad_provenance(script, tmp_path, run, text):
    (tmp_path / "a.run.json").write_text(text)
    refuse(script, run)


def test_hostile_host_name_stays_one_line(script, tmp_path, run):
    other = fixtures.write_run(tmp_path / "b.csv", fixtures.Plan(run=2, cpu="x\n\x1b]0;evil\x07 CPU"))
    assert "\x1b" not in refuse(script, run, other)


def test_unknown_baseline_names_what_there_is(script, run):
    assert "they have hz5, system, null" in refuse(script, run, "--baseline=hz9")


@pytest.mark.parametrize("margin", ["0", "1", "-2%", "nan", "x", "", "101%"])
def test_bad_margin(script, run, margin):
    assert "is not a share" in refuse(script, run, f"--margin={margin}")


def test_memory_is_without_the_harness_where_the_file_tells_it(tmp_path):
    def grow(rows):  # as if the harness kept 7 MiB for each sample
        for row in rows:
            row["harness_bytes"] = (7 << 20) + row["sample"]
            for column in schema.RESIDENT:
                if row.get(column, "") != "":
                    row[column] += row["harness_bytes"]

    plain = load.load([fixtures.write_run(tmp_path / "plain.csv", SMALL)])
    grown = load.load([fixtures.write_run(tmp_path / "grown.csv", SMALL, edit=grow)])
    assert plain.data["harness_bytes"].isna().all() and (grown.data["harness_bytes"] >= 7 << 20).all()
    for column in schema.RESIDENT:
        assert grown.data[column].equals(plain.data[column]), column
    one, other = (load.load_series(r.runs[0]) for r in (plain, grown))
    assert (one["rss_bytes"] - other["rss_bytes"]).abs().max() <= 1  # fixtures round
    assert one.drop(columns="rss_bytes").equals(other.drop(columns="rss_bytes"))


def test_bad_series(tmp_path):
    file = fixtures.write_run(tmp_path / "a.csv", SMALL)
    run = load.load([file]).runs[0]
    series = tmp_path / "a.rss.csv"
    good = series.read_text()
    assert len(load.load_series(run)) == good.count("\n") - 1
    for edit in (
        lambda t: t[:-3],
        lambda t: t.replace("warm-up", "tea-time", 1),
        lambda t: t.replace("rss_bytes", "rss", 1),
        lambda t: re.sub(r"(?m)^5,0000000000000001,", "5,0000000000000009,", t),
        lambda t: t.replace(",loaded", "x,loaded", 1),
    ):
        series.write_text(edit(good))
        with pytest.raises(InputError) as caught:
            load.load_series(run)
        assert "\n" not in str(caught.value)
    series.unlink()
    assert load.load_series(run) is None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_either_harmless_or_one_line(tmp_path, data):
    """Random edits of a good file: the loader gives a result or an InputError, never another exception."""
    file = fixtures.write_run(tmp_path / "a.csv", SMALL, with_series=False)
    text = file.read_text()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        length = data.draw(st.integers(0, 40))
        text = text[:at] + data.draw(st.text(max_size=6)) + text[at + length :]
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        results = load.load([file])
    except InputError as error:
        assert str(error).isprintable()
    else:
        ok = results.data[results.data["status"] == "ok"]
        assert (ok["throughput_ops_s"] > 0).all() and not ok["throughput_ops_s"].map(math.isinf).any()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=300))
def test_any_bytes_are_refused(tmp_path, raw):
    file = tmp_path / "a.csv"
    file.write_bytes(raw)
    with pytest.raises(InputError) as caught:
        load.load([file])
    assert str(caught.value).isprintable()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    record=st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda s: st.lists(s, max_size=3)
        | st.dictionaries(st.sampled_from(["machine", "pus", "cpu_model", "run_id"]), s, max_size=3),
        max_leaves=8,
    )
)
def test_any_json_beside_the_file(tmp_path, record):
    file = fixtures.write_run(tmp_path / "a.csv", SMALL, with_series=False)
    (tmp_path / "a.run.json").write_text(json.dumps(record))
    try:
        load.load([file])
    except InputError as error:
        assert str(error).isprintable()

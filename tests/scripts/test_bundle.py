# SPDX-License-Identifier: Apache-2.0
"""Bundles of results: nothing private is in them, everything else is, and what was changed on the way is found."""

import hashlib
import json
import tarfile

import pytest
from fixtures import Plan, write_run
from hzbench import artifact, bundle, cli, errors, load

HOME = "/home/adaking/work"


def private_run(path, **more):
    """A run whose files name a user, a host and directories, as a real one does."""

    def edit(rows):
        for row in rows:
            row["library_path"] = f"{HOME}/build/lib.so" if row["allocator"] != "system" else "/usr/lib/libc.so.6"
            if row["round"] == 1 and row["allocator"] == "hz5":
                row.update(status="error", message=f"adaking@analytical: cannot open {HOME}/input", rss_peak="")
        return rows

    write_run(path, Plan(rounds=6, workloads=("local",), threads=(1,), **more), edit)
    file = path.with_name(path.stem + ".run.json")
    record = json.loads(file.read_text())
    record["command"] = f"{HOME}/build/runner --alloc=hz5 --output=/tmp/adaking/out.csv"
    record["environment"] = {"MALLOC_CONF": "narenas:2", "LD_PRELOAD": f"{HOME}/lib.so", "SECRET_TOKEN": "x"}
    record["plan"] |= {"runs": 6, "samples": 36}
    record["allocators"] = [{"allocator": "hz5", "path": f"{HOME}/build/lib.so"}]
    record["sessions"] = [{"started_at": "2026-01-02T03:04:05Z", "command": "x"}]
    file.write_text(json.dumps(record))
    return str(path)


def export(*arguments):
    return cli.run("scripts/export", bundle.main, [str(a) for a in arguments])


@pytest.fixture
def made(tmp_path):
    run, out = private_run(tmp_path / "a.csv"), tmp_path / "out.tar.gz"
    log = tmp_path / "log.txt"
    log.write_text(f"adaking ran {HOME}/x on analytical\n")
    assert (
        export(run, "--redact", "--hide=adaking", "--hide=analytical", f"--log={log}", f"--output={out}") == errors.OK
    )
    return out


def test_nothing_private_is_in_a_redacted_bundle(made):
    found = bundle.read(made)
    assert set(found) == {"a.csv", "a.rss.csv", "a.run.json", "protocol.json", "logs/log.txt", "MANIFEST.sha256"}
    for name, body in found.items():
        for secret in (b"adaking", b"analytical", b"/home", b"SECRET_TOKEN"):
            assert secret not in body, (name, secret)
    assert b"/usr/lib/libc.so.6" in found["a.csv"] and b"narenas:2" in found["a.run.json"]
    assert b"private1/lib.so" in found["a.csv"] or b"private2/lib.so" in found["a.csv"]


def test_the_results_of_a_bundle_are_those_of_the_run(made, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (path,) = bundle.extract(bundle.read(made), folder)
    here, there = load.load([tmp_path / "a.csv"]), load.load([path])
    assert list(here.data["throughput_ops_s"]) == list(there.data["throughput_ops_s"])
    assert here.runs[0].host == there.runs[0].host and here.cells == there.cells
    assert load.load_series(there.runs[0]).equals(load.load_series(here.runs[0]))


def test_the_protocol_tells_what_was_run_and_what_failed(made):
    (run,) = json.loads(bundle.read(made)["protocol.json"])["runs"]
    assert run["requested_runs"] == 6 and run["failed_samples"] == 1 and len(run["samples"]) == 36
    failed = next(s for s in run["samples"] if s["status"] != "ok")
    assert failed["memory"]["rss_peak"] is None and failed["library"]["sha256"] and failed["order"] is not None
    assert run["runner"]["commit"] and run["machine"]["host_id"]


def test_equal_input_gives_equal_bytes_and_the_whole_text_without_redact(tmp_path):
    run = private_run(tmp_path / "a.csv")
    for name in ("x.tar.gz", "y/x.tar.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        assert export(run, f"--output={tmp_path / name}") == errors.OK
    assert (tmp_path / "x.tar.gz").read_bytes() == (tmp_path / "y" / "x.tar.gz").read_bytes()
    assert bundle.read(tmp_path / "x.tar.gz")["a.csv"] == (tmp_path / "a.csv").read_bytes()


def test_two_directories_stay_apart_and_a_user_called_like_a_workload_does_no_harm():
    redactor = bundle.Redactor(["local", "hz5"])
    assert redactor.paths("/a/old/libx.so") != redactor.paths("/a/new/libx.so")
    assert redactor.paths("/a/old/liby.so").startswith(redactor.paths("/a/old/libx.so").split("/")[0])
    assert redactor.words("local@hz5 of localhost") == "name1@name2 of localhost"
    rows = bundle._redact_csv("workload,message\nlocal,asked by local\n", redactor)
    assert rows == "workload,message\nlocal,asked by name1\n"
    assert redactor.paths("16/32 http://x.org/y ./a/b 1.5/2") == "16/32 http://x.org/y ./a/b 1.5/2"


def _rewrite(path, change):
    """The bundle with its files changed by `change`, its manifest as it was."""
    found = bundle.read(path)
    change(found)
    artifact.pack({name: (body, False) for name, body in found.items()}, "out", 0, path)


def _manifest(found):
    lines = [f"{hashlib.sha256(b).hexdigest()}  {n}\n" for n, b in found.items() if n != "MANIFEST.sha256"]
    found["MANIFEST.sha256"] = "".join(lines).encode()


def _other_format(found):
    found["protocol.json"] = b'{"format": "other 9"}'
    _manifest(found)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda f: f.update({"a.csv": f["a.csv"].replace(b"hz5", b"hz4")}), "a.csv has been changed"),
        (lambda f: f.pop("a.rss.csv"), "a.rss.csv is missing"),
        (lambda f: f.update({"more.txt": b"x"}), "more.txt is not in the manifest"),
        (lambda f: f.pop("MANIFEST.sha256"), "no bundle of scripts/export"),
        (_other_format, "format other 9"),
    ],
)
def test_what_was_changed_is_found(made, change, message, capsys):
    assert export("--verify", made) == errors.OK
    assert "whole; 1 run, 36 samples, 1 of them failed, redacted" in capsys.readouterr().out
    _rewrite(made, change)
    assert export("--verify", made) == errors.USAGE
    assert message in capsys.readouterr().err


def test_an_archive_that_would_write_elsewhere_is_refused(tmp_path, capsys):
    path = tmp_path / "bad.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("out/../../etc/passwd"))
    assert export("--verify", path) == errors.USAGE
    assert "that no bundle has" in capsys.readouterr().err
    path.write_bytes(b"no archive")
    assert export("--verify", path) == errors.USAGE


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--output=x.zip"], "must be a file name that ends in .tar.gz"),
        ([], "must be a file name that ends in .tar.gz"),
        (["--hide=me", "--output=x.tar.gz"], "--hide needs --redact"),
    ],
)
def test_usage(tmp_path, arguments, message, capsys):
    assert export(private_run(tmp_path / "a.csv"), *arguments) == errors.USAGE
    assert message in capsys.readouterr().err


def test_a_result_of_unknown_origin_and_an_output_that_exists_are_refused(tmp_path, capsys):
    run = private_run(tmp_path / "a.csv")
    (tmp_path / "x.tar.gz").write_text("mine")
    assert export(run, f"--output={tmp_path / 'x.tar.gz'}") == errors.USAGE
    (tmp_path / "a.run.json").unlink()
    assert export(run, f"--output={tmp_path / 'y.tar.gz'}") == errors.USAGE
    assert "no run.json" in capsys.readouterr().err
    assert (tmp_path / "x.tar.gz").read_text() == "mine" and not (tmp_path / "y.tar.gz").exists()

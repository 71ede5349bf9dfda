# SPDX-License-Identifier: Apache-2.0
"""Set-up of the tests of real programs: the runner in a directory of its own, with a temporary directory of its own."""

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
BUILD = Path(os.environ.get("HZBENCH_BUILD", Path(__file__).resolve().parents[2] / "build"))
APPS = Path(__file__).resolve().parents[2] / "workloads" / "apps"


class Bench:
    def __init__(self, path):
        self.path = path
        self.temporary = path / "temporary"
        self.temporary.mkdir(mode=0o755)
        path.chmod(0o755)

    def command(self, *arguments, build=BUILD, out="r.csv"):
        return [str(build / "runner"), *arguments, "--runs=1", "--settle=0", f"--output={out}", "--quiet"]

    def environment(self, path=None):
        drop = ("LD_PRELOAD", "LD_LIBRARY_PATH", "GLIBC_TUNABLES", "MALLOC_PERTURB_")
        kept = {k: v for k, v in os.environ.items() if k not in drop}
        return {**kept, "TMPDIR": str(self.temporary), **({"PATH": path} if path else {})}

    def run(self, *arguments, path=None, build=BUILD, out="r.csv"):
        done = subprocess.run(
            self.command(*arguments, build=build, out=out),
            cwd=self.path,
            env=self.environment(path),
            capture_output=True,
            text=True,
            timeout=200,
            stdin=subprocess.DEVNULL,
        )
        return done.returncode, self.rows(out), done.stderr

    def rows(self, name):
        with open(self.path / name, newline="") as file:
            return list(csv.DictReader(file))

    def shadow(self, program, text):
        """A directory in which `program` is another one; the PATH with it in front."""
        folder = self.path / "shadow"
        folder.mkdir(exist_ok=True)
        (folder / program).write_text(text)
        (folder / program).chmod(0o755)
        return f"{folder}:{os.environ['PATH']}"

    def left_over(self):
        return sorted(p.name for p in self.temporary.iterdir())


@pytest.fixture
def bench():
    # Not pytest's: those lie in a directory that every run of pytest on the machine closes to the users that servers
    # run as.
    with tempfile.TemporaryDirectory(prefix="hzbench-apps-") as path:
        yield Bench(Path(path))

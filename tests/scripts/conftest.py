# SPDX-License-Identifier: Apache-2.0
"""Shared set-up of the script tests: the same hypothesis examples in every run, and nothing written into the tree."""

import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(SCRIPTS))
sys.path.insert(0, str(Path(__file__).parent))
sys.dont_write_bytecode = True

hypothesis.settings.register_profile("fixed", derandomize=True, database=None, deadline=None, max_examples=150)
hypothesis.settings.load_profile("fixed")


@pytest.fixture
def script():
    """Runs scripts/NAME with arguments; returns the finished process with text output. No stdin, as in CI."""

    def run(name, *arguments, env=None, cwd=None, timeout=120):
        return subprocess.run(
            [str(SCRIPTS / name), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        )

    return run

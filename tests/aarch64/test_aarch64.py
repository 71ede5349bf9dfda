# SPDX-License-Identifier: Apache-2.0
"""The three allocators for 64-bit Arm under qemu-aarch64, preloaded: blocks cross four threads, and pages of another
size than 4 KiB are refused by one line."""

import os
import subprocess
from pathlib import Path

import pytest

BUILD = Path(os.environ["HZBENCH_BUILD"])
ALLOCATORS = ("hz3", "hz4", "hz5")
SYSTEM = "/usr/aarch64-linux-gnu"


def run(name, *options):
    library = BUILD / "allocators" / name / f"lib{name}.so"
    assert library.exists()
    # meson's LD_LIBRARY_PATH would be the guest's as well, whose ld.so then fails on large pages.
    return subprocess.run(
        [
            "qemu-aarch64",
            *options,
            "-L",
            SYSTEM,
            "-E",
            f"LD_PRELOAD={library}",
            BUILD / "tests" / "aarch64" / "hand_over",
        ],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize("name", ALLOCATORS)
def test_blocks_that_change_hands(name):
    done = run(name)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout == "80000 blocks handed over\n"


@pytest.mark.parametrize("page", [16384, 65536])
@pytest.mark.parametrize("name", ALLOCATORS)
def test_other_pages_are_refused(name, page):
    done = run(name, "-p", str(page))
    lines = [line for line in done.stderr.splitlines() if not line.startswith("qemu: ")]
    assert lines == [
        f"{name}: this system has pages of {page} bytes, and this allocator works with pages of 4096 bytes only - use"
        " another allocator here"
    ]
    assert done.returncode != 0 and done.stdout == ""

# SPDX-License-Identifier: Apache-2.0
"""The three allocators for 64-bit Arm, by Debian's cross compiler, under qemu-aarch64: blocks cross four threads, and
pages of another size than 4 KiB are refused by one line."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

BUILD = Path(os.environ["HZBENCH_BUILD"])
ALLOCATORS = ("hz3", "hz4", "hz5")
SYSTEM = "/usr/aarch64-linux-gnu"
COMPILER = "aarch64-linux-gnu-gcc"
FOR_THIS_MACHINE = ("ccache", "-mprfchw", "-MD")  # of a command of the build for x86-64


def compiled(entry, target):
    """Compiles one file as the build of this machine does, for the other."""
    words = [word for word in shlex.split(entry["command"]) if word not in FOR_THIS_MACHINE]
    for option in ("-MQ", "-MF"):
        place = words.index(option)
        del words[place : place + 2]
    words[0] = COMPILER
    words[words.index("-o") + 1] = str(target)
    subprocess.run(words, cwd=entry["directory"], check=True)
    return target


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    """A directory with the libraries and with a program that hands blocks over."""
    folder = tmp_path_factory.mktemp("arm")
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    for name in ALLOCATORS:
        mine = [entry for entry in commands if f"/lib{name}.so.p/" in entry["output"]]
        assert len(mine) > 20
        objects = [compiled(entry, folder / f"{name}-{i}.o") for i, entry in enumerate(mine)]
        subprocess.run([COMPILER, "-shared", "-o", folder / f"lib{name}.so", *objects, "-pthread", "-ldl"], check=True)
    source = Path(__file__).with_name("hand_over.c")
    subprocess.run([COMPILER, "-O2", "-pthread", "-fno-builtin", "-o", folder / "hand_over", source], check=True)
    return folder


def run(arm, name, *options):
    preload = ["-E", f"LD_PRELOAD={arm / f'lib{name}.so'}"]
    return subprocess.run(
        ["qemu-aarch64", *options, "-L", SYSTEM, *preload, arm / "hand_over"],
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize("name", ALLOCATORS)
def test_blocks_that_change_hands(arm, name):
    done = run(arm, name)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout == "80000 blocks handed over\n"


@pytest.mark.parametrize("page", [16384, 65536])
@pytest.mark.parametrize("name", ALLOCATORS)
def test_other_pages_are_refused(arm, name, page):
    done = run(arm, name, "-p", str(page))
    lines = [line for line in done.stderr.splitlines() if not line.startswith("qemu: ")]
    assert done.returncode != 0 and done.stdout == ""
    assert lines == [
        f"{name}: this system has pages of {page} bytes, and this allocator works with pages of 4096 bytes only - use"
        " another allocator here"
    ]

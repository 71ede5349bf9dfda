# SPDX-License-Identifier: Apache-2.0
"""The tree as others configure it: each of these builds without a warning and passes the unit tests and our own
contract tests, or meson refuses it in one line that says what to do. The directories are kept (BUILD/builds) for the
next run."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ["HZBENCH_BUILD"])
# Copies of the allocators for other tests, built with arguments of their own: nothing new in them.
LEFT_OUT = ("sanitizers", "model", "fault", "mutation")
HARDENED = (
    "-g -fstack-protector-strong -Wformat -Werror=format-security -D_FORTIFY_SOURCE=2 -fstack-clash-protection"
    " -fcf-protection"
)

BUILDS = {  # compiler, options of meson setup
    "debug": ("gcc", ["--buildtype=debug"]),
    "hardened": ("gcc", ["-Doptimization=2", f"-Dc_args={HARDENED}", "-Dc_link_args=-Wl,-z,relro -Wl,-z,now"]),
    "lto": ("gcc", ["-Db_lto=true"]),
    "clang": ("clang-14", []),
}
REFUSED = {
    "musl": ("musl-gcc", [], "glibc 2.36"),
    "sanitizer": ("gcc", ["-Db_sanitize=address,undefined"], "meson test --suite sanitizers"),
}


def environment(compiler, **more):
    drop = ("LD_PRELOAD", "CFLAGS", "LDFLAGS", "CC", "MALLOC_PERTURB_")
    return {
        **{k: v for k, v in os.environ.items() if k not in drop},
        "CC": os.environ.get("HZBENCH_CC_PREFIX", "") + compiler,
        **more,
    }


def run(*argv, env, cwd=None):
    done = subprocess.run(
        [str(a) for a in argv], env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def targets(directory, env):
    for target in json.loads(run("meson", "introspect", "--targets", directory, env=env)):
        if target["build_by_default"] and not any(f"/tests/{name}/" in target["defined_in"] for name in LEFT_OUT):
            yield from (os.path.relpath(name, directory) for name in target["filename"])


def built(name):
    """The build directory and the environment to use it in; its prefix is home/hzbench below."""
    compiler, options = BUILDS[name]
    env = environment(compiler)
    directory = BUILD / "builds" / name
    if not (directory / "build.ninja").exists():
        run("meson", "setup", directory, ROOT, f"--prefix={directory}/home/hzbench", *options, env=env)
    run("ninja", "-C", directory, *targets(directory, env), env=env)
    return directory, env


@pytest.mark.parametrize("name", BUILDS)
def test_it_builds_and_works(name):
    directory, env = built(name)
    # hz5's own record forbids measuring it without optimisation, and the loader obeys.
    allocators = ("hz3", "hz4") if name == "debug" else ("hz3", "hz4", "hz5")
    ours = [f"contract {kind}{allocator}" for kind in ("", "preload ") for allocator in allocators]
    listed = run("meson", "test", "-C", directory, "--no-rebuild", "--list", "--suite", "unit", env=env)
    unit = [line.split(" / ")[1] for line in listed.splitlines() if " / " in line]
    assert len(unit) > 8
    if name == "debug":
        unit.remove("loader")  # it loads hz5
        said = subprocess.run(
            [directory / "runner", "--alloc=hz5", "--workload=local"], env=env, capture_output=True, text=True
        )
        assert said.returncode == 3 and said.stderr.count("\n") == 1 and "build it with optimisation" in said.stderr
    said = run("meson", "test", "-C", directory, "--no-rebuild", "--print-errorlogs", *unit, *ours, env=env)
    assert re.search(rf"^Ok: +{len(unit) + len(ours)} *$", said, re.M), said


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_built_is_refused_in_one_line(name, tmp_path):
    compiler, options, remedy = REFUSED[name]
    done = subprocess.run(
        ["meson", "setup", tmp_path / "build", ROOT, *options],
        env=environment(compiler),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    errors = [line for line in done.stdout.splitlines() if "ERROR" in line]
    assert done.returncode != 0 and len(errors) == 1 and remedy in errors[0], done.stdout[-2000:]


def test_a_program_links_with_an_installation_elsewhere(tmp_path):
    """The lines of docs/preload.md for a prefix of one's own, after the two that build and install."""
    text = (ROOT / "docs/preload.md").read_text().split("\n## Installed\n")[1].split("\n## ")[0]
    lines = text.split("```")[3].strip().splitlines()
    assert lines[0] == 'meson setup build-home --prefix="$HOME/hzbench"' and lines[1] == "meson install -C build-home"
    directory, env = built("debug")
    run("meson", "install", "-C", directory, "--no-rebuild", env=env)
    (tmp_path / "program.c").write_text(
        "#include <allocator.h>\n#include <stdio.h>\nextern const struct allocator hzbench_allocator;\n"
        "int main(void) { puts(hzbench_allocator.name); return 0; }\n"
    )
    bare = {"PATH": os.environ["PATH"], "HOME": str(directory / "home")}
    assert run("sh", "-euc", "\n".join(lines[2:]), env=bare, cwd=tmp_path) == "hz5\n"

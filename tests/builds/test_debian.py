# SPDX-License-Identifier: Apache-2.0
"""Debian packages of the commit: each has what its description says, lintian finds no error, and what they hold works
where they are unpacked."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"hzbench", "libhz3", "libhz4", "libhz5", "libhz-dev", "hzbench-doc"}


def run(*argv, env=None):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """{name: file} of the packages, built once."""
    if not (ROOT / ".git").exists():
        pytest.skip("no clone, of whose commit packages are made")
    out = tmp_path_factory.mktemp("packages")
    run(ROOT / "scripts/build-debian", out)
    files = {path.name.split("_")[0]: path for path in out.glob("*.deb") if "-dbgsym_" not in path.name}
    assert set(files) == PACKAGES
    return files


@pytest.fixture(scope="module")
def usr(packages, tmp_path_factory):
    """All packages unpacked: their /usr."""
    root = tmp_path_factory.mktemp("root")
    for path in packages.values():
        run("dpkg-deb", "--extract", path, root)
    return root / "usr"


def test_lintian_finds_no_error(packages):
    run("lintian", "--allow-root", "--fail-on=error", *packages.values())


def test_versions_and_dependencies(packages):
    version = re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text())[1]
    for name, path in packages.items():
        assert run("dpkg-deb", "--field", path, "Version").strip() == version, name
    needed = run("dpkg-deb", "--field", packages["hzbench"], "Depends")
    for word in ("libhz5 (= ", "libhwloc15", "libjansson4", "python3-pandas"):
        assert word in needed
    for name in ("libhz3", "libhz4", "libhz5"):
        assert re.fullmatch(r"libc6 \(>= [\d.]+\)", run("dpkg-deb", "--field", packages[name], "Depends").strip())


def test_what_is_unpacked_works(usr):
    output = run(
        usr / "bin/hzbench", "--alloc=hz5,hz3,system", "--workload=remote", "--ops=2000", "--settle=0", "--runs=1"
    )
    assert all(re.search(rf"(?m)^ +{name} .* 1/1$", output) for name in ("hz5", "hz3", "system"))
    (library,) = usr.glob("lib/*/libhz5.so")
    run("true", env={"LD_PRELOAD": str(library)})
    assert (usr / "share/man/man1/hzrun.1.gz").exists() and (usr / "include/hzbench/allocator.h").exists()


def test_the_commit_is_known(usr):
    commit = run("git", "-C", ROOT, "rev-parse", "--short=12", "HEAD").strip()
    assert commit in run(usr / "bin/hzbench", "--version")

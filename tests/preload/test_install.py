# SPDX-License-Identifier: Apache-2.0
"""`meson install` into a directory of its own: what is there works there, and a program can be linked with it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

BUILD = Path(os.environ["HZBENCH_BUILD"])
VICTIM = BUILD / "tests" / "preload" / "victim"
ROOT = Path(__file__).resolve().parents[2]
OURS = ["hz3", "hz4", "hz5"]
PROGRAM = r"""
#include <allocator.h>
#include <stdio.h>
#include <stdlib.h>
extern const struct allocator hzbench_allocator;
int main(void) {
    struct allocator_stats stats;
    void *volatile block = malloc(1 << 20);
    hzbench_allocator.stats(&stats);
    printf("%s %d\n", hzbench_allocator.name, block != NULL && stats.live_bytes >= 1 << 20);
    return 0;
}
"""


def run(*argv, env=None, code=0):
    drop = ("LD_", "HZ", "MALLOC_", "DESTDIR")
    base = {k: v for k, v in os.environ.items() if not k.startswith(drop)}
    done = subprocess.run(
        [str(a) for a in argv], capture_output=True, text=True, timeout=120, env={**base, **(env or {})}
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    directory = tmp_path_factory.mktemp("root")
    run("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", directory)
    prefix = directory / "usr/local"
    assert prefix.is_dir()
    return prefix


@pytest.mark.parametrize("allocator", OURS)
def test_installed_hzrun(root, allocator):
    output = run(root / "bin/hzrun", "--stats", allocator, "--", VICTIM, "exit", 4, code=4)
    assert f"{allocator} took in 1 process image" in output
    assert str(root) in output  # the installed library, not the one of the build


def test_installed_runner(root, tmp_path):
    output = run(
        root / "bin/hzbench",
        "--alloc=hz5,null",
        "--workload=local",
        "--ops=2000",
        "--settle=0",
        "--runs=1",
        f"--output={tmp_path / 'a.csv'}",
    )
    assert "hz5" in output and (tmp_path / "a.csv").exists()


@pytest.mark.parametrize("allocator", OURS)
def test_program_links(root, allocator, tmp_path):
    places = [str(p.parent) for p in root.rglob(f"{allocator}.pc")]
    assert places
    pkg = {"PKG_CONFIG_PATH": places[0], "PKG_CONFIG_SYSROOT_DIR": str(root.parents[1])}
    flags = run("pkg-config", "--cflags", "--libs", allocator, env=pkg).split()
    source = tmp_path / "linked.c"
    source.write_text(PROGRAM)
    library = next(root.rglob(f"lib{allocator}.so")).parent
    run("gcc", source, "-o", tmp_path / "linked", *flags, f"-Wl,-rpath,{library}")
    assert run(tmp_path / "linked") == f"{allocator} 1\n"


def documented():
    """The lines of docs/preload.md for an installation in /usr/local, and for one elsewhere."""
    text = (ROOT / "docs/preload.md").read_text().split("\n## Installed\n")[1].split("\n## ")[0]
    return [block.strip().splitlines() for block in text.split("```")[1::2]]


def test_the_documented_lines_work_on_the_system(tmp_path):
    """As they stand, in a shell that knows nothing of this test and with Debian's linker configuration; what they write
    to the system is thrown away with it."""
    lines = documented()[0]
    assert lines[0] == "meson install -C build" and lines[-1] == "./program"
    (tmp_path / "program.c").write_text(PROGRAM)
    (tmp_path / "build").symlink_to(BUILD)
    script = tmp_path / "script"
    script.write_text(
        "set -eu\nmount -t tmpfs tmpfs /mnt\nfor place in usr/local etc; do\n"
        "    mkdir -p /mnt/$place/upper /mnt/$place/work\n"
        "    mount -t overlay overlay -o lowerdir=/$place,upperdir=/mnt/$place/upper,workdir=/mnt/$place/work /$place\n"
        "done\necho mounted\n"
        "echo 'include /etc/ld.so.conf.d/*.conf' >/etc/ld.so.conf\n" + "\n".join(lines) + "\n"
    )
    space = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    clean = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    done = subprocess.run([*clean, *space, "sh", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    if "mounted" not in done.stdout:
        pytest.skip(f"no file system of our own to install into: {done.stderr.strip()}")
    assert done.returncode == 0 and done.stdout.endswith("\nhz5 1\n"), done.stdout + done.stderr
    assert "lib64" not in done.stdout


@pytest.mark.parametrize("name", ["hzbench", "hzrun", "hztrace"])
def test_manual_pages_say_what_help_says(root, name):
    page = root / "share/man/man1" / f"{name}.1"
    assert run("groff", "-man", "-ww", "-z", "-Tutf8", page) == ""
    shown = run("groff", "-man", "-Tascii", "-P-cbou", page)
    shown_help = run(root / "bin" / name, "--help").split("hzbench COMMAND ...")[0]
    for option in re.findall(r"(?m)^  (--[a-z-]+)", shown_help):
        assert re.search(rf"(?m)^ {{7}}{option}\b", shown), option
    # Every word; where a line ends groff divides them.
    words = re.findall(r"[a-z0-9]+", shown_help.replace("usage: runner", "usage: hzbench").lower())
    together = re.sub("[^a-z0-9]", "", shown.lower())
    assert len(words) > 40 and [word for word in words if word != "usage" and word not in together] == []


def test_only_what_a_user_links_is_installed(root):
    names = {path.name for path in (root / "lib").rglob("lib*.so*")}
    assert names == {"libhz3.so", "libhz4.so", "libhz5.so", "libhznull.so", "libhzrun.so", "libhzrecord.so"}


def test_the_installed_selftest_says_what_it_lacks(root):
    output = run(root / "bin/hzbench", "selftest", code=3)
    assert output.count("\n") == 1 and "run the selftest there" in output


def test_one_name_on_the_system_reaches_runner_and_scripts(root, tmp_path):
    assert sorted(p.name for p in (root / "bin").iterdir()) == ["hzbench", "hzrun", "hztrace"]
    hzbench = root / "bin/hzbench"
    link = tmp_path / "link"
    link.symlink_to(hzbench)
    rows = tmp_path / "a.csv"
    run(link, "--alloc=hz5,system", "--workload=local", "--ops=20k", "--settle=0", "--runs=6", f"--output={rows}")
    assert "local" in run(hzbench, "tables", rows) and "hz5" in run(link, "compare", f"{rows}:hz5", f"{rows}:system")
    run(hzbench, "figures", rows, f"--out={tmp_path / 'figures'}")
    assert list((tmp_path / "figures").glob("*.svg"))
    assert " rules" in run(hzbench, "lint", rows)
    assert "gate: " in run(hzbench, "gate", f"{rows}:system", f"{rows}:hz5", "--max-worse=90%")
    build = {"BUILD_DIR": str(BUILD)} if (BUILD / "npm/node_modules/uplot").exists() else None
    if build:
        run(hzbench, "report", rows, f"--out={tmp_path / 'a.html'}", env=build)
    help_text = run(hzbench, "--help")
    assert (
        help_text.startswith("usage: hzbench ") and "compare" in help_text and "runner" not in help_text.split("\n")[0]
    )
    assert "usage: " in run(hzbench, "compare", "--help")
    assert run(hzbench, "--alloc=hz55", "--workload=local", code=2).startswith("hzbench: unknown allocator")
    assert "unknown command 'comparre'" in run(hzbench, "comparre", code=2)
    assert "took" in run(root / "bin/hzrun", "--stats", "hz5", "--", VICTIM, "exit", 0)
    assert "hz5" in run(root / "bin/hzrun", "bench", "--alloc=hz5,system", "--runs=1", "--", "true")

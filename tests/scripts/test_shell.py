# SPDX-License-Identifier: Apache-2.0
"""setup, python, test and quickstart as far as they can be tried without installing: stand-ins on PATH record calls."""

import json
import os
import re
import shutil
import stat
import subprocess

import pytest
from conftest import ROOT, SCRIPTS
from hzbench import testlog

BUILD = os.environ.get("HZBENCH_BUILD", str(ROOT / "build"))
PACKAGES = [
    line.split(None, 2) for line in (SCRIPTS / "packages.txt").read_text().splitlines() if not line.startswith("#")
]


@pytest.fixture
def fake(tmp_path):
    """A PATH whose dpkg-query knows the packages in `installed`, whose apt-get and sudo write down what they are
    asked."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    log = tmp_path / "log"

    def put(name, body):
        file = bin_ / name
        file.write_text("#!/bin/sh\n" + body)
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    put("dpkg-query", 'for p; do :; done\ngrep -qx "$p" "$INSTALLED" && echo installed || exit 1\n')
    put("apt-get", f'echo "apt-get $*" >> {log}\ncase "$*" in *"$APT_FAILS"*) exit 100;; esac\n')
    put("npm", f'echo "npm $*" >> {log}\n[ "$APT_FAILS" != npm ]\n')
    put("id", 'echo "$FAKE_UID"\n')
    put("sudo", f'echo "sudo $*" >> {log}\n[ "$SUDO" = works ] || exit 1\n[ "$1" = -n ] && shift\nexec "$@"\n')

    def run(*arguments, installed=(), uid=0, sudo="works", apt_fails="nothing", hide=()):
        for name in hide:
            (bin_ / name).unlink(missing_ok=True)
        listing = tmp_path / "installed"
        listing.write_text("".join(f"{p}\n" for p in installed))
        log.write_text("")
        path = f"{bin_}:{tmp_path / 'core'}"
        (tmp_path / "core").mkdir(exist_ok=True)
        for tool in ("sh", "awk", "grep", "tr", "dirname", "cat", "env", "echo", "true", "cmp", "cp", "mkdir", "rm"):
            link = tmp_path / "core" / tool
            if not link.exists():
                link.symlink_to(next(f"{d}/{tool}" for d in ("/usr/bin", "/bin") if os.path.exists(f"{d}/{tool}")))
        env = {"PATH": path, "INSTALLED": str(listing), "FAKE_UID": str(uid), "SUDO": sudo, "APT_FAILS": apt_fails,
               "BUILD_DIR": str(tmp_path / "build")}  # fmt: skip
        done = subprocess.run(
            [SCRIPTS / "setup", *arguments], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        return done, log.read_text()

    return run


RUN = [p for s, p, _ in PACKAGES if s == "run"]
ALL = [p for _, p, _ in PACKAGES]


def test_nothing_missing_runs_no_apt(fake):
    done, log = fake("run", installed=ALL, uid=1000, sudo="broken")
    assert done.returncode == 0 and log == "" and "everything needed is installed" in done.stderr


def test_npm_packages_are_installed_once_and_again_when_the_lock_changes(fake, tmp_path):
    done, log = fake("report", installed=ALL, uid=1000, sudo="broken")
    assert done.returncode == 0 and log.startswith("npm ci --prefix ") and log.rstrip().endswith("--omit=dev")
    done, log = fake("report", installed=ALL)
    assert log == "" and "everything needed is installed" in done.stderr
    done, log = fake("test", installed=ALL)
    assert log.count("npm ci") == 1 and "--omit=dev" not in log
    assert fake("test", installed=ALL)[1] == "" and fake("report", installed=ALL)[1] == ""
    (tmp_path / "build" / "npm" / "installed-test.json").write_text("{}")
    assert fake("test", installed=ALL)[1].count("npm ci") == 1
    (tmp_path / "build" / "npm" / "installed-test.json").unlink()
    done, log = fake("report", installed=ALL, apt_fails="npm")
    assert done.returncode == 3 and "npm could not install" in done.stderr
    assert not list((tmp_path / "build" / "npm").glob("installed-*"))


def test_an_npm_that_is_not_debians_is_left_alone(fake):
    without = [p for p in ALL if p not in ("nodejs", "npm")]
    assert "apt-get" not in fake("report", installed=without)[1]
    assert fake("report", installed=without, hide=["npm"])[1].splitlines()[-1].endswith(" nodejs npm")


def test_only_the_missing_ones_are_installed(fake):
    done, log = fake(installed=[p for p in RUN if p not in ("meson", "libmd-dev")])
    assert done.returncode == 0
    install = log.splitlines()[-1]
    assert install.endswith("install --no-install-recommends meson libmd-dev")
    assert log.splitlines()[0].endswith("update")


def test_the_other_sets_add_to_the_run_set(fake):
    _, log = fake("run")
    assert log.splitlines()[-1].endswith(" ".join(RUN))
    _, log = fake("test", hide=["npm"])
    assert log.splitlines()[-1].endswith(" ".join(ALL))


def test_sudo_is_used_only_when_needed(fake):
    done, log = fake(uid=1000)
    assert done.returncode == 0 and "sudo env DEBIAN_FRONTEND=noninteractive apt-get" in log
    _, log = fake(uid=0)
    assert "sudo" not in log


def test_neither_root_nor_sudo_is_one_clear_line(fake):
    done, log = fake(uid=1000, sudo="broken")
    assert done.returncode == 3 and "apt-get" not in log
    assert re.fullmatch(r"setup: needs root .* As root, run: apt-get update && apt-get install [^\n]*\n", done.stderr)
    done, _ = fake(uid=1000, hide=["sudo"])
    assert done.returncode == 3 and done.stderr.count("\n") == 1


def test_a_failed_update_is_not_the_end_but_a_failed_install_is(fake):
    done, _ = fake(apt_fails="update")
    assert done.returncode == 0 and "apt-get update failed" in done.stderr
    done, _ = fake(apt_fails="install")
    assert done.returncode == 3 and "could not install" in done.stderr


def test_no_apt_names_the_packages(fake):
    done, _ = fake(hide=["apt-get"])
    assert done.returncode == 3 and "no apt-get here" in done.stderr and "libhwloc-dev" in done.stderr


def test_unknown_argument(fake):
    done, _ = fake("everything")
    assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_dry_run_and_list_install_nothing(fake):
    done, log = fake("--dry-run", installed=RUN[1:])
    assert done.stdout == f"apt-get install --no-install-recommends {RUN[0]}\n" and log == ""
    done, log = fake("--list")
    assert log == "" and all(p in done.stdout for p in ALL)


def test_packages_by_name_and_what_is_missing_of_them(fake):
    done, log = fake("--missing", "valgrind", "memcached", installed=["memcached"])
    assert (done.returncode, done.stdout, done.stderr, log) == (0, "valgrind\n", "", "")
    assert fake("--missing", "valgrind", installed=ALL)[0].stdout == "\n"
    assert fake("--missing", "npm", "valgrind", installed=ALL)[0].stdout == "npm\n"  # its modules
    _, log = fake("run", "valgrind", "memcached", installed=["memcached"])
    assert log.splitlines()[-1].split()[-len(RUN) - 1 :] == ["valgrind", *RUN]
    done, log = fake("valgrind", "npm", installed=ALL)
    assert log.count("npm ci") == 1 and "apt-get" not in log


def test_a_test_without_its_packages_is_skipped_with_the_command(tmp_path):
    """On a list of our own, of which one package is installed nowhere."""
    for name in ("needs", "setup", "npm"):
        (shutil.copytree if name == "npm" else shutil.copy2)(SCRIPTS / name, tmp_path / name)
    (tmp_path / "packages.txt").write_text("test no-such-package a reason\nrun libc6 another reason\n")

    def needs(*arguments, **env):
        return subprocess.run(
            [tmp_path / "needs", *arguments],
            env={"PATH": os.environ["PATH"], **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    if not shutil.which("dpkg-query"):
        pytest.skip("no Debian")
    done = needs("libc6", "no-such-package", "--", "echo", "ran")
    assert done.returncode == 77 and "scripts/setup no-such-package " in done.stdout and "ran" not in done.stdout
    done = needs("libc6", "--", "sh", "-c", 'echo "$1"; exit 7', "sh", "a  b")
    assert (done.returncode, done.stdout) == (7, "a  b\n")
    done = needs("no-such-package", "--", "echo", "ran", HZBENCH_NEEDS_ARE_MET="yes")
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert needs("misspelt", "--", "true").returncode == 2


def needed_by_tests():
    text = subprocess.run(["meson", "introspect", "--tests", BUILD], check=True, capture_output=True, text=True).stdout
    named = {}
    for test in json.loads(text):
        command = test["cmd"]
        needs = command[1 : command.index("--")] if command[0] == str(SCRIPTS / "needs") else []
        named.setdefault(test["suite"][0].split(":")[1], set()).update(needs)
    return named


def test_tests_name_what_is_listed_and_all_that_is_listed():
    named = set().union(*needed_by_tests().values())
    windows = {"gcc-mingw-w64-x86-64-win32", "mingw-w64-x86-64-dev", "wine", "wine64"}  # scripts/test windows
    aarch64 = {"gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"}  # scripts/test aarch64
    assert named <= set(ALL)
    text = subprocess.run(["meson", "introspect", "--tests", BUILD], check=True, capture_output=True, text=True).stdout
    assert [t["name"] for t in json.loads(text) if "pytest" in t["cmd"] and t["cmd"][0] != str(SCRIPTS / "needs")] == []
    assert {p for s, p, _ in PACKAGES if s != "run"} - windows - aarch64 == named - set(RUN)


def test_the_map_names_every_suite():
    text = subprocess.run(["meson", "introspect", "--tests", BUILD], check=True, capture_output=True, text=True).stdout
    suites = {suite.split(":")[1] for test in json.loads(text) for suite in test["suite"]} - {"quick"}
    table = "".join(
        line.split("|")[1] for line in (ROOT / "tests/README.md").read_text().splitlines() if line.startswith("| `")
    )
    assert suites | {"windows", "aarch64"} == set(re.findall(r"`([a-z0-9-]+)`", table))


def test_the_quick_suite_needs_little_and_has_each_kind(script):
    assert script("command", "test-log", "--packages", BUILD, "--suite", "quick").stdout.split() == [
        "python3-pytest",
        "python3-hypothesis",
    ]
    listed = subprocess.run(
        ["meson", "test", "-C", BUILD, "--no-rebuild", "--list", "--suite", "quick"], capture_output=True, text=True
    )
    for name in (
        "unit+quick / loader",
        "contract+quick / contract hz4",
        "contract+quick / contract preload hz5",
        "fatal+quick / hz5 misuse, policy count",
        "runner+quick / runner cells",
        "scripts+quick / scripts tables",
    ):
        assert f"hzbench:{name}\n" in listed.stdout


def test_small_suites_need_little():
    named = needed_by_tests()
    assert (
        not named["unit"] | named["contract"] | named["headers"] | named["workloads"] | named["stress"] | named["fault"]
    )
    assert named["runner"] == {"python3-pytest"}


def test_packages_of_what_is_asked_for(script):
    def packages(*arguments):
        return script("command", "test-log", "--packages", BUILD, *arguments)

    assert packages("--suite", "contract").stdout == "\n"
    assert packages("--suite", "budget").stdout == "valgrind\n"
    assert packages("scripts load").stdout.split() == ["python3-pytest", "python3-hypothesis"]
    done = packages("--suite", "no-such-suite")
    assert done.returncode == 2 and "no-such-suite" in done.stderr


def test_a_build_directory_that_was_moved_is_set_up_anew(tmp_path):
    (tmp_path / "first/scripts").mkdir(parents=True)
    shutil.copy2(SCRIPTS / "configure", tmp_path / "first/scripts")
    (tmp_path / "first/meson.build").write_text("project('p', default_options: ['buildtype=release'])\n")

    def configure(tree, *options):
        done = subprocess.run(
            [tree / "scripts/configure", tree / "build", *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert "setting it up anew" not in configure(tmp_path / "first", "--buildtype=debug")
    assert configure(tmp_path / "first") == ""
    (tmp_path / "first").rename(tmp_path / "second")
    assert "setting it up anew" in configure(tmp_path / "second")
    assert configure(tmp_path / "second") == ""
    options = json.loads(
        subprocess.run(
            ["meson", "introspect", "--buildoptions", tmp_path / "second/build"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    assert next(o["value"] for o in options if o["name"] == "buildtype") == "debug"


def test_each_package_has_one_line_and_a_reason():
    assert len(set(ALL)) == len(ALL)
    assert all(s in ("run", "report", "paper", "debian", "test") and len(reason) > 8 for s, _, reason in PACKAGES)


def test_readme_lists_every_package_and_no_other():
    text = (ROOT / "README.md").read_text().split("## Dependencies")[1].split("\n## ")[0]
    listed = [
        cell
        for line in text.splitlines()
        if line.startswith("| `")
        for cell in re.findall(r"`([^`]+)`", line.split("|")[1])
    ]
    assert sorted(listed) == sorted(ALL)


INTERNAL = {"command", "commit", "configure", "cross", "man-page", "needs", "python", "refresh-linker", "wine"}
COMMANDS = sorted(
    p.name for p in SCRIPTS.iterdir() if p.is_file() and not (p.is_symlink() or p.suffix) and p.name not in INTERNAL
)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_shell_command_has_help_and_does_nothing_else(script, tmp_path, name):
    done = script(name, "--help", env={"BUILD_DIR": str(tmp_path / "build")}, timeout=60)
    assert done.returncode == 0 and done.stderr == "" and not list(tmp_path.iterdir())
    lines = done.stdout.splitlines()
    assert len(lines) > 1 and max(map(len, lines)) <= 80


def parts_of(readme):
    """Of each section what must be alike in both languages."""
    parts = []
    for section in re.split(r"(?m)^(?=## )", readme):
        pieces = re.split(r"(?ms)^```\n(.*?)^```\n", section)
        text, blocks = "\n".join(pieces[::2]), pieces[1::2]
        parts.append(
            {
                "items": len(re.findall(r"(?m)^(- |[0-9]\. )", text)),
                "paragraphs": len(re.findall(r"\n\n(?=[^\n])", text)),
                "links": sorted(link for link in re.findall(r"\]\(([^)]*)\)", text) if not link.startswith("README")),
                "code": sorted(re.findall(r"`([^`\n]+)`", text)),
                "rows": [line.split("|")[2:-1] for line in text.splitlines() if re.match(r"\|.*/ 1", line)],
                "commands": [re.sub(r" +# .*", "", block) for block in blocks],
            }
        )
    return parts


def test_the_japanese_readme_is_in_step_with_the_english_one():
    english, japanese = (parts_of((ROOT / name).read_text(encoding="utf-8")) for name in ("README.md", "README.ja.md"))
    assert len(english) == len(japanese)
    for number, (one, other) in enumerate(zip(english, japanese)):
        for what, value in one.items():
            assert value == other[what], f"section {number}: {what} differ"


def test_python_names_the_packages_when_none_fits(script, tmp_path):
    text = (SCRIPTS / "python").read_text()
    bare = tmp_path / "python"
    bare.write_text(text.replace("/usr/bin/python3 python3", "/nonexistent/python3"))
    bare.chmod(0o755)
    done = subprocess.run([bare, "-c", "1"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 3 and done.stderr.count("\n") == 1 and "python3-pandas" in done.stderr


def test_python_passes_arguments_and_status_on(script):
    done = script("python", "-c", "import sys; print(sys.argv[1:]); sys.exit(7)", "a b", "*")
    assert done.returncode == 7 and done.stdout == "['a b', '*']\n"


def test_python_passes_over_one_without_the_packages(script, tmp_path):
    poor = tmp_path / "python3"
    poor.write_text("#!/bin/sh\nexit 1\n")
    poor.chmod(0o755)
    done = script(
        "python", "-c", "print(1)", env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "HZBENCH_PYTHON": str(poor)}
    )
    assert (done.returncode, done.stdout) == (0, "1\n")


@pytest.mark.parametrize("name", ["tables", "figures", "compare", "gate", "report", "lint"])
def test_help(script, name):
    done = script(name, "--help")
    assert done.returncode == 0 and f"usage: scripts/{name}" in done.stdout


def entry(name, result):
    return json.dumps({"name": name, "result": result}) + "\n"


def test_counts_of_the_test_log():
    lines = [
        entry("a", "OK"),
        entry("b", "FAIL"),
        entry("c", "TIMEOUT"),
        entry("d", "SKIP"),
        entry("e", "EXPECTEDFAIL"),
        entry("f", "UNEXPECTEDPASS"),
        entry("g", "ERROR"),
        entry("h", "INTERRUPT"),
        entry("i", "whatever"),
    ]
    passed, failed, skipped, names = testlog.count(lines)
    assert (passed, failed, skipped) == (2, 6, 1) and "c (timeout)" in names
    assert testlog.verdict(2, 6, 1) == "2 passed, 6 failed, 1 skipped"
    assert testlog.verdict(2, 0, 0) == "2 passed, 0 failed"


@pytest.fixture
def count(tmp_path, monkeypatch, capsys):
    def run(lines, registered, status=0, scope="--all"):
        log = tmp_path / "testlog.json"
        if lines is not None:
            log.write_text("".join(lines))
        monkeypatch.setattr(testlog, "registered", lambda build: registered)
        code = testlog.main([str(log), "build", scope, str(status)])
        return code, capsys.readouterr().out.splitlines()

    return run


def test_last_line_and_exit_code(count):
    assert count([entry("a", "OK")], 1) == (0, ["1 passed, 0 failed"])
    code, out = count([entry("a", "OK"), entry("b", "FAIL")], 2, 1)
    assert code == 1 and out[-1] == "1 passed, 1 failed"


def test_a_log_that_cannot_be_believed_fails(count):
    assert count(None, 1)[0] == 1
    assert count(["{broken\n"], 1)[0] == 1
    assert count([], 0)[0] == 1
    code, out = count([entry("a", "OK")], 2)
    assert code == 1 and out[-1] == "1 passed, 1 failed" and "only 1 of 2" in out[0]
    assert count([entry("a", "OK")], 2, scope="--some")[0] == 0
    assert count([entry("a", "OK")], 1, status=1)[0] == 1


def test_results_of_two_builds_are_added(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(testlog, "registered", lambda build: 1)
    arguments = []
    for name, result in (("linux", "OK"), ("windows", "FAIL")):
        log = tmp_path / f"{name}.json"
        log.write_text(entry(name, result))
        arguments += [str(log), name, "--all", "0" if result == "OK" else "1"]
    assert testlog.main(arguments) == 1
    assert capsys.readouterr().out.splitlines() == ["failed: windows (fail)", "1 passed, 1 failed"]
    assert testlog.main(arguments[:4]) == 0 and capsys.readouterr().out == "1 passed, 0 failed\n"


def test_scripts_are_executable_and_pass_the_shells_own_check():
    shells = [
        SCRIPTS / n
        for n in (
            "setup",
            "python",
            "test",
            "build-windows",
            "wine",
            "configure",
            "needs",
            "commit",
            "refresh-linker",
            "quickstart",
            "tables",
            "figures",
            "compare",
            "gate",
            "report",
            "lint",
            "calibrate",
            "ci-recipe",
            "history-recipe",
            "matrix",
        )
    ]
    for file in [*shells, ROOT / ".ci" / "run"]:
        assert os.access(file, os.X_OK), file
        assert file.read_text().startswith("#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n")
        subprocess.run(["sh", "-n", file], check=True)


@pytest.mark.parametrize("name", ["matrix", "calibrate", "ci-recipe", "history-recipe"])
def test_help_is_no_error_and_an_unknown_word_is_one_line(name):
    done = subprocess.run([SCRIPTS / name, "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith(f"usage: scripts/{name} ")
    done = subprocess.run([SCRIPTS / name, "hz33"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1 and "'hz33'" in done.stderr

# SPDX-License-Identifier: Apache-2.0
"""A release in a clone of this tree: what it writes, what it refuses, and that a refusal changes nothing."""

import datetime
import re
import subprocess
from pathlib import Path

import pytest

from hzbench import artifact, errors, release

ROOT = Path(__file__).resolve().parents[2]
WITHOUT = [f"--without={name}" for name in (*release.CHECKS, release.ARTIFACT)]


def git(clone, *arguments):
    done = subprocess.run(["git", "-C", clone, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def call(clone, *arguments):
    return subprocess.run(
        [clone / "scripts/release", *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def clone(tmp_path):
    """The files that a release reads and writes and the scripts, as they are here, in a repository of one commit."""
    target = tmp_path / "clone"
    target.mkdir()
    listed = subprocess.run(
        ["git", "-C", ROOT, "-c", f"safe.directory={ROOT}", "ls-files", "-z", "scripts", *release.DESCRIPTIONS],
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("no clone, of which a release is made")
    subprocess.run(["cp", "--parents", "-d", *listed.stdout.rstrip("\0").split("\0"), target], cwd=ROOT, check=True)
    git(target, "init", "--quiet", "--initial-branch=main")
    git(target, "config", "user.name", "a tester")
    git(target, "config", "user.email", "tester@example.invalid")
    git(target, "add", "--all")
    git(target, "commit", "--quiet", "-m", "All")
    return target


def unchanged(clone):
    return git(clone, "status", "--porcelain") == "" and git(clone, "rev-list", "--count", "HEAD") == "1"


def test_a_release_writes_the_version_everywhere_and_tags(clone):
    done = call(clone, "7.8.9", "--date=2031-02-03", *WITHOUT)
    assert done.returncode == 0, done.stderr
    files = {name: ((clone / name).read_bytes(), False) for name in release.DESCRIPTIONS}
    assert artifact.disagreements(files) == [] and artifact.version_of(files) == "7.8.9"
    assert "\ndate-released: 2031-02-03\n" in (clone / "CITATION.cff").read_text()
    changelog = (clone / "CHANGELOG.md").read_text()
    assert "\n## 7.8.9 - 2031-02-03\n" in changelog and "Unreleased" not in changelog
    assert (clone / "debian/changelog").read_text().startswith("hzbench (7.8.9) ")
    assert git(clone, "rev-parse", "v7.8.9^{commit}") == git(clone, "rev-parse", "HEAD")
    assert "Checked before: nothing." in git(clone, "tag", "-l", "--format=%(contents)", "v7.8.9")
    again = call(clone, "7.8.9", *WITHOUT)
    assert again.returncode == 2 and "there is a tag v7.8.9 already" in again.stderr


def test_a_dry_run_changes_nothing(clone):
    done = call(clone, "7.8.9", "--dry-run")
    assert done.returncode == 0 and "would write CITATION.cff\n" in done.stdout and unchanged(clone)


def test_a_check_that_fails_stops_it(clone):
    """The clone has no paper."""
    done = call(clone, "7.8.9", *(f"--without={name}" for name in release.CHECKS if name != "paper"))
    assert done.returncode == 1 and "the check 'paper' failed" in done.stderr.splitlines()[-1] and unchanged(clone)


@pytest.mark.parametrize(
    "version, words", [("1.0", "not a version of three numbers"), ("0.0.1", "0.0.1 is older than"), ("01.0.0", "not a")]
)
def test_a_wrong_version_is_one_line(clone, version, words):
    done = call(clone, version, *WITHOUT)
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1 and unchanged(clone)


def test_changes_in_the_work_tree_are_refused(clone):
    (clone / "CITATION.cff").write_text("x")
    done = call(clone, "7.8.9", *WITHOUT)
    assert done.returncode == 2 and "the work tree has changes" in done.stderr and done.stderr.count("\n") == 1


def test_an_empty_list_of_changes_is_refused():
    files = {name: ((ROOT / name).read_bytes(), False) for name in release.DESCRIPTIONS}
    text = re.sub(
        r"^## Unreleased\n.*?(?=^## |\Z)", "## Unreleased\n\n", files["CHANGELOG.md"][0].decode(), flags=re.M | re.S
    )
    files["CHANGELOG.md"] = (text.encode(), False)
    with pytest.raises(errors.InputError, match="nothing under '## Unreleased'"):
        release.described(files, "7.8.9", datetime.date(2031, 2, 3))

# SPDX-License-Identifier: Apache-2.0
"""scripts/commit in trees of every kind: it tells this tree's commit or says `unknown`, and never another's."""

import os
import shutil
import subprocess

import pytest
from conftest import ROOT, SCRIPTS

IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")


def git(where, *arguments):
    # The suite may itself run below a git hook, whose variables name another repository.
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return subprocess.run(
        ["git", "-C", where, *IDENTITY, *arguments], env=env, check=True, capture_output=True, text=True
    ).stdout.strip()


def commit_of(tree, *arguments):
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run([tree / "scripts/commit", *arguments], env=env, cwd="/", capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.removesuffix("\n")


def plain(tree):
    (tree / "scripts").mkdir(parents=True)
    shutil.copy2(SCRIPTS / "commit", tree / "scripts/commit")
    shutil.copy2(ROOT / ".gitattributes", tree)
    return tree


def repository(tree):
    git(tree, "init", "--quiet")
    git(tree, "add", ".")
    git(tree, "commit", "--quiet", "-m", "first")
    return git(tree, "rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path):
    tree = plain(tmp_path / "clone")
    return tree, repository(tree)


def test_a_clone_tells_its_commit_and_what_was_changed(clone):
    tree, head = clone
    assert commit_of(tree) == head and head.startswith(commit_of(tree, "12"))
    (tree / "new").write_text("untracked files change nothing\n")
    assert commit_of(tree) == head
    with open(tree / ".gitattributes", "a") as file:
        file.write("# changed\n")
    assert commit_of(tree) == head + "-dirty"


def test_a_linked_work_tree_is_a_clone_too(clone, tmp_path):
    tree, head = clone
    git(tree, "worktree", "add", "--quiet", tmp_path / "linked")
    assert commit_of(tmp_path / "linked") == head


def test_an_archive_in_another_repository_tells_the_archives_commit(clone, tmp_path):
    tree, head = clone
    other = plain(tmp_path / "other")
    assert repository(other) != ""
    (other / "inside").mkdir()
    git(tree, "archive", "--output", tmp_path / "tree.tar", "HEAD")
    subprocess.run(["tar", "-C", other / "inside", "-xf", tmp_path / "tree.tar"], check=True)
    assert commit_of(other / "inside") == head and commit_of(other / "inside", "12") == head[:12]


def test_a_copy_in_another_repository_is_unknown(tmp_path):
    other = plain(tmp_path / "other")
    repository(other)
    assert commit_of(plain(other / "inside")) == "unknown"
    assert commit_of(plain(tmp_path / "alone")) == "unknown"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_clone_of_another_owner_tells_its_commit(clone):
    tree, head = clone
    for path in [tree, *tree.rglob("*")]:
        os.lchown(path, 65534, 65534)
    assert commit_of(tree) == head


def test_the_build_asks_nobody_else():
    """A second way to find the commit would be wrong where scripts/commit is right."""
    for file in [
        ROOT / "meson.build",
        *(ROOT / "allocators").rglob("meson.build"),
        *(p for p in SCRIPTS.iterdir() if p.is_file()),
    ]:
        if file.name != "commit":
            assert "git describe" not in file.read_text() and "'git', 'describe'" not in file.read_text(), file

# SPDX-License-Identifier: Apache-2.0
"""Makes a release: checks the tree, writes the version wherever it stands, commits, packs twice, and tags.

The version has one place, meson.build; CITATION.cff, .zenodo.json, debian/changelog and CHANGELOG.md repeat it, and
`artifact.disagreements` (in the tests, too) says where they differ. Nothing is published: the tag is pushed by hand.
"""

import argparse
import datetime
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from email.utils import format_datetime
from pathlib import Path

from . import artifact, cli, errors
from .artifact import ROOT, Files, git
from .errors import InputError

MAINTAINER = "The hzbench maintainers <maintainers@hzbench.invalid>"
DESCRIPTIONS = ("meson.build", "CITATION.cff", ".zenodo.json", "debian/changelog", "CHANGELOG.md")
CHECKS = {
    "tests": ["scripts/test"],
    "paper": ["scripts/paper", "check"],
    "source": ["scripts/check-source"],
}
ARTIFACT = "artifact"


def parse_version(text: str) -> tuple[int, int, int]:
    found = re.fullmatch(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", text)
    if found is None:
        raise InputError(f"'{text}' is not a version of three numbers, such as 1.0.0")
    return int(found[1]), int(found[2]), int(found[3])


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a date such as 2026-11-29") from None


def _replace(files: Files, name: str, pattern: str, by: str) -> None:
    text, count = re.subn(pattern, lambda _: by, files[name][0].decode(), count=1, flags=re.M)
    if count != 1:
        raise InputError(f"{name} has no line like {pattern!r}; the version has to be written there")
    files[name] = (text.encode(), files[name][1])


def unreleased(changelog: str) -> str:
    """The text of the section Unreleased, without its heading."""
    found = re.search(r"^## Unreleased\n(.*?)(?=^## |\Z)", changelog, re.M | re.S)
    return found[1].strip() if found else ""


def described(files: Files, version: str, date: datetime.date) -> Files:
    """The descriptions of a release in place of those of the tree, checked against each other."""
    if not unreleased(files["CHANGELOG.md"][0].decode()):
        raise InputError("CHANGELOG.md has nothing under '## Unreleased': write there what a user will notice")
    old = artifact.version_of(files)
    if parse_version(version) < parse_version(old):
        raise InputError(f"{version} is older than {old}, which meson.build names; give a later version")
    new = dict(files)
    _replace(new, "meson.build", r"^  version: '[^']+'", f"  version: '{version}'")
    _replace(
        new, "CITATION.cff", r"^version: .*\n(date-released: .*\n)?", f"version: {version}\ndate-released: {date}\n"
    )
    _replace(new, ".zenodo.json", r'^  "version": "[^"]*"', f'  "version": {json.dumps(version)}')
    _replace(new, "CHANGELOG.md", r"^## Unreleased$", f"## {version} - {date}")
    stamp = format_datetime(datetime.datetime.combine(date, datetime.time(12), datetime.timezone.utc))
    entry = f"hzbench ({version}) bookworm; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- {MAINTAINER}  {stamp}\n"
    body, executable = new["debian/changelog"]
    older = "" if artifact.debian_version_of(files) == version else "\n" + body.decode()
    new["debian/changelog"] = ((entry + older).encode(), executable)
    wrong = artifact.disagreements(new)
    if wrong:
        raise InputError(f"the release's descriptions would disagree: {'; '.join(wrong)}")
    return new


def _say(text: str) -> None:
    print(f"release: {text}", file=sys.stderr, flush=True)


def _check(name: str) -> None:
    _say(f"check {name}: {' '.join(CHECKS[name])}")
    done = subprocess.run(CHECKS[name], cwd=ROOT, stdout=sys.stderr, check=False)
    if done.returncode:
        raise InputError(
            f"the check '{name}' failed with exit code {done.returncode} (its lines are above); nothing was changed",
            errors.GATE_FAILED,
        )


def _pack_twice(commit: str) -> str:
    """SHA-256 of the archive of `commit`, which two builds agree on."""
    sums: set[str] = set()
    for build in ("first", "second"):
        _say(f"packing, {build} time")
        with tempfile.TemporaryDirectory() as out:
            done = subprocess.run(
                ["scripts/artifact", "--commit", commit, "--out", out], cwd=ROOT, stdout=subprocess.PIPE, check=False
            )
            if done.returncode:
                raise InputError(f"scripts/artifact failed with exit code {done.returncode}", errors.GATE_FAILED)
            sums.update(hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(out).glob("*.tar.gz"))
    if len(sums) != 1:
        raise InputError("two archives of one commit differ", errors.GATE_FAILED)
    return sums.pop()


def main(argv: list[str]) -> int:
    parser = cli.Parser(
        "scripts/release",
        description="Checks the tree, writes the version into its descriptions, commits, packs twice and tags.",
    )
    parser.add_argument("version", metavar="VERSION", help="such as 1.0.0; the tag is v1.0.0")
    parser.add_argument("--date", type=_date, default=datetime.date.today(), help="of the release (default: today)")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=[*CHECKS, ARTIFACT],
        help="leave a check out; the tag's text says which",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be written, change nothing")
    options = parser.parse_args(argv)
    parse_version(options.version)
    tag = f"v{options.version}"
    if git("status", "--porcelain", "--untracked-files=no"):
        raise InputError("the work tree has changes, and a release is made of a commit; commit or drop them first")
    if git("tag", "--list", tag):
        raise InputError(f"there is a tag {tag} already; a released version stays as it is, so give a later one")
    files: Files = {name: ((ROOT / name).read_bytes(), False) for name in DESCRIPTIONS}
    new = described(files, options.version, options.date)
    changed = [name for name in DESCRIPTIONS if new[name] != files[name]]
    if options.dry_run:
        print("\n".join(f"would write {name}" for name in changed) + f"\nwould commit and tag {tag}")
        return errors.OK
    for name in CHECKS:
        if name not in options.without:
            _check(name)
    for name in changed:
        (ROOT / name).write_bytes(new[name][0])
    git("commit", "--quiet", "-m", f"Release {options.version}", "--", *changed)
    commit = git("rev-parse", "HEAD")
    checked = [name for name in CHECKS if name not in options.without]
    told = f"Checked before: {', '.join(checked) or 'nothing'}.\n"
    if ARTIFACT not in options.without:
        try:
            told += f"Archive of scripts/artifact: sha256 {_pack_twice(commit)}, twice equal.\n"
        except InputError as error:
            raise InputError(f"{error}; the commit {commit[:12]} is there without a tag", error.code) from None
    git("tag", "--annotate", tag, "-m", f"hzbench {options.version}\n\n{told}")
    print(f"{tag} is {commit}\n{told}Next: git push --follow-tags")
    return errors.OK

# SPDX-License-Identifier: Apache-2.0
"""Packs source, results and PDFs of one commit: two runs give the same bytes.

Files come from the commit, not from the work tree; names are sorted, times are the commit's, owners and modes are
fixed, and gzip's header holds no name and no time. MANIFEST.sha256 lists every other file.
"""

import gzip
import hashlib
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from . import cli
from .errors import InputError

ROOT = Path(__file__).resolve().parents[2]
DOI_PLACEHOLDER = "10.5281/zenodo.PLACEHOLDER"  # an archive replaces it; tests/paper knows it

Files: TypeAlias = dict[str, tuple[bytes, bool]]  # path in the archive: content, whether it is executable

REVIEWER_README = """\
hzbench {version}, commit {commit}

What this is: the source, the committed results and both PDFs of one commit.
Kick the tyres:              scripts/reproduce --kick-the-tires   (under 10 minutes on 2 cores)
One claim alone:             scripts/claims v
Reproduce the paper:         scripts/reproduce --quick   (under 30 minutes on 2 cores; --full: about 75)
Claims, commands, tolerances: docs/reproducibility.md
Where a number comes from:   scripts/why local-1/hz3/ratio
Check this archive:          sha256sum -c MANIFEST.sha256
Needs: Debian 12 (or a container of it), 2 cores, 4 GiB of memory, 3 GiB of disk; root or sudo for packages.
Licence: Apache-2.0 (LICENSE). To cite: CITATION.cff.
"""


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise InputError(
            f"git {arguments[0]} failed: {done.stderr.decode(errors='replace').strip()}; the archive is made from a"
            " commit"
        )
    return done.stdout


def git(*arguments: str) -> str:
    """What git prints, as one text without the last line's end."""
    return _git(*arguments).decode().strip()


def version_of(files: Files) -> str:
    found = re.search(r"version: '([^']+)'", files["meson.build"][0].decode())
    if found is None:
        raise InputError("meson.build of the commit names no version; the archive needs one for its name")
    return found[1]


def debian_version_of(files: Files) -> str:
    """The newest version of debian/changelog."""
    found = re.match(r"hzbench \(([^)]+)\)", files["debian/changelog"][0].decode())
    return found[1] if found else "none"


def disagreements(files: Files) -> list[str]:
    """Where the descriptions of this release contradict each other, as lines."""
    import yaml

    citation = yaml.safe_load(files["CITATION.cff"][0])
    zenodo = json.loads(files[".zenodo.json"][0])
    version = version_of(files)
    pairs = [
        ("version", "CITATION.cff", citation.get("version"), "meson.build", version),
        ("version", ".zenodo.json", zenodo.get("version"), "meson.build", version),
        ("version", "debian/changelog", debian_version_of(files), "meson.build", version),
        ("title", ".zenodo.json", zenodo.get("title"), "CITATION.cff", citation.get("title")),
        ("licence", ".zenodo.json", zenodo.get("license"), "CITATION.cff", citation.get("license")),
        ("doi", ".zenodo.json", zenodo.get("doi"), "CITATION.cff", citation.get("doi")),
        ("keywords", ".zenodo.json", zenodo.get("keywords"), "CITATION.cff", citation.get("keywords")),
        ("authors", ".zenodo.json", [c["name"] for c in zenodo.get("creators", [])], "CITATION.cff",
         [a["name"] for a in citation.get("authors", [])]),
    ]  # fmt: skip
    lines = [f"{a} says {what} {x!r}, {b} says {y!r}" for what, a, x, b, y in pairs if x != y]
    changelog = files["CHANGELOG.md"][0].decode()
    if not re.search(rf"^## (Unreleased|{re.escape(version)}\b)", changelog, re.M):
        lines.append(f"CHANGELOG.md has no section for {version}")
    return lines


def tree(commit: str) -> Files:
    """{path: (bytes, executable)} of a commit."""
    archive = tarfile.open(fileobj=io.BytesIO(_git("archive", "--format=tar", commit)))
    opened = ((m, archive.extractfile(m)) for m in archive.getmembers())  # None: neither a file nor a link to one
    return {m.name: (file.read(), bool(m.mode & 0o100)) for m, file in opened if file is not None and m.isfile()}


def pack(files: Files, prefix: str, epoch: int, out: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            body, executable = files[name]
            member = tarfile.TarInfo(f"{prefix}/{name}")
            member.size, member.mtime, member.mode = len(body), epoch, 0o755 if executable else 0o644
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            archive.addfile(member, io.BytesIO(body))
    with (
        open(out, "wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=9) as packed,
    ):
        packed.write(buffer.getvalue())


def make(commit: str, pdfs: Sequence[Path], out: str | Path) -> Path:
    commit = git("rev-parse", "--verify", f"{commit}^{{commit}}")
    epoch = int(git("log", "-1", "--format=%ct", commit))
    files = tree(commit)
    wrong = disagreements(files)
    if wrong:
        raise InputError(f"the release's descriptions disagree: {'; '.join(wrong)}")
    for pdf in pdfs:
        files[f"paper/{pdf.name}"] = (pdf.read_bytes(), False)
    version = version_of(files)
    files["README-REVIEWERS.txt"] = (REVIEWER_README.format(version=version, commit=commit).encode(), False)
    lines = "".join(f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, (body, _) in sorted(files.items()))
    files["MANIFEST.sha256"] = (lines.encode(), False)
    prefix = f"hzbench-{version}-{commit[:12]}"
    path = Path(out) / f"{prefix}.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    pack(files, prefix, epoch, path)
    return path


def main(argv: list[str]) -> int:
    parser = cli.Parser("scripts/artifact", description="A deterministic archive of one commit with its PDFs.")
    parser.add_argument("--commit", default="HEAD")
    parser.add_argument(
        "--pdf", action="append", type=Path, metavar="FILE", help="a PDF to include (default: builds both)"
    )
    parser.add_argument("--out", default="artifact-out", metavar="DIR")
    options = parser.parse_args(argv)
    pdfs = options.pdf
    if pdfs is None:
        from .paper import build, evidence, spec

        if git("status", "--porcelain", "--untracked-files=no"):
            raise InputError(
                "the work tree has changes, so the PDFs would not be of a commit; commit first or give --pdf"
            )
        pdfs = build.build_all(evidence.Evidence(spec.read()), Path(options.out) / "pdf")
    path = make(options.commit, pdfs, options.out)
    print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}")
    return 0

# SPDX-License-Identifier: Apache-2.0
"""Makes both PDFs: tables, numbers and figures from the results, then lualatex by latexmk; reads the log for what a
reader would see as a fault."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from . import figures, tables
from .evidence import Evidence
from .spec import LANGUAGES, ROOT

OVERFULL_POINTS = 3.0  # wider is a line that sticks out visibly
_FAULTS = (
    re.compile(r"^Missing character: .*$", re.M),
    re.compile(r"^(?:LaTeX|Package natbib) Warning: (?:Reference|Citation) .* undefined.*$", re.M),
    re.compile(r"^LaTeX Warning: There were undefined references.*$", re.M),
    re.compile(r"^LaTeX Font Warning: Font shape .* undefined.*$", re.M),
)
_OVERFULL = re.compile(r"^Overfull \\hbox \(([0-9.]+)pt too wide\).*$", re.M)


def faults(log: str) -> list[str]:
    """Lines of a LaTeX log that mean a visible fault on a page."""
    found = [m.group(0) for pattern in _FAULTS for m in pattern.finditer(log)]
    return found + [m.group(0) for m in _OVERFULL.finditer(log) if float(m.group(1)) > OVERFULL_POINTS]


def source_date() -> str:
    """Seconds of the last commit, so that two builds of one commit are equal; 0 outside a repository."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return given
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "0"


def build(evidence: Evidence, out: str | Path, language: str) -> Path:
    """Returns the path of the PDF."""
    if shutil.which("latexmk") is None or shutil.which("lualatex") is None:
        raise InputError("latexmk and lualatex not found; scripts/setup paper installs them")
    work = Path(out).resolve() / language
    generated = work / "generated"
    generated.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "SOURCE_DATE_EPOCH": source_date(),
        "FORCE_SOURCE_DATE": "1",
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
    }
    os.environ["SOURCE_DATE_EPOCH"] = environment["SOURCE_DATE_EPOCH"]  # matplotlib reads it, too
    tables.write_all(evidence, generated, language)
    figures.write_all(evidence, generated, language)
    paper = ROOT / "paper"
    environment["TEXINPUTS"] = f"{paper / language}:{paper}:{generated}:"
    environment["BIBINPUTS"] = f"{paper}:"
    # Fonts of luaotfload are found once and kept in a directory of the build, not in somebody's home.
    environment["TEXMFVAR"] = environment["TEXMFCACHE"] = str(Path(out).resolve() / "texmf")
    done = subprocess.run(
        ["latexmk", "-lualatex", "-interaction=nonstopmode", "-halt-on-error", "-file-line-error", f"-outdir={work}",
         f"-jobname=hzbench-{language}", str(paper / language / "paper.tex")],
        cwd=work, env=environment, capture_output=True, text=True, errors="replace", check=False)  # fmt: skip
    log_path = work / f"hzbench-{language}.log"
    log = log_path.read_text(encoding="utf-8", errors="replace") if log_path.exists() else done.stdout + done.stderr
    if done.returncode:
        wrong = re.search(r"^[^\n:]+:\d+: .*$|^! .*$", log, re.M)
        raise InputError(
            f"the {language} paper does not build: {wrong.group(0) if wrong else done.stderr[-200:]} (see {log_path})"
        )
    found = faults(log.replace("\n\n", "\n"))
    if found:
        raise InputError(
            f"the {language} paper builds with {len(found)} visible faults, the first: {found[0]} (see {log_path})"
        )
    return work / f"hzbench-{language}.pdf"


def build_all(evidence: Evidence, out: str | Path, languages: Sequence[str] = LANGUAGES) -> list[Path]:
    return [build(evidence, out, language) for language in languages]

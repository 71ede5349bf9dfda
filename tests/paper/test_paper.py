# SPDX-License-Identifier: Apache-2.0
"""The paper against the committed results: current, buildable, complete, traceable; the artifact against itself."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from hzbench import artifact, errors
from hzbench.paper import build, check, claims, evidence, figures, hypotheses, spec, tables, why

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"


@pytest.fixture(scope="module")
def committed():
    return evidence.Evidence(spec.read())


@pytest.fixture(scope="module")
def pdfs(committed, tmp_path_factory):
    out = tmp_path_factory.mktemp("paper")
    return dict(zip(spec.LANGUAGES, build.build_all(committed, out)))


def source(language):
    """The text of a paper without its comments."""
    return re.sub(r"^%.*$", "", (ROOT / "paper" / language / "paper.tex").read_text(encoding="utf-8"), flags=re.M)


def edited(tmp_path, old, new):
    path = tmp_path / "paper.toml"
    text = (ROOT / "paper" / "paper.toml").read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize("old, new, words", [
    ('id = "local-hot-2"', 'id = "local-hot-1"', "defined twice"),
    ('run = "local"', 'run = "lokal"', "not defined"),
    ("working_set = 100 }", "workingset = 100 }", "no parameter of a cell"),
    ('cells = ["fill-90",', 'cells = ["fill-91",', "named but not defined"),
    ("[[run]]", "[[run]", "not a valid description"),
])  # fmt: skip
def test_a_description_that_does_not_fit_is_refused(tmp_path, old, new, words):
    with pytest.raises(errors.InputError, match=words):
        spec.read(edited(tmp_path, old, new))


def test_a_cell_that_matches_two_is_refused(tmp_path):
    ambiguous = spec.read(edited(tmp_path, "threads = 1, working_set = 100 }", "working_set = 100 }"))
    with pytest.raises(errors.InputError, match="matches 2 cells"):
        evidence.Evidence(ambiguous)


def test_what_the_paper_shows_is_what_was_accepted(committed):
    assert check.stale(committed) == []


def test_one_changed_cell_is_noticed_and_named(committed, tmp_path):
    copy = tmp_path / "results"
    shutil.copytree(committed.spec.results, copy)
    path = copy / "local.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    head = lines[0].rstrip("\n").split(",")
    column = head.index("throughput_ops_s")
    # Halving every round of one allocator in one cell is a change that medians and ratios cannot hide.
    for number, line in enumerate(lines[1:], 1):
        values = line.rstrip("\n").split(",")
        if (
            values[head.index("allocator")] == "hz3"
            and values[head.index("threads")] == "1"
            and values[head.index("working_set")] == "1000"
        ):
            values[column] = str(float(values[column]) / 2)
            lines[number] = ",".join(values) + "\n"
    path.write_text("".join(lines), encoding="utf-8")
    stale = check.stale(evidence.Evidence(spec.read(results=copy)))
    assert "stale: figure speed-local has changed since the paper was accepted" in stale
    assert "stale: table speed-local has changed since the paper was accepted" in stale
    assert "stale: number local-1/hz3/ratio has changed since the paper was accepted" in stale
    assert not any("remote" in line and "hypothes" not in line for line in stale)


def test_a_missing_run_says_how_to_make_it(tmp_path):
    with pytest.raises(errors.InputError, match="scripts/paper measure"):
        evidence.Evidence(spec.read(results=tmp_path))


@pytest.mark.parametrize("language", spec.LANGUAGES)
def test_text_has_no_measurement_of_its_own(language):
    text = source(language)
    text = re.sub(r"\\(begin|end|hztable|hzfigure|usepackage|documentclass)\b.*|p\{0\.\d+\\linewidth\}", "", text)
    text = re.sub(r"(mimalloc|jemalloc|gperftools|Debian)[^0-9\n]{0,3}[0-9.]+", "", text)  # versions
    assert re.findall(r"[0-9]+\.[0-9]+", text) == []
    assert re.findall(r"[0-9](?:~|\s)*(?:ns\b|M ops|times\b|倍)", text) == []


def test_both_languages_use_the_same_numbers():
    used = [re.findall(r"\\hz(?:interval)?\{([^}]+)\}", source(x)) for x in spec.LANGUAGES]
    assert set(used[0]) == set(used[1]) and len(set(used[0])) > 40


def test_both_pdfs_build_render_and_hold_their_fonts(pdfs, tmp_path):
    for language, path in pdfs.items():
        fonts = subprocess.run(["pdffonts", path], capture_output=True, text=True, check=True).stdout.splitlines()[2:]
        assert fonts and all(re.search(r" yes (yes|no) (yes|no) +\d+ +\d+$", line) for line in fonts), fonts
        text = subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True, check=True).stdout
        assert "??" not in text and "[?]" not in text
        subprocess.run(["pdftoppm", "-r", "40", "-gray", path, tmp_path / language], check=True)
        pages = sorted(tmp_path.glob(f"{language}-*.pgm"))
        assert len(pages) >= 6
        for page in pages:
            assert sum(b < 128 for b in page.read_bytes()) > 100, f"{page.name} is nearly empty"
    assert "アロケータ" in subprocess.run(["pdftotext", pdfs["ja"], "-"], capture_output=True, text=True, check=True).stdout


def test_the_log_reader_knows_faults():
    log = (
        "Missing character: There is no X in font Y!\nOverfull \\hbox (1.0pt too wide) in paragraph\nOverfull \\hbox"
        " (12.5pt too wide) in alignment at lines 1--2\nLaTeX Warning: Reference `a' on page 1 undefined on input line"
        " 3.\n"
    )
    assert len(build.faults(log)) == 3


def test_why_leads_to_the_samples(committed):
    lines = "\n".join(why.explain(committed, "local-1/hz3/ratio"))
    assert "command: " in lines and "commit: " in lines and "host: " in lines
    samples = committed.samples("local-1", "hz3")
    assert all(str(v) in lines for v in samples["stream_hash"])
    for thing in (
        "figure speed-remote",
        "table memory-local",
        "figure retention",
        "hypothesis/i/outcome",
        "geomean/local/hz5/speed",
        "instructions/hz5/local/256/free",
        "run/local/cpu",
        "table hypotheses",
        "local-1/harness-ns",
    ):
        assert len(why.explain(committed, thing)) > 1
    with pytest.raises(errors.InputError, match="--list"):
        why.explain(committed, "local-1/hz9/ratio")


def test_every_thing_that_why_lists_can_be_explained(committed):
    for thing in why.things(committed)[::97]:
        assert why.explain(committed, thing)


def test_the_claims_table_is_current(committed):
    text = (ROOT / "docs" / "reproducibility.md").read_text(encoding="utf-8")
    table = text.split(claims.BEGIN, 1)[1].split(claims.END, 1)[0].strip()
    assert table == claims.table(committed)


def test_hypotheses_can_fall_both_ways(committed):
    rule = {"kind": "fastest", "allocator": "null", "group": "local", "rivals": ["system"]}
    slow = {"kind": "fastest", "allocator": "system", "group": "local", "rivals": ["hz3"]}
    fast = {"kind": "fastest", "allocator": "hz3", "group": "local", "rivals": ["system"]}
    assert hypotheses.fastest(committed, slow)[0] == "refuted"
    assert hypotheses.fastest(committed, fast)[0] == "supported"
    with pytest.raises(errors.InputError, match="not measured"):
        hypotheses.fastest(committed, rule)
    assert set(hypotheses.decide(committed)) == {"i", "ii", "iii", "iv", "v", "vi"}


def test_figures_are_equal_for_equal_input(committed, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        figures.write_all(committed, tmp_path / name, "en")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_the_artifact_is_deterministic_and_complete(pdfs, tmp_path):
    if subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("not a git work tree")
    paths = [artifact.make("HEAD", list(pdfs.values()), tmp_path / name) for name in ("a", "b")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    subprocess.run(["tar", "-xzf", paths[0], "-C", tmp_path], check=True)
    top = tmp_path / paths[0].name.removesuffix(".tar.gz")
    subprocess.run(["sha256sum", "--quiet", "-c", "MANIFEST.sha256"], cwd=top, check=True)
    for name in (
        "LICENSE",
        "CITATION.cff",
        ".zenodo.json",
        "README-REVIEWERS.txt",
        "paper/hzbench-en.pdf",
        "paper/hzbench-ja.pdf",
    ):
        assert (top / name).exists()
    assert os.access(top / "scripts" / "reproduce", os.X_OK)


def test_two_builds_of_a_pdf_are_equal(committed, pdfs, tmp_path):
    again = build.build(committed, tmp_path, "en")
    if again.read_bytes() != pdfs["en"].read_bytes():
        done = subprocess.run(
            ["diffoscope", "--text", "-", pdfs["en"], again], capture_output=True, text=True, check=False
        )
        pytest.fail(f"two builds differ:\n{done.stdout[:2000]}")


def test_descriptions_of_the_release_agree(tmp_path):
    names = ("meson.build", "CITATION.cff", ".zenodo.json", "debian/changelog", "CHANGELOG.md")
    files = {name: ((ROOT / name).read_bytes(), False) for name in names}
    assert artifact.disagreements(files) == []
    zenodo = json.loads(files[".zenodo.json"][0])
    assert zenodo["doi"] == artifact.DOI_PLACEHOLDER  # goes when an archive has assigned one
    zenodo["version"] = "9.9.9"
    files[".zenodo.json"] = (json.dumps(zenodo).encode(), False)
    assert len(artifact.disagreements(files)) == 1


def test_links_in_the_documents_resolve():
    broken = []
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("*/README.md"),
        *ROOT.glob("*/*/README.md"),
        *ROOT.glob("results/*.md"),
    ]:
        if "build" in path.relative_to(ROOT).parts[0] or "-out" in path.relative_to(ROOT).parts[0]:
            continue
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:", target) and not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert broken == []


def test_references_are_used_and_complete():
    bib = (ROOT / "paper" / "references.bib").read_text(encoding="utf-8")
    entries = dict(re.findall(r"@\w+\{(\w+),(.*)\}", bib))
    for language in spec.LANGUAGES:
        text = source(language)
        cited = {k.strip() for group in re.findall(r"\\cite\{([^}]+)\}", text) for k in group.split(",")}
        assert cited == set(entries)
    assert all(
        "year" in body and ("doi" in body or "booktitle" in body or "howpublished" in body) for body in entries.values()
    )


@pytest.mark.parametrize("arguments, words", [
    (["paper", "wrong"], "unknown command"),
    (["paper", "measure"], "--out"),
    (["why"], "--list"),
    (["why", "no/such/key"], "has no"),
    (["reproduce", "--fast"], "unknown argument"),
    (["artifact", "--commit", "no-such-commit"], "artifact:"),
])  # fmt: skip
def test_bad_usage_is_one_line_and_exit_2(arguments, words):
    pdf = ["--pdf", str(ROOT / "LICENSE")] if arguments[0] == "artifact" else []
    done = subprocess.run(
        [SCRIPTS / arguments[0], *arguments[1:], *pdf], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 2
    assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_tables_escape_what_latex_would_read():
    assert "\\{" in tables.tex_escape("hz5{profile=rss}")


def test_claims_hold_on_their_own_rows_and_fall_on_others(committed, tmp_path):
    """A claim alone, on the committed rows of its run; on rows in which the fastest has become the slowest; on none."""
    claim = next(h for h in committed.spec.hypotheses if h.rule["kind"] == "fastest" and "peak_limit" not in h.rule)
    part = claims.part_of(committed.spec, claim)
    paper = evidence.Evidence(part)
    assert claims.judge(paper, evidence.Evidence(part), claim).held is True
    for run in part.runs:
        for path in part.results.glob(f"{run}.*"):
            shutil.copy(path, tmp_path)
        data = pd.read_csv(tmp_path / f"{run}.csv", dtype=str, keep_default_na=False)
        mine = data["allocator"] == claim.rule["allocator"]
        data.loc[mine, "throughput_ops_s"] = "1000"
        data.to_csv(tmp_path / f"{run}.csv", index=False)
    turned = claims.judge(paper, evidence.Evidence(dataclasses.replace(part, results=tmp_path)), claim)
    assert turned.held is False and "decided the other way round" in turned.line()
    for run in part.runs:
        data = pd.read_csv(tmp_path / f"{run}.csv", dtype=str, keep_default_na=False)
        mine = data["allocator"] == claim.rule["allocator"]
        data.loc[mine, ["status", "message"]] = ["crashed", "signal 11 in the measured part"]
        data.to_csv(tmp_path / f"{run}.csv", index=False)
    absent = claims.judge(paper, evidence.Evidence(dataclasses.replace(part, results=tmp_path)), claim)
    assert absent.held is None and "cannot be tested here" in absent.line() and "signal 11" in absent.line()

# SPDX-License-Identifier: Apache-2.0
"""`scripts/history add | list | show | changes | confirm | rebuild | doctor`"""

import argparse
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .. import errors, files, load, schema, select, tables, text
from ..cli import Parser, share
from ..errors import InputError, printable
from . import changes, exporters, points, show, tracks
from .store import Store, is_postgres, open_store, read_journal, replace

DB = "history.db"


def _repository(options: argparse.Namespace) -> str:
    return options.repo or os.getcwd()


def _add_export(store: Store, path: str, entry: dict[str, str | None]) -> str:
    """Adds the runs of an exported history. One that is known stays: an export may hold a part of its points."""
    given = [f"--{name}" for name in ("commit", "host", "reference") if entry.get(name)]
    if given:
        raise InputError(f"{path}: exported points say that themselves; leave {' and '.join(given)} out")
    runs = exporters.read_csv(path, entry.get("repo") or os.getcwd())
    new = [(run, found) for run, found in runs if not store.rows("SELECT 1 FROM run WHERE run_id = ?", (run.run_id,))]
    for run, found in new:
        store.add(run, found)
    count = sum(len(found) for _, found in new)
    known = f", {len(runs) - len(new)} known already" if len(new) < len(runs) else ""
    return f"{path}: added {count} exported points of {text.plural(len(new), 'run')}{known}"


def _points_of(path: str, entry: dict[str, str | None], store: Store) -> tuple[points.Run, list[points.Point]]:
    """A result file, or counts of scripts/instructions, as points."""
    repository = entry.get("repo") or os.getcwd()
    commit, host = entry.get("commit"), entry.get("host")
    if path.endswith(".json"):
        if not commit:
            raise InputError(f"{path}: counts do not say of which commit they are; name it: --commit=REVISION")
        known = points.commit_of(repository, commit)
        if known is None:
            raise InputError(f"--commit={printable(commit, 60)}: {repository} has no such commit (--repo=DIR)")
        digest = points.digest(path)
        # Two commits often have equal counts: each is a point.
        name = hashlib.sha256(f"{digest} {known[0]} {host or ''}".encode()).hexdigest()[:16]
        run = points.Run(name, host or "counts", known[0], False, known[2], known[1], known[1], path, digest, "", "")
        return run, points.of_instructions(path, run.host)
    results = load.load([path])
    run = points.run_of(results, repository, commit, host)
    references = [r for r in (entry.get("reference") or "").split(",") if r] or _pinned(store, results)
    return run, points.of_results(results, run.host, points.pick_references(results, references))


def _pinned(store: Store, results: load.Results) -> list[str]:
    """The reference that the history has, when there is one: it does not change by what a run happens to hold."""
    known = [r[0] for r in store.rows("SELECT reference FROM point WHERE reference <> '' GROUP BY reference"
                                      " ORDER BY count(*) DESC, reference")]  # fmt: skip
    if known and known[0] not in results.allocators:
        raise InputError(
            f"{results.runs[0].path}: the history is told relative to {known[0]}, which this run has not measured;"
            " measure it too, or name another for a new track: --reference=NAME"
        )
    return known[:1]


def _add(store: Store, path: str, entry: dict[str, str | None]) -> str:
    """Adds one file; returns what to say of it."""
    if path.endswith(".csv") and exporters.is_export(path):
        return _add_export(store, path, entry)
    run, found = _points_of(path, entry, store)
    if not found:
        raise InputError(f"{path}: no cell with a good sample, nothing to add")
    done = store.add(run, found)
    if done == "known":
        return f"{path}: known already ({show.short(run)})"
    failed = sorted({f"{p.series.allocator}: {p.problem}" for p in found if p.estimate is None})
    more = f"; failed: {'; '.join(failed[:3])}" if failed else ""
    good = sum(p.estimate is not None for p in found)
    return printable(f"{path}: {done} {good} points of {show.short(run)}, host {run.host}{more}")


def run_add(argv: list[str]) -> int:
    """`scripts/history add RESULT...`"""
    parser = _parser("add", "Adds result files, counts of scripts/instructions --json, or an exported history.")
    parser.add_argument("results", nargs="+", metavar="RESULT")
    parser.add_argument("--commit", metavar="REVISION", help="what was measured (default: what the file says)")
    parser.add_argument("--host", metavar="NAME", help="a name for the machine, such as that of a pool of equal ones")
    parser.add_argument(
        "--reference",
        metavar="NAMES",
        help="allocators that throughput is told relative to (default: that of the history, else the first of system"
        " and the peers); two in one run join the tracks of both",
    )
    options = parser.parse_args(argv)
    store = open_store(options.db, True)
    for path in options.results:
        entry = {"commit": options.commit, "host": options.host, "reference": options.reference, "repo": options.repo}
        print(_add(store, path, entry))
        if store.is_file:
            folder = store.journal.absolute().parent
            named = os.path.relpath(os.path.abspath(path), folder)
            where = os.path.relpath(os.path.abspath(options.repo), folder) if options.repo else None
            store.remember({k: v for k, v in {**entry, "file": named, "repo": where}.items() if v})
    store.close()
    return errors.OK


def run_rebuild(argv: list[str]) -> int:
    """`scripts/history rebuild [DIR...]`"""
    parser = _parser("rebuild", "Makes the SQLite file anew from the result files that were added to it.")
    parser.add_argument(
        "results", nargs="*", metavar="RESULT", help="from these files or folders instead of the journal"
    )
    options = parser.parse_args(argv)
    if is_postgres(options.db):
        raise InputError(
            "rebuild is for SQLite files; a Postgres server keeps its own: add the result files to a new database"
        )
    journal = Path(options.db + ".sources.jsonl")
    folder = journal.absolute().parent
    if options.results:
        entries = [{"file": os.path.relpath(f, folder)} for f in _below(options.results)]
    else:
        entries = read_journal(journal)
    said: list[str] = []

    def fill(store: Store) -> None:
        for entry in entries:
            path = os.path.normpath(os.path.join(folder, entry["file"]))
            shown = os.path.relpath(path)
            where = entry.get("repo")
            known = {**entry, "repo": options.repo or (os.path.join(folder, where) if where else None)}
            try:
                said.append(_add(store, shown, known))
            except InputError as error:
                said.append(f"left out: {error}")

    kept = replace(options.db, fill)
    print("\n".join(said))
    left_out = sum(line.startswith("left out") for line in said)
    print(
        f"{options.db}: made anew from {len(said) - left_out} of {len(said)} files"
        + (f"; the old one is {kept}" if kept else "")
    )
    return errors.FAILED if left_out else errors.OK


def _below(paths: Sequence[str]) -> list[str]:
    out: list[str] = []
    for path in paths:
        if os.path.isdir(path):
            found = sorted(str(p) for p in Path(path).rglob("*.csv") if files.sibling(p, ".run.json").exists())
            if not found:
                raise InputError(f"{path}: no result file with its run.json below it")
            out += found
        else:
            out.append(path)
    return out


def run_doctor(argv: list[str]) -> int:
    """`scripts/history doctor`"""
    parser = _parser("doctor", "Checks the database and whether the files it was made of are still there.")
    options = parser.parse_args(argv)
    store = open_store(options.db, False)
    found = store.problems()
    counts = {table: store.rows(f"SELECT count(*) FROM {table}")[0][0] for table in ("run", "series", "point")}
    if store.is_file and store.journal.exists():
        known = {os.path.normpath(store.journal.absolute().parent / e["file"]) for e in read_journal(store.journal)}
        found += [f"{os.path.relpath(f)}: was added and is gone; a rebuild would lose it" for f in sorted(known)
                  if not os.path.exists(f)]  # fmt: skip
    elif store.is_file:
        found.append(f"{store.journal}: missing; a rebuild needs the result files on its command line")
    print(f"{printable(options.db)}: schema {store.version()}, {counts['run']} runs, {counts['series']} series,"
          f" {counts['point']} points")  # fmt: skip
    for problem in found:
        print(f"problem: {printable(problem)}")
    print(f"{len(found)} problems" if found else "nothing is wrong")
    return errors.FAILED if found else errors.OK


def _parser(name: str, description: str) -> Parser:
    parser = Parser(f"scripts/history {name}", description=description)
    parser.add_argument("--db", default=DB, metavar="FILE", help=f"an SQLite file, or postgresql://... (default {DB})")
    parser.add_argument("--repo", metavar="DIR", help="git repository of the commits (default: the current folder)")
    return parser


def choices(parser: Parser) -> None:
    """Options that choose series."""
    parser.add_argument(
        "--filter", type=select.Filter, metavar="EXPRESSION", help="series that match, as tables --filter"
    )
    parser.add_argument(
        "--metric", action="append", metavar="NAME", help=f"one of {', '.join(points.METRICS)}; may be repeated"
    )
    parser.add_argument("--host", metavar="NAME", help="only runs of this host")


def chosen(options: argparse.Namespace) -> list[tracks.Line]:
    """The tracks that the options choose."""
    store = open_store(options.db, False)
    lines = tracks.lines_of(store.points())
    store.close()
    if not lines:
        raise InputError(f"{options.db}: no run was added yet: scripts/history add RESULT.csv")
    kept = tracks.chosen(lines, options.filter, options.metric, options.host)
    if not kept:
        raise InputError("no series is left by --filter, --metric and --host; scripts/history list shows all")
    return kept


def since(options: argparse.Namespace, lines: Sequence[tracks.Line]) -> str:
    """The time that --since names, "" for the beginning."""
    if not options.since:
        return ""
    return tracks.moment(options.since, _repository(options), (p.run for line in lines for p in line.placed))


def run_list(argv: list[str]) -> int:
    """`scripts/history list`"""
    parser = _parser("list", "The series of the history.")
    choices(parser)
    options = parser.parse_args(argv)
    sys.stdout.write(show.listing(chosen(options), tables.WIDTH))
    return errors.OK


def run_show(argv: list[str]) -> int:
    """`scripts/history show SERIES`"""
    parser = _parser("show", "The points of one series.")
    parser.add_argument("series", metavar="SERIES", help="the beginning of its key, or words that only its title has")
    choices(parser)
    options = parser.parse_args(argv)
    lines = tracks.one(chosen(options), options.series)
    sys.stdout.write(show.points(lines, tracks.find(lines)))
    return errors.OK


def _search(parser: Parser) -> None:
    choices(parser)
    parser.add_argument("--since", metavar="REVISION", help="only changes after this tag, commit or date")
    parser.add_argument(
        "--false-share", type=share, default=changes.Q, metavar="SHARE", help="of what one look tells (default 1%%)"
    )
    parser.add_argument("--smallest", type=share, metavar="SHARE", help="smallest change told (default: as the metric)")


def run_changes(argv: list[str]) -> int:
    """`scripts/history changes`"""
    parser = _parser("changes", "Changes of level in all series, the worst first, and the commits between.")
    _search(parser)
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    parser.add_argument(
        "--strict", action="store_true", help="exit 1 when something became worse (suspicions do not count)"
    )
    options = parser.parse_args(argv)
    lines = chosen(options)
    found = tracks.find(lines, options.false_share, since(options, lines), options.smallest)
    repository = _repository(options)
    if options.format == "json":
        sys.stdout.write(show.changes_json(found, repository))
    else:
        form = show.changes_markdown if options.format == "markdown" else show.changes_text
        sys.stdout.write(form(found, lines, options.false_share, repository))
    worse = any(f.is_worse and not f.change.suspected for f in found)
    return errors.GATE_FAILED if worse and options.strict else errors.OK


def run_confirm(argv: list[str]) -> int:
    """`scripts/history confirm`"""
    parser = _parser("confirm", "What to run so that a suspicion at the end of a series is confirmed or cleared.")
    choices(parser)
    options = parser.parse_args(argv)
    sys.stdout.write(show.confirm_text(tracks.find(chosen(options)), options.db))
    return errors.OK


def run_page(argv: list[str]) -> int:
    """`scripts/history page --out=PAGE.html`"""
    from .. import report
    from . import page

    parser = _parser("page", "One self-contained HTML page: what got worse first, then every series.")
    _search(parser)
    parser.add_argument("--out", required=True, metavar="PAGE.html")
    parser.add_argument("--title", default="History of results", help="headline of the page")
    options = parser.parse_args(argv)
    report.check()
    lines = chosen(options)
    found = tracks.find(lines, options.false_share, since(options, lines), options.smallest)
    report.save(page.render(lines, found, _repository(options), options.title, options.since or ""), options.out)
    print(options.out)
    return errors.OK


def _change(options: argparse.Namespace) -> tracks.Found:
    """The change of the series that was named; the last one, or the one that --at is in."""
    lines = chosen(options)
    named = tracks.one(lines, options.series)
    mine = [f for f in tracks.find(lines) if f.line in named]
    if options.at:
        mine = [f for f in mine if f.after.commit.startswith(options.at)]
    if not mine:
        raise InputError(f"'{printable(options.series, 60)}' has no such change; scripts/history changes shows them")
    return max(mine, key=lambda f: f.change.at)


def run_bisect(argv: list[str]) -> int:
    """`scripts/history bisect SERIES`, or between two revisions"""
    from . import bisect

    parser = _parser(
        "bisect",
        "Names the commit that made a change: builds and measures those between, halving. --metric=cpu_time compares"
        " CPU time an operation instead of throughput, for a machine that does other work too.",
    )
    parser.add_argument(
        "series", nargs="?", metavar="SERIES", help="whose last change is looked into (or --good, --bad)"
    )
    choices(parser)
    parser.add_argument("--at", metavar="COMMIT", help="another change of it: the commit at whose point it is seen")
    parser.add_argument("--good", metavar="REVISION", help="before the change")
    parser.add_argument("--bad", metavar="REVISION", help="after it")
    parser.add_argument("--alloc", metavar="NAME", help="allocator, built as allocators/NAME/libNAME.so")
    parser.add_argument("--workload", metavar="ITEM", help="as the runner takes it")
    parser.add_argument("--threads", type=int, metavar="N")
    parser.add_argument("--rounds", type=int, metavar="N", help="of the first look at a commit (default: by the size)")
    parser.add_argument("--max-rounds", type=int, default=160, metavar="N", help="for one commit (default 160)")
    parser.add_argument(
        "--build",
        default=bisect.BUILD,
        metavar="COMMAND",
        help="in the commit's tree; {build}, {tree}, {commit}, {targets}",
    )
    parser.add_argument(
        "--measure", metavar="COMMAND", help="measures {good}, {bad} and {middle}, {rounds} rounds, into {output}"
    )
    parser.add_argument(
        "--folder", metavar="DIR", help="for worktrees, builds and results (default: a new one in /tmp)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the worktrees")
    options = parser.parse_args(argv)
    repository = Path(_repository(options))
    by_cpu_time = bisect.CPU_TIME in (options.metric or ())
    options.metric = [m for m in options.metric or () if m != bisect.CPU_TIME]
    metric = [*options.metric, "throughput_ops_s"][0]
    rounds, threads = bisect.ROUNDS_AT_LEAST, options.threads or 1
    if metric not in points.METRICS:
        known_metrics = ", ".join([*points.METRICS, bisect.CPU_TIME])
        raise InputError(f"--metric={printable(metric, 40)}: unknown; one of {known_metrics}")
    if options.series:
        found = _change(options)
        good, bad, metric = found.before.commit, found.after.commit, found.line.series.metric
        allocator = options.alloc or found.line.series.allocator
        workload = options.workload or bisect.workload_of(found.line.series.cell)
        threads = options.threads or int(found.line.series.values[schema.CELL.index("threads")])
        errors_of = [p.point.error * p.point.n**0.5 for p in found.line.placed if p.point.error is not None]
        if errors_of:
            rounds = bisect.rounds_for(found.share, sorted(errors_of)[len(errors_of) // 2])
        print(f"{found.word} {show.signed(found.share)}: {printable(show.title(found.line))}")
    elif options.good and options.bad:
        good, bad, allocator, workload = options.good, options.bad, options.alloc, options.workload
        if options.measure is None and not (allocator and workload):
            raise InputError("give --alloc=NAME and --workload=ITEM too, or a --measure command of your own")
    else:
        raise InputError("name a SERIES of the history, or --good=REVISION and --bad=REVISION")
    known = [points.commit_of(repository, r) for r in (good, bad)]
    for revision, there in zip((good, bad), known):
        if there is None:
            raise InputError(f"{repository} has no commit {printable(revision, 60)} (--repo=DIR)")
    first = bisect.Commit(known[0][0], known[0][2]) if known[0] else bisect.Commit(good, "")
    candidates = bisect.between(repository, good, bad)
    words = bisect.words_of(workload or "", threads, allocator or "")
    if by_cpu_time:
        metric = bisect.CPU_TIME
    exact = not by_cpu_time and points.METRICS[metric].exact and options.measure is None
    measure = options.measure or (bisect.COUNT if exact else bisect.MEASURE)
    plan = bisect.Plan(repository, bisect.folder_of(options.folder), options.build, measure, words, metric, exact,
                       min(options.rounds or rounds, options.max_rounds), options.max_rounds)  # fmt: skip
    search = bisect.Bisect(plan, lambda line: print(line, flush=True))
    try:
        code, sentence = search.search(first, candidates)
    finally:
        if not options.keep:
            search.clean()
    print(sentence)
    return code


def run_export(argv: list[str]) -> int:
    """`scripts/history export --format=FORMAT`"""
    parser = _parser("export", "Points in formats of other tools (docs/history.md), on standard output or into --out.")
    choices(parser)
    parser.add_argument("--format", choices=[*exporters.FORMATS, *exporters.FOLDERS], default="csv")
    parser.add_argument("--out", metavar="DIR", help=f"the folder of {' or '.join(exporters.FOLDERS)}")
    options = parser.parse_args(argv)
    if bool(options.out) != (options.format in exporters.FOLDERS):
        why = (
            "goes to standard output; leave --out away" if options.out else "is several files; name a folder: --out=DIR"
        )
        raise InputError(f"--format={options.format}: {why}")
    if options.out:
        exporters.save(exporters.FOLDERS[options.format](chosen(options)), options.out)
        print(options.out)
        return errors.OK
    sys.stdout.write(exporters.FORMATS[options.format](chosen(options)))
    return errors.OK


def run_simulate(argv: list[str]) -> int:
    """`scripts/history simulate`"""
    from . import simulate

    parser = _parser("simulate", "How often changes are told that are none, how soon steps.")
    choices(parser)
    parser.add_argument("--pages", type=int, default=40, metavar="N", help="simulated pages a row (default 40)")
    parser.add_argument(
        "--same", action="store_true", help="instead: alarms in the history --db, whose commits changed nothing"
    )
    options = parser.parse_args(argv)
    if options.same:
        print("\n".join(simulate.same(chosen(options))))
        return errors.OK
    if not 1 <= options.pages <= 10_000:
        raise InputError(f"--pages={options.pages}: give 1 to 10000")
    print("\n".join(simulate.render(options.pages, lambda line: print(line, file=sys.stderr))))
    return errors.OK


COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "add": (run_add, "adds result files"),
    "list": (run_list, "the series"),
    "show": (run_show, "the points of one series"),
    "changes": (run_changes, "what became better or worse, and between which commits"),
    "page": (run_page, "one HTML page of everything"),
    "bisect": (run_bisect, "names the commit that made a change"),
    "confirm": (run_confirm, "what to run to confirm a suspicion"),
    "rebuild": (run_rebuild, "makes a damaged database anew from the result files"),
    "doctor": (run_doctor, "checks the database"),
    "export": (run_export, "points for other tools: CSV, Bencher, asv, Otava, ..."),
    "simulate": (run_simulate, "how often the changes err, on simulated series"),
}


def main(argv: list[str]) -> int:
    """`scripts/history COMMAND ...`"""
    parser = Parser(
        "scripts/history",
        description="History of results: series of runs, changes of level, the commits behind them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands (each has --help):\n" + "\n".join(f"  {n:9} {w}" for n, (_, w) in COMMANDS.items()),
    )
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND")
    options = parser.parse_args(argv[:1])
    return COMMANDS[options.command][0](argv[1:])

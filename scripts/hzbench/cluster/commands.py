# SPDX-License-Identifier: Apache-2.0
"""`scripts/cluster submit|status|collect|cancel`."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .. import errors
from ..cli import Parser
from ..errors import InputError
from . import engines, plan as plans
from .plan import Plan

_DEFAULT = "cluster-out"


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    return f"about {minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"about {minutes} min"


def _folder(parser: Parser) -> None:
    parser.add_argument("--out", default=_DEFAULT, metavar="DIR", help=f"folder of the plan (default {_DEFAULT})")


def _submit_parser() -> Parser:
    parser = Parser(
        "scripts/cluster submit",
        description="Measures a matrix on nodes of a Slurm cluster, on hosts reached by ssh, or here. The same command"
        " again goes on with what is not done.",
        epilog="MATRIX is a file with the runner's options of one command a line, or a name of scripts/matrix; or give"
        " the options themselves: submit ... -- --alloc=hz5,system --workload=local",
    )
    parser.add_argument("matrix", nargs="?", metavar="MATRIX")
    parser.add_argument("--engine", choices=plans.ENGINES, default="slurm")
    parser.add_argument("--partition", metavar="NAME", help="of Slurm")
    parser.add_argument("--hosts", metavar="N", help="all tasks on each of N nodes (Slurm; without it: each task on any"
                        " node), or the hosts' names: a,b (clush)")  # fmt: skip
    parser.add_argument("--build", choices=plans.BUILDS, default="once", help="carry the programs that are built here,"
                        " or have each node build the commit")  # fmt: skip
    parser.add_argument(
        "--sbatch", action="append", default=[], metavar="ARG", help="for sbatch, as --sbatch=--time=60"
    )
    parser.add_argument(
        "--clush", action="append", default=[], metavar="ARG", help="for clush, as --clush=-l --clush=me"
    )
    parser.add_argument("--place", default="", metavar="DIR", help="folder on the hosts of clush (default: home)")
    parser.add_argument("--minutes", type=float, default=10, metavar="N", help="least length of a task (default 10)")
    parser.add_argument("--limit", type=int, default=4, metavar="N", help="tasks of an array at once (default 4)")
    parser.add_argument(
        "--retries", type=int, default=1, metavar="N", help="further arrays for what failed (default 1)"
    )
    parser.add_argument("--wait", action="store_true", help="until nothing runs any more")
    _folder(parser)
    return parser


def _hosts(options: argparse.Namespace) -> list[str]:
    if options.engine == "local":
        if options.hosts:
            raise InputError("--hosts: --engine=local has one, this machine")
        return [engines.this_host()]
    if options.engine == "slurm":
        if not options.partition:
            raise InputError("--partition: name the one to measure on; sinfo lists what there is")
        if not options.hosts:
            engines.Slurm.hosts(options.partition, 0)
            return []
        if not options.hosts.isdigit() or not 0 < int(options.hosts) < 10000:
            raise InputError(f"--hosts={options.hosts}: with Slurm a number of nodes")
        return engines.Slurm.hosts(options.partition, int(options.hosts))
    names = [name for name in (options.hosts or "").split(",") if name]
    bad = [name for name in names if not all(c.isalnum() or c in "-._" for c in name) or name.startswith("-")]
    if not names or bad:
        raise InputError(f"--hosts={options.hosts or ''}: with clush the names of hosts, as a,b")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"--hosts: {', '.join(twice)} is there twice; each host measures once")
    return names


def _of_options(options: argparse.Namespace, own: Sequence[str], runner: Path) -> Plan:
    if (options.matrix is None) == (not own):
        raise InputError("give a MATRIX, or the runner's options after --, not both")
    if not 0 < options.minutes < 100000 or options.limit < 1 or not 0 <= options.retries < 10:
        raise InputError("--minutes and --limit are above 0, --retries is 0 to 9")
    commands = [list(own)] if own else plans.read_matrix(options.matrix)
    tasks = plans.cut(runner, commands, options.minutes)
    more = options.sbatch if options.engine == "slurm" else options.clush
    made = plans.made(
        engine=options.engine, build=options.build, commit=plans.commit_of(runner), tasks=tasks,
        hosts=_hosts(options), partition=options.partition or "", limit=options.limit, retries=options.retries,
        more=more, place=options.place,
    )  # fmt: skip
    strangers = plans.inputs(made)
    if options.engine == "clush" and strangers:
        raise InputError(f"{strangers[0]}: a file of this machine, which the hosts do not have; give names only")
    return made


def submit(argv: list[str]) -> int:
    """Makes the plan, or finds the same one made before, and starts what is not done."""
    cut = argv.index("--") if "--" in argv else len(argv)
    options = _submit_parser().parse_args(argv[:cut])
    runner = plans.find_runner()
    plan = _of_options(options, argv[cut + 1 :], runner)
    folder = Path(options.out).resolve()
    if (folder / "plan.json").exists():
        old = plans.read(folder)
        if (old.digest, old.engine) != (plan.digest, plan.engine):
            raise InputError(f"{options.out}: holds another plan; collect it and choose another --out")
        if plan.engine == "slurm":
            plan.hosts = old.hosts
        plan.created = old.created
        if engines.of(old, folder).alive():
            raise InputError(f"{options.out}: this plan is running; see scripts/cluster status, or cancel it first")
    plans.write(plan, folder, runner)
    engine = engines.of(plan, folder)
    left = _left(plan, engine)
    if not any(left.values()):
        print(f"{options.out}: all tasks done; scripts/cluster collect --out={options.out}")
        return errors.OK
    started = engine.submit({host: names for host, names in left.items() if names})
    count = sum(map(len, left.values()))
    print(
        f"{options.out}: {count} of {len(plan.tasks) * len(left)} tasks, {_span(_seconds(plan, left))} in all"
        f" (a guess), to {plan.engine}: {', '.join(started)}"
    )
    if not options.wait:
        return errors.OK
    while engine.alive():
        time.sleep(2)
    return _print_status(plan, engine, options.out)


def _left(plan: Plan, engine: engines.Engine) -> dict[str, list[str]]:
    """{host: tasks not done there}; one host '' when any will do."""
    states, _ = engine.states()
    done = {(s.host if plan.hosts else "", s.task) for s in states if s.word == "done" and s.rest.endswith(plan.digest)}
    return {host: [n for n in plan.names if (host, n) not in done] for host in plan.hosts or [""]}


def _seconds(plan: Plan, left: dict[str, list[str]]) -> float:
    return sum(plan.tasks[int(name)].seconds for names in left.values() for name in names)


def _print_status(plan: Plan, engine: engines.Engine, out: str) -> int:
    states, wrong = engine.states()
    alive = engine.alive()
    left = _left(plan, engine)
    known = {(s.host, s.task): s for s in states}
    running = failed = 0
    lines = []
    for host, names in left.items():
        for name in names:
            told = [s for (h, t), s in known.items() if t == name and host in ("", h)]
            now = next((w for (h, t), w in alive.items() if t == name and (not host or not h or h == host)), "")
            where = host or (told[0].host if told else "")
            if now:
                running += now.startswith("running")
                lines.append(f"task {name}{f' on {where}' if where else ''}: {now}")
            else:
                failed += 1
                why = (
                    told[0].rest.partition(" ")[2]
                    if told and told[0].word == "failed"
                    else "ended without a word"
                    if told
                    else "not started"
                )
                lines.append(f"task {name}{f' on {where}' if where else ''}: {why}")
    total = len(plan.tasks) * len(left)
    waiting = sum(map(len, left.values())) - running - failed
    print(
        f"{out} ({plan.engine}): {total - running - failed - waiting} done, {running} running, {waiting} waiting,"
        f" {failed} failed"
    )
    if running or waiting:
        measured = [s for s in states if s.word == "done"]
        guessed = sum(plan.tasks[int(s.task)].seconds for s in measured)
        pace = sum(s.end - s.start for s in measured) / guessed if guessed else 1
        wide = len(plan.hosts) or max(1, running)
        print(f"{_span(_seconds(plan, left) * pace / wide)} to go ({'as measured so far' if guessed else 'a guess'})")
    for line in [*lines, *wrong]:
        print(f"  {line}")
    return errors.FAILED if failed or wrong else errors.OK


def status(argv: list[str]) -> int:
    """Done, running, failed and how long it will take."""
    parser = Parser("scripts/cluster status", description="How far a plan is. Exit 4 when a task failed.")
    _folder(parser)
    options = parser.parse_args(argv)
    folder = Path(options.out).resolve()
    plan = plans.read(folder)
    return _print_status(plan, engines.of(plan, folder), options.out)


def collect_results(argv: list[str]) -> int:
    """Takes in what there is."""
    from . import collect  # pandas takes a second to import

    parser = Parser(
        "scripts/cluster collect",
        description="Takes in the results of a plan, or bundles of other hosts: DIR/collected/HOST/*.csv. Exit 4 when"
        " something is missing or refused; what is there is taken all the same.",
    )
    _folder(parser)
    parser.add_argument("--zip", action="append", default=[], metavar="FILE", help="take in this bundle of"
                        " scripts/export, or a zip with such bundles, instead of the plan's results")  # fmt: skip
    options = parser.parse_args(argv)
    folder = Path(options.out).resolve()
    out = folder / "collected"
    if options.zip:
        for path in options.zip:
            for file in collect.take_bundle(path, out):
                print(Path(options.out, file.relative_to(folder)))
        return errors.OK
    plan = plans.read(folder)
    engine = engines.of(plan, folder)
    results, wrong = engine.fetch()
    got = collect.tasks(plan, results, engines.read_states(results), out)
    got.problems[:0] = wrong
    for problem in got.problems:
        print(f"cluster: {errors.printable(problem)}", file=sys.stderr)
    if got.files:
        collect.record(plan, got, out)
    for host in sorted({path.parent.name for path in got.files}):
        mine = [path for path in got.files if path.parent.name == host]
        print(f"{Path(options.out, 'collected', host)}: {len(mine)} of {len(got.files)} files")
    return errors.FAILED if got.problems else errors.OK


def cancel(argv: list[str]) -> int:
    """Ends what runs; what was measured stays."""
    parser = Parser(
        "scripts/cluster cancel", description="Ends a plan; what was measured stays, submit goes on with it."
    )
    _folder(parser)
    options = parser.parse_args(argv)
    folder = Path(options.out).resolve()
    plan = plans.read(folder)
    engines.of(plan, folder).cancel()
    print(f"{options.out}: cancelled; rows that were measured stay")
    return errors.OK


_COMMANDS = {"submit": submit, "status": status, "collect": collect_results, "cancel": cancel}


def main(argv: list[str]) -> int:
    """`scripts/cluster COMMAND ...`"""
    if argv[:1] and argv[0] in _COMMANDS:
        return _COMMANDS[argv[0]](argv[1:])
    parser = Parser(
        "scripts/cluster",
        description="One matrix on many machines: submit it, see its status, collect its results, cancel it"
        " (docs/cluster.md). Each has a --help.",
    )
    parser.add_argument("command", choices=_COMMANDS)
    parser.parse_args(argv[:1])
    return errors.USAGE

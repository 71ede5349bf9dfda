# SPDX-License-Identifier: Apache-2.0
"""Command line of scripts/paper and scripts/why."""

import dataclasses
import sys
from pathlib import Path

from .. import errors
from ..cli import Parser
from . import build, check, claims, evidence, measure, why
from . import spec as spec_module


def _parser(name: str, description: str) -> Parser:
    parser = Parser(name, description=description)
    parser.add_argument(
        "--results", metavar="DIR", help="the runs (default: the committed ones named in paper/paper.toml)"
    )
    return parser


def run_measure(argv: list[str]) -> int:
    parser = Parser("scripts/paper measure", description="Runs what the paper shows; the same command resumes.")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--build", default="build", metavar="DIR")
    parser.add_argument("--rounds", type=int, help="samples a cell (default: 12; with --quick 6)")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--plan", action="store_true", help="print cells and expected time, run nothing")
    parser.add_argument("--only", action="append", metavar="RUN")
    options = parser.parse_args(argv)
    spec = spec_module.read()
    rounds = options.rounds or measure.ROUNDS["quick" if options.quick else "full"]
    if options.plan:
        print("\n".join(measure.estimate(spec, options.build, options.out, rounds)))
        return errors.OK
    return measure.measure(spec, options.build, options.out, rounds, options.only)


def run_build(argv: list[str]) -> int:
    parser = _parser("scripts/paper build", "Makes the PDFs in English and Japanese.")
    parser.add_argument("--out", default="paper-out", metavar="DIR")
    parser.add_argument("--language", choices=spec_module.LANGUAGES, action="append")
    options = parser.parse_args(argv)
    found = evidence.Evidence(spec_module.read(results=options.results))
    for path in build.build_all(found, options.out, options.language or spec_module.LANGUAGES):
        print(path)
    return errors.OK


def run_check(argv: list[str]) -> int:
    options = _parser(
        "scripts/paper check", "Exit 1 when the paper shows other results than those it was accepted with."
    ).parse_args(argv)
    lines = check.stale(evidence.Evidence(spec_module.read(results=options.results)))
    print("\n".join(lines) if lines else "paper: every figure, table and number is as accepted")
    return errors.GATE_FAILED if lines else errors.OK


def run_accept(argv: list[str]) -> int:
    options = _parser(
        "scripts/paper accept", "Records what the paper shows now, after somebody has read it again."
    ).parse_args(argv)
    print(check.accept(evidence.Evidence(spec_module.read(results=options.results))))
    return errors.OK


def run_claims(argv: list[str]) -> int:
    parser = _parser("scripts/paper claims", "The claims table: what the results say of each hypothesis.")
    parser.add_argument("--write", metavar="FILE", type=Path, help="put it between the markers of this Markdown file")
    options = parser.parse_args(argv)
    body = claims.table(evidence.Evidence(spec_module.read(results=options.results)))
    if options.write:
        claims.write(options.write, body)
    else:
        print(body)
    return errors.OK


def run_judge(argv: list[str]) -> int:
    parser = Parser(
        "scripts/claims",
        description="Measures what a claim of the paper rests on, and says whether it holds on this machine.",
        epilog="Exit code 0: all held; 1: one did not; 5: one could not be tested.",
    )
    parser.add_argument("claim", nargs="*", help="such as i or v (default: all; docs/reproducibility.md lists them)")
    parser.add_argument(
        "--out", default="reproduce-out/results", metavar="DIR", help="rows, measured or to be measured"
    )
    parser.add_argument("--build", default="build", metavar="DIR")
    parser.add_argument("--rounds", type=int, default=measure.ROUNDS["quick"], help="samples a cell (default: 6)")
    parser.add_argument("--no-measure", action="store_true", help="only judge the rows in DIR")
    options = parser.parse_args(argv)
    spec = spec_module.read()
    known = {h.id: h for h in spec.hypotheses}
    for name in options.claim:
        if name not in known:
            raise errors.InputError(f"no claim '{name}' in paper/paper.toml; there are {', '.join(known)}")
    worst = errors.OK
    for claim in (known[name] for name in options.claim or known):
        part = claims.part_of(spec, claim)
        if not options.no_measure:
            measure.measure(part, options.build, options.out, options.rounds)
        missing = [run for run in part.runs if not (Path(options.out) / f"{run}.csv").exists()]
        if missing:
            judgement = claims.Judgement(claim.id, None, f"{options.out}/{missing[0]}.csv is missing")
        else:
            here = dataclasses.replace(part, results=Path(options.out))
            judgement = claims.judge(evidence.Evidence(part), evidence.Evidence(here), claim)
        print(judgement.line(), flush=True)
        if judgement.held is False:
            worst = errors.GATE_FAILED
        elif judgement.held is None and worst == errors.OK:
            worst = errors.INCONCLUSIVE
    return worst


def run_why(argv: list[str]) -> int:
    parser = _parser("scripts/why", "Where a figure, table or number of the paper comes from.")
    parser.add_argument("what", nargs="*", help="local-1/hz3/ratio, figure speed-local, table memory-remote, ...")
    parser.add_argument("--list", action="store_true", help="everything that can be asked for")
    options = parser.parse_args(argv)
    found = evidence.Evidence(spec_module.read(results=options.results))
    if options.list:
        print("\n".join(why.things(found)))
        return errors.OK
    if not options.what:
        parser.error("name what to explain, or --list")
    print("\n".join(why.explain(found, " ".join(options.what))))
    return errors.OK


COMMANDS = {
    "measure": run_measure,
    "build": run_build,
    "check": run_check,
    "accept": run_accept,
    "claims": run_claims,
    "why": run_why,
}


def main(argv: list[str]) -> int:
    name = argv[0] if argv else ""
    if name in ("-h", "--help"):
        print(f"usage: scripts/paper {{{','.join(COMMANDS)}}} ...\n\nscripts/paper COMMAND --help says what it takes.")
        return errors.OK
    if name not in COMMANDS:
        raise errors.InputError(f"unknown command '{errors.printable(name, 40)}' (one of {', '.join(COMMANDS)})")
    try:
        return COMMANDS[name](argv[1:])
    except KeyboardInterrupt:
        print("paper: interrupted; what was measured is kept, the same command resumes", file=sys.stderr)
        raise

# SPDX-License-Identifier: Apache-2.0
"""Command lines of what reads result files: tables, figures, compare, gate, report, lint, calibrate."""

import argparse
import os
import shutil
import sys

from . import calibrate, compare, compare_formats, errors, files, gate, lint, load, model, pivot, select, stats, tables
from .cli import Parser, share


_FILTER = "only samples that match, such as 'workload:remote -threads:(1 OR 2)' (benchstat's; scripts/README.md)"
_BASELINE = "allocator that ratios refer to (default: the first of --alloc)"


def _layout(parser: Parser) -> None:
    parser.add_argument("--filter", type=select.Filter, metavar="EXPRESSION", help=_FILTER)
    parser.add_argument("--rows", metavar="KEYS", help="lay the samples out with these keys as rows, such as threads")
    parser.add_argument("--columns", metavar="KEYS", help="and these as columns, such as allocator or file")


def terminal_width(wide: bool) -> int | None:
    """Columns that a table may have: those of the terminal, 80 elsewhere, None for all."""
    if wide:
        return None
    return max(shutil.get_terminal_size().columns, tables.WIDTH) if sys.stdout.isatty() else tables.WIDTH


def run_tables(argv: list[str]) -> int:
    parser = Parser("scripts/tables", description="Tables from result files of one machine.")
    parser.add_argument("files", nargs="+", metavar="FILE.csv")
    parser.add_argument("--baseline", help=_BASELINE)
    parser.add_argument("--format", choices=tables.FORMATS, default="text")
    parser.add_argument("--wide", action="store_true", help="all columns of the text, however wide the terminal is")
    parser.add_argument("--margin", type=share, default=stats.MARGIN, help="differences inside it are 'same' (2%%)")
    _layout(parser)
    options = parser.parse_args(argv)
    rows, columns = pivot.keys_of(options.rows, options.columns)
    results = load.load(options.files)
    if options.filter:
        results.data = options.filter.rows(results.data)
    if rows or columns:
        baseline = model.pick_baseline(results, options.baseline)
        laid_out = pivot.build(results.data, rows, columns, baseline, options.margin, False)
        sys.stdout.write(pivot.render(laid_out, options.format, terminal_width(options.wide)))
        return errors.OK
    told = model.build(results, options.baseline, options.margin)
    sys.stdout.write(tables.render(told, options.format, results, terminal_width(options.wide)))
    return errors.OK


def run_figures(argv: list[str]) -> int:
    from . import figures  # imports matplotlib, which takes half a second

    parser = Parser("scripts/figures", description="Figures from result files of one machine, as SVG and PNG.")
    parser.add_argument("files", nargs="+", metavar="FILE.csv")
    parser.add_argument("--out", required=True, metavar="DIR", help="directory to write to; made when missing")
    options = parser.parse_args(argv)
    for path in figures.write_all(load.load(options.files), options.out):
        print(path)
    return errors.OK


def _sides(parser: Parser) -> None:
    side = "a result file, or one allocator of it: FILE.csv:ALLOCATOR"
    parser.add_argument("base", metavar="BASE", help=side)
    parser.add_argument("new", metavar="NEW", help=side + "; two of one file are paired by round")


def run_compare(argv: list[str]) -> int:
    parser = Parser("scripts/compare", description="Compares runs of one machine, or allocators of one run.")
    _sides(parser)
    parser.add_argument("more", metavar="NEW", nargs="*", help="further ones: all side by side, each against BASE")
    parser.add_argument("--format", choices=compare_formats.FORMATS, default="text")
    parser.add_argument("--wide", action="store_true", help="all columns of the text, however wide the terminal is")
    _layout(parser)
    parser.add_argument("--margin", type=share, default=stats.MARGIN, help="differences inside it are 'same' (2%%)")
    options = parser.parse_args(argv)
    rows, columns = pivot.keys_of(options.rows, options.columns)
    sides = [options.base, options.new, *options.more]
    width = terminal_width(options.wide)
    if rows or columns:
        data, baseline = compare.together(sides, options.filter)
        laid_out = pivot.build(data, rows, columns, baseline, options.margin, True)
        sys.stdout.write(pivot.render(laid_out, options.format, width))
        return errors.OK
    differences = compare.build_all(sides, options.margin, options.filter)
    if len(differences) > 1:
        sys.stdout.write(compare_formats.render_several(differences, options.format, width))
    else:
        sys.stdout.write(compare_formats.render(differences[0], options.format, width))
    return errors.OK


def run_gate(argv: list[str]) -> int:
    parser = Parser(
        "scripts/gate",
        description=(
            "Exit 1 only when it is proven that NEW is worse than BASE by more than a limit."
            " Two files of scripts/instructions (.json) are compared count by count, which needs no proof."
        ),
    )
    _sides(parser)
    parser.add_argument("--max-worse", type=share, default=0.05, help="limit on the loss of throughput (default 5%%)")
    parser.add_argument(
        "--max-rss", type=share, help="limit on the growth of peak RSS; no proof is asked for (default: none)"
    )
    parser.add_argument("--alloc", action="append", help="only this allocator; may be repeated (default: all)")
    parser.add_argument(
        "--strict", action="store_true", help="exit 5 when a cell can neither fail nor pass, as without power"
    )
    options = parser.parse_args(argv)
    if options.base.endswith(".json") and options.new.endswith(".json"):
        lines, code = gate.check_instructions(options.base, options.new, options.max_worse)
        print("\n".join(lines))
        return code
    difference = compare.build(options.base, options.new)
    lines, code = gate.check(difference, options.max_worse, options.max_rss, options.alloc, options.strict)
    print("\n".join(lines))
    return code


def run_report(argv: list[str]) -> int:
    from . import report

    parser = Parser("scripts/report", description="One self-contained HTML page from result files of one machine.")
    parser.add_argument("files", nargs="+", metavar="FILE.csv")
    parser.add_argument("--out", required=True, metavar="PAGE.html")
    parser.add_argument("--title", help="headline of the page (default: names of the files)")
    parser.add_argument("--baseline", help=_BASELINE)
    parser.add_argument("--margin", type=share, default=stats.MARGIN, help="differences inside it are 'same' (2%%)")
    options = parser.parse_args(argv)
    report.check()
    names = ", ".join(os.path.basename(f).removesuffix(".csv") for f in options.files)
    results = load.load(options.files)
    report.write(results, options.out, options.title or f"Allocators: {names}", options.baseline, options.margin)
    print(options.out)
    return errors.OK


def run_lint(argv: list[str]) -> int:
    known = "\n".join(f"  {name:18} {lint.why(name)}" for name in [*lint.RULES, *lint.FILE_RULES])
    parser = Parser("scripts/lint", description="Warns of benchmark crimes in result files and CSV tables.",
                    formatter_class=argparse.RawDescriptionHelpFormatter, epilog="rules:\n" + known)  # fmt: skip
    parser.add_argument("files", nargs="+", metavar="FILE.csv")
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="RULE",
        choices=[*lint.RULES, *lint.FILE_RULES],
        help="leave a rule out; may be repeated",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--strict", action="store_true", help="exit 1 when there is a warning")
    options = parser.parse_args(argv)
    findings = [f for f in lint.check(options.files) if f.rule not in options.ignore]
    sys.stdout.write(lint.render(findings, options.format))
    return errors.GATE_FAILED if findings and options.strict else errors.OK


def run_calibrate_plan(argv: list[str]) -> int:
    parser = Parser("scripts/calibrate plan", description="From a pilot run to what a calibration measures.")
    parser.add_argument("pilot", metavar="PILOT.csv")
    parser.add_argument("--variant", required=True, help="--alloc item in which @ stands for picoseconds an op")
    parser.add_argument(
        "--workload", required=True, help="--workload item in which @ stands for the operations of a thread"
    )
    options = parser.parse_args(argv)
    print(calibrate.store_plan(calibrate.plan(options.pilot, options.variant, options.workload)))
    return errors.OK


def run_calibrate_announce(argv: list[str]) -> int:
    parser = Parser(
        "scripts/calibrate announce", description="What a calibration is going to measure, and how long it takes."
    )
    parser.add_argument("plans", nargs="+", metavar="NAME.plan.json")
    parser.add_argument("--rounds", type=int, required=True)
    options = parser.parse_args(argv)
    plans = [(os.path.basename(p).removesuffix(".plan.json"), calibrate.load_plan(p)) for p in options.plans]
    print(calibrate.announce(plans, options.rounds))
    return errors.OK


def run_calibrate_tables(argv: list[str]) -> int:
    parser = Parser("scripts/calibrate tables", description="Error rates from runs with planted differences.")
    parser.add_argument("files", nargs="+", metavar="FILE.csv", help="each with FILE.plan.json beside it")
    parser.add_argument("--figure", metavar="CURVE.svg", help="draw the detection curve, as SVG or PNG")
    options = parser.parse_args(argv)
    result = calibrate.analyse([(f, calibrate.load_plan(files.sibling(f, ".plan.json"))) for f in options.files])
    sys.stdout.write(calibrate.render(result))
    if options.figure:
        calibrate.draw(result, options.figure)
    return errors.OK

# SPDX-License-Identifier: Apache-2.0
"""`scripts/pool FILE.csv ...`: verdicts across hosts."""

import sys

from .. import errors, stats
from ..cli import Parser, share
from ..commands import terminal_width
from . import beside, build, hosts, render


def main(argv: list[str]) -> int:
    parser = Parser(
        "scripts/pool",
        description="What several machines say together, from result files of the same plan on each of them.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE.csv")
    parser.add_argument("--baseline", help="allocator that ratios refer to (default: the first of --alloc)")
    parser.add_argument("--format", choices=render.FORMATS, default="text")
    parser.add_argument("--wide", action="store_true", help="all columns of the text, however wide the terminal is")
    parser.add_argument("--margin", type=share, default=stats.MARGIN, help="differences inside it are 'same' (2%%)")
    parser.add_argument("--explain", action="store_true", help="tell which order of allocators depends on the host")
    parser.add_argument("--figures", metavar="DIR", help="write the forest plots there, as SVG and PNG")
    parser.add_argument("--beside", action="store_true", help="files of several platforms: tell which verdicts agree")
    options = parser.parse_args(argv)
    if options.beside:
        if options.format != "text" or options.explain or options.figures:
            raise errors.InputError("--beside: is text alone; leave --format, --explain and --figures out")
        found = hosts.read(options.files)
        if len(beside.split(found)) < 2:
            raise errors.InputError("--beside: the files are of one platform; without it they are pooled")
        sys.stdout.write(beside.render(found, options.baseline, options.margin, terminal_width(options.wide)))
        return errors.OK
    pool = build.build(hosts.read(options.files), options.baseline, options.margin)
    sys.stdout.write(render.render(pool, options.format, terminal_width(options.wide), options.explain))
    if options.figures:
        from . import forest  # imports matplotlib, which takes half a second

        for path in forest.write(pool, options.figures):
            print(path, file=sys.stderr)
    return errors.OK

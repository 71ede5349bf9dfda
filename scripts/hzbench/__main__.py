# SPDX-License-Identifier: Apache-2.0
"""The dispatcher: `scripts/command NAME ...`, or a link of that name to it. One line on stderr and exit 2 for bad
input.

A command costs a line here, a link to scripts/command and a line of scripts/README.md; a test compares the three. What
it needs is imported when it runs: names of allocators must not wait for numpy.
"""

import importlib
import sys

from . import cli, errors

# Command: module and function that takes the arguments and returns the exit code. Those in PARTS are called by scripts.
COMMANDS = {
    "tables": "commands:run_tables",
    "figures": "commands:run_figures",
    "report": "commands:run_report",
    "compare": "commands:run_compare",
    "gate": "commands:run_gate",
    "merge": "merge:main",
    "export": "bundle:main",
    "cluster": "cluster.commands:main",
    "lint": "commands:run_lint",
    "memory": "memory:main",
    "aged": "aged:main",
    "pool": "pool.commands:main",
    "history": "history.commands:main",
    "trace": "traces:main",
    "instructions": "instructions:main",
    "coherence": "coherence:main",
    "outside-check": "outside:main",
    "predict": "predict:main",
    "programs": "programs:main",
    "replay-fidelity": "fidelity:main",
    "paper": "paper.commands:main",
    "why": "paper.commands:run_why",
    "claims": "paper.commands:run_judge",
    "artifact": "artifact:main",
    "release": "release:main",
}
PARTS = {
    "allocators": "allocators:main",
    "calibrate-plan": "commands:run_calibrate_plan",
    "calibrate-announce": "commands:run_calibrate_announce",
    "calibrate-tables": "commands:run_calibrate_tables",
    "test-log": "testlog:main",
}


def main(argv: list[str]) -> int:
    """Runs the command that argv[0] names on the rest."""
    name = argv[0] if argv else ""
    if name == "--list":
        print("  " + ", ".join(COMMANDS))
        return errors.OK
    place = {**COMMANDS, **PARTS}.get(name)
    if place is None:
        print(
            f"scripts: unknown command '{errors.printable(name, 40)}' (one of {', '.join(COMMANDS)})", file=sys.stderr
        )
        return errors.USAGE

    module, function = place.split(":")

    def command(arguments: list[str]) -> int:
        return getattr(importlib.import_module(f".{module}", __package__), function)(arguments)

    return cli.run(name, command, argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

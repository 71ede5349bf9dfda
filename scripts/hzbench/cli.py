# SPDX-License-Identifier: Apache-2.0
"""What every command shares: its parser, and the way its end becomes an exit code and one line on stderr."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from . import errors


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise errors.InputError(f"{message} ({self.prog} --help)")


def share(text: str) -> float:
    """'5%' or '0.05' -> 0.05."""
    number = text[:-1] if text.endswith("%") else text
    try:
        value = float(number) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a share above 0 and below 1, such as 5% or 0.05")
    return value


def run(name: str, command: Callable[[list[str]], int], argv: list[str]) -> int:
    """The exit code of `command(argv)`, all that it printed written out. Nothing unexpected ends as 1, which says that
    a gate failed: a fault of the scripts is FAULT, with its traceback."""
    # A name that the terminal's encoding lacks is shown escaped; it must not end the command.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
    try:
        try:
            code = command(argv)
        except SystemExit as leaving:  # argparse, after --help
            code = int(leaving.code or errors.OK)
        sys.stdout.flush()
        return code
    except errors.InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:  # the reader has gone (`| head`): nothing is wrong
        _drop_output()
        return errors.OK
    except KeyboardInterrupt:
        return errors.INTERRUPTED
    except OSError as error:
        _drop_output()
        what = f"{error.filename}" if error.filename else "standard output"
        print(f"{name}: {errors.printable(what)}: {error.strerror or error}", file=sys.stderr)
        return errors.USAGE
    except Exception:  # pylint: disable=broad-except
        traceback.print_exc()
        print(f"{name}: a fault of the script, not of its input; please report the lines above", file=sys.stderr)
        return errors.FAULT


def _drop_output() -> None:
    """What is still buffered goes nowhere: Python flushes at exit and would complain, and end with 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

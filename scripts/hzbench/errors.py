# SPDX-License-Identifier: Apache-2.0
"""Exit codes and the one kind of error the scripts report: a single line that says what, why and what to do."""

OK = 0
GATE_FAILED = 1
USAGE = 2
UNAVAILABLE = 3
FAILED = 4
INCONCLUSIVE = 5
FAULT = 70  # of the scripts themselves; sysexits.h calls it EX_SOFTWARE
INTERRUPTED = 130


class InputError(Exception):
    """Bad input or usage; the text is the whole message. Control characters are made visible: one line stays one."""

    def __init__(self, text: str, code: int = USAGE) -> None:
        super().__init__(printable(text))
        self.code = code


def printable(text: object, limit: int | None = None) -> str:
    """`text` with everything unprintable escaped and, with a limit, cut to that many characters."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))
    if limit is not None and len(shown) > limit:
        shown = shown[: limit - 3] + "..."
    return shown

# SPDX-License-Identifier: Apache-2.0
"""Files as they are read: whole, UTF-8, and with one line that names the place for what is not."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from .errors import InputError, printable

_MAX_FIELD = 8192


def read_text(path: str | Path, what: str = "result file") -> str:
    try:
        raw = Path(path).read_bytes()
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a directory, not a {what}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot read the {what}: {error.strerror}") from error
    if not raw:
        raise InputError(f"{path}: the {what} is empty")
    try:
        text = raw.decode(
            "utf-8-sig"
        )  # spreadsheets and editors of Windows put a byte order mark before the first column
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}, so not a {what}") from error
    if "\0" in text:
        raise InputError(f"{path}: holds a NUL byte, so it is not a {what}, or the disk lost part of it")
    return text


def rows_of(path: str | Path, text: str, *versions: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (line number, dict of fields) of a CSV whose header holds exactly the columns of one of `versions`, which
    go from old to new, each with all columns of the one before."""
    if not text.endswith("\n"):
        line = text.count("\n") + 1
        raise InputError(
            f"{path}:{line}: the last line is cut off; run the same runner command again to resume, or delete that line"
        )
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    limit = csv.field_size_limit(_MAX_FIELD)
    try:
        header = next(reader)
        columns = versions[0]
        for older, newer in zip(versions, versions[1:]):
            if any(c in header for c in newer if c not in older):
                columns = newer
        missing = [c for c in columns if c not in header]
        unknown = [c for c in header if c not in columns]
        if missing:
            raise InputError(
                f"{path}: no column {_some(missing)}; not a file of a schema that is known (results/SCHEMA.md)"
            )
        if unknown or len(header) != len(columns):
            extra = unknown or sorted({c for c in header if header.count(c) > 1})
            raise InputError(
                f"{path}: unknown or repeated column {_some(extra)}; not a file of a schema that is known"
                " (results/SCHEMA.md)"
            )
        places = [header.index(c) for c in columns]
        for row in reader:
            if len(row) != len(columns):
                raise InputError(f"{path}:{reader.line_num}: {len(row)} fields, the header has {len(columns)}")
            yield reader.line_num, {c: row[p] for c, p in zip(columns, places)}
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not valid CSV: {error}") from error
    except StopIteration:
        raise InputError(f"{path}: the result file is empty") from None
    finally:
        csv.field_size_limit(limit)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{printable(n, 40)}'" for n in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def sibling(path: str | Path, ending: str) -> Path:
    """NAME.csv -> NAME + ending."""
    path = Path(path)
    stem = path.name[:-4] if path.name.endswith(".csv") else path.name
    return path.with_name(stem + ending)

# SPDX-License-Identifier: Apache-2.0
"""The database of a history: one SQLite file, or a Postgres database by its URL.

Result files stay the truth. Beside the SQLite file lies NAME.sources.jsonl, one line of text for each file that was
added and how; `rebuild` makes the database anew from it. Writers wait for each other.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import UNAVAILABLE, InputError, printable
from .points import Point, Run, Series

WAIT_SECONDS = 60  # for another writer; adding a run takes a part of a second

# Statements from one schema to the next: a database of version n gets those from MIGRATIONS[n] on. Never edited, only
# added to. SQLite and Postgres both take them.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE run (run_id TEXT PRIMARY KEY, host TEXT NOT NULL, commit_id TEXT NOT NULL,
           dirty INTEGER NOT NULL, subject TEXT NOT NULL, at TEXT NOT NULL, started_at TEXT NOT NULL,
           source TEXT NOT NULL, sha256 TEXT NOT NULL, command TEXT NOT NULL, system TEXT NOT NULL)""",
        """CREATE TABLE series (series_id TEXT PRIMARY KEY, host TEXT NOT NULL, allocator TEXT NOT NULL,
           cell TEXT NOT NULL, metric TEXT NOT NULL, UNIQUE (host, allocator, cell, metric))""",
        """CREATE TABLE point (series_id TEXT NOT NULL REFERENCES series (series_id),
           run_id TEXT NOT NULL REFERENCES run (run_id) ON DELETE CASCADE, reference TEXT NOT NULL,
           reference_sha256 TEXT NOT NULL, library_sha256 TEXT NOT NULL, work TEXT NOT NULL, estimate DOUBLE PRECISION,
           low DOUBLE PRECISION, high DOUBLE PRECISION, error DOUBLE PRECISION, n INTEGER NOT NULL,
           contaminated INTEGER NOT NULL, problem TEXT NOT NULL, PRIMARY KEY (series_id, run_id, reference))""",
        "CREATE INDEX point_of_run ON point (run_id)",
    ),
)

Row: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Placed:
    """A point and the run it is of."""

    run: Run
    point: Point


class Store:
    """An open database. Everything that writes does so in `writing`."""

    def __init__(self, name: str, connection: Any, placeholder: str) -> None:
        self.name = name
        self._connection = connection
        self._placeholder = placeholder

    @property
    def is_file(self) -> bool:
        """Whether it is an SQLite file."""
        return self._placeholder == "?"

    @property
    def journal(self) -> Path:
        """The text file beside an SQLite file that says what was added."""
        return Path(self.name + ".sources.jsonl")

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """What a query finds."""
        cursor = self._execute(statement, values)
        with self._errors():  # SQLite reads the pages of a damaged file only now
            return list(cursor.fetchall())

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        cursor = self._connection.cursor()
        with self._errors():
            cursor.execute(statement.replace("?", self._placeholder), tuple(values))
        return cursor

    def _many(self, statement: str, values: Iterable[Sequence[Any]]) -> None:
        with self._errors():
            self._connection.cursor().executemany(statement.replace("?", self._placeholder), list(values))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not self.is_file and type(error).__module__.startswith("psycopg2"):
                raise InputError(f"--db={self.name}: {_one_line(error)}") from error
            if isinstance(error, sqlite3.Error):
                raise _sqlite_error(self.name, error) from error
            raise

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction that holds the only right to write; waits for who has it."""
        if self.is_file:
            self._execute("BEGIN IMMEDIATE")
        else:
            # 7234: no more than a number that all hzbench processes agree upon.
            self._execute("SELECT pg_advisory_xact_lock(7234)")
        try:
            yield
        except BaseException:
            self._connection.rollback()
            raise
        with self._errors():
            self._connection.commit()

    def version(self) -> int:
        """The number of migrations that were made."""
        if self.is_file:
            return int(self.rows("PRAGMA user_version")[0][0])
        if self.rows("SELECT to_regclass('hzbench_schema')")[0][0] is None:
            return 0
        return int(self.rows("SELECT version FROM hzbench_schema")[0][0])

    def _set_version(self, version: int) -> None:
        if self.is_file:
            self._execute(f"PRAGMA user_version = {version}")
            return
        self._execute("CREATE TABLE IF NOT EXISTS hzbench_schema (version INTEGER NOT NULL)")
        self._execute("DELETE FROM hzbench_schema")
        self._execute("INSERT INTO hzbench_schema VALUES (?)", (version,))

    def migrate(self) -> None:
        """Brings the schema up to date; a database of a later version is refused."""
        self._refuse_later()
        if self.version() == len(MIGRATIONS):
            if not self.is_file:
                self._connection.rollback()  # no transaction stays open while the caller thinks
            return
        with self.writing():
            self._refuse_later()  # somebody else may have migrated while this one waited
            for statements in MIGRATIONS[self.version() :]:
                for statement in statements:
                    self._execute(statement)
            self._set_version(len(MIGRATIONS))

    def _refuse_later(self) -> None:
        if self.version() > len(MIGRATIONS):
            raise InputError(
                f"{self.name}: schema {self.version()} of a later hzbench; this one knows {len(MIGRATIONS)}; update it,"
                " or name another file (--db)"
            )

    def add(self, run: Run, points: Sequence[Point]) -> str:
        """'added', 'replaced' (the file has changed since) or 'known'."""
        with self.writing():
            known = self.rows("SELECT sha256 FROM run WHERE run_id = ?", (run.run_id,))
            if known and known[0][0] == run.sha256:
                return "known"
            self._execute("DELETE FROM point WHERE run_id = ?", (run.run_id,))
            self._execute("DELETE FROM run WHERE run_id = ?", (run.run_id,))
            self._execute(
                "INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (run.run_id, run.host, run.commit, int(run.dirty), run.subject, run.at, run.started_at, run.source,
                 run.sha256, run.command, run.system),
            )  # fmt: skip
            self._many(
                "INSERT INTO series VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [(s.key, s.host, s.allocator, s.cell, s.metric) for s in dict.fromkeys(p.series for p in points)],
            )
            self._many(
                "INSERT INTO point VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (p.series.key, run.run_id, p.reference, p.reference_sha256, p.library_sha256, p.work,
                     p.estimate, p.low, p.high, p.error, p.n, p.contaminated, p.problem)
                    for p in points
                ],
            )  # fmt: skip
            self._execute("DELETE FROM series WHERE series_id NOT IN (SELECT series_id FROM point)")
            return "replaced" if known else "added"

    def remember(self, line: dict[str, Any]) -> None:
        """Appends how a file was added to the journal. One write call: lines of two writers do not mix."""
        if not self.is_file:
            return
        text = json.dumps(line, sort_keys=True) + "\n"
        descriptor = os.open(self.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def points(self) -> list[Placed]:
        """All points in the order of their commits."""
        runs = {row[0]: Run(row[0], row[1], row[2], bool(row[3]), *row[4:]) for row in self.rows("SELECT * FROM run")}
        series = {row[0]: Series(*row[1:]) for row in self.rows("SELECT * FROM series")}
        placed = [Placed(runs[row[1]], Point(series[row[0]], *row[2:])) for row in self.rows("SELECT * FROM point")]
        return sorted(placed, key=lambda p: (p.run.at, p.run.started_at, p.run.run_id))

    def problems(self) -> list[str]:
        """What is wrong with the database; empty when nothing is."""
        found = []
        if self.is_file:
            found += [f"integrity check: {row[0]}" for row in self.rows("PRAGMA integrity_check") if row[0] != "ok"]
            found += [
                f"table {row[0]} refers to a row that is missing" for row in self.rows("PRAGMA foreign_key_check")
            ]
        for (key,) in self.rows("SELECT series_id FROM series WHERE series_id NOT IN (SELECT series_id FROM point)"):
            found.append(f"series {key} has no points")
        return found

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


def _one_line(error: BaseException) -> str:
    return printable(" ".join(str(error).split()) or type(error).__name__, 200)


def _sqlite_error(name: str, error: sqlite3.Error) -> InputError:
    if "locked" in str(error):
        return InputError(f"{name}: another process has been writing for {WAIT_SECONDS} s; try again when it has ended")
    if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
        return InputError(f"{name}: {_one_line(error)}")
    return InputError(
        f"{name}: damaged ({_one_line(error)}); make it anew from the result files: scripts/history rebuild --db={name}"
    )


def is_postgres(name: str) -> bool:
    """Whether --db is the URL of a Postgres database."""
    return name.startswith(("postgresql://", "postgres://"))


def _postgres(name: str) -> Store:
    try:
        import psycopg2
    except ImportError as error:
        raise InputError(
            f"--db={name}: needs psycopg2. Debian: apt-get install python3-psycopg2", UNAVAILABLE
        ) from error
    try:
        return Store(name, psycopg2.connect(name), "%s")
    except psycopg2.Error as error:
        raise InputError(f"--db={name}: {_one_line(error)}", UNAVAILABLE) from error


def _sqlite(name: str) -> Store:
    try:
        connection = sqlite3.connect(name, timeout=WAIT_SECONDS, isolation_level=None)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.Error as error:
        raise _sqlite_error(name, error) from error
    return Store(name, connection, "?")


def open_store(name: str, make: bool) -> Store:
    """The database `name`, its schema up to date; made when missing and `make` is set."""
    if is_postgres(name):
        store = _postgres(name)
    else:
        if not make and not Path(name).exists():
            raise InputError(f"{name}: no history there; start one: scripts/history add RESULT.csv --db={name}")
        store = _sqlite(name)
    store.migrate()
    return store


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal; the last line of a file counts."""
    lines = []
    try:
        written = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(
            f"{path}: cannot read what was added: {error.strerror};"
            " name the result files: scripts/history rebuild RESULT..."
        ) from error
    for number, line in enumerate(written, 1):
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}:{number}: not JSON ({error}); delete that line") from error
        if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
            raise InputError(f"{path}:{number}: names no file; delete that line")
        lines.append(entry)
    return list({entry["file"]: entry for entry in lines}.values())


def replace(name: str, fill: Callable[[Store], None]) -> Path | None:
    """Makes the file `name` anew: `fill` gets an empty database that takes its place when it returns. The old file is
    kept; returns where."""
    fresh = Path(name + ".new")
    fresh.unlink(missing_ok=True)
    store = open_store(str(fresh), True)
    try:
        fill(store)
    finally:
        store.close()
    kept = None
    if Path(name).exists():
        kept = Path(name + ".old")
        os.replace(name, kept)
    for ending in ("-wal", "-journal", "-shm"):
        Path(name + ending).unlink(missing_ok=True)  # of the damaged file: it must not be applied to the new one
    os.replace(fresh, name)
    return kept

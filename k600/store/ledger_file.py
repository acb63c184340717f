"""The ledger's file: its tables, opened in a transaction, and read as if a stranger had made it.

A ledger may come with a store from somebody else: rows that no run wrote, such as with a path out
of the store or an unknown state, are refused when they are read.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from k600.dataset.clip import PACKINGS, Entry
from k600.dataset.reasons import REASONS, YOUTUBE_KINDS
from k600.dataset.splits import SPLITS
from k600.errors import StoreError
from k600.errors.translate import ledger_error, store_error, translate_errors
from k600.store.rows import (
    CLIP_COLUMNS,
    SOURCES,
    TARBALL_COLUMNS,
    AdoptedRow,
    AnswerRow,
    Checkpoint,
    CheckRow,
)
from k600.video.probe import VERDICTS

logger = logging.getLogger("kinetics600")

VERSION = 7
"""Whoever changes the tables below raises it."""

_MOST_PATH_BYTES = 512 - len("-journal")  # SQLite's own limit (`MAX_PATHNAME`) holds for both
SILENT_SECONDS = 2.0  # how long a lock is waited for without a word

_TEXT = "typeof({0}) = 'text'"
_INTEGER = "typeof({0}) = 'integer'"
_COUNT = f"{_INTEGER} AND {{0}} BETWEEN 0 AND {1 << 60}"
_SECONDS = "typeof({0}) = 'real' AND {0} BETWEEN 0 AND 1e12"
_PART = (
    f"{_TEXT} AND NOT instr({{0}}, '/') AND {{0}} NOT IN ('', '.', '..') "
    "AND NOT instr({0}, char(0))"
)
_PATH = (
    f"{_TEXT} AND {{0}} NOT LIKE '/%' AND NOT instr('/' || {{0}} || '/', '/../') "
    "AND NOT instr({0}, char(0))"
)
_FOLDER = (
    f"{_TEXT} AND instr({{0}}, split || '/') = 1 "
    "AND NOT instr(substr({0}, length(split) + 2), '/')"
    " AND substr({0}, -2) NOT IN ('/.', '..') AND NOT instr({0}, char(0))"
    " AND length({0}) > length(split) + 1"
)


def _one_of(*values: str) -> str:
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{_TEXT} AND {{0}} IN ({listed})"


_RULES = {
    **dict.fromkeys(("etag", "detail", "code", "message", "version", "circumstances"), _TEXT),
    **dict.fromkeys(("identity", "checked_at", "updated_at"), _TEXT),
    **dict.fromkeys(("duration_seconds", "fps", "failed_at"), _SECONDS),
    **dict.fromkeys(("name", "tarball", "file_name"), _PART),
    **dict.fromkeys(("path", "moved_to"), _PATH),
    **dict.fromkeys(("first_on", "last_on"), f"{_TEXT} AND ifnull(date({{0}}) = {{0}}, 0)"),
    "split": _one_of(*SPLITS),
    "folder": _FOLDER,
    "position": f"{_INTEGER} AND {{0}} BETWEEN -1 AND {1 << 40}",
    "crc32": f"{_INTEGER} AND {{0}} BETWEEN 0 AND 0xFFFFFFFF",
    "clips.crc32": "typeof({0}) IN ('integer', 'null') AND ifnull({0}, 0) BETWEEN 0 AND 0xFFFFFFFF",
    "packing": _one_of(*PACKINGS),
    "mtime_ns": _INTEGER,
    "tarballs.state": _one_of("started", "partial", "done", "damaged"),
    "clips.state": _one_of("have", "bad", "skipped", "absent"),
    "reason": f"{_one_of('', *REASONS)} AND ({{0}} <> '' OR state IN ('have', 'skipped'))",
    "source": f"{_one_of('', *SOURCES)} AND ({{0}} <> '' OR state <> 'have')",
    "kind": _one_of("have", *YOUTUBE_KINDS),
    "problem": _one_of("", *REASONS),
    "depth": _one_of("quick", "deep"),
    "verdict": _one_of(*VERDICTS),
}
"""A condition in SQL for each column that is no count: what a run may have written there."""

_OF_OBJECT = ("mirror", "split", "tarball", "etag", "size_bytes")
_TABLES: dict[str, tuple[str, Sequence[str]]] = {
    "tarballs": (
        "mirror, split, name",
        ("mirror", "split", *TARBALL_COLUMNS, "failed_at", "updated_at"),
    ),
    "clips": ("mirror, split, tarball, file_name", ("mirror", "split", *CLIP_COLUMNS)),
    "objects": ("mirror, split, tarball", (*_OF_OBJECT, "packing")),
    "entries": (
        "mirror, split, tarball, file_name",
        ("mirror", "split", "tarball", "file_name", *Entry._fields),
    ),
    "checkpoints": ("mirror, split, tarball", (*_OF_OBJECT, *Checkpoint._fields)),
    "answers": ("split, folder, file_name", ("split", *AnswerRow._fields)),
    "adopted": ("split, path", ("split", *AdoptedRow._fields)),
    "checks": ("split, folder, path", ("split", *CheckRow._fields)),
    "rates": ("split, folder, file_name", ("split", "folder", "file_name", "fps")),
}
"""Of each table its primary key and its columns, in their order."""

_WHERE_LACKING = {
    "mirror": "0",
    "failures": "0",
    "failed_at": "0.0",
    "circumstances": "''",
    "versions": "1",
    "version": "yt_dlp",  # what it was called until version 6
}
"""What a column is in the rows of a file that was made before there was one; else NULL."""


@contextlib.contextmanager
def open_ledger(
    path: Path, *, write: bool = False, in_memory: bool = False, wait_seconds: float = 120
) -> Iterator[sqlite3.Connection]:
    """Yield a connection in a transaction, with the tables of this release.

    For writing, the file is made or migrated; for reading, a missing one is an empty ledger. With
    `in_memory`, it is a copy that may be written to.
    Another process that writes is waited for. `DiskFullError` and `StoreError` are raised.
    """
    there = _exists(path) or write
    if there:
        check_length(path)
    with (
        translate_errors(ledger_error, path, wait_seconds),
        contextlib.ExitStack() as exits,
        contextlib.closing(sqlite3.connect(path if there else ":memory:")) as db,
        db,
    ):
        _begin(db, path, write=write, wait_seconds=wait_seconds)
        if write:
            _share(path)  # before there is a journal
        version = _version_of(db, path)
        if in_memory:
            db, source = exits.enter_context(contextlib.closing(sqlite3.connect(":memory:"))), db
            source.backup(db)
        if version < VERSION:
            _migrate(db, path.parent, version, write=write or in_memory)
        yield db


def check_length(path: Path) -> None:
    """Raise `StoreError` if a path is too long for SQLite."""
    if (size := len(os.fsencode(os.path.realpath(path)))) > _MOST_PATH_BYTES:
        raise StoreError(
            f"data_dir: the path of the ledger, '{path}', has {size} bytes, and SQLite takes "
            f"{_MOST_PATH_BYTES} at most. Pass data_dir=… a shorter one"
        )


def _exists(path: Path) -> bool:
    """Return whether the file exists; raise if that cannot be found out, or it is no file."""
    with translate_errors(store_error, path, "read"):
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(
            f"data_dir: the ledger '{path}' is not a file. Remove it, or pass data_dir=… another "
            "folder: clips that are there stay"
        )
    return True


def _share(path: Path) -> None:
    """Add the folder's rights, which follow the umask, to the file's own.

    SQLite makes a file that others may not write, whatever the umask, and journals like it.
    """
    with contextlib.suppress(OSError):
        rights = path.stat().st_mode & 0o777
        wanted = rights | (path.parent.stat().st_mode & 0o666)
        if wanted != rights:
            path.chmod(wanted)


def _begin(db: sqlite3.Connection, path: Path, *, write: bool, wait_seconds: float) -> None:
    """Begin a transaction; warn of a long wait for its lock."""
    soon = min(wait_seconds, SILENT_SECONDS)
    try:
        _lock(db, write=write, wait_seconds=soon)
    except sqlite3.OperationalError as error:
        if "locked" not in str(error) or soon == wait_seconds:
            raise
        logger.warning(
            "kinetics600: another process holds the ledger '%s' ('fuser' names it); waiting for "
            "it, up to %.0f seconds",
            path,
            wait_seconds - soon,
        )
        _lock(db, write=write, wait_seconds=wait_seconds - soon)
    db.execute(f"PRAGMA busy_timeout = {int(1000 * wait_seconds)}")


def _lock(db: sqlite3.Connection, *, write: bool, wait_seconds: float) -> None:
    db.execute(f"PRAGMA busy_timeout = {int(1000 * wait_seconds)}")
    # Else a power loss may take back what was committed last. (It reads the file, and waits.)
    db.execute("PRAGMA synchronous = EXTRA")
    db.execute("PRAGMA temp_store = MEMORY")
    db.execute("BEGIN IMMEDIATE" if write else "BEGIN")


def _version_of(db: sqlite3.Connection, path: Path) -> int:
    """Return the version of the file, 0 for an empty one; raise if no release made it."""
    db.execute("PRAGMA trusted_schema = OFF")
    made = "SELECT name FROM sqlite_master WHERE type IN ('view', 'trigger') LIMIT 1"
    if odd := db.execute(made).fetchone():
        raise sqlite3.DatabaseError(f"it holds {odd[0]!r}, which no release made")
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise StoreError(
            f"data_dir: the ledger '{path}' is of version {version}, and this release reads "
            f"{VERSION} at most: a newer one wrote it. Bring this one up to date (pip install . in "
            "a newer checkout) or use that one; the ledger is good, so leave it where it is"
        )
    return version


def _migrate(db: sqlite3.Connection, folder: Path, version: int, *, write: bool) -> None:
    """Migrate a ledger from an earlier version, 0 for an empty one; without `write`, in memory.

    If it tells no mirrors apart, its clips are taken to be of the mirror whose lists are kept in
    the folder, if it is one.
    """
    made = "TABLE" if write else "TEMP TABLE"
    if not _columns_of(db, "mirrors"):
        db.execute(f"CREATE {made} mirrors (id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE)")
        if version > 0:
            db.execute("INSERT INTO mirrors VALUES (0, ?)", (_identity_of_lists(folder),))

    for table, (key, columns) in _TABLES.items():
        held = _columns_of(db, table)
        values = {
            name: name if name in held else _WHERE_LACKING.get(name, "NULL") for name in columns
        }
        as_now = "SELECT " + ", ".join(f"{value} AS {name}" for name, value in values.items())
        if held == {*columns}:
            continue
        if held and not write:
            db.execute(f"CREATE TEMP VIEW {table} AS {as_now} FROM main.{table}")
            continue

        if held:
            db.execute(f"ALTER TABLE {table} RENAME TO older")
        definition = ", ".join(f"{name} {_type_of(table, name)}" for name in columns)
        db.execute(f"CREATE {made} {table} ({definition}, PRIMARY KEY ({key})) WITHOUT ROWID")
        if held:
            db.execute(f"INSERT INTO {table} {as_now} FROM older")
            db.execute("DROP TABLE older")
    if write:
        db.execute(f"PRAGMA user_version = {VERSION}")


def _columns_of(db: sqlite3.Connection, table: str) -> set[str]:
    """Return the columns of a table; none if there is no such table."""
    return {row[1] for row in db.execute(f"PRAGMA table_info({table})")}


def _type_of(table: str, column: str) -> str:
    """Return the type of a column, which its rule is for."""
    condition = rule(table, column)
    kind = next(kind for kind in ("text", "integer", "real") if f"'{kind}'" in condition)
    # An earlier release that knows this version leaves the time of a row to SQLite.
    default = " DEFAULT CURRENT_TIMESTAMP" if column == "updated_at" else ""
    return kind.upper() + ("" if "'null'" in condition else " NOT NULL") + default


def _identity_of_lists(folder: Path) -> str:
    lists = folder / "lists"
    kept = {path.name[:16] for path in (*lists.glob("*-paths"), *lists.glob("*-listing"))}
    is_one = len(kept) == 1 and re.fullmatch("[0-9a-f]{16}", min(kept))
    return f"lists:{min(kept)}" if is_one else ""


def read_rows(
    db: sqlite3.Connection,
    table: str,
    columns: Iterable[str],
    order: str = "",
    *,
    which: str = "",
    **keys: object,
) -> list[tuple[Any, ...]]:
    """Return the rows that `conditions` and `which` mean; strange ones are an error."""
    where, values = conditions(**keys)
    these = f"FROM {table} WHERE {where} {which}"
    rules = {column: rule(table, column) for column in columns}
    all_rules = " AND ".join(rules.values())
    query = f"SELECT {', '.join(rules.values())} {these} AND NOT ({all_rules}) LIMIT 1"
    if (odd := db.execute(query, values).fetchone()) is not None:
        raise strange_row(table, next(n for n, good in zip(rules, odd, strict=True) if not good))
    return db.execute(f"SELECT {', '.join(rules)} {these} {order}", values).fetchall()


def rule(table: str, column: str) -> str:
    """Return the condition for values that a run may have written to a column."""
    return f"({_RULES.get(f'{table}.{column}', _RULES.get(column, _COUNT)).format(column)})"


def conditions(**keys: object) -> tuple[str, list[object]]:
    """Return the condition, and its parameters, that columns have the given values (None: any).

    A collection is of values, one of which it is; SQLite takes a few thousand.
    """
    where, values = ["TRUE"], list[object]()
    for name, value in keys.items():
        if value is not None:
            one_of = [value] if isinstance(value, str | int) else [*cast(Iterable[object], value)]
            where.append(f"{name} IN ({', '.join('?' * len(one_of))})")
            values += one_of
    return " AND ".join(where), values


def strange_row(table: str, column: str) -> sqlite3.DatabaseError:
    """Return the error for a row that no run wrote."""
    what = f"its table {table!r} holds a row that no run wrote: look at its {column!r}"
    return sqlite3.DatabaseError(what)

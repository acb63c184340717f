"""The ledger's tables, how an earlier file gets them, and the values allowed in each column."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from k600.dataset.clip import PACKINGS
from k600.dataset.reasons import REASONS, YOUTUBE_KINDS
from k600.dataset.splits import SPLITS
from k600.store.rows import SOURCES
from k600.video.probe import VERDICTS

VERSION = 7
"""Whoever changes the tables below raises it."""

_TABLES = {
    "mirrors": "id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE",
    "tarballs": """
        mirror INTEGER NOT NULL DEFAULT 0, split TEXT NOT NULL, name TEXT NOT NULL,
        state TEXT NOT NULL, etag TEXT NOT NULL, size_bytes INTEGER NOT NULL, detail TEXT NOT NULL,
        failures INTEGER NOT NULL DEFAULT 0, failed_at REAL NOT NULL DEFAULT 0.0,
        updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
        PRIMARY KEY (mirror, split, name)""",
    "clips": """
        mirror INTEGER NOT NULL DEFAULT 0, split TEXT NOT NULL, tarball TEXT NOT NULL,
        position INTEGER NOT NULL, folder TEXT NOT NULL, file_name TEXT NOT NULL,
        state TEXT NOT NULL, reason TEXT NOT NULL, source TEXT NOT NULL,
        size_bytes INTEGER NOT NULL, crc32 INTEGER,
        PRIMARY KEY (mirror, split, tarball, file_name)""",
    "objects": """
        mirror INTEGER NOT NULL, split TEXT NOT NULL, tarball TEXT NOT NULL, etag TEXT NOT NULL,
        size_bytes INTEGER NOT NULL, packing TEXT NOT NULL,
        PRIMARY KEY (mirror, split, tarball)""",
    "entries": """
        mirror INTEGER NOT NULL, split TEXT NOT NULL, tarball TEXT NOT NULL,
        file_name TEXT NOT NULL, entry_offset INTEGER NOT NULL, skip_bytes INTEGER NOT NULL,
        span_bytes INTEGER NOT NULL, size_bytes INTEGER NOT NULL, crc32 INTEGER NOT NULL,
        PRIMARY KEY (mirror, split, tarball, file_name)""",
    "checkpoints": """
        mirror INTEGER NOT NULL, split TEXT NOT NULL, tarball TEXT NOT NULL, etag TEXT NOT NULL,
        size_bytes INTEGER NOT NULL, packing TEXT NOT NULL, entry_offset INTEGER NOT NULL,
        unpacked_bytes INTEGER NOT NULL, crc32 INTEGER NOT NULL, member_bytes INTEGER NOT NULL,
        next_header INTEGER NOT NULL, position INTEGER NOT NULL,
        PRIMARY KEY (mirror, split, tarball)""",
    "answers": """
        split TEXT NOT NULL, folder TEXT NOT NULL, file_name TEXT NOT NULL, kind TEXT NOT NULL,
        code TEXT NOT NULL, message TEXT NOT NULL, version TEXT NOT NULL,
        size_bytes INTEGER NOT NULL, times INTEGER NOT NULL, days INTEGER NOT NULL,
        first_on TEXT NOT NULL, last_on TEXT NOT NULL, circumstances TEXT NOT NULL DEFAULT '',
        versions INTEGER NOT NULL DEFAULT 1,
        PRIMARY KEY (split, folder, file_name)""",
    "adopted": """
        split TEXT NOT NULL, folder TEXT NOT NULL, file_name TEXT NOT NULL, path TEXT NOT NULL,
        size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, problem TEXT NOT NULL,
        PRIMARY KEY (split, path)""",
    "checks": """
        split TEXT NOT NULL, folder TEXT NOT NULL, file_name TEXT NOT NULL, path TEXT NOT NULL,
        size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, depth TEXT NOT NULL,
        verdict TEXT NOT NULL, detail TEXT NOT NULL, duration_seconds REAL NOT NULL,
        width INTEGER NOT NULL, height INTEGER NOT NULL, fps REAL NOT NULL,
        checked_at TEXT NOT NULL, moved_to TEXT NOT NULL,
        PRIMARY KEY (split, folder, path)""",
    "rates": """
        split TEXT NOT NULL, folder TEXT NOT NULL, file_name TEXT NOT NULL, fps REAL NOT NULL,
        PRIMARY KEY (split, folder, file_name)""",
}
"""The columns of each table by its name; what an earlier version lacks gets its default."""


def migrate(db: sqlite3.Connection, folder: Path, version: int, *, write: bool) -> None:
    """Migrate a ledger from an earlier version, 0 for an empty one; without `write`, in memory.

    If it tells no mirrors apart, its clips are taken to be of the mirror whose lists are kept in
    the folder, if it is one.
    """
    for table, definition in _TABLES.items():
        db.execute(f"CREATE TEMP TABLE latest ({definition})")
        latest, held = _defaults(db, "latest"), _defaults(db, table)
        db.execute("DROP TABLE latest")
        if latest.keys() == held.keys():
            continue

        if held and write:
            db.execute(f"ALTER TABLE {table} RENAME TO older")
        if write or not held:
            made = "TABLE" if write else "TEMP TABLE"
            rowid = "" if table == "mirrors" else "WITHOUT ROWID"
            db.execute(f"CREATE {made} {table} ({definition}) {rowid}")
        if table == "mirrors" and version > 0:
            db.execute("INSERT INTO mirrors VALUES (0, ?)", (_identity_of_lists(folder),))
        if held:
            if "yt_dlp" in held:  # until version 6
                latest["version"] = "yt_dlp"
            columns = ", ".join(
                f"{name if name in held else value} AS {name}" for name, value in latest.items()
            )
            if write:
                db.execute(f"INSERT INTO {table} SELECT {columns} FROM older")
                db.execute("DROP TABLE older")
            else:
                db.execute(f"CREATE TEMP VIEW {table} AS SELECT {columns} FROM main.{table}")
    if write:
        db.execute(f"PRAGMA user_version = {VERSION}")


def _defaults(db: sqlite3.Connection, table: str) -> dict[str, str]:
    """Return the columns of a table, if there is one, and what each is where nothing is given."""
    return {row[1]: row[4] or "NULL" for row in db.execute(f"PRAGMA table_info({table})")}


def _identity_of_lists(folder: Path) -> str:
    lists = folder / "lists"
    kept = {path.name[:16] for path in (*lists.glob("*-paths"), *lists.glob("*-listing"))}
    is_one = len(kept) == 1 and re.fullmatch("[0-9a-f]{16}", min(kept))
    return f"lists:{min(kept)}" if is_one else ""


_TEXT = "typeof({0}) = 'text'"
_COUNT = f"typeof({{0}}) = 'integer' AND {{0}} BETWEEN 0 AND {1 << 60}"
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
    **dict.fromkeys(
        ("etag", "detail", "code", "message", "version", "circumstances", "identity"), _TEXT
    ),
    **dict.fromkeys(("duration_seconds", "fps"), _SECONDS),
    **dict.fromkeys(("name", "tarball", "file_name"), _PART),
    **dict.fromkeys(("path", "moved_to"), _PATH),
    **dict.fromkeys(("first_on", "last_on"), f"{_TEXT} AND ifnull(date({{0}}) = {{0}}, 0)"),
    "split": _one_of(*SPLITS),
    "folder": _FOLDER,
    "position": f"typeof({{0}}) = 'integer' AND {{0}} BETWEEN -1 AND {1 << 40}",
    "crc32": "typeof({0}) IN ('integer', 'null') AND ifnull({0}, 0) BETWEEN 0 AND 0xFFFFFFFF",
    **dict.fromkeys(
        ("entries.crc32", "checkpoints.crc32"), f"{_COUNT} AND {{0}} BETWEEN 0 AND 0xFFFFFFFF"
    ),
    "packing": _one_of(*PACKINGS),
    "mtime_ns": "typeof({0}) = 'integer'",
    "checked_at": _TEXT,
    "tarballs.state": _one_of("started", "partial", "done", "damaged"),
    "clips.state": _one_of("have", "bad", "skipped", "absent"),
    "reason": f"{_one_of('', *REASONS)} AND ({{0}} <> '' OR state IN ('have', 'skipped'))",
    "source": f"{_one_of('', *SOURCES)} AND ({{0}} <> '' OR state <> 'have')",
    "kind": _one_of("have", *YOUTUBE_KINDS),
    "problem": _one_of("", *REASONS),
    "depth": _one_of("quick", "deep"),
    "verdict": _one_of(*VERDICTS),
}
"""A condition in SQL for each column that is no count. A ledger may come with a store from somebody
else: rows that no run wrote, such as with a path out of the store or an unknown state, are refused
when read."""


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

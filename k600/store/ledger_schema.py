"""The ledger's tables in each version of the file, and the values allowed in each column."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from k600.clip import PACKINGS
from k600.reasons import REASONS, YOUTUBE_KINDS
from k600.splits import SPLITS
from k600.store.rows import SOURCES
from k600.video.probe import VERDICTS

SCHEMAS = (
    """
CREATE TABLE tarballs (
    split TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, etag TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, detail TEXT NOT NULL,
    started_at REAL NOT NULL, updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (split, name)) WITHOUT ROWID;
CREATE TABLE clips (
    split TEXT NOT NULL, tarball TEXT NOT NULL, position INTEGER NOT NULL,
    folder TEXT NOT NULL, file_name TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
    source TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    PRIMARY KEY (split, tarball, file_name)) WITHOUT ROWID;
""",
    """
CREATE TABLE answers (
    split TEXT NOT NULL, folder TEXT NOT NULL, file_name TEXT NOT NULL, kind TEXT NOT NULL,
    code TEXT NOT NULL, message TEXT NOT NULL, yt_dlp TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    times INTEGER NOT NULL, days INTEGER NOT NULL, first_on TEXT NOT NULL, last_on TEXT NOT NULL,
    PRIMARY KEY (split, folder, file_name)) WITHOUT ROWID;
CREATE TABLE adopted (
    split TEXT NOT NULL, folder TEXT NOT NULL, file_name TEXT NOT NULL, path TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, problem TEXT NOT NULL,
    PRIMARY KEY (split, path)) WITHOUT ROWID;
""",
    """
CREATE TABLE checks (
    split TEXT NOT NULL, folder TEXT NOT NULL, file_name TEXT NOT NULL, path TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, depth TEXT NOT NULL,
    verdict TEXT NOT NULL, detail TEXT NOT NULL, duration_seconds REAL NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, fps REAL NOT NULL,
    checked_at TEXT NOT NULL, moved_to TEXT NOT NULL,
    PRIMARY KEY (split, folder, path)) WITHOUT ROWID;
""",
    """
CREATE TABLE mirrors (id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE);
ALTER TABLE tarballs RENAME TO old_tarballs;
CREATE TABLE tarballs (
    mirror INTEGER NOT NULL, split TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
    etag TEXT NOT NULL, size_bytes INTEGER NOT NULL, detail TEXT NOT NULL,
    failures INTEGER NOT NULL, failed_at REAL NOT NULL,
    updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (mirror, split, name)) WITHOUT ROWID;
INSERT INTO tarballs
    SELECT 0, split, name, state, etag, size_bytes, detail, 0, 0.0, updated_at
    FROM old_tarballs;
DROP TABLE old_tarballs;
ALTER TABLE clips RENAME TO old_clips;
CREATE TABLE clips (
    mirror INTEGER NOT NULL, split TEXT NOT NULL, tarball TEXT NOT NULL,
    position INTEGER NOT NULL, folder TEXT NOT NULL, file_name TEXT NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL, source TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    crc32 INTEGER,
    PRIMARY KEY (mirror, split, tarball, file_name)) WITHOUT ROWID;
INSERT INTO clips
    SELECT 0, split, tarball, position, folder, file_name, state, reason, source, size_bytes, NULL
    FROM old_clips;
DROP TABLE old_clips;
""",
    """
CREATE TABLE objects (
    mirror INTEGER NOT NULL, split TEXT NOT NULL, tarball TEXT NOT NULL, etag TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, packing TEXT NOT NULL,
    PRIMARY KEY (mirror, split, tarball)) WITHOUT ROWID;
CREATE TABLE entries (
    mirror INTEGER NOT NULL, split TEXT NOT NULL, tarball TEXT NOT NULL, file_name TEXT NOT NULL,
    entry_offset INTEGER NOT NULL, skip_bytes INTEGER NOT NULL, span_bytes INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL, crc32 INTEGER NOT NULL,
    PRIMARY KEY (mirror, split, tarball, file_name)) WITHOUT ROWID;
CREATE TABLE checkpoints (
    mirror INTEGER NOT NULL, split TEXT NOT NULL, tarball TEXT NOT NULL, etag TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, packing TEXT NOT NULL, entry_offset INTEGER NOT NULL,
    unpacked_bytes INTEGER NOT NULL, crc32 INTEGER NOT NULL, member_bytes INTEGER NOT NULL,
    next_header INTEGER NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (mirror, split, tarball)) WITHOUT ROWID;
""",
    """
ALTER TABLE answers RENAME COLUMN yt_dlp TO version;
ALTER TABLE answers ADD COLUMN circumstances TEXT NOT NULL DEFAULT '';
ALTER TABLE answers ADD COLUMN versions INTEGER NOT NULL DEFAULT 1;
""",
    """
CREATE TABLE rates (
    split TEXT NOT NULL, folder TEXT NOT NULL, file_name TEXT NOT NULL, fps REAL NOT NULL,
    PRIMARY KEY (split, folder, file_name)) WITHOUT ROWID;
""",
)
"""The changes that each version of the file makes to the one before."""

_ANSWERS_SINCE, _MIRRORS_SINCE, _CIRCUMSTANCES_SINCE = 2, 4, 6
"""The versions that first hold YouTube's answers, tell mirrors apart, and say under which
circumstances an answer was given."""

_OLD_ANSWERS = """
CREATE TEMP VIEW answers AS SELECT *, yt_dlp AS version, '' AS circumstances, 1 AS versions
    FROM main.answers;
"""
_OLD_ROWS = """
CREATE TEMP VIEW mirrors AS SELECT 0 AS id, '{identity}' AS identity;
CREATE TEMP VIEW tarballs AS SELECT 0 AS mirror, *, 0 AS failures, 0.0 AS failed_at
    FROM main.tarballs;
CREATE TEMP VIEW clips AS SELECT 0 AS mirror, *, NULL AS crc32 FROM main.clips;
"""
"""Views that make a ledger from before the last two of them readable as it is."""


def migrate(db: sqlite3.Connection, folder: Path, version: int, *, write: bool) -> None:
    """Migrate a ledger from an earlier version, 0 for an empty one; without `write`, in memory.

    Its clips are taken to be of the mirror whose lists are kept in the folder, if it is one.
    """
    lists = folder / "lists"
    kept = {path.name[:16] for path in (*lists.glob("*-paths"), *lists.glob("*-listing"))}
    is_one = len(kept) == 1 and re.fullmatch("[0-9a-f]{16}", min(kept))
    identity = f"lists:{min(kept)}" if is_one else ""

    if write:
        for statement in ";".join(SCHEMAS[version:]).split(";"):
            db.execute(statement)
        if 0 < version < _MIRRORS_SINCE:
            db.execute("INSERT INTO mirrors VALUES (0, ?)", (identity,))
        db.execute(f"PRAGMA user_version = {len(SCHEMAS)}")
        return

    # (A later version that alters a table that the file may have needs a view of its own here.)
    missing = [*SCHEMAS]
    if version > 0:
        missing[_MIRRORS_SINCE - 1] = _OLD_ROWS
    if version >= _ANSWERS_SINCE:
        missing[_CIRCUMSTANCES_SINCE - 1] = _OLD_ANSWERS
    for statement in ";".join(missing[version:]).split(";"):
        statement = statement.replace("CREATE TABLE", "CREATE TEMP TABLE")
        db.execute(statement.replace("{identity}", identity))


_TEXT = "typeof({0}) = 'text'"
IN_RANGE = "{0} BETWEEN 0 AND 1 << 60"  # (where text and bytes are more than any number)
_COUNT = f"typeof({{0}}) = 'integer' AND {IN_RANGE}"
_SECONDS = "typeof({0}) = 'real' AND {0} BETWEEN 0 AND 1e12"
_PART = f"{_TEXT} AND NOT instr({{0}}, '/') AND {{0}} NOT IN ('', '.', '..')"
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
    **dict.fromkeys(("size_bytes", "failures", "times", "days", "versions"), _COUNT),
    **dict.fromkeys(("width", "height"), _COUNT),
    **dict.fromkeys(("entry_offset", "skip_bytes", "span_bytes"), _COUNT),
    **dict.fromkeys(("unpacked_bytes", "member_bytes", "next_header"), _COUNT),
    **dict.fromkeys(("duration_seconds", "fps"), _SECONDS),
    **dict.fromkeys(("name", "tarball", "file_name"), _PART),
    **dict.fromkeys(("path", "moved_to"), _PATH),
    **dict.fromkeys(("first_on", "last_on"), f"{_TEXT} AND ifnull(date({{0}}) = {{0}}, 0)"),
    "split": _one_of(*SPLITS),
    "folder": _FOLDER,
    "position": "typeof({0}) = 'integer' AND {0} BETWEEN -1 AND 1 << 40",
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
"""A condition in SQL for each column. A ledger may come with a store from somebody else: rows that
no run wrote, such as with a path out of the store or an unknown state, are refused when read."""


def read_rows(
    db: sqlite3.Connection,
    table: str,
    columns: Iterable[str],
    more: str = "",
    *,
    which: str = "",
    **keys: object,
) -> list[tuple[Any, ...]]:
    """Return the rows whose columns have the given values (None: any); strange ones are an error.

    A list is of values, one of which it is; SQLite takes a few thousand. Of the further conditions,
    `which` says which rows are checked; all of these are, also those that `more` leaves out.
    """
    columns, where, values = [*columns], ["TRUE"], dict[str, object]()
    for name, value in keys.items():
        if value is not None:
            one_of = {
                f"{name}_{number}": each
                for number, each in enumerate(value if isinstance(value, list) else [value])
            }
            where.append(f"{name} IN ({', '.join(f':{key}' for key in one_of)})")
            values |= one_of
    these = f"{' AND '.join(where)} {which}"
    rules = {n: f"({(_RULES.get(f'{table}.{n}') or _RULES[n]).format(n)})" for n in columns}
    query = (
        f"SELECT {', '.join(rules.values())} FROM {table} "
        f"WHERE {these} AND NOT ({' AND '.join(rules.values())}) LIMIT 1"
    )
    if (odd := db.execute(query, values).fetchone()) is not None:
        raise strange_row(table, next(n for n, good in zip(rules, odd, strict=True) if not good))

    query = f"SELECT {', '.join(columns)} FROM {table} WHERE {these} {more}"
    return db.execute(query, values).fetchall()


def equal(columns: Iterable[str]) -> str:
    """Return the condition that columns equal the parameters of their names."""
    return " AND ".join(f"{column} = :{column}" for column in columns)


def strange_row(table: str, column: str) -> sqlite3.DatabaseError:
    """Return the error for a row that no run wrote."""
    what = f"its table {table!r} holds a row that no run wrote: look at its {column!r}"
    return sqlite3.DatabaseError(what)

"""Ledgers as earlier releases wrote them."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

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
"""The changes that each version of the file made to the one before, as releases wrote them."""


def make_version(path: Path, version: int) -> None:
    """Make a ledger of an earlier version, or turn one of an earlier one into it."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        (before,) = db.execute("PRAGMA user_version").fetchone()
        db.executescript("".join(SCHEMAS[before:version]))
        db.execute(f"PRAGMA user_version = {version}")


def make_old_ledger(path: Path) -> None:
    """Make a ledger as the first release wrote it, with two clips of one tarball."""
    statements = [
        "CREATE TABLE tarballs (split TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, "
        "etag TEXT NOT NULL, size_bytes INTEGER NOT NULL, detail TEXT NOT NULL, started_at REAL "
        "NOT NULL, updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (split, name)) "
        "WITHOUT ROWID",
        "CREATE TABLE clips (split TEXT NOT NULL, tarball TEXT NOT NULL, position INTEGER NOT "
        "NULL, folder TEXT NOT NULL, file_name TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT "
        "NULL, source TEXT NOT NULL, size_bytes INTEGER NOT NULL, PRIMARY KEY (split, tarball, "
        "file_name)) WITHOUT ROWID",
        "INSERT INTO tarballs VALUES ('train', 'zumba', 'done', 'etag', 5, '', 1.5, '')",
        "INSERT INTO clips VALUES ('train', 'zumba', 0, 'train/zumba', 'a', 'have', '', 'cvdf', 3)",
        "INSERT INTO clips VALUES ('train', 'zumba', 1, 'train/zumba', 'b', 'skipped', '', '', 3)",
    ]
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)
        db.execute("PRAGMA user_version = 1")


def make_older(path: Path) -> None:
    """Turn a ledger into what the release before mirrors were told apart would have written."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for table, key, columns in (
            ("tarballs", "split, name", "split, name, state, etag, size_bytes, detail"),
            (
                "clips",
                "split, tarball, file_name",
                "split, tarball, position, folder, file_name, state, reason, source, size_bytes",
            ),
        ):
            more, values = "", ""
            if table == "tarballs":
                more, values = ", started_at, updated_at", ", 1.5, updated_at"
            db.execute(f"ALTER TABLE {table} RENAME TO new")
            db.execute(f"CREATE TABLE {table} ({columns}{more}, PRIMARY KEY ({key})) WITHOUT ROWID")
            db.execute(f"INSERT INTO {table} SELECT {columns}{values} FROM new")
            db.execute("DROP TABLE new")
        for table in ("mirrors", "objects", "entries", "checkpoints", "rates"):
            db.execute(f"DROP TABLE {table}")
        db.execute("ALTER TABLE answers RENAME COLUMN version TO yt_dlp")
        for column in ("circumstances", "versions"):
            db.execute(f"ALTER TABLE answers DROP COLUMN {column}")
        db.execute("PRAGMA user_version = 3")

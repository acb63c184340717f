"""A ledger as the first release wrote it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path


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

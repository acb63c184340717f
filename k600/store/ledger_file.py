"""The ledger's file: opened in a transaction, and shared with a group."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from k600.errors import StoreError
from k600.store.ledger_schema import SCHEMAS, migrate
from k600.translate import ledger_error, store_error, translate_errors

__all__ = ["check_length", "open_ledger"]

logger = logging.getLogger("kinetics600")

_MOST_PATH_BYTES = 512 - len("-journal")
"""Of SQLite's own limit (`MAX_PATHNAME`), what is left for the file where its journal lies beside
it."""
SILENT_SECONDS = 2.0
"""How long a lock is waited for in silence."""


@contextlib.contextmanager
def open_ledger(
    path: Path, *, write: bool = False, wait_seconds: float = 120
) -> Iterator[sqlite3.Connection]:
    """Yield a connection within a transaction, with the tables of this release.

    Args:
        path: The file. Where there is none, and nothing is to be written, an empty ledger is
            opened that lies nowhere.
        write: Open it for writing, and make it or bring it to this release's version.
        wait_seconds: How long to wait for another process that writes.

    Raises:
        DiskFullError: Its volume is full.
        StoreError: It cannot be used; the message says why, and what to do.
    """
    there = _exists(path) or write
    if there:
        check_length(path)
    with (
        translate_errors(ledger_error, path, wait_seconds),
        contextlib.closing(sqlite3.connect(path if there else ":memory:")) as db,
        db,
    ):
        _begin(db, path, write=write, wait_seconds=wait_seconds)
        if write:
            _share(path)  # before there is a journal
        version = _version_of(db, path)
        if version < len(SCHEMAS):
            migrate(db, path.parent, version, write=write)
        yield db


def check_length(path: Path) -> None:
    """Raise `StoreError` if a path is too long for SQLite; the file need not exist."""
    if (size := len(os.fsencode(os.path.realpath(path)))) > _MOST_PATH_BYTES:
        raise StoreError(
            f"data_dir: the path of the ledger, '{path}', has {size} bytes, and SQLite takes "
            f"{_MOST_PATH_BYTES} at most. Pass data_dir=… a shorter one"
        )


def _exists(path: Path) -> bool:
    """Whether the file is there; one that may not be seen is an error, not absent."""
    with translate_errors(store_error, path, "read"):
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(
            f"data_dir: the ledger '{path}' is no file. Remove it, or pass data_dir=… another "
            "folder: clips that are there stay"
        )
    return True


def _share(path: Path) -> None:
    """Give the ledger's file the rights of its folder, which follow the umask.

    SQLite makes a file that others may not write, whatever the umask, and its journals have the
    rights of the file. Only what is ours can be changed; rights are never taken away.
    """
    with contextlib.suppress(OSError):
        rights = path.stat().st_mode & 0o777
        wanted = rights | (path.parent.stat().st_mode & 0o666)
        if wanted != rights:
            path.chmod(wanted)


def _begin(db: sqlite3.Connection, path: Path, *, write: bool, wait_seconds: float) -> None:
    """Begin a transaction: all in it is of one moment. A long wait for a lock is announced."""
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
    db.execute("BEGIN IMMEDIATE" if write else "BEGIN")


def _version_of(db: sqlite3.Connection, path: Path) -> int:
    """Return the version of a file that a release of this loader made; 0 for an empty one."""
    db.execute("PRAGMA trusted_schema = OFF")
    made = "SELECT name FROM sqlite_master WHERE type IN ('view', 'trigger') LIMIT 1"
    if odd := db.execute(made).fetchone():
        raise sqlite3.DatabaseError(f"it holds {odd[0]!r}, which no release made")
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > len(SCHEMAS):
        raise StoreError(
            f"data_dir: the ledger '{path}' is of version {version}, and this release reads "
            f"{len(SCHEMAS)} at most: a newer one wrote it. Bring this one up to date (pip install "
            "-U kinetics600) or use that one; the ledger is good, so leave it where it is"
        )
    return version

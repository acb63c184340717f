"""The ledger's file, opened in a transaction and shared with a group."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from k600.errors import StoreError
from k600.errors.translate import ledger_error, store_error, translate_errors
from k600.store.ledger_schema import VERSION, migrate

logger = logging.getLogger("kinetics600")

_MOST_PATH_BYTES = 512 - len("-journal")  # SQLite's own limit (`MAX_PATHNAME`) holds for both
SILENT_SECONDS = 2.0  # how long a lock is waited for without a word


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
            migrate(db, path.parent, version, write=write or in_memory)
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

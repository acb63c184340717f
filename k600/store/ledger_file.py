"""The ledger's file: opened in a transaction, and shared with a group."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from k600.errors import StoreError
from k600.translate import ledger_error, store_error, translate_errors

__all__ = ["check_length", "open_ledger"]

_MOST_PATH_BYTES = 512 - len("-journal")
"""Of SQLite's own limit (`MAX_PATHNAME`), what is left for the file where its journal lies beside
it."""


@contextlib.contextmanager
def open_ledger(
    path: Path,
    version: int,
    complete: Callable[[sqlite3.Connection, int, bool], object],
    *,
    create: bool = False,
    wait_seconds: float = 120,
) -> Iterator[sqlite3.Connection | None]:
    """Yield a connection within a transaction; None if there is no file and none is made.

    Args:
        path: The file.
        version: The last version, of this release.
        complete: Brings a file of the version given to the last one; False for this connection
            only.
        create: Open it for writing, and make it or bring it to the last version.
        wait_seconds: How long to wait for another process that writes.

    Raises:
        DiskFullError: Its volume is full.
        StoreError: It cannot be used; the message says why, and what to do.
    """
    if not _exists(path) and not create:
        yield None
        return
    check_length(path)
    with (
        translate_errors(ledger_error, path, wait_seconds),
        contextlib.closing(sqlite3.connect(path, timeout=wait_seconds)) as db,
        db,
    ):
        # Else a power loss may take back what was committed last.
        db.execute("PRAGMA synchronous = EXTRA")
        if create:
            _share(path)
        db.execute("BEGIN IMMEDIATE" if create else "BEGIN")  # all is of one moment
        found = _version_of(db, path, version)
        if found < version and (found or create):
            complete(db, found, create)
        yield db if create or found else None


def check_length(path: Path) -> None:
    """Raise `StoreError` if a path is too long for SQLite; the file need not exist."""
    if (size := len(os.fsencode(os.path.realpath(path)))) > _MOST_PATH_BYTES:
        raise StoreError(
            f"data_dir: the path of the ledger, '{path}', has {size} bytes, and SQLite takes "
            f"{_MOST_PATH_BYTES} at most. Pass data_dir=… a shorter one"
        )


def _exists(path: Path) -> bool:
    """Whether the file is there; one that may not be looked for is an error, not absent."""
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


def _version_of(db: sqlite3.Connection, path: Path, newest: int) -> int:
    """Return the version of a file that a release of this loader made; 0 for an empty one."""
    db.execute("PRAGMA trusted_schema = OFF")
    made = "SELECT name FROM sqlite_master WHERE type IN ('view', 'trigger') LIMIT 1"
    if odd := db.execute(made).fetchone():
        raise sqlite3.DatabaseError(f"it holds {odd[0]!r}, which no release made")
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > newest:
        raise StoreError(
            f"data_dir: the ledger '{path}' is of version {version}, and this release reads "
            f"{newest} at most: a newer one wrote it. Bring this one up to date (pip install "
            "-U kinetics600) or use that one; the ledger is good, so leave it where it is"
        )
    return version

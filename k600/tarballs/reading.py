"""How a tarball is read, and what it means if it does not read well: one rule for all who read.

Written down here once, for loads, fleets, publishing and streams:

- What comes in place of a tarball and is none (a web page, zeros, nothing) says nothing of the
  tarball: the line is at fault, and the next call reads it again (`open_tarball`).
- A tarball that fails its own checks, or is replaced meanwhile, is read once more in the same call,
  as it is then (`read_sound`). Publishing reads the whole group again that it was mixed into; a
  stream has handed its clips on by then, and can only say so.
- If it fails again, what came of it is rolled back, and that is noted with the ETag. It is
  condemned only once another call's reading of the same object has failed just alike, at the same
  bytes (`with_failure`); until then each call reads it once.
- A condemned one is asked by each call for its ETag and size alone, and read anew when they have
  changed (`is_condemned`), or on request (`retry_errors`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from k600.errors import (
    DamagedTarballError,
    MirrorChangedError,
    MirrorUnreachableError,
    NoTarballError,
)
from k600.mirror.mirror import Mirror, RemoteFile
from k600.mirror.range_reader import RangeReader
from k600.store.rows import TarballRow
from k600.tarballs.archive import CHUNK_BYTES, Member, members

__all__ = [
    "READINGS",
    "has_failed",
    "is_condemned",
    "noted_failure",
    "open_tarball",
    "read_sound",
    "with_failure",
]

READINGS = 2
"""Times a tarball that fails its own checks is read: within a call before it is left out of that
call, and over all calls before it is condemned."""

T = TypeVar("T")


@contextlib.contextmanager
def open_tarball(
    mirror: Mirror, what: RemoteFile | str, *, chunk_bytes: int = CHUNK_BYTES, **options: Any
) -> Iterator[Iterator[Member]]:
    """Open a tarball for one reading; gives its clips as `k600.tarballs.archive.members` does.

    Who leaves without an error has read of one and the same object only.

    Args:
        mirror: Where it is.
        what: The very object, from `Mirror.stat`; or its path, for what is there now.
        chunk_bytes: Most bytes of a member that are handed on in one piece.
        **options: As for `RangeReader`.

    Raises:
        DamagedTarballError: It fails its own checks.
        MirrorChangedError: Another object has taken its place.
        MirrorUnreachableError: What comes is no tarball.
        MirrorError: It cannot be read.
    """
    if isinstance(what, str):
        reader = RangeReader.at(mirror, what, **options)
    else:
        reader = RangeReader(mirror, what, **options)
    with contextlib.closing(reader) as raw:
        yield _members(raw, chunk_bytes)
        raw.check_unchanged()


def _members(raw: RangeReader, chunk_bytes: int) -> Iterator[Member]:
    size, url = raw.remote.size_bytes, raw.remote.url
    try:
        yield from members(raw, size, name=url, chunk_bytes=chunk_bytes, again=raw.again)
    except NoTarballError as error:
        raise MirrorUnreachableError(
            f"mirror: {error}. A log-in page or a proxy may stand in between: open the address in "
            "a browser, then call again"
        ) from error


def read_sound(
    read: Callable[[RemoteFile], T], mirror: Mirror, remote: RemoteFile, *, readings: int = READINGS
) -> T:
    """Read a tarball; again, as it is by then, if it fails its checks or is replaced meanwhile.

    Args:
        read: Reads it to where that is enough. When it raises, nothing of it may be left.
        mirror: Where it is.
        remote: It, as the mirror described it just now.
        readings: How often at most, 1 or more.

    Returns:
        What `read` returns.

    Raises:
        DamagedTarballError, MirrorChangedError: The last reading failed, too.
        MirrorError: It cannot be read.
    """
    for reading in range(1, readings + 1):
        try:
            return read(remote)
        except (DamagedTarballError, MirrorChangedError):
            if reading == readings:
                raise
            remote = mirror.stat(remote.name)
    raise AssertionError("unreachable")


def with_failure(
    row: TarballRow, error: DamagedTarballError, remote: RemoteFile, seen: int, *, proved: bool
) -> TarballRow:
    """Return what is to be known of a tarball after a reading that failed.

    Only failures that are alike, at the same bytes of the same object, count up: a line or a proxy
    that flips bits does so elsewhere each time.

    Args:
        row: What was known of it before.
        error: What its checks said.
        remote: What was read.
        seen: Checksum of what came before the failure.
        proved: Whether it was once read to its end with success; then it stays `done`.
    """
    detail = f"{error} [{seen:08x} {_identity(remote)}]"
    alike = row.failures > 0 and row.detail == detail
    failures = 1 + row.failures if alike else 1

    state = row.state
    if not proved:
        state = "damaged" if failures >= READINGS else "started"
    return dataclasses.replace(row, state=state, detail=detail, failures=failures)


def noted_failure(row: TarballRow) -> DamagedTarballError:
    """Return the error that was noted of a tarball, in the words of whoever read it."""
    return DamagedTarballError(re.sub(r" \[[0-9a-f]{8} ETag .* bytes\]$", "", row.detail))


def has_failed(row: TarballRow | None, remote: RemoteFile) -> bool:
    """Whether a reading of just this object has failed before."""
    return row is not None and row.failures > 0 and row.detail.endswith(f" {_identity(remote)}]")


def is_condemned(row: TarballRow | None, remote: RemoteFile | None = None) -> bool:
    """Whether enough readings of just this object have failed alike.

    Args:
        row: What is known of the tarball.
        remote: The object; by default the one that was read last.
    """
    if row is None or (remote is not None and not has_failed(row, remote)):
        return False
    return row.failures >= READINGS or (remote is None and row.state == "damaged")


def _identity(remote: RemoteFile) -> str:
    return f"ETag {remote.etag}, {remote.size_bytes} bytes"

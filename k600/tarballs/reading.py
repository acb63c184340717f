"""The rule for a tarball that does not read well: whose fault that is, and how often it is read.

Written down here once, for loads, fleets, publishing and streams:

- What comes in place of a tarball and is none (a web page, zeros, nothing) says nothing of the
  tarball: the line is at fault, and the next call reads it again (`tarball_members`).
- A tarball that fails its own checks, or is replaced meanwhile, is read once more in the same call,
  as it is then (`read_sound`).
- If it fails again, what came of it is taken back, and that is noted with the ETag. It is condemned
  only once another call's reading of the same object has failed just alike, at the same bytes
  (`fails_alike`); until then each call reads it once.
- A condemned one is asked by each call for its ETag and size alone, and read anew when they have
  changed (`is_condemned`), or on request (`retry_errors`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

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
    "failed_reading",
    "fails_alike",
    "has_failed",
    "is_condemned",
    "noted_failure",
    "read_sound",
    "tarball_members",
]

READINGS = 2
"""Times a tarball that fails its own checks is read: within a call before it is left out of that
call, and over all calls before it is condemned."""

T = TypeVar("T")


def tarball_members(reader: RangeReader, *, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Member]:
    """Yield a tarball's clips as `k600.tarballs.archive.members` does.

    Raises:
        DamagedTarballError: It fails its own checks.
        MirrorUnreachableError: What comes is no tarball.
        MirrorError: It cannot be read.
    """
    remote = reader.remote
    try:
        yield from members(
            reader,
            remote.size_bytes,
            name=remote.url,
            chunk_bytes=chunk_bytes,
            again=reader.again,
        )
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


def failed_reading(error: DamagedTarballError, remote: RemoteFile, seen: int) -> str:
    """Return what is noted of a failed reading: the same only if another fails alike.

    Args:
        error: What its checks said.
        remote: What was read.
        seen: Checksum of what came before.
    """
    return f"{error} [{seen:08x} {_identity(remote)}]"


def noted_failure(row: TarballRow) -> DamagedTarballError:
    """Return the error that was noted of a tarball, in the words of whoever read it."""
    return DamagedTarballError(re.sub(r" \[[0-9a-f]{8} ETag .* bytes\]$", "", row.detail))


def fails_alike(row: TarballRow | None, detail: str) -> bool:
    """Whether a reading in another call failed at the same bytes of the same object.

    A line or a proxy that flips bits does so elsewhere each time.
    """
    return row is not None and row.failures > 0 and row.detail == detail


def has_failed(row: TarballRow | None, remote: RemoteFile) -> bool:
    """Whether a reading of just this object has failed before."""
    return row is not None and row.failures > 0 and row.detail.endswith(f" {_identity(remote)}]")


def is_condemned(row: TarballRow | None, remote: RemoteFile) -> bool:
    """Whether enough readings of just this object have failed alike."""
    return has_failed(row, remote) and row is not None and row.failures >= READINGS


def _identity(remote: RemoteFile) -> str:
    return f"ETag {remote.etag}, {remote.size_bytes} bytes"

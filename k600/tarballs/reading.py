"""How a tarball is read, and what follows if that fails: one rule for loads, fleets and streams.

- What is no tarball at all (a web page, zeros, nothing) says nothing of the tarball: the
  connection is at fault, and the next call reads it again (`open_tarball`).
- A tarball that fails its own checks, or is replaced meanwhile, is read once more in the same call
  (`read_with_retry`). Publishing reads the whole group again that it was mixed into; a stream has
  yielded its clips by then, and can only raise.
- If it fails again, its clips are removed, and the failure is recorded with the ETag. It is given
  up ("condemned") only once another call has failed on the same object at the same bytes
  (`with_failure`); until then each call reads it once.
- Of a condemned one, each call checks ETag and size alone. It is read anew when they have changed
  (`is_condemned`), or on request (`retry_errors`).
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
from k600.mirror.identity import RemoteFile
from k600.mirror.mirror import Mirror
from k600.mirror.reader import keep_memory_of_blocks
from k600.store.rows import Checkpoint, TarballRow
from k600.tarballs.archive import CHUNK_BYTES, Members

READINGS = 2
"""Failed readings after which a call leaves a tarball out, and failed calls that condemn it."""

T = TypeVar("T")


@contextlib.contextmanager
def open_tarball(
    mirror: Mirror,
    what: RemoteFile | str,
    *,
    chunk_bytes: int = CHUNK_BYTES,
    begin: Checkpoint | None = None,
    **options: Any,
) -> Iterator[Members]:
    """Open an object, or what is at a path now, as the `Members` of a tarball.

    Leaving without an error proves that all bytes were of one object. It is read from its first
    byte, or from where a checkpoint of the same object says. `options` are those of `Reader`.

    Raises:
        DamagedTarballError: It fails its own checks.
        MirrorChangedError: Another object has taken its place.
        MirrorUnreachableError: What comes is no tarball.
        MirrorError: It cannot be read.
    """
    keep_memory_of_blocks()
    if begin is not None:
        options["start"] = begin.entry_offset
    with contextlib.closing(mirror.open(what, **options)) as raw:
        size, url = raw.remote.size_bytes, raw.remote.url
        try:
            given: dict[str, Any] = {"chunk_bytes": chunk_bytes, "again": raw.again}
            yield Members(raw, size, name=url, begin=begin, **given)
        except NoTarballError as error:
            raise MirrorUnreachableError(
                f"mirror: {error}. A log-in page or a proxy may stand in between: open the address "
                "in a browser, then call again"
            ) from error
        raw.check_unchanged()


def read_with_retry(
    read: Callable[[RemoteFile], T], mirror: Mirror, remote: RemoteFile, *, readings: int = READINGS
) -> T:
    """Return what reading a tarball returns; read it again if it fails its checks or is replaced.

    When `read` raises, it must leave nothing. The last reading's error is raised.
    """
    for _ in range(readings - 1):
        try:
            return read(remote)
        except (DamagedTarballError, MirrorChangedError):
            remote = mirror.head(remote.name)
    return read(remote)


def with_failure(
    row: TarballRow, error: DamagedTarballError, remote: RemoteFile, seen: int, *, proved: bool
) -> TarballRow:
    """Return a tarball's row after a failed reading; one that was `proved` once stays `done`.

    Only failures at the same bytes of the same object count up, by a checksum of what was `seen`
    before: a connection or a proxy that flips bits does so elsewhere each time.
    """
    detail = f"{error} [{seen:08x} {_identity(remote)}]"
    alike = row.failures > 0 and row.detail == detail
    failures = 1 + row.failures if alike else 1

    state = row.state
    if not proved:
        state = "damaged" if failures >= READINGS else "started"
    return dataclasses.replace(row, state=state, detail=detail, failures=failures)


def noted_failure(row: TarballRow) -> DamagedTarballError:
    """Return the error that was recorded of a tarball."""
    return DamagedTarballError(re.sub(r" \[[0-9a-f]{8} ETag .* bytes\]$", "", row.detail))


def has_failed(row: TarballRow | None, remote: RemoteFile) -> bool:
    """Return whether a reading of this very object has failed before."""
    return row is not None and row.failures > 0 and row.detail.endswith(f" {_identity(remote)}]")


def is_condemned(row: TarballRow | None, remote: RemoteFile | None = None) -> bool:
    """Return whether enough readings of an object, by default the last one, have failed alike."""
    if row is None or (remote is not None and not has_failed(row, remote)):
        return False
    return row.failures >= READINGS or (remote is None and row.state == "damaged")


def _identity(remote: RemoteFile) -> str:
    return f"ETag {remote.etag}, {remote.size_bytes} bytes"

"""From a stream of bytes to the members of a tarball, each checked, in one pass.

The bytes are gzip or plain tar, told apart by their first bytes, never by the name (one
Kinetics tarball was a plain tar called `.tar.gz`). gunzip is ISA-L's, the tar format is the
standard library's. `tarfile` stops at the tar's end mark and so never sees gzip's checksum:
`members` reads on to the very end, and only then is a tarball sound.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from gzip import BadGzipFile
from typing import IO, Any, Protocol, cast

from isal import igzip, isal_zlib

from k600.clip import parse_file_name
from k600.errors import DamagedTarballError, Kinetics600Error, NoTarballError

__all__ = ["CHUNK_BYTES", "Member", "file_in_archive", "members"]

CHUNK_BYTES = 1 << 20
"""Members are handed on in pieces of at most this size, if not asked for otherwise."""

_VIDEO_ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".3gp")

MOST_CLIP_BYTES = 256 << 20
"""A larger member is no clip (the largest seen has 6.8 MB) and is not written."""

_open_gzip: Any = igzip.IGzipFile
_ZLIB_ERROR: Any = isal_zlib.error

_MOST_HEADER_BYTES = 1 << 20  # a longer name or pax header is hostile
_LEAST_BOMB_BYTES = 64 << 20  # below this size no ratio is suspicious
_MOST_RATIO = 16  # clips do not compress: gzip gains a few percent


class Raw(Protocol):
    """What `members` reads from: a raw reader that can show its next bytes."""

    def read(self, size: int = -1, /) -> bytes | None: ...
    def peek(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Member:
    """One clip in a tarball."""

    file_name: str
    """`<id>_<start>_<end>.mp4`, without the folders it lay in."""
    size_bytes: int
    """Its size as the tar's header says."""
    chunks: Iterator[bytes]
    """Its bytes, once; whatever is left unread is skipped."""
    problem: str | None
    """Why it cannot be a clip all the same: `not_a_file` (a link, a device, a sparse file),
    `too_large` or `odd_name` (a video, but not named as clips are); None for a good one."""


def members(
    raw: Raw, compressed_bytes: int, *, name: str, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Member]:
    """Yield the clips of a tarball in its own order, then check it to its last byte.

    Folders, AppleDouble files (`._…`, from tarballs packed on macOS) and files that are neither
    named as a clip nor as another video are passed over. Only the base name is ever used, so
    nothing can point out of a folder. A name may come twice.

    Args:
        raw: The bytes of the tarball from its first on.
        compressed_bytes: How many there are.
        name: What to call it in an error, such as its address.
        chunk_bytes: Most bytes of a member that are handed on in one piece.

    Raises:
        DamagedTarballError: It fails a checksum, ends early, goes on after its end, or grows
            beyond all proportion. Until the iterator has ended without this error, nothing
            that came from it is proved.
        NoTarballError: It is neither gzip nor tar, or there is nothing in it.
    """
    head = raw.peek()
    if not head:
        raise NoTarballError(f"{name}: the tarball is empty (0 bytes)")
    if head.lstrip()[:1] == b"<":
        raise NoTarballError(f"{name}: a web page came instead of a tarball")
    gzipped = head[:2] == b"\x1f\x8b"
    source = _open_gzip(fileobj=raw, mode="rb") if gzipped else raw
    most = max(_LEAST_BOMB_BYTES, _MOST_RATIO * compressed_bytes)
    reader = _ForwardReader(source, most, name)
    seen = False
    try:
        with tarfile.open(fileobj=cast(IO[bytes], reader), mode="r:") as tar:
            for info in tar:
                seen = True
                cast(Any, tar).members.clear()  # tarfile would keep every header
                file_name = info.name.rpartition("/")[2]
                if not info.isdir() and not file_name.startswith("._"):
                    if parse_file_name(file_name):
                        chunks = _chunks(reader, info, chunk_bytes)
                        yield Member(file_name, info.size, chunks, _problem(info))
                    elif file_name.lower().endswith(_VIDEO_ENDINGS):
                        shown = file_name[:200].encode("utf-8", "backslashreplace").decode()
                        yield Member(shown, info.size, iter(()), "odd_name")
        if not seen:
            raise NoTarballError(f"{name}: there is not one file in it (zeros, or an empty file)")
        if reader.last_header.count(0) != tarfile.BLOCKSIZE:  # tarfile takes any bad header, or
            raise tarfile.ReadError("the tar's end mark is missing")  # none, for the end
        while chunk := reader.read_data(CHUNK_BYTES):  # on to gzip's trailer
            if chunk.count(0) != len(chunk):
                raise tarfile.ReadError("more data after the tar's end mark")
    except Kinetics600Error:
        raise
    except (tarfile.TarError, ValueError) as error:
        if not seen and not gzipped:
            message = f"{name}: damaged, or no tarball: neither gzip nor tar ({error})"
            raise NoTarballError(message) from error
        raise DamagedTarballError(f"{name}: damaged ({error})") from error


def file_in_archive(data: bytes, file_name: str, *, most_bytes: int, name: str) -> bytes | None:
    """Return a file out of a small `.tar.gz` in memory, whatever folder it lies in; None if absent.

    Args:
        data: The archive.
        file_name: Base name of the file; the first regular one counts.
        most_bytes: Most bytes that the file may have, and a fourth of what all may unpack to.
        name: What to call the archive in an error.

    Raises:
        DamagedTarballError: It is no such archive, ends early, or claims more than is allowed.
    """
    source = _open_gzip(fileobj=io.BytesIO(data), mode="rb")
    reader = _ForwardReader(source, 4 * most_bytes, name)
    try:
        with tarfile.open(fileobj=cast(IO[bytes], reader), mode="r:") as tar:
            for info in tar:
                cast(Any, tar).members.clear()
                if info.isreg() and info.name.rpartition("/")[2] == file_name:
                    if info.size > most_bytes:
                        raise reader.damaged(f"{info.name!r:.200} claims {info.size:,} bytes")
                    return b"".join(_chunks(reader, info))
    except (tarfile.TarError, ValueError) as error:
        if isinstance(error, Kinetics600Error):
            raise
        raise reader.damaged(str(error)) from error
    return None


def _problem(info: tarfile.TarInfo) -> str | None:
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.issparse():
        return "not_a_file"
    if info.size > MOST_CLIP_BYTES:
        return "too_large"
    return None


def _chunks(
    reader: _ForwardReader, info: tarfile.TarInfo, most_bytes: int = CHUNK_BYTES
) -> Iterator[bytes]:
    left = info.size
    while left:
        chunk = reader.read_data(min(left, most_bytes))
        if not chunk:
            raise reader.damaged(f"{info.name!r:.200} ends {left:,} bytes early")
        left -= len(chunk)
        yield chunk


class _ForwardReader:
    """The little that `tarfile` needs of a file, over a stream that cannot go back.

    `tarfile` looks at the last byte before each header to see that the data are all there, so
    that one byte can be read again.
    """

    def __init__(self, source: Any, most_bytes: int, name: str) -> None:
        self._source, self._name = source, name
        self._position = 0
        self._last = b""
        self._again = False
        self._most_bytes = most_bytes
        self.last_header = b""
        """What `tarfile` read last: the end mark, if the tar has one."""

    def damaged(self, why: str) -> DamagedTarballError:
        """Return the error for what was found wrong."""
        return DamagedTarballError(f"{self._name}: damaged ({why})")

    def tell(self) -> int:
        return self._position - self._again

    def read(self, size: int) -> bytes:
        """Read header bytes; exactly `size` of them unless the end comes first."""
        if size > _MOST_HEADER_BYTES:
            raise self.damaged(f"a header claims {size:,} bytes")
        data = b""
        if self._again and size:
            self._again, data = False, self._last
        while len(data) < size and (more := self.read_data(size - len(data))):
            data += more
        self.last_header = data
        return data

    def read_data(self, size: int) -> bytes:
        """Read at most `size` bytes; none at the end only."""
        try:
            data = self._source.read(size) or b""
        except (EOFError, BadGzipFile, _ZLIB_ERROR) as error:
            raise self.damaged(str(error)) from error
        if data:
            self._position += len(data)
            self._last = data[-1:]
            if self._position > self._most_bytes:
                raise self.damaged(f"it unpacks to more than {self._most_bytes:,} bytes")
        return data

    def seek(self, position: int) -> int:
        """Go forward to `position`, or back by one byte."""
        if position == self._position - 1 and self._last:
            self._again = True
            return position
        self._again = False
        if position < self._position:
            raise self.damaged("a header points back")
        while self._position < position:
            if not self.read_data(min(position - self._position, CHUNK_BYTES)):
                break
        return self._position

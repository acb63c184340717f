"""From a stream of bytes to the members of a tarball, each checked, in one pass.

The bytes are gzip or plain tar, as their first bytes show, never the name (one Kinetics tarball was
a plain tar called `.tar.gz`). gunzip is ISA-L's, the tar format the standard library's. `tarfile`
stops at the tar's end mark and so never sees gzip's checksum: `members` reads on to the very end.
"""

from __future__ import annotations

import io
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from gzip import BadGzipFile
from typing import IO, Any, Protocol, cast

from isal import igzip, isal_zlib

from k600.clip import parse_file_name
from k600.errors import DamagedTarballError, Kinetics600Error, NoTarballError

CHUNK_BYTES = 1 << 20
MOST_CLIP_BYTES = 256 << 20  # a larger member is no clip: the largest one seen has 6.8 MB

_VIDEO_ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".3gp")

_open_gzip: Any = igzip.IGzipFile
_ZLIB_ERROR: Any = isal_zlib.error

_MOST_HEADER_BYTES = 1 << 20  # a longer name or pax header is hostile
_LEAST_BOMB_BYTES = 64 << 20  # below this size no ratio is suspicious
_MOST_RATIO = 16  # clips do not compress: gzip gains a few percent
_MOST_LINKS = 100_000  # the largest tarball has some thousand clips
_LONGEST_CHAIN = 40  # of links to links, as systems have it

_PACKINGS = {
    rb"\x1f\x8b": "gzip",
    rb"\xfd7zXZ\0": "xz",
    rb"BZh[1-9]1AY&SY": "bzip2",
    rb"\x28\xb5\x2f\xfd": "zstd",
    rb"\x04\x22\x4d\x18": "lz4",
    rb"LZIP\x01": "lzip",
    rb"\x1f\x9d": "compress",
    rb"PK\x03\x04": "zip",
    rb"7z\xbc\xaf\x27\x1c": "7-Zip",
}
"""Packings by patterns of their first bytes."""

_MAGIC_BYTES = 16


class Raw(Protocol):
    """A raw reader that can show its next bytes."""

    def read(self, size: int = -1, /) -> bytes | None: ...
    def peek(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Member:
    """One clip in a tarball."""

    file_name: str
    """`<id>_<start>_<end>.mp4`, without the folders it lay in."""
    size_bytes: int
    chunks: Iterator[bytes]
    """Its bytes, once; whatever is left unread is skipped."""
    problem: str | None
    """`not_a_file` (a device, a sparse file, a link to no file of the tarball), `too_large` or
    `odd_name` (a video, but not named as clips are); None for a good one."""


def packing_of(head: bytes) -> str | None:
    """Return the packing of data, such as `xz`, by their first bytes; None if not packed.

    Example:
        >>> packing_of(b"BZh91AY&SY")
        'bzip2'
    """
    return next((kind for magic, kind in _PACKINGS.items() if re.match(magic, head)), None)


def members(
    raw: Raw,
    compressed_bytes: int,
    *,
    name: str,
    chunk_bytes: int = CHUNK_BYTES,
    again: Callable[[], AbstractContextManager[Raw]] | None = None,
) -> Iterator[Member]:
    """Yield the clips of a tarball in its own order, then check it to its last byte.

    Folders, AppleDouble files (`._…`, from tarballs packed on macOS) and files that are neither
    named as a clip nor as another video are skipped. Only the base name is ever used, so nothing
    can point out of a folder. A name may come twice.

    A hard link to a file of the same tarball is that file, as it is for `tar xf`. Links come last:
    for their bytes the tarball is read again, or they are `not_a_file` without `again`, which opens
    the same bytes.

    Raises:
        DamagedTarballError: It fails a checksum, ends early, goes on after its end, or grows
            beyond all proportion. Until the iterator has ended without this error, nothing
            that came from it is proved.
        NoTarballError: It is neither gzip nor tar, or there is nothing in it.
    """
    most_bytes = max(_LEAST_BOMB_BYTES, _MOST_RATIO * compressed_bytes)
    links: dict[str, str] = {}

    for info, stream in _entries(raw, name, most_bytes):
        file_name = _base_name(info)
        if info.islnk():
            links.setdefault(_inside(info.name), _inside(info.linkname))
            if len(links) > _MOST_LINKS:
                raise stream.damaged(f"it holds more than {_MOST_LINKS:,} links")
        elif parse_file_name(file_name):
            yield Member(file_name, info.size, stream.chunks(info, chunk_bytes), _problem(info))
        elif file_name.lower().endswith(_VIDEO_ENDINGS):
            shown = file_name[:200].encode("utf-8", "backslashreplace").decode()
            yield Member(shown, info.size, iter(()), "odd_name")

    clips = _linked_clips(links)
    if clips and again is not None:
        with again() as once_more:
            for info, stream in _entries(once_more, name, most_bytes):
                file_names = () if info.islnk() else clips.pop(_inside(info.name), ())
                problem = _problem(info)
                data = b"" if problem or not file_names else b"".join(stream.chunks(info))
                for file_name in file_names:
                    stream.count(len(data))  # many links to one large file are a bomb, too
                    yield Member(file_name, info.size, iter([data]), problem)
    for file_names in clips.values():
        for file_name in file_names:
            yield Member(file_name, 0, iter(()), "not_a_file")


def file_in_archive(data: bytes, file_name: str, *, most_bytes: int, name: str) -> bytes | None:
    """Return the first file of a base name in a `.tar.gz` in memory; None if there is none.

    It may have `most_bytes`, and all files together four times as many; `DamagedTarballError`, in
    which the archive is called `name`, is raised else.
    """
    raw = cast(Raw, io.BufferedReader(cast(io.RawIOBase, io.BytesIO(data))))
    for info, stream in _entries(raw, name, 4 * most_bytes):
        if info.isreg() and _base_name(info) == file_name:
            if info.size > most_bytes:
                raise stream.damaged(f"{info.name!r:.200} claims {info.size:,} bytes")
            return b"".join(stream.chunks(info))
    return None


def _entries(raw: Raw, name: str, most_bytes: int) -> Iterator[tuple[tarfile.TarInfo, _Unpacked]]:
    """Yield a tarball's entries except folders and AppleDouble files, then check its end."""
    head = raw.peek()
    if not head:
        raise NoTarballError(f"{name}: the tarball is empty (0 bytes)")
    if head.lstrip()[:1] == b"<":
        raise NoTarballError(f"{name}: a web page came instead of a tarball")

    stream = _Unpacked(raw, packing_of(head), most_bytes, name)
    seen = False
    try:
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as tar:
            for info in tar:
                seen = True
                cast(Any, tar).members.clear()  # tarfile would keep every header
                if not info.isdir() and not _base_name(info).startswith("._"):
                    yield info, stream
        if not seen:
            raise NoTarballError(f"{name}: there is not one file in it (zeros, or an empty file)")
        stream.check_end()
    except Kinetics600Error:
        raise
    except (tarfile.TarError, ValueError) as error:
        if not seen and stream.packing is None:
            message = f"{name}: damaged, or no tarball: neither gzip nor tar ({error})"
            raise NoTarballError(message) from error
        raise stream.damaged(str(error)) from error


class _Unpacked:
    """A tarball's unpacked bytes, forward only: the little that `tarfile` needs of a file.

    Several gzip members on end (as pigz and `cat` leave them) are one stream.
    """

    def __init__(self, raw: Raw, packing: str | None, most_bytes: int, name: str) -> None:
        self.packing = packing
        self._source = _open_gzip(fileobj=raw, mode="rb") if packing == "gzip" else raw
        self._most_bytes, self._name = most_bytes, name
        self._position = self._counted = 0
        self._first = self._last = self._last_header = b""
        self._one_back = False

    def damaged(self, why: str) -> DamagedTarballError:
        """Return the error to raise."""
        if (packing := packing_of(self._first)) is not None:
            within = " within gzip" if self.packing == "gzip" else ""
            why = f"{why}: expected gzip or a plain tar, and it is {packing}{within}"
        return DamagedTarballError(f"{self._name}: damaged ({why})")

    def read(self, size: int) -> bytes:
        """Read `size` bytes of headers, fewer at the end only."""
        if size > _MOST_HEADER_BYTES:
            raise self.damaged(f"a header claims {size:,} bytes")
        data = b""
        if self._one_back and size:
            self._one_back, data = False, self._last
        while len(data) < size and (more := self._read_some(size - len(data))):
            data += more
        self._last_header = data
        return data

    def chunks(self, info: tarfile.TarInfo, most_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Yield a member's bytes, at most `most_bytes` at a time."""
        left = info.size
        while left:
            chunk = self._read_some(min(left, most_bytes))
            if not chunk:
                raise self.damaged(f"{info.name!r:.200} ends {left:,} bytes early")
            left -= len(chunk)
            yield chunk

    def check_end(self) -> None:
        """Read to gzip's trailer, with its checksum; only zeros may follow the tar's end mark.

        `tarfile` takes any bad header, or none, for the end.
        """
        if self._last_header.count(0) != tarfile.BLOCKSIZE:
            raise tarfile.ReadError("the tar's end mark is missing")
        while chunk := self._read_some(CHUNK_BYTES):
            if chunk.count(0) != len(chunk):
                raise tarfile.ReadError("more data after the tar's end mark")

    def count(self, size: int) -> None:
        """Count unpacked bytes; too many are an error."""
        self._counted += size
        if self._counted > self._most_bytes:
            raise self.damaged(f"it unpacks to more than {self._most_bytes:,} bytes")

    def tell(self) -> int:
        return self._position - self._one_back

    def seek(self, position: int) -> int:
        """Go forward, or back by one byte, as `tarfile` does to see that all data are there."""
        if position == self._position - 1 and self._last:
            self._one_back = True
            return position
        self._one_back = False
        if position < self._position:
            raise self.damaged("a header points back")
        while self._position < position:
            if not self._read_some(min(position - self._position, CHUNK_BYTES)):
                break
        return self._position

    def _read_some(self, size: int) -> bytes:
        """Read at most `size` bytes; none at the end only."""
        try:
            data: bytes = self._source.read(size) or b""
        except (EOFError, BadGzipFile, _ZLIB_ERROR) as error:
            raise self.damaged(str(error)) from error
        if data:
            if len(self._first) < _MAGIC_BYTES:
                self._first += data[:_MAGIC_BYTES]
            self._position += len(data)
            self._last = data[-1:]
            self.count(len(data))
        return data


def _problem(info: tarfile.TarInfo) -> str | None:
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.issparse():
        return "not_a_file"
    return "too_large" if info.size > MOST_CLIP_BYTES else None


def _base_name(info: tarfile.TarInfo) -> str:
    return info.name.rpartition("/")[2]


def _linked_clips(links: dict[str, str]) -> dict[str, list[str]]:
    """Return the names of clips that are links, by the path of the file they lead to at last."""
    clips: dict[str, list[str]] = {}
    for path in links:
        file_name = path.rpartition("/")[2]
        if parse_file_name(file_name):
            target = path
            for _ in range(_LONGEST_CHAIN):  # they may lead in a circle
                target = links.get(target, target)
            clips.setdefault(target, []).append(file_name)
    return clips


def _inside(path: str) -> str:
    """Return a path as `tar xf` reads it, in the folder."""
    return posixpath.normpath(f"/{path}").lstrip("/")

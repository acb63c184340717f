"""From a stream of bytes to the members of a tarball, each checked, in one pass.

The bytes are gzip or plain tar, as their first bytes show, never the name (one Kinetics tarball was
a plain tar called `.tar.gz`). gunzip is ISA-L's, the tar format the standard library's. `tarfile`
stops at the tar's end mark and so never sees gzip's checksum: `Members` reads on to the very end.
"""

from __future__ import annotations

import itertools
import posixpath
import re
import tarfile
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from gzip import BadGzipFile
from typing import IO, Any, Protocol, cast

from isal import isal_zlib

from k600.dataset.clip import Entry, parse_file_name
from k600.errors import DamagedTarballError, Kinetics600Error, NoTarballError
from k600.store.rows import Checkpoint
from k600.tarballs.entries import EntryFinder, is_header_of
from k600.tarballs.gunzip import Sum, Sums, gunzip
from k600.tarballs.stored_blocks import StoredBlocks

CHUNK_BYTES = 1 << 20
MOST_CLIP_BYTES = 256 << 20  # a larger member is no clip: the largest one seen has 6.8 MB

_VIDEO_ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".3gp")

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
    """Bytes in blocks as they come."""

    def next_block(self) -> bytes | memoryview:
        """Return the next bytes, valid until the next call; none at the end only."""


class InMemory:
    """Bytes in memory as a `Raw`."""

    def __init__(self, data: bytes) -> None:
        """Begin with the first one."""
        self._left = data

    def next_block(self) -> bytes:
        block, self._left = self._left, b""
        return block


@dataclass(frozen=True, slots=True)
class Chunks:
    """The bytes of one clip as they are read. An iterator."""

    pieces: Iterator[bytes | memoryview]
    sums: Sums

    def __iter__(self) -> Chunks:
        return self

    def __next__(self) -> bytes | memoryview:
        return next(self.pieces)

    @property
    def crc32(self) -> int:
        """CRC-32 of what was read of it, until the next member is asked for."""
        return self.sums.clip().crc32

    @classmethod
    def of(cls, data: bytes) -> Chunks:
        """Return all that a clip holds."""
        sums = Sums()
        sums.add(data)
        return cls(iter([data]), sums)


@dataclass(frozen=True, slots=True)
class Member:
    """One clip in a tarball."""

    file_name: str
    """`<id>_<start>_<end>.mp4`, without the folders it lay in."""
    size_bytes: int
    chunks: Chunks
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


class Members:
    """The clips of a tarball in its own order; then it is checked to its last byte. An iterator.

    Folders, AppleDouble files (`._…`, from tarballs packed on macOS) and files that are neither
    named as a clip nor as another video are skipped. Only the base name is ever used, so nothing
    can point out of a folder. A name may come twice.

    A hard link to a file of the same tarball is that file, as it is for `tar xf`. Links come last:
    for their bytes the tarball is read again, or they are `not_a_file` without `again`, which opens
    the same bytes.

    Raises, from any step:
        DamagedTarballError: It fails a checksum, ends early, goes on after its end, or grows
            beyond all proportion. Until the iterator has ended without this error, nothing
            that came from it is proved.
        NoTarballError: It is neither gzip nor tar, or there is nothing in it.
    """

    def __init__(
        self,
        raw: Raw,
        compressed_bytes: int,
        *,
        name: str,
        chunk_bytes: int = CHUNK_BYTES,
        again: Callable[[], AbstractContextManager[Raw]] | None = None,
        begin: Checkpoint | None = None,
    ) -> None:
        """Begin to read, for an error's message by a name; read nothing yet.

        To `begin` at a checkpoint, `raw` has to give the bytes from its `entry_offset` on.
        """
        self._begin, self._position = begin, begin.position if begin else 0
        self._current: tarfile.TarInfo | None = None
        self._raw, self._name, self._again = raw, name, again
        self._chunk_bytes = chunk_bytes
        self._most_bytes = max(_LEAST_BOMB_BYTES, _MOST_RATIO * compressed_bytes)
        self._stream: _Unpacked | None = None
        self._members = self._read()

    def __iter__(self) -> Members:
        return self

    def __next__(self) -> Member:
        return next(self._members)

    def close(self) -> None:
        """Stop."""
        self._members.close()

    @property
    def packing(self) -> str | None:
        """`gzip` or `tar`; None before the first member."""
        return self._stream.packing or "tar" if self._stream else None

    @property
    def entries(self) -> dict[str, Entry]:
        """Where to enter the tarball for a clip, by file name, as far as that is settled by now.

        Only clips whose bytes were passed have an entry, and only where it is right for sure (see
        `k600.tarballs.entries`): none in a gzip of what could be compressed. Of a name that comes
        twice it is the first good member's: whoever takes a later one must compare the CRC-32.
        """
        return self._stream.finder.entries if self._stream else {}

    def checkpoint(self) -> Checkpoint | None:
        """Return where reading may go on with the last member, of which nothing was read yet.

        None where it cannot: behind a link, or where the gzip cannot be entered.
        """
        info, stream = self._current, self._stream
        if info is None or stream is None or info.offset not in stream.sums_before:
            return None
        header, member = info.offset, stream.sums_before[info.offset]
        if stream.packing is None:
            return Checkpoint("tar", header, header, 0, 0, header, self._position)
        place = stream.finder.place_before(header)
        if place is None or header - place[1] > member.size_bytes:
            return None
        return Checkpoint(stream.packing, *place, *member, header, self._position)

    def _read(self) -> Generator[Member, None, None]:
        links: dict[str, str] = {}
        for info, stream in _headers(self._raw, self._name, self._most_bytes, self._begin):
            self._stream = stream
            file_name = _base_name(info)
            if info.islnk():
                links.setdefault(_inside(info.name), _inside(info.linkname))
                if len(links) > _MOST_LINKS:
                    raise stream.damaged(f"it holds more than {_MOST_LINKS:,} links")
            elif parse_file_name(file_name):
                self._current = None if links else info
                member = Member(
                    file_name, info.size, Chunks(self._clip(info), stream.sums), _problem(info)
                )
                yield member
                for _ in member.chunks if member.problem is None else ():
                    pass
                self._position += 1
            elif file_name.lower().endswith(_VIDEO_ENDINGS):
                shown = file_name[:200].encode("utf-8", "backslashreplace").decode()
                self._current = None
                yield Member(shown, info.size, Chunks.of(b""), "odd_name")
                self._position += 1
        self._current = None
        yield from self._linked(links)

    def _clip(self, info: tarfile.TarInfo) -> Iterator[memoryview]:
        """Yield a clip's bytes, and note where they lie."""
        stream = self._stream
        assert stream is not None
        start, file_name = stream.tell(), _base_name(info)
        is_alone = info.offset_data - info.offset == tarfile.BLOCKSIZE and not info.pax_headers
        says_all = is_alone or is_header_of(stream.last_header, file_name, info.size)
        stream.sums.begin_clip()
        yield from stream.chunks(info, self._chunk_bytes)
        if says_all and _problem(info) is None:
            stream.finder.add(file_name, start, info.size, stream.sums.clip().crc32)

    def _linked(self, links: dict[str, str]) -> Iterator[Member]:
        """Yield the clips that are hard links."""
        clips = _linked_clips(links)
        if clips and self._again is not None:
            with self._again() as once_more:
                for info, stream in _headers(once_more, self._name, self._most_bytes):
                    file_names = () if info.islnk() else clips.pop(_inside(info.name), ())
                    problem = _problem(info)
                    data = b"" if problem or not file_names else b"".join(stream.chunks(info))
                    for file_name in file_names:
                        stream.count(len(data))  # many links to one large file are a bomb, too
                        yield Member(file_name, info.size, Chunks.of(data), problem)
        for file_names in clips.values():
            for file_name in file_names:
                yield Member(file_name, 0, Chunks.of(b""), "not_a_file")


def file_in_archive(data: bytes, file_name: str, *, most_bytes: int, name: str) -> bytes | None:
    """Return the first file of a base name in a `.tar.gz` in memory; None if there is none.

    It may have `most_bytes`, and all files together four times as many; `DamagedTarballError`, in
    which the archive is called `name`, is raised else.
    """
    for info, stream in _headers(InMemory(data), name, 4 * most_bytes):
        if info.isreg() and _base_name(info) == file_name:
            if info.size > most_bytes:
                raise stream.damaged(f"{info.name!r:.200} claims {info.size:,} bytes")
            return b"".join(stream.chunks(info))
    return None


def _headers(
    raw: Raw, name: str, most_bytes: int, begin: Checkpoint | None = None
) -> Iterator[tuple[tarfile.TarInfo, _Unpacked]]:
    """Yield a tarball's entries except folders and AppleDouble files, then check its end."""
    stream, seen = _Unpacked(raw, most_bytes, name, begin), False
    try:
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as tar:
            for info in tar:
                seen = True
                cast(Any, tar).members.clear()  # tarfile would keep every header
                if tar.pax_headers:  # for all that follows: who begins later does not see them
                    stream.sums_before.clear()
                if not info.isdir() and not _base_name(info).startswith("._"):
                    yield info, stream
        if not seen and begin is None:
            raise NoTarballError(f"{name}: there is not one file in it (zeros, or an empty file)")
        stream.check_end()
    except Kinetics600Error:
        raise
    except (tarfile.TarError, ValueError) as error:
        if not seen and stream.packing is None and begin is None:
            message = f"{name}: damaged, or no tarball: neither gzip nor tar ({error})"
            raise NoTarballError(message) from error
        raise stream.damaged(str(error)) from error


def _packing_at(head: bytes, name: str) -> str | None:
    """Return the packing of a tarball, by its beginning."""
    if not head:
        raise NoTarballError(f"{name}: the tarball is empty (0 bytes)")
    if head.lstrip()[:1] == b"<":
        raise NoTarballError(f"{name}: a web page came instead of a tarball")
    return packing_of(head)


class _Unpacked:
    """A tarball's unpacked bytes, forward only: the little that `tarfile` needs of a file.

    Several gzip members on end (as pigz and `cat` leave them) are one stream.
    """

    def __init__(
        self, raw: Raw, most_bytes: int, name: str, begin: Checkpoint | None = None
    ) -> None:
        """Begin at the tarball's beginning, or go on at a checkpoint's header."""
        packed: Iterator[bytes | memoryview] = iter(raw.next_block, b"")
        if begin is None:
            head = b""
            while len(head) < _MAGIC_BYTES and (block := next(packed, b"")):
                head += block
            packing = _packing_at(head, name)
            packed = itertools.chain([head], packed)
        else:
            packing = begin.packing
        self.packing = None if packing == "tar" else packing
        self.sums = Sums()
        blocks = StoredBlocks(begin.entry_offset if begin else 0)
        self.finder = EntryFinder(packing or "tar", blocks)
        self._position = self._counted = begin.unpacked_bytes if begin else 0
        self._pieces = (
            gunzip(partial(next, packed, b""), self.sums, blocks, position=self._position)
            if packing == "gzip"
            else map(bytes, packed)  # copies, to be kept
        )
        self._piece = memoryview(b"")
        self._most_bytes, self._name = most_bytes, name
        self._first = self._last = self.last_header = b""
        self._one_back = False
        self.sums_before: dict[int, Sum] = {}
        """The sums of the gzip member before the last headers, by where they begin."""
        if begin:
            if self.seek(begin.next_header) != begin.next_header:
                raise self.damaged("it ends early")
            self.sums.go_on(Sum(begin.crc32, begin.member_bytes))

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
        self.sums_before[self.tell()] = self.sums.member()
        if self._one_back and size:
            self._one_back, data = False, self._last
        while len(data) < size and (more := self._read_some(size - len(data))):
            data += more
        self.last_header = data
        return data

    def chunks(self, info: tarfile.TarInfo, most_bytes: int = CHUNK_BYTES) -> Iterator[memoryview]:
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
        if self.last_header.count(0) != tarfile.BLOCKSIZE:
            raise tarfile.ReadError("the tar's end mark is missing")
        while chunk := self._read_some(CHUNK_BYTES):
            if bytes(chunk).count(0) != len(chunk):
                raise tarfile.ReadError("more data after the tar's end mark")
        self.finder.finish()

    def count(self, size: int) -> None:
        """Count unpacked bytes; too many are an error."""
        self._counted += size
        if self._counted > self._most_bytes:
            raise self.damaged(f"it unpacks to more than {self._most_bytes:,} bytes")

    def tell(self) -> int:
        return self._position - self._one_back

    def seek(self, position: int) -> int:
        """Go forward, or back by one byte, as `tarfile` does to see that all data are there."""
        self.sums_before.clear()
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

    def _read_some(self, size: int) -> memoryview:
        """Read at most `size` bytes; none at the end only."""
        try:
            piece = self._piece or memoryview(next(self._pieces, b""))
        except (EOFError, BadGzipFile, _ZLIB_ERROR) as error:
            raise self.damaged(str(error)) from error
        data, self._piece = piece[:size], piece[size:]
        if data:
            self.sums.add(data)
            if len(self._first) < _MAGIC_BYTES:
                self._first += data[:_MAGIC_BYTES]
            self._position += len(data)
            self._last = bytes(data[-1:])
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

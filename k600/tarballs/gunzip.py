"""Gzip, unpacked as its bytes come: member after member, each proved by its trailer."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator
from gzip import BadGzipFile
from typing import Any, NamedTuple

from isal import igzip_lib, isal_zlib

from k600.tarballs.stored_blocks import StoredBlocks

_PIECE_BYTES = 256 << 10  # of packed bytes at a time
_MOST_PIECE_BYTES = 1 << 20  # of unpacked ones, however well they were packed
_MOST_TEXT_BYTES = 64 << 10  # of a file's name or comment

_inflater: Any = igzip_lib.IgzipDecompressor
_crc32: Any = isal_zlib.crc32
_combine: Any = isal_zlib.crc32_combine


class Sum(NamedTuple):
    """CRC-32 and length of some bytes."""

    crc32: int = 0
    size_bytes: int = 0

    def followed_by(self, other: Sum) -> Sum:
        """Return the sum of these bytes and others behind them."""
        crc = _combine(self.crc32, other.crc32, other.size_bytes)
        return Sum(crc, self.size_bytes + other.size_bytes)


class Sums:
    """Sums of what is read, of one clip and of one gzip member, though each byte is summed once."""

    def __init__(self) -> None:
        """Begin where a clip and a gzip member begin."""
        self._clip, self._member = Sum(), Sum()
        self._crc32 = self._size_bytes = 0

    def add(self, data: bytes | memoryview) -> None:
        """Take what is read next."""
        self._crc32 = _crc32(data, self._crc32)
        self._size_bytes += len(data)

    def member(self) -> Sum:
        """Return the sum of the current gzip member, as far as it was read."""
        self._fold()
        return self._member

    def go_on(self, member: Sum) -> None:
        """Forget what was read; go on within a gzip member of which so much came before."""
        self._clip, self._member = Sum(), member
        self._crc32 = self._size_bytes = 0

    def end_member(self) -> Sum:
        """Return the sum of a gzip member that ends here."""
        member, self._member = self.member(), Sum()
        return member

    def begin_clip(self) -> None:
        """Begin a clip's sum."""
        self._fold()
        self._clip = Sum()

    def clip(self) -> Sum:
        """Return the sum since the clip began."""
        self._fold()
        return self._clip

    def _fold(self) -> None:
        if self._size_bytes:
            some = Sum(self._crc32, self._size_bytes)
            self._clip, self._member = self._clip.followed_by(some), self._member.followed_by(some)
            self._crc32 = self._size_bytes = 0


class _Packed:
    """Packed bytes as they come, cut where the position of the inflater is asked for."""

    def __init__(self, next_block: Callable[[], bytes | memoryview], blocks: StoredBlocks) -> None:
        self._next_block, self._blocks = next_block, blocks
        self._views: deque[memoryview] = deque()
        self.offset = blocks.offset

    def piece(self) -> memoryview:
        """Return the next bytes, valid until the next call; none at the end only."""
        while not self._views or self.offset >= self._blocks.limit:
            held = b"".join(self._views)  # those that are looked at once more with the next block
            block = memoryview(self._next_block())
            if block:
                self._blocks.scan(block)
            else:
                self._blocks.finish()
            self._views = deque(view for view in (memoryview(held), block) if view)
            if not block:
                break
        if not self._views:
            return memoryview(b"")

        view = self._views.popleft()
        stop = next((stop for stop in self._blocks.stops if stop > self.offset), self._blocks.limit)
        count = min(len(view), stop - self.offset, _PIECE_BYTES)
        if count < len(view):
            self._views.appendleft(view[count:])
        self.offset += count
        return view[:count]

    def give_back(self, data: bytes) -> None:
        """Take back the last bytes, which were not needed."""
        if data:
            self._views.appendleft(memoryview(data))
            self.offset -= len(data)

    def exactly(self, count: int) -> bytes:
        """Return so many bytes."""
        data = b""
        while len(data) < count:
            piece = self.piece()
            if not piece:
                raise EOFError("the gzip is cut off")
            data += piece
        self.give_back(data[count:])
        return data[:count]


def gunzip(
    next_block: Callable[[], bytes | memoryview],
    sums: Sums,
    blocks: StoredBlocks,
    *,
    position: int = 0,
) -> Iterator[bytes]:
    """Yield what a gzip unpacks to, from its beginning, or from where it can be entered.

    Args:
        next_block: Returns the next packed bytes, valid until it is called again; none at the end.
        sums: Sums of what was yielded before the next piece is asked for.
        blocks: What looks for stored blocks in the packed bytes. Unless it begins at 0, the byte
            there is the one in front of a stored block's length.
        position: How much was unpacked before that.

    Raises:
        EOFError: It is cut off.
        BadGzipFile: It is no gzip, or fails the check of a trailer.
        IsalError: It is damaged.
    """
    packed = _Packed(next_block, blocks)
    is_entered = packed.offset > 0
    while is_entered or _read_header(packed):
        inflater = _inflater(igzip_lib.DECOMP_DEFLATE)
        if is_entered:
            packed.exactly(1)
            inflater.decompress(b"\0")
            blocks.reached(packed.offset, position)
            is_entered = False
        while not inflater.eof:
            piece: bytes | memoryview = b""
            if inflater.needs_input and not (piece := packed.piece()):
                raise EOFError("the gzip is cut off")
            data = inflater.decompress(piece, _MOST_PIECE_BYTES)
            position += len(data)
            if inflater.needs_input:
                blocks.reached(packed.offset, position)
            if data:
                yield data
        packed.give_back(inflater.unused_data)

        crc32, size_bytes = struct.unpack("<II", packed.exactly(8))
        member = sums.end_member()
        if crc32 != member.crc32:
            raise BadGzipFile(f"CRC check failed: {crc32:#010x}, expected {member.crc32:#010x}")
        if size_bytes != member.size_bytes & 0xFFFFFFFF:
            raise BadGzipFile("the gzip unpacks to another length than it says")


def _read_header(packed: _Packed) -> bool:
    """Read the header of the next gzip member, and zeros before it; return whether there is one."""
    while piece := packed.piece():
        if left := bytes(piece).lstrip(b"\0"):
            packed.give_back(left)
            break
    else:
        return False

    magic, method, flags = struct.unpack("<HBB6x", packed.exactly(10))
    if magic != 0x8B1F:
        raise BadGzipFile("what follows is no gzip")
    if method != 8 or flags & 0xE0:
        raise BadGzipFile("it is a gzip of an unknown kind")
    if flags & 4:
        packed.exactly(*struct.unpack("<H", packed.exactly(2)))
    for flag in (8, 16):
        left_bytes = _MOST_TEXT_BYTES if flags & flag else 0
        while left_bytes and packed.exactly(1) != b"\0":
            left_bytes -= 1
            if not left_bytes:
                raise BadGzipFile("a name in its header does not end")
    if flags & 2:
        packed.exactly(2)
    return True

"""Stored blocks of a gzip, found in its packed bytes without inflating them.

What does not compress, such as H.264, deflate stores: a byte with the block's header (for the first
one perhaps the end of a byte that belongs to the block before), a length of two bytes, its
complement, and the bytes as they are. So one block's length leads to the next one, and two that
follow each other are hardly chance. Where such a chain begins is searched for; from there each
block costs one look. Nothing here depends on how the packed bytes are cut into pieces.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

_unpack_header = struct.Struct("<BHH").unpack_from
_HEADER_BYTES = 5
_FIRST_BITS = 0x40  # a byte that ends with the header of a stored block is below
_ALL_BITS = 0xFFFF
_COMPLEMENTS = re.compile(rb"\xff\xff+")

_STEP_BYTES = 16 << 10
_SEARCH_BYTES = 256 << 10  # searched for the next chain, behind one
_SAMPLE_BYTES = 80 << 10  # searched again and again where there was none: more than one block
_LEAST_GAP_BYTES = 256 << 10
_MOST_GAP_BYTES = 4 << 20
_LEAST_APART_BYTES = 4096  # of places in a chain, lest empty blocks fill the memory


@dataclass(slots=True)
class Chain:
    """Stored blocks that follow each other in one member of a gzip."""

    offsets: list[int]
    """Of their places: the length fields of its blocks, except of those that are close together."""
    before: list[int]
    """How many bytes of the chain lie before each place."""
    lengths: list[int]
    """Of the block at each place."""
    size_bytes: int
    """Of all blocks that are known so far."""
    end: int
    """Where the last known block ends."""
    is_open: bool = True
    """Whether another block may follow."""
    start: int | None = None
    """Position of its first byte in what is unpacked, once that is known."""
    is_proved: bool = False
    """Whether the inflater has confirmed it."""

    def offset_after(self, position: int) -> int | None:
        """Return where the packed bytes end that hold all up to an unpacked position in the chain.

        In a block that is no place, it is the next place; None if that is not known yet.
        """
        inside = position - (self.start or 0)
        index = bisect_right(self.before, inside - 1) - 1
        into = inside - self.before[index]
        if into <= self.lengths[index]:
            return self.offsets[index] + 4 + into
        if index + 1 < len(self.offsets):
            return self.offsets[index + 1]
        return None if self.is_open else self.end

    def position_of(self, offset: int) -> int | None:
        """Return the unpacked position of a packed one; None in a block that is no place."""
        if offset == self.end:
            return (self.start or 0) + self.size_bytes
        index = bisect_right(self.offsets, offset) - 1
        into = offset - self.offsets[index] - 4
        fits = 0 <= into <= self.lengths[index]
        return (self.start or 0) + self.before[index] + into if fits else None


@dataclass(slots=True)
class StoredBlocks:
    """Finds the chains of stored blocks in a gzip's bytes as they come.

    The inflater is fed up to `limit`, and stops at each of `stops` to say where it is (`reached`).
    """

    offset: int = 0
    """Of the first byte that will come."""
    chains: deque[Chain] = field(default_factory=deque)
    """In their order, those that the inflater has disproved left out."""
    stops: list[int] = field(default_factory=list)
    limit: int = 0
    end: int = 0
    """Of all that was seen."""
    _block: memoryview = field(default_factory=lambda: memoryview(b""))
    _tail: bytes = b""
    """The bytes before the block that may matter still."""
    _chain: Chain | None = None
    _next: int = 0
    """Where the next length field is, or may be."""
    _until: int = 0
    """Where searching ends for a while."""
    _gap_bytes: int = _LEAST_GAP_BYTES
    _needed_end: int = 0
    """How much must have come before searching goes on."""
    _unproved: list[Chain] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.end = self.limit = self.offset
        self._search_from(self.offset + 1)

    def scan(self, block: memoryview) -> None:
        """Look at the next packed bytes, before they are inflated."""
        self._block, self.end = block, self.end + len(block)
        while self._follow() if self._chain else self._search():
            pass
        self.limit = min(self.end, self._next - 1)
        self._tail = bytes(self._bytes(max(min(self.limit, self.end - 4), self.offset), self.end))
        self._block = memoryview(b"")

    def finish(self) -> None:
        """There are no more packed bytes."""
        self.limit = self.end
        if self._chain is not None:
            self._close(self._chain)

    def reached(self, offset: int, position: int) -> None:
        """Take note of how much is unpacked from all bytes before an offset."""
        while self.stops and self.stops[0] <= offset:
            self.stops.pop(0)
        for chain in [*self._unproved]:
            if chain.start is None and offset == chain.offsets[0]:
                chain.start = position
            elif offset > chain.offsets[0] + 4 and (offset <= chain.end or not chain.is_open):
                self._prove(chain, offset, position)

    def _prove(self, chain: Chain, offset: int, position: int) -> None:
        expected = None
        if chain.start is not None and offset <= chain.end:
            expected = chain.position_of(offset)
            if expected is None:
                return
        self._unproved.remove(chain)
        chain.is_proved = expected == position
        if not chain.is_proved:
            self.chains.remove(chain)

    def _follow(self) -> bool:
        """Go from block to block; return whether the chain has ended."""
        chain, at = self._chain, self._next
        assert chain is not None
        first = self.end - len(self._block) + 1
        while at + 4 <= self.end:
            inside = at - first
            where = (self._block, inside) if inside >= 0 else (self._bytes(at - 1, at + 4), 0)
            header, length, complement = _unpack_header(*where)
            if length ^ complement != _ALL_BITS or header > 1:
                self._close(chain)
                self._search_from(at)
                return True
            if chain.size_bytes - chain.before[-1] >= _LEAST_APART_BYTES and not header:
                chain.offsets.append(at)
                chain.before.append(chain.size_bytes)
                chain.lengths.append(length)
            chain.size_bytes += length
            chain.end = at + 4 + length
            at = chain.end + 1
            if header:  # the last block of its member
                self._close(chain)
                self._search_from(at)
                return True
        self._next = at
        return False

    def _close(self, chain: Chain) -> None:
        chain.is_open = False
        self._chain = None
        if not chain.is_proved:
            self.stops.append(chain.end)

    def _search_from(self, at: int) -> None:
        self._next, self._until = at, at + _SEARCH_BYTES
        self._gap_bytes = _LEAST_GAP_BYTES

    def _search(self) -> bool:
        """Search a step on for a chain's beginning; return whether there is more to do now."""
        if self.end < self._needed_end:
            return False
        stop = min(self._next + _STEP_BYTES, self._until, self.end - 3)
        for at, length in self._found(self._next, stop):
            after = at + 4 + length
            follows = self._is_block(after)
            if follows is None:
                self._next, self._needed_end = at, after + _HEADER_BYTES
                return False
            if follows:
                self._begin(at, length)
                return True
        if stop <= self._next:
            return False
        self._next = stop
        if stop == self._until:
            self._next += self._gap_bytes
            self._until = self._next + _SAMPLE_BYTES
            self._gap_bytes = min(2 * self._gap_bytes, _MOST_GAP_BYTES)
        return True

    def _begin(self, at: int, length: int) -> None:
        """Begin a chain with a block that another one follows."""
        end = at + 4 + length
        self._chain, self._next = Chain([at], [0], [length], length, end), end + 1
        self.stops.append(at)
        self.chains.append(self._chain)
        self._unproved.append(self._chain)

    def _is_block(self, at: int) -> bool | None:
        """Return whether a stored block begins on a byte of its own; None if it is to come yet."""
        if at + _HEADER_BYTES > self.end:
            return None
        header, length, complement = _unpack_header(self._bytes(at, at + _HEADER_BYTES))
        return bool(header <= 1 and length ^ complement == _ALL_BITS)

    def _found(self, first: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield offset and value of all that may be length fields from `first` to before `stop`."""
        if stop <= first:
            return
        seen = np.frombuffer(self._bytes(first - 1, stop + 3), np.uint8)
        for match in _COMPLEMENTS.finditer((seen[1:-2] ^ seen[3:]).data):
            for index in range(match.start(), match.end() - 1):
                if seen[index] < _FIRST_BITS:
                    yield first + index, int(seen[index + 1]) | int(seen[index + 2]) << 8

    def _bytes(self, start: int, end: int) -> memoryview | bytes:
        """Return packed bytes that came with this block, or just before it."""
        begin = self.end - len(self._block)
        if start >= begin:
            return self._block[start - begin : end - begin]
        tail = self._tail[len(self._tail) - (begin - start) :]
        return (tail + bytes(self._block[: max(end - begin, 0)]))[: end - start]

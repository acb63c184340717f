"""Stored blocks of a gzip, found in its packed bytes without inflating them.

What does not compress, such as H.264, deflate stores: a byte with the block's header (for the first
one perhaps the end of a byte that belongs to the block before), a length of two bytes, its
complement, and the bytes as they are. So one block's length leads to the next one, and two that
follow each other are hardly chance. Where such a chain begins is searched for; from there each
block costs one look. Nothing here depends on how the packed bytes are cut into pieces.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

WINDOW_BYTES = 32 << 10
"""How far deflate looks back."""

_PIECE_BYTES = 256 << 10  # of packed bytes that are inflated at a time, at most

_unpack_header = struct.Struct("<BHH").unpack_from
_HEADER_BYTES = 5
_FIRST_BITS = 0x40  # a byte that ends with the header of a stored block is below
_ALL_BITS = 0xFFFF  # the sum of a length and its complement
_FITS = b"\xff"

# Packers close a block after so many symbols that one which hardly compresses has 32 KiB or more:
# behind a chain, the next one begins no earlier, and most often within the first step.
_LEAST_GAP_BYTES = 31 << 10
_MOST_GAP_BYTES = 4 << 20
_SEARCH_BYTES = 80 << 10  # between two gaps: more than one block
_FIRST_STEP_BYTES = 8 << 10
_LEAST_MEAN_BYTES = 4 << 10  # of a chain's blocks, lest empty ones fill the memory
_ROOM_BYTES = 64 << 10  # that a chain's first blocks may lack of it


@dataclass(slots=True, eq=False)
class Chain:
    """Stored blocks that follow each other in one member of a gzip."""

    offsets: list[int]
    """Of the blocks' length fields."""
    end: int
    """Where the last known block ends."""
    size_bytes: int = 0
    """Of all blocks that are known."""
    is_open: bool = True
    """Whether another block may follow."""
    start: int | None = None
    """Position of its first byte in what is unpacked, once the inflater was there."""
    is_proved: bool = False
    """Whether the inflater was at a second place, and where the lengths say."""

    def reach(self, end: int) -> None:
        """Take note of where its last block ends."""
        self.end = end
        self.size_bytes = self.before(len(self.offsets) - 1) + end - self.offsets[-1] - 4

    def before(self, index: int) -> int:
        """Return how many bytes of the chain lie before a block."""
        return self.offsets[index] - self.offsets[0] - _HEADER_BYTES * index

    def last_before(self, inside: int) -> int:
        """Return the last block that begins at a byte of the chain or before it, -1 for none."""
        if inside < 0:
            return -1
        return bisect_right(range(len(self.offsets)), inside, key=self.before) - 1

    def offset_after(self, inside: int) -> int:
        """Return where the packed bytes end that hold so many bytes of the chain."""
        return self.offsets[0] + 4 + inside + _HEADER_BYTES * max(self.last_before(inside - 1), 0)

    def position(self, offset: int) -> int:
        """Return how much is unpacked from all bytes before a packed offset in the chain."""
        index = bisect_right(self.offsets, offset) - 1
        return (self.start or 0) + self.before(index) + max(offset - self.offsets[index] - 4, 0)


@dataclass(slots=True)
class StoredBlocks:
    """Finds the chains of stored blocks in a gzip's bytes as they come."""

    offset: int = 0
    """Of the first byte that will come."""
    chains: deque[Chain] = field(default_factory=deque)
    """In their order; without those that turned out wrong, or shorter than a window."""
    end: int = 0
    """Of all that was seen."""
    _block: memoryview = field(default_factory=lambda: memoryview(b""))
    _tail: bytes = b""
    """What was not given out of the bytes before the block."""
    _chain: Chain | None = None
    _next: int = 0
    """Where the next length field is, or may be."""
    _until: int = 0
    """Where the next gap begins."""
    _gap_bytes: int = _LEAST_GAP_BYTES
    _needed_end: int = 0
    """How much must have come before searching goes on."""
    _stops: list[int] = field(default_factory=list)
    _unproved: list[Chain] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.end, self._next = self.offset, self.offset + 1
        self._until = self._next + _SEARCH_BYTES

    def scan(self, block: memoryview) -> list[memoryview]:
        """Look at the next packed bytes, none at the end; return what is to be inflated now.

        Each piece has to be inflated to its end, and `reached` to be called, before the next one.
        """
        begin = self.end - len(self._tail)
        self._block, self.end = block, self.end + len(block)
        while self._follow() if self._chain else self._search():
            pass
        if not block and self._chain is not None:
            self._close(self._chain, self._chain.end)

        limit = min(self.end, self._next - 1) if block else self.end
        cuts = {begin, min(self.end - len(block), limit), limit}
        cuts |= {stop for stop in self._stops if stop < limit}
        pieces = [
            self._bytes(at, min(at + _PIECE_BYTES, stop))
            for start, stop in pairwise(sorted(cuts))
            for at in range(start, stop, _PIECE_BYTES)
        ]
        self._stops = []
        self._tail, self._block = bytes(self._bytes(limit, self.end)), memoryview(b"")
        return pieces

    def reached(self, offset: int, position: int) -> None:
        """Take note of how much is unpacked from all bytes before an offset."""
        for chain in [*self._unproved]:
            if offset == chain.offsets[0]:
                chain.start = position
            elif offset > chain.offsets[0] + 4:
                is_within = chain.start is not None and offset <= chain.end
                if is_within and position == chain.position(offset):
                    chain.is_proved = True
                    self._unproved.remove(chain)
                else:
                    self._drop(chain)

    def _follow(self) -> bool:
        """Go from block to block; return whether the chain has ended."""
        chain, at = self._chain, self._next - 1
        assert chain is not None
        unpack, add, block = _unpack_header, chain.offsets.append, self._block
        begin, last = self.end - len(block), self.end - _HEADER_BYTES
        while at <= last:
            if at >= begin:
                header, length, complement = unpack(block, at - begin)
            else:
                header, length, complement = unpack(self._bytes(at, at + _HEADER_BYTES))
            is_block = header <= 1 and length + complement == _ALL_BITS
            if is_block and (length >= _LEAST_MEAN_BYTES or _has_room(chain, at)):
                add(at + 1)
                at += _HEADER_BYTES + length
                if not header:
                    continue
            self._close(chain, at)  # behind the last block of its member, or before another kind
            return True
        chain.reach(at)
        self._next = at + 1
        return False

    def _close(self, chain: Chain, end: int) -> None:
        """End a chain; the next one is searched for behind a gap."""
        chain.reach(end)
        chain.is_open, self._chain = False, None
        if end - chain.offsets[0] <= _PIECE_BYTES + 4:  # else a piece ends within it anyway
            self._stops.append(end)
        if chain.size_bytes < WINDOW_BYTES:  # nothing can be entered there
            self._drop(chain)
        self._gap_bytes, self._until = _LEAST_GAP_BYTES, end + 1
        self._leap()

    def _drop(self, chain: Chain) -> None:
        for chains in (self.chains, self._unproved):
            if chain in chains:
                chains.remove(chain)

    def _leap(self) -> None:
        """Go on behind a gap, each of which is twice as long as the one before."""
        self._next = self._until + self._gap_bytes
        self._until = self._next + _SEARCH_BYTES
        self._gap_bytes = min(2 * self._gap_bytes, _MOST_GAP_BYTES)

    def _search(self) -> bool:
        """Search a step on for a chain's beginning; return whether there is more to do now."""
        first = self._until - _SEARCH_BYTES + _FIRST_STEP_BYTES
        stop = first if self._next < first else self._until
        if self.end < max(stop + 3, self._needed_end):
            return False
        for at, length in self._found(self._next, stop):
            after = at + 4 + length
            if self.end < after + _HEADER_BYTES:
                self._next, self._needed_end = at, after + _HEADER_BYTES
                return False
            header, *lengths = _unpack_header(self._bytes(after, after + _HEADER_BYTES))
            if header <= 1 and sum(lengths) == _ALL_BITS:
                self._begin(Chain([at], after))
                return True
        self._next = stop
        if stop == self._until:
            self._leap()
        return True

    def _begin(self, chain: Chain) -> None:
        """Begin a chain with a block that another one follows."""
        self._chain, self._next = chain, chain.end + 1
        self._stops.append(chain.offsets[0])
        self.chains.append(chain)
        self._unproved.append(chain)

    def _found(self, first: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield offset and value of all that may be length fields from `first` to before `stop`."""
        packed = self._bytes(first - 1, stop + 3)
        seen = np.frombuffer(packed, np.uint8, offset=1)
        both = seen[:-2] ^ seen[2:]
        fits = (both[:-1] & both[1:]).tobytes()
        index = fits.find(_FITS)
        while index >= 0:
            header, length, _ = _unpack_header(packed, index)
            if header < _FIRST_BITS:
                yield first + index, length
            index = fits.find(_FITS, index + 1)

    def _bytes(self, start: int, end: int) -> memoryview:
        """Return packed bytes of this block, or of what was kept of those before it."""
        begin = self.end - len(self._block)
        if start >= begin:
            return self._block[start - begin : end - begin]
        tail = memoryview(self._tail)[len(self._tail) - (begin - start) :]
        if end <= begin:
            return tail[: end - start]
        return memoryview(bytes(tail) + bytes(self._block[: end - begin]))


def _has_room(chain: Chain, at: int) -> bool:
    """Return whether a chain may take a short block."""
    return len(chain.offsets) * _LEAST_MEAN_BYTES < at - chain.offsets[0] + _ROOM_BYTES

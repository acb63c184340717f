"""Where to enter a tarball for each of its clips, found in passing while it is read.

A clip of a gzip is entered at the last stored block that at least `WINDOW_BYTES` of stored bytes
follow before the clip, so that all that inflating looks back on is known; a clip near its beginning
there. What is written down follows from the tarball's bytes alone, not from how they came or where
reading stopped: a clip whose entry is not settled by then has none.
"""

from __future__ import annotations

import tarfile
from collections import deque
from typing import NamedTuple

from k600.dataset.clip import Entry
from k600.tarballs.stored_blocks import WINDOW_BYTES, Chain, StoredBlocks

MOST_SKIP_BYTES = 64 << 20
"""How much may be unpacked in front of a clip."""
MOST_WASTE_BYTES = 4 << 20
"""How much more than all that is unpacked may be asked for."""
_MOST_HEAD_BYTES = 4 << 20  # unpacked in front of a clip that is entered at the gzip's beginning


class _Found(NamedTuple):
    file_name: str
    start: int
    """Of its bytes, in what is unpacked."""
    size_bytes: int
    crc32: int


class EntryFinder:
    """Finds the entries of one tarball's clips, which are given in its order."""

    def __init__(self, packing: str, blocks: StoredBlocks) -> None:
        """Begin with no entry; `blocks` sees the packed bytes of a gzip."""
        self._is_gzip, self._blocks = packing == "gzip", blocks
        self._entries: dict[str, Entry] = {}
        self._unsettled: deque[_Found] = deque()
        self._latest: tuple[int, int] | None = None
        """The last place in the chains that are no longer kept: its offset and position."""

    @property
    def entries(self) -> dict[str, Entry]:
        """The entries that are settled by now, by file name; of one that came twice, the first."""
        self._settle()
        return self._entries

    def add(self, file_name: str, start: int, size_bytes: int, crc32: int) -> None:
        """Add a clip; a tar header that says all of it lies directly in front of its bytes."""
        if self._is_gzip:
            self._unsettled.append(_Found(file_name, start, size_bytes, crc32))
            self._settle()
        else:
            skip = tarfile.BLOCKSIZE
            entry = Entry(start - skip, skip, skip + size_bytes, size_bytes, crc32)
            self._entries.setdefault(file_name, entry)

    def finish(self) -> None:
        """Settle all: the tarball's file has ended."""
        self._settle()
        for clip in self._unsettled:
            self._write(clip, self._blocks.end)
        self._unsettled.clear()

    def place_before(self, position: int) -> tuple[int, int] | None:
        """Return where to enter, and what is unpacked before it, for what lies at a position."""
        for chain in reversed(self._blocks.chains):
            if chain.is_proved and (place := _place_in(chain, position)):
                return place
        return self._latest

    def _settle(self) -> None:
        while self._unsettled:
            clip = self._unsettled[0]
            packed_end = self._packed_end(clip.start + clip.size_bytes)
            if packed_end is None:
                return
            self._write(self._unsettled.popleft(), packed_end)

    def _packed_end(self, position: int) -> int | None:
        """Return where the packed bytes end that hold all up to a position; None if not known."""
        for chain in self._blocks.chains:
            if not chain.is_proved or chain.start is None or chain.size_bytes < WINDOW_BYTES:
                return None
            if position <= chain.start:  # all before a block's length
                return chain.offsets[0]
            if position <= chain.start + chain.size_bytes:
                return chain.offset_after(position - chain.start)
        return None

    def _write(self, clip: _Found, packed_end: int) -> None:
        self._forget_before(clip.start)
        offset, position = self.place_before(clip.start) or (0, 0)
        skip, span = clip.start - position, packed_end - offset
        most_bytes = MOST_SKIP_BYTES if offset else _MOST_HEAD_BYTES
        if skip <= most_bytes and span <= skip + clip.size_bytes + MOST_WASTE_BYTES:
            entry = Entry(offset, skip, span, clip.size_bytes, clip.crc32)
            self._entries.setdefault(clip.file_name, entry)

    def _forget_before(self, position: int) -> None:
        """Forget chains that no clip from there on needs, but the last place in them."""
        chains = self._blocks.chains
        while chains and chains[0].is_proved and not chains[0].is_open:
            chain = chains[0]
            if (chain.start or 0) + chain.size_bytes > position - WINDOW_BYTES:
                break
            self._latest = _place_in(chain, position) or self._latest
            chains.popleft()


def is_header_of(block: bytes, file_name: str, size_bytes: int) -> bool:
    """Return whether a tar header alone, without more before it, says that a clip follows."""
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    is_file = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
    return is_file and info.name.rpartition("/")[2] == file_name and info.size == size_bytes


def _place_in(chain: Chain, position: int) -> tuple[int, int] | None:
    """Return the last place in a chain that serves for what lies at a position."""
    start = chain.start or 0
    if position < start + WINDOW_BYTES:
        return None
    index = chain.last_before(min(position - start, chain.size_bytes) - WINDOW_BYTES)
    return (chain.offsets[index] - 1, start + chain.before(index)) if index >= 0 else None

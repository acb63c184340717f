"""One clip of a tarball by one request, from where its entry says, proved to the byte."""

from __future__ import annotations

import tarfile
import threading
from typing import Any

from isal import igzip_lib, isal_zlib

from k600.dataset.clip import Place
from k600.errors import EntryError
from k600.mirror.mirror import Mirror
from k600.mirror.reader import keep_memory_of_blocks
from k600.tarballs.archive import MOST_CLIP_BYTES
from k600.tarballs.entries import MOST_SKIP_BYTES, MOST_WASTE_BYTES, is_header_of

_MOST_MEMBERS = 1_000
"""Gzip members that one clip may be spread over; each costs a copy of what follows it."""
_TRAILER_BYTES = 8

_inflater: Any = igzip_lib.IgzipDecompressor
_crc32: Any = isal_zlib.crc32
_ZLIB_ERROR: Any = isal_zlib.error


def read_clip(
    mirror: Mirror, place: Place, file_name: str, *, stop: threading.Event | None = None
) -> bytes:
    """Return the bytes of a clip, by one request for a range of its tarball.

    The tar header in front of them names this clip and its size, and they have the CRC-32 of the
    entry: whoever made the entry, they are never another clip's. Memory is bounded by
    `MOST_CLIP_BYTES` and the two limits of `k600.tarballs.entries`. Many threads may read at once,
    until `stop` is set.

    Raises:
        EntryError: The clip does not lie where the entry says, or the entry cannot be true.
        MirrorChangedError: Another object has taken the tarball's place.
        MirrorRangesError: The server sends no byte ranges.
        MirrorError: The range cannot be read.
        Stopped: `stop` was set.
    """
    entry, path = place.entry, place.tarball.path
    _check_limits(place, file_name)
    keep_memory_of_blocks()

    start, end = entry.entry_offset, entry.entry_offset + entry.span_bytes
    packed = mirror.get_range(
        path, start, end, etag=place.etag, size_bytes=place.tarball_bytes, stop=stop
    )
    skip, whole = entry.skip_bytes, entry.skip_bytes + entry.size_bytes
    data = packed[:whole] if place.packing == "tar" else _unpacked(packed, whole, is_head=not start)

    if len(data) != whole:
        raise _error(place, file_name, f"{len(data):,} bytes are unpacked, expected {whole:,}")
    if not is_header_of(data[skip - tarfile.BLOCKSIZE : skip], file_name, entry.size_bytes):
        raise _error(place, file_name, "no tar header with its name and size is in front of it")
    clip = data[skip:]
    if _crc32(clip) != entry.crc32:
        raise _error(place, file_name, "its CRC-32 is another")
    return clip


def _check_limits(place: Place, file_name: str) -> None:
    """Raise `EntryError` for numbers that no entry of ours has: it may be a stranger's."""
    entry = place.entry
    most_bytes = entry.skip_bytes + entry.size_bytes + MOST_WASTE_BYTES
    if not (
        tarfile.BLOCKSIZE <= entry.skip_bytes <= MOST_SKIP_BYTES
        and 0 <= entry.size_bytes <= MOST_CLIP_BYTES
        and 0 < entry.span_bytes <= most_bytes
        and 0 <= entry.entry_offset <= place.tarball_bytes - entry.span_bytes
    ):
        raise _error(place, file_name, "no tarball of that size can be entered there")


def _unpacked(packed: bytes, most_bytes: int, *, is_head: bool) -> bytes:
    """Return the first bytes that part of a gzip unpacks to, fewer if it is none."""
    parts, left = list[bytes](), memoryview(packed)
    inflater, trailer_bytes = _inflater(igzip_lib.DECOMP_GZIP), 0
    try:
        if not is_head:
            inflater, trailer_bytes = _inflater(igzip_lib.DECOMP_DEFLATE), _TRAILER_BYTES
            inflater.decompress(b"\0")  # the header of a stored block, without what it shared
            left = left[1:]
        for _ in range(_MOST_MEMBERS):
            parts.append(inflater.decompress(left, most_bytes))
            most_bytes -= len(parts[-1])
            if not most_bytes or not inflater.eof:
                break
            left = memoryview(inflater.unused_data)[trailer_bytes:]
            inflater, trailer_bytes = _inflater(igzip_lib.DECOMP_GZIP), 0
    except (_ZLIB_ERROR, EOFError):
        return b""
    return b"".join(parts)


def _error(place: Place, file_name: str, why: str) -> EntryError:
    return EntryError(
        f"{place.tarball.path}: {file_name} is not where its entry says ({place.entry}): {why}"
    )

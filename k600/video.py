"""What can be told of a clip from its file: whether its MP4 boxes are whole.

This is the check that every clip passes before it may bear its name in the store. It reads
a few box headers (microseconds a clip) and finds empty, cut-off and foreign files; damage
inside the coded pictures takes a decoder to find.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

__all__ = ["box_problem"]

_MOST_BOXES = 100_000


def box_problem(file: BinaryIO) -> str | None:
    """Return what is wrong with an MP4 file's outermost boxes, None if nothing is.

    Args:
        file: Seekable, opened for reading bytes.

    Returns:
        `empty` (no byte), `not_mp4` (something else bears the name), `truncated` (a box goes
        past the end, or index or pictures are missing), or None.
    """
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return "empty"
    position, kinds = 0, set()
    for _ in range(_MOST_BOXES):
        if position == size:
            break
        file.seek(position)
        header = file.read(16)
        kind = header[4:8]
        if position == 0 and kind not in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"):
            return "not_mp4"
        if len(header) < 8:
            return "truncated"
        length = struct.unpack(">I", header[:4])[0]
        least = 8
        if length == 1:
            if len(header) < 16:
                return "truncated"
            length, least = struct.unpack(">Q", header[8:16])[0], 16
        elif length == 0:  # "to the end of the file"
            length = size - position
        if length < least or position + length > size:
            return "truncated"
        kinds.add(kind)
        position += length
    if position != size or b"moov" not in kinds or not kinds & {b"mdat", b"moof"}:
        return "truncated"
    return None

"""What CVDF hosts: its lists, and its tarballs as streams of clips (`extract` stores them)."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k600.clip import Clip, Listing, Tarball, TestLabels, parse_file_name
from k600.errors import EncoderError, MirrorDeniedError, MirrorNotFoundError
from k600.mirror.mirror import Mirror, RemoteFile
from k600.mirror.range_reader import AHEAD_BYTES, RangeReader, keep_memory_of_blocks
from k600.splits import Split
from k600.tarballs.lists import parse_listing, parse_path_list, parse_test_list
from k600.tarballs.reading import tarball_members
from k600.video.cut import CutError
from k600.video.probe import box_problem
from k600.video.resize import resize_clip

__all__ = [
    "StreamedClip",
    "clip_of",
    "read_listing",
    "read_path_list",
    "read_test_list",
    "stream_tarball",
]


_IN_ONE_PIECE_BYTES = 16 << 20
"""A clip of at most this size is not put together from pieces."""
_AHEAD_AT_FIRST_BYTES = 8 << 20
"""Who iterates may stop after a few clips."""


def read_path_list(mirror: Mirror, split: str) -> tuple[list[Tarball], bytes]:
    """Fetch a split's path list; returns its tarballs and its text.

    Raises:
        MirrorError: It cannot be had.
        ListError: It is truncated or no list.
    """
    folder = Split(split).host_folder
    path = f"{folder}/k600_{folder}_path.txt"
    text, _ = mirror.read_list(path)
    return parse_path_list(text, split, name=f"{mirror}/{path}", whole=True), _kept(text)


def read_listing(mirror: Mirror, split: str) -> tuple[Listing, bytes] | None:
    """Fetch the listing of a split's clips by class; None where the mirror has none.

    Raises:
        MirrorError: It cannot be had, for another reason than that it is not there.
        ListError: It is truncated or no listing.
    """
    if Split(split).is_mixed:
        return None  # test.csv describes another list than the tarballs: nothing to check by
    path = f"annotations/{Split(split).host_folder}.txt"
    try:
        text, _ = mirror.read_list(path)
    except (MirrorNotFoundError, MirrorDeniedError):  # S3's word where listing is not allowed
        return None
    return parse_listing(text, split, name=f"{mirror}/{path}", whole=True), _kept(text)


def read_test_list(mirror: Mirror) -> tuple[list[str], bytes]:
    """Fetch the host's list of test clips, which has no labels; returns file names and its text.

    It describes another list than the tarballs hold: at most half of it is there.

    Raises:
        MirrorError: It cannot be had.
        ListError: It is truncated or no list.
    """
    path = "annotations/test.csv"
    text, _ = mirror.read_list(path)
    return parse_test_list(text, name=f"{mirror}/{path}", whole=True), _kept(text)


def _kept(text: str) -> bytes:
    """Return a list that proved whole as it is kept: its last line has an end."""
    return f"{text.rstrip()}\n".encode()


@dataclass(frozen=True, slots=True)
class StreamedClip:
    """A clip that came through a stream and was not stored."""

    file_name: str
    clip: Clip | None
    """None if the name is no clip's."""
    data: bytes
    """The whole file."""
    problem: str | None
    """Why it is no good (`empty`, `truncated`, …), None if it is."""


def stream_tarball(
    mirror: Mirror,
    tarball: Tarball,
    labels: TestLabels,
    *,
    remote: RemoteFile | None = None,
    short_side: int | None = None,
    ahead_bytes: int = AHEAD_BYTES,
) -> Iterator[StreamedClip]:
    """Yield a tarball's clips in its own order, storing nothing. One reading (`tarballs.reading`).

    Args:
        mirror: Where it is.
        tarball: Which.
        labels: Labels of test clips.
        remote: The very object to read, from `Mirror.stat`; what is there now if None.
        short_side: Most pixels of a clip's shorter side; None leaves clips as they are.
        ahead_bytes: Bytes requested ahead, at most; at first as many as a reader of a few clips
            can do without.

    Raises:
        MirrorError: It cannot be read.
        DamagedTarballError, MirrorChangedError: At its end it failed its own checks, or was not
            the object any more that was opened: one of the clips that came may be damaged.
    """
    keep_memory_of_blocks()
    seen: set[str] = set()
    ahead: dict[str, Any] = {
        "ahead_bytes": min(ahead_bytes, _AHEAD_AT_FIRST_BYTES),
        "most_ahead_bytes": ahead_bytes,
    }
    reader = (
        RangeReader.at(mirror, tarball.path, **ahead)
        if remote is None
        else RangeReader(mirror, remote, **ahead)
    )
    with contextlib.closing(reader) as raw:
        for member in tarball_members(raw, chunk_bytes=_IN_ONE_PIECE_BYTES):
            if member.file_name in seen:
                continue
            data = b"" if member.problem else b"".join(member.chunks)
            problem = member.problem or box_problem(io.BytesIO(data))
            if problem is None and short_side is not None:
                data, problem = _smaller(data, short_side)
            if problem is None:
                seen.add(member.file_name)
            yield StreamedClip(
                member.file_name, clip_of(tarball, member.file_name, labels), data, problem
            )
        raw.check_unchanged()


def _smaller(data: bytes, short_side: int) -> tuple[bytes, str | None]:
    """Return a clip with a shorter side, and what is wrong with it."""
    with tempfile.TemporaryDirectory(prefix="kinetics600-") as folder:
        target = Path(folder, "clip.mp4")
        try:
            made = resize_clip(io.BytesIO(data), target, short_side)
        except CutError as error:
            return data, error.code
        except EncoderError:
            return data, "not_encoded"
        return target.read_bytes() if made else data, None


def clip_of(tarball: Tarball, file_name: str, labels: TestLabels) -> Clip | None:
    """Return the clip that a member is: labelled by its tarball, or in `test` by the list.

    None if its name is no clip's.
    """
    times = parse_file_name(file_name)
    if times is None:
        return None
    return Clip(tarball.split, tarball.label or labels.get(times), *times)

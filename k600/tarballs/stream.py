"""A tarball as a stream of whole clips that are not stored."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from k600.dataset.clip import Clip, Entry, Tarball, TestLabels, parse_file_name
from k600.errors import EncoderError
from k600.mirror.identity import RemoteFile
from k600.mirror.mirror import Mirror
from k600.mirror.reader import AHEAD_BYTES
from k600.tarballs.reading import open_tarball
from k600.video.cut import CutError
from k600.video.encoding import Encoding
from k600.video.probe import box_problem
from k600.video.reencode import reencode_clip

_IN_ONE_PIECE_BYTES = 16 << 20  # so that clips need not be joined
_AHEAD_AT_FIRST_BYTES = 8 << 20  # as iteration may stop after a few clips


@dataclass(frozen=True, slots=True)
class StreamedClip:
    """A clip of a stream."""

    file_name: str
    clip: Clip | None
    """None if the name is no clip's."""
    data: bytes
    problem: str | None
    """A key of `REASONS`; None for a good clip."""
    fps: float | None
    """Frames per second; None for a clip that was not looked into."""
    position: int
    """Its place among the tarball's clips, from 0."""


def stream_tarball(
    mirror: Mirror,
    tarball: Tarball,
    labels: TestLabels,
    *,
    remote: RemoteFile | None = None,
    encoding: Encoding | None = None,
    ahead_bytes: int = AHEAD_BYTES,
    on_end: Callable[[str, Mapping[str, Entry]], object] = lambda packing, entries: None,
) -> Generator[StreamedClip, None, None]:
    """Yield a tarball's clips in its own order; none more of a name once it was good.

    It is the object `remote`, or what is there now. `DamagedTarballError` or `MirrorChangedError`
    at its end means that one of the clips may be damaged. Else `on_end` is called then, or once
    nobody asks for more, with the tarball's packing, and where to enter it for its clips, by file
    name, as far as that is known by then.
    """
    seen: set[str] = set()
    with open_tarball(
        mirror,
        remote or tarball.path,
        chunk_bytes=_IN_ONE_PIECE_BYTES,
        ahead_bytes=min(ahead_bytes, _AHEAD_AT_FIRST_BYTES),
        most_ahead_bytes=ahead_bytes,
    ) as members:
        for position, member in enumerate(members):
            name = member.file_name
            if name in seen:
                continue
            data, problem, fps = b"", member.problem, None
            if problem is None:
                data, problem, fps = checked_clip(b"".join(member.chunks), encoding)
            if problem is None:
                seen.add(name)
            clip = clip_of(tarball, name, labels)
            try:
                yield StreamedClip(name, clip, data, problem, fps, position)
            except GeneratorExit:
                on_end(members.packing or "", members.entries)
                raise
    on_end(members.packing or "", members.entries)


def checked_clip(data: bytes, encoding: Encoding | None) -> tuple[bytes, str | None, float | None]:
    """Return a clip as it is streamed; its problem, a key of `REASONS`, or None; and
    its frames per second, None where nobody looked.

    Args:
        data: Its bytes in the tarball.
        encoding: How it is encoded anew; None for as it is.
    """
    problem = box_problem(io.BytesIO(data))
    if problem is not None or encoding is None:
        return data, problem, None
    with tempfile.TemporaryDirectory(prefix="kinetics600-") as folder:
        target = Path(folder, "clip.mp4")
        try:
            encoded = reencode_clip(io.BytesIO(data), target, encoding)
        except CutError as error:
            return data, error.code, None
        except EncoderError:
            return data, "not_encoded", None
        return target.read_bytes() if encoded.is_new else data, None, encoded.fps


def clip_of(tarball: Tarball, file_name: str, labels: TestLabels) -> Clip | None:
    """Return the clip of a file name, labelled by its tarball or, in `test`, by the list."""
    times = parse_file_name(file_name)
    if times is None:
        return None
    return Clip(tarball.split, tarball.label or labels.get(times), *times)

"""Check a clip's file: whether its MP4 boxes are whole, and what is in them.

`box_problem` checks every clip before it gets its name in the store. It reads a few box headers
(microseconds a clip) and finds empty, truncated and foreign files. `probe_clip` reads every packet
(a few milliseconds) and finds what is too short or ends early; `deep`, it decodes every frame, also
of audio, and finds damage inside them.
"""

from __future__ import annotations

import errno
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from k600.errors import StoreError
from k600.errors.text import counted

VERDICTS: dict[str, str] = {
    "ok": "whole",
    "short": "whole, but shorter than its name says",
    "empty": "the file is empty",
    "not_mp4": "the file is not an MP4",
    "truncated": "the file is cut off before its end",
    "no_video": "there are no frames in it",
    "damaged": "it cannot be decoded",
    "changed": "its bytes are not those that came from the host",
    "unreadable": "the file cannot be read",
    "vanished": "the ledger has it, the folder has not",
}

BAD = frozenset(VERDICTS) - {"ok", "short"}
"""Verdicts on clips that are of no use."""

_SHORT_BY_SECONDS = 0.5
"""A clip is short if more than this is missing: frames hardly ever start on whole seconds."""

_OUT_OF_MEANS = (errno.EMFILE, errno.ENFILE)
"""Errors of this process, not of a file. (ENOMEM: a damaged index asks for absurd amounts.)"""

_OF_THE_DISK = (
    *(errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE, errno.EISDIR, errno.ELOOP),
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.ENOENT, *_OUT_OF_MEANS),
)

_MOST_BOXES = 100_000


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found in one file."""

    verdict: str
    """A key of `VERDICTS`."""
    detail: str = ""
    duration_seconds: float = 0.0
    """Of the frames, from the first one's time to the last one's end; 0 where unknown."""
    width: int = 0
    """In pixels; 0 where unknown."""
    height: int = 0
    fps: float = 0.0


def box_problem(file: BinaryIO) -> str | None:
    """Return what is wrong with an MP4 file's outermost boxes, None if nothing is.

    `empty`, `not_mp4`, or `truncated` (a box goes past the end, or index or frames are missing).
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

        length, least = int.from_bytes(header[:4], "big"), 8
        if length == 1:
            if len(header) < 16:
                return "truncated"
            length, least = int.from_bytes(header[8:], "big"), 16
        elif length == 0:  # "to the end of the file"
            length = size - position
        if length < least or position + length > size:
            return "truncated"
        kinds.add(kind)
        position += length

    if position != size or b"moov" not in kinds or not kinds & {b"mdat", b"moof"}:
        return "truncated"
    return None


def open_mp4(source: Any, **options: Any) -> Any:
    """Open an MP4 with PyAV, also if its metadata are not UTF-8.

    The explicit format keeps FFmpeg from reading the file as a playlist.
    """
    import av

    if int(av.__version__.split(".")[0]) < 19:  # from then on it is the default
        options["metadata_errors"] = "replace"
    return av.open(source, format="mp4", **options)


def best_stream(container: Any, kind: str) -> Any:
    """Return the `video` or `audio` stream that players choose; None if there is none.

    A cover is none. Of several, FFmpeg chooses, as for torchcodec and players: the default one,
    then that with more frames, then that of the higher bit rate.
    """
    import av

    stream = container.streams.best(kind)
    is_cover = stream is not None and stream.disposition & av.stream.Disposition.attached_pic
    return None if is_cover else stream


def playable_stream(container: Any, kind: str) -> Any:
    """Return the stream as `best_stream` does, None also if nothing here can decode it."""
    stream = best_stream(container, kind)
    return stream if stream is not None and stream.codec_context is not None else None


def probe_clip(path: Path, *, seconds: float, deep: bool = False) -> Probe:
    """Check one file; `seconds` is how long the clip should be.

    With `deep`, everything is decoded, in one thread; else only packets are read.

    Raises:
        StoreError: This process may open no more files, which is not the clip's fault.

    Example:
        >>> probe_clip(Path("no-such-clip.mp4"), seconds=10).verdict
        'vanished'
    """
    import av

    try:
        with open(path, "rb") as file:
            if (problem := box_problem(file)) is not None:
                return Probe(problem)
        with open_mp4(str(path)) as container:
            return _read_packets(container, path, seconds, deep=deep)
    except (FileNotFoundError, NotADirectoryError):
        return Probe("vanished")
    except (av.error.FFmpegError, OSError) as error:
        return Probe(_verdict_of(error, path), _error_text(error))


def _read_packets(container: Any, path: Path, seconds: float, *, deep: bool) -> Probe:
    """Return what the packets of a file show, and with `deep` its frames."""
    import av

    video = best_stream(container, "video")
    if video is None:
        return Probe("no_video", "it has no stream of frames")
    decoded = [video, *container.streams.audio] if deep else []
    for stream in decoded:
        if stream.codec_context is None:
            return Probe("damaged", f"nothing can decode the {stream.type} in it")
        stream.codec_context.thread_count = 1  # clips are checked in parallel
        stream.codec_context.options = {"err_detect": "explode"}

    context = video.codec_context
    width, height = (context.width, context.height) if context else (0, 0)
    facts = Probe("ok", width=width, height=height, fps=float(video.average_rate or 0))

    def found(verdict: str, detail: str) -> Probe:
        return replace(facts, verdict=verdict, detail=detail)

    packets = shown = frames = 0
    first, last = math.inf, -math.inf
    at = video  # (`packet.stream_index` is always 0 in a packet that ends a stream)
    try:
        for packet in container.demux():
            at = packet.stream
            if packet.is_corrupt:
                return found("truncated", f"the {at.type} ends inside packet {packets + 1}")

            if at is video and packet.size:
                packets += 1
                pts = packet.pts if packet.pts is not None else packet.dts
                if pts is not None and not packet.is_discard:
                    shown += 1
                    first, last = min(first, pts), max(last, pts + (packet.duration or 0))
            if at in decoded:
                frames += len(packet.decode()) * (at is video)
    except av.error.FFmpegError as error:
        where = f"{at.type}, at packet {packets} of the video"
        return found(_verdict_of(error, path), f"{where}: {_error_text(error)}")

    duration = float((last - first) * video.time_base) if shown else 0.0
    facts = replace(facts, duration_seconds=duration)
    if packets < video.frames and _samples(path) < video.frames:
        return found("truncated", f"{packets} of {counted(video.frames, 'frame')} found")
    if not shown:
        return found("no_video", "its stream of frames is empty")
    if deep and frames < shown:
        return found("damaged", f"{frames} of {counted(shown, 'frame')} can be decoded")
    if duration < seconds - _SHORT_BY_SECONDS:
        return found("short", f"{duration:.2f} of {seconds:g} seconds")
    return facts


def _samples(path: Path) -> int:
    """Return the number of video packets, with those that an edit list leaves out."""
    with open_mp4(str(path), options={"advanced_editlist": "0"}) as container:
        video = best_stream(container, "video")
        return sum(bool(packet.size) for packet in container.demux(video))


def _verdict_of(error: Exception, path: Path) -> str:
    number = getattr(error, "errno", None)
    if number in _OUT_OF_MEANS:
        raise StoreError(f"data_dir: '{path}' cannot be checked: {_error_text(error)}") from error
    return "unreadable" if is_disk_error(error) else "damaged"


def is_disk_error(error: Exception) -> bool:
    """Whether an error is about the disk or this process, and not about a clip."""
    is_from_python = isinstance(error, OSError) and type(error).__module__ == "builtins"
    return getattr(error, "errno", None) in _OF_THE_DISK or is_from_python


def _error_text(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)

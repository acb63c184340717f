"""Cut a clip out of a longer video: the very frames of [start, end), encoded anew with PyAV."""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

from k600.video.encoder import Encoded, Mp4Writer, read_back
from k600.video.encoding import CUT, Encoding
from k600.video.probe import best_stream, playable_stream

Source = str | os.PathLike[str] | IO[bytes] | io.RawIOBase


class CutError(ValueError):
    """A video cannot be cut; `code` is `out_of_range`, `damaged` or `no_video`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def cut_clip(
    source: Source,
    target: Path,
    start: int,
    end: int,
    *,
    encoding: Encoding = CUT,
    audio: Source | bool = False,
) -> Encoded:
    """Write the frames with `start <= time < end` of a video into an MP4 file.

    H.264 (`yuv420p`), displayed as the source is (see `FrameShaper`), frame times as in the source,
    counted from `start`. The finished file is decoded in full.

    Of `source`, only what the cut needs is read. `end` may be after the end of the video. `audio`
    is True to keep the audio of `source`, or a source of its own; AAC is copied, other audio
    becomes AAC.

    Raises:
        CutError: The video has no frame there (`out_of_range`), or none at all (`no_video`).
        EncoderError: It can be decoded, but not encoded.
        av.error.FFmpegError: The source cannot be decoded, or the disk cannot be written.
    """
    import av

    with contextlib.ExitStack() as stack:
        container = stack.enter_context(av.open(source))
        video = playable_stream(container, "video")
        if video is None:
            raise CutError("no_video", "there are no frames in the video that can be decoded")
        audio_stream = None
        if audio is not False:
            other = container if audio is True else stack.enter_context(av.open(audio))
            audio_stream = playable_stream(other, "audio")

        output = stack.enter_context(Mp4Writer(target, video, encoding))
        if audio_stream is not None:
            is_aac = audio_stream.codec_context.name == "aac"  # what players of MP4 know best
            output.expect_audio(audio_stream, copied=is_aac)
        video.thread_type = "AUTO"
        for frame in _between(video, start, end):
            output.add(frame)
        if not output.frames:
            raise CutError("out_of_range", f"the video has no frame from second {start} to {end}")
        if audio_stream is not None:
            for piece in _between(audio_stream, start, end, packets=output.wants_packets):
                output.add_audio(piece)
        output.finish()
    return read_back(target, output.frames)


def _between(stream: Any, start: int, end: int, *, packets: bool = False) -> Iterator[Any]:
    """Yield frames, or packets of audio, with `start <= time < end`, timed from `start`."""
    origin = _origin(stream.container)
    first, last = (math.ceil((second + origin) / stream.time_base) for second in (start, end))
    stream.container.seek(first, stream=stream, backward=True)  # the key frame before
    for piece in _checked_packets(stream) if packets else stream.container.decode(stream):
        if piece.pts is None or piece.pts < first:
            continue
        if piece.pts >= last:
            break
        piece.pts -= first
        if packets:
            piece.dts = piece.pts
        yield piece


def _checked_packets(stream: Any) -> Iterator[Any]:
    for packet in stream.container.demux(stream):
        packet.decode()
        yield packet


def _origin(container: Any) -> Fraction:
    """Return the exact start time, nearly always 0 (`container.start_time` is in microseconds)."""
    times = [
        stream.start_time * stream.time_base
        for stream in (best_stream(container, "video"), best_stream(container, "audio"))
        if stream is not None and stream.start_time is not None
    ]
    return Fraction(min(times, default=0))

"""Cut a clip out of a longer video: the very frames of [start, end), encoded anew with PyAV."""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

from k600.errors import MissingDependencyError

__all__ = ["CutError", "CutFacts", "check_encoder", "count_pictures", "cut_clip", "fitted"]

Source = str | os.PathLike[str] | IO[bytes] | io.RawIOBase


class CutError(ValueError):
    """A video cannot be cut; `code` is `out_of_range`, `short`, `damaged` or `no_video`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class CutFacts:
    """What a cut clip holds."""

    frames: int
    seconds: float
    """From the first frame's time to the last frame's end."""
    width: int
    height: int
    """In pixels, as encoded."""
    audio: bool


def check_encoder() -> None:
    """Raise `MissingDependencyError` unless PyAV can encode H.264."""
    import av

    try:
        av.codec.Codec("libx264", "w")
    except (av.error.FFmpegError, ValueError):
        raise MissingDependencyError(
            f"clips from YouTube and clips made smaller (short_side) are encoded with libx264, and "
            f"PyAV {av.__version__} was built without it. Install PyAV's own wheel: "
            "pip install --force-reinstall av"
        ) from None


def cut_clip(
    source: Source,
    target: Path,
    start: int,
    end: int,
    *,
    short_side: int | None = None,
    audio: Source | bool = False,
) -> CutFacts:
    """Write the frames with `start <= time < end` of a video into an MP4 file, and check it.

    H.264 (`yuv420p`, CRF 18), frame times as in the source, counted from `start`. The finished
    file is decoded in full.

    Args:
        source: The video: a path, or an object with `read` and `seek`. Only what the cut needs
            is read.
        target: The file to write.
        start: In seconds from the video's beginning.
        end: In seconds, exclusive. A video that ends before is cut to its end.
        short_side: Pixels of the shorter side; larger pictures are scaled down, smaller ones
            kept. None keeps all.
        audio: Keep the sound: True for that of `source`, or where it is if it came apart.

    Raises:
        CutError: The video has no frame there (`out_of_range`), or the file cannot be decoded
            back frame by frame (`damaged`).
        av.error.FFmpegError: The source cannot be decoded.
    """
    import av

    with av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as output:
        with av.open(source) as container:
            frames = _copy_video(container, output, start, end, short_side, audio)
        if not frames:
            raise CutError("out_of_range", f"the video has no frame from second {start} to {end}")
    facts = _decoded(target)
    if facts.frames != frames:
        raise CutError("damaged", f"{frames} frames were written and {facts.frames} can be read")
    return facts


def _copy_video(
    container: Any,
    output: Any,
    start: int,
    end: int,
    short_side: int | None,
    audio: Source | bool,
) -> int:
    """Encode the pictures, and the sound where asked for; return how many pictures."""
    import av

    if not container.streams.video:
        raise CutError("damaged", "there is no picture in the video")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    tick = stream.time_base
    first, last = (math.ceil((second + _origin(container)) / tick) for second in (start, end))
    width, height = fitted(stream.codec_context.width, stream.codec_context.height, short_side)
    rate = stream.average_rate or stream.guessed_rate or Fraction(30)
    options = {"crf": "18", "preset": "veryfast"}
    encoder = output.add_stream("libx264", rate=rate, options=options)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.codec_context.time_base = tick
    encoder.codec_context.thread_count = 1  # the same bytes on every machine
    sound = _Sound.open(audio, container, output)
    frames = 0
    container.seek(first, stream=stream, backward=True)
    for frame in container.decode(stream):
        if frame.pts is None or frame.pts < first:
            continue
        if frame.pts >= last:
            break
        frame = frame.reformat(width, height, "yuv420p")
        frame.pts -= first
        frame.pict_type = av.video.frame.PictureType.NONE  # the encoder chooses its own
        output.mux(encoder.encode(frame))
        frames += 1
    output.mux(encoder.encode(None))
    if sound is not None:
        sound.copy(start, end)
    return frames


@dataclass(slots=True)
class _Sound:
    """The sound of a clip on its way, cut between its frames of some 20 ms."""

    container: Any
    owned: bool
    encoder: Any
    output: Any

    @classmethod
    def open(cls, source: Source | bool, container: Any, output: Any) -> _Sound | None:
        import av

        if source is False:
            return None
        owned = source is not True
        if owned:
            container = av.open(source)
        if not container.streams.audio:
            if owned:
                container.close()
            return None
        rate = container.streams.audio[0].codec_context.sample_rate
        encoder = output.add_stream("aac", rate=rate)
        encoder.layout = "stereo"
        return cls(container, owned, encoder, output)

    def copy(self, start: int, end: int) -> None:
        import av

        stream = self.container.streams.audio[0]
        origin = _origin(self.container)
        first, last = (math.ceil((second + origin) / stream.time_base) for second in (start, end))
        resampler = av.AudioResampler("fltp", "stereo", self.encoder.rate)
        self.container.seek(first, stream=stream, backward=True)
        samples = 0
        try:
            for frame in self.container.decode(stream):
                if frame.pts is None or frame.pts < first:
                    continue
                if frame.pts >= last:
                    break
                for part in resampler.resample(frame):
                    part.pts, part.time_base = samples, Fraction(1, self.encoder.rate)
                    samples += part.samples
                    self.output.mux(self.encoder.encode(part))
            self.output.mux(self.encoder.encode(None))
        finally:
            if self.owned:
                self.container.close()


def count_pictures(path: Path) -> int:
    """Decode a clip to its end and return how many pictures it holds.

    Raises:
        CutError: It is `damaged`.
    """
    return _decoded(path).frames


def _decoded(path: Path) -> CutFacts:
    """Decode a file to its end; any damage is an error."""
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            stream.codec_context.options = {"err_detect": "explode"}
            frames, seconds = 0, 0.0
            for frame in container.decode(stream):
                frames += 1
                seconds = max(
                    seconds, float((frame.pts + (frame.duration or 0)) * stream.time_base)
                )
            context = stream.codec_context
            return CutFacts(
                frames, seconds, context.width, context.height, bool(container.streams.audio)
            )
    except (av.error.FFmpegError, IndexError) as error:
        raise CutError("damaged", f"the cut clip cannot be decoded: {error}") from error


def _origin(container: Any) -> Fraction:
    """Return the time at which a video begins, nearly always 0; exact, which
    `container.start_time` in microseconds is not.
    """
    times = [
        stream.start_time * stream.time_base
        for stream in container.streams
        if stream.start_time is not None
    ]
    return Fraction(min(times, default=0))


def fitted(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """Return the size in even pixels, the shorter side at most `short_side`."""
    scale = min(Fraction(1), Fraction(short_side or min(width, height), min(width, height)))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)

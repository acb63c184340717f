"""Write MP4 files: H.264 frames that are displayed as their source's are, at their own times.

Errors of the encoders and the muxer are ours, `EncoderError`; those of the demuxer and the decoders
are the source's, and are never raised here.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

from k600.errors import EncoderError, MissingDependencyError
from k600.errors.text import counted
from k600.video.display import FrameShaper
from k600.video.encoding import Encoding
from k600.video.probe import is_disk_error

_MOST_IN_RATE = (1 << 31) - 1
"""FFmpeg's largest numerator and denominator."""


def has_codec(mode: Literal["r", "w"], name: str) -> bool:
    """Whether PyAV has a decoder (`r`) or an encoder (`w`) of this name."""
    import av

    try:
        av.codec.Codec(name, mode)
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def check_encoder() -> None:
    """Raise `MissingDependencyError` unless PyAV can encode H.264."""
    import av

    if not has_codec("w", "libx264"):
        raise MissingDependencyError(
            "clips from YouTube and clips encoded anew (short_side, encode) are encoded with "
            f"libx264, and PyAV {av.__version__} was built without it. Install PyAV's own wheel: "
            "pip install --force-reinstall av"
        )


class Mp4Writer:
    """Writes frames of one stream, as `FrameShaper` makes them, and its audio. A context manager.

    Of the frames, it keeps those that `encoding` keeps. After an error, `target` may have been
    written in part.

    Raises, from every method:
        EncoderError: The encoder or the muxer refuses.
        OSError: The disk does.
    """

    def __init__(self, target: Path, video: Any, encoding: Encoding) -> None:
        import av

        self.frames = 0
        """How many were written."""
        self._added = 0
        self._frame_step = encoding.frame_step
        self._always_ends_alike = encoding.encode is not None
        self._video = video
        self._shaper = FrameShaper(video, encoding.short_side)
        self._last_pts: int | None = None
        self._end = 0
        self._is_held = False
        """Whether the last frame is displayed far longer than the one before."""
        self._audio: _CopiedAudio | _EncodedAudio | None = None

        with _translate_errors():
            flags = {"movflags": "+faststart"}
            self._output = av.open(str(target), "w", format="mp4", options=flags)
            rate = Fraction(video.average_rate or video.guessed_rate or 30) / self._frame_step
            rate = rate.limit_denominator(_MOST_IN_RATE)
            self._encoder = self._output.add_stream("libx264", rate=rate)

        self._encoder.options = dict(encoding.x264)
        self._encoder.pix_fmt = "yuv420p"
        self._encoder.codec_context.time_base = video.time_base
        self._encoder.codec_context.thread_count = 1  # the same bytes on every machine

    def __enter__(self) -> Mp4Writer:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            with _translate_errors():
                self._output.close()
        else:
            with contextlib.suppress(Exception):  # the first error counts
                self._output.close()

    def expect_audio(self, stream: Any, *, copied: bool) -> None:
        """Expect the audio of a stream by `add_audio`: `copied` if an MP4 can hold it, else AAC."""
        import av

        codec = stream.codec_context
        with _translate_errors():
            if copied and codec.codec.name in self._output.supported_codecs:
                copy = self._output.add_stream_from_template(stream)
                self._audio = _CopiedAudio(copy, codec.sample_rate or 1)
            else:
                rates = av.codec.Codec("aac", "w").audio_rates or []
                rate = codec.sample_rate if codec.sample_rate in rates else 48_000
                encoder = self._output.add_stream("aac", rate=rate)
                encoder.layout = "stereo"
                self._audio = _EncodedAudio(encoder)

    @property
    def wants_packets(self) -> bool:
        """Whether `add_audio` takes packets; else frames."""
        return isinstance(self._audio, _CopiedAudio)

    def add_audio(self, piece: Any) -> None:
        assert self._audio is not None
        with _translate_errors():
            self._audio.add(piece)
            self._write_audio()

    def _write_audio(self) -> None:
        # Audio before the first frame waits: only that frame says what the file is like.
        if self._audio is not None and self.frames:
            self._output.mux(self._audio.packets)
            self._audio.packets.clear()

    def add(self, frame: Any) -> None:
        """Add a frame, which is written if it is to be kept; its time is in ticks of `video`."""
        import av

        pts, duration = frame.pts, frame.duration or 0
        # In recordings that were joined, two frames may have the same time.
        if self._last_pts is not None and (pts is None or pts <= self._last_pts):
            pts = self._last_pts + 1
        pts = pts or 0
        self._is_held = duration > 2 * (pts - (self._last_pts or 0))
        self._last_pts, self._end = pts, pts + duration

        self._added += 1
        if (self._added - 1) % self._frame_step:
            return
        with _translate_errors():
            if not self.frames:
                self._shaper.begin(frame, self._encoder)
            frame = self._shaper.shaped(frame)
            frame.pts = pts
            frame.time_base = self._video.time_base
            frame.pict_type = av.video.frame.PictureType.NONE  # the encoder chooses its own
            self._output.mux(self._encoder.encode(frame))
            self.frames += 1
            self._write_audio()

    def finish(self, *, hold_last: bool = False) -> None:
        """Write what the encoders hold back; with `hold_last`, the last frame's own duration.

        (A frame is displayed until the next; encoders make the last one as short as the others.
        What is encoded for training always ends as its source does, whichever frames are kept. For
        others, that would be a new version of `Encoding`: all of them fetched again, so that the
        last frame of some, of a variable rate, is displayed for some milliseconds more or less.)
        """
        if not self.frames:
            return
        with _translate_errors():
            packets = self._encoder.encode(None)
            if packets and (self._always_ends_alike or (hold_last and self._is_held)):
                packets[-1].duration = self._end - (packets[-1].pts or 0)
            self._output.mux(packets)
            if self._audio is not None:
                self._audio.finish()
                self._write_audio()


class _CopiedAudio:
    """Packets of audio for the muxer, copied."""

    def __init__(self, stream: Any, rate: int) -> None:
        self.packets: list[Any] = []
        self._stream, self._rate = stream, rate
        self._next = -math.inf

    def add(self, packet: Any) -> None:
        if packet.dts is None:
            return  # the demuxer's last packet
        if packet.dts < self._next:
            packet.dts = self._next
            packet.pts = max(packet.pts or packet.dts, packet.dts)
        # The file's ticks are of one sample; the muxer refuses two packets of one time.
        self._next = packet.dts + math.ceil(1 / (self._rate * packet.time_base))
        packet.stream = self._stream
        self.packets.append(packet)

    def finish(self) -> None:
        pass


class _EncodedAudio:
    """Frames of audio for the muxer, encoded as AAC in stereo."""

    def __init__(self, encoder: Any) -> None:
        import av

        self.packets: list[Any] = []
        self._encoder = encoder
        self._resampler = av.AudioResampler("fltp", "stereo", encoder.rate)
        self._samples = 0

    def add(self, frame: Any) -> None:
        for part in self._resampler.resample(frame):
            part.pts, part.time_base = self._samples, Fraction(1, self._encoder.rate)
            self._samples += part.samples
            self.packets += self._encoder.encode(part)

    def finish(self) -> None:
        self.packets += self._encoder.encode(None)


class Encoded(NamedTuple):
    """What was written into a file."""

    seconds: float
    """The time at which its last frame ends."""
    fps: float | None
    """Frames per second, on average; None if the file does not say so."""
    is_new: bool = True
    """Whether there is such a file; else the source is to stay as it is."""


def rate_of(stream: Any) -> float | None:
    """Return how many frames per second a stream has, on average; None if it does not say so."""
    return float(stream.average_rate) if stream.average_rate else None


def read_back(path: Path, frames: int) -> Encoded:
    """Decode a file that was written, in full; return what is in it.

    Raises:
        EncoderError: It cannot be decoded, or does not have as many frames.
    """
    import av

    found, seconds = 0, 0.0
    with _translate_errors(), av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"err_detect": "explode"}
        fps = rate_of(stream)
        for frame in container.decode(stream):
            found += 1
            seconds = max(seconds, float((frame.pts + (frame.duration or 0)) * stream.time_base))
    if found != frames:
        raise EncoderError(f"{counted(frames, 'frame')} written, {found} read back. {_NO_FAULT}")
    return Encoded(seconds, fps)


_NO_FAULT = (
    "That is no fault of the clip, which stays as it is with its host: load without short_side and "
    "encode, and please report it"
)


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    """Raise FFmpeg's errors as `EncoderError`; those of the disk stay."""
    import av

    try:
        yield
    except av.error.FFmpegError as error:
        if is_disk_error(error):
            raise
        raise EncoderError(f"a clip cannot be encoded: {error}. {_NO_FAULT}") from error

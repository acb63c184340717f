"""Chosen frames of a video, decoded in one pass, and the audio around them.

A video is opened, read and closed within one call, in whichever process asks: no decoder outlives
it, so that nothing has to survive a fork, and workers that persist hold nothing open.

PyAV decodes on the CPU: it leaves out frames that nobody asked for and no other frame refers to,
and tells which were damaged. torchcodec's decoders do on a GPU, and where a row brings one whose
file is not known.
"""

from __future__ import annotations

import bisect
import io
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from k600.errors import need
from k600.video.display import Turn, reformatter, turn_of
from k600.video.probe import VERDICTS, box_problem, open_mp4, playable_stream

if TYPE_CHECKING:
    from torch import Tensor

_HINT = (
    "training needs a working torch, and torchcodec with FFmpeg's libraries (apt-get install "
    "ffmpeg) for device='cuda': pip install torch torchcodec"
)
_TICK_SECONDS = 1e-4
"""Less than any frame lasts, and more than an error of floats."""
_MOST_DRIFT_SECONDS = 0.01
"""How far audio may be from its time: more than clocks of milliseconds round."""
_PLAIN = (str, bytes, os.PathLike, Mapping)
"""What is no decoder."""


def import_torch() -> Any:
    """Return the module `torch`; raise `MissingDependencyError` if it is missing or broken."""
    return need("torch", _HINT)


class Frames(NamedTuple):
    """Frames in the order in which they were asked for."""

    data: Tensor
    """uint8 (N, C, H, W), RGB, turned as players turn them."""
    pts_seconds: Tensor
    """float64 (N,): when each is displayed."""


@contextmanager
def opened(video: Any, *, device: str = "cpu") -> Iterator[PyAVVideo | TorchcodecVideo]:
    """Open a row's video: `{"path", "bytes"}`, a path, bytes, or a decoder of torchcodec.

    Raises, also from what is done within:
        ValueError: It cannot be decoded, or is cut off before its end.
        OSError: It cannot be read.
    """
    source = _source_of(video) if device == "cpu" or isinstance(video, _PLAIN) else video
    if not isinstance(source, (str, bytes)):
        yield TorchcodecVideo(source)
        return
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        if box_problem(file) == "truncated":  # to a decoder it is a shorter video
            raise ValueError(VERDICTS["truncated"])
    if device != "cpu":
        decoders = need("torchcodec.decoders", _HINT)
        yield TorchcodecVideo(decoders.VideoDecoder(source, device=device))
    else:
        with _container(source) as container:
            yield PyAVVideo(container)


def _source_of(video: Any) -> Any:
    """Return a path, bytes, or what is neither: a decoder whose file is not known, or not here."""
    decoder, video = video, getattr(video, "_hf_encoded", video)  # what `datasets` decoded
    if isinstance(video, Mapping):
        data = video.get("bytes")
        video = data if data is not None else video.get("path")
    if video is None or video in ("", b""):
        raise ValueError("there are no bytes and no path")
    if not isinstance(decoder, _PLAIN) and isinstance(video, str) and not os.path.exists(video):
        return decoder
    return os.fspath(video) if isinstance(video, os.PathLike) else video


@contextmanager
def _container(source: str | bytes) -> Iterator[Any]:
    import av

    try:
        with open_mp4(io.BytesIO(source) if isinstance(source, bytes) else source) as container:
            yield container
    except av.error.FFmpegError as error:
        raise ValueError(error.strerror or str(error)) from error


class PyAVVideo:
    """The packets of an MP4, of which frames are decoded as they are asked for.

    `begin_seconds` and `last_seconds` are when the first and the last frame begin.
    """

    def __init__(self, container: Any) -> None:
        stream = playable_stream(container, "video")
        if stream is None:
            raise ValueError("there are no frames in it that can be decoded")
        self._decoder = stream.codec_context
        self._decoder.thread_count = 1  # a DataLoader's workers decode in parallel
        # In this one codec, a frame that no other refers to can be left out by its packet alone.
        self._can_skip = self._decoder.name == "h264"

        packets = [packet for packet in container.demux(stream) if packet.size]
        self._packets = packets
        self._pts = [packet.dts if packet.pts is None else packet.pts for packet in packets]
        self._keys = [place for place, packet in enumerate(packets) if packet.is_keyframe]

        in_order = sorted(range(len(packets)), key=self._pts.__getitem__)
        for before, place in itertools.pairwise(in_order):
            # In recordings that were joined, two frames may have one time: each gets its own.
            if self._pts[place] <= self._pts[before]:
                self._pts[place] = packets[place].pts = self._pts[before] + 1
        self._shown = [place for place in in_order if not packets[place].is_discard]
        if not self._shown:
            raise ValueError("there are no frames in it")
        tick = stream.time_base  # (a Fraction, which is slow to multiply)
        ticks = (self._pts[place] for place in self._shown)
        self._seconds = [pts * tick.numerator / tick.denominator for pts in ticks]
        self.begin_seconds, self.last_seconds = self._seconds[0], self._seconds[-1]

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._shown)

    def frames_played_at(self, seconds: Sequence[float]) -> Frames:
        """Decode the frames that are displayed at these times."""
        after = (bisect.bisect(self._seconds, second + _TICK_SECONDS) for second in seconds)
        return self.frames_at([max(number - 1, 0) for number in after])

    def frames_at(self, indices: Sequence[int]) -> Frames:
        """Decode frames by their place among those displayed; the same one may be asked twice."""
        torch = import_torch()
        wanted = {self._shown[index] for index in indices}
        found = self._decoded(wanted, hurried=True)
        if found is None:  # what was left out was needed, or a keyframe was none
            found = self._decoded(wanted, hurried=False)
        if found is None:
            raise ValueError("a frame is damaged: the decoder concealed an error, or gave none")
        data = torch.stack([found[self._pts[self._shown[index]]] for index in indices])
        seconds = torch.tensor([self._seconds[index] for index in indices], dtype=torch.float64)
        return Frames(data.permute(0, 3, 1, 2), seconds)

    def _decoded(self, wanted: set[int], *, hurried: bool) -> dict[int, Tensor] | None:
        """Decode packets, given by place; return frames by pts, None if one lacks or is damaged."""
        from_numpy, reformat, size = import_torch().from_numpy, reformatter(), None
        pts = {self._pts[place] for place in wanted}
        found: dict[int, Tensor] = {}
        for frame in self._frames(wanted, hurried=hurried):
            if frame.is_corrupt:
                return None
            if frame.pts in pts:
                size = size or (frame.width, frame.height)  # all have that of the first
                rgb = from_numpy(reformat(frame, *size, "rgb24").to_ndarray())
                found[frame.pts] = _upright(rgb, turn_of(frame))
        return found if len(found) == len(pts) else None

    def _frames(self, wanted: set[int], *, hurried: bool) -> Iterator[Any]:
        """Decode from the keyframe before each packet up to it; what is in between, once."""
        decoder, done = self._decoder, 0
        decoder.flush_buffers()
        for place in sorted(wanted):
            start = self._key_before(place) if hurried else 0
            if start > done:
                yield from decoder.decode(None)
                decoder.flush_buffers()
                done = start
            for number in range(done, place + 1):
                if self._can_skip:
                    leave_out = hurried and number not in wanted
                    decoder.skip_frame = "NONREF" if leave_out else "DEFAULT"
                yield from decoder.decode(self._packets[number])
            done = place + 1
        yield from decoder.decode(None)

    def _key_before(self, place: int) -> int:
        """Return the keyframe from which a packet can be decoded."""
        for key in reversed(self._keys[: bisect.bisect(self._keys, place)]):
            if self._pts[key] <= self._pts[place]:  # else the frame is displayed before it
                return key
        return 0


def _upright(rgb: Tensor, turn: Turn) -> Tensor:
    """Return a frame (H, W, C) as players turn it."""
    if turn.transposed:
        rgb = rgb.transpose(0, 1)
    axes = [axis for axis, is_on in ((0, turn.flipped), (1, turn.mirrored)) if is_on]
    return rgb.flip(axes) if axes else rgb


class TorchcodecVideo:
    """The same of a decoder of torchcodec."""

    def __init__(self, decoder: Any) -> None:
        self._decoder, about = decoder, decoder.metadata
        self.begin_seconds = about.begin_stream_seconds
        self.last_seconds = about.end_stream_seconds - 1 / about.average_fps

    def __len__(self) -> int:
        return len(self._decoder)

    def frames_at(self, indices: Sequence[int]) -> Frames:
        batch = self._decoder.get_frames_at(list(indices))
        return Frames(batch.data, batch.pts_seconds)

    def frames_played_at(self, seconds: Sequence[float]) -> Frames:
        end = self._decoder.metadata.end_stream_seconds - _TICK_SECONDS
        times = [min(second + _TICK_SECONDS, end) for second in seconds]
        batch = self._decoder.get_frames_played_at(times)
        return Frames(batch.data, batch.pts_seconds)


def waveforms(video: Any, starts: Sequence[float], *, seconds: float, rate: int) -> Tensor:
    """Return a row's audio from each start, mixed to mono: float32 (starts, samples).

    There is silence where there is no audio: before, after, and in a video without any.

    Args:
        video: As `opened` takes it, but no decoder that is not of `datasets`.
        starts: In seconds, as the frames' times.
        seconds: How long each is.
        rate: Samples a second.
    """
    torch = import_torch()
    length = round(seconds * rate)
    found = torch.zeros(len(starts), length)
    source = _source_of(video)
    if not isinstance(source, (str, bytes)):
        raise ValueError(
            "audio needs a path or bytes, and this is a decoder that is not of `datasets`: "
            'ds.cast_column("video", datasets.Video(decode=False)) gives them'
        )
    with _container(source) as container:
        pieces = list(_audio_of(container, rate))
    for row, start in zip(found, starts, strict=True):
        for begin_seconds, samples in pieces:
            offset = round((begin_seconds - start) * rate)
            first, last = max(offset, 0), min(offset + len(samples), length)
            if first < last:
                row[first:last] = samples[first - offset : last - offset]
    return found


def _audio_of(container: Any, rate: int) -> Iterator[tuple[float, Tensor]]:
    """Decode the audio; yield pieces without a gap: when each begins, in seconds, and its samples.

    In recordings that were joined there are gaps, and audio may change from mono to stereo.
    """
    import av

    torch = import_torch()
    stream = playable_stream(container, "audio")
    piece: list[Any] = []
    form, begin, end = None, 0.0, 0.0

    def finished() -> tuple[float, Tensor]:
        resampler = av.AudioResampler("flt", "mono", rate)
        parts = itertools.chain.from_iterable(resampler.resample(each) for each in [*piece, None])
        samples = [torch.from_numpy(part.to_ndarray()[0]) for part in parts]
        return begin, torch.cat([torch.zeros(0), *samples])

    for frame in [] if stream is None else container.decode(stream):
        time = end if frame.time is None else frame.time
        now = (frame.format.name, frame.layout.name, frame.sample_rate)
        if piece and (now != form or abs(time - end) > _MOST_DRIFT_SECONDS):
            yield finished()
            piece = []
        if not piece:
            form, begin, end = now, time, time
        piece.append(frame)
        end += frame.samples / frame.sample_rate
    if piece:
        yield finished()

"""Previews of clips: a thumbnail from the middle, and the file's metadata."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from PIL import Image

from k600.video.display import turn_of
from k600.video.probe import VERDICTS, best_stream, box_problem, open_mp4

WIDTH = 160
"""Width of a thumbnail, in pixels; that of a tall one is less."""
HIGHEST = 240
"""Greatest height of a thumbnail, in pixels."""

_TURNS = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.FLIP_TOP_BOTTOM,
)
"""Pillow's, in the order of the fields of a `Turn`."""

_MOST_FRAMES = 600  # from the key frame to the middle; a file with fewer key frames is hostile


@dataclass(frozen=True, slots=True)
class Preview:
    """A clip in short; what is unknown is None."""

    image: Image.Image | None = None
    """The frame in the middle, at most `WIDTH` × `HIGHEST`, upright, with square pixels."""
    size_bytes: int | None = None
    seconds: float | None = None
    width: int | None = None
    """Width of the video, in pixels."""
    height: int | None = None
    fps: float | None = None
    problem: str | None = None
    """Why there is no image, why it is not from the middle, or that the file is cut off after it;
    None if all is well."""


def preview_clip(video: bytes | str | None) -> Preview:
    """Return the preview of an MP4; one that cannot be decoded has a reason instead of an image.

    Example:
        >>> from k600.miniature import make_clip
        >>> preview = preview_clip(make_clip(1))
        >>> preview.width, preview.height, preview.fps, preview.seconds, preview.image.size
        (128, 96, 5.0, 10.0, (160, 120))
    """
    if video is None:
        return Preview(problem="the row has neither bytes nor a path")
    facts: dict[str, Any] = {}
    try:
        facts["size_bytes"] = len(video) if isinstance(video, bytes) else _size(video)
        _decode(video, facts)
        facts["problem"] = _box_problem(video)  # to a decoder, one that is cut off is but shorter
    except Exception as error:  # hostile bytes: whatever a decoder raises is the reason
        facts["problem"] = _box_problem(video) or _reason(error)
    return Preview(**facts)


def to_jpeg(image: Image.Image) -> bytes:
    """Return an image as a JPEG of middling quality, some kB."""
    data = io.BytesIO()
    image.save(data, "JPEG")
    return data.getvalue()


def _size(path: str) -> int:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no file at '{path}'")
    return os.path.getsize(path)


def _decode(video: bytes | str, facts: dict[str, Any]) -> None:
    """Fill in the fields of a `Preview`, as far as it goes before something raises."""
    source = io.BytesIO(video) if isinstance(video, bytes) else f"file:{os.path.abspath(video)}"
    with open_mp4(source) as container:
        stream = best_stream(container, "video")
        if stream is None:
            raise ValueError("the file has no video stream")
        if stream.codec_context is None:
            raise ValueError("the video is of a kind that FFmpeg does not know")

        length, unit = stream.duration, stream.time_base or Fraction(1, 1000)
        if length is None and container.duration is not None:
            length = int(Fraction(container.duration, av.time_base) / unit)
        facts["seconds"] = None if length is None else round(float(length * unit), 3)
        facts["width"], facts["height"] = stream.width or None, stream.height or None
        facts["fps"] = round(float(stream.average_rate), 3) if stream.average_rate else None

        stream.codec_context.thread_count = 1  # previews are made in parallel
        stream.codec_context.skip_frame = "NONREF"  # half the work on the way to the middle
        middle = (stream.start_time or 0) + (length or 0) // 2
        with contextlib.suppress(av.FFmpegError):
            container.seek(middle, stream=stream)  # to the key frame before

        frame = None
        try:
            for frame in itertools.islice(container.decode(stream), _MOST_FRAMES):
                if frame.pts is not None and frame.pts >= middle:
                    break
        finally:
            if frame is not None:
                facts["image"] = _thumbnail(frame, stream.sample_aspect_ratio)
        if frame is None:
            raise ValueError("no frame can be decoded")


def _thumbnail(frame: av.VideoFrame, pixel_aspect: Fraction | None) -> Image.Image:
    """Return a frame resized and upright."""
    turn = turn_of(frame)
    aspect = Fraction(frame.width, frame.height) * (pixel_aspect or 1)
    if turn.transposed:
        aspect = 1 / aspect
    width = min(float(WIDTH), float(HIGHEST * aspect))
    size = [max(16, 2 * round(side / 2)) for side in (width, min(HIGHEST, width / aspect))]
    if turn.transposed:
        size.reverse()

    # (Not by FFmpeg's filters: PyAV 15 reads the memory of frames that they flipped wrongly.)
    small: Any = frame.reformat(width=size[0], height=size[1], format="rgb24")
    image: Image.Image = small.to_image()
    for is_on, how in zip(turn, _TURNS, strict=True):
        image = image.transpose(how) if is_on else image
    return image


def _box_problem(video: bytes | str) -> str | None:
    """Return what is wrong with a file's boxes, in words; None if nothing is."""
    with contextlib.suppress(OSError, ValueError):
        with io.BytesIO(video) if isinstance(video, bytes) else open(video, "rb") as file:
            problem = box_problem(file)
        return None if problem is None else VERDICTS[problem]
    return None


def _reason(error: Exception) -> str:
    """Return why a clip cannot be decoded."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]

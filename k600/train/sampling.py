"""Which frames of a video make a clip, decoded by torchcodec's own samplers.

A clip's place is a fraction of the room it has to move in: 0 is the first possible start, 1 the
last. A video shorter than a clip has no room; its last frame is repeated.
"""

from __future__ import annotations

import importlib
import os
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from k600.errors import MissingDependencyError

if TYPE_CHECKING:
    from torch import Tensor

_HINT = (
    "training needs a working torch and torchcodec: pip install 'kinetics600[decode]', and "
    "FFmpeg's libraries (apt-get install ffmpeg)"
)


def import_torch() -> Any:
    """Return the module `torch`; raise `MissingDependencyError` if it is missing or broken."""
    return _imported("torch")


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        package, first_line = module.partition(".")[0], str(error).strip().partition("\n")[0]
        raise MissingDependencyError(f"{_HINT}. Importing {package} said: {first_line}") from error


def places(sampling: str, num_clips: int, chance: random.Random) -> list[float]:
    """Return where clips start, as fractions from 0 to 1, ascending; one uniform clip is centred.

    Example:
        >>> places("uniform", 3, random.Random(0))
        [0.0, 0.5, 1.0]
    """
    if sampling == "random":
        return sorted(chance.random() for _ in range(num_clips))
    if sampling == "center" or num_clips == 1:
        return [0.5] * num_clips
    return [index / (num_clips - 1) for index in range(num_clips)]


def place_of(fraction: float, room: int) -> int:
    """Return the whole number from 0 to `room` at this fraction; equal fractions, equal shares.

    Example:
        >>> [place_of(fraction, 10) for fraction in (0.0, 0.5, 1.0)]
        [0, 5, 10]
    """
    return min(int(fraction * (room + 1)), room)


def open_video(video: Any) -> Any:
    """Return a decoder of a row's video: `{"path", "bytes"}`, a path, bytes, or a decoder."""
    decoders = _imported("torchcodec.decoders")
    if isinstance(video, Mapping):
        data = video.get("bytes")
        video = data if data is not None else video.get("path")
    if not isinstance(video, (str, bytes, os.PathLike)):
        return video
    source = video if isinstance(video, bytes) else os.fspath(video)
    if not source:
        raise ValueError("there are no bytes and no path")
    # One thread: a DataLoader's workers decode in parallel.
    return decoders.VideoDecoder(source, num_ffmpeg_threads=1)


def clips_at(
    decoder: Any,
    fractions: Sequence[float],
    *,
    num_frames: int,
    step: int | None,
    fps: float | None,
) -> Tensor:
    """Decode one clip for every fraction (see `places`): uint8 (clips, T, C, H, W).

    From one frame to the next are `step` frames, or 1 / `fps` seconds.
    """
    samplers = _imported("torchcodec.samplers")
    options: dict[str, Any] = {"num_frames_per_clip": num_frames, "policy": "repeat_last"}
    if step is not None:
        sample = samplers.clips_at_regular_indices
        options["num_indices_between_frames"] = step
        ranges = _index_ranges(decoder, fractions, num_frames, step)
    else:
        assert fps is not None
        sample = samplers.clips_at_regular_timestamps
        options["seconds_between_frames"] = 1 / fps
        ranges = _second_ranges(decoder, fractions, num_frames, fps)

    parts = [sample(decoder, **options, **each).data for each in ranges]
    clips: Tensor = parts[0] if len(parts) == 1 else import_torch().cat(parts)
    return clips


def _index_ranges(
    decoder: Any, fractions: Sequence[float], num_frames: int, step: int
) -> list[dict[str, Any]]:
    """Return the sampler's arguments for where clips start, in frames; a dict for each call."""
    if _is_uniform(fractions):  # in one pass: frames that clips share are decoded once
        return [{"num_clips": len(fractions)}]

    room = max(len(decoder) - ((num_frames - 1) * step + 1), 0)
    ranges = []
    for fraction in fractions:
        # torchcodec's random sampler draws from torch's global generator, which depends on who
        # drew before. A range that holds one start only draws nothing.
        start = place_of(fraction, room)
        one = {"sampling_range_start": start, "sampling_range_end": start + 1}
        ranges.append({"num_clips": 1, **one})
    return ranges


def _second_ranges(
    decoder: Any, fractions: Sequence[float], num_frames: int, fps: float
) -> list[dict[str, Any]]:
    """Return the sampler's arguments for where clips start, in seconds; a dict for each call."""
    begin = decoder.metadata.begin_stream_seconds
    half_frame = 0.5 / decoder.metadata.average_fps
    last = decoder.metadata.end_stream_seconds - (num_frames - 1) / fps - half_frame
    room = max(last - begin, 0.0)

    if _is_uniform(fractions) and room > 0:
        starts, between = [begin], room / (len(fractions) - 1)
        length = room + min(between, half_frame) / 2
    else:
        starts, between = [begin + fraction * room for fraction in fractions], half_frame
        length = half_frame / 2
    return [
        {
            "seconds_between_clip_starts": between,
            "sampling_range_start": start,
            "sampling_range_end": start + length,
        }
        for start in starts
    ]


def _is_uniform(fractions: Sequence[float]) -> bool:
    """Whether torchcodec can find all of these places in one call."""
    number = len(fractions)
    return number > 1 and list(fractions) == places("uniform", number, random.Random())

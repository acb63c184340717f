"""Which frames of a video make a clip.

A clip's place is a fraction of the room it has to move in: 0 is the first possible start, 1 the
last. A video shorter than a clip has no room; its last frame is repeated.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from k600.train.decoding import PyAVVideo, TorchcodecVideo


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


def clips_at(
    video: PyAVVideo | TorchcodecVideo,
    fractions: Sequence[float],
    *,
    num_frames: int,
    step: int | None,
    fps: float | None,
) -> tuple[Tensor, list[float]]:
    """Decode one clip for every fraction (see `places`), all in one pass.

    From one frame to the next are `step` frames, or 1 / `fps` seconds. What would come after the
    last frame is the last frame.

    Returns:
        uint8 (clips, T, C, H, W), and the middle of each clip in seconds.
    """
    if step is not None:
        last = len(video) - 1
        room = max(last - (num_frames - 1) * step, 0)
        starts = [place_of(fraction, room) for fraction in fractions]
        steps = range(0, num_frames * step, step)
        frames = video.frames_at([min(start + more, last) for start in starts for more in steps])
    else:
        assert fps is not None
        begin, last_seconds = video.begin_seconds, video.last_seconds
        half_frame = (last_seconds - begin) / max(len(video) - 1, 1) / 2
        room_seconds = max(last_seconds + half_frame - (num_frames - 1) / fps - begin, 0.0)
        times = [
            begin + fraction * room_seconds + number / fps
            for fraction in fractions
            for number in range(num_frames)
        ]
        frames = video.frames_played_at(times)

    shape = (len(fractions), num_frames)
    ends = frames.pts_seconds.unflatten(0, shape)[:, [0, -1]]
    return frames.data.unflatten(0, shape), ends.mean(1).tolist()

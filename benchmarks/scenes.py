"""Clips for what decodes and trains: a camera pans over a texture, something moves in front.

Real clips lie between the two scenes: one is smooth, and takes a quarter of the bytes of the host's
clips; the other has grain that changes from frame to frame, and is about as large as they are.
"""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
import torch

__all__ = ["SCENES", "make_scene", "texture", "write_clip"]

SCENES = {"smooth": 0.0, "grain": 5.0}
"""The grain's deviation, of 255, by the scene's name."""


def make_scene(
    seed: int, *, grain: float, width: int = 340, height: int = 256, frames: int = 250
) -> bytes:
    """Return an H.264 clip of 25 frames a second."""
    chance = np.random.default_rng(seed)
    room, times_larger = 100, max(height // 256, 1)
    scene = 128 + 45 * texture(chance, height + room, width + room, grid=64 * times_larger)
    front = 128 + 50 * texture(chance, height // 2, width // 3, grid=16 * times_larger)
    noise = grain * texture(chance, height + room, width + room, grid=4 * times_larger)

    def picture(index: int) -> Any:
        left, top = int(50 + 49 * np.sin(index / 30)), int(50 + 49 * np.cos(index / 40))
        shown = scene[top : top + height, left : left + width].copy()
        x = int(width * 0.65 * (0.5 + 0.5 * np.sin(index / 17 + seed)))
        y = int(height * 0.45 * (0.5 + 0.5 * np.sin(index / 11)))
        shown[y : y + height // 2, x : x + width // 3] = front
        if grain:
            down, right = chance.integers(0, room, 2)
            shown += noise[down : down + height, right : right + width]
        return shown

    return write_clip(picture(index) for index in range(frames))


def texture(chance: np.random.Generator, height: int, width: int, *, grid: int) -> Any:
    """Return a random pattern, coarse and fine as nature is: (H, W, 3) of deviation 1."""
    pattern = torch.zeros(3, height, width)
    for cell in (grid >> octave for octave in range(6)):
        if cell >= 2:
            shape = (1, 3, height // cell + 2, width // cell + 2)
            values = torch.from_numpy(chance.normal(0, cell**0.7, shape).astype(np.float32))
            pattern += torch.nn.functional.interpolate(
                values, size=(height, width), mode="bilinear"
            )[0]
    return (pattern / pattern.std()).permute(1, 2, 0).numpy()


def write_clip(pictures: Any, *, fps: int = 25) -> bytes:
    """Return an MP4 of pictures (H, W, 3) of 0 to 255.

    Coded as x264 does by default (crf 23, B-frames, a keyframe every 250 frames), as clips of the
    host are.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "23"})
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 1
        for index, picture in enumerate(pictures):
            if not index:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(
                picture.clip(0, 255).astype(np.uint8), format="rgb24"
            )
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()

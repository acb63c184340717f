"""The miniature's clips: small MP4 files, in each of which something moves below a few words."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, ImageOps

_SKIES = (("#3a74ba", "#8cb0d2"), ("#342e5c", "#ce784a"), ("#606a78", "#969ea6"))
"""Colours at the top and at the horizon."""

_Draw = Callable[[float], npt.NDArray[np.uint8]]
"""Returns the frame at a time in seconds: height x width x 3."""


@lru_cache(maxsize=256)
def make_clip(
    seed: int,
    *,
    seconds: int = 10,
    fps: int = 5,
    width: int = 128,
    height: int = 96,
    words: tuple[str, ...] = (),
    ground: str | None = None,
) -> bytes:
    """Return a small MP4 (H.264, yuv420p, no audio) whose frames depend on `seed`.

    `words` are lines to be drawn from the top left, 13 pixels each. With a `ground`, which is a
    colour, somebody is seen on it; without, a square that moves.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        quality = "36" if ground else "42" if words else "30"  # landscapes and letters take bytes
        stream = container.add_stream("libx264", rate=fps, options={"crf": quality})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1  # the same bytes on every machine
        stream.codec_context.time_base = Fraction(1, fps)

        letters = draw_words(words, width, height)[..., None]
        draw = _square(seed, width, height)
        if ground is not None:
            draw = _landscape(seed, width, height, ground)
        for index in range(seconds * fps):
            image = np.maximum(draw(index / fps), letters)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def draw_words(words: tuple[str, ...], width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return lines of text, 255 where there is ink and else 0: height x width."""
    page = Image.new("L", (width, height))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    pen.fontmode = "1"
    for number, line in enumerate(words):
        pen.text((2, 13 * number), line, fill=255, font=font)
    return np.asarray(page)


def _square(seed: int, width: int, height: int) -> _Draw:
    """Return what draws a square that moves over one colour."""
    colour = [(seed * step) % 200 + 55 for step in (37, 91, 151)]

    def draw(seconds: float) -> npt.NDArray[np.uint8]:
        index = round(5 * seconds)
        image = np.empty((height, width, 3), np.uint8)
        image[:] = [value // 3 for value in colour]
        left = (seed * 7 + index * 3) % (width - 24)
        top = (seed * 13 + index * 2) % (height - 24)
        image[top : top + 24, left : left + 24] = colour[::-1]
        return image

    return draw


def _landscape(seed: int, width: int, height: int, ground: str) -> _Draw:
    """Return what draws sky, hills and ground, and somebody who walks up and down before them."""
    random = np.random.default_rng(seed)
    horizon, size = int(height * random.uniform(0.45, 0.6)), 0.42 * height
    phase, speed = random.uniform(0, 6), random.uniform(0.6, 1.4)
    shirt, trousers = (tuple(map(int, random.integers(60, 255, 3))) for _ in range(2))

    sky = ImageOps.colorize(Image.linear_gradient("L"), *_SKIES[seed % len(_SKIES)])
    behind = Image.new("RGB", (width, height), ground)
    behind.paste(sky.resize((width, horizon)))
    pen = ImageDraw.Draw(behind)
    for hill in range(2):
        middle, half = random.uniform(0, width), random.uniform(0.3, 0.6) * width
        top = horizon - height * random.uniform(0.1, 0.25)
        box = (middle - half, top, middle + half, 2 * horizon - top)
        pen.pieslice(box, 180, 360, fill=("#2c4038", "#1c2c26")[hill])

    def draw(seconds: float) -> npt.NDArray[np.uint8]:
        image = behind.copy()
        pen = ImageDraw.Draw(image)
        x = width * (0.5 + 0.3 * np.sin(phase + 0.35 * speed * seconds))
        swing = 0.16 * np.sin(2.5 * speed * seconds + phase)
        y = 0.93 * height - size * (1 + abs(swing) / 8)  # of the head's top
        hip, neck = (0.0, 0.55), (0.0, 0.2)
        limbs = (
            (hip, (swing, 1.0), 0.1, trousers),
            (hip, (-swing, 1.0), 0.1, trousers),
            (neck, (0.2 + swing, 0.42), 0.07, "#cea080"),
            (neck, (-0.2 - swing, 0.42), 0.07, "#cea080"),
            (neck, hip, 0.17, shirt),
        )
        for *ends, thickness, colour in limbs:
            line = [(x + size * across, y + size * down) for across, down in ends]
            pen.line(line, fill=colour, width=round(thickness * size))
        half = 0.08 * size
        pen.ellipse((x - half, y, x + half, y + 2 * half), fill="#cea080")
        return np.asarray(image)

    return draw

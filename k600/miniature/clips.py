"""The miniature's clips: small MP4 files, in each of which somebody moves through a landscape."""

from __future__ import annotations

import io
from fractions import Fraction
from functools import lru_cache
from typing import Any

GROUNDS = {
    "water": (38, 96, 122),
    "grass": (74, 104, 46),
    "snow": (196, 206, 220),
    "sand": (170, 140, 96),
}
_SKIES = (
    ((58, 116, 186), (140, 176, 210)),
    ((52, 46, 92), (206, 120, 74)),
    ((96, 106, 120), (150, 158, 166)),
)
"""Colours at the top and at the horizon."""


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

    `words` are lines of ASCII to be drawn from the top left, 13 pixels each. With a `ground`, one
    of GROUNDS, somebody is seen on it; without, a square on one colour, which costs a third as much
    to make.
    """
    import av
    import numpy as np

    from k600.miniature.letters import draw_line

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        quality = "36" if ground else "42" if words else "30"  # landscapes and letters take bytes
        stream = container.add_stream("libx264", rate=fps, options={"crf": quality})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1  # the same bytes on every machine
        stream.codec_context.time_base = Fraction(1, fps)

        letters = np.zeros((height, width, 3), np.uint8)
        for number, line in enumerate(words):
            draw_line(letters, 2, 1 + 13 * number, line, (255, 255, 255))

        scene: _Landscape | _Square = _Square(seed, width, height)
        if ground is not None:
            scene = _Landscape(seed, width, height, ground)
        for index in range(seconds * fps):
            image = np.maximum(scene.draw(index / fps), letters)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


class _Square:
    """A square that moves over one colour."""

    def __init__(self, seed: int, width: int, height: int) -> None:
        self._seed, self._width, self._height = seed, width, height

    def draw(self, seconds: float) -> Any:
        """Return the picture at a time, as height x width x 3 bytes."""
        import numpy as np

        index = round(5 * seconds)
        colour = [(self._seed * step) % 200 + 55 for step in (37, 91, 151)]
        image = np.empty((self._height, self._width, 3), np.uint8)
        image[:] = [value // 3 for value in colour]
        left = (self._seed * 7 + index * 3) % (self._width - 24)
        top = (self._seed * 13 + index * 2) % (self._height - 24)
        image[top : top + 24, left : left + 24] = colour[::-1]
        return image


class _Landscape:
    """Sky, hills and ground, and somebody who walks, runs or rides the waves in front of them."""

    def __init__(self, seed: int, width: int, height: int, ground: str) -> None:
        import numpy as np

        random = np.random.default_rng(seed)
        sky = _SKIES[seed % len(_SKIES)]
        self._is_water = ground == "water"
        self._wide = (
            width + width // 4
        )  # the camera sways over a picture that is wider than it sees
        self._width = width
        self._horizon = round(height * random.uniform(0.45, 0.6))
        self._phase, self._speed = random.uniform(0, 6), random.uniform(0.6, 1.4)
        self._shirt = random.integers(60, 255, 3).astype(float)

        down = np.linspace(0, 1, self._horizon)[:, None, None]
        image = np.empty((height, self._wide, 3))
        image[: self._horizon] = np.array(sky[0]) * (1 - down) + np.array(sky[1]) * down
        clouds = _noise(random, self._horizon, self._wide, 5)[..., None].clip(0.55, 1) - 0.55
        image[: self._horizon] += 120 * clouds

        below = height - self._horizon
        shade = 0.75 + 0.35 * np.linspace(0, 1, below)[:, None, None]
        image[self._horizon :] = np.array(GROUNDS[ground]) * shade
        image[self._horizon :] += 36 * (_noise(random, below, self._wide, 12)[..., None] - 0.5)

        across, rows = np.arange(self._wide), np.arange(height)[:, None]
        for lift, depth in ((0.24, 0.75), (0.12, 0.5)):
            waves = sum(
                np.sin(across * k * 6.3 / self._wide + random.uniform(0, 6)) / k
                for k in (1, 2, 3, 5)
            )
            crest = self._horizon - height * lift * (0.55 + 0.3 * waves)
            hill = (rows >= crest) & (rows < self._horizon)
            image[hill] = image[hill] * (depth - 0.3) + np.array([52, 74, 62]) * depth
        self._image = image.clip(0, 205).astype(np.uint8)
        self._ripples = (50 * _noise(random, below, self._wide, 16)[..., None]).astype(np.uint8)

    def draw(self, seconds: float) -> Any:
        """Return the picture at a time, as height x width x 3 bytes."""
        import numpy as np

        sway = 0.5 + 0.45 * np.sin(self._phase + 0.5 * seconds)
        left = round((self._wide - self._width) * sway)
        image = self._image[:, left : left + self._width].copy()
        if self._is_water:
            moved = np.roll(self._ripples, round(9 * seconds), axis=1)
            image[self._horizon :] += moved[:, left : left + self._width]
        self._add_somebody(image, seconds)
        return image

    def _add_somebody(self, image: Any, seconds: float) -> None:
        import numpy as np

        height, width, _ = image.shape
        size = 0.42 * height
        step = 2.5 * self._speed * seconds + self._phase
        swing, hop = 0.16 * np.sin(step), 0.02 * abs(np.cos(step))
        x = width * (0.5 + 0.3 * np.sin(self._phase + 0.35 * self._speed * seconds))
        y = 0.93 * height - size * (1 + hop)  # of the head's top

        skin, trousers = np.array([206, 160, 128.0]), self._shirt[::-1] * 0.45
        hip, neck = (0.0, 0.55), (0.0, 0.2)
        limbs = [
            (hip, (swing, 1.0), 0.05, trousers),
            (hip, (-swing, 1.0), 0.05, trousers),
            (neck, (0.2 + swing, 0.42), 0.035, skin),
            (neck, (-0.2 - swing, 0.42 - abs(swing)), 0.035, skin),
            (neck, hip, 0.085, self._shirt),
            ((0.0, 0.08), (0.0, 0.08), 0.075, skin),
        ]
        if self._is_water:  # a board to stand on
            limbs.insert(0, ((-0.45, 1.02), (0.45, 0.98), 0.03, np.array([236, 226, 200.0])))

        # Only this part of the picture changes.
        top, edge = max(0, round(y - 0.1 * size)), max(0, round(x - 0.6 * size))
        box = image[top:, edge : max(0, round(x + 0.6 * size))].astype(np.float32)
        rows, columns = np.mgrid[: box.shape[0], : box.shape[1]]
        for (x1, y1), (x2, y2), thickness, colour in limbs:
            along = np.array([(x2 - x1) * size, (y2 - y1) * size])
            across, down = columns + edge - (x + x1 * size), rows + top - (y + y1 * size)
            part = (across * along[0] + down * along[1]) / max(along @ along, 1e-9)
            part = part.clip(0, 1)
            distance = np.hypot(across - part * along[0], down - part * along[1])
            alpha = (thickness * size - distance + 0.5).clip(0, 1)[..., None]
            box += alpha * (colour - box)
        image[top:, edge : edge + box.shape[1]] = box


def _noise(random: Any, height: int, width: int, cells: int) -> Any:
    """Return smooth noise, 0 to 1: random values on a coarse grid, with straight lines between."""
    import numpy as np

    coarse = random.random((cells, cells))
    rows, columns = np.linspace(0, cells - 1, height), np.linspace(0, cells - 1, width)
    wide = np.array([np.interp(columns, np.arange(cells), row) for row in coarse])
    return np.array([np.interp(rows, np.arange(cells), column) for column in wide.T]).T

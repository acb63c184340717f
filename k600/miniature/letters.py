"""Letters on the frames of the miniature's clips, cut out of `letters.png`: no font is needed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image

_WIDTH, _HEIGHT = 6, 13  # of a letter, in pixels


def draw_line(
    image: npt.NDArray[np.uint8], left: int, top: int, text: str, colour: tuple[int, int, int]
) -> None:
    """Draw a line of ASCII (else `?`), letters 6 × 13 pixels; a line too long ends in dots."""
    most = (image.shape[1] - left) // _WIDTH
    if len(text) > most:
        text = text[: most - 2] + ".."
    for place, letter in enumerate(text):
        glyph = _glyphs()[ord(letter if " " <= letter <= "~" else "?") - ord(" ")]
        x = left + place * _WIDTH
        image[top : top + _HEIGHT, x : x + _WIDTH][glyph] = colour


@cache
def _glyphs() -> npt.NDArray[np.bool_]:
    """Return the letters from space to `~`: 95 × height × width, True where there is ink."""
    # X11's "misc-fixed" 6x13, a font in the public domain, its letters side by side.
    with PIL.Image.open(Path(__file__).with_name("letters.png")) as font:
        rows = (np.asarray(font.convert("L")) > 127).reshape(_HEIGHT, 95, _WIDTH)
    glyphs: npt.NDArray[np.bool_] = rows.swapaxes(0, 1)
    return glyphs

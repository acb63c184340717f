"""A contact sheet: one PNG with a grid of thumbnails, each with its class beneath.

Letters are cut out of `font.png`, so that no font and no drawing library is needed.
"""

from __future__ import annotations

import itertools
import os
import textwrap
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from k600.errors import OptionError
from k600.gallery.rows import Row, check_target, previews, read_rows, write_file
from k600.gallery.thumbnails import WIDTH, Image, Preview, to_png
from k600.values import whole_number

_HEIGHT = 120  # of the field for a thumbnail, in pixels; WIDTH is its width
_GAP = 16  # between tiles, and around them
_LETTER_WIDTH, _LETTER_HEIGHT = 6, 13
_LINE = _LETTER_HEIGHT + 3
_CAPTION = 2 * _LINE + 4

_PAPER, _FIELD = (250, 250, 248), (232, 232, 228)
_INK, _PALE, _ALARM = (29, 31, 33), (110, 114, 120), (176, 58, 46)


def sheet_size(clips: int, columns: int) -> tuple[int, int]:
    """Return the width and height of a sheet, in pixels.

    Example:
        >>> sheet_size(9, 8)
        (1424, 360)
    """
    across, down = min(clips, columns), -(-clips // columns)
    return _GAP + across * (WIDTH + _GAP), _GAP + down * (_HEIGHT + _CAPTION + _GAP)


def write_contact_sheet(
    rows: Iterable[Mapping[str, Any]],
    path: str | os.PathLike[str],
    *,
    columns: int = 8,
    most: int = 200,
) -> Path:
    """Write a PNG with a grid of clips: a frame from each one's middle, class, id and split.

    As `write_gallery`, with `columns` clips side by side.
    """
    columns = whole_number("columns", columns, least=1)
    most = whole_number("most", most, least=1)
    target = check_target(path, "contact sheet")

    shown = itertools.islice(read_rows(rows), most)
    tiles = [_tile(row, preview) for row, preview in previews(shown)]
    if not tiles:
        raise OptionError("rows: the dataset is empty, there is nothing to show")

    width, height = sheet_size(len(tiles), columns)
    sheet = np.full((height, width, 3), _PAPER, np.uint8)
    for index, tile in enumerate(tiles):
        down, across = divmod(index, columns)
        top = _GAP + down * (_HEIGHT + _CAPTION + _GAP)
        _paste(sheet, tile, top, _GAP + across * (WIDTH + _GAP))
    write_file(target, to_png(sheet), "contact sheet")
    return target


def _tile(row: Row, preview: Preview) -> Image:
    tile = np.full((_HEIGHT + _CAPTION, WIDTH, 3), _PAPER, np.uint8)
    tile[:_HEIGHT] = _FIELD
    if preview.image is not None:
        # A tall one is cropped to the field's height, evenly at both ends.
        image = preview.image[max(0, preview.image.shape[0] - _HEIGHT) // 2 :][:_HEIGHT]
        _paste(tile, image, (_HEIGHT - image.shape[0]) // 2, (WIDTH - image.shape[1]) // 2)
    else:
        for number, line in enumerate(textwrap.wrap(preview.problem or "no frame", 24)[:4]):
            draw_line(tile, 8, 40 + _LINE * number, line, _ALARM)

    draw_line(tile, 0, _HEIGHT + 6, row.label or "(no label)", _INK)
    draw_line(tile, 0, _HEIGHT + 6 + _LINE, f"{row.youtube_id} {row.split}", _PALE)
    return tile


def _paste(image: Image, part: Image, top: int, left: int) -> None:
    image[top : top + part.shape[0], left : left + part.shape[1]] = part


def draw_line(image: Image, left: int, top: int, text: str, colour: tuple[int, int, int]) -> None:
    """Draw a line of ASCII (else `?`), letters 6 × 13 pixels; a line too long ends in dots."""
    most = (image.shape[1] - left) // _LETTER_WIDTH
    if len(text) > most:
        text = text[: most - 2] + ".."
    for place, letter in enumerate(text):
        glyph = _glyphs()[ord(letter if " " <= letter <= "~" else "?") - ord(" ")]
        x = left + place * _LETTER_WIDTH
        image[top : top + _LETTER_HEIGHT, x : x + _LETTER_WIDTH][glyph] = colour


@cache
def _glyphs() -> npt.NDArray[np.bool_]:
    """Return the letters from space to `~`: 95 × height × width, True where there is ink."""
    # X11's "misc-fixed" 6x13, a font in the public domain, its letters side by side.
    with open(Path(__file__).with_name("font.png"), "rb") as file:
        with av.open(file, format="png_pipe") as container:
            font = next(container.decode(video=0)).to_ndarray(format="gray")
    rows = (font > 127).reshape(_LETTER_HEIGHT, 95, _LETTER_WIDTH)
    glyphs: npt.NDArray[np.bool_] = rows.swapaxes(0, 1)
    return glyphs

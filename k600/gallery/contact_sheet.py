"""A contact sheet: one PNG with a grid of thumbnails, each with its class beneath.

Letters are drawn from a small font of fixed width that is kept here, so that no font and no
drawing library is needed.
"""

from __future__ import annotations

import base64
import itertools
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from k600.errors import OptionError
from k600.gallery.rows import Row, check_target, previews, read_rows, write_file
from k600.gallery.thumbnails import WIDTH, Image, Preview, to_png
from k600.values import whole_number

__all__ = ["draw_line", "sheet_size", "write_contact_sheet"]

_HEIGHT = 120  # of the field for an image, in pixels; WIDTH is its width
_GAP = 16  # between tiles, and around them
_LETTER_WIDTH, _LETTER_HEIGHT = 6, 13
_CAPTION = 2 * (_LETTER_HEIGHT + 3) + 4

_PAPER, _FIELD = (250, 250, 248), (232, 232, 228)
_INK, _PALE, _ALARM = (29, 31, 33), (110, 114, 120), (176, 58, 46)


def sheet_size(clips: int, columns: int) -> tuple[int, int]:
    """Return width and height of a sheet, in pixels.

    Example:
        >>> sheet_size(9, 8)
        (1424, 360)
    """
    across, down = min(clips, columns), -(-clips // columns)
    return (
        _GAP + across * (WIDTH + _GAP),
        _GAP + down * (_HEIGHT + _CAPTION + _GAP),
    )


def write_contact_sheet(
    rows: Iterable[Mapping[str, Any]],
    path: str | os.PathLike[str],
    *,
    columns: int = 8,
    most: int = 200,
) -> Path:
    """Write a PNG with a grid of clips: an image from each one's middle, class, id and split.

    Args:
        rows: A loaded dataset, as for `write_gallery`.
        path: The file to write; replaced if it is there. Its folder must exist.
        columns: Clips side by side, 1 or more.
        most: Most clips to show, 1 or more: the first ones.

    Returns:
        The file's absolute path.

    Raises:
        OptionError: `rows` is empty or no dataset, or an option is not allowed.
        StoreError: The file cannot be written; one that was there stays.
    """
    columns = whole_number("columns", columns, least=1)
    most = whole_number("most", most, least=1)
    target = check_target(path, "contact sheet")
    tiles = [
        _tile(row, preview) for row, preview in previews(itertools.islice(read_rows(rows), most))
    ]
    if not tiles:
        raise OptionError("rows: the dataset is empty, there is nothing to show")
    width, height = sheet_size(len(tiles), columns)
    sheet = np.full((height, width, 3), _PAPER, np.uint8)
    for index, tile in enumerate(tiles):
        top = _GAP + index // columns * (_HEIGHT + _CAPTION + _GAP)
        left = _GAP + index % columns * (WIDTH + _GAP)
        sheet[top : top + tile.shape[0], left : left + WIDTH] = tile
    write_file(target, to_png(sheet), "contact sheet")
    return target


def _tile(row: Row, preview: Preview) -> Image:
    tile = np.full((_HEIGHT + _CAPTION, WIDTH, 3), _PAPER, np.uint8)
    tile[:_HEIGHT] = _FIELD
    if preview.image is not None:
        image = _cut(preview.image)
        top = (_HEIGHT - image.shape[0]) // 2
        left = (WIDTH - image.shape[1]) // 2
        tile[top : top + image.shape[0], left : left + image.shape[1]] = image
    else:
        for number, line in enumerate(_wrapped(preview.problem or "no image", 24)[:4]):
            draw_line(tile, 8, 40 + 16 * number, line, _ALARM)
    draw_line(tile, 0, _HEIGHT + 6, row.label or "(no label)", _INK)
    draw_line(tile, 0, _HEIGHT + 6 + _LETTER_HEIGHT + 3, f"{row.youtube_id} {row.split}", _PALE)
    return tile


def _cut(image: Image) -> Image:
    """Cut a tall image to the field's height, evenly at both ends."""
    top = max(0, (image.shape[0] - _HEIGHT) // 2)
    return image[top : top + _HEIGHT]


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def draw_line(tile: Image, left: int, top: int, text: str, colour: tuple[int, int, int]) -> None:
    """Draw a line of ASCII into an image; what is too long ends in dots, what is not ASCII is `?`.

    A letter is 6 pixels wide and 13 high.
    """
    most = (tile.shape[1] - left) // _LETTER_WIDTH
    if len(text) > most:
        text = text[: most - 2] + ".."
    for place, letter in enumerate(text):
        code = ord(letter) - 32
        glyph = _glyphs()[code if 0 <= code < 95 else ord("?") - 32]
        x = left + place * _LETTER_WIDTH
        tile[top : top + _LETTER_HEIGHT, x : x + _LETTER_WIDTH][glyph] = colour


@cache
def _glyphs() -> npt.NDArray[np.bool_]:
    """Return the letters from space to `~`: 95 × height × width, True where there is ink."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(_FONT), np.uint8))
    shape = (95, _LETTER_HEIGHT, _LETTER_WIDTH)
    return bits[: 95 * _LETTER_HEIGHT * _LETTER_WIDTH].reshape(shape).astype(bool)


# X11's "misc-fixed" 6x13, a font in the public domain: one bit a pixel, row by row.
_FONT = """
AAAAAAAAAAAAAAAIIIIIIIAIAAAAUUUAAAAAAAAAAAUU+U+UUAAAAAIeoocKK8IAAAASqUEIQUqkAAAAAQooQomkaAAA
AIIIAAAAAAAAAEIIQQQQQIIEAAQIIEEEEEIIQAAAIqcqIAAAAAAAAAAII+IIAAAAAAAAAAAAAMIQAAAAAAA+AAAAAAAA
AAAAAAAIcIAAACCEEIQQggAAAAIUiiiiiUIAAAAIYoIIIII+AAAAciiCEIQg+AAAA+CEIcCCicAAAAEEMUUk+EEAAAA+
ggsyCCicAAAAcigg8iiicAAAA+CEEIIQQQAAAAciiiciiicAAAAciiieCCicAAAAAAIcIAAIcIAAAAAIcIAAMIQAAACE
IQgQIECAAAAAAA+AA+AAAAAAgQIECEIQgAAAAciiCEIIAIAAAAciimqqsgeAAAAIUiii+iiiAAAA8SSScSSS8AAAAcig
ggggicAAAA8SSSSSSS8AAAA+ggg8ggg+AAAA+ggg8ggggAAAAcigggmiicAAAAiiii+iiiiAAAAcIIIIIIIcAAAAOEEE
EEEkYAAAAiikowokiiAAAAgggggggg+AAAAii2qqiiiiAAAAiyyqqmmiiAAAAciiiiiiicAAAA8iii8ggggAAAAciiii
iiqcCAAA8iii8okiiAAAAciggcCCicAAAA+IIIIIIIIAAAAiiiiiiiicAAAAiiiiUUUIIAAAAiiiiqqqqUAAAAiiUUIU
UiiAAAAiiUUIIIIIAAAA+CEEIQQg+AAAcQQQQQQQQQcAAAggQQIEECCAAAcEEEEEEEEEcAAAIUiAAAAAAAAAAAAAAAAA
AA+AAIEAAAAAAAAAAAAAAAcCeimaAAAAggg8iiii8AAAAAAAciggicAAAACCCeiiiieAAAAAAAci+gicAAAAMSQQ8QQQ
QAAAAAAAciiieCicAAgggsyiiiiAAAAAIAYIIIIcAAAAAEAMEEEEkkYAAgggkowokiAAAAYIIIIIIIcAAAAAAA0qqqqi
AAAAAAAsyiiiiAAAAAAAciiiicAAAAAAA8iii8gggAAAAAeiiieCCCAAAAAsyggggAAAAAAAciYEicAAAAAQQ8QQQSMA
AAAAAAiiiimaAAAAAAAiiiUUIAAAAAAAiiqqqUAAAAAAAiUIIUiAAAAAAAiiimaCicAAAAA+EIQg+AAAGIIIIwIIIIGA
AAIIIIIIIIIAAAwIIIIGIIIIwAAASqkAAAAAAAAA
"""

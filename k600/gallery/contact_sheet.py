"""A contact sheet: one PNG of clips by class, a frame of each, in the look of the page."""

from __future__ import annotations

import io
import itertools
import os
import textwrap
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from k600.errors import OptionError
from k600.errors.text import counted, printable
from k600.gallery.rows import Row, check_target, previews, read_rows, write_file
from k600.gallery.thumbnails import WIDTH, Preview
from k600.values import whole_number

_HEIGHT = 120  # of the field for a frame, in pixels; WIDTH is its width
_GAP, _MARGIN, _TOP = 16, 32, 96  # between tiles, around them, and down to the first heading
_HEADING, _CAPTION = 30, 24  # above and below a frame
_STEP = _HEADING + _HEIGHT + _CAPTION + 8

_PAGE, _FIELD, _ALARM_WASH = "#f7f7f4", "#ecece7", "#fbeadf"  # as in `page.html`, by day
_INK, _SOFT, _ALARM = "#1c1e21", "#5d6269", "#9a3412"


def sheet_size(clips: int, columns: int) -> tuple[int, int]:
    """Return the width and height of a sheet, in pixels.

    Example:
        >>> sheet_size(9, 8)
        (1456, 484)
    """
    across, down = min(clips, columns), -(-clips // columns)
    width = 2 * _MARGIN + across * (WIDTH + _GAP) - _GAP
    return max(width, 2 * _MARGIN + 2 * WIDTH), _TOP + down * _STEP + _MARGIN - 8


def write_contact_sheet(
    rows: Iterable[Mapping[str, Any]],
    path: str | os.PathLike[str],
    *,
    title: str = "Kinetics-600",
    columns: int = 8,
    most: int = 200,
) -> Path:
    """Write a PNG with a grid of clips by class: a frame from each one's middle, id and times.

    As `write_gallery`, with `columns` clips side by side.
    """
    columns = whole_number("columns", columns, least=1)
    most = whole_number("most", most, least=1)
    target = check_target(path, "contact sheet")

    clips = list(previews(itertools.islice(read_rows(rows), most)))
    if not clips:
        raise OptionError("rows: the dataset is empty, there is nothing to show")
    clips.sort(key=lambda clip: (clip[0].label is None, clip[0].label or ""))

    sheet = _Sheet(sheet_size(len(clips), columns))
    labels = [row.label or "(no label)" for row, _ in clips]
    sheet.draw_title(title, clips=len(clips), classes=len(set(labels)))
    for number, (row, preview) in enumerate(clips):
        down, across = divmod(number, columns)
        left, top = _MARGIN + across * (WIDTH + _GAP), _TOP + down * _STEP
        goes_on = number > 0 and labels[number] == labels[number - 1]
        if across == 0 or not goes_on:
            here = labels[number : number + columns - across].count(labels[number])
            width, colour = here * (WIDTH + _GAP) - _GAP, _SOFT if goes_on else _INK
            sheet.draw_text(left, top, labels[number], width, size=15, colour=colour)
        sheet.draw_clip(left, top + _HEADING, row, preview)
    write_file(target, sheet.png(), "contact sheet")
    return target


class _Sheet:
    """An image to draw on, in pixels from the top left."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._image = Image.new("RGB", size, _PAGE)
        self._draw = ImageDraw.Draw(self._image)

    def draw_title(self, title: str, *, clips: int, classes: int) -> None:
        said = f"{counted(clips, 'clip')}  ·  {counted(classes, 'class')}"
        width = self._image.width - 2 * _MARGIN
        self.draw_text(_MARGIN, 24, title, width, size=26, colour=_INK)
        self.draw_text(_MARGIN, 58, said, width, size=13, colour=_SOFT)

    def draw_clip(self, left: int, top: int, row: Row, preview: Preview) -> None:
        """Draw a frame, a tall one whole, or the reason why there is none; and what it is."""
        tile = Image.new("RGB", (WIDTH, _HEIGHT), _FIELD)
        if preview.image is not None:
            is_tall = preview.image.height > preview.image.width
            fit = ImageOps.contain if is_tall else ImageOps.fit
            frame = fit(preview.image, (WIDTH, _HEIGHT))
            tile.paste(frame, ((WIDTH - frame.width) // 2, (_HEIGHT - frame.height) // 2))
        else:
            tile.paste(_ALARM_WASH, (0, 0, WIDTH, _HEIGHT))
        self._image.paste(tile, (left, top), _corners())
        if preview.image is None:
            reason = printable(preview.problem or "no frame")
            for number, line in enumerate(textwrap.wrap(reason, 24)[:5]):
                self.draw_text(left + 10, top + 24 + 16 * number, line, WIDTH - 20, colour=_ALARM)

        below = top + _HEIGHT + 6
        self.draw_text(left + 2, below, row.youtube_id or "no id", WIDTH - 60, colour=_INK)
        if row.time_start is not None:
            times = f"{row.time_start // 60}:{row.time_start % 60:02}"
            self.draw_text(left + WIDTH - 2, below, times, 56, colour=_SOFT, anchor="ra")

    def draw_text(
        self,
        left: int,
        top: int,
        text: str,
        width: int,
        *,
        size: int = 12,
        colour: str,
        anchor: str = "la",
    ) -> None:
        """Draw a line of text; one that is too long ends in dots."""
        font, text = _font(size), printable(text)
        if font.getlength(text) > width:
            text = text[: width // 2]  # no letter is so narrow
            while text and font.getlength(f"{text}…") > width:
                text = text[:-1]
            text = f"{text}…"
        self._draw.text((left, top), text, fill=colour, font=font, anchor=anchor)

    def png(self) -> bytes:
        data = io.BytesIO()
        self._image.save(data, "PNG", optimize=True)
        return data.getvalue()


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


@cache
def _corners() -> Any:
    """Return the mask of a frame with round corners, drawn large so that they are smooth."""
    mask = Image.new("L", (4 * WIDTH, 4 * _HEIGHT))
    shape = (0, 0, mask.width - 1, mask.height - 1)
    ImageDraw.Draw(mask).rounded_rectangle(shape, radius=40, fill=255)
    return mask.resize((WIDTH, _HEIGHT))

"""Text of others (names in tarballs and folders, servers' and YouTube's words) made harmless.

Whatever leaves us as text goes through here: a name is only ever a name, to a terminal, to a log
and to a spreadsheet.
"""

from __future__ import annotations

import logging
import re

__all__ = ["PrintableRecords", "csv_cell", "printable", "printable_lines"]

_FORMULA = "=+-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\
\N{FULLWIDTH COMMERCIAL AT}"
"""What a formula begins with, to one spreadsheet or another."""


def printable(text: object) -> str:
    r"""Return text as one line in which every character is shown, none obeyed.

    Line ends, escape sequences, C1 controls, bidirectional and invisible characters, and bytes of
    a file name that are no UTF-8 are written as Python writes them: `\n`, `\x1b`, `\u202e`.

    Example:
        >>> printable("evil\x1b[2J\nname")
        'evil\\x1b[2J\\nname'
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: object) -> str:
    r"""Return text whose own line ends stay, with no line that could be taken for another's.

    As `printable`, line by line; every line but the first is indented by two spaces or more.

    Example:
        >>> printable_lines("cannot be read\nerror: all is lost")
        'cannot be read\n  error: all is lost'
    """
    text = str(text)
    if text.isprintable():
        return text
    first, *more = map(printable, text.split("\n"))
    lines = [first, *(line if not line or line.startswith("  ") else f"  {line}" for line in more)]
    return "\n".join(lines)


def csv_cell(value: object) -> str:
    r"""Return a value for a cell of a CSV: text to any spreadsheet, never a formula.

    What would begin a formula gets the apostrophe that marks text. A YouTube id or a file name
    may begin with `-`; as a word without operators it computes nothing, and stays as it is.

    Example:
        >>> csv_cell("=cmd|' /C calc'!A1.mp4")
        "'=cmd|' /C calc'!A1.mp4"
        >>> csv_cell("-aFirstHyph_000000_000010.mp4")
        '-aFirstHyph_000000_000010.mp4'
    """
    text = "" if value is None else printable(value)
    if text.lstrip().startswith(tuple(_FORMULA)) and not re.fullmatch(r"-[\w.-]*", text, re.ASCII):
        return f"'{text}"
    return text


class PrintableRecords(logging.Filter):
    """Makes every line of a logger harmless; passes all on."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Put the record's words together, as `printable_lines` has them."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                a if isinstance(a, (int, float)) else printable_lines(a) for a in record.args
            )
        record.msg, record.args = printable_lines(record.getMessage()), ()
        return True

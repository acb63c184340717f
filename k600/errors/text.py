"""Text to show: numbers in words, and text of others, safe for terminals, logs and spreadsheets.

Others' are names in tarballs and folders, addresses, and messages of servers and of YouTube.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import re
from collections.abc import Iterable

from rich.filesize import decimal

_FORMULA = "=+-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\
\N{FULLWIDTH COMMERCIAL AT}"
"""How a formula begins, in one spreadsheet or another."""


def printable(text: object) -> str:
    r"""Return text as one line, with characters that are not printable written as Python does.

    These are line ends, escape sequences, C1 controls, bidirectional and invisible characters, and
    bytes of a file name that are no UTF-8.

    Example:
        >>> printable("evil\x1b[2J\nname")
        'evil\\x1b[2J\\nname'
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: object) -> str:
    r"""Return each line of a text as `printable` does, all but the first indented.

    Example:
        >>> printable_lines("cannot be read\nerror: all is lost")
        'cannot be read\n  error: all is lost'
    """
    first, *more = map(printable, str(text).split("\n"))
    lines = [first, *(line if not line or line.startswith("  ") else f"  {line}" for line in more)]
    return "\n".join(lines)


def counted(number: int, noun: str) -> str:
    """Return how many there are of something: a number before a noun, which is given as one.

    Example:
        >>> counted(1, "more clip"), counted(1200, "clip"), counted(0, "class")
        ('1 more clip', '1,200 clips', '0 classes')
    """
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}{'es' if noun.endswith('s') else 's'}"


def share_text(done: int, total: int, unit: str) -> str:
    """Return the amount done of a total, where 0 is unknown.

    Example:
        >>> share_text(1500, 3000, "B"), share_text(1500, 3000, "clip"), share_text(7, 0, "B")
        ('1.5 kB of 3.0 kB', '1,500 of 3,000 clips', '7 bytes')
    """
    if not total:
        return amount_text(done, unit)
    return f"{decimal(done) if unit == 'B' else f'{done:,}'} of {amount_text(total, unit)}"


def amount_text(number: int, unit: str) -> str:
    """Return a number of bytes (`B`) or of something else in words."""
    return decimal(number) if unit == "B" else counted(number, unit)


def time_of(seconds: float) -> str:
    """Return a duration in words.

    Example:
        >>> time_of(0), time_of(0.2), time_of(45), time_of(600), time_of(9000), time_of(190_000)
        ('0 s', '1 s', '45 s', '10 min', '2.5 h', '2.2 days')
    """
    if seconds < 90:
        return f"{max(seconds, 1) if seconds else 0:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def listed(names: Iterable[str]) -> str:
    """Return names, quoted, in one line.

    Example:
        >>> listed(["train", "test"])
        "'train', 'test'"
    """
    return ", ".join(repr(name) for name in names)


def csv_cell(value: object) -> str:
    r"""Return a value for a cell of a CSV: text to any spreadsheet, never a formula.

    A formula gets the apostrophe that marks text. A single word may begin with `-`, as YouTube ids
    do.

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


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    r"""Return rows as a CSV, all of whose cells are text (`csv_cell`).

    Example:
        >>> csv_text([("file_name", "detail"), ("a.mp4", "=1+1")])
        "file_name,detail\na.mp4,'=1+1\n"
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(csv_cell, row) for row in rows)
    return text.getvalue()


def public_url(url: str) -> str:
    """Return the URL without user, password and query."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    host, slash, path = rest.partition("/")
    host = host.rpartition("@")[2].partition("?")[0]
    return f"{scheme}://{host}{slash}{path.partition('?')[0]}".rstrip("/")


def plain_text(error: object) -> str:
    """Return an error's message as one line, without what may be a secret.

    Example:
        >>> plain_text(ValueError("no hf_abcdefgh at https://x.y/z?X-Amz-Signature=1 today"))
        'no hf_… at https://x.y/z?… today'
    """
    text = printable(" ".join(str(error).split()))
    text = re.sub(r"\bhf_[A-Za-z0-9]+", "hf_…", text)
    text = re.sub(r"(://)[^/\s@]+@", r"\1…@", text)
    text = re.sub(r"(https?://[^\s?'\"]+\?)[^\s'\")>]+", r"\1…", text)
    return text[:300]


def short_hash(text: str) -> str:
    """Return 16 hexadecimal digits that stand for a text: in a file's name, or to compare it."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def text_of(data: bytes) -> str:
    r"""Return the text of a list in UTF-8, without byte order mark and trailing blanks.

    Blank lines at its end go, too. Every line ends in a line feed, the last one if it had an end.

    Example:
        >>> text_of(b"\xef\xbb\xbfval:\r\nzumba \r\n\r\n")
        'val:\nzumba\n'
    """
    text = data.decode("utf-8-sig")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if " \n" in text or "\t\n" in text:
        text = re.sub(r"[ \t]+\n", "\n", text)
    body = text.rstrip()
    return f"{body}\n" if "\n" in text[len(body) :] else body


class PrintableRecords(logging.Filter):
    """Makes every record of a logger printable; drops none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Format the record by `printable_lines`."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                a if isinstance(a, (int, float)) else printable_lines(a) for a in record.args
            )
        record.msg, record.args = printable_lines(record.getMessage()), ()
        return True

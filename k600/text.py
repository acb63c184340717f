"""Text as people save it: what editors and spreadsheets add to a list is taken off in one place."""

from __future__ import annotations

import re

__all__ = ["text_of"]


def text_of(data: bytes) -> str:
    r"""Return the text of a list: without a byte order mark, blanks at the ends of its lines and
    blank lines at its end; every line ends in a line feed alone, but the last one only if it had an
    end.

    Raises:
        UnicodeDecodeError: It is not UTF-8.

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

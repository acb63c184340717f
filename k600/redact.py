"""Addresses, and what of one, and of an error's words, may be shown to anyone."""

from __future__ import annotations

import re

from k600.printable import printable

__all__ = ["WEB_PORTS", "plain_text", "public_url"]

WEB_PORTS = {"http": 80, "https": 443}
"""The schemes of web addresses, and the port of one that names none."""


def public_url(url: str) -> str:
    """Return the URL without user, password and query, as it may be shown to anyone."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}".rstrip("/")


def plain_text(error: object) -> str:
    """Return one line of what an error says, without what may be a secret in it.

    Example:
        >>> plain_text(ValueError("no hf_abcdefgh at https://x.y/z?X-Amz-Signature=1 today"))
        'no hf_… at https://x.y/z?… today'
    """
    text = printable(" ".join(str(error).split()))
    text = re.sub(r"\bhf_[A-Za-z0-9]+", "hf_…", text)
    text = re.sub(r"(://)[^/\s@]+@", r"\1…@", text)
    text = re.sub(r"(https?://[^\s?'\"]+\?)[^\s'\")>]+", r"\1…", text)
    return text[:300]

"""The cookies of an account, in a file or a browser: read by yt-dlp, and never written back."""

from __future__ import annotations

import io
import optparse
import os
from pathlib import Path
from typing import Any, NamedTuple

from k600.errors import OptionError
from k600.text import short_hash
from k600.youtube.options import YOUTUBE, Silent

GUEST = "guest"
"""The account where there is none."""

_OF_ACCOUNT = ("SAPISID", "__Secure-1PAPISID", "__Secure-3PAPISID")
"""Cookies that stay the same for as long as an account is signed in."""


class Cookies(NamedTuple):
    """What one reading of cookies found."""

    text: str = ""
    """In Netscape's format; empty without any."""
    account: str = GUEST
    """A digest of the account that they sign in. They may be there and sign in nobody: what a
    browser leaves behind that has rotated them."""


def read_cookies(file: Path | None, browser: tuple[str | None, ...] | None) -> Cookies:
    """Return the cookies in a file, or else in a browser; none for neither.

    Raises:
        OptionError: The file holds no cookies, or the browser gives none.
    """
    from yt_dlp import YoutubeDL
    from yt_dlp.cookies import CookieLoadError
    from yt_dlp.utils import YoutubeDLError

    params: dict[str, Any]
    if file is not None:
        source, params = f"cookies: '{file}'", {"cookiefile": io.StringIO(_text_of(file))}
    elif browser is not None:
        source, params = f"cookies_from_browser: {browser[0]!r}", {"cookiesfrombrowser": browser}
    else:
        return Cookies()

    try:
        with YoutubeDL({"quiet": True, "logger": Silent(), **params}) as downloader:
            jar = downloader.cookiejar
            if not len(jar):
                raise OptionError(f"{source} holds no cookie that is still good")
            text = io.StringIO()
            jar.save(text, ignore_discard=True, ignore_expires=True)
            if not downloader.get_info_extractor("Youtube").is_authenticated:
                return Cookies(text.getvalue())
            values = {cookie.name: cookie.value for cookie in jar.get_cookies_for_url(YOUTUBE)}
    except (CookieLoadError, YoutubeDLError) as error:
        if file is not None:
            raise _no_cookies(file, "it is no such file") from None
        raise OptionError(f"{source} cannot be read ({error.__cause__ or error})") from None
    account = next(values[name] for name in _OF_ACCOUNT if name in values)
    return Cookies(text.getvalue(), short_hash(str(account)))


def _text_of(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise _no_cookies(file, error.strerror or error) from None
    except UnicodeDecodeError:  # a browser's own database, say
        raise _no_cookies(file, "it is no text in UTF-8") from None


def _no_cookies(file: Path, why: object) -> OptionError:
    return OptionError(
        f"cookies: '{file}' cannot be read ({why}). Expected a cookie file in Netscape's format, "
        "as browsers' add-ons export it"
    )


def check_cookies(value: object) -> Path:
    """Return the path of a cookie file that can be read."""
    if not isinstance(value, (str, os.PathLike)):
        raise OptionError(f"cookies: {value!r} is not allowed, expected a file's path")
    path = Path(os.path.abspath(os.path.expanduser(os.fspath(value))))
    _text_of(path)
    return path


def check_browser(value: object) -> tuple[str | None, ...]:
    """Read `firefox`, `chrome:Profile 1`, … as yt-dlp's own command line does."""
    if not isinstance(value, str) or not value:
        raise OptionError(
            f"cookies_from_browser: {value!r} is not allowed, expected a browser's name such as "
            "'firefox'"
        )
    import yt_dlp

    try:
        parsed = yt_dlp.parse_options(["--cookies-from-browser", value])
    except optparse.OptParseError as error:
        why = str(error).strip().splitlines()[-1].rpartition("error: ")[2]
        raise OptionError(f"cookies_from_browser: {value!r} is not allowed: {why}") from None
    found: tuple[str | None, ...] = parsed.ydl_opts["cookiesfrombrowser"]
    return found

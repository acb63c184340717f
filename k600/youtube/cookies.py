"""The cookies of an account, in a file or a browser: read by yt-dlp, and never written back."""

from __future__ import annotations

import contextlib
import io
import optparse
import os
from pathlib import Path
from typing import Any, NamedTuple

from k600.errors import OptionError
from k600.errors.text import counted, short_hash
from k600.youtube.options import YOUTUBE, Silent

GUEST = "guest"
"""The account where there is none."""

_OF_ACCOUNT = ("SAPISID", "__Secure-1PAPISID", "__Secure-3PAPISID")
"""Cookies that stay the same for as long as an account is signed in."""

_NO_COOKIE = (
    "There is no cookie in {lines} of the file: one has 7 fields, with tabs between them, which an "
    "editor may have made spaces"
)


class Cookies(NamedTuple):
    """What one reading of cookies found."""

    text: str = ""
    """In Netscape's format; empty without any."""
    account: str = GUEST
    """A digest of the account that they sign in. They may be there and sign in nobody: what a
    browser leaves behind that has rotated them."""
    left_out: str = ""
    """What is wrong with lines of the file that are no cookies, in words; empty without any."""


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
        text = _text_of(file)
        source, params = f"cookies: '{file}'", {"cookiefile": io.StringIO(text)}
    elif browser is not None:
        source, params = f"cookies_from_browser: {browser[0]!r}", {"cookiesfrombrowser": browser}
    else:
        return Cookies()

    try:
        with YoutubeDL({"quiet": True, "logger": Silent(), **params}) as downloader:
            # yt-dlp prints each line that is no cookie, with the secret that may be in it.
            with contextlib.redirect_stderr(io.StringIO()) as said:
                jar = downloader.cookiejar
            odd = said.getvalue().count("skipping cookie file entry") if file is not None else 0
            left_out = _NO_COOKIE.format(lines=counted(odd, "line")) if odd else ""
            if not len(jar):
                why = f"{source} holds no cookie that is still good"
                raise OptionError(". ".join(filter(None, (why, left_out))))
            saved = io.StringIO()
            jar.save(saved, ignore_discard=True, ignore_expires=True)
            if not downloader.get_info_extractor("Youtube").is_authenticated:
                return Cookies(saved.getvalue(), left_out=left_out)
            values = {cookie.name: cookie.value for cookie in jar.get_cookies_for_url(YOUTUBE)}
    except (CookieLoadError, YoutubeDLError) as error:
        if file is not None:
            raise _no_cookies(file, "it is no such file") from None
        raise OptionError(f"{source} cannot be read ({error.__cause__ or error})") from None
    account = next(values[name] for name in _OF_ACCOUNT if name in values)
    return Cookies(saved.getvalue(), short_hash(str(account)), left_out)


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

"""The options of YouTube: checked once, and as yt-dlp takes them."""

from __future__ import annotations

import io
import logging
import optparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from k600.errors import OptionError, nearest
from k600.network import OPENSSL_CERTIFICATES, read_network

logger = logging.getLogger("kinetics600")

YOUTUBE_SHORT_SIDE = 360
"""Pixels of the shorter side of clips from YouTube, at most, by default."""

_SIZES = (144, 240, 360, 480, 720, 1080, 1440, 2160)
"""Pixels of the shorter side in which YouTube keeps videos."""

_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_NAMED = {"cookiefile": "cookies", "cookiesfrombrowser": "cookies_from_browser", "proxy": "proxy"}


@dataclass(frozen=True, slots=True, kw_only=True)
class YouTubeOptions:
    """The options that are declared in `k600.loading.options`, as this wing needs them."""

    short_side: int
    """Pixels of the shorter side, at most."""
    audio: bool
    cookies: Path | None = field(repr=False)
    """A cookie file in Netscape's format; it is read, never written."""
    cookies_from_browser: tuple[str | None, ...] | None = field(repr=False)
    """Browser, profile, keyring and container, as yt-dlp takes them."""
    proxy: str | None = field(repr=False)
    """A proxy's URL; may hold a password."""
    yt_dlp_options: Mapping[str, Any] = field(repr=False)
    """Further parameters of `yt_dlp.YoutubeDL`; they overrule the loader's."""
    patience_seconds: int | None
    """How long `source="youtube"` waits in all for a block to be lifted; None for the usual."""
    requests_per_hour: int
    """Requests about videos; each video takes two to four."""

    @property
    def signed_in(self) -> bool:
        """Whether an account's cookies are sent."""
        return self.cookies is not None or self.cookies_from_browser is not None


def cookie_text(cookies: Path | None, browser: tuple[str | None, ...] | None) -> str:
    """Return the cookies in a file, or else in a browser, in Netscape's format; empty for neither.

    Raises:
        OptionError: The file holds no cookies, or the browser gives none.
    """
    from yt_dlp import YoutubeDL
    from yt_dlp.cookies import CookieLoadError
    from yt_dlp.utils import YoutubeDLError

    params: dict[str, Any]
    if cookies is not None:
        text = cookies.read_text("utf-8-sig")
        source, params = f"cookies: '{cookies}'", {"cookiefile": io.StringIO(text)}
    elif browser is not None:
        source, params = f"cookies_from_browser: {browser[0]!r}", {"cookiesfrombrowser": browser}
    else:
        return ""

    try:
        with YoutubeDL({"quiet": True, "logger": Silent(), **params}) as downloader:
            jar = downloader.cookiejar
            if not len(jar):
                raise OptionError(f"{source} holds no cookie that is still good")
            found = io.StringIO()
            jar.save(found, ignore_discard=True, ignore_expires=True)
            return found.getvalue()
    except (CookieLoadError, YoutubeDLError) as error:
        raise OptionError(f"{source} cannot be read ({error.__cause__ or error})") from None


def yt_dlp_params(options: YouTubeOptions) -> dict[str, Any]:
    """Return parameters for `yt_dlp.YoutubeDL`; the user's own overrule the loader's."""
    video = "bv[vcodec^=avc1][protocol^=http]/bv[protocol^=http]"
    both = "b[vcodec^=avc1][protocol^=http]/b[protocol^=http]"
    audio = "ba[ext=m4a][protocol^=http]/ba[protocol^=http]"

    size = next((size for size in _SIZES if size >= options.short_side), _SIZES[-1])
    params: dict[str, Any] = {
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "logger": Silent(),
        "noplaylist": True,
        "socket_timeout": 20,
        "extractor_retries": 1,
        "format": f"({video})+({audio})/{both}" if options.audio else f"{video}/{both}",
        "format_sort": [f"res:{size}", "vcodec:h264", "proto:https", "+size"],
        "extractor_args": {"youtube": {"skip": ["hls", "dash", "translated_subs"]}},
    }

    if options.proxy:
        params["proxy"] = options.proxy
    if OPENSSL_CERTIFICATES & dict(read_network().certificates).keys():
        params["compat_opts"] = {"no-certifi"}  # or it would trust certifi's alone
    return {**params, **options.yt_dlp_options}


class Silent:
    """A logger for yt-dlp; errors come as exceptions as well, so all is for debugging only."""

    def debug(self, message: str) -> None:
        if "proxy" not in message.lower():  # its URL may hold a password
            logger.debug("yt-dlp: %s", message)

    warning = error = info = debug


def check_cookies(value: object) -> Path:
    """Return the path of a cookie file that can be read."""
    if not isinstance(value, (str, os.PathLike)):
        raise OptionError(f"cookies: {value!r} is not allowed, expected a file's path")
    path = Path(os.path.abspath(os.path.expanduser(os.fspath(value))))
    try:
        with open(path, "rb"):
            return path
    except OSError as error:
        raise OptionError(
            f"cookies: '{path}' cannot be read ({error.strerror}). Expected a cookie file in "
            "Netscape's format, as browsers' add-ons export it"
        ) from None


def check_browser(value: object) -> tuple[str | None, ...]:
    """Read `firefox`, `chrome:Profile 1`, … as yt-dlp's own command line does."""
    if not isinstance(value, str):
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


def check_proxy_url(value: object) -> str:
    """Return the URL of a proxy that yt-dlp can use; nothing connects to it yet."""
    allowed = f"expected a URL that begins with {', '.join(f'{s}://' for s in _PROXY_SCHEMES)}"
    if not isinstance(value, str):
        raise OptionError(f"proxy: {value!r} is not allowed, {allowed}")
    try:
        parts = urlsplit(value)
        good = parts.scheme in _PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise OptionError(f"proxy: what was given is not allowed, {allowed} and names a host")
    return value


def check_parameters(value: object) -> dict[str, Any]:
    """Return parameters of `yt_dlp.YoutubeDL`, all of which it knows."""
    if not isinstance(value, Mapping):
        raise OptionError(
            f"yt_dlp_options: a {type(value).__name__} is not allowed, expected a dict of "
            "parameters of yt_dlp.YoutubeDL, such as {'socket_timeout': 60}"
        )
    import yt_dlp

    allowed = set(yt_dlp.parse_options([]).ydl_opts)
    for name in value:
        if name in _NAMED:
            raise OptionError(
                f"yt_dlp_options: {name!r} has an option of its own: {_NAMED[name]}=…"
            )
        if name not in allowed:
            raise OptionError(
                f"yt_dlp_options: {name!r} is no parameter of yt_dlp.YoutubeDL"
                f"{nearest(name, allowed)}"
            )
    return dict(value)

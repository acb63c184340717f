"""The options of YouTube: checked once, and as yt-dlp takes them."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from k600.errors import OptionError, nearest
from k600.network import OPENSSL_CERTIFICATES, read_network
from k600.values import number
from k600.video.encoding import CUT, Encoding

logger = logging.getLogger("kinetics600")

YOUTUBE = "https://www.youtube.com"

_SHORT_SIDE = 360
"""Pixels of the shorter side of clips from YouTube, at most, by default."""

_SIZES = (144, 240, 360, 480, 720, 1080, 1440, 2160)
"""Pixels of the shorter side in which YouTube keeps videos."""

_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")

_NUMBERS = frozenset({"extractor_retries", "sleep_interval_requests", "socket_timeout"})
_PARAMETERS = (
    *("cachedir", "client_certificate", "client_certificate_key", "client_certificate_password"),
    *("compat_opts", "extractor_args", "extractor_retries", "geo_bypass", "geo_bypass_country"),
    *("geo_bypass_ip_block", "http_headers", "impersonate", "js_runtimes", "legacyserverconnect"),
    *("nocheckcertificate", "remote_components", "retry_sleep_functions"),
    *("sleep_interval_requests", "socket_timeout", "source_address", "verbose"),
)
"""The parameters of yt-dlp that concern how a video is found and its media are reached. All others
are for its own command line and downloads, of which a clip sees nothing."""

_INSTEAD: Mapping[str, str] = {
    "cookiefile": "has an option of its own: cookies=…",
    "cookiesfrombrowser": "has an option of its own: cookies_from_browser=…",
    "proxy": "has an option of its own: proxy=…",
    "format": "is chosen by the loader, as short_side=… and audio=… say",
    "ratelimit": "would have no effect here: requests_per_hour=… sets the pace",
    "sleep_interval": "would have no effect here: requests_per_hour=… sets the pace",
}
"""What serves in place of other parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class YouTubeOptions:
    """The options that are declared in `k600.loading.options`, as this wing needs them."""

    encoding: Encoding
    """How clips are encoded, whose shorter side is limited always."""
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
    """Requests about videos; most videos take two."""


def youtube_encoding(encoding: Encoding | None) -> Encoding:
    """Return how clips from YouTube are encoded, which they are in any case, as they are cut."""
    short_side = _SHORT_SIDE
    if encoding is not None:
        short_side = encoding.short_side or short_side
        if encoding.encode is not None:
            return replace(encoding, short_side=short_side)
    return replace(CUT, short_side=short_side)


def yt_dlp_params(options: YouTubeOptions, clients: Sequence[str] = ()) -> dict[str, Any]:
    """Return parameters for `yt_dlp.YoutubeDL`; the user's own overrule the loader's.

    `clients` are the players of YouTube to ask as; without them, yt-dlp chooses.
    """
    # Only plain files can be read by ranges. "-sr" are frames that YouTube has enlarged, and "-drc"
    # is audio whose quiet parts are louder.
    plain = "[protocol^=http][format_id!*=-sr]"
    video = f"bv[vcodec^=avc1]{plain}/bv{plain}"
    both = f"b[vcodec^=avc1]{plain}/b{plain}"
    audio = f"ba{plain}[format_id!*=-drc]"

    short_side = options.encoding.short_side or _SIZES[-1]
    size = next((size for size in _SIZES if size >= short_side), _SIZES[-1])
    of_video = [f"res:{size}", "+hdr", "vcodec:h264", "proto:https"]
    # Else a live stream would have no formats at all, and nothing would say that it is live.
    youtube = {"skip": ["hls", "dash", "translated_subs"], "formats": ["incomplete"]}
    if clients:
        youtube["player_client"] = list(clients)
    params: dict[str, Any] = {
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "logger": Silent(),
        "noplaylist": True,
        "socket_timeout": 20,
        "extractor_retries": 1,
        "format": f"({video})+({audio})/{both}/{video}" if options.audio else f"{video}/{both}",
        "format_sort": ["lang", *of_video, "acodec:aac", "abr~128", "+size"],
        "extractor_args": {"youtube": youtube},
    }

    if options.proxy:
        params["proxy"] = options.proxy
    if OPENSSL_CERTIFICATES & dict(read_network().certificates).keys():
        params["compat_opts"] = {"no-certifi"}  # or it would trust certifi's alone
    return _merged(params, options.yt_dlp_options)


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what both say; dicts are merged, lists and sets joined, else `theirs` counts."""
    merged = dict(ours)
    for name, value in theirs.items():
        own = merged.get(name)
        if isinstance(own, Mapping):
            merged[name] = _merged(own, value)
        elif isinstance(own, (list, set)):
            merged[name] = type(own)([*own, *value])
        else:
            merged[name] = copy.deepcopy(value)  # yt-dlp strikes out what it does not know
    return merged


class Silent:
    """A logger for yt-dlp; errors come as exceptions as well, so all is for debugging only."""

    def debug(self, message: str) -> None:
        if "proxy" not in message.lower():  # its URL may hold a password
            logger.debug("yt-dlp: %s", message)

    warning = error = info = debug


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
    """Return parameters of `yt_dlp.YoutubeDL`, all of which have an effect on clips."""
    if not isinstance(value, Mapping):
        raise OptionError(
            f"yt_dlp_options: a {type(value).__name__} is not allowed, expected a dict of "
            "parameters of yt_dlp.YoutubeDL, such as {'socket_timeout': 60}"
        )
    for name, given in value.items():
        if name in _INSTEAD:
            raise OptionError(f"yt_dlp_options: {name!r} {_INSTEAD[name]}")
        if name not in _PARAMETERS:
            raise OptionError(
                f"yt_dlp_options: {name!r} does not serve here"
                f"{nearest(str(name), _PARAMETERS) or '.'} Allowed is what concerns how videos are "
                f"found and reached: {', '.join(_PARAMETERS)}"
            )
        if name in _NUMBERS:
            number(f"yt_dlp_options: {name}", given, least=0)

    checked = dict(value)
    for name, (read, expected) in _READ.items():
        if name in value:
            try:
                checked[name] = read(value[name])
            except OptionError:
                raise
            except (TypeError, AttributeError, ValueError):
                raise OptionError(  # without the value, which may hold a token
                    f"yt_dlp_options: {name!r} is not allowed as it is, expected {expected}"
                ) from None
    return checked


def _extractor_args(value: Mapping[Any, Any]) -> dict[str, dict[str, list[str]]]:
    """Return yt-dlp's parameter `extractor_args` with lists for what may be text with commas."""
    checked = {
        str.lower(extractor): {
            str.strip(name).lower().replace("-", "_"): _texts(each) for name, each in args.items()
        }
        for extractor, args in value.items()
    }
    known = player_clients()
    for client in checked.get("youtube", {}).get("player_client", []):
        name = client.removeprefix("-")
        if known and name not in (*known, "default", "all"):
            raise OptionError(
                f"yt_dlp_options: this yt-dlp knows no player_client {name!r}"
                f"{nearest(name, known) or '.'} Allowed: default, all, {', '.join(known)}"
            )
    return checked


def _runtimes(value: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return yt-dlp's parameter `js_runtimes` with a dict for each."""
    checked = {name: dict(config or {}) for name, config in value.items()}
    for config in checked.values():
        os.fspath(config.get("path", ""))
    return checked


def _texts(value: Any) -> list[str]:
    """Return a list of texts, which may be given as one with commas; `TypeError` if it is none."""
    values = value.split(",") if isinstance(value, str) else value
    return [str.strip(each) for each in values]


def _impersonate(value: object) -> Any:
    """Return a browser to be taken for as yt-dlp takes it; its command line takes the text."""
    from yt_dlp.networking.impersonate import ImpersonateTarget

    if isinstance(value, ImpersonateTarget):
        return value
    return ImpersonateTarget.from_str(value)


_READ: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "extractor_args": (
        _extractor_args,
        "a dict of dicts of lists such as {'youtube': {'player_client': ['tv']}}",
    ),
    "js_runtimes": (
        _runtimes,
        "a dict of dicts such as {'node': {'path': '/opt/node/bin/node'}}, or {'node': {}}",
    ),
    "impersonate": (_impersonate, "a browser such as 'chrome' or 'chrome-116:windows-10'"),
}
"""How parameters are read that yt-dlp's command line takes otherwise, and what they may be."""


def player_clients() -> Mapping[str, Mapping[str, Any]]:
    """Return what the installed yt-dlp knows of each player of YouTube that it can ask as."""
    try:
        from yt_dlp.extractor.youtube._base import INNERTUBE_CLIENTS
    except ImportError:  # it is no public name: where it is gone, all is left to yt-dlp
        return {}
    clients: Mapping[str, Mapping[str, Any]] = INNERTUBE_CLIENTS
    return clients

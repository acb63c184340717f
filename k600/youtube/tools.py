"""The tools that clips from YouTube need: yt-dlp, a JavaScript runtime, an encoder."""

from __future__ import annotations

import datetime
import importlib.metadata
import logging
import sys
from collections.abc import Mapping
from typing import Any

from k600.errors import OptionError
from k600.youtube.options import Silent, YouTubeOptions, player_clients, yt_dlp_params

logger = logging.getLogger("kinetics600")

OLD_AFTER_DAYS = 90
"""yt-dlp calls itself old after this; YouTube has always changed something by then."""

_LEAST_PYTHON = (3, 11)
"""What yt-dlp 2026.10.26 needs, and so what comes after it."""

_CHEAP_CLIENTS = ("visionos",)
"""Those that one question and no JavaScript suffice for, as of October 2026. (yt-dlp's own choice
takes one or two questions more, and a second of deno.)"""


def check_tools(options: YouTubeOptions) -> None:
    """Check, before the first request, that all tools are there and work.

    Raises:
        MissingDependencyError: No H.264 encoder.
        OptionError: yt-dlp does not accept `yt_dlp_options`.
    """
    from yt_dlp import YoutubeDL
    from yt_dlp.utils import YoutubeDLError

    from k600.video.encoder import check_encoder

    check_encoder()
    try:
        with YoutubeDL(yt_dlp_params(options)) as downloader:
            downloader.get_info_extractor("Youtube").initialize()
    except (YoutubeDLError, ValueError, TypeError, AttributeError) as error:
        raise OptionError(
            f"yt_dlp_options: yt-dlp does not accept them: {str(error).splitlines()[0]}"
        ) from None

    if not usable_runtimes(options):
        logger.warning(
            "kinetics600: no JavaScript runtime is here, or only one too old: some videos will not "
            "come from YouTube. Run: pip install deno (or pass yt_dlp_options={'js_runtimes': "
            "{'node': {}}} for Node 22 or later)"
        )

    if (age_days := yt_dlp_age_days()) > OLD_AFTER_DAYS:
        logger.info(
            "kinetics600: yt-dlp %s is %d days old; if YouTube refuses, upgrade it first: %s",
            yt_dlp_version(),
            age_days,
            upgrade_advice(),
        )


def upgrade_advice(python: tuple[int, ...] = sys.version_info[:2]) -> str:
    """Return how to get a newer yt-dlp, in words.

    Example:
        >>> upgrade_advice((3, 12))
        "pip install -U 'yt-dlp[default]'"
    """
    if python < _LEAST_PYTHON:
        return (
            f"its newer releases need Python {'.'.join(map(str, _LEAST_PYTHON))} or later, and "
            f"this is {'.'.join(map(str, python))}, so make an environment with a newer Python"
        )
    return "pip install -U 'yt-dlp[default]'"


def advice(kind: str, *, has_worked: bool, age_days: int | None = None) -> str:
    """Return what to do where YouTube gives no clips, in words.

    `kind` is one of `YOUTUBE_KINDS`, `has_worked` whether any clip came before, and
    `age_days` how old yt-dlp is.
    """
    age_days = yt_dlp_age_days() if age_days is None else age_days
    if kind in ("blocked", "client") and not has_worked and age_days > OLD_AFTER_DAYS:
        return f"Your yt-dlp is {age_days} days old, which is likely why: {upgrade_advice()}"
    if kind == "client":
        return f"A newer yt-dlp may help: {upgrade_advice()}"
    if kind == "blocked" and has_worked:
        return (
            "You are being throttled, as clips came before: go on later, with a smaller "
            "requests_per_hour=…"
        )
    if kind == "blocked":
        return (
            "Try again later, or pass proxy=… another address, or cookies=… of an account that "
            "you can spare: YouTube may suspend one that is used like this"
        )
    return "Try again later, or pass proxy=… another way there"


def attempts(options: YouTubeOptions, *, is_guest: bool = True) -> list[dict[str, Any]]:
    """Return parameters of `YoutubeDL` for each try at a video: the clients that cost least, and,
    for videos that these do not get, those that yt-dlp itself chooses.

    Only the latter for an account, and where one of the former would be chosen anyway.
    """
    usual = yt_dlp_params(options)
    cheap = [name for name in _CHEAP_CLIENTS if name in player_clients()]
    chosen = "player_client" in usual["extractor_args"]["youtube"]
    if chosen or not cheap or not is_guest or not usable_runtimes(options):
        return [usual]
    return [yt_dlp_params(options, cheap), usual]


def usable_runtimes(options: YouTubeOptions) -> list[str]:
    """Return the JavaScript runtimes that yt-dlp can use, such as `deno-2.9.8`, sorted."""
    found = js_runtimes(options.yt_dlp_options.get("js_runtimes", {"deno": {}})).values()
    return sorted(f"{each.name}-{each.version}" for each in found if each.supported)


def yt_dlp_version() -> str:
    """Return the installed yt-dlp's version, which is its date, without importing it."""
    return importlib.metadata.version("yt-dlp")


def yt_dlp_age_days(today: datetime.date | None = None) -> int:
    """Return how many days ago the installed yt-dlp was released."""
    released = datetime.date(*map(int, yt_dlp_version().split(".")[:3]))
    return ((today or datetime.date.today()) - released).days


def js_runtimes(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the wanted JavaScript runtimes that are here, as yt-dlp describes them.

    `wanted` is yt-dlp's parameter `js_runtimes`: `{"deno": {"path": …}}`.
    """
    from yt_dlp import YoutubeDL
    from yt_dlp.globals import supported_js_runtimes

    with YoutubeDL({"logger": Silent()}):  # fills the table of runtimes
        kinds = supported_js_runtimes.value

    found = {}
    for name, config in wanted.items():
        info = kinds[name]((config or {}).get("path")).info if name in kinds else None
        if info is not None:
            found[name] = info
    return found

"""The tools that clips from YouTube need: yt-dlp, a JavaScript runtime, an encoder."""

from __future__ import annotations

import datetime
import importlib.metadata
import logging
from collections.abc import Mapping
from typing import Any

from k600.errors import MissingDependencyError, OptionError
from k600.youtube.options import YouTubeOptions, yt_dlp_params

logger = logging.getLogger("kinetics600")

OLD_AFTER_DAYS = 90
"""yt-dlp calls itself old after this; YouTube has always changed something by then."""


def check_tools(options: YouTubeOptions) -> None:
    """Check, before the first request, that all tools are there and work.

    Raises:
        MissingDependencyError: No JavaScript runtime (YouTube's player needs one), or no
            H.264 encoder.
        OptionError: yt-dlp does not accept `yt_dlp_options`.
    """
    from yt_dlp import YoutubeDL

    from k600.video.encoder import check_encoder

    check_encoder()
    try:
        with YoutubeDL(yt_dlp_params(options)):
            pass
    except (SyntaxError, ValueError, TypeError, AttributeError) as error:
        raise OptionError(
            f"yt_dlp_options: yt-dlp does not accept them: {str(error).splitlines()[0]}"
        ) from None

    wanted = options.yt_dlp_options.get("js_runtimes", {"deno": {}})
    if wanted and not any(runtime.supported for runtime in js_runtimes(wanted).values()):
        raise MissingDependencyError(
            f"source: clips from YouTube need a JavaScript runtime, and {' or '.join(wanted)} is "
            "not here or too old. Run: pip install deno (or pass yt_dlp_options={'js_runtimes': "
            "{'node': {}}} for Node 22 or later)"
        )

    if (age_days := yt_dlp_age_days()) > OLD_AFTER_DAYS:
        logger.info(
            "kinetics600: yt-dlp %s is %d days old; if YouTube refuses, upgrade it first: "
            "pip install -U 'yt-dlp[default]'",
            yt_dlp_version(),
            age_days,
        )


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

    with YoutubeDL({"quiet": True}):  # fills the table of runtimes
        kinds = supported_js_runtimes.value

    found = {}
    for name, config in wanted.items():
        info = kinds[name]((config or {}).get("path")).info if name in kinds else None
        if info is not None:
            found[name] = info
    return found

"""Videos for the replica of YouTube: good ones, and one of each thing that goes wrong."""

from __future__ import annotations

import functools
from typing import Any

from tests.counter import counter_video, tone_audio
from tests.youtube_replica import BOT_CHECK, FAULTS, Video


def good_video(
    width: int = 320, height: int = 180, fps: int = 30, seconds: float = 10, **changes: Any
) -> Video:
    """Return a playable video-only one with counter pictures; `changes` are other fields."""
    media = functools.partial(counter_video, width, height, fps, seconds)
    shape = {"width": width, "height": height, "fps": fps, "duration_seconds": seconds}
    return Video(**{"media": media, **shape, **changes})


GOOD = {
    "landscape": good_video(),
    "portrait": good_video(180, 320),
    "60 fps": good_video(fps=60),
    "split": good_video(audio=functools.partial(tone_audio, 10)),
    "progressive": good_video(
        media=b"", progressive=functools.partial(counter_video, layout="faststart", sound=True)
    ),
}


CLIENTS = ("VISIONOS", "TVHTML5", "ANDROID_VR", "WEB", "WEB_EMBEDDED_PLAYER", "MWEB")
"""Those that yt-dlp asks as, in one of its versions or another."""

_GONE = "ERROR: Video unavailable"
_NOT_HERE = "UNPLAYABLE: Video unavailable"
_SAID = {
    "private": "LOGIN_REQUIRED: Private video"
    " | Sign in if you've been granted access to this video",
    "private_in_app": "LOGIN_REQUIRED: This video is private",
    "removed": f"{_GONE} | This video has been removed by the uploader",
    "terms": f"{_GONE} | This video has been removed for violating YouTube's Terms of Service",
    "terminated": f"{_GONE} | This video is no longer available because the YouTube account"
    " associated with this video has been terminated.",
    "copyright": f"{_GONE} | This video is no longer available due to a copyright claim by Example",
    "copyright_block": f"{_NOT_HERE} | This video contains content from Example, who has blocked it"
    " in your country on copyright grounds",
    "region": f"{_NOT_HERE} | The uploader has not made this video available in your country",
    "age": "LOGIN_REQUIRED: Sign in to confirm your age"
    " | This video may be inappropriate for some users.",
    "members": "UNPLAYABLE: Join this channel to get access to members-only content like this"
    " video, and other exclusive perks.",
    "kids": "UNPLAYABLE: This video is not available",
    "embedding": f"{_NOT_HERE} | Playback on other websites has been disabled by the video owner",
    "bot_check": f"LOGIN_REQUIRED: {BOT_CHECK}",
    "rate_limit": "UNPLAYABLE: This content isn't available, try again later.",
    "rate_limit_curly": f"{_NOT_HERE} | This content isn’t available, try again later.",
    "live_soon": "LIVE_STREAM_OFFLINE: This live event will begin in 3 days.",
    "unavailable": _GONE,
    "gone": f"{_GONE} | This video isn't available anymore",
}
"""`status: reason | subreason`, as seen in yt-dlp's reports."""


def _saying(text: str) -> Video:
    status, _, said = text.partition(": ")
    reason, _, subreason = said.partition(" | ")
    countries = ("DE", "FR") if subreason.startswith("The uploader has not made") else ()
    return Video(status=status, reason=reason, subreason=subreason, countries=countries)


FAILURES = {
    **{name: _saying(text) for name, text in _SAID.items()},
    "no_formats": Video(),
    "too_short": good_video(seconds=2),
    "ends_early": good_video(seconds=5),
    "paid": Video(
        status="UNPLAYABLE", reason="This video requires payment to watch.", trailer="trailer0000"
    ),
    "other_id": good_video(shown_id="another0000"),
    "no_addresses": good_video(ways=dict.fromkeys(CLIENTS, "none")),
    "manifests": good_video(ways=dict.fromkeys(CLIENTS, "manifests")),
    "token": good_video(ways=dict.fromkeys(CLIENTS, "token")),
    "no_addresses_first": good_video(ways={"VISIONOS": "none"}),
    "manifests_first": good_video(ways={"VISIONOS": "manifests"}),
    "token_first": good_video(ways={"VISIONOS": "token"}),
    **{fault: good_video(fault=fault) for fault in FAULTS if fault != "kids"},
    "kids_elsewhere": good_video(fault="kids"),
}
"""One of each thing that goes wrong, by name; give a copy (`dataclasses.replace`) to change one."""

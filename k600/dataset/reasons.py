"""Why a clip may be missing: every reason, in words."""

from __future__ import annotations

from k600 import errors

REASONS: dict[str, str] = {
    "empty": "its file has no bytes",
    "truncated": "its file is cut off",
    "not_mp4": "its file is not an MP4 file",
    "damaged": "its file cannot be decoded",
    "not_encoded": "good in its source, but it could not be encoded anew (short_side, encode)",
    "no_video": "its file has no frames",
    "not_a_file": "the tarball holds a device of that name, or a link to no file in it",
    "too_large": "its file is too large for a clip",
    "not_in_tarball": "listed by the host, but not in its tarball",
    "tarball_damaged": "the tarball failed its own checks twice in a run",
    "tarball_condemned": "the tarball failed its checks alike in two runs, and is still the same",
    "unreadable": "the file that was there cannot be read",
    "differs": "the file is not the one in the manifest",
    "odd_name": "the tarball holds a video whose name is not a clip's",
    "not_fetched": "not in the store yet",
    "not_stored": "in its tarball, but not in the store: it vanished during the load",
    "tarball_not_found": "the mirror has no such tarball",
    "tarball_denied": "the mirror refuses the tarball, or has none (S3 says the same of both)",
    "tarball_unreachable": "the tarball could not be read to its end",
    "tarball_changed": "the tarball was replaced while it was read, twice",
    "offline": "not in the store, and the network is not to be used",
    "youtube_gone": "YouTube: private, removed, terminated or otherwise gone",
    "youtube_region": "YouTube: not shown in this country",
    "youtube_auth": "YouTube: shown to signed-in accounts only (cookies=…, at the account's risk)",
    "youtube_client": "YouTube: this version of yt-dlp cannot download it; a newer one may",
    "youtube_clip": "YouTube: the video does not have these seconds",
    "youtube_transient": "YouTube: the network or YouTube itself failed, twice",
    "youtube_blocked": "YouTube: refuses this address for now, or this video alone",
}

OPEN_REASONS = frozenset(
    {
        "tarball_not_found",
        "tarball_denied",
        "tarball_unreachable",
        "tarball_changed",
        "tarball_damaged",
        "not_encoded",
        "offline",
        "not_fetched",
        "not_stored",
        "youtube_client",
        "youtube_transient",
        "youtube_blocked",
    }
)
"""Reasons that the next call tries again; the others are settled."""

PASSING_REASONS = OPEN_REASONS - {
    "tarball_not_found",
    "tarball_denied",
    "not_encoded",
    "youtube_client",
}
"""Those of them that pass by themselves: waiting and calling again helps. The others need somebody
to act: the host, who grants access to it, or who installs yt-dlp or PyAV."""

WATCHED_REASONS = frozenset({"tarball_condemned"})
"""Reasons that are settled until the host changes something, which each call checks."""

BAD_FILE_REASONS = frozenset(
    {
        "empty",
        "truncated",
        "not_mp4",
        "damaged",
        "no_video",
        "not_a_file",
        "too_large",
        "unreadable",
    }
)
"""Reasons in the file itself, here or in its tarball."""

YOUTUBE_KINDS = ("blocked", "transient", "client", "auth", "region", "gone", "clip")
"""Why YouTube may give no clip: each is a reason, after `youtube_`."""


def reason_of_verdict(verdict: str) -> str:
    """Return why a clip is missing whose file has one of `k600.video.probe.VERDICTS`.

    Example:
        >>> reason_of_verdict("truncated"), reason_of_verdict("vanished")
        ('truncated', 'unreadable')
    """
    return verdict if verdict in REASONS else "unreadable"


def reason_of_failure(error: Exception) -> str:
    """Return why the clips of a tarball are missing that could not be read."""
    reasons: dict[type[Exception], str] = {
        errors.DamagedTarballError: "tarball_damaged",
        errors.MirrorNotFoundError: "tarball_not_found",
        errors.MirrorDeniedError: "tarball_denied",
        errors.MirrorChangedError: "tarball_changed",
    }
    return reasons.get(type(error), "tarball_unreachable")

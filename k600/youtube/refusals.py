"""What it means when YouTube gives no clip: one table from an error to a kind and a code. Pure.

The kinds say whose fault it is, and so what becomes of the clip:

    blocked    this address is refused for now      never held against the clip
    transient  the network, or YouTube, hiccups     never held against the clip
    client     this yt-dlp cannot                   asked again with a newer yt-dlp
    auth       an account is needed                 asked again with cookies
    region     not shown in this country            settled
    gone       private, removed, terminated, …      settled; the vague ones on a second day
    clip       the video has no such seconds        settled

The texts are those that yt-dlp passes on from YouTube (seen in its extractor and its issues).
"Sign in" alone says nothing: it is in the bot check, in the age check and in private videos.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why YouTube gave no clip."""

    kind: str
    """One of `k600.reasons.YOUTUBE_KINDS`."""
    code: str
    """What exactly, such as `bot`, `private`, `http_503`."""
    message: str = ""
    """In YouTube's words."""

    @property
    def reason(self) -> str:
        """The key of `k600.reasons.REASONS`."""
        return f"youtube_{self.kind}"


_RULES: tuple[tuple[str, str, str], ...] = (
    ("blocked", "bot", r"not a bot|captcha|likely being blocked|unusual traffic"),
    ("blocked", "rate_limit", r"try again later|rate.?limited|too many requests"),
    ("auth", "age", r"confirm your age|age.restricted|inappropriate for some users"),
    ("gone", "private", r"private video|video is private"),
    ("gone", "terminated", r"account.{0,80}(terminated|closed)"),
    ("region", "country", r"in your country|blocked it on this|not available from your location"),
    ("gone", "copyright", r"copyright"),
    ("gone", "removed", r"removed by the|removed for|has been removed|violat"),
    ("auth", "members", r"members.only|available to this channel's members|join this channel"),
    ("auth", "paid", r"requires payment|premium members|music premium|this video is paid"),
    ("client", "embedding", r"playback on other websites|error code: 15\d"),
    ("client", "app", r"on this app|drm protected|latest version of youtube"),
    ("client", "client", r"^(this video|this content) is(n't| not) available\.?$"),
    ("client", "no_format", r"format is not available|no video formats|only images are available"),
    ("transient", "live", r"live event|premiere|will begin|is live|offline"),
    ("gone", "unavailable", r"video unavailable|video is unavailable|does not exist"),
    ("gone", "unavailable", r"(no longer|isn't|is not|not) available( anymore)?"),
    ("transient", "no_answer", r"failed to extract any player response"),
)
"""Kind, code and pattern; the first match counts. Texts are in lower case, `’` as `'`."""

SIGNED_IN = "_signed_in"
"""Ends the code of an answer that YouTube gave although an account's cookies were sent."""

_HIDING = frozenset({"no_format", "no_answer"})
"""Codes behind which yt-dlp hides an HTTP error of the player API."""


def classify(error: BaseException, statuses: Sequence[int] = ()) -> Refusal:
    """Return what an error of yt-dlp means; `statuses` has the HTTP errors that it suppressed, too.

    Example:
        >>> from yt_dlp.utils import ExtractorError
        >>> classify(ExtractorError("Sign in to confirm you’re not a bot", expected=True)).kind
        'blocked'
    """
    from yt_dlp.utils import ExtractorError

    chain = list(_chain(error))
    texts = (each.orig_msg for each in chain if isinstance(each, ExtractorError))
    message = re.sub(r"\s+", " ", next(texts, None) or str(error))
    message = re.sub(r"^ERROR:\s*", "", message).strip()
    message = re.sub(r"^\[\w+\] (\S{11}: )?", "", message)
    message = re.sub(r"(; please report| Use --cookies| It is recommended to use `).*", "", message)
    return Refusal(*_meaning(message, chain, statuses), message[:300])


def _meaning(
    message: str, chain: Sequence[BaseException], statuses: Sequence[int]
) -> tuple[str, str]:
    """Return the kind and the code of an error, given with its causes."""
    from yt_dlp.networking.exceptions import HTTPError, ProxyError, RequestError
    from yt_dlp.utils import GeoRestrictedError

    if any(isinstance(each, GeoRestrictedError) for each in chain):
        return "region", "country"

    text = message.lower().replace("’", "'")
    for kind, code, pattern in _RULES:
        if re.search(pattern, text):
            hidden = _of_status(statuses) if code in _HIDING else None
            return hidden or (kind, code)

    for each in chain:
        if isinstance(each, HTTPError):
            return _of_status([each.status]) or ("transient", f"http_{each.status}")
    if any(isinstance(each, ProxyError) for each in chain):
        return "transient", "proxy"
    if any(isinstance(each, (RequestError, OSError)) for each in chain):
        return "transient", "network"
    return "transient", "unknown"


def is_settled(
    kind: str, code: str, *, days: int, yt_dlp: str, yt_dlp_now: str, cookies: bool
) -> bool:
    """Whether there is no point in asking YouTube for a clip again after a refusal.

    `days` is on how many different days it was the answer, `yt_dlp` the version that got it;
    `cookies` is whether an account's would be sent now.

    Example:
        >>> is_settled("gone", "private", days=1, yt_dlp="1", yt_dlp_now="1", cookies=False)
        True
    """
    if kind == "gone":
        return code != "unavailable" or days >= 2  # it may be a passing failure
    if kind == "client":
        return yt_dlp == yt_dlp_now
    if kind == "auth":
        return not cookies or code.endswith(SIGNED_IN)
    return kind in ("region", "clip")


def _of_status(statuses: Sequence[int]) -> tuple[str, str] | None:
    if 429 in statuses:
        return "blocked", "http_429"
    if any(status >= 500 for status in statuses):
        return "transient", "http_5xx"
    if 403 in statuses:
        return "blocked", "http_403"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes; yt-dlp keeps them in three places."""
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo:
        e = todo.pop(0)
        if not isinstance(e, BaseException) or id(e) in seen:
            continue
        seen.add(id(e))
        yield e
        info = getattr(e, "exc_info", None)
        if isinstance(info, tuple):
            todo.append(info[1])
        todo += [getattr(e, "cause", None), e.__cause__, e.__context__]

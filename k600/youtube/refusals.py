"""What it means when YouTube gives no clip: one table from an error to a kind and a code. Pure.

The kinds say whose fault it is, and so what becomes of the clip:

    blocked    this address is refused for now      never held against the clip
    transient  the network, or YouTube, hiccups     never held against the clip
    client     this yt-dlp cannot                   asked again under other circumstances
    auth       an account is needed                 asked again with another account
    region     not shown in this country            asked again from another address
    gone       private, removed, terminated, …      settled; the vague ones on a second day, by two
                                                    versions of yt-dlp
    clip       the video has no such seconds        settled

yt-dlp tries several players of YouTube, and swallows what goes wrong on the way: the answer that is
left may be that of the only player that was reached. So failed requests and yt-dlp's warnings are
evidence (`Evidence`): with it, an answer that another player may give otherwise is none.

The texts are those that yt-dlp passes on from YouTube (seen in its extractor and its issues).
"Sign in" alone says nothing: it is in the bot check, in the age check and in private videos.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from k600.store.rows import AnswerRow
from k600.youtube.circumstances import read_facts


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why YouTube gave no clip."""

    kind: str
    """One of `YOUTUBE_KINDS`."""
    code: str
    """What exactly, such as `bot`, `private`, `http_503`."""
    message: str = ""
    """In YouTube's words."""

    @property
    def reason(self) -> str:
        """The key of `REASONS`."""
        return f"youtube_{self.kind}"


@dataclass(slots=True)
class Evidence:
    """What went wrong while yt-dlp looked at a video, also what it passed over."""

    errors: list[BaseException] = field(default_factory=list)
    """Requests that failed."""
    warnings: list[str] = field(default_factory=list)
    """What yt-dlp warned of."""


_RULES: tuple[tuple[str, str, str], ...] = (
    ("blocked", "bot", r"not a bot|captcha|likely being blocked|unusual traffic"),
    ("transient", "player", r"^an error occurred|went wrong|to be reloaded|check back later"),
    ("blocked", "rate_limit", r"try again later|rate.?limited|too many requests"),
    ("auth", "age", r"confirm your age|age.restricted|inappropriate for some users"),
    ("gone", "private", r"private video|video is private"),
    ("gone", "terminated", r"account.{0,80}(terminated|closed)|closed their"),
    ("client", "embedding", r"playback on other websites|error code: 15\d|blocked it from display"),
    ("gone", "removed", r"removed (by|for) |privacy claim"),
    ("region", "restricted", r"workspace admin|network administrator|restricted mode"),
    ("region", "country", r"in your (country|region|area|location)|from your location"),
    ("region", "country", r"blocked it on this|country domain"),
    ("gone", "copyright", r"copyright"),
    ("gone", "removed", r"has been removed|violat"),
    ("auth", "members", r"members.only|available to this channel's members|join this channel"),
    ("auth", "paid", r"requires payment|premium members|music premium|this video is paid"),
    ("client", "app", r"on this app|drm protected|latest version of youtube"),
    ("client", "client", r"^this video is(n't| not) available\.?$|no player clients"),
    ("transient", "content", r"this content is(n't| not) available\.?$"),
    ("client", "no_format", r"format is not available|no video formats|only images are available"),
    ("transient", "live", r"live event|premiere|will begin|is live|offline"),
    ("gone", "unavailable", r"video unavailable|video is unavailable|does not exist"),
    ("gone", "unavailable", r"(no longer|isn't|is not|not) available( anymore)?"),
    ("transient", "no_answer", r"failed to extract any player response"),
)
"""Kind, code and pattern; the first match counts. Texts are in lower case, `’` as `'`."""

_HIDING = frozenset({"no_answer", "age"})
"""Codes, beside those of `client`, of answers that another player may give otherwise."""

OF_ONE_CLIENT = _HIDING | {"player", "content", "unknown"}
"""The same with passing answers, such as "Please sign in"."""

_HOW_THINGS_STAND = (
    r"javascript runtime|remote component|po token|missing a url|drm protected|unsupported client|"
    r"cookies|translated"
)
"""Warnings of yt-dlp about what it is given and offered, and not of something that failed. (That
a challenge was not solved names a runtime, too; why it was not, another warning says.)"""

_BEARING = {
    "region": ("address",),
    "auth": ("clients", "account"),
    "client": ("version", "address", "clients", "account", "runtime"),
}
"""The circumstances that answers depend on, by kind: see `k600.youtube.circumstances`."""


def classify(error: BaseException, evidence: Evidence | None = None) -> Refusal:
    """Return what an error of yt-dlp means; `evidence` has what it passed over before.

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
    return Refusal(*_meaning(message, chain, evidence or Evidence()), message[:300])


def _meaning(message: str, chain: Sequence[BaseException], evidence: Evidence) -> tuple[str, str]:
    """Return the kind and the code of an error, given with its causes."""
    from yt_dlp.utils import GeoRestrictedError

    if any(isinstance(each, GeoRestrictedError) for each in chain):
        return "region", "country"

    text = message.lower().replace("’", "'")
    for kind, code, pattern in _RULES:
        if re.search(pattern, text):
            hides = kind == "client" or code in _HIDING
            return (_of_evidence(evidence) if hides else None) or (kind, code)
    return _of_requests(chain) or ("transient", "unknown")


def is_settled(answer: AnswerRow, now: Mapping[str, str]) -> bool:
    """Whether there is no point in asking YouTube for a clip again after a refusal.

    `now` are the circumstances under which it would be asked; only those that the answer depends
    on are looked up, those that cost least first.

    Example:
        >>> private = AnswerRow("train/zumba", "a", "gone", "private", "", "1", 0, 1, 1, "", "")
        >>> is_settled(private, {})
        True
    """
    kind, code = answer.kind, answer.code
    if code == "unavailable":  # it may be a passing failure, or an old yt-dlp
        return answer.days >= 2 and answer.versions >= 2
    if code in ("no_format", "media_http_403") and answer.days < 2:  # an experiment of YouTube's
        return False
    if code == "restricted":  # it is not to be seen which network this is
        return False
    if kind in ("gone", "clip"):
        return True
    then = {**read_facts(answer.circumstances), "version": answer.version}
    return kind in _BEARING and all(then.get(name) == now[name] for name in _BEARING[kind])


def _of_evidence(evidence: Evidence) -> tuple[str, str] | None:
    """Return what went wrong on the way to an answer; None if nothing did."""
    if found := _of_requests(evidence.errors):
        return found
    failed = (each for each in evidence.warnings if not re.search(_HOW_THINGS_STAND, each, re.I))
    return ("transient", "warned") if any(failed) else None


def _of_requests(errors: Sequence[BaseException]) -> tuple[str, str] | None:
    """Return what failed requests mean; None if there are none."""
    from yt_dlp.networking.exceptions import HTTPError, ProxyError, RequestError

    statuses = [each.status for each in errors if isinstance(each, HTTPError)]
    if 429 in statuses:
        return "blocked", "http_429"
    if any(status >= 500 for status in statuses):
        return "transient", "http_5xx"
    if 403 in statuses:
        return "blocked", "http_403"
    if statuses:
        return "transient", f"http_{statuses[0]}"
    if any(isinstance(each, ProxyError) for each in errors):
        return "transient", "proxy"
    if any(isinstance(each, (RequestError, OSError)) for each in errors):
        return "transient", "network"
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

"""A mirror that answers wrongly: every load recovers to the same bytes or says why it cannot."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest

from k600.miniature import Miniature, make_tarball
from tests.conftest import expected
from tests.faults.host import Answer, Fault, Host
from tests.faults.trial import Note, assert_intact, assert_whole, fetch

PAGE = b"<!DOCTYPE html><html><body>Please log in to the hotel's network</body></html>"
MOST_SECONDS = 25
"""No load of these tiny tarballs may take longer, whatever the mirror does."""


def on_clips(change: Callable[[Answer], None]) -> Fault:
    """Change the answers that bring bytes of tarballs."""

    def fault(answer: Answer) -> None:
        if answer.is_clips:
            change(answer)

    return fault


def tarballs(fault: Fault) -> Fault:
    """Let everything that is asked of tarballs be faulty, sizes as well."""

    def passing(answer: Answer) -> None:
        if answer.path.endswith(".tar.gz"):
            fault(answer)

    return passing


def first(count: int, fault: Fault) -> Fault:
    """Let the first answers that a fault would change be faulty, and the others not."""
    struck = 0

    def passing(answer: Answer) -> None:
        nonlocal struck
        if struck < count:
            before = dataclasses.replace(answer, headers=dict(answer.headers))
            fault(answer)
            struck += answer != before

    return passing


def status(code: int, body: bytes = b"", **headers: str) -> Fault:
    return lambda answer: answer.say(code, body, **headers)


def cut_short(answer: Answer) -> None:
    """Announce the right length and end the connection half-way."""
    answer.sends = len(answer.body) // 2


def reset_half_way(answer: Answer) -> None:
    answer.sends, answer.resets = len(answer.body) // 2, True


def wrong_place(answer: Answer, by: int = 1) -> None:
    """Send as many bytes as were asked for, of another place, and say so."""
    if answer.wanted is not None and answer.wanted[0] >= by:
        start, end = answer.wanted[0] - by, answer.wanted[1] - by
        answer.body = answer.whole[start:end]
        answer.headers["Content-Length"] = str(len(answer.body))
        end = start + len(answer.body)
        answer.headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(answer.whole)}"


def everything(answer: Answer) -> None:
    """Answer a range with all there is, as a server that has forgotten what ranges are."""
    if answer.wanted is not None and answer.wanted != (len(answer.whole) - 1, len(answer.whole)):
        answer.say(200, answer.whole, ETag=answer.headers["ETag"])


def too_short(answer: Answer) -> None:
    """Send less than was asked for, and announce that length."""
    answer.body = answer.body[:-1]
    answer.headers["Content-Length"] = str(len(answer.body))


def spoil(answer: Answer) -> None:
    """Flip a bit in the middle."""
    body = bytearray(answer.body)
    body[len(body) // 2] ^= 4
    answer.body = bytes(body)


def elsewhere(answer: Answer) -> None:
    """Send the client to the same object under another name, once."""
    if not answer.path.startswith("/kinetics"):
        answer.say(302, b"", Location=f"/kinetics{answer.path}".replace(" ", "%20"))


def in_circles(answer: Answer) -> None:
    answer.say(302, b"", Location=answer.path.replace(" ", "%20"))


S3_ERROR = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>no</Message></Error>"

# What passes, and how many answers it spoils: nothing is lost, and nobody needs to be told.
PASSING: dict[str, tuple[int, Fault]] = {
    "500, then well": (2, tarballs(status(500))),
    "503 with Retry-After, then well": (2, tarballs(status(503, Retry_After="1"))),
    "503 SlowDown, then well": (2, tarballs(status(503, S3_ERROR % b"SlowDown"))),
    "429 with Retry-After, then well": (2, tarballs(status(429, Retry_After="1"))),
    "429, then well": (2, tarballs(status(429))),
    "500 for bytes, then well": (4, on_clips(status(500))),
    "truncated body with a right Content-Length": (4, on_clips(cut_short)),
    "reset half-way": (4, on_clips(reset_half_way)),
    "a byte less than asked for": (3, on_clips(too_short)),
    "a flipped bit on the way": (1, on_clips(spoil)),
    "wrong Content-Range": (1, on_clips(wrong_place)),
    "a range answered with everything": (1, on_clips(everything)),
    "a log-in page in place of bytes": (3, on_clips(status(200, PAGE))),
}

# What stays, and what is said of it: one clear error, in bounded time.
STAYING: dict[str, tuple[Fault, str]] = {
    "500 for ever": (tarballs(status(500)), "cannot be reached"),
    "503 for ever": (tarballs(status(503, Retry_After="3600")), "cannot be reached"),
    "429 for ever": (tarballs(status(429, Retry_After="3600")), "cannot be reached"),
    "403": (tarballs(status(403)), "is refused"),
    "404": (tarballs(status(404)), "does not exist"),
    "500 for bytes only": (on_clips(status(500)), "given up after"),
    "403 for bytes only": (on_clips(status(403)), "is refused"),
    "truncated bodies for ever": (on_clips(cut_short), "given up after"),
    "resets for ever": (on_clips(reset_half_way), "given up after"),
    "flipped bits for ever": (on_clips(spoil), "tarball_damaged"),
    "log-in pages for ever": (on_clips(status(200, PAGE)), "given up after"),
    "500 for everything": (status(500), "cannot be reached"),
    "log-in pages for everything": (status(200, PAGE), "HTML or XML page"),
    "redirects in circles": (tarballs(in_circles), "cannot be reached"),
}


BOTH = [(fault, protocol) for fault in PASSING for protocol in ("http", "s3")]
"""In the normal size every fault meets one of the two."""


@pytest.mark.parametrize(
    ("fault", "protocol"),
    [
        case if number % 4 in (0, 3) else pytest.param(*case, marks=pytest.mark.slow)
        for number, case in enumerate(BOTH)
    ],
)
def test_what_passes_is_recovered_with_the_same_bytes(
    fault: str, protocol: str, host: Host, origin: Miniature, data_dir: str, note: Note
) -> None:
    host.fault = first(*PASSING[fault])
    options = {"data_dir": data_dir, **host.mirror_of(protocol), "num_workers": 2}
    result = fetch(patience_seconds=20, **options)
    assert host.struck > 0, "the fault never struck"
    assert result.recovered, result
    assert result.seconds < MOST_SECONDS
    assert_whole(data_dir, expected(origin, "train"))
    twice = max(host.sent_bytes - sizes(origin), 0)
    assert twice <= sizes(origin), "more than the tarballs in flight came again"
    note(fault, recovered=1, bytes_twice=twice, seconds=result.seconds)


@pytest.mark.parametrize("protocol", ["http", pytest.param("s3", marks=pytest.mark.slow)])
@pytest.mark.parametrize("fault", STAYING)
def test_what_stays_is_one_clear_error_and_the_next_call_goes_on(
    fault: str, protocol: str, host: Host, origin: Miniature, data_dir: str, note: Note
) -> None:
    host.fault, words = STAYING[fault]
    options = {"data_dir": data_dir, **host.mirror_of(protocol), "num_workers": 2}
    result = fetch(**options)
    assert host.struck > 0, "the fault never struck"
    assert result.error is not None, result
    assert re.search(words, str(result.error)), result.error
    assert "\n" not in str(result.error)
    assert result.seconds < MOST_SECONDS
    assert len(host.requests) < 200, "that many retries are no manners"
    assert_intact(data_dir, expected(origin, "train"))
    host.fault = None
    assert fetch(**options, retry_errors=True).recovered
    assert_whole(data_dir, expected(origin, "train"))
    note(fault, refused=1, said=result.said, seconds=result.seconds)


def by_s3fs_alone(host: Host) -> dict[str, Any]:
    """Return options that lead to the bucket, but not by plain requests: those have ETags."""
    options = {"anon": True, "endpoint_url": host.url, "requester_pays": False}
    mirror = {"mirror": "s3://kinetics/600", "mirror_options": options}
    return mirror | {"request_seconds": 20}  # on a busy machine, to import s3fs takes a second


def test_a_mirror_that_is_away_for_a_moment_at_the_end_of_a_tarball_costs_no_second_reading(
    host: Host, origin: Miniature, data_dir: str, note: Note
) -> None:
    """Only whether it is still the same object is asked then; a real one has a gigabyte."""
    read: set[str] = set()

    def away(answer: Answer) -> None:
        if answer.is_clips and answer.wanted and answer.wanted[1] == len(answer.whole):
            read.add(answer.path)
        elif answer.method == "HEAD" and answer.path in read:
            answer.say(503, b"")

    host.fault = first(8, away)
    result = fetch(patience_seconds=30, **by_s3fs_alone(host), data_dir=data_dir)
    assert host.struck == 8
    assert result.recovered, result
    assert host.sent_bytes == sizes(origin)
    note("503 at a tarball's end", recovered=1, seconds=result.seconds)


def test_a_tarball_whose_size_is_refused_for_a_moment_is_asked_for_once_more(
    host: Host, origin: Miniature, data_dir: str, note: Note
) -> None:
    def refuse(answer: Answer) -> None:
        if answer.method == "HEAD" and answer.path.endswith("zumba.tar.gz"):
            answer.say(503, b"")

    host.fault = first(4, refuse)
    result = fetch(**by_s3fs_alone(host), data_dir=data_dir)
    assert host.struck == 4, result
    assert result.recovered, result
    assert_whole(data_dir, expected(origin, "train"))
    note("503 for one tarball's size", recovered=1, seconds=result.seconds)


def sizes(origin: Miniature) -> int:
    return sum(path.stat().st_size for path in (origin.root / "train").glob("*.tar.gz"))


def test_a_redirect_is_followed(host: Host, origin: Miniature, data_dir: str, note: Note) -> None:
    host.fault = elsewhere
    result = fetch(data_dir=data_dir, **host.mirror_of("http"))
    assert host.struck > 0
    assert result.recovered
    assert_whole(data_dir, expected(origin, "train"))
    note("redirect", recovered=1, seconds=result.seconds)


def served(answer: Answer, whole: bytes, etag: str) -> None:
    """Answer as if the object were another."""
    start, end = answer.wanted or (0, len(whole))
    answer.whole, answer.body = whole, whole[start:end]
    answer.headers |= {"ETag": f'"{etag}"', "Content-Length": str(len(answer.body))}
    if answer.wanted:
        end = start + len(answer.body)
        answer.headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(whole)}"


@pytest.mark.parametrize("protocol", ["http", "s3"])
def test_a_tarball_that_is_replaced_half_way_is_read_anew_and_not_mixed(
    protocol: str, host: Host, origin: Miniature, data_dir: str, note: Note
) -> None:
    """The new one holds the same names with other bytes: half of each would be a wrong clip."""
    names, datas = zip(*origin.clips["train"]["zumba"].items(), strict=True)
    clips = dict(zip(names, reversed(datas), strict=True))
    new = make_tarball(clips)
    replaced = False

    def change(answer: Answer) -> None:
        nonlocal replaced
        if answer.path.endswith("train/zumba.tar.gz"):
            replaced |= answer.is_clips and answer.wanted is not None and answer.wanted[0] > 20_000
            if replaced:
                served(answer, new, "another")

    host.fault = change
    wanted = {k: v for k, v in expected(origin, "train").items() if "zumba" not in k}
    wanted |= {f"train/zumba/{name}": data for name, data in clips.items()}
    result = fetch(data_dir=data_dir, **host.mirror_of(protocol))
    assert replaced
    assert result.recovered, result
    assert_whole(data_dir, wanted)
    note("changed ETag half-way", recovered=1, seconds=result.seconds)


@pytest.mark.parametrize("few", [{}, {"max_samples": 20, "source": "cvdf"}])
def test_bytes_of_another_place_never_make_a_clip_even_without_a_checksum(
    few: dict[str, Any], host: Host, origin: Miniature, data_dir: str, note: Note
) -> None:
    """A plain tar has no checksum, nor has a tarball that is left after the last clip wanted."""
    plain = make_tarball(origin.clips["train"]["zumba"], gzipped=False)

    def shifted(answer: Answer) -> None:
        if answer.is_clips and answer.wanted and answer.wanted[0] > 20_000:
            wrong_place(answer, by=512)

    sometimes = first(3, shifted)

    def change(answer: Answer) -> None:
        if answer.path.endswith("train/zumba.tar.gz"):
            served(answer, plain, "plain")
            sometimes(answer)

    host.fault = change
    options: dict[str, Any] = {"data_dir": data_dir, **host.mirror_of("http"), "classes": "zumba"}
    result = fetch(patience_seconds=20, **options, **few)
    assert result.recovered, result
    clips = origin.clips["train"]["zumba"]
    there = assert_intact(data_dir, {f"train/zumba/{n}": data for n, data in clips.items()})
    assert there == few.get("max_samples", len(clips))
    note("wrong Content-Range of a plain tar", recovered=1, seconds=result.seconds)

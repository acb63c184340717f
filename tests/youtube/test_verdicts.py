"""What YouTube's answers mean: the table, by example."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import HTTPError, ProxyError, TransportError
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError

from k600.dataset.reasons import REASONS, YOUTUBE_KINDS
from k600.store.rows import AnswerRow
from k600.youtube.refusals import Evidence, Refusal, classify, is_settled

TABLE = [
    ("Sign in to confirm you’re not a bot", "blocked", "bot"),
    ("Sign in to confirm you're not a bot. Use --cookies", "blocked", "bot"),
    ("This content isn’t available, try again later.", "blocked", "rate_limit"),
    ("Video unavailable. This content isn't available, try again later.", "blocked", "rate_limit"),
    ("Your IP is likely being blocked by Youtube", "blocked", "bot"),
    ("Sign in to confirm your age. This video may be inappropriate", "auth", "age"),
    ("Private video. Sign in if you've been granted access to this video", "gone", "private"),
    ("This video is private", "gone", "private"),
    (
        "Video unavailable. This video is no longer available because the YouTube account "
        "associated with this video has been terminated.",
        "gone",
        "terminated",
    ),
    (
        "This video is no longer available due to a copyright claim by Example",
        "gone",
        "copyright",
    ),
    (
        "This video contains content from Example, who has blocked it in your country on "
        "copyright grounds",
        "region",
        "country",
    ),
    ("This video has been removed by the uploader", "gone", "removed"),
    ("removed for violating YouTube's Community Guidelines", "gone", "removed"),
    ("Join this channel to get access to members-only content", "auth", "members"),
    ("This video requires payment to watch", "auth", "paid"),
    ("This video is not available", "client", "client"),
    ("Playback on other websites has been disabled by the video owner", "client", "embedding"),
    ("The following content is not available on this app", "client", "app"),
    ("This video is DRM protected", "client", "app"),
    ("Requested format is not available", "client", "no_format"),
    ("This live event will begin in 3 days.", "transient", "live"),
    ("Premieres in 2 hours", "transient", "live"),
    ("Video unavailable", "gone", "unavailable"),
    ("This video isn't available anymore", "gone", "unavailable"),
    ("Video unavailable. This content isn’t available.", "transient", "content"),
    (
        "Video unavailable. This video is restricted. Please check the Google Workspace "
        "administrator and/or the network administrator restrictions.",
        "region",
        "restricted",
    ),
    (
        "This video contains content from Example, who has blocked it from display on this "
        "website or application",
        "client",
        "embedding",
    ),
    (
        "Video unavailable. This video has been removed for violating YouTube's policy on hate "
        "speech. Learn more about combating hate speech in your country.",
        "gone",
        "removed",
    ),
    ("An error occurred. Please try again later. (Playback ID: abc)", "transient", "player"),
    ("The page needs to be reloaded.", "transient", "player"),
    ("Something went wrong. Please try again later.", "transient", "player"),
    ("We're processing this video. Check back later.", "transient", "player"),
    ("The video you have requested is not available in your area", "region", "country"),
    ("This video isn't available in your region", "region", "country"),
    ("The uploader has not made this video available in your region", "region", "country"),
    ("no longer available because the uploader has closed their account", "gone", "terminated"),
    ("no longer available due to a privacy claim by a third party", "gone", "removed"),
    ("No player clients have been requested", "client", "client"),
    ("Failed to extract any player response", "transient", "no_answer"),
    ("Sign in", "transient", "unknown"),
    ("something never seen", "transient", "unknown"),
]


@pytest.mark.parametrize(("text", "kind", "code"), TABLE)
def test_a_text(text: str, kind: str, code: str) -> None:
    for error in (
        ExtractorError(text, expected=True),
        DownloadError(f"ERROR: [youtube] dQw4w9WgXcQ: {text}"),
        DownloadError(f"ERROR: [youtube] -_abcdefghi: {text}; please report this issue on https"),
    ):
        refusal = classify(error)
        assert (refusal.kind, refusal.code) == (kind, code)
        assert not refusal.message.startswith(("ERROR", "["))
        assert "please report" not in refusal.message


def http_error(status: int) -> HTTPError:
    return HTTPError(Response(io.BytesIO(), "https://www.youtube.com", {}, status=status))


WARNED = '[youtube] [jsc] Error solving n challenge request using "deno" provider: out of memory'
STANDING = "[youtube] tv client https formats have been skipped as they are missing a URL. YouTube"


@pytest.mark.parametrize(
    ("errors", "warnings", "kind", "code"),
    [
        ([], [], "client", "no_format"),
        ([404], [], "transient", "http_404"),
        ([403], [], "blocked", "http_403"),
        ([503], [], "transient", "http_5xx"),
        ([403, 503, 429], [], "blocked", "http_429"),
        ([TransportError("connection closed")], [], "transient", "network"),
        ([ProxyError("connection closed")], [], "transient", "proxy"),
        ([], [WARNED], "transient", "warned"),
        ([], [STANDING], "client", "no_format"),
    ],
)
@pytest.mark.parametrize("text", ["No video formats found!", "Requested format is not available"])
def test_what_yt_dlp_passed_over_hides_behind_no_formats(
    text: str, errors: list[Any], warnings: list[str], kind: str, code: str
) -> None:
    failed = [http_error(each) if isinstance(each, int) else each for each in errors]
    refusal = classify(ExtractorError(text), Evidence(failed, warnings))
    assert (refusal.kind, refusal.code) == (kind, code)


def test_no_evidence_makes_a_private_video_another() -> None:
    refusal = classify(ExtractorError("Private video"), Evidence([http_error(503)], [WARNED]))
    assert (refusal.kind, refusal.code) == ("gone", "private")


def test_geo_restriction_is_told_by_its_class() -> None:
    assert classify(GeoRestrictedError("Uploader says no", countries=["DE"])).kind == "region"


@given(st.text(max_size=200))
def test_any_text_has_a_verdict(text: str) -> None:
    refusal = classify(DownloadError(text))
    assert refusal.kind in YOUTUBE_KINDS
    assert len(refusal.message) <= 300


@given(st.sampled_from(["try again later", "not a bot", "captcha"]), st.text(max_size=60))
def test_a_block_is_never_taken_for_the_clips_fault(sign: str, rest: str) -> None:
    assert classify(DownloadError(f"Video unavailable. {rest} {sign} {rest}")).kind == "blocked"


THEN = {"address": "direct", "clients": "1", "account": "guest", "runtime": "deno-2.9.8"}


@pytest.mark.parametrize(
    ("kind", "code", "counts", "changes", "settled"),
    [
        ("gone", "private", {}, {"account": "2", "address": "2"}, True),
        ("gone", "unavailable", {}, {}, False),
        ("gone", "unavailable", {"days": 2}, {}, False),
        ("gone", "unavailable", {"versions": 2}, {}, False),
        ("gone", "unavailable", {"days": 2, "versions": 2}, {}, True),
        ("region", "country", {}, {"account": "2", "version": "2"}, True),
        ("region", "country", {}, {"address": "2"}, False),
        ("region", "restricted", {"days": 9}, {}, False),
        ("clip", "out_of_range", {}, {"version": "2"}, True),
        ("auth", "age", {}, {"address": "2", "version": "2"}, True),
        ("auth", "age", {}, {"account": "2"}, False),
        ("auth", "age", {}, {"clients": "2"}, False),
        ("client", "embedding", {}, {}, True),
        *(("client", "embedding", {}, {name: "2"}, False) for name in ("version", *THEN)),
        ("client", "no_format", {}, {}, False),
        ("client", "media_http_403", {}, {}, False),
        ("client", "media_http_403", {"days": 2}, {}, True),
        ("client", "no_format", {"days": 2}, {}, True),
        ("client", "no_format", {"days": 2}, {"runtime": "none"}, False),
        ("blocked", "bot", {"days": 9}, {}, False),
        ("transient", "network", {"days": 9}, {}, False),
        ("have", "", {}, {}, False),
    ],
)
def test_what_is_settled(
    kind: str, code: str, counts: dict[str, int], changes: dict[str, str], settled: bool
) -> None:
    text = " ".join(f"{name}={value}" for name, value in THEN.items())
    row = AnswerRow("train/zumba", "a", kind, code, "", "2026.8.19", 0, 1, 1, "", "", text)
    now = {"version": "2026.8.19", **THEN, **changes}
    assert is_settled(row._replace(**counts), now) is settled


@pytest.mark.parametrize("kind", ["region", "auth", "client"])
def test_an_answer_of_an_earlier_release_is_asked_for_again(kind: str) -> None:
    row = AnswerRow("train/zumba", "a", kind, "code", "", "2026.8.19", 0, 1, 1, "", "")
    assert not is_settled(row, {"version": "2026.8.19", **THEN})


def test_every_kind_has_a_reason_in_words() -> None:
    assert {Refusal(kind, "x").reason for kind in YOUTUBE_KINDS} <= set(REASONS)

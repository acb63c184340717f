"""What YouTube's answers mean: the table, by example."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError

from k600.reasons import REASONS, YOUTUBE_KINDS
from k600.youtube.refusals import Refusal, classify, is_settled

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


@pytest.mark.parametrize(
    ("statuses", "kind", "code"),
    [
        ([], "client", "no_format"),
        ([404], "client", "no_format"),
        ([403], "blocked", "http_403"),
        ([503], "transient", "http_5xx"),
        ([403, 503, 429], "blocked", "http_429"),
    ],
)
def test_http_errors_hide_behind_no_formats(statuses: list[int], kind: str, code: str) -> None:
    refusal = classify(ExtractorError("No video formats found!"), statuses)
    assert (refusal.kind, refusal.code) == (kind, code)


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


@pytest.mark.parametrize(
    ("kind", "code", "changes", "settled"),
    [
        ("gone", "private", {}, True),
        ("gone", "unavailable", {}, False),
        ("gone", "unavailable", {"days": 2}, True),
        ("region", "country", {}, True),
        ("clip", "out_of_range", {}, True),
        ("auth", "age", {}, True),
        ("auth", "age", {"cookies": True}, False),
        ("client", "embedding", {}, True),
        ("client", "embedding", {"yt_dlp_now": "2027.1.1"}, False),
        ("blocked", "bot", {"days": 9}, False),
        ("transient", "network", {"days": 9}, False),
        ("have", "", {}, False),
    ],
)
def test_what_is_settled(kind: str, code: str, changes: dict[str, object], settled: bool) -> None:
    facts = {"days": 1, "yt_dlp": "2026.8.19", "yt_dlp_now": "2026.8.19", "cookies": False}
    assert is_settled(kind, code, **{**facts, **changes}) is settled  # type: ignore[arg-type]


def test_every_kind_has_a_reason_in_words() -> None:
    assert {Refusal(kind, "x").reason for kind in YOUTUBE_KINDS} <= set(REASONS)

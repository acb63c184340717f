"""As which client YouTube is asked, which of its formats are taken, and what options change."""

from __future__ import annotations

import functools
import logging
import time
from pathlib import Path
from typing import Any

import pytest
import yt_dlp
from yt_dlp.extractor.youtube._base import INNERTUBE_CLIENTS
from yt_dlp.networking.impersonate import ImpersonateTarget

from k600.dataset.clip import Clip
from k600.errors import OptionError
from k600.loading.request import make_request
from k600.store.ledger import Ledger
from k600.store.store import Store
from k600.youtube.options import YouTubeOptions
from k600.youtube.tools import (
    attempts,
    check_tools,
    usable_runtimes,
)
from k600.youtube.workers import Answers, YouTubeWorkers
from tests.counter import counter_video, tone_audio
from tests.youtube_replica import PO_TOKEN, Replica, Stream, Video
from tests.youtube_videos import CLIENTS, good_video

AVC = 'video/mp4; codecs="avc1.4d401e"'
AAC = 'audio/mp4; codecs="mp4a.40.2"'
ID = "abcdefghijk"


def options(youtube: Replica, further: dict[str, Any] | None = None, **more: Any) -> YouTubeOptions:
    further = {"nocheckcertificate": True, "cachedir": False, **(further or {})}
    pace = {"requests_per_hour": 10_000_000}
    request = make_request(
        "train",
        default_data_dir="/nowhere",
        proxy=youtube.url,
        yt_dlp_options=further,
        **pace,
        **more,
    )
    return request.youtube


def ask(youtube: Replica, store: Store, videos: dict[str, Video], **more: Any) -> Answers:
    """Ask for seconds 2 to 8 of videos, one after the other."""
    youtube.videos = videos
    youtube.requests.clear()
    clips = [Clip("train", "zumba", name, 2, 8) for name in videos if name != "trailer0000"]
    with YouTubeWorkers(
        options(youtube, **more),
        store,
        Ledger(store.ledger_path),
        num_workers=1,
        patience_seconds=0,
    ) as workers:
        return workers.ask(clips)


def looks(youtube: Replica) -> list[str]:
    """Return what was asked for, but for media: pages, clients and scripts."""
    return [
        asked.client or asked.path
        for asked in youtube.requests
        if not asked.host.endswith(".googlevideo.com")
    ]


def test_a_video_costs_two_questions_and_no_javascript(youtube: Replica, store: Store) -> None:
    way = {"TVHTML5": "n"}
    found = ask(youtube, store, {f"abcdefghij{n}": good_video(ways=way) for n in range(3)})
    assert len(found.stored) == 3
    assert looks(youtube) == ["/watch", "VISIONOS"] * 3


def test_a_client_that_gives_nothing_is_left_out_after_three_clips(
    youtube: Replica, store: Store
) -> None:
    video = good_video(ways={"VISIONOS": "none"})
    found = ask(youtube, store, {f"abcdefghij{n}": video for n in range(5)})
    assert len(found.stored) == 5
    assert looks(youtube).count("/watch") == 3 * 2 + 2


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("LOGIN_REQUIRED", "Please sign in"),
        ("LOGIN_REQUIRED", "Sign in to confirm your age"),
        ("UNPLAYABLE", "The page needs to be reloaded."),
        ("UNPLAYABLE", "This content isn't available."),
        ("UNPLAYABLE", "Something went wrong. Please try again later."),
    ],
)
def test_what_the_first_client_alone_is_told_is_not_the_last_word(
    youtube: Replica, store: Store, status: str, reason: str
) -> None:
    first = ("VISIONOS", "WEB_EMBEDDED_PLAYER")  # of its own accord, yt-dlp asks this one for age
    video = good_video(told=dict.fromkeys(first, (status, reason)))
    assert ask(youtube, store, {ID: video}).stored
    assert looks(youtube).count("/watch") == 2


def test_an_answer_that_yt_dlp_stumbles_over_ends_nothing(youtube: Replica, store: Store) -> None:
    found = ask(youtube, store, {ID: good_video(odd=True), "abcdefghijl": good_video()})
    assert [clip.youtube_id for clip in found.stored] == ["abcdefghijl"]
    [refusal] = found.refused.values()
    assert (refusal.kind, refusal.code) == ("transient", "unknown")


def test_what_the_user_chooses_and_what_an_account_allows_is_asked_once(
    youtube: Replica, store: Store, tmp_path: Path
) -> None:
    cookies = tmp_path / "cookies.txt"
    chosen = {"extractor_args": {"youtube": {"player_client": "mweb"}}}
    assert len(attempts(options(youtube))) == 2
    assert len(attempts(options(youtube, chosen))) == 1

    for name, first in (("PREF", "VISIONOS"), ("LOGIN_INFO", "WEB_EMBEDDED_PLAYER")):
        lines = [f".youtube.com\tTRUE\t/\tTRUE\t4102444800\t{n}\ta/b\n" for n in (name, "SAPISID")]
        cookies.write_text("# Netscape HTTP Cookie File\n" + "".join(lines))
        ask(youtube, store, {f"{name:_<11}": good_video()}, cookies=str(cookies))
        assert next(asked.client for asked in youtube.requests if asked.client) == first


def test_a_client_that_yt_dlp_does_not_know_is_passed_over(
    youtube: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(INNERTUBE_CLIENTS, "visionos")
    assert len(attempts(options(youtube))) == 1


def test_without_a_javascript_runtime_youtube_is_asked_with_a_warning(
    youtube: Replica, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    none_here = {"js_runtimes": {"deno": {"path": "/nowhere/deno"}}}
    with caplog.at_level(logging.WARNING, "kinetics600"):
        check_tools(options(youtube, none_here))
    assert "no JavaScript runtime is here" in caplog.text
    found = ask(youtube, store, {ID: good_video()}, further=none_here)
    assert found.stored
    assert looks(youtube) == ["/watch", "VISIONOS"]


@pytest.mark.parametrize("way", ["n", "signature"])
def test_challenges_are_solved_by_a_real_runtime(youtube: Replica, store: Store, way: str) -> None:
    if not usable_runtimes(options(youtube)):
        pytest.skip("deno is not installed here")
    video = good_video(ways={**dict.fromkeys(CLIENTS, way), "VISIONOS": "none"})
    found = ask(youtube, store, {ID: video}, audio=False)
    assert found.stored, found.refused
    assert youtube.count("/s/player/") == 1
    assert all(asked.status == 206 for asked in youtube.requests if asked.range)


def test_a_po_token_of_the_user_serves(youtube: Replica, store: Store) -> None:
    video = good_video(ways={**dict.fromkeys(CLIENTS, "none"), "MWEB": "token"})
    mweb = {"player_client": ["mweb"], "po_token": [f"mweb.gvs+{PO_TOKEN}"]}
    further = {"extractor_args": {"youtube": mweb}}
    assert ask(youtube, store, {ID: video}, further=further).stored


def test_media_are_asked_for_when_the_advertisement_is_over(youtube: Replica, store: Store) -> None:
    assert ask(youtube, store, {ID: good_video(ad_seconds=1)}).stored
    told = next(asked.at for asked in youtube.requests if asked.client)
    media = next(asked.at for asked in youtube.requests if "googlevideo" in asked.host)
    assert media - told >= 1


def test_a_trailer_is_neither_asked_for_nor_stored(youtube: Replica, store: Store) -> None:
    paid = Video(status="UNPLAYABLE", reason="This video requires payment", trailer="trailer0000")
    found = ask(youtube, store, {ID: paid, "trailer0000": good_video()})
    [refusal] = found.refused.values()
    assert (refusal.kind, refusal.code) == ("auth", "paid")
    assert "trailer0000" in refusal.message
    assert youtube.count("", "trailer0000") == 0
    assert not list(store.root.rglob("*.mp4"))


@pytest.mark.parametrize(
    ("seconds", "media_seconds", "kind", "code"),
    [
        (6, 6, None, ""),  # two seconds less, as an edit may cost
        (5, 5, "clip", "out_of_range"),
        (2.4, 2.4, "clip", "out_of_range"),  # twelve frames of the clip
        (60, 2.4, "transient", "short"),  # YouTube says that there is more
    ],
)
def test_a_few_frames_are_no_clip(
    youtube: Replica,
    store: Store,
    seconds: float,
    media_seconds: float,
    kind: str | None,
    code: str,
) -> None:
    media = functools.partial(counter_video, 320, 180, 30, media_seconds)
    found = ask(youtube, store, {ID: good_video(media=media, seconds=seconds)})
    refused = [(refusal.kind, refusal.code) for refusal in found.refused.values()]
    assert refused == ([] if kind is None else [(kind, code)])
    assert len(list(store.root.rglob("*.mp4"))) == (kind is None)


def track(name: str, *, is_default: bool, quality: str = "MEDIUM") -> dict[str, Any]:
    language, _, title = name.partition(" ")
    return {
        "audioTrack": {"id": language, "displayName": title, "audioIsDefault": is_default},
        "audioQuality": f"AUDIO_QUALITY_{quality}",
        "audioSampleRate": "44100",
        "audioChannels": 2,
    }


def test_audio_is_the_original_language_at_an_ordinary_rate(youtube: Replica, store: Store) -> None:
    tone = tone_audio(10)
    original = track("en.4 English original", is_default=False)
    small = track("en.4 English original", is_default=False, quality="ULTRALOW")
    sounds = (
        Stream(599, tone, AAC, {**small, "bitrate": 32_000}, "&is=small"),
        Stream(140, tone, AAC, {**original, "bitrate": 129_000}, "&is=original"),
        Stream(140, tone[:-2], AAC, {**original, "bitrate": 129_000, "isDrc": True}, "&is=drc"),
        Stream(141, tone, AAC, {**original, "bitrate": 256_000}, "&is=large"),
        Stream(
            140,
            tone[:-1],
            AAC,
            {**track("es.3 Spanish", is_default=True), "bitrate": 127_000},
            "&is=dubbed",
        ),
    )
    assert ask(youtube, store, {ID: good_video(further=sounds)}).stored
    assert {asked.query.get("is") for asked in youtube.requests if asked.range} - {None} == {
        "original"
    }


def test_frames_that_youtube_enlarged_are_not_taken(youtube: Replica, store: Store) -> None:
    small = counter_video(160, 90, 30, 10)
    enlarged = Stream(134, small, AVC, {"height": 360, "width": 640}, "&xtags=sr%3D1&is=enlarged")
    assert ask(youtube, store, {ID: good_video(160, 90, further=(enlarged,))}, short_side=360)
    assert {asked.query.get("is") for asked in youtube.requests if asked.range} == {None}


def test_colours_that_eight_bits_hold_are_taken_where_they_are_offered(
    youtube: Replica, store: Store
) -> None:
    media = counter_video()
    kind = 'video/mp4; codecs="av01.0.01M.{}"'
    high = Stream(696, media, kind.format("10.0.110.09.16.09.0"), {}, "&is=hdr")
    standard = Stream(396, media + bytes(8), kind.format("08"), {}, "&is=sdr")
    assert ask(youtube, store, {ID: good_video(media=b"", further=(high, standard))}).stored
    assert {asked.query["is"] for asked in youtube.requests if asked.range} == {"sdr"}


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({"ignoreerrors": True}, "'ignoreerrors' does not serve here"),
        ({"match_filter": lambda info, incomplete=False: "no"}, "'match_filter' does not serve"),
        ({"listformats": True}, "'listformats' does not serve here"),
        ({"ignore_no_formats_error": True}, "'ignore_no_formats_error' does not serve"),
        ({"format": "bst"}, "'format' is chosen by the loader, as short_side=… and audio=… say"),
        ({"ratelimit": 1000}, "'ratelimit' would have no effect.*requests_per_hour=…"),
        ({"sleep_interval": 3}, "'sleep_interval' would have no effect.*requests_per_hour=…"),
        ({"socket_timeout": "soon"}, "socket_timeout: 'soon' is not allowed, expected a number"),
        ({"socket_timeout": -1}, "socket_timeout: -1 is not allowed, expected a number, 0 or"),
        (
            {"socket_timeout": float("nan")},
            "socket_timeout: nan is not allowed, expected a number",
        ),
        ({"extract_flat": True}, r"did you mean 'extractor_args' or 'extractor_retries'\? Allowed"),
        (
            {"js_runtimes": {"node": "/usr/bin/node"}},
            "'js_runtimes' is not allowed as it is",
        ),
        (
            {"js_runtimes": {"node": {"path": 5}}},
            "'js_runtimes' is not allowed as it is",
        ),
        (
            {"extractor_args": {"youtube": {"player_client": [3]}}},
            "'extractor_args' is not allowed",
        ),
        (
            {"extractor_args": {"youtube": {"player-client": "no-such"}}},
            "no player_client 'no-such'",
        ),
        ({"js_runtimes": ["node"]}, "'js_runtimes' is not allowed as it is"),
        ({"impersonate": 5}, "'impersonate' is not allowed as it is, expected a browser"),
        ({"extractor_args": {"youtube": ["tv"]}}, "'extractor_args' is not allowed"),
        ({"extractor_args": {"youtube": {"skip": 3}}}, "'extractor_args' is not allowed"),
        (
            {"extractor_args": {"youtube": {"player_client": ["vision_os"]}}},
            "knows no player_client 'vision_os'.*'visionos'",
        ),
    ],
)
def test_an_option_that_does_not_serve_is_refused_by_name(
    youtube: Replica, further: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=f"^yt_dlp_options: .*{message}"):
        options(youtube, further)


def test_a_browser_that_cannot_be_taken_for_is_refused_before_the_first_question(
    youtube: Replica,
) -> None:
    asked_for = options(youtube, {"impersonate": "chrome"})
    assert asked_for.yt_dlp_options["impersonate"] == ImpersonateTarget("chrome")
    with yt_dlp.YoutubeDL({"quiet": True}) as ydl:
        if ydl._impersonate_target_available(ImpersonateTarget("chrome")):
            pytest.skip("curl_cffi is installed here")
    with pytest.raises(OptionError, match=r"'?[Ii]mpersonate.* \"chrome\" is not available"):
        check_tools(asked_for)


@pytest.mark.parametrize("name", ["geo_bypass_ip_block", "geo_bypass_country"])
def test_what_yt_dlp_would_stumble_over_is_refused_before_the_first_question(
    youtube: Replica, name: str
) -> None:
    youtube.requests.clear()
    with pytest.raises(OptionError, match="^yt_dlp_options: yt-dlp does not accept them"):
        check_tools(options(youtube, {name: "nowhere"}))
    assert youtube.requests == []


def test_options_are_read_as_on_the_command_line_and_left_as_they_are(youtube: Replica) -> None:
    args = {"YouTube": {"Player-Client": "tv, visionos", "po_token": ["mweb.gvs+a"]}}
    given = {"js_runtimes": {"deno": None, "nobody": {}}, "extractor_args": args}
    asked_for = options(youtube, given)
    check_tools(asked_for)
    [params] = attempts(asked_for)
    assert params["extractor_args"]["youtube"]["player_client"] == ["tv", "visionos"]
    assert asked_for.yt_dlp_options["js_runtimes"] == {"deno": {}, "nobody": {}}
    assert given["js_runtimes"] == {"deno": None, "nobody": {}}


def test_options_join_the_loaders(youtube: Replica, store: Store) -> None:
    video = good_video(ways=dict.fromkeys(CLIENTS, "manifests"))
    args = {"youtube": {"player_client": ["visionos"], "skip": ["translated_subs"]}}
    further = {"extractor_args": args}
    found = ask(youtube, store, {ID: video}, further=further)
    assert [refusal.code for refusal in found.refused.values()] == ["no_format"]
    assert looks(youtube) == ["/watch", "VISIONOS"]
    assert youtube.count("manifest.googlevideo.com") == 0
    assert further == {"extractor_args": args}


def test_one_javascript_runtime_at_a_time(
    youtube: Replica, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, most = [], 0
    extract_info = yt_dlp.YoutubeDL.extract_info

    def counted(*args: Any, **more: Any) -> Any:
        nonlocal most
        running.append(None)
        most = max(most, len(running))
        try:
            time.sleep(0.05)
            return extract_info(*args, **more)
        finally:
            running.pop()

    monkeypatch.setattr(yt_dlp.YoutubeDL, "extract_info", counted)
    youtube.videos = {f"abcdefghij{n}": good_video() for n in range(8)}
    clips = [Clip("train", "zumba", name, 2, 8) for name in youtube.videos]
    chosen = {"extractor_args": {"youtube": {"player_client": "tv,visionos"}}}
    for further, is_one in ((chosen, True), (None, False)):  # the usual way needs none at first
        most = 0
        with YouTubeWorkers(
            options(youtube, further),
            store,
            Ledger(store.ledger_path),
            num_workers=4,
            patience_seconds=0,
            refetch=True,
        ) as workers:
            assert len(workers.ask(clips).stored) == 8
        assert (most == 1) == is_one

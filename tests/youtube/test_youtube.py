"""Clips from YouTube: the real yt-dlp over a replica on loopback, every failure there is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
from yt_dlp import YoutubeDL

from k600.dataset.clip import Clip
from k600.loading.ask_youtube import YouTubeSource
from k600.loading.plan import Plan
from k600.loading.request import make_request
from k600.loading.state import read_state
from k600.store.ledger import Ledger
from k600.store.store import Store
from k600.youtube.circumstances import read_facts
from k600.youtube.options import YouTubeOptions
from k600.youtube.rate_limit import Throttle
from k600.youtube.tools import advice, attempts, upgrade_advice
from k600.youtube.workers import Answers, YouTubeWorkers
from tests.counter import counter_video, read_counter, tone_audio
from tests.youtube_replica import Replica
from tests.youtube_videos import FAILURES, GOOD, good_video

EXPECTED = {
    # name: kind, code, looks at the video, further requests (for media, or asked twice)
    "private": ("gone", "private", 1, 0),
    "private_in_app": ("gone", "private", 1, 0),
    "removed": ("gone", "removed", 1, 0),
    "terms": ("gone", "removed", 1, 0),
    "terminated": ("gone", "terminated", 1, 0),
    "copyright": ("gone", "copyright", 1, 0),
    "copyright_block": ("region", "country", 1, 0),
    "region": ("region", "country", 1, 0),
    "age": ("auth", "age", 2, 6),
    "members": ("auth", "members", 1, 0),
    "kids": ("client", "client", 2, 1),
    "embedding": ("client", "embedding", 2, 1),
    "bot_check": ("blocked", "bot", 2, 1),
    "rate_limit": ("blocked", "rate_limit", 1, 0),
    "rate_limit_curly": ("blocked", "rate_limit", 1, 0),
    "live_soon": ("transient", "live", 2, 0),
    "unavailable": ("gone", "unavailable", 1, 0),
    "gone": ("gone", "unavailable", 1, 0),
    "no_formats": ("client", "no_format", 2, 1),
    "too_short": ("clip", "out_of_range", 1, 0),
    "ends_early": ("clip", "out_of_range", 1, 0),
    "paid": ("auth", "paid", 1, 0),
    "other_id": ("blocked", "bot", 2, 1),
    "no_addresses": ("client", "no_format", 2, 1),
    "manifests": ("client", "no_format", 2, 1),
    "token": ("client", "media_http_403", 4, 6),
    "player_403": ("blocked", "http_403", 2, 1),
    "player_429": ("blocked", "http_429", 1, 0),
    "page_429": ("blocked", "http_429", 1, 4),
    "player_503": ("transient", "http_5xx", 4, -2),  # yt-dlp asks each client twice, the page once
    "player_drop": ("transient", "proxy", 4, 0),  # the same
    "cut": ("transient", "media_network", 2, 6),
    "short": ("transient", "media_network", 2, 6),
    "no_range": ("transient", "media_network", 2, 6),
    "garbage": ("transient", "media_damaged", 2, 2),
    "stall": ("transient", "media_network", 2, 6),
    "media_403": ("client", "media_http_403", 4, 6),
    "media_429": ("blocked", "media_http_429", 1, 1),
    "truncated": ("transient", "short or media_damaged", 2, 2),  # as the version of FFmpeg has it
}
RECOVERS = {"player_503_once", "cut_once", "media_403_once", "media_503_once", "kids_elsewhere"}
BY_THE_SECOND_TRY = {"no_addresses_first", "manifests_first", "token_first"}


@pytest.fixture(scope="module")
def look(youtube: Replica) -> int:
    """Requests for a first look at a video: for the page, then as the client that costs least."""
    youtube.videos["lookedat000"] = GOOD["landscape"]
    youtube.requests.clear()
    with YoutubeDL(attempts(options(youtube))[0]) as ydl:
        ydl.extract_info("https://www.youtube.com/watch?v=lookedat000", download=False)
    assert [(asked.path, asked.client) for asked in youtube.requests] == [
        ("/watch", ""),
        ("/youtubei/v1/player", "VISIONOS"),
    ]
    return 2


def options(youtube: Replica, **changes: Any) -> YouTubeOptions:
    stalling = any(video.fault == "stall" for video in youtube.videos.values())
    further = {"nocheckcertificate": True, "socket_timeout": 0.5 if stalling else 10}
    further |= changes.pop("yt_dlp_options", {})
    return make_request(
        "train",
        default_data_dir="/nowhere",
        proxy=youtube.url,
        yt_dlp_options=further,
        requests_per_hour=10_000_000,
        **changes,
    ).youtube


def clip(youtube_id: str, start: int = 2, end: int = 8) -> Clip:
    return Clip("train", "zumba", youtube_id, start, end)


def ask(
    youtube: Replica,
    store: Store,
    *clips: Clip,
    num_workers: int = 1,
    patience_seconds: float | None = 0,
    **changes: Any,
) -> tuple[Answers, YouTubeWorkers]:
    youtube.videos = {c.youtube_id: youtube.videos[c.youtube_id] for c in clips}
    with YouTubeWorkers(
        options(youtube, **changes),
        store,
        Ledger(store.ledger_path),
        num_workers=num_workers,
        patience_seconds=patience_seconds,
        first_pause_seconds=0.05,
    ) as workers:
        return workers.ask(clips), workers


def files(store: Store) -> list[str]:
    """Return everything in the store but the ledger, notes, locks and empty folders."""
    return sorted(
        path.name
        for path in store.root.rglob("*")
        if path.is_file()
        and "ledger" not in path.name
        and path.suffix != ".lock"
        and path.name != "youtube-pace.json"
    )


def test_the_table_holds_every_failure() -> None:
    assert set(EXPECTED) | RECOVERS | BY_THE_SECOND_TRY == set(FAILURES)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_failure(name: str, youtube: Replica, store: Store, look: int) -> None:
    kind, code, looks, further = EXPECTED[name]
    youtube.videos["failing0000"] = replace(FAILURES[name])
    youtube.requests.clear()
    found, workers = ask(youtube, store, clip("failing0000"))
    assert files(store) == []
    assert len(youtube.requests) <= looks * look + further
    rows = Ledger(store.ledger_path).view("train").answers
    if kind == "blocked":  # never held against the clip
        assert workers.given_up is not None
        assert (workers.given_up.kind, workers.given_up.code) == (kind, code)
        assert found.refused == {}
        assert rows == []
    else:
        refusal = found.refused[clip("failing0000")]
        assert refusal.kind == kind
        assert refusal.code in code.split(" or ")
        assert [(row.kind, row.code, row.times, row.days) for row in rows] == [
            (kind, refusal.code, 1, 1)
        ]
        assert "--cookies" not in refusal.message


@pytest.mark.parametrize("name", sorted(RECOVERS))
def test_a_failure_that_passes(name: str, youtube: Replica, store: Store) -> None:
    youtube.happened.clear()
    youtube.videos["passing0000"] = replace(FAILURES[name])
    found, _ = ask(youtube, store, clip("passing0000"))
    assert found.stored == [clip("passing0000")]
    assert files(store) == [clip("passing0000").file_name]


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("audio", [False, True])
def test_a_good_video(name: str, audio: bool, youtube: Replica, store: Store, look: int) -> None:
    youtube.videos["goodvideo00"] = GOOD[name]
    youtube.requests.clear()
    found, _ = ask(youtube, store, clip("goodvideo00"), audio=audio, short_side=90)
    assert found.stored == [clip("goodvideo00")]
    assert len(youtube.requests) <= look + 2
    with av.open(str(store.path("train/zumba", clip("goodvideo00").file_name))) as container:
        video = container.streams.video[0]
        assert min(video.width, video.height) == 90
        assert (video.width > video.height) == (GOOD[name].width > GOOD[name].height)
        sound = bool(GOOD[name].audio or GOOD[name].progressive)
        assert bool(container.streams.audio) == (audio and sound)
        assert video.codec_context.name == "h264"
        if container.streams.audio:
            assert float(container.duration / 1e6) == pytest.approx(6, abs=0.1)


@pytest.mark.parametrize("layout", ["dash", "late", "faststart"])
@pytest.mark.parametrize(
    ("fps", "start", "end"), [(30, 2, 8), (25, 0, 10), (60, 3, 4), (24, 7, 12)]
)
def test_a_cut_holds_exactly_the_frames_of_its_time(
    youtube: Replica, store: Store, layout: str, fps: int, start: int, end: int
) -> None:
    media = counter_video(320, 180, fps, 10, layout=layout)
    youtube.videos["counter0000"] = good_video(fps=fps, media=media)
    found, _ = ask(youtube, store, clip("counter0000", start, end), short_side=180)
    assert found.stored, found.refused
    name = clip("counter0000", start, end).file_name
    path = store.path("train/zumba", name)
    assert Ledger(store.ledger_path).view("train").rates == {
        "train/zumba": {name: pytest.approx(fps)}
    }
    with av.open(str(path)) as container:
        numbers = [read_counter(frame) for frame in container.decode(video=0)]
    assert numbers == list(range(start * fps, min(end, 10) * fps))


def test_little_of_a_long_video_is_read(youtube: Replica, store: Store) -> None:
    media = counter_video(320, 180, 30, 120, noise=3)
    youtube.videos["longvideo00"] = good_video(media=media, seconds=120)
    youtube.requests.clear()
    found, _ = ask(youtube, store, clip("longvideo00", 100, 110))
    assert found.stored
    assert len(media) > 20 << 20
    assert found.received_bytes < 6 << 20
    assert len(youtube.requests) < 15


def test_as_much_is_read_as_a_forecast_says(youtube: Replica, store: Store) -> None:
    media = counter_video(640, 360, 30, 40, gop_size=150, noise=1)
    youtube.videos["usual000000"] = good_video(640, 360, 30, 40, media=media, audio=tone_audio(40))
    wanted = clip("usual000000", 12, 22)
    found, _ = ask(youtube, store, wanted)
    request = make_request("train", default_data_dir=str(store.root))
    state = read_state(replace(request, offline=True), "train", keep=False)
    plan = Plan(youtube=[("zumba", wanted.file_name)])
    price = YouTubeSource.price(state, plan, bytes_per_second=1)
    assert price.size_bytes == pytest.approx(found.received_bytes, rel=0.3)


def test_the_smallest_that_suffices_is_taken(youtube: Replica, store: Store) -> None:
    small = good_video(320, 180)
    youtube.videos["manysizes00"] = good_video(640, 360, smaller=(small,))
    found, _ = ask(youtube, store, clip("manysizes00"), short_side=180)
    assert found.received_bytes == len(counter_video(320, 180, 30, 10))


def test_while_blocked_one_clip_is_tried_after_each_pause_and_then_all_come(
    youtube: Replica, store: Store
) -> None:
    clips = [clip(f"blocked000{n}") for n in range(6)]
    youtube.videos.update({c.youtube_id: good_video() for c in clips})
    youtube.requests.clear()
    youtube.blocked = True
    tries = 0

    class Log(list[Any]):
        """Lifts the block at the fourth page that is asked for."""

        def append(self, request: Any) -> None:
            nonlocal tries
            super().append(request)
            tries += request.path == "/watch"
            if tries == 6:
                youtube.blocked = False

    youtube.requests = Log()
    try:
        found, workers = ask(youtube, store, *clips, num_workers=3, patience_seconds=60)
    finally:
        youtube.blocked, youtube.requests = False, []
    assert sorted(found.stored, key=str) == clips
    assert found.refused == {}
    assert workers.given_up is None


def test_a_block_that_stays_is_given_up_and_costs_one_probe_a_pause(
    youtube: Replica, store: Store
) -> None:
    clips = [clip(f"blocked000{n}") for n in range(6)]
    youtube.videos.update({c.youtube_id: good_video() for c in clips})
    youtube.requests.clear()
    youtube.blocked = True
    try:
        found, workers = ask(youtube, store, *clips, num_workers=3, patience_seconds=0.2)
    finally:
        youtube.blocked = False
    assert workers.given_up is not None
    assert workers.given_up.kind == "blocked"
    assert (found.stored, found.refused) == ([], {})
    pages = [request for request in youtube.requests if request.path == "/watch"]
    # Two tries by each of three at once, and of two to tell a video from the address; then one
    # after each pause of 0.05, 0.1 and 0.05 seconds.
    assert len(pages) <= 3 * 2 + 2 * 2 + 3
    assert Ledger(store.ledger_path).view("train").answers == []


def test_a_single_video_that_is_blocked_is_told_from_an_address_that_is(
    youtube: Replica, store: Store
) -> None:
    clips = [clip(f"blocked000{n}") for n in range(4)]
    youtube.videos.update({c.youtube_id: good_video() for c in clips})
    youtube.videos["blocked0000"] = FAILURES["bot_check"]
    youtube.requests.clear()
    found, workers = ask(youtube, store, *clips, patience_seconds=3600)
    assert found.stored == clips[1:]
    assert found.refused[clips[0]].kind == "blocked"
    assert workers.given_up is None
    pages = [request.video_id for request in youtube.requests if request.path == "/watch"]
    # By both ways to look at a video, and without a pause.
    assert pages == [f"blocked000{n}" for n in (0, 0, 1, 2, 3, 0, 0)]
    assert [row.kind for row in Ledger(store.ledger_path).view("train").answers] == ["have"] * 3


def test_two_videos_in_a_row_that_are_blocked_alone_are_told_from_an_address_too(
    youtube: Replica, store: Store
) -> None:
    clips = [clip(f"blocked000{n}") for n in range(4)]
    youtube.videos.update({c.youtube_id: good_video() for c in clips})
    youtube.videos.update(blocked0000=FAILURES["bot_check"], blocked0001=FAILURES["bot_check"])
    found, workers = ask(youtube, store, *clips)
    assert found.stored == clips[2:]
    assert [found.refused[c].code for c in clips[:2]] == ["bot", "bot"]
    assert workers.given_up is None


@pytest.mark.parametrize(
    ("name", "pauses"), [("bot_check", [0.05, 0.1, 0.2, 0.4]), ("rate_limit", [3.0])]
)
def test_a_rate_limit_is_waited_for_with_few_probes(
    name: str,
    pauses: list[float],
    youtube: Replica,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(Throttle, "sleep", lambda self, seconds: slept.append(round(seconds, 2)))
    clips = [clip(f"limited000{n}") for n in range(2)]
    youtube.videos.update(dict.fromkeys((c.youtube_id for c in clips), FAILURES[name]))
    _, workers = ask(youtube, store, *clips, patience_seconds=sum(pauses))
    assert slept == pauses
    assert workers.given_up is not None


def test_a_user_s_patience_counts_and_a_rate_limit_lasts_up_to_an_hour(
    youtube: Replica, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Throttle, "sleep", lambda self, seconds: slept.append(seconds))
    for name, patience, seconds in (
        ("bot_check", None, 600),
        ("rate_limit", None, 3600),
        ("rate_limit", 100, 100),
        ("rate_limit", 0, 0),
    ):
        slept: list[float] = []
        youtube.videos["limited0000"] = FAILURES[name]
        ask(youtube, store, clip("limited0000"), patience_seconds=patience)
        assert sum(slept) == seconds


def test_cookies_that_youtube_takes_back_are_said_aloud_and_what_follows_is_a_guest_s(
    youtube: Replica, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [
        f".youtube.com\tTRUE\t/\tTRUE\t4102444800\t{n}\ta/b" for n in ("LOGIN_INFO", "SAPISID")
    ]
    file = tmp_path / "cookies.txt"
    file.write_text("\n".join(["# Netscape HTTP Cookie File", *lines, ""]))
    before = file.read_bytes()
    youtube.videos["cookies0000"] = FAILURES["age"]
    accounts = []
    for youtube.rotated in (False, True):
        caplog.clear()
        ask(youtube, store, clip("cookies0000"), cookies=str(file))
        assert ("the cookies are no longer valid" in caplog.text) == youtube.rotated
        (row,) = Ledger(store.ledger_path).view("train").answers
        accounts.append(read_facts(row.circumstances)["account"])
        assert "not all of the cookies" not in caplog.text
    youtube.rotated = False
    assert accounts[0] != "guest"
    assert accounts[1] == "guest"
    assert file.read_bytes() == before

    file.write_bytes(before.replace(b"\tSAPISID\t", b" SAPISID "))
    caplog.clear()
    ask(youtube, store, clip("cookies0000"), cookies=str(file))
    assert caplog.text.count("not all of the cookies are used. There is no cookie in 1 line") == 1
    assert "the cookies sign in no account" in caplog.text


@pytest.mark.parametrize(
    ("kind", "has_worked", "age_days", "text"),
    [
        ("blocked", False, 91, "Your yt-dlp is 91 days old"),
        ("client", False, 91, "Your yt-dlp is 91 days old"),
        ("blocked", True, 91, "You are being throttled"),
        ("blocked", True, 9, "You are being throttled"),
        ("blocked", False, 9, "YouTube may suspend"),
        ("client", False, 9, "A newer yt-dlp"),
        ("transient", False, 91, "another way"),
    ],
)
def test_what_to_do_depends_on_what_worked(
    kind: str, has_worked: bool, age_days: int, text: str
) -> None:
    assert text in advice(kind, has_worked=has_worked, age_days=age_days)


def test_a_python_that_gets_no_newer_yt_dlp_is_not_told_to_upgrade_it() -> None:
    assert "pip install -U" in upgrade_advice((3, 11))
    old = upgrade_advice((3, 10))
    assert "Python 3.11 or later, and this is 3.10" in old
    assert "-U" not in old


def test_a_javascript_runtime_that_dies_is_not_held_against_the_clip(
    youtube: Replica, store: Store, tmp_path: Path
) -> None:
    deno = tmp_path / "deno"
    deno.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo "deno 2.9.8 (stable)"; exit 0; }\n'
        'echo "fatal: out of memory" >&2\nexit 133\n'
    )
    deno.chmod(0o755)
    youtube.videos["challenges0"] = good_video(ways={"VISIONOS": "none", "TVHTML5": "n"})
    dying = {"js_runtimes": {"deno": {"path": str(deno)}}}
    found, _ = ask(youtube, store, clip("challenges0"), yt_dlp_options=dying)
    refusal = found.refused[clip("challenges0")]
    assert (refusal.kind, refusal.code) == ("transient", "warned")


def test_a_clip_that_another_process_has_fetched_is_not_counted_as_cut_here(
    youtube: Replica, store: Store
) -> None:
    clips = [clip(f"bothwant00{n}") for n in range(2)]
    videos = {c.youtube_id: good_video() for c in clips}
    youtube.videos.update(videos)
    ask(youtube, store, clips[0])
    youtube.videos.update(videos)
    youtube.requests.clear()
    found, _ = ask(youtube, store, *clips)
    assert (found.stored, found.found, found.refused) == (clips[1:], clips[:1], {})
    assert {request.video_id for request in youtube.requests} - {""} == {clips[1].youtube_id}


def test_a_dead_network_is_given_up_after_three_clips(youtube: Replica, store: Store) -> None:
    clips = [clip(f"nowhere000{n}") for n in range(9)]
    youtube.videos.update({c.youtube_id: good_video(fault="stall") for c in clips})
    found, workers = ask(youtube, store, *clips)
    assert workers.given_up is not None
    assert workers.given_up.kind == "transient"
    assert len(found.refused) <= 1


def test_a_yt_dlp_that_no_video_answers_is_given_up(youtube: Replica, store: Store) -> None:
    clips = [clip(f"noformat{n:03d}") for n in range(20)]
    youtube.videos.update({c.youtube_id: FAILURES["no_formats"] for c in clips})
    found, workers = ask(youtube, store, *clips)
    assert workers.given_up is not None
    assert workers.given_up.kind == "client"
    assert len(found.refused) == 6


def test_cookies_go_along_and_the_file_stays_as_it_was(
    youtube: Replica, store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "cookies.txt"
    file.write_text(
        "# Netscape HTTP Cookie File\n"
        ".youtube.com\tTRUE\t/\tTRUE\t4102444800\tPREF\tf1=secret-value\n"
    )
    before = file.read_bytes()
    youtube.videos["cookies0000"] = good_video()
    youtube.requests.clear()
    found, _ = ask(youtube, store, clip("cookies0000"), cookies=str(file))
    assert found.stored
    assert any("secret-value" in request.cookie for request in youtube.requests)
    assert not any(
        "secret-value" in request.cookie
        for request in youtube.requests
        if request.host.endswith("googlevideo.com")
    )
    assert file.read_bytes() == before
    assert b"secret-value" not in store.ledger_path.read_bytes()


def test_sound_is_cut_with_the_pictures(youtube: Replica, store: Store) -> None:
    youtube.videos["withsound00"] = good_video(seconds=30, audio=tone_audio(30))
    ask(youtube, store, clip("withsound00", 10, 20), audio=True)
    with av.open(str(store.path("train/zumba", clip("withsound00", 10, 20).file_name))) as made:
        samples = sum(frame.samples for frame in made.decode(audio=0))
        rate = made.streams.audio[0].rate
    assert samples / rate == pytest.approx(10, abs=0.1)


def test_ctrl_c_stops_within_a_second_and_leaves_nothing(youtube: Replica, tmp_path: Path) -> None:
    youtube.videos.update({f"stalling00{n}": good_video(fault="stall") for n in range(4)})
    program = """
        import sys
        from k600.dataset.clip import Clip
        from k600.store.ledger import Ledger
        from k600.youtube.workers import YouTubeWorkers
        from k600.store.store import Store
        from k600.loading.request import make_request

        store = Store.at(sys.argv[2])
        store.prepare()
        further = {"nocheckcertificate": True, "socket_timeout": 60}
        chosen = {"proxy": sys.argv[1], "yt_dlp_options": further}
        options = make_request("train", default_data_dir=sys.argv[2], **chosen).youtube
        clips = [Clip("train", "zumba", f"stalling00{n}", 0, 5) for n in range(4)]
        ledger = Ledger(store.ledger_path)
        with YouTubeWorkers(options, store, ledger, num_workers=4, patience_seconds=0) as workers:
            workers.ask(clips)
    """
    youtube.requests.clear()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), youtube.url, str(tmp_path / "clips")],
        stderr=subprocess.PIPE,
    )
    with process:
        while youtube.count("googlevideo") < 4:
            time.sleep(0.05)
            assert process.poll() is None
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        seconds = time.monotonic() - started
    assert b"KeyboardInterrupt" in said
    assert seconds < 10  # and not the minute that each of the four may still be silent
    assert files(Store.at(tmp_path / "clips")) == []
    assert os.listdir(tmp_path / "clips/.kinetics600/incoming") == []

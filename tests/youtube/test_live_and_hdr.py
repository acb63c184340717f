"""Videos that are more than a plain upload: of high dynamic range, and replays of live streams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from k600.dataset.clip import Clip
from k600.loading.request import make_request
from k600.store.ledger import Ledger
from k600.store.store import Store
from k600.youtube.workers import Answers, YouTubeWorkers
from tests.ffmpeg import make_video, needs_ffmpeg, said, shown
from tests.youtube_replica import Replica, Stream, Video
from tests.youtube_videos import good_video

CLIP = Clip("train", "zumba", "abcdefghijk", 2, 8)

VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "1M")
HDR = {"smpte2084": 16, "arib-std-b67": 18}
"""Transfers as FFmpeg calls them, and their numbers in the name of a codec."""


def ask(youtube: Replica, store: Store, video: Video) -> Answers:
    youtube.videos = {CLIP.youtube_id: video}
    youtube.requests.clear()
    options = make_request(
        "train",
        default_data_dir="/nowhere",
        proxy=youtube.url,
        yt_dlp_options={"nocheckcertificate": True, "cachedir": False},
        requests_per_hour=10_000_000,
    ).youtube
    with YouTubeWorkers(
        options, store, Ledger(store.ledger_path), num_workers=1, patience_seconds=0
    ) as workers:
        return workers.ask([CLIP])


@needs_ffmpeg
@pytest.mark.parametrize("transfer", HDR)
def test_a_video_of_high_dynamic_range_alone_is_shown_as_it_is(
    youtube: Replica, store: Store, tmp_path: Path, transfer: str
) -> None:
    """It is offered in VP9 of ten bits, which a clip has eight of, with the same colours."""
    tags = ("-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", transfer)
    source = make_video(
        tmp_path / "source.webm",
        *("-vf", "scale=out_color_matrix=bt2020", "-pix_fmt", "yuv420p10le", "-profile:v", "2"),
        *(*VP9, "-g", "50", *tags),
        frames=100,
    )
    kind = f'video/webm; codecs="vp09.02.30.10.01.09.{HDR[transfer]}.09.00"'
    video = good_video(320, 192, 10, media=b"", further=(Stream(332, source.read_bytes(), kind),))

    assert ask(youtube, store, video).stored == [CLIP]
    clip = store.path(CLIP.folder, CLIP.file_name)
    facts = said(clip)
    assert (facts["codec_name"], facts["pix_fmt"]) == ("h264", "yuv420p")
    of_source = said(source)
    assert of_source["pix_fmt"] == "yuv420p10le"
    for name in ("color_space", "color_primaries", "color_transfer", "color_range"):
        assert facts[name] == of_source[name]
    ours, theirs = shown(clip, 320, 192), shown(source, 320, 192)[20:80]
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).mean() < 3


def test_the_replay_of_a_live_stream_is_a_video_like_others(youtube: Replica, store: Store) -> None:
    assert ask(youtube, store, good_video(live="was_live")).stored == [CLIP]


@pytest.mark.parametrize("live", ["is_live", "post_live"])
def test_a_live_stream_and_one_that_has_just_ended_are_asked_for_again(
    youtube: Replica, store: Store, live: str
) -> None:
    found = ask(youtube, store, good_video(live=live))
    assert [(each.kind, each.code) for each in found.refused.values()] == [("transient", "live")]
    assert youtube.count("googlevideo") == 0

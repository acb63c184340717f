"""The replica of YouTube stands up to the unmodified yt-dlp; our own code is not in here."""

import io
from collections.abc import Iterator
from typing import Any

import av
import pytest
import yt_dlp
from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import HTTPError, IncompleteRead, TransportError

from tests.counter import counter_video, read_counter
from tests.youtube_replica import FAULTS, Replica, media_bytes, youtube_replica
from tests.youtube_videos import FAILURES, GOOD, good_video

ID = "abcdefghijk"
# What yt-dlp's message holds, for each thing that can be wrong with a video.
MESSAGES = {
    "private": "Private video. Sign in if you've been granted access to this video. Use --cookies",
    "private_in_app": "This video is private",
    "removed": "Video unavailable. This video has been removed by the uploader",
    "terms": "Video unavailable. This video has been removed for violating YouTube's Terms",
    "terminated": "the YouTube account associated with this video has been terminated",
    "copyright": "This video is no longer available due to a copyright claim by Example",
    "copyright_block": "who has blocked it in your country on copyright grounds",
    "region": "The uploader has not made this video available in your country\nThis video is "
    "available in Germany, France.",
    "age": "Sign in to confirm your age. This video may be inappropriate for some users. Use",
    "members": "Join this channel to get access to members-only content like this video",
    "kids": "This video is not available",
    "embedding": "Playback on other websites has been disabled by the video owner",
    "bot_check": "Sign in to confirm you’re not a bot. Use --cookies-from-browser",
    "rate_limit": "This content isn't available, try again later. The current session has been "
    "rate-limited by YouTube for up to an hour",
    "rate_limit_curly": "Video unavailable. This content isn’t available, try again later.",
    "live_soon": "This live event will begin in 3 days.",
    "unavailable": "Video unavailable",
    "gone": "Video unavailable. This video isn't available anymore",
    "no_formats": "No video formats found!",
    "player_403": "No video formats found!",
    "player_429": "No video formats found!",
    "player_503": "No video formats found!",
    "page_429": "Failed to extract any player response",
}


@pytest.fixture
def replica() -> Iterator[Replica]:
    with youtube_replica() as running:
        yield running


def client(replica: Replica, **options: Any) -> yt_dlp.YoutubeDL:
    usual = {"quiet": True, "no_warnings": True, "cachedir": False, "socket_timeout": 5}
    usual |= {"proxy": replica.url, "nocheckcertificate": True, "logger": Silence()}
    return yt_dlp.YoutubeDL(usual | options)


class Silence:
    def debug(self, message: str) -> None:
        pass

    warning = error = debug


def extract(ydl: yt_dlp.YoutubeDL, video_id: str = ID) -> dict[str, Any]:
    return ydl.extract_info(f"https://www.youtube.com/watch?v={video_id}", download=False)


def fetch(ydl: yt_dlp.YoutubeDL, url: str, wanted: str = "bytes=0-9999") -> tuple[int, bytes]:
    with ydl.urlopen(Request(url, headers={"Range": wanted})) as response:
        return response.status, response.read()


@pytest.mark.parametrize("name", GOOD)
def test_a_good_video_has_its_formats_and_its_bytes(replica: Replica, name: str) -> None:
    video = replica.videos[ID] = GOOD[name]
    with client(replica) as ydl:
        info = extract(ydl)
        assert (info["id"], info["duration"]) == (ID, video.duration_seconds)
        offered = {int(entry["format_id"]): entry for entry in info["formats"]}
        assert offered.keys() == video.formats().keys()
        for itag, (source, size) in video.formats().items():
            data, entry = media_bytes(video, source), offered[itag]
            assert entry["filesize"] == len(data)
            assert (entry["vcodec"] == "none", entry["acodec"] == "none") == (
                itag == 140,
                itag not in (18, 140),
            )
            if itag != 140:
                shape = (size.width, size.height, size.fps)
                assert (entry["width"], entry["height"], entry["fps"]) == shape
            assert fetch(ydl, entry["url"], "bytes=0-99") == (206, data[:100])
            assert fetch(ydl, entry["url"], "bytes=7000-") == (206, data[7000:])
            with pytest.raises(HTTPError, match="416"):
                fetch(ydl, entry["url"], f"bytes={len(data)}-")


@pytest.mark.parametrize("options", [{}, {"js_runtimes": {}}])
def test_a_good_video_costs_one_look_at_the_page_and_one_for_each_client_and_no_javascript(
    replica: Replica, options: dict[str, Any]
) -> None:
    replica.videos[ID] = GOOD["landscape"]
    with client(replica, **options) as ydl:
        extract(ydl)
    seen = [(asked.method, asked.host, asked.path, asked.client) for asked in replica.requests]
    clients = [asked[3] for asked in seen[1:]]
    assert seen == [
        ("GET", "www.youtube.com", "/watch", ""),
        *(("POST", "www.youtube.com", "/youtubei/v1/player", name) for name in clients),
    ]
    assert len(clients) == len(set(clients))
    assert clients == ["VISIONOS"] if options else clients[-1:] == ["VISIONOS"]
    assert replica.connections == 1


def test_connections_are_kept(replica: Replica) -> None:
    replica.videos[ID] = GOOD["landscape"]
    with client(replica) as ydl:
        url = extract(ydl)["formats"][0]["url"]
        for _ in range(5):
            fetch(ydl, url)
        assert replica.connections == 2
        assert fetch(ydl, url.replace("https:", "http:"), "bytes=0-0")[0] == 206
    assert replica.count("googlevideo") == 6
    assert sum(asked.sent_bytes for asked in replica.requests if asked.range) == 50_001


@pytest.mark.parametrize("name", MESSAGES)
def test_a_failure_is_told_by_yt_dlp(replica: Replica, name: str) -> None:
    replica.videos[ID] = FAILURES[name]
    with client(replica) as ydl, pytest.raises(yt_dlp.DownloadError) as caught:
        extract(ydl)
    assert MESSAGES[name] in str(caught.value)
    assert replica.count("googlevideo") == 0


def test_an_unknown_id_is_unavailable_and_a_blocked_address_hears_of_bots(replica: Replica) -> None:
    replica.videos[ID] = GOOD["landscape"]
    with client(replica) as ydl:
        with pytest.raises(yt_dlp.DownloadError, match="Video unavailable"):
            extract(ydl, "unknown-_-x")
        replica.blocked = True
        with pytest.raises(yt_dlp.DownloadError, match="confirm you’re not a bot"):
            extract(ydl)
        replica.blocked = False
        assert extract(ydl)["formats"]


def test_a_video_for_children_needs_a_javascript_runtime(replica: Replica) -> None:
    replica.videos[ID] = FAILURES["kids_elsewhere"]
    with client(replica, js_runtimes={}) as ydl:
        with pytest.raises(yt_dlp.DownloadError, match="This video is not available"):
            extract(ydl)
    with client(replica) as ydl:
        if not ydl._js_runtimes["deno"].info:
            pytest.skip("no deno here")
        assert extract(ydl)["formats"]


def test_yt_dlp_gets_past_a_passing_fault_of_the_api(replica: Replica) -> None:
    replica.videos[ID] = FAILURES["player_503_once"]
    with client(replica) as ydl:
        assert extract(ydl)["formats"]
    clients = [asked.client for asked in replica.requests if asked.client]
    assert len(clients) == len(set(clients)) + 1  # one of them had to be asked again


@pytest.mark.parametrize(
    ("fault", "first", "second"),
    [
        ("cut", TransportError, TransportError),
        ("cut_once", TransportError, 206),
        ("short", IncompleteRead, IncompleteRead),
        ("no_range", 200, 200),
        ("garbage", 206, 206),
        ("stall", TransportError, TransportError),
        ("media_403", "403", "403"),
        ("media_403_once", "403", 206),
        ("media_429", "429", "429"),
        ("media_503_once", "503", 206),
        ("truncated", 206, 206),
    ],
)
def test_media_go_wrong(replica: Replica, fault: str, first: Any, second: Any) -> None:
    video = replica.videos[ID] = FAILURES[fault]
    with client(replica, socket_timeout=0.3 if fault == "stall" else 5) as ydl:
        entry = extract(ydl)["formats"][0]
        data = media_bytes(video, video.media)
        assert (data == GOOD["landscape"].media()) == (fault not in ("garbage", "truncated"))
        assert entry["filesize"] == len(data)
        for expected in (first, second):
            if isinstance(expected, int):
                whole = data if expected == 200 else data[:10_000]
                assert fetch(ydl, entry["url"]) == (expected, whole)
            elif isinstance(expected, str):
                with pytest.raises(HTTPError, match=expected):
                    fetch(ydl, entry["url"])
            else:
                with pytest.raises(expected):
                    fetch(ydl, entry["url"])


def test_every_fault_has_a_video() -> None:
    assert {video.fault for video in FAILURES.values()} - {""} == FAULTS.keys()


@pytest.mark.parametrize("layout", ["dash", "late", "faststart"])
@pytest.mark.parametrize(("width", "height", "fps"), [(320, 180, 30), (90, 160, 60)])
def test_a_counter_can_be_read_back_also_when_made_small(
    layout: str, width: int, height: int, fps: int
) -> None:
    shape = {"width": width, "height": height, "fps": fps, "seconds": 3, "gop_size": 25}
    data = counter_video(**shape, layout=layout, sound=True, noise=10)
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == fps
        frames = list(container.decode(stream))
        assert [read_counter(frame) for frame in frames] == list(range(3 * fps))
        late = 2 if layout == "late" else 0
        assert [round(frame.time * fps) - late for frame in frames] == list(range(3 * fps))
        small = frames[70].reformat(64, 36, format="rgb24")
        assert read_counter(small) == read_counter(small.to_ndarray()) == 70
        container.seek(round(1.5 / stream.time_base), stream=stream)
        assert read_counter(next(container.decode(stream))) == int(1.5 * fps) // 25 * 25


def test_the_same_video_in_several_sizes(replica: Replica) -> None:
    smaller = (good_video(426, 240), good_video(256, 144))
    replica.videos[ID] = good_video(640, 360, smaller=smaller)
    with client(replica) as ydl:
        assert [entry["height"] for entry in extract(ydl)["formats"]] == [144, 240, 360]

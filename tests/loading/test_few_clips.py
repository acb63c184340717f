"""A few clips by `load_dataset`, from YouTube where it has them, else from the tarballs."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kinetics600
from k600.errors import (
    DiskFullError,
    IncompleteError,
    NoClipsError,
    OptionError,
    YouTubeError,
)
from k600.loading.estimate import forecast_split
from k600.miniature import CLASSES, MACOS, Miniature, make_clip
from k600.publish.metadata import metadata_rows
from k600.store.ledger import Ledger
from k600.store.store import Store
from tests.conftest import Load, contents, expected
from tests.servers import web_server
from tests.youtube_replica import Replica, youtube_replica
from tests.youtube_videos import FAILURES, good_video

CLASS = "surfing water"

pytestmark = pytest.mark.usefixtures("dear_tarballs")


@pytest.fixture
def youtube(miniature: Miniature) -> Iterator[Replica]:
    """A YouTube that still has every clip of the miniature."""
    with youtube_replica() as replica:
        for tarballs in miniature.clips.values():
            for clips in tarballs.values():
                for name in clips:
                    replica.videos[name[:11]] = good_video(96, 64, 5, seconds=600)
        yield replica


@pytest.fixture
def load(load: Load, youtube: Replica) -> Load:
    further = {"nocheckcertificate": True, "socket_timeout": 2}

    def through_replica(*args: Any, **options: Any) -> Any:
        defaults = {
            "proxy": youtube.url,
            "yt_dlp_options": further,
            "patience_seconds": 0,
            "requests_per_hour": 10_000_000,
        }
        return load(*args, **{**defaults, **options})

    return through_replica


def names(rows: Any) -> list[str]:
    return [os.path.basename(row["video"]["path"]) for row in rows]


def test_the_call_of_the_first_page(
    load: Load, youtube: Replica, lines: pytest.LogCaptureFixture
) -> None:
    chosen = ["springboard diving", "surfing water"]
    ds = load("validation", classes=chosen, max_samples=7)["validation"]
    assert len(ds) == 7
    assert set(ds["source"]) == {"youtube"}
    assert "7 clips of 7 asked for (7 from youtube)" in lines.text
    assert "7 clips cut from YouTube" in lines.text
    assert "tarballs read" not in lines.text
    youtube.requests.clear()
    again = load("validation", classes=chosen, max_samples=7)["validation"]
    assert names(again) == names(ds)
    assert youtube.requests == []


def test_too_little_room_is_said_before_youtube_is_asked(
    load: Load, youtube: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs

    def few_inodes(path: Any) -> os.statvfs_result:
        return os.statvfs_result([*real(path)[:5], 1000, 66, 66, *real(path)[8:]])

    monkeypatch.setattr(os, "statvfs", few_inodes)
    with pytest.raises(DiskFullError, match="3 files, and .* has room for 66 more"):
        load("train", classes=CLASS, max_samples=3)
    assert youtube.requests == []
    assert len(load("train", classes=CLASS, max_samples=2)["train"]) == 2


def test_a_video_that_is_gone_is_replaced_by_the_next_and_not_asked_for_again(
    load: Load, youtube: Replica, miniature: Miniature, lines: pytest.LogCaptureFixture
) -> None:
    first = sorted(miniature.clips["train"][CLASS])[0]
    youtube.videos[first[:11]] = FAILURES["private"]
    ds = load("train", classes=CLASS, max_samples=3, on_missing="raise")["train"]
    assert len(ds) == 3
    assert first not in names(ds)
    assert "1 replaced: youtube_gone" in lines.text
    youtube.requests.clear()
    ds = load("train", classes=CLASS, max_samples=4)["train"]
    assert len(ds) == 4
    assert youtube.count("", video_id=first[:11]) == 0
    youtube.videos[first[:11]] = good_video(96, 64, 5, seconds=600)
    ds = load("train", classes=CLASS, max_samples=5, retry_errors=True)["train"]
    assert first in names(ds)
    assert set(ds["source"]) == {"youtube"}


def test_the_vague_unavailable_is_asked_for_until_a_second_day(
    load: Load, youtube: Replica, miniature: Miniature, folders: dict[str, Any]
) -> None:
    first = sorted(miniature.clips["train"][CLASS])[0]
    youtube.videos[first[:11]] = FAILURES["unavailable"]
    load("train", classes=CLASS, max_samples=1)
    youtube.requests.clear()
    load("train", classes=CLASS, max_samples=2, shuffle=True)
    load("train", classes=CLASS, max_samples=4, shuffle=True)
    assert youtube.count("/watch", video_id=first[:11]) > 0
    store = Store.at(folders["data_dir"])
    row = next(a for a in Ledger(store.ledger_path).view("train").answers if a.file_name == first)
    assert row.times >= 2
    assert row.days == 1


def test_where_youtube_blocks_the_clips_come_from_the_tarball(
    load: Load, youtube: Replica, lines: pytest.LogCaptureFixture, folders: dict[str, Any]
) -> None:
    youtube.blocked = True
    ds = load("train", classes=CLASS, max_samples=3, on_missing="raise")["train"]
    assert len(ds) == 3
    assert set(ds["source"]) == {"cvdf"}
    assert "YouTube gives no clips here" in lines.text
    assert "not a bot" in lines.text
    # Two workers, each by both ways to look at a video, and two to tell a video from the address.
    assert youtube.count("/watch") <= 2 * 2 + 2
    assert Ledger(Store.at(folders["data_dir"]).ledger_path).view("train").answers == []


def test_what_youtube_gave_before_a_block_is_kept(
    load: Load, youtube: Replica, miniature: Miniature
) -> None:
    for name in sorted(miniature.clips["train"][CLASS])[2:5]:  # three tell it from a video's own
        youtube.videos[name[:11]] = FAILURES["bot_check"]
    ds = load("train", classes=CLASS, max_samples=5, num_workers=1)["train"]
    assert Counter(ds["source"]) == {"youtube": 2, "cvdf": 3}


def test_one_video_that_alone_asks_for_the_bot_check_stalls_no_other(
    load: Load, youtube: Replica, miniature: Miniature
) -> None:
    first = sorted(miniature.clips["train"][CLASS])[0]
    youtube.videos[first[:11]] = FAILURES["bot_check"]
    options = {"classes": CLASS, "num_workers": 1, "patience_seconds": 3600}
    ds = load("train", source="youtube", **options)["train"]
    assert names(ds) == sorted(miniature.clips["train"][CLASS])[1:]
    assert youtube.count("/watch", video_id=first[:11]) == 2 * 2  # both ways to look at it
    ds = load("train", max_samples=5, **options)["train"]
    assert Counter(ds["source"]) == {"youtube": 4, "cvdf": 1}


OTHERWISE = {
    # failure: what is different when it is asked again
    "region": {"proxy": "another"},
    "age": {"cookies": "fresh"},
    "kids": {"yt_dlp_options": {"extractor_args": {"youtube": {"player_client": ["visionos"]}}}},
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_an_answer_counts_under_the_circumstances_under_which_it_was_given(
    load: Load, youtube: Replica, miniature: Miniature, tmp_path: Path, name: str
) -> None:
    first = sorted(miniature.clips["train"][CLASS])[0]
    youtube.videos[first[:11]] = FAILURES[name]
    stale = cookie_file(tmp_path / "stale.txt", "SAPISID")  # what a rotation leaves
    load("train", classes=CLASS, max_samples=1, cookies=stale)

    youtube.requests.clear()
    load("train", classes=CLASS, max_samples=2, cookies=stale)
    assert youtube.count("", video_id=first[:11]) == 0
    youtube.videos[first[:11]] = good_video(96, 64, 5, seconds=600)
    with youtube_replica() as another:
        another.videos = youtube.videos
        changes = {"cookies": stale, **OTHERWISE[name]}
        if "proxy" in changes:
            changes["proxy"] = another.url
        if changes["cookies"] == "fresh":
            changes["cookies"] = cookie_file(tmp_path / "fresh.txt", "LOGIN_INFO", "SAPISID")
        further = {"nocheckcertificate": True, **changes.pop("yt_dlp_options", {})}
        ds = load("train", classes=CLASS, source="youtube", yt_dlp_options=further, **changes)
    assert first in names(ds["train"])


def cookie_file(path: Path, *names: str) -> str:
    """Write a cookie file that holds cookies of these names, and return its path."""
    lines = [f".youtube.com\tTRUE\t/\tTRUE\t4102444800\t{name}\ta/b\n" for name in names]
    path.write_text("# Netscape HTTP Cookie File\n" + "".join(lines))
    return str(path)


def test_a_dropped_connection_is_not_held_against_the_clip(
    load: Load, youtube: Replica, miniature: Miniature
) -> None:
    first = sorted(miniature.clips["train"][CLASS])[0]
    youtube.videos[first[:11]] = good_video(96, 64, 5, seconds=600, fault="player_drop")
    load("train", classes=CLASS, max_samples=1)
    youtube.videos[first[:11]] = good_video(96, 64, 5, seconds=600)
    assert first in names(load("train", classes=CLASS, source="youtube")["train"])


def test_where_nothing_answers_the_tarballs_give_the_clips_and_it_is_remembered(
    load: Load, silent_server: str, lines: pytest.LogCaptureFixture
) -> None:
    options = {"classes": CLASS, "proxy": silent_server, "on_missing": "raise"}
    ds = load("train", max_samples=1, **options)["train"]
    assert set(ds["source"]) == {"cvdf"}
    assert "does not answer" in lines.text
    lines.clear()
    load("train", max_samples=3, **options)
    assert "it did not answer 0 minutes ago" in lines.text
    with pytest.raises(YouTubeError, match="does not answer"):  # tried all the same
        load("train", source="youtube", **{**options, "classes": "springboard diving"})


def test_where_candidates_run_out_the_tarball_gives_what_youtube_has_not(
    load: Load, youtube: Replica, miniature: Miniature
) -> None:
    for name in sorted(miniature.clips["train"][CLASS])[:2]:
        youtube.videos[name[:11]] = FAILURES["removed"]
    ds = load("train", classes=CLASS, max_samples=5, on_missing="raise")["train"]
    assert Counter(ds["source"]) == {"youtube": 3, "cvdf": 2}


def test_youtube_alone_names_what_it_has_not(
    load: Load, youtube: Replica, miniature: Miniature, lines: pytest.LogCaptureFixture
) -> None:
    dead = sorted(miniature.clips["train"][CLASS])[:2]
    youtube.videos[dead[0][:11]] = FAILURES["terminated"]
    youtube.videos[dead[1][:11]] = FAILURES["region"]
    ds = load("train", classes=CLASS, source="youtube")["train"]  # no limit: all of the class
    assert len(ds) == 3
    assert "1  youtube_gone" in lines.text
    assert "1  youtube_region" in lines.text
    report = re.search(r"named in (.*?\.csv)", lines.text)
    assert report
    assert "terminated: Video unavailable" in Path(report[1]).read_text()
    with pytest.raises(IncompleteError, match="only 3 of 5"):
        load("train", classes=CLASS, source="youtube", on_missing="raise")


def test_youtube_alone_and_blocked_is_an_error(load: Load, youtube: Replica) -> None:
    youtube.blocked = True
    with pytest.raises(YouTubeError, match="not a bot.*cookies="):
        load("train", classes=CLASS, source="youtube", max_samples=2)
    youtube.blocked = False
    ds = load("train", classes=CLASS, source="youtube", max_samples=2)["train"]
    assert len(ds) == 2


def test_without_a_javascript_runtime(load: Load, lines: pytest.LogCaptureFixture) -> None:
    further = {"nocheckcertificate": True, "js_runtimes": {"deno": {"path": "/no/such/deno"}}}
    ds = load("train", classes=CLASS, max_samples=2, yt_dlp_options=further)["train"]
    assert set(ds["source"]) == {"youtube"}
    assert "JavaScript runtime" in lines.text
    assert "pip install deno" in lines.text


def test_after_a_whole_split_no_subset_of_it_asks_anybody(
    load: Load, youtube: Replica, miniature: Miniature
) -> None:
    with web_server(miniature.root.parent) as server:
        load("validation", mirror=f"{server.url}/600")
        server.requests.clear()
        ds = load("validation", mirror=f"{server.url}/600", max_samples=3, shuffle=True)
        assert len(ds["validation"]) == 3
        assert server.requests == []
    assert youtube.requests == []


def test_a_class_after_some_clips_from_youtube_has_the_originals_of_all(
    load: Load, miniature: Miniature, folders: dict[str, Any]
) -> None:
    load("train", classes=CLASS, max_samples=2)
    ds = load("train", classes=CLASS, on_missing="raise")["train"]
    assert Counter(ds["source"]) == {"cvdf": 5}
    mine = {k: v for k, v in expected(miniature, "train").items() if CLASS in k}
    assert contents(folders["data_dir"]) == mine


def test_the_test_split_from_youtube_is_labelled(load: Load, miniature: Miniature) -> None:
    ds = load("test", max_samples=4, shuffle=True, seed=3)["test"]
    assert len(ds) == 4
    assert set(ds["source"]) == {"youtube"}
    for row in ds:
        label = miniature.labels[os.path.basename(row["video"]["path"])]
        assert kinetics600.id2label()[row["label"]] == label


@pytest.mark.parametrize(
    "options",
    [
        {"max_samples": 4},
        {"max_samples": 4, "shuffle": True, "seed": 7},
        {"max_samples": 2, "classes": list(CLASSES[2:])},
        {"max_per_class": 1},
        {"max_samples": 6, "balanced": True},
    ],
)
def test_the_test_split_from_tarballs_is_walked_through(
    load: Load, options: dict[str, Any], tmp_path: Path, folders: dict[str, Any]
) -> None:
    ds = load("test", source="cvdf", on_missing="raise", **options)["test"]
    assert len(ds) == options.get("max_samples", len(set(ds["label"])))
    if "max_per_class" in options:
        assert max(Counter(ds["label"]).values()) == 1
    elsewhere = {"data_dir": str(tmp_path / "other"), "cache_dir": str(tmp_path / "cache2")}
    other = load("test", source="cvdf", **options, **elsewhere)["test"]
    assert names(other) == names(ds)
    assert other["label"] == ds["label"]
    if "max_samples" in options and "balanced" not in options:
        assert len(contents(folders["data_dir"])) == len(ds)


@pytest.mark.parametrize("shuffle", [False, True])
def test_more_test_clips_than_before_end_at_the_tarball_that_was_begun_and_the_next(
    shuffle: bool,
    load: Load,
    folders: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readings: list[str] = []

    def count(record: logging.LogRecord) -> bool:
        readings.extend([record.getMessage()] * ("reading" in record.msg))
        assert len(readings) <= 2  # else it would go on for ever
        return True

    monkeypatch.setattr(logging.getLogger("kinetics600"), "filters", [count])
    asked = {"source": "cvdf", "shuffle": shuffle, "on_missing": "raise"}
    for most in (4, 9):
        readings.clear()
        ds = load("test", max_samples=most, **asked)["test"]
        assert len(ds) == len(contents(folders["data_dir"])) == most
    readings.clear()
    elsewhere = {"data_dir": str(tmp_path / "other"), "cache_dir": str(tmp_path / "cache2")}
    assert names(load("test", max_samples=9, **asked, **elsewhere)["test"]) == names(ds)


@pytest.mark.parametrize(
    "limits",
    [
        {"max_samples": 3},
        {"max_samples": 3, "shuffle": True},
        {"max_per_class": 1},
        {"classes": CLASS, "max_samples": 9},
    ],
)
def test_a_plan_of_test_clips_is_what_their_load_reads(
    limits: dict[str, Any], load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    asked = {"source": "cvdf", "test_labels": str(miniature.test_labels), **limits}
    request = kinetics600.make_request(
        "test", mirror=str(miniature.root), data_dir=folders["data_dir"], **asked
    )
    plan = forecast_split(request, "test")
    assert (plan.here_clips, plan.prices["cvdf"].count, plan.open_ended) == (0, 1, True)
    clips = len(load("test", **asked)["test"])
    plan = forecast_split(request, "test")
    assert (plan.here_clips, plan.prices["cvdf"].count, plan.fetches_nothing) == (clips, 0, True)


def test_a_test_split_without_labels_cannot_be_counted_by_class(load: Load) -> None:
    with pytest.raises(OptionError, match=r"max_per_class.*DeepMind's list of labels"):
        load("test", max_per_class=2, test_labels="http://127.0.0.1:9/kinetics600.tar.gz")


def test_all_splits_at_once(load: Load) -> None:
    loaded = load("all", max_samples=2)
    assert {split: len(ds) for split, ds in loaded.items()} == {
        "train": 2,
        "validation": 2,
        "test": 2,
    }


def test_more_clips_than_youtube_gives_in_an_hour_come_from_tarballs(
    load: Load, youtube: Replica, lines: pytest.LogCaptureFixture
) -> None:
    ds = load("train", max_samples=5, requests_per_hour=12)["train"]
    assert set(ds["source"]) == {"cvdf"}
    assert youtube.requests == []
    assert "would take about 20 s, and gives a guest no more than 4 clips an hour" in lines.text


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_where_little_is_to_be_read_the_tarballs_give_the_clips(
    load: Load,
    youtube: Replica,
    lines: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    folders: dict[str, Any],
    miniature: Miniature,
    split: str,
) -> None:
    monkeypatch.undo()  # as it is for a user
    few = {"max_samples": 4, "shuffle": True}
    request = kinetics600.make_request(
        split,
        mirror=str(miniature.root),
        test_labels=str(miniature.test_labels),
        data_dir=folders["data_dir"],
        **few,
    )
    forecast = forecast_split(request, split)
    assert forecast.prices["youtube"].count == 0
    assert "; YouTube (source='youtube') would take about 16 s" in forecast.cheaper_way
    ds = load(split, on_missing="raise", requests_per_hour=900, **few)[split]
    assert set(ds["source"]) == {"cvdf"}
    assert youtube.requests == []
    assert forecast.cheaper_way in lines.text
    other = {"data_dir": folders["data_dir"] + "-2", "cache_dir": folders["cache_dir"] + "-2"}
    assert names(load(split, source="cvdf", **few, **other)[split]) == names(ds)


def test_what_youtube_has_lost_comes_from_its_tarball_so_that_all_have_the_same_clips(
    load: Load,
    youtube: Replica,
    miniature: Miniature,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: pytest.LogCaptureFixture,
) -> None:
    size = (miniature.root / f"train/{CLASS}.tar.gz").stat().st_size
    # (One clip is half a tarball, and three are more.)
    monkeypatch.setattr("k600.loading.cheaper.LITTLE_BYTES", size * 6 // 10)

    def on(machine: str, **options: Any) -> Any:
        places = {name: str(tmp_path / machine / name) for name in ("data_dir", "cache_dir")}
        few = {"classes": CLASS, "max_samples": 3, "shuffle": True, "on_missing": "raise"}
        return load("train", **places, **few, **options)["train"]

    first = on("a")
    assert set(first["source"]) == {"youtube"}
    lost = names(first)[0]
    youtube.videos[lost[:11]] = FAILURES["region"]
    lines.clear()
    second = on("b")
    assert names(second) == names(first) == names(on("c", source="cvdf"))
    assert dict(zip(names(second), second["source"], strict=True))[lost] == "cvdf"
    assert "1 clip that YouTube has not, from 1 tarball" in lines.text
    assert "1 tarball read" in lines.text
    assert "2 clips cut from YouTube" in lines.text

    youtube.requests.clear()
    assert names(on("b", num_workers=1)) == names(first)
    assert youtube.requests == []


def test_what_neither_way_gives_is_replaced_and_nobody_is_asked_again(
    load: Load,
    youtube: Replica,
    miniature: Miniature,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.undo()
    root = shutil.copytree(miniature.root, tmp_path / "600")
    few = {"max_samples": 3, "shuffle": True, "seed": 2, "on_missing": "raise"}
    with web_server(tmp_path) as server:
        before = load("train", mirror=str(root), streaming=False, **few)["train"]
        gone = names(before)[0]
        label = kinetics600.id2label()[before["label"][0]]
        (root / f"train/{label}.tar.gz").unlink()
        other = {"data_dir": str(tmp_path / "other"), "cache_dir": str(tmp_path / "cache-2")}
        few |= other | {"mirror": f"{server.url}/600"}
        ds = load("train", **few)["train"]
        assert names(ds) == names(before)  # YouTube has what a tarball should have had
        assert Counter(ds["source"])["youtube"] >= 1

        youtube.videos[gone[:11]] = FAILURES["private"]
        few |= {"data_dir": str(tmp_path / "third"), "cache_dir": str(tmp_path / "cache-3")}
        ds = load("train", **few)["train"]
        assert len(ds) == 3
        assert gone not in names(ds)
        assert "1 replaced: youtube_gone" in lines.text
        server.requests.clear()
        youtube.requests.clear()
        assert names(load("train", num_workers=1, **few)["train"]) == names(ds)
        assert (server.requests, youtube.requests) == ([], [])


def test_a_stream_never_asks_youtube(load: Load, youtube: Replica) -> None:
    rows = list(load("train", classes=CLASS, max_samples=2, streaming=True)["train"])
    assert {row["source"] for row in rows} == {"cvdf"}
    assert youtube.requests == []
    with pytest.raises(OptionError, match="'youtube' cannot be streamed"):
        load("train", source="youtube", streaming=True)
    with pytest.raises(OptionError, match=r"\.take\(n\)"):
        load("test", max_samples=2, streaming=True)


def test_a_dead_mirror_is_no_matter_once_the_list_is_kept(
    load: Load, youtube: Replica, miniature: Miniature
) -> None:
    with web_server(miniature.root.parent) as server:
        load("train", max_samples=1, mirror=f"{server.url}/600")
        mirror = f"{server.url}/600"
    ds = load("train", max_samples=3, mirror=mirror)["train"]
    assert set(ds["source"]) == {"youtube"}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"cookies": "/no/such/cookies.txt"}, "cookies: '/no/such/cookies.txt' cannot be read"),
        ({"cookies_from_browser": "netscape"}, "cookies_from_browser: 'netscape'.*firefox"),
        ({"proxy": "127.0.0.1:8080"}, "proxy: .*begins with http://"),
        ({"proxy": "http://user:s3cret@127.0.0.1:9"}, "proxy: 'http://127.0.0.1:9' does not answ"),
        ({"yt_dlp_options": {"socket_timeot": 3}}, "'socket_timeot'.*'socket_timeout'"),
        ({"yt_dlp_options": {"cookiefile": "x"}}, "an option of its own: cookies=…"),
        ({"yt_dlp_options": ["x"]}, "yt_dlp_options: a list"),
        ({"short_side": 0}, "short_side: 0 .*at least 16"),
        ({"audio": "yes"}, "audio: 'yes'"),
        ({"patience_seconds": -1}, "patience_seconds: -1"),
    ],
)
def test_a_bad_option(load: Load, options: dict[str, Any], word: str) -> None:
    with pytest.raises(OptionError, match=word) as caught:
        load("train", max_samples=2, **options)
    assert "s3cret" not in str(caught.value)


def test_a_cookie_file_without_cookies(load: Load, tmp_path: Path) -> None:
    file = tmp_path / "cookies.txt"
    file.write_text("# Netscape HTTP Cookie File\n")
    with pytest.raises(OptionError, match="holds no cookie"):
        load("train", max_samples=2, cookies=str(file))


def test_nothing_can_be_had(load: Load, youtube: Replica) -> None:
    youtube.videos.clear()
    with pytest.raises(NoClipsError, match="youtube_gone"):
        load("train", classes=CLASS, source="youtube", max_samples=2)


def test_secrets_are_not_shown(load: Load, tmp_path: Path) -> None:
    config = kinetics600.Kinetics600Config(
        name="train",
        proxy="http://user:s3cret@example.org",
        cookies="/s3cret",
        mirror_options={"secret": "s3cret"},
        yt_dlp_options={"http_headers": {"Authorization": "s3cret"}},
    )
    assert "s3cret" not in repr(config)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dead=st.sets(st.integers(0, 4)), wanted=st.integers(1, 5), shuffle=st.booleans())
def test_whatever_is_gone_the_same_call_gives_the_same_clips_and_asks_nobody_again(
    load: Load,
    youtube: Replica,
    miniature: Miniature,
    tmp_path_factory: pytest.TempPathFactory,
    dead: set[int],
    wanted: int,
    shuffle: bool,
) -> None:
    listed = sorted(miniature.clips["train"][CLASS])
    for number, name in enumerate(listed):
        alive = good_video(96, 64, 5, seconds=600)
        youtube.videos[name[:11]] = FAILURES["private"] if number in dead else alive
    root = tmp_path_factory.mktemp("store")
    options = {
        "classes": CLASS,
        "max_samples": wanted,
        "shuffle": shuffle,
        "on_missing": "raise",
        "data_dir": str(root / "clips"),
    }
    ds = load("train", cache_dir=str(root / "one"), **options)["train"]
    alive_names = {name for number, name in enumerate(listed) if number not in dead}
    assert len(ds) == wanted
    given_by = dict(zip(names(ds), ds["source"], strict=True))
    assert all((source == "youtube") == (name in alive_names) for name, source in given_by.items())
    if wanted <= len(alive_names):
        assert set(given_by.values()) == {"youtube"}
    youtube.requests.clear()
    again = load("train", cache_dir=str(root / "two"), **options)["train"]
    assert names(again) == names(ds)
    assert youtube.requests == []


@pytest.mark.parametrize("read_before", [True, False])
def test_clips_that_the_host_s_list_does_not_name_are_chosen_too(
    read_before: bool, load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    """As on the host: five are in the tarball, and the list names none of them."""
    if read_before:
        load("validation", classes=MACOS, source="cvdf")
    good = miniature.clips["validation"][MACOS]
    for limits in ({"max_samples": 3}, {"max_samples": 3, "shuffle": True}, {"max_per_class": 5}):
        options = {"classes": MACOS, "source": "cvdf", **limits}
        ds = load("validation", **options)["validation"]
        names = {os.path.basename(row["video"]["path"]) for row in ds}
        assert len(names) == max(v for v in limits.values() if v is not True)
        assert names <= good.keys()
        stream = load("validation", streaming=True, **options)["validation"]
        assert {os.path.basename(row["video"]["path"]) for row in stream} == names
        request = kinetics600.make_request(
            "validation", mirror=str(miniature.root), data_dir=folders["data_dir"], **options
        )
        forecast = forecast_split(request, "validation")
        assert (forecast.complete, forecast.here_clips) == (True, len(names))
        assert len(metadata_rows(request, "validation")) == len(names)
    assert len(load("validation", classes=MACOS, max_samples=10**6)["validation"]) == 5


def test_a_clip_of_the_user_s_own_is_among_those_to_choose_from(
    load: Load, folders: dict[str, Any]
) -> None:
    own = Path(folders["data_dir"], "train", CLASS, "mineownclip_000000_000010.mp4")
    own.parent.mkdir(parents=True)
    own.write_bytes(make_clip(77))
    for limits in ({"max_samples": 1}, {"max_per_class": 1}):
        (row,) = load("train", classes=CLASS, **limits)["train"]
        assert (os.path.basename(row["video"]["path"]), row["source"]) == (own.name, "local")


def test_a_clip_of_another_mirror_is_asked_for_anew_and_is_youtube_s_then(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    load("train", classes=CLASS, source="cvdf")
    with web_server(miniature.root.parent) as server:
        options = {"classes": CLASS, "max_samples": 2, "source": "youtube"}
        ds = load("train", mirror=f"{server.url}/600", **options)["train"]
    assert set(ds["source"]) == {"youtube"}
    sources = Counter(load("train", classes=CLASS)["train"]["source"])
    assert sources == {"youtube": 2, "cvdf": 3}

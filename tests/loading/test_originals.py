"""Cuts from YouTube and the tarballs' originals in one store, and what a user put there himself."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k600.miniature import Miniature, make_clip
from tests.conftest import Load, contents, expected
from tests.youtube_replica import Replica, youtube_replica
from tests.youtube_videos import good_video

CLASS = "zumba"
FORCE = {"download_mode": "force_redownload"}

pytestmark = pytest.mark.usefixtures("dear_tarballs")


@pytest.fixture
def youtube(own_miniature: Miniature) -> Iterator[Replica]:
    with youtube_replica() as replica:
        for name in own_miniature.clips["train"][CLASS]:
            replica.videos[name[:11]] = good_video(96, 64, 5, seconds=600)
        yield replica


@pytest.fixture
def load(load: Load, own_miniature: Miniature, youtube: Replica) -> Load:
    """Loads train clips of one class, from tarballs or YouTube."""

    def of_class(**options: Any) -> Any:
        defaults: dict[str, Any] = {
            "classes": CLASS,
            "on_missing": "skip",
            "mirror": str(own_miniature.root),
            "proxy": youtube.url,
            "yt_dlp_options": {"nocheckcertificate": True},
            "patience_seconds": 0,
            "requests_per_hour": 10_000_000,
        }
        return load("train", **{**defaults, **options})["train"]

    return of_class


@pytest.fixture
def wanted(own_miniature: Miniature) -> dict[str, bytes]:
    return {key: data for key, data in expected(own_miniature, "train").items() if CLASS in key}


@pytest.fixture
def mine(folders: dict[str, Any], wanted: dict[str, bytes]) -> Path:
    """A clip that the user put there, under the name of the first, but another."""
    path = Path(folders["data_dir"], sorted(wanted)[0])
    path.parent.mkdir(parents=True)
    path.write_bytes(make_clip(77))
    return path


def sources(rows: Any) -> Counter[str]:
    return Counter(rows["source"])


@pytest.mark.parametrize("whole", [{}, {"classes": None}, {"source": "cvdf"}, FORCE])
def test_a_tarball_that_is_read_replaces_cuts_from_youtube(
    whole: dict[str, Any], load: Load, folders: dict[str, Any], wanted: dict[str, bytes]
) -> None:
    assert sources(load(max_samples=2)) == {"youtube": 2}
    rows = load(**whole)
    assert set(rows["source"]) == {"cvdf"}
    assert contents(folders["data_dir"]).items() >= wanted.items()


def test_a_class_that_is_all_cuts_is_read_where_the_tarballs_are_asked_for(
    load: Load, folders: dict[str, Any], wanted: dict[str, bytes]
) -> None:
    load(source="youtube")
    assert sources(load()) == {"youtube": 5}  # all are there, so nothing is fetched
    assert sources(load(source="cvdf")) == {"cvdf": 5}
    assert contents(folders["data_dir"]) == wanted


def test_a_cut_that_came_after_the_tarball_was_read_gives_way_to_the_original(
    load: Load, folders: dict[str, Any], wanted: dict[str, bytes]
) -> None:
    load()
    Path(folders["data_dir"], sorted(wanted)[1]).unlink()
    load(source="youtube")
    assert sources(load()) == {"cvdf": 4, "youtube": 1}
    assert sources(load(source="cvdf")) == {"cvdf": 5}
    assert contents(folders["data_dir"]) == wanted


def test_a_damaged_tarball_takes_no_cut_away(
    load: Load, own_miniature: Miniature, folders: dict[str, Any]
) -> None:
    load(max_samples=2)
    before = contents(folders["data_dir"])
    path = own_miniature.root / f"train/{CLASS}.tar.gz"
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    for _ in range(3):
        assert sources(load()) == {"youtube": 2}
    assert contents(folders["data_dir"]) == before


def test_a_forced_download_replaces_cuts_originals_and_nothing_of_a_user_s(
    load: Load, folders: dict[str, Any], mine: Path, wanted: dict[str, bytes]
) -> None:
    load(max_samples=3)
    load(source="cvdf")
    key = sorted(wanted)[4]
    broken = Path(folders["data_dir"], key)
    broken.write_bytes(wanted[key][:-1] + b"?")  # as a disk may have it
    assert sources(load(**FORCE)) == {"local": 1, "cvdf": 4}
    there = contents(folders["data_dir"])
    assert there.pop(mine.relative_to(folders["data_dir"]).as_posix()) == make_clip(77)
    assert there.items() <= wanted.items()
    assert len(there) == 4


@pytest.mark.parametrize("source", ["auto", "cvdf", "youtube"])
def test_a_few_clips_by_force_leave_a_user_s_clip_alone(
    source: str, load: Load, mine: Path, youtube: Replica
) -> None:
    load(max_samples=3, source=source)
    youtube.requests.clear()
    assert sources(load(max_samples=3, source=source, **FORCE))["local"] == 1
    assert mine.read_bytes() == make_clip(77)
    assert youtube.count("/watch") == (0 if source == "cvdf" else 2)


def test_a_few_originals_by_force_come_from_their_tarball_again(
    load: Load, folders: dict[str, Any], wanted: dict[str, bytes], youtube: Replica
) -> None:
    load()
    youtube.requests.clear()
    inodes = {key: os.stat(Path(folders["data_dir"], key)).st_ino for key in wanted}
    assert sources(load(max_samples=3, **FORCE)) == {"cvdf": 3}
    assert youtube.requests == []
    assert contents(folders["data_dir"]) == wanted
    now = {key: os.stat(Path(folders["data_dir"], key)).st_ino for key in wanted}
    assert sum(now[key] != inodes[key] for key in wanted) == 3

"""SIGKILL at any moment, and what the same call makes of what is left."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import kinetics600
from k600.dataset.clip import Tarball
from k600.miniature import Miniature, make_miniature
from tests.conftest import contents, expected
from tests.faults.host import faulty_host
from tests.faults.jobs import Job, Jobs
from tests.faults.trial import Note, assert_intact, assert_whole, visible
from tests.places import make_plain, places_in, write_index
from tests.youtube_replica import youtube_replica
from tests.youtube_videos import good_video

HOW_OFTEN = [6, pytest.param(150, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
WORKERS = 2
SEED = 600


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    """Four tarballs of 40 clips."""
    folder = tmp_path_factory.mktemp("large")
    classes = ["surfing water", "tie dying", "yoga", "zumba"]
    return make_miniature(folder, classes=classes, clips_per_class=40, flaws=False)


@dataclass
class Killer:
    """Kills processes at moments that a seed gives."""

    chance: random.Random
    most_seconds: float = 0
    """As long as the job takes when nobody disturbs it."""
    kills: int = 0

    def kill(self, job: Job, look: Callable[[], object]) -> None:
        """Look at the disk until the moment has come, and kill."""
        moment = time.monotonic() + self.chance.uniform(0, self.most_seconds)
        while time.monotonic() < moment:
            look()
        job.kill()
        status, _ = job.ends()
        self.kills += status != 0
        look()


def undisturbed(forge: Jobs, name: str, **options: Any) -> tuple[Any, float]:
    began = time.monotonic()
    return forge.run(name, **options), time.monotonic() - began


def places(tmp_path: Path, name: str) -> dict[str, str]:
    return {"data_dir": str(tmp_path / name / "clips"), "cache_dir": str(tmp_path / name / "cache")}


def tree(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder that was published to."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("times", HOW_OFTEN)
def test_a_load_of_tarballs(
    times: int, forge: Jobs, large: Miniature, tmp_path: Path, note: Note
) -> None:
    wanted = expected(large, "train")
    sizes = [path.stat().st_size for path in (large.root / "train").glob("*.tar.gz")]
    in_flight = sum(sorted(sizes)[-WORKERS:])
    bytes_twice = 0
    with faulty_host(large.root.parent) as host:
        options: dict[str, Any] = {"split": "train", "num_workers": WORKERS}
        options |= host.mirror_of("http")
        rows, seconds = undisturbed(forge, "load", **options, **places(tmp_path, "undisturbed"))
        killer, round_number = Killer(random.Random(SEED), seconds), 0
        while killer.kills < times:
            mine = places(tmp_path, f"killed-{round_number}")
            round_number += 1
            host.sent_bytes, before = 0, killer.kills
            look = partial(assert_intact, mine["data_dir"], wanted)
            for _ in range(min(times, 3)):
                killer.kill(forge.start("load", **options, **mine), look)
            assert forge.run("load", **options, **mine) == rows
            assert_whole(mine["data_dir"], wanted)
            again = host.sent_bytes - sum(sizes)
            questions = 10 * len(sizes)  # a byte each: are ranges served?
            assert again <= (killer.kills - before) * in_flight + questions
            bytes_twice += max(again, 0)
    note("SIGKILL in a load of tarballs", times=killer.kills, recovered=killer.kills,
         bytes_twice=bytes_twice)  # fmt: skip


@pytest.mark.parametrize("times", [2, *HOW_OFTEN[1:]])
def test_a_load_of_clips_by_one_request_each(
    times: int, forge: Jobs, large: Miniature, tmp_path: Path, note: Note
) -> None:
    root = tmp_path / "600"
    shutil.copytree(large.root, root)
    make_plain(root)
    with faulty_host(tmp_path) as host:
        options: dict[str, Any] = {"split": "train", **host.mirror_of("http")}
        request = kinetics600.make_request(**options, data_dir=str(tmp_path / "clips"))
        tarballs = [Tarball("train", label) for label in large.clips["train"]]
        found = [each for t in tarballs for each in places_in(request, t, root).items()]
        options |= {"index": write_index(found, tmp_path / "index.parquet"), "max_per_class": 30}
        calm = places(tmp_path, "undisturbed")
        rows, seconds = undisturbed(forge, "load", **options, **calm)
        wanted, sent = contents(calm["data_dir"]), host.sent_bytes
        assert len(wanted) == 4 * 30

        killer, round_number, more = Killer(random.Random(SEED), seconds), 0, 0
        while killer.kills < times:
            mine = places(tmp_path, f"killed-{round_number}")
            round_number += 1
            host.sent_bytes, before = 0, killer.kills
            look = partial(assert_intact, mine["data_dir"], wanted)
            killer.kill(forge.start("load", **options, **mine), look)
            assert forge.run("load", **options, **mine) == rows
            assert_whole(mine["data_dir"], wanted)
            assert host.sent_bytes <= (1 + killer.kills - before) * sent
            more += host.sent_bytes - sent
    note("SIGKILL in a load of clips by one request each", times=killer.kills,
         recovered=killer.kills, bytes_twice=more)  # fmt: skip


@pytest.mark.parametrize("times", [2, *HOW_OFTEN[1:]])
def test_a_load_that_encodes_clips_anew(
    times: int, forge: Jobs, origin: Miniature, tmp_path: Path, note: Note
) -> None:
    options: dict[str, Any] = {"split": "train", "classes": "zumba", "mirror": str(origin.root)}
    options |= {"short_side": 64, "encode": "training", "num_workers": WORKERS}

    def store_in(folder: dict[str, str]) -> Path:
        return kinetics600.make_request(**options, data_dir=folder["data_dir"]).store.root

    calm = places(tmp_path, "undisturbed")
    rows, seconds = undisturbed(forge, "load", **options, **calm)
    wanted = contents(store_in(calm))
    assert wanted.keys() == {key for key in expected(origin, "train") if "/zumba/" in key}

    killer, round_number = Killer(random.Random(SEED), seconds), 0
    while killer.kills < times:
        mine = places(tmp_path, f"killed-{round_number}")
        round_number += 1
        look = partial(assert_intact, store_in(mine), wanted)
        killer.kill(forge.start("load", **options, **mine), look)
        assert forge.run("load", **options, **mine) == rows
        assert_whole(store_in(mine), wanted)
        assert not [*(store_in(mine) / ".kinetics600/incoming").glob("*")]
    note("SIGKILL in a load that encodes", times=killer.kills, recovered=killer.kills)


@pytest.mark.parametrize("times", [2, *HOW_OFTEN[1:]])
def test_a_load_from_youtube(
    times: int, forge: Jobs, origin: Miniature, tmp_path: Path, note: Note
) -> None:
    with youtube_replica() as youtube:
        for name in origin.clips["train"]["zumba"]:
            youtube.videos[name[:11]] = good_video(96, 64, 5, seconds=600)
        options: dict[str, Any] = {
            "split": "train",
            "classes": "zumba",
            "max_samples": 3,
            "source": "youtube",
            "mirror": str(origin.root),
            "proxy": youtube.url,
            "yt_dlp_options": {"nocheckcertificate": True},
            "requests_per_hour": 10_000_000,
            "num_workers": WORKERS,
        }
        calm = places(tmp_path, "undisturbed")
        rows, seconds = undisturbed(forge, "load", **options, **calm)
        wanted = contents(calm["data_dir"])
        assert len(wanted) == 3
        killer, round_number = Killer(random.Random(SEED), seconds), 0
        while killer.kills < times:
            mine = places(tmp_path, f"killed-{round_number}")
            round_number += 1
            look = partial(assert_intact, mine["data_dir"], wanted)
            for _ in range(min(times, 3)):
                killer.kill(forge.start("load", **options, **mine), look)
            assert forge.run("load", **options, **mine) == rows
            assert_whole(mine["data_dir"], wanted)
    note("SIGKILL in a load from YouTube", times=killer.kills, recovered=killer.kills)


@pytest.mark.parametrize("times", [3, *HOW_OFTEN[1:]])
def test_publishing_into_a_folder(
    times: int, forge: Jobs, large: Miniature, tmp_path: Path, note: Note
) -> None:
    options: dict[str, Any] = {"split": "train", "mirror": str(large.root)}
    options["data_dir"] = str(tmp_path / "clips")
    calm = tmp_path / "undisturbed"
    _, seconds = undisturbed(forge, "publish", **options, to=str(calm))
    wanted = tree(calm)
    killer, round_number = Killer(random.Random(SEED), seconds), 0

    def look() -> None:
        for path in to.glob("data/*/*.parquet"):
            assert path.read_bytes() == wanted[path.relative_to(to).as_posix()]

    while killer.kills < times:
        to = tmp_path / f"killed-{round_number}"
        round_number += 1
        for _ in range(min(times, 3)):
            killer.kill(forge.start("publish", **options, to=str(to)), look)
        forge.run("publish", **options, to=str(to))
        assert tree(to) == wanted
    note("SIGKILL in publishing", times=killer.kills, recovered=killer.kills)


@pytest.mark.parametrize("times", [3, *HOW_OFTEN[1:]])
def test_a_verification_that_repairs(
    times: int, forge: Jobs, origin: Miniature, tmp_path: Path, note: Note
) -> None:
    """A clip has lost some of its pictures on disk."""
    wanted = expected(origin, "train")
    options: dict[str, Any] = {"split": "train", "mirror": str(origin.root)}
    killer, round_number = Killer(random.Random(SEED)), 0
    spoilt = sorted(wanted)[3]

    def spoil(folders: Mapping[str, str]) -> None:
        forge.run("load", **options, **folders)
        path = Path(folders["data_dir"], spoilt)
        data = bytearray(path.read_bytes())
        for at in range(len(data) // 2, len(data) // 2 + 400):
            data[at] ^= 0x5A
        path.write_bytes(data)

    def look() -> None:
        there = visible(mine["data_dir"])
        assert {k: v for k, v in there.items() if k != spoilt}.items() <= wanted.items()

    calm = places(tmp_path, "undisturbed")
    spoil(calm)
    _, killer.most_seconds = undisturbed(forge, "verify", **options, data_dir=calm["data_dir"])
    assert contents(calm["data_dir"]) == wanted
    while killer.kills < times:
        mine = places(tmp_path, f"killed-{round_number}")
        round_number += 1
        spoil(mine)
        for _ in range(min(times, 3)):
            killer.kill(forge.start("verify", **options, data_dir=mine["data_dir"]), look)
        forge.run("verify", **options, data_dir=mine["data_dir"])
        assert_whole(mine["data_dir"], wanted)
    note("SIGKILL in a verification that repairs", times=killer.kills, recovered=killer.kills)

"""The power fails at any moment, and what the same call makes of what is left."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from k600.miniature import Miniature
from tests.conftest import expected
from tests.faults.jobs import Jobs
from tests.faults.power import Loss, Recorder, Recording, losses, recorder
from tests.faults.test_kill import tree
from tests.faults.trial import Note, assert_whole, visible
from tests.youtube_replica import youtube_replica
from tests.youtube_videos import good_video

__all__ = ["recorder"]

SEED = 600
MOMENTS = [2, pytest.param(40, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
"""Moments for each way to lose, beside the last: after the job has said that all is done."""


def failures(recording: Recording, count: int) -> Iterator[tuple[int, str, Loss]]:
    """Yield moments and ways to lose; at a name that was just given most is at stake."""
    events = recording.events()
    named = [n + 1 for n, event in enumerate(events) if event[0] == "rename"]
    chance = random.Random(SEED)
    for name, loss in losses(SEED).items():
        moments = chance.sample(range(1, len(events)), count) + chance.sample(named, 1)
        for moment in (*moments, len(events)):
            yield moment, name, loss


def lasting(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return files without locks, whose bytes say nothing."""
    return {path: data for path, data in files.items() if not path.endswith(".lock")}


def assert_flushed(recording: Recording) -> None:
    """Check that what a job leaves at its end is what any power loss leaves of it."""
    wanted = lasting(tree(recording.root))
    for name, loss in losses(SEED).items():
        recording.restore(len(recording.events()), loss)
        assert lasting(tree(recording.root)) == wanted, name


@pytest.mark.parametrize("moments", MOMENTS)
def test_a_load(
    moments: int, recorder: Recorder, forge: Jobs, origin: Miniature, tmp_path: Path, note: Note
) -> None:
    root, wanted = tmp_path / "home", expected(origin, "train")
    options: dict[str, Any] = {"split": "train", "mirror": str(origin.root), "num_workers": 2}
    options |= {"data_dir": str(root / "clips"), "cache_dir": str(root / "cache")}
    recording = recorder.record(root, "load", **options)
    rows = forge.run("load", **options)
    times = 0
    for moment, _, loss in failures(recording, moments):
        recording.restore(moment, loss)
        assert forge.run("load", **options) == rows
        assert_whole(root / "clips", wanted)
        times += 1
    note("power loss in a load", times=times, recovered=times)


def test_a_load_that_has_ended_is_on_the_disk(
    recorder: Recorder, origin: Miniature, tmp_path: Path
) -> None:
    root = tmp_path / "home"
    (root / "cache").mkdir(parents=True)  # `datasets` would make it
    recording = recorder.record(
        root,
        "load",
        split="train",
        mirror=str(origin.root),
        data_dir=str(root / "clips"),
        cache_dir=str(root / "cache"),
    )
    assert visible(root / "clips") == expected(origin, "train")
    assert_flushed(recording)


def test_a_clip_from_youtube_is_on_the_disk(
    recorder: Recorder, origin: Miniature, tmp_path: Path
) -> None:
    root = tmp_path / "clips"
    with youtube_replica() as youtube:
        for name in origin.clips["train"]["zumba"]:
            youtube.videos[name[:11]] = good_video(96, 64, 5, seconds=600)
        recording = recorder.record(
            root,
            "load",
            split="train",
            classes="zumba",
            max_samples=2,
            source="youtube",
            mirror=str(origin.root),
            proxy=youtube.url,
            yt_dlp_options={"nocheckcertificate": True},
            requests_per_hour=10_000_000,
            data_dir=str(root),
            cache_dir=str(tmp_path / "cache"),
        )
    assert len(visible(root)) == 2
    assert_flushed(recording)


@pytest.mark.parametrize("moments", MOMENTS)
@pytest.mark.parametrize("make", ["publish", "publish_metadata", "fleet", "fleet_of_tars"])
def test_publishing_into_a_folder(
    moments: int,
    make: str,
    recorder: Recorder,
    forge: Jobs,
    origin: Miniature,
    tmp_path: Path,
    note: Note,
) -> None:
    root = tmp_path / "published"
    options: dict[str, Any] = {"split": "train", "mirror": str(origin.root), "to": str(root)}
    options["data_dir"] = str(tmp_path / "clips")
    recording = recorder.record(root, make, **options)
    wanted = tree(root)
    assert_flushed(recording)
    times = 0
    for moment, name, loss in failures(recording, moments):
        recording.restore(moment, loss)
        forge.run(make, **options)
        assert tree(root) == wanted, (moment, name)
        times += 1
    assert len(datasets.load_dataset(str(root), "train", split="train")) == 48
    note(f"power loss in {make}", times=times, recovered=times)


@pytest.mark.parametrize("make", ["manifest", "gallery"])
def test_a_file_that_is_replaced(
    make: str, recorder: Recorder, forge: Jobs, origin: Miniature, tmp_path: Path, note: Note
) -> None:
    """It is the old one or the new one, whole, at every moment."""
    root = tmp_path / "files"
    file = root / ("clips.csv" if make == "manifest" else "page.html")
    options: dict[str, Any] = {"mirror": str(origin.root), "data_dir": str(tmp_path / "clips")}
    options |= {"cache_dir": str(tmp_path / "cache"), "path": str(file)}
    root.mkdir()
    forge.run(make, split="train", classes="zumba", **options)
    old = file.read_bytes()
    recording = recorder.record(root, make, split="train", **options)
    new = file.read_bytes()
    assert new != old
    assert_flushed(recording)
    times = 0
    for moment in range(len(recording.events())):
        for loss in losses(moment).values():
            recording.restore(moment, loss)
            assert file.read_bytes() in (old, new)
            times += 1
    forge.run(make, split="train", **options)
    assert file.read_bytes() == new
    note(f"power loss in writing a {make}", times=times, recovered=times)


def test_what_is_not_flushed_is_lost(recorder: Recorder, tmp_path: Path) -> None:
    """The recording itself: of files written without care, every way to lose leaves less."""
    root = tmp_path / "careless"
    recording = recorder.record(root, "careless", folder=str(root))
    end = len(recording.events())
    left: dict[str, dict[str, bytes]] = {}
    for name, loss in losses(SEED).items():
        recording.restore(end, loss)
        left[name] = tree(root)
    assert left["names without bytes"] == {"named": b"", "flushed": b"kept"}
    assert left["names with zeros"] == {"named": bytes(5), "flushed": b"kept"}
    assert left["neither"] == {}

"""A plan says what the download that it plans then does."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kinetics600
from k600.loading.estimate import Forecast, forecast_split
from k600.loading.fetch import fetch_split
from k600.loading.outcome import Outcome
from k600.miniature import CLASSES, Miniature, make_tarball
from tests.servers import web_server


@pytest.fixture
def options(miniature: Miniature, tmp_path: Path) -> dict[str, Any]:
    return {
        "mirror": str(miniature.root),
        "test_labels": str(miniature.test_labels),
        "data_dir": str(tmp_path / "clips"),
        "source": "cvdf",
    }


def both(split: str, **options: Any) -> tuple[Forecast, Outcome]:
    """Plan, then download."""
    request = kinetics600.make_request(split, **options)
    plan = forecast_split(request, split)
    return plan, fetch_split(request, split)


def test_clips_of_which_the_list_does_not_know_are_asked_for_once_they_were_seen(
    options: dict[str, Any],
) -> None:
    both("validation", **options)
    plan, done = both("validation", **options)
    assert (plan.here_clips, plan.wanted_clips) == (30, 34)
    assert (done.clips, done.clips + len(done.missing)) == (30, 34)
    assert (plan.fetches_nothing, plan.missing_clips) == (True, 4)


def test_bad_clips_are_asked_for_again_also_among_a_few(options: dict[str, Any]) -> None:
    few = {**options, "classes": CLASSES[0], "max_samples": 7}
    plan, done = both("validation", **few)
    assert (plan.wanted_clips, done.asked) == (7, 7)
    plan, done = both("validation", **few)
    assert (plan.prices["cvdf"].count, done.fetched["cvdf"], plan.missing_clips) == (0, 0, 2)
    plan, done = both("validation", **few, retry_errors=True)
    assert (plan.prices["cvdf"].count, done.fetched["cvdf"]) == (1, 1)


def test_more_clips_than_there_are_is_more_than_can_be_had(options: dict[str, Any]) -> None:
    few = {**options, "classes": CLASSES[1], "max_samples": 9}
    both("train", **few)
    plan, done = both("train", **few)
    assert (plan.here_clips, plan.wanted_clips, plan.fetches_nothing) == (5, 9, True)
    assert (done.clips, done.asked, done.is_whole, done.may_bring_more) == (5, 9, False, False)


def test_test_clips_that_no_list_places_take_one_tarball_or_more(
    options: dict[str, Any], miniature: Miniature, tmp_path: Path
) -> None:
    plan, done = both("test", **options, max_samples=12)
    assert (plan.prices["cvdf"].count, plan.open_ended, plan.at_most) == (1, True, False)
    assert done.fetched["cvdf"] == 2
    name = next(name for name, label in miniature.labels.items() if label is not None)
    with open(tmp_path / "chosen.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("split", "label", "youtube_id", "time_start", "time_end"))
        times = int(name[12:18]), int(name[19:25])
        writer.writerow(("test", miniature.labels[name], name[:11], *times))
    options["data_dir"] = str(tmp_path / "other")
    plan, done = both("test", **options, manifest=str(tmp_path / "chosen.csv"))
    assert (plan.prices["cvdf"].count, plan.unreachable, plan.open_ended) == (1, {}, True)
    assert done.clips == 1


@pytest.mark.parametrize("more", [6, 9])
def test_more_test_clips_than_the_last_time_read_each_tarball_once(
    options: dict[str, Any], more: int
) -> None:
    both("test", **options, max_samples=4)
    plan, done = both("test", **options, max_samples=more)
    assert (plan.prices["cvdf"].count, plan.open_ended) == (1, True)
    assert done.clips == more
    assert done.fetched["cvdf"] == (1 if more <= 6 else 2)


@pytest.fixture
def flawed(options: dict[str, Any], miniature: Miniature, tmp_path: Path) -> dict[str, Any]:
    """Options for a host with two bad clips in each test tarball."""
    root = shutil.copytree(miniature.root, tmp_path / "600")
    for tarball, clips in miniature.clips["test"].items():
        first, second = sorted(clips)[:2]
        bad = {**clips, first: b"", second: clips[second][:400]}
        (root / f"test/{tarball}.tar.gz").write_bytes(make_tarball(bad))
    return {**options, "mirror": str(root)}


def test_a_plan_names_what_a_whole_test_split_was_proved_not_to_hold(
    flawed: dict[str, Any],
) -> None:
    both("test", **flawed)
    plan, done = both("test", **flawed)
    assert (done.clips, len(done.missing)) == (8, 4)
    assert (plan.here_clips, plan.wanted_clips, plan.missing_clips) == (8, 12, 4)
    assert not plan.complete


@pytest.mark.parametrize("limits", [{"max_samples": 12}, {"max_samples": 12, "shuffle": True}])
def test_bad_test_clips_are_asked_for_again_also_among_a_few(
    flawed: dict[str, Any], miniature: Miniature, limits: dict[str, Any]
) -> None:
    few = {**flawed, **limits}
    _, done = both("test", **few)
    assert done.clips == 8
    plan, done = both("test", **few, retry_errors=True)
    assert (plan.prices["cvdf"].count, done.fetched["cvdf"], done.clips) == (1, 2, 8)

    shutil.copytree(miniature.root, few["mirror"], dirs_exist_ok=True)  # the host mends them
    plan, done = both("test", **few)
    assert (plan.prices["cvdf"].count, done.clips) == (0, 8)
    plan, done = both("test", **few, retry_errors=True)
    assert (plan.prices["cvdf"].count, plan.open_ended) == (1, True)
    assert (done.fetched["cvdf"], done.clips) == (2, 12)


@pytest.mark.parametrize("more", [{}, {"max_samples": 9}, {"classes": CLASSES[0]}])
def test_without_a_network_nobody_is_asked(
    options: dict[str, Any], miniature: Miniature, more: dict[str, Any]
) -> None:
    with web_server(miniature.root.parent) as server:
        options["mirror"] = f"{server.url}/600"
        request = kinetics600.make_request("train", **options, **more)
        plan = forecast_split(replace(request, offline=True), "train")
        assert not server.requests
    assert (plan.offline, plan.complete, plan.here_clips) == (True, False, 0)

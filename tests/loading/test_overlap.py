"""Clips of validation and test whose videos are in train: counted, and left out if asked for."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import kinetics600
from k600.dataset.clip import video_of
from k600.errors import ListError, OfflineError, OptionError
from k600.miniature import Miniature
from tests.conftest import Command, Load, contents, expected

IN_TRAIN = ("-aFirstHyph", "__twoUnders")


@pytest.fixture
def host(own_miniature: Miniature) -> Miniature:
    """A host whose list of train has two videos of validation, and one of test."""
    first, *_ = sorted(own_miniature.clips["test"]["part_0"])
    list_train(own_miniature, [*IN_TRAIN, video_of(first)])
    return own_miniature


def list_train(host: Miniature, videos: Iterable[str]) -> None:
    """Write a list of train with a clip of each video, in the host's own form."""
    names = "".join(f"{video}_000300_000310.mp4\n" for video in videos)
    text = f"train:\nsurfing water\nzumba\n\ntrain/surfing water:\n{names}\ntrain/zumba:\n\n"
    (host.root / "annotations/train.txt").write_text(text)


def without_train(host: Miniature, split: str) -> list[str]:
    """Return the file names of a split's clips whose videos are not in that list."""
    listed = (host.root / "annotations/train.txt").read_text()
    names = sorted(Path(path).name for path in expected(host, split))
    return [name for name in names if video_of(name) not in listed]


def names_of(rows: Any) -> list[str]:
    return sorted(Path(row["video"]["path"]).name for row in rows)


@pytest.fixture
def options(host: Miniature) -> dict[str, Any]:
    return {
        "mirror": str(host.root),
        "test_labels": str(host.test_labels),
        "exclude_overlap": True,
    }


@pytest.mark.parametrize("split", ["validation", "test"])
def test_they_are_neither_fetched_nor_missing(
    split: str,
    host: Miniature,
    load: Load,
    options: dict[str, Any],
    folders: dict[str, Any],
    lines: pytest.LogCaptureFixture,
) -> None:
    left = without_train(host, split)
    assert 0 < len(left) < len(expected(host, split))
    assert names_of(load(split, **options)[split]) == left
    assert sorted(Path(path).name for path in contents(folders["data_dir"])) == left
    assert "none missing" in lines.text

    lines.clear()
    other = {**options, "cache_dir": f"{folders['cache_dir']}-2"}
    assert names_of(load(split, **other)[split]) == left
    assert "nothing fetched; none missing" in lines.text

    everything = {**options, "exclude_overlap": False}
    assert len(load(split, **everything)[split]) == len(expected(host, split))
    assert contents(folders["data_dir"]) == expected(host, split)
    assert names_of(load(split, **options)[split]) == left


@pytest.mark.parametrize("limits", [{"max_samples": 4}, {"max_per_class": 2, "shuffle": True}])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_limits_choose_among_the_others(
    split: str, limits: dict[str, Any], host: Miniature, load: Load, options: dict[str, Any]
) -> None:
    found = names_of(load(split, source="cvdf", **options, **limits)[split])
    left = without_train(host, split)
    assert len(found) == min(4, len(left))  # two classes, of two each
    assert set(found) <= {*left}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_stream_leaves_them_out_from_the_host_and_from_the_store(
    split: str, host: Miniature, load: Load, options: dict[str, Any]
) -> None:
    left = without_train(host, split)
    assert names_of(load(split, streaming=True, **options)[split]) == left
    load(split, **{**options, "exclude_overlap": False})
    assert names_of(load(split, streaming=True, **options)[split]) == left


def test_train_itself_is_whole(host: Miniature, load: Load, options: dict[str, Any]) -> None:
    assert len(load("train", **options)["train"]) == len(expected(host, "train"))


def test_the_kept_list_serves_offline_and_without_one_it_says_so(
    host: Miniature, load: Load, options: dict[str, Any], folders: dict[str, Any]
) -> None:
    load("validation", **{**options, "exclude_overlap": False})
    with pytest.raises(OfflineError, match="is not in .* Call once with a network"):
        load("validation", source="local", **options)

    load("validation", **options)
    offline = {**options, "cache_dir": f"{folders['cache_dir']}-2", "source": "local"}
    found = load("validation", **offline)["validation"]
    assert names_of(found) == without_train(host, "validation")


def test_a_mirror_without_that_list_is_named(
    host: Miniature, load: Load, options: dict[str, Any]
) -> None:
    (host.root / "annotations/train.txt").unlink()
    with pytest.raises(ListError, match=r"exclude_overlap: .* has no 'annotations/train.txt'"):
        load("validation", **options)


def test_where_it_cannot_be_honoured_it_is_refused(
    load: Load, options: dict[str, Any], command: Command, tmp_path: Path, folders: dict[str, Any]
) -> None:
    rows = load("validation", **options)["validation"]
    manifest = tmp_path / "manifest.csv"
    kinetics600.save_manifest(rows, manifest)
    with pytest.raises(OptionError, match="leave out .*exclude_overlap"):
        load("validation", manifest=str(manifest), **options)
    with pytest.raises(OptionError, match="exclude_overlap: True is not allowed with shuffle"):
        load("validation", streaming=True, shuffle_clips=True, **options)

    data_dir = {**options, "data_dir": folders["data_dir"]}
    with pytest.raises(OptionError, match="publish with manifest="):
        kinetics600.publish(str(tmp_path / "published"), "validation", **data_dir)
    with pytest.raises(OptionError, match="exclude_overlap"):
        kinetics600.build_index("validation", **data_dir)
    words = ("validation", "--exclude-overlap", "--mirror", options["mirror"])
    done = command("verify", *words, "--data-dir", folders["data_dir"])
    assert done.returncode == 2
    assert "--exclude-overlap" in done.stderr

    published = kinetics600.publish(
        str(tmp_path / "published"),
        "validation",
        manifest=str(manifest),
        mirror=options["mirror"],
        data_dir=folders["data_dir"],
    )
    assert published.splits[0].clips == len(rows)


def test_an_output_that_cannot_be_written_is_one_line(
    host: Miniature, command: Command, tmp_path: Path
) -> None:
    words = ("overlap", "--mirror", host.root, "--data-dir", tmp_path / "clips", "--out", tmp_path)
    done = command(*words)
    assert done.returncode == 1
    assert f"--out: '{tmp_path}' cannot be written (Is a directory)" in " ".join(
        done.stderr.split()
    )


def test_a_plan_counts_the_others(host: Miniature, command: Command, tmp_path: Path) -> None:
    words = ("--mirror", host.root, "--data-dir", tmp_path / "clips", "--exclude-overlap", "--json")
    (found,) = json.loads(command("plan", "validation", *words).stdout)
    assert found["wanted_clips"] == len(without_train(host, "validation"))
    command("download", "validation", *words)
    (found,) = json.loads(command("plan", "validation", *words).stdout)
    assert found["here_clips"] == found["wanted_clips"] == len(without_train(host, "validation"))


def test_the_command_counts_and_names_them(
    host: Miniature, command: Command, tmp_path: Path
) -> None:
    words = ("--mirror", host.root, "--data-dir", tmp_path / "clips")
    done = command("overlap", *words, "--out", tmp_path / "overlap.csv", "--json")
    found = json.loads(done.stdout)
    others = [
        path for path in expected(host, "validation") if video_of(Path(path).name) in IN_TRAIN
    ]
    assert found["in_train_clips"] == len(others) > 0
    assert found["in_train_time_clips"] == 0
    with open(tmp_path / "overlap.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert sorted(f"validation/{row['label']}/{row['file_name']}" for row in rows) == sorted(others)
    assert all("surfing water/" in row["train_clips"] for row in rows)

    shown = command("overlap", "test", *words, "--test-labels", host.test_labels)
    assert shown.returncode == 0
    assert "seconds in common" in shown.stdout
    assert command("overlap", "train", *words).returncode == 2

"""A selection frozen in a file: exactly these clips, elsewhere."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import datasets
import pytest

import kinetics600
from k600.errors import DiskFullError, IncompleteError, ManifestError, OptionError
from k600.miniature import MACOS, Miniature
from tests.conftest import Load, contents
from tests.servers import web_server

CLASS = "surfing water"


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, Any]:
    return {"data_dir": str(tmp_path / "other"), "cache_dir": str(tmp_path / "cache2")}


def names(rows: Any) -> list[str]:
    return [os.path.basename(row["video"]["path"]) for row in rows]


def few(load: Load, split: str = "train", **options: Any) -> datasets.Dataset:
    options = {"max_samples": 5, "shuffle": True, "seed": 9, "source": "cvdf", **options}
    return load(split, **options)[split]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_exactly_these_clips_load_elsewhere(
    load: Load, tmp_path: Path, elsewhere: dict[str, Any], split: str, suffix: str
) -> None:
    ds = few(load, split)
    path = kinetics600.save_manifest(ds, tmp_path / f"chosen{suffix}")
    again = load(split, manifest=path, on_missing="raise", **elsewhere)[split]
    assert names(again) == names(ds)
    assert again["label"] == ds["label"]
    for one, other in zip(ds, again, strict=True):
        assert Path(one["video"]["path"]).read_bytes() == Path(other["video"]["path"]).read_bytes()
    assert len(contents(elsewhere["data_dir"])) == len(ds)


def test_it_is_small_and_readable(load: Load, tmp_path: Path) -> None:
    ds = few(load)
    path = kinetics600.save_manifest(ds, tmp_path / "chosen.csv")
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["youtube_id"] for row in rows] == ds["youtube_id"]
    data = Path(ds[0]["video"]["path"]).read_bytes()
    assert rows[0]["sha256"] == hashlib.sha256(data).hexdigest()
    assert rows[0]["size_bytes"] == str(len(data))
    assert rows[0]["source"] == "cvdf"
    assert rows[0]["tarball"] == rows[0]["label"] == ds.features["label"].int2str(ds[0]["label"])


def test_it_takes_a_filtered_dataset_and_several_splits(
    load: Load, tmp_path: Path, elsewhere: dict[str, Any]
) -> None:
    loaded = load("all")
    kept = loaded.filter(lambda row: row["time_start"] == 0)
    path = kinetics600.save_manifest(kept, tmp_path / "chosen.parquet")
    again = load("all", manifest=path, on_missing="raise", **elsewhere)
    assert {split: sorted(names(ds)) for split, ds in again.items()} == {
        split: sorted(names(ds)) for split, ds in kept.items()
    }


def test_only_the_tarballs_it_names_are_read(
    load: Load, tmp_path: Path, elsewhere: dict[str, Any], miniature: Miniature
) -> None:
    ds = few(load, "test", max_samples=2)
    path = kinetics600.save_manifest(ds, tmp_path / "chosen.csv")
    with web_server(miniature.root.parent) as server:
        mirror = f"{server.url}/600"
        load("test", manifest=path, mirror=mirror, **elsewhere)
        read = {str(request) for request in server.requests if "part_" in str(request)}
        with open(path, newline="") as file:
            named = {row["tarball"] for row in csv.DictReader(file)}
        assert len(named) == 1
        assert read
        assert all(name in request for request in read for name in named)
        server.requests.clear()
        load("test", manifest=path, mirror=mirror, **elsewhere)
        assert server.requests == []


def test_it_streams(load: Load, tmp_path: Path, elsewhere: dict[str, Any]) -> None:
    ds = few(load)
    path = kinetics600.save_manifest(ds, tmp_path / "chosen.csv")
    stream = load("train", manifest=path, streaming=True, on_missing="raise", **elsewhere)["train"]
    assert {os.path.basename(row["video"]["path"]) for row in stream} == set(names(ds))


def test_a_clip_with_other_bytes_is_named(
    load: Load, tmp_path: Path, elsewhere: dict[str, Any], lines: pytest.LogCaptureFixture
) -> None:
    ds = few(load)
    path = Path(kinetics600.save_manifest(ds, tmp_path / "chosen.csv"))
    (row, *_) = csv.DictReader(path.read_text().splitlines())
    path.write_text(path.read_text().replace(row["sha256"], "0" * 64))
    again = load("train", manifest=str(path), **elsewhere)["train"]
    assert len(again) == 4
    assert "1  differs" in lines.text
    stream = load("train", manifest=str(path), streaming=True, **elsewhere)["train"]
    assert len(list(stream)) == 4
    with pytest.raises(IncompleteError, match="differs"):
        load("train", manifest=str(path), on_missing="raise", **elsewhere)


def test_a_clip_that_is_gone_from_the_tarball_is_named_and_not_replaced(
    load: Load,
    tmp_path: Path,
    elsewhere: dict[str, Any],
    own_miniature: Miniature,
    lines: pytest.LogCaptureFixture,
) -> None:
    ds = load("train", classes=CLASS, mirror=str(own_miniature.root))["train"]
    path = kinetics600.save_manifest(ds.select([0, 1]), tmp_path / "chosen.csv")
    (own_miniature.root / f"train/{CLASS}.tar.gz").unlink()
    loaded = load("train", classes="zumba", mirror=str(own_miniature.root), **elsewhere)
    assert len(loaded["train"]) == 5
    with pytest.raises(kinetics600.Kinetics600Error, match=f"{CLASS}.tar.gz"):
        load("train", manifest=path, mirror=str(own_miniature.root), **elsewhere)


def test_the_cache_knows_what_it_says_and_not_where_it_lies(load: Load, tmp_path: Path) -> None:
    ds = few(load)
    one = kinetics600.save_manifest(ds, tmp_path / "one.csv")
    two = kinetics600.save_manifest(ds, tmp_path / "two.parquet")
    three = kinetics600.save_manifest(ds.select([0]), tmp_path / "one.csv")
    assert one == three
    kinds = [
        kinetics600.Kinetics600(config_name="train", manifest=path).config_id
        for path in (two, three)
    ]
    assert kinds[0] != kinds[1]
    kinetics600.save_manifest(ds, tmp_path / "one.csv")
    again = kinetics600.Kinetics600(config_name="train", manifest=one).config_id
    assert again == kinds[0]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "names no clip"),
        ("a,b\n1,2\n", "has no column 'split', 'label', 'youtube_id'"),
        ("train,no such class,abcdefghijk,0,10", "row 1.*'no such class'"),
        ("train,zumba,short,0,10", "row 1.*is no clip's name"),
        ("train,zumba,../../../ab,0,10", "row 1.*is no clip's name"),
        ("val,zumba,abcdefghijk,0,10", "row 1.*split: 'val'"),
        ("train,,abcdefghijk,0,10", "row 1.*label: it is empty"),
        ("train,zumba,abcdefghijk,zero,10", "row 1"),
        ("train,zumba,abcdefghijk,0,10\ntrain,zumba,abcdefghijk,0,10", "twice"),
        ("validation,zumba,abcdefghijk,0,10", "no clip of 'train', only of 'validation'"),
        ("train,surfing water,abcdefghijk,0,10", "1 clip in no list of the host"),
    ],
)
def test_a_bad_manifest(load: Load, tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "bad.csv"
    header = "split,label,youtube_id,time_start,time_end\n" if ",10" in text else ""
    path.write_text(header + text)
    with pytest.raises(ManifestError, match=word):
        load("train", manifest=str(path))


def test_a_table_without_checksums_is_enough_for_clips_that_no_list_names(
    load: Load, tmp_path: Path, elsewhere: dict[str, Any]
) -> None:
    ds = load("validation", classes=MACOS)["validation"]
    with open(kinetics600.save_manifest(ds, tmp_path / "whole.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    with open(tmp_path / "sizes.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows({**row, "sha256": ""} for row in rows)

    again = load("validation", manifest=str(tmp_path / "sizes.csv"), **elsewhere)["validation"]
    assert names(again) == names(ds)
    assert len(again) == 5


def test_a_manifest_that_cannot_be_read(load: Load, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        load("train", manifest=str(tmp_path / "none.csv"))
    with pytest.raises(ManifestError, match=r"neither .csv nor .parquet"):
        load("train", manifest=str(tmp_path / "none.json"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(ManifestError, match="cannot be read"):
        load("train", manifest=str(tmp_path / "bad.parquet"))
    with pytest.raises(OptionError, match="leave out classes"):
        load("train", manifest=str(tmp_path / "none.csv"), classes="zumba")


def test_a_manifest_that_cannot_be_written(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = few(load)

    def over_quota(*_: Any) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch, pytest.raises(DiskFullError, match="number of files"):
        patch.setattr(os, "replace", over_quota)
        kinetics600.save_manifest(ds, tmp_path / "chosen.csv")
    with pytest.raises(ManifestError, match=r"ending in \.csv or \.parquet"):
        kinetics600.save_manifest(ds, tmp_path / "chosen.json")
    with pytest.raises(ManifestError, match="there is no clip"):
        kinetics600.save_manifest(ds.select([]), tmp_path / "chosen.csv")
    streamed = load("train", streaming=True, max_samples=1, source="cvdf", data_dir=str(tmp_path))
    with pytest.raises(ManifestError, match="was streamed"):
        kinetics600.save_manifest(streamed["train"], tmp_path / "chosen.csv")
    Path(ds[0]["video"]["path"]).unlink()
    with pytest.raises(ManifestError, match="cannot be read"):
        kinetics600.save_manifest(ds, tmp_path / "chosen.csv")
    assert not (tmp_path / "chosen.csv").exists()

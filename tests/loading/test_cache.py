"""What `datasets` keeps of a load, and when it serves again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

import kinetics600
from k600.miniature import CLASSES, Miniature
from tests.conftest import Load, contents, expected
from tests.servers import web_server


def settle(folders: dict[str, Any]) -> None:
    """Let the store look as if it had not changed for a while."""
    for folder in Path(folders["data_dir"]).glob("*/*"):
        os.utime(folder, (1e9, 1e9))


def rows_file(ds: datasets.Dataset) -> tuple[str, int]:
    path = ds.cache_files[0]["filename"]
    return path, os.stat(path).st_mtime_ns


def test_a_second_call_reads_nothing_and_writes_nothing(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    with web_server(miniature.root.parent) as server:
        first = load("train", mirror=f"{server.url}/600")["train"]
        settle(folders)
        made = rows_file(first)
        server.requests.clear()
        for _ in range(3):
            again = load("train", mirror=f"{server.url}/600")["train"]
            assert rows_file(again) == made
            assert again.to_list() == first.to_list()
        assert server.requests == []


def test_after_a_whole_split_no_class_of_it_touches_the_network(
    load: Load, miniature: Miniature
) -> None:
    with web_server(miniature.root.parent) as server:
        load("validation", mirror=f"{server.url}/600")
        server.requests.clear()
        for name in CLASSES:
            load("validation", classes=name, mirror=f"{server.url}/600")
        assert server.requests == []


def test_the_cache_key_is_canonical(load: Load) -> None:
    one = load("train", classes=["surfing water", PLAIN_CLASS], num_workers=1)["train"]
    for options in (
        {"classes": (PLAIN_CLASS, "surfing_water", PLAIN_CLASS)},
        {"classes": ["surfing water", PLAIN_CLASS], "shuffle": False, "source": "auto"},
        {"classes": ["surfing water", PLAIN_CLASS], "on_missing": "skip", "num_workers": 3},
    ):
        assert rows_file(load("train", **options)["train"])[0] == rows_file(one)[0]
    assert rows_file(load("train", classes="surfing water")["train"])[0] != rows_file(one)[0]
    assert "default" not in rows_file(one)[0].split(os.sep)


PLAIN_CLASS = "tie dying"


def test_clips_that_vanished_are_noticed_and_fetched(
    load: Load, folders: dict[str, Any], miniature: Miniature, lines: pytest.LogCaptureFixture
) -> None:
    ds = load("train")["train"]
    settle(folders)
    load("train")
    os.unlink(ds[3]["video"]["path"])
    shutil.rmtree(os.path.dirname(ds[20]["video"]["path"]))
    lines.clear()
    assert load("train")["train"].to_list() == ds.to_list()
    assert "reading 2 tarballs" in lines.text
    assert contents(folders["data_dir"]) == expected(miniature, "train")


def test_clips_that_cannot_be_fetched_leave_the_rows(
    load: Load, folders: dict[str, Any], own_miniature: Miniature
) -> None:
    options = {"mirror": str(own_miniature.root)}
    ds = load("train", **options)["train"]
    settle(folders)
    os.unlink(ds[3]["video"]["path"])
    shutil.move(own_miniature.root / "train", own_miniature.root / "away")
    local = load("train", source="local", **options)["train"]
    assert len(local) == 9
    shutil.move(own_miniature.root / "away", own_miniature.root / "train")
    assert len(load("train", **options)["train"]) == 10


def test_a_clip_that_comes_later_is_found_and_maps_are_not_reused(
    load: Load, own_miniature: Miniature, folders: dict[str, Any]
) -> None:
    def mark(row: dict[str, Any]) -> dict[str, Any]:
        return {"mark": row["youtube_id"]}

    path = own_miniature.root / "train/zumba.tar.gz"
    data = path.read_bytes()
    path.unlink()
    options = {"mirror": str(own_miniature.root)}
    partial = load("train", **options)["train"]
    assert len(partial.map(mark)) == 5
    path.write_bytes(data)
    whole = load("train", **options)["train"]
    assert len(whole.map(mark)) == 10
    assert whole._fingerprint != partial._fingerprint


def test_a_cached_partial_result_does_not_stand_in_the_way(
    load: Load, own_miniature: Miniature
) -> None:
    """`datasets` compares counts with those of the cached result."""
    (own_miniature.root / "train/zumba.tar.gz").rename(own_miniature.root / "zumba")
    options = {"mirror": str(own_miniature.root), "verification_mode": "all_checks"}
    assert len(load("train", **options)["train"]) == 5
    (own_miniature.root / "zumba").rename(own_miniature.root / "train/zumba.tar.gz")
    assert len(load("train", **options)["train"]) == 10


def test_force_redownload_fetches_everything_again(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    ds = load("train")["train"]
    damaged = Path(ds[0]["video"]["path"])
    size = damaged.stat().st_size
    damaged.write_bytes(damaged.read_bytes()[: size - 20] + b"x" * 20)  # as a bad disk would
    settle(folders)
    load("train")
    assert contents(folders["data_dir"]) != expected(miniature, "train")
    with web_server(miniature.root.parent) as server:
        again = load("train", mirror=f"{server.url}/600", download_mode="force_redownload")
        assert len({p for _, p in server.requests if p.endswith(".tar.gz")}) == 6
    assert contents(folders["data_dir"]) == expected(miniature, "train")
    assert again["train"].to_list() == ds.to_list()


def test_reuse_cache_if_exists_makes_the_rows_again_and_fetches_nothing(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    with web_server(miniature.root.parent) as server:
        mirror = {"mirror": f"{server.url}/600"}
        made = rows_file(load("train", **mirror)["train"])
        settle(folders)
        load("train", **mirror)
        server.requests.clear()
        again = load("train", **mirror, download_mode="reuse_cache_if_exists")
        assert server.requests == []
    assert rows_file(again["train"]) != made


def test_offline_uses_what_is_there_and_names_the_rest(
    load: Load,
    miniature: Miniature,
    monkeypatch: pytest.MonkeyPatch,
    lines: pytest.LogCaptureFixture,
) -> None:
    with web_server(miniature.root.parent) as server:
        mirror = {"mirror": f"{server.url}/600"}
        load("train", classes=CLASSES[:2], **mirror)
        server.requests.clear()
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        lines.clear()
        assert len(load("train", classes=CLASSES[:3], **mirror)["train"]) == 10
        assert "5  offline" in lines.text
        with pytest.raises(kinetics600.Kinetics600Error, match="HF_DATASETS_OFFLINE"):
            load("train", classes=CLASSES[4], **mirror)
        assert server.requests == []
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        assert len(load("train", classes=CLASSES[:3], **mirror)["train"]) == 15


def test_offline_does_not_stop_a_mirror_on_disk(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert len(load("train")["train"]) == 30


def test_a_note_that_cannot_be_read_is_no_note(load: Load, folders: dict[str, Any]) -> None:
    ds = load("train")["train"]
    note = Path(rows_file(ds)[0]).with_name("kinetics600.json")
    assert json.loads(note.read_text())["missing"] == 0
    for content in ("", "[]", "{}", '{"digest": 3'):
        note.write_text(content)
        assert load("train")["train"].to_list() == ds.to_list()


def test_rows_may_be_written_elsewhere(
    tmp_path: Path, folders: dict[str, Any], miniature: Miniature
) -> None:
    builder = datasets.load_dataset_builder(
        "kinetics600", "train", mirror=str(miniature.root), **folders
    )
    builder.download_and_prepare(str(tmp_path / "out"), file_format="parquet")
    files = [*(tmp_path / "out").glob("*.parquet")]
    rows = datasets.load_dataset("parquet", data_files=[str(f) for f in files], split="train")
    assert len(rows) == 30


def test_clips_live_beside_the_arrow_files_unless_told_otherwise(
    tmp_path: Path, miniature: Miniature
) -> None:
    options = {"mirror": str(miniature.root), "cache_dir": str(tmp_path / "cache")}
    ds = kinetics600.load_dataset("train", **options)
    written_out = str(tmp_path / "cache/kinetics600-clips")
    assert ds[0]["video"]["path"].startswith(written_out)
    again = kinetics600.load_dataset("train", data_dir=written_out, **options)
    assert rows_file(again) == rows_file(ds)


SPOILERS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "zeroed": lambda data: bytes(len(data)),
}
"""What a power loss makes of a file that was not flushed."""


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
@pytest.mark.parametrize(
    "name", ["dataset_info.json", "kinetics600.json", "kinetics600-train.arrow"]
)
def test_rows_of_which_a_power_loss_left_nothing_are_made_anew(
    load: Load, folders: dict[str, Any], name: str, spoil: Callable[[bytes], bytes]
) -> None:
    ds = load("train", classes=PLAIN_CLASS)["train"]
    settle(folders)
    ds = load("train", classes=PLAIN_CLASS)["train"]
    rows = ds.to_list()
    file = Path(rows_file(ds)[0]).with_name(name)
    good = file.read_bytes()
    file.unlink()  # another file: this process holds the old one open
    file.write_bytes(spoil(good))
    for _ in range(2):
        assert load("train", classes=PLAIN_CLASS)["train"].to_list() == rows
    for streaming in (True, False):
        builder = datasets.load_dataset_builder("kinetics600", "train", **folders)
        assert builder.info.features
        assert load("train", classes=PLAIN_CLASS, streaming=streaming)


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
def test_what_map_kept_and_a_power_loss_spoilt_is_made_anew(
    load: Load, spoil: Callable[[bytes], bytes]
) -> None:
    def mark(row: dict[str, Any]) -> dict[str, Any]:
        return {"mark": row["youtube_id"] + "!"}

    kept = load("train", classes=PLAIN_CLASS)["train"].map(mark)
    file = Path(rows_file(kept)[0])
    assert file.name.startswith("cache-")
    good = file.read_bytes()
    file.unlink()
    file.write_bytes(spoil(good))
    again = load("train", classes=PLAIN_CLASS)["train"].map(mark)
    assert again["mark"][:] == [f"{clip}!" for clip in again["youtube_id"]]

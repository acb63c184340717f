from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest

import kinetics600
from k600.dataset.splits import CONFIGS, SPLITS
from k600.loading import infos
from k600.miniature import Miniature
from scripts.make_dataset_infos import make_infos
from tests.conftest import Load

FILE = Path(kinetics600.__file__).with_name("dataset_infos.json")


def test_the_file_is_what_the_code_makes() -> None:
    assert json.loads(FILE.read_text()) == make_infos(), "run scripts/make_dataset_infos.py"


def test_datasets_reads_it() -> None:
    for name in CONFIGS:
        info = datasets.DatasetInfo.from_dict(json.loads(FILE.read_text())[name])
        assert info.features == kinetics600.features()
        assert info.config_name == name
        assert set(info.splits) == set(SPLITS if name == "all" else [name])
        assert info.size_in_bytes == info.download_size + info.dataset_size
        assert info.dataset_size == sum(split.num_bytes for split in info.splits.values())


def test_published_counts_come_with_their_meaning() -> None:
    counts = json.loads(FILE.read_text())["all"]["published_counts"]
    assert {split: count["host_list_lines"] for split, count in counts.items()} == {
        "train": 427_549,
        "validation": 29_793,
        "test": 72_924,
    }
    assert all("lines of" in c["meaning"] or "rows of" in c["meaning"] for c in counts.values())


@pytest.mark.parametrize("content", [None, "", "[]", '{"train": 3}', "{"])
def test_a_broken_file_is_never_the_cause_of_a_failed_load(
    content: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "dataset_infos.json"
    if content is not None:
        place.write_text(content)
    monkeypatch.setattr(infos, "_PLACES", (place,))
    infos._read_all.cache_clear()
    try:
        builder = kinetics600.Kinetics600(config_name="train", cache_dir=str(tmp_path))
        assert builder.info.features == kinetics600.features()
    finally:
        infos._read_all.cache_clear()


NOBODY = {"mirror": "http://127.0.0.1:9/600", "test_labels": "http://127.0.0.1:9/labels"}
CLIPS = {"train": 427_549, "validation": 29_791, "test": 59_608}


def counts(info: datasets.DatasetInfo) -> dict[str, int]:
    return {name: split.num_examples for name, split in info.splits.items()}


def test_names_and_sizes_are_known_before_anything_is_asked_for(folders: dict[str, Any]) -> None:
    infos = datasets.get_dataset_infos("kinetics600", **NOBODY)
    assert list(infos) == list(CONFIGS) == datasets.get_dataset_config_names("kinetics600")
    for name in CONFIGS:
        splits = list(SPLITS if name == "all" else [name])
        assert datasets.get_dataset_split_names("kinetics600", name, **NOBODY) == splits
        builder = datasets.load_dataset_builder("kinetics600", name, **NOBODY, **folders)
        config = datasets.get_dataset_config_info("kinetics600", name, **NOBODY)
        for info in (infos[name], builder.info, config):
            assert counts(info) == {split: CLIPS[split] for split in splits}
            assert info.dataset_size == sum(split.num_bytes for split in info.splits.values())
            assert info.size_in_bytes == info.download_size + info.dataset_size
    assert infos["all"].download_size == 779_000_000_000
    assert datasets.get_dataset_split_names("kinetics600", **NOBODY) == list(SPLITS)
    assert not Path(folders["data_dir"]).exists()


@pytest.mark.parametrize(
    "options",
    [
        {"classes": "zumba"},
        {"max_samples": 3},
        {"max_per_class": 3},
        {"source": "local"},
        {"source": "youtube"},
    ],
)
def test_of_a_part_no_count_is_claimed_but_its_splits_have_names(options: dict[str, Any]) -> None:
    builder = datasets.load_dataset_builder("kinetics600", "all", **options, **NOBODY)
    info = builder.info
    assert (info.splits, info.download_size, info.dataset_size, info.size_in_bytes) == (None,) * 4
    names = datasets.get_dataset_split_names("kinetics600", "all", **options, **NOBODY)
    assert names == list(SPLITS)


def test_published_counts_never_stand_for_those_of_a_load(
    load: Load, folders: dict[str, Any], own_miniature: Miniature
) -> None:
    options = {"mirror": str(own_miniature.root), **folders}
    (own_miniature.root / "train/zumba.tar.gz").rename(own_miniature.root / "away")
    for verify in ("no_checks", "basic_checks", "all_checks"):  # there is nothing to check against
        partial = load("train", split="train", verification_mode=verify, **options)
        assert counts(partial.info) == {"train": len(partial)} == {"train": 5}
        assert partial.info.dataset_size == partial.info.splits["train"].num_bytes
        builder = datasets.load_dataset_builder("kinetics600", "train", **options)
        assert counts(builder.info) == {"train": CLIPS["train"]}
        assert len(builder.as_dataset("train")) == 5
    (own_miniature.root / "away").rename(own_miniature.root / "train/zumba.tar.gz")
    assert counts(load("train", split="train", **options).info) == {"train": 10}


def test_a_disk_without_room_for_the_published_size_is_no_reason_to_refuse(
    load: Load, folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(load("train", split="train")) == 30
    shutil.rmtree(folders["cache_dir"])
    usage = shutil.disk_usage("/")._replace(free=100_000_000)  # less than 648 GB
    monkeypatch.setattr(datasets.utils.py_utils, "disk_usage", lambda path: usage)
    assert len(load("train", split="train")) == 30

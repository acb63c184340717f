from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

import kinetics600
from k600 import infos
from k600.clip import CONFIGS, SPLITS
from scripts.make_dataset_infos import make_infos

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

"""The cards: this project's own, and those of what it publishes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
import yaml
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

import kinetics600
from k600.loading.columns import PUBLISHED
from k600.publish.card import SplitFacts, write_card
from k600.video.encoding import Encoding
from tests.hub import card_errors

FACTS = [
    SplitFacts("train", 400_000, 0, 10, 20, True),
    SplitFacts("validation", 29_000, 0, 11, 21, True),
    SplitFacts("test", 60_000, 7_000, 12, 22, False),
]


@pytest.mark.parametrize("kind", ["metadata", "embedded"])
def test_datasets_reads_what_a_card_says(kind: str) -> None:
    card = DatasetCard(write_card(kind, FACTS, name="owner/name", private=True))
    assert card_errors(card.content) == []
    configs = MetadataConfigs.from_dataset_card_data(card.data)
    assert [*configs] == ["train", "validation", "test", "all"]
    assert configs.get_default_config_name() == "all"
    infos = DatasetInfosDict.from_dataset_card_data(card.data)
    for info in infos.values():
        assert [*info.features] == [column.name for column in PUBLISHED[kind]]
        assert info.features["label"].names == kinetics600.labels()
        if kind == "embedded":
            assert isinstance(info.features["video"], datasets.Video)
    assert infos["test"].splits is None  # counts that `filters` would contradict
    assert card.data.size_categories == ["100K<n<1M"]
    assert card.data.license == ("cc-by-4.0" if kind == "metadata" else "other")
    for word in ("@article{carreira", "Thousands of validation clips", "7,000 here have none"):
        assert word in card.text
    assert "`test` | 60,000 | 7,000 | 22 bytes | a part" in card.text
    assert ("It is private" in card.text) == (kind == "embedded")
    for label in ("owner/name", "video-classification"):
        assert label in card.content


def test_a_card_says_how_clips_were_encoded() -> None:
    words = Encoding(short_side=256, encode="training", frame_step=4).words
    facts = [FACTS[0], replace(FACTS[1], encoded=words)]
    card = write_card("embedded", facts, name="owner/name", private=True)
    assert "\n- `validation`: H.264, CRF 23, the shorter side at most 256 pixels, a key" in card
    assert "one of 4 frames, each at its own time.\n\n## Columns" in card
    assert "encoded anew:" not in write_card("embedded", FACTS, name="owner/name", private=True)


def test_one_split_is_one_configuration() -> None:
    card = write_card("metadata", FACTS[1:2], name="owner/name", private=False)
    matter = yaml.safe_load(card.split("---\n")[1])
    (config,) = matter["configs"]
    assert (config["config_name"], config["default"]) == ("validation", True)
    assert matter["size_categories"] == ["10K<n<100K"]


@pytest.mark.parametrize(
    ("name", "root"),
    [("owner/name", 'root = snapshot_download("owner/name"'), ("./k600", 'root = "./k600"')],
)
def test_a_card_says_how_to_use_the_loader_that_is_there(name: str, root: str) -> None:
    card = write_card("metadata", FACTS, name=name, private=False, has_loader=True)
    assert card.count("root = ") == card.count(root) == 1
    assert "## The loader" not in write_card("metadata", FACTS, name=name, private=False)


def test_this_projects_own_card_is_valid_and_says_what_it_is() -> None:
    readme = (Path(kinetics600.__file__).parent / "README.md").read_text("utf-8")
    match = re.match(r"---\n(.*?)\n---\n", readme, re.S)
    assert match, "README.md has no front matter"
    assert yaml.safe_load(match[1]) == {
        "pretty_name": "Kinetics-600",
        "license": ["apache-2.0", "cc-by-4.0"],
        "task_categories": ["video-classification"],
        "size_categories": ["100K<n<1M"],
        "annotations_creators": ["crowdsourced"],
        "source_datasets": ["original"],
        "tags": ["kinetics", "kinetics-600", "action-recognition", "video", "loader"],
    }
    assert card_errors(readme) == []
    data = DatasetCard(readme).data
    assert data.task_categories == ["video-classification"]
    assert data.pretty_name == "Kinetics-600"

"""A split is a plain string wherever one is meant, and knows how the host packs it."""

import json
import pickle
import sqlite3

import pyarrow
import pytest

from k600.dataset.clip import Clip, Tarball, label_of
from k600.dataset.labels import NAMES
from k600.dataset.splits import SPLITS, UNLABELED, Split


@pytest.mark.parametrize("name", SPLITS)
def test_a_split_is_its_name_everywhere(name: str) -> None:
    split = Split(name)
    assert split == name
    assert hash(split) == hash(name)
    assert {name: 1}[split] == 1
    assert f"{split}/x" == f"{name}/x"
    assert f"{split:>12}" == f"{name:>12}"
    assert repr(split) == repr(name)
    assert str(split) == name
    assert type(str(split)) is str
    assert json.loads(json.dumps({split: [split]})) == {name: [name]}
    back = pickle.loads(pickle.dumps(split))
    assert back == split
    assert type(back) is Split
    assert pyarrow.array([split]).to_pylist() == [name]
    db = sqlite3.connect(":memory:")
    assert db.execute("SELECT ?, typeof(?)", (split, split)).fetchone() == (name, "text")
    db.close()


def test_clips_and_tarballs_take_plain_names_and_splits_alike() -> None:
    for name in SPLITS:
        assert Clip(Split(name), "yoga", "-" * 11, 1, 2) == Clip(name, "yoga", "-" * 11, 1, 2)
        assert hash(Tarball(Split(name), "yoga")) == hash(Tarball(name, "yoga"))


def test_one_tarball_a_class_but_for_the_test_split() -> None:
    assert [Split(name).is_mixed for name in SPLITS] == [False, False, True]
    assert [Split(name).host_folder for name in SPLITS] == ["train", "val", "test"]
    assert Split("train").may_hold("yoga", "yoga")
    assert not Split("train").may_hold("zumba", "yoga")
    assert Split("test").may_hold("part_7", "yoga")
    assert Split("test").may_hold("part_7", None)
    assert not Split("test").may_hold("part_x", "yoga")
    assert not Split("test").has_tarball("yoga")
    assert Split("validation").has_tarball("yoga")
    assert not Split("train").has_tarball("part_7")


def test_folders_are_those_of_the_classes_but_a_test_clip_may_lie_in_any() -> None:
    assert Split("train").folders(["zumba", "yoga"]) == ["train/zumba", "train/yoga"]
    assert Split("train").folders() == [f"train/{name}" for name in NAMES]
    every = [*(f"test/{name}" for name in NAMES), f"test/{UNLABELED}"]
    assert Split("test").folders(["yoga"]) == Split("test").folders() == every
    assert Split("train").places_of("yoga") == ["train/yoga"]


def test_a_clip_that_no_list_names_has_no_class() -> None:
    labels = {("-" * 11, 1, 2): "yoga"}
    assert label_of(f"{'-' * 11}_000001_000002.mp4", labels) == "yoga"
    assert label_of(f"{'-' * 11}_000001_000003.mp4", labels) == UNLABELED
    assert label_of("notes.txt", labels) == UNLABELED

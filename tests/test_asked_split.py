"""`split=` says what is fetched: without a name it is the configuration, with one a part of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import datasets
import pytest

import kinetics600
from k600.errors import ManifestError, OptionError, UnknownSplitError
from k600.miniature import Miniature
from tests.conftest import Load
from tests.servers import web_server

ROWS = {"train": 30, "validation": 30, "test": 12}
ON_THE_HOST = {"train": "train", "val": "validation", "test": "test"}


@pytest.fixture
def read(miniature: Miniature, load: Load) -> Iterator[Callable[..., tuple[Any, set[str]]]]:
    """Load by HTTP; return what came and from which splits tarballs were read."""
    with web_server(miniature.root.parent) as server:

        def load_and_look(*args: Any, **options: Any) -> tuple[Any, set[str]]:
            server.requests.clear()
            rows = load(*args, mirror=f"{server.url}/600", **options)
            if options.get("streaming"):
                rows = [list(part) for part in (rows if isinstance(rows, list) else [rows])]
            got = [path.split("/")[2] for _, path in server.requests if path.endswith(".tar.gz")]
            return rows, {ON_THE_HOST[name] for name in got if name in ON_THE_HOST}

        yield load_and_look


ASKED = [
    ("validation", {"validation": 30}),
    ("train[:10%]", {"train": 3}),
    ("train+validation[:2]", {"train": 30, "validation": 2}),
    ("train + validation", {"train": 30, "validation": 30}),
    (datasets.Split.TRAIN, {"train": 30}),
    (datasets.ReadInstruction("train", to=3, unit="abs"), {"train": 3}),
    (
        datasets.ReadInstruction("validation") + datasets.ReadInstruction("train", from_=-1),
        {"validation": 30, "train": 1},
    ),
    ("all", ROWS),
]


@pytest.mark.parametrize("name", [(), ("all",)])
@pytest.mark.parametrize(("split", "rows"), ASKED)
def test_only_what_is_asked_for_is_fetched(
    read: Callable[..., tuple[Any, set[str]]], name: Any, split: Any, rows: dict[str, int]
) -> None:
    loaded, fetched = read(*name, split=split)
    assert fetched == set(rows)
    assert loaded["split"] == [split for split, count in rows.items() for _ in range(count)]


def test_blanks_around_a_plus_are_understood_by_every_way_in(
    miniature: Miniature, folders: dict[str, Any]
) -> None:
    options = {**folders, "mirror": str(miniature.root)}
    asked = "train[:1] + validation[:2]"
    assert len(kinetics600.load_dataset(asked, **options)) == 3
    builder = kinetics600.Kinetics600(
        config_name="all", test_labels=str(miniature.test_labels), **options
    )
    builder.download_and_prepare()
    assert len(builder.as_dataset(asked)) == 3


@pytest.mark.parametrize("name", [(), ("all",)])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_list_of_splits_gives_a_list(
    read: Callable[..., tuple[Any, set[str]]], name: Any, streaming: bool
) -> None:
    loaded, fetched = read(*name, split=["validation", "train"], streaming=streaming)
    assert [{row["split"] for row in rows} for rows in loaded] == [{"validation"}, {"train"}]
    assert fetched == {"train", "validation"}


@pytest.mark.parametrize(
    ("split", "rows"), [(split, rows) for split, rows in ASKED if "[" not in str(split)]
)
def test_a_stream_reads_only_what_is_asked_for(
    read: Callable[..., tuple[Any, set[str]]], split: Any, rows: dict[str, int]
) -> None:
    (streamed,), fetched = read(split=split, streaming=True)
    assert fetched == set(rows)
    assert len(streamed) == sum(rows.values())


def test_a_slice_of_a_stream_is_refused_with_what_to_do_instead(load: Load) -> None:
    for split in ("train[:10%]", datasets.ReadInstruction("train", to=3, unit="abs")):
        with pytest.raises(OptionError, match=r"split: 'train\[.* use \.take\(n\)"):
            load(split=split, streaming=True)


def test_a_split_alone_is_its_configuration(load: Load) -> None:
    alone = load(split="train")
    for same in (load("train", split="train"), load("all", split="train"), load("train")["train"]):
        assert same.cache_files == alone.cache_files
        assert same._fingerprint == alone._fingerprint
        assert same.to_list() == alone.to_list()


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("name", "split", "words"),
    [
        (None, None, "'train', 'validation', 'test', 'all'"),
        (None, "val", "'val'.*did you mean 'validation'.*'train', 'validation', 'test'"),
        (None, "train+tset", "'tset'.*did you mean 'test'"),
        ("validation", "train", "'train'.*Allowed: 'validation'$"),
        ("all", "val[:3]", "'val'.*did you mean 'validation'"),
        (None, [], "no split"),
    ],
)
def test_a_wrong_split_is_refused_before_anything_is_fetched(
    read: Callable[..., tuple[Any, set[str]]],
    folders: dict[str, Any],
    name: str | None,
    split: Any,
    words: str,
    streaming: bool,
) -> None:
    with pytest.raises(UnknownSplitError, match=words):
        read(name, split=split, streaming=streaming)
    with pytest.raises(OptionError, match=r"split: 'train\[:10' is not allowed"):
        read(name, split="train[:10", streaming=streaming)
    assert not os.path.exists(folders["data_dir"])


def test_options_and_a_manifest_need_no_name(load: Load, tmp_path: Any) -> None:
    few = load(split="train", max_samples=3, source="cvdf")
    assert len(few) == 3
    path = kinetics600.save_manifest(few, tmp_path / "few.csv")
    assert load(split="train", manifest=path).to_list() == few.to_list()
    with pytest.raises(UnknownSplitError, match="'validation'.*Allowed: 'train'$"):
        load(split="validation", manifest=path)
    with pytest.raises(ManifestError, match="names no clip of 'test'"):
        load("test", manifest=path)


def test_a_builder_called_directly_fetches_at_once(
    miniature: Miniature, folders: dict[str, Any]
) -> None:
    options = {"mirror": str(miniature.root), "test_labels": str(miniature.test_labels)}
    builder = datasets.load_dataset_builder("kinetics600", "all", **options, **folders)
    builder.download_and_prepare()
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == ROWS
    assert len(builder.as_dataset("test")) == 12
    again = datasets.load_dataset_builder("kinetics600", "all", **options, **folders)
    assert {name: len(rows) for name, rows in again.as_dataset().items()} == ROWS
    nameless = datasets.load_dataset_builder("kinetics600", **options, **folders)
    with pytest.raises(UnknownSplitError, match="'train', 'validation', 'test', 'all'"):
        nameless.download_and_prepare()
    with pytest.raises(FileNotFoundError, match="download_and_prepare"):
        nameless.as_dataset("train")


@pytest.mark.parametrize("streaming", [False, True])
def test_the_public_function_takes_the_same(
    miniature: Miniature, folders: dict[str, Any], streaming: bool
) -> None:
    options = {
        "mirror": str(miniature.root),
        "test_labels": str(miniature.test_labels),
        "streaming": streaming,
        **folders,
    }
    both = kinetics600.load_dataset("train+validation", **options)
    assert len(list(both)) == 60
    one, other = kinetics600.load_dataset(["validation", "test"], **options)
    assert (len(list(one)), len(list(other))) == (30, 12)
    every = kinetics600.load_dataset("all", **options)
    assert {name: len(list(rows)) for name, rows in every.items()} == ROWS


def test_the_name_of_the_dataset_is_no_split() -> None:
    with pytest.raises(OptionError, match="'kinetics600' and 'train' are not allowed together"):
        kinetics600.load_dataset("kinetics600", "train")
    with pytest.raises(UnknownSplitError, match="neither a configuration nor a split"):
        kinetics600.load_dataset()

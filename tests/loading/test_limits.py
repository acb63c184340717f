"""A few clips, exactly the ones asked for, out of tarballs read no further than needed."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import kinetics600
from k600.dataset.clip import Tarball
from k600.errors import ListError
from k600.miniature import CLASSES, Miniature, make_miniature, make_tarball
from k600.store.ledger import Ledger
from k600.store.store import Store
from tests.conftest import Load, contents, expected
from tests.servers import S3Server, web_server

CHOSEN = ["springboard diving", "surfing water"]


@pytest.fixture
def load(load: Load) -> Load:
    """Without YouTube: these tests are about tarballs."""

    def from_tarballs(*args: Any, **options: Any) -> Any:
        return load(*args, **{"source": "cvdf", **options})

    return from_tarballs


def names(rows: Any) -> list[str]:
    return [os.path.basename(row["video"]["path"]) for row in rows]


def test_the_call_of_the_first_page(
    load: Load, folders: dict[str, Any], lines: pytest.LogCaptureFixture
) -> None:
    ds = load("validation", classes=CHOSEN, max_samples=7)["validation"]
    assert len(ds) == 7
    assert {kinetics600.id2label()[label] for label in ds["label"]} == set(CHOSEN)
    assert len(contents(folders["data_dir"])) == 7
    assert "reading 2 tarballs" in lines.text
    assert "vanished" not in lines.text


def test_a_seeded_choice_is_the_same_in_every_store(load: Load, tmp_path: Path) -> None:
    options = {"max_samples": 6, "shuffle": True, "seed": 51}
    one = load("train", **options)["train"]
    elsewhere = {"data_dir": str(tmp_path / "other"), "cache_dir": str(tmp_path / "cache2")}
    load("train", classes=CLASSES[:2], **elsewhere)  # what is there must not matter
    two = load("train", num_workers=1, **options, **elsewhere)["train"]
    assert names(one) == names(two)
    assert one["label"] == two["label"]
    assert names(load("train", **{**options, "seed": 52})["train"]) != names(one)


def test_balanced_takes_every_class_in_turn(load: Load) -> None:
    ds = load("train", max_samples=12, balanced=True)["train"]
    assert set(Counter(ds["label"]).values()) == {2}
    ds = load("train", max_per_class=1)["train"]
    assert len(ds) == len(set(ds["label"])) == len(CLASSES)


def test_a_tarball_is_left_after_the_last_clip_that_is_wanted(
    tmp_path: Path, s3: S3Server, folders: dict[str, Any], load: Load
) -> None:
    host = make_miniature(tmp_path / "host", classes=["zumba"], clips_per_class=20, flaws=False)
    filler = {f"filler/{n}.bin": os.urandom(1 << 20) for n in range(40)}
    clips = dict(host.clips["train"]["zumba"])
    (host.root / "train/zumba.tar.gz").write_bytes(make_tarball(clips | filler))
    s3.upload(host.root, "kinetics/early/600")
    options = {"mirror": "s3://kinetics/early/600", "mirror_options": s3.options}
    builder = kinetics600.Kinetics600(
        folders["cache_dir"],
        config_name="train",
        data_dir=folders["data_dir"],
        max_samples=3,
        source="cvdf",
        **options,
    )
    builder.download_and_prepare()
    outcome = builder._outcomes["train"]
    assert outcome.clips == 3
    assert outcome.fetched_bytes["cvdf"] < 4 << 20
    row = Ledger(Store.at(folders["data_dir"]).ledger_path).tarball(Tarball("train", "zumba"))
    assert row is not None
    assert row.state == "partial"
    ds = load("train", on_missing="raise", **options)["train"]  # and then all of it
    assert len(ds) == 20
    assert set(ds["source"]) == {"cvdf"}
    assert contents(folders["data_dir"]) == expected(host, "train")


def test_a_clip_that_cannot_be_had_is_replaced_and_the_line_says_so(
    load: Load, lines: pytest.LogCaptureFixture
) -> None:
    first = CLASSES[0]  # of its seven listed clips, one is empty and one is cut off
    ds = load("validation", classes=first, max_samples=5, on_missing="raise")["validation"]
    assert len(ds) == 5
    load("validation", classes=first, max_samples=5, shuffle=True, seed=3, on_missing="raise")
    assert "replaced" in lines.text


def test_a_shortfall_is_named(load: Load, lines: pytest.LogCaptureFixture) -> None:
    ds = load("validation", classes=CLASSES[0], max_samples=100)["validation"]
    assert len(ds) == 5
    assert "only 5 of 100 clips could be had" in lines.text
    assert "1  empty" in lines.text
    with pytest.raises(kinetics600.Kinetics600Error, match="only 5 of 100"):
        load("validation", classes=CLASSES[0], max_samples=100, on_missing="raise")


def test_a_class_without_a_tarball_is_replaced_by_others(
    load: Load, own_miniature: Miniature
) -> None:
    (own_miniature.root / "train/surfing water.tar.gz").unlink()
    options = {"mirror": str(own_miniature.root), "on_missing": "raise"}
    ds = load("train", max_samples=4, **options)["train"]
    assert {kinetics600.id2label()[label] for label in ds["label"]} == {"zumba"}


def test_a_test_tarball_that_is_lost_to_a_search_by_class_is_named(
    load: Load, own_miniature: Miniature, lines: pytest.LogCaptureFixture
) -> None:
    tarball = min((own_miniature.root / "test").glob("*.tar.gz"))
    content = tarball.read_bytes()
    tarball.unlink()
    options = {"mirror": str(own_miniature.root), "test_labels": str(own_miniature.test_labels)}
    asked = {"source": "cvdf", "max_per_class": 5, **options}
    clips = len(load("test", **asked)["test"])
    assert "all clips of 1 tarball missing" in lines.text
    assert "1  tarball_not_found" in lines.text
    with pytest.raises(kinetics600.Kinetics600Error, match="all clips of 1 tarball missing"):
        load("test", on_missing="raise", **asked)

    tarball.write_bytes(content)  # what is not whole is not kept as if it were
    assert len(load("test", on_missing="raise", **asked)["test"]) > clips


def test_a_test_tarball_that_a_search_by_class_can_do_without_is_not_missed(
    load: Load, own_miniature: Miniature, lines: pytest.LogCaptureFixture
) -> None:
    min((own_miniature.root / "test").glob("*.tar.gz")).unlink()
    options = {"mirror": str(own_miniature.root), "test_labels": str(own_miniature.test_labels)}
    asked = {"source": "cvdf", "classes": "zumba", "max_per_class": 1, **options}
    assert len(load("test", on_missing="raise", **asked)["test"]) == 1
    assert "none missing" in lines.text


def test_after_a_whole_split_a_subset_touches_no_network(load: Load, miniature: Miniature) -> None:
    with web_server(miniature.root.parent) as server:
        load("validation", mirror=f"{server.url}/600")
        server.requests.clear()
        for options in ({"max_samples": 3}, {"max_per_class": 2, "shuffle": True}):
            ds = load("validation", mirror=f"{server.url}/600", **options)["validation"]
            assert len(ds) in (3, 12)
        assert server.requests == []


def test_a_second_call_needs_no_network(load: Load, miniature: Miniature) -> None:
    with web_server(miniature.root.parent) as server:
        options = {"mirror": f"{server.url}/600", "max_samples": 4, "shuffle": True}
        one = load("train", **options)["train"]
        server.requests.clear()
        assert names(load("train", **options)["train"]) == names(one)
        assert server.requests == []


def test_a_local_choice_is_among_what_is_there(load: Load) -> None:
    load("train", classes=CLASSES[:2])
    ds = load("train", source="local", max_samples=7, mirror="/nowhere")["train"]
    assert len(ds) == 7
    streamed = load("train", source="local", max_samples=7, mirror="/nowhere", streaming=True)[
        "train"
    ]
    assert names(streamed) == names(ds)


def test_a_stream_of_a_few_is_the_same_choice(load: Load) -> None:
    options = {"max_samples": 6, "shuffle": True, "seed": 51}
    streamed = list(load("train", streaming=True, **options)["train"])
    assert sorted(names(streamed)) == sorted(names(load("train", **options)["train"]))
    assert all(row["video"]["bytes"] for row in streamed)


def test_the_choice_is_part_of_the_cache_key_and_only_where_it_matters() -> None:
    from k600.loading.request import make_request

    def key(**options: Any) -> dict[str, Any]:
        return make_request("train", default_data_dir="/d", **options).cache_key("/d")

    assert key(shuffle=True, seed=3, balanced=True) == {}
    assert key(max_samples=3, seed=9) == {"max_samples": 3}
    assert key(max_samples=3, shuffle=True) == {"max_samples": 3, "shuffle": True, "seed": 0}
    assert key(max_per_class=2, balanced=True) == {"max_per_class": 2, "balanced": True}


def test_a_mirror_without_a_list_cannot_be_chosen_from(
    load: Load, own_miniature: Miniature
) -> None:
    (own_miniature.root / "annotations/train.txt").unlink()
    with pytest.raises(ListError, match="max_samples: .*no list of the clips"):
        load("train", max_samples=2, mirror=str(own_miniature.root))

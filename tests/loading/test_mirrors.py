"""One folder of clips, two mirrors: what came from one says nothing of the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

import kinetics600
from k600.checks.status import read_status
from k600.checks.verify import verify_clips
from k600.errors import NoClipsError
from k600.errors.text import short_hash
from k600.loading.estimate import Forecast, forecast_split
from k600.loading.request import Request
from k600.miniature import Miniature, make_clip, make_miniature, make_tarball
from k600.mirror.mirror import Mirror
from k600.publish.metadata import metadata_rows
from k600.store.store import Store
from k600.tarballs.catalog import KeptLists
from tests.conftest import Load, contents
from tests.old_ledger import make_older
from tests.servers import WebServer, web_server

CLASS = "surfing water"
SPLIT = "validation"


@pytest.fixture
def first(tmp_path: Path) -> Miniature:
    """A mirror with two clips of the class."""
    classes = ["yoga", "zumba", CLASS]  # the number of a class decides what its clips show
    return make_miniature(tmp_path / "first", classes=classes, clips_per_class=2, flaws=False)


@pytest.fixture
def second(tmp_path: Path) -> Miniature:
    """Another with five: two have the names of the first's, and other bytes."""
    classes = ["yoga", "zumba", "archery", CLASS]
    return make_miniature(tmp_path / "second", classes=classes, clips_per_class=5, flaws=False)


@pytest.fixture
def server(second: Miniature) -> Iterator[WebServer]:
    """The second mirror across a network."""
    with web_server(second.root.parent) as found:
        yield found


def clips_of(mirror: Miniature) -> dict[str, bytes]:
    return {f"{SPLIT}/{CLASS}/{name}": data for name, data in mirror.clips[SPLIT][CLASS].items()}


def served(rows: Any) -> dict[str, bytes]:
    """Return the clips that a dataset or stream gives."""
    found = {}
    for row in rows:
        video = row["video"]
        data = video["bytes"] or Path(video["path"]).read_bytes()
        found[f"{SPLIT}/{CLASS}/{os.path.basename(video['path'])}"] = data
    return found


def fetches(server: WebServer) -> list[str]:
    """Return the tarballs that were read, not only asked for their sizes."""
    return [path for method, path in server.requests if method == "GET" and ".tar.gz" in path]


Ask = Callable[..., Request]


@pytest.fixture
def ask(folders: dict[str, Any]) -> Ask:
    """A request for the class in the test's own folder."""

    def make(**options: Any) -> Request:
        defaults = {"classes": CLASS, "data_dir": folders["data_dir"]}
        return kinetics600.make_request(SPLIT, **{**defaults, **options})

    return make


def plan(request: Request) -> Forecast:
    return forecast_split(request, SPLIT)


def test_each_mirror_gives_its_own_clips_in_turn(
    load: Load, folders: dict[str, Any], first: Miniature, second: Miniature
) -> None:
    for mirror in (first, second, second, first, second):
        ds = load(SPLIT, classes=CLASS, mirror=str(mirror.root), on_missing="raise")[SPLIT]
        assert served(ds) == clips_of(mirror)
        assert set(ds["source"]) == {"cvdf"}
    assert contents(folders["data_dir"]) == clips_of(second)


def test_a_few_clips_are_of_the_mirror_that_was_asked(
    load: Load, first: Miniature, second: Miniature
) -> None:
    load(SPLIT, classes=CLASS, mirror=str(first.root))
    few = load(SPLIT, classes=CLASS, max_samples=4, source="cvdf", mirror=str(second.root))[SPLIT]
    assert len(few) == 4
    assert served(few).items() <= clips_of(second).items()


def test_a_few_test_clips_are_not_taken_from_the_other_mirror_on_the_way(
    load: Load, first: Miniature, second: Miniature
) -> None:
    made = {
        tarball: {name: make_clip(700 + number) for number, name in enumerate(sorted(clips))}
        for tarball, clips in first.clips["test"].items()
    }
    for tarball, clips in made.items():  # the same names, other bytes
        (second.root / "test" / f"{tarball}.tar.gz").write_bytes(make_tarball(clips))
    options = {"source": "cvdf", "test_labels": str(first.test_labels)}
    load("test", mirror=str(first.root), **options)
    few = load("test", mirror=str(second.root), max_samples=2, **options)["test"]
    expected = {name: data for clips in made.values() for name, data in clips.items()}
    got = {os.path.basename(v["path"]): Path(v["path"]).read_bytes() for v in few["video"]}
    assert len(got) == 2
    assert got.items() <= expected.items()


def test_a_stream_gives_no_other_mirror_s_clip(
    load: Load, first: Miniature, second: Miniature
) -> None:
    for mirror in (first, second):
        options = {"classes": CLASS, "mirror": str(mirror.root)}
        for more in ({}, {"max_samples": 2}):
            found = served(load(SPLIT, streaming=True, **options, **more)[SPLIT])
            assert found.items() <= clips_of(mirror).items()
            assert len(found) == more.get("max_samples", len(clips_of(mirror)))
        load(SPLIT, **options)


def test_all_who_look_say_the_same_of_a_mirror(
    load: Load, ask: Ask, first: Miniature, server: WebServer
) -> None:
    load(SPLIT, classes=CLASS, mirror=str(first.root))
    for mirror, clips, others in ((str(first.root), 2, 0), (f"{server.url}/600", 0, 2)):
        request = ask(mirror=mirror)
        (status,) = read_status(request).splits
        assert (status.counts.here_clips, status.other_mirror_clips) == (clips, others)
        assert plan(request).here_clips == clips
        assert verify_clips(request).splits[0].classes == {CLASS: {"ok": 2}}  # of the files here
        rows = metadata_rows(request, SPLIT)
        assert sum(row["sha256"] is not None for row in rows) == clips
    assert fetches(server) == []


def test_offline_a_small_mirror_does_not_stand_for_the_real_host(
    load: Load, ask: Ask, first: Miniature, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    load(SPLIT, classes=CLASS, mirror=str(first.root))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    for options in ({}, {"max_samples": 1}, {"streaming": True}):
        with pytest.raises(NoClipsError, match="2 clips there came from another mirror"):
            load(SPLIT, classes=CLASS, mirror="s3://kinetics/600", **options)
    (status,) = read_status(ask(mirror="https://kinetics.s3.amazonaws.com/600")).splits
    assert (status.counts.here_clips, status.other_mirror_clips) == (0, 2)
    assert plan(replace(ask(mirror="s3://kinetics/600"), offline=True)).here_clips == 0
    for options in ({}, {"max_samples": 2}, {"streaming": True}):
        ds = load(SPLIT, classes=CLASS, mirror="s3://kinetics/600", source="local", **options)
        assert served(ds[SPLIT]) == clips_of(first)
        assert {row["source"] for row in ds[SPLIT]} == {"cvdf"}


def test_offline_each_mirror_serves_what_came_from_it(
    load: Load, first: Miniature, second: Miniature, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web_server(first.root.parent) as one, web_server(second.root.parent) as two:
        load(SPLIT, classes=CLASS, mirror=f"{one.url}/600")
        load(SPLIT, classes=CLASS, mirror=f"{two.url}/600")
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        ds = load(SPLIT, classes=CLASS, mirror=f"{two.url}/600", on_missing="raise")[SPLIT]
        assert served(ds) == clips_of(second)
        with pytest.raises(NoClipsError, match="5 clips there"):  # its two were replaced
            load(SPLIT, classes=CLASS, mirror=f"{one.url}/600")


def test_what_a_user_put_there_is_local_whatever_mirror_is_asked(
    load: Load, folders: dict[str, Any], first: Miniature, second: Miniature
) -> None:
    own = Path(folders["data_dir"], SPLIT, CLASS, "mineownclip_000000_000010.mp4")
    own.parent.mkdir(parents=True)
    own.write_bytes(make_clip(77))
    for mirror in (first, second):
        ds = load(SPLIT, classes=CLASS, mirror=str(mirror.root))[SPLIT]
        sources = {os.path.basename(row["video"]["path"]): row["source"] for row in ds}
        assert sources.pop(own.name) == "local"
        assert set(sources.values()) == {"cvdf"}
    assert own.read_bytes() == make_clip(77)


@pytest.mark.parametrize("options", [{}, {"max_samples": 3, "source": "cvdf"}])
def test_the_same_object_at_another_address_is_not_read_again(
    options: dict[str, Any], load: Load, ask: Ask, second: Miniature, server: WebServer
) -> None:
    load(SPLIT, classes=CLASS, mirror=f"{server.url}/600")
    with web_server(second.root.parent) as other:
        request = ask(mirror=f"{other.url}/600", **options)
        assert plan(request).complete  # though it may note nothing
        ds = load(SPLIT, classes=CLASS, mirror=f"{other.url}/600", **options)[SPLIT]
        assert len(ds) == options.get("max_samples", 5)
        assert fetches(other) == []
        (status,) = read_status(ask(mirror=f"{other.url}/600")).splits
        assert (status.counts.here_clips, status.other_mirror_clips) == (5, 0)
        (status,) = read_status(ask(mirror=f"{server.url}/600")).splits
        assert status.counts.here_clips == 5


def test_an_older_ledger_is_of_the_mirror_whose_lists_are_kept(
    load: Load,
    folders: dict[str, Any],
    second: Miniature,
    server: WebServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"classes": CLASS, "mirror": f"{server.url}/600", "on_missing": "raise"}
    load(SPLIT, **options)
    make_older(Store.at(folders["data_dir"]).ledger_path)
    server.requests.clear()
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert served(load(SPLIT, **options)[SPLIT]) == clips_of(second)
    with pytest.raises(NoClipsError):
        load(SPLIT, classes=CLASS, mirror="https://elsewhere.invalid/600")
    assert server.requests == []


def test_an_older_ledger_of_two_mirrors_is_looked_up_by_etag_once(
    load: Load,
    folders: dict[str, Any],
    first: Miniature,
    second: Miniature,
    server: WebServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"classes": CLASS, "mirror": f"{server.url}/600", "on_missing": "raise"}
    load(SPLIT, **options)
    store = Store.at(folders["data_dir"])
    store.write_own(f"lists/{short_hash(str(first.root))}-{SPLIT}-listing", b"")
    make_older(store.ledger_path)
    server.requests.clear()
    with monkeypatch.context() as patch:
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        with pytest.raises(NoClipsError, match="5 clips there came from another mirror"):
            load(SPLIT, **options)
    for _ in range(2):
        assert served(load(SPLIT, **options)[SPLIT]) == clips_of(second)
    assert fetches(server) == []
    assert len([path for method, path in server.requests if ".tar.gz" in path]) == 1
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert served(load(SPLIT, **options)[SPLIT]) == clips_of(second)


def test_lists_are_kept_for_each_endpoint_and_once_for_all_spellings(
    tmp_path: Path, first: Miniature
) -> None:
    store = Store.at(tmp_path / "clips")
    listing = (first.root / "annotations/val.txt").read_bytes()
    store.write_own(f"lists/{short_hash('s3://kinetics/600')}-{SPLIT}-listing", listing)

    def kept(url: str, options: dict[str, Any]) -> list[str]:
        return [*KeptLists(Mirror(url, options), store, SPLIT).listing()]

    assert CLASS in kept("s3://kinetics/600", {"anon": True})
    assert CLASS in kept("https://kinetics.s3.us-east-1.amazonaws.com/600/", {})
    assert kept("s3://kinetics/600", {"endpoint_url": "http://localhost:8333"}) == []


def test_the_cache_key_names_the_mirror_unless_it_is_the_default(ask: Ask) -> None:
    def key(**options: Any) -> object:
        return ask(**options).cache_key("/elsewhere").get("mirror")

    assert key() is key(mirror="https://s3.amazonaws.com/kinetics/600/") is None
    assert key(mirror="https://mirror.example/600?secret") == "https://mirror.example/600"
    assert key(mirror_options={"endpoint_url": "http://one"}) == "http://one/kinetics/600"
    assert key(mirror="https://mirror.example/600", source="local") is None

"""Trees that other tools left: taken as they are, nothing fetched, nothing moved."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from k600.dataset.clip import Tarball
from k600.miniature import CLASSES, Miniature, make_miniature
from k600.store.inventory import Folders, read_view
from k600.store.ledger import Ledger
from k600.store.rows import ClipRow, TarballRow
from k600.store.store import Store
from tests.conftest import Load, contents
from tests.servers import WebServer, web_server

SPLIT_FOLDERS = {
    "FiftyOne": {"train": "train", "validation": "validation"},
    "torchvision": {"train": "train", "validation": "val"},
    "CVDF, by class": {"train": "train", "validation": "val"},
    "CVDF, flat": {"train": "train", "validation": "val"},
    "mmaction2": {"train": "videos_train", "validation": "videos_val"},
}


def class_folder(tool: str, label: str) -> str:
    if tool == "FiftyOne":
        return label
    if tool == "CVDF, flat":
        return ""
    if tool == "torchvision":
        label = label.translate({ord(c): None for c in "'()"})
    return label.replace(" ", "_")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    """A host whose lists are right."""
    return make_miniature(
        tmp_path_factory.mktemp("host"), classes=CLASSES[2:], flaws=False, shared_names=False
    )


def lay_out(tool: str, host: Miniature, split: str, root: Path) -> None:
    for label, clips in host.clips[split].items():
        folder = root / SPLIT_FOLDERS[tool][split] / class_folder(tool, label)
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in clips.items():
            (folder / name).write_bytes(data)


def state(root: Path) -> dict[str, tuple[bytes, int, int]]:
    """Return all that is below a folder, but the loader's own: bytes, time and inode."""
    return {
        path: (data, (root / path).stat().st_mtime_ns, (root / path).stat().st_ino)
        for path, data in contents(root).items()
    }


def tarballs(server: WebServer) -> list[str]:
    return [request for request in server.requests if ".tar.gz" in str(request)]


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("tool", SPLIT_FOLDERS)
def test_a_tree_is_adopted_as_it_is(
    tool: str, split: str, host: Miniature, tmp_path: Path, load: Load
) -> None:
    root = tmp_path / "tree"
    lay_out(tool, host, split, root)
    (root / "notes.txt").write_text("theirs")
    before = state(root)
    with web_server(host.root.parent) as server:
        options = {"data_dir": str(root), "mirror": f"{server.url}/600", "on_missing": "raise"}
        ds = load(split, **options)[split]
        assert tarballs(server) == []
        server.requests.clear()
        one = load(split, classes="surfing water", **options)[split]
        few = load(split, max_samples=3, shuffle=True, **options)[split]
        streamed = list(load(split, max_samples=3, streaming=True, **options)[split])
        assert server.requests == []
    assert state(root) == before
    labels = {name: label for label, clips in host.clips[split].items() for name in clips}
    assert len(ds) == len({(label, n) for label, c in host.clips[split].items() for n in c})
    assert set(ds["source"]) == {"local"}
    for row in ds:
        path = Path(row["video"]["path"])
        assert path.is_relative_to(root)
        assert path.exists()
        assert ds.features["label"].int2str(row["label"]) == labels[path.name]
    assert (len(one), len(few), len(streamed)) == (5, 3, 3)
    assert all(os.path.exists(row["video"]["path"]) for row in streamed)


@pytest.mark.parametrize("tool", SPLIT_FOLDERS)
def test_offline_what_is_there_is_loaded(
    tool: str, host: Miniature, tmp_path: Path, load: Load
) -> None:
    root = tmp_path / "tree"
    lay_out(tool, host, "train", root)
    if tool == "CVDF, flat":  # its classes are in the host's list, which was fetched once
        load("train", data_dir=str(root), mirror=str(host.root), max_samples=1)
    options = {"data_dir": str(root), "source": "local", "mirror": str(host.root)}
    ds = load("train", **options)["train"]
    assert len(ds) == 20
    assert len(load("train", max_samples=4, **options)["train"]) == 4


@pytest.mark.parametrize("tool", SPLIT_FOLDERS)
def test_a_clip_that_lacks_or_is_cut_off_is_fetched_and_theirs_stays(
    tool: str,
    host: Miniature,
    tmp_path: Path,
    load: Load,
    lines: pytest.LogCaptureFixture,
) -> None:
    root = tmp_path / "tree"
    lay_out(tool, host, "train", root)
    label = "surfing water"
    folder = root / SPLIT_FOLDERS[tool]["train"] / class_folder(tool, label)
    lacking, cut_off = sorted(host.clips["train"][label])[:2]
    (folder / lacking).unlink()
    data = (folder / cut_off).read_bytes()
    (folder / cut_off).write_bytes(data[: len(data) // 2])
    before = state(root)
    with web_server(host.root.parent) as server:
        options = {"data_dir": str(root), "mirror": f"{server.url}/600"}
        if tool != "CVDF, flat":  # whose classes are in the host's list, not known yet
            local = load("train", source="local", **options)["train"]
            assert len(local) == 18
            assert "1  truncated" in lines.text
        ds = load("train", on_missing="raise", **options)["train"]
        assert all("surfing water" in str(request) for request in tarballs(server))
    assert len(ds) == 20
    for row in ds:
        name = os.path.basename(row["video"]["path"])
        shown = ds.features["label"].int2str(row["label"])
        assert Path(row["video"]["path"]).read_bytes() == host.clips["train"][shown][name]
    after = state(root)
    if tool != "FiftyOne":  # its place for the clip is ours, too: the whole one takes it
        assert {path: after[path] for path in before} == before
    added = set(after) - set(before)
    assert {Path(path).name for path in added} <= {lacking, cut_off}


def test_a_test_tree_keeps_its_labels(host: Miniature, tmp_path: Path, load: Load) -> None:
    root = tmp_path / "tree"
    flat = root / "test"
    flat.mkdir(parents=True)
    for clips in host.clips["test"].values():
        for name, data in clips.items():
            (flat / name).write_bytes(data)
    options = {"mirror": str(host.root), "test_labels": str(host.test_labels)}
    ds = load("test", data_dir=str(root), source="local", **options)["test"]
    shown = {
        os.path.basename(row["video"]["path"]): None
        if row["label"] is None
        else ds.features["label"].int2str(row["label"])
        for row in ds
    }
    assert shown == host.labels
    before = state(root)
    ds = load("test", data_dir=str(root), on_missing="raise", **options)["test"]
    assert len(ds) == len(shown)
    assert set(ds["source"]) == {"local"}
    assert state(root) == before


def test_a_clip_that_comes_later_is_noticed(
    host: Miniature, tmp_path: Path, load: Load, folders: dict[str, Any]
) -> None:
    root = tmp_path / "tree"
    lay_out("torchvision", host, "train", root)
    name = sorted(host.clips["train"]["surfing water"])[0]
    clip = root / "train/surfing_water" / name
    shutil.move(clip, tmp_path / name)
    options = {"data_dir": str(root), "source": "local", "mirror": str(host.root)}
    assert len(load("train", **options)["train"]) == 19
    shutil.move(tmp_path / name, clip)
    assert len(load("train", **options)["train"]) == 20
    clip.unlink()
    assert len(load("train", **options)["train"]) == 19


def test_flat_clips_of_no_list_are_counted(
    host: Miniature, tmp_path: Path, load: Load, lines: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "tree"
    lay_out("CVDF, flat", host, "train", root)
    shutil.copy(next((root / "train").iterdir()), root / "train/unheardof00_000000_000010.mp4")
    ds = load("train", data_dir=str(root), mirror=str(host.root))["train"]
    assert len(ds) == 20
    assert "not using 1 clip in flat folders" in lines.text


def test_a_clip_that_comes_while_one_looks_is_not_taken_for_gone(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    store.prepare()
    ledger, folder = Ledger(store.ledger_path, "s3://kinetics/600"), "train/zumba"
    folders = Folders(store)
    assert folders.names(folder) == set()  # just before another process stores a clip
    tarball = Tarball("train", "zumba")
    name = "aFirstClip0_000000_000010.mp4"
    store.path(folder, name).parent.mkdir(parents=True)
    store.path(folder, name).write_bytes(b"clip")
    row = ClipRow(tarball, 0, folder, name, "have", "", "cvdf", 4)
    ledger.record(TarballRow(tarball, "done", "etag", 4), [row])
    known = read_view(ledger, "train", folders, [folder])
    assert [group.names for group in known.groups] == [{name}]
    assert folders.names(folder) == {name}
    known = read_view(ledger, "train", folders, [folder])
    assert folders.names(folder) is known.groups[0].names  # what both say is held once

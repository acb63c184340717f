"""Clips are deleted on purpose: only the loader's own, and what is asked for later comes again."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from k600.dataset.clip import Clip
from k600.miniature import Miniature
from k600.store.ledger import Ledger
from k600.store.removal import plan_removal, remove_clips, remove_own
from k600.store.store import Store
from tests.conftest import Command, Load, contents, expected
from tests.terminals import in_terminal

PROGRAM = Path(sys.executable).with_name("kinetics600")
OWN = "mine_of_min_000000_000010.mp4"
SURFING = "validation/surfing water"


@pytest.fixture
def store(load: Load, folders: dict[str, Any]) -> Store:
    """A store with the whole validation split, and the test split."""
    load("validation")
    load("test")
    return Store.at(folders["data_dir"])


def delete(store: Store, split: str, *classes: str) -> int:
    removal = plan_removal(store, split, classes or None)
    remove_clips(store, removal)
    return removal.clips


def test_a_deleted_class_comes_again_when_it_is_asked_for(
    store: Store, load: Load, miniature: Miniature, lines: pytest.LogCaptureFixture
) -> None:
    removal = plan_removal(store, "validation", ["surfing water"])
    there = expected(miniature, "validation")
    own = {path: data for path, data in there.items() if path.startswith(SURFING)}
    assert (removal.clips, removal.size_bytes) == (len(own), sum(map(len, own.values())))
    assert len(contents(store.root)) == len(there) + len(expected(miniature, "test"))  # as yet

    remove_clips(store, removal)
    left = {path for path in contents(store.root) if path.startswith("validation")}
    assert left == there.keys() - own.keys()
    assert not (store.root / SURFING).exists()
    assert len(load("validation", source="local")["validation"]) == len(left)

    lines.clear()
    assert len(load("validation")["validation"]) == len(there)
    assert "1 tarball read" in lines.text
    assert contents(store.root) == there | expected(miniature, "test")


def test_a_deleted_test_split_comes_again(store: Store, load: Load, miniature: Miniature) -> None:
    assert delete(store, "test") == 12
    assert not (store.root / "test").exists()
    load("test")
    assert contents(store.root) == expected(miniature, "validation") | expected(miniature, "test")


def test_what_is_not_the_loaders_stays(store: Store, tmp_path: Path) -> None:
    first, second, third, *_ = sorted((store.root / SURFING).iterdir())
    shutil.copy(first, store.root / SURFING / OWN)
    (store.root / "val/surfing_water").mkdir(parents=True)  # another tool's
    shutil.copy(first, store.root / "val/surfing_water" / OWN)
    second.write_bytes(b"changed by its owner")
    outside = tmp_path / third.name
    shutil.move(third, outside)
    third.symlink_to(outside)

    removal = plan_removal(store, "validation")
    remove_clips(store, removal)
    left = sorted(path.name for path in (store.root / "validation").rglob("*.mp4"))
    assert left == sorted([OWN, second.name, third.name])
    assert removal.others == 2  # a link that leads out of the store is no clip of it
    assert outside.exists()
    assert (store.root / "val/surfing_water" / OWN).exists()


def test_a_clip_that_was_put_aside_stays_as_it_may_be_a_users(
    store: Store, load: Load, command: Command
) -> None:
    for split in ("validation", "test"):
        delete(store, split)
    own = store.root / SURFING / OWN
    own.parent.mkdir(parents=True)
    own.write_bytes(b"no clip, but mine")
    load("validation", classes="surfing water")
    verified = command("verify", "validation", "--quarantine", "--data-dir", store.root)
    assert "quarantined" in verified.stdout
    assert not own.exists()

    done = command("delete", "all", "--data-dir", store.root, "--yes")
    assert "validation: 5 clips" in done.stderr
    assert "; kept: 1 not the loader's, or put aside" in done.stderr
    assert not remove_own(store)
    (kept,) = store.root.rglob(OWN)
    assert kept.read_bytes() == b"no clip, but mine"


def test_clips_behind_a_link_out_of_the_store_stay(store: Store, tmp_path: Path) -> None:
    shutil.move(store.root / "validation", tmp_path / "elsewhere")
    (store.root / "validation").symlink_to(tmp_path / "elsewhere")
    assert delete(store, "validation") == 0
    assert len([*(tmp_path / "elsewhere").rglob("*.mp4")]) == 30


def test_stopped_halfway_nothing_is_wrong_and_it_goes_on(
    store: Store, load: Load, miniature: Miniature
) -> None:
    steps = iter(range(3))

    def stop() -> None:
        if next(steps, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remove_clips(store, plan_removal(store, "validation"), on_clip=stop)
    left = [path for path in contents(store.root) if path.startswith("validation")]
    assert 0 < len(left) < 30
    assert len(load("validation", source="local")["validation"]) == len(left)

    load("validation")
    there = expected(miniature, "validation")
    assert {p: d for p, d in contents(store.root).items() if p in there} == there
    with pytest.raises(KeyboardInterrupt):
        remove_clips(store, plan_removal(store, "validation"), on_clip=stop)
    assert delete(store, "validation") < 30
    assert not (store.root / "validation").exists()
    view = Ledger(store.ledger_path).view("validation")
    assert not view.groups
    assert {clip.state for clip in view.others} == {"skipped", "bad", "absent"}


def test_a_clip_that_came_again_while_one_was_asked_stays_the_loaders(
    store: Store, load: Load
) -> None:
    first, *_ = sorted((store.root / SURFING).iterdir())
    first.unlink()
    planned = plan_removal(store, "validation", ["surfing water"])
    load("validation")
    assert first.exists()
    remove_clips(store, planned)
    assert first.exists()
    assert plan_removal(store, "validation", ["surfing water"]).clips == 1


def test_clips_that_come_while_all_is_deleted_stay_the_loaders(store: Store, load: Load) -> None:
    for split in ("validation", "test"):
        delete(store, split)
    load("validation")  # before the store's own folder goes
    assert not remove_own(store)
    assert plan_removal(store, "validation").clips == 30
    delete(store, "validation")
    assert remove_own(store)


def test_a_clip_from_youtube_is_asked_for_again(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    store.prepare()
    clip = Clip("train", "zumba", "abcdefghijk", 0, 10)
    ledger = Ledger(store.ledger_path, "file:///mirror")
    ledger.record_answer(clip, "have", "", "", "2026.10.26", size_bytes=5)
    path = store.path(clip.folder, clip.file_name)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"bytes")
    assert delete(store, "train", "zumba") == 1
    assert not path.exists()
    assert ledger.view("train").answers == []


def test_a_store_is_listed_and_deleted_whole(
    store: Store, load: Load, command: Command, miniature: Miniature
) -> None:
    load("train", classes=["zumba", "tie dying"], short_side=32)
    home = ("--data-dir", store.root)
    listed = json.loads(command("list", *home, "--json").stdout)
    assert [(row["split"], row["encoding"], row["here_clips"]) for row in listed] == [
        ("validation", "as is", 30),
        ("test", "as is", 12),
        ("train", "short_side_32", 5),
    ]
    sizes = {path: len(data) for path, data in expected(miniature, "validation").items()}
    assert listed[0]["here_bytes"] == sum(sizes.values())

    done = command("delete", "all", *home, "--yes")
    assert (done.returncode, done.stdout) == (0, "")
    assert "validation: 30 clips" in done.stderr
    assert [path.name for path in store.root.iterdir()] == ["short_side_32"]
    refused = command("delete", "all", *home, "--encoding", "short_side_33", "--yes")
    assert refused.returncode == 2
    assert "did you mean 'short_side_32'?" in refused.stderr
    command("delete", "all", *home, "--encoding", "short_side_32", "--yes")
    assert not (store.root / "short_side_32").exists()
    assert "There are no clips in" in command("list", *home).stderr


def test_it_asks_once_and_only_where_somebody_can_answer(store: Store, command: Command) -> None:
    words = ("delete", "validation", "--class", "surfing_water", "--data-dir", store.root)
    refused = command(*words)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert (store.root / SURFING).exists()

    def answer(keys: bytes) -> tuple[int, str]:
        env = {**os.environ, "HF_HOME": str(store.root.parent)}
        return in_terminal(env, store.root.parent, PROGRAM, *words, columns=80, typed=keys)

    code, shown = answer(b"n\n")
    assert (code, shown.count("Delete them?")) == (1, 1)
    assert "Nothing was deleted." in shown
    assert (store.root / SURFING).exists()
    code, shown = answer(b"y\n")
    assert (code, shown.count("Delete them?")) == (0, 1)
    assert not (store.root / SURFING).exists()

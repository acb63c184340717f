"""A disk that is full, read-only, forbidden or odd: one clear error, and the next call goes on."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kinetics600
from k600.errors import DiskFullError, StoreError
from k600.miniature import Miniature
from tests.conftest import expected
from tests.faults.jobs import Jobs, jobs
from tests.faults.trial import Note, assert_intact, assert_whole, fetch

NOBODY = 65_534


@contextlib.contextmanager
def small_volume(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a volume of that size in memory until the block ends; skip where one may not."""
    folder.mkdir()
    size = f"size={size_bytes}"
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True
    )
    if made.returncode:
        pytest.skip(f"no mounting here: {made.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.fixture
def no_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system say that there is room, as where somebody else fills the disk meanwhile."""
    real = os.statvfs

    def generous(path: Any) -> Any:
        found = list(real(path))
        found[2:5] = [1 << 40] * 3
        return os.statvfs_result(found)

    monkeypatch.setattr(os, "statvfs", generous)


@pytest.mark.parametrize("kilobytes", [20, 48, 64, 80, 96, 120, 140])
def test_a_disk_that_fills_up_in_the_middle(
    kilobytes: int, no_spare: None, origin: Miniature, tmp_path: Path, note: Note
) -> None:
    with small_volume(tmp_path / "volume", kilobytes << 10) as volume:
        options = {"mirror": str(origin.root), "data_dir": str(volume / "clips")}
        result = fetch(**options)
        assert isinstance(result.error, DiskFullError), result
        assert "Make room and call again" in str(result.error)
        assert_intact(volume / "clips", expected(origin, "train"))
        remount(volume, "size=50M")
        assert fetch(**options).recovered
        assert_whole(volume / "clips", expected(origin, "train"))
    note("disk full in the middle", refused=1, said=result.said, seconds=result.seconds)


def test_too_little_room_is_said_before_anything_is_fetched(
    origin: Miniature, tmp_path: Path, note: Note
) -> None:
    with small_volume(tmp_path / "volume", 1 << 20) as volume:
        result = fetch(mirror=str(origin.root), data_dir=str(volume / "clips"))
        assert isinstance(result.error, DiskFullError)
        assert result.fetched_bytes == 0
        assert_intact(volume / "clips", {})
    note("too little room", refused=1, said=result.said)


@pytest.mark.parametrize("kilobytes", [4, 12, 40])
def test_a_disk_for_rows_that_is_full(
    kilobytes: int, origin: Miniature, tmp_path: Path, note: Note
) -> None:
    """The clips have room, what `datasets` writes has not."""
    options: dict[str, Any] = {"mirror": str(origin.root), "data_dir": str(tmp_path / "clips")}
    with small_volume(tmp_path / "volume", kilobytes << 10) as volume:
        options["cache_dir"] = str(volume / "cache")
        with pytest.raises(DiskFullError, match="cache_dir: the volume of .* is full"):
            kinetics600.load_dataset("train", **options)
        remount(volume, "size=50M")
        assert len(kinetics600.load_dataset("train", **options)) == 48
    assert_whole(tmp_path / "clips", expected(origin, "train"))
    note("disk of rows full", refused=1, said="DiskFullError")


def test_a_disk_that_becomes_read_only(origin: Miniature, tmp_path: Path, note: Note) -> None:
    with small_volume(tmp_path / "volume", 200 << 20) as volume:
        options: dict[str, Any] = {"mirror": str(origin.root), "data_dir": str(volume / "clips")}
        assert fetch(classes="zumba", **options).recovered
        remount(volume, "ro")
        result = fetch(**options)
        assert isinstance(result.error, StoreError), result
        assert "cannot be written" in str(result.error)
        assert "source='local'" in str(result.error)
        assert fetch(classes="zumba", source="local", **options).recovered
        remount(volume, "rw")
        assert fetch(**options).recovered
        assert_whole(volume / "clips", expected(origin, "train"))
    note("read-only disk", refused=1, said=result.said, seconds=result.seconds)


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    with jobs(tmp_path_factory.mktemp("jobs")) as running:
        yield running


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize("forbidden", ["the folder", "a class", "the ledger", "the lists"])
def test_a_place_that_one_may_not_write(
    forbidden: str, forge: Jobs, origin: Miniature, tmp_path: Path, note: Note
) -> None:
    options: dict[str, Any] = {"mirror": str(origin.root), "data_dir": str(tmp_path / "clips")}
    assert fetch(classes="zumba", **options).recovered
    root = tmp_path / "clips"
    (root / "train/surfing water").mkdir()
    for path in (root, *root.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    place = {
        "the folder": root,
        "a class": root / "train/surfing water",
        "the ledger": root / ".kinetics600/ledger.sqlite",
        "the lists": root / ".kinetics600/lists",
    }[forbidden]
    for path in (place, *([place / ".kinetics600"] if place == root else [])):
        os.chown(path, 0, 0)
        path.chmod(0o555)
    for folder in (tmp_path, origin.root, forge.folder):
        reachable(folder)
    forge.folder.chmod(0o777)
    said = forge.run("measure", split="train", uid=NOBODY, **options)
    assert said["error"] in ("StoreError", "DiskFullError"), said
    assert "data_dir" in said["message"]
    assert_intact(root, expected(origin, "train"))
    place.chmod(0o777)
    os.chown(place, NOBODY, NOBODY)
    assert fetch(**options).recovered
    assert_whole(root, expected(origin, "train"))
    note("no permission", refused=1, said=said["error"], seconds=said["seconds"])


def reachable(folder: Path) -> None:
    """Let everybody walk to a folder, which pytest keeps for its owner."""
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.getuid() and parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(parent.stat().st_mode | 0o055)


@pytest.mark.parametrize(
    ("number", "works"),
    [
        (errno.EINVAL, True),  # what a file system says that knows no fsync
        (errno.ENOTSUP, True),
        (errno.ENOSPC, False),  # where space is given only when it is written
        (errno.EDQUOT, False),
        (errno.EIO, False),
    ],
)
def test_what_fsync_may_say(
    number: int,
    works: bool,
    origin: Miniature,
    data_dir: str,
    monkeypatch: pytest.MonkeyPatch,
    note: Note,
) -> None:
    """`os.fsync` stands for the system here; no disk at hand says such things."""

    def fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    options = {"mirror": str(origin.root), "data_dir": data_dir}
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        result = fetch(**options)
    assert result.recovered == works, result
    assert works or isinstance(result.error, StoreError)
    assert_intact(data_dir, expected(origin, "train"))
    assert fetch(**options).recovered
    assert_whole(data_dir, expected(origin, "train"))
    note(f"fsync says {errno.errorcode[number]}", recovered=int(works), refused=int(not works))

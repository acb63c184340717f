"""A disk that is full, read-only, forbidden or odd: one clear error, and the next call goes on."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kinetics600
from k600.checks.doctor import check_disk, check_writable
from k600.errors import DiskFullError, StoreError
from k600.errors.disk import free_space
from k600.loading.estimate import forecast_split
from k600.miniature import Miniature
from k600.store.removal import plan_removal, remove_clips
from k600.store.store import Store
from tests.conftest import expected
from tests.faults.jobs import Jobs
from tests.faults.trial import Note, assert_intact, assert_whole, fetch

NOBODY = 65_534
GROUP = 2_000


@contextlib.contextmanager
def small_volume(folder: Path, size_bytes: int, files: int | None = None) -> Iterator[Path]:
    """Mount a volume of that size in memory until the block ends; skip where one may not."""
    folder.mkdir()
    size = f"size={size_bytes}" + (f",nr_inodes={files}" if files else "")
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


def test_a_volume_with_room_for_bytes_but_not_for_files(
    origin: Miniature, tmp_path: Path, note: Note
) -> None:
    """As many clips as there are, and as many inodes as that, but none to spare."""
    with small_volume(tmp_path / "volume", 200 << 20, files=100) as volume:
        options = {"mirror": str(origin.root), "data_dir": str(volume / "clips")}
        plan = forecast_split(kinetics600.make_request("train", **options), "train")
        assert (plan.needed_files, plan.free_files) == (52, 99)  # 48 clips, 2 folders, 2 locks
        assert "52 files, and the volume of" in plan.shortage
        result = fetch(**options)
        assert isinstance(result.error, DiskFullError)
        assert re.search(r"room for 9\d more \(inodes\), whatever their size", str(result.error))
        assert result.fetched_bytes == 0
        assert_intact(volume / "clips", {})
        found = check_disk(Store.at(volume / "clips"))
        assert re.search(r"free, in 9\d files at most", found.detail)
        remount(volume, "nr_inodes=1000")
        assert fetch(**options).recovered
        assert_whole(volume / "clips", expected(origin, "train"))
    note("no inodes", refused=1, said=result.said)


def test_a_volume_whose_files_run_out_in_the_middle_says_that_it_is_files(tmp_path: Path) -> None:
    with small_volume(tmp_path / "volume", 200 << 20, files=100) as volume:
        store = Store.at(volume / "clips")
        store.prepare()
        with store.incoming() as incoming:
            for number in range(free_space(volume).files or 0):
                (volume / f"{number}").touch()  # somebody else's
            with pytest.raises(DiskFullError, match="no room for more files: its inodes are used"):
                incoming.write([b"clip"], lambda _: None)


def test_a_plan_asks_for_the_room_that_the_load_asks_for(
    origin: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there already is left out in both: a load that was killed goes on in what is free."""
    clips = [*expected(origin, "train").items()][:20]  # of "surfing water"
    for name, data in clips:
        (tmp_path / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clips" / name).write_bytes(data)
    options = {"mirror": str(origin.root), "data_dir": str(tmp_path / "clips")}

    def plan() -> Any:
        return forecast_split(kinetics600.make_request("train", **options), "train")

    needed = plan()
    assert needed.needed_files == 48 - 20 + 4
    assert (
        needed.needed_bytes
        < needed.prices["cvdf"].size_bytes - sum(len(data) for _, data in clips) // 2
    )
    real = os.statvfs

    def free(size_bytes: int) -> None:
        def statvfs(path: Any) -> Any:
            found = list(real(path))
            found[1:5] = [1, 1 << 50, size_bytes, size_bytes]
            return os.statvfs_result(found)

        monkeypatch.setattr(os, "statvfs", statvfs)

    free(needed.needed_bytes + (64 << 20) - 1)
    result = fetch(**options)
    assert isinstance(result.error, DiskFullError)
    assert plan().shortage in str(result.error)
    free(needed.needed_bytes + (64 << 20))
    assert plan().shortage == ""
    assert fetch(**options).recovered


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


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize(
    "forbidden", ["the folder", "a class", "the ledger", "the lists", "the reports"]
)
def test_a_place_that_one_may_not_write(
    forbidden: str, forge: Jobs, origin: Miniature, common: Path, note: Note
) -> None:
    options: dict[str, Any] = {"mirror": str(common / "600"), "data_dir": str(common / "clips")}
    assert fetch(classes="zumba", **options).recovered
    root = common / "clips"
    (root / "train/surfing water").mkdir()
    for path in (root, *root.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    place = {
        "the folder": root,
        "a class": root / "train/surfing water",
        "the ledger": root / ".kinetics600/ledger.sqlite",
        "the lists": root / ".kinetics600/lists",
        "the reports": root / ".kinetics600/reports",
    }[forbidden]
    for path in (place, *([place / ".kinetics600"] if place == root else [])):
        os.chown(path, 0, 0)
        path.chmod(0o555)
    said = forge.run("measure", split="train", uid=NOBODY, **options)
    assert said["error"] in ("StoreError", "DiskFullError"), said
    assert "data_dir" in said["message"]
    if forbidden != "a class":  # it is said before anything is fetched
        assert not any((root / "train/surfing water").iterdir())
    assert_intact(root, expected(origin, "train"))
    place.chmod(0o777)
    os.chown(place, NOBODY, NOBODY)
    assert fetch(**options).recovered
    assert_whole(root, expected(origin, "train"))
    note("no permission", refused=1, said=said["error"], seconds=said["seconds"])


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (0o002, 0o002, ""),
        (0o002, 0o022, ""),
        (0o022, 0o002, "cannot be written"),
        (0o077, 0o002, "cannot be read"),
    ],
)
def test_two_members_of_a_group_share_a_store(
    first: int,
    second: int,
    words: str,
    forge: Jobs,
    origin: Miniature,
    common: Path,
    note: Note,
) -> None:
    """Where the first one's umask shuts the second out, the message says whose the folder is."""
    store = common / "clips"
    store.mkdir()
    os.chown(store, 1001, GROUP)
    store.chmod(0o2775)
    options: dict[str, Any] = {"mirror": str(common / "600"), "data_dir": str(store), "gid": GROUP}
    one = forge.run("measure", split="train", classes="zumba", uid=1001, umask=first, **options)
    assert one["recovered"], one
    others = {path for path in store.rglob("*") if not path.stat().st_mode & stat.S_IWGRP}
    assert bool(others) == (first != 0o002), others  # whatever was made follows the umask
    two = forge.run("measure", split="train", uid=1002, umask=second, **options)
    if words:
        assert two["error"] == "StoreError", two
        for each in (words, "belongs to '1001', with rights", "chmod -R g+rwX", "umask 002"):
            assert each in two["message"]
        assert "move" not in two["message"]
        assert_intact(store, expected(origin, "train"))
    else:
        assert two["recovered"], two
        assert_whole(store, expected(origin, "train"))
        one = forge.run("measure", split="train", uid=1001, umask=first, **options)
        assert one["recovered"], one
    note("shared store", refused=bool(words), recovered=not words, said=two["error"])


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_a_clip_s_folder_of_somebody_with_umask_077(
    forge: Jobs, origin: Miniature, common: Path
) -> None:
    options: dict[str, Any] = {"mirror": str(common / "600"), "data_dir": str(common / "clips")}
    assert fetch(**options).recovered
    (common / "clips/train/zumba").chmod(0o700)
    for source in ("auto", "local"):
        said = forge.run("measure", split="train", uid=NOBODY, source=source, **options)
        assert said["error"] == "StoreError", said
        assert "train/zumba' cannot be read (Permission denied)" in said["message"]
        assert "belongs to 'root', with rights drwx------" in said["message"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_clips_that_one_may_not_delete_stay(origin: Miniature, common: Path) -> None:
    options: dict[str, Any] = {"mirror": str(common / "600"), "data_dir": str(common / "clips")}
    assert fetch(**options).recovered
    store = Store.at(common / "clips")
    for path in (store.root, *store.root.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    os.chown(store.root / "train/zumba", 0, 0)
    removal = plan_removal(store, "train", ["zumba"])
    os.seteuid(NOBODY)
    try:
        with pytest.raises(StoreError, match="train/zumba' cannot be written .*belongs to 'root'"):
            remove_clips(store, removal)
    finally:
        os.seteuid(0)
    assert_whole(store.root, expected(origin, "train"))
    assert plan_removal(store, "train", ["zumba"]) == removal


def test_the_doctor_proves_what_a_load_proves(origin: Miniature, tmp_path: Path) -> None:
    with small_volume(tmp_path / "volume", 200 << 20) as volume:
        store = Store.at(volume / "clips")
        options: dict[str, Any] = {"mirror": str(origin.root), "data_dir": str(store.root)}
        assert fetch(classes="zumba", **options).recovered
        assert check_writable(store).state == "ok"
        remount(volume, "ro")
        found = check_writable(store)
        assert found.state == "warning"
        assert "Read-only file system" in found.detail
        remount(volume, "rw")
        store.ledger_path.write_bytes(b"no database at all" * 100)
        found = check_writable(store)
        assert "ledger.sqlite' is damaged" in found.detail
        result = fetch(classes="zumba", **options)
        assert str(result.error).startswith(f"data_dir: {found.detail}. {found.advice}")


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

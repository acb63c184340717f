from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from k600.disk import Flushing, explained, flush, write_whole
from k600.errors import DiskFullError, Stopped, StoreError
from k600.store import Store

NAME = "-aFirstHyph_000000_000010.mp4"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.at(tmp_path / "clips")
    made.prepare()
    return made


def no_problem(file: io.BufferedIOBase) -> None:
    return None


def test_opening_a_store_touches_nothing(tmp_path: Path) -> None:
    store = Store.at(tmp_path / "clips")
    assert store.inventory("train/zumba") == set()
    assert store.stamp(["train/zumba"]) == {}
    assert store.read_own("lists/x") is None
    assert not store.root.exists()


def test_a_clip_gets_its_name_only_when_it_is_whole(store: Store) -> None:
    path = store.path("train/zumba", NAME)

    def chunks() -> Iterator[bytes]:
        yield b"first"
        assert not path.exists()
        yield b"second"

    def check(file: io.BufferedIOBase) -> None:
        assert not path.exists()
        file.seek(0)
        assert file.read() == b"firstsecond"

    with store.incoming() as incoming:
        part, size, problem = incoming.write(chunks(), check)
        assert (size, problem) == (11, None)
        assert not path.exists()
        incoming.place(part, path)
    assert path.read_bytes() == b"firstsecond"
    flush(path)
    assert store.inventory("train/zumba") == {NAME}


def test_a_folder_that_becomes_a_link_during_a_run_is_not_written_through(
    store: Store, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with store.incoming() as incoming:
        for name in (NAME, f"x{NAME[1:]}"):
            part, _, _ = incoming.write([b"clip"], lambda file: None)
            incoming.place(part, store.path("train/zumba", name))
        folder = store.root / "train/zumba"
        folder.rename(tmp_path / "aside")
        folder.symlink_to(outside)
        part, _, _ = incoming.write([b"clip"], lambda file: None)
        with pytest.raises(StoreError, match="out of the store"):
            incoming.place(part, store.path("train/zumba", f"y{NAME[1:]}"))
    assert [*outside.iterdir()] == []


def test_files_come_onto_the_disk_behind_their_writer(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}" for number in range(40)]
    with Flushing() as flushing:
        for path in paths:
            path.write_bytes(bytes(1 << 20))
            flushing.add(path, 1 << 20)
        flushing.finish()
        flushing.finish()  # nothing is left to do
    assert all(path.stat().st_size == 1 << 20 for path in paths)


@pytest.mark.parametrize("lost", [0, 39])
def test_what_cannot_be_brought_onto_the_disk_is_an_error(tmp_path: Path, lost: int) -> None:
    with pytest.raises(StoreError, match=f"/{lost}'"), Flushing() as flushing:
        for number in range(40):
            path = tmp_path / f"{number}"
            if number != lost:
                path.write_bytes(bytes(100))
            flushing.add(path, 1 << 20)
        flushing.finish()


def test_a_clip_that_fails_its_check_or_breaks_off_leaves_nothing(store: Store) -> None:
    def broken() -> Iterator[bytes]:
        yield b"first"
        raise Stopped("stopped")

    with store.incoming() as incoming:
        _, size, problem = incoming.write([b"x"], lambda _: "bad")
        assert (size, problem) == (1, "bad")
        with pytest.raises(Stopped):
            incoming.write(broken(), no_problem)
        assert not [*store.root.rglob("*.part")]
    assert not (store.root / "train").exists()


def test_what_a_killed_run_left_is_removed_and_a_living_one_s_is_not(store: Store) -> None:
    base = store.root / ".kinetics600/incoming"
    (base / "dead").mkdir()
    (base / "dead/half.part").write_bytes(b"half")
    (base / "dead.lock").touch()
    with store.incoming():
        living = [path for path in base.iterdir() if path.is_dir()]
        assert len(living) == 1
        assert living[0].name != "dead"
        with store.incoming():
            assert living[0].is_dir()
    assert [*base.iterdir()] == []


def test_other_files_in_a_folder_do_not_count(store: Store) -> None:
    folder = store.root / "train/zumba"
    folder.mkdir(parents=True)
    for name in (NAME, f"._{NAME}", f".{NAME}.part", "notes.txt"):
        (folder / name).touch()
    assert store.inventory("train/zumba") == {NAME}


def test_a_store_that_cannot_be_written_is_said_so_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for bad in (tmp_path / "file", tmp_path / "file/below", Path("/proc/clips")):
        with pytest.raises(StoreError, match=r"data_dir: .*KINETICS600_HOME"):
            Store.at(bad).prepare()


def test_the_room_is_checked_with_sizes_in_the_error(store: Store) -> None:
    store.check_room(1000)
    with pytest.raises(DiskFullError, match=r"the clips need 1\.0 EB, and .* has .* free"):
        store.check_room(10**18)


def test_a_full_volume_is_named(store: Store) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(DiskFullError, match=r"is full .*clips that are there stay"):
        with explained(store.path("train/zumba", NAME)), open(full, "wb", buffering=0) as file:
            file.write(b"x")


def test_one_at_a_time_and_a_wait_ends_when_told(store: Store) -> None:
    stop = threading.Event()
    inside = threading.Event()
    ended: list[BaseException] = []

    def second() -> None:
        try:
            inside.wait(10)
            with store.only_one("train--zumba", stop):
                pass
        except Stopped as error:
            ended.append(error)

    thread = threading.Thread(target=second)
    thread.start()
    with store.only_one("train--zumba", threading.Event()):
        inside.set()
        stop.set()
        thread.join(10)
    assert len(ended) == 1
    with store.only_one("train--zumba", threading.Event()):
        pass


def test_a_folder_s_stamp_tells_a_change_and_doubts_a_fresh_one(store: Store) -> None:
    import os

    folder = store.root / "train/zumba"
    folder.mkdir(parents=True)
    assert store.stamp(["train/zumba", "train/yoga"]) == {"train/zumba": 0}
    os.utime(folder, ns=(10**18, 10**18))
    assert store.stamp(["train/zumba"]) == {"train/zumba": 10**18}


def test_small_files_are_written_whole(store: Store, tmp_path: Path) -> None:
    path = store.write_own("lists/some", b"1\n")
    assert store.read_own("lists/some") == path.read_bytes() == b"1\n"
    write_whole(path, b"2\n")
    assert [file.name for file in path.parent.iterdir()] == ["some"]
    assert path.read_bytes() == b"2\n"


def test_who_waits_for_a_lock_goes_on_waiting(store: Store) -> None:
    """A lock held for longer than one look at it was once taken for a store that cannot be used."""
    store.prepare()
    entered, leave, got = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        with store.only_one("zumba", threading.Event()):
            entered.set()
            leave.wait(10)

    def wait() -> None:
        with store.only_one("zumba", threading.Event()):
            got.set()

    holder, waiter = threading.Thread(target=hold), threading.Thread(target=wait)
    holder.start()
    assert entered.wait(5)
    waiter.start()
    assert not got.wait(1.2)  # longer than the half second of one try
    leave.set()
    assert got.wait(5)
    holder.join()
    waiter.join()

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from k600.errors import DiskFullError, Stopped, StoreError
from k600.errors.disk import Space, free_space
from k600.errors.translate import store_error, translate_errors
from k600.store.files import flush, write_output, write_whole
from k600.store.store import Store
from k600.video.encoding import Encoding

NAME = "-aFirstHyph_000000_000010.mp4"


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


def test_runs_that_begin_together_leave_each_others_folders(store: Store) -> None:
    """None takes another for a killed one before that holds its lock."""

    def begin_often(_: int) -> None:
        for _ in range(100):
            with store.incoming() as incoming:
                incoming.write([b"clip"], lambda _: None)

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(begin_often, range(4))] == [None] * 4


def test_a_run_that_begins_after_the_stores_own_folder_went_makes_it_again(store: Store) -> None:
    assert store.remove_own(unless=lambda: False)
    assert not store.root.exists()
    with store.incoming() as incoming:
        assert not store.remove_own(unless=lambda: False)
        part, *_ = incoming.write([b"clip"], lambda _: None)
        assert part.exists()
    assert not store.remove_own(unless=lambda: True)
    assert store.remove_own(unless=lambda: False)


def test_a_run_that_waits_for_a_lock_that_is_deleted_makes_it_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = Store.only_one, ["before the lock is opened", "once it is held"]

    @contextlib.contextmanager
    def only_one(self: Store, name: str, stop: threading.Event | None = None) -> Iterator[None]:
        when = left.pop(0) if left else ""
        if when.startswith("before"):
            self._own("").rename(self.root / "leaving")
        with real(self, name, stop):
            if when.startswith("once"):
                self._own("").rename(self.root / "leaving too")
            yield

    monkeypatch.setattr(Store, "only_one", only_one)
    with store.incoming() as incoming:
        assert incoming.new_part().parent.is_dir()
    assert left == []


def test_what_a_killed_run_left_and_one_may_not_remove_is_left_to_its_owner(store: Store) -> None:
    """Its lock says that there is something; without it, nobody would look for it again."""
    base = store.root / ".kinetics600/incoming"
    (base / "dead").symlink_to(store.root / ".kinetics600/lists")  # as rmtree removes no link
    (base / "dead.lock").touch()
    with store.incoming():
        pass
    assert sorted(path.name for path in base.iterdir()) == ["dead", "dead.lock"]


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
    store.check_room(Space(1000, 1))
    with pytest.raises(DiskFullError, match=r"the clips need 1\.0 EB, and .* has .* free"):
        store.check_room(Space(10**18, 1))
    free = shutil.disk_usage(store.root.parent).free
    with pytest.raises(DiskFullError, match=r"67\.1 MB have to stay free"):
        store.check_room(Space(free - (32 << 20), 1))


def test_a_full_volume_is_named(store: Store) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(DiskFullError, match=r"is full .*clips that are there stay"):
        with (
            translate_errors(store_error, store.path("train/zumba", NAME)),
            open(full, "wb", buffering=0) as file,
        ):
            file.write(b"x")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, r"the volume of .* is full \(No space left on device\). Make room and call"),
        (errno.EDQUOT, r"your quota on the volume of .* is used up.*Make room and call again"),
        (
            errno.EACCES,
            r"cannot be written \(Permission denied\): '.*' belongs to '.+', with rights",
        ),
        (errno.EROFS, r"cannot be written \(Read-only file system\). Pass data_dir=… a folder"),
    ],
)
def test_each_thing_that_the_system_says_of_a_file_has_its_own_words(
    store: Store, number: int, words: str
) -> None:
    with (
        pytest.raises(StoreError, match=words),
        translate_errors(store_error, store.path("train/zumba", NAME)),
    ):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("kind", ["flock", "lockf"])
def test_a_file_system_without_locks_is_refused_at_once(
    store: Store, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such file system is at hand (NFS with `nolock`, Lustre without `flock`)."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, kind, refuse)
    with pytest.raises(StoreError, match=r"grants no locks \(No locks available\).*nolock"):
        store.prepare()
    assert [*(store.root / ".kinetics600/incoming").iterdir()] == []


def test_a_ledger_that_cannot_be_used_is_found_before_anything_is_fetched(store: Store) -> None:
    store.ledger_path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="ledger.* is damaged"):
        store.prepare()
    assert not store.is_writable(make=True)


def test_folders_locks_and_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        store = Store.at(tmp_path / "clips")
        store.prepare()
        with store.only_one("zumba", threading.Event()), store.incoming() as incoming:
            part, _, _ = incoming.write([b"clip"], lambda _: None)
            incoming.place(part, store.path("train/zumba", NAME))
            store.write_own("lists/some", b"1")
            found = {path: path.stat().st_mode & 0o7777 for path in store.root.rglob("*")}
            usual = {path: 0o775 if path.is_dir() else 0o664 for path in found}
    finally:
        os.umask(before)
    assert len(found) > 10
    assert found == usual


def test_files_count_like_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs

    def free(files: int, of: int) -> None:
        def statvfs(path: Path) -> os.statvfs_result:
            found = list(real(path))
            found[5:8] = [of, files, files]
            return os.statvfs_result(found)

        monkeypatch.setattr(os, "statvfs", statvfs)

    free(164, 1000)
    store.check_room(Space(1000, 100))
    with pytest.raises(DiskFullError, match=r"101 files, and .* room for 164 more \(inodes\)"):
        store.check_room(Space(1000, 101))
    free(0, 0)  # as btrfs says, which makes them as they are needed
    assert free_space(store.root).files is None
    store.check_room(Space(1000, 10**9))


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
    folder = store.root / "train/zumba"
    folder.mkdir(parents=True)
    assert store.stamp(["train/zumba", "train/yoga"]) == {"train/zumba": 0}
    os.utime(folder, ns=(10**18, 10**18))
    assert store.stamp(["train/zumba"]) == {"train/zumba": 10**18}


def test_a_fresh_folder_is_doubted_whatever_the_clock_of_this_machine_says(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file server has a clock of its own."""
    store.prepare()
    (store.root / "train/zumba").mkdir(parents=True)
    for hours in (-1, 1):
        now = time.time_ns() + hours * 3_600_000_000_000
        monkeypatch.setattr("time.time_ns", lambda now=now: now)
        assert store.stamp(["train/zumba"]) == {"train/zumba": 0}


def test_small_files_are_written_whole(store: Store, tmp_path: Path) -> None:
    path = store.write_own("lists/some", b"1\n")
    assert store.read_own("lists/some") == path.read_bytes() == b"1\n"
    write_whole(path, b"2\n")
    assert [file.name for file in path.parent.iterdir()] == ["some"]
    assert path.read_bytes() == b"2\n"


def test_what_a_user_names_stays_the_pipe_or_the_link_that_it_is(tmp_path: Path) -> None:
    """As root, `gallery --out /dev/null` had made a file of the system's `/dev/null`."""
    pipe, link, file = (tmp_path / name for name in ("pipe", "link", "file"))
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as threads:
        read = threads.submit(pipe.read_bytes)
        write_output(pipe, b"page")
        assert read.result() == b"page"
    assert pipe.is_fifo()

    file.write_bytes(b"old")
    link.symlink_to(file)
    write_output(link, b"new")
    assert link.is_symlink()
    assert file.read_bytes() == b"new"
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "link", "file"}


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


def test_a_link_belongs_to_the_store_if_what_it_leads_to_does(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "clips").symlink_to(tmp_path / "disk")  # the user's own
    (tmp_path / "private").mkdir()
    for name in (NAME, "notes.txt"):
        (tmp_path / "private" / name).write_bytes(b"private")
    store = Store.at(tmp_path / "clips")
    folder = store.root / "train/zumba"
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(b"clip")
    names = [f"{letter}{NAME[1:]}" for letter in "bcdef"]
    (folder / names[0]).symlink_to(NAME)
    (folder / names[1]).symlink_to(tmp_path / "private" / NAME)
    (folder / names[2]).symlink_to(f"../../../private/{NAME}")
    (folder / names[3]).symlink_to(names[1])  # leads out by another
    (folder / names[4]).symlink_to("nowhere")
    (folder / "notes.txt").symlink_to(tmp_path / "private/notes.txt")  # is no clip's
    outside_links: set[str] = set()
    assert store.inventory("train/zumba", outside_links) == {NAME, names[0]}
    assert outside_links == {f"train/zumba/{name}" for name in names[1:4]}
    assert [store.has(f"train/zumba/{name}") for name in (NAME, *names)] == [True, True] + 4 * [
        False
    ]
    (store.root / "train/yoga").symlink_to("zumba")
    (store.root / "validation").symlink_to(tmp_path)
    assert store.inventory("train/yoga", outside_links) == {NAME, names[0]}
    assert store.inventory("validation/private", outside_links) == set()
    assert store.inventory("train/../../private", outside_links) == set()
    assert {"validation", "train/../../private"} < outside_links
    assert not store.has(str(tmp_path / "private" / NAME))


def test_a_store_of_smaller_clips_is_no_link(tmp_path: Path) -> None:
    folder = tmp_path / "private/train/zumba"
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(b"private")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/short_side_128").symlink_to(tmp_path / "private")
    store = Store.at(tmp_path / "clips", Encoding(short_side=128))
    assert store.inventory("train/zumba") == set()
    with pytest.raises(StoreError, match="out of the store"):
        store.check_folder()
    with pytest.raises(StoreError, match="out of the store"):
        store.prepare()
    assert [*(tmp_path / "private").iterdir()] == [tmp_path / "private/train"]

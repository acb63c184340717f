from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from k600.clip import Clip, Tarball
from k600.errors import StoreError
from k600.ledger import CheckRow, ClipRow, Ledger, TarballRow


@contextlib.contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def rights(path: Path) -> int:
    return path.stat().st_mode & 0o777


ZUMBA = Tarball("train", "zumba")
ROW = TarballRow(ZUMBA, "done", "etag", 5, 1.5)


def clip(name: str, position: int, state: str = "have") -> ClipRow:
    return ClipRow(ZUMBA, position, "train/zumba", name, state, "", "cvdf", 3)


def test_a_ledger_that_is_not_there_knows_nothing_and_is_not_made_by_asking(
    tmp_path: Path,
) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert ledger.tarballs("train") == {}
    assert ledger.clips("train") == []
    assert ledger.tarball(ZUMBA) is None
    assert [*tmp_path.iterdir()] == []


def test_rows_come_back_in_the_tarball_s_order(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.record(ROW, [clip("b", 1), clip("a", 2, "bad"), clip("c", 0)])
    assert ledger.tarball(ZUMBA) == ROW
    assert [row.file_name for row in ledger.clips("train", "zumba")] == ["c", "b", "a"]
    assert ledger.clips("train", "yoga") == ledger.clips("test") == []


def test_recording_again_replaces(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.record(ROW, [clip("a", 0), clip("b", 1)])
    ledger.record(ROW, [clip("b", 0)])
    assert [row.file_name for row in ledger.clips("train")] == ["b"]


def test_a_record_that_fails_changes_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.record(ROW, [clip("a", 0)])
    with pytest.raises(StoreError):
        ledger.record(ROW, [clip("b", 0), clip("b", 1)])
    assert [row.file_name for row in ledger.clips("train")] == ["a"]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    evil = "'); DROP TABLE clips; --"
    ledger.record(ROW, [clip(evil, 0)])
    assert [row.file_name for row in ledger.clips("train")] == [evil]


@pytest.mark.parametrize("content", [b"no database at all" * 100, None])
def test_a_foreign_or_newer_ledger_is_a_clear_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ledger.sqlite"
    if content is None:
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
    else:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=r"ledger\.sqlite"):
        Ledger(path).tarballs("train")


def test_what_youtube_says_is_counted_by_times_and_days(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    asked = Clip("train", "zumba", "abcdefghijk", 0, 10)
    for _ in range(3):
        ledger.record_refused(asked, "gone", "unavailable", "Video unavailable", "2026.8.19")
    (row,) = ledger.answers("train")
    assert (row.kind, row.code, row.times, row.days) == ("gone", "unavailable", 3, 1)
    assert row.first_on == row.last_on
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db, db:
        db.execute("UPDATE answers SET first_on = '2026-01-01', last_on = '2026-01-01'")
    ledger.record_refused(asked, "gone", "unavailable", "Video unavailable", "2026.8.19")
    (row,) = ledger.answers("train")
    assert (row.times, row.days, row.first_on) == (4, 2, "2026-01-01")
    ledger.record_refused(asked, "gone", "private", "Private video", "2026.8.19")
    (row,) = ledger.answers("train")
    assert (row.code, row.times, row.days) == ("private", 1, 1)
    ledger.record_stored(asked, 1000, "2026.8.19")
    (row,) = ledger.answers("train")
    assert (row.kind, row.size_bytes, row.folder) == ("have", 1000, "train/zumba")


def test_a_ledger_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).record(ROW, [clip("a", 0)])
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE answers")
        db.execute("DROP TABLE adopted")
        db.execute("DROP TABLE checks")
        db.execute("PRAGMA user_version = 1")
    known = Ledger(path).known("train")
    assert [row.file_name for row in known.clips()] == ["a"]
    assert (list(known.answers), list(known.adopted)) == ([], [])
    Ledger(path).record_stored(Clip("train", "zumba", "abcdefghijk", 0, 10), 1, "1")
    assert len(Ledger(path).answers("train")) == 1


def test_what_was_found_in_a_file_is_kept_by_its_place(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert ledger.checks("train") == []
    row = CheckRow("train/zumba", "a", "train/zumba/a", 5, 7, "quick", "ok", "", 9.96, 2, 2, 5, "")
    foreign = row._replace(path="videos_train/zumba/a", verdict="damaged")
    ledger.record_checks("train", [row, foreign])
    assert {*ledger.checks("train", "train/zumba")} == {row, foreign}
    ledger.record_checks("train", [row._replace(moved_to="aside")])
    assert {*ledger.checks("train")} == {row._replace(moved_to="aside"), foreign}
    assert ledger.checks("train", "train/yoga") == ledger.checks("test") == []


def test_a_clip_that_is_bad_in_its_tarball_is_noted_there(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.record(ROW, [clip("a", 0), clip("b", 1), clip("c", 2, "skipped")])
    for name in ("a", "c", "none"):
        ledger.condemn("train", "train/zumba", name, "unreadable")
    found = [(row.file_name, row.state, row.reason) for row in ledger.clips("train")]
    assert found == [("a", "bad", "unreadable"), ("b", "have", ""), ("c", "skipped", "")]


@pytest.mark.parametrize(("mask", "wanted"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_the_file_and_its_journal_follow_the_umask(tmp_path: Path, mask: int, wanted: int) -> None:
    with umask(mask):
        path = tmp_path / "own/ledger.sqlite"
        path.parent.mkdir()
        Ledger(path).record(ROW, [clip("a", 0)])
    assert rights(path) == wanted
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM clips")
        assert rights(path.with_name("ledger.sqlite-journal")) == wanted


def test_a_file_that_shuts_out_the_group_of_its_folder_is_opened_by_its_owner(
    tmp_path: Path,
) -> None:
    """An earlier release made it 0644 wherever it was."""
    path = tmp_path / "ledger.sqlite"
    Ledger(path).record(ROW, [])
    path.chmod(0o644)
    tmp_path.chmod(0o775)
    Ledger(path).tarballs("train")
    assert rights(path) == 0o644  # who only reads changes nothing
    Ledger(path).prove()
    assert rights(path) == 0o664
    tmp_path.chmod(0o700)
    Ledger(path).prove()
    assert rights(path) == 0o664


def test_a_proof_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).prove()
    assert Ledger(path).tarballs("train") == {}
    Ledger(path).record(ROW, [clip("a", 0)])
    before = path.read_bytes()
    Ledger(path).prove()
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.sqlite"]


@pytest.mark.parametrize(
    ("trouble", "words", "is_good"),
    [
        ("busy", "is in use .*held it for 0.05 seconds.*leave the ledger where it is", True),
        ("newer", "is of version 99, and this release reads .*leave it where it is", True),
        ("no journal", r"cannot be opened \(unable to open.*SQLite needs to write there", True),
        ("no more bytes", r"cannot be used now \(disk I/O error\).*leave the ledger", True),
        ("another file", r"is damaged \(file is not a database\).*a copy of it back", False),
        ("a bad page", "is damaged .*a copy of it back.*move the file away", False),
        ("a pipe", "is no file", True),
    ],
)
def test_each_thing_that_sqlite_says_has_its_own_advice(
    tmp_path: Path, trouble: str, words: str, is_good: bool
) -> None:
    """Nobody is told to move a ledger away that is good."""
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    ledger.record(ROW, [clip(f"{number:0100}", number) for number in range(1000)])
    with contextlib.ExitStack() as stack:
        db = stack.enter_context(contextlib.closing(sqlite3.connect(path, isolation_level=None)))
        if trouble == "busy":
            db.execute("BEGIN IMMEDIATE")
        elif trouble == "newer":
            db.execute("PRAGMA user_version = 99")
        elif trouble == "no journal":
            path.with_name("ledger.sqlite-journal").symlink_to("nowhere/journal")
        elif trouble == "no more bytes":
            limit, most = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, most))
            stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, most))
        elif trouble == "another file":
            path.write_bytes(b"no database at all" * 100)
        elif trouble == "a bad page":
            data = path.read_bytes()
            path.write_bytes(data[:4096] + bytes(len(data) - 4096))
        else:
            path.unlink()
            os.mkfifo(path)
        with pytest.raises(StoreError, match=words) as caught:
            ledger.prove(wait_seconds=0.05)
            ledger.known("train")
    assert str(path) in str(caught.value)
    assert is_good != ("move the file away" in str(caught.value))


def test_a_path_too_long_for_sqlite_is_said_to_be_so_before_anything_is_made(
    tmp_path: Path,
) -> None:
    folder = tmp_path
    while len(str(folder)) < 500:
        folder /= "f" * min(100, 504 - len(str(folder)))
    folder.mkdir(parents=True)
    longest = folder.parent / ("l" * (503 - len(str(folder.parent))))
    for path, fits in ((longest, True), (Path(f"{longest}l"), False)):
        if fits:
            assert len(str(path)) == 504
            Ledger(path).record(ROW, [])
        else:
            with pytest.raises(StoreError, match="has 505 bytes, and SQLite takes 504 at most"):
                Ledger(path).prove()
    assert not Path(f"{longest}l").exists()

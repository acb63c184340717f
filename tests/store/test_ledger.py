from __future__ import annotations

import contextlib
import logging
import os
import resource
import sqlite3
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from k600.dataset.clip import Clip, Entry, Place, Tarball
from k600.errors import StoreError
from k600.errors.text import short_hash
from k600.store import ledger_file
from k600.store.ledger import Ledger
from k600.store.rows import (
    AdoptedRow,
    AnswerRow,
    Checkpoint,
    CheckRow,
    ClipRow,
    TarballRow,
)
from tests.old_ledger import make_old_ledger, make_version

MIRROR = "s3://kinetics/600"
OTHER = "https://mirror.example/600"


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
ROW = TarballRow(ZUMBA, "done", "etag", 5)
ENTRY = Entry(0, 512, 5, 3, 7)
CHECKPOINT = Checkpoint("gzip", 3, 9, 7, 9, 10, 1)


def clip(name: str, position: int, state: str = "have") -> ClipRow:
    reason = "truncated" if state == "bad" else ""
    return ClipRow(ZUMBA, position, "train/zumba", name, state, reason, "cvdf", 3)


def test_a_ledger_that_is_not_there_knows_nothing_and_is_not_made_by_asking(
    tmp_path: Path,
) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", MIRROR)
    assert ledger.tarballs("train") == {}
    assert ledger.clips("train") == []
    assert ledger.tarball(ZUMBA) is None
    assert [*tmp_path.iterdir()] == []


def test_rows_come_back_in_the_tarball_s_order(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", MIRROR)
    ledger.record(ROW, [clip("b", 1), clip("a", 2, "bad"), clip("c", 0)])
    assert ledger.tarball(ZUMBA) == ROW
    assert [row.file_name for row in ledger.clips("train", "zumba")] == ["c", "b", "a"]
    assert ledger.clips("train", "yoga") == ledger.clips("test") == []


def test_of_some_tarballs_only_their_clips_are_viewed(tmp_path: Path) -> None:
    ledger, yoga = Ledger(tmp_path / "ledger.sqlite", MIRROR), Tarball("train", "yoga")
    ledger.record(ROW, [clip("a", 0), clip("b", 1, "bad")])
    other = clip("c", 0)._replace(tarball=yoga, folder="train/yoga")
    ledger.record(replace(ROW, tarball=yoga), [other])
    whole, part = ledger.view("train"), ledger.view("train", only=["zumba", "abseiling"])
    assert [group.tarball.name for group in whole.groups] == ["yoga", "zumba"]
    assert [*part.groups, *part.others] == [*whole.groups[1:], *whole.others]


def test_recording_again_replaces(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", MIRROR)
    ledger.record(ROW, [clip("a", 0), clip("b", 1)])
    ledger.record(ROW, [clip("b", 0)])
    assert [row.file_name for row in ledger.clips("train")] == ["b"]


def test_a_record_that_fails_changes_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", MIRROR)
    ledger.record(ROW, [clip("a", 0)])
    with pytest.raises(StoreError):
        ledger.record(ROW, [clip("b", 0), clip("b", 1)])
    assert [row.file_name for row in ledger.clips("train")] == ["a"]


def test_a_transaction_of_several_calls_is_all_or_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", MIRROR)
    with pytest.raises(KeyError), ledger.transaction() as opened:
        opened.record(ROW, [clip("a.mp4", 0)])
        opened.record(ROW, [clip("b.mp4", 1)], replace=False)
        assert opened.clips("train", "zumba", ["b.mp4"]) == [clip("b.mp4", 1)]
        raise KeyError
    assert (ledger.tarball(ZUMBA), ledger.clips("train")) == (None, [])

    with ledger.transaction() as opened:
        opened.record(ROW, [clip("a.mp4", 0)])
        opened.record(ROW, [clip("b.mp4", 1)], replace=False)
    assert (ledger.tarball(ZUMBA), ledger.clips("train")) == (
        ROW,
        [clip("a.mp4", 0), clip("b.mp4", 1)],
    )


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", MIRROR)
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
        Ledger(path, MIRROR).tarballs("train")


def test_what_youtube_says_is_counted_by_times_and_days(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", MIRROR)
    asked = Clip("train", "zumba", "abcdefghijk", 0, 10)
    for _ in range(3):
        ledger.record_answer(asked, "gone", "unavailable", "Video unavailable", "2026.8.19")
    (row,) = ledger.view("train").answers
    assert (row.kind, row.code, row.times, row.days) == ("gone", "unavailable", 3, 1)
    assert row.first_on == row.last_on
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db, db:
        db.execute("UPDATE answers SET first_on = '2026-01-01', last_on = '2026-01-01'")
    ledger.record_answer(asked, "gone", "unavailable", "Video unavailable", "2026.8.19")
    (row,) = ledger.view("train").answers
    assert (row.times, row.days, row.first_on) == (4, 2, "2026-01-01")
    assert (row.versions, row.circumstances) == (1, "")
    ledger.record_answer(asked, "gone", "unavailable", "Video unavailable", "2026.9.1", "address=1")
    (row,) = ledger.view("train").answers
    assert (row.times, row.days, row.versions) == (5, 2, 2)
    assert (row.version, row.circumstances) == ("2026.9.1", "address=1")
    ledger.record_answer(asked, "gone", "private", "Private video", "2026.8.19")
    (row,) = ledger.view("train").answers
    assert (row.code, row.times, row.days, row.versions) == ("private", 1, 1, 1)
    ledger.record_answer(asked, "have", "", "", "2026.8.19", size_bytes=1000)
    (row,) = ledger.view("train").answers
    assert (row.kind, row.size_bytes, row.folder) == ("have", 1000, "train/zumba")


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_answers_of_an_earlier_version_are_read_and_taken_over(
    tmp_path: Path, version: int
) -> None:
    path = tmp_path / "ledger.sqlite"
    make_version(path, version)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        answer = ("train", "train/zumba", "a", "region", "country", "no", "2026.8.19", 0, 2, 1)
        marks = ", ".join("?" * 12)
        days = ("2026-08-20", "2026-08-20")
        db.execute(f"INSERT INTO answers VALUES ({marks})", (*answer, *days))
    before = path.read_bytes()
    expected = [AnswerRow(*answer[1:], *days, circumstances="", versions=1)]
    assert Ledger(path, MIRROR).view("train").answers == expected
    assert path.read_bytes() == before
    Ledger(path, MIRROR).record_answer(
        Clip("train", "yoga", "abcdefghijk", 0, 10), "have", "", "", "1", size_bytes=1
    )
    assert Ledger(path, MIRROR).view("train", only=["zumba"]).answers == expected


def test_a_ledger_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    make_old_ledger(path)
    (tmp_path / "lists").mkdir()
    (tmp_path / f"lists/{short_hash(MIRROR)}-train-listing").touch()
    before = path.read_bytes()
    known = Ledger(path, MIRROR).view("train")
    assert [row.file_name for row in known.clips()] == ["a", "b"]
    assert (list(known.answers), list(known.adopted)) == ([], [])
    assert path.read_bytes() == before
    Ledger(path, MIRROR).record_answer(
        Clip("train", "zumba", "abcdefghijk", 0, 10), "have", "", "", "1", size_bytes=1
    )
    assert len(Ledger(path, MIRROR).view("train").answers) == 1
    assert Ledger(path, MIRROR).tarball(ZUMBA) == ROW
    assert [row.file_name for row in Ledger(path, MIRROR).view("train").clips()] == ["a", "b"]


@pytest.mark.parametrize("version", [1, 4, 5])
def test_a_version_that_is_still_to_come_takes_over_what_each_one_before_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    path = tmp_path / "ledger.sqlite"
    make_old_ledger(path)
    (tmp_path / "lists").mkdir()
    (tmp_path / f"lists/{short_hash(MIRROR)}-train-listing").touch()
    make_version(path, version)
    if version > 3:  # as the release that came with it noted
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute("INSERT INTO mirrors VALUES (0, ?)", (f"lists:{short_hash(MIRROR)}",))
    later = ledger_file.VERSION + 1
    monkeypatch.setattr(ledger_file, "VERSION", later)
    monkeypatch.setitem(ledger_file._TABLES, "later", ("name", ("name",)))

    assert Ledger(path, MIRROR).tarball(ZUMBA) == ROW  # as it is
    with ledger_file.open_ledger(path, write=True) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (later,)
        assert db.execute("SELECT name FROM later").fetchall() == []
    assert Ledger(path, MIRROR).tarball(ZUMBA) == ROW  # taken over
    assert [row.file_name for row in Ledger(path, MIRROR).view("train").clips()] == ["a", "b"]


def test_an_old_ledger_beside_the_lists_of_two_mirrors_is_nobody_s(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    make_old_ledger(path)
    (tmp_path / "lists").mkdir()
    for mirror in (MIRROR, OTHER):
        (tmp_path / f"lists/{short_hash(mirror)}-train-listing").touch()
    for _ in ("as it is", "taken over"):
        known = Ledger(path, MIRROR).view("train")
        assert (known.tarballs, list(known.clips())) == ({}, [])
        assert [group.names for group in known.other_mirrors] == [{"a"}]
        assert Ledger(path).tarballs("train") == {"zumba": ROW}
        Ledger(path, MIRROR).record_answer(
            Clip("train", "yoga", "abcdefghijk", 0, 10), "have", "", "", "1", size_bytes=1
        )


def test_what_is_known_of_one_mirror_is_not_known_of_another(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path, MIRROR).record(ROW, [clip("a", 0), clip("b", 1, "bad")])
    known = Ledger(path, OTHER).view("train")
    assert (known.tarballs, list(known.clips())) == ({}, [])
    assert Ledger(path, OTHER).clips("train") == []
    assert [(group.folder, group.names) for group in known.other_mirrors] == [
        ("train/zumba", {"a"})
    ]
    assert Ledger(path).view("train") == Ledger(path, MIRROR).view("train")


def test_a_file_is_of_the_mirror_that_it_came_from_last(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    same = clip("same", 0)._replace(crc32=7)
    Ledger(path, MIRROR).record(ROW, [same, clip("a", 1)._replace(crc32=1), clip("b", 2)])
    Ledger(path, OTHER).record(ROW, [same, clip("a", 1)._replace(crc32=2), clip("b", 2)])
    states = {row.file_name: row.state for row in Ledger(path, MIRROR).clips("train")}
    assert states == {"same": "have", "a": "skipped", "b": "skipped"}  # of `b` nothing proves it
    assert {row.state for row in Ledger(path, OTHER).clips("train")} == {"have"}
    assert Ledger(path, OTHER).view("train").other_mirrors == []


def test_a_ledger_of_every_mirror_is_for_reading(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="for reading"):
        Ledger(tmp_path / "ledger.sqlite").record(ROW, [])


def test_what_was_found_in_a_file_is_kept_by_its_place(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", MIRROR)
    assert ledger.checks("train") == []
    row = CheckRow("train/zumba", "a", "train/zumba/a", 5, 7, "quick", "ok", "", 9.96, 2, 2, 5, "")
    foreign = row._replace(path="videos_train/zumba/a", verdict="damaged")
    ledger.record_files("train", [row, foreign])
    assert {*ledger.checks("train", "train/zumba")} == {row, foreign}
    ledger.record_files("train", [row._replace(moved_to="aside")])
    assert {*ledger.checks("train")} == {row._replace(moved_to="aside"), foreign}
    assert ledger.checks("train", "train/yoga") == ledger.checks("test") == []


def test_a_clip_that_is_bad_in_its_tarball_is_noted_there(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", MIRROR)
    ledger.record(ROW, [clip("a", 0), clip("b", 1), clip("c", 2, "skipped")])
    for name in ("a", "c", "none"):
        ledger.mark_bad_in_tarball("train", "train/zumba", name, "unreadable")
    found = [(row.file_name, row.state, row.reason) for row in ledger.clips("train")]
    assert found == [("a", "bad", "unreadable"), ("b", "have", ""), ("c", "skipped", "")]


BAD_VALUES = [
    ("mirrors", "id", "first"),
    ("mirrors", "identity", b"\xff"),
    ("mirrors", "identity", None),
    ("tarballs", "state", "finished"),
    ("tarballs", "etag", None),
    ("tarballs", "size_bytes", -1),
    ("tarballs", "failures", "twice"),
    ("clips", "state", "half"),
    ("clips", "state", 1),
    ("clips", "reason", "because"),
    ("clips", "source", "mars"),
    ("clips", "source", ""),
    ("clips", "position", -2),
    ("clips", "position", 0.5),
    ("clips", "file_name", "a\0b"),
    ("clips", "size_bytes", 1 << 62),
    ("clips", "size_bytes", 1.5),
    ("clips", "crc32", 1 << 32),
    ("clips", "crc32", "sum"),
    ("objects", "etag", None),
    ("objects", "etag", "one\r\nX-More: 1"),
    ("objects", "size_bytes", 0),
    ("objects", "packing", "zip"),
    ("entries", "entry_offset", -1),
    ("entries", "entry_offset", "first"),
    ("entries", "skip_bytes", None),
    ("entries", "span_bytes", 0),
    ("entries", "span_bytes", 6),
    ("entries", "crc32", None),
    ("entries", "crc32", 1 << 32),
    ("checkpoints", "crc32", None),
    ("checkpoints", "next_header", -1),
    ("answers", "kind", "perhaps"),
    ("answers", "file_name", "a\0b"),
    ("answers", "times", "often"),
    ("answers", "days", -1),
    ("answers", "last_on", "2026-13-01"),
    ("adopted", "problem", "ugly"),
    ("adopted", "mtime_ns", 0.5),
    ("checks", "verdict", "fine"),
    ("checks", "depth", "bottomless"),
    ("checks", "duration_seconds", float("-inf")),
    ("checks", "width", -1),
    ("checks", "moved_to", "../x"),
]


@pytest.mark.parametrize(("table", "column", "value"), BAD_VALUES)
def test_a_value_that_no_run_wrote_is_one_clear_error(
    table: str, column: str, value: object, tmp_path: Path
) -> None:
    """The ledger may have come with somebody else's store."""
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path, MIRROR)
    more: dict[str, Any] = {"packing": "gzip", "entries": {"a": ENTRY}, "checkpoint": CHECKPOINT}
    ledger.record(ROW, [clip("a", 0), clip("b", 1, "skipped")], **more)
    ledger.record_answer(Clip("train", "zumba", "abcdefghijk", 0, 10), "gone", "gone", "", "1")
    ledger.record_files("train", [AdoptedRow("train/zumba", "c", "train/zumba/c", 1, 2, "")])
    check = CheckRow(
        "train/zumba", "a", "train/zumba/a", 5, 7, "quick", "ok", "", 9.96, 2, 2, 5, ""
    )
    ledger.record_files("train", [check])

    def read() -> None:
        ledger.view("train", sizes=True)
        ledger.checks("train")
        ledger.places("train", [("zumba", "a")])
        ledger.checkpoint(ZUMBA, "etag", 5)

    read()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        schema = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        rows = db.execute(f"SELECT * FROM {table}").fetchall()
        db.execute(f"DROP TABLE {table}")  # a stranger's has no types to keep to
        for strict in ("NOT NULL", "WITHOUT ROWID", "INTEGER PRIMARY KEY"):
            schema = schema.replace(strict, "")
        db.execute(schema)
        for row in rows:
            held = dict(zip(columns, row, strict=True))
            held[column] = value if held.get("file_name") != "b" else held[column]
            marks = ", ".join("?" * len(columns))
            db.execute(f"INSERT INTO {table} VALUES ({marks})", [*held.values()])
    # (Whether an entry lies within its tarball is seen from both tables.)
    named = "(objects|entries)" if table == "objects" else table
    with pytest.raises(StoreError, match=f"'{named}' holds a row that no run wrote"):
        read()


def test_places_come_back_for_the_clips_that_are_asked_for(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", MIRROR)
    assert ledger.places("train", [("zumba", "a")]) == {}
    entries = {"a": ENTRY, "b": ENTRY._replace(entry_offset=2, span_bytes=3)}
    ledger.record(ROW, [clip("a", 0)], packing="gzip", entries=entries)
    asked = [("zumba", "b"), ("yoga", "a"), ("zumba", "c")]
    assert ledger.places("train", asked) == {
        ("zumba", "b"): Place(ZUMBA, "etag", 5, "gzip", entries["b"])
    }
    assert ledger.places("validation", asked) == {}
    assert Ledger(tmp_path / "ledger.sqlite", OTHER).places("train", asked) == {}


def test_test_clips_are_found_in_whichever_tarball_they_are(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", MIRROR)
    tarballs = [Tarball("test", f"part_{number}") for number in range(3)]
    for number, tarball in enumerate(tarballs):
        row = TarballRow(tarball, "done", f"etag{number}", 5)
        ledger.record(row, [], packing="tar", entries={f"clip{number}": ENTRY})
    found = ledger.places("test", [("yoga", "clip2"), ("_unlabeled", "clip0"), ("yoga", "clip3")])
    assert {clip: (place.tarball, place.etag) for clip, place in found.items()} == {
        ("yoga", "clip2"): (tarballs[2], "etag2"),
        ("_unlabeled", "clip0"): (tarballs[0], "etag0"),
    }


def test_entries_are_added_as_reading_goes_on_and_forgotten_with_their_object(
    tmp_path: Path,
) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", MIRROR)
    asked = [("zumba", "a"), ("zumba", "b")]

    def known() -> tuple[list[str], bool]:
        names = [name for _, name in ledger.places("train", asked)]
        return sorted(names), ledger.checkpoint(ZUMBA, "etag", 5) is not None

    begun = replace(ROW, state="started")
    ledger.record(begun, [], packing="gzip", entries={"a": ENTRY}, checkpoint=CHECKPOINT)
    assert ledger.checkpoint(ZUMBA, "etag", 5) == CHECKPOINT
    assert ledger.checkpoint(ZUMBA, "other", 5) is None
    ledger.record(begun, [clip("c", 0)], replace=False)
    assert known() == (["a"], True)
    ledger.record(ROW, [], packing="gzip", entries={"b": ENTRY})
    assert known() == (["a", "b"], False)  # no use in going on with what is done
    ledger.record(begun, [], checkpoint=CHECKPOINT)
    ledger.record(replace(begun, etag="other"), [])
    assert known() == ([], False)
    ledger.record(begun, [], packing="gzip", entries={"a": ENTRY}, checkpoint=CHECKPOINT)
    ledger.record(
        replace(begun, failures=1, detail="CRC"), [], packing="gzip", entries={"a": ENTRY}
    )
    assert known() == ([], False)


def test_what_is_known_of_the_same_object_at_another_mirror_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path, OTHER).record(ROW, [clip("a", 0)], packing="gzip", entries={"a": ENTRY})
    same = Ledger(path, MIRROR).same_objects("train", {"zumba": ("etag", 5)})
    Ledger(path, MIRROR).take_over("train", same)
    assert [*Ledger(path, MIRROR).places("train", [("zumba", "a")])] == [("zumba", "a")]


def test_entries_of_a_whole_split_are_asked_for_within_little_memory(tmp_path: Path) -> None:
    """They are kept apart from what every load reads of a split."""
    path = tmp_path / "ledger.sqlite"
    names = [f"{number:011}_000000_000010.mp4" for number in range(20_000)]
    entries = {name: Entry(n, 9, 9, 9, n) for n, name in enumerate(names)}
    ledger = Ledger(path, MIRROR)
    ledger.record(replace(ROW, size_bytes=1 << 20), [], packing="gzip", entries=entries)
    tracemalloc.start()
    try:
        assert ledger.view("train").tarballs.keys() == {"zumba"}
        found = ledger.places("train", [("zumba", name) for name in names[::1000]])
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [place.entry.entry_offset for place in found.values()] == [*range(0, 20_000, 1000)]
    assert most_bytes < 200_000


@pytest.mark.parametrize(("mask", "wanted"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_the_file_and_its_journal_follow_the_umask(tmp_path: Path, mask: int, wanted: int) -> None:
    with umask(mask):
        path = tmp_path / "own/ledger.sqlite"
        path.parent.mkdir()
        Ledger(path, MIRROR).record(ROW, [clip("a", 0)])
    assert rights(path) == wanted
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM clips")
        assert rights(path.with_name("ledger.sqlite-journal")) == wanted


def test_a_file_that_shuts_out_the_group_of_its_folder_is_opened_by_its_owner(
    tmp_path: Path,
) -> None:
    """An earlier release made it 0644 wherever it was."""
    path = tmp_path / "ledger.sqlite"
    Ledger(path, MIRROR).record(ROW, [])
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
    Ledger(path, MIRROR).record(ROW, [clip("a", 0)])
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
        ("a pipe", "is not a file", True),
    ],
)
def test_each_thing_that_sqlite_says_has_its_own_advice(
    tmp_path: Path, trouble: str, words: str, is_good: bool
) -> None:
    """Nobody is told to move a ledger away that is good."""
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path, MIRROR)
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
            ledger.view("train")
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
            Ledger(path, MIRROR).record(ROW, [])
        else:
            with pytest.raises(StoreError, match="has 505 bytes, and SQLite takes 504 at most"):
                Ledger(path).prove()
    assert not Path(f"{longest}l").exists()


def test_a_wait_for_who_holds_the_ledger_is_announced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k600.store.ledger_file.SILENT_SECONDS", 0.05)
    path = tmp_path / "ledger.sqlite"
    Ledger(path, MIRROR).record(ROW, [])
    with contextlib.closing(
        sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    ) as db:
        db.execute("BEGIN EXCLUSIVE")

        class Release(logging.Handler):
            """Gives the ledger back once somebody has been told of waiting for it."""

            def emit(self, record: logging.LogRecord) -> None:
                db.rollback()

        release = Release()
        logging.getLogger("kinetics600").addHandler(release)
        try:
            assert Ledger(path, MIRROR).view("train").tarballs == {"zumba": ROW}
        finally:
            logging.getLogger("kinetics600").removeHandler(release)
    (told,) = [record.getMessage() for record in caplog.records]
    assert f"another process holds the ledger '{path}'" in told

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from k600.clip import Clip, Tarball
from k600.errors import StoreError
from k600.identity import short_hash
from k600.ledger import AdoptedRow, CheckRow, ClipRow, Ledger, TarballRow
from tests.old_ledger import make_old_ledger

MIRROR = "s3://kinetics/600"
OTHER = "https://mirror.example/600"
ZUMBA = Tarball("train", "zumba")
ROW = TarballRow(ZUMBA, "done", "etag", 5)


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
    make_old_ledger(path)
    (tmp_path / "lists").mkdir()
    (tmp_path / f"lists/{short_hash(MIRROR)}-train-listing").touch()
    before = path.read_bytes()
    known = Ledger(path, MIRROR).known("train")
    assert [row.file_name for row in known.clips()] == ["a", "b"]
    assert (list(known.answers), list(known.adopted)) == ([], [])
    assert path.read_bytes() == before
    Ledger(path, MIRROR).record_stored(Clip("train", "zumba", "abcdefghijk", 0, 10), 1, "1")
    assert len(Ledger(path, MIRROR).answers("train")) == 1
    assert Ledger(path, MIRROR).tarball(ZUMBA) == ROW
    assert [row.file_name for row in Ledger(path, MIRROR).known("train").clips()] == ["a", "b"]


def test_an_old_ledger_beside_the_lists_of_two_mirrors_is_nobody_s(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    make_old_ledger(path)
    (tmp_path / "lists").mkdir()
    for mirror in (MIRROR, OTHER):
        (tmp_path / f"lists/{short_hash(mirror)}-train-listing").touch()
    for _ in ("as it is", "taken over"):
        known = Ledger(path, MIRROR).known("train")
        assert (known.tarballs, list(known.clips())) == ({}, [])
        assert [group.names for group in known.other_mirrors] == [{"a"}]
        assert Ledger(path).tarballs("train") == {"zumba": ROW}
        Ledger(path, MIRROR).record_stored(Clip("train", "yoga", "abcdefghijk", 0, 10), 1, "1")


def test_what_is_known_of_one_mirror_is_not_known_of_another(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path, MIRROR).record(ROW, [clip("a", 0), clip("b", 1, "bad")])
    known = Ledger(path, OTHER).known("train")
    assert (known.tarballs, list(known.clips())) == ({}, [])
    assert Ledger(path, OTHER).clips("train") == []
    assert [(group.folder, group.names) for group in known.other_mirrors] == [
        ("train/zumba", {"a"})
    ]
    assert Ledger(path).known("train") == Ledger(path, MIRROR).known("train")


def test_a_file_is_of_the_mirror_that_it_came_from_last(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    same = clip("same", 0)._replace(crc32=7)
    Ledger(path, MIRROR).record(ROW, [same, clip("a", 1)._replace(crc32=1), clip("b", 2)])
    Ledger(path, OTHER).record(ROW, [same, clip("a", 1)._replace(crc32=2), clip("b", 2)])
    states = {row.file_name: row.state for row in Ledger(path, MIRROR).clips("train")}
    assert states == {"same": "have", "a": "skipped", "b": "skipped"}  # of `b` nothing proves it
    assert {row.state for row in Ledger(path, OTHER).clips("train")} == {"have"}
    assert Ledger(path, OTHER).known("train").other_mirrors == []


def test_a_ledger_of_every_mirror_is_for_reading(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="for reading"):
        Ledger(tmp_path / "ledger.sqlite").record(ROW, [])


def test_what_was_found_in_a_file_is_kept_by_its_place(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", MIRROR)
    assert ledger.checks("train") == []
    row = CheckRow("train/zumba", "a", "train/zumba/a", 5, 7, "quick", "ok", "", 9.96, 2, 2, 5, "")
    foreign = row._replace(path="videos_train/zumba/a", verdict="damaged")
    ledger.record_checks("train", [row, foreign])
    assert {*ledger.checks("train", "train/zumba")} == {row, foreign}
    ledger.record_checks("train", [row._replace(moved_to="aside")])
    assert {*ledger.checks("train")} == {row._replace(moved_to="aside"), foreign}
    assert ledger.checks("train", "train/yoga") == ledger.checks("test") == []


def test_a_clip_that_is_bad_in_its_tarball_is_noted_there(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", MIRROR)
    ledger.record(ROW, [clip("a", 0), clip("b", 1), clip("c", 2, "skipped")])
    for name in ("a", "c", "none"):
        ledger.condemn("train", "train/zumba", name, "unreadable")
    found = [(row.file_name, row.state, row.reason) for row in ledger.clips("train")]
    assert found == [("a", "bad", "unreadable"), ("b", "have", ""), ("c", "skipped", "")]


BAD_VALUES = [
    ("tarballs", "state", "finished"),
    ("tarballs", "etag", None),
    ("tarballs", "size_bytes", -1),
    ("tarballs", "failed_at", float("inf")),
    ("tarballs", "failures", "twice"),
    ("tarballs", "failed_at", -1.0),
    ("clips", "state", "half"),
    ("clips", "state", 1),
    ("clips", "reason", "because"),
    ("clips", "source", "mars"),
    ("clips", "source", ""),
    ("clips", "position", -2),
    ("clips", "size_bytes", 1 << 62),
    ("clips", "crc32", 1 << 32),
    ("clips", "crc32", "sum"),
    ("answers", "kind", "perhaps"),
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
    ledger.record(ROW, [clip("a", 0), clip("b", 1, "skipped")])
    ledger.record_refused(Clip("train", "zumba", "abcdefghijk", 0, 10), "gone", "gone", "", "1")
    ledger.adopt("train", [AdoptedRow("train/zumba", "c", "train/zumba/c", 1, 2, "")])
    check = CheckRow(
        "train/zumba", "a", "train/zumba/a", 5, 7, "quick", "ok", "", 9.96, 2, 2, 5, ""
    )
    ledger.record_checks("train", [check])

    def read() -> None:
        ledger.known("train")
        ledger.checks("train")

    read()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        schema = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        rows = db.execute(f"SELECT * FROM {table}").fetchall()
        db.execute(f"DROP TABLE {table}")  # a stranger's has no types to keep to
        db.execute(schema.replace("NOT NULL", "").replace("WITHOUT ROWID", ""))
        for row in rows:
            held = dict(zip(columns, row, strict=True))
            held[column] = value if held.get("file_name") != "b" else held[column]
            marks = ", ".join("?" * len(columns))
            db.execute(f"INSERT INTO {table} VALUES ({marks})", [*held.values()])
    with pytest.raises(StoreError, match=f"'{table}' holds a row that no run wrote"):
        read()

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from k600.clip import Tarball
from k600.errors import StoreError
from k600.ledger import ClipRow, Ledger, TarballRow

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

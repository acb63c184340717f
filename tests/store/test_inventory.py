"""What is in a store, at its own place or where others put it."""

from __future__ import annotations

from pathlib import Path

import pytest

from k600.store.inventory import Inventory
from k600.store.rows import AdoptedRow, LedgerView
from k600.store.store import Store

NAME = "aFirstClip0_000000_000010.mp4"
OWN = f"train/zumba/{NAME}"
THEIRS = f"videos_train/zumba/{NAME}"
ALSO_THEIRS = f"train/Zumba/{NAME}"


def adopted(store: Store, path: str, problem: str = "") -> AdoptedRow:
    """Put a file there and return the row that adoption makes of it."""
    file = store.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(path.encode())
    status = file.stat()
    return AdoptedRow("train/zumba", NAME, path, status.st_size, status.st_mtime_ns, problem)


def test_a_clip_that_others_have_twice_is_there_as_long_as_one_is(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    rows = [adopted(store, THEIRS), adopted(store, ALSO_THEIRS)]
    for gone, left in ((THEIRS, ALSO_THEIRS), (ALSO_THEIRS, THEIRS)):
        for row in rows:
            adopted(store, row.path)
        (tmp_path / gone).unlink()
        inventory = Inventory(store, LedgerView({}, adopted=rows))
        assert inventory.names("train/zumba") == {NAME}
        assert inventory.path("train/zumba", NAME) == tmp_path / left
        assert inventory.elsewhere("train/zumba") == {NAME: left}
    (tmp_path / THEIRS).unlink()
    assert Inventory(store, LedgerView({}, adopted=rows)).names("train/zumba") == set()


@pytest.mark.parametrize("order", [(OWN, THEIRS), (THEIRS, OWN)])
def test_a_bad_clip_is_not_there_however_many_bad_ones_there_are(
    order: tuple[str, str], tmp_path: Path
) -> None:
    store = Store.at(tmp_path)
    bad = [adopted(store, path, "truncated") for path in order]
    inventory = Inventory(store, LedgerView({}, adopted=bad))
    assert inventory.names("train/zumba") == set()
    good = [adopted(store, OWN, "truncated"), adopted(store, THEIRS)]
    assert (
        Inventory(store, LedgerView({}, adopted=good)).path("train/zumba", NAME)
        == tmp_path / THEIRS
    )

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from k600.dataset.clip import Tarball
from k600.errors import StoreError
from k600.store.ledger import Ledger
from k600.store.rows import ClipRow, TarballRow
from k600.store.store import Store
from k600.tarballs.arrivals import Arrivals


@pytest.fixture
def arrivals(store: Store) -> Iterator[Arrivals]:
    with store.incoming() as incoming:
        begun = TarballRow(Tarball("train", "zumba"), "started", "etag", 40 << 20)
        ledger = Ledger(store.ledger_path, "file:///host")
        with Arrivals(ledger, incoming, begun) as arrivals:
            yield arrivals


def clip_row(name: str) -> ClipRow:
    tarball = Tarball("train", "zumba")
    return ClipRow(tarball, 0, "train/zumba", name, "have", "", "cvdf", 1 << 20)


def test_files_come_onto_the_disk_behind_their_writer(
    store: Store, arrivals: Arrivals, tmp_path: Path
) -> None:
    paths = [store.path("train/zumba", f"{number:011d}_000000_000010.mp4") for number in range(40)]
    for path in paths:
        part = tmp_path / path.name
        part.write_bytes(bytes(1 << 20))
        arrivals.add(part, path, clip_row(path.name), wait=False)
    arrivals.finish(proved=True)
    arrivals.finish(proved=True)  # nothing is left to do
    assert all(path.stat().st_size == 1 << 20 for path in paths)


@pytest.mark.parametrize("lost", [0, 39])
def test_what_cannot_be_brought_onto_the_disk_is_an_error(
    store: Store, arrivals: Arrivals, tmp_path: Path, lost: int
) -> None:
    def add_all() -> None:
        for number in range(40):
            part = tmp_path / f"{number}"
            if number != lost:
                part.write_bytes(bytes(100))
            name = f"{number:011d}_000000_000010.mp4"
            arrivals.add(part, store.path("train/zumba", name), clip_row(name), wait=False)
        arrivals.finish(proved=True)

    with pytest.raises(StoreError, match=f"/{lost}'"):
        add_all()

"""A whole train split as it lies on disk after a load: 427,549 clips in 600 folders, all empty.

Making rows, taking stock and resuming never open a clip, so that empty ones cost them the same.
"""

from __future__ import annotations

import random
import shutil
import string
import time
from dataclasses import dataclass
from pathlib import Path

from k600.dataset.clip import Tarball
from k600.dataset.labels import NAMES
from k600.miniature import URL
from k600.mirror.mirror import Mirror
from k600.store.ledger import Ledger
from k600.store.rows import ClipRow, TarballRow
from k600.store.store import Store
from k600.tarballs.catalog import KeptLists

__all__ = ["TRAIN_CLIPS", "FullStore", "ledger_rows", "make_full_store"]

TRAIN_CLIPS = 427_549


@dataclass(frozen=True, slots=True)
class FullStore:
    """A store of empty clips, and a mirror that has only the lists."""

    data_dir: Path
    mirror: Path
    clips: int
    classes: int


def make_full_store(folder: Path, *, clips: int, classes: int) -> FullStore:
    """Return a store of that size, from `folder` if it was made before; nothing may change it."""
    base = folder / f"store-{classes}x{clips}"
    made = FullStore(base / "clips", base / "600", clips, classes)
    if (base / "made").exists():
        return made
    shutil.rmtree(base, ignore_errors=True)
    store = Store.at(made.data_dir)
    store.prepare()
    names = clip_names(clips=clips, classes=classes)
    listing = ["train:", *names, ""]
    for label, files in names.items():
        place = made.data_dir / "train" / label
        place.mkdir(parents=True)
        for name in files:
            (place / name).touch()
        listing += [f"train/{label}:", *files, ""]
    (made.mirror / "train").mkdir(parents=True)
    (made.mirror / "annotations").mkdir()
    paths = "".join(f"{URL}/train/{label}.tar.gz\n" for label in names)
    (made.mirror / "train/k600_train_path.txt").write_text(paths)
    lines = "".join(f"{line}\n" for line in listing)
    (made.mirror / "annotations/train.txt").write_text(lines)
    mirror = Mirror(made.mirror.as_uri())
    lists = KeptLists(mirror, store, "train")
    lists.fetch_tarballs()
    lists.fetch_listing()
    ledger = Ledger(store.ledger_path, mirror.identity)
    for label, files in names.items():
        ledger.record(*ledger_rows(label, files))
    (base / "made").touch()
    time.sleep(2.1)  # a folder that has just changed proves nothing yet
    return made


def clip_names(*, clips: int, classes: int) -> dict[str, list[str]]:
    """Return file names by class, as many as there are."""
    chance = random.Random(0)
    letters = string.ascii_letters + string.digits + "-_"
    names: dict[str, list[str]] = {}
    for number, label in enumerate(NAMES[:classes]):
        count = clips // classes + (number < clips % classes)
        starts = [chance.randrange(300) for _ in range(count)]
        names[label] = sorted(
            f"{''.join(chance.choices(letters, k=11))}_{start:06d}_{start + 10:06d}.mp4"
            for start in starts
        )
    return names


def ledger_rows(label: str, files: list[str]) -> tuple[TarballRow, list[ClipRow]]:
    """Return what the ledger says of a tarball that came whole."""
    tarball = Tarball("train", label)
    row = TarballRow(tarball, "done", "etag", 1 << 30)
    return row, [
        ClipRow(tarball, position, f"train/{label}", name, "have", "", "cvdf", 1_380_000)
        for position, name in enumerate(files)
    ]

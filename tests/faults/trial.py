"""One trial: a load under a fault, what came of it, and whether the promises were kept.

Whatever the fault, a trial proves by looking at the disk that nothing wrong bears a clip's name,
that the ledger is sound, and that the same call, once the fault is over, ends in the bytes of an
undisturbed load.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kinetics600
from k600.errors import Kinetics600Error
from k600.loading.fetch import fetch_split

Note = Callable[..., None]
"""Puts a trial into the report: a fault's name, and numbers."""

PATIENCE_SECONDS = 0.3
"""How long a trial's mirror may keep failing, in place of two minutes."""
REQUEST_SECONDS = 1.0
"""How long one of its requests may take, in place of half a minute."""


@dataclass(frozen=True)
class Result:
    """What one call brought."""

    error: Kinetics600Error | None
    reasons: frozenset[str]
    """Why clips are missing; empty if none is."""
    seconds: float
    fetched_bytes: int = 0

    @property
    def recovered(self) -> bool:
        """Whether all is there."""
        return self.error is None and not self.reasons

    @property
    def said(self) -> str:
        """The kind of the error or the reasons, or an empty text."""
        return type(self.error).__name__ if self.error else " ".join(sorted(self.reasons))


def fetch(
    split: str = "train",
    *,
    patience_seconds: float = PATIENCE_SECONDS,
    request_seconds: float = REQUEST_SECONDS,
    **options: Any,
) -> Result:
    """Make one call as `load_dataset` does; an error that is not ours goes through."""
    request = kinetics600.make_request(split, **options)
    mirror = dataclasses.replace(
        request.mirror, patience_seconds=patience_seconds, request_seconds=request_seconds
    )
    request = dataclasses.replace(request, mirror=mirror)
    began = time.monotonic()
    try:
        outcome = fetch_split(request, split)
    except Kinetics600Error as error:
        return Result(error, frozenset(), time.monotonic() - began)
    reasons = frozenset(clip.reason for clip in outcome.missing)
    return Result(None, reasons, time.monotonic() - began, outcome.fetched_bytes["cvdf"])


def visible(data_dir: Path | str) -> dict[str, bytes]:
    """Return what bears a name in a store at this moment, though a run may be changing it."""
    found = {}
    for folder, folders, names in os.walk(data_dir):
        folders[:] = [name for name in folders if name != ".kinetics600"]
        for name in names:
            path = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):  # put aside meanwhile
                found[path.relative_to(data_dir).as_posix()] = path.read_bytes()
    return found


def assert_intact(data_dir: Path | str, wanted: Mapping[str, bytes]) -> int:
    """Check that the store holds nothing but whole, right clips and a sound ledger.

    Returns:
        How many clips it holds.
    """
    there = visible(data_dir)
    for key, data in there.items():
        assert key in wanted, f"{key} is nobody's"
        assert data == wanted[key], f"{key} has the wrong bytes"
    ledger = Path(data_dir, ".kinetics600/ledger.sqlite")
    if ledger.exists():
        with contextlib.closing(sqlite3.connect(ledger, timeout=60)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return len(there)


lost_bytes: list[int] = []
"""What the comparisons of the running test found to be lost; `note` puts it into the report."""


def assert_whole(data_dir: Path | str, wanted: Mapping[str, bytes]) -> None:
    """Check that the store holds all of it, and nothing else."""
    there = visible(data_dir)
    lost_bytes.append(sum(len(data) for key, data in wanted.items() if there.get(key) != data))
    assert_intact(data_dir, wanted)
    assert there.keys() == wanted.keys()

"""Whether rows made earlier are still what the store holds: a note kept beside them.

`datasets` would use a cached result for ever. A note says from what the rows were made, so
that clips that came or went since are noticed, and a partial result is never taken for a
whole one. Checking it costs one `stat` per class folder and no network. Results that were
computed from rows are told apart by the files themselves, at one `stat` each.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from array import array
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow

from k600.disk import write_whole
from k600.inventory import watched_folders
from k600.outcome import Outcome
from k600.request import Request

__all__ = ["Note", "digest_of_files"]

_FILE = "kinetics600.json"


@dataclass(frozen=True, slots=True)
class Note:
    """What rows were made from."""

    asked: str
    """Fingerprint of where the request looks: store, mirror and list of labels."""
    digest: str
    """Fingerprint of the rows."""
    settled: bool
    """Whether asking again could bring nothing more."""
    stamps: dict[str, int]
    """When each store folder last changed, in ns; 0 where that was too recent to tell."""
    missing: int
    """How many clips that were asked for are missing."""
    message: str
    """What was said of them."""

    @classmethod
    def of(cls, request: Request, outcomes: Iterable[Outcome], message: str) -> Note:
        """Return the note for rows made for a request from these outcomes, one a split."""
        outcomes = list(outcomes)
        digest = hashlib.sha256("".join(outcome.digest for outcome in outcomes).encode())
        return cls(
            _asked(request),
            digest.hexdigest(),
            all(outcome.settled for outcome in outcomes),
            {folder: at for outcome in outcomes for folder, at in outcome.stamps.items()},
            sum(len(outcome.missing) for outcome in outcomes),
            message,
        )

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Note | None:
        """Return the note in a folder of cached rows; None if there is none that can be read."""
        try:
            return cls(**json.loads((Path(folder) / _FILE).read_text("utf-8")))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write the note into a folder of cached rows, whole or not at all."""
        write_whole(Path(folder) / _FILE, json.dumps(asdict(self), indent=1).encode())

    def holds(self, request: Request) -> bool:
        """Whether the rows are what the store holds and there is nothing left to ask for."""
        if not self.settled or request.retry_errors or 0 in self.stamps.values():
            return False
        if self.asked != _asked(request):
            return False
        store = request.store
        folders = [
            folder
            for split in request.splits
            for folder in watched_folders(store, split, request.folders(split))
        ]
        return self.stamps == request.store.stamp(folders)


def digest_of_files(paths: pyarrow.ChunkedArray) -> str:
    """Return a fingerprint of what lies at some paths: each file's size and time of change.

    That takes a look at every file, as one that is written over leaves its folder as it was. Some
    are looked at side by side, since a file system across a network takes its time for each.

    Args:
        paths: Paths of files; one where nothing lies counts as such.
    """
    digest = hashlib.sha256()
    with ThreadPoolExecutor(16, thread_name_prefix="k600-stat") as pool:
        for found in pool.map(_sizes_and_times, paths.chunks):
            digest.update(found)
    return digest.hexdigest()


def _sizes_and_times(paths: pyarrow.Array) -> bytes:
    found = array("q")
    for path in paths.to_pylist():
        try:
            status = os.stat(path)
            found.extend((status.st_size, status.st_mtime_ns))
        except OSError:
            found.extend((-1, -1))
    return found.tobytes()


def _asked(request: Request) -> str:
    mirror = "" if request.source == "local" else request.mirror.identity
    places = [str(request.store.root), mirror]
    if "test" in request.splits:
        places.append(request.test_labels)
        with contextlib.suppress(OSError):  # a file on this machine may be another by now
            status = os.stat(request.test_labels)
            places.append(f"{status.st_mtime_ns} {status.st_size}")
    return hashlib.sha256("\n".join(places).encode()).hexdigest()

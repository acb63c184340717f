"""Whether rows made earlier are still what the store holds: a note kept beside them.

`datasets` would use a cached result for ever. A note says from what the rows were made, so
that clips that came or went since are noticed, and a partial result is never taken for a
whole one. Checking it costs one `stat` per class folder, one reading of the rows' files, and no
network. Results that were computed from rows are told apart by the files themselves, at one `stat`
each.

`datasets` flushes nothing, so after a power loss its files may be empty, cut, or zeros of the right
size. They are flushed before the note is written, which says what is in them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import pyarrow
import pyarrow.ipc

from k600.loading.outcome import Outcome
from k600.loading.request import Request
from k600.store.files import crc32_of, sync, sync_folder, write_whole
from k600.store.inventory import watched_folders

logger = logging.getLogger("kinetics600")

_FILE = "kinetics600.json"
_INFO = "dataset_info.json"


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
    """What is to be said of them when the rows serve again."""
    files: dict[str, list[int]] = field(default_factory=dict, compare=False)
    """Size in bytes and CRC-32 of each file of rows beside the note."""

    @classmethod
    def of(cls, request: Request, outcomes: Iterable[Outcome]) -> Note:
        """Return the note for rows made for a request from these outcomes, one a split."""
        outcomes = list(outcomes)
        digest = hashlib.sha256("".join(outcome.digest for outcome in outcomes).encode())
        return cls(
            _asked(request),
            digest.hexdigest(),
            all(outcome.settled for outcome in outcomes),
            {folder: at for outcome in outcomes for folder, at in outcome.stamps.items()},
            sum(len(outcome.missing) for outcome in outcomes),
            "\n".join(filter(None, (outcome.missing_text(brief=True) for outcome in outcomes))),
        )

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Note | None:
        """Return the note in a folder of cached rows.

        Returns:
            None if there is none that can be read, or the rows are not those that it was written
            for: a file of them is gone, cut, or holds other bytes.
        """
        try:
            note = cls(**json.loads((Path(folder) / _FILE).read_text("utf-8")))
            whole = note.files == _files(Path(folder) / name for name in note.files)
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None
        return note if whole and note.files else None

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write the note into a folder of cached rows, once these are on the disk."""
        rows = Path(folder)
        files = [path for path in sorted(rows.iterdir()) if path.is_file()]
        for path in files:
            sync(path)
        sync_folder(rows)
        sync_folder(rows.parent)
        said = {**asdict(self), "files": _files(filter(_is_of_rows, files))}
        write_whole(rows / _FILE, json.dumps(said, indent=1).encode())

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


def unreadable(folder: str | os.PathLike[str]) -> list[Path]:
    """Return what `datasets` left in a folder of cached rows and cannot read any more.

    It would stop in its own reader: at `dataset_info.json` before it asks for anything else, at
    what `.map()` and its like have kept when they are called again. Files of rows are the note's.
    """
    try:
        return [path for path in sorted(Path(folder).iterdir()) if not _is_readable(path)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def remove_unreadable(folder: str | os.PathLike[str]) -> None:
    """Remove what cannot be read in a folder of cached rows; it is made anew."""
    for path in unreadable(folder):
        logger.info("kinetics600: '%s' cannot be read, and is made anew", path)
        path.unlink(missing_ok=True)


def _is_of_rows(path: Path) -> bool:
    return path.name == _INFO or (path.suffix == ".arrow" and path.name.startswith("kinetics600-"))


def _is_readable(path: Path) -> bool:
    try:
        if path.name == _INFO:
            return isinstance(json.loads(path.read_bytes()), dict)
        if path.suffix == ".arrow" and path.name.startswith("cache-"):
            with pyarrow.memory_map(str(path)) as file, pyarrow.ipc.open_stream(file) as kept:
                return all(batch.num_rows >= 0 for batch in kept)
    except (FileNotFoundError, PermissionError):
        return True  # moved by another process meanwhile, or another user's: not broken
    except (ValueError, pyarrow.ArrowException, OSError):
        return False
    return True


def _files(paths: Iterable[Path]) -> dict[str, list[int]]:
    found = {}
    for path in paths:
        status = path.stat()
        found[path.name] = [status.st_size, _crc_of(path, status.st_ino, status.st_mtime_ns)]
    return found


@lru_cache(maxsize=64)
def _crc_of(path: Path, inode: int, mtime_ns: int) -> int:
    """Return the CRC-32 of a file, read once as long as it stays as it is."""
    return crc32_of(path)


def _asked(request: Request) -> str:
    mirror = request.mirror.identity if request.sources else ""
    places = [str(request.store.root), mirror]
    if "test" in request.splits:
        places.append(request.test_labels)
        with contextlib.suppress(OSError):  # a file on this machine may be another by now
            status = os.stat(request.test_labels)
            places.append(f"{status.st_mtime_ns} {status.st_size}")
    return hashlib.sha256("\n".join(places).encode()).hexdigest()

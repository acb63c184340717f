"""The clips on disk: where each lies, how one gets there whole, and which are there.

    <data_dir>/<split>/<class name>/<id>_<start>_<end>.mp4     the clips (FiftyOne's tree)
    <data_dir>/.kinetics600/                                   ledger, lists, unfinished files
    <data_dir>/short_side_<pixels>/                            the same again, of smaller clips

A file bears a clip's name only once it is complete and checked: it is written below
`.kinetics600/incoming/` and moved by one rename.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout
from rich.filesize import decimal

from k600.clip import clip_names
from k600.disk import explained, leave_cache, write_whole
from k600.errors import DiskFullError, Stopped, StoreError

__all__ = ["OWN", "Incoming", "Store"]

OWN = ".kinetics600"
"""The folder in a store that is the loader's own."""


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of clips. Opening one touches nothing."""

    root: Path
    """The folder given as `data_dir`, absolute, or the one in it for smaller clips."""

    @classmethod
    def at(cls, data_dir: str | os.PathLike[str], short_side: int | None = None) -> Store:
        """Return the store at a folder; `~` is the home folder.

        Args:
            data_dir: The folder.
            short_side: Clips made smaller have a store of their own in it, never mixed with those
                that are as their source has them.
        """
        root = Path(os.path.abspath(os.path.expanduser(os.fspath(data_dir))))
        return cls(root if short_side is None else root / f"short_side_{short_side}")

    @property
    def ledger_path(self) -> Path:
        return self._own("ledger.sqlite")

    def prepare(self) -> None:
        """Create the store's own folders and prove that a file can be written and renamed.

        Raises:
            StoreError: The path is a file, may not be written, or a link in it leads elsewhere.
        """
        for name in (".", "incoming", "lists", "locks", "reports", "quarantine", "ledger.sqlite"):
            self.check_inside(self._own(name))
        with explained(self.root):
            for name in ("incoming", "lists", "locks", "reports"):
                self._own(name).mkdir(parents=True, exist_ok=True)
            probe = self._own(f"incoming/probe-{uuid.uuid4().hex}")
            probe.touch()
            os.replace(probe, probe.with_suffix(".moved"))
            probe.with_suffix(".moved").unlink()

    def is_writable(self, *, make: bool) -> bool:
        """Whether the store may be written to.

        Args:
            make: Make the store's own folders; without, a tree that has none counts as not
                writable, so that looking at it leaves it as it is.
        """
        if not make and not self._own("").is_dir():
            return False
        try:
            self.prepare()
        except StoreError:
            return False
        return True

    def check_folder(self) -> None:
        """Raise `StoreError` if the path is something else than a folder; it need not exist."""
        if os.path.lexists(self.root) and not os.path.isdir(self.root):
            raise StoreError(
                f"data_dir: '{self.root}' is not a folder. Pass data_dir=… a folder, or set "
                "KINETICS600_HOME"
            )

    def check_inside(self, path: Path) -> None:
        """Raise `StoreError` if a place in the store really lies out of it: a link leads there.

        A tree that came from somebody else may hold links, and nothing is to be written through
        one. (The store itself may lie behind a link.)
        """
        really, root = os.path.realpath(path), os.path.realpath(self.root)
        if os.path.commonpath((really, root)) != root:
            raise StoreError(
                f"data_dir: '{path}' leads to '{really}', out of the store, where nothing is "
                "written. Remove the link, or pass data_dir=… another folder"
            )

    def bytes_here(self, folders: Iterable[str]) -> int:
        """Return how many bytes the clips in some `<split>/<class name>` take."""
        total = 0
        for folder in folders:
            if (self.root / folder).is_dir():
                with os.scandir(self.root / folder) as entries:
                    total += sum(entry.stat().st_size for entry in entries if _is_file(entry))
        return total

    def path(self, folder: str, file_name: str) -> Path:
        """Return where a clip lies; `folder` is `<split>/<class name>` (see `Clip.folder`)."""
        return self.root / folder / file_name

    def inventory(self, folder: str) -> set[str]:
        """Return the names of the clips in `<split>/<class name>`; other files do not count."""
        try:
            with os.scandir(self.root / folder) as entries:
                return clip_names({entry.name for entry in entries if _is_file(entry)})
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def stamp(self, folders: Iterable[str]) -> dict[str, int]:
        """Return when each folder's list of files last changed, in ns; folders there only.

        A folder that changed within the last two seconds gets 0: it may change once more within
        the same tick of the clock, so its time proves nothing yet.
        """
        recent = time.time_ns() - 2_000_000_000
        stamps = {}
        for folder in folders:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                changed = os.stat(self.root / folder).st_mtime_ns
                stamps[folder] = changed if changed < recent else 0
        return stamps

    def check_room(self, needed_bytes: int) -> None:
        """Raise `DiskFullError` unless the volume has room for that many bytes and some spare."""
        free = shutil.disk_usage(self.root).free
        spare = 64 << 20
        if needed_bytes + spare > free:
            raise DiskFullError(
                f"data_dir: the clips need {decimal(needed_bytes)}, and '{self.root}' has "
                f"{decimal(free)} free. Make room, or pass data_dir=… on a larger volume"
            )

    @contextlib.contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """Open a place for files of this run that are not whole yet; gone at the end.

        What a killed run left there is removed first.
        """
        base = self._own("incoming")
        for lock_path in base.glob("*.lock"):
            self.check_inside(lock_path)
            with contextlib.suppress(Timeout, OSError):
                with FileLock(lock_path, timeout=0):  # its run is dead
                    shutil.rmtree(lock_path.with_suffix(""), ignore_errors=True)
                    lock_path.unlink(missing_ok=True)
        folder = base / uuid.uuid4().hex
        lock = FileLock(folder.with_suffix(".lock"))
        with explained(folder):
            lock.acquire()
            folder.mkdir()
        try:
            yield Incoming(folder, self)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
            folder.with_suffix(".lock").unlink(missing_ok=True)

    @contextlib.contextmanager
    def only_one(self, name: str, stop: threading.Event) -> Iterator[None]:
        """Let one process at a time work on `name`; a dead process's lock is free at once.

        Raises:
            Stopped: `stop` was set while waiting.
        """
        path = self._own(f"locks/{name}.lock")
        self.check_inside(path)
        lock = FileLock(path)
        while True:
            if stop.is_set():
                raise Stopped("stopped")
            with contextlib.suppress(Timeout), explained(self._own("locks")):
                lock.acquire(timeout=0.5)
                break
        try:
            yield
        finally:
            lock.release()

    def write_own(self, name: str, data: bytes) -> Path:
        """Write a file below `.kinetics600/`, whole or not at all, and return its path."""
        path = self._own(name)
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)
        return path

    def read_own(self, name: str) -> bytes | None:
        """Return a file below `.kinetics600/`, None if it is not there."""
        try:
            return self._own(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _own(self, name: str) -> Path:
        return self.root / OWN / name


class Incoming:
    """Where one run writes clips before they bear their names. Safe in threads."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder, self._store = folder, store
        self._numbers = itertools.count()
        self._inside: dict[Path, tuple[int, int]] = {}
        """Folders that do not lead out of the store, each with what it was when that was seen."""

    def new_part(self) -> Path:
        """Return a path for an unfinished file. (The folder is this run's, so a number will do.)"""
        return self._folder / f"{next(self._numbers)}.part"

    def write(
        self, chunks: Iterable[bytes], check: Callable[[BinaryIO], str | None]
    ) -> tuple[Path, int, str | None]:
        """Write a clip under a name that is nobody's, and check it.

        Args:
            chunks: Its bytes.
            check: Returns what is wrong with the finished file, or None.

        Returns:
            The file, its size in bytes, and what `check` found; then the file is gone again.

        Raises:
            DiskFullError, StoreError: The volume is full, or refuses.
        """
        part = self.new_part()
        size, problem = 0, "unfinished"
        try:
            with explained(part), open(part, "w+b", buffering=0) as file:
                for chunk in chunks:
                    size += _write(file, chunk)
                problem = check(file) or ""
                leave_cache(file.fileno())  # begins to write it out
        finally:
            if problem:
                part.unlink(missing_ok=True)
        return part, size, problem or None

    def place(self, part: Path, target: Path) -> None:
        """Give a checked file its name, in one step.

        Raises:
            DiskFullError, StoreError: The volume is full, or refuses; or a link leads elsewhere.
        """
        folder = target.parent
        self._check_inside(folder)
        with explained(target):
            try:
                os.replace(part, target)
            except FileNotFoundError:
                folder.mkdir(parents=True, exist_ok=True)
                os.replace(part, target)

    def _check_inside(self, folder: Path) -> None:
        """Raise `StoreError` if a folder leads out of the store; not twice for the same folder."""
        try:
            status = os.lstat(folder)
        except FileNotFoundError:
            self._store.check_inside(folder)
            return
        identity = status.st_dev, status.st_ino
        if self._inside.get(folder) != identity:
            self._store.check_inside(folder)
            self._inside[folder] = identity


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file or leads to one; not a folder, a pipe or a link to nowhere."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _write(file: BinaryIO, chunk: bytes) -> int:
    view = memoryview(chunk)
    while view:
        view = view[file.write(view) :]
    return len(chunk)

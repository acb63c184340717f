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

from k600.clip import clip_names, parse_file_name
from k600.disk import Space, free_space
from k600.errors import DiskFullError, Stopped, StoreError
from k600.store.files import (
    check_locks,
    leave_cache,
    lock_at,
    make_folder,
    move_into_place,
    open_part,
    write_whole,
)
from k600.store.ledger import Ledger
from k600.translate import store_error, translate_errors

__all__ = ["META_DIR", "Incoming", "Store"]

META_DIR = ".kinetics600"
"""The folder in a store that is the loader's own."""

_FOLDERS = ("incoming", "lists", "locks", "reports")
"""Folders of the loader's own that each run writes to."""
_SPARE_BYTES = 64 << 20
_SPARE_FILES = 64
"""What is to stay free on the volume, for the ledger, lists and locks."""


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of clips. Opening one touches nothing.

    The folder may itself lie behind a link, which is its user's. A link *in* it may be a
    stranger's, who packed the tree: what lies outside is not the store's, so it is neither read
    nor written (`outside_link`). A link that stays inside is as good as a file.
    """

    root: Path
    """The folder given as `data_dir`, absolute, or the one in it for smaller clips."""
    within: bool = False
    """Whether the root lies in the folder that was given: then it is not to be a link, either."""

    @classmethod
    def at(cls, data_dir: str | os.PathLike[str], short_side: int | None = None) -> Store:
        """Return the store at a folder; `~` is the home folder.

        Args:
            data_dir: The folder.
            short_side: Clips made smaller have a store of their own in it, never mixed with those
                that are as their source has them.
        """
        root = Path(os.path.abspath(os.path.expanduser(os.fspath(data_dir))))
        if short_side is None:
            return cls(root)
        return cls(root / f"short_side_{short_side}", within=True)

    @property
    def ledger_path(self) -> Path:
        return self._own("ledger.sqlite")

    def prepare(self) -> None:
        """Create the store's own folders and prove that it can be used (`prove`).

        Raises:
            DiskFullError, StoreError: It cannot.
        """
        for name in (".", *_FOLDERS, "quarantine", "ledger.sqlite"):
            self.check_inside(self._own(name))
        with translate_errors(store_error, self.root):
            for name in _FOLDERS:
                make_folder(self._own(name))
        self.prove()

    def prove(self, *, wait_seconds: float = 120) -> None:
        """Prove that files and the ledger can be written, renamed and locked. Leaves nothing.

        Args:
            wait_seconds: How long to wait for another process that writes to the ledger.

        Raises:
            DiskFullError, StoreError: They cannot; the message says why and what to do.
        """
        name = f".probe-{uuid.uuid4().hex}"
        for folder in filter(os.path.isdir, map(self._own, _FOLDERS)):
            probe, moved = folder / name, folder / f"{name}.moved"
            with translate_errors(store_error, folder):
                try:
                    open_part(probe).close()
                    check_locks(probe)
                    move_into_place(probe, moved, flushed=False)
                finally:
                    probe.unlink(missing_ok=True)
                    moved.unlink(missing_ok=True)
        Ledger(self.ledger_path).prove(wait_seconds=wait_seconds)

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
        """Raise `StoreError` unless the path is a folder that may be looked into, or nothing yet.

        So it is if a link in it leads the loader's own files elsewhere.
        """
        if os.path.lexists(self.root) and not os.path.isdir(self.root):
            raise StoreError(
                f"data_dir: '{self.root}' is not a folder. Pass data_dir=… a folder, or set "
                "KINETICS600_HOME"
            )
        self.check_inside(self._own(""))
        self.check_inside(self.ledger_path)
        with (
            translate_errors(store_error, self._own(""), "read"),
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
        ):
            self.ledger_path.stat()

    def check_inside(self, path: Path) -> None:
        """Raise `StoreError` if a place in the store really lies out of it: a link leads there."""
        if not self._is_inside(path):
            raise StoreError(
                f"data_dir: '{path}' leads to {os.path.realpath(path)!r}, out of the store, where "
                "nothing is written or read. Remove the link, or pass data_dir=… another folder"
            )

    def outside_link(self, place: str) -> str | None:
        """Return the link in a path that leads out of the store; None if none does.

        This is the one rule of what belongs to a store. Only links are resolved: asking is cheap.

        Args:
            place: The path of a clip or folder, relative to the store, with `/`.

        Example:
            >>> import tempfile
            >>> store = Store.at(tempfile.mkdtemp())
            >>> (store.root / "train").symlink_to("/usr/lib")
            >>> store.outside_link("train/zumba")
            'train'
        """
        steps = place.split("/")
        if ".." in steps or os.path.isabs(place):
            return place
        for count in range(0 if self.within else 1, len(steps) + 1):
            link = "/".join(steps[:count])
            if os.path.islink(self.root / link) and not self._is_inside(self.root / link):
                return link or "."
        return None

    def _is_inside(self, path: Path) -> bool:
        """Whether a path, all links resolved, lies in the store."""
        if self.within:
            root = os.path.join(os.path.realpath(self.root.parent), self.root.name)
        else:
            root = os.path.realpath(self.root)
        try:
            return os.path.commonpath((os.path.realpath(path), root)) == root
        except ValueError:  # another drive
            return False

    def has(self, place: str) -> bool:
        """Whether there is a file of the store's at a path relative to it."""
        return os.path.isfile(self.root / place) and self.outside_link(place) is None

    def taken(self, folder: str) -> Space:
        """Return what the files in `<split>/<class name>` take on disk."""
        sizes = []
        if self.outside_link(folder) is None:
            for entry in filter(_is_file, self._entries(folder)):
                with contextlib.suppress(FileNotFoundError):
                    sizes.append(entry.stat().st_size)
        return Space(sum(sizes), len(sizes))

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        """Return what is in a folder; nothing if there is no such folder."""
        path = self.root / folder
        with translate_errors(store_error, path, "read"):
            try:
                with os.scandir(path) as entries:
                    return [*entries]
            except (FileNotFoundError, NotADirectoryError):
                return []

    def path(self, folder: str, file_name: str) -> Path:
        """Return where a clip lies; `folder` is `<split>/<class name>` (see `Clip.folder`)."""
        return self.root / folder / file_name

    def inventory(self, folder: str, outside_links: set[str] | None = None) -> set[str]:
        """Return the names of the clips in `<split>/<class name>`; other files do not count.

        Args:
            folder: The folder, or any other of the store's.
            outside_links: Gets the links that lead out of the store; none of them counts.
        """
        outside_links = set() if outside_links is None else outside_links
        if (link := self.outside_link(folder)) is not None:
            outside_links.add(link)
            return set()

        names = []
        for entry in self._entries(folder):
            if _is_file(entry):
                names.append(entry.name)
            elif entry.is_symlink() and parse_file_name(entry.name):
                if (link := self.outside_link(f"{folder}/{entry.name}")) is not None:
                    outside_links.add(link)
                elif os.path.isfile(entry.path):
                    names.append(entry.name)
        return clip_names(names)

    def stamp(self, folders: Iterable[str]) -> dict[str, int]:
        """Return when each folder's list of files last changed, in ns; folders there only.

        A folder that changed within the last two seconds gets 0: it may change once more within
        the same tick of the clock, so its time proves nothing yet.
        """
        recent = self._now_ns() - 2_000_000_000
        stamps = {}
        for folder in folders:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                changed = os.stat(self.root / folder).st_mtime_ns
                stamps[folder] = changed if changed < recent else 0
        return stamps

    def _now_ns(self) -> int:
        """Return the time by the clock that files here get theirs from, a file server's perhaps.

        Where one may only read, this machine's has to do.
        """
        probe = self._own(f"incoming/.probe-{uuid.uuid4().hex}")
        try:
            with open_part(probe) as file:
                return os.fstat(file.fileno()).st_mtime_ns
        except OSError:
            return time.time_ns()
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()

    def shortage(self, needed: Space) -> str:
        """Return in words what the volume lacks for clips; empty if they fit."""
        free = free_space(self.root)
        if needed.size_bytes + _SPARE_BYTES > free.size_bytes:
            return (
                f"the clips need {decimal(needed.size_bytes)}, and '{self.root}' has "
                f"{decimal(free.size_bytes)} free"
            )
        if free.files is not None and (needed.files or 0) + _SPARE_FILES > free.files:
            return (
                f"the clips are {needed.files or 0:,} files, and the volume of '{self.root}' has "
                f"room for {free.files:,} more (inodes), whatever their size"
            )
        return ""

    def check_room(self, needed: Space) -> None:
        """Raise `DiskFullError` unless the volume has room for that much and some spare."""
        if lack := self.shortage(needed):
            raise DiskFullError(
                f"data_dir: {lack}. Make room, or pass data_dir=… on a larger volume"
            )

    @contextlib.contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """Open a place for files of this run that are not whole yet; gone at the end.

        What a killed run left there is removed first.
        """
        base = self._own("incoming")
        self._remove_unfinished(base)
        folder = base / uuid.uuid4().hex
        with translate_errors(store_error, folder):
            lock = lock_at(folder.with_suffix(".lock"))
            lock.acquire()
            folder.mkdir()
        try:
            yield Incoming(folder, self)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
            folder.with_suffix(".lock").unlink(missing_ok=True)

    def _remove_unfinished(self, base: Path) -> None:
        """Remove what killed runs left."""
        for lock_path in base.glob("*.lock"):
            self.check_inside(lock_path)
            with contextlib.suppress(Timeout, OSError):
                with FileLock(lock_path, timeout=0):  # its run is dead
                    left = lock_path.with_suffix("")
                    shutil.rmtree(left, ignore_errors=True)
                    if not os.path.lexists(left):  # else another member of the group may remove it
                        lock_path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def only_one(self, name: str, stop: threading.Event) -> Iterator[None]:
        """Let one process at a time work on `name`; a dead process's lock is free at once.

        Raises:
            Stopped: `stop` was set while waiting.
        """
        path = self._own(f"locks/{name}.lock")
        self.check_inside(path)
        with translate_errors(store_error, path):
            lock = lock_at(path)
        while True:
            if stop.is_set():
                raise Stopped("stopped")
            with contextlib.suppress(Timeout), translate_errors(store_error, path):
                lock.acquire(timeout=0.5)
                break
        try:
            yield
        finally:
            lock.release()

    def write_own(self, name: str, data: bytes) -> Path:
        """Write a file below `.kinetics600/`, whole or not at all, and return its path."""
        path = self._own(name)
        self.check_inside(path.parent)
        with translate_errors(store_error, path):
            write_whole(path, data)
        return path

    def read_own(self, name: str) -> bytes | None:
        """Return a file below `.kinetics600/`, None if it is not there."""
        path = self._own(name)
        self.check_inside(path)
        with translate_errors(store_error, path, "read"):
            return path.read_bytes() if path.is_file() else None  # (a pipe would never end)

    def _own(self, name: str) -> Path:
        return self.root / META_DIR / name


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
            with translate_errors(store_error, part), open_part(part, buffered=False) as file:
                for chunk in chunks:
                    size += _write(file, chunk)
                problem = check(file) or ""
                leave_cache(file.fileno())  # begins to write it out
        finally:
            if problem:
                part.unlink(missing_ok=True)
        return part, size, problem or None

    def place(self, part: Path, target: Path) -> None:
        """Give a checked file its name, in one step; `Flushing` brings both onto the disk.

        Raises:
            DiskFullError, StoreError: The volume is full, or refuses; or a link leads elsewhere.
        """
        self._check_inside(target.parent)
        with translate_errors(store_error, target):
            move_into_place(part, target, flushed=False)

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
    """Whether it is a file itself: no link, folder or pipe."""
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:
        return False


def _write(file: BinaryIO, chunk: bytes) -> int:
    view = memoryview(chunk)
    while view:
        view = view[file.write(view) :]
    return len(chunk)

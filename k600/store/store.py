"""The store: the clips on disk, their places, and how they get there whole.

    <data_dir>/<split>/<class name>/<id>_<start>_<end>.mp4     the clips (FiftyOne's tree)
    <data_dir>/.kinetics600/                                   ledger, lists, unfinished files
    <data_dir>/<name of an encoding>/                          the same again, of such clips

A clip is written below `.kinetics600/incoming/`, checked there, and moved by one rename.
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
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout
from rich.filesize import decimal

from k600.dataset.clip import Tarball, clip_names, parse_file_name
from k600.errors import DiskFullError, Stopped, StoreError
from k600.errors.disk import Space, free_space
from k600.errors.retry import Retry
from k600.errors.text import counted
from k600.errors.translate import store_error, translate_errors
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
from k600.video.encoding import Encoding

META_DIR = ".kinetics600"
"""The folder in a store that is the loader's own."""

QUARANTINE = f"{META_DIR}/quarantine"
"""The folder in it for bad clips that `kinetics600 verify` moved aside."""

_LEAVING = f"{META_DIR}-leaving-"  # what it is called while it is removed

_FOLDERS = ("incoming", "lists", "locks", "reports")  # in it; each run writes to them
_SPARE_BYTES, _SPARE_FILES = 64 << 20, 64  # kept free on the volume, for ledger, lists and locks


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of clips. Opening one touches nothing.

    The folder itself may be a link. A link *in* it may be from a stranger, who packed the tree: it
    is followed only if it leads to a place inside (`outside_link`).
    """

    root: Path
    """The folder given as `data_dir`, absolute, or the one in it for clips encoded anew."""
    within: bool = False
    """Whether the root lies in the given folder: then it may not be a link, either."""

    @classmethod
    def at(cls, data_dir: str | os.PathLike[str], encoding: Encoding | None = None) -> Store:
        """Return the store at a folder (`~` is expanded), or that in it for clips so encoded."""
        root = Path(os.path.abspath(os.path.expanduser(os.fspath(data_dir))))
        return cls(root) if encoding is None else cls(root / encoding.name, within=True)

    @classmethod
    def all_at(cls, data_dir: str | os.PathLike[str]) -> list[Store]:
        """Return the store at a folder, and those in it for clips that are encoded anew."""
        first = cls.at(data_dir)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            inner = sorted(path.parent for path in first.root.glob(f"*/{META_DIR}"))
            return [first, *(cls(folder, within=True) for folder in inner)]
        return [first]

    @property
    def ledger_path(self) -> Path:
        return self._own("ledger.sqlite")

    def prepare(self) -> None:
        """Create the store's own folders and prove that it can be used (`prove`)."""
        for name in (".", *_FOLDERS, "quarantine", "ledger.sqlite"):
            self.check_inside(self._own(name))
        with translate_errors(store_error, self.root):
            for name in _FOLDERS:
                make_folder(self._own(name))
        self.prove()

    def prove(self, *, wait_seconds: float = 120) -> None:
        """Prove that files and the ledger can be written, renamed and locked; leave nothing.

        Another process that writes to the ledger is waited for. Else `DiskFullError` or
        `StoreError` says why it is not possible, and what to do.
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
        """Return whether the store can be written to; without `make`, no folder is made for that.

        So a tree without the store's own folders counts as not writable, and stays as it is.
        """
        if not make and not self._own("").is_dir():
            return False
        try:
            self.prepare()
        except StoreError:
            return False
        return True

    def check_folder(self) -> None:
        """Raise `StoreError` unless the store is a readable folder, or does not exist yet.

        Its own files may not lie behind links that lead out of it.
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
        """Raise `StoreError` if a link leads from a path in the store out of it."""
        if (link := self.outside_link(path.relative_to(self.root).as_posix())) is not None:
            path = self.root / link
            raise StoreError(
                f"data_dir: '{path}' leads to {os.path.realpath(path)!r}, out of the store, where "
                "nothing is written or read. Remove the link, or pass data_dir=… another folder"
            )

    def outside_link(self, place: str) -> str | None:
        """Return the link in a path, relative to the store, that leads out of it, or None.

        This is the one rule of what belongs to a store. Only links are resolved: it is cheap.

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
            path = os.path.join(self.root, link) if link else str(self.root)
            if os.path.islink(path) and not self._is_inside(path):
                return link or "."
        return None

    def _is_inside(self, path: str) -> bool:
        """Return whether a path, all links resolved, lies in the store."""
        if self.within:
            root = os.path.join(os.path.realpath(self.root.parent), self.root.name)
        else:
            root = os.path.realpath(self.root)
        try:
            return os.path.commonpath((os.path.realpath(path), root)) == root
        except ValueError:  # another drive
            return False

    def has(self, place: str) -> bool:
        """Return whether a path, relative to the store, is that of a file in it."""
        return os.path.isfile(self.root / place) and self.outside_link(place) is None

    def path(self, folder: str, file_name: str) -> Path:
        """Return the path of a clip in `<split>/<class name>`."""
        return self.root / folder / file_name

    def inventory(self, folder: str, outside_links: set[str] | None = None) -> set[str]:
        """Return the names of the clips in a folder of the store.

        Links that lead out of the store do not count, and are added to `outside_links`.
        """
        outside_links = set() if outside_links is None else outside_links
        if (link := self.outside_link(folder)) is not None:
            outside_links.add(link)
            return set()

        path, entries, names = self.root / folder, list[os.DirEntry[str]](), list[str]()
        with (
            translate_errors(store_error, path, "read"),
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(path) as found,
        ):
            entries += found
        for entry in entries:
            if _is_file(entry):
                names.append(entry.name)
            elif entry.is_symlink() and parse_file_name(entry.name):
                if (link := self.outside_link(f"{folder}/{entry.name}")) is not None:
                    outside_links.add(link)
                elif os.path.isfile(entry.path):
                    names.append(entry.name)
        return clip_names(names)

    def stamp(self, folders: Iterable[str]) -> dict[str, int]:
        """Return when the entries of each folder, if it exists, last changed, in ns.

        A folder that changed within the last two seconds gets 0: it may change once more within the
        same tick of the clock.
        """
        recent = self._now_ns() - 2_000_000_000
        stamps = {}
        for folder in folders:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                changed = os.stat(self.root / folder).st_mtime_ns
                stamps[folder] = changed if changed < recent else 0
        return stamps

    def _now_ns(self) -> int:
        """Return the time by the file system's clock (a server's, perhaps) if it is writable."""
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
        """Return why the volume has no room for clips, in words; empty if it has."""
        free = free_space(self.root)
        if needed.size_bytes + _SPARE_BYTES > free.size_bytes:
            return (
                f"the clips need {decimal(needed.size_bytes)}, and '{self.root}' has "
                f"{decimal(free.size_bytes)} free; {decimal(_SPARE_BYTES)} have to stay free"
            )
        if free.files is not None and (needed.files or 0) + _SPARE_FILES > free.files:
            return (
                f"the clips take {counted(needed.files or 0, 'file')}, and the volume of "
                f"'{self.root}' has room for {free.files:,} more (inodes), whatever their size; "
                f"{_SPARE_FILES} have to stay free"
            )
        return ""

    def check_room(self, needed: Space) -> None:
        """Raise `DiskFullError` if there is a shortage."""
        if why := self.shortage(needed):
            raise DiskFullError(
                f"data_dir: {why}. Make room, or pass data_dir=… on a larger volume"
            )

    @contextlib.contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """Open a temporary folder for unfinished files; remove those of killed runs first."""
        folder = self._own("incoming") / uuid.uuid4().hex
        with self._gate(), translate_errors(store_error, folder):
            self._remove_unfinished()
            lock = lock_at(folder.with_suffix(".lock"))
            lock.acquire()
            folder.mkdir()
        try:
            yield Incoming(folder, self)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
            folder.with_suffix(".lock").unlink(missing_ok=True)

    def _remove_unfinished(self) -> None:
        """Remove the unfinished files of killed runs."""
        for lock_path in self._own("incoming").glob("*.lock"):
            self.check_inside(lock_path)
            with contextlib.suppress(Timeout, OSError):
                with FileLock(lock_path, timeout=0):  # its run is dead
                    left = lock_path.with_suffix("")
                    shutil.rmtree(left, ignore_errors=True)
                    if not os.path.lexists(left):  # else another member of the group may remove it
                        lock_path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _gate(self) -> Iterator[None]:
        """Let one process at a time begin a run, or remove what runs need."""
        self.check_inside(self._own(""))
        with contextlib.ExitStack() as lock:
            # `remove_own` of another process may take the folder away, and the lock in it.
            retry = Retry(attempts=4, first_pause_seconds=0.05)
            retry.call(lambda: self._enter_gate(lock), StoreError)
            yield

    def _enter_gate(self, lock: contextlib.ExitStack) -> None:
        lock.close()
        own = self._own("")
        with translate_errors(store_error, own):
            for name in _FOLDERS:  # they may have gone since the store was prepared
                make_folder(self._own(name))
            made = os.stat(own)
            lock.enter_context(self.only_one("begin"))
            if not os.path.samestat(made, os.stat(own)):
                raise StoreError(f"data_dir: '{own}' was deleted by another process; call again")

    def remove_own(self, *, unless: Callable[[], bool]) -> bool:
        """Remove the store's own folder, and so all that is known of its clips.

        Returns:
            Whether it is gone; it stays while a run is at work, and if `unless` says so then.
        """
        own = self._own("")
        leaving = own.with_name(f"{_LEAVING}{uuid.uuid4().hex}")
        with self._gate(), translate_errors(store_error, own):
            self._remove_unfinished()
            if any(self._own("incoming").glob("*.lock")) or unless():
                return False
            move_into_place(own, leaving, flushed=False)  # at once, so that no run finds half of it
        for left in self.root.glob(f"{_LEAVING}*"):  # that of a killed call, too
            with translate_errors(store_error, left):
                shutil.rmtree(left)
        with contextlib.suppress(OSError):  # it holds something else
            self.root.rmdir()
        return True

    def only_one_at(
        self, tarball: Tarball, stop: threading.Event | None = None
    ) -> AbstractContextManager[None]:
        """Let one process at a time work on the clips of a tarball (`only_one`)."""
        return self.only_one(f"{tarball.split}--{tarball.name}", stop)

    @contextlib.contextmanager
    def only_one(self, name: str, stop: threading.Event | None = None) -> Iterator[None]:
        """Let one process at a time work on `name`; setting `stop` ends the wait by `Stopped`.

        Without it, Ctrl-C does, in the main thread.
        """
        path = self._own(f"locks/{name}.lock")
        self.check_inside(path)
        with translate_errors(store_error, path):
            lock = lock_at(path)
        while True:
            if stop is not None and stop.is_set():
                raise Stopped("stopped")
            with contextlib.suppress(Timeout), translate_errors(store_error, path):
                lock.acquire(timeout=0.5)
                break
        try:
            yield
        finally:
            lock.release()

    def write_own(self, name: str, data: bytes) -> Path:
        """Write a small file below `.kinetics600/`, whole or not at all, and return its path."""
        path = self._own(name)
        self.check_inside(path.parent)
        with translate_errors(store_error, path):
            write_whole(path, data)
        return path

    def read_own(self, name: str) -> bytes | None:
        """Return the bytes of a file below `.kinetics600/`, None if it does not exist."""
        path = self._own(name)
        self.check_inside(path)
        with translate_errors(store_error, path, "read"):
            return path.read_bytes() if path.is_file() else None  # (a pipe would never end)

    def _own(self, name: str) -> Path:
        return self.root / META_DIR / name


class Incoming:
    """A run's folder for clips that have no name yet. Safe in threads."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder, self._store = folder, store
        self._numbers = itertools.count()

    def new_part(self) -> Path:
        """Return a new path for an unfinished file."""
        return self._folder / f"{next(self._numbers)}.part"

    def write(
        self, chunks: Iterable[bytes | memoryview], check: Callable[[BinaryIO], str | None]
    ) -> tuple[Path, int, str | None]:
        """Write a clip to an unfinished file; return that, its size in bytes, and its problem.

        `check` returns the problem; a file that has one is removed again.
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
        """Rename a checked file, unless a link leads out of the store; it is not flushed."""
        self._store.check_inside(target.parent)
        with translate_errors(store_error, target):
            move_into_place(part, target, flushed=False)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a file itself: no link, folder or pipe."""
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:
        return False


def _write(file: BinaryIO, chunk: bytes | memoryview) -> int:
    view = memoryview(chunk)
    while view:
        view = view[file.write(view) :]
    return len(chunk)

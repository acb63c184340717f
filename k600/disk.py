"""Files safely onto the disk: seen whole or not at all, flushed, and what goes wrong explained."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from filelock import Timeout

from k600.errors import DiskFullError, Kinetics600Error, StoreError

__all__ = ["Flushing", "explained", "flush", "leave_cache", "write_whole"]

_BATCH_BYTES = 8 << 20
_TAKEN_OVER_BYTES = 64 << 20
"""Whoever takes over files that are on the disk gets about so many bytes of them at a time: one
transaction each."""
_MOST_BEHIND = 2
"""Batches that a disk may be behind whoever writes them. (So few fit into a processor's cache.)"""


def write_whole(path: Path, data: bytes, *, by: Path | None = None) -> None:
    """Write a small file so that it is seen complete or not at all.

    Args:
        path: The file.
        data: All that is to be in it.
        by: Folder, on the same volume, for the unfinished file; beside the finished one if None.
    """
    part = (by or path.parent) / f".{path.name}.{uuid.uuid4().hex}.part"
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            _to_disk(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


class Flushing:
    """Brings files onto the disk itself while the next ones are written. A context manager.

    What is on the disk leaves the kernel's cache: a split is larger than memory, so its pages would
    push out those of others, and fresh pages cost more CPU time than all else that is done to a
    clip where the host of a virtual machine has to find each (2 of 4 s/GB, measured).

    Whoever leaves it before `finish` has returned knows nothing of the files taken last.

    Raises, from `add` and `finish`:
        DiskFullError, StoreError: Only now the volume turns out to be full, or to be broken.
    """

    def __init__(self, take_over: Callable[[Sequence[Path]], Iterable[Path]] | None = None) -> None:
        """Begin with nothing.

        Args:
            take_over: Called in another thread, with files that are on the disk, in their order;
                moves them, and returns where they lie then. None leaves them where they are.
        """
        self._take_over = take_over or (lambda paths: paths)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="k600-flush")
        self._batch: list[Path] = []
        self._batch_bytes = 0
        self._ready: list[Path] = []
        self._ready_bytes = 0
        self._behind: deque[Future[None]] = deque()
        self._folders: set[Path] = set()

    def __enter__(self) -> Flushing:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, path: Path, size_bytes: int) -> None:
        """Take a file; wait if the disk is too far behind."""
        self._batch.append(path)
        self._batch_bytes += size_bytes
        if self._batch_bytes >= _BATCH_BYTES:
            self._start()
            if len(self._behind) > _MOST_BEHIND:
                self._behind.popleft().result()

    def _start(self, *, last: bool = False) -> None:
        self._behind.append(self._pool.submit(self._bring, self._batch, self._batch_bytes, last))
        self._batch, self._batch_bytes = [], 0

    def _bring(self, paths: Sequence[Path], size_bytes: int, last: bool) -> None:
        _flush_all(paths)
        self._ready += paths
        self._ready_bytes += size_bytes
        if self._ready and (last or self._ready_bytes >= _TAKEN_OVER_BYTES):
            self._folders.update(path.parent for path in self._take_over(self._ready))
            self._ready, self._ready_bytes = [], 0

    def finish(self) -> None:
        """Return once all files taken, and their folders' entries, are on the disk."""
        self._start(last=True)
        while self._behind:
            self._behind.popleft().result()
        for folder in self._folders:
            flush(folder)
        self._folders.clear()


def _flush_all(paths: Sequence[Path]) -> None:
    for path in paths:  # so that the disk has all of them to write before the first is waited for
        with _opened(path) as descriptor:
            leave_cache(descriptor)
    for path in paths:
        flush(path)


def flush(path: Path) -> None:
    """Bring a file, or a folder's entries, onto the disk itself, and out of the kernel's cache.

    Raises:
        DiskFullError, StoreError: Only now the volume turns out to be full, or to be broken.
    """
    with _opened(path) as descriptor:
        _to_disk(descriptor)
        leave_cache(descriptor)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    with explained(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def leave_cache(descriptor: int) -> None:
    """Let the kernel forget the pages of a file that are on the disk, and write out the others.

    It is advice: a system that does not take it is none the worse.
    """
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _to_disk(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise  # else this file system knows no such thing: all it can do is done


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the system says of writing a path into one of this project's errors."""
    try:
        yield
    except (Kinetics600Error, Timeout):  # (a lock that is held is no refusal, but an OSError)
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"data_dir: the volume of '{path}' is full ({error.strerror}). Make room and "
                "call again: clips that are there stay"
            ) from error
        if error.errno == errno.EXDEV:
            raise StoreError(
                f"data_dir: '{path.parent}' lies on another volume than the store's own folder "
                "'.kinetics600'; a clip cannot be moved there in one step"
            ) from error
        raise StoreError(
            f"data_dir: '{path}' cannot be written ({error.strerror or error}). Pass data_dir=… a "
            "folder that you may write, or set KINETICS600_HOME; source='local' reads what is there"
        ) from error

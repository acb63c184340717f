"""Safe writes of files: seen whole or not at all, and flushed.

After a power loss a file may have its name, but not its bytes, as file systems write both in an
order of their own. So a file is flushed before it is renamed, and its folder after. No other module
renames or writes files (`tests/test_writes.py`). All of them follow the umask and a setgid folder,
so that a group can share a store.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import uuid
from array import array
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from filelock import FileLock
from isal import isal_zlib

from k600.errors import StoreError
from k600.errors.translate import store_error, translate_errors

if TYPE_CHECKING:
    import pyarrow

try:
    import fcntl
except ImportError:  # Windows, whose locks come with the system
    fcntl = None  # type: ignore[assignment]


def open_part(path: Path, *, buffered: bool = True) -> BinaryIO:
    """Open a new, unfinished file under a temporary name; `move_into_place` gives it its own."""
    return open(path, "w+b", buffering=-1 if buffered else 0)


def write_whole(path: Path, data: bytes, *, by: Path | None = None) -> None:
    """Write a small file, and its folders, so that it is seen whole or not at all.

    The unfinished file lies in the folder `by`, on the same volume, or beside the finished one.
    """
    make_folder(path.parent)
    part = (by or path.parent) / f".{path.name}.{uuid.uuid4().hex}.part"
    try:
        with open_part(part) as file:
            file.write(data)
        move_into_place(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_output(path: Path, data: bytes) -> None:
    """Write a file that a user named, whole or not at all; a link to one stays a link.

    A device or a pipe is written to, as it is no file that could be replaced: who is root would
    have a file in place of `/dev/stdout` or `/dev/null`, for the whole system.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        with open(path, "wb") as stream:
            stream.write(data)
    else:
        write_whole(Path(os.path.realpath(path)), data)


def move_into_place(part: Path, path: Path, *, flushed: bool = True) -> None:
    """Rename a finished file on the same volume, making folders; an existing file is replaced.

    It is flushed before and its name after, unless `flush_all` does so for many files at once.
    """
    if flushed:
        sync(part)
    try:
        os.replace(part, path)
    except FileNotFoundError:
        make_folder(path.parent)
        os.replace(part, path)
    if flushed:
        sync_folder(path.parent)


def crc32_of(path: Path) -> int:
    """Return the CRC-32 of a file."""
    crc = 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            crc = isal_zlib.crc32(chunk, crc)
    return crc


def link_folder(path: Path, folder: str) -> None:
    """Make a link to a folder; one that is there is replaced."""
    new = path.with_name(f".{uuid.uuid4().hex}")
    new.symlink_to(folder, target_is_directory=True)
    os.replace(new, path)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and flush their names."""
    new = []
    above = folder
    while not above.is_dir():
        new.append(above)
        above = above.parent
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(new):
        sync_folder(made.parent)


def remove(paths: Iterable[Path]) -> None:
    """Remove files that exist, so that none is back after a power loss."""
    folders = set()
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            folders.add(path.parent)
    for folder in folders:
        sync_folder(folder)


def flush_all(paths: Collection[Path]) -> None:
    """Flush files to the disk and out of the kernel's cache, all at once.

    A split is larger than memory, so its pages would push out those of others, and fresh pages cost
    more CPU time than all else that is done to a clip where the host of a virtual machine has to
    find each (2 of 4 s/GB, measured).

    Raises `DiskFullError` or `StoreError`, as a volume may turn out to be full or broken only now.
    """
    for path in paths:  # so that the disk has all of them to write before the first is waited for
        with translate_errors(store_error, path), _opened(path) as descriptor:
            leave_cache(descriptor)
    for path in paths:
        flush(path)


def flush(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk and out of the kernel's cache.

    It raises as `flush_all` does.
    """
    with translate_errors(store_error, path), _opened(path) as descriptor:
        _to_disk(descriptor)
        leave_cache(descriptor)


def leave_cache(descriptor: int) -> None:
    """Advise the kernel to write out a file's pages and forget them, where it takes such advice."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def sync(path: Path) -> None:
    """Flush a file that stays in the kernel's cache; raises the system's own `OSError`."""
    with _opened(path) as descriptor:
        _to_disk(descriptor)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder."""
    # Windows opens no folder; elsewhere one may be written to that may not be read.
    with contextlib.suppress(PermissionError):
        sync(folder)


def _to_disk(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise  # else this file system knows no such thing: all it can do is done


def lock_at(path: Path) -> FileLock:
    """Return a lock, not acquired, whose file follows the umask, so that a group can share it.

    Some releases of filelock make it 0644 whatever the umask.
    """
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o666))
    return FileLock(path, mode=stat.S_IMODE(os.stat(path).st_mode))


def check_locks(file: Path) -> None:
    """Raise `StoreError` if the file system of a file, which nobody uses, has no locks."""
    if fcntl is None:
        return
    with open(file, "r+b") as opened:
        for lock in (fcntl.flock, fcntl.lockf):  # of the loader, and of SQLite
            try:
                lock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock(opened, fcntl.LOCK_UN)
            except OSError as error:
                raise StoreError(
                    f"data_dir: the file system of '{file.parent}' grants no locks "
                    f"({error.strerror}), without which the ledger is not safe. Have it mounted "
                    "with locks (NFS without 'nolock', Lustre with 'flock'), or pass data_dir=… a "
                    "folder on another file system"
                ) from error


def digest_of_files(paths: pyarrow.ChunkedArray) -> str:
    """Return a fingerprint of files, which need not exist: of their sizes and times of change.

    Folders would not do, as they do not change with a file that is overwritten. Several threads
    read them, since a network file system takes its time for each.
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

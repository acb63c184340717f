"""Where a dataset is published to: what any place must be able to do, and folders and buckets.

`k600.publish.hub` is the other place: a dataset repository on the Hub.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from k600.errors import DestinationError, DestinationTakenError, OptionError
from k600.errors.text import plain_text, public_url
from k600.errors.translate import destination_error, translate_errors
from k600.mirror.root import file_system_options, protocol_of
from k600.network import WEB_PORTS
from k600.publish.options import absolute_place
from k600.store.files import (
    leave_cache,
    lock_at,
    make_folder,
    move_into_place,
    remove,
    sync,
    sync_folder,
    write_whole,
)
from k600.store.store import META_DIR

_CHECKED_AT_ONCE = 4
_BLOCK_BYTES = 8 << 20
_SCRATCH = f"{META_DIR}/incoming"


class Destination(Protocol):
    """A place for files. Paths are relative to its root, with `/`.

    A file that was `send` need not be seen before the next `commit`; then it is, whole.
    """

    address: str
    """For messages, without credentials."""
    private: bool | None = False
    """Whether only some may see it; None if that is left to the place."""

    def prepare(self) -> None:
        """Create the place if it does not exist, and check that it may be used."""

    def close(self) -> None:
        """Release the place, if that takes anything."""
        return

    def scratch(self) -> Path | None:
        """Return a folder of the place's own for unfinished files, if it is on this machine."""
        return None

    def names(self, folder: str) -> set[str]:
        """Return the names of files and folders in a folder; none if there is no such folder."""
        return {*self._entries(folder)}

    def _entries(self, folder: str) -> Mapping[str, Any]:
        """Return what the place says of each entry of a folder, by name."""

    def read(self, path: str) -> bytes | None:
        """Return a small file; None if it is not there."""

    def differing(
        self,
        folder: str,
        entries: Sequence[Mapping[str, Any]],
        on_checked: Callable[[int], object],
    ) -> set[str]:
        """Return the names of files of a folder that are missing, or differ from markers' entries.

        An ETag, or the Hub's SHA-256, is compared where there is one, else files are read.
        `on_checked` is called with the size of each file that was checked.
        """
        there = self._entries(folder)

        def differs(entry: Mapping[str, Any]) -> bool:
            name = entry["name"]
            same = name in there and self._is_same(there[name], entry)
            on_checked(entry["size_bytes"])
            return not same

        with ThreadPoolExecutor(_CHECKED_AT_ONCE) as pool:
            wrong = [*pool.map(differs, entries)]
        return {entry["name"] for entry, differs in zip(entries, wrong, strict=True) if differs}

    def holds(self, path: str, sha256: str) -> bool:
        """Return whether there is a file of this SHA-256; on the Hub it is not read for that."""
        folder, _, name = path.rpartition("/")
        there = self._entries(folder).get(name)
        return there is not None and self._is_same(there, {"sha256": sha256})

    def _is_same(self, there: Any, entry: Mapping[str, Any]) -> bool:
        """Whether a file of the place is the one that an entry describes."""

    def send(self, path: str, file: Path, sha256: str | None = None) -> str:
        """Move or copy a large local file there; return its ETag, empty if there is none.

        With `sha256`, a file that is there with just these bytes is left as it is.
        """

    def roll_back(self, paths: Sequence[str]) -> None:
        """Remove files that were sent but not committed."""

    def commit(self, message: str, files: Mapping[str, bytes], delete: Sequence[str] = ()) -> None:
        """Make sent files visible, delete files, and write small ones in their order."""


class FileDestination(Destination):
    """A folder, or anything else that fsspec writes to."""

    def __init__(
        self, url: str, options: Mapping[str, Any] | None = None, *, shared: bool = False
    ) -> None:
        """Take a path or URL and its fsspec options; a folder is locked unless it is `shared`."""
        self.address = public_url(url)
        self._url, self._options = url, dict(options or {})
        self._fs: Any = None
        self._root = ""
        self._folder: Path | None = None  # the place, if it is a folder of this machine
        self._lock: FileLock | None = None
        self._shared = shared

    def prepare(self) -> None:
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        url = absolute_place(self._url)
        if protocol_of(url) in WEB_PORTS:
            raise OptionError(
                f"to: {self.address!r} is not allowed: a web server takes no files. Expected "
                "USER/NAME, a folder, or a URL that fsspec writes to, such as 's3://…'"
            )
        options = file_system_options(url, self._options)
        with self._translate_errors():
            try:
                self._fs, root = url_to_fs(url, **options)
            except (ValueError, TypeError, ImportError) as error:
                raise OptionError(
                    f"to: {self.address!r} is not allowed ({plain_text(error)}). Expected "
                    "USER/NAME, a folder, or a URL that fsspec knows, and options that suit it"
                ) from None
            self._root = str(root).rstrip("/")
            if isinstance(self._fs, LocalFileSystem):
                self._folder = Path(self._root)
                self._prepare_folder(self._folder)
            else:
                self._fs.makedirs(self._root, exist_ok=True)

    def _prepare_folder(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise DestinationError(f"to: '{self.address}' is not a folder")
        make_folder(folder)
        if not self._shared:
            self._lock_out_others(folder / META_DIR)
            shutil.rmtree(folder / _SCRATCH, ignore_errors=True)  # of a run that was killed
            for part in Path(folder, META_DIR).glob(".*.part"):
                part.unlink()

    def _lock_out_others(self, folder: Path) -> None:
        """Lock the place for this run; the system frees the lock of a killed one."""
        make_folder(folder)
        try:
            lock = lock_at(folder / "publish.lock")
            inode = os.stat(lock.lock_file).st_ino
            lock.acquire(timeout=0)
            if not os.path.exists(lock.lock_file) or os.stat(lock.lock_file).st_ino != inode:
                lock.release()
                raise Timeout(lock.lock_file)
        except (Timeout, FileNotFoundError):  # its file went with another run, which ends just now
            raise DestinationTakenError(
                f"to: '{self.address}' is being published to by another run. Wait for it and call "
                "again, or publish to another place"
            ) from None
        self._lock = lock

    def close(self) -> None:
        if self._lock is None:
            return
        with contextlib.suppress(PermissionError):  # Windows removes no file that is open
            Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()
        with contextlib.suppress(OSError):  # usually it holds markers
            Path(self._lock.lock_file).parent.rmdir()
        self._lock = None

    def scratch(self) -> Path | None:
        if self._folder is None:
            return None
        folder = self._folder / _SCRATCH / (uuid.uuid4().hex if self._shared else "")
        with self._translate_errors():
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def read(self, path: str, start: int | None = None, end: int | None = None) -> bytes | None:
        """Return a file, or its bytes from `start` to `end` (exclusive); None if it is missing."""
        with self._translate_errors():
            try:
                return bytes(self._fs.cat_file(self._at(path), start=start, end=end))
            except FileNotFoundError:
                return None

    def clear(self, folder: str) -> None:
        """Remove a folder and all that is in it, if it is there."""
        with self._translate_errors():
            self._fs.invalidate_cache()
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm(self._at(folder), recursive=True)

    def send(self, path: str, file: Path, sha256: str | None = None) -> str:
        target, size_bytes = self._at(path), file.stat().st_size
        with self._translate_errors():
            there = self._info(target) if sha256 is not None else None
            proof = {"size_bytes": size_bytes, "sha256": sha256}
            is_there = there is not None and self._is_same(there, proof)
            if self._folder is not None:
                if is_there:  # from a killed run, so it may not be on the disk yet
                    sync(Path(target))
                    sync_folder(Path(target).parent)
                else:
                    move_into_place(file, Path(target))
                return ""
            if not is_there:
                self._fs.put_file(str(file), target)
                there = self._info(target)

        if there is None or there["size"] != size_bytes:
            raise DestinationError(
                f"to: {self.address}/{path} has {there and there['size']} bytes there, and not "
                f"the {size_bytes:,} that were sent. Call again"
            )
        return _etag_of(there)

    def roll_back(self, paths: Sequence[str]) -> None:
        self.commit("", {}, delete=paths)

    def commit(self, message: str, files: Mapping[str, bytes], delete: Sequence[str] = ()) -> None:
        with self._translate_errors():
            if self._folder is not None:
                remove(self._folder / path for path in delete)
                for path, data in files.items():
                    write_whole(self._folder / path, data, by=self._folder / META_DIR)
                return

            for path in delete:
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm_file(self._at(path))
            for path, data in files.items():
                self._fs.pipe_file(self._at(path), data)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _entries(self, folder: str) -> dict[str, dict[str, Any]]:
        """Return fsspec's details of a folder's entries, by name."""
        with self._translate_errors():
            self._fs.invalidate_cache()
            try:
                # On this machine, details would end at a file that vanishes meanwhile.
                found = self._fs.ls(self._at(folder), detail=self._folder is None)
            except FileNotFoundError:
                return {}
            if self._folder is not None:
                found = [info for info in map(self._info, found) if info is not None]
        entries = {str(info["name"]).rstrip("/").rpartition("/")[2]: info for info in found}
        entries.pop("", None)
        return entries

    def _info(self, target: str) -> dict[str, Any] | None:
        self._fs.invalidate_cache()
        try:
            return dict(self._fs.info(target))
        except FileNotFoundError:
            return None

    def _is_same(self, there: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
        if there["type"] != "file" or there["size"] != entry.get("size_bytes", there["size"]):
            return False
        if entry.get("etag") and _etag_of(there) == entry["etag"]:
            return True
        digest = hashlib.sha256()
        with self._translate_errors():
            try:
                with self._fs.open(there["name"], "rb", _BLOCK_BYTES) as file:
                    while block := file.read(_BLOCK_BYTES):
                        digest.update(block)
                    if self._folder is not None:
                        leave_cache(file.fileno())
            except FileNotFoundError:
                return False
        return digest.hexdigest() == str(entry["sha256"])

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        with translate_errors(destination_error, self.address, self._folder):
            yield


def _etag_of(info: Mapping[str, Any]) -> str:
    """Return the ETag, or on GCS the MD5, of a file; empty if there is none."""
    etag = info.get("ETag") or info.get("etag") or info.get("md5Hash") or ""
    return str(etag).strip('"')

"""Where a dataset is published to: what any place must be able to do, and folders and buckets.

`k600.hub` is the other place: a dataset repository on the Hub.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from k600.disk import lock_at, why_full, write_whole
from k600.errors import (
    DestinationError,
    DestinationTakenError,
    DiskFullError,
    Kinetics600Error,
    OptionError,
)
from k600.public import plain_text, public_url
from k600.store import OWN

__all__ = ["Destination", "FileDestination"]


class Destination(Protocol):
    """A place for files. Paths are relative to its root, with `/`.

    A file that was `send` need not be seen before the next `commit`; then it is, whole.
    """

    address: str
    """For messages, without credentials."""

    def prepare(self) -> None:
        """Make the place if it is not there, and prove that it may be used."""

    def close(self) -> None:
        """Be done with the place, well or not."""

    def scratch(self) -> Path | None:
        """Return a folder of the place's own for unfinished files, if it is on this machine."""

    def names(self, folder: str) -> set[str]:
        """Return the names of files and folders in a folder; none if there is no such folder."""

    def read(self, path: str) -> bytes | None:
        """Return a small file; None if it is not there."""

    def send(self, path: str, file: Path) -> None:
        """Bring a large file of this machine there, if it is not there already; moves it or not."""

    def commit(self, message: str, files: Mapping[str, bytes], delete: Sequence[str] = ()) -> None:
        """Make what was sent visible, remove files, and write small ones, the last one last."""


class FileDestination:
    """A folder, or anything else that fsspec writes to."""

    def __init__(
        self, url: str, options: Mapping[str, Any] | None = None, *, shared: bool = False
    ) -> None:
        """Open nothing yet.

        Args:
            url: A path, or a URL such as `s3://bucket/folder`.
            options: fsspec storage options: keys, an endpoint.
            shared: Whether others of the same run write there, too. Else a folder is locked.
        """
        self.address = public_url(url)
        self._url, self._options = url, dict(options or {})
        self._fs: Any = None
        self._root = ""
        self._is_local = False
        self._lock: FileLock | None = None
        self._shared = shared

    def prepare(self) -> None:
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        url = self._url if "://" in self._url else str(Path(self._url).expanduser().absolute())
        with self._explained():
            try:
                self._fs, root = url_to_fs(url, **self._options)
            except (ValueError, TypeError, ImportError) as error:
                raise OptionError(
                    f"to: {self.address!r} is not allowed ({plain_text(error)}). Expected "
                    "USER/NAME, a folder, or a URL that fsspec knows, and options that suit it"
                ) from None
            self._root = str(root).rstrip("/")
            self._is_local = isinstance(self._fs, LocalFileSystem)
            if self._is_local and Path(self._root).exists() and not Path(self._root).is_dir():
                raise DestinationError(f"to: '{self.address}' is not a folder")
            self._fs.makedirs(self._root, exist_ok=True)
            if self._is_local and not self._shared:
                self._lock_out_others()
                shutil.rmtree(self._scratch(), ignore_errors=True)  # of a run that was killed
                for part in Path(self._root, OWN).glob(".*.part"):
                    part.unlink()

    def close(self) -> None:
        if self._lock is None:
            return
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds something: that is as it should be
            Path(self._lock.lock_file).parent.rmdir()
        self._lock = None

    def scratch(self) -> Path | None:
        if not self._is_local:
            return None
        folder = self._scratch() / uuid.uuid4().hex if self._shared else self._scratch()
        with self._explained():
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def names(self, folder: str) -> set[str]:
        with self._explained():
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._at(folder), detail=False)
            except FileNotFoundError:
                return set()
        return {str(path).rstrip("/").rpartition("/")[2] for path in found} - {""}

    def read(self, path: str, start: int | None = None, end: int | None = None) -> bytes | None:
        """Return a file, or its bytes from `start` to `end` (exclusive); None if it is not there.

        Safe in threads.
        """
        with self._explained():
            try:
                return bytes(self._fs.cat_file(self._at(path), start=start, end=end))
            except FileNotFoundError:
                return None

    def clear(self, folder: str) -> None:
        """Remove a folder and all that is in it, if it is there."""
        with self._explained():
            self._fs.invalidate_cache()
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm(self._at(folder), recursive=True)

    def send(self, path: str, file: Path) -> None:
        target = self._at(path)
        with self._explained():
            if self._size(target) == file.stat().st_size:  # its name says what is in it
                return
            if self._is_local:
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
                return
            self._fs.put_file(str(file), target)
            if (there := self._size(target)) != file.stat().st_size:
                raise DestinationError(
                    f"to: {self.address}/{path} has {there} bytes there, and not the "
                    f"{file.stat().st_size:,} that were sent. Call again"
                )

    def commit(self, message: str, files: Mapping[str, bytes], delete: Sequence[str] = ()) -> None:
        with self._explained():
            for path in delete:
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm_file(self._at(path))
            for path, data in files.items():
                target = self._at(path)
                if self._is_local:
                    Path(target).parent.mkdir(parents=True, exist_ok=True)
                    write_whole(Path(target), data, by=Path(self._root, OWN))
                else:
                    self._fs.pipe_file(target, data)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _lock_out_others(self) -> None:
        """Take a folder for this run; the lock of a run that was killed is free."""
        own = Path(self._root) / OWN
        own.mkdir(exist_ok=True)
        lock = lock_at(own / "publish.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise DestinationTakenError(
                f"to: '{self.address}' is being published to by another run. Wait for it and call "
                "again, or publish to another place"
            ) from None
        self._lock = lock

    def _scratch(self) -> Path:
        return Path(self._root) / OWN / "incoming"

    def _size(self, target: str) -> int | None:
        self._fs.invalidate_cache()
        try:
            return int(self._fs.info(target)["size"])
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Kinetics600Error:
            raise
        except Exception as error:  # fsspec's file systems raise what they like
            said = getattr(error, "strerror", None) or plain_text(error)
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                full = f"the volume of {self.address} is full"
                if self._is_local:
                    full = why_full(Path(self._root), error)
                raise DiskFullError(
                    f"to: {full}. Make room and call again: shards that are there stay"
                ) from None
            raise DestinationError(
                f"to: {self.address} cannot be used ({type(error).__name__}: {said}). Pass to=… a "
                "place that you may write to, with its credentials and endpoint in to_options=…"
            ) from None

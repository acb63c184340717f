"""How finished shards leave this machine: a folder while they are made, and one sent at a time."""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from k600.disk import why_full
from k600.errors import DiskFullError, Kinetics600Error, StoreError
from k600.publish.destination import Destination
from k600.publish.parquet import Shard
from k600.store.store import Store

__all__ = ["Sending", "is_told", "said_of", "scratch_folder"]

_TOLD = {"name": str, "clips": int, "video_bytes": int, "size_bytes": int, "sha256": str}
"""What is always said of a shard."""


@contextlib.contextmanager
def scratch_folder(destination: Destination, store: Store | None = None) -> Iterator[Path]:
    """Open a folder for shards that are in flight; empty at the end, killed or not.

    Args:
        destination: Where they go: a place on this machine has a folder for it.
        store: Else it is in this store, if it can be written to.
    """
    with contextlib.ExitStack() as stack:
        folder = destination.scratch()
        if folder is not None:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        elif store is not None and store.is_writable(make=True):
            incoming = stack.enter_context(store.incoming())
            folder = incoming.new_part()
            folder.mkdir()
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            yield folder
        except OSError as error:
            if isinstance(error, Kinetics600Error):
                raise
            shard = f"a shard cannot be written to '{folder}'"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFullError(
                    f"{shard}: {why_full(folder, error)}. Two shards need room there"
                ) from error
            raise StoreError(f"{shard} ({error.strerror or error})") from error


class Sending:
    """Sends one shard while the next is made, and never more than one."""

    def __init__(self, destination: Destination) -> None:
        self.sent: list[dict[str, Any]] = []
        """What a marker says of those that have arrived (`said_of`)."""
        self._destination = destination
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Sending:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._wait()

    def send(self, folder: str, shard: Shard) -> None:
        self._wait()
        # A daemon: Ctrl-C does not wait for half a gigabyte.
        self._thread = threading.Thread(target=self._run, args=(folder, shard), daemon=True)
        self._thread.start()

    def _run(self, folder: str, shard: Shard) -> None:
        try:
            etag = self._destination.send(f"{folder}/{shard.name}", shard.path, shard.sha256)
            self.sent.append(said_of(shard, etag))
            shard.path.unlink(missing_ok=True)
        except BaseException as error:
            self._error = error

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            raise self._error


def said_of(shard: Shard, etag: str) -> dict[str, Any]:
    """Return what a marker says of a shard: enough to prove it later.

    Args:
        shard: The shard.
        etag: What its place calls these bytes; empty if it does not.
    """
    said = {
        "name": shard.name,
        "clips": shard.clips,
        "video_bytes": shard.video_bytes,
        "size_bytes": shard.size_bytes,
        "sha256": shard.sha256,
    }
    return {**said, "etag": etag} if etag else said


def is_told(said: Any) -> bool:
    """Whether this is what `said_of` says of a shard."""
    return isinstance(said, dict) and all(isinstance(said.get(k), t) for k, t in _TOLD.items())

"""Shards: their names, their entries in markers, and how they are sent.

A shard is named after its bytes, so the same rows are the same file.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from k600.errors import OptionError
from k600.errors.translate import shard_error, translate_errors
from k600.loading.manifest import sha256_of
from k600.publish.destination import Destination
from k600.store.store import Store

USUAL_CLIP_BYTES = 1_500_000
MOST_FILES = 9_000  # of the Hub's 10,000 in a folder

_ENTRY = {"name": str, "clips": int, "video_bytes": int, "size_bytes": int, "sha256": str}


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished file in a scratch folder."""

    path: Path
    name: str
    """Its name once published: its number in the run and the hash of its bytes."""
    clips: int
    video_bytes: int
    size_bytes: int
    sha256: str
    index: Sequence[str] = ()
    """Where each of its clips lies in it (`k600.publish.clip_index`); none of a table."""


def is_entry(value: Any) -> bool:
    """Whether this is an entry of a shard, as `send_shard` returns it."""
    return isinstance(value, dict) and all(isinstance(value.get(k), t) for k, t in _ENTRY.items())


def check_number_of_files(split: str, expected_bytes: int, shard_size_mb: int) -> None:
    """Raise `OptionError` if shards of this size would be more than the Hub takes in a folder."""
    files = expected_bytes // (shard_size_mb * 1_000_000)
    if files > MOST_FILES:
        raise OptionError(
            f"shard_size_mb: {shard_size_mb} would make about {files:,} files of {split}, "
            "and the Hub takes 10,000 in a folder. Expected at least "
            f"{expected_bytes // MOST_FILES // 1_000_000 + 1}"
        )


def finish_shard(
    file: BinaryIO, prefix: str, ending: str, video_bytes: int, index: Sequence[str], clips: int
) -> Shard:
    """Close a file that was written, and name it after its bytes."""
    file.close()
    path = Path(file.name)
    sha256 = sha256_of(path)
    name = f"{prefix}-{sha256[:16]}.{ending}"
    return Shard(path, name, clips, video_bytes, path.stat().st_size, sha256, tuple(index))


@contextlib.contextmanager
def scratch_folder(destination: Destination, store: Store | None = None) -> Iterator[Path]:
    """Open a folder for unsent shards: the destination's, or the store's, or a temporary one."""
    with contextlib.ExitStack() as stack:
        folder = destination.scratch()
        if folder is not None:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        elif store is not None and store.is_writable(make=True):
            folder = stack.enter_context(store.incoming()).new_part()
            folder.mkdir()
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        with translate_errors(shard_error, folder):
            yield folder


def send_shard(shard: Shard, destination: Destination, folder: str) -> dict[str, Any]:
    """Send a shard, remove it here, and return what a marker notes of it."""
    etag = destination.send(f"{folder}/{shard.name}", shard.path, shard.sha256)
    shard.path.unlink(missing_ok=True)
    entry = {name: value for name, value in asdict(shard).items() if name != "path" and value != ()}
    return {**entry, "etag": etag} if etag else entry


def send_shards(
    shards: Iterable[Shard], destination: Destination, folder: str
) -> list[dict[str, Any]]:
    """Send shards, each while the next one is made, and return their entries."""
    entries: list[dict[str, Any]] = []
    sending: Future[dict[str, Any]] | None = None
    for shard in shards:
        if sending is not None:
            entries.append(sending.result())

        # A daemon, unlike the threads of a pool: Ctrl-C does not wait for half a gigabyte.
        sending = Future()
        what = (sending, shard, destination, folder)
        threading.Thread(target=_send, args=what, daemon=True).start()

    if sending is not None:
        entries.append(sending.result())
    return entries


def _send(
    sending: Future[dict[str, Any]], shard: Shard, destination: Destination, folder: str
) -> None:
    try:
        sending.set_result(send_shard(shard, destination, folder))
    except BaseException as error:
        sending.set_exception(error)

"""Shards, the files of a published dataset: written as Parquet or WebDataset, named, and sent.

A shard is named after its bytes, and the same rows are the same bytes. In Parquet, the features of
the columns (`k600.loading.columns`) are written as `datasets` expects them. In a tar, a clip is
three files of one name: `.mp4`, `.cls` (the class id; none without a label) and `.json`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import mmap
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow
import pyarrow.parquet

from k600.dataset.clip import Clip
from k600.dataset.labels import NAMES
from k600.errors import OptionError
from k600.errors.translate import shard_error, translate_errors
from k600.loading.columns import (
    EMBEDDED,
    FACTS,
    INDEX_FILE,
    PUBLISHED,
    REPEATING,
    Column,
    arrow_schema,
)
from k600.loading.manifest import sha256_of
from k600.loading.rows import record_of
from k600.publish.clip_index import line_of
from k600.publish.destination import Destination
from k600.store.files import open_part
from k600.store.store import Store

USUAL_CLIP_BYTES = 1_500_000
MOST_FILES = 9_000  # of the Hub's 10,000 in a folder

MOST_GROUP_ROWS = 100
MOST_GROUP_BYTES = 32 << 20  # the Hub allows far more; writing holds a group three times
_TABLE_GROUP_ROWS = 10_000

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


def embedded_row(
    clip: Clip,
    data: bytes,
    source: str,
    tarball: str | None,
    position: int | None,
    *,
    fps: float | None,
    sha256: str | None = None,
) -> dict[str, Any]:
    """Return a clip's row (`k600.loading.columns.EMBEDDED`); its `sha256` is computed if needed."""
    return {
        **record_of(clip, clip.file_name, data, source, fps),
        "tarball": tarball,
        "position": position,
        "sha256": sha256 or hashlib.sha256(data).hexdigest(),
    }


def write_clips(
    rows: Iterable[Mapping[str, Any]], folder: Path, *, prefix: str, shard_bytes: int | None
) -> Iterator[Shard]:
    """Write rows of the dataset, `video.bytes` set, as shards, lazily.

    `shard_bytes` is the most bytes of clips in a shard, unless one clip alone has more; None puts
    all rows into one shard.
    """
    most = math.inf if shard_bytes is None else shard_bytes
    number, left = 0, iter(rows)
    row = next(left, None)
    while row is not None:
        name = prefix if shard_bytes is None else f"{prefix}-{number:03d}"
        with open_part(folder / f"{name}.part") as file:
            writer = _Writer(file, EMBEDDED)
            while row and (not writer.video_bytes or writer.video_bytes + _size_of(row) <= most):
                writer.add(row)
                row = next(left, None)
            shard = writer.finish(name)
        yield shard
        number += 1


def write_table(rows: Iterable[Mapping[str, Any]], folder: Path, *, kind: str) -> Shard:
    """Write rows of `metadata`, or of an `index`, as one shard; an index's name is always the same.

    `kind` is a key of `k600.loading.columns.PUBLISHED`.
    """
    with open_part(folder / "table.part") as file:
        writer = _Writer(file, PUBLISHED[kind])
        for row in rows:
            writer.add(row)
        shard = writer.finish("00000")
    return replace(shard, name=INDEX_FILE) if kind == "index" else shard


def _size_of(row: Mapping[str, Any]) -> int:
    return len(row["video"]["bytes"]) if "video" in row else 0


class _Writer:
    """One Parquet file that is being written."""

    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:
        self._schema = arrow_schema(columns, noted=True)
        plain = [column.name for column in columns if column.kind != "video"]
        compression = dict.fromkeys(plain, "zstd")
        if len(plain) < len(columns):  # H.264 gets no smaller
            compression |= {"video.bytes": "none", "video.path": "zstd"}
        self._file = file
        self._writer = pyarrow.parquet.ParquetWriter(
            self._file,
            self._schema,
            compression=compression,
            use_dictionary=[name for name in plain if name in REPEATING],
            write_statistics=plain,
            write_page_index=True,
        )
        self._most_rows = MOST_GROUP_ROWS if len(plain) < len(columns) else _TABLE_GROUP_ROWS
        self._group: list[Mapping[str, Any]] = []  # rows that are not written yet
        self._clips = self._row_groups = self._group_bytes = 0
        self.video_bytes = 0
        self._index: list[str] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row; a row group is written once it is full."""
        size = _size_of(row)
        is_full = len(self._group) == self._most_rows
        if self._group and (is_full or self._group_bytes + size > MOST_GROUP_BYTES):
            self._write_group()
        self._group.append(row)
        self._group_bytes += size
        self.video_bytes += size

    def _write_group(self) -> None:
        table = pyarrow.Table.from_pylist(self._group, schema=self._schema)
        start = self._file.tell()
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        if "video" in self._schema.names:
            self._find_clips(self._group, start)
        self._clips += len(self._group)
        self._row_groups += 1
        self._group.clear()
        self._group_bytes = 0

    def _find_clips(self, rows: Sequence[Mapping[str, Any]], start: int) -> None:
        """Note where the clips of a row group lie, which was written from byte `start` on."""
        self._file.flush()
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as written:
            for number, row in enumerate(rows):
                clip = row["video"]["bytes"]
                start = written.find(clip, start)
                assert start >= 0  # nothing splits a value, or packs it
                where = {"row_group": self._row_groups, "row": number, "file_offset": start}
                self._index.append(line_of({**row, **where, "size_bytes": len(clip)}))
                start += len(clip)

    def finish(self, prefix: str) -> Shard:
        if self._group:
            self._write_group()
        self._writer.close()
        return finish_shard(
            self._file, prefix, "parquet", self.video_bytes, self._index, self._clips
        )


def write_tar(rows: Iterable[Mapping[str, Any]], folder: Path, *, prefix: str) -> Shard:
    """Write rows of the dataset, `video.bytes` set, as one tar; one row is held at a time."""
    index: list[str] = []
    video_bytes = 0
    with open_part(folder / f"{prefix}.part") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for row in rows:
                data, key = row["video"]["bytes"], _key(row)
                at = cast(Any, tar).offset + tarfile.BLOCKSIZE  # behind the clip's header
                where = {"row_group": None, "row": len(index), "file_offset": at}
                index.append(line_of({**row, **where, "size_bytes": len(data)}))
                _add(tar, f"{key}.mp4", data)
                if row["label"] is not None:
                    _add(tar, f"{key}.cls", str(row["label"]).encode())
                _add(tar, f"{key}.json", json.dumps(_facts(row), sort_keys=True).encode())
                cast(Any, tar).members.clear()  # tarfile would keep every header
                video_bytes += len(data)
        return finish_shard(file, prefix, "tar", video_bytes, index, len(index))


def _key(row: Mapping[str, Any]) -> str:
    """Return a unique name without a dot for the files of a clip."""
    # The split comes first: `datasets` drops names that begin with `__`, as some YouTube ids do.
    label = "none" if row["label"] is None else f"{row['label']:03d}"
    times = f"{row['time_start']:06d}_{row['time_end']:06d}"
    return f"{row['split']}_{label}_{row['youtube_id']}_{times}"


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    label = None if row["label"] is None else NAMES[row["label"]]
    return {column.name: row[column.name] for column in FACTS} | {"label": label}


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)  # no owner and no time, so that the bytes are reproducible
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


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


def send_shard(shard: Shard, destination: Destination, split: str) -> dict[str, Any]:
    """Send a split's shard, remove it here, and return what a marker notes of it."""
    etag = destination.send(f"data/{split}/{shard.name}", shard.path, shard.sha256)
    shard.path.unlink(missing_ok=True)
    entry = {name: value for name, value in asdict(shard).items() if name != "path" and value != ()}
    return {**entry, "etag": etag} if etag else entry


def send_shards(
    shards: Iterable[Shard], destination: Destination, split: str
) -> list[dict[str, Any]]:
    """Send shards, each while the next one is made, and return their entries."""
    entries: list[dict[str, Any]] = []
    sending: Future[dict[str, Any]] | None = None
    for shard in shards:
        if sending is not None:
            entries.append(sending.result())

        # A daemon, unlike the threads of a pool: Ctrl-C does not wait for half a gigabyte.
        sending = Future()
        what = (sending, shard, destination, split)
        threading.Thread(target=_send, args=what, daemon=True).start()

    if sending is not None:
        entries.append(sending.result())
    return entries


def _send(
    sending: Future[dict[str, Any]], shard: Shard, destination: Destination, split: str
) -> None:
    try:
        sending.set_result(send_shard(shard, destination, split))
    except BaseException as error:
        sending.set_exception(error)

"""Parquet files of a published dataset: their columns, and how rows become shards of a size.

A shard is named after what is in it, so the same rows are the same file. Nothing here knows where
it goes, nor `datasets`: what `datasets` wants to know of the columns is written beside them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from k600.errors import OptionError
from k600.labels import NAMES
from k600.store.files import open_part

__all__ = [
    "COLUMNS",
    "ENDINGS",
    "FACTS",
    "MOST_FILES",
    "MOST_SHARD_MB",
    "HashingFile",
    "Shard",
    "check_number_of_files",
    "features_of",
    "write_clips",
    "write_metadata",
]

MOST_GROUP_ROWS = 100
MOST_GROUP_BYTES = 32 << 20  # the Hub allows far more; writing holds a group three times
MOST_SHARD_MB = 1_900  # below 2 GB with all that is around the clips
MOST_FILES = 9_000  # of the Hub's 10,000 in a folder
_METADATA_GROUP_ROWS = 10_000

COLUMNS: dict[str, dict[str, str]] = {
    "embedded": {
        "video": "video",
        "label": "label",
        "youtube_id": "string",
        "time_start": "int32",
        "time_end": "int32",
        "split": "string",
        "source": "string",
    },
    "metadata": {
        "split": "string",
        "label": "label",
        "youtube_id": "string",
        "time_start": "int32",
        "time_end": "int32",
        "url": "string",
        "source": "string",
        "tarball": "string",
        "size_bytes": "int64",
        "sha256": "string",
    },
    "webdataset": {
        "mp4": "video",
        "cls": "label",
        "json": "facts",
        "__key__": "string",  # these two, `datasets` adds itself
        "__url__": "string",
    },
}
"""Columns by kind of publication; `label` is a `ClassLabel` of the 600 names, `video` a `Video`."""

FACTS = {
    "label": "string",
    "youtube_id": "string",
    "time_start": "int32",
    "time_end": "int32",
    "split": "string",
    "source": "string",
}
"""What the JSON file beside a clip in a WebDataset tar says of it; `label` is the class's name."""

ENDINGS = {"embedded": "parquet", "metadata": "parquet", "webdataset": "tar"}
"""What the names of shards end in, by kind of publication."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished file that lies in a scratch folder."""

    path: Path
    """Where it lies, under a name of no meaning."""
    name: str
    """What it is to be called: its place in the run, and the hash of its bytes."""
    clips: int
    video_bytes: int
    size_bytes: int
    sha256: str


def features_of(kind: str) -> dict[str, dict[str, Any]]:
    """Return the columns as `datasets` writes its features into a Parquet file."""
    shapes: dict[str, dict[str, Any]] = {
        "video": {"_type": "Video"},
        "label": {"names": [*NAMES], "_type": "ClassLabel"},
    }
    return {
        name: shapes.get(what, {"dtype": what, "_type": "Value"})
        for name, what in COLUMNS[kind].items()
    }


def check_number_of_files(split: str, expected_bytes: int, shard_size_mb: int) -> None:
    """Raise `OptionError` if shards of this size would be more than the Hub takes in a folder."""
    files = expected_bytes // (shard_size_mb * 1_000_000)
    if files > MOST_FILES:
        raise OptionError(
            f"shard_size_mb: {shard_size_mb} would make about {files:,} files of {split}, "
            "and the Hub takes 10,000 in a folder. Expected at least "
            f"{expected_bytes // MOST_FILES // 1_000_000 + 1}"
        )


def write_clips(
    rows: Iterable[Mapping[str, Any]], folder: Path, *, prefix: str, shard_bytes: int | None
) -> Iterator[Shard]:
    """Write rows of the dataset, `video.bytes` set, as shards; the next once one is taken.

    Args:
        rows: The rows. They are held until a row group is full: 100 rows, or 32 MiB.
        folder: Where to write.
        prefix: What the names begin with.
        shard_bytes: Bytes of clips in a shard, at most unless one clip alone has more; None for
            one shard of all.
    """
    schema = _schema("embedded")

    def name() -> str:
        return prefix if shard_bytes is None else f"{prefix}-{index:03d}"

    writer: _Writer | None = None
    group: list[Mapping[str, Any]] = []
    group_bytes = 0
    index = 0
    try:
        for row in rows:
            size = len(row["video"]["bytes"])
            full = (
                writer is not None
                and shard_bytes is not None
                and writer.video_bytes + group_bytes + size > shard_bytes
            )
            if group and (
                full or len(group) == MOST_GROUP_ROWS or group_bytes + size > MOST_GROUP_BYTES
            ):
                assert writer is not None
                writer.write(_clip_table(group, schema), group_bytes)
                group, group_bytes = [], 0
            if full:
                assert writer is not None
                yield writer.finish(name())
                writer, index = None, index + 1
            if writer is None:
                writer = _Writer(folder / f"{name()}.part", schema)
            group.append(row)
            group_bytes += size
        if writer is not None:
            writer.write(_clip_table(group, schema), group_bytes)
            group = []
            yield writer.finish(name())
            writer = None
    finally:
        if writer is not None:
            writer.abandon()


def write_metadata(rows: Sequence[Mapping[str, Any]], folder: Path, *, prefix: str) -> Shard:
    """Write rows about clips as one shard."""
    schema = _schema("metadata")
    writer = _Writer(folder / f"{prefix}.part", schema)
    try:
        for start in range(0, len(rows), _METADATA_GROUP_ROWS):
            part = rows[start : start + _METADATA_GROUP_ROWS]
            writer.write(pyarrow.Table.from_pylist([*part], schema=schema), 0)
        return writer.finish(prefix)
    except BaseException:
        writer.abandon()
        raise


class _Writer:
    """One Parquet file that is being written, hashed on the way."""

    def __init__(self, path: Path, schema: Any) -> None:
        self._file = HashingFile(path)
        plain = [name for name in schema.names if name != "video"]
        compression = dict.fromkeys(plain, "zstd")
        if "video" in schema.names:  # H.264 gets no smaller
            compression |= {"video.bytes": "none", "video.path": "zstd"}
        self._writer = pyarrow.parquet.ParquetWriter(
            self._file,
            schema,
            compression=compression,
            use_dictionary=[n for n in plain if n in ("label", "split", "source", "tarball")],
            write_statistics=plain,
            write_page_index=True,
        )
        self.clips = self.video_bytes = 0

    def write(self, table: Any, video_bytes: int) -> None:
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self.clips += table.num_rows
        self.video_bytes += video_bytes

    def finish(self, prefix: str) -> Shard:
        self._writer.close()
        return self._file.finish(prefix, "parquet", self.clips, self.video_bytes)

    def abandon(self) -> None:
        self._file.abandon()


class HashingFile:
    """A shard while it is written: the little that Parquet's and tar's writers need of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open_part(path)
        self._digest = hashlib.sha256()
        self._position = 0

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: Any) -> int:
        self._digest.update(data)
        count = self._file.write(data)
        self._position += count
        return count

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def finish(self, prefix: str, ending: str, clips: int, video_bytes: int) -> Shard:
        """Close the file, and choose the name that its bytes call for."""
        self._file.close()
        sha256 = self._digest.hexdigest()
        name = f"{prefix}-{sha256[:16]}.{ending}"
        return Shard(self._path, name, clips, video_bytes, self._position, sha256)

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _schema(kind: str) -> Any:
    kinds = {
        "video": pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]),
        "label": pyarrow.int64(),
        "int32": pyarrow.int32(),
        "int64": pyarrow.int64(),
        "string": pyarrow.string(),
    }
    said = json.dumps({"info": {"features": features_of(kind)}})
    return pyarrow.schema(
        [(name, kinds[what]) for name, what in COLUMNS[kind].items()],
        metadata={"huggingface": said},
    )


def _clip_table(rows: list[Mapping[str, Any]], schema: Any) -> Any:
    videos = pyarrow.StructArray.from_arrays(
        [
            pyarrow.array([row["video"]["bytes"] for row in rows], pyarrow.binary()),
            pyarrow.array([row["video"]["path"] for row in rows], pyarrow.string()),
        ],
        fields=[*schema.field("video").type],
    )
    others = [
        pyarrow.array([row[field.name] for row in rows], field.type)
        for field in schema
        if field.name != "video"
    ]
    return pyarrow.Table.from_arrays([videos, *others], schema=schema)

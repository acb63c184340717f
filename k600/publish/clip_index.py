"""The configuration `index` of published clips: which bytes of which published file each clip is.

A shard mixes many classes, so whoever wants one class would read all of them. A clip lies in its
shard as it is, in one piece: with the index it is one request for a range of bytes.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.parquet

from k600.loading.columns import CLIP_INDEX, arrow_schema
from k600.publish.destination import Destination

_NOTED = tuple(column.name for column in CLIP_INDEX if column.name not in ("split", "file"))


def index_path(split: str) -> str:
    """Return the path of a split's index."""
    return f"index/{split}.parquet"


def line_of(values: Mapping[str, Any]) -> str:
    """Return what a shard's marker notes of a clip: values of `CLIP_INDEX`, in their order."""
    return " ".join("-" if values[name] is None else str(values[name]) for name in _NOTED)


def make_index(split: str, shards: Sequence[Mapping[str, Any]]) -> bytes | None:
    """Return the index of shards, by their markers' entries; None if one has no clips noted."""
    if not shards or not all(shard.get("index") for shard in shards):
        return None
    tables, schema = [], arrow_schema(CLIP_INDEX, noted=True)
    for shard in shards:  # one by one, as dicts of half a million rows would take 300 MB
        file = {"split": split, "file": f"data/{split}/{shard['name']}"}
        rows = [{**file, **_values(line)} for line in shard["index"]]
        tables.append(pyarrow.Table.from_pylist(rows, schema=schema))
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.concat_tables(tables), sink, compression="zstd")
    return sink.getvalue()


def _values(line: str) -> dict[str, Any]:
    values: dict[str, Any] = dict(zip(_NOTED, line.split(" "), strict=True))
    for name in values:
        if name != "youtube_id":
            values[name] = None if values[name] == "-" else int(values[name])
    return values


def read_index(
    destination: Destination, split: str, done: Mapping[str, Any]
) -> dict[str, list[str]]:
    """Return what markers noted of a split's clips, by shard; none if its index is gone."""
    data = destination.read(index_path(split)) or b""
    if hashlib.sha256(data).hexdigest() != done.get("index_sha256"):
        return {}
    lines: dict[str, list[str]] = {}
    for batch in pyarrow.parquet.ParquetFile(io.BytesIO(data)).iter_batches(10_000):
        for row in batch.to_pylist():
            lines.setdefault(row["file"].rpartition("/")[2], []).append(line_of(row))
    return lines

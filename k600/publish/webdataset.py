"""Tar files of a published dataset, as WebDataset reads them.

A clip is three files of one name: `.mp4`, `.cls` (the class id; none without a label) and `.json`.
The same rows are the same bytes, as with `k600.publish.parquet`.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, cast

from k600.labels import NAMES
from k600.loading.columns import FACTS
from k600.publish.shards import HashingFile, Shard


def write_tar(rows: Iterable[Mapping[str, Any]], folder: Path, *, prefix: str) -> Shard:
    """Write rows of the dataset, `video.bytes` set, as one tar; one row is held at a time."""
    file = HashingFile(folder / f"{prefix}.part")
    clips = video_bytes = 0
    try:
        with tarfile.open(
            fileobj=cast(IO[bytes], file), mode="w", format=tarfile.GNU_FORMAT
        ) as tar:
            for row in rows:
                data, key = row["video"]["bytes"], _key(row)
                _add(tar, f"{key}.mp4", data)
                if row["label"] is not None:
                    _add(tar, f"{key}.cls", str(row["label"]).encode())
                _add(tar, f"{key}.json", json.dumps(_facts(row), sort_keys=True).encode())
                cast(Any, tar).members.clear()  # tarfile would keep every header
                clips += 1
                video_bytes += len(data)
        return file.finish(prefix, "tar", clips, video_bytes)
    except BaseException:
        file.abandon()
        raise


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

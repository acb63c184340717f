"""The rows of a loaded dataset as plain values, each with a preview of its clip."""

from __future__ import annotations

import dataclasses
import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k600.ahead import map_ahead
from k600.dataset.labels import NAMES
from k600.errors import OptionError, StoreError
from k600.errors.translate import output_error, translate_errors, unwritable
from k600.gallery.thumbnails import Preview, preview_clip
from k600.store.files import write_output


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a dataset, with plain values that are not checked."""

    video: bytes | str | None
    """The clip's bytes if the row has them, else its absolute path; None without either."""
    path: str | None
    """The path as the row has it; for a streamed clip, only its name."""
    label: str | None
    youtube_id: str
    time_start: int | None
    time_end: int | None
    split: str
    source: str


def read_rows(rows: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """Yield the rows of a dataset in their order; those of a dictionary split by split.

    A dataset with `decode=True` is read undecoded, one with a format or transform without it.
    """
    for part in _parts(rows):
        if hasattr(part, "with_format"):
            part = part.with_format(None)
        video: Any = (getattr(part, "features", None) or {}).get("video")
        if getattr(video, "decode", False) and hasattr(part, "cast_column"):
            part = part.cast_column("video", dataclasses.replace(video, decode=False))
        for row in part:
            if not isinstance(row, Mapping) or "video" not in row:
                raise OptionError(
                    f"rows: {str(row)[:80]!r} is no row of Kinetics-600: expected a loaded "
                    "dataset, or dictionaries with 'video', 'label', 'youtube_id', …"
                )
            yield _row(row)


def count_rows(rows: Iterable[Mapping[str, Any]]) -> int | None:
    """Return the number of rows; None for a stream, which has no length."""
    parts = _parts(rows)
    return sum(map(len, parts)) if all(isinstance(part, Sized) for part in parts) else None


def previews(rows: Iterable[Row]) -> Iterator[tuple[Row, Preview]]:
    """Yield each row with its clip's preview, in order; several are made at a time."""
    threads = min(16, os.cpu_count() or 1)
    return map_ahead(
        lambda row: preview_clip(row.video),
        rows,
        threads=threads,
        most_ahead=4 * threads,
        name="k600-preview",
    )


def check_target(path: str | os.PathLike[str], what: str) -> Path:
    """Return the absolute path of a file that can be written; `what` it is, for the message."""
    target = Path(os.path.abspath(os.path.expanduser(os.fspath(path))))
    folder = target.parent
    if not folder.is_dir():
        raise StoreError(unwritable(target, what, f"there is no folder '{folder}'"))
    if target.is_dir():
        raise StoreError(unwritable(target, what, "it is a folder"))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(unwritable(target, what, f"the folder '{folder}' may not be written"))
    return target


def write_file(target: Path, data: bytes, what: str) -> None:
    """Write a file, whole or not at all."""
    with translate_errors(output_error, target, what):
        write_output(target, data)


def _parts(rows: Any) -> list[Any]:
    """Return the splits of a dictionary of datasets, or the one dataset."""
    parts = list(rows.values()) if isinstance(rows, Mapping) else [rows]
    for part in parts:
        if isinstance(part, (str, bytes, Mapping)) or not isinstance(part, Iterable):
            raise OptionError(
                f"rows: {type(rows).__name__} is not allowed, expected a loaded dataset, a "
                "dictionary of splits, or rows in a list"
            )
    return parts


def _row(row: Mapping[str, Any]) -> Row:
    video = row["video"]
    found = video if isinstance(video, Mapping) else {}
    data, path = found.get("bytes"), found.get("path")
    path = None if path is None else os.fspath(path)
    return Row(
        video=bytes(data) if data is not None else path and os.path.abspath(path),
        path=path,
        label=_label(row.get("label")),
        youtube_id=str(row.get("youtube_id") or ""),
        time_start=_integer(row.get("time_start")),
        time_end=_integer(row.get("time_end")),
        split=str(row.get("split") or ""),
        source=str(row.get("source") or ""),
    )


def _label(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    number = _integer(value)
    if number is None:
        return None
    return NAMES[number] if 0 <= number < len(NAMES) else f"label {number}"


def _integer(value: Any) -> int | None:
    try:
        return operator.index(value)
    except TypeError:
        return None

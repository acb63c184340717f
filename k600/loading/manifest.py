"""A selection frozen in a file: exactly these clips, with what proves them the same elsewhere.

A CSV or Parquet table, a row for each clip, with the columns of `k600.loading.columns.MANIFEST`.
Where it has a column `state` (see `k600.checks.clip_table`), rows of missing clips are passed over.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from k600.dataset.clip import Clip, Place, Tarball, TestLabels, parse_file_name
from k600.dataset.labels import NAMES, canonical
from k600.dataset.splits import SPLITS, Split
from k600.errors import DiskFullError, ManifestError, UnknownClassError
from k600.errors.disk import is_full, why_refused
from k600.errors.text import csv_text, short_hash, text_of
from k600.errors.translate import unwritable
from k600.loading.columns import (
    MANIFEST,
    REPEATING,
    Column,
    arrow_schema,
    place_of,
    place_values,
    whole,
)
from k600.loading.places import Places
from k600.store.files import write_output
from k600.store.ledger import Ledger
from k600.store.rows import SOURCES
from k600.store.store import META_DIR, Store

_NAMES = [column.name for column in MANIFEST]
_OF_CLIP, _OF_FILE = _NAMES[:5], _NAMES[5:10]
_SUFFIXES = (".csv", ".parquet")

_Named = TypeVar("_Named", bound=Hashable)


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One clip, and what proves that another file is the same."""

    clip: Clip
    source: str = ""
    """`cvdf`, `youtube`, `local`, or empty where unknown."""
    tarball: str = ""
    """Name of the host's tarball that holds it; empty where unknown."""
    size_bytes: int = 0
    """0 where unknown."""
    sha256: str = ""
    """Of the file, in hexadecimal; empty where unknown."""
    fps: float | None = None
    """Frames per second of the file; None where unknown."""
    place: Place | None = None
    """Where the clip lies in its tarball, if that is known."""

    def as_plain(self) -> dict[str, Any]:
        """Return the row's columns by name, as `k600.loading.columns.MANIFEST` has them."""
        of_clip = {name: getattr(self.clip, name) for name in _OF_CLIP}
        of_file = {name: getattr(self, name) for name in _OF_FILE}
        return of_clip | of_file | place_values(self.place)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that was read."""

    path: Path
    digest: str
    """Fingerprint of what it says, whatever the file's form."""
    rows: tuple[ManifestRow, ...]

    def of(self, split: str) -> dict[Clip, ManifestRow]:
        """Return the rows of a split by clip."""
        return {row.clip: row for row in self.rows if row.clip.split == split}

    @property
    def test_labels(self) -> TestLabels:
        """The labels of its test clips."""
        return {
            (clip.youtube_id, clip.time_start, clip.time_end): clip.label
            for clip in self.of("test")
            if clip.label is not None
        }


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read a manifest.

    Raises:
        ManifestError: It cannot be read, or a row names no clip of Kinetics-600.
    """
    where = Path(os.path.abspath(os.path.expanduser(os.fspath(path))))
    if where.suffix not in _SUFFIXES:
        raise ManifestError(f"manifest: '{where}' is neither .csv nor .parquet")
    try:
        status = where.stat()
    except OSError as error:
        raise ManifestError(f"manifest: '{where}' cannot be read ({error.strerror})") from None
    return _read(where, (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=4)
def _read(where: Path, state: tuple[int, int]) -> Manifest:
    """Read a manifest, once as long as the file stays as it is."""
    rows = []
    for number, fields in enumerate(_table(where), 1):
        if (fields.get("state") or "have") not in ("have", "short"):
            continue  # of a table that names missing clips, too
        try:
            rows.append(_row(fields))
        except (UnknownClassError, ValueError, TypeError, OverflowError) as error:
            raise ManifestError(f"manifest: row {number} of '{where}': {error}") from None
    if not rows:
        raise ManifestError(f"manifest: '{where}' names no clip")
    if len({row.clip for row in rows}) < len(rows):
        raise ManifestError(f"manifest: '{where}' names a clip twice")
    lines = sorted(f"{r.clip.key} {r.source} {r.tarball} {r.size_bytes} {r.sha256}" for r in rows)
    return Manifest(where, short_hash("\n".join(lines)), tuple(rows))


def write_manifest(rows: Iterable[ManifestRow], path: str | os.PathLike[str]) -> Path:
    """Write a manifest, whole or not at all, as its suffix says: `.csv` or `.parquet`.

    Raises:
        ManifestError: The suffix is neither, or there is no row.
    """
    return write_table([row.as_plain() for row in rows], path, MANIFEST)


def write_table(
    rows: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    columns: Sequence[Column],
    *,
    option: str = "path",
) -> Path:
    """Write rows about clips as CSV or Parquet, whole or not at all, as the suffix says.

    Args:
        rows: At least one row.
        path: The file.
        columns: Their columns.
        option: The name of the option that gave the path, for messages.

    Raises:
        ManifestError: The suffix is neither, there is no row, or the file cannot be written.
        DiskFullError: The volume is full.
    """
    where = Path(os.path.abspath(os.path.expanduser(os.fspath(path))))
    if where.suffix not in _SUFFIXES:
        raise ManifestError(
            f"{option}: '{where}' is not allowed, expected one ending in .csv or .parquet"
        )
    if not rows:
        raise ManifestError(f"{option}: there is no clip to write to '{where}'")

    if where.suffix == ".csv":
        names = [column.name for column in columns]
        data = csv_text([names, *([row[name] for name in names] for row in rows)]).encode()
    else:
        data = to_parquet(rows, columns)
    try:
        write_output(where, data)
    except OSError as error:
        kind = DiskFullError if is_full(error) else ManifestError
        raise kind(unwritable(where, option, why_refused(where, error))) from None
    return where


def to_parquet(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> bytes:
    """Return rows about clips as the bytes of a Parquet file."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([*rows], schema=arrow_schema(columns))
    repeating = [column.name for column in columns if column.name in REPEATING]
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink, compression="zstd", use_dictionary=repeating)
    return sink.getvalue()


def manifest_rows(rows: Iterable[Mapping[str, Any]]) -> list[ManifestRow]:
    """Return the manifest's rows for rows of the dataset; every file is read.

    Args:
        rows: As `kinetics600.features()` describes them, `video` not decoded.

    Raises:
        ManifestError: A clip has no file, or it cannot be read.
    """
    files: list[tuple[Clip, str, Path, float | None]] = []
    clips: dict[tuple[Path, str], list[Clip]] = {}
    for row in rows:
        label = None if row["label"] is None else NAMES[row["label"]]
        clip = Clip(row["split"], label, row["youtube_id"], row["time_start"], row["time_end"])
        path = Path(row["video"]["path"] or "")
        if row["video"]["bytes"] is not None or not path.is_absolute():
            raise ManifestError(f"ds: {clip.key} was streamed; load it without streaming=True")
        root = next(
            (p for p in path.parents if (p / META_DIR / "ledger.sqlite").exists()), path.parent
        )
        clips.setdefault((root, clip.split), []).append(clip)
        files.append((clip, row["source"], path, row.get("fps")))

    where: dict[Clip, tuple[str, Place | None]] = {}
    for (root, split), of_store in clips.items():
        known = Places(split, Ledger(Store.at(root).ledger_path))
        named = [clip.candidate for clip in of_store]
        tarballs, places = known.tarballs_of(named), known.find(named)
        tarballs |= {name: place.tarball for name, place in places.items()}
        for clip, name in zip(of_store, named, strict=True):
            where[clip] = tarballs[name].name if name in tarballs else "", places.get(name)

    def proved(clip: Clip, source: str, path: Path, fps: float | None) -> ManifestRow:
        tarball, place = where[clip]
        try:
            size_bytes, sha256 = path.stat().st_size, sha256_of(path)
        except OSError as error:
            raise ManifestError(f"ds: '{path}' cannot be read ({error.strerror})") from None
        return ManifestRow(clip, source, tarball, size_bytes, sha256, fps, place)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda file: proved(*file), files))


def differing(rows: Mapping[_Named, ManifestRow], files: Mapping[_Named, Path]) -> list[_Named]:
    """Return the clips whose files are not those that a manifest means, as far as it says.

    Args:
        rows: The manifest's rows by clip, whatever clips are called by.
        files: The files to compare.
    """
    with ThreadPoolExecutor() as pool:
        same = pool.map(lambda clip: _is_same(rows[clip], files[clip]), files)
        return [clip for clip, good in zip(files, same, strict=True) if not good]


def _is_same(row: ManifestRow, path: Path) -> bool:
    if row.size_bytes and path.stat().st_size != row.size_bytes:
        return False
    return not row.sha256 or sha256_of(path) == row.sha256


def is_other(data: bytes, sha256: str | None) -> bool:
    """Return whether bytes are not those of a clip, whose SHA-256 is empty or None if unknown."""
    return bool(sha256) and hashlib.sha256(data).hexdigest() != sha256


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _table(path: Path) -> list[dict[str, Any]]:
    """Read a table as rows of plain values."""
    import pyarrow
    import pyarrow.parquet

    try:
        if path.suffix == ".csv":
            text = io.StringIO(text_of(path.read_bytes()), newline="")
            rows: list[dict[str, Any]] = list(csv.DictReader(text))
            names = list(rows[0]) if rows else []
        else:
            table = pyarrow.parquet.read_table(path)
            rows, names = table.to_pylist(), table.column_names
    except (OSError, ValueError, csv.Error, pyarrow.ArrowException) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise ManifestError(f"manifest: '{path}' cannot be read ({why})") from None
    missing = [name for name in _OF_CLIP if name not in names]
    if rows and missing:
        raise ManifestError(
            f"manifest: '{path}' has no column {', '.join(map(repr, missing))}. Written by "
            "kinetics600.save_manifest, it has: " + ", ".join(_NAMES)
        )
    return rows


def _row(fields: Mapping[str, Any]) -> ManifestRow:
    split, label = fields["split"], fields["label"] or None
    if split not in SPLITS:
        raise ValueError(f"split: {split!r} is not one of {', '.join(SPLITS)}")
    if label is None and not Split(split).is_mixed:
        raise ValueError("label: it is empty, which only a clip of the test split may be")
    if label is not None and not isinstance(label, str):
        raise ValueError(f"label: {label!r} is no class name; id2label() gives that of an id")
    if label is not None:
        label = canonical(label)

    start, end = (whole(name, fields[name]) for name in ("time_start", "time_end"))
    clip = Clip(split, label, str(fields["youtube_id"]), start, end)
    if parse_file_name(clip.file_name) is None:
        raise ValueError(f"{clip.file_name!r} is no clip's name")

    source, tarball = fields.get("source") or "", fields.get("tarball") or ""
    if source not in ("", *SOURCES):
        raise ValueError(f"source: {source!r} is not one of {', '.join(SOURCES)}")
    if tarball and not Split(split).may_hold(tarball, label):
        raise ValueError(f"tarball: {tarball!r} is none that could hold {clip.key}")

    size_bytes = whole("size_bytes", fields.get("size_bytes") or 0)
    sha256 = str(fields.get("sha256") or "").lower()
    if size_bytes < 0 or (sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256)):
        raise ValueError(f"size_bytes, sha256: {size_bytes}, {sha256!r} are none of a file")
    fps = _rate(fields.get("fps") or None)
    place = place_of(Tarball(split, tarball), fields) if tarball else None
    return ManifestRow(clip, source, tarball, size_bytes, sha256, fps, place)


def _rate(value: Any) -> float | None:
    """Return frames per second as a table has them; `ValueError` says that they are none."""
    try:
        rate = None if value is None else float(value)
    except (TypeError, ValueError):
        rate = math.nan
    if rate is not None and not 0 < rate < math.inf:
        raise ValueError(f"fps: {value!r:.50} is no number of frames per second")
    return rate

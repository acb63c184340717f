"""An index: a table of where clips lie on the host, opened once, and read for the clips asked for.

It is a manifest with places, or what `kinetics600 index` makes: a file, or a folder of one for each
split. One that crossed a network is kept in the store beside the lists, for its ETag. Whoever made
it: its rows are checked as they are used.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

from k600.clip import Entry, Place, Tarball, file_name_of, parse_file_name
from k600.errors import IndexFileError, ListError, MirrorError, MirrorNotFoundError, OfflineError
from k600.loading.columns import INDEX
from k600.loading.selection import Candidate
from k600.mirror.mirror import Mirror
from k600.splits import Split
from k600.store.store import Store
from k600.tarballs.catalog import object_at
from k600.text import public_url, short_hash

logger = logging.getLogger("kinetics600")

_SUFFIXES = (".parquet", ".csv")
_COLUMNS = [column.name for column in INDEX if column.name != "label"]
_TEXTS = [column.name for column in INDEX if column.kind == "string" and column.name in _COLUMNS]
_OF_NAME = ("youtube_id", "time_start", "time_end")
_OF_TARBALL = ("tarball", "tarball_etag", "tarball_bytes", "packing")
_OF_ENTRY = ("entry_offset", "skip_bytes", "span_bytes", "original_bytes", "crc32")
_OPTIONAL = "tarball_clips"
_ID_BYTES = 11

_MOST_BYTES = 512 << 20
"""Of its file, and of its columns as they claim to be."""
_MOST_ROWS = 10_000_000  # the host has 0.5 million clips


@dataclass(frozen=True, slots=True)
class Index:
    """An index in memory, as Arrow holds it: 530,000 rows take some 60 MB."""

    name: str
    """How messages call it."""
    table: Any
    """A `pyarrow.Table` with the columns of `k600.loading.columns.INDEX`, but `label`."""

    def places(
        self, split: str, clips: Collection[Candidate]
    ) -> tuple[dict[Candidate, Place], dict[Candidate, Tarball]]:
        """Return the places of clips, and the tarballs of those that have none, where known.

        Raises:
            IndexFileError: A clip's row holds what no run wrote.
        """
        import pyarrow
        import pyarrow.compute as pc

        by_name = Split(split).is_mixed
        asked: dict[Any, Candidate] = {(clip[1] if by_name else clip): clip for clip in clips}
        ids = pyarrow.array({name[:_ID_BYTES] for _, name in clips}, pyarrow.string())
        rows = self._rows(split, pc.is_in(self.table["youtube_id"], ids))

        places: dict[Candidate, Place] = {}
        tarballs: dict[Candidate, Tarball] = {}
        unit = cache(partial(_tarball, split))
        entries = zip(*(_values(rows[name]) for name in _OF_ENTRY), strict=True)
        others = (_values(rows[name]) for name in (*_OF_NAME, *_OF_TARBALL))
        with self._checking():
            for youtube_id, start, end, *of_tarball, entry in zip(*others, entries, strict=True):
                tarball, etag, size_bytes, packing = of_tarball
                name = file_name_of(youtube_id, start or 0, end or 0)
                clip = asked.get(name if by_name else (tarball, name))
                if clip is None or tarball is None:
                    continue
                tarballs[clip] = unit(tarball)
                if entry[0] is not None:
                    if size_bytes is None or None in entry:
                        raise ValueError(f"{', '.join(_OF_ENTRY)}: {entry} lack a number")
                    where = unit(tarball), etag or "", size_bytes, packing or ""
                    places[clip] = Place(*where, Entry._make(entry))
        return places, tarballs

    def members(self, split: str, tarballs: Collection[str]) -> dict[str, list[str]]:
        """Return the file names of all clips of tarballs, in each one's order, by its name.

        Tarballs of which it does not have every clip are left out.
        """
        rows = self._rows(split, _is_one_of(self.table["tarball"], {*tarballs}))
        found: dict[str, dict[str, None]] = {}
        counts: dict[str, int | None] = {}
        with self._checking():
            for row in _records(rows, (*_OF_NAME, "tarball", _OPTIONAL)):
                name, tarball = _file_name(row), _tarball(split, row["tarball"]).name
                if parse_file_name(name) is None:
                    raise ValueError(f"{name!r} is no clip's name")
                found.setdefault(tarball, {})[name] = None
                counts[tarball] = row[_OPTIONAL] or counts.get(tarball)
        return {
            tarball: [*clips] for tarball, clips in found.items() if len(clips) == counts[tarball]
        }

    def _rows(self, split: str, mask: Any) -> Any:
        import pyarrow.compute as pc

        return self.table.filter(pc.and_(_is_one_of(self.table["split"], {str(split)}), mask))

    @contextlib.contextmanager
    def _checking(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise IndexFileError(f"index: '{self.name}' holds a row of no clip: {error}") from None


def _is_one_of(column: Any, words: Collection[str]) -> Any:
    """Return a mask of the rows whose text is one of some words."""
    import pyarrow
    import pyarrow.compute as pc

    array = column.combine_chunks()
    known = array.dictionary.to_pylist()
    codes = [code for code, word in enumerate(known) if word in words]
    return pc.is_in(array.indices, pyarrow.array(codes, pyarrow.int32()))


def _records(rows: Any, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table as dicts. (`to_pylist` takes several times as long.)"""
    for values in zip(*(_values(rows[name]) for name in names), strict=True):
        yield dict(zip(names, values, strict=True))


def _values(chunks: Any) -> Any:
    """Return the values of a column as a list."""
    import pyarrow

    column = chunks.combine_chunks() if isinstance(chunks, pyarrow.ChunkedArray) else chunks
    if pyarrow.types.is_dictionary(column.type):
        words = column.dictionary.to_pylist()
        return [None if code is None else words[code] for code in _values(column.indices)]
    if pyarrow.types.is_integer(column.type) and not column.null_count:
        return column.to_numpy().tolist()
    return column.to_pylist()


def _file_name(row: Mapping[str, Any]) -> str:
    youtube_id, start, end = (row[name] for name in _OF_NAME)
    return file_name_of(youtube_id or "", start or 0, end or 0)


def _tarball(split: str, name: str) -> Tarball:
    if not Split(split).has_tarball(name):
        raise ValueError(f"tarball: {name!r:.100} is not {Split(split).tarball_names}")
    return Tarball(split, name)


def read_index(data: bytes, name: str) -> Index:
    """Read an index from the bytes of a file of that name, which ends as tables' names do.

    Raises:
        IndexFileError: It is no such table.
    """
    import pyarrow

    read = _read_csv if name.endswith(".csv") else _read_parquet
    try:
        columns = {name: _column(array, name) for name, array in read(pyarrow.BufferReader(data))}
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise IndexFileError(
            f"index: '{name}' cannot be read ({why}). Make one by kinetics600 index build, or "
            "leave index out"
        ) from None
    size = len(columns["split"])
    return Index(name, pyarrow.table({_OPTIONAL: pyarrow.nulls(size, pyarrow.int64()), **columns}))


def _read_parquet(source: Any) -> Iterator[tuple[str, Any]]:
    """Yield the columns one by one, which takes half the memory."""
    import pyarrow.parquet

    facts = pyarrow.parquet.read_metadata(source)
    groups = [facts.row_group(number) for number in range(facts.num_row_groups)]
    claimed_bytes = sum(group.total_byte_size for group in groups)
    if facts.num_rows > _MOST_ROWS or claimed_bytes > _MOST_BYTES:
        raise ValueError(f"it claims {facts.num_rows:,} rows, {claimed_bytes:,} bytes")

    # Words that the file holds once are not to be copied into each row: a stranger's may be long.
    chunks = (group.column(number) for group in groups for number in range(group.num_columns))
    once = {c.path_in_schema for c in chunks if any("DICTIONARY" in e for e in c.encodings)}
    once.intersection_update(_TEXTS)
    with pyarrow.parquet.ParquetFile(source, read_dictionary=[*once], pre_buffer=False) as file:
        for name in _found_columns(file.schema_arrow.names):
            yield name, file.read([name], use_threads=False)[name]


def _read_csv(source: Any) -> Iterator[tuple[str, Any]]:
    import pyarrow.csv

    texts = dict.fromkeys(_TEXTS, pyarrow.string())
    options = pyarrow.csv.ConvertOptions(column_types=texts, strings_can_be_null=True)
    table = pyarrow.csv.read_csv(source, convert_options=options)
    for name in _found_columns(table.column_names):
        yield name, table[name]


def _found_columns(names: Sequence[str]) -> list[str]:
    """Return the columns of an index that a table has; `ValueError` if one is missing."""
    missing = [name for name in _COLUMNS if name not in (*names, _OPTIONAL)]
    if missing:
        raise ValueError(f"it has no column {', '.join(map(repr, missing))}")
    return [name for name in _COLUMNS if name in names]


def _column(array: Any, name: str) -> Any:
    """Return a column as text, each word once, or as whole numbers."""
    import pyarrow
    import pyarrow.compute as pc

    column = array.combine_chunks()
    if name not in _TEXTS:
        return column.cast(pyarrow.int64())
    is_once = pyarrow.types.is_dictionary(column.type)
    if name == "youtube_id":  # each is in a few rows only
        if is_once and pc.any(pc.greater(pc.binary_length(column.dictionary), _ID_BYTES)).as_py():
            raise ValueError(f"a youtube_id has more than {_ID_BYTES} bytes")
        return column.cast(pyarrow.string())
    if not is_once:
        column = column.cast(pyarrow.string()).dictionary_encode()
    return column.cast(pyarrow.dictionary(pyarrow.int32(), pyarrow.string()))


@dataclass(frozen=True)
class IndexFile:
    """An index at its address, which is opened when it is first asked for."""

    address: str
    """A file, URL or `hf://` path; without a table's suffix, a folder as `publish` fills it."""
    mirror: Mirror
    """The request's: its options serve an index on the same host, too."""
    store: Store
    offline: bool
    """Whether no network may be crossed."""
    keep: bool
    """Whether it may be written to the store."""

    def of(self, split: str) -> Index | None:
        """Return the index of a split; None if a folder has none.

        Raises:
            IndexFileError: It is no index.
            MirrorError: It cannot be had, and the store keeps none; the message names `index`.
        """
        file = self.address
        if not public_url(file).endswith(_SUFFIXES):
            file = f"{file.rstrip('/')}/data/{split}-00000-of-00001.parquet"
        if file not in self._opened:
            self._opened[file] = self._open(file)
        return self._opened[file]

    @cached_property
    def _opened(self) -> dict[str, Index | None]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_opened"}

    def _open(self, file: str) -> Index | None:
        shown = public_url(file)
        root, path = object_at(file, self.mirror)
        kept_as = f"lists/{short_hash(file)}-index"
        etag, index = self._kept(kept_as, shown) if root.is_network else ("", None)
        try:
            if root.is_network and self.offline:
                raise OfflineError("the network is not to be used")
            remote = root.stat(path)
            if index is not None and remote.etag == etag:
                return index
            data = root.read_small(path, most_bytes=_MOST_BYTES)
        except (MirrorError, ListError) as error:
            if isinstance(error, MirrorNotFoundError) and file != self.address:
                logger.warning("index: there is no %s", shown)
                return None
            if index is None:
                raise type(error)(f"index: {shown} cannot be had ({error}). Leave it out") from None
            logger.warning("index: %s cannot be had, so the kept one serves (%s)", shown, error)
            return index

        index = read_index(data, shown)
        if self.keep and root.is_network:
            self.store.write_own(kept_as, f"{remote.etag}\n".encode() + data)
        return index

    def _kept(self, name: str, shown: str) -> tuple[str, Index | None]:
        """Return the ETag of an index that the store keeps, and the index."""
        etag, _, data = (self.store.read_own(name) or b"").partition(b"\n")
        try:
            return etag.decode(), read_index(data, shown) if data else None
        except (IndexFileError, UnicodeDecodeError) as error:
            logger.warning(
                "data_dir: what '%s' keeps as '%s' is damaged (%s)", self.store.root, name, error
            )
            return "", None

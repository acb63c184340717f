"""An index: a table of where clips lie on the host, opened once, and read for the clips asked for.

It is a manifest with places, or what `kinetics600 index` makes: a file, or a folder of one for each
split. One that crossed a network is kept in the store beside the lists, for its ETag. Whoever made
it: its rows are checked as they are used.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

from k600.clip import FILE_NAME, Entry, Place, Tarball, file_name_of
from k600.errors import IndexFileError, ListError, MirrorError, MirrorNotFoundError, OfflineError
from k600.loading.columns import INDEX, INDEX_FILE
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

    def members(
        self, split: str, tarballs: Collection[str], objects: Mapping[str, tuple[str, int]]
    ) -> dict[str, list[str]]:
        """Return the file names of all clips of tarballs, in each one's order, by its name.

        Tarballs of which it does not have every clip are left out, and those that have another
        ETag or size (of those that `objects` have, by name).
        """
        rows = self.clips(split, tarballs)
        found: dict[str, list[str]] = {}
        others = set[str]()
        columns = ("tarball", "file_name", "tarball_etag", "tarball_bytes")
        for tarball, name, *what in zip(*(_values(rows[n]) for n in columns), strict=True):
            found.setdefault(tarball, []).append(name)
            if None not in what and tuple(what) != objects.get(tarball, tuple(what)):
                others.add(tarball)
        return {tarball: names for tarball, names in found.items() if tarball not in others}

    def clips(self, split: str, tarballs: Collection[str]) -> Any:
        """Return all clips of those tarballs of which it has every one: a table, a row for each.

        Its columns are `file_name`, and those of the index. The numbers are not checked.

        Raises:
            IndexFileError: A row names no clip, or no tarball.
        """
        import pyarrow
        import pyarrow.compute as pc

        rows = self._rows(split, _is_one_of(self.table["tarball"], {*tarballs}))
        times = (pc.utf8_lpad(rows[name].cast("string"), 6, "0") for name in _OF_NAME[1:])
        stems = pc.binary_join_element_wise(rows["youtube_id"], *times, "_")
        files = pc.binary_join_element_wise(stems, ".mp4", "")
        named = pc.match_substring_regex(files, f"^{FILE_NAME}$")
        good = pc.and_(named, pc.less(rows["time_start"], rows["time_end"])).fill_null(False)

        rows = rows.append_column("file_name", files)
        counted = [("file_name", "count"), ("file_name", "count_distinct"), (_OPTIONAL, "max")]
        counts = rows.group_by("tarball").aggregate(counted)
        of_tarball = ["tarball", "file_name_count_distinct", f"{_OPTIONAL}_max"]
        if counts["file_name_count"] != counts["file_name_count_distinct"]:
            number = pyarrow.array(range(len(rows)))
            keys = rows.select(["tarball", "file_name"]).append_column("row", number)
            first = keys.group_by(["tarball", "file_name"]).aggregate([("row", "min")])
            rows = rows.take(first["row_min"].sort())  # somebody has a clip twice
        with self._checking():
            if pc.any(pc.invert(good)).as_py():
                bad = files[pc.index(good, False).as_py()].as_py()
                raise ValueError(f"{bad!r:.100} is no clip's name")
            whole = {
                _tarball(split, name).name
                for name, clips, claimed in zip(
                    *(counts[n].to_pylist() for n in of_tarball), strict=True
                )
                if clips == claimed
            }
        return rows.filter(_is_one_of(rows["tarball"], whole))

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
        columns.setdefault(_OPTIONAL, pyarrow.nulls(len(columns["split"]), pyarrow.int64()))
        return Index(name, pyarrow.table(columns))
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise IndexFileError(
            f"index: '{name}' cannot be read ({why}). Make one by kinetics600 index build, or "
            "leave index out"
        ) from None


def _read_parquet(source: Any) -> Iterator[tuple[str, Any]]:
    """Yield the columns one by one, which takes half the memory."""
    import pyarrow.parquet

    # Words that a file holds once are not to be copied into each row: a stranger's may be long.
    # Only ids, each of which is in a few rows, are, where their words are seen to be short first.
    # (How a column is packed is not asked: pyarrow ends the process if that is damaged.)
    options = {"read_dictionary": _TEXTS, "pre_buffer": False}
    with pyarrow.parquet.ParquetFile(source, **options) as file:
        facts = file.metadata
        groups = (facts.row_group(number) for number in range(facts.num_row_groups))
        claimed_bytes = sum(group.total_byte_size for group in groups)
        if facts.num_rows > _MOST_ROWS or claimed_bytes > _MOST_BYTES:
            raise ValueError(f"it claims {facts.num_rows:,} rows, {claimed_bytes:,} bytes")
        names = _found_columns(file.schema_arrow.names)
        for number in range(facts.num_row_groups):
            which = {"row_groups": [number], "columns": ["youtube_id"], "use_threads": False}
            some = file.iter_batches(1, **which)
            for batch in itertools.islice(some, 1):
                _check_ids(batch["youtube_id"])

        for name in names:
            if name != "youtube_id":
                yield name, file.read([name], use_threads=False)[name]
    with pyarrow.parquet.ParquetFile(source, pre_buffer=False) as file:
        yield "youtube_id", file.read(["youtube_id"], use_threads=False)["youtube_id"]


def _check_ids(column: Any) -> None:
    import pyarrow
    import pyarrow.compute as pc

    is_once = pyarrow.types.is_dictionary(column.type)
    words = column.dictionary if is_once else column
    if pc.any(pc.greater(pc.binary_length(words), _ID_BYTES)).as_py():
        raise ValueError(f"a youtube_id has more than {_ID_BYTES} bytes")


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

    column = array.combine_chunks()
    column.validate(full=True)
    if name not in _TEXTS:
        return column.cast(pyarrow.int64())
    if name == "youtube_id":
        return column.cast(pyarrow.string())
    if not pyarrow.types.is_dictionary(column.type):
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
            file = f"{file.rstrip('/')}/data/{split}/{INDEX_FILE}"
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

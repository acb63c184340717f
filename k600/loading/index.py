"""An index: a table of where clips lie on the host, opened once, and read for the clips asked for.

It is a manifest with places, or what `kinetics600 index` makes: a file, or a folder of one for each
split. One that crossed a network is kept in the store beside the lists, for its ETag. Whoever made
it: its rows are checked as they are used.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from k600.dataset.clip import FILE_NAME, Place, Tarball
from k600.dataset.splits import Split
from k600.errors import IndexFileError, ListError, MirrorError, MirrorNotFoundError, OfflineError
from k600.errors.text import public_url, short_hash
from k600.loading.columns import INDEX, INDEX_FILE, PLACE, place_of
from k600.loading.selection import Candidate
from k600.mirror.mirror import Mirror
from k600.store.store import Store
from k600.tarballs.catalog import object_at, read_kept

logger = logging.getLogger("kinetics600")

_SUFFIXES = (".parquet", ".csv")
_COLUMNS = [column.name for column in INDEX if column.name != "label"]
_TEXTS = [column.name for column in INDEX if column.kind == "string" and column.name in _COLUMNS]
_OF_PLACE = [column.name for column in PLACE]
_OPTIONAL = "tarball_clips"
_ID_BYTES = 11

_MOST_BYTES = 512 << 20
"""Of its file, and of its columns as they claim to be."""
_MOST_ROWS = 10_000_000  # the host has 0.5 million clips


_ADVICE = (
    "Make one by kinetics600 index build, pass index=… its file, URL or 'hf://' path (or set "
    "KINETICS600_INDEX), or leave it out"
)


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
        columns = (_values(rows[name]) for name in ("file_name", "tarball", *_OF_PLACE))
        for file_name, name, *values in zip(*columns, strict=True):
            clip = asked.get(file_name if by_name else (name, file_name))
            if clip is None or name is None:
                continue
            if not Split(split).has_tarball(name):
                raise self._error(f"tarball: {name!r:.100} is not {Split(split).tarball_names}")
            tarballs[clip] = tarball = Tarball(split, name)
            try:
                place = place_of(tarball, dict(zip(_OF_PLACE, values, strict=True)))
            except ValueError as error:
                raise self._error(error) from None
            if place is not None:
                places[clip] = place
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
            IndexFileError: A row names no clip.
        """
        import pyarrow
        import pyarrow.compute as pc

        rows = self._rows(split, _is_one_of(self.table["tarball"], {*tarballs}))
        named = pc.match_substring_regex(rows["file_name"], f"^{FILE_NAME}$")
        good = pc.and_(named, pc.less(rows["time_start"], rows["time_end"])).fill_null(False)
        if (bad := pc.index(good, False).as_py()) >= 0:
            name = rows["file_name"][bad].as_py()
            raise self._error(f"{name!r:.100} is no clip's name")

        # Somebody may have a clip twice.
        number = pyarrow.array(range(len(rows)), pyarrow.int64())
        clips = rows.append_column("row", number).group_by(["tarball", "file_name"])
        firsts = clips.aggregate([("row", "min"), (_OPTIONAL, "max")])
        claims = firsts.group_by("tarball").aggregate(
            [("row_min", "count"), (f"{_OPTIONAL}_max", "max")]
        )
        whole = claims.filter(pc.equal(claims["row_min_count"], claims[f"{_OPTIONAL}_max_max"]))
        rows = rows.take(firsts["row_min"].sort())
        return rows.filter(_is_one_of(rows["tarball"], {*whole["tarball"].to_pylist()}))

    def _rows(self, split: str, mask: Any) -> Any:
        """Return rows of a split with the file names of their clips."""
        import pyarrow.compute as pc

        mine = _is_one_of(self.table["split"], {str(split)})
        rows = self.table.filter(pc.and_(mine, mask))
        times = (rows[name].cast("string") for name in ("time_start", "time_end"))
        six = (pc.utf8_lpad(each, 6, "0") for each in times)
        stems = pc.binary_join_element_wise(rows["youtube_id"], *six, "_")
        return rows.append_column("file_name", pc.binary_join_element_wise(stems, ".mp4", ""))

    def _error(self, why: object) -> IndexFileError:
        return IndexFileError(f"index: '{self.name}' holds a row of no clip: {why}")


def _is_one_of(column: Any, words: Collection[str]) -> Any:
    """Return a mask of the rows whose text is one of some words."""
    import pyarrow
    import pyarrow.compute as pc

    array = column.combine_chunks()  # each word once: a stranger's may be long
    return pc.is_in(array.dictionary, pyarrow.array([*words], pyarrow.string())).take(array.indices)


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
        raise IndexFileError(f"index: '{name}' cannot be read ({why}). {_ADVICE}") from None


def _read_parquet(source: Any) -> Iterator[tuple[str, Any]]:
    """Yield the columns one by one, which takes half the memory."""
    import pyarrow.parquet

    # Words that a file holds once are not to be copied into each row: a stranger's may be long.
    # (How a column is packed is not asked: pyarrow ends the process if that is damaged.)
    options = {"read_dictionary": _TEXTS, "pre_buffer": False}
    with pyarrow.parquet.ParquetFile(source, **options) as file:
        facts = file.metadata
        groups = (facts.row_group(number) for number in range(facts.num_row_groups))
        claimed_bytes = sum(group.total_byte_size for group in groups)
        if facts.num_rows > _MOST_ROWS or claimed_bytes > _MOST_BYTES:
            raise ValueError(f"it claims {facts.num_rows:,} rows, {claimed_bytes:,} bytes")
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
    """Return a column as text, each word once (but ids), or as whole numbers."""
    import pyarrow
    import pyarrow.compute as pc

    column = array.combine_chunks()
    column.validate(full=True)
    if name not in _TEXTS:
        return column.cast(pyarrow.int64())
    if not pyarrow.types.is_dictionary(column.type):
        column = column.cast(pyarrow.string()).dictionary_encode()
    if name != "youtube_id":
        return column.cast(pyarrow.dictionary(pyarrow.int32(), pyarrow.string()))
    if pc.any(pc.greater(pc.binary_length(column.dictionary), _ID_BYTES)).as_py():
        raise ValueError(f"a youtube_id has more than {_ID_BYTES} bytes")
    return column.cast(pyarrow.string())


def _not_had(error: MirrorError | ListError, shown: str) -> MirrorError | ListError:
    """Return an error of the mirror in words about an index: advice on tarballs would mislead."""
    why = str(error).partition(". ")[0].removeprefix("mirror: ")
    if isinstance(error, MirrorNotFoundError):
        why = "it does not exist"
    return type(error)(f"index: {shown} cannot be had ({why}). {_ADVICE}")


@dataclass(frozen=True, slots=True)
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
    _opened: dict[str, Index | None] = field(default_factory=dict, compare=False, repr=False)

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

    def _open(self, file: str) -> Index | None:
        shown = public_url(file)
        root, path = object_at(file, self.mirror)
        kept_as = f"lists/{short_hash(shown)}-index"  # a signed address is never the same

        def parse(kept: bytes) -> tuple[str, Index]:
            etag, _, data = kept.partition(b"\n")
            return etag.decode(), read_index(data, shown)

        kept = read_kept(self.store, kept_as, parse) if root.is_network else None
        etag, index = kept or ("", None)
        try:
            if root.is_network and self.offline:
                raise OfflineError("the network is not to be used")
            remote = root.head(path)
            if index is not None and remote.etag == etag:
                return index
            data = root.read_small(path, most_bytes=_MOST_BYTES)
        except (MirrorError, ListError) as error:
            if isinstance(error, MirrorNotFoundError) and file != self.address:
                logger.warning("index: there is no %s", shown)
                return None
            if index is None:
                raise _not_had(error, shown) from error
            logger.warning("index: %s cannot be had, so the kept one serves (%s)", shown, error)
            return index

        index = read_index(data, shown)
        if self.keep and root.is_network:
            self.store.write_own(kept_as, f"{remote.etag}\n".encode() + data)
        return index

"""Single clips of all tarballs in one seeded order, each by a request of its own, read ahead.

A shard is a stretch of the order: two numbers, beside what all shards share, above all the table
of where the clips lie. That is all that reading takes, so a process that gets a copy opens neither
ledger nor index.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from k600.ahead import map_ahead
from k600.dataset.clip import Clip, Tarball
from k600.dataset.labels import NAMES
from k600.dataset.reasons import REASONS
from k600.errors import (
    EntryError,
    MirrorChangedError,
    MirrorDeniedError,
    MirrorError,
    MirrorNotFoundError,
    MirrorRangesError,
)
from k600.loading.columns import PLACE, place_of
from k600.loading.manifest import is_other
from k600.loading.rows import LeftOut, Reading, Record, record_of
from k600.tarballs.one_clip import read_clip
from k600.tarballs.stream import checked_clip

_REQUESTS = 16
"""Clips asked for at a time."""
_AHEAD_BYTES = 48 << 20
"""Bytes of clips asked for ahead of who iterates, at most, and one clip more."""
_STORED_BYTES = _AHEAD_BYTES // 256
"""What a clip counts for that stays on disk: so many are looked for ahead."""

_SHARDS = (1, 2, 4, 8, 24, 120, 840, 1680, 3360, 6720, 13440)
"""How many shards there may be: numbers with many divisors. Where nodes cannot share them evenly,
`datasets` has each node read everything, and leave out the rows of the others."""

_TAKEN = 256
"""Clips that are taken out of the table at a time."""

_NAME_BYTES = 40
"""Bytes of a file name when it is hashed."""


def clips_schema() -> Any:
    """Return the schema of the clips of an order: an Arrow table, a row for each.

    Half a million rows take some 50 MB: no object is made for a clip before its turn comes. Columns
    that say nothing may be left out.
    """
    import pyarrow

    text, number = pyarrow.string(), pyarrow.int64()
    word = pyarrow.dictionary(pyarrow.int32(), text)
    return pyarrow.schema(
        [
            ("file_name", text),
            ("label", word),  # `_unlabeled` for none
            ("sha256", text),  # that it must have; empty or null if that is not known
            # Of a clip of the store: its file, relative to the store; null for one of the host.
            ("path", text),
            ("source", word),
            ("fps", pyarrow.float64()),
            # Of a clip of the host: where it lies there.
            ("tarball", word),
            *((each.name, word if each.kind == "string" else number) for each in PLACE),
        ]
    )


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """A random order of clips: a function of the seed and of the clips, the same everywhere.

    A clip's rank is a hash of its name, its class and the seed, whatever other clips there are.
    """

    clips: Any
    """A `pyarrow.Table` of `clips_schema`."""
    split: str
    """Of all of them."""
    reading: Reading
    seed: int
    """0 to 2**64 - 1."""
    rows: npt.NDArray[np.uint32]
    """The rows of the clips, in order."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A shard: the clips `[start, stop)` of an order."""

    order: Order
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    @staticmethod
    def reordered(shards: Sequence[Stretch], number: int) -> list[Stretch]:
        """Return the clips of shards in another order, as shards of the same lengths.

        Args:
            shards: Stretches of one order, all or some.
            number: What makes the order another, 0 to 2**64 - 1: the same gives the same.
        """
        old = shards[0].order
        rows = np.concatenate([old.rows[shard.start : shard.stop] for shard in shards])
        order = _in_order(replace(old, seed=_mixed_seed(old.seed, number), rows=rows))
        return _cut(order, [len(shard) for shard in shards])

    @staticmethod
    def read(shards: Sequence[Stretch], done: int = 0) -> Iterator[tuple[int, int, Record]]:
        """Read shards one after the other, some clips ahead of who iterates, also over their ends.

        Args:
            shards: Stretches of one order.
            done: How many clips of the first one are not to be read.

        Yields:
            Which shard it is, how many of its clips are done then, and the row of the dataset.

        Raises:
            IncompleteError: A clip cannot be had, or is no good, and `on_missing` is `raise`.
            MirrorError: The mirror cannot be read, or has none of the tarballs as they were when
                it was noted where their clips lie.
        """
        order = shards[0].order
        reader = _Reader(order)
        clips = (
            (number, position, values)
            for number, shard in enumerate(shards)
            for position, values in shard._clips(0 if number else done)
        )
        results = map_ahead(
            lambda clip: reader.read(clip[2]),
            clips,
            threads=_REQUESTS,
            most_ahead=_AHEAD_BYTES,
            size_of=lambda clip: _unpacked_bytes(clip[2]) or _STORED_BYTES,
            name="k600-shuffled",
            stop=reader.stop.set,
        )
        is_empty = True
        with contextlib.closing(results):
            for (shard, position, _), found in results:
                if not isinstance(found, LeftOut):
                    is_empty = False
                    yield shard, position, found
                else:
                    order.reading.complain(found.message, found.cause)
        if is_empty:
            reader.check_any_fits(order)

    def _clips(self, done: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield how many clips are done with each, and its row of the table."""
        for start in range(self.start + done, self.stop, _TAKEN):
            rows = self.order.rows[start : min(start + _TAKEN, self.stop)]
            yield from enumerate(self.order.clips.take(rows).to_pylist(), start - self.start + 1)


def cut_order(clips: Any, split: str, reading: Reading, *, seed: int) -> list[Stretch]:
    """Return the stretches of a seeded order of all clips, a table of `clips_schema` with one clip
    at least; their lengths differ by one at most.
    """
    rows = np.arange(len(clips), dtype=np.uint32)
    order = _in_order(Order(clips, split, reading, seed % (1 << 64), rows))
    count = max(number for number in _SHARDS if number <= len(clips))
    least, longer = divmod(len(clips), count)
    return _cut(order, [least + (number < longer) for number in range(count)])


def _cut(order: Order, lengths: Sequence[int]) -> list[Stretch]:
    stops = itertools.accumulate(lengths)
    return [Stretch(order, stop - n, stop) for n, stop in zip(lengths, stops, strict=True)]


def _in_order(order: Order) -> Order:
    """Return an order with its rows sorted by a hash of each clip and the seed."""
    import pyarrow.compute as pc

    some = order.clips.select(["file_name", "label"]).take(order.rows).combine_chunks()
    names = pc.utf8_rpad(some["file_name"].chunk(0), _NAME_BYTES, "\0").buffers()[2]
    labels = some["label"].chunk(0)
    ids = [
        NAMES.index(label) if label in NAMES else len(NAMES)
        for label in labels.dictionary.to_pylist()
    ]

    ranks = np.full(len(some), order.seed, np.uint64)
    words = np.frombuffer(names, "<u8").reshape(len(some), -1)
    for word in (np.array(ids, np.uint64)[labels.indices], *words.T):
        ranks = _scattered(ranks ^ word)
    return replace(order, rows=order.rows[np.argsort(ranks, kind="stable")])


def _mixed_seed(seed: int, number: int) -> int:
    first = _scattered(np.array([seed], np.uint64))
    return int(_scattered(first ^ np.array([number], np.uint64))[0])


def _scattered(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return each word as another: the output function of SplitMix64."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scattered: npt.NDArray[np.uint64] = words ^ (words >> np.uint64(31))
    return scattered


class _Reader:
    """Reads clips, and asks no more for those of a tarball that is not what their places say."""

    def __init__(self, order: Order) -> None:
        self._split, self._reading = order.split, order.reading
        self.stop = threading.Event()
        self._lost: set[Tarball] = set()
        self._misplaced: dict[Tarball, Exception] = {}
        """Errors of tarballs whose clips do not lie where their places say."""

    def read(self, values: Mapping[str, Any]) -> Record | LeftOut:
        """Return the row of the dataset for a clip, a row of the table, or why there is none."""
        clip = Clip.at((values["label"], values["file_name"]), self._split)
        if values.get("path"):
            return self._from_store(clip, values)
        try:
            place = place_of(Tarball(clip.split, values["tarball"]), values)
            assert place is not None  # no other clips are in the table
        except ValueError as error:
            return LeftOut(f"{clip.key} is left out, as its place is none: {error}", error)
        if place.tarball in self._lost:
            return LeftOut("")  # said once

        what = f"{place.tarball.path}/{clip.file_name}"
        try:
            data = read_clip(self._reading.mirror, place, clip.file_name, stop=self.stop)
        except EntryError as error:
            self._misplaced[place.tarball] = error
            return LeftOut(f"{what} is left out: {error}", error)
        except (MirrorChangedError, MirrorNotFoundError, MirrorDeniedError) as error:
            return self._lose(place.tarball, error)
        except MirrorRangesError as error:
            raise MirrorRangesError(f"shuffle_clips: {error}. Stream without it") from error

        data, problem, fps = checked_clip(data, self._reading.encoding)
        if problem is None and is_other(data, values.get("sha256")):
            problem = "differs"
        if problem is not None:
            return LeftOut(f"{what} is left out: {problem}: {REASONS[problem]}")
        return record_of(clip, what, data, "cvdf", fps)

    def check_any_fits(self, order: Order) -> None:
        """Raise an error if in no tarball a clip lay where its place says.

        A small part of an order may well need one alone that was replaced; three are no chance.
        """
        if not self._misplaced:
            return
        if len(self._misplaced) >= min(3, len(order.clips["tarball"].unique().drop_null())):
            error = next(iter(self._misplaced.values()))
            raise MirrorError(
                f"shuffle_clips: not one clip could be read, as the index is of other tarballs: "
                f"{error}. Pass the index of this mirror (`kinetics600 index build {self._split}` "
                "makes one), or the mirror that the index was made of"
            ) from error

    def _from_store(self, clip: Clip, values: Mapping[str, Any]) -> Record | LeftOut:
        path = self._reading.store.root / values["path"]
        try:
            path.stat()
            if values.get("sha256") and is_other(path.read_bytes(), values["sha256"]):
                return LeftOut(f"{clip.key} is left out: {REASONS['differs']}")
        except OSError as error:
            return LeftOut(f"{clip.key} is left out: '{path}': {error.strerror}", error)
        return record_of(clip, str(path), None, values["source"], values.get("fps"))

    def _lose(self, tarball: Tarball, error: MirrorError) -> LeftOut:
        if tarball in self._lost:
            return LeftOut("")
        self._lost.add(tarball)
        self._misplaced[tarball] = error
        return LeftOut(
            f"the clips of {tarball.path} are left out: {error}. Where the index no longer fits "
            "the mirror, `kinetics600 index build` makes it anew",
            error,
        )


def _unpacked_bytes(values: Mapping[str, Any]) -> int:
    """Return how many bytes a request for a clip unpacks; 0 for one of the store."""
    return max(0, (values.get("skip_bytes") or 0) + (values.get("original_bytes") or 0))

"""Single clips of all tarballs in one seeded order, each by a request of its own, read ahead.

A shard is a stretch of the order: two numbers, beside what all shards share, above all where the
clips lie (`k600.loading.clip_columns`). That is all that reading takes, so a process that gets a
copy opens neither ledger nor index.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from k600.ahead import map_ahead
from k600.clip import Clip, Tarball
from k600.errors import (
    EntryError,
    IncompleteError,
    MirrorChangedError,
    MirrorDeniedError,
    MirrorError,
    MirrorNotFoundError,
    MirrorRangesError,
)
from k600.loading.clip_columns import ClipColumns
from k600.loading.rows import Record, record_of
from k600.mirror.direct import Pending
from k600.mirror.mirror import Mirror
from k600.reasons import REASONS
from k600.store.store import Store
from k600.tarballs.one_clip import read_clip
from k600.tarballs.stream import checked_clip

logger = logging.getLogger("kinetics600")

_REQUESTS = 16
"""Clips asked for at a time."""
_AHEAD_BYTES = 48 << 20
"""Bytes of clips asked for ahead of who iterates, at most, and one clip more."""
_STORED_BYTES = _AHEAD_BYTES // 256
"""What a clip counts for that stays on disk: so many are looked for ahead."""

_SHARDS = (1, 2, 4, 8, 24, 120, 840, 1680, 3360, 6720, 13440)
"""How many shards there may be: numbers with many divisors. Where nodes cannot share them evenly,
`datasets` has each node read everything, and leave out the rows of the others."""

_NAME_BYTES = 40
"""Bytes of a file name when it is hashed."""


class ClipReading(NamedTuple):
    """Where clips are read, and how."""

    store: Store
    mirror: Mirror
    on_missing: str
    """`warn`, `raise` or `skip`."""
    short_side: int | None
    """Most pixels of a clip's shorter side; larger ones are made smaller on the way."""


@dataclass(frozen=True)
class Order:
    """A random order of clips: a function of the seed and of the clips, the same everywhere.

    A clip's rank is a hash of its name, its class and the seed, whatever other clips there are.
    """

    clips: ClipColumns
    reading: ClipReading
    seed: int
    """0 to 2**64 - 1."""
    among: tuple[Stretch, ...] | None = None
    """The order is one of the clips of these stretches of another order; None for all."""

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """The rows of the clips, in order."""
        columns = self.clips.columns
        rows = np.arange(len(columns))
        if self.among is not None:
            rows = np.sort(np.concatenate([stretch.rows for stretch in self.among]))
        return rows[np.argsort(_ranks(columns[rows], self.seed), kind="stable")]

    def __len__(self) -> int:
        return len(self.clips.columns) if self.among is None else sum(map(len, self.among))

    def __getstate__(self) -> dict[str, object]:
        return {each.name: getattr(self, each.name) for each in fields(self)}  # without `rows`


@dataclass(frozen=True, slots=True)
class Stretch:
    """A shard: the clips `[start, stop)` of an order."""

    order: Order
    start: int
    stop: int

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """The rows of the clips, in order."""
        return self.order.rows[self.start : self.stop]

    def __len__(self) -> int:
        return self.stop - self.start

    @staticmethod
    def reordered(shards: Sequence[Stretch], number: int) -> list[Stretch]:
        """Return the clips of shards in another order, as shards of the same lengths.

        Args:
            shards: Stretches of one order, all or some.
            number: What makes the order another, 0 to 2**64 - 1: the same gives the same.
        """
        old, lengths = shards[0].order, [len(shard) for shard in shards]
        among = old.among if sum(lengths) == len(old) else tuple(shards)
        order = Order(old.clips, old.reading, _mixed_seed(old.seed, number), among)
        return _cut(order, lengths)

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
            MirrorError: The mirror cannot be read.
        """
        order = shards[0].order
        clips, on_missing = order.clips, order.reading.on_missing
        reader = _Reader(clips, order.reading)
        positions = (
            (number, position, int(row))
            for number, shard in enumerate(shards)
            for position, row in enumerate(shard.rows, 1)
            if number or position > done
        )
        results = map_ahead(
            lambda position: reader.read(position[2]),
            positions,
            threads=_REQUESTS,
            most_ahead=_AHEAD_BYTES,
            size_of=lambda position: clips.unpacked_bytes(position[2]) or _STORED_BYTES,
            name="k600-shuffled",
            stop=reader.pending.end,
        )
        with contextlib.closing(results):
            for (shard, position, _), found in results:
                if not isinstance(found, _Problem):
                    yield shard, position, found
                elif found.message and on_missing == "raise":
                    raise IncompleteError(found.message) from found.cause
                elif found.message and on_missing == "warn":
                    logger.warning(found.message)


def cut_order(clips: ClipColumns, reading: ClipReading, *, seed: int) -> list[Stretch]:
    """Return the stretches of a seeded order of all clips; their lengths differ by one at most."""
    order = Order(clips, reading, seed % (1 << 64))
    count = max(number for number in _SHARDS if number <= len(order))
    least, longer = divmod(len(order), count)
    return _cut(order, [least + (number < longer) for number in range(count)])


def _cut(order: Order, lengths: Sequence[int]) -> list[Stretch]:
    stops = itertools.accumulate(lengths)
    return [Stretch(order, stop - n, stop) for n, stop in zip(lengths, stops, strict=True)]


def _ranks(columns: npt.NDArray[np.void], seed: int) -> npt.NDArray[np.uint64]:
    """Return a hash of each clip and a seed."""
    names = columns["file_name"].astype(f"S{_NAME_BYTES}").view("<u8").reshape(len(columns), -1)
    ranks = np.full(len(columns), seed, np.uint64)
    for word in (columns["label"].astype(np.uint64), *names.T):
        ranks = _scattered(ranks ^ word)
    return ranks


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


class _Problem(NamedTuple):
    """Why a clip is left out."""

    message: str
    cause: Exception | None = None


class _Reader:
    """Reads clips, and asks no more for those of a tarball that is not what their places say."""

    def __init__(self, clips: ClipColumns, reading: ClipReading) -> None:
        self._clips, self._reading = clips, reading
        self.pending = Pending()
        self._lost: set[Tarball] = set()

    def read(self, row: int) -> Record | _Problem:
        """Return the row of the dataset for a clip, or why there is none."""
        clip = self._clips.clip(row)
        try:
            place = self._clips.place(row)
        except ValueError as error:
            return _Problem(f"{clip.key} is left out, as its place is none: {error}", error)
        if place is None:
            return self._from_store(clip, row)
        if place.tarball in self._lost:
            return _Problem("")  # said once

        what = f"{place.tarball.path}/{clip.file_name}"
        try:
            mirror, pending = self._reading.mirror, self.pending
            data = read_clip(mirror, place, clip.file_name, pending=pending)
        except EntryError as error:
            return _Problem(f"{what} is left out: {error}", error)
        except (MirrorChangedError, MirrorNotFoundError, MirrorDeniedError) as error:
            return self._lose(place.tarball, error)
        except MirrorRangesError as error:
            raise MirrorRangesError(f"shuffle_clips: {error}. Stream without it") from error

        data, problem = checked_clip(data, short_side=self._reading.short_side)
        if problem is None and self._differs(row, data):
            problem = "differs"
        if problem is not None:
            return _Problem(f"{what} is left out: {problem}: {REASONS[problem]}")
        return record_of(clip, what, data, "cvdf")

    def _from_store(self, clip: Clip, row: int) -> Record | _Problem:
        at = self._clips.stored_at(row)
        path = self._reading.store.root / (at.elsewhere or f"{at.folder}/{clip.file_name}")
        try:
            path.stat()
            if self._clips.sha256(row) and self._differs(row, path.read_bytes()):
                return _Problem(f"{clip.key} is left out: {REASONS['differs']}")
        except OSError as error:
            return _Problem(f"{clip.key} is left out: '{path}': {error.strerror}", error)
        return record_of(clip, str(path), None, at.source)

    def _differs(self, row: int, data: bytes) -> bool:
        proof = self._clips.sha256(row)
        return bool(proof) and hashlib.sha256(data).digest() != proof

    def _lose(self, tarball: Tarball, error: MirrorError) -> _Problem:
        if tarball in self._lost:
            return _Problem("")
        self._lost.add(tarball)
        return _Problem(
            f"the clips of {tarball.path} are left out: {error}. Where the index no longer fits "
            "the mirror, `kinetics600 index build` makes it anew",
            error,
        )

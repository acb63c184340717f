"""The rows of the dataset, in their fixed order, from the store or from a stream.

A shard is a plain object with a `records()` method: the unit that `datasets` hands to its
processes and data-loading workers. Nothing here knows `datasets`.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from k600.dataset.clip import (
    NOTHING,
    Clip,
    Entry,
    Tarball,
    TestLabels,
    Without,
    label_of,
    parse_file_name,
)
from k600.dataset.labels import label_id
from k600.dataset.reasons import REASONS, reason_of_failure
from k600.errors import (
    DamagedTarballError,
    IncompleteError,
    MirrorChangedError,
    MirrorDeniedError,
    MirrorNotFoundError,
)
from k600.errors.text import counted, printable
from k600.loading.manifest import is_other
from k600.mirror.identity import RemoteFile
from k600.mirror.mirror import Mirror
from k600.mirror.reader import AHEAD_BYTES
from k600.store.inventory import Inventory
from k600.store.ledger import Ledger
from k600.store.rows import ClipRow, Rates, TarballRow
from k600.store.store import Store
from k600.tarballs.stream import stream_tarball
from k600.video.encoding import Encoding

logger = logging.getLogger("kinetics600")

Record = dict[str, Any]

OnLeftOut = Callable[[str, str], object]
"""Called with what a stream leaves out: `<host's split>/<tarball>`, or such a path and a file name
in it; and why, a key of `REASONS`."""


class Reading(NamedTuple):
    """Where the clips of a stream are read, and how."""

    store: Store
    mirror: Mirror
    on_missing: str
    """`warn`, `raise` or `skip`."""
    encoding: Encoding | None
    """How clips are encoded anew on the way; None for clips as they are."""

    def complain(self, message: str, cause: Exception | None = None) -> None:
        """Say that something is left out, as `on_missing` wants it; an empty message is nothing."""
        if message and self.on_missing == "raise":
            raise IncompleteError(message) from cause
        if message and self.on_missing == "warn":
            logger.warning(message)


class LeftOut(NamedTuple):
    """A clip, or a tarball, that a stream leaves out."""

    message: str
    """Empty if it was said before."""
    cause: Exception | None = None
    what: str = ""
    """What `OnLeftOut` is called with: this, and the reason."""
    reason: str = ""


class TarballClip(NamedTuple):
    """A clip of a tarball that is streamed, or of which the store has all."""

    clip: Clip
    path: str
    """Its file, or `<host's split>/<tarball>/<file name>`."""
    data: bytes | None
    """None if it is in the store."""
    source: str
    """Where it came from: `cvdf`, `youtube` or `local`."""
    fps: float | None
    """Frames per second of its file; None where unknown."""
    position: int
    """Its place among the tarball's clips, from 0."""


class StoredClip(NamedTuple):
    """A clip that is in the store."""

    clip: Clip
    path: Path
    """Its file."""
    place: str
    """The file, relative to the store."""
    folder: str
    """`<split>/<class name>`: where it would be, if no other tool had put it elsewhere."""
    source: str
    """Where it came from: `cvdf`, `youtube` or `local`."""
    fps: float | None
    """Frames per second of its file; None where unknown."""


@dataclass(frozen=True, slots=True)
class StoredShard:
    """The clips of one store folder that belong to the request, by file name."""

    store: Store
    split: str
    label: str | None
    """Class of the folder; None for clips without a label."""
    folder: str
    """`<split>/<class name>`."""
    names: tuple[str, ...]
    """File names, sorted."""
    sources: Mapping[str, str]
    """Where each came from, by file name: `cvdf`, `youtube` or `local`."""
    labels: TestLabels = field(default_factory=dict)
    """Labels of test clips by (id, start, end); they overrule the folder."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Where clips lie that are not at their own place, relative to the store, by file name."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Frames per second of files that the loader encoded, by file name."""

    @property
    def address(self) -> str:
        """Where the clips are: here, their folder."""
        return self.folder

    @property
    def file_names(self) -> Collection[str] | None:
        """File names of the clips."""
        return self.names

    def records(self) -> Iterator[Record]:
        """Yield the rows, `video.path` absolute and `video.bytes` None; nothing is left out."""
        columns = self.columns()
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))

    def clips(self) -> Iterator[StoredClip]:
        """Yield the clips, each with its file and its source."""
        for name, times in zip(self.names, self._times(), strict=True):
            clip = Clip(self.split, self.labels.get(times, self.label), *times)
            place = self.elsewhere.get(name, f"{self.folder}/{name}")
            path, source = self.store.root / place, self.sources[name]
            yield StoredClip(clip, path, place, self.folder, source, self._rate(name))

    def _rate(self, name: str) -> float | None:
        """Return the rate of a clip's file; it is not known of a file that was there before."""
        return None if self.sources[name] == "local" else self.rates.get(name)

    def _times(self) -> list[tuple[str, int, int]]:
        """Return YouTube id, start and end of each clip; the inventory holds no other names."""
        times = [parse_file_name(name) for name in self.names]
        assert None not in times
        return cast(list[tuple[str, int, int]], times)

    def columns(self) -> dict[str, list[Any]]:
        """Return the same rows column by column."""
        times = self._times()
        base = str(self.store.root / self.folder)
        places = [f"{base}/{name}" for name in self.names]
        for number, name in enumerate(self.names if self.elsewhere else ()):
            if name in self.elsewhere:
                places[number] = str(self.store.root / self.elsewhere[name])

        return make_columns(
            self.split,
            times,
            labels=[self.labels.get(each, self.label) for each in times],
            videos=[{"path": place, "bytes": None} for place in places],
            sources=[self.sources[name] for name in self.names],
            rates=[*map(self._rate, self.names)],
        )


@dataclass(frozen=True, slots=True)
class StreamedShard:
    """One tarball, read while it is iterated; from the store where all of it is there."""

    reading: Reading
    tarball: Tarball
    labels: TestLabels
    classes: tuple[str, ...] | None = None
    """Yield clips of these classes only (test tarballs mix them)."""
    only: Mapping[str, str] | None = None
    """Yield the clips of these file names only, and read no further than the last: each with the
    SHA-256 that it must have, empty where unknown."""
    without: Without = NOTHING
    """Clips that are left out."""
    retry_errors: bool = False
    """Read a tarball anew of which clips were proved not to be had."""
    ahead_bytes: int = AHEAD_BYTES
    """Bytes requested ahead of who iterates, at most."""
    keeps_places: bool = False
    """Note in the store's ledger where clips lie in the tarball, as far as it is read."""

    @property
    def address(self) -> str:
        """Where the clips are: here, the tarball's path on the host."""
        return self.tarball.path

    @property
    def split(self) -> str:
        """The split of the clips."""
        return self.tarball.split

    @property
    def file_names(self) -> Collection[str] | None:
        """File names of the clips; None for all of the tarball."""
        return self.only

    def records(self) -> Iterator[Record]:
        """Yield the rows in the tarball's order, `video.bytes` set unless they are stored.

        Errors are those of `clips`.
        """
        for found in self.clips():
            yield record_of(*found[:-1])

    def clips(self, on_left_out: OnLeftOut = lambda what, reason: None) -> Iterator[TarballClip]:
        """Yield the clips in the tarball's order.

        Args:
            on_left_out: Called with each clip that is no good, and with the tarball if it is none
                or proves damaged at its end: then what came before may be damaged, too.

        Raises:
            IncompleteError: A clip is no good and `on_missing` is `raise`.
            MirrorError: The tarball cannot be read.
        """
        for found in self._wanted():
            if isinstance(found, LeftOut):
                on_left_out(found.what, found.reason)
                self.reading.complain(found.message, found.cause)
            else:
                yield found

    def _wanted(self) -> Iterator[TarballClip | LeftOut]:
        """Yield what is asked for of the tarball."""
        left = None if self.only is None else set(self.only)
        streamed = self._streamed()
        for found in self._stored() or streamed:
            if isinstance(found, LeftOut):
                yield found
                continue
            clip = found.clip
            if left is not None:
                if clip.file_name not in left:
                    continue
                left.remove(clip.file_name)

            proof = (self.only or {}).get(clip.file_name)
            is_asked_for = self.classes is None or clip.label in self.classes
            if is_other(found.data or b"", proof):
                message = f"{clip.key} is left out: {REASONS['differs']}"
                yield LeftOut(message, None, self._member(clip.file_name), "differs")
            elif is_asked_for and clip.file_name not in self.without:
                yield found
            if left is not None and not left:
                streamed.close()  # else what noting places meets would be raised to nobody
                return

        missing = f"{counted(len(left or ()), 'clip')} not found in {self.tarball.path}"
        for number, name in enumerate(sorted(left or ()), 1):
            message = missing if number == len(left or ()) else ""
            yield LeftOut(message, None, self._member(name), "not_in_tarball")

    def _member(self, file_name: str) -> str:
        """Return what to call a clip: where it lies on the host, no file of this machine."""
        return f"{self.tarball.path}/{file_name}"

    def _stored(self) -> Iterator[TarballClip | LeftOut] | None:
        """Return the tarball's clips in its own order if the store has them all.

        A shard of some clips is made for those that the store has not.
        """
        ledger = Ledger(self.reading.store.ledger_path, self.reading.mirror.identity)
        row = ledger.tarball(self.tarball)
        if self.only is not None or row is None or row.state != "done":
            return None

        members = ledger.clips(self.tarball.split, self.tarball.name)
        if self.retry_errors and any(member.state in ("bad", "absent") for member in members):
            return None
        clips = [member for member in members if member.state in ("have", "skipped")]
        known = ledger.view(self.tarball.split, only=[self.tarball.name])
        inventory = Inventory(self.reading.store, known)
        if any(clip.file_name not in inventory.names(clip.folder) for clip in clips):
            return None
        bad = [member for member in members if member.state == "bad"]
        left_out = (self._left_out(self._member(row.file_name), row.reason) for row in bad)
        return itertools.chain(left_out, self._stored_clips(clips, inventory, known.rates))

    def _stored_clips(
        self, clips: Iterable[ClipRow], inventory: Inventory, rates: Rates
    ) -> Iterator[TarballClip]:
        for clip in clips:
            folder = clip.folder.partition("/")[2]
            label = self.tarball.label or label_of(clip.file_name, self.labels, folder)
            path = str(inventory.path(clip.folder, clip.file_name))
            fps = rates.get(clip.folder, {}).get(clip.file_name)
            found = Clip.at((label, clip.file_name), self.tarball.split)
            yield TarballClip(found, path, None, clip.source, fps, clip.position)

    def _streamed(self) -> Generator[TarballClip | LeftOut, None, None]:
        kept = dict[str, Any]()
        try:
            if self.keeps_places:
                remote = self.reading.mirror.head(self.tarball.path)
                kept = {"remote": remote, "on_end": partial(self._keep_places, remote)}
            clips = stream_tarball(
                self.reading.mirror,
                self.tarball,
                self.labels,
                encoding=self.reading.encoding,
                ahead_bytes=self.ahead_bytes,
                **kept,
            )
            with contextlib.closing(clips):
                for streamed in clips:
                    path = self._member(streamed.file_name)
                    if streamed.problem is None and streamed.clip is not None:
                        of_file = (streamed.data, "cvdf", streamed.fps)
                        yield TarballClip(streamed.clip, path, *of_file, streamed.position)
                    else:
                        yield self._left_out(path, streamed.problem or "odd_name")
        except (DamagedTarballError, MirrorChangedError) as error:
            message, reason = f"{error}; its clips may be damaged", reason_of_failure(error)
            yield LeftOut(message, error, self.tarball.path, reason)
        except (MirrorNotFoundError, MirrorDeniedError) as error:
            yield self._left_out(self.tarball.path, reason_of_failure(error), error)

    def _left_out(self, what: str, reason: str, cause: Exception | None = None) -> LeftOut:
        return LeftOut(f"{printable(what)} is left out: {cause or reason}", cause, what, reason)

    def _keep_places(self, remote: RemoteFile, packing: str, entries: Mapping[str, Entry]) -> None:
        ledger = Ledger(self.reading.store.ledger_path, self.reading.mirror.identity)
        row = TarballRow(self.tarball, "started", remote.etag, remote.size_bytes)
        ledger.record_entries(row, packing, entries)


def digest_of(shards: Iterable[StoredShard]) -> str:
    """Return a fingerprint of the rows that these shards give."""
    digest = hashlib.sha256()
    for shard in shards:
        digest.update(f"{shard.store.root}/{shard.folder}\n".encode())
        for name in shard.names:
            times = parse_file_name(name) if shard.labels else None
            label = shard.labels.get(times) if times else None
            place = shard.elsewhere.get(name)
            source, rate = shard.sources[name], shard.rates.get(name)
            digest.update(f"{name} {source} {label} {place} {rate}\n".encode())
    return digest.hexdigest()


def make_columns(
    split: str,
    times: Sequence[tuple[str, int, int]],
    *,
    labels: Iterable[str | None],
    videos: list[dict[str, Any]],
    sources: list[str],
    rates: list[float | None],
) -> dict[str, list[Any]]:
    """Return the columns of rows of one split, as `k600.loading.columns.ROWS` has them.

    `times` are YouTube id, start and end of each clip; `videos` have `path` or `bytes`, and `rates`
    the frames per second of each one's file, None where unknown.
    """
    return {
        "video": videos,
        "label": [None if label is None else label_id(label) for label in labels],
        "youtube_id": [clip[0] for clip in times],
        "time_start": [clip[1] for clip in times],
        "time_end": [clip[2] for clip in times],
        "split": [split] * len(times),
        "source": sources,
        "fps": rates,
    }


def record_of(clip: Clip, path: str, data: bytes | None, source: str, fps: float | None) -> Record:
    """Return a clip's row; `data` is None if the file is at `path`."""
    columns = make_columns(
        clip.split,
        [(clip.youtube_id, clip.time_start, clip.time_end)],
        labels=[clip.label],
        videos=[{"path": path, "bytes": data}],
        sources=[source],
        rates=[fps],
    )
    return {name: value for name, (value,) in columns.items()}

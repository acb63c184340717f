"""The rows of the dataset, in their fixed order, from the store or from a stream.

A shard is a plain object with a `records()` method: the unit that `datasets` hands to its
processes and data-loading workers. Nothing here knows `datasets`.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from k600.clip import Clip, Entry, Tarball, TestLabels, parse_file_name
from k600.errors import (
    DamagedTarballError,
    IncompleteError,
    Kinetics600Error,
    MirrorChangedError,
    MirrorDeniedError,
    MirrorNotFoundError,
)
from k600.labels import label_id
from k600.mirror.mirror import Mirror, RemoteFile
from k600.mirror.reader import AHEAD_BYTES
from k600.reasons import REASONS
from k600.store.inventory import Inventory
from k600.store.ledger import Ledger
from k600.store.rows import ClipRow, Rates, TarballRow
from k600.store.store import Store
from k600.tarballs.stream import stream_tarball
from k600.text import printable
from k600.video.encoding import Encoding

logger = logging.getLogger("kinetics600")

Record = dict[str, Any]

OnLeftOut = Callable[[str, str], object]
"""Called with what a stream leaves out: `<host's split>/<tarball>`, or such a path and a file name
in it; and why, a key of `k600.reasons.REASONS`."""


def _ignore(what: str, reason: str) -> None:
    """Do nothing about what is left out."""


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


_Clips = Generator[TarballClip, None, None]


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
    source: str = "local"
    """Where the clips came from: `cvdf`, `youtube` or `local`."""
    other_sources: Mapping[str, str] = field(default_factory=dict)
    """Where single clips came from instead, by file name."""
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

    def records(self, on_left_out: OnLeftOut = _ignore) -> Iterator[Record]:
        """Yield the rows, `video.path` absolute and `video.bytes` None; nothing is left out."""
        columns = self.columns()
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))

    def clips(self) -> Iterator[StoredClip]:
        """Yield the clips, each with its file and its source."""
        for name, times in zip(self.names, self._times(), strict=True):
            clip = Clip(self.split, self.labels.get(times, self.label), *times)
            place = self.elsewhere.get(name, f"{self.folder}/{name}")
            source = self.other_sources.get(name, self.source)
            rate = self._rate(name, source)
            yield StoredClip(clip, self.store.root / place, place, self.folder, source, rate)

    def _rate(self, name: str, source: str) -> float | None:
        """Return the rate of a clip's file; it is not known of a file that was there before."""
        return None if source == "local" else self.rates.get(name)

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

        sources = [self.other_sources.get(name, self.source) for name in self.names]
        return make_columns(
            self.split,
            times,
            labels=[self.labels.get(each, self.label) for each in times],
            videos=[{"path": place, "bytes": None} for place in places],
            sources=sources,
            rates=[self._rate(*each) for each in zip(self.names, sources, strict=True)],
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
    without: frozenset[str] = frozenset()
    """Leave out the clips of these videos, by YouTube id."""
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

    def records(self, on_left_out: OnLeftOut = _ignore) -> Iterator[Record]:
        """Yield the rows in the tarball's order, `video.bytes` set unless they are stored.

        Arguments and errors are those of `clips`.
        """
        for found in self.clips(on_left_out):
            yield record_of(*found[:-1])

    def clips(self, on_left_out: OnLeftOut = _ignore) -> Iterator[TarballClip]:
        """Yield the clips in the tarball's order.

        Args:
            on_left_out: Called with each clip that is no good, and with the tarball if it is none
                or proves damaged at its end: then what came before may be damaged, too.

        Raises:
            IncompleteError: A clip is no good and `on_missing` is `raise`.
            MirrorError: The tarball cannot be read.
        """
        left = None if self.only is None else set(self.only)
        with contextlib.closing(self._stored(on_left_out) or self._streamed(on_left_out)) as clips:
            for found in clips:
                clip = found.clip
                if left is not None:
                    if clip.file_name not in left:
                        continue
                    left.remove(clip.file_name)

                proof = (self.only or {}).get(clip.file_name)
                data = found.data or (Path(found.path).read_bytes() if proof else b"")
                if proof and hashlib.sha256(data).hexdigest() != proof:
                    on_left_out(self._member(clip.file_name), "differs")
                    self.reading.complain(f"{clip.key} is left out: {REASONS['differs']}")
                    continue

                is_asked_for = self.classes is None or clip.label in self.classes
                if is_asked_for and clip.youtube_id not in self.without:
                    yield found
                if left is not None and not left:
                    return

        if left:
            for name in sorted(left):
                on_left_out(self._member(name), "not_in_tarball")
            self.reading.complain(f"{len(left)} clips are not in {self.tarball.path}")

    def _member(self, file_name: str) -> str:
        """Return what to call a clip: where it lies on the host, no file of this machine."""
        return f"{self.tarball.path}/{file_name}"

    def _stored(self, on_left_out: OnLeftOut) -> _Clips | None:
        """Return the tarball's clips in its own order if the store has them all."""
        ledger = Ledger(self.reading.store.ledger_path, self.reading.mirror.identity)
        row = ledger.tarball(self.tarball)
        whole = row is not None and row.state == "done"
        if not whole and self.only is None:
            return None

        members = ledger.clips(self.tarball.split, self.tarball.name)
        if self.only is not None:
            members = [member for member in members if member.file_name in self.only]
        if self.retry_errors and any(member.state in ("bad", "absent") for member in members):
            return None
        clips = [member for member in members if member.state in ("have", "skipped")]
        if not whole and len(clips) < len(self.only or ()):
            return None

        inventory = Inventory.of_tarball(self.reading.store, ledger, self.tarball)
        if any(clip.file_name not in inventory.names(clip.folder) for clip in clips):
            return None
        bad = [member for member in members if member.state == "bad"]
        rates = ledger.rates(self.tarball.split, {clip.folder for clip in clips})
        return self._stored_rows(clips, bad, inventory, rates, on_left_out)

    def _stored_rows(
        self,
        clips: Iterable[ClipRow],
        bad: Iterable[ClipRow],
        inventory: Inventory,
        rates: Rates,
        on_left_out: OnLeftOut,
    ) -> _Clips:
        for member in bad:
            self._leave_out(self._member(member.file_name), member.reason, on_left_out)
        for clip in clips:
            times = parse_file_name(clip.file_name)
            assert times is not None
            folder = clip.folder.partition("/")[2]
            label = self.tarball.label or self.labels.get(times)
            if label is None and not folder.startswith("_"):
                label = folder
            path = str(inventory.path(clip.folder, clip.file_name))
            fps = rates.get(clip.folder, {}).get(clip.file_name)
            found = Clip(self.tarball.split, label, *times)
            yield TarballClip(found, path, None, clip.source, fps, clip.position)

    def _streamed(self, on_left_out: OnLeftOut) -> _Clips:
        whole, kept = self.tarball.path, dict[str, Any]()
        try:
            if self.keeps_places:
                remote = self.reading.mirror.head(whole)
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
                        self._leave_out(path, streamed.problem or "odd_name", on_left_out)
        except (DamagedTarballError, MirrorChangedError) as error:
            changed = isinstance(error, MirrorChangedError)
            on_left_out(whole, "tarball_changed" if changed else "tarball_damaged")
            self.reading.complain(f"{error}; its clips may be damaged", error)
        except MirrorNotFoundError as error:
            self._leave_out(whole, "tarball_not_found", on_left_out, error)
        except MirrorDeniedError as error:
            self._leave_out(whole, "tarball_denied", on_left_out, error)

    def _keep_places(self, remote: RemoteFile, packing: str, entries: Mapping[str, Entry]) -> None:
        ledger = Ledger(self.reading.store.ledger_path, self.reading.mirror.identity)
        row = TarballRow(self.tarball, "started", remote.etag, remote.size_bytes)
        ledger.record_entries(row, packing, entries)

    def _leave_out(
        self,
        what: str,
        reason: str,
        on_left_out: OnLeftOut,
        cause: Kinetics600Error | None = None,
    ) -> None:
        on_left_out(what, reason)
        self.reading.complain(f"{printable(what)} is left out: {cause or reason}", cause)


def digest_of(shards: Iterable[StoredShard]) -> str:
    """Return a fingerprint of the rows that these shards give."""
    digest = hashlib.sha256()
    for shard in shards:
        digest.update(f"{shard.store.root}/{shard.folder} {shard.source}\n".encode())
        for name in shard.names:
            times = parse_file_name(name) if shard.labels else None
            label = shard.labels.get(times) if times else None
            place = shard.elsewhere.get(name)
            source, rate = shard.other_sources.get(name), shard.rates.get(name)
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
    """Return the columns of rows, as `k600.loading.columns.ROWS` has them.

    Args:
        split: The split of all of them.
        times: YouTube id, start and end of each clip.
        labels: Class name of each; None where there is none.
        videos: `path` and `bytes` of each; one of them is None.
        sources: Where each came from: `cvdf`, `youtube` or `local`.
        rates: Frames per second of each one's file; None where unknown.
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
    """Return a clip's row.

    Args:
        clip: The clip.
        path: Where its file is, or what it is called.
        data: The file's bytes; None if they are at `path`.
        source: `cvdf`, `youtube` or `local`.
        fps: Frames per second of the file; None where unknown.
    """
    columns = make_columns(
        clip.split,
        [(clip.youtube_id, clip.time_start, clip.time_end)],
        labels=[clip.label],
        videos=[{"path": path, "bytes": data}],
        sources=[source],
        rates=[fps],
    )
    return {name: value for name, (value,) in columns.items()}

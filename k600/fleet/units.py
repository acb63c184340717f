"""Units of work: a tarball each, and reading one: it becomes a part, its valid clips concatenated.

Its marker holds the offset of each clip, and `merge` reads just those bytes. So there is one object
for each tarball, however many shards there will be.
"""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from k600.dataset.clip import Entry, Place, Tarball, parse_file_name
from k600.errors import (
    DamagedTarballError,
    IncompleteError,
    MirrorChangedError,
    MirrorError,
    NoClipsError,
)
from k600.errors.text import short_hash
from k600.fleet.job import Job, Places
from k600.loading.ask_host import failure_of, find_tarballs
from k600.loading.request import Request
from k600.loading.state import HostView, tarballs_of
from k600.mirror.identity import RemoteFile
from k600.publish.destination import FileDestination
from k600.publish.markers import read_json, to_json
from k600.publish.shards import scratch_folder
from k600.store.files import open_part
from k600.tarballs.catalog import KeptLists
from k600.tarballs.reading import open_tarball, read_with_retry
from k600.tarballs.stream import stream_tarball

logger = logging.getLogger("kinetics600")

AT_ONCE = 16
"""Parallel requests to a place."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A tarball to be read."""

    tarball: Tarball
    key: str
    """Hash of URL, ETag and options: a tarball that was replaced is another unit."""
    url: str
    """Without credentials."""
    etag: str
    size_bytes: int

    @classmethod
    def of(cls, tarball: Tarball, remote: RemoteFile, options: Mapping[str, Any]) -> Unit:
        """Return the unit of a tarball, as the mirror has it now, for a job's options."""
        text = json.dumps([remote.url, remote.etag, options], sort_keys=True)
        return cls(tarball, short_hash(text), remote.url, remote.etag, remote.size_bytes)


@dataclass(frozen=True, slots=True)
class PartClip:
    """A clip in a part."""

    file_name: str
    label: str | None
    """Class name; None for a test clip without one."""
    offset_bytes: int
    size_bytes: int
    sha256: str
    position: int
    """Its place among the clips of its tarball, from 0."""
    fps: float | None = None
    """Frames per second; None where unknown."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A bad file of a tarball, or a bad tarball."""

    file_name: str
    """Empty for the tarball."""
    reason: str
    """A key of `REASONS`."""


@dataclass(frozen=True, slots=True)
class UnitMarker:
    """The marker of a finished unit."""

    unit: Unit
    clips: tuple[PartClip, ...]
    """In the tarball's order."""
    rejects: tuple[Reject, ...]
    packing: str = ""
    """Of the tarball, as in `Place`; empty if an older release read it."""
    entries: Mapping[str, Entry | None] = field(default_factory=dict)
    """Where clips lie in the tarball, by file name. Of a run that makes an index, every clip: None
    for one that cannot be read alone."""

    @property
    def places(self) -> dict[str, Place]:
        """Where clips lie on the host, by file name."""
        unit = self.unit
        object_facts = (unit.tarball, unit.etag, unit.size_bytes, self.packing)
        entries = self.entries.items()
        return {name: Place(*object_facts, entry) for name, entry in entries if entry}

    def to_json(self) -> bytes:
        """Return it as JSON."""
        entry = dataclasses.asdict(self)
        unit = entry.pop("unit")
        part_bytes = sum(clip.size_bytes for clip in self.clips)
        return to_json({**unit.pop("tarball"), **unit, "part_bytes": part_bytes, **entry})

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> UnitMarker | None:
        """Return a marker from its JSON; None if it is something else."""
        try:
            tarball = Tarball(entry["split"], entry["name"])
            return cls(
                Unit(tarball, entry["key"], entry["url"], entry["etag"], entry["size_bytes"]),
                tuple(PartClip(**clip) for clip in entry["clips"]),
                tuple(Reject(**reject) for reject in entry["rejects"]),
                entry.get("packing", ""),
                {name: it and Entry(*it) for name, it in entry.get("entries", {}).items()},
            )
        except (KeyError, TypeError):
            return None


def tarballs_to_read(request: Request, split: str) -> list[Tarball]:
    """Return the tarballs of a split, by the host's list."""
    lists = KeptLists(request.mirror, request.store, split, keep=False)
    return tarballs_of(request, split, HostView(lists.tarballs(fetch=True), lists.listing()))


def find_units(
    tarballs: Sequence[Tarball], job: Job, *, on_missing: str
) -> tuple[list[Unit], dict[str, int]]:
    """Return the units of the tarballs that are on the mirror, and counts of the others by reason.

    Raises `NoClipsError` if there are none, and `IncompleteError` with `on_missing="raise"`.
    """
    there, absent = find_tarballs(job.mirror, tarballs)
    if not there:
        why = next(iter(absent.values()), "there is no tarball")
        raise NoClipsError(f"kinetics600 {job.split}: {why}", settled=True)

    unavailable: Counter[str] = Counter()
    for tarball, error in absent.items():
        message = f"{tarball.path} is left out: {error}"
        if on_missing == "raise":
            raise IncompleteError(message)
        if on_missing == "warn":
            logger.warning(message)
        unavailable[failure_of(error, None).reason] += 1
    units = [Unit.of(tarball, remote, job.options) for tarball, remote in there.items()]
    return units, dict(unavailable)


def read_markers(keys: Sequence[str], job: Job, work: FileDestination) -> dict[str, UnitMarker]:
    """Return the markers of units by key, without missing and damaged ones."""

    def read(key: str) -> UnitMarker | None:
        return UnitMarker.from_json(read_json(work, job.marker_path(key)) or {})

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(keys, pool.map(read, keys), strict=True))
    return {key: marker for key, marker in found.items() if marker and marker.unit.key == key}


def read_all_markers(units: Sequence[Unit], job: Job, work: FileDestination) -> list[UnitMarker]:
    """Return the markers of units; raise `NoClipsError` if one of them has not been read."""
    found = read_markers([unit.key for unit in units], job, work)
    for unit in units:
        if unit.key not in found:
            raise NoClipsError(
                f"kinetics600 {job.split}: {unit.url} has not been read. Call again: what is done "
                "stays"
            )
    return [found[unit.key] for unit in units]


def count_rejects(markers: Iterable[UnitMarker], unavailable: Mapping[str, int]) -> dict[str, int]:
    """Return counts by reason of what is no good in units, and of tarballs that are unavailable."""
    found = Counter(unavailable)
    found.update(reject.reason for marker in markers for reject in marker.rejects)
    return dict(sorted(found.items()))


def find_unread(units: Sequence[Unit], job: Job, work: FileDestination) -> list[Unit]:
    """Return the units without a marker, or without their part.

    A part is checked clip by clip as it is merged.
    """
    parts, marked = work.names(job.meta_path("parts")), work.names(job.meta_path("units"))
    begun = [unit.key for unit in units if f"{unit.key}.json" in marked]
    markers = read_markers(begun, job, work)
    read = {key for key, marker in markers.items() if not marker.clips or key in parts}
    return [unit for unit in units if unit.key not in read]


def deal_units(units: Iterable[Unit], ranks: int) -> list[list[Unit]]:
    """Deal units to at most so many ranks: each, the largest first, to the rank with least bytes.

    No rank is empty. Ranks come in descending order of their largest unit, so that no worker is
    left with a large tarball at the end.

    Example:
        >>> def unit(size): return Unit(Tarball("test", f"part_{size}"), "", "", "", size)
        >>> [[u.size_bytes for u in rank] for rank in deal_units(map(unit, (1, 5, 2, 3)), 2)]
        [[5, 1], [3, 2]]
    """
    ordered = sorted(units, key=lambda unit: (-unit.size_bytes, unit.key))
    dealt: list[list[Unit]] = [[] for _ in range(min(ranks, len(ordered)))]

    loads = [(0, 0, rank) for rank in range(len(dealt))]  # bytes, units, whose
    for unit in ordered:
        size_bytes, count, rank = heapq.heappop(loads)
        dealt[rank].append(unit)
        heapq.heappush(loads, (size_bytes + unit.size_bytes, count + 1, rank))
    return dealt


def read_units(job: Job, units: Sequence[Unit], places: Places) -> None:
    """Read tarballs, except those that are marked as done."""
    failed: MirrorError | None = None
    with scratch_folder(places.work) as folder:
        # A task that replaces a lost one skips what that had finished.
        for unit in find_unread(units, job, places.work):
            try:
                read_unit(unit, job, places.work, folder)
            except MirrorError as error:  # the others may still be read
                failed = failed or error
    if failed is not None:
        raise failed


def read_unit(unit: Unit, job: Job, work: FileDestination, folder: Path) -> None:
    """Read a tarball, send its part by way of a scratch `folder`, then write its marker.

    Raises `MirrorError` if it cannot be read, or was replaced since the run began.
    """
    path = folder / f"{unit.key}.part"

    def read(remote: RemoteFile) -> UnitMarker:
        # Checked before each reading, as a tarball that was replaced is another unit.
        if Unit.of(unit.tarball, remote, job.options).key != unit.key:
            raise MirrorChangedError(
                f"mirror: {unit.url} was replaced since this run began. Call again: it is read anew"
            )
        if job.how.kind == "index":
            return _find_entries(unit, job, remote)
        return _write_part(unit, job, remote, path)

    try:
        marker = read_with_retry(read, job.mirror, job.mirror.head(unit.tarball.path))
    except DamagedTarballError:
        marker = UnitMarker(unit, (), (Reject("", "tarball_damaged"),))

    if marker.clips:
        work.send(job.part_path(unit.key), path)
    path.unlink(missing_ok=True)
    work.commit(f"{job.split}: {unit.tarball.name}", {job.marker_path(unit.key): marker.to_json()})


def _find_entries(unit: Unit, job: Job, remote: RemoteFile) -> UnitMarker:
    problems = {}
    with open_tarball(job.mirror, remote) as members:  # entries are found in passing
        for member in members:
            problems[member.file_name] = member.problem
    bad = tuple(Reject(name, problem) for name, problem in problems.items() if problem)
    entries = {name: members.entries.get(name) for name in problems if parse_file_name(name)}
    return UnitMarker(unit, (), bad, members.packing or "", entries)


def _write_part(unit: Unit, job: Job, remote: RemoteFile, path: Path) -> UnitMarker:
    clips: list[PartClip] = []
    rejects: list[Reject] = []
    offset = 0
    places: list[Any] = []
    found_clips = stream_tarball(
        job.mirror,
        unit.tarball,
        job.labels,
        remote=remote,
        encoding=job.encoding,
        on_end=lambda *found: places.extend(found),
    )
    with open_part(path) as part:
        for found in found_clips:
            if found.problem is not None or found.clip is None:
                rejects.append(Reject(found.file_name, found.problem or "odd_name"))
                continue
            label, data = found.clip.label, found.data
            if job.classes is not None and label not in job.classes:
                continue

            digest = hashlib.sha256(data).hexdigest()
            what = (found.file_name, label, offset, len(data), digest, found.position, found.fps)
            clips.append(PartClip(*what))
            part.write(data)
            offset += len(data)
    return UnitMarker(unit, tuple(clips), tuple(rejects), *places)

"""Units of work: a tarball each, and the marker that says what was found in one that was read."""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from k600.clip import Tarball
from k600.errors import (
    IncompleteError,
    MirrorDeniedError,
    MirrorError,
    MirrorNotFoundError,
    NoClipsError,
)
from k600.fleet.job import Job
from k600.loading.request import Request
from k600.loading.state import HostView, tarballs_of
from k600.mirror.mirror import RemoteFile
from k600.publish.destination import FileDestination
from k600.publish.markers import read_json, to_json
from k600.tarballs.catalog import KeptLists

__all__ = [
    "PartClip",
    "Reject",
    "Unit",
    "UnitMarker",
    "deal_units",
    "find_units",
    "find_unread",
    "read_markers",
    "tarballs_to_read",
]

logger = logging.getLogger("kinetics600")

AT_ONCE = 16
"""Questions to a mirror or a place at a time."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A tarball to be read: what one worker does at a time."""

    tarball: Tarball
    key: str
    """Of URL, ETag and options: a tarball that was replaced is another unit."""
    url: str
    """Address, without credentials."""
    etag: str
    size_bytes: int

    @classmethod
    def of(cls, tarball: Tarball, remote: RemoteFile, options: Mapping[str, Any]) -> Unit:
        """Return the unit that a tarball is, as the mirror has it now, for these options."""
        text = json.dumps([remote.url, remote.etag, options], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        return cls(tarball, key, remote.url, remote.etag, remote.size_bytes)


@dataclass(frozen=True, slots=True)
class PartClip:
    """A clip that lies in a part."""

    file_name: str
    label: str | None
    """Class name; None where no list labels a test clip."""
    offset_bytes: int
    """Where it begins in the part."""
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Reject:
    """A file of a tarball that is no good, or the tarball itself."""

    file_name: str
    """Empty for the tarball."""
    reason: str
    """A key of `k600.reasons.REASONS`."""


@dataclass(frozen=True, slots=True)
class UnitMarker:
    """What a finished unit leaves."""

    unit: Unit
    clips: tuple[PartClip, ...]
    """In the tarball's order."""
    rejects: tuple[Reject, ...]

    @property
    def part_bytes(self) -> int:
        """Size of its part."""
        return sum(clip.size_bytes for clip in self.clips)

    def to_json(self) -> bytes:
        """Return it as the bytes of its file."""
        entry = dataclasses.asdict(self)
        unit = entry.pop("unit")
        return to_json({**unit.pop("tarball"), **unit, "part_bytes": self.part_bytes, **entry})

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> UnitMarker | None:
        """Return the marker that a file holds; None if it holds something else."""
        try:
            tarball = Tarball(entry["split"], entry["name"])
            return cls(
                Unit(tarball, entry["key"], entry["url"], entry["etag"], entry["size_bytes"]),
                tuple(PartClip(**clip) for clip in entry["clips"]),
                tuple(Reject(**reject) for reject in entry["rejects"]),
            )
        except (KeyError, TypeError):
            return None


def tarballs_to_read(request: Request, split: str) -> list[Tarball]:
    """Return the tarballs of a split, by the host's list.

    Raises:
        MirrorError, ListError: The list cannot be had.
    """
    lists = KeptLists(request.mirror, request.store, split, network=True, keep=False)
    return tarballs_of(request, split, HostView(lists.tarballs(), lists.listing()))


def find_units(
    tarballs: Sequence[Tarball], job: Job, *, on_missing: str
) -> tuple[list[Unit], dict[str, int]]:
    """Ask the mirror for every tarball of a split.

    Returns:
        The units of those that are there, and how many are not, by reason.

    Raises:
        MirrorError: It is out of reach.
        IncompleteError: It lacks tarballs, and `on_missing` is `raise`.
        NoClipsError: It has none of them.
    """

    def find(tarball: Tarball) -> Unit | MirrorError:
        try:
            return Unit.of(tarball, job.mirror.stat(tarball.path), job.options)
        except (MirrorNotFoundError, MirrorDeniedError) as error:
            return error

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [*pool.map(find, tarballs)]
    units = [each for each in found if isinstance(each, Unit)]
    if not units:
        why = found[0] if found else "there is no tarball"
        raise NoClipsError(f"kinetics600 {job.split}: {why}", settled=True)

    lacking: Counter[str] = Counter()
    for tarball, error in zip(tarballs, found, strict=True):
        if isinstance(error, Unit):
            continue
        message = f"{tarball.path} is left out: {error}"
        if on_missing == "raise":
            raise IncompleteError(message)
        if on_missing == "warn":
            logger.warning(message)
        denied = isinstance(error, MirrorDeniedError)
        lacking["tarball_denied" if denied else "tarball_not_found"] += 1
    return units, dict(lacking)


def read_markers(keys: Sequence[str], job: Job, work: FileDestination) -> dict[str, UnitMarker]:
    """Return what units left, by key; none that is not there, is damaged, or is another's."""

    def read(key: str) -> UnitMarker | None:
        return UnitMarker.from_json(read_json(work, job.marker_path(key)) or {})

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(keys, pool.map(read, keys), strict=True))
    return {key: marker for key, marker in found.items() if marker and marker.unit.key == key}


def find_unread(units: Sequence[Unit], job: Job, work: FileDestination) -> list[Unit]:
    """Return the units without a marker, or without the part that it describes.

    Whether a part holds the right bytes is checked clip by clip as it is merged.
    """
    sizes, marked = work.sizes(job.meta_path("parts")), work.names(job.meta_path("units"))
    begun = [unit.key for unit in units if f"{unit.key}.json" in marked]
    markers = read_markers(begun, job, work)

    def is_read(unit: Unit) -> bool:
        marker = markers.get(unit.key)
        if marker is None:
            return False
        return not marker.clips or sizes.get(unit.key) == marker.part_bytes

    return [unit for unit in units if not is_read(unit)]


def deal_units(units: Iterable[Unit], ranks: int) -> list[list[Unit]]:
    """Deal units to at most so many ranks: each, the largest first, to whoever has least.

    Returns:
        The units of each rank, none empty, the rank with the largest unit first. Whoever takes
        ranks in this order is never left with a large tarball at the end.

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

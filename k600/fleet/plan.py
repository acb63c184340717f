"""Who reads which tarball, and which clip goes into which shard. Pure.

The order of the clips is the order of a hash of seed and clip, so it is the same however many
workers there were, and whoever read which tarball. Shards are stretches of that order, alike in
number of clips, so that every one mixes all classes.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from k600.clip import Clip, Tarball, parse_file_name
from k600.errors import OptionError

__all__ = [
    "PartClip",
    "PlacedClip",
    "Reject",
    "Unit",
    "UnitMarker",
    "count_shards",
    "deal_clips",
    "deal_units",
    "unit_key",
]


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


@dataclass(frozen=True, slots=True, order=True)
class PlacedClip:
    """A clip that has its place in the order of all."""

    order: bytes
    """Hash of seed and clip."""
    tarball: str
    """Name of the tarball."""
    part: str
    """Key of the unit that read it."""
    split: str
    found: PartClip = field(compare=False)

    @property
    def clip(self) -> Clip:
        """The clip itself."""
        times = parse_file_name(self.found.file_name)
        assert times is not None  # no part holds anything else
        return Clip(self.split, self.found.label, *times)


def unit_key(url: str, etag: str, options: object) -> str:
    """Return what tells a unit of work from any other.

    Example:
        >>> unit_key("s3://kinetics/600/val/zumba.tar.gz", "1a2b", {"short_side": None})
        '987d17fd6d87f9a6'
    """
    said = json.dumps([url, etag, options], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


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
    load = [(0, 0, rank) for rank in range(len(dealt))]
    for unit in ordered:
        held, units_held, rank = heapq.heappop(load)
        dealt[rank].append(unit)
        heapq.heappush(load, (held + unit.size_bytes, units_held + 1, rank))
    return dealt


def count_shards(clips: int, video_bytes: int, *, shard_bytes: int, multiple_of: int) -> int:
    """Return how many shards there are to be.

    Args:
        clips: Clips in all.
        video_bytes: Their size.
        shard_bytes: What a shard is to have at most, on average.
        multiple_of: The number is a multiple of this.

    Raises:
        OptionError: There are fewer clips than that.

    Example:
        >>> count_shards(50, 5_100, shard_bytes=1_000, multiple_of=4)
        8
    """
    count = max(1, -(-video_bytes // shard_bytes))
    count = min(count, clips)
    count = max(1, -(-count // multiple_of)) * multiple_of
    if count > clips:
        count = clips // multiple_of * multiple_of
    if not count:
        raise OptionError(
            f"shards_multiple_of: {multiple_of} shards need as many clips, and there are {clips}"
        )
    return count


def deal_clips(
    markers: Iterable[UnitMarker], *, seed: int, shard_bytes: int, multiple_of: int = 1
) -> list[list[PlacedClip]]:
    """Return the clips of each shard, in order; their numbers differ by one at most.

    A clip that two tarballs of the test split hold is taken once.

    Raises:
        OptionError: There are too few clips for such a number of shards.
    """
    placed = sorted(_placed(marker, found, seed) for marker in markers for found in marker.clips)
    once: dict[str, PlacedClip] = {}
    for clip in placed:
        once.setdefault(clip.clip.key, clip)
    order = list(once.values())
    if not order:
        return []
    count = count_shards(
        len(order),
        sum(clip.found.size_bytes for clip in order),
        shard_bytes=shard_bytes,
        multiple_of=multiple_of,
    )
    return _stretches(order, count)


def _stretches(order: Sequence[PlacedClip], count: int) -> list[list[PlacedClip]]:
    edges = [len(order) * number // count for number in range(count + 1)]
    return [list(order[start:end]) for start, end in itertools.pairwise(edges)]


def _placed(marker: UnitMarker, found: PartClip, seed: int) -> PlacedClip:
    tarball = marker.unit.tarball
    said = f"{seed}/{tarball.split}/{found.label}/{found.file_name}"
    order = hashlib.blake2b(said.encode(), digest_size=8).digest()
    return PlacedClip(order, tarball.name, marker.unit.key, tarball.split, found)

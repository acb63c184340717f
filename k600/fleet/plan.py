"""The plan of a split: which clip goes into which shard, decided from the markers alone.

Clips are ordered by a hash of seed and clip, which does not depend on the number of workers. Shards
are consecutive ranges of nearly equal length, so every one mixes all classes.

A plan of half a million clips has 20 MB, and a thousand workers need a thousandth of it each. So it
is saved as small Parquet files one after the other, one for each shard, and as facts that say where
each begins.
"""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow
import pyarrow.parquet

from k600.dataset.clip import Clip, parse_file_name
from k600.errors import DestinationError, NoClipsError, OptionError
from k600.fleet.job import Job, Places
from k600.fleet.units import PartClip, Unit, UnitMarker, count_rejects, read_all_markers
from k600.publish.destination import FileDestination
from k600.publish.markers import read_json, to_json

FACTS = "plan.json"
CLIPS = "plan.clips"
_STRINGS = ("tarball", "part", "file_name", "label", "sha256")
_SCHEMA = pyarrow.schema(
    [(name, pyarrow.string()) for name in _STRINGS]
    + [(name, pyarrow.int64()) for name in ("position", "offset_bytes", "size_bytes")]
    + [("fps", pyarrow.float64())]
)
_FOUND = [field.name for field in fields(PartClip)]


@dataclass(frozen=True, slots=True)
class PlacedClip:
    """A clip of a shard, and where it comes from."""

    split: str
    tarball: str
    part: str
    """Key of the unit."""
    found: PartClip

    @property
    def clip(self) -> Clip:
        """The clip itself."""
        times = parse_file_name(self.found.file_name)
        assert times is not None  # no part holds anything else
        return Clip(self.split, self.found.label, *times)


@dataclass(frozen=True, slots=True)
class Plan:
    """The shards of a split and their clips."""

    digest: str
    """Of the clips' SHA-256 and shards."""
    shards: Sequence[Sequence[PlacedClip]]
    """The clips of each shard, in order; of a saved plan, read when they are asked for."""
    tarballs: int
    rejects: Mapping[str, int]
    """Counts of bad clips, and of tarballs that are not available, by reason."""


def count_shards(clips: int, video_bytes: int, *, shard_bytes: int, multiple_of: int) -> int:
    """Return the number of shards for so many clips, of at most `shard_bytes` on average.

    Example:
        >>> count_shards(50, 5_100, shard_bytes=1_000, multiple_of=4)
        8
    """
    count = min(max(1, -(-video_bytes // shard_bytes)), clips)
    count = max(1, -(-count // multiple_of)) * multiple_of
    if count > clips:
        count = clips // multiple_of * multiple_of
    if not count:
        raise OptionError(
            f"shards_multiple_of: {multiple_of} is more than the number of clips, which is {clips}"
        )
    return count


def deal_clips(
    markers: Iterable[UnitMarker], *, seed: int, shard_bytes: int, multiple_of: int = 1
) -> list[list[PlacedClip]]:
    """Return the clips of each shard, in order; their numbers differ by one at most.

    A clip that two tarballs of the test split hold is taken once.
    """

    def order(clip: PlacedClip) -> tuple[bytes, str, str]:
        text = f"{seed}/{clip.split}/{clip.found.label}/{clip.found.file_name}"
        return hashlib.blake2b(text.encode(), digest_size=8).digest(), clip.tarball, clip.part

    placed: list[PlacedClip] = []
    for marker in markers:
        tarball, key = marker.unit.tarball, marker.unit.key
        placed += [PlacedClip(tarball.split, tarball.name, key, found) for found in marker.clips]
    once: dict[str, PlacedClip] = {}
    for clip in sorted(placed, key=order):
        once.setdefault(clip.clip.key, clip)
    clips = [*once.values()]
    if not clips:
        return []

    size_bytes = sum(clip.found.size_bytes for clip in clips)
    count = count_shards(len(clips), size_bytes, shard_bytes=shard_bytes, multiple_of=multiple_of)
    edges = [len(clips) * number // count for number in range(count + 1)]
    return [clips[start:end] for start, end in itertools.pairwise(edges)]


def make_plan(
    units: Sequence[Unit], unavailable: Mapping[str, int], job: Job, work: FileDestination
) -> Plan:
    """Assign the clips of all units to shards; `unavailable` counts unavailable tarballs by reason.

    Raises `NoClipsError` if there is no clip, or a tarball has not been read.
    """
    markers = read_all_markers(units, job, work)
    shards = deal_clips(
        markers,
        seed=job.seed,
        shard_bytes=job.how.shard_bytes,
        multiple_of=job.how.shards_multiple_of,
    )
    if not shards:
        raise NoClipsError(
            f"kinetics600 {job.split}: there was not one clip in the tarballs", settled=True
        )

    digest = hashlib.sha256()
    for number, clips in enumerate(shards):
        for placed in clips:
            digest.update(f"{number} {placed.clip.key} {placed.found.sha256}\n".encode())
    rejects = count_rejects(markers, unavailable)
    return Plan(digest.hexdigest()[:16], shards, len(units), rejects)


def write_plan(
    job: Job, units: Sequence[Unit], unavailable: Mapping[str, int], places: Places
) -> None:
    """Make and save the plan: a task of its own, once all tarballs are read."""
    plan = make_plan(units, unavailable, job, places.work)
    pieces = [_to_parquet(clips) for clips in plan.shards]
    facts = {name: getattr(plan, name) for name in ("digest", "tarballs", "rejects")}
    facts["begins"] = [0, *itertools.accumulate(map(len, pieces))]
    files = {CLIPS: b"".join(pieces), FACTS: to_json(facts)}  # the facts last: they make it valid
    files = {job.meta_path(name): data for name, data in files.items()}
    places.work.commit(f"{job.split}: planned", files)


def read_plan(job: Job, work: FileDestination) -> Plan:
    """Return the saved plan, whose shards are read one by one.

    Raises `DestinationError` if there is none.
    """
    facts = read_json(work, job.meta_path(FACTS))
    if facts is None:
        raise _no_plan(job, work)
    return Plan(shards=_SavedShards(job, work, facts.pop("begins")), **facts)


class _SavedShards(Sequence[Sequence[PlacedClip]]):
    """The shards of a saved plan."""

    def __init__(self, job: Job, work: FileDestination, begins: Sequence[int]) -> None:
        """Take where each shard's piece begins, and the last one ends."""
        self._job, self._work, self._begins = job, work, begins

    def __len__(self) -> int:
        return len(self._begins) - 1

    def __getitem__(self, number: Any) -> Any:
        start, end = self._begins[number], self._begins[number + 1]
        piece = self._work.read(self._job.meta_path(CLIPS), start, end)
        if piece is None:
            raise _no_plan(self._job, self._work)
        clips = []
        for row in pyarrow.parquet.read_table(io.BytesIO(piece)).to_pylist():
            found = PartClip(**{name: row[name] for name in _FOUND})
            clips.append(PlacedClip(self._job.split, row["tarball"], row["part"], found))
        return clips


def _to_parquet(clips: Iterable[PlacedClip]) -> bytes:
    rows = [
        {"tarball": placed.tarball, "part": placed.part, **asdict(placed.found)} for placed in clips
    ]
    sink = io.BytesIO()
    table = pyarrow.Table.from_pylist(rows, schema=_SCHEMA)
    lean = {"use_dictionary": ["tarball", "part", "label"], "write_statistics": False}
    pyarrow.parquet.write_table(table, sink, compression="zstd", **lean)
    return sink.getvalue()


def _no_plan(job: Job, work: FileDestination) -> DestinationError:
    return DestinationError(
        f"to: {work.address} has no plan of {job.split!r} yet, as not all tarballs have been read. "
        "Call again"
    )

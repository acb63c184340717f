"""The plan of a split: which clip goes into which shard, decided from the markers alone.

Clips are ordered by a hash of seed and clip, which does not depend on the number of workers. Shards
are consecutive ranges of nearly equal length, so every one mixes all classes.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from k600.clip import Clip, parse_file_name
from k600.errors import DestinationError, NoClipsError, OptionError
from k600.fleet.options import Job, OpenPlaces
from k600.fleet.units import PartClip, Unit, UnitMarker, read_all_markers
from k600.publish.destination import FileDestination

_NAME = "plan.parquet"
_STRINGS = ("tarball", "part", "file_name", "label", "sha256")
_SCHEMA = pyarrow.schema(
    [("shard", pyarrow.int32()), ("position", pyarrow.int32())]
    + [(name, pyarrow.string()) for name in _STRINGS]
    + [(name, pyarrow.int64()) for name in ("offset_bytes", "size_bytes")]
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

    split: str
    digest: str
    """Of the clips' SHA-256 and shards."""
    shards: int
    tarballs: int
    rejects: Mapping[str, int]
    """Counts of bad clips, and of tarballs that are not available, by reason."""
    table: Any
    """A row for each clip, in order."""

    def clips(self, shard: int) -> list[PlacedClip]:
        """Return the clips of a shard, in order."""
        rows = self.table.filter(pyarrow.compute.equal(self.table["shard"], shard)).to_pylist()
        clips: list[PlacedClip] = []
        for row in rows:
            found = PartClip(**{name: row[name] for name in _FOUND})
            clips.append(PlacedClip(self.split, row["tarball"], row["part"], found))
        return clips


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
            f"shards_multiple_of: {multiple_of} shards need as many clips, and there are {clips}"
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
        shard_bytes=job.recipe.shard_bytes,
        multiple_of=job.recipe.shards_multiple_of,
    )
    if not shards:
        raise NoClipsError(
            f"kinetics600 {job.split}: there was not one clip in the tarballs", settled=True
        )

    digest, rows = hashlib.sha256(), []
    for number, clips in enumerate(shards):
        for placed in clips:
            digest.update(f"{number} {placed.clip.key} {placed.found.sha256}\n".encode())
            place = {"shard": number, "tarball": placed.tarball, "part": placed.part}
            rows.append({**place, **asdict(placed.found)})
    rejects = Counter(unavailable)
    rejects.update(reject.reason for marker in markers for reject in marker.rejects)
    return Plan(
        job.split,
        digest.hexdigest()[:16],
        len(shards),
        len(units),
        dict(sorted(rejects.items())),
        pyarrow.Table.from_pylist(rows, schema=_SCHEMA),
    )


def write_plan(
    job: Job, units: Sequence[Unit], unavailable: Mapping[str, int], places: OpenPlaces
) -> None:
    """Make and save the plan: a task of its own, once all tarballs are read."""
    plan = make_plan(units, unavailable, job, places.work)
    facts = {name: getattr(plan, name) for name in ("digest", "shards", "tarballs", "rejects")}
    table = plan.table.replace_schema_metadata({"plan": json.dumps(facts)})
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink, compression="zstd")
    places.work.commit(f"{job.split}: planned", {job.meta_path(_NAME): sink.getvalue()})


def read_plan(job: Job, work: FileDestination) -> Plan:
    """Return the saved plan; raise `DestinationError` if there is none."""
    data = work.read(job.meta_path(_NAME))
    if data is None:
        raise DestinationError(
            f"to: {work.address} has no plan of {job.split!r} yet, as not all tarballs have been "
            "read. Call again"
        )
    table = pyarrow.parquet.read_table(io.BytesIO(data))
    return Plan(split=job.split, table=table, **json.loads(table.schema.metadata[b"plan"]))

"""Merging: the plan of all shards from the markers, then each shard from pieces of the parts."""

from __future__ import annotations

import hashlib
import io
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from k600.errors import DestinationDamagedError, DestinationError, NoClipsError
from k600.fleet.job import Job, marker_of
from k600.fleet.places import OpenPlaces
from k600.fleet.plan import PartClip, PlacedClip, Unit, UnitMarker, deal_clips
from k600.loading.rows import record_of
from k600.progress import no_progress
from k600.publish.destination import FileDestination
from k600.publish.markers import find_damaged, read_json, read_marker, to_json
from k600.publish.parquet import write_clips
from k600.publish.shards import Shard
from k600.publish.webdataset import write_tar

__all__ = [
    "Plan",
    "find_unmarked",
    "find_unread",
    "find_unwritten",
    "make_plan",
    "merge_shards",
    "read_plan",
    "read_shards",
    "shard_path",
    "shard_to_json",
]

AHEAD_BYTES = 64 << 20
"""Bytes of clips read ahead of what is written."""
AHEAD_READS = 8

_CLIP_COLUMNS = ("file_name", "label", "offset_bytes", "size_bytes", "sha256")


@dataclass(frozen=True, slots=True)
class Plan:
    """The shards that there are to be."""

    digest: str
    """Fingerprint of which clips, to the byte, are in which shard."""
    shards: int
    tarballs: int
    """Tarballs that were read."""
    rejects: Mapping[str, int]
    """What was no good, by reason."""


def find_unread(job: Job, units: Sequence[Unit], destination: FileDestination) -> list[Unit]:
    """Return the units without a marker, or without the part that it tells of.

    What is in a part is proved where it is read.
    """
    sizes, marked = destination.sizes(job.own("parts")), destination.names(job.own("units"))

    def is_read(unit: Unit) -> bool:
        marker = _marker(job, unit, destination) if f"{unit.key}.json" in marked else None
        if marker is None:
            return False
        return not marker.clips or sizes.get(unit.key) == marker.part_bytes

    with ThreadPoolExecutor(16) as pool:
        return [u for u, read in zip(units, pool.map(is_read, units), strict=True) if not read]


def find_unmarked(job: Job, units: Sequence[Unit], destination: FileDestination) -> list[Unit]:
    """Return the units without a marker that can be read."""
    found = _markers(job, units, destination)
    return [unit for unit, marker in zip(units, found, strict=True) if marker is None]


def make_plan(
    job: Job, units: Sequence[Unit], destination: FileDestination, *, lacking: Mapping[str, int]
) -> Plan:
    """Deal the clips of all markers to shards, and write that down.

    Args:
        job: The run.
        units: All tarballs, read by now.
        destination: Where their markers are.
        lacking: How many further tarballs could not be had, by reason.

    Raises:
        NoClipsError: There is no clip, or a tarball has not been read.
        OptionError: The number of shards cannot be what it is to be.
    """
    found = _markers(job, units, destination)
    markers = [marker for marker in found if marker is not None]
    if len(markers) < len(units):
        unread = next(u.url for u, marker in zip(units, found, strict=True) if marker is None)
        raise NoClipsError(
            f"kinetics600 {job.split}: {unread} has not been read. Call again: what is done stays"
        )
    rejects = Counter(lacking)
    rejects.update(reject.reason for marker in markers for reject in marker.rejects)
    shards = deal_clips(
        markers,
        seed=job.seed,
        shard_bytes=job.recipe.shard_size_mb * 1_000_000,
        multiple_of=job.recipe.shards_multiple_of,
    )
    if not shards:
        raise NoClipsError(
            f"kinetics600 {job.split}: there was not one clip in the tarballs", settled=True
        )
    digest = hashlib.sha256()
    for number, clips in enumerate(shards):
        for clip in clips:
            digest.update(f"{number} {clip.clip.key} {clip.found.sha256}\n".encode())
    plan = Plan(digest.hexdigest()[:16], len(shards), len(units), dict(sorted(rejects.items())))
    files = {job.own("plan.parquet"): _table(shards), job.own("plan.json"): to_json(asdict(plan))}
    destination.commit(f"{job.split}: planned", files)
    return plan


def read_plan(job: Job, destination: FileDestination) -> Plan:
    """Return the plan.

    Raises:
        DestinationError: There is none.
    """
    said = read_json(destination, job.own("plan.json"))
    if said is None:
        raise _no_plan(job, destination)
    return Plan(**said)


def read_shards(
    job: Job, plan: Plan, destination: FileDestination, *, only: Sequence[int] | None = None
) -> dict[int, list[PlacedClip]]:
    """Return the clips of shards by their numbers, all or some.

    Raises:
        DestinationError: There is no plan.
    """
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    data = destination.read(job.own("plan.parquet"))
    if data is None:
        raise _no_plan(job, destination)
    table = pyarrow.parquet.read_table(io.BytesIO(data))
    numbers = range(plan.shards) if only is None else only
    if only is not None:
        wanted = pyarrow.array(only, pyarrow.int32())
        table = table.filter(pyarrow.compute.is_in(table["shard"], wanted))
    shards: dict[int, list[PlacedClip]] = {number: [] for number in numbers}
    for row in table.to_pylist():
        found = PartClip(**{name: row[name] for name in _CLIP_COLUMNS})
        shards[row["shard"]].append(PlacedClip(b"", row["tarball"], row["part"], job.split, found))
    return shards


def shard_path(job: Job, plan: Plan, number: int) -> str:
    """Return the path of a shard's marker."""
    return job.own(f"shards/{plan.digest}-{number:05d}.json")


def shard_to_json(shard: Mapping[str, Any], clips: Sequence[PlacedClip]) -> bytes:
    """Return a shard's marker as the bytes of its file.

    Args:
        shard: What is said of the shard (`k600.publish.shards.Shard.entry`).
        clips: What is in it.
    """
    return to_json({"shard": shard, "unlabelled": sum(clip.found.label is None for clip in clips)})


def find_unwritten(numbers: Iterable[int], plan: Plan, job: Job, places: OpenPlaces) -> list[int]:
    """Return which of these shards have no marker, or are not at their place as it says."""
    marked = places.work.names(job.own("shards"))
    said = {}
    for number in numbers:
        path = shard_path(job, plan, number)
        there = path.rpartition("/")[2] in marked
        said[number] = read_marker(places.work, path) if there else None
    shards = [marker["shard"] for marker in said.values() if marker]
    damaged = find_damaged(places.shards, job.split, shards, no_progress)
    return [n for n, marker in said.items() if not marker or marker["shard"]["name"] in damaged]


def merge_shards(
    shards: Mapping[int, Sequence[PlacedClip]],
    plan: Plan,
    job: Job,
    places: OpenPlaces,
    folder: Path,
) -> list[Shard]:
    """Write shards, bring them to their place, then their markers.

    Args:
        shards: Clips by number of the shard.
        plan: The plan they are of.
        job: The run.
        places: Where the parts are, and where the shards go.
        folder: Of this machine, for a shard until it is whole.

    Raises:
        DestinationDamagedError: A part is not what was written; it is removed.
        DestinationError: A part cannot be read, or the place refuses.
    """
    written: list[Shard] = []
    markers: dict[str, bytes] = {}
    for number, clips in shards.items():
        shard = _write(number, clips, job, places.work, folder)
        etag = places.shards.send(f"data/{job.split}/{shard.name}", shard.path, shard.sha256)
        said = shard.entry(etag)
        markers[shard_path(job, plan, number)] = shard_to_json(said, clips)
        written.append(shard)
    name = f"{job.split}: {', '.join(map(str, shards))}"
    if places.apart:
        places.shards.commit(name, {})
    places.work.commit(name, markers)
    return written


def _write(
    number: int, clips: Sequence[PlacedClip], job: Job, work: FileDestination, folder: Path
) -> Shard:
    rows, prefix = _rows(clips, job, work), f"{number:05d}"
    if job.recipe.format == "webdataset":
        return write_tar(rows, folder, prefix=prefix)
    (shard,) = write_clips(rows, folder, prefix=prefix, shard_bytes=None)
    return shard


def _no_plan(job: Job, destination: FileDestination) -> DestinationError:
    return DestinationError(
        f"to: {destination.address} has no plan of {job.split!r} yet, as not all tarballs have "
        "been read. Call again"
    )


def _markers(
    job: Job, units: Sequence[Unit], destination: FileDestination
) -> list[UnitMarker | None]:
    """Return what each unit left, as `_marker` does, several asked for at a time."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda unit: _marker(job, unit, destination), units))


def _marker(job: Job, unit: Unit, destination: FileDestination) -> UnitMarker | None:
    """Return what a unit left; None if that is not there, is damaged, or is another's."""
    said = read_json(destination, job.own(f"units/{unit.key}.json"))
    marker = None if said is None else marker_of(said)
    return marker if marker is not None and marker.unit.key == unit.key else None


def _table(shards: Sequence[Sequence[PlacedClip]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    rows = [
        {"shard": number, "tarball": clip.tarball, "part": clip.part, **asdict(clip.found)}
        for number, clips in enumerate(shards)
        for clip in clips
    ]
    kinds = {
        "shard": pyarrow.int32(),
        "tarball": pyarrow.string(),
        "part": pyarrow.string(),
        "file_name": pyarrow.string(),
        "label": pyarrow.string(),
        "offset_bytes": pyarrow.int64(),
        "size_bytes": pyarrow.int64(),
        "sha256": pyarrow.string(),
    }
    sink = io.BytesIO()
    table = pyarrow.Table.from_pylist(rows, schema=pyarrow.schema([*kinds.items()]))
    pyarrow.parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _rows(
    clips: Sequence[PlacedClip], job: Job, destination: FileDestination
) -> Iterator[dict[str, Any]]:
    """Yield the rows of clips, a few of them read ahead."""
    pending: deque[tuple[PlacedClip, Future[bytes]]] = deque()
    pending_bytes = 0
    pool = ThreadPoolExecutor(AHEAD_READS)
    try:
        for clip in (*clips, None):
            while pending and (clip is None or pending_bytes > AHEAD_BYTES):
                first, answer = pending.popleft()
                pending_bytes -= first.found.size_bytes
                yield record_of(first.clip, first.clip.file_name, answer.result(), "cvdf")
            if clip is not None:
                pending.append((clip, pool.submit(_bytes_of, clip, job, destination)))
                pending_bytes += clip.found.size_bytes
    finally:
        pool.shutdown(cancel_futures=True)


def _bytes_of(clip: PlacedClip, job: Job, destination: FileDestination) -> bytes:
    found = clip.found
    end = found.offset_bytes + found.size_bytes
    path = job.own(f"parts/{clip.part}")
    data = destination.read(path, found.offset_bytes, end)
    if data is None or hashlib.sha256(data).hexdigest() != found.sha256:
        destination.commit(f"{job.split}: damaged", {}, delete=[path])  # so `find_unread` finds it
        raise DestinationDamagedError(
            f"to: {destination.address}/{path} {'is gone' if data is None else 'was changed'}. "
            "Call again: its tarball is read anew"
        )
    return data

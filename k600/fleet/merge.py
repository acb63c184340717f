"""Merging: each shard of the plan is written from pieces of the parts, and marked."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from k600.ahead import map_ahead
from k600.errors import DestinationDamagedError
from k600.fleet.job import Job, Places
from k600.fleet.plan import PlacedClip, Plan, read_plan
from k600.fleet.units import read_markers, read_unit
from k600.progress import no_progress
from k600.publish.destination import FileDestination
from k600.publish.markers import find_damaged, read_marker, to_json
from k600.publish.shards import embedded_row, scratch_folder, send_shard, write_clips, write_tar

logger = logging.getLogger("kinetics600")

AHEAD_BYTES = 64 << 20
"""Clips that are read ahead of those being written."""
AHEAD_READS = 8

SHARDS_IN_A_COMMIT = 16
"""On the Hub, which takes about a hundred commits an hour."""


def merge_shards(job: Job, start: int, step: int, places: Places) -> int:
    """Write every `step`th shard from `start` on that is not done yet.

    Returns the number of tarballs that were read again, as their parts were damaged.
    """
    plan = read_plan(job, places.work)
    left = _find_unwritten(range(start, len(plan.shards), step), plan, job, places)
    at_once = SHARDS_IN_A_COMMIT if places.apart else 1
    with scratch_folder(places.work) as folder:
        parts = PartReader(job, places.work, folder)
        for done in range(0, len(left), at_once):
            _write_shards(left[done : done + at_once], plan, parts, job, places)
    return parts.reread


def shard_path(plan: Plan, number: int, job: Job) -> str:
    """Return the path of a shard's marker."""
    return job.meta_path(f"shards/{plan.digest}-{number:05d}.json")


def shard_to_json(entry: Mapping[str, Any], clips: Sequence[PlacedClip]) -> bytes:
    """Return the marker of a shard with this entry (`send_shard`) and these clips."""
    return to_json({"shard": entry, "unlabelled": sum(clip.found.label is None for clip in clips)})


def _find_unwritten(numbers: Iterable[int], plan: Plan, job: Job, places: Places) -> list[int]:
    """Return which of these shards have no marker, or are missing or damaged."""
    marked = places.work.names(job.meta_path("shards"))
    entries: dict[int, Mapping[str, Any]] = {}
    for number in numbers:
        path = shard_path(plan, number, job)
        marker = read_marker(places.work, path) if path.rpartition("/")[2] in marked else None
        entries[number] = marker["shard"] if marker else {}
    written = [entry for entry in entries.values() if entry]
    damaged = find_damaged(places.shards, job.split, written, no_progress)
    return [number for number, entry in entries.items() if not entry or entry["name"] in damaged]


def _write_shards(
    numbers: Sequence[int], plan: Plan, parts: PartReader, job: Job, places: Places
) -> None:
    """Write shards, send them, then write their markers."""
    markers: dict[str, bytes] = {}
    for number in numbers:
        clips = plan.shards[number]
        rows, prefix = parts.rows(clips), f"{number:05d}"
        if job.how.kind == "webdataset":
            shard = write_tar(rows, parts.folder, prefix=prefix)
        else:
            (shard,) = write_clips(rows, parts.folder, prefix=prefix, shard_bytes=None)
        entry = send_shard(shard, places.shards, job.split)
        markers[shard_path(plan, number, job)] = shard_to_json(entry, clips)

    # A marker may only name shards that are visible: on the Hub, those in a commit.
    message = f"{job.split}: {', '.join(map(str, numbers))}"
    if places.apart:
        places.shards.commit(message, {})
    places.work.commit(message, markers)


class PartReader:
    """Reads clips from parts; a tarball whose part is damaged is read again."""

    def __init__(self, job: Job, work: FileDestination, folder: Path) -> None:
        """Take the place of the parts, and a scratch folder for one that is read again."""
        self.job, self.work, self.folder = job, work, folder
        self.reread = 0  # tarballs

    def rows(self, clips: Sequence[PlacedClip]) -> Iterator[dict[str, Any]]:
        """Yield the rows of clips; raise `DestinationDamagedError` if a part cannot be repaired."""
        ahead = map_ahead(
            self._read,
            clips,
            threads=AHEAD_READS,
            most_ahead=AHEAD_BYTES,
            size_of=lambda clip: clip.found.size_bytes,
        )
        with contextlib.closing(ahead):
            for clip, data in ahead:
                if data is None:
                    data = self._mend(clip)
                at, found = (clip.tarball, clip.found.position), clip.found
                yield embedded_row(clip.clip, data, "cvdf", *at, fps=found.fps, sha256=found.sha256)

    def _read(self, clip: PlacedClip) -> bytes | None:
        """Return a clip's bytes; None if they are missing or have another SHA-256."""
        found = clip.found
        end = found.offset_bytes + found.size_bytes
        data = self.work.read(self.job.part_path(clip.part), found.offset_bytes, end)
        if data is None or hashlib.sha256(data).hexdigest() != found.sha256:
            return None
        return data

    def _mend(self, clip: PlacedClip) -> bytes:
        """Return a clip's bytes after its part was written again, here or by another task."""
        data = self._read(clip)
        marker = read_markers([clip.part], self.job, self.work).get(clip.part)
        if data is None and marker is not None:
            logger.warning(
                f"kinetics600 {self.job.split}: the part of {marker.unit.url} at "
                f"{self.work.address} is gone or was changed: it is read again"
            )
            read_unit(marker.unit, self.job, self.work, self.folder)
            self.reread += 1
            data = self._read(clip)
        if data is None:
            part = f"{self.work.address}/{self.job.part_path(clip.part)}"
            raise DestinationDamagedError(
                f"to: {part} is gone or was changed. Call again: its tarball is read anew"
            )
        return data

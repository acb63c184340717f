"""Reading: one tarball becomes one part, its good clips one after the other, and a marker.

A part is not cut by shard: the marker says where each clip lies, and `merge` reads just those
bytes. So there is one object for each tarball, however many shards there will be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from k600.errors import DamagedTarballError, MirrorChangedError, MirrorError
from k600.fleet.job import Job
from k600.fleet.options import OpenPlaces
from k600.fleet.units import PartClip, Reject, Unit, UnitMarker, find_unread
from k600.mirror.mirror import RemoteFile
from k600.publish.destination import FileDestination
from k600.publish.shards import scratch_folder
from k600.store.files import open_part
from k600.tarballs.reading import read_with_retry
from k600.tarballs.stream import stream_tarball

__all__ = ["read_unit", "read_units"]


def read_units(job: Job, units: Sequence[Unit], places: OpenPlaces) -> dict[str, int]:
    """Read tarballs, but those that are marked as done; return what was read, in numbers."""
    counts = {"tarballs": 0, "clips": 0, "bytes": 0}
    failed: MirrorError | None = None
    with scratch_folder(places.work) as folder:
        # A task that took the place of a lost one finds what that had finished.
        for unit in find_unread(units, job, places.work):
            try:
                marker = read_unit(unit, job, places.work, folder)
            except MirrorError as error:  # need not be the next one's trouble
                failed = failed or error
                continue
            counts["tarballs"] += 1
            counts["clips"] += len(marker.clips)
            counts["bytes"] += unit.size_bytes
    if failed is not None:
        raise failed
    return counts


def read_unit(unit: Unit, job: Job, work: FileDestination, folder: Path) -> UnitMarker:
    """Read a tarball, bring its part to its place, then its marker.

    Args:
        unit: The tarball.
        job: The run.
        work: Where to.
        folder: Of this machine, for the part until it is whole.

    Raises:
        MirrorError: The tarball cannot be read, or is no longer the one that was planned for.
        DestinationError: The part cannot be written.
    """
    path = folder / f"{unit.key}.part"

    def read(remote: RemoteFile) -> UnitMarker:
        # Also before a second reading: what has replaced it is another unit, not this one's clips.
        if Unit.of(unit.tarball, remote, job.options).key != unit.key:
            raise MirrorChangedError(
                f"mirror: {unit.url} was replaced since this run began. Call again: it is read anew"
            )
        return _write_part(unit, job, remote, path)

    try:
        marker = read_with_retry(read, job.mirror, job.mirror.stat(unit.tarball.path))
    except DamagedTarballError:
        marker = UnitMarker(unit, (), (Reject("", "tarball_damaged"),))

    if marker.clips:
        work.send(job.part_path(unit.key), path)
    path.unlink(missing_ok=True)
    work.commit(f"{job.split}: {unit.tarball.name}", {job.marker_path(unit.key): marker.to_json()})
    return marker


def _write_part(unit: Unit, job: Job, remote: RemoteFile, path: Path) -> UnitMarker:
    clips: list[PartClip] = []
    rejects: list[Reject] = []
    position = 0
    found_clips = stream_tarball(
        job.mirror, unit.tarball, job.labels, remote=remote, short_side=job.short_side
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
            clips.append(PartClip(found.file_name, label, position, len(data), digest))
            part.write(data)
            position += len(data)
    return UnitMarker(unit, tuple(clips), tuple(rejects))

"""Reading: one tarball becomes one part, its valid clips concatenated, and a marker.

The marker holds the offset of each clip, and `merge` reads just those bytes. So there is one object
for each tarball, however many shards there will be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from k600.clip import parse_file_name
from k600.errors import DamagedTarballError, MirrorChangedError, MirrorError
from k600.fleet.job import Job
from k600.fleet.options import OpenPlaces
from k600.fleet.units import PartClip, Reject, Unit, UnitMarker, find_unread
from k600.mirror.mirror import RemoteFile
from k600.publish.destination import FileDestination
from k600.publish.shards import scratch_folder
from k600.store.files import open_part
from k600.tarballs.reading import open_tarball, read_with_retry
from k600.tarballs.stream import stream_tarball


def read_units(job: Job, units: Sequence[Unit], places: OpenPlaces) -> None:
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


def read_unit(unit: Unit, job: Job, work: FileDestination, folder: Path) -> UnitMarker:
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
        if job.recipe.is_index:
            return _find_entries(unit, job, remote)
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
    position = 0
    places: list[Any] = []
    found_clips = stream_tarball(
        job.mirror,
        unit.tarball,
        job.labels,
        remote=remote,
        short_side=job.short_side,
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
            clips.append(PartClip(found.file_name, label, position, len(data), digest))
            part.write(data)
            position += len(data)
    return UnitMarker(unit, tuple(clips), tuple(rejects), *places)

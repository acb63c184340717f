"""Reading: one tarball becomes one part, its good clips one after the other, and a marker.

A part is not cut by shard: the marker says where each clip lies, and `merging` reads just those
bytes. So there is one object for each tarball, however many shards there will be.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from k600.errors import DamagedTarballError, MirrorChangedError
from k600.fleet.job import Job, marker_to_json
from k600.fleet.plan import PartClip, Reject, Unit, UnitMarker
from k600.mirror.mirror import RemoteFile
from k600.publish.destination import FileDestination
from k600.store.files import open_part
from k600.tarballs.reading import read_sound
from k600.tarballs.stream import stream_tarball

__all__ = ["read_unit"]


def read_unit(unit: Unit, job: Job, destination: FileDestination, folder: Path) -> UnitMarker:
    """Read a tarball, bring its part to the destination, then its marker.

    Args:
        unit: The tarball.
        job: The run.
        destination: Where to, ready.
        folder: Of this machine, for the part until it is whole.

    Raises:
        MirrorError: The tarball cannot be read, or is no longer the one that was planned for.
        DestinationError: The part cannot be written.
    """
    path = folder / f"{unit.key}.part"

    def read(remote: RemoteFile) -> UnitMarker:
        if job.unit(unit.tarball, remote).key != unit.key:
            raise MirrorChangedError(
                f"mirror: {unit.url} was replaced since this run began. Call again: it is read anew"
            )
        return _read(unit, job, remote, path)

    try:
        marker = read_sound(read, job.mirror, job.mirror.stat(unit.tarball.path))
    except DamagedTarballError:
        marker = UnitMarker(unit, (), (Reject("", "tarball_damaged"),))
    if marker.clips:
        destination.send(job.own(f"parts/{unit.key}"), path)
    path.unlink(missing_ok=True)
    files = {job.own(f"units/{unit.key}.json"): marker_to_json(marker)}
    destination.commit(f"{job.split}: {unit.tarball.name}", files)
    return marker


def _read(unit: Unit, job: Job, remote: RemoteFile, path: Path) -> UnitMarker:
    clips: list[PartClip] = []
    rejects: list[Reject] = []
    position = 0
    with open_part(path) as part:
        for found in stream_tarball(
            job.mirror, unit.tarball, job.labels, remote=remote, short_side=job.short_side
        ):
            if found.problem is not None or found.clip is None:
                rejects.append(Reject(found.file_name, found.problem or "odd_name"))
                continue
            if job.classes is not None and found.clip.label not in job.classes:
                continue
            digest = hashlib.sha256(found.data).hexdigest()
            size = len(found.data)
            clips.append(PartClip(found.file_name, found.clip.label, position, size, digest))
            part.write(found.data)
            position += size
    return UnitMarker(unit, tuple(clips), tuple(rejects))

"""What every worker of a run must know: the same for all, and small enough to be sent along."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from k600.clip import Tarball, TestLabels
from k600.errors import OptionError
from k600.fleet.places import Places
from k600.fleet.plan import PartClip, Reject, Unit, UnitMarker, unit_key
from k600.mirror.mirror import Mirror, RemoteFile
from k600.publish.markers import to_json
from k600.publish.shards import MOST_SHARD_MB
from k600.store.store import META_DIR
from k600.values import whole_number

__all__ = ["FORMATS", "FleetRecipe", "Job", "marker_of", "marker_to_json"]

FORMATS = {"parquet": "embedded", "webdataset": "webdataset"}
"""Kinds of publication (`k600.loading.columns.PUBLISHED`) by what users call them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRecipe:
    """How clips become shards."""

    format: str = "parquet"
    """`parquet`, or `webdataset`: tar files."""
    shard_size_mb: int = 500
    """Bytes of clips in a shard, at most on average, in units of 1,000,000, 1 to 1,900."""
    shards_multiple_of: int = 1
    """The number of shards is a multiple of this, 1 to 4,096: of the machines that will train."""

    def check(self) -> None:
        """Raise `OptionError` for a value that is not allowed."""
        if self.format not in FORMATS:
            allowed = ", ".join(map(repr, FORMATS))
            raise OptionError(f"format: {self.format!r} is not allowed. Allowed: {allowed}")
        whole_number("shard_size_mb", self.shard_size_mb, least=1, most=MOST_SHARD_MB)
        whole_number("shards_multiple_of", self.shards_multiple_of, least=1, most=4_096)

    @property
    def kind(self) -> str:
        """What the card and the columns are called by."""
        return FORMATS[self.format]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One split of a run."""

    split: str
    mirror: Mirror
    """Where the tarballs are."""
    labels: TestLabels = field(repr=False)
    """Labels of test clips."""
    classes: tuple[str, ...] | None
    """Take clips of these classes only, from test tarballs, which mix them; None for all."""
    short_side: int | None
    """Most pixels of a clip's shorter side; None for clips as they are."""
    recipe: FleetRecipe
    seed: int
    """Fixes the order of the clips."""
    whole: bool
    """Whether all classes are asked for."""
    places: Places
    """Where it all goes."""
    options: Mapping[str, Any]
    """What beside a tarball's bytes decides what its part holds."""

    def own(self, path: str) -> str:
        """Return the path of one of the run's own files."""
        return f"{META_DIR}/{self.split}/{path}"

    def unit(self, tarball: Tarball, remote: RemoteFile) -> Unit:
        """Return the unit that a tarball is, as the mirror has it now."""
        key = unit_key(remote.url, remote.etag, self.options)
        return Unit(tarball, key, remote.url, remote.etag, remote.size_bytes)


def marker_to_json(marker: UnitMarker) -> bytes:
    """Return a marker as the bytes of its file."""
    unit = dataclasses.asdict(marker.unit)
    tarball = unit.pop("tarball")
    return to_json(
        {
            **tarball,
            **unit,
            "part_bytes": marker.part_bytes,
            "clips": [dataclasses.asdict(clip) for clip in marker.clips],
            "rejects": [dataclasses.asdict(reject) for reject in marker.rejects],
        }
    )


def marker_of(said: Mapping[str, Any]) -> UnitMarker | None:
    """Return a marker of what its file says; None if that is no marker."""
    try:
        unit = Unit(
            Tarball(said["split"], said["name"]),
            said["key"],
            said["url"],
            said["etag"],
            said["size_bytes"],
        )
        return UnitMarker(
            unit,
            tuple(PartClip(**clip) for clip in said["clips"]),
            tuple(Reject(**reject) for reject in said["rejects"]),
        )
    except (KeyError, TypeError):
        return None

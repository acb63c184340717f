"""The tasks as datatrove runs them: each is called with its rank, and leaves markers.

Only `executors` imports this, as datatrove is an extra.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datatrove.pipeline.base import PipelineStep

from k600.errors import MirrorError
from k600.fleet.finish import end_split
from k600.fleet.job import Job
from k600.fleet.merge import (
    find_unread,
    find_unwritten,
    make_plan,
    merge_shards,
    read_plan,
    read_shards,
)
from k600.fleet.plan import Unit
from k600.fleet.read import read_unit
from k600.publish.shards import scratch_folder

__all__ = ["End", "MakePlan", "MergeShards", "ReadTarballs"]

SHARDS_IN_A_COMMIT = 16
"""On the Hub, which takes some hundred commits an hour."""


class _Step(PipelineStep):
    """A step that neither takes rows of the one before nor gives any."""

    type = "kinetics600"

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job


class ReadTarballs(_Step):
    """Reads the tarballs of a rank, but those that are marked as done."""

    name = "read tarballs"

    def __init__(self, job: Job, ranks: Sequence[Sequence[Unit]]) -> None:
        """Take what `k600.fleet.plan.deal_units` dealt."""
        super().__init__(job)
        self.ranks = ranks

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        job, failed = self.job, None
        with job.places.open() as places:
            left = find_unread(job, self.ranks[rank], places.work)
            with scratch_folder(places.work) as folder:
                for unit in left:
                    try:
                        marker = read_unit(unit, job, places.work, folder)
                    except MirrorError as error:  # need not be the next one's trouble
                        failed = failed or error
                    else:
                        self.stat_update("clips", value=len(marker.clips), unit="tarball")
                        self.stat_update("bytes", value=unit.size_bytes, unit="tarball")
        if failed is not None:
            raise failed


class MakePlan(_Step):
    """Deals the clips of all tarballs to shards."""

    name = "deal clips to shards"

    def __init__(self, job: Job, units: Sequence[Unit], lacking: Mapping[str, int]) -> None:
        """Take all units, done by now, and how many tarballs the mirror has not, by reason."""
        super().__init__(job)
        self.units, self.lacking = units, lacking

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        with self.job.places.open() as places:
            make_plan(self.job, self.units, places.work, lacking=self.lacking)


class MergeShards(_Step):
    """Writes every so manieth shard, but those that are marked as done."""

    name = "write shards"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        job = self.job
        with job.places.open() as places:
            plan = read_plan(job, places.work)
            left = find_unwritten(range(rank, plan.shards, world_size), plan, job, places)
            at_once = SHARDS_IN_A_COMMIT if places.apart else 1
            clips = read_shards(job, plan, places.work, only=left)
            with scratch_folder(places.work) as folder:
                for start in range(0, len(left), at_once):
                    some = {number: clips.pop(number) for number in left[start : start + at_once]}
                    for shard in merge_shards(some, plan, job, places, folder):
                        self.stat_update("clips", value=shard.clips, unit="shard")
                        self.stat_update("bytes", value=shard.size_bytes, unit="shard")


class End(_Step):
    """Notes that the split is done."""

    name = "end"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        with self.job.places.open() as places:
            end_split(self.job, places)

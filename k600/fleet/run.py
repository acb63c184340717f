"""A run of the fleet: for each split, prepare the work, run its stages and return the outcome."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from k600.errors import IncompleteError
from k600.fleet.job import Places, check_executor, check_fleet, check_places, make_job, open_places
from k600.fleet.merge import merge_shards
from k600.fleet.options import FleetOptions
from k600.fleet.plan import write_plan
from k600.fleet.split import SplitWork, finish_index, finish_split, prepare_split
from k600.fleet.stages import Stage, run_here
from k600.fleet.units import deal_units, read_units
from k600.loading.request import Request
from k600.progress import Bar, Progress
from k600.publish.markers import check_place, read_marker
from k600.store.store import META_DIR

_RAY_LOGS = f"{META_DIR}/logs"


@dataclass(frozen=True, slots=True)
class FleetSplit:
    """What there is of one split now."""

    split: str
    state: str
    """`done`, or `submitted` to Slurm."""
    tarballs: int
    fetched_tarballs: int
    """Tarballs that this run had to read."""
    mended_shards: int
    """Finished shards that were gone or damaged, and that this run made again."""
    clips: int = 0
    """0 until it is done, as the next two."""
    shards: int = 0
    shard_bytes: int = 0
    missing: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Counts of bad clips and tarballs, by reason."""

    @property
    def complete(self) -> bool:
        """Whether every tarball was read to its end, bad clips or not."""
        return not any(reason.startswith("tarball_") for reason in self.missing)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The outcome of a run, and where it is."""

    address: str
    kind: str
    splits: tuple[FleetSplit, ...]

    @property
    def submitted(self) -> bool:
        """Whether a split was submitted to Slurm, and is not done."""
        return any(split.state == "submitted" for split in self.splits)


def run_fleet(request: Request, how: FleetOptions) -> Fleet:
    """Turn a request's tarballs into training shards; the same call again continues.

    Raises `IncompleteError` if a task failed; what was done stays.
    """
    check_places(how)
    check_fleet(request)
    check_executor(how)

    submits = how.executor == "slurm"
    splits: list[FleetSplit] = []
    submitted: list[SplitWork] = []
    with open_places(how, shared=submits) as ready:
        for place in ready.each:
            check_place(place, how.kind)

        # Here a split is done before the next begins; Slurm gets all jobs at once, each
        # array waiting for the one before.
        for split in request.splits:
            job = make_job(request, split, how)
            work = prepare_split(request, job, ready)
            tarballs, pending = len(work.units), len(work.pending)
            if tarballs and submits:
                submitted.append(work)
                splits.append(FleetSplit(split, "submitted", tarballs, pending, work.mended))
                continue
            reread = _carry_out([work], ready, request.progress) if tarballs else 0
            splits.append(_done(work, reread, ready))
        if submitted:
            _carry_out(submitted, ready, request.progress)
        return Fleet(ready.shards.address, how.kind, tuple(splits))


def _carry_out(works: Sequence[SplitWork], places: Places, progress: Progress) -> int:
    """Run the stages of splits; return how many tarballs were read again for damaged parts.

    (Elsewhere than on this machine, these are not counted.)
    """
    how = works[0].job.how
    pending = [unit for work in works for unit in work.pending]
    merged = [] if how.kind == "index" else [work.total_bytes for work in works]
    total = sum(merged) + sum(unit.size_bytes for unit in pending)
    splits = ", ".join(work.job.split for work in works)
    with progress(total, f"{splits}, fleet") as bar:
        stages = [stage for work in works for stage in _stages(work, bar)]
        if how.executor == "local":
            return sum(run_here(stage, how) for stage in stages)

        from k600.fleet.executors import run_stages  # datatrove is an extra

        run_stages(stages, how, _logs(how))
    if how.executor == "ray":
        places.work.clear(_RAY_LOGS)
    return 0


def _stages(work: SplitWork, bar: Bar) -> Iterator[Stage]:
    job, how = work.job, work.job.how
    dealt = deal_units(work.pending, how.tasks_for(len(work.pending)))
    shards = max(work.total_bytes // how.shard_bytes, how.shards_multiple_of)
    step = how.tasks_for(shards)

    def on_read(number: int) -> None:
        bar.update(sum(unit.size_bytes for unit in dealt[number]))

    def on_merged(number: int) -> None:
        bar.update(work.total_bytes // step)

    reading = [partial(read_units, job, units) for units in dealt]
    merging = [partial(merge_shards, job, start, step) for start in range(step)]
    if reading:
        yield Stage(f"{job.split}-read", reading, on_read)
    tarballs = (job, work.units, work.unavailable)
    if how.kind == "index":
        yield Stage(f"{job.split}-end", [partial(finish_index, *tarballs)])
        return
    yield Stage(f"{job.split}-plan", [partial(write_plan, *tarballs)])
    yield Stage(f"{job.split}-merge", merging, on_merged)
    yield Stage(f"{job.split}-end", [partial(finish_split, job)])


def _logs(how: FleetOptions) -> tuple[str, Mapping[str, Any]]:
    """Return a place for datatrove's logs of this run, and its fsspec options."""
    name = uuid.uuid4().hex[:12]
    if how.executor == "ray":
        return f"{how.parts_place}/{_RAY_LOGS}/{name}", how.to_options or {}
    shared = Path(how.logs or "kinetics600-fleet").expanduser().absolute() / name
    shared.mkdir(parents=True)
    shared.chmod(0o700)  # datatrove saves the options there, a bucket's keys among them
    return str(shared), {}


def _done(work: SplitWork, reread: int, places: Places) -> FleetSplit:
    split = work.job.split
    done = read_marker(places.shards, work.job.meta_path("done.json"))
    if done is None:
        raise IncompleteError(f"kinetics600 {split}: not all of it is done. Call again")
    return FleetSplit(
        split,
        "done",
        done["tarballs"],
        len(work.pending) + reread,
        work.mended,
        done["clips"],
        len(done["shards"]),
        done["parquet_bytes"],
        done["left_out"],
    )

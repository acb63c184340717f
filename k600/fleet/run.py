"""A run of the fleet: for each split, prepare the work, run its stages and return the outcome."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from k600.errors import IncompleteError
from k600.fleet.finish import finish_index, finish_split
from k600.fleet.merge import merge_shards
from k600.fleet.options import OpenPlaces, Places, Workforce, check_fleet, make_job
from k600.fleet.plan import write_plan
from k600.fleet.prepare import SplitWork, prepare_split
from k600.fleet.units import deal_units, read_units
from k600.loading.request import Request
from k600.progress import Bar, Progress
from k600.publish.markers import check_place, read_marker
from k600.publish.recipe import Recipe
from k600.store.store import META_DIR

logger = logging.getLogger("kinetics600")

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


def run_fleet(
    request: Request,
    places: Places,
    *,
    recipe: Recipe,
    workforce: Workforce,
    progress: Progress,
    offline: bool = False,
) -> Fleet:
    """Turn a request's tarballs into training shards; the same call again continues.

    Raises `IncompleteError` if a task failed; what was done stays.
    """
    recipe.check()
    check_fleet(request, offline=offline)
    workforce.check()

    submits = workforce.executor == "slurm"
    splits: list[FleetSplit] = []
    submitted: list[SplitWork] = []
    with places.open(shared=submits) as ready:
        check_place(ready.shards, recipe.kind)
        if ready.apart:
            check_place(ready.work, recipe.kind)

        # Here a split is done before the next begins; Slurm gets all jobs at once, each
        # array waiting for the one before.
        for split in request.splits:
            job = make_job(request, split, recipe, places, offline=offline)
            work = prepare_split(request, job, ready, progress)
            tarballs, pending = len(work.units), len(work.pending)
            if tarballs and submits:
                submitted.append(work)
                splits.append(FleetSplit(split, "submitted", tarballs, pending, work.mended))
                continue
            reread = _carry_out([work], workforce, ready, progress) if tarballs else 0
            splits.append(_done(work, reread, ready))
        if submitted:
            _carry_out(submitted, workforce, ready, progress)
        return Fleet(ready.shards.address, recipe.kind, tuple(splits))


def _carry_out(
    works: Sequence[SplitWork], workforce: Workforce, places: OpenPlaces, progress: Progress
) -> int:
    """Run the stages of splits; return how many tarballs were read again for damaged parts."""
    from k600.fleet.executors import run_stages  # datatrove is an extra

    pending = [unit for work in works for unit in work.pending]
    total = sum(work.merged_bytes for work in works) + sum(unit.size_bytes for unit in pending)
    splits = ", ".join(work.job.split for work in works)
    with _open_logs(works, workforce) as logs, progress(total, f"{splits}, fleet") as bar:
        stages = [stage for work in works for stage in _stages(work, workforce, bar)]
        reread = run_stages(stages, workforce, logs)

    if workforce.executor == "ray":
        places.work.clear(_RAY_LOGS)
    if reread:
        logger.warning(
            "kinetics600 %s: parts at %s were changed or gone, and %s tarballs were read again",
            splits,
            places.work.address,
            f"{reread:,}",
        )
    return reread


def _stages(work: SplitWork, workforce: Workforce, bar: Bar) -> Iterator[Any]:
    from k600.fleet.executors import Stage

    job, places, recipe = work.job, work.job.places, work.job.recipe
    dealt = deal_units(work.pending, workforce.tasks_for(len(work.pending)))
    shards = max(work.total_bytes // recipe.shard_bytes, recipe.shards_multiple_of)
    step = workforce.tasks_for(shards)

    def on_read(number: int) -> None:
        bar.update(sum(unit.size_bytes for unit in dealt[number]))

    def on_merged(number: int) -> None:
        bar.update(work.total_bytes // step)

    reading = [partial(read_units, job, units) for units in dealt]
    merging = [partial(merge_shards, job, start, step) for start in range(step)]
    if reading:
        yield Stage(f"{job.split}-read", places, reading, on_read)
    tarballs = (job, work.units, work.unavailable)
    if recipe.kind == "index":
        yield Stage(f"{job.split}-end", places, [partial(finish_index, *tarballs)])
        return
    yield Stage(f"{job.split}-plan", places, [partial(write_plan, *tarballs)])
    yield Stage(f"{job.split}-merge", places, merging, on_merged)
    yield Stage(f"{job.split}-end", places, [partial(finish_split, job)])


@contextlib.contextmanager
def _open_logs(
    works: Sequence[SplitWork], workforce: Workforce
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Open a place for datatrove's logs of this run."""
    name = uuid.uuid4().hex[:12]
    if workforce.executor == "local":
        with tempfile.TemporaryDirectory(prefix="kinetics600-") as folder:
            yield folder, {}
    elif workforce.executor == "slurm":
        shared = Path(workforce.logs or "kinetics600-fleet").expanduser().absolute() / name
        shared.mkdir(parents=True)
        shared.chmod(0o700)  # datatrove saves the options there, a bucket's keys among them
        yield str(shared), {}
    else:
        places = works[0].job.places
        yield f"{places.work}/{_RAY_LOGS}/{name}", places.options


def _done(work: SplitWork, reread: int, places: OpenPlaces) -> FleetSplit:
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

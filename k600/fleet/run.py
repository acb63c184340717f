"""A run of the fleet from its request: what is to be done, who does it, and what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import tempfile
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k600.clip import Tarball
from k600.errors import DestinationDamagedError, IncompleteError, NoClipsError
from k600.fleet.finish import tidy
from k600.fleet.job import FleetRecipe, Job
from k600.fleet.merge import (
    find_unmarked,
    find_unread,
    make_plan,
    read_shards,
    shard_path,
    shard_to_json,
)
from k600.fleet.places import OpenPlaces, Places
from k600.fleet.plan import Unit, deal_units
from k600.fleet.read import read_unit
from k600.fleet.units import check_fleet, find_units, make_job, tarballs_to_read
from k600.fleet.workforce import Workforce
from k600.loading.request import Request
from k600.progress import Bar, Progress
from k600.publish.markers import (
    check_place,
    describe,
    digest_of_names,
    find_damaged,
    freeze,
    read_marker,
)
from k600.publish.parquet import check_number_of_files
from k600.publish.upload import scratch_folder
from k600.store.store import META_DIR

__all__ = ["Fleet", "FleetSplit", "run_fleet"]

logger = logging.getLogger("kinetics600")

_RAY_LOGS = f"{META_DIR}/logs"


@dataclass(frozen=True, slots=True)
class FleetSplit:
    """What there is of one split now."""

    split: str
    state: str
    """`done`, or `submitted`: handed in to Slurm."""
    tarballs: int
    fetched_tarballs: int
    """Tarballs that this run had to read."""
    mended_shards: int
    """Shards that were done, and gone or damaged, and that this run made again."""
    clips: int
    """0 until it is done, as the next two."""
    shards: int
    shard_bytes: int
    missing: Mapping[str, int]
    """What was no good in the tarballs, by reason."""

    @property
    def complete(self) -> bool:
        """Whether every tarball was read to its end; what is no good in them is the host's."""
        return not any(reason.startswith("tarball_") for reason in self.missing)


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a run brought, and where it is."""

    address: str
    kind: str
    splits: tuple[FleetSplit, ...]

    @property
    def submitted(self) -> bool:
        """Whether something was handed in to Slurm, and is not done."""
        return any(split.state == "submitted" for split in self.splits)

    def as_plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return dataclasses.asdict(self)


def run_fleet(
    request: Request,
    places: Places,
    *,
    recipe: FleetRecipe,
    workforce: Workforce,
    progress: Progress,
    offline: bool = False,
) -> Fleet:
    """Turn a request's tarballs into training shards; the same call again goes on.

    Args:
        request: Which tarballs.
        places: Where they go.
        recipe: Format, and size and number of shards.
        workforce: Who does it.
        progress: Makes the progress bar.
        offline: Never cross a network.

    Raises:
        OptionError: A value is not allowed.
        MissingDependencyError: datatrove or Ray is not installed.
        DestinationError: The place cannot be used, or holds something else or another run's shards.
        MirrorError, ListError: The mirror cannot serve the request.
        IncompleteError: Something could not be done; what was done stays.
    """
    recipe.check()
    check_fleet(request, offline=offline)
    workforce.check()
    handed_in = workforce.executor == "slurm"
    with places.open(shared=handed_in) as ready:
        check_place(ready.shards, recipe.kind)
        if ready.apart:
            check_place(ready.work, recipe.kind)
        works: list[_Work] = []
        for split in request.splits:
            job = make_job(request, split, recipe, places, offline=offline)
            work = _prepare(request, job, ready, progress)
            works.append(work if handed_in else _do(work, request, workforce, ready, progress))
        if handed_in:
            _carry_out([work for work in works if work.units], workforce, ready, progress)
        found = [_result(work, ready, handed_in=handed_in) for work in works]
        return Fleet(ready.shards.address, recipe.kind, tuple(found))


def _do(
    work: _Work, request: Request, workforce: Workforce, ready: OpenPlaces, progress: Progress
) -> _Work:
    """Carry out a split's work; where a part turns out to be damaged, with its tarball once more.

    Returns:
        The work that was done in the end.
    """
    for left in reversed(range(len(work.units))):
        try:
            _carry_out([work], workforce, ready, progress)
        except DestinationDamagedError as error:
            if not left:
                raise
            logger.warning("kinetics600 %s: %s", work.job.split, error)
            read = work.read + len(work.pending)
            now = _prepare(request, work.job, ready, progress)
            work = dataclasses.replace(now, read=read, mended=max(work.mended, now.mended))
        else:
            break
    return work


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done for a split."""

    job: Job
    units: Sequence[Unit]
    """Its tarballs; none if the split is done."""
    pending: Sequence[Unit]
    """Those that are still to be read."""
    lacking: Mapping[str, int]
    """Tarballs that the mirror has not, by reason."""
    mended: int = 0
    """Shards that were done, and are made again."""
    read: int = 0
    """Tarballs that this run has read before it had to begin once more."""

    @property
    def total_bytes(self) -> int:
        return sum(unit.size_bytes for unit in self.units)


def _prepare(request: Request, job: Job, ready: OpenPlaces, progress: Progress) -> _Work:
    """Freeze what is asked for, and see what is left to do."""
    split, recipe = job.split, job.recipe
    tarballs = tarballs_to_read(request, split)
    said = {
        **describe(request, split, recipe.kind),
        "source": "cvdf",
        **job.options,
        "shard_size_mb": recipe.shard_size_mb,
        "shards_multiple_of": recipe.shards_multiple_of,
        "tarballs": digest_of_names([tarball.path for tarball in tarballs]),
    }
    said["classes"] = None if request.classes is None else [*request.classes]  # as JSON has it
    freeze(ready.shards, split, said)
    if ready.apart:
        freeze(ready.work, split, said)
    done = read_marker(ready.shards, job.own("done.json"))
    if done is not None:
        damaged = find_damaged(ready.shards, split, done["shards"], progress)
        if not damaged and _is_manifest(ready.shards.read(job.own("manifest.parquet")), done):
            tidy(job, ready)
            return _Work(job, (), (), {})
        return _mend(job, done, damaged, tarballs, ready)
    units, lacking = find_units(tarballs, job, on_missing=request.on_missing)
    check_number_of_files(split, sum(u.size_bytes for u in units), recipe.shard_size_mb)
    return _Work(job, units, find_unread(job, units, ready.work), lacking)


def _is_manifest(data: bytes | None, done: Mapping[str, Any]) -> bool:
    if data is None:
        return False
    said = done.get("manifest_sha256")  # of an older release, there is none
    return said is None or said == hashlib.sha256(data).hexdigest()


def _mend(
    job: Job,
    done: Mapping[str, Any],
    damaged: Collection[str],
    tarballs: Sequence[Tarball],
    ready: OpenPlaces,
) -> _Work:
    """Return what is to be done so that a split that is done is so again: no more than it takes.

    Raises:
        IncompleteError: The mirror's tarballs are not those any more that it was made from. What is
            there stays.
    """
    marked = ready.work.names(job.own("units"))
    try:
        found, _ = find_units(tarballs, job, on_missing="skip")
        units = [unit for unit in found if f"{unit.key}.json" in marked]
        if len(marked) + len(found) - len(units) == done["tarballs"]:
            units = found  # the others' notes are lost
        with scratch_folder(ready.work) as folder:
            for unit in find_unmarked(job, units, ready.work):
                read_unit(unit, job, ready.work, folder)
        plan = make_plan(job, units, ready.work, lacking={})
    except NoClipsError:
        plan = None
    if plan is None or plan.digest != done.get("plan", plan.digest):
        what = f"{len(damaged):,} shards that are gone or damaged" if damaged else "the manifest"
        raise IncompleteError(
            f"kinetics600 {job.split}: {what} at {ready.shards.address} cannot be made again, as "
            f"{job.mirror} has not all the tarballs any more that they were made from. What is "
            "there stays. Call again once it has them, or make all anew in another place"
        )
    clips = read_shards(job, plan, ready.work)
    good = {n: s for n, s in enumerate(done["shards"]) if s["name"] not in damaged}
    markers = {shard_path(job, plan, n): shard_to_json(s, clips[n]) for n, s in good.items()}
    ready.work.commit(f"{job.split}: what is good", markers)
    lacking = Counter(done["left_out"]) - Counter(plan.rejects)  # then, whatever is there by now
    needed = {clip.part for n, some in clips.items() if n not in good for clip in some}
    pending = find_unread(job, [unit for unit in units if unit.key in needed], ready.work)
    return _Work(job, units, pending, lacking, len(damaged))


def _carry_out(
    works: Sequence[_Work], workforce: Workforce, ready: OpenPlaces, progress: Progress
) -> None:
    from k600.fleet.executors import run_stages

    total = sum(work.total_bytes + sum(u.size_bytes for u in work.pending) for work in works)
    splits = ", ".join(work.job.split for work in works)
    with _logs(works, workforce) as logs, progress(total, f"{splits}, fleet") as bar:
        crew = workforce.crew(logs)
        run_stages([stage for work in works for stage in _stages(work, workforce, bar)], crew)
    if workforce.executor == "ray":
        ready.work.clear(_RAY_LOGS)


def _stages(work: _Work, workforce: Workforce, bar: Bar) -> Iterator[Any]:
    from k600.fleet.executors import Stage
    from k600.fleet.steps import End, MakePlan, MergeShards, ReadTarballs

    job, recipe = work.job, work.job.recipe
    ranks = deal_units(work.pending, workforce.ranks(len(work.pending)))
    shards = max(work.total_bytes // (recipe.shard_size_mb * 1_000_000), recipe.shards_multiple_of)
    merging = workforce.ranks(shards)

    def read(rank: int) -> None:
        bar.update(sum(unit.size_bytes for unit in ranks[rank]))

    def merged(rank: int) -> None:
        bar.update(work.total_bytes // merging)

    if ranks:
        yield Stage(f"{job.split}-read", ReadTarballs(job, ranks), len(ranks), read)
    yield Stage(f"{job.split}-plan", MakePlan(job, work.units, work.lacking), 1)
    yield Stage(f"{job.split}-merge", MergeShards(job), merging, merged)
    yield Stage(f"{job.split}-end", End(job), 1)


@contextlib.contextmanager
def _logs(works: Sequence[_Work], workforce: Workforce) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Open a place for datatrove's notes of this one run."""
    name = uuid.uuid4().hex[:12]
    if workforce.executor == "local":
        with tempfile.TemporaryDirectory(prefix="kinetics600-") as folder:
            yield folder, {}
    elif workforce.executor == "slurm":
        shared = Path(workforce.logs or "kinetics600-fleet").expanduser().absolute() / name
        shared.mkdir(parents=True)
        shared.chmod(0o700)  # the options will lie there, a bucket's keys among them
        yield str(shared), {}
    else:
        places = works[0].job.places
        yield f"{places.work}/{_RAY_LOGS}/{name}", places.options


def _result(work: _Work, ready: OpenPlaces, *, handed_in: bool) -> FleetSplit:
    job = work.job
    done = read_marker(ready.shards, job.own("done.json"))
    if handed_in and work.units:
        read = len(work.pending)
        return FleetSplit(job.split, "submitted", len(work.units), read, work.mended, 0, 0, 0, {})
    if done is None:
        raise IncompleteError(f"kinetics600 {job.split}: not all of it is done. Call again")
    return FleetSplit(
        job.split,
        "done",
        done["tarballs"],
        work.read + len(work.pending),
        work.mended,
        done["clips"],
        len(done["shards"]),
        done["parquet_bytes"],
        done["left_out"],
    )

"""A run of the fleet from its request: what is to be done, who does it, and what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from k600.clip import Tarball
from k600.errors import (
    IncompleteError,
    MirrorDeniedError,
    MirrorNotFoundError,
    MissingDependencyError,
    NoClipsError,
    OfflineError,
    OptionError,
    nearest,
)
from k600.fleet.ending import tidy
from k600.fleet.job import FleetRecipe, Job
from k600.fleet.places import OpenPlaces, Places
from k600.fleet.planning import Unit, deal_units
from k600.kept_lists import KeptLists, read_test_labels, tarballs_of, wanted_names
from k600.lists import TestLabels
from k600.progress import Bar, Progress
from k600.published import (
    check_place,
    check_whole_number,
    describe,
    digest_of_names,
    freeze,
    is_whole,
    read_json,
)
from k600.remote import Mirror
from k600.request import Request
from k600.shards import check_number_of_files
from k600.store import OWN

__all__ = [
    "EXECUTORS",
    "Fleet",
    "FleetSplit",
    "Workforce",
    "check_fleet",
    "make_job",
    "plan_units",
    "run_fleet",
    "tarballs_to_read",
]

logger = logging.getLogger("kinetics600")

EXECUTORS = ("local", "slurm", "ray")
_RAY_LOGS = f"{OWN}/logs"
MOST_TASKS = 1_000
"""Slurm takes 1,001 tasks in an array, unless it is told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workforce:
    """Who is to do the work."""

    executor: str = "local"
    """`local`, `slurm` or `ray`."""
    workers: int | None = None
    """Tasks at a time, 1 or more; None for one a CPU of this machine, elsewhere for all."""
    tasks: int | None = None
    """Tasks that the tarballs are dealt to, 1 to 1,000; None for one each, while that lasts."""
    logs: str | None = None
    """Folder that all machines see, for Slurm's scripts and logs."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further parameters of datatrove's executor, such as Slurm's `partition`."""

    def check(self) -> None:
        """Raise an error for a value that is not allowed, or an engine that is not installed."""
        if self.executor not in EXECUTORS:
            raise OptionError(
                f"executor: {self.executor!r} is not allowed"
                f"{nearest(self.executor, EXECUTORS) or '.'} Allowed: "
                + ", ".join(map(repr, EXECUTORS))
            )
        if self.tasks is not None:
            check_whole_number("tasks", self.tasks, most=MOST_TASKS)
        try:
            import datatrove  # noqa: F401
        except ImportError:
            raise MissingDependencyError(
                "fleet: it runs on datatrove: pip install 'kinetics600[fleet]'"
            ) from None
        if self.executor == "slurm" and shutil.which("sbatch") is None:
            raise MissingDependencyError(
                "executor: 'slurm' needs the program sbatch, which is not here. Run this where "
                "jobs are handed in to Slurm"
            )

    def ranks(self, work: int) -> int:
        """Return how many tasks so many pieces of work are dealt to."""
        return max(1, min(self.tasks or MOST_TASKS, work))

    def crew(self, logs: tuple[str, Mapping[str, Any]]) -> Any:
        """Return what `k600.fleet.executors` takes."""
        from k600.fleet.executors import Crew

        usual = os.cpu_count() or 1 if self.executor == "local" else MOST_TASKS
        workers = self.workers or usual
        return Crew(kind=self.executor, workers=workers, logs=logs, more=self.more)


@dataclass(frozen=True, slots=True)
class FleetSplit:
    """What there is of one split now."""

    split: str
    state: str
    """`done`, or `submitted`: handed in to Slurm."""
    tarballs: int
    new_tarballs: int
    """Tarballs that this run had to read."""
    clips: int
    """0 until it is done, as the next three."""
    shards: int
    shard_bytes: int
    rejects: Mapping[str, int]
    """What was no good in the tarballs, by reason."""


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
    check_fleet(request)
    workforce.check()
    if not request.may_fetch(offline=offline):
        raise OfflineError(
            f"mirror: {request.mirror} is across a network, and HF_DATASETS_OFFLINE forbids it"
        )
    handed_in = workforce.executor == "slurm"
    with places.open(shared=handed_in) as ready:
        for place in {ready.work, ready.shards}:
            check_place(place, recipe.kind)
        works: list[_Work] = []
        for split in request.splits:
            work = _prepare(request, split, ready, recipe, places)
            if work.units and not handed_in:
                _carry_out([work], workforce, ready, progress)
            works.append(work)
        if handed_in:
            _carry_out([work for work in works if work.units], workforce, ready, progress)
        found = [_result(work, ready, handed_in=handed_in) for work in works]
        return Fleet(ready.shards.address, recipe.kind, tuple(found))


def check_fleet(request: Request) -> None:
    """Raise `OptionError` for a request that is none for a fleet."""
    if request.source == "youtube":
        raise OptionError(
            "source: 'youtube' is not allowed: YouTube counts what an address asks for, so many "
            "machines behind one get no more than one does. The fleet reads tarballs; run "
            "'kinetics600 download --source youtube' on one machine"
        )
    if request.source == "local":
        raise OptionError(
            "source: 'local' is not allowed: the fleet reads tarballs. Run 'kinetics600 publish "
            "--embed --source local' for what is in data_dir"
        )
    if request.chooses:
        raise OptionError(
            "max_samples, max_per_class, manifest: not allowed, as the fleet reads whole tarballs. "
            "Choose by classes, or run 'kinetics600 publish --embed' on one machine"
        )


def make_job(
    request: Request,
    split: str,
    recipe: FleetRecipe,
    places: Places,
    *,
    with_labels: bool = True,
    offline: bool = False,
) -> Job:
    """Return what all workers must know of a split.

    Args:
        request: The request.
        split: One of its splits.
        recipe: Format, and size and number of shards.
        places: Where they go.
        with_labels: Fetch the labels of test clips, which no estimate needs.
        offline: Never cross a network.

    Raises:
        ListError: The list of labels is none.
        OfflineError: Test clips are chosen by class, and the list of labels cannot be had.
    """
    labels: TestLabels = {}
    options: dict[str, Any] = {"format": 1, "short_side": request.short_side}
    if request.short_side is not None:
        import av

        options["av"] = av.__version__  # another may encode to other bytes
    if split == "test" and with_labels:
        labels = read_test_labels(request, request.store, offline=offline, keep=False)
        wanted_names(request, split, labels)
        said = "\n".join(f"{key} {label}" for key, label in sorted(labels.items()))
        options["labels"] = hashlib.sha256(said.encode()).hexdigest()[:16]
        options["classes"] = request.classes
    return Job(
        split=split,
        mirror=_everywhere(request.mirror),
        labels=labels,
        classes=request.classes if split == "test" else None,
        short_side=request.short_side,
        recipe=recipe,
        seed=request.limits.seed,
        whole=is_whole(request),
        places=places,
        options=options,
    )


def tarballs_to_read(request: Request, split: str) -> list[Tarball]:
    """Return the tarballs of a split, by the host's list.

    Raises:
        MirrorError, ListError: The list cannot be had.
    """
    lists = KeptLists(request.mirror, request.store, split, network=True, keep=False)
    return tarballs_of(request, split, lists)


def plan_units(tarballs: Sequence[Tarball], job: Job, *, on_missing: str) -> list[Unit]:
    """Ask the mirror for every tarball of a split.

    Raises:
        MirrorError: It is out of reach.
        IncompleteError: It lacks tarballs, and `on_missing` is `raise`.
        NoClipsError: It has none of them.
    """

    def unit(tarball: Tarball) -> Unit | str:
        try:
            return job.unit(tarball, job.mirror.stat(tarball.path))
        except (MirrorNotFoundError, MirrorDeniedError) as error:
            return f"{tarball.path} is left out: {error}"

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(unit, tarballs))
    units = [each for each in found if isinstance(each, Unit)]
    lacking = [each for each in found if isinstance(each, str)]
    if not units:
        raise NoClipsError(f"kinetics600 {job.split}: {(lacking or ['there is no tarball'])[0]}")
    for message in lacking:
        if on_missing == "raise":
            raise IncompleteError(message)
        if on_missing == "warn":
            logger.warning(message)
    return units


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done for a split."""

    job: Job
    units: Sequence[Unit]
    """Its tarballs; none if the split is done."""
    pending: Sequence[Unit]
    """Those that are still to be read."""

    @property
    def total_bytes(self) -> int:
        return sum(unit.size_bytes for unit in self.units)


def _prepare(
    request: Request,
    split: str,
    ready: OpenPlaces,
    recipe: FleetRecipe,
    places: Places,
) -> _Work:
    """Freeze what is asked for, and see what is left to do."""
    job = make_job(request, split, recipe, places)
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
    if read_json(ready.shards, job.own("done.json")) is not None:
        tidy(job, ready)
        return _Work(job, (), ())
    units = plan_units(tarballs, job, on_missing=request.on_missing)
    check_number_of_files(split, sum(u.size_bytes for u in units), recipe.shard_size_mb)
    marked = ready.work.names(job.own("units"))
    return _Work(job, units, [unit for unit in units if f"{unit.key}.json" not in marked])


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
    yield Stage(f"{job.split}-plan", MakePlan(job, work.units), 1)
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
    done = read_json(ready.shards, job.own("done.json"))
    if done is None and handed_in:
        return FleetSplit(job.split, "submitted", len(work.units), len(work.pending), 0, 0, 0, {})
    if done is None:
        raise IncompleteError(f"kinetics600 {job.split}: not all of it is done. Call again")
    return FleetSplit(
        job.split,
        "done",
        done["tarballs"],
        len(work.pending),
        done["clips"],
        len(done["shards"]),
        done["parquet_bytes"],
        done["rejects"],
    )


def _everywhere(mirror: Mirror) -> Mirror:
    """Return a mirror whose address means the same on every machine and in every folder."""
    if "://" in mirror.url:
        return mirror
    return dataclasses.replace(mirror, url=os.path.abspath(os.path.expanduser(mirror.url)))

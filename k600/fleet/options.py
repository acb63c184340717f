"""What a fleet is told: its options and places, and the job that every worker gets.

The Hub takes about a hundred commits an hour, so a repository there gets only the shards; parts and
markers go to another place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from k600.clip import TestLabels
from k600.errors import MissingDependencyError, OfflineError, OptionError
from k600.loading.options import choice_error
from k600.loading.request import Request
from k600.loading.state import wanted_names
from k600.mirror.mirror import Mirror
from k600.publish.destination import Destination, FileDestination, absolute_place
from k600.publish.hub import HubDestination, check_repo_id, repo_of_url
from k600.publish.recipe import PUBLISHED_FORMATS, Recipe, digest_of_labels, rights_error
from k600.splits import Split
from k600.store.store import META_DIR
from k600.tarballs.catalog import read_test_labels
from k600.values import choice, flag, whole_number
from k600.video.encoding import Encoding, describe_encoding

FORMATS = {"parquet": "embedded", "webdataset": "webdataset", "index": "index"}
"""Kinds of publication (`k600.loading.columns.PUBLISHED`) by what users call them."""

EXECUTORS = ("local", "slurm", "ray")
MOST_TASKS = 1_000
"""Slurm takes 1,001 tasks in an array, unless it is configured otherwise."""


def fleet_recipe(*, format: str = "parquet", **sizes: int) -> Recipe:  # noqa: A002 - as in `fleet`
    """Return the recipe for what users call a `format`: a key of `FORMATS`, or `OptionError`."""
    return Recipe(kind=FORMATS[choice("format", format, FORMATS)], **sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workforce:
    """Who does the work."""

    executor: str = "local"
    """`local`, `slurm` or `ray`."""
    workers: int | None = None
    """Tasks at a time, 1 or more; None for one a CPU of this machine, elsewhere for all."""
    tasks: int | None = None
    """Tasks that share the tarballs, 1 to 1,000; None for one each, as far as possible."""
    logs: str | None = None
    """Folder that all machines see, for Slurm's scripts and logs."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further parameters of datatrove's executor, such as Slurm's `partition`."""

    def check(self) -> None:
        """Raise an error if a value is not allowed, or the executor is not installed."""
        choice("executor", self.executor, EXECUTORS)
        if self.workers is not None:
            whole_number("workers", self.workers, least=1)
        if self.tasks is not None:
            whole_number("tasks", self.tasks, least=1, most=MOST_TASKS)

        _need("datatrove", "fleet: it runs on datatrove: pip install datatrove")
        if self.executor == "ray":
            _need("ray", "executor: 'ray' needs Ray: pip install datatrove ray")
        if self.executor == "slurm" and shutil.which("sbatch") is None:
            raise MissingDependencyError(
                "executor: 'slurm' needs the program sbatch, which is not here. Run this where "
                "jobs are submitted to Slurm"
            )

    @property
    def most_workers(self) -> int:
        """Tasks at a time, at most."""
        return self.workers or (os.cpu_count() or 1 if self.executor == "local" else MOST_TASKS)

    def tasks_for(self, pieces: int) -> int:
        """Return the number of tasks for so many pieces of work."""
        return max(1, min(self.tasks or MOST_TASKS, pieces))


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Addresses of the places of a run, to be sent to every worker."""

    work: str
    """Folder or URL of parts and markers."""
    options: Mapping[str, Any] = field(repr=False)
    """fsspec storage options for it."""
    repo: str = ""
    """Dataset repository on the Hub for the shards; empty if they go to `work`, too."""
    private: bool | None = True
    """Whether only some may see it; None as it is, or as the Hub makes new ones."""

    @contextlib.contextmanager
    def open(self, *, shared: bool = True) -> Iterator[OpenPlaces]:
        """Open and prepare both; a folder is locked unless it is `shared` with other workers."""
        with contextlib.closing(FileDestination(self.work, self.options, shared=shared)) as work:
            work.prepare()
            if not self.repo:
                yield OpenPlaces(work, work)
                return
            with contextlib.closing(HubDestination(self.repo, private=self.private)) as hub:
                hub.prepare()
                yield OpenPlaces(work, hub)


@dataclass(frozen=True, slots=True)
class OpenPlaces:
    """The places of a run, prepared; one and the same unless the shards go to the Hub."""

    work: FileDestination
    shards: Destination

    @property
    def apart(self) -> bool:
        """Whether the shards have a place of their own."""
        return self.shards is not self.work


def choose_places(
    to: str,
    options: Mapping[str, Any],
    *,
    work: str | None,
    i_have_the_rights: bool,
    has_clips: bool = True,
) -> Places:
    """Return the places that the options of `kinetics600.fleet` name.

    What goes to the Hub is private, and needs the user's statement, if it `has_clips`.
    """
    rights = flag("i_have_the_rights", i_have_the_rights)
    repo = repo_of_url(to)
    if repo is None:
        if work or to.startswith("hf://"):
            raise OptionError(
                f"work: {work!r} is not allowed with to: {to!r}; it is for "
                "'hf://datasets/USER/NAME', where the parts cannot lie beside the shards"
            )
        return Places(work=absolute_place(to), options=options)
    check_repo_id(repo)
    if not work:
        raise OptionError(
            "work: needed with hf://, as the Hub takes files by commits, a few an hour: pass "
            "work=… a folder that all workers see, or a bucket, for the parts"
        )
    if has_clips and not rights:
        raise rights_error("go to the Hub")
    private = True if has_clips else None
    return Places(work=absolute_place(work), options=options, repo=repo, private=private)


def _need(module: str, message: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError:
        raise MissingDependencyError(message) from None


PARTS_FORMAT = 1
"""What a fleet's own files (parts, markers, plan) mean, beside the rows: raise it if that changes,
and places begun before are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One split of a run."""

    split: str
    mirror: Mirror
    labels: TestLabels = field(repr=False)
    classes: tuple[str, ...] | None
    """Classes to keep of test tarballs, which mix them; None for all."""
    encoding: Encoding | None
    """How clips are encoded anew; None for clips as they are."""
    recipe: Recipe
    seed: int
    whole: bool
    """Whether all classes are requested."""
    places: Places
    options: Mapping[str, Any]
    """What decides the content of a part, beside its tarball's bytes."""

    def meta_path(self, path: str) -> str:
        """Return the path of a marker or temporary file of the split."""
        return f"{META_DIR}/{self.split}/{path}"

    def marker_path(self, key: str) -> str:
        """Return the path of a unit's marker."""
        return self.meta_path(f"units/{key}.json")

    def part_path(self, key: str) -> str:
        """Return the path of a unit's part."""
        return self.meta_path(f"parts/{key}")


def check_fleet(request: Request, *, offline: bool) -> None:
    """Raise an error unless a request is for whole tarballs that can be reached."""
    if request.only_youtube:
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
    if request.is_selective:
        raise choice_error(
            "not allowed, as the fleet reads whole tarballs. Choose by classes, or run "
            "'kinetics600 publish --embed' on one machine"
        )
    if not request.may_fetch(offline=offline):
        raise OfflineError(
            f"mirror: {request.mirror} is across a network, and HF_DATASETS_OFFLINE forbids it"
        )


def make_job(
    request: Request,
    split: str,
    recipe: Recipe,
    places: Places,
    *,
    with_labels: bool = True,
    offline: bool = False,
) -> Job:
    """Return what all workers must know of a split; labels of test clips only if `with_labels`."""
    labels: TestLabels = {}
    own_format = PUBLISHED_FORMATS[recipe.kind]
    options: dict[str, Any] = {"format": own_format, **describe_encoding(request.encoding)}
    if PARTS_FORMAT != 1:  # places of releases that did not note it go on
        options["parts_format"] = PARTS_FORMAT
    if request.encoding is not None:
        import av

        options["av"] = av.__version__  # another may encode to other bytes

    if Split(split).is_mixed and with_labels:
        labels = read_test_labels(
            request.test_labels, request.mirror, request.store, offline=offline, keep=False
        )
        wanted_names(request, split, labels)  # raises if the classes of test clips are not known
        options["labels"] = digest_of_labels(labels)
        options["classes"] = request.classes

    url = absolute_place(request.mirror.url)  # workers may run in other folders
    return Job(
        split=split,
        mirror=dataclasses.replace(request.mirror, url=url),
        labels=labels,
        classes=request.classes if Split(split).is_mixed else None,
        encoding=request.encoding,
        recipe=recipe,
        seed=request.limits.seed,
        whole=request.is_whole,
        places=places,
        options=options,
    )

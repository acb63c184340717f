"""What every worker of a fleet gets: its places, opened there, and what it must know of a split.

The Hub takes about a hundred commits an hour, so a repository there gets only the shards; parts and
markers go to another place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from k600.dataset.clip import TestLabels
from k600.dataset.splits import Split
from k600.errors import MissingDependencyError, OfflineError, OptionError, need
from k600.fleet.options import FleetOptions
from k600.loading.options import choice_error
from k600.loading.request import Request
from k600.loading.state import read_labels, wanted_names
from k600.mirror.mirror import Mirror
from k600.publish.destination import Destination, FileDestination
from k600.publish.hub import HubDestination, check_repo_id
from k600.publish.markers import PUBLISHED_FORMATS, digest_of_labels
from k600.publish.options import absolute_place, rights_error
from k600.store.store import META_DIR
from k600.video.encoding import Encoding, describe_encoding

PARTS_FORMAT = 1
"""What a fleet's own files (parts, markers, plan) mean, beside the rows: raise it if that changes,
and places begun before are refused."""


@dataclass(frozen=True, slots=True)
class Places:
    """The places of a run, prepared; one and the same unless the shards go to the Hub."""

    work: FileDestination
    """Of parts and markers."""
    shards: Destination

    @property
    def apart(self) -> bool:
        """Whether the shards have a place of their own."""
        return self.shards is not self.work

    @property
    def each(self) -> tuple[Destination, ...]:
        """The one, or both."""
        return (self.shards, self.work) if self.apart else (self.work,)


@contextlib.contextmanager
def open_places(how: FleetOptions, *, shared: bool = True) -> Iterator[Places]:
    """Open and prepare the places of a run; a folder is locked unless it is `shared` by workers.

    What goes to the Hub is private if it has clips.
    """
    where = FileDestination(absolute_place(how.parts_place), how.to_options, shared=shared)
    with contextlib.closing(where) as work:
        work.prepare()
        if how.repo is None:
            yield Places(work, work)
            return
        private = None if how.kind == "index" else True
        with contextlib.closing(HubDestination(how.repo, private=private)) as hub:
            hub.prepare()
            yield Places(work, hub)


def check_fleet(request: Request) -> None:
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
    if not request.may_fetch:
        raise OfflineError(
            f"mirror: {request.mirror} is across a network, and HF_DATASETS_OFFLINE forbids it"
        )


def check_places(how: FleetOptions) -> None:
    """Raise an error unless it is said where to, and what goes to the Hub may go there."""
    if how.to is None:
        raise OptionError("to: say where to: a folder that all workers see, or a URL")
    if how.repo is None:
        if how.work or str(how.to).startswith("hf://"):
            raise OptionError(
                f"work: {how.work!r} is not allowed with to: {how.to!r}; it is for "
                "'hf://datasets/USER/NAME', where the parts cannot lie beside the shards"
            )
        return
    check_repo_id(how.repo)
    if not how.work:
        raise OptionError(
            "work: needed with hf://, as the Hub takes files by commits, a few an hour: pass "
            "work=… a folder that all workers see, or a bucket, for the parts"
        )
    if how.kind != "index" and not how.i_have_the_rights:
        raise rights_error("go to the Hub")


def check_executor(how: FleetOptions) -> None:
    """Raise an error if the executor takes no options, or is not installed."""
    if how.executor == "local":
        if how.executor_options:
            raise OptionError(
                "executor_options: not allowed with executor: 'local', which has workers and tasks "
                "alone. They are for datatrove's executors: 'slurm' and 'ray'"
            )
        return

    needed = {"slurm": "datatrove", "ray": "datatrove ray"}[how.executor]
    for module in needed.split():
        need(module, f"executor: '{how.executor}' needs {module}: pip install {needed}")
    if how.executor == "slurm" and shutil.which("sbatch") is None:
        raise MissingDependencyError(
            "executor: 'slurm' needs the program sbatch, which is not here. Run this where jobs "
            "are submitted to Slurm"
        )


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
    how: FleetOptions
    seed: int
    whole: bool
    """Whether all classes are requested."""
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


def make_job(
    request: Request,
    split: str,
    how: FleetOptions,
    *,
    with_labels: bool = True,
) -> Job:
    """Return what all workers must know of a split; labels of test clips only if `with_labels`."""
    labels: TestLabels = {}
    own_format = PUBLISHED_FORMATS[how.kind]
    options: dict[str, Any] = {"format": own_format, **describe_encoding(request.encoding)}
    if PARTS_FORMAT != 1:  # places of releases that did not note it go on
        options["parts_format"] = PARTS_FORMAT
    if request.encoding is not None:
        import av

        options["av"] = av.__version__  # another may encode to other bytes

    if Split(split).is_mixed and with_labels:
        labels = read_labels(request, Split(split))
        wanted_names(request, split, labels)  # raises if the classes of test clips are not known
        options["labels"] = digest_of_labels(labels)
        options["classes"] = request.classes

    # Workers may run in other folders.
    url = absolute_place(request.mirror.url)
    to, work = (place and absolute_place(str(place)) for place in (how.to, how.work))
    return Job(
        split=split,
        mirror=dataclasses.replace(request.mirror, url=url),
        labels=labels,
        classes=request.classes if Split(split).is_mixed else None,
        encoding=request.encoding,
        how=dataclasses.replace(how, to=to, work=work),
        seed=request.limits.seed,
        whole=request.is_whole,
        options=options,
    )

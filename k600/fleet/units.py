"""What a request means for a fleet: whether it is one, what workers must know, which tarballs."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from k600.clip import Tarball, TestLabels
from k600.errors import (
    IncompleteError,
    MirrorDeniedError,
    MirrorError,
    MirrorNotFoundError,
    NoClipsError,
    OfflineError,
    OptionError,
)
from k600.fleet.job import FleetRecipe, Job
from k600.fleet.places import Places
from k600.fleet.plan import Unit
from k600.loading.request import Request
from k600.loading.state import HostView, tarballs_of, wanted_names
from k600.mirror.mirror import Mirror
from k600.publish.markers import digest_of_labels
from k600.splits import Split
from k600.tarballs.catalog import KeptLists, read_test_labels

__all__ = ["check_fleet", "find_units", "make_job", "tarballs_to_read"]

logger = logging.getLogger("kinetics600")

_REASONS: dict[type[MirrorError], str] = {
    MirrorNotFoundError: "tarball_not_found",
    MirrorDeniedError: "tarball_denied",
}


def check_fleet(request: Request, *, offline: bool) -> None:
    """Raise an error for a request that is none for a fleet.

    Raises:
        OptionError: It means more, or less, than whole tarballs.
        OfflineError: The mirror is across a network, which may not be crossed.
    """
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
    if not request.may_fetch(offline=offline):
        raise OfflineError(
            f"mirror: {request.mirror} is across a network, and HF_DATASETS_OFFLINE forbids it"
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
    if Split(split).is_mixed and with_labels:
        labels = read_test_labels(
            request.test_labels, request.mirror, request.store, offline=offline, keep=False
        )
        wanted_names(request, split, labels)
        options["labels"] = digest_of_labels(labels)
        options["classes"] = request.classes
    return Job(
        split=split,
        mirror=_everywhere(request.mirror),
        labels=labels,
        classes=request.classes if Split(split).is_mixed else None,
        short_side=request.short_side,
        recipe=recipe,
        seed=request.limits.seed,
        whole=request.is_whole,
        places=places,
        options=options,
    )


def tarballs_to_read(request: Request, split: str) -> list[Tarball]:
    """Return the tarballs of a split, by the host's list.

    Raises:
        MirrorError, ListError: The list cannot be had.
    """
    lists = KeptLists(request.mirror, request.store, split, network=True, keep=False)
    return tarballs_of(request, split, HostView(lists.tarballs(), lists.listing()))


def find_units(
    tarballs: Sequence[Tarball], job: Job, *, on_missing: str
) -> tuple[list[Unit], dict[str, int]]:
    """Ask the mirror for every tarball of a split.

    Returns:
        The units of those that are there, and how many are not, by reason.

    Raises:
        MirrorError: It is out of reach.
        IncompleteError: It lacks tarballs, and `on_missing` is `raise`.
        NoClipsError: It has none of them.
    """

    def unit(tarball: Tarball) -> Unit | MirrorError:
        try:
            return job.unit(tarball, job.mirror.stat(tarball.path))
        except (MirrorNotFoundError, MirrorDeniedError) as error:
            return error

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(unit, tarballs))
    units = [each for each in found if isinstance(each, Unit)]
    lacking = {
        tarball.path: each
        for tarball, each in zip(tarballs, found, strict=True)
        if isinstance(each, MirrorError)
    }
    if not units:
        why = next(iter(lacking.values()), "there is no tarball")
        raise NoClipsError(f"kinetics600 {job.split}: {why}", settled=True)
    for path, error in lacking.items():
        message = f"{path} is left out: {error}"
        if on_missing == "raise":
            raise IncompleteError(message)
        if on_missing == "warn":
            logger.warning(message)
    return units, dict(Counter(_REASONS[type(error)] for error in lacking.values()))


def _everywhere(mirror: Mirror) -> Mirror:
    """Return a mirror whose address means the same on every machine and in every folder."""
    if "://" in mirror.url:
        return mirror
    return dataclasses.replace(mirror, url=os.path.abspath(os.path.expanduser(mirror.url)))

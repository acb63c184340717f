"""What every worker of a run must know: small enough to be pickled into each task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from k600.clip import TestLabels
from k600.errors import OfflineError, OptionError
from k600.fleet.options import FleetRecipe, Places
from k600.loading.options import choice_error
from k600.loading.request import Request
from k600.loading.state import wanted_names
from k600.mirror.mirror import Mirror
from k600.publish.destination import absolute_place
from k600.publish.recipe import PUBLISHED_FORMATS, digest_of_labels
from k600.splits import Split
from k600.store.store import META_DIR
from k600.tarballs.catalog import read_test_labels

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
    short_side: int | None
    """Maximum of a clip's shorter side in pixels; None for clips as they are."""
    recipe: FleetRecipe
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
    if request.chooses:
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
    recipe: FleetRecipe,
    places: Places,
    *,
    with_labels: bool = True,
    offline: bool = False,
) -> Job:
    """Return what all workers must know of a split; labels of test clips only if `with_labels`."""
    labels: TestLabels = {}
    own_format = PUBLISHED_FORMATS[recipe.kind]
    options: dict[str, Any] = {"format": own_format, "short_side": request.short_side}
    if PARTS_FORMAT != 1:  # places of releases that did not note it go on
        options["parts_format"] = PARTS_FORMAT
    if request.short_side is not None:
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
        short_side=request.short_side,
        recipe=recipe,
        seed=request.limits.seed,
        whole=request.is_whole,
        places=places,
        options=options,
    )

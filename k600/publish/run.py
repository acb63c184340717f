"""Publish clips, or what is known of them, as a dataset that loads without this loader.

README.md                                     the card; written last
data/<split>/<group>-<number>-<hash>.parquet  the rows
.kinetics600/<split>/run.json                 what was asked for; another request is refused
.kinetics600/<split>/groups/<group>.json      a group of tarballs is done: its shards, and which
                                              clips had to be left out, and why
.kinetics600/<split>/done.json                the split is done: its counts
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from k600.errors import NoClipsError, OfflineError, OptionError
from k600.loading.request import Request
from k600.progress import Progress
from k600.publish.clips import check_embeddable, embed_split
from k600.publish.destination import Destination, FileDestination
from k600.publish.hub import HubDestination, check_repo_id
from k600.publish.markers import (
    Recipe,
    SplitResult,
    check_place,
    find_damaged,
    finish,
    name_on_card,
    pin_request,
    read_marker,
    update_card,
)
from k600.publish.metadata import metadata_rows
from k600.publish.parquet import write_metadata
from k600.publish.shards import scratch_folder
from k600.store.store import META_DIR

__all__ = ["Published", "PublishedSplit", "publish"]

logger = logging.getLogger("kinetics600")

_HUB_URL = re.compile(r"hf://(?:datasets/)?([^/]+/[^/]+)/?")


@dataclass(frozen=True, slots=True)
class PublishedSplit:
    """What there is of one split now."""

    split: str
    clips: int
    shards: int
    shard_bytes: int
    new_shards: int
    """Shards that this run made; the others were there."""
    mended_shards: int
    """Shards that an earlier run had made, and that were gone or damaged; among the new ones."""
    missing: dict[str, int]
    """Clips and tarballs that had to be left out, by reason; the groups' markers name them."""


@dataclass(frozen=True, slots=True)
class Published:
    """What was published, and where."""

    address: str
    kind: str
    splits: tuple[PublishedSplit, ...]

    def as_plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return dataclasses.asdict(self)


def publish(
    request: Request,
    repo: str | None,
    *,
    to: str | None = None,
    recipe: Recipe,
    i_have_the_rights: bool = False,
    private: bool | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    to_options: Mapping[str, Any] | None = None,
    progress: Progress,
    offline: bool = False,
) -> Published:
    """Publish a request's splits; the same call again goes on where one was broken off.

    Args:
        request: Which clips.
        repo: `USER/NAME` on the Hub; with `to`, only what the card calls it.
        to: A folder or any URL that fsspec writes to, instead of the Hub.
        recipe: Metadata or clips, and how large shards are.
        i_have_the_rights: Embedded clips need it said.
        private: Whether only some may see a repository; by default, embedded clips.
        token: Of the Hub; default the one of this machine.
        endpoint: Address of the Hub, where it is not the usual one.
        to_options: fsspec storage options for `to`.
        progress: Makes the progress bar.
        offline: Never cross a network.

    Raises:
        OptionError: A value is not allowed.
        DestinationError: The place cannot be used, holds something else, or another run's shards,
            or, a folder, another run is at it now.
        MirrorError, ListError, NoClipsError: As for a stream.
    """
    recipe.check()
    if recipe.kind == "embedded":
        if not i_have_the_rights:
            raise OptionError(
                "i_have_the_rights: the videos belong to those who made them, so clips are "
                "embedded only for who says that they may hand them on: --i-have-the-rights "
                "(i_have_the_rights=True). Metadata alone need no such word"
            )
        check_embeddable(request, offline=offline)
        private = private is not False
    where, name = _where(repo, to)
    destination: HubDestination | FileDestination
    if where is None:
        if offline:
            raise OfflineError(
                "repo: the Hub is needed, but HF_HUB_OFFLINE or HF_DATASETS_OFFLINE forbids it. "
                "Unset it, or publish to a folder with --to (to=…)"
            )
        destination = HubDestination(name, private=private, token=token, endpoint=endpoint)
    else:
        destination = FileDestination(where, to_options)
    with contextlib.closing(destination):
        destination.prepare()
        check_place(destination, recipe.kind)
        found = [
            _publish_split(request, split, destination, recipe, progress, offline=offline)
            for split in request.splits
        ]
        shut = isinstance(destination, HubDestination) and bool(destination.private)
        update_card(destination, recipe.kind, name=name, private=shut)
    return Published(destination.address, recipe.kind, tuple(found))


def _where(repo: str | None, to: str | None) -> tuple[str | None, str]:
    """Return the path or URL to publish to, None for the Hub, and the name that the card gives."""
    if repo is not None:
        if match := _HUB_URL.fullmatch(repo):
            repo = match[1]
        elif to is None and ("://" in repo or repo.startswith((".", "/", "~"))):
            repo, to = None, repo
        else:
            check_repo_id(repo)
    if to is not None and (match := _HUB_URL.fullmatch(to)):
        repo, to = match[1], None
    if to is None:
        if repo is None:
            raise OptionError("repo: say where to: USER/NAME on the Hub, or --to (to=…) a folder")
        check_repo_id(repo)
        return None, repo
    return to, repo or name_on_card(to)


def _publish_split(
    request: Request,
    split: str,
    destination: Destination,
    recipe: Recipe,
    progress: Progress,
    *,
    offline: bool,
) -> PublishedSplit:
    if recipe.kind == "metadata":
        made = _metadata(request, split, destination, recipe, progress, offline=offline)
    else:
        made = embed_split(request, split, destination, recipe, progress, offline=offline)
    if not made.shards:
        raise NoClipsError(f"kinetics600 {split}: there was not one clip to publish", settled=True)
    done = finish(destination, split, made, whole=request.is_whole)
    logger.info(
        "kinetics600 %s: %s clips in %s shards at %s, %s of them new",
        split,
        f"{done['clips']:,}",
        f"{len(made.shards):,}",
        destination.address,
        f"{made.new:,}",
    )
    return PublishedSplit(
        split,
        done["clips"],
        len(made.shards),
        done["parquet_bytes"],
        made.new,
        made.mended,
        done["left_out"],
    )


def _metadata(
    request: Request,
    split: str,
    destination: Destination,
    recipe: Recipe,
    progress: Progress,
    *,
    offline: bool,
) -> SplitResult:
    """Publish one shard of rows; one that says the same is there already is left alone."""
    pin_request(destination, split, recipe.describe(request, split))
    with progress(0, f"{split}, reading", unit=" clips") as bar:
        rows = metadata_rows(request, split, offline=offline, on_clip=lambda: bar.update(1))
    unlabelled = sum(row["label"] is None for row in rows)
    with scratch_folder(destination, request.store) as folder:
        shard = write_metadata(rows, folder, prefix="00000")
        done = read_marker(destination, f"{META_DIR}/{split}/done.json") or {"shards": []}
        before = [said for said in done["shards"] if said["name"] == shard.name]
        damaged = find_damaged(destination, split, before, progress)
        if before and not damaged:
            return SplitResult(before, unlabelled, 0)
        etag = destination.send(f"data/{split}/{shard.name}", shard.path, shard.sha256)
        return SplitResult([shard.entry(etag)], unlabelled, 1, len(damaged))

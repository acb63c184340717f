"""Publish clips, or their metadata, as a dataset that loads without this loader.

What is written where, and how an interrupted run continues: `k600.publish.markers`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from k600.dataset.splits import Split
from k600.errors import NoClipsError, OptionError
from k600.errors.text import counted
from k600.loading.request import Request
from k600.loading.state import read_labels
from k600.publish.clips import check_embeddable, publish_clips
from k600.publish.destination import Destination, FileDestination
from k600.publish.hub import HubDestination, check_repo_id
from k600.publish.loader import publish_loader
from k600.publish.markers import (
    SplitJob,
    SplitResult,
    check_place,
    find_damaged,
    finish,
    name_on_card,
    pin_request,
    read_marker,
    update_card,
)
from k600.publish.metadata import index_rows, metadata_rows
from k600.publish.options import PublishOptions, repo_of_url, rights_error
from k600.publish.shards import scratch_folder, send_shard, write_table

logger = logging.getLogger("kinetics600")


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
    """Shards of an earlier run that were gone or damaged; among the new ones."""
    missing: dict[str, int]
    """Counts of clips and tarballs that had to be left out, by reason."""


@dataclass(frozen=True, slots=True)
class Published:
    """What was published, and where."""

    address: str
    kind: str
    splits: tuple[PublishedSplit, ...]


def publish(
    request: Request,
    repo: str | None,
    how: PublishOptions,
    *,
    endpoint: str | None = None,
) -> Published:
    """Publish a request's splits; the same call again continues an interrupted run.

    `repo` is that of `kinetics600.publish`, `endpoint` the address of the Hub.
    """
    _check(request, how)
    url, name = _url_and_name(repo, None if how.to is None else str(how.to))
    splits = _splits(request, how.kind)
    destination: Destination
    if url is not None:
        destination = FileDestination(url, how.to_options)
    else:
        private = how.private is not False if how.kind == "embedded" else how.private
        whose = {"token": how.token, "endpoint": endpoint}
        destination = HubDestination(name, private=private, offline=request.offline, **whose)

    with contextlib.closing(destination):
        destination.prepare()
        check_place(destination, how.kind)
        published = [_publish_split(SplitJob(request, split, destination, how)) for split in splits]
        if how.with_loader:
            publish_loader(destination)
        update_card(destination, how.kind, name=name)
    return Published(destination.address, how.kind, tuple(published))


def _check(request: Request, how: PublishOptions) -> None:
    """Raise an error if a request cannot be published, or not without a statement."""
    if request.exclude_overlap:
        raise OptionError(
            "exclude_overlap: True is not allowed here, as what is left out follows from a list "
            "that may change. Load with it, save_manifest(…), and publish with manifest=…"
        )
    if how.kind == "embedded":
        if not how.i_have_the_rights:
            raise rights_error("are embedded", but="Metadata alone do not need it")
        check_embeddable(request)


def _url_and_name(repo: str | None, to: str | None) -> tuple[str | None, str]:
    """Return the path or URL to publish to, None for the Hub, and the name for the card."""
    if repo is not None:
        if on_hub := repo_of_url(repo):
            repo = on_hub
        elif to is None and ("://" in repo or repo.startswith((".", "/", "~"))):
            repo, to = None, repo
        else:
            check_repo_id(repo)
    if to is not None and (on_hub := repo_of_url(to)):
        repo, to = on_hub, None

    if to is not None:
        return to, repo or name_on_card(to)
    if repo is None:
        raise OptionError("repo: say where to: USER/NAME on the Hub, or to=… a folder")
    check_repo_id(repo)
    return None, repo


def _splits(request: Request, kind: str) -> Sequence[str]:
    """Return the splits to publish: of an index, those of which something is known."""
    if kind != "index":
        return request.splits
    known = [split for split in request.splits if request.ledger.objects(split)]
    if not known:
        raise NoClipsError(
            f"index: it is not known of one tarball of {request.mirror} where its clips lie. Run "
            "'kinetics600 index build' first"
        )
    return known


def _publish_split(job: SplitJob) -> PublishedSplit:
    result = publish_clips(job) if job.how.kind == "embedded" else _publish_table(job)
    if not result.shards:
        message = f"kinetics600 {job.split}: there was not one clip to publish"
        raise NoClipsError(message, settled=True)

    request = job.request
    done = finish(
        job.destination, job.split, result, whole=request.is_whole, encoding=request.encoding
    )
    shards = len(result.shards)
    logger.info(
        f"kinetics600 {job.split}: {counted(done['clips'], 'clip')} in {counted(shards, 'shard')} "
        f"at {job.destination.address}, {result.new:,} of them new"
    )
    size_bytes, missing = done["parquet_bytes"], done["left_out"]
    return PublishedSplit(
        job.split, done["clips"], shards, size_bytes, result.new, result.mended, missing
    )


def _publish_table(job: SplitJob) -> SplitResult:
    """Publish the metadata or the index of a split as one shard, unless it is already there."""
    request, split, destination = job.request, job.split, job.destination
    pin_request(destination, split, job.describe())
    if job.how.kind == "index":
        labels = read_labels(request, Split(split))
        rows = index_rows(request, split, labels)
    else:
        with job.request.progress(0, f"{split}, reading", unit="clip") as bar:
            on_clip = functools.partial(bar.update, 1)
            rows = metadata_rows(request, split, on_clip=on_clip)
    unlabelled = sum(row["label"] is None for row in rows)

    with scratch_folder(destination, request.store) as folder:
        shard = write_table(rows, folder, kind=job.how.kind)
        done = read_marker(destination, job.own("done.json")) or {"shards": []}
        before = [entry for entry in done["shards"] if entry["sha256"] == shard.sha256]
        damaged = find_damaged(destination, split, before, job.request.progress)
        if before and not damaged:
            return SplitResult(before, unlabelled, 0)
        entry = send_shard(shard, destination, split)
        return SplitResult([entry], unlabelled, 1, len(damaged))

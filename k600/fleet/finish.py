"""The end of a split: its manifest and counts, the card, and what is not needed any more."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from k600.errors import IncompleteError
from k600.fleet.job import Job
from k600.fleet.merge import read_plan, read_shards, shard_path
from k600.fleet.places import OpenPlaces
from k600.fleet.plan import PlacedClip
from k600.loading.columns import MANIFEST, Column
from k600.loading.manifest import ManifestRow, to_parquet
from k600.publish.markers import SplitResult, finish, read_marker, update_card
from k600.store.store import META_DIR

__all__ = ["end_split", "tidy"]


def end_split(job: Job, places: OpenPlaces) -> None:
    """Note that a split is done, and remove the parts.

    Raises:
        IncompleteError: A shard is not there yet.
    """
    work = places.work
    plan = read_plan(job, work)
    shards = [*read_shards(job, plan, work).values()]
    with ThreadPoolExecutor(16) as pool:
        paths = [shard_path(job, plan, number) for number in range(plan.shards)]
        markers = list(pool.map(lambda path: read_marker(work, path), paths))
    made = [marker for marker in markers if marker is not None]
    if len(made) < plan.shards:
        raise IncompleteError(
            f"kinetics600 {job.split}: {plan.shards - len(made):,} of {plan.shards:,} shards are "
            "not written yet. Call again: what is done stays"
        )
    names = [marker["shard"]["name"] for marker in made]
    manifest = _manifest(shards, names)
    places.shards.commit(f"{job.split}: manifest", {job.own("manifest.parquet"): manifest})
    finish(
        places.shards,
        job.split,
        SplitResult(
            [marker["shard"] for marker in made],
            sum(marker["unlabelled"] for marker in made),
            len(made),
            left_out=dict(plan.rejects),
        ),
        whole=job.whole,
        more={
            "tarballs": plan.tarballs,
            "plan": plan.digest,
            "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        },
    )
    tidy(job, places)


def tidy(job: Job, places: OpenPlaces) -> None:
    """Bring the card up to date and remove what only the making needed; safe to do again."""
    update_card(places.shards, job.recipe.kind, name=job.places.name, private=bool(job.places.repo))
    work = places.work
    there = work.names(META_DIR)
    if "incoming" in there:  # of workers that were killed, as are unfinished notes
        work.clear(f"{META_DIR}/incoming")
    if parts := sorted(name for name in there if name.endswith(".part")):
        unfinished = [f"{META_DIR}/{name}" for name in parts]
        work.commit(f"{job.split}: unfinished notes", {}, delete=unfinished)
    left = work.names(f"{META_DIR}/{job.split}")
    for name in sorted(left & {"parts", "shards"}):
        work.clear(job.own(name))
    if plans := sorted(left & {"plan.parquet", "plan.json"}):
        work.commit(f"{job.split}: tidied", {}, delete=[job.own(name) for name in plans])


def _manifest(shards: Sequence[Sequence[PlacedClip]], names: Sequence[str]) -> bytes:
    """Return a table that `manifest=…` of `load_dataset` reads, with the shard of each clip."""
    rows = [
        {**_manifest_row(placed).as_plain(), "shard": name}
        for name, clips in zip(names, shards, strict=True)
        for placed in clips
    ]
    columns = (*MANIFEST, Column("shard", "string", "name of the shard that holds the clip"))
    return to_parquet(rows, columns, compression="zstd")


def _manifest_row(placed: PlacedClip) -> ManifestRow:
    found = placed.found
    return ManifestRow(placed.clip, "cvdf", placed.tarball, found.size_bytes, found.sha256)

"""The end of a split: its manifest and counts, the card, and cleaning up."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from k600.errors import IncompleteError
from k600.fleet.job import Job
from k600.fleet.merge import shard_path
from k600.fleet.options import OpenPlaces
from k600.fleet.plan import Plan, read_plan
from k600.fleet.units import AT_ONCE
from k600.loading.columns import MANIFEST, Column
from k600.loading.manifest import ManifestRow, to_parquet
from k600.publish.markers import SplitResult, finish, name_on_card, read_marker, update_card
from k600.store.store import META_DIR


def finish_split(job: Job, places: OpenPlaces) -> None:
    """Mark a split as done and remove the parts; raise `IncompleteError` if a shard is missing."""
    plan = read_plan(job, places.work)
    paths = [shard_path(plan, number, job) for number in range(plan.shards)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [*pool.map(lambda path: read_marker(places.work, path), paths)]
    markers = [marker for marker in found if marker is not None]
    if len(markers) < plan.shards:
        raise IncompleteError(
            f"kinetics600 {job.split}: {plan.shards - len(markers):,} of {plan.shards:,} shards "
            "are not written yet. Call again: what is done stays"
        )

    shards = [marker["shard"] for marker in markers]
    manifest = _manifest(plan, [shard["name"] for shard in shards])
    places.shards.commit(f"{job.split}: manifest", {job.meta_path("manifest.parquet"): manifest})
    unlabelled = sum(marker["unlabelled"] for marker in markers)
    finish(
        places.shards,
        job.split,
        SplitResult(shards, unlabelled, len(shards), left_out=dict(plan.rejects)),
        whole=job.whole,
        more={
            "tarballs": plan.tarballs,
            "plan": plan.digest,
            "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        },
    )
    tidy(job, places)


def tidy(job: Job, places: OpenPlaces) -> None:
    """Update the card and remove temporary files; may be repeated."""
    repo = job.places.repo
    name = repo or name_on_card(job.places.work)
    update_card(places.shards, job.recipe.kind, name=name, private=bool(repo))

    work = places.work
    there = work.names(META_DIR)
    if "incoming" in there:  # of killed workers, as are the .part files
        work.clear(f"{META_DIR}/incoming")
    left = [f"{META_DIR}/{name}" for name in sorted(there) if name.endswith(".part")]

    there = work.names(f"{META_DIR}/{job.split}")
    for name in sorted(there & {"parts", "shards"}):
        work.clear(job.meta_path(name))
    # plan.json is an older release's.
    left += [job.meta_path(name) for name in sorted(there & {"plan.parquet", "plan.json"})]
    if left:
        work.commit(f"{job.split}: tidied", {}, delete=left)


def _manifest(plan: Plan, names: Sequence[str]) -> bytes:
    """Return a manifest that `load_dataset` reads, with a column for the shard of each clip."""
    rows: list[dict[str, Any]] = []
    for number, name in enumerate(names):
        for placed in plan.clips(number):
            found = placed.found
            row = ManifestRow(placed.clip, "cvdf", placed.tarball, found.size_bytes, found.sha256)
            rows.append({**row.as_plain(), "shard": name})
    columns = (*MANIFEST, Column("shard", "string", "name of the shard that holds the clip"))
    return to_parquet(rows, columns)

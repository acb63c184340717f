"""The end of a split: its manifest and counts, the card, and cleaning up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from k600.errors import IncompleteError, NoClipsError
from k600.errors.text import counted
from k600.fleet.job import Job, Places
from k600.fleet.merge import shard_path
from k600.fleet.plan import CLIPS, FACTS, Plan, read_plan
from k600.fleet.units import (
    AT_ONCE,
    Unit,
    UnitMarker,
    count_rejects,
    read_all_markers,
    read_markers,
)
from k600.loading.columns import MANIFEST, Column
from k600.loading.manifest import ManifestRow, to_parquet
from k600.publish.destination import FileDestination
from k600.publish.formats import write_table
from k600.publish.loader import publish_loader
from k600.publish.markers import SplitResult, finish, name_on_card, read_marker, update_card
from k600.publish.metadata import index_row
from k600.publish.shards import scratch_folder, send_shard
from k600.store.store import META_DIR
from k600.tarballs.stream import clip_of


def finish_split(job: Job, places: Places) -> None:
    """Mark a split as done and remove the parts; raise `IncompleteError` if a shard is missing."""
    plan = read_plan(job, places.work, whole=True)
    paths = [shard_path(plan, number, job) for number in range(len(plan.shards))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [*pool.map(lambda path: read_marker(places.work, path), paths)]
    markers = [marker for marker in found if marker is not None]
    if len(markers) < len(paths):
        raise IncompleteError(
            f"kinetics600 {job.split}: {len(paths) - len(markers):,} of "
            f"{counted(len(paths), 'shard')} not written yet. Call again: what is done stays"
        )

    shards = [marker["shard"] for marker in markers]
    manifest = _manifest(plan, [shard["name"] for shard in shards], job, places.work)
    places.shards.commit(f"{job.split}: manifest", {job.meta_path("manifest.parquet"): manifest})
    unlabelled = sum(marker["unlabelled"] for marker in markers)
    finish(
        places.shards,
        job.split,
        SplitResult(shards, unlabelled, len(shards), left_out=dict(plan.rejects)),
        whole=job.whole,
        encoding=job.encoding,
        more={
            "tarballs": plan.tarballs,
            "plan": plan.digest,
            "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        },
    )
    tidy(job, places)


def finish_index(
    job: Job, units: Sequence[Unit], unavailable: Mapping[str, int], places: Places
) -> None:
    """Write where the clips of all units lie as one table, and mark a split as done.

    Raises `NoClipsError` if there is no clip, or a tarball has not been read.
    """
    markers = read_all_markers(units, job, places.work)
    rows = [row for marker in markers for row in _index_rows(marker, job)]
    if not rows:
        raise NoClipsError(f"kinetics600 {job.split}: there is no clip to be read alone")
    with scratch_folder(places.shards) as folder:
        table = write_table(rows, folder, kind="index")
        entry = send_shard(table, places.shards, f"data/{job.split}")

    unlabelled = sum(row["label"] is None for row in rows)
    result = SplitResult([entry], unlabelled, 1, left_out=count_rejects(markers, unavailable))
    more = {"tarballs": len(units)}
    finish(places.shards, job.split, result, whole=job.whole, encoding=None, more=more)
    tidy(job, places)


def _index_rows(marker: UnitMarker, job: Job) -> Iterator[dict[str, Any]]:
    tarball, places = marker.unit.tarball, marker.places
    for name in marker.entries:
        if clip := clip_of(tarball, name, job.labels):
            yield index_row(clip, tarball, places.get(name), len(marker.entries))


def tidy(job: Job, places: Places) -> None:
    """Update the card and remove temporary files; may be repeated."""
    how = job.how
    if how.with_loader:
        publish_loader(places.shards)
    name = how.repo or name_on_card(how.parts_place)
    update_card(places.shards, how.kind, name=name)

    work = places.work
    there = work.names(META_DIR)
    if "incoming" in there:  # of killed workers, as are the .part files
        work.clear(f"{META_DIR}/incoming")
    left = [f"{META_DIR}/{name}" for name in sorted(there) if name.endswith(".part")]

    there = work.names(f"{META_DIR}/{job.split}")
    for name in sorted(there & {"parts", "shards"}):
        work.clear(job.meta_path(name))
    left += [job.meta_path(name) for name in sorted(there & {CLIPS, FACTS})]
    if left:
        work.commit(f"{job.split}: tidied", {}, delete=left)


def _manifest(plan: Plan, names: Sequence[str], job: Job, work: FileDestination) -> bytes:
    """Return a manifest that `load_dataset` reads, with a column for the shard of each clip."""
    shards = [*plan.shards]
    keys = sorted({placed.part for clips in shards for placed in clips})
    places = {key: marker.places for key, marker in read_markers(keys, job, work).items()}
    rows: list[dict[str, Any]] = []
    for name, clips in zip(names, shards, strict=True):
        for placed in clips:
            found, of_tarball = placed.found, places.get(placed.part, {})
            row = ManifestRow(
                placed.clip,
                "cvdf",
                placed.tarball,
                found.size_bytes,
                found.sha256,
                found.fps,
                of_tarball.get(found.file_name),
            )
            rows.append({**row.as_plain(), "shard": name})
    columns = (*MANIFEST, Column("shard", "string", "name of the shard that holds the clip"))
    return to_parquet(rows, columns)

"""A split of a run: what is left to do for it, and its end: manifest, counts, card, tidying up."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from k600.dataset.clip import Tarball
from k600.errors import IncompleteError, NoClipsError
from k600.errors.text import counted
from k600.fleet.job import Job, Places
from k600.fleet.merge import shard_path, shard_to_json
from k600.fleet.plan import CLIPS, FACTS, PlacedClip, Plan, make_plan, read_plan
from k600.fleet.units import (
    AT_ONCE,
    Unit,
    UnitMarker,
    count_rejects,
    find_units,
    find_unread,
    read_all_markers,
    read_markers,
    read_unit,
    tarballs_to_read,
)
from k600.loading.columns import MANIFEST, Column
from k600.loading.manifest import ManifestRow, to_parquet
from k600.loading.request import Request
from k600.publish.clip_index import index_path, read_index
from k600.publish.destination import FileDestination
from k600.publish.loader import publish_loader
from k600.publish.markers import (
    SplitResult,
    describe,
    digest_of_names,
    find_damaged,
    finish,
    name_on_card,
    pin_request,
    read_marker,
    update_card,
)
from k600.publish.metadata import index_row
from k600.publish.shards import check_number_of_files, scratch_folder, send_shard, write_table
from k600.store.store import META_DIR
from k600.tarballs.stream import clip_of


@dataclass(frozen=True, slots=True)
class SplitWork:
    """What is left to do for a split."""

    job: Job
    units: Sequence[Unit]
    """Its tarballs; none if the split is done."""
    pending: Sequence[Unit]
    """Tarballs that are still to be read."""
    unavailable: Mapping[str, int]
    """Counts of tarballs that are not on the mirror, by reason."""
    mended: int = 0
    """Finished shards that are made again."""

    @property
    def total_bytes(self) -> int:
        """Size of all its tarballs."""
        return sum(unit.size_bytes for unit in self.units)


def prepare_split(request: Request, job: Job, places: Places) -> SplitWork:
    """Note the request at its place, and return what is left to do.

    Raises `IncompleteError` if the mirror lacks what is needed. What is there stays.
    """
    split, how = job.split, job.how
    tarballs = tarballs_to_read(request, split)
    # It must stay the same, to the byte, from release to release: else no run that was begun goes
    # on. (`Tarball.path` serves as a key here.)
    config = {
        **describe(request, split, how.kind),
        "source": "cvdf",
        **job.options,
        "classes": None if request.classes is None else [*request.classes],  # as JSON has it
        "shard_size_mb": how.shard_size_mb,
        "shards_multiple_of": how.shards_multiple_of,
        "tarballs": digest_of_names([tarball.path for tarball in tarballs]),
    }
    for place in places.each:
        pin_request(place, split, config)

    done = read_marker(places.shards, job.meta_path("done.json"))
    if done is not None:
        damaged = find_damaged(places.shards, split, done["shards"], request.progress)
        if not damaged and (how.kind == "index" or _has_tables(done, job, places)):
            tidy(job, places)
            return SplitWork(job, (), (), {})
        if how.kind != "index":  # an index is made again of the markers
            return _prepare_repair(job, done, damaged, tarballs, places)

    units, unavailable = find_units(tarballs, job, on_missing=request.on_missing)
    work = SplitWork(job, units, find_unread(units, job, places.work), unavailable)
    check_number_of_files(split, work.total_bytes, how.shard_size_mb)
    return work


def _has_tables(done: Mapping[str, Any], job: Job, places: Places) -> bool:
    """Whether a split that is done has its index and its manifest."""
    tables = {
        "index_sha256": index_path(job.split),
        "manifest_sha256": job.meta_path("manifest.parquet"),
    }
    return all(places.shards.holds(path, done.get(key, "")) for key, path in tables.items())


def _prepare_repair(
    job: Job,
    done: Mapping[str, Any],
    damaged: Collection[str],
    tarballs: Sequence[Tarball],
    places: Places,
) -> SplitWork:
    """Return the least work that completes a damaged split again.

    Raises `IncompleteError` if the mirror no longer has the tarballs that it was made from.
    """
    work = places.work
    found, plan = _plan_again(job, done, tarballs, work)
    if plan is None or plan.digest != done.get("plan", plan.digest):
        work.clear(job.meta_path("parts"))  # of tarballs that were read in vain
        what = counted(len(damaged), "lost or damaged shard") if damaged else "the manifest"
        raise IncompleteError(
            f"kinetics600 {job.split}: {what} at {places.shards.address} cannot be made again, as "
            f"{job.mirror} no longer has all the tarballs that were read then. What is there "
            "stays. Call again once it has them, or make all anew in another place"
        )

    markers: dict[str, bytes] = {}
    needed: set[str] = set()
    index = read_index(places.shards, job.split, done)
    for number, entry in enumerate(done["shards"]):
        clips, name = plan.shards[number], entry["name"]
        if name in damaged or name not in index:
            needed.update(clip.part for clip in clips)
        else:
            noted = {**entry, "index": index[name]}
            markers[shard_path(plan, number, job)] = shard_to_json(noted, clips)
    work.commit(f"{job.split}: what is good", markers)

    unavailable = Counter(done["left_out"]) - Counter(plan.rejects)  # as it was, not as it is now
    pending = find_unread([unit for unit in found if unit.key in needed], job, work)
    return SplitWork(job, found, pending, unavailable, len(damaged))


def _plan_again(
    job: Job, done: Mapping[str, Any], tarballs: Sequence[Tarball], work: FileDestination
) -> tuple[Sequence[Unit], Plan | None]:
    """Return the tarballs that a finished split was made from, and its plan, if it can be made.

    Tarballs are matched by name, as a copy has another ETag: it is read again, as is one whose
    marker is lost. The plan's digest shows whether the bytes are the same.
    """
    try:
        found, _ = find_units(tarballs, job, on_missing="skip")
        keys = [name.removesuffix(".json") for name in work.names(job.meta_path("units"))]
        markers = read_markers(keys, job, work)
        names = {marker.unit.tarball.name for marker in markers.values()}
        units = [unit for unit in found if unit.tarball.name in names]
        if len(names) + len(found) - len(units) == done["tarballs"]:
            units = found  # the others' markers are lost

        with scratch_folder(work) as folder:
            for unit in units:
                if unit.key not in markers:
                    read_unit(unit, job, work, folder)
        return units, make_plan(units, {}, job, work)
    except NoClipsError:
        return (), None


def finish_split(job: Job, places: Places) -> None:
    """Mark a split as done and remove the parts; raise `IncompleteError` if a shard is missing."""
    plan = read_plan(job, places.work)
    paths = [shard_path(plan, number, job) for number in range(len(plan.shards))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [*pool.map(lambda path: read_marker(places.work, path), paths)]
        clips = [*pool.map(plan.shards.__getitem__, range(len(paths)))]
    markers = [marker for marker in found if marker is not None]
    if len(markers) < len(paths):
        raise IncompleteError(
            f"kinetics600 {job.split}: {len(paths) - len(markers):,} of "
            f"{counted(len(paths), 'shard')} not written yet. Call again: what is done stays"
        )

    shards = [marker["shard"] for marker in markers]
    manifest = _manifest(clips, [shard["name"] for shard in shards], job, places.work)
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
        entry = send_shard(table, places.shards, job.split)

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


def _manifest(
    shards: Sequence[Sequence[PlacedClip]], names: Sequence[str], job: Job, work: FileDestination
) -> bytes:
    """Return a manifest that `load_dataset` reads, with a column for the shard of each clip."""
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

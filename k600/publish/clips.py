"""Clips straight from tarballs into shards that mix classes; the store keeps none of them.

A group of tarballs is the unit of work. As each holds one class, they are read side by side,
through a shuffle buffer, in a random order that a seed fixes. A group's rows depend on request,
seed and tarballs alone, so a group that was interrupted or lost a shard is made again to the same
bytes, and what is already there is not sent again. A tarball that proves damaged twice is left out
of its group. Where clips lie in their tarballs is noted in the ledger, so that each comes by one
request later.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from k600.errors import IncompleteError, OptionError
from k600.errors.text import counted, short_hash
from k600.errors.translate import store_error, translate_errors
from k600.loading.options import choice_error
from k600.loading.request import Request
from k600.loading.rows import OnLeftOut, StoredShard, StreamedShard
from k600.loading.stream import stream_split
from k600.progress import Bar
from k600.publish.clip_index import index_path
from k600.publish.markers import (
    SplitJob,
    SplitResult,
    find_damaged,
    pin_request,
    read_marker,
    to_json,
)
from k600.publish.shards import (
    USUAL_CLIP_BYTES,
    check_number_of_files,
    embedded_row,
    scratch_folder,
    send_shards,
    write_clips,
)
from k600.tarballs.reading import READINGS

BUFFER_BYTES = 128 << 20
BUFFER_ROWS = 1_000
_AHEAD_BYTES = 128 << 20
"""Requested ahead of a group's tarballs, all together."""

_USUAL_CLIPS = {"train": 713, "validation": 50, "test": 993}  # in a tarball, about

_FAILED_READINGS = ("tarball_damaged", "tarball_changed")

T = TypeVar("T")
_Part = StreamedShard | StoredShard
_Seen = Mapping[tuple[str, str], tuple[str | None, int | None]]
"""Tarball and position of clips, by folder and file name."""


def check_embeddable(request: Request) -> None:
    """Raise `OptionError` if a request's clips cannot go straight from tarballs to shards."""
    way_out = "Run 'kinetics600 download' first, then publish with source='local'"
    if request.only_youtube:
        raise OptionError(f"source: 'youtube' cannot be published as it comes. {way_out}")
    unchosen = "test" in request.splits and request.limits.limited
    if unchosen and request.may_fetch:
        raise choice_error(
            "the test split cannot be chosen from as it comes, as no list says which tarball holds "
            f"a clip. {way_out}",
            but=("manifest",),
        )


def publish_clips(job: SplitJob) -> SplitResult:
    """Publish a split's clips, group by group; groups that are marked as done are kept.

    Raises `IncompleteError` if a damaged shard cannot be made again as it was.
    """
    request, split, destination = job.request, job.split, job.destination
    parts = _parts(job)
    groups = group_names(parts, job.how.mix, request.limits.seed)
    labels = next((part.labels for part in parts.values()), {})
    pin_request(destination, split, job.describe(groups, labels))

    done = read_marker(destination, job.own("done.json"))
    entries = [] if done is None else done["shards"]
    damaged = find_damaged(destination, split, entries, job.request.progress)
    index_sha256 = "" if done is None else done.get("index_sha256", "")
    if done is not None and not damaged and destination.holds(index_path(split), index_sha256):
        left_out = done.get("left_out", {})
        return SplitResult(entries, done["unlabelled"], 0, left_out=left_out)

    before = _marked_groups(job)
    checked = _names(entries)
    others = [entry for marker in before.values() for entry in marker["shards"]]
    others = [entry for entry in others if entry["name"] not in checked]
    damaged |= find_damaged(destination, split, others, job.request.progress)

    from_store = any(isinstance(part, StoredShard) for part in parts.values())
    seen = _seen_in_tarballs(job) if from_store else {}
    result = SplitResult([], 0, 0)
    total = sum(map(_usual_clips, parts.values()))
    with job.request.progress(total, f"{split}, publishing", unit="clip") as bar:
        for number, names in enumerate(groups):
            group = [parts[name] for name in names]
            path = job.own(f"groups/{number:05d}.json")
            marker = before.get(path)
            there = set() if marker is None else _names(marker["shards"])
            lost = there & damaged
            if marker is not None and not lost:
                bar.update(sum(map(_usual_clips, group)))
                result.add(marker)
                continue

            new = _make_group(job, number, group, seen, bar)
            if marker is not None:
                _check_no_smaller(job, marker, new, lost)
            destination.commit(f"{split}: group {number}", {path: to_json(new)})
            result.new += len(_names(new["shards"]) - (there - lost))
            result.mended += len(lost)
            result.add(new)
    return result


def _names(entries: Iterable[Mapping[str, Any]]) -> set[str]:
    return {entry["name"] for entry in entries}


def _marked_groups(job: SplitJob) -> dict[str, dict[str, Any]]:
    """Return the markers of groups by their paths."""
    paths = sorted(job.own(f"groups/{name}") for name in job.destination.names(job.own("groups")))
    found = {path: read_marker(job.destination, path) for path in paths}
    return {path: marker for path, marker in found.items() if marker is not None}


def _seen_in_tarballs(job: SplitJob) -> _Seen:
    """Return tarball and position of the clips that this machine has seen in one."""
    clips = job.request.ledger.clips(job.split)
    return {
        (clip.folder, clip.file_name): (clip.tarball.name, clip.position)
        for clip in clips
        if clip.position >= 0
    }


def _make_group(
    job: SplitJob, number: int, parts: Sequence[_Part], seen: _Seen, bar: Bar
) -> dict[str, Any]:
    """Make and send a group's shards, without tarballs that prove damaged; return its marker."""
    damaged: dict[str, str] = {}
    failed: Counter[str] = Counter()
    with scratch_folder(job.destination, job.request.store) as folder:
        while True:
            left_out: dict[str, str] = {}
            kept = [part for part in parts if failed[part.address] < READINGS]
            rows = shuffle(
                [_embedded_rows(part, left_out.__setitem__, seen) for part in kept],
                seed=f"{job.request.limits.seed}/{job.split}/{number}",
                size_of=lambda row: len(row["video"]["bytes"]),
                most_bytes=BUFFER_BYTES,
                most_rows=BUFFER_ROWS,
            )
            marker = _send_rows(job, rows, folder, f"{number:05d}", bar)

            found = {what: why for what, why in left_out.items() if why in _FAILED_READINGS}
            if not found:
                return {**marker, "left_out": dict(sorted({**left_out, **damaged}.items()))}
            failed.update(found.keys())
            damaged |= {what: why for what, why in found.items() if failed[what] >= READINGS}


def _send_rows(
    job: SplitJob, rows: Iterable[dict[str, Any]], folder: Path, prefix: str, bar: Bar
) -> dict[str, Any]:
    """Make shards of rows, each sent while the next is made; return what their marker notes."""
    unlabelled = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal unlabelled
        for row in rows:
            unlabelled += row["label"] is None
            bar.update(1)
            yield row

    shards = write_clips(counted(), folder, prefix=prefix, shard_bytes=job.how.shard_bytes)
    entries = send_shards(shards, job.destination, job.split)
    return {"shards": entries, "unlabelled": unlabelled}


def _check_no_smaller(
    job: SplitJob, before: Mapping[str, Any], new: Mapping[str, Any], lost: Collection[str]
) -> None:
    """Raise `IncompleteError` if a group lost clips: its good shards would be deleted, too."""
    clips, were = (sum(entry["clips"] for entry in each["shards"]) for each in (new, before))
    if clips >= were:
        return
    sent = sorted(_names(new["shards"]) - _names(before["shards"]))
    job.destination.roll_back([f"data/{job.split}/{name}" for name in sent])
    raise IncompleteError(
        f"kinetics600 {job.split}: {', '.join(sorted(lost))} at {job.destination.address} cannot "
        f"be made again as it was: of {counted(were, 'clip')} that it was mixed from, the mirror "
        f"has {clips:,} now. What is there stays. Call again once the mirror has them, or publish "
        "to another place"
    )


def _parts(job: SplitJob) -> dict[str, _Part]:
    """Return the parts of a split to read, by a name that fixes their order."""
    streams = stream_split(job.request, job.split)
    ahead_bytes = _AHEAD_BYTES // job.how.mix
    keeps_places = job.request.store.is_writable(make=job.request.may_fetch)
    parts: dict[str, _Part] = {}
    for part in streams:
        if isinstance(part, StreamedShard):
            least = min(part.ahead_bytes, ahead_bytes)
            part = replace(part, ahead_bytes=least, keeps_places=keeps_places)
        parts[_name_of(part)] = part
    expected = sum(map(_usual_clips, parts.values())) * USUAL_CLIP_BYTES
    check_number_of_files(job.split, expected, job.how.shard_size_mb)
    return parts


def _embedded_rows(part: _Part, on_left_out: OnLeftOut, seen: _Seen) -> Iterator[dict[str, Any]]:
    """Yield the rows of a tarball, or a folder of the store, with the clips' bytes."""
    if isinstance(part, StreamedShard):
        for found in part.clips(on_left_out):
            data = _bytes_at(found.path) if found.data is None else found.data
            name = part.tarball.name
            yield embedded_row(found.clip, data, found.source, name, found.position, fps=found.fps)
        return

    for stored in part.clips():
        at = seen.get((stored.folder, stored.clip.file_name), (None, None))
        data = _bytes_at(stored.path)
        yield embedded_row(stored.clip, data, stored.source, *at, fps=stored.fps)


def _bytes_at(path: str | Path) -> bytes:
    with translate_errors(store_error, Path(path), "read"):
        return Path(path).read_bytes()


def _name_of(part: _Part) -> str:
    """Return a part's name, which begins with `Tarball.path`, or a folder of the store.

    The order of groups, and so the bytes of shards, depend on it, and places are pinned to a digest
    of them all: it may not change.
    """
    if part.file_names is None:
        return part.address
    return f"{part.address} {short_hash(' '.join(sorted(part.file_names)))}"


def _usual_clips(part: _Part) -> int:
    return _USUAL_CLIPS[part.split] if part.file_names is None else len(part.file_names)


def group_names(names: Iterable[str], size: int, seed: int) -> list[list[str]]:
    """Return names in groups of at most `size`, as equal as possible, shuffled by the seed.

    Example:
        >>> [len(group) for group in group_names("abcdefg", 3, seed=0)]
        [3, 2, 2]
    """

    def rank(name: str) -> bytes:
        return hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()

    order = sorted(set(names), key=rank)
    count = -(-len(order) // size)
    return [order[number::count] for number in range(count)]


def shuffle(
    parts: Sequence[Iterable[T]],
    *,
    seed: str,
    size_of: Callable[[T], int],
    most_bytes: int,
    most_rows: int,
) -> Iterator[T]:
    """Yield the rows of all parts in a random order: by a seed the same on every machine.

    At most `most_rows` rows and `most_bytes` bytes (by `size_of`) are held, and one row more.

    Example:
        >>> parts = [[1, 2], [3]]
        >>> rows = shuffle(parts, seed="0", size_of=lambda row: 1, most_bytes=9, most_rows=9)
        >>> sorted(rows)
        [1, 2, 3]
    """
    chance = random.Random(seed)

    def draw(among: int) -> int:
        # `random()` alone is the same in every version of Python.
        return int(chance.random() * among)

    held: list[T] = []
    held_bytes = 0
    for row in _side_by_side([iter(part) for part in parts], draw):
        held.append(row)
        held_bytes += size_of(row)
        while len(held) > most_rows or held_bytes > most_bytes:
            row = _take(held, draw(len(held)))
            held_bytes -= size_of(row)
            yield row
    while held:
        yield _take(held, draw(len(held)))


def _side_by_side(live: list[Iterator[T]], draw: Callable[[int], int]) -> Iterator[T]:
    while live:
        place = draw(len(live))
        try:
            row = next(live[place])
        except StopIteration:
            del live[place]
        else:
            yield row


def _take(held: list[T], place: int) -> T:
    held[place], held[-1] = held[-1], held[place]
    return held.pop()

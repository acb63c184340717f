"""Clips straight from tarballs into shards whose classes are mixed; nothing lands in the store.

A group of tarballs is the unit of work: its rows depend on the request, the seed and the tarballs
alone, so one that was broken off, or of which a shard is gone or damaged, is made again, to the
same bytes, and what is there of it is not sent again. Its marker names what had to be left out.
Where a tarball proves damaged at its end its group is made again, and once more without it if it
does so again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from k600.errors import IncompleteError, OptionError, StoreError
from k600.loading.request import Request
from k600.loading.rows import OnLeftOut, StoredShard, StreamedShard
from k600.loading.stream import stream_split
from k600.progress import Bar, Progress
from k600.publish.destination import Destination
from k600.publish.markers import (
    Recipe,
    SplitResult,
    find_damaged,
    pin_request,
    read_marker,
    to_json,
)
from k600.publish.parquet import write_clips
from k600.publish.shards import Sending, check_number_of_files, scratch_folder
from k600.publish.shuffle import group_names, shuffle
from k600.store.store import META_DIR
from k600.tarballs.reading import READINGS

__all__ = ["check_embeddable", "embed_split"]

BUFFER_BYTES = 128 << 20
BUFFER_ROWS = 1_000
_AHEAD_BYTES = 128 << 20
"""Requested ahead of a group's tarballs, all together."""

_USUAL_CLIPS = {"train": 713, "validation": 50, "test": 993}  # in a tarball, about
_USUAL_CLIP_BYTES = 1_500_000

_FAILED_READINGS = ("tarball_damaged", "tarball_changed")

_Part = StreamedShard | StoredShard


def check_embeddable(request: Request, *, offline: bool) -> None:
    """Raise `OptionError` for a request whose clips cannot go straight from tarballs to shards."""
    way_out = "Run 'kinetics600 download' first, then publish with source='local'"
    if request.source == "youtube":
        raise OptionError(f"source: 'youtube' cannot be published as it comes. {way_out}")
    unchosen = "test" in request.splits and request.limits.limited
    if unchosen and request.may_fetch(offline=offline):
        raise OptionError(
            "max_samples, max_per_class: the test split cannot be chosen from as it comes, as no "
            f"list says which tarball holds a clip. {way_out}"
        )


def embed_split(
    request: Request,
    split: str,
    destination: Destination,
    recipe: Recipe,
    progress: Progress,
    *,
    offline: bool,
) -> SplitResult:
    """Bring a split's clips to a place, group by group; those that are marked there stay.

    Raises:
        OptionError: The request cannot be streamed, or shards of this size would be too many.
        DestinationError: The place refuses, or holds shards of another request.
        MirrorError, ListError, NoClipsError: As for a stream.
    """
    parts = _parts(request, split, recipe, offline=offline)
    groups = group_names(parts, recipe.mix, request.limits.seed)
    labels = next((part.labels for part in parts.values()), {})
    pin_request(destination, split, recipe.describe(request, split, groups, labels))
    done = read_marker(destination, f"{META_DIR}/{split}/done.json")
    damaged: set[str] = set()
    looked_at: set[str] = set()
    if done is not None:
        looked_at = {shard["name"] for shard in done["shards"]}
        damaged = find_damaged(destination, split, done["shards"], progress)
        if not damaged:
            return SplitResult(
                done["shards"], done["unlabelled"], 0, left_out=done.get("left_out", {})
            )
    before = _marked_groups(destination, split)
    shards = [shard for group in before.values() for shard in group["shards"]]
    shards = [shard for shard in shards if shard["name"] not in looked_at]
    damaged |= find_damaged(destination, split, shards, progress)
    total = sum(map(_usual_clips, parts.values()))
    made = SplitResult([], 0, 0)
    with progress(total, f"{split}, publishing", unit=" clips") as bar:
        for number, names in enumerate(groups):
            path = f"{META_DIR}/{split}/groups/{number:05d}.json"
            group = before.get(path, {"shards": []})
            there = {shard["name"] for shard in group["shards"]}
            lost = there & damaged
            if path in before and not lost:
                bar.update(sum(_usual_clips(parts[name]) for name in names))
            else:
                with scratch_folder(destination, request.store) as folder:
                    send = partial(
                        _send_group,
                        number=number,
                        split=split,
                        destination=destination,
                        recipe=recipe,
                        folder=folder,
                        bar=bar,
                    )
                    seed = f"{request.limits.seed}/{split}/{number}"
                    group = _send_sound([parts[name] for name in names], seed, send)
                if lost:
                    _check_no_smaller(before[path], group, lost, split, destination)
                destination.commit(f"{split}: group {number}", {path: to_json(group)})
                made.new += len({shard["name"] for shard in group["shards"]} - (there - lost))
                made.mended += len(lost)
            made.add(group)
    return made


def _marked_groups(destination: Destination, split: str) -> dict[str, dict[str, Any]]:
    """Return what the markers of groups say, by their paths."""
    folder = f"{META_DIR}/{split}/groups"
    paths = [f"{folder}/{name}" for name in sorted(destination.names(folder))]
    found = {path: read_marker(destination, path) for path in paths}
    return {path: group for path, group in found.items() if group is not None}


def _check_no_smaller(
    before: Mapping[str, Any],
    group: Mapping[str, Any],
    lost: Collection[str],
    split: str,
    destination: Destination,
) -> None:
    """Raise `IncompleteError` if a group that was made again holds fewer clips than it did.

    Its shards that are still good would go with those that are not.
    """
    clips, were = (sum(s["clips"] for s in each["shards"]) for each in (group, before))
    if clips >= were:
        return
    there = {shard["name"] for shard in before["shards"]}
    new = [shard["name"] for shard in group["shards"] if shard["name"] not in there]
    destination.roll_back([f"data/{split}/{name}" for name in new])
    raise IncompleteError(
        f"kinetics600 {split}: {', '.join(sorted(lost))} at {destination.address} cannot be made "
        f"again as it was: of {were:,} clips that it was mixed from, the mirror has {clips:,} now. "
        "What is there stays. Call again once the mirror has them, or publish to another place"
    )


def _send_sound(
    parts: Sequence[_Part],
    seed: str,
    send: Callable[[Iterator[dict[str, Any]]], dict[str, Any]],
) -> dict[str, Any]:
    """Send a group; again where tarballs prove damaged, in the end without those that still do."""
    damaged: dict[str, str] = {}
    failed: Counter[str] = Counter()
    while True:
        left_out: dict[str, str] = {}
        sound = [part for part in parts if failed[_address(part)] < READINGS]
        group = send(_rows(sound, seed, left_out.__setitem__))
        found = {what: why for what, why in left_out.items() if why in _FAILED_READINGS}
        if not found:
            return {**group, "left_out": dict(sorted({**left_out, **damaged}.items()))}
        failed.update(found.keys())
        damaged |= {what: why for what, why in found.items() if failed[what] >= READINGS}


def _send_group(
    rows: Iterator[dict[str, Any]],
    *,
    number: int,
    split: str,
    destination: Destination,
    recipe: Recipe,
    folder: Path,
    bar: Bar,
) -> dict[str, Any]:
    """Make a group's shards, each sent while the next is made; return what its marker says."""
    unlabelled = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal unlabelled
        for row in rows:
            unlabelled += row["label"] is None
            bar.update(1)
            yield row

    size = recipe.shard_size_mb * 1_000_000
    with Sending(destination) as sending:
        for shard in write_clips(counted(), folder, prefix=f"{number:05d}", shard_bytes=size):
            sending.send(f"data/{split}", shard)
    return {"shards": sending.sent, "unlabelled": unlabelled}


def _parts(request: Request, split: str, recipe: Recipe, *, offline: bool) -> dict[str, _Part]:
    """Return what to read by a name that says what is in it, and so fixes the order."""
    streams = stream_split(request, split, offline=offline)
    parts = {_name_of(part): _one_of_many(part, recipe.mix) for part in streams}
    expected = sum(map(_usual_clips, parts.values())) * _USUAL_CLIP_BYTES
    check_number_of_files(split, expected, recipe.shard_size_mb)
    return parts


def _rows(parts: Sequence[_Part], seed: str, on_left_out: OnLeftOut) -> Iterator[dict[str, Any]]:
    return shuffle(
        [_embedded_rows(part, on_left_out) for part in parts],
        seed=seed,
        size_of=lambda row: len(row["video"]["bytes"]),
        most_bytes=BUFFER_BYTES,
        most_rows=BUFFER_ROWS,
    )


def _embedded_rows(part: _Part, on_left_out: OnLeftOut) -> Iterator[dict[str, Any]]:
    """Yield a tarball's rows with the clips' bytes, and no path of this machine."""
    for row in part.records(on_left_out):
        path, data = row["video"]["path"], row["video"]["bytes"]
        if data is None:
            try:
                data = Path(path).read_bytes()
            except OSError as error:
                raise StoreError(f"data_dir: '{path}' cannot be read ({error.strerror})") from None
        name = path.replace("\\", "/").rpartition("/")[2]
        yield {**row, "video": {"bytes": data, "path": name}}


def _one_of_many(part: _Part, mix: int) -> _Part:
    """Return a part that is read beside others, and shares with them what may be asked ahead."""
    if not isinstance(part, StreamedShard):
        return part
    return replace(part, ahead_bytes=min(part.ahead_bytes, _AHEAD_BYTES // mix))


def _name_of(part: _Part) -> str:
    only = part.only if isinstance(part, StreamedShard) else part.names
    name = _address(part)
    if only is None:
        return name
    return f"{name} {hashlib.sha256(' '.join(sorted(only)).encode()).hexdigest()[:16]}"


def _address(part: _Part) -> str:
    return part.tarball.path if isinstance(part, StreamedShard) else part.folder


def _usual_clips(part: _Part) -> int:
    only = part.only if isinstance(part, StreamedShard) else part.names
    if only is not None:
        return len(only)
    assert isinstance(part, StreamedShard)
    return _USUAL_CLIPS[part.tarball.split]

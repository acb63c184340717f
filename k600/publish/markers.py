"""Markers and card of a published place: the request it holds, to the byte, and what is done.

README.md                                     the card; written last
loader/                                       this loader, if it was asked for
data/<split>/<group>-<number>-<hash>.parquet  the rows
index/<split>.parquet                         where each clip lies in them, if they hold clips
.kinetics600/<split>/run.json                 the request; another one is refused
.kinetics600/<split>/groups/<group>.json      a group of tarballs is done: its shards, and which
                                              clips had to be left out, and why
.kinetics600/<split>/done.json                the split is done: its counts, and all its shards

So any machine can continue an interrupted run. The request is noted first, with all that fixes the
shards to the byte (`SplitJob.describe`, `pin_request`). A marker is written once its shards are
there; each later run checks shards against markers (`find_damaged`) and makes only what is missing
or damaged again, to the same bytes. At last a split is marked as done, stale files are removed
(`finish`), and the card is written (`update_card`). A fleet does the same with a marker for each
shard.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from k600.dataset.clip import TestLabels
from k600.dataset.splits import SPLITS, Split
from k600.errors import DestinationTakenError
from k600.errors.text import counted, public_url, short_hash
from k600.loading.request import Request
from k600.progress import Progress
from k600.publish.card import SplitFacts, write_card
from k600.publish.clip_index import index_path, make_index
from k600.publish.destination import Destination
from k600.publish.options import PublishOptions
from k600.publish.shards import is_entry
from k600.store.store import META_DIR
from k600.video.encoding import Encoding, describe_encoding

logger = logging.getLogger("kinetics600")

LOADER = f"{META_DIR}/loader.json"
"""Notes which files of this loader are in the folder `loader`, if it was published, too."""

PUBLISHED_FORMATS = {"metadata": 3, "embedded": 2, "webdataset": 2, "index": 1}
"""What a published row of each kind means: with another number, places begun before are refused."""


@dataclass(frozen=True, slots=True)
class SplitJob:
    """One split to publish, and how."""

    request: Request
    split: str
    destination: Destination
    how: PublishOptions

    def own(self, name: str) -> str:
        """Return the path of a marker of the split."""
        return f"{META_DIR}/{self.split}/{name}"

    def describe(
        self, groups: Sequence[Sequence[str]] = (), labels: TestLabels | None = None
    ) -> dict[str, Any]:
        """Return what fixes the shards to the byte; `groups` and `labels` if clips are embedded."""
        description = describe(self.request, self.split, self.how.kind)
        if self.how.kind == "index":  # of all that is known
            return {name: description[name] for name in ("format", "kind", "split")}
        if self.how.kind == "embedded":
            description |= {
                "shard_size_mb": self.how.shard_size_mb,
                "mix": self.how.mix,
                "tarballs": digest_of_names([name for group in groups for name in group]),
            }
            if Split(self.split).is_mixed:
                description["labels"] = digest_of_labels(labels or {})
        return description


def describe(request: Request, split: str, kind: str) -> dict[str, Any]:
    """Return what decides which clips, and which bytes, a split's shards hold."""
    return {
        "format": PUBLISHED_FORMATS[kind],
        "kind": kind,
        "split": split,
        "classes": None if request.classes is None else [*request.classes],
        **dataclasses.asdict(request.limits),
        "manifest": None if request.manifest is None else request.manifest.digest,
        "source": request.source,
        **describe_encoding(request.encoding),
    }


def digest_of_names(names: Sequence[str]) -> str:
    """Return the number of names and a digest of them in their order."""
    digest = short_hash("\n".join(names))
    return f"{len(names)} ({digest})"


def digest_of_labels(labels: TestLabels) -> str:
    """Return a digest of the labels of test clips, also of none."""
    return short_hash("\n".join(f"{key} {label}" for key, label in sorted(labels.items())))


def check_place(destination: Destination, kind: str) -> None:
    """Raise `DestinationTakenError` if a place holds anything but a run of this kind."""
    begun = {*SPLITS} & destination.names(META_DIR)
    ours = {".gitattributes", META_DIR} | (
        {"README.md", "data", "index", "loader"} if begun else set()
    )
    if others := sorted(destination.names("") - ours):
        some = ", ".join(map(repr, others[:5]))
        raise DestinationTakenError(
            f"{destination.address} holds something else already: {some}. Publish to a place that "
            "is empty or not there yet"
        )

    for split in sorted(begun):
        run = _read_run(destination, split)
        if run is not None and run["kind"] != kind:
            raise DestinationTakenError(
                f"{destination.address} holds {run['kind']} of {split!r}: kind: {kind!r} is "
                "not allowed beside it. Publish to another place"
            )


def pin_request(destination: Destination, split: str, now: Mapping[str, Any]) -> None:
    """Note the request of a split; raise `DestinationTakenError` if another one is noted there."""
    before = _read_run(destination, split)
    if before is None:
        destination.commit(f"{split}: begun", {f"{META_DIR}/{split}/run.json": to_json(now)})
        return

    if "labels" not in before:  # of an older release
        now = {key: value for key, value in now.items() if key != "labels"}
    changed = [
        f"{key} was {before.get(key)!r:.80}, now {now.get(key)!r:.80}"
        for key in {**before, **now}
        if before.get(key) != now.get(key)
    ]
    if changed:
        raise DestinationTakenError(
            f"{destination.address} holds {split!r} of another request: {'; '.join(changed)}. Use "
            "the same options, or publish to another place"
        )


@dataclass(slots=True)
class SplitResult:
    """The shards of a split, as they are made."""

    shards: list[dict[str, Any]]
    """Entries of markers (`k600.publish.shards.send_shard`), by name."""
    unlabelled: int
    new: int
    """Shards that this run made; the others were there."""
    mended: int = 0
    """Shards that had been there, and were gone or damaged."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Counts of clips and tarballs that had to be left out, by reason."""

    def add(self, group: Mapping[str, Any]) -> None:
        """Add a group, by its marker."""
        self.shards += group["shards"]
        self.unlabelled += group["unlabelled"]
        for reason in group.get("left_out", {}).values():
            self.left_out[reason] = self.left_out.get(reason, 0) + 1


def find_damaged(
    destination: Destination,
    split: str,
    shards: Sequence[Mapping[str, Any]],
    progress: Progress,
) -> set[str]:
    """Return the names of shards that differ from their markers' entries, and warn of them.

    Those on this machine are read completely, so that bytes lost to zeros are found, too.
    """
    if not shards:
        return set()

    total = sum(shard["size_bytes"] for shard in shards)
    with progress(total, f"{split}, checking") as bar:
        damaged = destination.differing(f"data/{split}", shards, bar.update)
    if damaged:
        some = ", ".join(sorted(damaged)[:3]) + (", …" if len(damaged) > 3 else "")
        logger.warning(
            f"kinetics600 {split}: {len(damaged):,} of {counted(len(shards), 'shard')} at "
            f"{destination.address} gone or damaged ({some}), to be made again"
        )
    return damaged


def finish(
    destination: Destination,
    split: str,
    result: SplitResult,
    *,
    whole: bool,
    encoding: Encoding | None,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Mark a split as done, remove stale files, and return the marker.

    `whole` is whether all classes and clips were requested, `encoding` how clips were encoded
    anew; `more` is noted, too.
    """
    path = f"{META_DIR}/{split}/done.json"
    before = read_marker(destination, path)
    index = make_index(split, result.shards)
    if index is not None:
        index_sha256 = hashlib.sha256(index).hexdigest()
    else:  # of tables, or of clips of which nothing changed
        index_sha256 = (before or {}).get("index_sha256", "")
    facts = SplitFacts(
        split,
        clips=sum(shard["clips"] for shard in result.shards),
        unlabelled=result.unlabelled,
        video_bytes=sum(shard["video_bytes"] for shard in result.shards),
        parquet_bytes=sum(shard["size_bytes"] for shard in result.shards),
        whole=whole,
        left_out=dict(sorted(result.left_out.items())),
        encoded="" if encoding is None else encoding.words,
        index_sha256=index_sha256,
    )
    # What lies where in a shard is in the index.
    shards = [{k: v for k, v in shard.items() if k != "index"} for shard in result.shards]
    done = {**dataclasses.asdict(facts), **(more or {}), "shards": shards}

    folder = f"data/{split}"
    files = {path: to_json(done)}
    if index is not None and destination.read(index_path(split)) != index:
        files = {index_path(split): index, **files}
    stale = sorted(destination.names(folder) - {shard["name"] for shard in result.shards})
    if stale or result.new or len(files) > 1 or before != done:
        delete = [f"{folder}/{name}" for name in stale]
        destination.commit(f"{split}: done", files, delete)
    return done


def update_card(destination: Destination, kind: str, *, name: str) -> None:
    """Write the card of all splits that are done, if it changed."""
    done = [read_marker(destination, f"{META_DIR}/{split}/done.json") for split in SPLITS]
    names = [field.name for field in dataclasses.fields(SplitFacts)]
    known = [{key: each[key] for key in names if key in each} for each in done if each]
    facts = [SplitFacts(**each) for each in known]
    has_loader = LOADER.rpartition("/")[2] in destination.names(META_DIR)
    private = bool(destination.private)
    card = write_card(kind, facts, name=name, private=private, has_loader=has_loader).encode()
    if destination.read("README.md") != card:
        destination.commit("The card", {"README.md": card})


def name_on_card(to: str) -> str:
    """Return the name of a folder or URL on the card: as `load_dataset` takes a local copy.

    Example:
        >>> name_on_card("s3://bucket/k600/")
        './k600'
    """
    return f"./{public_url(to).rstrip('/').rpartition('/')[2] or 'kinetics-600'}"


def to_json(value: Any) -> bytes:
    """Return plain data as the bytes of a marker."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def read_json(destination: Destination, path: str) -> dict[str, Any] | None:
    """Return a small JSON file of a place; None if it is missing or damaged."""
    data = destination.read(path)
    try:
        return None if data is None else dict(json.loads(data))
    except (ValueError, TypeError):
        return None


def read_marker(destination: Destination, path: str) -> dict[str, Any] | None:
    """Return the marker of a split, a group or a shard; None if it is missing or damaged."""
    marker = read_json(destination, path) or {}
    shards = marker.get("shards", [marker.get("shard")])

    # Marker and shards begin with the same number, so one in the place of another is noticed.
    number = re.search(r"[0-9]{5}(?=\.json$)", path)
    begin = f"{number[0]}-" if number else ""
    is_marker = (
        isinstance(shards, list)
        and isinstance(marker.get("unlabelled"), int)
        and isinstance(marker.get("left_out", {}), dict)
        and all(is_entry(shard) and shard["name"].startswith(begin) for shard in shards)
    )
    return marker if is_marker else None


def _read_run(destination: Destination, split: str) -> dict[str, Any] | None:
    """Return the noted request of a split, None if there is none.

    Raises `DestinationTakenError` if it is damaged, or gone from beside other markers: the shards
    may be anybody's.
    """
    path = f"{META_DIR}/{split}/run.json"
    run = read_json(destination, path)
    there = () if run is not None else destination.names(f"{META_DIR}/{split}")
    if "run.json" in there:  # another run, beside this one, may have begun just now
        run = read_json(destination, path)
    if run is not None and "kind" in run:
        return run
    if there or run is not None:
        what = "damaged" if run is not None or "run.json" in there else "gone"
        raise DestinationTakenError(
            f"{destination.address}/{path} is {what}. Publish to another place"
        )
    return None

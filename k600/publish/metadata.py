"""Tables of clips without the clips: what lists say and the store proves, and where each lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from k600.dataset.clip import Clip, Place, Tarball, TestLabels, label_of, parse_file_name
from k600.dataset.labels import NAMES, label_id
from k600.dataset.splits import UNLABELED
from k600.errors import ListError
from k600.loading.ask_host import settle_rows
from k600.loading.columns import place_values
from k600.loading.manifest import sha256_of
from k600.loading.missing import raise_nothing, stored_shards
from k600.loading.plan import Plan
from k600.loading.request import Request
from k600.loading.rows import StoredClip
from k600.loading.state import read_state

Row = dict[str, Any]


def metadata_rows(
    request: Request,
    split: str,
    *,
    on_clip: Callable[[], object] = lambda: None,
) -> list[Row]:
    """Return the rows of one split by class id and file name.

    No clip is fetched; those in the store are read for their SHA-256. `ListError` and `MirrorError`
    are raised only if the store holds nothing.
    """
    state = read_state(request, split, keep=False)
    try:
        state, plan = settle_rows(state)
    except ListError:
        if request.chooses or not any(map(state.inventory.names, request.folders(split))):
            raise
        plan = Plan()  # a mirror without lists: the store's clips are what there is

    shards = stored_shards(state, plan.chosen if request.chooses else None)
    stored = [found for shard in shards for found in shard.clips()]
    there = {found.clip for found in stored}
    chosen = dict.fromkeys(Clip.at(candidate, split) for candidate in plan.chosen)
    listed = [clip for clip in chosen if clip not in there]
    if not stored and not listed:
        raise_nothing(state)

    keys = {clip: clip.candidate for clip in (*there, *listed)}
    tarballs = state.places.tarballs_of(keys.values(), state.known)
    places = state.places.find(keys.values())

    def row_of(clip: Clip, found: StoredClip | None = None) -> Row:
        tarball = tarballs.get(keys[clip])
        row = {
            **asdict(clip),
            "label": None if clip.label is None else label_id(clip.label),
            "url": f"https://www.youtube.com/watch?v={clip.youtube_id}&t={clip.time_start}s",
            "source": None,
            "tarball": None if tarball is None else tarball.name,
            **dict.fromkeys(("size_bytes", "sha256", "fps")),
            **place_values(places.get(keys[clip])),
        }
        if found is not None:
            row |= {"source": found.source, "fps": found.fps}
            row |= {"size_bytes": found.path.stat().st_size, "sha256": sha256_of(found.path)}
            on_clip()
        return row

    with ThreadPoolExecutor() as pool:
        rows = list(pool.map(lambda found: row_of(found.clip, found), stored))
    rows += map(row_of, listed)
    return sorted(rows, key=_order)


def index_rows(request: Request, split: str, labels: TestLabels) -> list[Row]:
    """Return a row (`k600.loading.columns.INDEX`) for each clip that was seen in a tarball.

    The order is that of tarballs and of the clips in them. Rows of clips that cannot be read alone
    say only which tarball holds them.

    Args:
        request: Its store's ledger is read, as far as it is about the request's mirror.
        split: One of its splits.
        labels: Labels of test clips; of others, the ledger says what it knows.
    """
    ledger = request.ledger
    members = [
        row for row in ledger.clips(split) if row.position >= 0 and parse_file_name(row.file_name)
    ]
    done = {name for name, row in ledger.tarballs(split).items() if row.state == "done"}
    sizes = Counter(row.tarball.name for row in members if row.tarball.name in done)
    keys = [(row.tarball.label or UNLABELED, row.file_name) for row in members]
    places = ledger.places(split, keys)
    rows = []
    for member, key in zip(members, keys, strict=True):
        folder = member.folder.partition("/")[2]  # that was meant for it
        label = member.tarball.label or label_of(member.file_name, labels, folder)
        clip = Clip.at((label, member.file_name), split)
        known = sizes.get(member.tarball.name)
        rows.append(index_row(clip, member.tarball, places.get(key), known))
    return rows


def index_row(clip: Clip, tarball: Tarball, place: Place | None, tarball_clips: int | None) -> Row:
    """Return the row of a clip in an index; `tarball_clips` are all in it, None where unknown."""
    return {**asdict(clip), "tarball": tarball.name, **place_values(place, tarball_clips)}


def _order(row: Row) -> tuple[Any, ...]:
    label = len(NAMES) if row["label"] is None else row["label"]
    return (label, row["youtube_id"], row["time_start"], row["time_end"])

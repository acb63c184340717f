"""What has to come from the mirror, decided from what is asked, known and there. Pure.

The decision is per tarball. A tarball that was read to its end once is never read again for
what it was proved not to hold; one whose clips have vanished from the store is read only up
to the last of them. Whether one that failed its own checks is read again is decided where its ETag
is known (`k600.loading.read_tarballs.stat_tarballs`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping

from k600.clip import Tarball
from k600.store.rows import ClipRow, LedgerView, StoredGroup
from k600.tarballs.extract import TarballRead

__all__ = [
    "MEAN_CLIP_BYTES",
    "MOST_FROM_YOUTUBE",
    "YOUTUBE_CLIP_BYTES",
    "choose_route",
    "plan_needs",
]

MEAN_CLIP_BYTES = 1_480_000
"""Mean size of a clip: 88 GB over 59,608 files in the test split, the largest of the three."""
YOUTUBE_CLIP_BYTES = 700_000
"""Mean size of a clip cut from YouTube, at 360 lines."""

MOST_FROM_YOUTUBE = 300
"""Clips that a guest may ask YouTube for in an hour, about; more come from the tarballs."""


def choose_route(source: str, *, lacking: int, given_up: bool, origin: str | None = None) -> str:
    """Decide where chosen clips come from that are not in the store.

    Args:
        source: The option.
        lacking: How many clips are to come, 1 or more.
        given_up: Whether YouTube refuses, cannot be reached or lacks a tool here.
        origin: Where a manifest has a clip from, None without one: another source has other bytes.

    Returns:
        `youtube`, `cvdf` (the tarballs), or empty for nowhere.

    Example:
        >>> choose_route("auto", lacking=10, given_up=False)
        'youtube'
    """
    if source == "auto" and origin is not None:
        source = "youtube" if origin == "youtube" else "cvdf"
    if source == "youtube":
        return "" if given_up else "youtube"
    if source == "auto" and not given_up and lacking <= MOST_FROM_YOUTUBE:
        return "youtube"
    return "cvdf"


def plan_needs(
    tarballs: Iterable[Tarball],
    known: LedgerView,
    here: Callable[[str], Collection[str]],
    *,
    wanted: frozenset[str] | None = None,
    retry_errors: bool = False,
    refetch: bool = False,
    listing: Mapping[str, Collection[str]] | None = None,
    copies: Mapping[str, Collection[str]] | None = None,
) -> list[TarballRead]:
    """Decide which tarballs to read for a request within one split.

    Args:
        tarballs: All that may hold a clip of the request.
        known: What the ledger says of this split.
        here: Returns the file names in a store folder (`<split>/<class name>`).
        wanted: The file names asked for; None for all. (A class of the test split is spread
            over all its tarballs.)
        retry_errors: Ask again for what a tarball was proved not to hold.
        refetch: Ask again for everything.
        listing: File names that each class should hold, as far as known. Where they are all
            there, and none came unproved from their tarball, it need not be read.
        copies: File names, by store folder, of clips that are there and that the tarballs' own are
            to replace.

    Returns:
        The needs, in the order of `tarballs`.
    """

    def lacking_of(folder: str, names: frozenset[str]) -> frozenset[str]:
        return names.difference(here(folder)) | names.intersection((copies or {}).get(folder, ()))

    held: dict[str, list[StoredGroup]] = defaultdict(list)
    for group in known.groups:
        held[group.tarball.name].append(group)
    others: dict[str, list[ClipRow]] = defaultdict(list)
    for clip in known.others:
        if wanted is None or clip.file_name in wanted:
            others[clip.tarball.name].append(clip)
    needs = []
    for tarball in tarballs:
        row = known.tarballs.get(tarball.name)
        if refetch or row is None or row.state != "done":
            listed = frozenset((listing or {}).get(tarball.name, ()))
            unproved = any(group.source == "cvdf" for group in held[tarball.name])
            folder = f"{tarball.split}/{tarball.label}"
            whole = listed and not unproved and not lacking_of(folder, listed)
            if refetch or not whole:
                needs.append(TarballRead(tarball, wanted))
            continue
        own = others[tarball.name]
        if retry_errors and any(clip.state in ("bad", "absent") for clip in own):
            needs.append(TarballRead(tarball, wanted))
            continue
        lacking = set[str]()
        for clip in own:
            if clip.state == "skipped":
                lacking |= lacking_of(clip.folder, frozenset((clip.file_name,)))
        for group in held[tarball.name]:
            vanished = lacking_of(group.folder, group.names)
            lacking |= vanished if wanted is None else vanished & wanted
        if lacking:
            needs.append(TarballRead(tarball, frozenset(lacking), until_found=True))
    return needs

"""What of each tarball to read: all that is asked for, and where clips come one by one instead.

Pure. A tarball that was read to its end once is never read again for what it was proved not to
hold; one whose clips have vanished from the store is read only up to the last of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from k600.clip import Place, Tarball
from k600.loading.selection import Candidate
from k600.store.rows import ClipRow, LedgerView, StoredGroup
from k600.tarballs.extract import TarballRead, is_wanted

_NEARLY_ALL = 0.8
"""Share of a tarball from which on it is read: the rest is a small price for one pass instead of
many requests, and for the checks at its end."""


def plan_reads(
    tarballs: Iterable[Tarball],
    known: LedgerView,
    here: Callable[[str], Collection[str]],
    *,
    wanted: frozenset[str] | None = None,
    without: frozenset[str] = frozenset(),
    retry_errors: bool = False,
    refetch: bool = False,
    listing: Mapping[str, Collection[str]] | None = None,
    copies: Mapping[str, Collection[str]] | None = None,
) -> list[TarballRead]:
    """Return which of these tarballs to read for all they hold that is asked for.

    Args:
        tarballs: All that may hold a clip of the request.
        known: What the ledger says of this split.
        here: Returns the file names in a store folder (`<split>/<class name>`).
        wanted: The file names asked for; None for all.
        without: YouTube ids of videos whose clips are not asked for.
        retry_errors: Ask again for what a tarball was proved not to hold.
        refetch: Ask again for everything.
        listing: File names that each class should hold, as far as known.
        copies: File names, by store folder, of clips that the tarballs' own are to replace.
    """

    def wants(name: str) -> bool:
        return is_wanted(name, wanted, without)

    def lacking_of(folder: str, names: frozenset[str]) -> frozenset[str]:
        names = frozenset(filter(wants, names)) if without else names
        return names.difference(here(folder)) | names.intersection((copies or {}).get(folder, ()))

    held: dict[str, list[StoredGroup]] = defaultdict(list)
    for group in known.groups:
        held[group.tarball.name].append(group)
    others: dict[str, list[ClipRow]] = defaultdict(list)
    for clip in known.others:
        if wants(clip.file_name):
            others[clip.tarball.name].append(clip)

    reads = []
    for tarball in tarballs:
        row, own = known.tarballs.get(tarball.name), others[tarball.name]
        if refetch:
            reads.append(TarballRead(tarball, wanted, without))
            continue

        if row is None or row.state != "done":
            # Where all that is listed is there, and none of it came unproved from this tarball, it
            # need not be read.
            listed = frozenset((listing or {}).get(tarball.name, ()))
            unproved = any(group.source == "cvdf" for group in held[tarball.name])
            folder = f"{tarball.split}/{tarball.label}"
            if not listed or unproved or lacking_of(folder, listed):
                reads.append(TarballRead(tarball, wanted, without))
            continue

        if retry_errors and any(clip.state in ("bad", "absent") for clip in own):
            reads.append(TarballRead(tarball, wanted, without))
            continue

        lacking = set[str]()
        for clip in own:
            if clip.state == "skipped":
                lacking |= lacking_of(clip.folder, frozenset((clip.file_name,)))
        for group in held[tarball.name]:
            vanished = lacking_of(group.folder, group.names)
            lacking |= set(filter(wants, vanished))
        if lacking:
            reads.append(TarballRead(tarball, frozenset(lacking), until_found=True))
    return reads


def divide(
    reads: Iterable[TarballRead], places: Mapping[Candidate, Place], refused: Collection[Candidate]
) -> dict[str, Any]:
    """Divide what comes from tarballs: clips by one request each, and tarballs to read.

    Of one tarball all clips come in the same way: if it is read for one whose place is not known,
    the others come along; and if they are nearly all of it, it is read. What no source gave in this
    call is not asked for again.
    """
    at = {(place.tarball, name): (label, name) for (label, name), place in places.items()}
    gone = {("", name) for _, name in refused} | {*refused}
    entries: dict[Candidate, Place] = {}
    left = []
    for read in reads:
        label = read.tarball.label or ""
        if read.only and all((label, name) in gone for name in read.only):
            continue
        clips = [at.get((read.tarball, name)) for name in read.only]
        known = {clip: places[clip] for clip in clips if clip is not None}
        share = sum(p.entry.span_bytes / p.tarball_bytes for p in known.values())
        if len(known) == len(clips) > 0 and share < _NEARLY_ALL:
            entries |= known
        else:
            left.append(read)
    return {"entries": entries, "cvdf": left}

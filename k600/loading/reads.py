"""What of each tarball to read: all that is asked for, and where clips come one by one instead.

Pure. A tarball that was read to its end once is never read again for what it was proved not to
hold; one whose clips have vanished from the store is read only up to the last of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping

from k600.dataset.clip import NOTHING, Place, Tarball, Without
from k600.loading.selection import Candidate
from k600.store.rows import ClipRow, LedgerView
from k600.tarballs.extract import TarballRead

_NEARLY_ALL = 0.8
"""Share of a tarball from which on it is read: the rest is a small price for one pass instead of
many requests, and for the checks at its end."""


def plan_reads(
    tarballs: Iterable[Tarball],
    known: LedgerView,
    here: Callable[[str], Collection[str]],
    *,
    wanted: frozenset[str] | None = None,
    without: Without = NOTHING,
    retry_errors: bool = False,
    refetch: bool = False,
    listing: Mapping[str, Collection[str]] | None = None,
) -> list[TarballRead]:
    """Return which of these tarballs to read for all they hold that is asked for.

    `known` is what the ledger says of the split, and `here` returns the file names in a store
    folder. Asked for are the file names `wanted` (None: all), but for those of videos `without`.
    `listing` has those that each class should hold, as far as known. With `retry_errors`, what a
    tarball was proved not to hold is asked for again, and with `refetch` everything.
    """
    given: dict[str, list[tuple[str, frozenset[str]]]] = defaultdict(list)
    others: dict[str, list[ClipRow]] = defaultdict(list)
    for group in known.groups:
        given[group.tarball.name].append((group.folder, group.names))
    for clip in known.others:
        others[clip.tarball.name].append(clip)
        if clip.state == "skipped":
            given[clip.tarball.name].append((clip.folder, frozenset((clip.file_name,))))
    done = known.done
    unproved = {group.tarball.name for group in known.groups if group.source == "cvdf"}

    reads = []
    for tarball in tarballs:
        whole, is_done = TarballRead(tarball, wanted, without), tarball.name in done
        listed = frozenset((listing or {}).get(tarball.name, ()))
        usual = (f"{tarball.split}/{tarball.label}", listed)
        held = given[tarball.name] if is_done else [usual]
        names = {name for folder, own in held for name in own.difference(here(folder))}
        lacking = frozenset(filter(whole.wants, names))

        failed = (clip for clip in others[tarball.name] if clip.state in ("bad", "absent"))
        again = is_done and retry_errors and any(whole.wants(clip.file_name) for clip in failed)
        # Where all that is listed is there, and none of it came unproved from this tarball, it
        # need not be read.
        unread = not is_done and (not listed or tarball.name in unproved or lacking)
        if refetch or again or unread:
            reads.append(whole)
        elif is_done and lacking:
            reads.append(TarballRead(tarball, lacking, until_found=True))
    return reads


def reads_of(tarballs: Mapping[Candidate, Tarball]) -> list[TarballRead]:
    """Return what to read for clips, each in a tarball: every tarball up to the last of its own."""
    names: dict[Tarball, set[str]] = defaultdict(set)
    for (_, name), tarball in tarballs.items():
        names[tarball].add(name)
    return [TarballRead(t, frozenset(own), until_found=True) for t, own in names.items()]


def divide(
    reads: Iterable[TarballRead], places: Mapping[Candidate, Place], refused: Collection[Candidate]
) -> tuple[dict[Candidate, Place], list[TarballRead]]:
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
    return entries, left

"""A few clips of the test split from its tarballs, one by one: no list says what they hold.

The tarballs are gone through in a fixed order (that of their numbers, or one that the seed gives)
and each is read no further than to the last clip that is still lacking. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from k600.clip import Tarball, label_of, names_of_classes
from k600.labels import NAMES
from k600.loading.cheaper import MEAN_CLIP_BYTES
from k600.loading.selection import Candidate, share_of, walk_clips, walk_order
from k600.loading.state import State
from k600.splits import UNLABELED
from k600.store.rows import ClipRow
from k600.tarballs.extract import TarballRead

_TARBALL_BYTES = 1_470_000_000
"""Mean size of a test tarball: each is read whole where clips are counted by class."""


def next_unlisted(
    state: State, first: Sequence[Candidate] = (), *, read: Collection[Tarball] = ()
) -> tuple[list[Candidate], list[TarballRead], int | None]:
    """Choose among the clips known by now, and return what to read next.

    Args:
        state: How things stand.
        first: Clips that are there already and count.
        read: Tarballs that were read in this call: bad clips of theirs are not asked for again.

    Returns:
        The chosen clips; the tarballs to read: none if the clips are there, one that goes on
        as long as there are too few, at last those of clips that are not there; and how many clips
        are meant, None as long as a tarball that was not read may hold more of them.
    """
    request, limits = state.request, state.request.limits
    classes = len(request.classes or NAMES)
    failed = {tarball.name for tarball in state.host.failures}
    wanted = state.wanted

    done = {name for name, row in state.known.tarballs.items() if row.state == "done"}
    counted = limits.by_class
    unknown = {tarball.name for tarball in state.host.tarballs} - done
    unknown -= {tarball.name for tarball in state.host.doubted}
    read_as = {name: (row.etag, row.size_bytes) for name, row in state.known.tarballs.items()}
    indexed = state.places.members(unknown, read_as)
    clips = {clip[1]: clip for clip in first}
    if not limits.shuffle:
        clips |= _there(state)
    where: dict[str, Tarball] = {}
    brought = set[str]()
    unread, own = "", set[str]()
    for name in walk_order([tarball.name for tarball in state.host.tarballs], limits):
        if name in failed:
            continue
        members = [clip for clip in state.members.get(name, ()) if state.wants(clip.file_name)]
        good = _good(members, indexed.get(name), is_read=name in done)
        good = [file_name for file_name in good if state.wants(file_name)]
        if name in indexed and counted and not limits.shuffle:
            # Clips that are there come first, and reading would bring all of the classes that have
            # too few, more of them than are chosen: so who asks for single ones chooses the same.
            chosen = walk_clips([*clips.values()], limits, classes=classes)
            short = _of_short_classes(state, chosen)
            if not short or len(chosen) == limits.max_samples:
                break
            brought.update(short.intersection(good))
            clips = {**{clip[1]: clip for clip in first}, **_there(state, brought), **clips}
        for file_name in good:
            clips.setdefault(file_name, (label_of(file_name, state.labels), file_name))
            where.setdefault(file_name, Tarball(state.split, name))
        retry = request.retry_errors and Tarball(state.split, name) not in read
        known = name in done or name in indexed
        if not known or (retry and any(clip.state in ("bad", "absent") for clip in members)):
            unread, own = name, {clip.file_name for clip in members}
            break

    chosen = walk_clips([*clips.values()], limits, classes=classes)
    if counted:
        wanted = _of_short_classes(state, chosen)
        unread = unread if wanted else ""
    if unread and len(chosen) != limits.max_samples:
        # Where classes are counted, no number of clips says when a tarball gives no more. Else it
        # is read from its start again, and what came of it before counts among what it gives.
        others = [clip for name, clip in clips.items() if name not in own]
        before = len(walk_clips(others, limits, classes=classes))
        most = None if counted else (limits.max_samples or 0) - before
        tarball = Tarball(state.split, unread)
        more = TarballRead(
            tarball, wanted, state.without, until_found=most is not None, most=most, goes_on=True
        )
        return chosen, [more], limits.max_samples

    lost = counted and failed and wanted
    lacking = [clip for clip in chosen if state.place_of(clip) is None]
    reads = _reads_for([name for _, name in lacking], where)
    return chosen, reads, limits.max_samples or (None if lost else len(chosen))


def _good(
    members: Sequence[ClipRow], indexed: Iterable[str] | None, *, is_read: bool
) -> Iterable[str]:
    """Return the names of a tarball's clips that are not bad, in its order, as far as is known."""
    good = {clip.file_name: clip for clip in members if clip.state in ("have", "skipped")}
    if is_read:
        return good
    if indexed is None:  # of a clip that came by itself, nobody knows which ones lie before it
        return [name for name, clip in good.items() if clip.position >= 0]
    bad = {clip.file_name for clip in members} - good.keys()
    return [name for name in indexed if name not in bad]


def bytes_to_search(state: State, clips: int) -> float:
    """Return about how much of the test tarballs is read until there are so many more clips."""
    request = state.request
    found = clips * MEAN_CLIP_BYTES * len(NAMES) / len(request.classes or NAMES)
    return max(found, _TARBALL_BYTES) if request.limits.by_class else found


def next_to_search(state: State, names: frozenset[str]) -> TarballRead | None:
    """Return the next test tarball to read for clips of which a manifest does not say where they
    are; None if no tarball is left that may hold them.
    """
    for tarball in state.host.tarballs:
        row = state.known.tarballs.get(tarball.name)
        done = row is not None and row.state == "done"
        if not done and tarball not in state.host.failures:
            return TarballRead(tarball, names, until_found=True, most=len(names), goes_on=True)
    return None


def _reads_for(names: Iterable[str], where: Mapping[str, Tarball]) -> list[TarballRead]:
    """Return the tarballs to read for clips that are not there, or not any more."""
    found: dict[Tarball, set[str]] = {}
    for name in names:
        found.setdefault(where[name], set()).add(name)
    return [TarballRead(t, frozenset(own), until_found=True) for t, own in found.items()]


def _of_short_classes(state: State, chosen: Sequence[Candidate]) -> frozenset[str]:
    """Return the file names of the classes of which there are too few by now."""
    limits, names = state.request.limits, state.request.classes or NAMES
    counts = Counter(label for label, _ in chosen)
    share = share_of(limits, classes=len(names))
    short = {label for label in names if share is None or counts[label] < share}
    return names_of_classes(short, state.labels)


def _there(state: State, brought: Iterable[str] = ()) -> dict[str, Candidate]:
    """Return the clips that are in the store, or would be, in the dataset's order."""
    more: dict[str, set[str]] = {}
    for name in brought:
        more.setdefault(f"{state.split}/{label_of(name, state.labels)}", set()).add(name)

    found: dict[str, Candidate] = {}
    for folder in state.request.folders(state.split):
        for name in sorted(more.get(folder, set()).union(state.inventory.names(folder))):
            label = label_of(name, state.labels)
            label = folder.partition("/")[2] if label == UNLABELED else label
            if state.request.classes is None or label in state.request.classes:
                found.setdefault(name, (label, name))
    return found

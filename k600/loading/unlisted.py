"""A few clips of the test split from its tarballs, one by one: no list says what they hold.

The tarballs are gone through in a fixed order (that of their numbers, or one that the seed gives)
and each is read no further than to the last clip that is still lacking. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from k600.dataset.clip import Tarball, label_of, names_of_classes
from k600.dataset.labels import NAMES
from k600.loading.cheaper import MEAN_CLIP_BYTES
from k600.loading.reads import reads_of
from k600.loading.selection import Candidate, share_of, walk_clips, walk_order
from k600.loading.state import State
from k600.store.rows import ClipRow
from k600.tarballs.extract import TarballRead

_TARBALL_BYTES = 1_470_000_000
"""Mean size of a test tarball: each is read whole where clips are counted by class."""


@dataclass(slots=True)
class _Walk:
    """What is known of the tarballs, one after the other, up to the first that has to be read."""

    clips: dict[str, Candidate]
    """Those to choose among by their names, in the order of choice."""
    where: dict[str, Tarball] = field(default_factory=dict)
    """The tarballs of those that were met."""
    unread: Tarball | None = None
    """The tarball to read next; None if all that matters is known."""
    own: set[str] = field(default_factory=set)
    """File names of those of its clips that are known."""


def next_unlisted(
    state: State, first: Sequence[Candidate] = (), *, read: Collection[Tarball] = ()
) -> tuple[list[Candidate], list[TarballRead], int | None]:
    """Choose among the clips known by now, and return what to read next.

    The clips `first` are there already and count; bad clips of tarballs that were `read` in this
    call are not asked for again.

    Returns:
        The chosen clips; the tarballs to read: none if the clips are there, one that goes on
        as long as there are too few, at last those of clips that are not there; and how many clips
        are meant, None as long as a tarball that was not read may hold more of them.
    """
    limits, counted = state.request.limits, state.request.limits.by_class
    walk = _walk(state, first, read)
    chosen = _chosen(state, walk.clips.values())
    wanted = _of_short_classes(state, chosen) if counted else state.wanted

    if walk.unread and len(chosen) != limits.max_samples and not (counted and not wanted):
        # Where classes are counted, no number of clips says when a tarball gives no more. Else it
        # is read from its start again, and what came of it before counts among what it gives.
        others = (clip for name, clip in walk.clips.items() if name not in walk.own)
        most = None if counted else (limits.max_samples or 0) - len(_chosen(state, others))
        until_found = most is not None
        more = TarballRead(walk.unread, wanted, state.without, until_found, most, goes_on=True)
        return chosen, [more], limits.max_samples

    lacking = [clip for clip in chosen if state.place_of(clip) is None]
    lost = counted and state.host.failures and wanted
    count = limits.max_samples or (None if lost else len(chosen))
    return chosen, reads_of({clip: walk.where[clip[1]] for clip in lacking}), count


def _walk(state: State, first: Sequence[Candidate], read: Collection[Tarball]) -> _Walk:
    """Go through the tarballs in their order, as far as it is known what they hold."""
    request, limits, host = state.request, state.request.limits, state.host
    done = state.known.done
    unknown = {tarball.name for tarball in host.tarballs if tarball not in host.doubted} - done
    read_as = {name: (row.etag, row.size_bytes) for name, row in state.known.tarballs.items()}
    # Who chooses by the index chooses the same as who has read the tarballs: of those as they are.
    index = state.places.opened_index() if unknown else None
    indexed = {} if index is None else index.members(state.split, unknown, read_as)

    own = {clip[1]: clip for clip in first}
    walk = _Walk({**own, **({} if limits.shuffle else _there(state))})
    brought = set[str]()
    for name in walk_order([tarball.name for tarball in host.tarballs], limits):
        tarball = Tarball(state.split, name)
        if tarball in host.failures:
            continue
        members = [clip for clip in state.members.get(name, ()) if state.wants(clip.file_name)]
        good = _good(members, indexed.get(name), is_read=name in done)
        good = [file_name for file_name in good if state.wants(file_name)]

        if name in indexed and limits.by_class and not limits.shuffle:
            # Clips that are there come first, and reading would bring all of the classes that have
            # too few, more of them than are chosen: so who asks for single ones chooses the same.
            chosen = _chosen(state, walk.clips.values())
            short = _of_short_classes(state, chosen)
            if not short or len(chosen) == limits.max_samples:
                break
            brought.update(short.intersection(good))
            walk.clips = {**own, **_there(state, brought), **walk.clips}

        for file_name in good:
            walk.clips.setdefault(file_name, (label_of(file_name, state.labels), file_name))
            walk.where.setdefault(file_name, tarball)
        failed = any(clip.state in ("bad", "absent") for clip in members)
        again = request.retry_errors and failed and tarball not in read
        if again or not (name in done or name in indexed):
            walk.unread, walk.own = tarball, {clip.file_name for clip in members}
            break
    return walk


def _chosen(state: State, clips: Iterable[Candidate]) -> list[Candidate]:
    request = state.request
    return walk_clips(clips, request.limits, classes=len(request.classes or NAMES))


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
    done = state.known.done
    for tarball in state.host.tarballs:
        if tarball.name not in done and tarball not in state.host.failures:
            return TarballRead(tarball, names, until_found=True, most=len(names), goes_on=True)
    return None


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
            label = label_of(name, state.labels, folder.partition("/")[2])
            if state.request.classes is None or label in state.request.classes:
                found.setdefault(name, (label, name))
    return found

"""Among which clips a request chooses: what is listed, was seen in tarballs, or is there."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from k600.clip import Clip, TestLabels, parse_file_name
from k600.errors import ListError, ManifestError, NoClipsError, OptionError
from k600.labels import NAMES
from k600.loading.manifest import ManifestRow
from k600.loading.selection import Candidate
from k600.loading.state import State, wanted_names
from k600.splits import UNLABELED, Split
from k600.store.rows import LedgerView
from k600.tarballs.catalog import KeptLists

__all__ = ["Candidates", "clip_at", "find_candidates", "with_found"]

Candidates = dict[str, Sequence[str]]
"""File names by class; `_unlabeled` for test clips without one."""


def find_candidates(state: State) -> Candidates:
    """Return the file names, by class, among which a request for some clips chooses.

    Those of the manifest. Else those of the host's list, and with them what its tarballs were seen
    to hold and what is in the store: the host's list does not name all. Without the network, those
    in the store. For the test split, what its tarballs hold once they were all read; before,
    DeepMind's list, or the host's own, which has no labels.

    Raises:
        ListError: The mirror has no list of the clips, and there is no other way to know them.
        NoClipsError: The list holds none of the classes.
        ManifestError: The manifest names clips that the list does not.
        OptionError: The choice depends on labels, and there are none.
    """
    request, split, labels = state.request, state.split, state.labels
    lists, network = state.lists, state.network or state.youtube
    wanted_names(request, split, labels)  # classes of test clips need labels: said here, if not
    by_class = request.limits.balanced or request.limits.max_per_class is not None
    if Split(split).is_mixed and by_class and not labels:
        raise OptionError(
            "max_per_class, balanced: clips of the test split can be counted by class only with "
            "DeepMind's list of labels. Pass test_labels=… its path or URL"
        )
    if request.manifest is not None:
        return _of_manifest(state.origin.values(), lists, split, network=network)
    if Split(split).is_mixed and request.source == "cvdf" and network:
        return {}  # no list says what its tarballs hold: see `k600.loading.unlisted`
    asked = _asked(state)
    if not network:
        there = {label: sorted(state.inventory.names(f"{split}/{label}")) for label in asked}
        return {label: names for label, names in there.items() if names}
    if Split(split).is_mixed:
        listed = _of_read_tarballs(lists, state.known, labels) or _test_names(lists, labels)
    else:
        listed = _listed(state, asked)
    found = with_found({label: listed[label] for label in asked if listed.get(label)}, state)
    if not found and not Split(split).is_mixed:
        raise NoClipsError(
            f"classes: the host's list names no clip of {', '.join(asked[:5])}", settled=True
        )
    return found


def with_found(names: Candidates, state: State) -> Candidates:
    """Return candidates with those of their classes that no list names, but that were found.

    Args:
        names: The candidates.
        state: What was seen in tarballs, and what is in the store.
    """
    split = state.split
    more = {label: set(state.inventory.names(f"{split}/{label}")) for label in _asked(state)}
    if not Split(split).is_mixed:  # there, what all tarballs hold is known together, or not at all
        for group in state.known.groups:
            more.get(group.folder.partition("/")[2], set()).update(group.names)
        for clip in state.known.others:
            if clip.state in ("skipped", "bad"):
                more.get(clip.folder.partition("/")[2], set()).add(clip.file_name)
    listed = set().union(*names.values()) if Split(split).is_mixed else set[str]()
    found = dict(names)
    for label, others in more.items():
        others -= listed.union(names.get(label, ()))
        if others:
            found[label] = [*names.get(label, ()), *sorted(others)]
    return found


def _asked(state: State) -> tuple[str, ...]:
    """Return the classes to choose from, for `test` with that of clips without a label."""
    unlabeled = [UNLABELED] if Split(state.split).is_mixed else []
    return state.request.classes or (*NAMES, *unlabeled)


def clip_at(candidate: Candidate, split: str) -> Clip:
    """Return the clip that a candidate is."""
    label, name = candidate
    times = parse_file_name(name)
    assert times is not None  # lists and manifests hold nothing else
    return Clip(split, None if label == UNLABELED else label, *times)


def _listed(state: State, asked: Collection[str]) -> Candidates:
    lists, split, tarballs = state.lists, state.split, state.known.tarballs
    if not lists.listing():
        lists.refresh(paths=False)
    read = {name for name, row in tarballs.items() if row.state == "done"}
    if not lists.listing() and not read.issuperset(asked):
        raise ListError(
            f"max_samples: {lists.mirror} has no list of the clips of {split!r} to choose from. "
            "Load whole classes with classes=[…], or use a mirror with 'annotations/'"
        )
    return dict(lists.listing())


def _of_read_tarballs(lists: KeptLists, known: LedgerView, labels: TestLabels) -> Candidates:
    """Return what the test tarballs hold, if they were all read."""
    names = {tarball.name for tarball in lists.tarballs()}
    done = {name for name, row in known.tarballs.items() if row.state == "done"}
    found: dict[str, list[str]] = {}
    if names and names <= done:
        for clip in known.clips():
            times = parse_file_name(clip.file_name)
            if times and clip.state in ("have", "skipped"):
                found.setdefault(labels.get(times, UNLABELED), []).append(clip.file_name)
    return dict(found)


def _test_names(lists: KeptLists, labels: TestLabels) -> Candidates:
    found: dict[str, list[str]] = {}
    if labels:
        for (youtube_id, start, end), label in labels.items():
            name = Clip("test", label, youtube_id, start, end).file_name
            found.setdefault(label, []).append(name)
        return dict(found)
    return {UNLABELED: lists.test_names()}


def _of_manifest(
    rows: Collection[ManifestRow], lists: KeptLists, split: str, *, network: bool
) -> Candidates:
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.clip.label or UNLABELED, []).append(row.clip.file_name)
    if not Split(split).is_mixed and any(not row.sha256 for row in rows):
        if network and not lists.listing():
            lists.refresh(paths=False)
        listing = lists.listing()
        known = {label: set(names) for label, names in listing.items()}
        odd = [  # one with a checksum was seen by somebody, in a tarball that the list has wrong
            row.clip.key
            for row in rows
            if row.clip.file_name not in known.get(row.clip.label or "", ()) and not row.sha256
        ]
        if listing and odd:
            raise ManifestError(
                f"manifest: {len(odd):,} clips are in no list of the host, the first {odd[0]!r}"
            )
    return dict(found)

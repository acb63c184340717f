"""Among which clips a request chooses: what is listed, was seen in tarballs, or is there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from k600.dataset.clip import file_name_of, label_of
from k600.dataset.labels import NAMES
from k600.dataset.splits import UNLABELED
from k600.errors import ListError, ManifestError, NoClipsError, OptionError
from k600.errors.text import counted
from k600.loading.selection import Candidate
from k600.loading.state import State
from k600.store.rows import AnswerRow, ClipRow
from k600.youtube.circumstances import Circumstances
from k600.youtube.refusals import is_settled

Candidates = Mapping[str, Sequence[str]]
"""File names by class; `_unlabeled` for test clips without one."""

_Row = TypeVar("_Row", ClipRow, AnswerRow)


def find_candidates(state: State) -> Candidates | None:
    """Return the file names, by class, among which a request for some clips chooses.

    Those of the manifest. Else those of the host's list, and with them what its tarballs were seen
    to hold and what is in the store: the host's list does not name all. Without the network, those
    in the store. For the test split, what its tarballs hold once they were all read; before,
    DeepMind's list of labels. None if a list of the host has to be asked for first (`ask_host`).

    Raises:
        ListError: The mirror has no list of the clips, and there is no other way to know them.
        NoClipsError: The list holds none of the classes.
        ManifestError: The manifest names clips that the list does not.
        OptionError: The choice depends on labels, and there are none.
    """
    request, split, host = state.request, state.split, state.host
    _ = state.wanted  # classes of test clips need labels: it raises, if there are none
    if split.is_mixed and request.limits.by_class and not state.labels:
        raise OptionError(
            "max_per_class, balanced: clips of the test split can be counted by class only with "
            "DeepMind's list of labels. Pass test_labels=… its path or URL"
        )

    if request.manifest is not None:
        return _of_manifest(state)
    if not state.network:
        here = {label: state.inventory.names(f"{split}/{label}") for label in _classes(state)}
        return {label: sorted(names) for label, names in here.items() if names}
    if split.is_mixed:
        return _of_mixed(state)

    if not host.listing and not host.fresh:
        return None
    if not host.listing and not state.known.done.issuperset(_classes(state)):
        raise ListError(
            f"max_samples: {request.mirror} has no list of the clips of {str(split)!r} to choose "
            "from. Load whole classes with classes=[…], or use a mirror with 'annotations/'"
        )
    found = listed_or_found(host.listing, state)
    if not found:
        named = ", ".join(_classes(state)[:5])
        raise NoClipsError(f"classes: the host's list names no clip of {named}", settled=True)
    return found


def proved_bad(state: State, candidates: Candidates) -> dict[Candidate, str]:
    """Return the candidates that tarballs were proved not to hold whole and that are not there,
    with the reason.
    """
    others = () if state.request.only_youtube else state.known.others
    bad = (row for row in others if row.state in ("bad", "absent"))
    return {clip: row.reason for clip, row in _asked_and_lacking(state, candidates, bad)}


def refused_by_youtube(state: State, candidates: Candidates) -> dict[Candidate, str]:
    """Return the candidates that YouTube was proved not to have, with the reason."""
    now = Circumstances(state.request.youtube)
    answers = state.known.answers if state.request.has_youtube else ()
    asked = _asked_and_lacking(state, candidates, answers)
    return {clip: f"youtube_{row.kind}" for clip, row in asked if is_settled(row, now)}


def _asked_and_lacking(
    state: State, candidates: Candidates, rows: Iterable[_Row]
) -> Iterator[tuple[Candidate, _Row]]:
    """Yield those of some rows that are of candidates which are not there."""
    asked = {label: set(names) for label, names in candidates.items()}
    for row in rows:
        label, name = row.folder.partition("/")[2], row.file_name
        if name in asked.get(label, ()) and state.place_of((label, name)) is None:
            yield (label, name), row


def _classes(state: State) -> Sequence[str]:
    """Return the classes to choose from, for `test` with that of clips without a label."""
    unlabeled = [UNLABELED] if state.split.is_mixed else []
    return state.request.classes or (*NAMES, *unlabeled)


def listed_or_found(listed: Mapping[str, Sequence[str]], state: State) -> Candidates:
    """Return what lists name of the classes asked for, and what they do not but was found."""
    split, classes = state.split, _classes(state)
    more = {label: set(state.inventory.names(f"{split}/{label}")) for label in classes}
    if not split.is_mixed:  # there, what all tarballs hold is known together, or not at all
        for group in state.known.groups:
            more.get(group.folder.partition("/")[2], set()).update(group.names)
        for clip in state.known.others:
            if clip.state in ("skipped", "bad"):
                more.get(clip.folder.partition("/")[2], set()).add(clip.file_name)

    elsewhere: set[str] = set()
    if split.is_mixed:  # a clip may lie in a folder that is not its class's
        elsewhere.update(*(listed.get(label, ()) for label in classes))
    found: dict[str, Sequence[str]] = {}
    for label in classes:
        names = listed.get(label, ())
        if state.without:
            names = [name for name in names if name not in state.without]
            more[label] = {name for name in more[label] if name not in state.without}
        others = more[label].difference(elsewhere, names)
        if names or others:
            found[label] = [*names, *sorted(others)] if others else names
    return found


def _of_mixed(state: State) -> Candidates:
    """Return the candidates of the test split, whose tarballs mix classes."""
    if not state.request.has_youtube:
        return {}  # no list says what its tarballs hold: see `k600.loading.unlisted`
    if listed := _of_read_tarballs(state):
        return listed_or_found(listed, state)

    for clip, label in state.labels.items():
        listed.setdefault(label, []).append(file_name_of(*clip))
    if not state.labels and not state.is_unlisted:
        raise ListError(
            "test_labels: no list says which test clips there are, as that of their labels cannot "
            "be had. Pass test_labels=… its path or URL, or use source='cvdf'"
        )
    return listed_or_found(listed, state)


def _of_read_tarballs(state: State) -> dict[str, list[str]]:
    """Return what the test tarballs hold, if they were all read."""
    names = {tarball.name for tarball in state.host.tarballs}
    found: dict[str, list[str]] = {}
    if names and names <= state.known.done:
        for clip in state.known.clips():
            if clip.state in ("have", "skipped"):
                label = label_of(clip.file_name, state.labels)
                found.setdefault(label, []).append(clip.file_name)
    return found


def _of_manifest(state: State) -> Candidates | None:
    rows, listing = state.origin.values(), state.host.listing
    found: dict[str, list[str]] = {}
    for row in rows:
        label, name = row.clip.candidate
        found.setdefault(label, []).append(name)
    if state.split.is_mixed:
        return found

    # A clip with a size or a checksum was seen by somebody, in a tarball that the list has wrong.
    unproved = [row.clip for row in rows if not (row.sha256 or row.size_bytes)]
    if unproved and not listing and state.network and not state.host.fresh:
        return None
    if unproved and listing:
        listed = {label: set(names) for label, names in listing.items()}
        odd = [c.key for c in unproved if c.file_name not in listed.get(c.label or "", ())]
        if odd:
            raise ManifestError(
                f"manifest: {counted(len(odd), 'clip')} in no list of the host, first {odd[0]!r}"
            )
    return found

"""Account for every clip of a request: what the store has, and what is missing and why."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from k600.dataset.clip import label_of
from k600.dataset.reasons import PASSING_REASONS, REASONS
from k600.dataset.splits import UNLABELED
from k600.errors import NoClipsError
from k600.errors.text import counted
from k600.loading.manifest import differing
from k600.loading.outcome import Missing
from k600.loading.rows import StoredShard
from k600.loading.selection import Candidate
from k600.loading.state import Failure, State
from k600.tarballs.reading import is_condemned, noted_failure


def stored_shards(state: State, chosen: Iterable[Candidate] | None = None) -> list[StoredShard]:
    """Return what is in the store for the request, folder by folder in id order.

    `chosen` are the clips to load, as far as they are there; by default all.
    """
    request, split, inventory = state.request, state.split, state.inventory
    classes = request.classes
    here: dict[str | None, set[str]] = {}
    for clip in chosen or ():
        here.setdefault(state.place_of(clip), set()).add(clip[1])
    seen: set[str] = set()
    shards = []
    for folder in request.folders(split):
        names = frozenset(inventory.names(folder) if chosen is None else here.get(folder, ()))
        label = folder.partition("/")[2]
        if split.is_mixed:  # a clip may lie there twice: without its label, and with it
            names -= seen
            seen |= names
            if classes is not None:
                names = frozenset(n for n in names if label_of(n, state.labels, label) in classes)
        if not names:
            continue
        lies = inventory.elsewhere(folder)
        shards.append(
            StoredShard(
                request.store,
                split,
                None if label == UNLABELED else label,
                folder,
                tuple(sorted(names)),
                state.sources(folder, names),
                state.labels,
                {name: path for name, path in lies.items() if name in names},
                state.known.rates.get(folder, {}),
            )
        )
    return shards


def missing_clips(state: State) -> list[Missing]:
    """Name every clip of a request for whole classes that is not there, with the reason."""
    request, split, known = state.request, state.split, state.known
    here, tarballs = state.inventory.names, state.tarballs
    asked, folders = {tarball.name for tarball in tarballs}, set(request.folders(split))
    broken = {tarball.name: failure for tarball, failure in state.host.failures.items()}
    for row in known.tarballs.values():
        if is_condemned(row):
            failure = Failure("tarball_condemned", noted_failure(row))
            broken.setdefault(row.tarball.name, failure)
    missing: dict[tuple[str, str], Missing] = {}

    def miss(folder: str, name: str, tarball: str, reason: str = "") -> None:
        failure = None if reason else broken.get(tarball)
        why = (reason or "not_stored", "") if failure is None else failure.in_words
        label = folder.partition("/")[2]
        known_label = "" if label == UNLABELED else label
        clip = Missing(split, known_label, name, tarball or label, *why)
        missing.setdefault((folder, name), clip)

    for clip in known.lost(here):
        is_asked = clip.tarball in asked if clip.tarball else clip.folder in folders
        if is_asked and state.wants(clip.file_name):
            miss(*clip)

    read_once = {group.tarball for group in known.groups} | {clip.tarball for clip in known.others}
    for tarball in (t for t in tarballs if t.name in broken):
        folder = f"{split}/{tarball.label}"
        if names := state.host.listing.get(tarball.name):
            for name in names:
                if name not in here(folder) and state.wants(name):
                    miss(folder, name, tarball.name)
        elif tarball not in read_once:  # nothing says what is in it
            why = broken[tarball.name].in_words
            missing[tarball.name, ""] = Missing(split, tarball.label or "", "", tarball.name, *why)

    found = [*missing.values()]
    if not tarballs and request.sources:  # offline, and the list was never fetched
        detail = "the mirror's list of tarballs is not known"
        found.append(Missing(split, "", "", "", "offline", detail))
    return found


def differing_clips(state: State, chosen: Iterable[Candidate]) -> list[Candidate]:
    """Return the chosen clips whose files are not those that the manifest means."""
    files: dict[Candidate, Path] = {}
    for clip in chosen if state.origin else ():
        if (folder := state.place_of(clip)) is not None:
            files[clip] = state.inventory.path(folder, clip[1])
    return differing(state.origin, files)


def raise_nothing(state: State, missing: Iterable[Missing] = ()) -> None:
    """Raise `NoClipsError` for a request of which not one clip is there; or the error of a tarball
    that could not be read.
    """
    request, split, failures = state.request, state.split, state.host.failures
    settled = ("offline", "tarball_damaged", "tarball_condemned")
    failed = [failure for failure in failures.values() if failure.reason not in settled]
    if failed:  # one that passes tells more than a tarball that the host has not
        raise min(failed, key=lambda failure: failure.reason not in PASSING_REASONS).error
    first = next(iter(missing), None)
    offline = any(failure.reason == "offline" for failure in failures.values())
    if offline or not request.sources or (first and first.reason == "offline"):
        why = (
            "and the network is not to be used. Allow it (source='auto', HF_DATASETS_OFFLINE "
            "unset), or pass data_dir=… the folder that holds them"
        )
    elif first is not None:
        why = f"the first for this reason: {first.reason}: {first.detail or REASONS[first.reason]}"
    else:
        why = "and the mirror's lists and tarballs hold none of them, either"
    others, folders = state.known.other_mirrors, set(request.folders(split))
    if count := sum(len(group.names) for group in others if group.folder in folders):
        why += (
            f". {counted(count, 'clip')} there came from another mirror than {request.mirror}: "
            "pass mirror=… that one, or source='local' to load whatever is there"
        )
    raise NoClipsError(
        f"kinetics600 {split}: not one of the clips asked for is in '{request.store.root}', {why}",
        settled=first is not None and first.reason not in PASSING_REASONS,
    )

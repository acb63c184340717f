"""Account for every clip of a request: what the store has, and what is missing and why."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from k600.clip import Clip, Tarball, label_of
from k600.errors import NoClipsError
from k600.loading.candidates import clip_at
from k600.loading.manifest import differing
from k600.loading.outcome import Missing
from k600.loading.rows import StoredShard
from k600.loading.selection import Candidate
from k600.loading.state import Failure, State
from k600.reasons import PASSING_REASONS, REASONS
from k600.splits import UNLABELED
from k600.store.rows import StoredGroup
from k600.tarballs.reading import is_condemned, noted_failure


def stored_shards(
    state: State, here: Mapping[str, Collection[str]] | None = None
) -> list[StoredShard]:
    """Return what is in the store for the request, folder by folder in id order.

    `here` are the file names to load, by folder (`<split>/<class name>`); by default all there are.
    """
    request, split, inventory = state.request, state.split, state.inventory
    groups: dict[str, list[StoredGroup]] = {}
    for group in state.known.groups:
        groups.setdefault(group.folder, []).append(group)
    cut: dict[str, set[str]] = {}
    for answer in state.known.answers:
        if answer.kind == "have":
            cut.setdefault(answer.folder, set()).add(answer.file_name)

    seen: set[str] = set()
    shards = []
    for folder in request.folders(split):
        names = frozenset(inventory.names(folder) if here is None else here.get(folder, ()))
        label = folder.partition("/")[2]
        if split.is_mixed:  # a clip may lie there twice: without its label, and with it
            names -= seen
            seen |= names
            names = _of_classes(state, names, label)
        if not names:
            continue
        own, lies = groups.get(folder, []), inventory.elsewhere(folder)
        elsewhere = {name: path for name, path in lies.items() if name in names}
        usual = "cvdf" if any(group.source == "cvdf" for group in own) else "local"
        shards.append(
            StoredShard(
                request.store,
                split,
                None if label == UNLABELED else label,
                folder,
                tuple(sorted(names)),
                usual,
                _other_sources(names, own, cut.get(folder, ()), elsewhere, usual),
                state.labels,
                elsewhere,
                state.known.rates.get(folder, {}),
            )
        )
    return shards


def _of_classes(state: State, names: frozenset[str], folder: str) -> frozenset[str]:
    """Return those clips of a folder whose classes are asked for: the folder's, if no list says."""
    classes = state.request.classes
    if classes is None:
        return names
    found = set()
    for name in names:
        label = label_of(name, state.labels)
        if (folder if label == UNLABELED else label) in classes:
            found.add(name)
    return frozenset(found)


def _other_sources(
    names: frozenset[str],
    groups: Iterable[StoredGroup],
    cut: Collection[str],
    elsewhere: Collection[str],
    usual: str,
) -> dict[str, str]:
    """Return where clips of a folder came from, if from another source than most."""
    # What a run brings has a row before it has its name: all else was there before.
    brought = [group.names for group in groups]
    sources = dict.fromkeys(names.difference(*brought, elsewhere, cut), "local")
    for group in groups:
        if group.source != usual:
            sources |= dict.fromkeys(names & group.names, group.source)
    sources |= dict.fromkeys(names.intersection(cut), "youtube")
    sources |= dict.fromkeys(elsewhere, "local")
    return {name: source for name, source in sources.items() if source != usual}


def missing_clips(state: State) -> list[Missing]:
    """Name every clip of a request for whole classes that is not there, with the reason."""
    request, split, known = state.request, state.split, state.known
    here = state.inventory.names
    tarballs = state.tarballs
    asked = set(tarballs)
    broken = dict(state.host.failures)
    for row in known.tarballs.values():
        if is_condemned(row):
            broken.setdefault(row.tarball, Failure("tarball_condemned", noted_failure(row)))
    missing: dict[tuple[str, str], Missing] = {}

    def miss(tarball: Tarball, folder: str, name: str, reason: str, detail: str = "") -> None:
        if name not in here(folder) and state.wants(name):
            label = folder.partition("/")[2]
            label = "" if label == UNLABELED else label
            clip = Missing(split, label, name, tarball.name, reason, detail)
            missing.setdefault((folder, name), clip)

    def miss_lost(tarball: Tarball, folder: str, name: str, reason: str = "") -> None:
        failure = broken.get(tarball)
        if failure is None or reason:
            miss(tarball, folder, name, reason or "not_stored")
        else:
            miss(tarball, folder, name, failure.reason, str(failure.error))

    for own in known.adopted:
        if own.problem:
            tarball = Tarball(split, own.folder.partition("/")[2])
            miss(tarball, own.folder, own.file_name, own.problem)

    for group in known.groups:
        if group.tarball in asked:
            for name in sorted(group.names.difference(here(group.folder))):
                miss_lost(group.tarball, group.folder, name)

    for clip in known.others:
        if clip.tarball in asked and clip.state in ("bad", "absent"):
            miss(clip.tarball, clip.folder, clip.file_name, clip.reason)
        elif clip.tarball in asked:
            miss_lost(clip.tarball, clip.folder, clip.file_name, clip.reason)

    read_once = {group.tarball for group in known.groups} | {clip.tarball for clip in known.others}
    for tarball in (t for t in tarballs if t in broken):
        reason, detail = broken[tarball].reason, str(broken[tarball].error)
        if names := state.host.listing.get(tarball.name):
            for name in names:
                miss(tarball, f"{split}/{tarball.label}", name, reason, detail)
        elif tarball not in read_once:  # nothing says what is in it
            whole = Missing(split, tarball.label or "", "", tarball.name, reason, detail)
            missing[tarball.name, ""] = whole

    found = [*missing.values()]
    if not tarballs and request.sources:  # offline, and the list was never fetched
        detail = "the mirror's list of tarballs is not known"
        found.append(Missing(split, "", "", "", "offline", detail))
    return found


def differing_clips(state: State, chosen: Iterable[Candidate]) -> list[Candidate]:
    """Return the chosen clips whose files are not those that the manifest means."""
    found: dict[Clip, Candidate] = {}
    files: dict[Clip, Path] = {}
    for candidate in chosen if state.origin else ():
        if (folder := state.place_of(candidate)) is not None:
            clip = clip_at(candidate, state.split)
            found[clip], files[clip] = candidate, state.inventory.path(folder, candidate[1])
    return [found[clip] for clip in differing(state.origin, files)]


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
    others = request.ledger.other_mirrors(split)
    folders = set(request.folders(split))
    if count := sum(len(group.names) for group in others if group.folder in folders):
        why += (
            f". {count:,} clips there came from another mirror than {request.mirror}: pass "
            "mirror=… that one, or source='local' to load whatever is there"
        )
    raise NoClipsError(
        f"kinetics600 {split}: not one of the clips asked for is in '{request.store.root}', {why}",
        settled=first is not None and first.reason not in PASSING_REASONS,
    )

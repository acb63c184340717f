"""Account for every clip of a request: what the store has, and what is missing and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from k600.clip import Listing, Tarball, TestLabels, parse_file_name
from k600.errors import Kinetics600Error, NoClipsError
from k600.loading.outcome import Missing, missing_csv
from k600.loading.request import Request
from k600.loading.rows import StoredShard
from k600.reasons import PASSING_REASONS, REASONS
from k600.splits import UNLABELED, Split
from k600.store.inventory import Inventory
from k600.store.rows import LedgerView, StoredGroup
from k600.store.store import Store
from k600.tarballs.reading import noted_failure

__all__ = ["Failure", "missing_clips", "raise_nothing", "stored_shards", "write_report"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a tarball could not be read in this run."""

    reason: str
    """A key of `k600.reasons.REASONS`."""
    error: Kinetics600Error


def stored_shards(
    request: Request,
    split: str,
    known: LedgerView,
    labels: TestLabels,
    inventory: Inventory,
    chosen: Callable[[str], Collection[str]] | None = None,
) -> list[StoredShard]:
    """Return what is in the store for the request, folder by folder in id order.

    Args:
        request: The request.
        split: One of its splits.
        known: What the ledger says of the split.
        labels: Labels of test clips.
        inventory: What is in the store.
        chosen: Returns the file names to load of a folder (`<split>/<class name>`); by default all.
    """
    held: dict[str, list[StoredGroup]] = {}
    for group in known.groups:
        held.setdefault(group.folder, []).append(group)
    cut: dict[str, set[str]] = {}
    for answer in known.answers:
        if answer.kind == "have":
            cut.setdefault(answer.folder, set()).add(answer.file_name)
    store, seen = request.store, set[str]()
    shards = []
    for folder in request.folders(split):
        name = folder.partition("/")[2]
        label = None if name == UNLABELED else name
        here = frozenset((chosen or inventory.names)(folder))
        if Split(split).is_mixed:  # a clip may lie there twice: without its label, and with it
            here -= seen
            seen |= here
            if (asked := request.classes) is not None:
                here = frozenset(n for n in here if labels.get(_times(n), label) in asked)
        if here:
            names = tuple(sorted(here))
            groups = held.get(folder, [])
            usual = "cvdf" if any(group.source == "cvdf" for group in groups) else "local"
            elsewhere = inventory.elsewhere(folder)
            elsewhere = {n: path for n, path in elsewhere.items() if n in here}
            sources: dict[str, str] = {}
            told = [group.names for group in groups]
            # What a run brings has a row before it has its name: all else was there before.
            sources |= dict.fromkeys(
                here.difference(*told, elsewhere, cut.get(folder, ())), "local"
            )
            for group in groups:
                if group.source != usual:
                    sources |= dict.fromkeys(here & group.names, group.source)
            sources |= dict.fromkeys(here & cut.get(folder, set()), "youtube")
            sources |= dict.fromkeys(elsewhere, "local")
            others = {n: source for n, source in sources.items() if source != usual}
            shards.append(
                StoredShard(store, split, label, folder, names, usual, others, labels, elsewhere)
            )
    return shards


def missing_clips(
    request: Request,
    split: str,
    known: LedgerView,
    listing: Listing,
    wanted: frozenset[str] | None,
    tarballs: Iterable[Tarball],
    failures: Mapping[Tarball, Failure],
    here: Callable[[str], Collection[str]],
) -> list[Missing]:
    """Name every clip that was asked for and is not there.

    Args:
        request: The request.
        split: One of its splits.
        known: What the ledger says of the split.
        listing: The names that each class should hold, as far as known.
        wanted: The file names asked for; None for all.
        tarballs: All that may hold a clip of the request.
        failures: Those that could not be read in this run.
        here: Returns the file names in a store folder (`<split>/<class name>`).
    """
    broken = dict(failures)
    for row in known.tarballs.values():
        if row.state == "damaged":
            broken.setdefault(row.tarball, Failure("tarball_condemned", noted_failure(row)))
    asked = set(tarballs)
    missing: dict[tuple[str, str], Missing] = {}

    def miss(tarball: Tarball, folder: str, name: str, reason: str, detail: str = "") -> None:
        if name not in here(folder) and (wanted is None or name in wanted):
            label = folder.partition("/")[2]
            label = "" if label == UNLABELED else label
            clip = Missing(split, label, name, tarball.name, reason, detail)
            missing.setdefault((folder, name), clip)

    for own in known.adopted:
        if own.problem:
            tarball = Tarball(split, own.folder.partition("/")[2])
            miss(tarball, own.folder, own.file_name, own.problem)

    def miss_lost(tarball: Tarball, folder: str, name: str, reason: str = "") -> None:
        failure = broken.get(tarball)
        if failure is None or reason:
            miss(tarball, folder, name, reason or "not_stored")
        else:
            miss(tarball, folder, name, failure.reason, str(failure.error))

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
        failure = broken[tarball]
        if names := listing.get(tarball.name):
            for name in names:
                folder = f"{split}/{tarball.label}"
                miss(tarball, folder, name, failure.reason, str(failure.error))
        elif tarball not in read_once:  # nothing says what is in it
            whole = Missing(
                split, tarball.label or "", "", tarball.name, failure.reason, str(failure.error)
            )
            missing[tarball.name, ""] = whole
    return list(missing.values())


def write_report(store: Store, split: str, missing: Collection[Missing]) -> str:
    """Write the CSV that names every missing clip; return its path, empty if none is missing."""
    if not missing:
        return ""
    return str(store.write_own(f"reports/{split}-missing.csv", missing_csv(missing)))


def raise_nothing(
    request: Request,
    split: str,
    failures: Mapping[Tarball, Failure],
    missing: Iterable[Missing],
) -> None:
    """Raise the error for a request of which not one clip is there.

    Raises:
        NoClipsError: Always, unless a tarball could not be read: then that error.
    """
    settled = ("offline", "tarball_damaged", "tarball_condemned")
    failed = [failure for failure in failures.values() if failure.reason not in settled]
    if failed:  # one that passes tells more than a tarball that the host has not
        raise min(failed, key=lambda failure: failure.reason not in PASSING_REASONS).error
    first = next(iter(missing), None)
    offline = any(failure.reason == "offline" for failure in failures.values())
    if offline or request.source == "local" or (first and first.reason == "offline"):
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


def _times(file_name: str) -> tuple[str, int, int]:
    times = parse_file_name(file_name)
    assert times is not None  # the inventory holds nothing else
    return times

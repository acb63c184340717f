"""Requests with limits: choose clips, bring them, and replace those that cannot be had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import cache

from k600.account import Failure, raise_nothing, stored_shards, write_report
from k600.clip import Tarball
from k600.errors import ListError, NoClipsError
from k600.kept_lists import KeptLists
from k600.labels import NAMES
from k600.ledger import Known, Ledger
from k600.outcome import Missing, Outcome
from k600.plan import Need
from k600.request import Request
from k600.run import Progress, Run, stat_tarballs
from k600.selection import Candidate, choose_clips

__all__ = ["candidates", "choose_by_folder", "fetch_chosen", "proved_bad"]


def fetch_chosen(
    request: Request,
    split: str,
    lists: KeptLists,
    progress: Progress,
    *,
    network: bool,
    refetch: bool,
) -> Outcome:
    """Bring the clips that a request with limits chooses; one that cannot be had is replaced.

    Each round chooses among the candidates that are left, and reads the tarballs of those that
    are not in the store no further than to the last of them.

    Raises:
        MirrorError, ListError: The mirror cannot serve the request at all.
        StoreError: The store cannot be used, or has too little room.
        NoClipsError: Not one clip can be had.
    """
    store, ledger = request.store, Ledger(request.store.ledger_path)
    names = candidates(request, split, lists, network=network)
    replaced: dict[Candidate, str] = {}
    failures: dict[Tarball, Failure] = {}
    fetched_bytes = fetched = 0
    first = True
    while True:
        stamps = store.stamp(request.folders(split))
        here, known = cache(store.inventory), ledger.known(split)
        if not (first and (request.retry_errors or refetch)):
            replaced = {**proved_bad(names, known), **replaced}
        chosen = choose_by_folder(request, split, names, replaced, here)
        lacking = {
            folder: found if first and refetch else found - set(here(folder))
            for folder, found in chosen.items()
        }
        lacking = {folder: wanted for folder, wanted in lacking.items() if wanted}
        if not lacking or not network:
            break
        needs = [
            Need(Tarball(split, folder.partition("/")[2]), frozenset(wanted), until_found=True)
            for folder, wanted in lacking.items()
        ]
        fetches, failed = stat_tarballs(request, needs)
        if fetches:
            rewrite = first and refetch
            run = Run(request, split, store, ledger, {}, names, known.tarballs, rewrite)
            run.announce(fetches, here)
            more_bytes, more = run.carry_out(fetches, failed, progress)
            fetched_bytes, fetched = fetched_bytes + more_bytes, fetched + more
        failures |= failed
        reasons = {tarball.name: failure.reason for tarball, failure in failed.items()}
        for row in ledger.tarballs(split).values():
            if row.state == "damaged":
                reasons.setdefault(row.tarball.name, "tarball_damaged")
        bad = proved_bad(names, ledger.known(split))
        for folder, wanted in lacking.items():
            label = folder.partition("/")[2]
            whole = names[label] if label in reasons else wanted
            for name in set(whole) - store.inventory(folder):
                reason = bad.get((label, name)) or reasons.get(label, "not_stored")
                replaced.setdefault((label, name), reason)
        first = False
    found = {folder: wanted & set(here(folder)) for folder, wanted in chosen.items()}
    shards = stored_shards(request, split, known, {}, lambda folder: found.get(folder, ()))
    asked = len(choose_clips(names, request.limits))
    missing = [
        Missing(split, label, name, label, reason)
        for (label, name), reason in sorted(replaced.items())
        if sum(map(len, found.values())) < asked
    ]
    if not shards:
        raise_nothing(request, split, failures, missing)
    report = write_report(store, split, missing) if network else ""
    return Outcome(
        split,
        tuple(shards),
        tuple(missing),
        fetched_bytes,
        fetched,
        stamps,
        asked=asked,
        replaced={} if missing else dict(Counter(replaced.values())),
        report=report,
    )


def candidates(
    request: Request, split: str, lists: KeptLists, *, network: bool
) -> dict[str, list[str]]:
    """Return the file names, by class, among which a request with limits chooses.

    They are those of the host's listing; without the network, those in the store.

    Raises:
        ListError: The mirror has no list of the clips, and there is no other way to know them.
        NoClipsError: The list holds none of the classes.
    """
    labels = request.classes or NAMES
    if not network:
        here = {label: sorted(request.store.inventory(f"{split}/{label}")) for label in labels}
        return {label: names for label, names in here.items() if names}
    if not lists.listing():
        lists.refresh(paths=False)
    if not lists.listing():
        raise ListError(
            f"max_samples: {request.mirror} has no list of the clips of {split!r} to choose from. "
            "Load whole classes with classes=[…], or use a mirror with 'annotations/'"
        )
    found = {label: lists.listing()[label] for label in labels if label in lists.listing()}
    if not any(found.values()):
        raise NoClipsError(
            f"classes: the list of {request.mirror} names no clip of {', '.join(labels[:5])}"
        )
    return found


def choose_by_folder(
    request: Request,
    split: str,
    names: Mapping[str, Collection[str]],
    dead: Collection[Candidate],
    here: Callable[[str], Collection[str]],
) -> dict[str, set[str]]:
    """Choose clips and return their file names by store folder (`<split>/<class name>`)."""
    chosen: dict[str, set[str]] = {}
    for label, name in choose_clips(
        names, request.limits, dead=dead, here=lambda label: here(f"{split}/{label}")
    ):
        chosen.setdefault(f"{split}/{label}", set()).add(name)
    return chosen


def proved_bad(names: Mapping[str, Collection[str]], known: Known) -> dict[Candidate, str]:
    """Return the candidates that the ledger knows not to be had, with the reason."""
    asked = {label: set(found) for label, found in names.items()}
    bad = {}
    for clip in known.clips:
        label = clip.folder.partition("/")[2]
        if clip.state in ("bad", "absent") and clip.file_name in asked.get(label, ()):
            bad[label, clip.file_name] = clip.reason
    return bad

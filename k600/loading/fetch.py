"""Carry out a request: see what is known and there, bring what is not, account for the rest."""

from __future__ import annotations

from k600.clip import Tarball
from k600.errors import OfflineError
from k600.loading.chosen import fetch_chosen
from k600.loading.missing import Failure, missing_clips, raise_nothing, stored_shards, write_report
from k600.loading.outcome import Missing, Outcome
from k600.loading.plan import plan_needs
from k600.loading.read_tarballs import Run, stat_tarballs
from k600.loading.request import Request
from k600.loading.state import read_state, tarballs_of, wanted_names
from k600.progress import Progress
from k600.splits import Split
from k600.tarballs.extract import TarballRead

__all__ = ["fetch_split"]


def fetch_split(
    request: Request,
    split: str,
    *,
    progress: Progress,
    offline: bool = False,
    refetch: bool = False,
) -> Outcome:
    """Bring a request's clips of one split into the store and say what is there.

    What the store has is used first, and if that is all, nothing else is touched. Otherwise the
    tarballs are planned, their sizes asked for, the room on disk checked, and then read, largest
    first, `num_workers` at a time.

    Args:
        request: The request.
        split: One of its splits.
        progress: Makes the progress bar.
        offline: Never cross a network; a mirror on a local disk is still read.
        refetch: Fetch everything again and replace what is there.

    Raises:
        MirrorError, ListError: The mirror cannot serve the request at all.
        StoreError: The store cannot be used, or has too little room.
        NoClipsError: Not one clip can be had.
    """
    state = read_state(request, split, offline=offline, keep=True, refresh=refetch)
    if request.chooses:
        return fetch_chosen(state, progress, refetch=refetch)
    store, lists, labels = request.store, state.lists, state.labels
    network = state.network
    wanted = wanted_names(request, split, labels)

    def needs() -> list[TarballRead]:
        return plan_needs(
            tarballs,
            state.known,
            state.inventory.names,
            wanted=wanted,
            retry_errors=request.retry_errors and network,
            refetch=refetch and network,
            listing=lists.listing(),
            copies=state.copies_to_replace(),
        )

    stamps = state.stamps()
    tarballs = tarballs_of(request, split, lists)
    todo = needs()
    failures: dict[Tarball, Failure] = {}
    fetched_bytes = fetched = 0
    if todo and network:
        state.prepare()
        lists.refresh(paths=request.classes is None or Split(split).is_mixed)
        tarballs = tarballs_of(request, split, lists)
        todo = needs()
        fetches, failures = stat_tarballs(request, todo, state.known.tarballs, refetch=refetch)
        remotes = {need.tarball: remote for need, remote in fetches.items()}
        known = state if refetch else state.with_same_objects(remotes.items())
        if known is not state:
            state = known
            fetches = {need: remotes[need.tarball] for need in needs() if need.tarball in remotes}
        if fetches:
            run = Run(
                request,
                split,
                store,
                state.ledger,
                labels,
                lists.listing(),
                state.known.tarballs,
                refetch,
            )
            run.announce(fetches, state.inventory.names)
            fetched_bytes, fetched = run.carry_out(fetches, failures, progress)
            stamps, state = state.stamps(), state.now()
    elif todo:
        error = OfflineError("the network is not to be used")
        failures = {need.tarball: Failure("offline", error) for need in todo}
    shards = stored_shards(request, split, state.known, labels, state.inventory)
    listing = lists.listing()
    missing = missing_clips(
        request,
        split,
        state.known,
        listing,
        wanted,
        tarballs,
        failures,
        state.inventory.names,
    )
    if not tarballs and request.source != "local":  # offline, and the list was never fetched
        detail = "the mirror's list of tarballs is not known"
        missing.append(Missing(split, "", "", "", "offline", detail))
    if not any(shard.names for shard in shards):
        raise_nothing(request, split, failures, missing)
    report = write_report(store, split, missing) if network and state.writable else ""
    return Outcome(
        split,
        tuple(shards),
        tuple(missing),
        fetched_bytes,
        fetched,
        stamps,
        failures={tarball.path: failure.reason for tarball, failure in failures.items()},
        labelled=not Split(split).is_mixed or bool(labels),
        report=report,
    )

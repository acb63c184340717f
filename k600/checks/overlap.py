"""Which clips of validation and test have videos that are in train, as far as lists are known."""

from __future__ import annotations

from k600.clip import file_name_of
from k600.loading.ask_host import with_lists
from k600.loading.candidates import listed_or_found
from k600.loading.overlap import Overlap, find_overlaps, train_listing
from k600.loading.request import Request
from k600.loading.state import read_state


def read_overlaps(request: Request, split: str, *, offline: bool) -> tuple[int, list[Overlap]]:
    """Return how many clips of a split are known, and those of them whose videos are in train.

    Of validation, these are the host's list and what was found in tarballs or is in the store; of
    test, DeepMind's list, too. Lists that are not kept are fetched, and kept.

    Raises:
        OfflineError, ListError, MirrorError: The list of train cannot be had.
    """
    keep = request.store.is_writable(make=request.may_fetch(offline=offline))
    train = train_listing(request, offline=offline, keep=keep)
    state = read_state(request, split, offline=offline, keep=keep)
    if state.network and not state.split.is_mixed and not state.host.listing:
        state = with_lists(state)

    listed = {label: [*names] for label, names in state.host.listing.items()}
    for clip, label in state.labels.items():
        listed.setdefault(label, []).append(file_name_of(*clip))
    candidates = listed_or_found(listed, state)
    found = find_overlaps(candidates, train)
    return sum(map(len, candidates.values())), found

"""Shards of a stream: what is read when rows are asked for, nothing before, nothing stored."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache

from k600.account import raise_nothing, stored_shards
from k600.chosen import candidates, choose_by_folder, proved_bad
from k600.clip import Tarball
from k600.kept_lists import KeptLists, read_test_labels, tarballs_of, wanted_names
from k600.labels import NAMES
from k600.ledger import Ledger
from k600.lists import TestLabels
from k600.records import StoredShard, StreamedShard
from k600.request import Request

__all__ = ["stream_split"]


def stream_split(
    request: Request, split: str, *, offline: bool = False
) -> list[StreamedShard] | list[StoredShard]:
    """Return a shard for each tarball of a request; reading starts when they are iterated.

    Nothing is written. Tarballs whose clips are all in the store are served from there.

    Raises:
        MirrorError, ListError: The mirror's lists cannot be had.
        NoClipsError: The network is not to be used and the store holds none of the clips.
    """
    store = request.store
    store.check_folder()
    network = request.may_fetch(offline=offline)
    labels: TestLabels = {}
    if split == "test":
        labels = read_test_labels(request, store, offline=offline, keep=False)
    wanted_names(request, split, labels)
    lists = KeptLists(request.mirror, store, split, network=network, keep=False)
    here: Callable[[str], Collection[str]] = cache(store.inventory)
    known = Ledger(store.ledger_path).known(split)
    chosen: dict[str, set[str]] | None = None
    if request.limits.limited:
        names = candidates(request, split, lists, network=network)
        chosen = choose_by_folder(request, split, names, proved_bad(names, known), here)
    if not network:
        found = chosen
        shards = stored_shards(
            request, split, known, labels, here if found is None else lambda f: found.get(f, ())
        )
        if not any(shard.names for shard in shards):
            raise_nothing(request, split, {}, [])
        return shards
    if chosen is not None:
        return [
            StreamedShard(
                store,
                request.mirror,
                Tarball(split, label),
                labels,
                request.on_missing,
                only=frozenset(chosen[f"{split}/{label}"]),
            )
            for label in NAMES
            if f"{split}/{label}" in chosen
        ]
    return [
        StreamedShard(
            store,
            request.mirror,
            tarball,
            labels,
            request.on_missing,
            classes=request.classes if split == "test" else None,
        )
        for tarball in tarballs_of(request, split, lists)
    ]

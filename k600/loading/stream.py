"""Shards of a stream: what is read when rows are asked for, nothing before, nothing stored."""

from __future__ import annotations

import logging

from k600.clip import Tarball
from k600.errors import IncompleteError, ManifestError, OptionError
from k600.labels import NAMES
from k600.loading.candidates import clip_at, find_candidates
from k600.loading.chosen import passed_over
from k600.loading.manifest import differing
from k600.loading.missing import raise_nothing, stored_shards
from k600.loading.request import Request
from k600.loading.rows import StoredShard, StreamedShard
from k600.loading.selection import choose_clips
from k600.loading.state import State, read_state, tarballs_of, wanted_names
from k600.reasons import REASONS
from k600.splits import Split

__all__ = ["stream_split"]

logger = logging.getLogger("kinetics600")


def stream_split(
    request: Request, split: str, *, offline: bool = False
) -> list[StreamedShard | StoredShard]:
    """Return a shard for each tarball of a request; reading starts when they are iterated.

    Nothing is written. Tarballs whose clips are all in the store are served from there. YouTube is
    not asked: a clip from there is cut and checked on disk.

    Raises:
        OptionError: The request cannot be streamed.
        MirrorError, ListError: The mirror's lists cannot be had.
        NoClipsError: The network is not to be used and the store holds none of the clips.
    """
    store = request.store
    network = request.may_fetch(offline=offline)
    if network and request.source == "youtube":
        raise OptionError(
            "source: 'youtube' cannot be streamed, as a clip is cut and checked on disk. Load it "
            "without streaming=True"
        )
    if network and Split(split).is_mixed and request.limits.limited:
        raise OptionError(
            "max_samples, max_per_class: a stream of the test split cannot be chosen from, as no "
            "list says which tarball holds a clip. Use .take(n) of the stream, or load without "
            "streaming=True"
        )
    state = read_state(request, split, offline=offline, keep=False)
    labels, lists = state.labels, state.lists
    wanted_names(request, split, labels)
    unlabelled = Split(split).is_mixed and not labels and request.manifest is None
    if unlabelled and request.on_missing == "raise":
        raise IncompleteError(
            "test_labels: the list of labels cannot be had, so clips of this stream would have the "
            "label None. Pass test_labels=… a path or URL of it, or leave on_missing='raise' out"
        )
    if request.chooses:
        return _chosen(state)
    if not network:
        stored = stored_shards(request, split, state.known, labels, state.inventory)
        if not any(shard.names for shard in stored):
            raise_nothing(request, split, {}, [])
        return [*stored]
    return [
        StreamedShard(
            store,
            request.mirror,
            tarball,
            labels,
            request.on_missing,
            classes=request.classes if Split(split).is_mixed else None,
            short_side=request.short_side,
            retry_errors=request.retry_errors,
        )
        for tarball in tarballs_of(request, split, lists)
    ]


def _chosen(state: State) -> list[StreamedShard | StoredShard]:
    """Return shards of some clips: those in the store folder by folder, the others by tarball."""
    request, split = state.request, state.split
    inventory, origin, labels = state.inventory, state.origin, state.labels
    names = find_candidates(state)
    dead = passed_over(state, names, youtube=False)
    chosen = choose_clips(
        names, request.limits, dead=dead, here=lambda label: inventory.names(f"{split}/{label}")
    )
    stored: dict[str, set[str]] = {}
    by_tarball: dict[Tarball, dict[str, str]] = {}
    for label, name in chosen:
        folder = state.place_of((label, name))
        row = origin.get(clip_at((label, name), split))
        if folder is not None:
            stored.setdefault(folder, set()).add(name)
        elif state.network:
            tarball = row.tarball if row and row.tarball else label
            if Split(split).is_mixed and not (row and row.tarball):
                raise ManifestError(
                    f"manifest: it does not say which tarball holds {name}, so it cannot be "
                    "streamed. Load it without streaming=True"
                )
            proof = row.sha256 if row else ""
            by_tarball.setdefault(Tarball(split, tarball), {})[name] = proof
    files = {
        clip: inventory.path(clip.folder, clip.file_name)
        for clip in origin
        if clip.file_name in inventory.names(clip.folder)
    }
    for clip in differing(origin, files):
        message = f"{clip.key} is left out: {REASONS['differs']}"
        if request.on_missing == "raise":
            raise IncompleteError(message)
        if request.on_missing == "warn":
            logger.warning(message)
        stored.get(clip.folder, set()).discard(clip.file_name)
    shards: list[StreamedShard | StoredShard] = [
        shard
        for shard in stored_shards(
            request,
            split,
            state.known,
            labels,
            inventory,
            lambda folder: stored.get(folder, ()),
        )
        if shard.names
    ]
    if not shards and not by_tarball:
        raise_nothing(request, split, {}, [])
    shards += [
        StreamedShard(
            request.store,
            request.mirror,
            tarball,
            labels,
            request.on_missing,
            only=frozenset(only),
            short_side=request.short_side,
            retry_errors=request.retry_errors,
            proofs=only,
        )
        for tarball, only in by_tarball.items()
    ]
    return sorted(shards, key=_class_order)


def _class_order(shard: StreamedShard | StoredShard) -> int:
    label = shard.tarball.label if isinstance(shard, StreamedShard) else shard.label
    return NAMES.index(label) if label in NAMES else len(NAMES)

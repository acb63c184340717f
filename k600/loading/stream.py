"""Shards of a stream: what is read when rows are asked for, nothing before, nothing stored."""

from __future__ import annotations

from collections.abc import Mapping

from k600.dataset.clip import Clip, Tarball
from k600.dataset.labels import NAMES
from k600.dataset.reasons import REASONS
from k600.dataset.splits import Split
from k600.errors import IncompleteError, ManifestError, OptionError
from k600.loading.ask_host import settle_rows, with_lists
from k600.loading.missing import differing_clips, raise_nothing, stored_shards
from k600.loading.options import choice_error
from k600.loading.request import Request
from k600.loading.rows import StoredShard, StreamedShard
from k600.loading.state import State, read_state


def stream_split(request: Request, split: str) -> list[StreamedShard | StoredShard]:
    """Return a shard for each tarball of a request; reading starts when they are iterated.

    Nothing is written. Tarballs whose clips are all in the store are served from there.

    Raises:
        OptionError, IncompleteError, MirrorError, ListError: As `state_to_stream` says.
        NoClipsError: The network is not to be used and the store holds none of the clips.
    """
    network = request.may_fetch
    if network and Split(split).is_mixed and request.limits.limited:
        raise choice_error(
            "a stream of the test split cannot be chosen from, as no list says which tarball holds "
            "a clip. Use .take(n) of the stream, or load without streaming=True",
            but=("manifest",),
        )
    state = state_to_stream(request, split)
    if request.chooses:
        return _chosen(state)
    if not network:
        stored = stored_shards(state)
        if not stored:
            raise_nothing(state)
        return [*stored]
    if not state.knows_tarballs:
        state = with_lists(state)
    # All of them: whether all of one is in the store is found out when its turn comes.
    return [_streamed(state, tarball) for tarball in state.tarballs]


def state_to_stream(request: Request, split: str) -> State:
    """Return how things stand for a stream; nothing of the mirror's tarballs is asked.

    YouTube gives no clips to it: a clip from there is cut and checked on disk.

    Raises:
        OptionError: The request cannot be streamed.
        IncompleteError: Clips would lack their labels, and `on_missing` is `raise`.
        MirrorError, ListError: A list cannot be had that says what the clips in the store are.
    """
    if request.only_youtube and request.may_fetch:
        raise OptionError(
            "source: 'youtube' cannot be streamed, as a clip is cut and checked on disk. Load it "
            "without streaming=True"
        )
    state = read_state(request, split, keep=False)
    _ = state.wanted  # classes of test clips need labels: it raises, if there are none
    unlabelled = state.split.is_mixed and not state.labels and request.manifest is None
    if unlabelled and request.on_missing == "raise":
        raise IncompleteError(
            "test_labels: the list of labels cannot be had, so clips of this stream would have the "
            "label None. Pass test_labels=… a path or URL of it, or leave on_missing='raise' out"
        )
    return state


def _chosen(state: State) -> list[StreamedShard | StoredShard]:
    """Return shards of some clips: those in the store folder by folder, the others by tarball."""
    state, plan = settle_rows(state)
    there = {clip for clip in plan.chosen if state.place_of(clip) is not None}
    packed = {name for read in plan.reads for name in read.wanted or ()}
    for clip in plan.chosen if state.network else ():
        if clip not in there and clip[1] not in packed:
            raise ManifestError(
                f"manifest: it does not say which tarball holds {clip[1]}, so it cannot be "
                "streamed. Load it without streaming=True"
            )

    differing = differing_clips(state, plan.chosen)
    for clip in differing:
        message = f"{Clip.at(clip, state.split).key} is left out: {REASONS['differs']}"
        state.request.reading.complain(message)
    shards: list[StreamedShard | StoredShard]
    shards = [*stored_shards(state, set(plan.chosen).difference(differing))]
    if not shards and not plan.reads:
        raise_nothing(state)
    proofs: dict[tuple[str | None, str], str] = {}  # one name may stand in two classes
    for (label, name), row in state.origin.items():
        proofs[None if state.split.is_mixed else label, name] = row.sha256
    for read in plan.reads:
        own = read.tarball.label
        only = {name: proofs.get((own, name), "") for name in read.wanted or ()}
        shards.append(_streamed(state, read.tarball, only))
    return sorted(shards, key=_class_order)


def _streamed(
    state: State, tarball: Tarball, only: Mapping[str, str] | None = None
) -> StreamedShard:
    """Return the shard of a tarball; `only` are the clips to take (`StreamedShard.only`)."""
    request = state.request
    return StreamedShard(
        request.reading,
        tarball,
        state.labels,
        classes=request.classes if state.split.is_mixed and only is None else None,
        only=only,
        without=state.without,
        retry_errors=request.retry_errors,
    )


def _class_order(shard: StreamedShard | StoredShard) -> int:
    label = shard.tarball.label if isinstance(shard, StreamedShard) else shard.label
    return NAMES.index(label) if label in NAMES else len(NAMES)

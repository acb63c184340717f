"""A stream of all clips in one seeded order: which clips these are, and where each lies."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from k600.dataset.clip import Clip, Place, Tarball, label_of
from k600.dataset.labels import NAMES
from k600.dataset.reasons import REASONS
from k600.errors import OptionError
from k600.errors.text import counted
from k600.loading.ask_host import settle_rows, with_lists
from k600.loading.candidates import proved_bad
from k600.loading.columns import place_values
from k600.loading.missing import raise_nothing, stored_shards
from k600.loading.order import Stretch, clips_schema, cut_order
from k600.loading.request import Request
from k600.loading.rows import StoredClip
from k600.loading.selection import Candidate
from k600.loading.state import State
from k600.loading.stream import state_to_stream, stream_split
from k600.loading.unlisted import next_unlisted


def stream_shards(request: Request, split: str) -> list[Any]:
    """Return the shards of a stream: one for each tarball, or the stretches of one order."""
    if request.shuffle_clips:
        return [*shuffle_split(request, split)]
    return [*stream_split(request, split)]


def shuffle_split(request: Request, split: str) -> list[Stretch]:
    """Return stretches of one seeded order of all clips of a request.

    A clip that is in the store is read there, each other by a request of its own when its turn
    comes. Nothing is written.

    Raises:
        OptionError: The request cannot be streamed, or it is not known where its clips lie.
        IncompleteError: Clips cannot be had, and `on_missing` is `raise`.
        MirrorError, ListError: The mirror's lists cannot be had.
        NoClipsError: Not one of the clips can be had.
    """
    if request.exclude_overlap:
        raise OptionError(
            "exclude_overlap: True is not allowed with shuffle_clips=True. Stream without it, or "
            "load with exclude_overlap=True, save_manifest(…), and pass manifest=…"
        )
    state = state_to_stream(request, split)
    indexed: list[Any] = []
    if request.chooses:
        state, clips = _chosen_clips(state)
        stored = _stored(state, clips)
    else:
        stored = _stored(state)
        state, clips, indexed = _all_clips(state, stored)

    lacking = [*filter(_lacks(state, stored), clips)]
    places: Mapping[Candidate, Place] = {}
    if state.network:
        places, alone = state.places.look_up(lacking)
        unplaced = [clip for clip in lacking if clip not in places]
        _check_places(state, unplaced, alone, of=len(clips))

    proofs = {clip: row.sha256 for clip, row in state.origin.items()}
    rows = itertools.chain(
        ((c, {"path": s.place, "source": s.source, "fps": s.fps}) for c, s in stored.items()),
        ((clip, {"tarball": p.tarball.name, **place_values(p)}) for clip, p in places.items()),
    )
    table = _joined([*_tables(rows, proofs), *indexed])
    if not len(table):
        raise_nothing(state)
    return cut_order(table, split, request.reading, seed=request.limits.seed)


def _tables(
    rows: Iterator[tuple[Candidate, dict[str, Any]]], proofs: Mapping[Candidate, str]
) -> Iterator[Any]:
    """Yield clips as tables, without half a million rows as objects at a time."""
    import pyarrow

    while some := [*itertools.islice(rows, 10_000)]:
        plain = [
            {"label": clip[0], "file_name": clip[1], "sha256": proofs.get(clip), **where}
            for clip, where in some
        ]
        yield pyarrow.Table.from_pylist(plain, clips_schema())


def _joined(tables: Sequence[Any]) -> Any:
    """Return tables as one, each of its columns in one piece, without those that say nothing."""
    import pyarrow

    tables = [clips_schema().empty_table(), *tables]
    whole = pyarrow.concat_tables(tables, promote_options="default")
    names = [name for name in whole.column_names if whole[name].null_count < len(whole)]
    return whole.select(names).unify_dictionaries().combine_chunks()


def _chosen_clips(state: State) -> tuple[State, Sequence[Candidate]]:
    """Return how things stand, and the chosen clips."""
    if not state.is_unlisted:
        state, plan = settle_rows(state)
        return state, plan.chosen
    state = with_lists(state)
    chosen, reads, _ = next_unlisted(state)
    if any(read.goes_on for read in reads):
        raise _no_places(state, f"what {reads[0].tarball.path} holds")
    return state, chosen


def _all_clips(
    state: State, stored: Collection[Candidate]
) -> tuple[State, list[Candidate], list[Any]]:
    """Return how things stand, and all clips that the tarballs of a request hold, but for those
    that were proved bad: those that have to be looked up, and, as a table, those of tarballs of
    which the index has every clip. The latter are not stored, and have a place.
    """
    if not state.network:
        return state, [], []
    if state.split.is_mixed:
        state = with_lists(state)
    tarballs = state.tarballs or [Tarball(state.split, name) for name in NAMES]
    index = state.places.opened_index()
    rows = None if index is None else index.clips(state.split, {t.name for t in tarballs})
    covered = set() if rows is None else {*rows["tarball"].unique().to_pylist()}
    indexed = [] if rows is None else [_indexed(state, rows, stored)]
    if covered.issuperset(tarball.name for tarball in tarballs):
        return state, [], indexed  # the host need not be asked

    if not state.host.fresh:
        state = with_lists(state)
    found = _listed([tarball for tarball in state.tarballs if tarball.name not in covered], state)
    bad = {} if state.request.retry_errors else proved_bad(state, found)
    for (label, name), reason in bad.items():
        message = f"{state.split}/{label}/{name} is left out: {REASONS[reason]}"
        state.request.reading.complain(message)
    clips = [(label, name) for label, names in found.items() for name in names]
    return state, [clip for clip in clips if clip not in bad], indexed


def _listed(tarballs: Sequence[Tarball], state: State) -> dict[str, list[str]]:
    """Return the file names of the clips of tarballs, by class: as the ledger says of those that
    were read, else as the host's list does.
    """
    seen: dict[Tarball, dict[str, None]] = {tarball: {} for tarball in tarballs}
    for clip in state.known.clips():
        if clip.tarball in seen and clip.state != "absent":
            seen[clip.tarball][clip.file_name] = None

    found: dict[str, list[str]] = {}
    done = state.known.done
    for tarball, names in seen.items():
        if tarball.name not in done:
            listed = state.host.listing.get(tarball.name, ())
            if not listed:
                raise _no_places(state, f"what {tarball.path} holds")
            names |= dict.fromkeys(listed)
        for name in names:
            label = label_of(name, state.labels) if state.split.is_mixed else tarball.name
            found.setdefault(label, []).append(name)
    classes = state.request.classes
    return {label: own for label, own in found.items() if classes is None or label in classes}


def _indexed(state: State, rows: Any, stored: Collection[Candidate]) -> Any:
    """Return an index's clips of the request that are not in the store, as a table; complain about
    those that can only be read with all that lies before them.
    """
    import pyarrow
    import pyarrow.compute as pc

    labels = rows["tarball"]
    if state.split.is_mixed:
        names = rows["file_name"].to_pylist()
        labels = pyarrow.array([label_of(name, state.labels) for name in names], pyarrow.string())
        labels = labels.dictionary_encode()
    every = rows.append_column("label", labels)
    rows = every
    if state.split.is_mixed or stored:
        classes, lacks = state.request.classes, _lacks(state, stored)
        columns = (rows["label"].cast(pyarrow.string()), rows["file_name"])
        asked = [
            (classes is None or clip[0] in classes) and lacks(clip)
            for clip in zip(*(column.to_pylist() for column in columns), strict=True)
        ]
        rows = rows.filter(pyarrow.array(asked, pyarrow.bool_()))

    alone = rows.filter(pc.is_null(rows["entry_offset"]))
    if len(alone):
        first = f"{alone['tarball'][0]}/{alone['file_name'][0]}"
        _complain_alone(state, first, len(alone), of=len(every))
    placed = rows.filter(pc.is_valid(rows["entry_offset"]))
    return placed.select([name for name in clips_schema().names if name in placed.column_names])


def _lacks(state: State, stored: Collection[Candidate]) -> Callable[[Candidate], bool]:
    """Return what tells whether a clip is not in the store."""
    if not state.split.is_mixed:
        return lambda clip: clip not in stored
    there = {name for _, name in stored}  # a clip may lie in a folder that is not its class's
    return lambda clip: clip[1] not in there


def _stored(state: State, chosen: Iterable[Candidate] | None = None) -> dict[Candidate, StoredClip]:
    """Return clips in the store, by default all that are there."""
    found = {}
    for shard in stored_shards(state, chosen):
        for clip in shard.clips():
            if clip.source == "youtube" and state.network and not state.request.has_youtube:
                continue
            found[clip.clip.candidate] = clip
    return found


def _check_places(
    state: State, lacking: Sequence[Candidate], alone: Collection[Candidate], *, of: int
) -> None:
    """Raise an error for clips of which it is not known where they lie; complain about those that
    can only be read with all that lies before them: these are `alone`, as the index says, or in
    tarballs in which entries were looked for.
    """
    read = state.known.done & state.request.ledger.objects(state.split).keys()
    tarballs = state.places.tarballs_of(lacking, state.known)
    held = {clip for clip, tarball in tarballs.items() if tarball.name in read}
    unknown = [clip for clip in lacking if clip not in held and clip not in alone]
    if unknown:
        first = Clip.at(unknown[0], state.split).key
        some = f"{len(unknown):,} of {counted(of, 'clip')}"
        what = f"where {some} can be found in their tarballs, such as {first!r}"
        raise _no_places(state, what)
    if lacking:
        first = Clip.at(lacking[0], state.split).key
        _complain_alone(state, first, len(lacking), of=of)


def _complain_alone(state: State, first: str, count: int, *, of: int) -> None:
    state.request.reading.complain(
        f"{count:,} of {counted(of, 'clip')} left out, as none can be read without all that lies "
        f"before it in its tarball; the first is {first!r}"
    )


def _no_places(state: State, what: str) -> OptionError:
    return OptionError(
        f"shuffle_clips: nothing says {what}. Pass index=… the path or URL of an index "
        f"(`kinetics600 index build {state.split}` makes one), or stream without shuffle_clips"
    )

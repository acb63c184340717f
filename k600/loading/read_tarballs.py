"""Clips from the tarballs of a plan: room on disk, workers, failures."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

from rich.filesize import decimal

from k600.dataset.clip import Listing, Tarball
from k600.errors import DamagedTarballError, MirrorError
from k600.errors.disk import Space
from k600.errors.text import counted
from k600.loading.ask_host import failure_of
from k600.loading.cheaper import MEAN_CLIP_BYTES, expected_bytes, note_rate
from k600.loading.plan import Plan
from k600.loading.selection import Candidate
from k600.loading.sources import Fetched, Price, Source
from k600.loading.state import State
from k600.mirror.identity import RemoteFile
from k600.mirror.reader import AHEAD_BYTES
from k600.tarballs.extract import TarballExtractor, TarballRead

logger = logging.getLogger("kinetics600")

_OWN_FILES = 2
"""Files that a tarball takes besides its clips: a folder and a lock."""
_PASSING = ("tarball_unreachable", "tarball_changed")
"""Reasons of failures that pass."""


class TarballSource(Source):
    """Reads tarballs, largest first, `num_workers` at a time."""

    @staticmethod
    def price(state: State, plan: Plan, *, bytes_per_second: float) -> Price:
        """Return what the tarballs of a plan take, whose sizes the host has said."""
        sizes = {read: each.size_bytes for read, each in _remotes(state, plan.reads).items()}
        expected = sum(expected_bytes(read, size_bytes) for read, size_bytes in sizes.items())
        return Price(
            count=len(plan.reads),
            size_bytes=sum(sizes.values()),
            space=space_needed(state, plan.reads),
            seconds=expected / bytes_per_second,
            at_most=any(read.until_found for read in plan.reads) and not plan.open_ended,
            open_ended=plan.open_ended,
        )

    def fetch(self, state: State, plan: Plan, *, refetch: bool = False) -> Fetched:
        """Read the tarballs of a plan.

        Raises:
            MirrorUnreachableError: Several in a row cannot be reached.
            StoreError: The store cannot take a clip, or has too little room.
        """
        _announce(state, plan.reads, refetch=refetch)
        came = Fetched(read=[read.tarball for read in plan.reads])
        lock = threading.Lock()
        total = sum(remote.size_bytes for remote in _remotes(state, plan.reads).values())
        store, request = state.request.store, state.request
        with store.incoming() as incoming, request.progress(total, state.split) as bar:

            def on_bytes(count: int, tarball: Tarball) -> None:
                with lock:
                    came.received_bytes += count
                bar.update(count, tarball.path)

            extractor = TarballExtractor(
                request.mirror,
                store,
                request.ledger,
                incoming,
                state.labels,
                state.host.listing,
                threading.Event(),
                on_bytes,
                bar,
                state.known.tarballs,
                rewrite=refetch,
                encoding=request.encoding,
                ahead_bytes=AHEAD_BYTES // min(request.num_workers, len(plan.reads)),
            )
            began = time.monotonic()
            _read(extractor, state, plan.reads, came)
            seconds = time.monotonic() - began

        if request.encoding is None:  # else the encoder sets the time
            note_rate(store, request.mirror, received_bytes=came.received_bytes, seconds=seconds)
        came.asked = _asked(state, plan, came.failures)
        return came


def _read(
    extractor: TarballExtractor,
    state: State,
    reads: Sequence[TarballRead],
    came: Fetched,
    *,
    once: bool = False,
) -> None:
    """Read tarballs; unless only `once`, what failed for a reason that passes again at the end."""
    remotes = state.host.remotes
    pool = ThreadPoolExecutor(state.request.num_workers, thread_name_prefix="k600")
    came.unreached = 0
    try:
        running: dict[Future[object], Tarball] = {
            pool.submit(extractor.extract_tarball, read, remotes[read.tarball]): read.tarball
            for read in sorted(reads, key=lambda read: -remotes[read.tarball].size_bytes)
        }
        for future in as_completed(list(running)):
            tarball = running.pop(future)
            error = future.exception()
            if error is None:
                came.count, came.unreached = came.count + 1, 0
            elif isinstance(error, (MirrorError, DamagedTarballError)):
                came.fail(tarball, failure_of(error, state.request.ledger.tarball(tarball)))
            else:
                raise error
    finally:
        if any(not future.done() for future in running):
            extractor.stop.set()
        pool.shutdown(wait=True, cancel_futures=True)

    passing = {t for t, failure in came.failures.items() if failure.reason in _PASSING}
    again = [] if once else [read for read in reads if read.tarball in passing]
    if again:
        for read in again:
            del came.failures[read.tarball]
        _read(extractor, state, again, came, once=True)


def space_needed(state: State, reads: Sequence[TarballRead], *, refetch: bool = False) -> Space:
    """Estimate what tarballs will take on disk beyond what is there of them already.

    The load that is about to begin and the plan of it both ask here, once the host has said the
    sizes. With `refetch`, new clips lie beside the old ones at first.
    """
    size_bytes = files = whole_bytes = whole_files = 0
    for read, remote in _remotes(state, reads).items():
        clips = _clips(read, remote, len(reads), state.host.listing)
        # H.264 hardly shrinks under gzip, so a tarball's size is that of its clips.
        of_some = read.wanted is not None or read.most is not None
        own_bytes = min(remote.size_bytes, clips * MEAN_CLIP_BYTES if of_some else sys.maxsize)
        own_bytes = state.request.stored_bytes(own_bytes)
        if read.until_found or refetch:  # nothing of it is there, or it will lie there twice
            size_bytes, files = size_bytes + own_bytes, files + clips
        else:
            whole_bytes, whole_files = whole_bytes + own_bytes, whole_files + clips

    left = max(whole_files - _stored_clips(state, {read.tarball for read in reads}), 0)
    size_bytes += whole_bytes * left // max(whole_files, 1)
    return Space(size_bytes, files + left + _OWN_FILES * len(reads))


def _announce(state: State, reads: Sequence[TarballRead], *, refetch: bool) -> None:
    """Check the room on disk and where the clips will go, and say what will be done."""
    store, folders = state.request.store, state.request.folders(state.split)
    needed = space_needed(state, reads, refetch=refetch)
    store.check_room(needed)
    for folder in folders:
        store.check_inside(store.root / folder)

    total = sum(remote.size_bytes for remote in _remotes(state, reads).values())
    again = {read.tarball: read.wanted or frozenset() for read in reads if read.until_found}
    known = (group for group in state.known.groups if group.tarball in again)
    lost = sum(len(group.names & again[group.tarball]) for group in known)
    stored = sum(len(state.inventory.names(folder)) for folder in folders)
    logger.info(
        "kinetics600 %s: reading %s, %s%s, from %s into %s (%s there%s; about %s on disk)",
        state.split,
        counted(len(reads), "tarball"),
        "at most " if any(read.until_found for read in reads) else "",
        decimal(total),
        state.request.mirror,
        store.root,
        counted(stored, "clip"),
        f", {lost:,} vanished" if lost else "",
        decimal(needed.size_bytes),
    )


def _remotes(state: State, reads: Sequence[TarballRead]) -> Mapping[TarballRead, RemoteFile]:
    return {read: state.host.remotes[read.tarball] for read in reads}


def _asked(state: State, plan: Plan, failures: Collection[Tarball]) -> list[Candidate]:
    """Return the chosen clips that the tarballs which were read should have given.

    Not the test clips that were said to be in one and are not: they may be in another.
    """
    names: dict[str | None, set[str]] = {}
    for read in plan.reads:
        if read.wanted is not None and not read.goes_on and read.tarball not in failures:
            own = read.wanted
            if read.tarball.label is None:
                clips = state.request.ledger.clips(state.split, read.tarball.name)
                own = own.intersection(clip.file_name for clip in clips)
            names.setdefault(read.tarball.label, set()).update(own)
    mixed = names.get(None, set())
    return [clip for clip in plan.chosen if clip[1] in mixed or clip[1] in names.get(clip[0], ())]


def _stored_clips(state: State, tarballs: Collection[Tarball]) -> int:
    """Return about how many clips of tarballs are there: all but what other tarballs gave."""
    folders = {f"{state.split}/{tarball.label}" for tarball in tarballs}
    if state.split.is_mixed:
        folders = {*state.request.folders(state.split)}
    here = sum(len(state.inventory.names(folder)) for folder in folders)
    groups = (group for group in state.known.groups if group.folder in folders)
    return here - sum(len(group.names) for group in groups if group.tarball not in tarballs)


def _clips(read: TarballRead, remote: RemoteFile, tarballs: int, listing: Listing) -> int:
    """Estimate how many clips will be stored of a tarball."""
    if read.wanted is not None:  # a class of the test split is spread over all its tarballs
        return len(read.wanted) // (1 if read.until_found else tarballs)
    listed = listing.get(read.tarball.name)
    clips = len(listed) if listed else -(-remote.size_bytes // MEAN_CLIP_BYTES)
    return min(clips, read.most or clips)

"""Carry out a request: see what is known and there, bring what is not, account for the rest."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from rich.filesize import decimal

from k600.account import Failure, missing_clips, stored_shards
from k600.clip import Tarball
from k600.errors import (
    MirrorChangedError,
    MirrorDeniedError,
    MirrorError,
    MirrorNotFoundError,
    MirrorUnreachableError,
    NoClipsError,
    OfflineError,
)
from k600.kept_lists import KeptLists, read_test_labels
from k600.labels import NAMES
from k600.ledger import Known, Ledger, TarballRow
from k600.lists import Listing, TestLabels
from k600.outcome import REASONS, Missing, Outcome, missing_csv
from k600.plan import MEAN_CLIP_BYTES, Need, plan_needs
from k600.records import StoredShard, StreamedShard
from k600.remote import RemoteFile, public_url
from k600.request import Request
from k600.sources.landing import Lander
from k600.store import Store

__all__ = ["Progress", "fetch_split", "stream_split"]

logger = logging.getLogger("kinetics600")

_GIVE_UP_AFTER = 3
"""Tarballs in a row that may be unreachable before the whole run stops."""


class Bar(Protocol):
    """A progress bar in bytes."""

    def update(self, n: int) -> object: ...


Progress = Callable[[int, str], AbstractContextManager[Bar]]
"""Opens a progress bar, given the total in bytes and a description."""


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
    store, ledger = request.store, Ledger(request.store.ledger_path)
    network = not (request.source == "local" or (offline and request.mirror.is_network))
    store.check_folder()
    if network:
        store.prepare()
    labels: TestLabels = {}
    if split == "test":
        labels = read_test_labels(request, store, offline=offline, refresh=refetch)
    wanted = _wanted(request, split, labels)
    lists = KeptLists(request.mirror, store, split, network=network)

    def needs(known: Known) -> list[Need]:
        return plan_needs(
            tarballs,
            known,
            here,
            wanted=wanted,
            retry_errors=request.retry_errors and network,
            refetch=refetch and network,
        )

    stamps = store.stamp(request.folders(split))
    here, known = cache(store.inventory), ledger.known(split)
    tarballs = _tarballs(request, split, lists)
    todo = needs(known)
    failures: dict[Tarball, Failure] = {}
    fetched_bytes = fetched = 0
    if todo and network:
        lists.refresh(paths=request.classes is None or split == "test")
        tarballs = _tarballs(request, split, lists)
        todo = needs(known)
        fetches, failures = _stat_all(request, todo) if todo else ({}, {})
        if fetches:
            run = _Run(
                request, split, store, ledger, labels, lists.listing(), known.tarballs, refetch
            )
            run.announce(fetches)
            fetched_bytes, fetched = run.carry_out(fetches, failures, progress)
            stamps = store.stamp(request.folders(split))
            here, known = cache(store.inventory), ledger.known(split)
    elif todo:
        error = OfflineError("the network is not to be used")
        failures = {need.tarball: Failure("offline", error) for need in todo}
    shards = stored_shards(request, split, known, labels, here)
    listing = lists.listing()
    missing = missing_clips(request, split, known, listing, wanted, tarballs, failures, here)
    if not tarballs and request.source != "local":  # offline, and the list was never fetched
        detail = "the mirror's list of tarballs is not known"
        missing.append(Missing(split, "", "", "", "offline", detail))
    if not any(shard.names for shard in shards):
        _raise_nothing(request, split, failures, missing)
    report = ""
    if missing and network:
        report = str(store.write_own(f"reports/{split}-missing.csv", missing_csv(missing)))
    return Outcome(
        split,
        tuple(shards),
        tuple(missing),
        fetched_bytes,
        fetched,
        stamps,
        failures={tarball.path: failure.reason for tarball, failure in failures.items()},
        labelled=split != "test" or bool(labels),
        report=report,
    )


def stream_split(
    request: Request, split: str, *, offline: bool = False
) -> list[StreamedShard] | list[StoredShard]:
    """Return a shard for each tarball of a request; reading starts when they are iterated.

    Nothing is written. Tarballs whose clips are all in the store are served from there.

    Raises:
        MirrorError, ListError: The mirror's list of tarballs cannot be had.
        NoClipsError: `source="local"` and the store holds none of the clips.
    """
    store = request.store
    store.check_folder()
    network = not (request.source == "local" or (offline and request.mirror.is_network))
    labels: TestLabels = {}
    if split == "test":
        labels = read_test_labels(request, store, offline=offline, keep=False)
    _wanted(request, split, labels)
    if not network:
        known = Ledger(store.ledger_path).known(split)
        shards = stored_shards(request, split, known, labels, cache(store.inventory))
        if not any(shard.names for shard in shards):
            _raise_nothing(request, split, {}, [])
        return shards
    lists = KeptLists(request.mirror, store, split, network=True, keep=False)
    return [
        StreamedShard(
            store,
            request.mirror,
            tarball,
            labels,
            request.on_missing,
            classes=request.classes if split == "test" else None,
        )
        for tarball in _tarballs(request, split, lists)
    ]


@dataclass(slots=True)
class _Run:
    """One run over the tarballs that are needed."""

    request: Request
    split: str
    store: Store
    ledger: Ledger
    labels: TestLabels
    listing: Listing
    planned: Mapping[str, TarballRow]
    refetch: bool

    def announce(self, fetches: Mapping[Need, RemoteFile]) -> None:
        """Check the room on disk and say what will be done."""
        total = sum(remote.size_bytes for remote in fetches.values())
        needed = sum(_disk_bytes(need, remote, len(fetches)) for need, remote in fetches.items())
        whole = {need.tarball.label for need in fetches if not need.known}
        folders = [
            folder
            for folder in self.request.folders(self.split)
            if self.split == "test" or folder.partition("/")[2] in whole
        ]
        self.store.check_room(max(needed - self.store.bytes_here(folders), 0))
        lost = sum(len(need.wanted or ()) for need in fetches if need.known)
        here = sum(len(self.store.inventory(f)) for f in self.request.folders(self.split))
        logger.info(
            "kinetics600 %s: reading %s tarballs, %s, from %s into %s (%s clips are there%s; about "
            "%s on disk)",
            self.split,
            f"{len(fetches):,}",
            decimal(total),
            self.request.mirror,
            self.store.root,
            f"{here:,}",
            f", {lost:,} have vanished" if lost else "",
            decimal(needed),
        )

    def carry_out(
        self,
        fetches: Mapping[Need, RemoteFile],
        failures: dict[Tarball, Failure],
        progress: Progress,
    ) -> tuple[int, int]:
        """Read the tarballs; those that fail are added to `failures`.

        Returns:
            The bytes that came, and the tarballs that were read.
        """
        stop, lock, received = threading.Event(), threading.Lock(), [0]
        total = sum(remote.size_bytes for remote in fetches.values())
        with self.store.incoming() as incoming, progress(total, self.split) as bar:

            def on_bytes(count: int) -> None:
                with lock:
                    received[0] += count
                    bar.update(count)

            lander = Lander(
                self.request.mirror,
                self.store,
                self.ledger,
                incoming,
                self.labels,
                self.listing,
                stop,
                on_bytes,
                self.planned,
                rewrite=self.refetch,
            )
            done = self._round(lander, fetches, failures, stop)
            again = {
                need: remote
                for need, remote in fetches.items()
                if need.tarball in failures
                and failures[need.tarball].reason in ("tarball_unreachable", "tarball_changed")
            }
            if again:  # once more, now that the others are through
                for need in again:
                    del failures[need.tarball]
                done += self._round(lander, again, failures, stop)
        return received[0], done

    def _round(
        self,
        lander: Lander,
        fetches: Mapping[Need, RemoteFile],
        failures: dict[Tarball, Failure],
        stop: threading.Event,
    ) -> int:
        order = sorted(fetches, key=lambda need: -fetches[need].size_bytes)
        pool = ThreadPoolExecutor(self.request.num_workers, thread_name_prefix="k600")
        done = in_a_row = 0
        try:
            running: dict[Future[object], Need] = {
                pool.submit(lander.land, need, fetches[need]): need for need in order
            }
            while running:
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    need = running.pop(future)
                    error = future.exception()
                    if error is None:
                        done, in_a_row = done + 1, 0
                    elif isinstance(error, MirrorError):
                        failures[need.tarball] = Failure(_reason(error), error)
                        in_a_row += isinstance(error, MirrorUnreachableError)
                        if in_a_row >= _GIVE_UP_AFTER:
                            raise error
                    else:
                        raise error
        finally:
            stop_now = any(not future.done() for future in running)
            if stop_now:
                stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
        return done


def _tarballs(request: Request, split: str, lists: KeptLists) -> list[Tarball]:
    """Return the tarballs that may hold clips of the request, in id order.

    For whole classes no list is needed: their tarballs bear their names. A class that the
    host's listing knows but its path list does not is among them, too: its tarball will not
    be found, and so its clips are named as missing.
    """
    if split == "test":
        return lists.tarballs()
    if request.classes is not None:
        return [Tarball(split, name) for name in request.classes]
    known = {tarball.name for tarball in lists.tarballs()} | set(lists.listing())
    return [Tarball(split, name) for name in NAMES if name in known]


def _wanted(request: Request, split: str, labels: TestLabels) -> frozenset[str] | None:
    """Return the file names asked for where that is not simply all of each tarball."""
    if split != "test" or request.classes is None:
        return None
    if not labels:
        raise OfflineError(
            "classes: clips of the test split can be chosen by class only with DeepMind's list, "
            f"and {public_url(request.test_labels)} cannot be had. Pass test_labels=… a path or "
            "URL of 'kinetics600.tar.gz' or its 'test.csv', or leave classes out"
        )
    chosen = set(request.classes)
    return frozenset(
        f"{youtube_id}_{start:06d}_{end:06d}.mp4"
        for (youtube_id, start, end), label in labels.items()
        if label in chosen
    )


def _stat_all(
    request: Request, needs: Iterable[Need]
) -> tuple[dict[Need, RemoteFile], dict[Tarball, Failure]]:
    """Ask the mirror for every tarball's size, several at a time."""
    needs = list(needs)
    fetches: dict[Need, RemoteFile] = {}
    failures: dict[Tarball, Failure] = {}

    def stat(need: Need) -> RemoteFile | MirrorError:
        try:
            return request.mirror.stat(need.tarball.path)
        except MirrorError as error:
            return error

    first = stat(needs[0])
    if isinstance(first, MirrorUnreachableError):
        raise first
    with ThreadPoolExecutor(min(16, len(needs))) as pool:
        for need, found in zip(needs, [first, *pool.map(stat, needs[1:])], strict=True):
            if isinstance(found, RemoteFile):
                fetches[need] = found
            else:
                failures[need.tarball] = Failure(_reason(found), found)
    return fetches, failures


def _disk_bytes(need: Need, remote: RemoteFile, tarballs: int) -> int:
    """Estimate what a tarball will take on disk: H.264 hardly shrinks under gzip."""
    if need.wanted is None:
        return remote.size_bytes
    share = 1 if need.known else tarballs
    return min(remote.size_bytes, MEAN_CLIP_BYTES * len(need.wanted) // share)


def _raise_nothing(
    request: Request,
    split: str,
    failures: Mapping[Tarball, Failure],
    missing: Iterable[Missing],
) -> None:
    for failure in failures.values():
        if failure.reason != "offline":
            raise failure.error
    first = next(iter(missing), None)
    if failures or request.source == "local" or (first and first.reason == "offline"):
        why = (
            "and the network is not to be used. Allow it (source='auto', HF_DATASETS_OFFLINE "
            "unset), or pass data_dir=… the folder that holds them"
        )
    elif first is not None:
        why = f"the first for this reason: {first.reason}: {first.detail or REASONS[first.reason]}"
    else:
        why = "and the mirror's lists and tarballs hold none of them, either"
    raise NoClipsError(
        f"kinetics600 {split}: not one of the clips asked for is in '{request.store.root}', {why}"
    )


def _reason(error: MirrorError) -> str:
    kinds: dict[type[MirrorError], str] = {
        MirrorNotFoundError: "tarball_not_found",
        MirrorDeniedError: "tarball_denied",
        MirrorChangedError: "tarball_changed",
    }
    return kinds.get(type(error), "tarball_unreachable")

"""One run over the tarballs that are needed: sizes, room on disk, workers, failures."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from rich.filesize import decimal

from k600.account import Failure
from k600.clip import Tarball
from k600.errors import (
    DamagedTarballError,
    MirrorChangedError,
    MirrorDeniedError,
    MirrorError,
    MirrorNotFoundError,
    MirrorUnreachableError,
)
from k600.ledger import Ledger, TarballRow
from k600.lists import Listing, TestLabels
from k600.plan import MEAN_CLIP_BYTES, Need
from k600.progress import Progress
from k600.range_reader import AHEAD_BYTES
from k600.remote import RemoteFile
from k600.request import Request
from k600.sources.landing import Lander
from k600.sources.reading import READINGS, is_condemned
from k600.store import Store

__all__ = ["Run", "disk_bytes", "stat_tarballs"]

logger = logging.getLogger("kinetics600")

_GIVE_UP_AFTER = 3
"""Tarballs in a row that may be unreachable before the whole run stops."""


@dataclass(slots=True)
class Run:
    """One run over the tarballs that are needed."""

    request: Request
    split: str
    store: Store
    ledger: Ledger
    labels: TestLabels
    listing: Listing
    planned: Mapping[str, TarballRow]
    refetch: bool

    def announce(
        self, fetches: Mapping[Need, RemoteFile], here: Callable[[str], Collection[str]]
    ) -> None:
        """Check the room on disk and say what will be done.

        Args:
            fetches: The tarballs to read.
            here: Returns the file names in a store folder (`<split>/<class name>`).
        """
        total = sum(remote.size_bytes for remote in fetches.values())
        needed = sum(disk_bytes(need, remote, len(fetches)) for need, remote in fetches.items())
        whole = {need.tarball.label for need in fetches if not need.until_found}
        folders = [
            folder
            for folder in self.request.folders(self.split)
            if self.split == "test" or folder.partition("/")[2] in whole
        ]
        self.store.check_room(max(needed - self.store.bytes_here(folders), 0))
        lost = sum(
            clip.state == "have" and clip.file_name in (need.wanted or ())
            for need in fetches
            if need.until_found
            for clip in self.ledger.clips(self.split, need.tarball.name)
        )
        stored = sum(len(here(folder)) for folder in self.request.folders(self.split))
        logger.info(
            "kinetics600 %s: reading %s tarballs, %s%s, from %s into %s (%s clips are there%s; "
            "about %s on disk)",
            self.split,
            f"{len(fetches):,}",
            "at most " if any(need.until_found for need in fetches) else "",
            decimal(total),
            self.request.mirror,
            self.store.root,
            f"{stored:,}",
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

            def on_bytes(count: int, tarball: Tarball) -> None:
                with lock:
                    received[0] += count
                bar.update(count, tarball.path)

            lander = Lander(
                self.request.mirror,
                self.store,
                self.ledger,
                incoming,
                self.labels,
                self.listing,
                stop,
                on_bytes,
                bar,
                self.planned,
                rewrite=self.refetch,
                short_side=self.request.short_side,
                ahead_bytes=AHEAD_BYTES // min(self.request.num_workers, len(fetches)),
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
            for future in as_completed(list(running)):
                need = running.pop(future)
                error = future.exception()
                if error is None:
                    done, in_a_row = done + 1, 0
                elif isinstance(error, (MirrorError, DamagedTarballError)):
                    row = self.ledger.tarball(need.tarball)
                    failures[need.tarball] = Failure(_reason(error, row), error)
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


def stat_tarballs(
    request: Request,
    needs: Iterable[Need],
    known: Mapping[str, TarballRow],
    *,
    refetch: bool = False,
) -> tuple[dict[Need, RemoteFile], dict[Tarball, Failure]]:
    """Ask the mirror for every tarball's size, several at a time.

    Args:
        request: The request.
        needs: The tarballs.
        known: What the ledger says of them, by name: one that is condemned and still the same is a
            failure, unless the request is to ask again (`k600.sources.reading`).
        refetch: Whether all is to be fetched again.
    """
    needs = list(needs)
    fetches: dict[Need, RemoteFile] = {}
    failures: dict[Tarball, Failure] = {}

    def stat(need: Need) -> RemoteFile | MirrorError:
        try:
            return request.mirror.stat(need.tarball.path)
        except MirrorError as error:
            return error

    if not needs:
        return {}, {}
    first = stat(needs[0])
    if isinstance(first, MirrorUnreachableError):
        raise first
    with ThreadPoolExecutor(min(16, len(needs))) as pool:
        answers = dict(zip(needs, [first, *pool.map(stat, needs[1:])], strict=True))
        again = [n for n, found in answers.items() if isinstance(found, MirrorUnreachableError)]
        answers |= zip(again, pool.map(stat, again), strict=True)  # now that the others are through
    for need in needs:
        found = answers[need]
        row = known.get(need.tarball.name)
        if not isinstance(found, RemoteFile):
            failures[need.tarball] = Failure(_reason(found, row), found)
        elif is_condemned(row, found) and row and not (request.retry_errors or refetch):
            error = DamagedTarballError(row.detail)
            failures[need.tarball] = Failure(_reason(error, row), error)
        else:
            fetches[need] = found
    return fetches, failures


def disk_bytes(need: Need, remote: RemoteFile, tarballs: int) -> int:
    """Estimate what a tarball will take on disk: H.264 hardly shrinks under gzip."""
    if need.wanted is None:
        return min(remote.size_bytes, MEAN_CLIP_BYTES * (need.most or remote.size_bytes))
    share = 1 if need.until_found else tarballs
    return min(remote.size_bytes, MEAN_CLIP_BYTES * len(need.wanted) // share)


def _reason(error: MirrorError | DamagedTarballError, row: TarballRow | None) -> str:
    """Return what an error is called where clips are missing; the row says what is noted of it."""
    condemned = row is not None and row.failures >= READINGS
    kinds: dict[type[Exception], str] = {
        DamagedTarballError: "tarball_condemned" if condemned else "tarball_damaged",
        MirrorNotFoundError: "tarball_not_found",
        MirrorDeniedError: "tarball_denied",
        MirrorChangedError: "tarball_changed",
    }
    return kinds.get(type(error), "tarball_unreachable")

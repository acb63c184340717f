"""One run over the tarballs that are needed: sizes, room on disk, workers, failures."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from rich.filesize import decimal

from k600.clip import Listing, Tarball, TestLabels
from k600.disk import Space
from k600.errors import (
    DamagedTarballError,
    MirrorChangedError,
    MirrorDeniedError,
    MirrorError,
    MirrorNotFoundError,
    MirrorUnreachableError,
)
from k600.loading.missing import Failure
from k600.loading.plan import MEAN_CLIP_BYTES
from k600.loading.request import Request
from k600.mirror.mirror import RemoteFile
from k600.mirror.range_reader import AHEAD_BYTES
from k600.progress import Progress
from k600.store.ledger import Ledger
from k600.store.rows import TarballRow
from k600.store.store import Store
from k600.tarballs.extract import TarballExtractor, TarballRead
from k600.tarballs.reading import READINGS, is_condemned, noted_failure

__all__ = ["Run", "space_needed", "stat_tarballs"]

logger = logging.getLogger("kinetics600")

_OWN_FILES = 2
"""Files that a tarball takes besides its clips: a folder and a lock."""
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
        self, fetches: Mapping[TarballRead, RemoteFile], here: Callable[[str], Collection[str]]
    ) -> None:
        """Check the room on disk and where the clips will go, and say what will be done.

        Args:
            fetches: The tarballs to read.
            here: Returns the file names in a store folder (`<split>/<class name>`).
        """
        total = sum(remote.size_bytes for remote in fetches.values())
        needed = space_needed(self.request, self.split, fetches, self.listing, refetch=self.refetch)
        self.store.check_room(needed)
        for folder in self.request.folders(self.split):
            self.store.check_inside(self.store.root / folder)
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
            decimal(needed.size_bytes),
        )

    def carry_out(
        self,
        fetches: Mapping[TarballRead, RemoteFile],
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

            extractor = TarballExtractor(
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
            done = self._round(extractor, fetches, failures, stop)
            again = {
                need: remote
                for need, remote in fetches.items()
                if need.tarball in failures
                and failures[need.tarball].reason in ("tarball_unreachable", "tarball_changed")
            }
            if again:  # once more, now that the others are through
                for need in again:
                    del failures[need.tarball]
                done += self._round(extractor, again, failures, stop)
        return received[0], done

    def _round(
        self,
        extractor: TarballExtractor,
        fetches: Mapping[TarballRead, RemoteFile],
        failures: dict[Tarball, Failure],
        stop: threading.Event,
    ) -> int:
        order = sorted(fetches, key=lambda need: -fetches[need].size_bytes)
        pool = ThreadPoolExecutor(self.request.num_workers, thread_name_prefix="k600")
        done = in_a_row = 0
        try:
            running: dict[Future[object], TarballRead] = {
                pool.submit(extractor.extract_tarball, need, fetches[need]): need for need in order
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
    needs: Iterable[TarballRead],
    known: Mapping[str, TarballRow],
    *,
    refetch: bool = False,
) -> tuple[dict[TarballRead, RemoteFile], dict[Tarball, Failure]]:
    """Ask the mirror for every tarball's size, several at a time.

    Args:
        request: The request.
        needs: The tarballs.
        known: What the ledger says of them, by name: one that is condemned and still the same is a
            failure, unless the request is to ask again (`k600.tarballs.reading`).
        refetch: Whether all is to be fetched again.
    """
    needs = list(needs)
    fetches: dict[TarballRead, RemoteFile] = {}
    failures: dict[Tarball, Failure] = {}

    def stat(need: TarballRead) -> RemoteFile | MirrorError:
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
            error = noted_failure(row)
            failures[need.tarball] = Failure(_reason(error, row), error)
        else:
            fetches[need] = found
    return fetches, failures


def space_needed(
    request: Request,
    split: str,
    fetches: Mapping[TarballRead, RemoteFile],
    listing: Listing,
    *,
    refetch: bool = False,
) -> Space:
    """Estimate what tarballs will take on disk beyond what is there of them already.

    The load that is about to begin and the plan of it both ask here.

    Args:
        request: The request.
        split: Whose tarballs they are.
        fetches: The tarballs to read.
        listing: The names that each class should hold; empty where unknown.
        refetch: Whether what is there is to be replaced: the new clips lie beside the old at first.
    """
    size_bytes = files = mixed_bytes = mixed_files = 0
    for need, remote in fetches.items():
        clips = _clips(need, remote, len(fetches), listing)
        # H.264 hardly shrinks under gzip, so a tarball's size is that of its clips.
        of_some = need.wanted is not None or need.most is not None
        own_bytes = min(remote.size_bytes, clips * MEAN_CLIP_BYTES if of_some else sys.maxsize)
        files += _OWN_FILES
        if need.until_found or refetch:  # nothing of it is there, or it will lie there twice
            size_bytes, files = size_bytes + own_bytes, files + clips
        elif need.tarball.label:
            here = request.store.taken(f"{split}/{need.tarball.label}")
            size_bytes += max(own_bytes - here.size_bytes, 0)
            files += max(clips - (here.files or 0), 0)
        else:
            mixed_bytes, mixed_files = mixed_bytes + own_bytes, mixed_files + clips
    if mixed_files:
        here = _here_of_mixed(request, split, {need.tarball for need in fetches})
        size_bytes += max(mixed_bytes - here.size_bytes, 0)
        files += max(mixed_files - (here.files or 0), 0)
    return Space(size_bytes, files)


def _here_of_mixed(request: Request, split: str, tarballs: Collection[Tarball]) -> Space:
    """Return about what is there of tarballs that mix classes: all but what other tarballs gave."""
    here = [request.store.taken(folder) for folder in request.folders(split)]
    size_bytes = sum(each.size_bytes for each in here)
    files = sum(each.files or 0 for each in here)
    held = Ledger(request.store.ledger_path).view(split).groups
    others = sum(len(group.names) for group in held if group.tarball not in tarballs)
    rest = max(files - others, 0)
    return Space(size_bytes * rest // files if files else 0, rest)


def _clips(need: TarballRead, remote: RemoteFile, tarballs: int, listing: Listing) -> int:
    """Estimate how many clips will be stored of a tarball."""
    if need.wanted is not None:  # a class of the test split is spread over all its tarballs
        return len(need.wanted) // (1 if need.until_found else tarballs)
    listed = listing.get(need.tarball.name)
    clips = len(listed) if listed else -(-remote.size_bytes // MEAN_CLIP_BYTES)
    return min(clips, need.most or clips)


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

"""Single clips out of the middle of tarballs, by one request each, where their places are known.

A clip is checked as if its tarball had been read, lands as those do, and has the same row in the
ledger. Where one does not lie where it should, its tarball is doubted: the next plan reads it.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from rich.filesize import decimal

from k600.clip import Place, Tarball
from k600.disk import Space
from k600.errors import (
    EntryError,
    MirrorChangedError,
    MirrorError,
    MirrorRangesError,
    MirrorUnreachableError,
)
from k600.loading.ask_host import failure_of
from k600.loading.plan import Plan, is_usable
from k600.loading.read_tarballs import GIVE_UP_AFTER
from k600.loading.selection import Candidate
from k600.loading.sources import Fetched, Price, Source
from k600.loading.state import Failure, State
from k600.progress import Bar
from k600.store.rows import ClipRow, TarballRow
from k600.store.store import Incoming
from k600.tarballs.arrivals import Arrivals, write_clip
from k600.tarballs.one_clip import read_clip

logger = logging.getLogger("kinetics600")

_AT_ONCE = 16
"""Requests at a time, whatever `num_workers` says: a thread waits for the host most of the time and
hardly computes. Each holds one clip, and what lies in front of it, in memory."""


class EntrySource(Source):
    """Asks the mirror for clips, sixteen at a time."""

    @staticmethod
    def price(state: State, plan: Plan, *, bytes_per_second: float) -> Price:
        """Return what the clips of a plan take that come by one request each."""
        entries = [place.entry for place in plan.entries.values()]
        size_bytes = sum(entry.span_bytes for entry in entries)
        return Price(
            count=len(entries),
            size_bytes=size_bytes,
            space=Space(sum(entry.size_bytes for entry in entries), len(entries)),
            seconds=size_bytes / bytes_per_second,
        )

    def fetch(self, state: State, plan: Plan, *, refetch: bool = False) -> Fetched:
        """Ask for the clips of a plan; each is in the store then, bad, or its tarball is doubted.

        Raises:
            MirrorUnreachableError: Several in a row cannot be reached.
            StoreError: The store cannot take a clip, or has too little room.
        """
        store, price = state.request.store, self.price(state, plan, bytes_per_second=1)
        store.prepare()
        store.check_room(price.space)
        for label in {label for label, _ in plan.entries}:
            store.check_inside(store.root / f"{state.split}/{label}")
        logger.info(
            "kinetics600 %s: asking for %s clips by one request each, %s, from %s into %s",
            state.split,
            f"{price.count:,}",
            decimal(price.size_bytes),
            state.request.mirror,
            store.root,
        )

        name = f"{state.split}, clip by clip"
        with store.incoming() as incoming, self.progress(price.size_bytes, name) as bar:
            run = _Run(state, incoming, bar)
            run.carry_out(plan.entries)
        return Fetched(
            asked=[*run.refused],
            refused=run.refused,
            failures=run.failures,
            doubted=run.doubted,
            count=run.count,
            received_bytes=run.received_bytes,
        )


@dataclass(frozen=True, slots=True)
class _Written:
    """A clip on its way to its name."""

    candidate: Candidate
    place: Place
    row: ClipRow
    part: Path


@dataclass(slots=True)
class _Run:
    """The requests of one plan."""

    state: State
    incoming: Incoming
    bar: Bar
    refused: dict[Candidate, str] = field(default_factory=dict)
    failures: dict[Tarball, Failure] = field(default_factory=dict)
    doubted: set[Tarball] = field(default_factory=set)
    count: int = 0
    received_bytes: int = 0
    in_a_row: int = 0
    """Requests, the last ones, that did not reach the mirror."""
    stop: threading.Event = field(default_factory=threading.Event)

    def carry_out(self, entries: Mapping[Candidate, Place]) -> None:
        """Ask for all clips; sixteen at a time get their names, and the last ones at the end."""
        written: list[_Written] = []
        pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="k600-entry")
        try:
            running = {pool.submit(self._bring, *entry): entry for entry in entries.items()}
            for future in as_completed([*running]):
                _, place = running.pop(future)
                error = future.exception()
                if isinstance(error, MirrorRangesError):  # no other request would do better
                    self.doubted.update(place.tarball for place in entries.values())
                    break
                if error is not None:
                    self._note(error, place.tarball)
                    continue
                self.in_a_row = 0
                self.received_bytes += place.entry.span_bytes
                self.bar.update(place.entry.span_bytes)
                written.append(future.result())
                if len(written) == _AT_ONCE:
                    self._land(written)
                    written = []
        except MirrorError:
            self._land(written)  # the clips that came stay
            raise
        finally:
            self.stop.set()  # of what is under way still, nothing is waited for any more
            pool.shutdown(wait=True, cancel_futures=True)
        self._land(written)

    def _bring(self, candidate: Candidate, place: Place) -> _Written:
        """Ask for a clip, and write it to an unfinished file unless it is bad."""
        request, (label, name) = self.state.request, candidate
        data = read_clip(request.mirror, place, name, stop=self.stop)
        folder = self.state.place_of(candidate) or f"{self.state.split}/{label}"
        row = ClipRow(place.tarball, -1, folder, name, "have", "", "cvdf", len(data))
        part, size, problem = write_clip(self.incoming, [data], row, request.encoding)
        if problem == "not_encoded":  # not the clip's fault: the next call tries again
            row = row._replace(state="skipped", reason=problem, source="")
        elif problem is not None:
            row = row._replace(state="bad", reason=problem, size_bytes=size)
        else:
            row = row._replace(size_bytes=size, crc32=place.entry.crc32)
        return _Written(candidate, place, row, part)

    def _note(self, error: BaseException, tarball: Tarball) -> None:
        """Note why a clip did not come; raise what ends the run."""
        if isinstance(error, (EntryError, MirrorChangedError)):
            logger.warning("%s: so its tarball is read", error)
            self.doubted.add(tarball)
        elif isinstance(error, MirrorError):
            self.failures[tarball] = failure_of(error, None)
            self.in_a_row += isinstance(error, MirrorUnreachableError)
            if self.in_a_row >= GIVE_UP_AFTER:
                raise error
        else:
            raise error

    def _land(self, written: Iterable[_Written]) -> None:
        """Give clips their names, tarball by tarball, none of which another process reads now."""
        by_tarball = sorted(written, key=lambda each: each.place.tarball.name)
        stop = threading.Event()  # never set: Ctrl-C reaches this thread
        for tarball, group in itertools.groupby(by_tarball, key=lambda each: each.place.tarball):
            with self.state.request.store.only_one(f"{tarball.split}--{tarball.name}", stop):
                self._land_of(tarball, [*group])

    def _land_of(self, tarball: Tarball, written: Sequence[_Written]) -> None:
        """Give clips of one tarball their names, unless the ledger knows better by now."""
        ledger, store = self.state.request.ledger, self.state.request.store
        known = {row.file_name: row for row in ledger.clips(tarball.split, tarball.name)}
        first = written[0].place
        begun = ledger.tarball(tarball) or TarballRow(
            tarball, "partial", first.etag, first.tarball_bytes
        )
        good: dict[str, tuple[_Written, ClipRow]] = {}
        for each in written:
            row, own = each.row, known.get(each.row.file_name)
            other = own is not None and own.crc32 not in (None, each.place.entry.crc32)
            if other or not is_usable(each.place, begun):
                self.doubted.add(tarball)
            else:
                position = -1 if own is None else own.position
                good[row.file_name] = each, row._replace(position=position)
        if not good:
            return

        left: list[ClipRow] = []
        with Arrivals(ledger, self.incoming, begun) as arrivals:
            for each, row in good.values():
                path = store.path(row.folder, row.file_name)
                if row.state != "have":
                    self.refused[each.candidate] = row.reason
                    left.append(row)
                    continue
                if path.exists():  # a kill may come in between: the row must not prove this file
                    left.append(row)
                    row = row._replace(crc32=None)
                arrivals.add(each.part, path, row, wait=False)
                self.count += 1
            arrivals.finish(proved=True)
        entries = {name: each.place.entry for name, (each, _) in good.items()}
        ledger.record(begun, left, replace=False, packing=first.packing, entries=entries)

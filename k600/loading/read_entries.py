"""Single clips out of the middle of tarballs, by one request each, where their places are known.

A clip is checked as if its tarball had been read, lands as those do, and has the same row in the
ledger. Where one does not lie where it should, its tarball is doubted: the next plan reads it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.filesize import decimal

from k600.ahead import map_ahead
from k600.dataset.clip import Entry, Place, Tarball
from k600.errors import EntryError, MirrorChangedError, MirrorError, MirrorRangesError
from k600.errors.disk import Space
from k600.errors.text import counted
from k600.loading.ask_host import failure_of
from k600.loading.manifest import is_other
from k600.loading.plan import Plan, is_usable
from k600.loading.selection import Candidate
from k600.loading.sources import Fetched, Price, Source
from k600.loading.state import State
from k600.progress import Bar
from k600.store.files import flush, flush_all
from k600.store.ledger import Ledger
from k600.store.rows import ClipRow, TarballRow
from k600.store.store import Incoming
from k600.tarballs.arrivals import write_clip
from k600.tarballs.one_clip import read_clip

logger = logging.getLogger("kinetics600")

_AT_ONCE = 16
"""Requests at a time, whatever `num_workers` says: a thread waits for the host most of the time and
hardly computes. Each holds one clip, and what lies in front of it, in memory."""
_WRITERS = 4
"""Threads more, as those that write a clip ask for none."""
_MOST_AHEAD = 8 * _AT_ONCE
"""Clips that are asked for or came while others get their names, which takes a moment."""
_LANDING_SECONDS = 0.5
"""How often clips get their names, as it takes as long for one as for many. About so much of them
is lost with a process that is killed."""


class EntrySource(Source):
    """Asks the mirror for clips, sixteen at a time."""

    @staticmethod
    def price(state: State, plan: Plan, *, bytes_per_second: float) -> Price:
        """Return what the clips of a plan take that come by one request each."""
        entries = [place.entry for place in plan.entries.values()]
        size_bytes = sum(entry.span_bytes for entry in entries)
        stored = sum(entry.size_bytes for entry in entries)
        return Price(
            count=len(entries),
            size_bytes=size_bytes,
            space=Space(state.request.stored_bytes(stored), len(entries)),
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
            "kinetics600 %s: asking for %s by one request each, %s, from %s into %s",
            state.split,
            counted(price.count, "clip"),
            decimal(price.size_bytes),
            state.request.mirror,
            store.root,
        )

        name = f"{state.split}, clip by clip"
        progress = state.request.progress(price.size_bytes, name)
        with store.incoming() as incoming, progress as bar:
            run = _Run(state, incoming, bar)
            run.carry_out(plan.entries)
        run.came.asked = run.came.refused
        return run.came


@dataclass(frozen=True, slots=True)
class _Written:
    """A clip on its way to its name."""

    candidate: Candidate
    place: Place
    row: ClipRow
    part: Path
    proved: bool
    """Whether it has the SHA-256 that the manifest says."""


@dataclass(frozen=True, slots=True)
class _Landing:
    """Clips of one tarball that are recorded, and get their names next."""

    begun: TarballRow
    new: list[_Written] = field(default_factory=list)
    proved: list[ClipRow] = field(default_factory=list)
    """Rows of those that replace a file, to be recorded once they have: they prove the new one."""


@dataclass(slots=True)
class _Run:
    """The requests of one plan."""

    state: State
    incoming: Incoming
    bar: Bar
    came: Fetched = field(default_factory=Fetched)
    stop: threading.Event = field(default_factory=threading.Event)
    requests: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_AT_ONCE))

    def carry_out(self, entries: Mapping[Candidate, Place]) -> None:
        """Ask for all clips; those that came get their names together while the rest comes."""
        results = map_ahead(
            lambda entry: self._bring(*entry),
            entries.items(),
            threads=_AT_ONCE + _WRITERS,
            most_ahead=_MOST_AHEAD,
            name="k600-entry",
            stop=self.stop.set,
        )
        written: list[_Written] = []
        next_landing = time.monotonic() + _LANDING_SECONDS
        try:
            with contextlib.closing(results):
                for (_, place), found in results:
                    if isinstance(found, _Written):
                        written.append(found)
                        self.came.unreached = 0
                        self.came.received_bytes += place.entry.span_bytes
                        self.bar.update(place.entry.span_bytes)
                    else:
                        self._note_failure(place.tarball, found)
                    if time.monotonic() >= next_landing:
                        self._land(written)
                        written, next_landing = [], time.monotonic() + _LANDING_SECONDS
        except MirrorRangesError:  # no other request would do better
            self.came.doubted.update(place.tarball for place in entries.values())
        except MirrorError:
            self._land(written)  # the clips that came stay
            raise
        self._land(written)

    def _bring(self, candidate: Candidate, place: Place) -> _Written | MirrorError | EntryError:
        """Ask for a clip, and write it to an unfinished file unless it is bad.

        Returns an error that is about this clip or its tarball; others are raised.
        """
        request, (label, name) = self.state.request, candidate
        try:
            with self.requests:  # who writes leaves it to another thread
                data = read_clip(request.mirror, place, name, stop=self.stop)
        except MirrorRangesError:
            raise
        except (EntryError, MirrorError) as error:
            return error

        folder = self.state.place_of(candidate) or f"{self.state.split}/{label}"
        row = ClipRow(place.tarball, -1, folder, name, "have", "", "cvdf", len(data))
        part, row = write_clip(self.incoming, [data], row, request.encoding)
        if row.state == "have":
            row = row._replace(crc32=place.entry.crc32)
        said = self.state.origin.get(candidate)
        sha256 = said.sha256 if said is not None and request.encoding is None else ""
        proved = bool(sha256) and not is_other(data, sha256)
        return _Written(candidate, place, row, part, proved)

    def _note_failure(self, tarball: Tarball, error: MirrorError | EntryError) -> None:
        """Note why a clip did not come; raise what ends the run."""
        if isinstance(error, (EntryError, MirrorChangedError)):
            logger.warning("%s: so its tarball is read", error)
            self.came.doubted.add(tarball)
        else:
            self.came.fail(tarball, failure_of(error, None))

    def _land(self, written: Sequence[_Written]) -> None:
        """Give clips their names, while no other process reads their tarballs.

        They are flushed and recorded all at once, and only then renamed.
        """
        if not written:
            return
        store, ledger = self.state.request.store, self.state.request.ledger
        by_tarball: dict[Tarball, list[_Written]] = {}
        for each in sorted(written, key=lambda each: each.place.tarball.name):
            by_tarball.setdefault(each.place.tarball, []).append(each)
        flush_all([each.part for each in written if each.row.state == "have"])

        with contextlib.ExitStack() as stack:
            for tarball in by_tarball:
                stack.enter_context(store.only_one_at(tarball))
            with ledger.transaction() as opened:
                landings = [self._record(opened, *group) for group in by_tarball.items()]

            new = [each for landing in landings for each in landing.new]
            for each in new:
                self.incoming.place(each.part, store.path(each.row.folder, each.row.file_name))
            for folder in {store.root / each.row.folder for each in new}:
                flush(folder)
            self.came.count += len(new)
            self.came.proved.update(each.candidate for each in new if each.proved)
            if any(landing.proved for landing in landings):
                with ledger.transaction() as opened:
                    for landing in landings:
                        opened.record(landing.begun, landing.proved, replace=False)

    def _record(self, ledger: Ledger, tarball: Tarball, written: Sequence[_Written]) -> _Landing:
        """Record clips of one tarball, unless the ledger knows better by now."""
        first = written[0].place
        begun = ledger.tarball(tarball) or TarballRow(
            tarball, "partial", first.etag, first.tarball_bytes
        )
        landing = _Landing(begun)
        names = [each.row.file_name for each in written]
        clips = ledger.clips(tarball.split, tarball.name, names)
        known = {clip.file_name: clip for clip in reversed(clips)}
        rows, entries = list[ClipRow](), dict[str, Entry]()
        for each in written:
            name, place = each.row.file_name, each.place
            own = known.get(name)
            other = own is not None and own.crc32 not in (None, place.entry.crc32)
            if other or not is_usable(place, begun):
                self.came.doubted.add(tarball)
                continue

            row = each.row._replace(position=-1 if own is None else own.position)
            entries[name] = place.entry
            if row.state == "have":
                landing.new.append(each)
                if self.state.request.store.path(row.folder, name).exists():
                    landing.proved.append(row)
                    row = row._replace(crc32=None)  # a kill may come before the file is replaced
            else:
                self.came.refused[each.candidate] = row.reason
            rows.append(row)
        if rows:
            ledger.record(begun, rows, replace=False, packing=first.packing, entries=entries)
        return landing

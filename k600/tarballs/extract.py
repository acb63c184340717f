"""Extract tarballs into the store: one pass each, proved at its end, rolled back if damaged."""

from __future__ import annotations

import contextlib
import dataclasses
import filecmp
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from isal import isal_zlib

from k600.dataset.clip import NOTHING, Entry, Listing, Tarball, TestLabels, Without
from k600.errors import DamagedTarballError, MirrorChangedError, MirrorError, Stopped
from k600.mirror.identity import RemoteFile
from k600.mirror.mirror import Mirror
from k600.mirror.reader import AHEAD_BYTES
from k600.progress import Bar
from k600.store.inventory import Inventory
from k600.store.ledger import Ledger
from k600.store.rows import Checkpoint, ClipRow, TarballRow
from k600.store.store import Incoming, Store
from k600.tarballs.archive import Member, Members
from k600.tarballs.arrivals import Arrivals, Milestone, write_clip
from k600.tarballs.present import PresentClips
from k600.tarballs.reading import (
    READINGS,
    has_failed,
    noted_failure,
    open_tarball,
    read_with_retry,
    with_failure,
)
from k600.video.encoding import Encoding

_AHEAD_OF_A_FEW = 4 << 20
"""Bytes requested ahead at first where reading stops at the last wanted clip."""

_BETWEEN_MILESTONES_BYTES = 8 << 20
"""Unpacked bytes after which it is written down where reading may go on."""

_IN_MEMORY_BYTES = 16 << 20
"""A clip of at most this size is compared with the ledger without being written."""


def is_wanted(name: str, wanted: Collection[str] | None, without: Without) -> bool:
    """Return whether a file is among the wanted (None: all), and not left out on purpose."""
    return (wanted is None or name in wanted) and name not in without


@dataclass(frozen=True, slots=True)
class TarballRead:
    """A tarball to read."""

    tarball: Tarball
    wanted: frozenset[str] | None = None
    """File names to store; None for every clip in it."""
    without: Without = NOTHING
    """Those that are not stored all the same."""
    until_found: bool = False
    """Whether reading may stop after the last wanted clip."""
    most: int | None = None
    """How many wanted clips are enough, the first ones; None for all."""
    goes_on: bool = False
    """Whether another tarball follows, if this one does not give enough clips."""

    @property
    def only(self) -> frozenset[str]:
        """The clips that it is read for up to the last one, none if it is read for more."""
        if self.wanted is None or self.goes_on or not self.until_found:
            return frozenset()
        return self.wanted

    def wants(self, name: str) -> bool:
        """Return whether a file of the tarball is to be stored."""
        return is_wanted(name, self.wanted, self.without)


@dataclass(frozen=True, slots=True)
class _Before:
    """The ledger's rows of a tarball before it is read."""

    row: TarballRow | None
    clips: Mapping[str, ClipRow]
    """By file name."""

    @property
    def proved(self) -> bool:
        """Whether it was read to its end, so that its clips are proved."""
        return self.row is not None and self.row.state == "done"

    def passed(self, checkpoint: Checkpoint) -> list[ClipRow]:
        """Return the rows of the clips before a checkpoint."""
        return [row for row in self.clips.values() if 0 <= row.position < checkpoint.position]


@dataclass(frozen=True, slots=True)
class TarballExtractor:
    """Extracts tarballs of one split into the store, in all threads of a run."""

    mirror: Mirror
    store: Store
    ledger: Ledger
    incoming: Incoming
    labels: TestLabels
    listing: Listing
    stop: threading.Event
    on_bytes: Callable[[int, Tarball], object]
    bar: Bar
    planned: Mapping[str, TarballRow]
    """The ledger's rows of the split's tarballs when the run was planned."""
    rewrite: bool = False
    """Replace clips that are there already, but not a user's own."""
    encoding: Encoding | None = None
    """How clips are encoded anew; None for clips as they are."""
    ahead_bytes: int = AHEAD_BYTES
    """Bytes requested ahead, for each tarball."""

    def extract_tarball(self, need: TarballRead, remote: RemoteFile) -> TarballRow:
        """Read a tarball, store the wanted clips, and return its new row in the ledger.

        It is `done` only after its gzip trailer and its tar's end were seen, its clips were
        flushed to disk and its ledger row was committed. Then every clip of it in the store is the
        one that it holds: earlier ones are compared, and cuts from YouTube replaced. If it fails
        its own checks, `k600.tarballs.reading` says how it goes on, and its clips are removed.

        Raises:
            DamagedTarballError: It fails its own checks.
            MirrorError: It cannot be read now; the clips that came stay.
            StoreError: The store cannot take a clip.
            Stopped: `stop` was set.
        """
        tarball = need.tarball
        self.bar.begin(tarball.path, remote.size_bytes)
        try:
            with self.store.only_one_at(tarball, self.stop):
                row = self.ledger.tarball(tarball)
                clips = self.ledger.clips(tarball.split, tarball.name)
                before = _Before(row, {clip.file_name: clip for clip in clips})

                if row is not None and row != self.planned.get(tarball.name):
                    if self._has_all(row, need, remote, clips):
                        return row
                    if has_failed(row, remote):  # another process has just read it in vain
                        raise noted_failure(row)
                return self._read_until_sound(need, remote, before)
        finally:
            self.bar.end(tarball.path)

    def _has_all(
        self, row: TarballRow, need: TarballRead, remote: RemoteFile, clips: Iterable[ClipRow]
    ) -> bool:
        """Return whether another process has read all of it since this run was planned."""
        if row.state != "done" or row.etag != remote.etag:
            return False
        known = self.ledger.view(row.tarball.split, only=[row.tarball.name])
        here = Inventory(self.store, known).names
        return all(
            clip.state in ("bad", "absent") or clip.file_name in here(clip.folder)
            for clip in clips
            if need.wants(clip.file_name)
        )

    def _read_until_sound(
        self, need: TarballRead, remote: RemoteFile, before: _Before
    ) -> TarballRow:
        """Read a tarball, perhaps again; in doubt to its end, where its checksum is."""
        failed = has_failed(before.row, remote)
        replaced = before.proved and before.row is not None and before.row.etag != remote.etag
        to_its_end = dataclasses.replace(need, until_found=False)
        if failed or replaced:
            need = to_its_end

        def read(remote: RemoteFile) -> TarballRow:
            nonlocal need
            try:
                return self._read(need, remote, before)
            except DamagedTarballError:
                need = to_its_end
                raise

        return read_with_retry(read, self.mirror, remote, readings=1 if failed else READINGS)

    def _read(self, need: TarballRead, remote: RemoteFile, before: _Before) -> TarballRow:
        """Read a tarball once; a failure leaves the store as it was, and is recorded."""
        state = "partial" if need.until_found else "started"
        begun = TarballRow(need.tarball, state, remote.etag, remote.size_bytes)
        row = before.row or begun
        if has_failed(before.row, remote):
            begun = dataclasses.replace(begun, detail=row.detail, failures=row.failures)
        present = PresentClips(self.store, self.ledger, need.tarball, self.labels, before.clips)
        arrivals = Arrivals(self.ledger, self.incoming, begun)
        extraction = Extraction(self, need, remote, before, present, arrivals)
        # In doubt a tarball is read from its first byte to its last, as only that proves it.
        is_new = not (before.proved or begun.failures or need.until_found or self.rewrite)
        if is_new and row.state == "started":
            extraction.begin_at(self._checkpoint(need, remote, before))
        extraction.marks_progress = is_new

        try:
            rows = extraction.run()
        except MirrorChangedError:
            arrivals.roll_back()
            self.ledger.record(row, before.clips.values())
            raise
        except DamagedTarballError as error:
            arrivals.roll_back()
            row = with_failure(row, error, remote, extraction.seen, proved=before.proved)
            condemned = row.state == "damaged"
            left = self._roll_back(before, present) if condemned else before.clips.values()
            self.ledger.record(row, left)
            raise
        except (MirrorError, Stopped):
            self.ledger.record_entries(begun, extraction.packing, extraction.entries)
            raise

        state = "done" if extraction.ended or before.proved else "partial"
        now = TarballRow(need.tarball, state, remote.etag, remote.size_bytes)
        self.ledger.record(now, rows, packing=extraction.packing, entries=extraction.entries)
        return now

    def _checkpoint(
        self, need: TarballRead, remote: RemoteFile, before: _Before
    ) -> Checkpoint | None:
        """Return where reading may go on, if all that lies before is known, and still there."""
        found = self.ledger.checkpoint(need.tarball, remote.etag, remote.size_bytes)
        if found is None:
            return None

        passed = before.passed(found)
        if len(passed) != found.position:  # such as of a name that came twice
            return None
        for clip in passed:
            path = self.store.path(clip.folder, clip.file_name)
            if clip.state == "have" and not _has_size(path, clip.size_bytes):
                return None
            if clip.state == "skipped" and need.wants(clip.file_name):
                return None
        return found

    def _roll_back(self, before: _Before, present: PresentClips) -> list[ClipRow]:
        """Remove earlier clips of a damaged tarball; return the rows that stay."""

        def rolled_back(row: ClipRow) -> bool:
            if row.state != "have" or present.source_of(row.folder, row.file_name) != "cvdf":
                return False
            path = self.store.path(row.folder, row.file_name)
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size != row.size_bytes:
                    return False  # another file than the one that was recorded
                path.unlink()
            return True

        return [row for row in before.clips.values() if not rolled_back(row)]


@dataclass(slots=True)
class Extraction:
    """One reading of one tarball: what is done with each of its members."""

    extractor: TarballExtractor
    need: TarballRead
    remote: RemoteFile
    before: _Before
    present: PresentClips
    arrivals: Arrivals
    marks_progress: bool = False
    """Whether it is written down every some megabytes where another reading may go on."""
    rows: dict[str, ClipRow] = field(default_factory=dict)
    """The new rows of its members, by file name."""
    ended: bool = False
    """Whether the tarball was read and checked to its last byte."""
    seen: int = 0
    """Checksum of all that was read of clips."""
    packing: str = ""
    """`gzip` or `tar`; empty if nothing was read."""
    entries: Mapping[str, Entry] = field(default_factory=dict)
    """Where to enter it for each of its clips, by file name, as far as it was read."""
    _begin: Checkpoint | None = None
    _passed_rows: int = 0
    _passed_entries: int = 0
    _passed_bytes: int = 0
    """How many rows, entries and unpacked bytes lie before the last milestone."""

    def begin_at(self, checkpoint: Checkpoint | None) -> None:
        """Go on at a checkpoint with the rows of the clips before it, if there is one."""
        if checkpoint is not None:
            self._begin, self._passed_bytes = checkpoint, checkpoint.next_header
            passed = self.before.passed(checkpoint)
            self.rows, self._passed_rows = {row.file_name: row for row in passed}, len(passed)

    def run(self) -> list[ClipRow]:
        """Read the tarball to its end, or to the last wanted clip; return the rows of its clips."""
        extractor, need = self.extractor, self.need
        with self.arrivals:
            try:
                with open_tarball(
                    extractor.mirror,
                    self.remote,
                    ahead_bytes=_AHEAD_OF_A_FEW if need.until_found else extractor.ahead_bytes,
                    most_ahead_bytes=extractor.ahead_bytes,
                    begin=self._begin,
                    stop=extractor.stop,
                    on_bytes=lambda count: extractor.on_bytes(count, need.tarball),
                ) as members:
                    try:
                        left = self._read(members)
                    finally:
                        self._note_entries(members)
            except MirrorChangedError:
                raise
            except MirrorError:
                self.arrivals.finish(proved=False)  # the clips that came stay
                raise
            self.arrivals.finish(proved=True)
        return self._rows_after(left)

    def _read(self, members: Members) -> set[str]:
        """Read clip by clip; return the wanted names that were not found."""
        need, good, enough = self.need, 0, False
        first = self._begin.position if self._begin else 0
        left = set(need.wanted or ()).difference(self.rows)
        for position, member in enumerate(members, first):
            name = member.file_name
            self._pass_milestone(members)
            if name in self.rows and self.rows[name].state != "bad":
                continue  # a name that comes twice counts once, the first good one

            wanted = need.wants(name) and not enough
            self.rows[name] = self._take(position, member, wanted=wanted)
            left.discard(name)
            good += wanted and self.rows[name].state == "have"
            enough = good == need.most
            if need.until_found and (enough if need.most else not left):
                return left

        self.ended = True
        return left

    def _pass_milestone(self, members: Members) -> None:
        """Every some megabytes, write down where reading may go on with the next member."""
        checkpoint = members.checkpoint() if self.marks_progress else None
        if checkpoint is None or self.arrivals.are_waiting:
            return
        if checkpoint.next_header < self._passed_bytes + _BETWEEN_MILESTONES_BYTES:
            return
        self._note_entries(members)
        milestone = Milestone(
            checkpoint,
            [*self.rows.values()][self._passed_rows :],
            dict([*self.entries.items()][self._passed_entries :]),
        )
        self._passed_rows, self._passed_entries = len(self.rows), len(self.entries)
        self._passed_bytes = checkpoint.next_header
        self.arrivals.pass_milestone(milestone)

    def _note_entries(self, members: Members) -> None:
        """Note where to enter for the clips; of a name that came twice, for the one that counts."""
        self.packing = members.packing or ""
        self.entries = {
            name: entry
            for name, entry in members.entries.items()
            if name in self.rows and self.rows[name].crc32 in (None, entry.crc32)
        }
        for name, entry in self.entries.items():
            if self.rows[name].state == "skipped":  # should it be wanted later, it has to be this
                self.rows[name] = self.rows[name]._replace(crc32=entry.crc32)

    def _take(self, position: int, member: Member, *, wanted: bool) -> ClipRow:
        """Store one member if it is wanted and not there, or differs; return its row."""
        name, need, present = member.file_name, self.need, self.present
        known = self.before.clips.get(name)
        folder = present.folder_of(name)
        row = ClipRow(need.tarball, position, folder, name, "have", "", "cvdf", member.size_bytes)
        is_there = present.has(folder, name)
        elsewhere = present.is_other_mirrors(folder, name)
        if not wanted and (not is_there or elsewhere):
            return known or row._replace(state="skipped", source="")

        # A user's file stays. So does any clip that is not wanted, if this reading may end before
        # it proves anything.
        source = present.source_of(folder, name) if is_there else ""
        have = known if known is not None and known.state == "have" else None
        by_name = wanted and need.wanted is not None
        as_it_is = is_there and need.until_found and not by_name and not elsewhere
        if source == "local" or as_it_is:
            if have is not None and have.source == source:
                return have
            size = present.inventory.path(folder, name).stat().st_size
            return row._replace(source=source, size_bytes=size)

        kept = have if source == "cvdf" else None
        if member.problem is not None:
            return kept or row._replace(state="bad", reason=member.problem)
        try:
            return self._store(member, row, kept, is_there=is_there)
        finally:
            self.seen = isal_zlib.crc32(f"{name} {member.chunks.crc32}".encode(), self.seen)

    def _store(
        self,
        member: Member,
        row: ClipRow,
        kept: ClipRow | None,
        *,
        is_there: bool,
    ) -> ClipRow:
        """Write a clip, unless it is there already with the same bytes; return its row."""
        extractor, path = self.extractor, self.extractor.store.path(row.folder, row.file_name)
        chunks: Iterable[bytes | memoryview] = member.chunks
        if kept is not None and self._may_be(kept, member, path):
            chunks = [b"".join(member.chunks)]
            if member.chunks.crc32 == kept.crc32:
                return row._replace(size_bytes=kept.size_bytes, crc32=kept.crc32)

        part, row = write_clip(extractor.incoming, chunks, row, extractor.encoding)
        if row.state != "have":
            return kept or row

        row = row._replace(crc32=member.chunks.crc32)
        if is_there and not extractor.rewrite and filecmp.cmp(part, path, shallow=False):
            part.unlink()
            return row
        if self.before.proved and self.need.until_found and not self._is_as_before(row):
            part.unlink()
            raise DamagedTarballError(
                f"{self.remote.url}: {row.file_name} came with other bytes than before"
            )

        # Should a kill come between row and name, the row must not have another file's checksum.
        arriving = row._replace(crc32=None) if is_there else row
        self.arrivals.add(part, path, arriving, wait=is_there or self.before.proved)
        return row

    def _is_as_before(self, row: ClipRow) -> bool:
        """Return whether a clip is as the tarball was once proved to hold it, if that is known."""
        known = self.before.clips.get(row.file_name)
        return known is None or known.crc32 in (None, row.crc32)

    def _may_be(self, kept: ClipRow, member: Member, path: Path) -> bool:
        """Return whether the stored clip may be the same, so that their checksums decide."""
        sizes = {path.stat().st_size}
        if self.extractor.encoding is None:
            sizes.add(member.size_bytes)
        known = kept.crc32 is not None and not self.extractor.rewrite
        return known and sizes == {kept.size_bytes} and member.size_bytes <= _IN_MEMORY_BYTES

    def _rows_after(self, left: set[str]) -> list[ClipRow]:
        """Return the rows of all members, and of clips that should be among them."""
        need, tarball, stay = self.need, self.need.tarball, dict(self.before.clips)
        if not need.until_found:  # what is still there is of a tarball that was replaced
            stay = {
                name: row._replace(position=-1)
                for name, row in stay.items()
                if row.state == "have" and name in self.present.inventory.names(row.folder)
            }
        rows = {**stay, **self.rows}

        absent = set[str]()
        if need.until_found and need.most is None:  # else they may be in another tarball
            # So may a test clip: a manifest or an index has it wrong, unless it was seen here.
            absent |= left if tarball.label else left.intersection(stay)
        if self.ended:
            listed = self.extractor.listing.get(tarball.name, ())
            absent |= {name for name in listed if name not in rows}
        for name in sorted(absent):
            folder = self.present.usual_folder(name)
            rows[name] = ClipRow(tarball, -1, folder, name, "absent", "not_in_tarball", "", 0)
        return [*rows.values()]


def _has_size(path: Path, size_bytes: int) -> bool:
    try:
        return path.stat().st_size == size_bytes
    except OSError:
        return False

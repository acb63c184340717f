"""Tarballs into the store: one pass each, proved at its end, taken back if it proves damaged.

A clip gets its name in three steps: its file is on the disk, the ledger says what it is (size,
CRC-32, tarball), and only then it is renamed. So whatever bears a clip's name and came from here
has a row, and no clock is asked whose it is. A row without its file is a clip that is lacking.
"""

from __future__ import annotations

import contextlib
import dataclasses
import filecmp
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from isal import isal_zlib

from k600.clip import Listing, Tarball, TestLabels
from k600.errors import DamagedTarballError, EncoderError, MirrorChangedError, MirrorError
from k600.mirror.mirror import Mirror, RemoteFile
from k600.mirror.range_reader import AHEAD_BYTES, RangeReader
from k600.progress import Bar
from k600.splits import UNLABELED
from k600.store.files import Flushing
from k600.store.inventory import Inventory, is_unchanged
from k600.store.ledger import Ledger
from k600.store.rows import ClipRow, TarballRow
from k600.store.store import Incoming, Store
from k600.tarballs.archive import Member
from k600.tarballs.reading import (
    READINGS,
    failed_reading,
    fails_alike,
    has_failed,
    noted_failure,
    read_sound,
    tarball_members,
)
from k600.tarballs.stream import clip_of
from k600.translate import store_error, translate_errors
from k600.video.cut import CutError
from k600.video.probe import box_problem
from k600.video.resize import resize_clip

__all__ = ["TarballExtractor", "TarballRead"]

logger = logging.getLogger("kinetics600")

_AHEAD_OF_A_FEW = 4 << 20
"""Bytes requested ahead at first where reading stops at the last clip wanted: what comes after is
waste."""

_IN_MEMORY_BYTES = 16 << 20
"""A clip of at most this size is compared with what the ledger says of it without being written."""


@dataclass(frozen=True, slots=True)
class TarballRead:
    """A tarball to read."""

    tarball: Tarball
    wanted: frozenset[str] | None = None
    """File names to store; None for every clip in it."""
    until_found: bool = False
    """Whether reading may stop after the last wanted, with the rest of the tarball unseen."""
    most: int | None = None
    """With `until_found`: how many of the wanted are enough; None for all."""


@dataclass(frozen=True, slots=True)
class TarballExtractor:
    """Brings tarballs of one split into the store. One object serves all threads of a run."""

    mirror: Mirror
    store: Store
    ledger: Ledger
    incoming: Incoming
    labels: TestLabels
    """Labels of test clips; may be empty."""
    listing: Listing
    """The names that each class should hold; may be empty."""
    stop: threading.Event
    on_bytes: Callable[[int, Tarball], object]
    bar: Bar
    planned: Mapping[str, TarballRow]
    """What the ledger said of the split's tarballs when the run was planned."""
    rewrite: bool = False
    """Replace clips that are there already, but not those that a user put there."""
    short_side: int | None = None
    """Most pixels of a clip's shorter side; larger ones are made smaller."""
    ahead_bytes: int = AHEAD_BYTES
    """Bytes requested ahead, for each tarball."""

    def extract_tarball(self, need: TarballRead, remote: RemoteFile) -> TarballRow:
        """Read a tarball and store the clips that are wanted.

        It is `done` only after its gzip trailer and its tar's end were seen, its clips were
        flushed to disk and its ledger row was committed. Then every clip of it in the store is the
        one that it holds: those that came before are compared, and cuts from YouTube replaced.
        One that fails its own checks is read and condemned as `k600.tarballs.reading` says; what
        came from it is taken out of the store again.

        Returns:
            Its new row in the ledger.

        Raises:
            DamagedTarballError: It fails its own checks.
            MirrorError: It cannot be read now; the clips that came stay.
            StoreError: The store cannot take a clip.
            Stopped: `stop` was set.
        """
        tarball = need.tarball
        self.bar.begin(tarball.path, remote.size_bytes)
        try:
            with self.store.only_one(f"{tarball.split}--{tarball.name}", self.stop):
                row = self.ledger.tarball(tarball)
                clips = self.ledger.clips(tarball.split, tarball.name)
                before = {clip.file_name: clip for clip in clips}
                if row is not None and row != self.planned.get(tarball.name):
                    if self._has_all(row, need, remote, before.values()):
                        return row
                    if has_failed(row, remote):  # another process has just read it in vain
                        raise noted_failure(row)
                extraction = _TarballExtraction(self, need, row, before)
                return extraction.carry_out(remote)
        finally:
            self.bar.end(tarball.path)

    def _has_all(
        self, row: TarballRow, need: TarballRead, remote: RemoteFile, clips: Iterable[ClipRow]
    ) -> bool:
        """Whether another process has done all of it since this run was planned."""
        if row.state != "done" or row.etag != remote.etag:
            return False
        here = Inventory.of_tarball(self.store, self.ledger, row.tarball).names
        return all(
            clip.state in ("bad", "absent") or clip.file_name in here(clip.folder)
            for clip in clips
            if need.wanted is None or clip.file_name in need.wanted
        )


@dataclass(slots=True)
class _TarballExtraction:
    """One tarball on its way into the store, reading by reading."""

    extractor: TarballExtractor
    need: TarballRead
    row: TarballRow | None
    """What the ledger said of it when its turn came."""
    before: Mapping[str, ClipRow]
    """What the ledger said of its clips, by file name."""

    @property
    def proved(self) -> bool:
        """Whether it was read to its end before, and what came from it then is proved."""
        return self.row is not None and self.row.state == "done"

    def carry_out(self, remote: RemoteFile) -> TarballRow:
        """Do what `TarballExtractor.extract_tarball` says."""
        failed = has_failed(self.row, remote)
        if failed or (self.proved and self.row is not None and self.row.etag != remote.etag):
            self._read_to_the_end()
        readings = 1 if failed else READINGS
        return read_sound(self.read, self.extractor.mirror, remote, readings=readings)

    def read(self, remote: RemoteFile) -> TarballRow:
        """Read it once; if that fails, all is as it was before, but for what is noted of that."""
        reading = _Extraction(
            self.extractor, self.need, remote, self._begun(remote), self.before, self.proved
        )
        try:
            rows = reading.run()
        except MirrorChangedError:
            reading.roll_back()
            self._restore(reading)
            raise
        except DamagedTarballError as error:
            reading.roll_back()
            self._restore(reading, failed_reading(error, remote, reading.seen))
            self._read_to_the_end()
            raise
        state = "done" if reading.ended or self.proved else "partial"
        now = TarballRow(self.need.tarball, state, remote.etag, remote.size_bytes)
        self.extractor.ledger.record(now, rows)
        return now

    def _read_to_the_end(self) -> None:
        """Have the next reading go to the tarball's end, where its checksum is."""
        if self.need.wanted is not None:
            self.need = dataclasses.replace(self.need, until_found=False, most=None)

    def _begun(self, remote: RemoteFile) -> TarballRow:
        """Return what the ledger is to say of it as soon as a clip of this reading has its name."""
        state = "partial" if self.need.until_found else "started"
        begun = TarballRow(self.need.tarball, state, remote.etag, remote.size_bytes)
        return self._with_failures(begun) if has_failed(self.row, remote) else begun

    def _with_failures(self, row: TarballRow) -> TarballRow:
        assert self.row is not None
        of = self.row
        return dataclasses.replace(
            row, detail=of.detail, failures=of.failures, failed_at=of.failed_at
        )

    def _restore(self, reading: _Extraction, failure: str = "") -> None:
        """Have the ledger say what it said before, and how the reading failed."""
        row = self.row or self._begun(reading.remote)
        rows = self.before
        if failure:
            failures = 1 + row.failures if fails_alike(self.row, failure) else 1
            row = dataclasses.replace(row, detail=failure, failures=failures, failed_at=time.time())
            if not self.proved:
                condemned = failures >= READINGS
                row = dataclasses.replace(row, state="damaged" if condemned else "started")
                rows = reading.roll_back_unproved() if condemned else rows
        self.extractor.ledger.record(row, rows.values())


@dataclass(slots=True)
class _Extraction:
    """One reading of one tarball."""

    extractor: TarballExtractor
    need: TarballRead
    remote: RemoteFile
    begun: TarballRow
    """What the ledger says of the tarball once a clip has come."""
    before: Mapping[str, ClipRow]
    """What was known of its clips, by file name."""
    proved: bool
    """Whether these are proved: then no name changes before this reading is, too."""
    rows: dict[str, ClipRow] = field(default_factory=dict)
    """What is known of them now."""
    ended: bool = False
    """Whether the tarball was read and checked to its last byte."""
    seen: int = 0
    """Checksum of all that was read of clips."""
    theirs: dict[tuple[str, str], str] = field(default_factory=dict)
    """Clips, by folder and file name, that did not come from a tarball, and where from."""
    elsewhere: set[tuple[str, str]] = field(default_factory=set)
    """Clips, by folder and file name, that are in the store and came from another mirror."""
    arriving: dict[Path, tuple[Path, ClipRow]] = field(default_factory=dict)
    """Finished files without a name: the name that each will have, and its row."""
    staged: list[Path] = field(default_factory=list)
    """Those of them that wait until this reading is proved."""
    placed: list[Path] = field(default_factory=list)
    """Clips that this reading has given their names."""
    flushing: Flushing = field(init=False)

    def __post_init__(self) -> None:
        self.flushing = Flushing(self._name)

    def run(self) -> list[ClipRow]:
        """Read the tarball to its end, or to the last clip wanted if that is enough."""
        extractor, need = self.extractor, self.need
        tarball = need.tarball
        folder = f"{tarball.split}/{tarball.label}" if tarball.label else None
        adopted = extractor.ledger.adopted(tarball.split, folder)
        for answer in extractor.ledger.answers(tarball.split, folder):
            if answer.kind == "have":
                self.theirs[answer.folder, answer.file_name] = "youtube"
        for group in extractor.ledger.other_mirrors(tarball.split, tarball.name):
            self.elsewhere.update((group.folder, name) for name in group.names)
        for row in adopted:
            if not row.problem and is_unchanged(extractor.store.root / row.path, row):
                self.theirs[row.folder, row.file_name] = "local"
        inventory = Inventory(extractor.store, adopted)
        reader = RangeReader(
            extractor.mirror,
            self.remote,
            ahead_bytes=_AHEAD_OF_A_FEW if need.until_found else extractor.ahead_bytes,
            most_ahead_bytes=extractor.ahead_bytes,
            stop=extractor.stop,
            on_bytes=self._on_bytes,
        )
        with self.flushing, contextlib.closing(reader) as raw:
            try:
                left = self._read(raw, inventory)
                raw.check_unchanged()
            except MirrorChangedError:
                raise
            except MirrorError:
                self.flushing.finish()  # the clips that came stay
                raise
            for part in self.staged:
                self.flushing.add(part, part.stat().st_size)
            self.flushing.finish()
        return [*self._members_after(left, inventory).values()]

    def _read(self, raw: RangeReader, inventory: Inventory) -> set[str]:
        """Read on from clip to clip; return the names wanted that did not come."""
        need, good = self.need, 0
        left = set(need.wanted or ())
        for position, member in enumerate(tarball_members(raw)):
            name = member.file_name
            if name in self.rows and self.rows[name].state != "bad":
                continue  # a name that comes twice counts once, the first good one
            self.rows[name] = self._member(position, member, inventory)
            left.discard(name)
            wanted = need.wanted is None or name in need.wanted
            good += wanted and self.rows[name].state == "have"
            if need.until_found and (good == need.most if need.most else not left):
                return left
        self.ended = True
        return left

    def _name(self, parts: Sequence[Path]) -> list[Path]:
        """Write down what files are, then give them their names; return these."""
        arrived = [self.arriving.pop(part) for part in parts]
        self.extractor.ledger.add(self.begun, [row for _, row in arrived])
        for part, (path, _) in zip(parts, arrived, strict=True):
            self.extractor.incoming.place(part, path)
            self.placed.append(path)
        return [path for path, _ in arrived]

    def _on_bytes(self, count: int) -> None:
        self.extractor.on_bytes(count, self.need.tarball)

    def roll_back(self) -> None:
        """Remove what came from a tarball that is not what it should be."""
        for path in (*self.placed, *self.arriving):
            path.unlink(missing_ok=True)

    def roll_back_unproved(self) -> dict[str, ClipRow]:
        """Remove what came from it before and was never proved; return the rows of what stays."""
        return {name: row for name, row in self.before.items() if not self._rolled_back(row)}

    def _rolled_back(self, row: ClipRow) -> bool:
        path = self.extractor.store.path(row.folder, row.file_name)
        if row.state != "have" or self._origin(row) != "cvdf":
            return False
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size != row.size_bytes:
                return False  # another file than the one that was written down
            path.unlink()
        return True

    def _member(self, position: int, member: Member, inventory: Inventory) -> ClipRow:
        """Store one member if it is wanted and not there, or another; say how it stands."""
        name, need, here = member.file_name, self.need, inventory.names
        known = self.before.get(name)
        folder = self._folder(name, here)
        row = ClipRow(need.tarball, position, folder, name, "have", "", "cvdf", member.size_bytes)
        there = inventory.path(folder, name)
        present = name in here(folder) and _is_sound(there)
        wanted = need.wanted is None or name in need.wanted
        elsewhere = (folder, name) in self.elsewhere
        if not wanted and (not present or elsewhere):
            return known or row._replace(state="skipped", source="")
        source = self._origin(row) if present else ""
        have = known if known is not None and known.state == "have" else None
        asked = wanted if need.wanted is not None else not need.until_found
        as_it_is = present and need.until_found and not asked and not elsewhere
        if source == "local" or as_it_is:
            of = row._replace(source=source, size_bytes=there.stat().st_size)
            return have if have is not None and have.source == source else of
        kept = have if source == "cvdf" else None
        if member.problem is not None:
            return kept or row._replace(state="bad", reason=member.problem)
        summed = _Summed(member.chunks)
        try:
            return self._bring(member, summed, row, kept, present=present)
        finally:
            self.seen = isal_zlib.crc32(f"{name} {summed.crc32}".encode(), self.seen)

    def _bring(
        self, member: Member, summed: _Summed, row: ClipRow, kept: ClipRow | None, *, present: bool
    ) -> ClipRow:
        """Write a clip, unless it is there already with the same bytes; return its row."""
        extractor, path = self.extractor, self.extractor.store.path(row.folder, row.file_name)
        chunks: Iterable[bytes] = summed
        if kept is not None and self._may_be(kept, member, path):
            chunks = [b"".join(summed)]
            if summed.crc32 == kept.crc32:
                return row._replace(size_bytes=kept.size_bytes, crc32=kept.crc32)
        part, size, problem = extractor.incoming.write(chunks, box_problem)
        if problem is None and extractor.short_side is not None:
            part, size, problem = self._smaller(part, size, extractor.short_side, row)
        if problem == "not_encoded":  # our fault, not the clip's: it is asked for again
            return kept or row._replace(state="skipped", reason=problem, source="")
        if problem is not None:
            return kept or row._replace(state="bad", reason=problem, size_bytes=size)
        row = row._replace(size_bytes=size, crc32=summed.crc32)
        if present and not extractor.rewrite and filecmp.cmp(part, path, shallow=False):
            part.unlink()
            return row
        if self.proved and self.need.until_found and not self._is_as_before(row):
            part.unlink()
            raise DamagedTarballError(
                f"{self.remote.url}: {row.file_name} came with other bytes than before"
            )
        # Should a kill come between row and name, nothing is said of the bytes that are there.
        self.arriving[part] = path, row._replace(crc32=None) if present else row
        if present or self.proved:
            self.staged.append(part)
        else:
            self.flushing.add(part, size)
        return row

    def _is_as_before(self, row: ClipRow) -> bool:
        """Whether a clip came as the tarball was once proved to hold it, as far as is known."""
        known = self.before.get(row.file_name)
        return known is None or known.crc32 in (None, row.crc32)

    def _may_be(self, kept: ClipRow, member: Member, path: Path) -> bool:
        """Whether the member may be the clip that is there, so that checksums tell."""
        sizes = {path.stat().st_size}
        if self.extractor.short_side is None:
            sizes.add(member.size_bytes)
        known = kept.crc32 is not None and not self.extractor.rewrite
        return known and sizes == {kept.size_bytes} and member.size_bytes <= _IN_MEMORY_BYTES

    def _smaller(
        self, part: Path, size: int, short_side: int, row: ClipRow
    ) -> tuple[Path, int, str | None]:
        """Return what `Incoming.write` does, for the same clip with a shorter side."""
        smaller = self.extractor.incoming.new_part()
        try:
            with open(part, "rb") as source, translate_errors(store_error, smaller):
                made = resize_clip(source, smaller, short_side)
        except (CutError, EncoderError) as error:
            part.unlink()
            smaller.unlink(missing_ok=True)
            if isinstance(error, CutError):
                return part, size, error.code
            logger.warning("%s/%s is left out: %s", row.tarball.path, row.file_name, error)
            return part, size, "not_encoded"
        if not made:
            return part, size, None
        part.unlink()
        return smaller, smaller.stat().st_size, None

    def _origin(self, row: ClipRow) -> str:
        """Return where a clip that is there came from, as it was written down; else a user's."""
        known = self.before.get(row.file_name)
        theirs = self.theirs.get((row.folder, row.file_name))
        if theirs is None and known is not None and known.state == "have":
            return known.source
        return theirs or ("cvdf" if (row.folder, row.file_name) in self.elsewhere else "local")

    def _folder(self, name: str, here: Callable[[str], Set[str]]) -> str:
        """Return where the clip lies, or is to lie.

        A test clip that came when its label was not known stays where it is.
        """
        tarball = self.need.tarball
        unlabeled = f"{tarball.split}/{tarball.label or UNLABELED}"
        clip = clip_of(tarball, name, self.extractor.labels)
        folder = clip.folder if clip else unlabeled
        known = self.before.get(name)
        places = ([known.folder] if known else []) + [folder, unlabeled]
        return next((place for place in places if name in here(place)), folder)

    def _members_after(self, left: set[str], inventory: Inventory) -> dict[str, ClipRow]:
        """Return the rows of all members, with those for clips that should be there and are not."""
        tarball = self.need.tarball
        stay = (
            self.before
            if self.need.until_found
            else {
                name: row._replace(position=-1)  # of a tarball that was replaced
                for name, row in self.before.items()
                if row.state == "have" and name in inventory.names(row.folder)
            }
        )
        rows = {**stay, **self.rows}
        all_of_them = self.need.until_found and self.need.most is None
        names = set(left) if all_of_them else set()  # else they may be in another tarball
        if self.ended:
            listed = self.extractor.listing.get(tarball.name, ())
            names |= {name for name in listed if name not in rows}
        for name in sorted(names):
            clip = clip_of(tarball, name, self.extractor.labels)
            assert clip is not None  # lists and known rows hold clips only
            rows[name] = ClipRow(tarball, -1, clip.folder, name, "absent", "not_in_tarball", "", 0)
        return rows


class _Summed:
    """Passes bytes on and keeps their CRC-32."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.crc32 = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.crc32 = isal_zlib.crc32(chunk, self.crc32)
            yield chunk


def _is_sound(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return box_problem(file) is None
    except OSError:  # a dangling link, a folder, not readable: nothing that serves as a clip
        return False

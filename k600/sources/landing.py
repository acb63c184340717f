"""Tarballs into the store: one pass each, proved at its end, taken back if it proves damaged."""

from __future__ import annotations

import contextlib
import filecmp
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from k600.clip import UNLABELED, Tarball
from k600.cut import CutError
from k600.disk import Flushing, explained
from k600.errors import DamagedTarballError, MirrorChangedError
from k600.inventory import Inventory, is_unchanged
from k600.ledger import ClipRow, Known, Ledger, TarballRow
from k600.lists import Listing, TestLabels
from k600.plan import Need
from k600.progress import Bar
from k600.range_reader import AHEAD_BYTES, RangeReader
from k600.remote import Mirror, RemoteFile
from k600.shrink import shrink_clip
from k600.sources.cvdf import clip_of
from k600.store import Incoming, Store
from k600.untar import Member, members
from k600.video import box_problem

__all__ = ["Lander"]

_AHEAD_OF_A_FEW = 4 << 20
"""Bytes requested ahead at first where reading stops at the last clip wanted: what comes after is
waste."""

_PASSES = 2
"""Times a tarball that fails its own checks is read before it counts as damaged."""


@dataclass(frozen=True, slots=True)
class Lander:
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
    """Replace clips that are there already, but not those that came from elsewhere."""
    short_side: int | None = None
    """Most pixels of a clip's shorter side; larger ones are made smaller."""
    ahead_bytes: int = AHEAD_BYTES
    """Bytes requested ahead, for each tarball."""

    def land(self, need: Need, remote: RemoteFile) -> TarballRow:
        """Read a tarball once and store the clips that are wanted.

        It is `done` only after its gzip trailer and its tar's end were seen, its clips were
        flushed to disk and its ledger row was committed. One that fails its own checks is read
        a second time; if that fails, too, what came from it is taken out of the store again.

        Returns:
            Its new row in the ledger: `done` or `damaged`.

        Raises:
            MirrorError: It cannot be read now; the clips that came stay.
            StoreError: The store cannot take a clip.
            Stopped: `stop` was set.
        """
        tarball = need.tarball
        self.bar.begin(tarball.path, remote.size_bytes)
        try:
            return self._land(need, remote)
        finally:
            self.bar.end(tarball.path)

    def _land(self, need: Need, remote: RemoteFile) -> TarballRow:
        tarball = need.tarball
        with self.store.only_one(f"{tarball.split}--{tarball.name}", self.stop):
            row = self.ledger.tarball(tarball)
            before = self.ledger.clips(tarball.split, tarball.name)
            if row is not None and self._done_meanwhile(row, need, remote, before):
                return row
            unfinished = row is not None and row.state in ("started", "partial")
            started = row.started_at if row and unfinished else time.time()
            if not need.until_found:
                self.ledger.record(_row(need, "started", remote, started), before)
            elif row is None:
                self.ledger.record(_row(need, "partial", remote, started), before)
            for attempt in range(1, _PASSES + 1):
                reading = _Pass(self, need, remote, started, {c.file_name: c for c in before})
                try:
                    rows = reading.run()
                except (DamagedTarballError, MirrorChangedError) as error:
                    reading.take_back()
                    if attempt == _PASSES:
                        if isinstance(error, MirrorChangedError):
                            raise
                        damaged = _row(need, "damaged", remote, started, str(error))
                        self.ledger.record(damaged, before)
                        return damaged
                    remote = self.mirror.stat(tarball.path)
                else:
                    proved = reading.ended or (row is not None and row.state == "done")
                    now = _row(need, "done" if proved else "partial", remote, started)
                    self.ledger.record(now, rows)
                    return now
            raise AssertionError("unreachable")

    def _done_meanwhile(
        self, row: TarballRow, need: Need, remote: RemoteFile, clips: Sequence[ClipRow]
    ) -> bool:
        """Whether another process has done all of it since this run was planned."""
        if row.state != "done" or row == self.planned.get(row.tarball.name):
            return False
        split, name = row.tarball.split, row.tarball.name
        theirs = Known({}, other_mirrors=self.ledger.other_mirrors(split, name))
        here = Inventory(self.store, self.ledger.adopted(split), hidden=theirs.hidden()).names
        return row.etag == remote.etag and all(
            clip.state in ("bad", "absent") or clip.file_name in here(clip.folder)
            for clip in clips
            if need.wanted is None or clip.file_name in need.wanted
        )


@dataclass(slots=True)
class _Pass:
    """One reading of one tarball."""

    lander: Lander
    need: Need
    remote: RemoteFile
    started: float
    before: Mapping[str, ClipRow]
    """What was known of its members, by file name."""
    rows: dict[str, ClipRow] = field(default_factory=dict)
    """What is known of them now."""
    unproved: list[Path] = field(default_factory=list)
    """Clips in the store that this pass is to prove."""
    ended: bool = False
    """Whether the tarball was read and checked to its last byte."""
    theirs: dict[tuple[str, str], str] = field(default_factory=dict)
    """Clips, by folder and file name, that did not come from a tarball, and where from."""
    elsewhere: set[tuple[str, str]] = field(default_factory=set)
    """Clips, by folder and file name, that are in the store and came from another mirror."""
    staged: list[tuple[Path, Path]] = field(default_factory=list)
    """Unfinished files and the clips that they will replace once the pass is proved."""
    flushing: Flushing = field(default_factory=Flushing)

    def run(self) -> list[ClipRow]:
        """Read the tarball to its end, or to the last clip wanted if that is enough."""
        lander, need, remote = self.lander, self.need, self.remote
        left = set(need.wanted or ())
        good = 0
        tarball = need.tarball
        folder = f"{tarball.split}/{tarball.label}" if tarball.label else None
        adopted = lander.ledger.adopted(tarball.split, folder)
        for row in adopted:
            if not row.problem and is_unchanged(lander.store.root / row.path, row):
                self.theirs[row.folder, row.file_name] = "local"
        for answer in lander.ledger.answers(tarball.split, folder):
            if answer.kind == "have":
                self.theirs[answer.folder, answer.file_name] = "youtube"
        for group in lander.ledger.other_mirrors(tarball.split, tarball.name):
            self.elsewhere.update((group.folder, name) for name in group.names)
        inventory = Inventory(lander.store, adopted)
        reader = RangeReader(
            lander.mirror,
            remote,
            ahead_bytes=_AHEAD_OF_A_FEW if need.until_found else lander.ahead_bytes,
            most_ahead_bytes=lander.ahead_bytes,
            stop=lander.stop,
            on_bytes=self._on_bytes,
        )
        with self.flushing, contextlib.closing(reader) as raw:
            found = members(raw, remote.size_bytes, name=remote.url, again=raw.again)
            for position, member in enumerate(found):
                name = member.file_name
                if name in self.rows and self.rows[name].state != "bad":
                    continue  # a name that comes twice counts once, the first good one
                self.rows[name] = self._member(position, member, inventory)
                left.discard(name)
                wanted = need.wanted is None or name in need.wanted
                good += wanted and self.rows[name].state == "have"
                if need.until_found and (good == need.most if need.most else not left):
                    break
            else:
                self.ended = True
            raw.check_unchanged()
            for part, target in self.staged:
                lander.incoming.place(part, target)
                self._stored(target, target.stat().st_size)
            self.flushing.finish()
        return [*self._members_after(left).values()]

    def _stored(self, path: Path, size_bytes: int) -> None:
        """Take note of a clip that has its name."""
        self.unproved.append(path)
        self.flushing.add(path, size_bytes)

    def _on_bytes(self, count: int) -> None:
        self.lander.on_bytes(count, self.need.tarball)

    def take_back(self) -> None:
        """Remove what came from a tarball that is not what it should be."""
        for path in (*self.unproved, *(part for part, _ in self.staged)):
            path.unlink(missing_ok=True)

    def _member(self, position: int, member: Member, inventory: Inventory) -> ClipRow:
        """Store one member if it is wanted and not there; say how it stands."""
        name, tarball, here = member.file_name, self.need.tarball, inventory.names
        known = self.before.get(name)
        folder = self._folder(name, here)
        row = ClipRow(tarball, position, folder, name, "have", "", "cvdf", member.size_bytes)
        if member.problem is not None:
            return row._replace(state="bad", reason=member.problem)
        path = self.lander.store.path(folder, name)
        there = inventory.path(folder, name)
        present = name in here(folder) and _is_sound(there)
        source = self._origin(row, there) if present else None
        if source is not None and (source != "cvdf" or not self.lander.rewrite):
            return row._replace(source=source, size_bytes=there.stat().st_size)
        if self.need.wanted is not None and name not in self.need.wanted and not present:
            return known or row._replace(state="skipped", source="")
        part, size, problem = self.lander.incoming.write(member.chunks, box_problem)
        if problem is None and self.lander.short_side is not None:
            part, size, problem = self._smaller(part, size, self.lander.short_side)
        row = row._replace(size_bytes=size)
        if problem is not None:
            return row._replace(state="bad", reason=problem)
        if present and source is None and filecmp.cmp(part, there, shallow=False):
            part.unlink()
            if (folder, name) not in self.elsewhere:
                self._stored(path, size)  # by a pass that was cut short
        elif present:
            self.staged.append((part, path))
        else:
            self.lander.incoming.place(part, path)
            self._stored(path, size)
        return row

    def _smaller(self, part: Path, size: int, short_side: int) -> tuple[Path, int, str | None]:
        """Return what `Incoming.write` does, for the same clip with a shorter side."""
        smaller = self.lander.incoming.new_part()
        try:
            with open(part, "rb") as source, explained(smaller):
                made = shrink_clip(source, smaller, short_side)
        except CutError as error:
            part.unlink()
            smaller.unlink(missing_ok=True)
            return part, size, error.code
        if not made:
            return part, size, None
        part.unlink()
        return smaller, smaller.stat().st_size, None

    def _origin(self, row: ClipRow, there: Path) -> str | None:
        """Return where a clip that is there came from; None if that is not known.

        Then it came with a pass of this tarball that was cut short, from another mirror, or
        somebody put it there meanwhile: it stays if it is the same as in the tarball, or the
        tarball proves damaged.
        """
        theirs = self.theirs.get((row.folder, row.file_name))
        known = self.before.get(row.file_name)
        if theirs is not None:
            return theirs
        if known is not None and known.state == "have":
            return known.source
        if (row.folder, row.file_name) in self.elsewhere:
            return None
        return "local" if there.stat().st_mtime < self.started else None

    def _folder(self, name: str, here: Callable[[str], Set[str]]) -> str:
        """Return where the clip lies, or is to lie.

        A test clip that came when its label was not known stays where it is.
        """
        tarball = self.need.tarball
        unlabeled = f"{tarball.split}/{tarball.label or UNLABELED}"
        clip = clip_of(tarball, name, self.lander.labels)
        folder = clip.folder if clip else unlabeled
        known = self.before.get(name)
        places = ([known.folder] if known else []) + [folder, unlabeled]
        return next((place for place in places if name in here(place)), folder)

    def _members_after(self, left: set[str]) -> dict[str, ClipRow]:
        """Return the rows of all members, with those for clips that should be there and are not."""
        tarball = self.need.tarball
        rows = {**(self.before if self.need.until_found else {}), **self.rows}
        all_of_them = self.need.until_found and self.need.most is None
        names = set(left) if all_of_them else set()  # else they may be in another tarball
        if self.ended:
            listed = self.lander.listing.get(tarball.name, ())
            names |= {name for name in listed if name not in self.rows}
        for name in sorted(names):
            clip = clip_of(tarball, name, self.lander.labels)
            assert clip is not None  # lists and known rows hold clips only
            rows[name] = ClipRow(tarball, -1, clip.folder, name, "absent", "not_in_tarball", "", 0)
        return rows


def _is_sound(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return box_problem(file) is None
    except OSError:  # a dangling link, a folder, not readable: nothing that serves as a clip
        return False


def _row(
    need: Need, state: str, remote: RemoteFile, started: float, detail: str = ""
) -> TarballRow:
    return TarballRow(need.tarball, state, remote.etag, remote.size_bytes, started, detail)

"""Clips from the tarballs that CVDF hosts: into the store, or straight through a stream."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from k600.clip import HOST_FOLDERS, Clip, Tarball, parse_file_name
from k600.errors import (
    DamagedTarballError,
    ListError,
    MirrorChangedError,
    MirrorDeniedError,
    MirrorNotFoundError,
)
from k600.ledger import ClipRow, Ledger, TarballRow
from k600.lists import Listing, TestLabels, parse_listing, parse_path_list
from k600.plan import Need
from k600.remote import Mirror, RemoteFile
from k600.store import Incoming, Store, flush
from k600.untar import Member, members
from k600.video import box_problem

__all__ = ["Lander", "StreamedClip", "read_listing", "read_path_list", "stream_tarball"]

_PASSES = 2
"""Times a tarball that fails its own checks is read before it counts as damaged."""


def read_path_list(mirror: Mirror, split: str) -> tuple[list[Tarball], bytes]:
    """Fetch a split's path list; returns its tarballs and its text.

    Raises:
        MirrorError: It cannot be had.
        ListError: It is truncated or no list.
    """
    folder = HOST_FOLDERS[split]
    path = f"{folder}/k600_{folder}_path.txt"
    text, _ = mirror.read_list(path)
    return parse_path_list(text, split, name=f"{mirror}/{path}"), text.encode()


def read_listing(mirror: Mirror, split: str) -> tuple[Listing, bytes] | None:
    """Fetch the listing of a split's clips by class; None where the mirror has none.

    Raises:
        MirrorError: It cannot be had, for another reason than that it is not there.
        ListError: It is truncated or no listing.
    """
    if split == "test":
        return None  # test.csv describes another list than the tarballs: nothing to check by
    path = f"annotations/{HOST_FOLDERS[split]}.txt"
    try:
        text, _ = mirror.read_list(path)
    except (MirrorNotFoundError, MirrorDeniedError):  # S3's word where listing is not allowed
        return None
    return parse_listing(text, split, name=f"{mirror}/{path}"), text.encode()


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
    on_bytes: Callable[[int], object]
    rewrite: bool = False
    """Replace clips that are there already."""
    ahead: int = 4
    """Byte ranges requested ahead, for each tarball."""

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
        with self.store.only_one(f"{need.tarball.split}--{need.tarball.name}", self.stop):
            row = self.ledger.tarball(need.tarball)
            if row is not None and row.state == "done" and not need.known and not self.rewrite:
                known = self.ledger.clips(need.tarball.split, need.tarball.name)
                if need.wanted is None and self._all_there(known) and row.etag == remote.etag:
                    return row  # another process was faster
            started = row.started_at if row and row.state == "started" else time.time()
            if row is None:
                self.ledger.record(_row(need.tarball, "started", remote, started), ())
            for attempt in range(1, _PASSES + 1):
                unproved: list[Path] = []
                try:
                    return self._pass(need, remote, started, unproved)
                except (DamagedTarballError, MirrorChangedError) as error:
                    for path in unproved:
                        path.unlink(missing_ok=True)
                    if attempt == _PASSES:
                        if isinstance(error, MirrorChangedError):
                            raise
                        known = self.ledger.clips(need.tarball.split, need.tarball.name)
                        damaged = _row(need.tarball, "damaged", remote, started, str(error))
                        self.ledger.record(damaged, known)
                        return damaged
                    remote = self.mirror.stat(need.tarball.path)
            raise AssertionError("unreachable")

    def _all_there(self, clips: Sequence[ClipRow]) -> bool:
        here = cache(self.store.inventory)
        return all(clip.file_name in here(clip.folder) for clip in clips if clip.state == "have")

    def _pass(
        self, need: Need, remote: RemoteFile, started: float, unproved: list[Path]
    ) -> TarballRow:
        tarball = need.tarball
        before = {clip.file_name: clip for clip in self.ledger.clips(tarball.split, tarball.name)}
        rows: dict[str, ClipRow] = {}
        left = set(need.wanted or ())
        here = cache(self.store.inventory)
        with contextlib.closing(
            self.mirror.open(remote, ahead=self.ahead, stop=self.stop, on_bytes=self.on_bytes)
        ) as raw:
            for position, member in enumerate(members(raw, remote.size_bytes, name=remote.url)):
                if member.problem == "duplicate":
                    continue
                row = self._member(need, position, member, before, here, started, unproved)
                rows[member.file_name] = row
                left.discard(member.file_name)
                if need.known and not left:
                    break
            raw.check_unchanged()
        if need.known:
            rows = before | rows
        else:
            rows |= self._absent(tarball, rows)
        flush(unproved)
        done = _row(tarball, "done", remote, started)
        self.ledger.record(done, rows.values())
        return done

    def _member(
        self,
        need: Need,
        position: int,
        member: Member,
        before: dict[str, ClipRow],
        here: Callable[[str], set[str]],
        started: float,
        unproved: list[Path],
    ) -> ClipRow:
        """Store one member if it is wanted and not there; say how it stands."""
        name = member.file_name
        known = before.get(name)
        folder = known.folder if known else clip_of(need.tarball, name, self.labels).folder
        row = ClipRow(need.tarball, position, folder, name, "have", "", "cvdf", member.size_bytes)
        if member.problem is not None:
            return row._replace(state="bad", reason=member.problem)
        path = self.store.path(folder, name)
        if name in here(folder) and not self.rewrite and _sound(path):
            if known is not None:
                return known._replace(state="have", reason="", position=position)
            status = path.stat()
            if status.st_mtime < started:
                return row._replace(source="local", size_bytes=status.st_size)
            unproved.append(path)  # from a pass that was cut short
            return row
        if need.wanted is not None and name not in need.wanted:
            if known is not None:
                return known
            return row._replace(state="skipped", source="")
        size, problem = self.incoming.land(folder, name, member.chunks, box_problem)
        if problem is not None:
            return row._replace(state="bad", reason=problem, size_bytes=size)
        unproved.append(path)
        return row

    def _absent(self, tarball: Tarball, rows: dict[str, ClipRow]) -> dict[str, ClipRow]:
        """Rows for the clips that the host lists for this tarball, but that are not in it."""
        return {
            name: ClipRow(
                tarball,
                -1,
                clip_of(tarball, name, self.labels).folder,
                name,
                "absent",
                "not_in_tarball",
                "",
                0,
            )
            for name in self.listing.get(tarball.name, ())
            if name not in rows
        }


@dataclass(frozen=True, slots=True)
class StreamedClip:
    """A clip that came through a stream and was not stored."""

    clip: Clip
    data: bytes
    """The whole file."""
    problem: str | None
    """Why it is no good (`empty`, `truncated`, …), None if it is."""


def stream_tarball(
    mirror: Mirror, tarball: Tarball, labels: TestLabels, *, ahead: int = 2
) -> Iterator[StreamedClip]:
    """Yield a tarball's clips in its own order, storing nothing.

    Raises:
        MirrorError: It cannot be read.
        DamagedTarballError: At its end it failed its own checks: one of the clips that came
            may be damaged.
    """
    remote = mirror.stat(tarball.path)
    with contextlib.closing(mirror.open(remote, ahead=ahead)) as raw:
        for member in members(raw, remote.size_bytes, name=remote.url):
            if member.problem == "duplicate":
                continue
            data = b"" if member.problem else b"".join(member.chunks)
            problem = member.problem or box_problem(io.BytesIO(data))
            yield StreamedClip(clip_of(tarball, member.file_name, labels), data, problem)


def clip_of(tarball: Tarball, file_name: str, labels: TestLabels) -> Clip:
    """Return the clip that a member is: labelled by its tarball, or in `test` by the list."""
    times = parse_file_name(file_name)
    if times is None:
        raise ListError(f"{tarball.path}: {file_name!r} is not a clip's file name")
    return Clip(tarball.split, tarball.label or labels.get(times), *times)


def _sound(path: Path) -> bool:
    with open(path, "rb") as file:
        return box_problem(file) is None


def _row(
    tarball: Tarball, state: str, remote: RemoteFile, started: float, detail: str = ""
) -> TarballRow:
    return TarballRow(tarball, state, remote.etag, remote.size_bytes, started, detail)

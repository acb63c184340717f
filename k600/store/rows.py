"""The rows of the ledger: what is known of each tarball and clip, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from k600.dataset.clip import Tarball

SOURCES = ("cvdf", "youtube", "local")
"""Where a stored clip may come from."""


@dataclass(frozen=True, slots=True)
class TarballRow:
    """The state of a tarball."""

    tarball: Tarball
    state: str
    """`started` (nothing is proved), `partial` (read up to the last wanted clip), `done` (read and
    checked to its last byte) or `damaged` (given up, see `k600.tarballs.reading`)."""
    etag: str
    size_bytes: int
    detail: str = ""
    """The last failure, in words."""
    failures: int = 0
    """How many calls in a row failed at the same bytes."""


TARBALL_COLUMNS = ("name", "state", "etag", "size_bytes", "detail", "failures")
"""What the ledger's table of tarballs holds of a row."""


class ClipRow(NamedTuple):
    """The state of a member of a tarball. (A tuple, as there are half a million.)"""

    tarball: Tarball
    position: int
    """Its place among the tarball's clips, from 0; -1 for a clip that is listed but not there."""
    folder: str
    """`<split>/<class name>`."""
    file_name: str
    state: str
    """`have` (stored), `bad`, `skipped` (not wanted) or `absent` (listed, not in the tarball)."""
    reason: str
    """A key of `REASONS`; empty for a clip that is stored, or was not wanted."""
    source: str
    """For `have`: `cvdf`; `youtube` or `local` if it was there before the tarball came."""
    size_bytes: int
    crc32: int | None = None
    """CRC-32 of its bytes in the tarball, unless an older release wrote the row."""
    fps: float | None = None
    """Frames per second of a new file, which is recorded; rows that are read do not have it."""


CLIP_COLUMNS = ClipRow._fields[:-1]
"""What the ledger's table of clips holds. (Rates have their own: hardly any store has some.)"""


class Checkpoint(NamedTuple):
    """Where reading of a tarball may go on that broke off; all before it is in the store."""

    packing: str
    """`gzip` or `tar`."""
    entry_offset: int
    """First byte of the file to ask for, as in `k600.dataset.clip.Entry`."""
    unpacked_bytes: int
    """Length of all that is unpacked from what lies before it."""
    crc32: int
    """CRC-32 of the unpacked bytes of its gzip member before `next_header`; 0 for a plain tar."""
    member_bytes: int
    """Length of those; not less than what is skipped from the entry on."""
    next_header: int
    """Position, in what is unpacked, of the tar header to go on with."""
    position: int
    """How many of the tarball's clips lie before that."""


class AnswerRow(NamedTuple):
    """YouTube's last answer about a clip, and how often it was the same."""

    folder: str
    file_name: str
    kind: str
    """`have` (stored), or one of `YOUTUBE_KINDS`."""
    code: str
    message: str
    version: str
    """Of the program that asked: yt-dlp's."""
    size_bytes: int
    """For `have`: the file's size."""
    times: int
    days: int
    """On how many different days (UTC)."""
    first_on: str
    """As in `2026-11-23`."""
    last_on: str
    circumstances: str = ""
    """Under which the last answer was given: see `k600.youtube.circumstances`."""
    versions: int = 1
    """How often another version than the one before got the answer, and the first."""


class AdoptedRow(NamedTuple):
    """A clip that a user or another tool put into the store, as it was when checked."""

    folder: str
    file_name: str
    path: str
    """Relative to the store."""
    size_bytes: int
    mtime_ns: int
    problem: str
    """Empty if it is whole, else as `k600.video.probe.box_problem` says, or `unreadable`."""

    @property
    def is_at_place(self) -> bool:
        """Whether the loader would put it there, too."""
        return self.path == f"{self.folder}/{self.file_name}"


class CheckRow(NamedTuple):
    """A check of a file by `k600.checks.verify`, valid for this size and time of change."""

    folder: str
    file_name: str
    path: str
    """Relative to the store."""
    size_bytes: int
    mtime_ns: int
    depth: str
    """`quick` or `deep`."""
    verdict: str
    """One of `k600.video.probe.VERDICTS`."""
    detail: str
    duration_seconds: float
    """Of the frames, from the first one's time to the last one's end. This, width, height (in
    pixels) and fps are 0 where unknown."""
    width: int
    height: int
    fps: float
    checked_at: str
    """In UTC, as in `2026-11-23T13:15:00`."""
    moved_to: str = ""
    """The quarantined file, relative to the store; empty if it was not moved."""


class StoredGroup(NamedTuple):
    """Clips of one tarball that are stored in one folder. (A row for each would take seconds.)"""

    tarball: Tarball
    folder: str
    source: str
    names: frozenset[str]
    sizes: Mapping[str, int] = MappingProxyType({})
    """Bytes by file name, if they were asked for."""


class LostClip(NamedTuple):
    """A clip that the ledger knows, and that is not in the store."""

    folder: str
    file_name: str
    tarball: str
    """Name of its tarball; empty for a file that others left in the store."""
    reason: str
    """What is wrong with it, a key of `REASONS`; empty if nothing is known to be."""


Rates = Mapping[str, Mapping[str, float]]
"""Frames per second of files that the loader encoded, by folder and file name."""


@dataclass(frozen=True, slots=True)
class LedgerView:
    """All that a ledger holds of one split at one moment."""

    tarballs: Mapping[str, TarballRow]
    """By name."""
    groups: Sequence[StoredGroup] = ()
    """Clips that are stored."""
    others: Sequence[ClipRow] = ()
    """Clips that are not, in the order of their tarballs."""
    answers: Sequence[AnswerRow] = ()
    adopted: Sequence[AdoptedRow] = ()
    other_mirrors: Sequence[StoredGroup] = ()
    """Stored clips that came from another mirror than the ledger's."""
    rates: Rates = field(default_factory=dict)

    @property
    def done(self) -> set[str]:
        """Names of the tarballs that were read to their ends."""
        return {name for name, row in self.tarballs.items() if row.state == "done"}

    def clips(self) -> Iterator[ClipRow]:
        """Yield a row for each clip, stored ones first, by name and without a position."""
        for group in self.groups:
            for name in sorted(group.names):
                size = group.sizes.get(name, 0)
                yield ClipRow(group.tarball, -1, group.folder, name, "have", "", group.source, size)
        yield from self.others

    def lost(self, here: Callable[[str], Collection[str]]) -> Iterator[LostClip]:
        """Yield the clips that are not there; of one in several places, what counts comes first.

        These are damaged files of others, clips that are bad in their tarball, or not in it, and
        those that were passed over or have vanished. `here` returns the file names in a folder.
        """
        for row in self.adopted:
            if row.problem and row.file_name not in here(row.folder):
                yield LostClip(row.folder, row.file_name, "", row.problem)
        for clip in sorted(self.others, key=lambda clip: _RANKS[clip.state]):
            if clip.file_name not in here(clip.folder):
                yield LostClip(clip.folder, clip.file_name, clip.tarball.name, clip.reason)
        for group in self.groups:
            for name in sorted(group.names.difference(here(group.folder))):
                yield LostClip(group.folder, name, group.tarball.name, "")

    @property
    def cuts(self) -> Mapping[str, Mapping[str, int]]:
        """Sizes in bytes, by folder and file name, of clips that YouTube gave, as it answered."""
        return _cuts(self.answers)

    def stored(self) -> dict[str, list[frozenset[str]]]:
        """Return the file names by folder, in some sets each, of clips that runs stored."""
        return _names_by_folder([*self.groups, *self.other_mirrors], self.answers)

    def copies(self) -> dict[str, set[str]]:
        """Return the file names by folder of clips cut from YouTube."""
        cuts = [group for group in self.groups if group.source == "youtube"]
        return _united(_names_by_folder(cuts, self.answers))

    def hidden(self) -> dict[str, set[str]]:
        """Return the file names by folder of stored clips that are not this mirror's."""
        return _united(_names_by_folder(self.other_mirrors))


_RANKS = {"bad": 0, "absent": 1, "skipped": 2}
"""Of a clip that is not there for several reasons, the first of these counts."""


def _united(names: Mapping[str, Iterable[frozenset[str]]]) -> dict[str, set[str]]:
    return {folder: set().union(*parts) for folder, parts in names.items()}


def without_clips(
    groups: Sequence[StoredGroup], others: Iterable[StoredGroup], answers: Iterable[AnswerRow] = ()
) -> list[StoredGroup]:
    """Return groups without the clips of other groups, and those from YouTube."""
    if not groups:
        return []
    taken = _names_by_folder(others, answers)
    left = [g._replace(names=g.names.difference(*taken.get(g.folder, ()))) for g in groups]
    return [group for group in left if group.names]


def _names_by_folder(
    groups: Iterable[StoredGroup], answers: Iterable[AnswerRow] = ()
) -> dict[str, list[frozenset[str]]]:
    found: dict[str, list[frozenset[str]]] = {}
    for group in groups:
        found.setdefault(group.folder, []).append(group.names)
    for folder, sizes in _cuts(answers).items():
        found.setdefault(folder, []).append(frozenset(sizes))
    return found


def _cuts(answers: Iterable[AnswerRow]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for answer in answers:
        if answer.kind == "have":
            found.setdefault(answer.folder, {})[answer.file_name] = answer.size_bytes
    return found

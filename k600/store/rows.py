"""The rows of the ledger: what is known of each tarball and clip, as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from k600.clip import Tarball

__all__ = [
    "SOURCES",
    "AdoptedRow",
    "AnswerRow",
    "CheckRow",
    "ClipRow",
    "LedgerView",
    "StoredGroup",
    "TarballRow",
    "without_clips",
]

SOURCES = ("cvdf", "youtube", "local")
"""Where a clip that is stored may be from."""


@dataclass(frozen=True, slots=True)
class TarballRow:
    """The state of a tarball."""

    tarball: Tarball
    state: str
    """`started` (clips may be there, nothing is proved), `partial` (read up to the last clip that
    was wanted), `done` (read and checked to its last byte) or `damaged` (it is condemned, as
    `k600.tarballs.reading` says)."""
    etag: str
    size_bytes: int
    detail: str = ""
    """What the check said that failed last."""
    failures: int = 0
    """In how many calls one after the other it has failed its own checks, at the same bytes."""


class ClipRow(NamedTuple):
    """The state of a member of a tarball. (A tuple: there are half a million of them.)"""

    tarball: Tarball
    position: int
    """Its place among the tarball's clips, from 0; -1 for a clip that is listed but not there."""
    folder: str
    """`<split>/<class name>` where it lies or would lie."""
    file_name: str
    state: str
    """`have` (stored), `bad` (not usable), `skipped` (not asked for) or `absent` (listed by
    the host, but not in the tarball)."""
    reason: str
    """For `bad`: `empty`, `truncated`, `not_mp4`, `not_a_file`, `too_large`; for `absent`:
    `not_in_tarball`; for `skipped`: `not_encoded`, or empty."""
    source: str
    """For `have`: `cvdf`; `youtube` or `local` for one that was there before the tarball came."""
    size_bytes: int
    crc32: int | None = None
    """CRC-32 of its bytes in the tarball; None where an older release did not note it."""


class AnswerRow(NamedTuple):
    """YouTube's last answer about a clip."""

    folder: str
    """`<split>/<class name>` where the clip lies or would lie."""
    file_name: str
    kind: str
    """`have` (stored), or one of `k600.reasons.YOUTUBE_KINDS`."""
    code: str
    message: str
    """In YouTube's words."""
    yt_dlp: str
    """Version of yt-dlp that asked."""
    size_bytes: int
    """For `have`: the file's size."""
    times: int
    """How often the answer has been the same."""
    days: int
    """On how many different days (UTC)."""
    first_on: str
    """The first of these days, as in `2026-11-23`."""
    last_on: str


class AdoptedRow(NamedTuple):
    """A clip that was there before, or that another tool brought, as it was when checked."""

    folder: str
    """`<split>/<class name>` that it belongs to."""
    file_name: str
    path: str
    """Where it lies, relative to the store."""
    size_bytes: int
    mtime_ns: int
    problem: str
    """Empty if it is whole, else as `k600.video.probe.box_problem` says, or `unreadable`."""

    @property
    def is_at_place(self) -> bool:
        """Whether it lies where this loader would put it."""
        return self.path == f"{self.folder}/{self.file_name}"


class CheckRow(NamedTuple):
    """What `k600.checks.verify` found in a file. It holds while size and time are these."""

    folder: str
    """`<split>/<class name>` that the clip belongs to."""
    file_name: str
    path: str
    """Where the file lies, relative to the store."""
    size_bytes: int
    mtime_ns: int
    depth: str
    """`quick` or `deep`."""
    verdict: str
    """One of `k600.video.probe.VERDICTS`."""
    detail: str
    duration_seconds: float
    """Of the frames, from the first one's time to the last one's end; 0 where unknown."""
    width: int
    """In pixels; 0 where unknown."""
    height: int
    fps: float
    checked_at: str
    """In UTC, as in `2026-11-23T13:15:00`."""
    moved_to: str = ""
    """Where the file was put aside, relative to the store; empty if it was not."""


class StoredGroup(NamedTuple):
    """Clips of one tarball that are stored in one folder. (A row for each would take seconds.)"""

    tarball: Tarball
    folder: str
    """`<split>/<class name>`."""
    source: str
    """As in `ClipRow`."""
    names: frozenset[str]
    """File names."""
    sizes: Mapping[str, int] = MappingProxyType({})
    """Bytes by file name; empty where they were not asked for."""


@dataclass(frozen=True, slots=True)
class LedgerView:
    """All that a ledger knows of one split at one moment."""

    tarballs: Mapping[str, TarballRow]
    """By the tarball's name."""
    groups: Sequence[StoredGroup] = ()
    """Clips that are stored."""
    others: Sequence[ClipRow] = ()
    """Every clip that is not, tarball by tarball, in the tarball's order."""
    answers: Sequence[AnswerRow] = ()
    """YouTube's answers, by folder and file name."""
    adopted: Sequence[AdoptedRow] = ()
    """Clips that others brought, by folder and file name."""
    other_mirrors: Sequence[StoredGroup] = ()
    """Clips that are stored and came from another mirror than the one that is meant."""

    @classmethod
    def of(
        cls,
        tarballs: Mapping[str, TarballRow],
        clips: Iterable[ClipRow],
        answers: Sequence[AnswerRow] = (),
        adopted: Sequence[AdoptedRow] = (),
        other_mirrors: Sequence[StoredGroup] = (),
    ) -> LedgerView:
        """Return the view for rows clip by clip, their sizes with them."""
        sizes: dict[tuple[Tarball, str, str], dict[str, int]] = {}
        others = []
        for clip in clips:
            if clip.state == "have":
                key = (clip.tarball, clip.folder, clip.source)
                sizes.setdefault(key, {})[clip.file_name] = clip.size_bytes
            else:
                others.append(clip)

        groups = [StoredGroup(*key, frozenset(found), found) for key, found in sizes.items()]
        return cls(tarballs, groups, others, answers, adopted, other_mirrors)

    def with_tarballs(self, names: Collection[str], theirs: LedgerView) -> LedgerView:
        """Return the view with what is known of some tarballs at another mirror."""
        groups = [group for group in theirs.groups if group.tarball.name in names]
        return dataclasses.replace(
            self,
            tarballs={**self.tarballs, **{name: theirs.tarballs[name] for name in names}},
            groups=[*self.groups, *groups],
            others=[*self.others, *(c for c in theirs.others if c.tarball.name in names)],
            other_mirrors=without_clips(self.other_mirrors, groups),
        )

    def clips(self) -> Iterator[ClipRow]:
        """Yield a row for each clip, those that are stored first, by name and not by position."""
        for group in self.groups:
            for name in sorted(group.names):
                size = group.sizes.get(name, 0)
                yield ClipRow(group.tarball, -1, group.folder, name, "have", "", group.source, size)
        yield from self.others

    def stored(self) -> dict[str, list[frozenset[str]]]:
        """Return the file names of the clips that came by a run, by folder, in some sets each.

        From whichever mirror: others' clips are those that are not among them.
        """
        return _names_by_folder([*self.groups, *self.other_mirrors], self.answers)

    def copies(self) -> dict[str, set[str]]:
        """Return the file names of the clips that are cuts from YouTube, by folder."""
        cuts = [group for group in self.groups if group.source == "youtube"]
        found = _names_by_folder(cuts, self.answers)
        return {folder: set().union(*names) for folder, names in found.items()}

    def hidden(self) -> dict[str, set[str]]:
        """Return the file names by folder of clips that are in the store, but not this mirror's."""
        found = _names_by_folder(self.other_mirrors)
        return {folder: set().union(*names) for folder, names in found.items()}


def without_clips(
    groups: Sequence[StoredGroup], others: Iterable[StoredGroup], answers: Iterable[AnswerRow] = ()
) -> list[StoredGroup]:
    """Return groups without the clips that are in others as well, or that YouTube gave."""
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
    for answer in answers:
        if answer.kind == "have":
            found.setdefault(answer.folder, []).append(frozenset((answer.file_name,)))
    return found

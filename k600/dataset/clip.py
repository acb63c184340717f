"""Clips and tarballs as plain values, and their names on host and disk."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from k600.dataset.splits import UNLABELED, Split

_SIX_DIGITS = re.compile(r"[A-Za-z0-9_-]{11}_[0-9]{6}_[0-9]{6}\.mp4")
FILE_NAME = r"([A-Za-z0-9_-]{11})_(\d{6,9})_(\d{6,9})\.mp4"
"""Of a clip, as an expression: 35 characters at most. See `parse_file_name`."""
_FILE_NAME = re.compile(FILE_NAME, re.ASCII)


PACKINGS = ("gzip", "tar")
"""How a tarball whose clips can be read one by one may be packed."""

Listing = Mapping[str, Sequence[str]]
"""`{class name: [file name, ...]}` in the host's order."""

TestLabels = Mapping[tuple[str, int, int], str]
"""`{(youtube_id, time_start, time_end): class name}` of the labelled test clips."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip of one split.

    A YouTube id may be in two classes, and the same id and times in two splits: only all five
    fields together identify a clip.
    """

    split: str
    """`train`, `validation` or `test`."""
    label: str | None
    """Canonical class name; None for a test clip that no list labels."""
    youtube_id: str
    """11 characters of `[A-Za-z0-9_-]`; may begin with `-`, `_` or `__`."""
    time_start: int
    """In the YouTube video, in seconds, 0 or more."""
    time_end: int
    """In seconds, exclusive."""

    @classmethod
    def at(cls, candidate: tuple[str, str], split: str) -> Clip:
        """Return the clip that is called so (`candidate`) within a split; its name is a clip's."""
        label, name = candidate
        times = parse_file_name(name)
        assert times is not None
        return cls(split, None if label == UNLABELED else label, *times)

    @property
    def file_name(self) -> str:
        """`<id>_<start>_<end>.mp4`, times with six digits, as on the host."""
        return file_name_of(self.youtube_id, self.time_start, self.time_end)

    @property
    def folder(self) -> str:
        """`<split>/<class name>` in the store, with `/` on every system."""
        return f"{self.split}/{self.label or UNLABELED}"

    @property
    def candidate(self) -> tuple[str, str]:
        """Class name (`_unlabeled` for none) and file name: what it is called within its split."""
        return self.label or UNLABELED, self.file_name

    @property
    def key(self) -> str:
        """`<split>/<class name>/<file name>`: unique, and the clip's place in the store."""
        return f"{self.folder}/{self.file_name}"


@dataclass(frozen=True, slots=True)
class Tarball:
    """One `.tar.gz` of the host."""

    split: str
    name: str
    """File name without `.tar.gz`: a class name, or `part_<n>` in the test split."""

    @property
    def path(self) -> str:
        """Path below the mirror's root, such as `val/acting in play.tar.gz`.

        Published places and fleets are pinned to a digest of these: they may not change.
        """
        return f"{Split(self.split).host_folder}/{self.name}.tar.gz"

    @property
    def label(self) -> str | None:
        """The class of all its clips; None in the test split, where it mixes classes."""
        return None if Split(self.split).is_mixed else self.name


class Entry(NamedTuple):
    """Where to enter a tarball for one clip: what one request for a range of bytes takes.

    In a gzip, raw inflate begins at `entry_offset` with an empty window: there is the header of a
    stored block (its own byte, or the end of a byte that it shares with the block before: it is
    read as zero), and stored blocks of at least 32 KiB follow before the clip, or it is the
    gzip's own beginning (0). In a plain tar nothing is inflated.
    """

    entry_offset: int
    """First byte of the tarball's file to ask for."""
    skip_bytes: int
    """Unpacked bytes from there to the clip, the tar header in front of it among them."""
    span_bytes: int
    """How many bytes of the file to ask for."""
    size_bytes: int
    """Of the clip, as it is in the tarball."""
    crc32: int
    """Of the clip's bytes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a clip lies in one object of the host: true as long as ETag and size are the same."""

    tarball: Tarball
    etag: str
    """Of the tarball's file, as `k600.mirror` gives it."""
    tarball_bytes: int
    """Size of the tarball's file."""
    packing: str
    """`gzip` or `tar`, whatever the file's name says."""
    entry: Entry

    def __post_init__(self) -> None:
        """Raise `ValueError` for values that no object can have: they may be a stranger's."""
        entry = self.entry
        room_bytes = self.tarball_bytes - entry.entry_offset
        if self.packing not in PACKINGS:
            raise ValueError(f"packing: {self.packing!r} is not one of {', '.join(PACKINGS)}")
        if not (self.etag.isprintable() and 0 < len(self.etag) <= 1024):
            raise ValueError("tarball_etag: it is empty, too long or not printable")
        if entry.entry_offset < 0 or not 0 < entry.span_bytes <= room_bytes:
            raise ValueError(
                f"entry_offset, span_bytes, tarball_bytes: {entry.span_bytes} bytes from "
                f"{entry.entry_offset} are not within a tarball of {self.tarball_bytes} bytes"
            )
        if min(entry.skip_bytes, entry.size_bytes) < 0 or not 0 <= entry.crc32 < 1 << 32:
            raise ValueError(f"skip_bytes, original_bytes, crc32: {entry[1:]} are none of a clip")


def file_name_of(youtube_id: str, start: int, end: int) -> str:
    """Return the file name of a clip, of which `parse_file_name` is the inverse.

    Example:
        >>> file_name_of("-_abcdefghi", 12, 22)
        '-_abcdefghi_000012_000022.mp4'
    """
    return f"{youtube_id}_{start:06d}_{end:06d}.mp4"


def video_of(file_name: str) -> str:
    """Return the YouTube id in a clip's file name.

    Example:
        >>> video_of("-_abcdefghi_000012_000022.mp4")
        '-_abcdefghi'
    """
    return file_name[:11]


@dataclass(frozen=True, slots=True)
class Without:
    """Clips that are left out on purpose, whoever has them: `file_name in without`.

    Example:
        >>> "-_abcdefghi_000012_000022.mp4" in Without(frozenset({"-_abcdefghi"}))
        True
    """

    videos: frozenset[str] = frozenset()
    """YouTube ids of videos whose clips are."""

    def __bool__(self) -> bool:
        return bool(self.videos)

    def __contains__(self, file_name: str) -> bool:
        return bool(self.videos) and video_of(file_name) in self.videos


NOTHING = Without()


def parse_file_name(name: str) -> tuple[str, int, int] | None:
    """Return `(youtube_id, time_start, time_end)` of a clip's file name, None if it is not one.

    The only form is `<11 characters>_<start>_<end>.mp4`, times in seconds with six digits or more.

    Example:
        >>> parse_file_name("-_abcdefghi_000012_000022.mp4")
        ('-_abcdefghi', 12, 22)
    """
    if _SIX_DIGITS.fullmatch(name):  # all but those of videos longer than eleven days
        youtube_id, start, end = name[:11], int(name[12:18]), int(name[19:25])
    elif match := _FILE_NAME.fullmatch(name):
        youtube_id, start, end = match[1], int(match[2]), int(match[3])
        if name != file_name_of(youtube_id, start, end):
            return None
    else:
        return None
    return (youtube_id, start, end) if start < end else None


def label_of(file_name: str, labels: TestLabels, otherwise: str = UNLABELED) -> str:
    """Return the class of a clip by a list; if it is not listed, another, such as its folder's.

    Example:
        >>> label_of("-_abcdefghi_000012_000022.mp4", {("-_abcdefghi", 12, 22): "yoga"})
        'yoga'
    """
    times = parse_file_name(file_name)
    return labels.get(times, otherwise) if times else otherwise


def names_of_classes(classes: Collection[str], labels: TestLabels) -> frozenset[str]:
    """Return the file names of the test clips that a list has in some classes."""
    return frozenset(file_name_of(*clip) for clip, label in labels.items() if label in classes)


def clip_names(names: Collection[str]) -> set[str]:
    """Return the names that `parse_file_name` accepts, fast enough for half a million."""
    is_usual = _SIX_DIGITS.fullmatch
    found = {name for name in names if is_usual(name) and name[12:18] < name[19:25]}
    if len(found) < len(names):
        found.update(name for name in names if name not in found and parse_file_name(name))
    return found

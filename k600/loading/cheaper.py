"""Where chosen clips come from that tarballs and YouTube both may give: the one rule. Pure.

What both ways take is foretold here, too, for the rule, for dry runs and for log lines.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.filesize import decimal

from k600.errors.text import counted, time_of
from k600.tarballs.extract import TarballRead

LITTLE_BYTES = 2_000_000_000
"""Bytes of tarballs that are read whatever YouTube would take: the originals, without a guest's
limits, and the same ones on every machine."""

USUAL_BYTES_PER_SECOND = 50e6
"""Rate of a mirror that has shown none yet."""

MEAN_CLIP_BYTES = 1_480_000
"""Mean size of a clip: 88 GB over 59,608 files in the test split, the largest of the three."""

USUAL_CLIPS = {"train": 713, "validation": 50, "test": 993}
"""How many clips a tarball of each split holds, about."""

_CLIP_SECONDS = 4.0
"""For each clip that YouTube gives, a few at a time: 2.3 to 6.1 were measured, of one and a half
videos (`python -m benchmarks.cheaper`)."""
_QUESTIONS = 3
"""For each clip that YouTube gives: two for a video, and a third of all videos is lost."""
_UNPACED_QUESTIONS = 90
"""The first ones, which do not wait (`k600.youtube.rate_limit`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What some clips take by either way, and so which is cheaper."""

    clips: int
    tarballs: int
    tarball_bytes: float
    """To be read of tarballs, as is to be expected."""
    bytes_per_second: float | None
    """The rate that the mirror has shown; None if it has not."""
    requests_per_hour: int
    """Questions that YouTube is asked."""
    lost: bool = False
    """Whether YouTube does not have these, and would give others in their places."""

    @property
    def tarball_seconds(self) -> float:
        return self.tarball_bytes / self._rate

    @property
    def youtube_seconds(self) -> float:
        return youtube_seconds(self.clips, self.requests_per_hour)

    @property
    def source(self) -> str:
        """Which way is cheaper: `cvdf` (the tarballs) or `youtube`.

        The tarballs, where little is to be read of them or they are faster, and for more clips than
        YouTube gives a guest in an hour.
        """
        is_little, is_faster = self.tarball_bytes <= LITTLE_BYTES, self._tarballs_are_faster
        return "cvdf" if is_little or is_faster or self._exceeds_guest else "youtube"

    def __str__(self) -> str:
        """Return one line: which way, why, and the option for the other."""
        lost = " that YouTube has not," if self.lost else ""
        clips = f"{counted(self.clips, 'clip')}{lost} from"
        youtube = f"about {time_of(self.youtube_seconds)}"
        known = "as measured" if self.bytes_per_second else "a usual rate: none is measured yet"
        tarballs = counted(self.tarballs, "tarball") if self.tarballs else "tarballs"
        seconds, size = time_of(self.tarball_seconds), decimal(int(self.tarball_bytes))
        cost = f"about {seconds} ({size} at {decimal(int(self._rate))}/s, {known})"
        if self.source == "youtube":
            return f"{clips} YouTube, in {youtube}; {tarballs} (source='cvdf') would take {cost}"
        why = ""
        if self._exceeds_guest:
            most = most_in_an_hour(self.requests_per_hour)
            why = f", and gives a guest no more than {counted(most, 'clip')} an hour"
        elif not self._tarballs_are_faster:
            why = f", but up to {decimal(LITTLE_BYTES)} the originals come first"
        others = "others from YouTube" if self.lost else "YouTube (source='youtube')"
        return f"{clips} {tarballs}, in {cost}; {others} would take {youtube}{why}"

    @property
    def _rate(self) -> float:
        return rate_or_usual(self.bytes_per_second)

    @property
    def _tarballs_are_faster(self) -> bool:
        return self.tarball_seconds <= self.youtube_seconds

    @property
    def _exceeds_guest(self) -> bool:
        return self.clips > most_in_an_hour(self.requests_per_hour)


def rate_or_usual(bytes_per_second: float | None) -> float:
    """Return a mirror's rate in bytes per second, a usual one if it has shown none."""
    return bytes_per_second or USUAL_BYTES_PER_SECOND


def most_in_an_hour(requests_per_hour: int) -> int:
    """Return how many clips YouTube gives in an hour: 300, as its guests have seen it."""
    return requests_per_hour // _QUESTIONS


def youtube_seconds(clips: int, requests_per_hour: int) -> float:
    """Return how long YouTube takes for clips, those included that take the place of lost ones.

    Example:
        >>> youtube_seconds(10, 900), youtube_seconds(300, 900)
        (40.0, 3240.0)
    """
    paced = clips * _QUESTIONS - _UNPACED_QUESTIONS  # their turns come while the first are at work
    return max(clips * _CLIP_SECONDS, paced * 3600 / requests_per_hour)


def expected_bytes(read: TarballRead, size_bytes: int) -> float:
    """Return how much of a tarball of this size is read, as is to be expected.

    Of k clips in a tarball whose order is not known, the last one lies k/(k + 1) of the way in.

    Example:
        >>> from k600.dataset.clip import Tarball
        >>> only = frozenset({"a_000000_000010.mp4"})
        >>> expected_bytes(TarballRead(Tarball("train", "yoga"), only, until_found=True), 1000)
        500.0
    """
    if not read.until_found:
        return size_bytes
    if read.most is not None and read.wanted is None:  # the first ones, whichever they are
        return min(size_bytes, read.most * MEAN_CLIP_BYTES)
    clips = len(read.wanted or ())
    return size_bytes * clips / (clips + 1)

"""Where chosen clips come from that tarballs and YouTube both may give: the one rule.

What both ways take is foretold here, too, for the rule, for dry runs and for log lines. How fast
tarballs came from a mirror to this machine the last time is noted beside the clips.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.filesize import decimal

from k600.errors.text import counted, short_hash, time_of
from k600.mirror.mirror import Mirror
from k600.store.notes import MachineNotes
from k600.store.store import Store
from k600.tarballs.extract import TarballRead

LITTLE_BYTES = 2_000_000_000
"""Bytes of tarballs that are read whatever YouTube would take: the originals, without a guest's
limits, and the same ones on every machine."""

USUAL_BYTES_PER_SECOND = 50e6
"""Rate of a mirror that has shown none yet."""

MEAN_CLIP_BYTES = 1_480_000
"""Mean size of a clip: 88 GB over 59,608 files in the test split, the largest of the three."""

_CLIP_SECONDS = 4.0
"""For each clip that YouTube gives, a few at a time: 2.3 to 6.1 were measured, of one and a half
videos (`python -m benchmarks.cheaper`)."""
_QUESTIONS = 3
"""For each clip that YouTube gives: two for a video, and a third of all videos is lost."""
_UNPACED_QUESTIONS = 90
"""The first ones, which do not wait (`k600.youtube.rate_limit`)."""

_RATES = "link-rates.json"
"""Name of the file of rates, in bytes per second by mirror."""
_TELLING_BYTES = 100_000_000
"""What has to come before it tells of the link, and not of the first requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What some clips take by either way, and so which is cheaper."""

    clips: int
    tarballs: int
    tarball_bytes: float | None
    """To be read of tarballs, as is to be expected; None where they cannot be had."""
    bytes_per_second: float | None
    """The rate that the mirror has shown; None if it has not."""
    requests_per_hour: int
    """Questions that YouTube is asked."""
    lost: bool = False
    """Whether YouTube does not have these, and would give others in their places."""

    @property
    def source(self) -> str:
        """Which way is cheaper: `cvdf` (the tarballs) or `youtube`."""
        return "youtube" if self._why_tarballs is None else "cvdf"

    @property
    def _why_tarballs(self) -> str | None:
        """Why tarballs are the cheaper way, in words after YouTube's time; None if they are not.

        They are for more clips than YouTube gives a guest in an hour, where they are faster, or
        where little is to be read of them.
        """
        if self.tarball_bytes is None:
            return None
        most = self.requests_per_hour // _QUESTIONS  # 300, as guests have seen it
        if self.clips > most:
            return f", and gives a guest no more than {counted(most, 'clip')} an hour"
        if self._tarball_seconds <= youtube_seconds(self.clips, self.requests_per_hour):
            return ""
        if self.tarball_bytes <= LITTLE_BYTES:
            return f", but up to {decimal(LITTLE_BYTES)} the originals come first"
        return None

    @property
    def _tarball_seconds(self) -> float:
        return (self.tarball_bytes or 0) / rate_or_usual(self.bytes_per_second)

    def __str__(self) -> str:
        """Return one line: which way, why, and the option for the other."""
        lost = " that YouTube has not," if self.lost else ""
        clips = f"{counted(self.clips, 'clip')}{lost} from"
        youtube = f"about {time_of(youtube_seconds(self.clips, self.requests_per_hour))}"
        if self.tarball_bytes is None:
            return f"{clips} YouTube, in {youtube}, as the mirror does not give the tarballs now"

        known = "as measured" if self.bytes_per_second else "a usual rate: none is measured yet"
        rate = f"{decimal(int(rate_or_usual(self.bytes_per_second)))}/s, {known}"
        tarballs = counted(self.tarballs, "tarball") if self.tarballs else "tarballs"
        size = decimal(int(self.tarball_bytes))
        cost = f"about {time_of(self._tarball_seconds)} ({size} at {rate})"

        why = self._why_tarballs
        if why is None:
            return f"{clips} YouTube, in {youtube}; {tarballs} (source='cvdf') would take {cost}"
        others = "others from YouTube" if self.lost else "YouTube (source='youtube')"
        return f"{clips} {tarballs}, in {cost}; {others} would take {youtube}{why}"


def rate_or_usual(bytes_per_second: float | None) -> float:
    """Return a mirror's rate in bytes per second, a usual one if it has shown none."""
    return bytes_per_second or USUAL_BYTES_PER_SECOND


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


def recall_rate(store: Store, mirror: Mirror) -> float | None:
    """Return the bytes per second of the last long reading, None if there was none."""
    return MachineNotes(store, _RATES).recall(short_hash(mirror.identity))


def note_rate(store: Store, mirror: Mirror, *, received_bytes: int, seconds: float) -> None:
    """Note what a reading has shown, if it was long enough to show anything."""
    if received_bytes >= _TELLING_BYTES and seconds > 0:
        MachineNotes(store, _RATES).note(short_hash(mirror.identity), received_bytes / seconds)

"""How fast YouTube is asked: one pace for all processes of this machine that share a store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field

from k600.errors import Stopped
from k600.store.notes import MachineNotes
from k600.store.store import Store

_REMEMBERED_SECONDS = 600
"""How long a block is assumed to last, where there is another source."""
_MOST_AHEAD = 1000
"""Turns that may be taken ahead; a note of more was made by a clock that was put back since."""


@dataclass(eq=False)
class Throttle:
    """Lets requests through at the pace of one address. Safe in threads.

    Without an account about 300 videos an hour are let through (seen by the community, late 2026),
    at the three requests each that yt-dlp takes by itself. YouTube counts them by address, so when
    the next one is due, and when it refused the last, is noted beside the clips.
    """

    store: Store
    address: str
    """As YouTube sees it: see `k600.youtube.circumstances`."""
    per_hour: int = 900
    _: KW_ONLY
    burst: int = 90
    """Requests that are let through at once after a rest."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Ends every wait by `Stopped`."""
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._notes = MachineNotes(self.store, "youtube-pace.json")

    def wait_for_turn(self) -> None:
        """Wait for this thread's turn to send YouTube a request; raise as `check` does."""
        self.check()
        if (seconds := self.take_turn()) > 0:
            self.sleep(seconds)

    def take_turn(self) -> float:
        """Take the next turn; return in how many seconds it is (0 or less for now)."""
        seconds_each = 3600 / self.per_hour
        with self.store.only_one("youtube-pace", self.stop):
            now = self.clock()
            last = self._notes.recall(f"due {self.address}") or 0
            if last > now + _MOST_AHEAD * seconds_each:
                last = 0
            due = max(last, now - self.burst * seconds_each) + seconds_each
            self._notes.note(f"due {self.address}", due)
        return due - now

    def note_block(self) -> None:
        """Remember that YouTube refuses this address."""
        with self.store.only_one("youtube-pace", self.stop):
            self._notes.note(f"blocked {self.address}", self.clock())

    @property
    def lately_blocked(self) -> bool:
        """Whether YouTube refused this address within the last ten minutes."""
        at = self._notes.recall(f"blocked {self.address}")
        return at is not None and 0 <= self.clock() - at < _REMEMBERED_SECONDS

    def check(self) -> None:
        """Raise `Stopped` if `stop` is set."""
        if self.stop.is_set():
            raise Stopped("stopped")

    def sleep(self, seconds: float) -> None:
        """Wait before a retry; raise `Stopped` as soon as `stop` is set."""
        if self.stop.wait(seconds):
            raise Stopped("stopped")

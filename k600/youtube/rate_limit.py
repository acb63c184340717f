"""How fast YouTube is asked: a rate limiter for a process, a throttle for each run's threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import cache

from k600.errors import Stopped

_REMEMBERED_SECONDS = 600
"""How long a block is assumed to last, where there is another source."""


class BlockedError(Stopped):
    """YouTube refuses this address: the clip has to be tried again."""


class RateLimiter:
    """Says when the next request is due; the first `burst` are at once. Safe in threads.

    Without an account about 300 videos an hour are let through (seen by the community, late 2026),
    at the three requests each that yt-dlp takes by itself.
    """

    def __init__(
        self,
        *,
        per_hour: int = 900,
        burst: int = 90,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._seconds_each = 3600 / per_hour
        self._ahead = burst * self._seconds_each
        self._next = clock() - self._ahead  # when the next request is due
        self._lock = threading.Lock()
        self._blocked_at: float | None = None

    def take(self) -> float:
        """Take the next turn; return in how many seconds it is (0 or less for now)."""
        with self._lock:
            now = self._clock()
            self._next = max(self._next, now - self._ahead) + self._seconds_each
            return self._next - now

    def note_block(self) -> None:
        """Remember that YouTube refuses this address."""
        self._blocked_at = self._clock()

    @property
    def lately_blocked(self) -> bool:
        """Whether YouTube refused this address within the last ten minutes."""
        at = self._blocked_at
        return at is not None and self._clock() - at < _REMEMBERED_SECONDS


@cache
def rate_limiter_of(proxy: str | None, per_hour: int) -> RateLimiter:
    """Return the one limiter of this process for an address: its own, or a proxy's."""
    return RateLimiter(per_hour=per_hour)


class Throttle:
    """Lets the requests of one run through, none while paused. Safe in threads."""

    def __init__(self, stop: threading.Event, limiter: RateLimiter) -> None:
        self.stop, self._limiter = stop, limiter
        self._paused = threading.Event()

    def wait_for_turn(self) -> None:
        """Wait for this thread's turn to send YouTube a request; raise as `check` does."""
        end = time.monotonic() + self._limiter.take()
        while True:
            self.check()
            left = end - time.monotonic()
            if left <= 0:
                return
            self.stop.wait(min(left, 0.5))

    def check(self) -> None:
        """Raise `Stopped` if `stop` is set, and `BlockedError` while requests are paused."""
        if self.stop.is_set():
            raise Stopped("stopped")
        if self._paused.is_set():
            raise BlockedError("YouTube refuses this address for now")

    def pause(self) -> None:
        self._paused.set()

    def resume(self) -> None:
        self._paused.clear()

    def sleep(self, seconds: float) -> None:
        """Wait before a retry; raise `Stopped` as soon as `stop` is set."""
        if self.stop.wait(seconds):
            raise Stopped("stopped")

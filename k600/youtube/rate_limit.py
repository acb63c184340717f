"""How fast YouTube is asked: a rate limiter for a process, a gate for each run's threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import cache

from k600.errors import Stopped

__all__ = ["BlockedError", "Gate", "RateLimiter", "rate_limiter_of"]

_REMEMBERED_SECONDS = 600
"""How long a block is taken to last, where there is another source."""


class BlockedError(Stopped):
    """YouTube refuses this address: the clip in hand is put back."""


class RateLimiter:
    """Says when the next question is due. Safe in threads.

    Without an account about 300 videos an hour are let through (seen by the community, late 2026),
    three questions each; the first few come without waiting.
    """

    def __init__(
        self,
        *,
        per_hour: int = 900,
        burst: int = 90,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a limiter.

        Args:
            per_hour: Questions an hour, in the long run.
            burst: Questions that may come at once.
            clock: Tells the time, in seconds.
        """
        self._clock = clock
        self._seconds_each = 3600 / per_hour
        self._ahead = burst * self._seconds_each
        self._next = clock() - self._ahead  # when the next question is due
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


class Gate:
    """Lets the requests of one run through, none while it is shut. Safe in threads."""

    def __init__(self, stop: threading.Event, limiter: RateLimiter) -> None:
        """Make an open gate.

        Args:
            stop: Set to let nobody through any more.
            limiter: How fast.
        """
        self.stop, self._limiter = stop, limiter
        self._shut = threading.Event()

    def ask(self) -> None:
        """Wait for this thread's turn to ask YouTube a question.

        Raises:
            Stopped: `stop` was set.
            BlockedError: The gate is shut, or was while waiting.
        """
        end = time.monotonic() + self._limiter.take()
        while True:
            self.check()
            left = end - time.monotonic()
            if left <= 0:
                return
            self.stop.wait(min(left, 0.5))

    def check(self) -> None:
        """Raise as `ask` does, without taking a turn."""
        if self.stop.is_set():
            raise Stopped("stopped")
        if self._shut.is_set():
            raise BlockedError("YouTube refuses this address for now")

    def shut(self) -> None:
        """Let nobody through until `open`."""
        self._shut.set()

    def open(self) -> None:
        """Let requests through again."""
        self._shut.clear()

    def rest(self, seconds: float) -> None:
        """Wait before a try is repeated; wakes at once when told to stop."""
        if self.stop.wait(seconds):
            raise Stopped("stopped")

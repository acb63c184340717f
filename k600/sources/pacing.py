"""How fast YouTube is asked: one gate for all threads, shut while it refuses this address."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from k600.errors import Stopped

__all__ = ["Gate", "Shut"]


class Shut(Stopped):
    """YouTube refuses this address: the clip in hand is put back."""


class Gate:
    """Lets requests through at a steady rate, none while it is shut. Safe in threads.

    A guest may ask for about 300 videos an hour (seen by the community, late 2026), three
    questions each; the first few come without waiting.
    """

    def __init__(
        self,
        stop: threading.Event,
        *,
        per_hour: int = 900,
        burst: int = 90,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make an open gate.

        Args:
            stop: Set to let nobody through any more.
            per_hour: Questions an hour, in the long run.
            burst: Questions that may come at once.
            clock: Tells the time, in seconds.
        """
        self._stop, self._clock = stop, clock
        self._seconds_each = 3600 / per_hour
        self._ahead = burst * self._seconds_each
        self._next = clock() - self._ahead  # when the next question is due
        self._lock = threading.Lock()
        self._shut = threading.Event()

    def ask(self) -> None:
        """Wait for this thread's turn to ask YouTube a question.

        Raises:
            Stopped: `stop` was set.
            Shut: The gate is shut, or was while waiting.
        """
        with self._lock:
            now = self._clock()
            self._next = max(self._next, now - self._ahead) + self._seconds_each
            wait = self._next - now
        end = self._clock() + wait
        while True:
            self.check()
            left = end - self._clock()
            if left <= 0:
                return
            self._stop.wait(min(left, 0.5))

    def check(self) -> None:
        """Raise as `ask` does, without taking a turn."""
        if self._stop.is_set():
            raise Stopped("stopped")
        if self._shut.is_set():
            raise Shut("YouTube refuses this address for now")

    def shut(self) -> None:
        """Let nobody through until `open`."""
        self._shut.set()

    def open(self) -> None:
        """Let requests through again."""
        self._shut.clear()

    def rest(self, seconds: float) -> None:
        """Wait before a try is repeated; wakes at once when told to stop."""
        if self._stop.wait(seconds):
            raise Stopped("stopped")

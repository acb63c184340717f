"""Retries after growing pauses with jitter, in bounded time."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from k600.errors import Stopped

T = TypeVar("T")


class Retry:
    """How often, how long and after which pauses something is tried again.

    Example:
        >>> answers = iter([OSError("busy"), OSError("busy"), "here"])
        >>> def ask() -> str:
        ...     if isinstance(answer := next(answers), OSError):
        ...         raise answer
        ...     return answer
        >>> Retry(attempts=3, first_pause_seconds=0).call(ask, OSError)
        'here'
    """

    def __init__(
        self,
        *,
        attempts: float = math.inf,
        patience_seconds: float = math.inf,
        first_pause_seconds: float = 0.3,
        most_pause_seconds: float = 10.0,
        stop: threading.Event | None = None,
    ) -> None:
        """Begin with the first of at most `attempts`; each pause is twice as long as the last.

        It may keep failing for `patience_seconds`; setting `stop` ends a pause.
        """
        self._most_attempts, self._patience_seconds = attempts, patience_seconds
        self._first_pause, self._most_pause = first_pause_seconds, most_pause_seconds
        self._stop = stop or threading.Event()
        self.restart()

    def restart(self) -> None:
        """Begin anew, as something has succeeded."""
        self.attempts = 1
        self._deadline = time.monotonic() + self._patience_seconds

    @property
    def is_over(self) -> bool:
        """Whether it has been tried often or long enough."""
        return self.attempts >= self._most_attempts or time.monotonic() > self._deadline

    @property
    def pause_seconds(self) -> float:
        """The longest that the next pause may be."""
        return min(self._first_pause * 2.0 ** min(self.attempts - 1, 30), self._most_pause)

    def pause(self, wait_seconds: float | None = None) -> None:
        """Wait before the next attempt; raise `Stopped` if told to stop.

        A server's own request to wait for `wait_seconds` does not count as having failed.
        """
        if wait_seconds is None:
            # Many that fail at one moment must not come back at one moment, either.
            seconds = self.pause_seconds * random.uniform(0.5, 1)
        else:
            seconds = wait_seconds
            self._deadline += wait_seconds
        if self._stop.wait(seconds):
            raise Stopped("stopped")
        self.attempts += 1

    def call(self, call: Callable[[], T], *passing: type[Exception]) -> T:
        """Return what a call returns, tried again after `passing` errors; raise the last one."""
        while True:
            try:
                return call()
            except passing:
                if self.is_over:
                    raise
            self.pause()

"""When what failed is tried again: after growing pauses with jitter, and in bounded time."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from k600.errors import Stopped

__all__ = ["Retry"]

T = TypeVar("T")


class Retry:
    """How often, how long and after which pauses one thing is tried again.

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
        """Begin with the first attempt.

        Args:
            attempts: How often it is tried at most, the first time included.
            patience_seconds: How long it may keep failing.
            first_pause_seconds: The first pause; each is twice as long as the one before.
            most_pause_seconds: The longest pause.
            stop: Ends a pause when set.
        """
        self._most_attempts, self._patience_seconds = attempts, patience_seconds
        self._first_pause_seconds, self._most_pause_seconds = (
            first_pause_seconds,
            most_pause_seconds,
        )
        self._stop = stop or threading.Event()
        self.restart()

    def restart(self) -> None:
        """Begin anew, as something has succeeded."""
        self.attempts = 1
        """How often it has been tried."""
        self._deadline = time.monotonic() + self._patience_seconds

    @property
    def is_over(self) -> bool:
        """Whether it has been tried often or long enough."""
        return self.attempts >= self._most_attempts or time.monotonic() > self._deadline

    @property
    def pause_seconds(self) -> float:
        """The longest that the next pause may be."""
        doubled = self._first_pause_seconds * 2.0 ** min(self.attempts - 1, 30)
        return min(doubled, self._most_pause_seconds)

    def pause(self, told_seconds: float | None = None) -> None:
        """Wait before the next attempt.

        Args:
            told_seconds: How long the other side says to wait. It is taken at its word, and that
                time does not count as having failed.

        Raises:
            Stopped: `stop` was set.
        """
        if told_seconds is None:
            # Many that fail at one moment must not come back at one moment, either.
            seconds = self.pause_seconds * random.uniform(0.5, 1)
        else:
            seconds = told_seconds
            self._deadline += told_seconds
        if self._stop.wait(seconds):
            raise Stopped("stopped")
        self.attempts += 1

    def call(self, call: Callable[[], T], *passing: type[Exception]) -> T:
        """Return what a call returns; it is made again after errors that may pass.

        Args:
            call: What is tried.
            passing: The errors after which it is tried again. The last one is raised.
        """
        while True:
            try:
                return call()
            except passing:
                if self.is_over:
                    raise
            self.pause()

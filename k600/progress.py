"""Progress of long work: bars, as commands and `datasets` make them, and lines in their place."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from k600.errors.text import amount_text, share_text, time_of

_LOG_EVERY_SECONDS = 30


class Bar:
    """A progress bar, called from several threads. This one shows nothing."""

    def update(self, n: int, part: str = "") -> None:
        """Advance by `n`, of a part that has begun."""

    def begin(self, part: str, total: int) -> None:
        """Begin a part, such as a tarball."""

    def end(self, part: str) -> None:
        """End a part, successful or not."""


class Progress(Protocol):
    """Opens a progress bar for a total, in bytes or a given unit, with a text."""

    def __call__(
        self, total: int, description: str, *, unit: str = "B"
    ) -> AbstractContextManager[Bar]: ...


@contextmanager
def no_progress(total: int, description: str, *, unit: str = "B") -> Iterator[Bar]:
    """Show nothing."""
    yield Bar()


@contextmanager
def without_bars_of(library: Any) -> Iterator[None]:
    """Have `datasets`, or `huggingface_hub.utils`, draw no bars of its own."""
    if library.are_progress_bars_disabled():
        yield
        return
    library.disable_progress_bars()
    try:
        yield
    finally:
        library.enable_progress_bars()


class Lines(Bar):
    """A line every 30 seconds, for log files and pipes."""

    def __init__(self, say: Callable[[str], None], total: int, description: str, unit: str) -> None:
        """Begin: `say` shows a line, and `total` is all there is to do, 0 if unknown.

        It is in bytes for the unit `B`; any other is a noun: `clip`.
        """
        self._say, self._total, self._description = say, total, description
        self._unit, self._done = unit, 0
        self._started = self._shown = time.monotonic()
        self._lock = threading.Lock()

    def update(self, n: int, part: str = "") -> None:
        with self._lock:
            self._done += n
            now = time.monotonic()
            if now - self._shown < _LOG_EVERY_SECONDS:
                return
            self._shown = now
            rate = self._done / (now - self._started)
            left = (self._total - self._done) / rate if rate else 0
            self._say(
                f"{self._description}: {share_text(self._done, self._total, self._unit)}, "
                f"{amount_text(int(rate), self._unit)}/s"
                + (f", {time_of(left)} left" if self._total else "")
            )

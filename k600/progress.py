"""Progress bars, as commands and `datasets` make them for long work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


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

"""How the parts tell of their progress: whoever shows it gives them one of these."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["Bar", "NoBar", "Progress", "no_progress"]


class Bar(Protocol):
    """A progress bar. Called from several threads."""

    def update(self, n: int, part: str = "") -> object:
        """Go on by `n`, for one of the parts that are being worked on."""

    def begin(self, part: str, total: int) -> object:
        """Begin with a part, such as a tarball."""

    def end(self, part: str) -> object:
        """Be done with a part, well or not."""


class Progress(Protocol):
    """Opens a progress bar, given the total (in bytes, unless a unit is given) and a text."""

    def __call__(
        self, total: int, description: str, *, unit: str = "B"
    ) -> AbstractContextManager[Bar]: ...


class NoBar:
    """A bar that shows nothing."""

    def update(self, n: int, part: str = "") -> None: ...

    def begin(self, part: str, total: int) -> None: ...

    def end(self, part: str) -> None: ...


@contextmanager
def no_progress(total: int, description: str, *, unit: str = "B") -> Iterator[Bar]:
    """Show nothing."""
    yield NoBar()

"""Exit codes: one table for all commands, so that a script knows when to run one again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from k600.errors import (
    Kinetics600Error,
    MirrorDeniedError,
    MirrorNotFoundError,
    NoClipsError,
    OptionError,
)

if TYPE_CHECKING:
    from k600.loading.estimate import Forecast
    from k600.loading.outcome import Outcome

__all__ = [
    "AGAIN",
    "DONE",
    "EXIT_CODES",
    "LACKING",
    "PIPE_CLOSED",
    "STOPPED",
    "USAGE",
    "code_of_error",
    "code_of_splits",
    "worst",
]

DONE, AGAIN, USAGE, LACKING, STOPPED, PIPE_CLOSED = 0, 1, 2, 3, 130, 141

EXIT_CODES = {
    DONE: "done: all that was asked for is here and good",
    AGAIN: "not all is here, or something is bad or failed: run it again, or see the message",
    USAGE: "wrong usage",
    LACKING: "here is all there is, but the host lacks some: running it again brings no more",
    STOPPED: "stopped by Ctrl-C: the same command goes on",
    PIPE_CLOSED: "whoever read the output has left",
}
"""Meanings of the exit codes, for all commands."""


def worst(codes: Iterable[int]) -> int:
    """Return one code for several parts: `AGAIN` wins over `LACKING`, and that over `DONE`.

    Example:
        >>> worst([0, 3, 1]), worst([0, 3]), worst([])
        (1, 3, 0)
    """
    return max(codes, key=(DONE, LACKING, AGAIN).index, default=DONE)


def code_of_splits(splits: Iterable[Outcome | Forecast]) -> int:
    """Return the code for splits that were downloaded, or would be."""
    return worst(
        AGAIN if split.may_bring_more else DONE if split.is_whole else LACKING for split in splits
    )


def code_of_error(error: Kinetics600Error) -> int:
    """Return the code for an error that ended a command."""
    if isinstance(error, OptionError):
        return USAGE
    absent = isinstance(error, (MirrorNotFoundError, MirrorDeniedError))
    settled = isinstance(error, NoClipsError) and error.settled
    return LACKING if absent or settled else AGAIN

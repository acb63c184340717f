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
    from k600.loading.request import Request

DONE, AGAIN, USAGE, UNAVAILABLE, STOPPED, PIPE_CLOSED = 0, 1, 2, 3, 130, 141

EXIT_CODES = {
    DONE: "done: all that was asked for is here and good",
    AGAIN: "not all is here, or something is bad or failed: run it again, or see the message",
    USAGE: "wrong usage",
    UNAVAILABLE: "all clips that can be had are here, some cannot: running it again adds none",
    STOPPED: "stopped by Ctrl-C: the same command goes on",
    PIPE_CLOSED: "whoever read the output has left",
}
"""Meanings of the exit codes, for all commands."""


def worst(codes: Iterable[int]) -> int:
    """Return one code for several parts: `AGAIN` wins over `UNAVAILABLE`, and that over `DONE`.

    Example:
        >>> worst([0, 3, 1]), worst([0, 3]), worst([])
        (1, 3, 0)
    """
    return max(codes, key=(DONE, UNAVAILABLE, AGAIN).index, default=DONE)


def code_of_splits(splits: Iterable[Outcome | Forecast]) -> int:
    """Return the code for splits that were downloaded, or would be."""
    outcomes = [*splits]
    if any(split.may_bring_more for split in outcomes):
        return AGAIN
    return DONE if all(split.is_whole for split in outcomes) else UNAVAILABLE


def code_of_fetch(request: Request, outcomes: Iterable[Outcome]) -> int:
    """Return the code for a command that works on what is there after a fetch.

    What is missing is its user's affair where nothing was to be fetched.
    """
    return DONE if request.source == "local" else code_of_splits(outcomes)


def code_of_error(error: Kinetics600Error) -> int:
    """Return the code for an error that ended a command."""
    if isinstance(error, OptionError):
        return USAGE
    absent = isinstance(error, (MirrorNotFoundError, MirrorDeniedError))
    settled = isinstance(error, NoClipsError) and error.settled
    return UNAVAILABLE if absent or settled else AGAIN

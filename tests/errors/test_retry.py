"""What failed is tried again: as often, as long and after such pauses as was asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from k600.errors import Stopped
from k600.errors.retry import Retry


def failing(times: int, error: type[Exception] = OSError) -> Callable[[], int]:
    """Return what fails so often, and then returns how often it was called."""
    calls = []

    def call() -> int:
        calls.append(1)
        if len(calls) <= times:
            raise error(f"call {len(calls)}")
        return len(calls)

    return call


def test_a_call_is_made_again_until_it_succeeds() -> None:
    assert Retry(attempts=3, first_pause_seconds=0).call(failing(2), OSError) == 3


def test_attempts_are_counted_and_the_last_error_is_raised() -> None:
    retry = Retry(attempts=3, first_pause_seconds=0)
    with pytest.raises(OSError, match="call 3"):
        retry.call(failing(9), OSError)
    assert retry.attempts == 3


def test_other_errors_are_raised_at_once() -> None:
    with pytest.raises(ValueError, match="call 1"):
        Retry(first_pause_seconds=0).call(failing(9, ValueError), OSError)


def test_patience_ends_what_has_no_number_of_attempts() -> None:
    begun = time.monotonic()
    with pytest.raises(OSError, match="call"):
        Retry(patience_seconds=0.05, first_pause_seconds=0.01).call(failing(10**9), OSError)
    assert time.monotonic() - begun < 10


def test_pauses_double_up_to_the_longest() -> None:
    retry = Retry(first_pause_seconds=0.001, most_pause_seconds=0.003)
    pauses = []
    for _ in range(4):
        pauses.append(retry.pause_seconds)
        retry.pause()
    assert pauses == [0.001, 0.002, 0.003, 0.003]
    retry.restart()
    assert (retry.attempts, retry.pause_seconds) == (1, 0.001)


def test_what_the_other_side_says_is_not_counted_as_failing() -> None:
    retry = Retry(patience_seconds=0.05)
    retry.pause(0.1)
    assert not retry.is_over


def test_a_stop_ends_a_pause() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        Retry(first_pause_seconds=600, stop=stop).call(failing(1), OSError)

"""The gate before YouTube: a steady rate for all threads, shut for all at once."""

from __future__ import annotations

import threading
import time

import pytest

from k600.errors import Stopped
from k600.sources.pacing import Gate, Shut


def test_the_first_questions_do_not_wait_and_the_next_do() -> None:
    gate = Gate(threading.Event(), per_hour=36_000, burst=5)  # then one in 0.1 seconds
    started = time.monotonic()
    for _ in range(5):
        gate.ask()
    assert time.monotonic() - started < 0.1
    for _ in range(3):
        gate.ask()
    assert time.monotonic() - started >= 0.25


def test_the_rate_is_one_for_all_threads() -> None:
    gate = Gate(threading.Event(), per_hour=36_000, burst=1)
    started = time.monotonic()
    threads = [threading.Thread(target=gate.ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= 0.45


def test_rest_does_not_save_up_more_than_the_burst() -> None:
    now = [1000.0]
    gate = Gate(threading.Event(), per_hour=3600, burst=3, clock=lambda: now[0])
    now[0] += 10_000
    for _ in range(3):
        gate.ask()
    gate.shut()
    with pytest.raises(Shut):
        gate.ask()


def test_shut_and_open() -> None:
    gate = Gate(threading.Event())
    gate.shut()
    with pytest.raises(Shut):
        gate.ask()
    gate.open()
    gate.ask()


def test_who_waits_is_woken_when_told_to_stop() -> None:
    stop = threading.Event()
    gate = Gate(stop, per_hour=1, burst=1)
    gate.ask()
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            gate.ask()
        except Stopped as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    stop.set()
    thread.join(timeout=5)
    assert len(caught) == 1
    with pytest.raises(Stopped):
        gate.rest(60)

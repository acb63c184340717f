"""How fast YouTube is asked: a steady rate for all threads, shut for all at once."""

from __future__ import annotations

import threading
import time

import pytest

from k600.errors import Stopped
from k600.youtube.rate_limit import BlockedError, RateLimiter, Throttle, rate_limiter_of


def test_the_first_questions_do_not_wait_and_the_next_come_at_the_rate() -> None:
    now = [1000.0]
    limiter = RateLimiter(per_hour=3600, burst=3, clock=lambda: now[0])
    assert [limiter.take() for _ in range(6)] == [-2, -1, 0, 1, 2, 3]
    now[0] += 10_000  # rest does not save up more than the burst
    assert [limiter.take() for _ in range(4)] == [-2, -1, 0, 1]


def test_the_rate_is_one_for_all_threads() -> None:
    limiter = RateLimiter(per_hour=36_000, burst=1)  # one in 0.1 seconds
    throttles = [Throttle(threading.Event(), limiter) for _ in range(6)]
    started = time.monotonic()
    threads = [threading.Thread(target=throttle.wait_for_turn) for throttle in throttles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= 0.45


def test_a_block_is_remembered_for_a_while() -> None:
    now = [1000.0]
    limiter = RateLimiter(clock=lambda: now[0])
    assert not limiter.lately_blocked
    limiter.note_block()
    assert limiter.lately_blocked
    now[0] += 3600
    assert not limiter.lately_blocked


def test_a_process_has_one_pace_for_each_address() -> None:
    assert rate_limiter_of(None, 900) is rate_limiter_of(None, 900)
    assert rate_limiter_of("http://127.0.0.1:1", 900) is not rate_limiter_of(None, 900)


def test_pause_and_resume() -> None:
    throttle = Throttle(threading.Event(), RateLimiter())
    throttle.pause()
    with pytest.raises(BlockedError):
        throttle.wait_for_turn()
    throttle.resume()
    throttle.wait_for_turn()


def test_stop_ends_a_wait() -> None:
    stop = threading.Event()
    throttle = Throttle(stop, RateLimiter(per_hour=1, burst=1))
    throttle.wait_for_turn()
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            throttle.wait_for_turn()
        except Stopped as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    stop.set()
    thread.join(timeout=5)
    assert len(caught) == 1
    with pytest.raises(Stopped):
        throttle.sleep(60)

"""How fast YouTube is asked: a steady rate for all threads and processes, shut for all at once."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from k600.errors import Stopped
from k600.store.store import Store
from k600.youtube.rate_limit import Throttle

Make = Callable[..., Throttle]


@pytest.fixture
def make(store: Store) -> Make:
    def make(address: str = "direct", **options: Any) -> Throttle:
        return Throttle(store, address, **options)

    return make


def test_the_first_questions_do_not_wait_and_the_next_come_at_the_rate(make: Make) -> None:
    now = [1000.0]
    throttle = make(per_hour=3600, burst=3, clock=lambda: now[0])
    assert [throttle.take_turn() for _ in range(6)] == [-2, -1, 0, 1, 2, 3]
    now[0] += 10_000  # rest does not save up more than the burst
    assert [throttle.take_turn() for _ in range(4)] == [-2, -1, 0, 1]


def test_a_clock_that_was_put_back_holds_nobody_up(make: Make) -> None:
    now = [1e9]
    throttle = make(per_hour=3600, burst=3, clock=lambda: now[0])
    throttle.take_turn()
    throttle.note_block()
    now[0] -= 86_400
    assert throttle.take_turn() == -2
    assert not throttle.lately_blocked


def test_the_rate_is_one_for_all_threads(make: Make) -> None:
    throttles = [make(per_hour=18_000, burst=1) for _ in range(6)]  # one in 0.2 seconds
    started = time.monotonic()
    threads = [threading.Thread(target=throttle.wait_for_turn) for throttle in throttles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= 0.9


def test_the_rate_is_one_for_all_processes_and_so_is_a_block(make: Make, store: Store) -> None:
    program = """
        import sys
        from k600.store.store import Store
        from k600.youtube.rate_limit import Throttle

        throttle = Throttle(Store.at(sys.argv[1]), "direct", 60, burst=3, clock=lambda: 1000.0)
        print([throttle.take_turn() for _ in range(4)])
        throttle.note_block()
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(store.root)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    turns = [turn for process in processes for turn in eval(process.communicate()[0])]
    assert sorted(turns) == [60 * n for n in range(-2, 10)]

    throttle = make(per_hour=60, burst=3, clock=lambda: 1000.0)
    assert throttle.take_turn() == 600
    assert throttle.lately_blocked
    other = make("another", per_hour=60, burst=3, clock=lambda: 1000.0)
    assert other.take_turn() == -120
    assert not other.lately_blocked


def test_a_block_is_remembered_for_a_while(make: Make) -> None:
    now = [1000.0]
    throttle = make(clock=lambda: now[0])
    assert not throttle.lately_blocked
    throttle.note_block()
    assert throttle.lately_blocked
    now[0] += 3600
    assert not throttle.lately_blocked


def test_stop_ends_a_wait(make: Make) -> None:
    throttle = make(per_hour=1, burst=1)
    throttle.wait_for_turn()
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            throttle.wait_for_turn()
        except Stopped as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    throttle.stop.set()
    thread.join(timeout=5)
    assert len(caught) == 1
    with pytest.raises(Stopped):
        throttle.sleep(60)

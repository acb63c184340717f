"""A function over many things by several threads, its results in order, a bounded number ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["map_ahead"]

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(
    function: Callable[[T], R],
    things: Iterable[T],
    *,
    threads: int,
    most_ahead: int,
    size_of: Callable[[T], int] = lambda thing: 1,
    name: str = "k600-ahead",
) -> Generator[tuple[T, R], None, None]:
    """Yield each thing with what the function returns for it, in the order of the things.

    What has not begun when the iterator is closed (`contextlib.closing`) is given up.

    Args:
        function: Called in several threads at a time.
        things: Taken one by one, no faster than results are.
        threads: How many are worked on at a time, 1 or more.
        most_ahead: How many things may wait for whoever takes the results; or their sizes in all,
            and one thing more.
        size_of: The size of a thing, where not their number but that is what counts.
        name: What the names of the threads begin with.

    Raises:
        Whatever the function raised, in its turn.

    Example:
        >>> list(map_ahead(len, ["a", "bcd"], threads=2, most_ahead=1))
        [('a', 1), ('bcd', 3)]
    """
    pending: deque[tuple[T, Future[R]]] = deque()
    ahead = 0
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        for thing in things:
            pending.append((thing, pool.submit(function, thing)))
            ahead += size_of(thing)

            # One that is done is handed on at once; but only one for each that begins, so that the
            # threads have something to do while whoever takes it is busy.
            while pending and (ahead > most_ahead or pending[0][1].done()):
                first, future = pending.popleft()
                ahead -= size_of(first)
                yield first, future.result()
                if ahead <= most_ahead:
                    break

        for thing, future in pending:
            yield thing, future.result()
    finally:
        pool.shutdown(cancel_futures=True)

"""Map a function over things in several threads, with ordered results, a bounded number ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

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
    stop: Callable[[], object] = lambda: None,
) -> Generator[tuple[T, R], None, None]:
    """Yield each thing with the function's result for it, in the order of the things.

    At most `most_ahead` results wait to be consumed; or their sizes in all, and one thing more. The
    function's errors are raised in their turn. Closing the iterator (`contextlib.closing`) cancels
    what has not begun, calls `stop`, which may end what has, and waits for that.

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

            # A finished one is yielded at once; but only one for each that begins, so that the
            # threads have something to do while the consumer is busy.
            while pending and (ahead > most_ahead or pending[0][1].done()):
                first, future = pending.popleft()
                ahead -= size_of(first)
                yield first, future.result()
                if ahead <= most_ahead:
                    break

        for thing, future in pending:
            yield thing, future.result()
    finally:
        stop()
        pool.shutdown(cancel_futures=True)

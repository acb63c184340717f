"""The look-ahead map: order, bound, and what happens to what has not begun."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k600.ahead import map_ahead


@given(st.lists(st.integers(1, 9)), st.integers(1, 4), st.integers(0, 20))
def test_results_come_in_order_and_no_more_is_taken_than_may_be_ahead(
    sizes: list[int], threads: int, most: int
) -> None:
    taken = handed_on = 0

    def things() -> Iterator[int]:
        nonlocal taken
        for size in sizes:
            assert taken - handed_on <= most
            taken += size
            yield size

    results = []
    for size, double in map_ahead(
        lambda size: 2 * size, things(), threads=threads, most_ahead=most, size_of=lambda size: size
    ):
        handed_on += size
        results.append(double)
    assert results == [2 * size for size in sizes]


def test_an_error_comes_in_its_turn_and_what_has_not_begun_is_given_up() -> None:
    begun: list[int] = []
    blocked = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise ValueError("one")
        if number > 1:
            blocked.wait(60)
        return number

    found = map_ahead(work, range(100), threads=1, most_ahead=50)
    with contextlib.closing(found), pytest.raises(ValueError, match="one"):
        for _, number in found:
            assert number == 0
            blocked.set()
    assert len(begun) < 60

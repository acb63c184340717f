"""Rows of many tarballs in a random order that a seed fixes, within bounded memory.

A tarball holds one class, so a group of tarballs is read side by side, through a shuffle buffer.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def group_names(names: Iterable[str], size: int, seed: int) -> list[list[str]]:
    """Return names in groups of at most `size`, as equal as possible, shuffled by the seed.

    Example:
        >>> [len(group) for group in group_names("abcdefg", 3, seed=0)]
        [3, 2, 2]
    """

    def rank(name: str) -> bytes:
        return hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()

    order = sorted(set(names), key=rank)
    count = -(-len(order) // size)
    return [order[number::count] for number in range(count)]


def shuffle(
    parts: Sequence[Iterable[T]],
    *,
    seed: str,
    size_of: Callable[[T], int],
    most_bytes: int,
    most_rows: int,
) -> Iterator[T]:
    """Yield the rows of all parts in a random order: by a seed the same on every machine.

    At most `most_rows` rows and `most_bytes` bytes (by `size_of`) are held, and one row more.

    Example:
        >>> parts = [[1, 2], [3]]
        >>> rows = shuffle(parts, seed="0", size_of=lambda row: 1, most_bytes=9, most_rows=9)
        >>> sorted(rows)
        [1, 2, 3]
    """
    chance = random.Random(seed)

    def draw(among: int) -> int:
        # `random()` alone is the same in every version of Python.
        return int(chance.random() * among)

    held: list[T] = []
    held_bytes = 0
    for row in _side_by_side([iter(part) for part in parts], draw):
        held.append(row)
        held_bytes += size_of(row)
        while len(held) > most_rows or held_bytes > most_bytes:
            row = _take(held, draw(len(held)))
            held_bytes -= size_of(row)
            yield row
    while held:
        yield _take(held, draw(len(held)))


def _side_by_side(live: list[Iterator[T]], draw: Callable[[int], int]) -> Iterator[T]:
    while live:
        place = draw(len(live))
        try:
            row = next(live[place])
        except StopIteration:
            del live[place]
        else:
            yield row


def _take(held: list[T], place: int) -> T:
    held[place], held[-1] = held[-1], held[place]
    return held.pop()

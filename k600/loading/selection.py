"""Which clips a request means when it does not mean all: pure, and the same everywhere.

The order of candidates depends on the request and the candidates alone: a seeded order is the
order of a hash of seed and clip, so it is the same on every machine, in every process and
version of Python, and a clip more or less in a list does not move the others.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from k600.dataset.labels import NAMES

Candidate = tuple[str, str]
"""A class name and a file name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many clips of a split to take, and which first."""

    max_samples: int | None = None
    """Most clips of the split, 1 or more; None for no limit."""
    max_per_class: int | None = None
    """Most clips of each class, 1 or more; None for no limit."""
    balanced: bool = False
    """Take one clip of each class in turn."""
    shuffle: bool = False
    """Take clips in the random order that `seed` gives."""
    seed: int = 0

    @property
    def limited(self) -> bool:
        """Whether this may leave clips out."""
        return self.max_samples is not None or self.max_per_class is not None

    @property
    def by_class(self) -> bool:
        """Whether the clips of each class are counted."""
        return self.balanced or self.max_per_class is not None


def choose_clips(
    names: Mapping[str, Collection[str]],
    limits: Limits,
    *,
    dead: Collection[Candidate] = frozenset(),
    here: Callable[[str], Collection[str]] = lambda label: (),
) -> list[Candidate]:
    """Choose clips.

    Args:
        names: The candidates: file names by class.
        limits: How many, and in which order.
        dead: Candidates that cannot be had; the next ones take their places.
        here: Returns the file names of a class that are in the store. Without `shuffle` these
            come first; with it they change nothing.

    Returns:
        The chosen clips, in the order of choice. For `max_samples=n` they are the first n of
        those for n + 1, as long as the store is the same.

    Example:
        >>> choose_clips({"zumba": ["b", "a"], "yoga": ["c"]}, Limits(max_samples=2))
        [('yoga', 'c'), ('zumba', 'a')]
    """
    keyed: list[tuple[int, int, int, str, str]] = []
    for label, files in names.items():
        left = {name for name in files if (label, name) not in dead} if dead else {*files}
        if limits.shuffle:
            own = [(_hash(limits, label, name.encode()), name) for name in left]
        else:
            stored = frozenset(here(label))
            own = [(int(name not in stored), name) for name in left]
        if limits.by_class:
            own = sorted(own)[: limits.max_per_class]
        number = NAMES.index(label) if label in NAMES else len(NAMES)
        if limits.balanced:
            turn = _hash(limits, label, b"") if limits.shuffle else 0
            keyed += [(rank, turn, number, name, label) for rank, (_, name) in enumerate(own)]
        else:
            keyed += [(order, 0, number, name, label) for order, name in own]
    if limits.max_samples is None:
        keyed.sort()
    else:
        keyed = heapq.nsmallest(limits.max_samples, keyed)
    return [(label, name) for *_, name, label in keyed]


def walk_order(names: Collection[str], limits: Limits) -> list[str]:
    """Return the order in which tarballs of mixed classes are walked through for some clips.

    Example:
        >>> walk_order(["part_10", "part_9"], Limits())
        ['part_9', 'part_10']
    """
    if limits.shuffle:
        return sorted(names, key=lambda name: _hash(limits, name, b""))
    return sorted(names, key=lambda name: (len(name), name))


def share_of(limits: Limits, *, classes: int) -> int | None:
    """Return how many clips a class may give in a walk; None for as many as it has."""
    if not limits.balanced or limits.max_samples is None:
        return limits.max_per_class
    equal = -(-limits.max_samples // classes)
    return min(equal, limits.max_per_class or equal)


def walk_clips(members: Iterable[Candidate], limits: Limits, *, classes: int) -> list[Candidate]:
    """Choose clips as they come, in the order in which tarballs give them that no list describes.

    `balanced` gives each of so many classes an equal share of `max_samples`, rounded up.

    Example:
        >>> walk_clips([("yoga", "a"), ("yoga", "b"), ("zumba", "c")],
        ...            Limits(max_per_class=1), classes=2)
        [('yoga', 'a'), ('zumba', 'c')]
    """
    share = share_of(limits, classes=classes)
    taken: Counter[str] = Counter()
    chosen: list[Candidate] = []
    for label, name in members:
        if len(chosen) == limits.max_samples:
            break
        if share is None or taken[label] < share:
            taken[label] += 1
            chosen.append((label, name))
    return chosen


def _hash(limits: Limits, label: str, name: bytes) -> int:
    text = b"%d/%b/%b" % (limits.seed, label.encode(), name)
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")

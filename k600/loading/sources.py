"""What every source of clips is asked, what it answers, and what its share is called."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from k600.dataset.clip import Tarball
from k600.errors import Kinetics600Error, MirrorUnreachableError
from k600.errors.disk import Space
from k600.loading.plan import Plan
from k600.loading.selection import Candidate
from k600.loading.state import Failure, State


@dataclass(frozen=True, slots=True)
class Words:
    """What a source's share of a plan, and of what came, is called."""

    column: str
    """In a table of plans: the column's head."""
    cell: str
    """And what stands in it, with `{count}`, `{counted}` (number and noun) and `{size}`."""
    noun: str
    """What is counted."""
    came: str
    """And how it came, in the line that closes a load."""
    planned: tuple[str, str]
    """Names of count and bytes in a plan's JSON."""
    fetched: tuple[str, str]
    """And in that of a load."""


WORDS: Mapping[str, Words] = {
    "entries": Words(
        "by request",
        "{counted} ({size})",
        "clip",
        "by one request each",
        ("entry_clips", "entry_bytes"),
        ("fetched_entry_clips", "fetched_bytes"),
    ),
    "cvdf": Words(
        "tarballs",
        "{count} ({size})",
        "tarball",
        "read",
        ("tarballs", "tarball_bytes"),
        ("fetched_tarballs", "fetched_bytes"),
    ),
    "youtube": Words(
        "YouTube",
        "{counted}",
        "clip",
        "cut from YouTube",
        ("youtube_clips", "youtube_bytes"),
        ("fetched_youtube_clips", "fetched_youtube_bytes"),
    ),
}
"""By the source's name (`Plan.first`), in the order in which they are told."""


_GIVE_UP_AFTER = 3
"""Failures in a row to reach the mirror after which a whole run stops."""


@dataclass(slots=True, kw_only=True)
class Fetched:
    """What came by now of a source's part of a plan; which clips are there, the store says."""

    asked: Collection[Candidate] = ()
    """The clips that it was asked for one by one and could have given."""
    refused: dict[Candidate, str] = field(default_factory=dict)
    """Those that it has not, with the reason: keys of `REASONS`."""
    details: Mapping[Candidate, str] = field(default_factory=dict)
    """More words on that."""
    read: Collection[Tarball] = ()
    """Tarballs that were read: the ledger knows now what is in them."""
    failures: dict[Tarball, Failure] = field(default_factory=dict)
    """Tarballs that could not be read."""
    doubted: set[Tarball] = field(default_factory=set)
    """Tarballs in which clips do not lie where they were known to."""
    proved: set[Candidate] = field(default_factory=set)
    """Clips that have the SHA-256 that the manifest says: they need not be read again for that."""
    given_up: Kinetics600Error | None = None
    """Why it is not to be asked for anything more in this call: raised if nothing else serves."""
    count: int = 0
    """Tarballs that were read, or clips that came one by one."""
    received_bytes: int = 0
    unreached: int = 0
    """How often, the last times, the mirror was not reached."""

    def fail(self, tarball: Tarball, failure: Failure) -> None:
        """Note that a tarball, or a clip in it, could not be read; raise that if the mirror was not
        reached several times in a row.
        """
        self.failures[tarball] = failure
        self.unreached += isinstance(failure.error, MirrorUnreachableError)
        if self.unreached >= _GIVE_UP_AFTER:
            raise failure.error


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a source's part of a plan takes."""

    count: int
    """Tarballs, or clips one by one."""
    size_bytes: int
    """To be fetched; from YouTube about."""
    space: Space
    """On disk, about."""
    seconds: float
    at_most: bool = False
    """Whether it may be less."""
    open_ended: bool = False
    """Whether it may be more (`Plan.open_ended`)."""


@dataclass(slots=True)
class Source(ABC):
    """Where clips come from that are not in the store, for one load."""

    stack: contextlib.ExitStack
    """Closed when the load is through."""

    @staticmethod
    @abstractmethod
    def price(state: State, plan: Plan, *, bytes_per_second: float) -> Price:
        """Return what this source's part of a plan takes; `bytes_per_second` is the mirror's."""

    @abstractmethod
    def fetch(self, state: State, plan: Plan, *, refetch: bool = False) -> Fetched:
        """Bring this source's part of a plan into the store.

        Args:
            state: How things stand, the host asked for what the plan depends on.
            plan: What is to come.
            refetch: Replace what is there.
        """

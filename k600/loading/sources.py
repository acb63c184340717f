"""What every source of clips is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from k600.clip import Tarball
from k600.loading.plan import Plan
from k600.loading.selection import Candidate
from k600.loading.state import Failure, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What came of a source's part of a plan; which clips are there now, the store says."""

    asked: Sequence[Candidate] = ()
    """The clips that it was asked for one by one and could have given."""
    refused: Mapping[Candidate, str] = field(default_factory=dict)
    """Those that it has not, with the reason: keys of `k600.reasons.REASONS`."""
    details: Mapping[Candidate, str] = field(default_factory=dict)
    """More words on that."""
    failures: Mapping[Tarball, Failure] = field(default_factory=dict)
    """Tarballs that could not be read."""
    given_up: bool = False
    """Whether it is not to be asked for anything more in this call."""
    count: int = 0
    """Tarballs that were read, or clips that were cut."""
    received_bytes: int = 0


class Source(Protocol):
    """Where clips come from that are not in the store."""

    def fetch(self, state: State, plan: Plan, *, refetch: bool = False) -> Fetched:
        """Bring this source's part of a plan into the store.

        Args:
            state: How things stand, the host asked for what the plan depends on.
            plan: What is to come.
            refetch: Replace what is there.
        """

"""What a request would fetch, from where, and what it takes; nothing is fetched or written."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from k600.dataset.reasons import PASSING_REASONS
from k600.errors.disk import Space, free_space
from k600.loading.ask_host import settle
from k600.loading.candidates import listed_or_found
from k600.loading.cheaper import rate_or_usual
from k600.loading.fetch import SOURCES
from k600.loading.missing import missing_clips
from k600.loading.plan import Plan, make_plan
from k600.loading.request import Request
from k600.loading.sources import WORDS, Price
from k600.loading.state import Failure, State, read_state


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is there for a request in one split, and what would come."""

    split: str
    here_clips: int
    """Clips of the request that are in the store."""
    wanted_clips: int | None
    """Clips that the request asks for; None where no list says."""
    prices: Mapping[str, Price]
    """What would come from each source, by name."""
    needed_bytes: int
    """About what the clips that would come take on disk."""
    free_bytes: int
    """Free on the store's volume."""
    needed_files: int
    """About how many files they are."""
    free_files: int | None
    """How many more the volume takes (inodes); None where it has no limit."""
    shortage: str
    """What the volume lacks for them, in words; empty if there is room."""
    unreachable: dict[str, Failure]
    """Why tarballs cannot be read, by path."""
    offline: bool
    """Whether nothing is fetched only because the network is not to be used."""
    data_dir: str
    mirror: str
    cheaper_way: str
    """From where the clips come that tarballs or YouTube may give, and why; empty if none do."""

    @property
    def at_most(self) -> bool:
        """Whether reading may stop before the end of the tarballs."""
        return any(price.at_most for price in self.prices.values())

    @property
    def open_ended(self) -> bool:
        """Whether more tarballs may have to be read, one after the other (`Plan.open_ended`)."""
        return any(price.open_ended for price in self.prices.values())

    @property
    def seconds(self) -> float:
        """About how long it takes, at the rate given."""
        return sum(price.seconds for price in self.prices.values())

    @property
    def fetches_nothing(self) -> bool:
        """Whether there is nothing to fetch, and the network was not needed to know."""
        return not (any(p.count for p in self.prices.values()) or self.unreachable or self.offline)

    @property
    def missing_clips(self) -> int:
        """Clips not here although there is nothing to fetch: they are proved not to be had."""
        return max((self.wanted_clips or 0) - self.here_clips, 0) if self.fetches_nothing else 0

    @property
    def complete(self) -> bool:
        """Whether every clip is here."""
        return self.fetches_nothing and not self.missing_clips

    @property
    def is_whole(self) -> bool:
        """Whether every clip is here, or would come."""
        return not (self.unreachable or self.missing_clips)

    @property
    def may_bring_more(self) -> bool:
        """Whether a later call may bring more: what is in its way passes by itself."""
        reasons = {failure.reason for failure in self.unreachable.values()}
        return self.offline or bool(reasons & PASSING_REASONS)

    def as_plain(self) -> dict[str, Any]:
        """Return it as plain data, for JSON."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "prices"}
        for source, words in WORDS.items():
            price = self.prices[source]
            found |= zip(words.planned, (price.count, price.size_bytes), strict=True)
        unreachable = {
            path: {"reason": failure.reason, "detail": str(failure.error)}
            for path, failure in self.unreachable.items()
        }
        return {
            **found,
            "at_most": self.at_most,
            "open_ended": self.open_ended,
            "seconds": self.seconds,
            "unreachable": unreachable,
            "complete": self.complete,
        }


def forecast_split(
    request: Request, split: str, *, bytes_per_second: float | None = None
) -> Forecast:
    """Say what a request would fetch of one split. Lists and sizes are asked for, nothing else.

    Args:
        request: The request.
        split: One of its splits.
        bytes_per_second: Rate at which tarballs are taken to come; None for that of the last time,
            or a usual one. The way that clips come does not depend on it.

    Raises:
        MirrorError, ListError: The mirror cannot serve the request at all.
    """
    state = read_state(request, split, keep=False)
    state, plan = settle(state, make_plan)
    here, wanted = _counts(state, plan)
    rate = rate_or_usual(bytes_per_second or state.bytes_per_second)
    prices = {
        name: source.price(state, plan, bytes_per_second=rate) for name, source in SOURCES.items()
    }
    needed = Space(
        sum(price.space.size_bytes for price in prices.values()),
        sum(price.space.files or 0 for price in prices.values()),
    )
    free = free_space(request.store.root)
    short = wanted is None or here < wanted
    return Forecast(
        split,
        here,
        wanted,
        prices,
        needed.size_bytes,
        free.size_bytes,
        needed.files or 0,
        free.files,
        request.store.shortage(needed) if plan.first else "",
        {tarball.path: failure for tarball, failure in state.host.failures.items()},
        not state.network and not plan.first and short,
        str(request.store.root),
        str(request.mirror),
        str(plan.comparison or ""),
    )


def _counts(state: State, plan: Plan) -> tuple[int, int | None]:
    """Return how many clips are there of those that are meant, and how many these are."""
    if state.request.chooses:
        return sum(state.place_of(clip) is not None for clip in plan.chosen), plan.wanted
    folders = state.request.folders(state.split)
    here = sum(map(state.wants, itertools.chain(*map(state.inventory.names, folders))))

    host, listing = state.host, state.host.listing
    tarballs = state.tarballs
    if state.split.is_mixed and tarballs and not (plan.reads or host.failures):
        return here, here + len(missing_clips(state))  # all were read, so it is known what is not
    if not tarballs or any(tarball.name not in listing for tarball in tarballs):
        return here, None
    return here, sum(len(set(found)) for found in listed_or_found(listing, state).values())

"""What a request would fetch, from where, and what it takes; nothing is fetched or written."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from k600.disk import Space, free_space
from k600.loading.ask_host import settle
from k600.loading.candidates import listed_or_found
from k600.loading.missing import missing_clips
from k600.loading.plan import YOUTUBE_CLIP_BYTES, Plan, make_plan
from k600.loading.read_tarballs import space_needed
from k600.loading.request import Request
from k600.loading.state import Failure, State, read_state
from k600.reasons import PASSING_REASONS
from k600.tarballs.extract import is_wanted

_YOUTUBE_SECONDS = 12.0
"""For each clip, in the long run: 900 questions an hour, and three for each clip: the page, and the
two clients that yt-dlp asks since October 2026. (The first 30 clips do not wait.)"""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is there for a request in one split, and what would come."""

    split: str
    here_clips: int
    """Clips of the request that are in the store."""
    wanted_clips: int | None
    """Clips that the request asks for; None where no list says."""
    tarballs: int
    """Tarballs that would be read."""
    tarball_bytes: int
    """Their size; if `at_most`, reading may stop earlier."""
    at_most: bool
    open_ended: bool
    """Whether more tarballs may have to be read, one after the other until there are enough clips:
    no list says which of them holds a test clip."""
    youtube_clips: int
    """Clips that YouTube would be asked for."""
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
    seconds: float
    """About how long it takes, at the rate given."""
    unreachable: dict[str, Failure]
    """Why tarballs cannot be read, by path."""
    offline: bool
    """Whether nothing is fetched only because the network is not to be used."""
    data_dir: str
    mirror: str

    @property
    def fetches_nothing(self) -> bool:
        """Whether there is nothing to fetch, and the network was not needed to know."""
        return not (self.tarballs or self.youtube_clips or self.unreachable or self.offline)

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
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        unreachable = {
            path: {"reason": failure.reason, "detail": str(failure.error)}
            for path, failure in self.unreachable.items()
        }
        return {**found, "unreachable": unreachable, "complete": self.complete}


def forecast_split(
    request: Request, split: str, *, offline: bool = False, bytes_per_second: float = 50e6
) -> Forecast:
    """Say what a request would fetch of one split. Lists and sizes are asked for, nothing else.

    Args:
        request: The request.
        split: One of its splits.
        offline: Do not cross a network.
        bytes_per_second: Rate at which tarballs are taken to come.

    Raises:
        MirrorError, ListError: The mirror cannot serve the request at all.
    """
    state = read_state(request, split, offline=offline, keep=False)
    state, plan = settle(state, make_plan)
    here, wanted = _counts(state, plan)
    youtube = len(plan.youtube)
    tarball_bytes = sum(state.host.remotes[read.tarball].size_bytes for read in plan.reads)

    of_tarballs = space_needed(state, plan.reads)
    needed = Space(
        of_tarballs.size_bytes + youtube * YOUTUBE_CLIP_BYTES, (of_tarballs.files or 0) + youtube
    )
    free = free_space(request.store.root)
    questions = max(youtube - 30, 0) * _YOUTUBE_SECONDS + youtube / request.num_workers
    short = wanted is None or here < wanted
    return Forecast(
        split,
        here,
        wanted,
        len(plan.reads),
        tarball_bytes,
        any(read.until_found for read in plan.reads) and not plan.open_ended,
        plan.open_ended,
        youtube,
        needed.size_bytes,
        free.size_bytes,
        needed.files or 0,
        free.files,
        request.store.shortage(needed) if plan.reads or youtube else "",
        tarball_bytes / bytes_per_second + questions,
        {tarball.path: failure for tarball, failure in state.host.failures.items()},
        not state.network and not youtube and short,
        str(request.store.root),
        str(request.mirror),
    )


def _counts(state: State, plan: Plan) -> tuple[int, int | None]:
    """Return how many clips are there of those that are meant, and how many these are."""
    names = [name for found in plan.here.values() for name in found]
    if state.request.chooses:
        return len(names), plan.wanted
    wanted = state.wanted
    here = sum(is_wanted(name, wanted) for name in names)

    host, listing = state.host, state.host.listing
    tarballs = state.tarballs
    if state.split.is_mixed and tarballs and not (plan.reads or host.failures):
        return here, here + len(missing_clips(state))  # all were read, so it is known what is not
    if not tarballs or any(tarball.name not in listing for tarball in tarballs):
        return here, None
    return here, sum(len(set(found)) for found in listed_or_found(listing, state).values())

"""What a request would fetch, from where, and what it takes; nothing is fetched or written."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from k600.clip import Tarball
from k600.disk import Space, free_space
from k600.errors import OfflineError
from k600.loading.candidates import clip_at, find_candidates
from k600.loading.chosen import passed_over
from k600.loading.from_tarballs import tarball_of
from k600.loading.missing import Failure
from k600.loading.plan import YOUTUBE_CLIP_BYTES, choose_route, plan_needs
from k600.loading.read_tarballs import space_needed, stat_tarballs
from k600.loading.request import Request
from k600.loading.selection import choose_clips
from k600.loading.state import State, read_state, tarballs_of, wanted_names
from k600.loading.unlisted import Walk
from k600.reasons import PASSING_REASONS, REASONS
from k600.splits import Split
from k600.tarballs.extract import TarballRead

__all__ = ["Forecast", "forecast_split"]

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
    store, network = request.store, state.network
    here, wanted, needs, youtube, open_ended = _of(state)
    if network:
        fetches, failures = stat_tarballs(request, needs, state.known.tarballs)
    else:
        failure = Failure("offline", OfflineError(REASONS["offline"]))
        fetches, failures = {}, {need.tarball: failure for need in needs}
    remotes = {need.tarball: remote for need, remote in fetches.items()}
    known = state.with_same_objects(remotes.items())
    if known is not state:
        here, wanted, needs, youtube, open_ended = _of(known)
        fetches = {need: remotes[need.tarball] for need in needs if need.tarball in remotes}
    short = wanted is None or here < wanted
    tarball_bytes = sum(remote.size_bytes for remote in fetches.values())
    listing = state.lists.listing() if not Split(split).is_mixed else {}
    of_tarballs = space_needed(request, split, fetches, listing)
    needed = Space(
        of_tarballs.size_bytes + youtube * YOUTUBE_CLIP_BYTES, (of_tarballs.files or 0) + youtube
    )
    free = free_space(store.root)
    questions = max(youtube - 30, 0) * _YOUTUBE_SECONDS + youtube / request.num_workers
    return Forecast(
        split,
        here,
        wanted,
        len(fetches),
        tarball_bytes,
        any(need.until_found for need in fetches) and not open_ended,
        open_ended,
        youtube,
        needed.size_bytes,
        free.size_bytes,
        needed.files or 0,
        free.files,
        store.shortage(needed) if fetches or youtube else "",
        tarball_bytes / bytes_per_second + questions,
        {tarball.path: failure for tarball, failure in failures.items()},
        not network and not youtube and short,
        str(store.root),
        str(request.mirror),
    )


def _of(state: State) -> tuple[int, int | None, list[TarballRead], int, bool]:
    """Return the clips that are there, all that are asked for, the tarballs to read, how many clips
    YouTube would be asked for, and whether further tarballs may have to be read.
    """
    if state.request.chooses:
        return _of_chosen(state)
    return *_of_whole(state), 0, False


def _of_whole(state: State) -> tuple[int, int | None, list[TarballRead]]:
    """Return the clips that are there and asked for, and the tarballs to read."""
    request, split, lists = state.request, state.split, state.lists
    inventory = state.inventory
    tarballs = tarballs_of(request, split, lists)
    wanted = wanted_names(request, split, state.labels)
    needs = plan_needs(
        tarballs,
        state.known,
        inventory.names,
        wanted=wanted,
        retry_errors=request.retry_errors,
        listing=lists.listing(),
        copies=state.copies_to_replace(),
    )
    if needs and state.network and not lists.listing() and not Split(split).is_mixed:
        lists.refresh(paths=False)
        return _of_whole(state)
    names = [name for folder in request.folders(split) for name in inventory.names(folder)]
    here = sum(wanted is None or name in wanted for name in names)
    listing = lists.listing()
    if not tarballs or any(tarball.name not in listing for tarball in tarballs):
        return here, None, needs
    asked: dict[str, set[str]] = {}  # what was seen counts as well as what is listed
    for tarball in tarballs:
        folder = f"{split}/{tarball.label}"
        asked[folder] = {*listing[tarball.name], *inventory.names(folder)}
    for group in state.known.groups:
        if group.folder in asked:
            asked[group.folder] |= group.names
    for row in state.known.others:
        if row.folder in asked:
            asked[row.folder].add(row.file_name)
    return here, sum(map(len, asked.values())), needs


def _of_chosen(state: State) -> tuple[int, int | None, list[TarballRead], int, bool]:
    """The same for single clips, how many YouTube would be asked for, and `open_ended`."""
    request, split, origin = state.request, state.split, state.origin
    if Split(split).is_mixed and request.source == "cvdf" and state.network and not origin:
        return _of_walk(state)
    limits, names = request.limits, find_candidates(state)
    chosen = choose_clips(
        names,
        limits,
        dead=passed_over(state, names),
        here=lambda label: state.inventory.names(f"{split}/{label}"),
    )
    wanted = limits.max_samples or len(choose_clips(names, limits))
    lacking = [c for c in chosen if state.place_of(c) is None]
    here = len(chosen) - len(lacking)

    by_tarball: dict[Tarball, set[str]] = {}
    somewhere, youtube = set(), 0
    for candidate in lacking:
        row = origin.get(clip_at(candidate, split))
        route = choose_route(
            request.source,
            lacking=len(lacking),
            given_up=not state.youtube,
            origin=row.source if row is not None else None,
        )
        if route == "youtube":
            youtube += 1
        elif route == "cvdf" and state.network:
            tarball = tarball_of(candidate, state)
            if tarball is None or (Split(split).is_mixed and not origin):
                somewhere.add(candidate[1])
            else:
                by_tarball.setdefault(tarball, set()).add(candidate[1])

    needs = [TarballRead(t, frozenset(found), until_found=True) for t, found in by_tarball.items()]
    if not somewhere:
        return here, wanted, needs, youtube, False
    # Tarballs are gone through until there are enough; the first of them is told.
    most = len(somewhere) if origin else limits.max_samples
    first = state.lists.tarballs()[:1]
    asked = frozenset(somewhere) if origin else None
    needs += [TarballRead(tarball, asked, until_found=True, most=most) for tarball in first]
    return here, wanted, needs, youtube, True


def _of_walk(state: State) -> tuple[int, int | None, list[TarballRead], int, bool]:
    """The same for single test clips from the tarballs: the next that the walk would read."""
    most = state.request.limits.max_samples
    chosen, needs = Walk(state.request).step(state)
    here = sum(state.place_of(candidate) is not None for candidate in chosen)
    goes_on = any(need.most is not None or not need.until_found for need in needs)
    return here, most or (None if goes_on else len(chosen)), needs, 0, goes_on

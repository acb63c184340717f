"""What a request would fetch, from where, and what it takes; nothing is fetched or written."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from k600.account import Failure
from k600.candidates import clip_at, find_candidates
from k600.chosen import proved_bad
from k600.clip import Tarball
from k600.kept_lists import tarballs_of, wanted_names
from k600.plan import Need, choose_route, plan_needs
from k600.request import Request
from k600.run import disk_bytes, stat_tarballs
from k600.selection import choose_clips
from k600.situation import Situation, look

__all__ = ["Forecast", "forecast_split"]

_YOUTUBE_SECONDS = 12.0
"""For each clip, in the long run: 900 questions an hour, and three for each clip: the page, and the
two clients that yt-dlp asks since October 2026. (The first 30 clips do not wait.)"""
_CLIP_BYTES = 700_000
"""Mean size of a clip cut from YouTube, at 360 lines."""


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
    """Their size; if `at_most`, reading stops earlier."""
    at_most: bool
    youtube_clips: int
    """Clips that YouTube would be asked for."""
    needed_bytes: int
    """About what the clips take on disk."""
    free_bytes: int
    """Free on the store's volume."""
    seconds: float
    """About how long it takes, at the rate given."""
    unreachable: dict[str, str]
    """Why tarballs cannot be read, by path."""
    store: str
    mirror: str

    @property
    def complete(self) -> bool:
        """Whether there is nothing to fetch."""
        return not (self.tarballs or self.youtube_clips or self.unreachable)


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
    situation = look(request, split, offline=offline, keep=False)
    store, network = request.store, situation.network
    here, wanted, needs, youtube = _of(situation)
    rows = situation.known.tarballs
    fetches, failures = stat_tarballs(request, needs, rows) if network else ({}, {})
    remotes = {need.tarball: remote for need, remote in fetches.items()}
    known = situation.with_same_objects(remotes.items())
    if known is not situation:
        here, wanted, needs, youtube = _of(known)
        fetches = {need: remotes[need.tarball] for need in needs if need.tarball in remotes}
    tarball_bytes = sum(remote.size_bytes for remote in fetches.values())
    needed = sum(disk_bytes(need, remote, len(fetches)) for need, remote in fetches.items())
    questions = max(youtube - 30, 0) * _YOUTUBE_SECONDS + youtube / request.num_workers
    return Forecast(
        split,
        here,
        wanted,
        len(fetches),
        tarball_bytes,
        any(need.until_found for need in fetches),
        youtube,
        needed + youtube * _CLIP_BYTES,
        _free_bytes(store.root),
        tarball_bytes / bytes_per_second + questions,
        {tarball.path: _words(failure) for tarball, failure in failures.items()},
        str(store.root),
        str(request.mirror),
    )


def _of(situation: Situation) -> tuple[int, int | None, list[Need], int]:
    """Return the clips that are there, all that are asked for, the tarballs to read, and how many
    clips YouTube would be asked for.
    """
    if situation.request.chooses:
        return _of_chosen(situation)
    return *_of_whole(situation), 0


def _of_whole(situation: Situation) -> tuple[int, int | None, list[Need]]:
    """Return the clips that are there and asked for, and the tarballs to read."""
    request, split, lists = situation.request, situation.split, situation.lists
    inventory = situation.inventory
    tarballs = tarballs_of(request, split, lists)
    wanted = wanted_names(request, split, situation.labels)
    needs = plan_needs(
        tarballs,
        situation.known,
        inventory.names,
        wanted=wanted,
        retry_errors=request.retry_errors,
        listing=lists.listing(),
        copies=situation.copies_to_replace(),
    )
    if needs and situation.network and not lists.listing() and split != "test":
        lists.refresh(paths=False)
        return _of_whole(situation)
    names = [name for folder in request.folders(split) for name in inventory.names(folder)]
    here = sum(wanted is None or name in wanted for name in names)
    listed = [lists.listing().get(tarball.name) for tarball in tarballs]
    total = None if None in listed or not listed else sum(len(found or ()) for found in listed)
    return here, total, needs


def _of_chosen(situation: Situation) -> tuple[int, int | None, list[Need], int]:
    """The same for single clips, and how many YouTube would be asked for."""
    request, split, origin = situation.request, situation.split, situation.origin
    names = find_candidates(situation)
    chosen = choose_clips(
        names,
        request.limits,
        dead=proved_bad(situation, names),
        here=lambda label: situation.inventory.names(f"{split}/{label}"),
    )
    lacking = [c for c in chosen if situation.place_of(c) is None]
    here = len(chosen) - len(lacking)
    by_tarball: dict[Tarball, set[str]] = {}
    asked = 0
    for label, name in lacking:
        row = origin.get(clip_at((label, name), split))
        route = choose_route(
            request.source,
            lacking=len(lacking),
            given_up=not situation.youtube,
            origin=row.source if row is not None else None,
        )
        if route == "youtube":
            asked += 1
        elif route == "cvdf" and situation.network:
            tarball = Tarball(split, row.tarball if row and row.tarball else label)
            by_tarball.setdefault(tarball, set()).add(name)
    if split == "test" and not origin and (by_tarball or request.source == "cvdf"):
        walked = situation.lists.tarballs()[:1]  # they are gone through until there are enough
        return (
            here,
            request.limits.max_samples,
            [
                Need(tarball, None, until_found=True, most=request.limits.max_samples)
                for tarball in walked
            ],
            asked,
        )
    needs = [Need(t, frozenset(found), until_found=True) for t, found in by_tarball.items()]
    return here, len(chosen), needs, asked


def _free_bytes(root: Path) -> int:
    """Return what is free on the volume where a folder is, or would be."""
    there = next(path for path in (root, *root.parents) if path.exists())
    return shutil.disk_usage(there).free


def _words(failure: Failure) -> str:
    return f"{failure.reason}: {failure.error}"

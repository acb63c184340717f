"""Which clips of validation and test have videos that are in train, as far as lists are known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from k600.dataset.clip import Listing, file_name_of, parse_file_name, video_of
from k600.loading.ask_host import with_lists
from k600.loading.candidates import listed_or_found
from k600.loading.overlap import train_listing
from k600.loading.request import Request
from k600.loading.state import read_state


@dataclass(frozen=True, slots=True)
class Overlap:
    """A clip whose video is in train, too."""

    file_name: str
    label: str
    """Class name, or `_unlabeled`."""
    train_clips: tuple[str, ...]
    """`<class name>/<file name>` of the clips of train of the same video, in order of time."""
    is_in_time: bool
    """Whether one of these has seconds in common with it."""


def read_overlaps(request: Request, split: str) -> tuple[int, list[Overlap]]:
    """Return how many clips of a split are known, and those of them whose videos are in train.

    Of validation, these are the host's list and what was found in tarballs or is in the store; of
    test, DeepMind's list, too. Lists that are not kept are fetched, and kept.

    Raises:
        OfflineError, ListError, MirrorError: The list of train cannot be had.
    """
    keep = request.store.is_writable(make=request.may_fetch)
    train = train_listing(request, keep=keep)
    state = read_state(request, split, keep=keep)
    if state.network and not state.split.is_mixed and not state.host.listing:
        state = with_lists(state)

    listed = {label: [*names] for label, names in state.host.listing.items()}
    for clip, label in state.labels.items():
        listed.setdefault(label, []).append(file_name_of(*clip))
    candidates = listed_or_found(listed, state)
    found = find_overlaps(candidates, train)
    return sum(map(len, candidates.values())), found


def find_overlaps(candidates: Mapping[str, Collection[str]], train: Listing) -> list[Overlap]:
    """Return the clips whose videos are in train, by class and name. Pure.

    Args:
        candidates: File names by class.
        train: The same of train.

    Example:
        >>> train = {"zumba": ["abcdefghijk_000000_000010.mp4"]}
        >>> (found,) = find_overlaps({"yoga": ["abcdefghijk_000005_000015.mp4"]}, train)
        >>> found.train_clips, found.is_in_time
        (('zumba/abcdefghijk_000000_000010.mp4',), True)
    """
    asked = {video_of(name) for names in candidates.values() for name in names}
    of_video: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for label, name in _each(train):
        if video_of(name) in asked:
            start, end = _seconds(name)
            of_video[video_of(name)].append((start, end, f"{label}/{name}"))

    found = []
    for label, name in sorted(_each(candidates)):
        if others := sorted(of_video.get(video_of(name), ())):
            start, end = _seconds(name)
            in_time = any(start < its_end and its_start < end for its_start, its_end, _ in others)
            found.append(Overlap(name, label, tuple(clip for *_, clip in others), in_time))
    return found


def _each(names: Mapping[str, Collection[str]]) -> Iterable[tuple[str, str]]:
    return ((label, name) for label, own in names.items() for name in own)


def _seconds(name: str) -> tuple[int, int]:
    times = parse_file_name(name)
    assert times is not None  # lists hold nothing else
    return times[1], times[2]

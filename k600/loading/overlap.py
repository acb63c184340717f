"""Clips of validation and test whose videos are in train, too: as the host's list of train says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from k600.clip import Listing, parse_file_name, video_of
from k600.errors import ListError, OfflineError
from k600.loading.request import Request
from k600.tarballs.catalog import KeptLists


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


def train_listing(request: Request, *, offline: bool, keep: bool) -> Listing:
    """Return the file names of train by class: the list that is kept, else the host's.

    With `keep`, a list that is fetched is kept, so that it is there offline.

    Raises:
        OfflineError: None is kept, and the network is not to be used.
        ListError, MirrorError: The mirror has none, or it cannot be reached.
    """
    network = request.may_fetch(offline=offline)
    lists = KeptLists(request.mirror, request.store, "train", keep=keep)
    if found := lists.listing(fetch=network):
        return found
    why = "the list of train's clips, which says which videos are in train,"
    if network:
        raise ListError(f"exclude_overlap: {request.mirror} has no 'annotations/train.txt': {why}")
    raise OfflineError(
        f"exclude_overlap: {why} is not in '{request.store.root}', and the network is not to be "
        "used. Call once with a network: it is kept then"
    )


def left_out_videos(request: Request, split: str, *, offline: bool, keep: bool) -> frozenset[str]:
    """Return the YouTube ids of videos whose clips a request leaves out of a split: train's.

    Arguments and errors are `train_listing`'s.
    """
    if not request.exclude_overlap or split == "train":
        return frozenset()
    listing = train_listing(request, offline=offline, keep=keep)
    return frozenset(video_of(name) for names in listing.values() for name in names)


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

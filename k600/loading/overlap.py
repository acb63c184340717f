"""Which videos are in train, as the host's list says: clips of these may be left out elsewhere."""

from __future__ import annotations

from k600.dataset.clip import NOTHING, Listing, Without, video_of
from k600.errors import ListError, OfflineError
from k600.loading.request import Request
from k600.tarballs.catalog import KeptLists


def train_listing(request: Request, *, keep: bool) -> Listing:
    """Return the file names of train by class: the list that is kept, else the host's.

    With `keep`, a list that is fetched is kept, so that it is there offline.

    Raises:
        OfflineError: None is kept, and the network is not to be used.
        ListError, MirrorError: The mirror has none, or it cannot be reached.
    """
    network = request.may_fetch
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


def left_out(request: Request, split: str, *, keep: bool) -> Without:
    """Return the clips that a request leaves out of a split: those of train's videos.

    Arguments and errors are `train_listing`'s.
    """
    if not request.exclude_overlap or split == "train":
        return NOTHING
    listing = train_listing(request, keep=keep)
    return Without(frozenset(video_of(name) for names in listing.values() for name in names))

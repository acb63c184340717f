"""Read the status of a store, to be counted by `k600.checks.counts`: no network, no change."""

from __future__ import annotations

import dataclasses

from k600.checks.counts import SplitStatus, StoreStatus, count_clips
from k600.checks.verify import find_failed
from k600.dataset.splits import Split
from k600.loading.request import Request
from k600.store.adopt import class_finder, foreign_clips
from k600.store.inventory import Folders, Inventory, is_unchanged, warn_of_links
from k600.store.store import META_DIR, Store
from k600.tarballs.catalog import KeptLists


def read_status(request: Request) -> StoreStatus:
    """Return the status of a request's store, split by split; only its classes are counted."""
    store = request.store
    store.check_folder()
    splits = tuple(_read_split(request, split) for split in request.splits)
    return StoreStatus(str(store.root), store.root.is_dir(), str(request.mirror), splits)


def count_listed(request: Request) -> dict[str, dict[str, int]]:
    """Return how many clips of each class the kept lists have, for each split with lists."""
    found = {}
    for split in (split for split in request.splits if not Split(split).is_mixed):
        lists = KeptLists(request.mirror, request.store, split)
        found[split] = {label: len(names) for label, names in lists.listing().items()}
    return found


def _read_split(request: Request, split: str) -> SplitStatus:
    store, classes, mixed = request.store, request.classes, Split(split).is_mixed
    lists = KeptLists(request.mirror, store, split)
    listing = {} if mixed else lists.listing()
    tarballs = {tarball.name for tarball in lists.tarballs()} | set(listing)
    only = None if mixed else classes
    known, folders = request.ledger.view(split, sizes=True, only=only), Folders(store)
    rows = known.tarballs
    if only is not None:
        tarballs &= set(only)
        rows = {name: row for name, row in rows.items() if name in only}

    inventory = Inventory(store, known, folders)
    labels = [folder.partition("/")[2] for folder in request.folders(split)]
    here = {label: set(inventory.names(f"{split}/{label}")) for label in labels}

    # Clips of other tools that no load has checked yet.
    paths: dict[tuple[str, str], str] = {}
    classless = 0
    class_of = class_finder(split, lambda: listing, {})
    adopted = {row.path: row for row in known.adopted}
    for label, name, path in foreign_clips(store, split, folders, here, class_of, adopted):
        if path in adopted:
            continue
        classless += not label
        if label in here and name not in here[label]:
            paths[label, name] = path
            here[label].add(name)
    warn_of_links(store, split, folders.outside_links)

    def size_of(label: str, name: str) -> int:
        try:
            return (store.root / paths.get((label, name), f"{split}/{label}/{name}")).stat().st_size
        except FileNotFoundError:  # removed just now
            return 0

    as_checked = [r for r in known.adopted if not r.problem or is_unchanged(store.root / r.path, r)]
    return count_clips(
        split,
        dataclasses.replace(known, tarballs=rows, adopted=as_checked),
        here,
        listing=listing,
        tarballs=len(tarballs) or None,
        only=classes,
        failed=find_failed(request, split),
        classless=classless,
        other_list=not mixed and not listing and _has_list(store, split),
        size_of=size_of,
    )


def _has_list(store: Store, split: str) -> bool:
    """Whether the list of any mirror is kept."""
    found = (store.root / META_DIR / "lists").glob(f"*-{split}-listing")
    return any(path.stat().st_size for path in found)

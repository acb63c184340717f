"""Adopt clips that other tools stored: checked once, left where they are, served from there.

What is wrong with one, if anything, is noted, so that no truncated clip is ever served.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from k600.dataset.clip import Listing, TestLabels, label_of
from k600.dataset.splits import Split
from k600.errors.text import counted
from k600.store.inventory import Folders, find_foreign, is_unchanged, warn_of_links
from k600.store.ledger import Ledger
from k600.store.rows import AdoptedRow, LedgerView
from k600.store.store import Store
from k600.video.probe import box_problem

logger = logging.getLogger("kinetics600")


def adopt(
    ledger: Ledger,
    store: Store,
    split: str,
    own: Sequence[str],
    *,
    listing: Callable[[], Listing],
    labels: TestLabels,
    write: bool,
    listed: Folders,
) -> LedgerView:
    """Check the clips that the ledger does not know, and return what is known then.

    `own` are the store's own folders to search, `<split>/<class name>`; the listing gives clips in
    flat folders their class. Without `write`, clips are not recorded, but checked anew each time.
    """
    view = read_view(ledger, split, listed, own)
    classes = class_finder(split, listing, labels)
    unknown, classless = unknown_clips(store, split, own, view, listed, classes)
    if classless:
        logger.warning(
            "kinetics600 %s: not using %s in flat folders of '%s': in no list of the host, or in "
            "that of two classes, so of unknown class",
            split,
            counted(classless, "clip"),
            store.root,
        )
    with ThreadPoolExecutor(min(16, len(unknown) or 1)) as pool:
        rows = list(pool.map(lambda clip: _checked(store, *clip), unknown, chunksize=64))
    warn_of_links(store, split, listed.outside_links)

    if rows:
        # Clips of a run have their row before their name. So, read after the folders were listed,
        # the ledger has the rows of all such clips, also of a run that goes on just now.
        view = ledger.view(split)
        mine = view.stored()
        rows = [row for row in rows if not _is_stored(row, mine)]
    if not rows:
        return view

    if write:
        ledger.record_files(split, rows)
    bad = sum(bool(row.problem) for row in rows)
    logger.info(
        "kinetics600 %s: %s already in %s can be used%s",
        split,
        counted(len(rows) - bad, "clip"),
        store.root,
        f"; {bad:,} damaged" if bad else "",
    )
    paths = {row.path for row in rows}
    before = [row for row in view.adopted if row.path not in paths]
    return dataclasses.replace(view, adopted=[*before, *rows])


def read_view(ledger: Ledger, split: str, folders: Folders, own: Iterable[str]) -> LedgerView:
    """Read the ledger while the split's own folders are listed."""
    with ThreadPoolExecutor(1) as pool:
        listed = pool.submit(lambda: [folders.names(folder) for folder in own])
        view = ledger.view(split)
        listed.result()

    for folder, parts in view.stored().items():
        here = folders.names(folder)
        if parts == [here]:
            folders.share(folder, parts[0])
        elif not all(names <= here for names in parts):
            folders.forget(folder)  # what another process stored in between must not seem gone
    return view


def class_finder(
    split: str, listing: Callable[[], Listing], labels: TestLabels
) -> Callable[[str], str]:
    """Return a function from the file name of a clip in a flat folder to its class.

    It returns `_unlabeled` for an unlisted test clip, and an empty text for another unlisted clip
    or one in the lists of two classes. The listing is fetched once, and only if need be.
    """

    @cache
    def by_name() -> dict[str, str]:
        found: dict[str, str] = {}
        for label, names in listing().items():
            for name in names:
                found[name] = "" if name in found else label
        return found

    if Split(split).is_mixed:
        return lambda name: label_of(name, labels)
    return lambda name: by_name().get(name, "")


def unknown_clips(
    store: Store,
    split: str,
    own: Collection[str],
    view: LedgerView,
    listed: Folders,
    class_of: Callable[[str], str],
) -> tuple[list[tuple[str, str, str]], int]:
    """Return folder, name and path of clips that no load has checked as they are, in the store's
    `own` and other tools' folders; and how many are not among these as their class is not known.
    """
    checked = {row.path: row for row in view.adopted}
    mine = view.stored()
    found = []
    for folder in own:
        names = listed.names(folder).difference(*mine.get(folder, ()))
        found += [(folder, name, f"{folder}/{name}") for name in sorted(names)]

    classless = 0
    for place, label in find_foreign(store, split).items():
        if label is not None and f"{split}/{label}" not in own:
            continue
        for name in sorted(listed.names(place)):
            path = f"{place}/{name}"
            row = checked.get(path)
            folder = f"{split}/{label or class_of(name)}" if row is None else row.folder
            classless += folder.endswith("/")
            if folder in own:
                found.append((folder, name, path))
    new = [
        (folder, name, path)
        for folder, name, path in found
        if path not in checked or not is_unchanged(store.root / path, checked[path])
    ]
    return new, classless


def _is_stored(row: AdoptedRow, mine: Mapping[str, Sequence[Collection[str]]]) -> bool:
    """Return whether a file at a clip's own place is one that a run stored."""
    return row.is_at_place and any(row.file_name in names for names in mine.get(row.folder, ()))


def _checked(store: Store, folder: str, name: str, path: str) -> AdoptedRow:
    try:
        with open(store.root / path, "rb") as file:
            status = os.fstat(file.fileno())
            return AdoptedRow(
                folder, name, path, status.st_size, status.st_mtime_ns, box_problem(file) or ""
            )
    except OSError:
        return AdoptedRow(folder, name, path, 0, 0, "unreadable")

"""Take in clips that others brought: checked once, left where they are, served from there.

A clip that the ledger does not know was in the folder before, or another tool put it there. It is
noted with what is wrong with it, if anything, so that nothing cut off is ever served.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from k600.clip import Listing, TestLabels, parse_file_name
from k600.splits import UNLABELED, Split
from k600.store.foreign_trees import find_foreign
from k600.store.inventory import Folders, is_unchanged, warn_of_links
from k600.store.ledger import Ledger
from k600.store.rows import AdoptedRow, LedgerView
from k600.store.store import Store
from k600.video.probe import box_problem

__all__ = ["adopt", "read_view"]

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

    Args:
        ledger: What is known so far.
        store: Where the clips are.
        split: Whose they are.
        own: The store's own folders that matter, `<split>/<class name>`.
        listing: Returns the host's listing: a clip in a flat folder has its class from there.
        labels: Labels of test clips.
        write: Whether to note it in the ledger; else it is looked up anew each time.
        listed: The store's folders.
    """
    known = read_view(ledger, split, listed, own)
    rows = _unknown(store, split, own, known, listing, labels, listed)
    warn_of_links(store, split, listed.outside_links)
    if rows:
        # What a run brings has its row before its name: asked after the folders were listed, the
        # ledger knows every such clip, also of a run that is at it just now.
        known = ledger.view(split)
        mine = known.stored()
        rows = [row for row in rows if not _is_stored(row, mine)]
    if not rows:
        return known
    if write:
        ledger.adopt(split, rows)
    bad = sum(bool(row.problem) for row in rows)
    logger.info(
        "kinetics600 %s: %s clips that were in %s already are taken as they are%s",
        split,
        f"{len(rows) - bad:,}",
        store.root,
        f"; {bad:,} more are no good" if bad else "",
    )
    paths = {row.path for row in rows}
    before = [row for row in known.adopted if row.path not in paths]
    return dataclasses.replace(known, adopted=[*before, *rows])


def read_view(ledger: Ledger, split: str, folders: Folders, own: Iterable[str]) -> LedgerView:
    """Read the ledger while the split's own folders are listed."""
    with ThreadPoolExecutor(1) as pool:
        listed = pool.submit(lambda: [folders.names(folder) for folder in own])
        known = ledger.view(split)
        listed.result()
    for folder, parts in known.stored().items():
        here = folders.names(folder)
        if parts == [here]:
            folders.share(folder, parts[0])
        elif not all(names <= here for names in parts):
            folders.forget(folder)  # what another process stored in between must not seem gone
    return known


def _unknown(
    store: Store,
    split: str,
    folders: Collection[str],
    known: LedgerView,
    listing: Callable[[], Listing],
    labels: TestLabels,
    listed: Folders,
) -> list[AdoptedRow]:
    """Return rows for clips that are there and that the ledger does not know, each checked.

    Args:
        store: The store.
        split: Which split.
        folders: Its own folders to look in, `<split>/<class name>`; others' are looked for.
        known: What the ledger says.
        listing: Returns the host's listing, for clips in flat folders.
        labels: Labels of test clips.
        listed: The store's folders.
    """
    mine = known.stored()
    checked = {row.path: row for row in known.adopted}
    found: list[tuple[str, str, str]] = []

    def consider(folder: str, name: str, path: str) -> None:
        if path in checked and is_unchanged(store.root / path, checked[path]):
            return
        found.append((folder, name, path))

    for folder in folders:
        for name in sorted(listed.names(folder).difference(*mine.get(folder, ()))):
            consider(folder, name, f"{folder}/{name}")
    wanted, classes = set(folders), _Classes(split, listing, labels)
    for place, label in find_foreign(store, split).items():
        if label is not None and f"{split}/{label}" not in wanted:
            continue
        for name in sorted(listed.names(place)):
            path = f"{place}/{name}"
            before = checked.get(path)
            folder = before.folder if before else f"{split}/{label or classes.of(name)}"
            if folder in wanted:
                consider(folder, name, path)
    if classes.unknown:
        logger.warning(
            "kinetics600 %s: %s clips in flat folders of '%s' are in no list of the host, or in "
            "that of two classes, so their class is not known and they are not used",
            split,
            f"{classes.unknown:,}",
            store.root,
        )
    with ThreadPoolExecutor(min(16, len(found) or 1)) as pool:
        return list(pool.map(lambda at: _adopted(store, *at), found, chunksize=64))


def _is_stored(row: AdoptedRow, mine: Mapping[str, Sequence[Collection[str]]]) -> bool:
    """Whether a file at a clip's own place is one that a run brought."""
    own = row.path == f"{row.folder}/{row.file_name}"
    return own and any(row.file_name in names for names in mine.get(row.folder, ()))


class _Classes:
    """The class of each clip in a flat folder. The lists are read when the first is asked for."""

    def __init__(self, split: str, listing: Callable[[], Listing], labels: TestLabels) -> None:
        self._split, self._listing, self._labels = split, listing, labels
        self._by_name: dict[str, str] | None = None
        self.unknown = 0
        """Clips of train and validation that no list names."""

    def of(self, name: str) -> str:
        """Return a clip's class or `_unlabeled`; empty if the clip is in no list."""
        if Split(self._split).is_mixed:
            times = parse_file_name(name)
            return self._labels.get(times, UNLABELED) if times else ""
        if self._by_name is None:
            listing = self._listing()
            self._by_name = {}
            for own, names in listing.items():
                for each in names:  # one that is in two classes may be either: neither counts
                    self._by_name[each] = "" if each in self._by_name else own
        label = self._by_name.get(name, "")
        self.unknown += not label
        return label


def _adopted(store: Store, folder: str, name: str, path: str) -> AdoptedRow:
    try:
        with open(store.root / path, "rb") as file:
            status = os.fstat(file.fileno())
            return AdoptedRow(
                folder, name, path, status.st_size, status.st_mtime_ns, box_problem(file) or ""
            )
    except OSError:
        return AdoptedRow(folder, name, path, 0, 0, "unreadable")

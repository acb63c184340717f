"""What of a split is in the store at one moment, at its own place or where others put it."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Mapping, Set
from pathlib import Path
from types import MappingProxyType

from k600.clip import Tarball
from k600.store.foreign_trees import find_foreign
from k600.store.ledger import Ledger
from k600.store.rows import AdoptedRow, LedgerView
from k600.store.store import Store

__all__ = ["Folders", "Inventory", "is_unchanged", "warn_of_links", "watched_folders"]

logger = logging.getLogger("kinetics600")

_MOST_NAMED = 5
"""Links that a warning names; there may be half a million."""


class Folders:
    """The folders of a store, each listed once, until it is to be forgotten."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listed: dict[str, set[str] | frozenset[str]] = {}
        self.outside_links: set[str] = set()
        """Links that lead out of the store and were not followed, relative to it."""

    def names(self, folder: str) -> set[str] | frozenset[str]:
        """Return what `Store.inventory` does."""
        if folder not in self._listed:
            self._listed[folder] = self._store.inventory(folder, self.outside_links)
        return self._listed[folder]

    def share(self, folder: str, names: frozenset[str]) -> None:
        """Hold a folder's names in a set that is equal and held anyway.

        That is half the memory, and names that are the same objects compare three times as fast.
        """
        self._listed[folder] = names

    def forget(self, folder: str) -> None:
        """Have a folder listed anew: something came into it, or left it."""
        self._listed.pop(folder, None)


class Inventory:
    """The clips of one split that are there and whole. Each folder is listed once."""

    def __init__(
        self,
        store: Store,
        adopted: Iterable[AdoptedRow],
        folders: Folders | None = None,
        *,
        hidden: Mapping[str, Set[str]] = MappingProxyType({}),
    ) -> None:
        """List nothing yet.

        Args:
            store: The store.
            adopted: What is known of clips that others brought.
            folders: To share what was listed just now.
            hidden: Names by folder of clips that do not count: they came from another mirror.
        """
        self._store, self._folders, self._hidden = store, folders or Folders(store), hidden
        self._rows: dict[str, list[AdoptedRow]] = {}
        for row in adopted:
            self._rows.setdefault(row.folder, []).append(row)
        self._found: dict[str, tuple[Set[str], dict[str, str]]] = {}

    @classmethod
    def of(cls, store: Store, known: LedgerView, folders: Folders | None = None) -> Inventory:
        """Return the inventory for a view of the ledger; the folders may be shared."""
        return cls(store, known.adopted, folders, hidden=known.hidden())

    @classmethod
    def of_tarball(cls, store: Store, ledger: Ledger, tarball: Tarball) -> Inventory:
        """Return the inventory for the clips of one tarball, for less than all of a ledger."""
        others = ledger.other_mirrors(tarball.split, tarball.name)
        adopted = ledger.adopted(tarball.split)
        return cls.of(store, LedgerView({}, adopted=adopted, other_mirrors=others))

    def names(self, folder: str) -> Set[str]:
        """Return the file names of the clips of `<split>/<class name>`."""
        return self._find(folder)[0]

    def elsewhere(self, folder: str) -> Mapping[str, str]:
        """Return where clips lie that are not at their own place, relative to the store."""
        return self._find(folder)[1]

    def path(self, folder: str, name: str) -> Path:
        """Return where a clip lies, or would lie."""
        path = self.elsewhere(folder).get(name)
        return self._store.path(folder, name) if path is None else self._store.root / path

    def _find(self, folder: str) -> tuple[Set[str], dict[str, str]]:
        """Return the names of a folder's clips, and where those lie that are elsewhere."""
        if folder not in self._found:
            self._found[folder] = self._look_for(folder)
        return self._found[folder]

    def _look_for(self, folder: str) -> tuple[Set[str], dict[str, str]]:
        rows = self._rows.get(folder, ())
        own: Set[str] = self._folders.names(folder)
        if folder in self._hidden:
            own = own - self._hidden[folder]
        for row in rows:
            bad = row.problem and row.is_at_place and row.file_name in own
            if bad and is_unchanged(self._store.root / row.path, row):
                own = own - {row.file_name}

        elsewhere: dict[str, str] = {}
        for row in rows:  # others may have one twice
            if row.problem or row.is_at_place or row.file_name in own:
                continue
            if row.file_name in self._folders.names(os.path.dirname(row.path)):
                elsewhere.setdefault(row.file_name, row.path)
        return (own | elsewhere.keys() if elsewhere else own), elsewhere


def watched_folders(store: Store, split: str, folders: Iterable[str]) -> list[str]:
    """Return the folders whose change may mean other clips: the given ones, and others' trees."""
    return [*folders, *find_foreign(store, split)]


def warn_of_links(store: Store, split: str, links: Collection[str]) -> None:
    """Say which links were not followed, as they lead out of the store (`Store.outside_link`)."""
    if not links:
        return
    named = [f"'{link}' to {os.path.realpath(store.root / link)!r}" for link in sorted(links)]
    more = len(named) - _MOST_NAMED
    for each in named[_MOST_NAMED:]:
        logger.debug("kinetics600 %s: not followed: %s", split, each)
    logger.warning(
        "kinetics600 %s: %s links in '%s' lead out of it and are not followed, as what lies "
        "outside may be anybody's: %s%s. To use what they lead to, move it into the folder (or "
        "mount it there)",
        split,
        f"{len(named):,}",
        store.root,
        ", ".join(named[:_MOST_NAMED]),
        f" and {more:,} more" if more > 0 else "",
    )


def is_unchanged(path: Path, row: AdoptedRow) -> bool:
    """Whether a file is still the one that was checked."""
    try:
        status = path.stat()
    except OSError:
        return row.problem == "unreadable"
    return (status.st_size, status.st_mtime_ns) == (row.size_bytes, row.mtime_ns)

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
            self._listed[folder] = self._store.inventory(folder, self.outside_links.add)
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
    """The clips of one split that are there and whole. Each folder is looked at once."""

    def __init__(
        self,
        store: Store,
        adopted: Iterable[AdoptedRow],
        folders: Folders | None = None,
        *,
        hidden: Mapping[str, Set[str]] = MappingProxyType({}),
    ) -> None:
        """Look at nothing yet.

        Args:
            store: The store.
            adopted: What is known of clips that others brought.
            folders: To share what was listed just now.
            hidden: Names by folder of clips that do not count: they came from another mirror.
        """
        self._store, self._folders = store, folders or Folders(store)
        self._others: dict[str, dict[str, list[str]]] = {}
        """Where good clips may lie that are not at their own place: others may have one twice."""
        self._bad: dict[str, dict[str, AdoptedRow]] = {}
        """Bad clips at their own place."""
        for row in adopted:
            at_place = row.path == f"{row.folder}/{row.file_name}"
            if row.problem and at_place:
                self._bad.setdefault(row.folder, {})[row.file_name] = row
            elif not row.problem and not at_place:
                places = self._others.setdefault(row.folder, {})
                places.setdefault(row.file_name, []).append(row.path)
        self._hidden = hidden
        self._own: dict[str, Set[str]] = {}
        self._names: dict[str, Set[str]] = {}
        self._elsewhere: dict[str, dict[str, str]] = {}

    @classmethod
    def of(cls, store: Store, known: LedgerView, folders: Folders | None = None) -> Inventory:
        """Return the inventory for what a ledger says; the folders may be shared."""
        return cls(store, known.adopted, folders, hidden=known.hidden())

    @classmethod
    def of_tarball(cls, store: Store, ledger: Ledger, tarball: Tarball) -> Inventory:
        """Return the inventory for the clips of one tarball, for less than all of a ledger."""
        others = ledger.other_mirrors(tarball.split, tarball.name)
        adopted = ledger.adopted(tarball.split)
        return cls.of(store, LedgerView({}, adopted=adopted, other_mirrors=others))

    def names(self, folder: str) -> Set[str]:
        """Return the file names of the clips of `<split>/<class name>`."""
        if folder not in self._names:
            elsewhere = self.elsewhere(folder)
            own = self._at_place(folder)
            self._names[folder] = own | elsewhere.keys() if elsewhere else own
        return self._names[folder]

    def elsewhere(self, folder: str) -> Mapping[str, str]:
        """Return where clips lie that are not at their own place, relative to the store."""
        if folder not in self._elsewhere:
            others = self._others.get(folder, {})
            own = self._at_place(folder) if others else set()
            found: dict[str, str] = {}
            for name, places in others.items():
                if name in own:
                    continue
                for path in places:
                    if name in self._folders.names(os.path.dirname(path)):
                        found.setdefault(name, path)
            self._elsewhere[folder] = found
        return self._elsewhere[folder]

    def path(self, folder: str, name: str) -> Path:
        """Return where a clip lies, or would lie."""
        path = self.elsewhere(folder).get(name)
        return self._store.path(folder, name) if path is None else self._store.root / path

    def _at_place(self, folder: str) -> Set[str]:
        """Return the names of the good clips at their own place."""
        if folder not in self._own:
            found = self._folders.names(folder)
            if folder in self._hidden:
                found = found - self._hidden[folder]
            for name, row in self._bad.get(folder, {}).items():
                if name in found and is_unchanged(self._store.root / row.path, row):
                    found = found - {name}
            self._own[folder] = found
        return self._own[folder]


def watched_folders(store: Store, split: str, folders: Iterable[str]) -> list[str]:
    """Return the folders whose change may mean other clips: the given ones, and others' trees."""
    return [*folders, *find_foreign(store, split)]


def warn_of_links(store: Store, split: str, links: Collection[str]) -> None:
    """Say which links were not followed, as they lead out of the store (`Store.leads_out`)."""
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

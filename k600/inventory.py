"""What of a split is in the store at one moment, at its own place or where others put it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from k600.foreign import find_foreign
from k600.ledger import AdoptedRow
from k600.store import Store

__all__ = ["Inventory", "is_unchanged", "watched_folders"]


class Inventory:
    """The clips of one split that are there and whole. Each folder is looked at once."""

    def __init__(self, store: Store, adopted: Iterable[AdoptedRow]) -> None:
        """Look at nothing yet.

        Args:
            store: The store.
            adopted: What is known of clips that others brought.
        """
        self._store = store
        self._elsewhere: dict[str, dict[str, str]] = {}
        self._bad: dict[str, dict[str, AdoptedRow]] = {}
        for row in adopted:
            if row.problem:
                self._bad.setdefault(row.folder, {})[row.file_name] = row
            elif row.path != f"{row.folder}/{row.file_name}":
                self._elsewhere.setdefault(row.folder, {}).setdefault(row.file_name, row.path)
        self._names: dict[str, set[str]] = {}
        self._listings: dict[str, set[str]] = {}

    def names(self, folder: str) -> set[str]:
        """Return the file names of the clips of `<split>/<class name>`."""
        if folder not in self._names:
            found = self._store.inventory(folder)
            for name, row in self._bad.get(folder, {}).items():
                if (
                    name in found
                    and row.path == f"{folder}/{name}"
                    and is_unchanged(self._store.root / row.path, row)
                ):
                    found.discard(name)
            found |= {
                name
                for name, path in self._elsewhere.get(folder, {}).items()
                if name in self._listed(os.path.dirname(path))
            }
            self._names[folder] = found
        return self._names[folder]

    def elsewhere(self, folder: str) -> Mapping[str, str]:
        """Return where clips lie that are not at their own place, relative to the store."""
        own = self._store.inventory(folder) if folder in self._elsewhere else set()
        return {
            name: path
            for name, path in self._elsewhere.get(folder, {}).items()
            if name not in own and name in self.names(folder)
        }

    def path(self, folder: str, name: str) -> Path:
        """Return where a clip lies, or would lie."""
        own = self._store.path(folder, name)
        path = self._elsewhere.get(folder, {}).get(name)
        return own if path is None or own.exists() else self._store.root / path

    def _listed(self, folder: str) -> set[str]:
        if folder not in self._listings:
            self._listings[folder] = self._store.inventory(folder)
        return self._listings[folder]


def watched_folders(store: Store, split: str, folders: Iterable[str]) -> list[str]:
    """Return the folders whose change may mean other clips: the given ones, and others' trees."""
    return [*folders, *find_foreign(store.root, split)]


def is_unchanged(path: Path, row: AdoptedRow) -> bool:
    """Whether a file is still the one that was found to be no good."""
    try:
        status = path.stat()
    except OSError:
        return row.problem == "unreadable"
    return (status.st_size, status.st_mtime_ns) == (row.size_bytes, row.mtime_ns) or (
        row.problem == "unreadable" and row.mtime_ns == 0
    )

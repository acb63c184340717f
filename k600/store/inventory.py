"""What of a split is in the store at one moment, at its own place or where other tools put it.

    <split>/<class name>/     FiftyOne's zoo, and this loader's own
    <split>/<class_name>/     torchvision, CVDF's `arrange_by_classes` (spaces and marks replaced)
    videos_<split>/…          mmaction2
    <split>/*.mp4             CVDF's extractor: flat, the class is in the host's lists only

Splits may bear the host's names (`val`). Folders of other tools are found by their names alone, and
never changed: their clips are adopted, which is to say checked once, left where they are, and
served from there. What is wrong with one, if anything, is noted, so that no truncated clip is ever
served. Links that lead out of the store are returned, too, so that they are reported;
`Store.inventory` lists nothing there.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType

from k600.dataset.clip import NOTHING, Listing, TestLabels, Without, label_of, parse_file_name
from k600.dataset.labels import NAMES, canonical
from k600.dataset.splits import UNLABELED, Split
from k600.errors import UnknownClassError
from k600.errors.text import counted
from k600.store.ledger import Ledger
from k600.store.rows import AdoptedRow, CheckRow, LedgerView
from k600.store.store import Store
from k600.video.probe import box_problem

logger = logging.getLogger("kinetics600")

_MOST_NAMED = 5  # links in one warning, of perhaps half a million

_SPLIT_FOLDERS = {
    "train": ("train", "videos_train"),
    "validation": ("validation", "val", "videos_val", "videos_validation"),
    "test": ("test", "videos_test"),
}
_OWN = frozenset((*NAMES, UNLABELED))
"""How this loader names the folders in a split's folder."""


def find_foreign(store: Store, split: str) -> MappingProxyType[str, str | None]:
    """Return other tools' folders in a store that may hold clips of a split, with their classes.

    Paths are relative to the store; the class of a flat folder of all classes is None.

    Example:
        >>> import tempfile
        >>> store = Store.at(tempfile.mkdtemp())
        >>> (store.root / "val" / "surfing_water").mkdir(parents=True)
        >>> dict(find_foreign(store, "validation"))
        {'val/surfing_water': 'surfing water'}
    """
    changed = []
    for folder in _SPLIT_FOLDERS[split]:
        try:
            changed.append(os.stat(store.root / folder).st_mtime_ns)
        except OSError:
            changed.append(0)
    return _list_foreign(store, split, tuple(changed))


@lru_cache(maxsize=16)
def _list_foreign(
    store: Store, split: str, changed: tuple[int, ...]
) -> MappingProxyType[str, str | None]:
    found: dict[str, str | None] = {}
    for split_folder, mtime in zip(_SPLIT_FOLDERS[split], changed, strict=True):
        if not mtime or not (store.root / split_folder).is_dir():
            continue
        if store.outside_link(split_folder) is not None:
            found[split_folder] = None
            continue
        with os.scandir(store.root / split_folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if parse_file_name(entry.name):
                    found[split_folder] = None
                elif not (split_folder == split and entry.name in _OWN) and entry.is_dir():
                    try:
                        found[f"{split_folder}/{entry.name}"] = canonical(entry.name)
                    except UnknownClassError:
                        continue  # some other folder of theirs
    return MappingProxyType(found)


class Folders:
    """The folders of a store, each listed once."""

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
        """Replace a folder's names by an equal set, to halve memory and compare faster (3x)."""
        self._listed[folder] = names

    def forget(self, folder: str) -> None:
        """Have a folder listed anew."""
        self._listed.pop(folder, None)


class Inventory:
    """The intact clips of one split in the store."""

    def __init__(
        self,
        store: Store,
        known: LedgerView,
        folders: Folders | None = None,
        *,
        without: Without = NOTHING,
    ) -> None:
        """List nothing yet; clips in `without` count as not there."""
        self._without = without
        self._store, self._folders, self._hidden = store, folders or Folders(store), known.hidden()
        self._rows: dict[str, list[AdoptedRow]] = {}
        for row in known.adopted:
            self._rows.setdefault(row.folder, []).append(row)
        self._found: dict[str, tuple[Set[str], dict[str, str]]] = {}

    def names(self, folder: str) -> Set[str]:
        """Return the file names of the clips of `<split>/<class name>`."""
        return self._find(folder)[0]

    def elsewhere(self, folder: str) -> Mapping[str, str]:
        """Return the paths, relative to the store, of clips in other tools' trees."""
        return self._find(folder)[1]

    def path(self, folder: str, name: str) -> Path:
        """Return the path that a clip has, or would have."""
        path = self.elsewhere(folder).get(name)
        return self._store.path(folder, name) if path is None else self._store.root / path

    def _find(self, folder: str) -> tuple[Set[str], dict[str, str]]:
        """Return the names of a folder's clips, and the paths of those that lie elsewhere."""
        if folder in self._found:
            return self._found[folder]

        rows = self._rows.get(folder, ())
        own: Set[str] = self._folders.names(folder)
        if folder in self._hidden:
            own = own - self._hidden[folder]
        if self._without:
            own = {name for name in own if name not in self._without}
        for row in rows:
            bad = row.problem and row.is_at_place and row.file_name in own
            if bad and is_unchanged(self._store.root / row.path, row):
                own = own - {row.file_name}

        elsewhere: dict[str, str] = {}
        for row in rows:  # others may have one twice
            if row.problem or row.is_at_place or row.file_name in own:
                continue
            if row.file_name in self._without:
                continue
            if row.file_name in self._folders.names(os.path.dirname(row.path)):
                elsewhere.setdefault(row.file_name, row.path)

        self._found[folder] = (own | elsewhere.keys() if elsewhere else own), elsewhere
        return self._found[folder]


def watched_folders(store: Store, split: str, folders: Iterable[str]) -> list[str]:
    """Return the given folders and other tools' trees: all that may gain or lose clips."""
    return [*folders, *find_foreign(store, split)]


def warn_of_links(store: Store, split: str, links: Collection[str]) -> None:
    """Warn of links that were not followed, as they lead out of the store."""
    if not links:
        return
    named = [f"'{link}' to {os.path.realpath(store.root / link)!r}" for link in sorted(links)]
    more = len(named) - _MOST_NAMED
    for each in named[_MOST_NAMED:]:
        logger.debug("kinetics600 %s: not followed: %s", split, each)
    logger.warning(
        "kinetics600 %s: not following %s out of '%s', as what lies outside may be anybody's: "
        "%s%s. To use it, move it into the folder (or mount it there)",
        split,
        counted(len(named), "link"),
        store.root,
        ", ".join(named[:_MOST_NAMED]),
        f" and {more:,} more" if more > 0 else "",
    )


def is_unchanged(path: Path, row: AdoptedRow) -> bool:
    """Return whether a file is still the one that was checked."""
    try:
        status = path.stat()
    except OSError:
        return row.problem == "unreadable"
    return is_as_noted(status, row)


def is_as_noted(status: os.stat_result, row: AdoptedRow | CheckRow) -> bool:
    """Return whether a file has the size and the time that were noted of it."""
    return (status.st_size, status.st_mtime_ns) == (row.size_bytes, row.mtime_ns)


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
    unknown, classless = unknown_clips(store, split, own, view, listed, listing, labels)
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
        rows = [
            row
            for row in rows
            if not (row.is_at_place and any(row.file_name in n for n in mine.get(row.folder, ())))
        ]
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


def unknown_clips(
    store: Store,
    split: str,
    own: Collection[str],
    view: LedgerView,
    listed: Folders,
    listing: Callable[[], Listing],
    labels: TestLabels,
) -> tuple[list[tuple[str, str, str]], int]:
    """Return folder, name and path of clips that no load has checked as they are, in the store's
    `own` and other tools' folders; and how many are not among these as their class is not known.

    The listing gives clips in flat folders their class, unless it is in the lists of two classes;
    it is fetched once, and only if need be.
    """

    @cache
    def label_by_name() -> dict[str, str]:
        found: dict[str, str] = {}
        for label, names in listing().items():
            for name in names:
                found[name] = "" if name in found else label
        return found

    def class_of(name: str) -> str:
        mixed = Split(split).is_mixed
        return label_of(name, labels) if mixed else label_by_name().get(name, "")

    folders = set(own)
    checked = {row.path: row for row in view.adopted}
    mine = view.stored()
    found = []
    for folder in own:
        names = listed.names(folder).difference(*mine.get(folder, ()))
        found += [(folder, name, f"{folder}/{name}") for name in sorted(names)]

    classless = 0
    for place, label in find_foreign(store, split).items():
        if label is not None and f"{split}/{label}" not in folders:
            continue
        for name in sorted(listed.names(place)):
            path = f"{place}/{name}"
            row = checked.get(path)
            folder = f"{split}/{label or class_of(name)}" if row is None else row.folder
            classless += folder.endswith("/")
            if folder in folders:
                found.append((folder, name, path))
    new = [
        (folder, name, path)
        for folder, name, path in found
        if path not in checked or not is_unchanged(store.root / path, checked[path])
    ]
    return new, classless


def _checked(store: Store, folder: str, name: str, path: str) -> AdoptedRow:
    try:
        with open(store.root / path, "rb") as file:
            status = os.fstat(file.fileno())
            return AdoptedRow(
                folder, name, path, status.st_size, status.st_mtime_ns, box_problem(file) or ""
            )
    except OSError:
        return AdoptedRow(folder, name, path, 0, 0, "unreadable")

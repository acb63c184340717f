"""Delete clips that loads brought into a store, and nothing else: counted first, then removed.

A clip is the loader's own if the ledger says so and its file still has the size noted there. Files
go before their rows do: whoever is killed in between leaves rows without files, which are clips
that the next load fetches again if it is asked for them, as it does after a whole deletion.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from k600.dataset.clip import Tarball
from k600.dataset.splits import SPLITS, Split
from k600.errors.translate import store_error, translate_errors
from k600.store.files import sync_folder
from k600.store.ledger import Ledger
from k600.store.store import QUARANTINE, Store


@dataclass(frozen=True, slots=True)
class OwnClips:
    """Clips in one folder of a store that came from one tarball, or from YouTube."""

    tarball: Tarball | None
    """None for YouTube's."""
    folder: str
    """`<split>/<class name>`."""
    sizes: Mapping[str, int | None]
    """Bytes by file name; None for one that the ledger has, but the folder has not."""

    @property
    def here(self) -> list[int]:
        """The bytes of each that is there."""
        return [size_bytes for size_bytes in self.sizes.values() if size_bytes is not None]


@dataclass(frozen=True, slots=True)
class Removal:
    """What of one split is to be deleted."""

    split: str
    parts: tuple[OwnClips, ...]
    others: int
    """Clips in the same folders that a user or another tool put there, or changed, and clips that
    `kinetics600 verify` put aside, which may be a user's, too: they stay."""

    @property
    def clips(self) -> int:
        """How many clips are deleted."""
        return sum(len(part.here) for part in self.parts)

    @property
    def size_bytes(self) -> int:
        """Their bytes."""
        return sum(sum(part.here) for part in self.parts)


def plan_removal(store: Store, split: str, classes: Collection[str] | None = None) -> Removal:
    """Return what of a split would be deleted; nothing is.

    Args:
        store: The store.
        split: One of its splits.
        classes: Canonical names of the classes to delete; None for all of the split. Test clips
            are of the class whose folder they are in.
    """
    only = None if Split(split).is_mixed else classes
    known = Ledger(store.ledger_path).view(split, sizes=True, only=only)
    labels = classes or [folder.partition("/")[2] for folder in Split(split).folders(None)]
    folders = {f"{split}/{label}" for label in labels}

    recorded: list[tuple[Tarball | None, str, Mapping[str, int]]] = [
        (group.tarball, group.folder, group.sizes)
        for group in known.groups
        if group.source in ("cvdf", "youtube")
    ]
    recorded += [(None, folder, sizes) for folder, sizes in known.cuts.items()]

    here = {folder: store.inventory(folder) for folder in sorted(folders)}
    parts = []
    for tarball, folder, sizes in recorded:
        if folder in here:
            own = dict[str, int | None]()
            for name, size_bytes in sizes.items():
                found = _size_of(store.path(folder, name))
                if found is None or (found == size_bytes and name in here[folder]):
                    own[name] = found
                    here[folder].discard(name)  # two mirrors may both have it
            parts.append(OwnClips(tarball, folder, own))
    aside = (store.root / QUARANTINE / folder for folder in folders)
    put_aside = sum(len(os.listdir(folder)) for folder in aside if folder.is_dir())
    return Removal(split, tuple(parts), sum(map(len, here.values())) + put_aside)


def remove_clips(
    store: Store, removal: Removal, *, on_clip: Callable[[], object] = lambda: None
) -> None:
    """Delete what was planned, and folders that are empty then.

    Runs that read the same tarballs are waited for. A clip that changed meanwhile stays.
    """
    ledger = Ledger(store.ledger_path)
    for part in removal.parts:
        with contextlib.ExitStack() as stack:
            if part.tarball is not None:
                stack.enter_context(store.only_one_at(part.tarball))
            gone = set[str]()
            for name, size_bytes in part.sizes.items():
                path = store.path(part.folder, name)
                is_here = size_bytes is not None
                outside = store.outside_link(part.folder) if is_here else None
                if _size_of(path) == size_bytes and outside is None:
                    with translate_errors(store_error, path.parent):
                        path.unlink(missing_ok=True)
                    gone.add(name)
                if is_here:
                    on_clip()
            folder = store.root / part.folder
            if part.here and folder.is_dir():
                sync_folder(folder)
            ledger.forget_stored(removal.split, part.tarball, part.folder, gone)

    folders = {store.root / part.folder for part in removal.parts}
    for path in itertools.chain(folders, [store.root / removal.split]):
        with contextlib.suppress(OSError):  # it holds something, or is gone
            path.rmdir()


def remove_own(store: Store) -> bool:
    """Remove a store's own folder, unless there are clips yet, or a run is at work.

    Returns:
        Whether it is gone.
    """

    def has_clips() -> bool:
        plans = (plan_removal(store, split) for split in SPLITS)
        return any(plan.clips or plan.others for plan in plans)

    return store.remove_own(unless=has_clips)


def _size_of(path: Path) -> int | None:
    """Return the size of a file that is no link; None if there is none, -1 for anything else."""
    with translate_errors(store_error, path, "read"):
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
    return found.st_size if stat.S_ISREG(found.st_mode) else -1

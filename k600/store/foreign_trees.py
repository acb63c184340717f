"""Folders of clips that other tools made in a store, found by their names alone.

    <split>/<class name>/     FiftyOne's zoo, and this loader's own
    <split>/<class_name>/     torchvision, CVDF's `arrange_by_classes` (spaces and marks replaced)
    videos_<split>/…          mmaction2
    <split>/*.mp4             CVDF's extractor: flat, the class is in the host's lists only

Splits may bear the host's names (`val`). Nothing found here is ever changed. Links that lead out of
the store are returned, too, so that they are reported; `Store.inventory` lists nothing there.
"""

from __future__ import annotations

import os
from functools import lru_cache
from types import MappingProxyType

from k600.clip import parse_file_name
from k600.errors import UnknownClassError
from k600.labels import NAMES, canonical
from k600.splits import UNLABELED
from k600.store.store import Store

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
    return _find(store, split, tuple(changed))


@lru_cache(maxsize=16)
def _find(store: Store, split: str, changed: tuple[int, ...]) -> MappingProxyType[str, str | None]:
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

"""The three splits: how the host packs each, and where a store keeps the clips of each."""

from __future__ import annotations

import re
from collections.abc import Collection

from k600.dataset.labels import NAMES

SPLITS: tuple[str, ...] = ("train", "validation", "test")
"""The three splits as users name them, in the order that `all` loads them."""

CONFIGS: tuple[str, ...] = (*SPLITS, "all")
"""The configurations: one per split, and `all` three."""

HOST_FOLDERS: dict[str, str] = {"train": "train", "validation": "val", "test": "test"}
"""What the host calls each split."""

UNLABELED = "_unlabeled"
"""Folder of test clips without a label (FiftyOne's name for it)."""


class Split(str):
    """The name of a split, with what follows from how the host packs it.

    `train` and `validation` come in one tarball a class, named after it, and the host lists the
    clips of each class. `test` is mixed: its tarballs are numbered, no list says which of them
    holds a clip, and labels come from a list of DeepMind's. Everywhere else it is a plain string.

    Example:
        >>> Split("validation").host_folder, Split("test").is_mixed
        ('val', True)
    """

    __slots__ = ()

    @property
    def is_mixed(self) -> bool:
        """Whether its tarballs mix classes, so that a list gives the labels of its clips."""
        return self == "test"

    @property
    def host_folder(self) -> str:
        """What the host calls it."""
        return HOST_FOLDERS[self]

    @property
    def tarball_names(self) -> str:
        """How its tarballs are named, in words."""
        return "'part_<number>'" if self.is_mixed else "one of the 600 class names"

    def folders(self, classes: Collection[str] | None = None) -> list[str]:
        """Return the store's folders (`<split>/<class name>`) that may hold clips of classes.

        They are in the order of `classes` (None: all 600). For a mixed split these are all: the
        folder of a clip depends on whether its label was known when it came.
        """
        if self.is_mixed:
            return [f"{self}/{name}" for name in (*NAMES, UNLABELED)]
        return [f"{self}/{name}" for name in (NAMES if classes is None else classes)]

    def places_of(self, label: str) -> list[str]:
        """Return the store's folders that a clip of a class may lie in, the usual one first.

        Example:
            >>> Split("test").places_of("yoga")
            ['test/yoga', 'test/_unlabeled']
        """
        unlabeled = [f"{self}/{UNLABELED}"] if self.is_mixed else []
        return [f"{self}/{label}", *unlabeled]

    def may_hold(self, tarball: str, label: str | None) -> bool:
        """Whether a tarball of that name may hold a clip of that class."""
        return self.has_tarball(tarball) if self.is_mixed else tarball == label

    def has_tarball(self, name: str) -> bool:
        """Whether the host may have a tarball of that name (`.tar.gz` left out) in this split."""
        if self.is_mixed:
            return re.fullmatch(r"part_\d+", name, re.ASCII) is not None
        return name in NAMES

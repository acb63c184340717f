"""The clips of one tarball that are in the store before it is read, and where each came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from k600.dataset.clip import Tarball, TestLabels
from k600.dataset.splits import UNLABELED
from k600.store.inventory import Inventory, is_unchanged
from k600.store.ledger import Ledger
from k600.store.rows import ClipRow, LedgerView
from k600.store.store import Store
from k600.tarballs.stream import clip_of
from k600.video.probe import box_problem


class PresentClips:
    """The files in the store with the names of one tarball's clips."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        tarball: Tarball,
        labels: TestLabels,
        known: Mapping[str, ClipRow],
    ) -> None:
        """Read the ledger now, folders later; `known` are the tarball's clips by file name."""
        self._tarball, self._labels, self._known = tarball, labels, known
        self._unlabeled = f"{tarball.split}/{tarball.label or UNLABELED}"
        view = ledger.view(tarball.split, only=[tarball.name])
        self.inventory = Inventory(store, LedgerView({}, adopted=view.adopted))
        self._of_other_mirrors = view.hidden()

        cuts = view.cuts.items()
        self._others = {(folder, name): "youtube" for folder, names in cuts for name in names}
        for row in view.adopted:
            is_near = tarball.label is None or row.folder == self._unlabeled
            if is_near and not row.problem and is_unchanged(store.root / row.path, row):
                self._others[row.folder, row.file_name] = "local"

    def has(self, folder: str, name: str) -> bool:
        """Return whether a clip is there and intact."""
        return name in self.inventory.names(folder) and _is_intact(
            self.inventory.path(folder, name)
        )

    def is_other_mirrors(self, folder: str, name: str) -> bool:
        """Return whether a clip is there as another mirror has it."""
        return name in self._of_other_mirrors.get(folder, ())

    def source_of(self, folder: str, name: str) -> str:
        """Return the recorded source of a clip that is there; `local` if nothing is recorded."""
        if (source := self._others.get((folder, name))) is not None:
            return source
        known = self._known.get(name)
        if known is not None and known.state == "have":
            return known.source
        return "cvdf" if self.is_other_mirrors(folder, name) else "local"

    def folder_of(self, name: str) -> str:
        """Return a clip's folder: where it is, even without its label, or where it belongs."""
        known = self._known.get(name)
        usual = self.usual_folder(name)
        places = ([known.folder] if known else []) + [usual, self._unlabeled]
        return next((place for place in places if name in self.inventory.names(place)), usual)

    def usual_folder(self, name: str) -> str:
        """Return the folder where a new clip belongs."""
        clip = clip_of(self._tarball, name, self._labels)
        return clip.folder if clip else self._unlabeled


def _is_intact(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return box_problem(file) is None
    except OSError:  # a dangling link, a folder, not readable
        return False

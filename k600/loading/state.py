"""How things stand for one split of a request at one moment: lists, labels, ledger, store."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from k600.clip import Clip, Listing, Tarball, TestLabels
from k600.errors import OfflineError
from k600.labels import NAMES
from k600.loading.manifest import ManifestRow
from k600.loading.request import Request
from k600.loading.selection import Candidate
from k600.mirror.mirror import RemoteFile
from k600.splits import Split
from k600.store.adopt import adopt
from k600.store.inventory import Folders, Inventory, is_unchanged, watched_folders
from k600.store.ledger import Ledger
from k600.store.rows import LedgerView
from k600.tarballs.catalog import KeptLists, read_test_labels
from k600.text import public_url

__all__ = ["State", "read_state", "tarballs_of", "wanted_names"]


@dataclass(frozen=True, slots=True)
class State:
    """What is known, and what may be done about it."""

    request: Request
    split: str
    lists: KeptLists
    """The host's lists."""
    labels: TestLabels
    """Labels of test clips."""
    origin: Mapping[Clip, ManifestRow]
    """What the manifest says of the clips; empty without one."""
    known: LedgerView
    """What the ledger says."""
    inventory: Inventory
    """What is in the store."""
    network: bool
    """Whether the mirror may be read."""
    youtube: bool
    """Whether YouTube may be asked."""
    writable: bool
    """Whether the store may be written to, as `Store.prepare` has proved."""

    @property
    def ledger(self) -> Ledger:
        return self.request.ledger

    def prepare(self) -> None:
        """Prove that clips can be stored; it is not proved twice where it was just now.

        Raises:
            DiskFullError, StoreError: They cannot.
        """
        if not self.writable:
            self.request.store.prepare()

    def now(self) -> State:
        """Look at ledger and store again."""
        known = self.ledger.view(self.split)
        inventory = Inventory.of(self.request.store, known)
        return dataclasses.replace(self, known=known, inventory=inventory)

    def with_same_objects(self, remotes: Iterable[tuple[Tarball, RemoteFile]]) -> State:
        """Return how things stand once what is known of the same objects counts for this mirror.

        Another mirror may have a tarball with the same strong ETag and size: what was read of it is
        not read again. It is noted, if the store may be written to.

        Args:
            remotes: What this mirror says of its tarballs.

        Returns:
            This object itself if there is nothing of the kind.
        """
        objects = {t.name: (r.etag, r.size_bytes) for t, r in remotes if r.has_strong_etag}
        same = self.ledger.same_objects(self.split, objects)
        if not same:
            return self
        if self.writable:
            self.ledger.take_over(self.split, same)
            return self.now()
        known = self.known
        for mirror in set(same.values()):
            theirs = Ledger(self.request.store.ledger_path, mirror).view(self.split)
            known = known.with_tarballs([n for n in same if same[n] == mirror], theirs)
        inventory = Inventory.of(self.request.store, known)
        return dataclasses.replace(self, known=known, inventory=inventory)

    def copies_to_replace(self) -> dict[str, set[str]]:
        """Return the clips that are there as YouTube has them and are to come from the tarballs."""
        return self.known.copies() if self.network and self.request.source == "cvdf" else {}

    def sources(self) -> dict[tuple[str, str], str]:
        """Return where clips came from, by folder and name; a user's are `local` or not in it."""
        root, known = self.request.store.root, self.known
        found = {(h.folder, name): h.source for h in known.groups for name in h.names}
        found |= {(a.folder, a.file_name): "youtube" for a in known.answers if a.kind == "have"}
        own = (row for row in known.adopted if not row.problem)
        local = (row for row in own if is_unchanged(root / row.path, row))
        return found | {(row.folder, row.file_name): "local" for row in local}

    def stamps(self) -> dict[str, int]:
        """Return when each folder that matters last changed (`Store.stamp`)."""
        store = self.request.store
        return store.stamp(watched_folders(store, self.split, self.request.folders(self.split)))

    def place_of(self, candidate: Candidate) -> str | None:
        """Return the store folder that a clip is in, None if it is not there.

        A test clip that came before its label was known lies in `_unlabeled`.
        """
        label, name = candidate
        folders = Split(self.split).places_of(label)
        return next((f for f in folders if name in self.inventory.names(f)), None)


def read_state(
    request: Request, split: str, *, offline: bool, keep: bool, refresh: bool = False
) -> State:
    """See how things stand.

    Args:
        request: The request.
        split: One of its splits.
        offline: Do not cross a network.
        keep: Keep lists that are fetched, and note in the ledger the clips that others brought.
        refresh: Fetch the list of labels although it is kept.

    Raises:
        StoreError: The store is no folder.
        MirrorError, ListError: A list that is needed cannot be had.
    """
    store = request.store
    store.check_folder()
    network, youtube = request.may_fetch(offline=offline), request.may_ask(offline=offline)
    writable = keep and store.is_writable(make=network or youtube)
    lists = KeptLists(request.mirror, store, split, network=network, keep=writable)
    labels: TestLabels = {}
    origin: Mapping[Clip, ManifestRow] = {}
    if request.manifest is not None:
        labels, origin = request.manifest.test_labels, request.manifest.of(split)
    elif Split(split).is_mixed:
        local = request.source == "local"
        labels = read_test_labels(
            request.test_labels,
            request.mirror,
            store,
            offline=offline or local,
            keep=writable and not local,
            refresh=refresh,
        )
    folders = Folders(store)

    def listing() -> Listing:
        if not lists.listing() and network:
            lists.refresh(paths=False)
        return lists.listing()

    known = adopt(
        request.ledger,
        store,
        split,
        request.folders(split),
        listing=listing,
        labels=labels,
        write=writable,
        listed=folders,
    )
    inventory = Inventory.of(store, known, folders)
    return State(
        request, split, lists, labels, origin, known, inventory, network, youtube, writable
    )


def tarballs_of(request: Request, split: str, lists: KeptLists) -> list[Tarball]:
    """Return the tarballs that may hold clips of the request, in id order.

    For whole classes no list is needed: their tarballs bear their names. A class that the
    host's listing knows but its path list does not is among them, too: its tarball will not
    be found, and so its clips are named as missing.
    """
    if Split(split).is_mixed:
        return lists.tarballs()
    if request.classes is not None:
        return [Tarball(split, name) for name in request.classes]
    known = {tarball.name for tarball in lists.tarballs()} | set(lists.listing())
    return [Tarball(split, name) for name in NAMES if name in known]


def wanted_names(request: Request, split: str, labels: TestLabels) -> frozenset[str] | None:
    """Return the file names asked for where that is not simply all of each tarball."""
    if not Split(split).is_mixed or request.classes is None:
        return None
    if not labels:
        raise OfflineError(
            "classes: clips of the test split can be chosen by class only with DeepMind's list, "
            f"and {public_url(request.test_labels)} cannot be had. Pass test_labels=… a path or "
            "URL of 'kinetics600.tar.gz' or its 'test.csv', or leave classes out"
        )
    chosen = set(request.classes)
    return frozenset(
        f"{youtube_id}_{start:06d}_{end:06d}.mp4"
        for (youtube_id, start, end), label in labels.items()
        if label in chosen
    )

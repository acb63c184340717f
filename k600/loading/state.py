"""How things stand for one split of a request at one moment: lists, labels, ledger, store."""

from __future__ import annotations

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property, partial

from k600.dataset.clip import NOTHING, Listing, Tarball, TestLabels, Without, names_of_classes
from k600.dataset.labels import NAMES
from k600.dataset.splits import Split
from k600.errors import Kinetics600Error, OfflineError
from k600.errors.text import public_url
from k600.loading.cheaper import recall_rate
from k600.loading.index import IndexFile
from k600.loading.manifest import ManifestRow
from k600.loading.overlap import left_out
from k600.loading.places import Places
from k600.loading.request import Request
from k600.loading.selection import Candidate
from k600.mirror.identity import RemoteFile, is_strong_etag
from k600.store.inventory import Folders, Inventory, adopt, watched_folders
from k600.store.ledger import Ledger
from k600.store.rows import ClipRow, LedgerView
from k600.tarballs.catalog import KeptLists, read_test_labels
from k600.tarballs.extract import is_wanted


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a tarball could not be read in this call."""

    reason: str
    """A key of `REASONS`."""
    error: Kinetics600Error

    @property
    def in_words(self) -> tuple[str, str]:
        """The reason, and the error's message."""
        return self.reason, str(self.error)


@dataclass(frozen=True, slots=True)
class HostView:
    """What the host said, as far as it was asked or the store keeps it."""

    tarballs: Sequence[Tarball] = ()
    """Its tarballs, in the order of its list; none as long as that is not known."""
    listing: Listing = field(default_factory=dict)
    """File names by class; empty as long as they are not known, and for the test split.
    The host's word on what a tarball should hold, also for the ledger; not what is asked for."""
    fresh: bool = False
    """Whether these lists came just now."""
    remotes: Mapping[Tarball, RemoteFile] = field(default_factory=dict)
    """Size and ETag of tarballs that it was asked for."""
    failures: Mapping[Tarball, Failure] = field(default_factory=dict)
    """Tarballs that could not be read in this call."""
    sizes: Mapping[Tarball, int | None] = field(default_factory=dict)
    """Sizes of tarballs that were asked for to choose the cheaper way; None where they could not be
    had."""
    doubted: frozenset[Tarball] = frozenset()
    """Those in which a clip did not lie where it was known to: they are read."""


@dataclass(frozen=True)
class State:
    """What is known and what is there, as plain data; and what may be done about it."""

    request: Request
    split: Split
    host: HostView
    labels: TestLabels
    """Labels of test clips."""
    known: LedgerView
    """What the ledger says."""
    inventory: Inventory
    """What is in the store."""
    network: bool
    """Whether the mirror may be read."""
    may_ask: bool
    """Whether YouTube may be asked."""
    writable: bool
    """Whether the store may be written to, as `Store.prepare` has proved."""
    places: Places
    """Where clips lie in their tarballs; read from ledger, manifest and index as it is asked."""
    without: Without = NOTHING
    """Clips that are left out."""
    members: Mapping[str, Sequence[ClipRow]] = field(default_factory=dict)
    """What is known of each tarball's clips in its own order, where `is_unlisted`."""
    bytes_per_second: float | None = None
    """The rate at which tarballs came the last time; None if none is noted."""

    @property
    def origin(self) -> Mapping[Candidate, ManifestRow]:
        """What the manifest says of the clips; empty without one."""
        return self.places.origin

    @property
    def is_unlisted(self) -> bool:
        """Whether clips are chosen from tarballs, and no list says which of them holds a clip."""
        limited = self.request.limits.limited and self.request.manifest is None
        return self.split.is_mixed and limited and self.from_tarballs

    @property
    def from_tarballs(self) -> bool:
        """Whether clips may come from tarballs."""
        return self.network and self.request.has_tarballs

    @property
    def knows_tarballs(self) -> bool:
        """Whether it is known which tarballs may hold clips of the request."""
        by_name = self.request.classes is not None and not self.split.is_mixed
        return by_name or bool(self.host.tarballs)

    @cached_property
    def tarballs(self) -> list[Tarball]:
        """The tarballs that may hold clips of the request, in id order."""
        return tarballs_of(self.request, self.split, self.host)

    @cached_property
    def wanted(self) -> frozenset[str] | None:
        """The file names asked for where that is not simply all of each tarball."""
        return wanted_names(self.request, self.split, self.labels)

    def wants(self, file_name: str) -> bool:
        """Return whether a clip is asked for, of those that the tarballs of the request hold."""
        return is_wanted(file_name, self.wanted, self.without)

    def now(self) -> State:
        """Read ledger and store again; what the host said of its tarballs is asked anew."""
        host = dataclasses.replace(self.host, remotes={})
        return dataclasses.replace(self, host=host)._as_known(self.request.ledger)

    def with_host(self, **changes: object) -> State:
        """Return the same with more that the host said (fields of `HostView`)."""
        return dataclasses.replace(self, host=dataclasses.replace(self.host, **changes))  # type: ignore[arg-type]

    def with_failures(self, failures: Mapping[Tarball, Failure]) -> State:
        """Return the same with more tarballs that could not be read."""
        return self.with_host(failures={**self.host.failures, **failures}) if failures else self

    def with_same_objects(self) -> State:
        """Return the same where what was read of the same objects at other mirrors counts, too.

        An object is the same if it has the same strong ETag and size. It is noted, if the store may
        be written to. This state itself is returned if there is nothing of the kind.
        """
        strong = {t.name: r for t, r in self.host.remotes.items() if is_strong_etag(r.etag)}
        objects = {name: (remote.etag, remote.size_bytes) for name, remote in strong.items()}
        ledger = self.request.ledger
        same = ledger.same_objects(self.split, objects)
        if not same:
            return self

        with ledger.transaction() if self.writable else ledger.copied() as opened:
            opened.take_over(self.split, same)
            return self._as_known(opened)

    def _as_known(self, ledger: Ledger) -> State:
        """Return the same with what a ledger says now."""
        known = ledger.view(self.split)
        inventory = Inventory(self.request.store, known, without=self.without)
        members = _members(ledger, self.split) if self.is_unlisted else {}
        return dataclasses.replace(self, known=known, inventory=inventory, members=members)

    def sources(self, folder: str, names: Set[str]) -> dict[str, str]:
        """Return where clips of a store folder came from: `cvdf`, `youtube`, or `local`.

        What a run brings has a row before it has its name: all else was there before.
        """
        found = dict.fromkeys(names, "local")
        for source, brought in self._brought.get(folder, ()):
            found |= dict.fromkeys(names & brought, source)
        return found | dict.fromkeys(names & self.inventory.elsewhere(folder).keys(), "local")

    @cached_property
    def _brought(self) -> Mapping[str, Sequence[tuple[str, Set[str]]]]:
        """Sources and file names of the clips that runs have stored, by folder."""
        found: dict[str, list[tuple[str, Set[str]]]] = defaultdict(list)
        for group in self.known.groups:
            found[group.folder].append((group.source, group.names))
        for folder, sizes in self.known.cuts.items():
            found[folder].append(("youtube", sizes.keys()))
        return found

    def stamps(self) -> dict[str, int]:
        """Return when each folder that matters last changed (`Store.stamp`)."""
        store = self.request.store
        return store.stamp(watched_folders(store, self.split, self.request.folders(self.split)))

    def place_of(self, candidate: Candidate) -> str | None:
        """Return the store folder that a clip is in, None if it is not there."""
        label, name = candidate
        folders = self.split.places_of(label)
        return next((f for f in folders if name in self.inventory.names(f)), None)


def read_state(
    request: Request,
    split: str,
    *,
    keep: bool,
    refresh: bool = False,
    host: bool = True,
) -> State:
    """Read how things stand: lists that are kept, labels, ledger and store, each once.

    With `keep`, lists that are fetched are kept, and clips that others brought are noted. With
    `refresh`, labels are fetched although they are kept. Without `host`, the host's lists are not
    read, which takes a second for a whole split.

    Raises:
        StoreError: The store is no folder.
        MirrorError, ListError: A list cannot be had that says what the clips are that are there.
    """
    split, store = Split(split), request.store
    store.check_folder()
    network = request.may_fetch
    writable = keep and store.is_writable(make=network)

    labels = read_labels(request, split, keep=writable, refresh=refresh)
    lists = KeptLists(request.mirror, store, split, keep=writable)
    folders = Folders(store)
    known = adopt(
        request.ledger,
        store,
        split,
        request.folders(split),
        listing=partial(lists.listing, fetch=network),
        labels=labels,
        write=writable,
        listed=folders,
    )
    without = left_out(request, split, keep=writable)
    state = State(
        request,
        split,
        HostView(lists.tarballs(), lists.listing()) if host else HostView(),
        labels,
        known,
        Inventory(store, known, folders, without=without),
        network,
        request.may_ask,
        writable,
        _places(request, split, keep=writable),
        without,
        bytes_per_second=recall_rate(store, request.mirror),
    )
    members = _members(request.ledger, split) if state.is_unlisted else {}
    return dataclasses.replace(state, members=members)


def read_labels(
    request: Request, split: Split, *, keep: bool = False, refresh: bool = False
) -> TestLabels:
    """Return the labels of a split's clips that no tarball labels; none if they cannot be had."""
    if request.manifest is not None:
        return request.manifest.test_labels
    if not split.is_mixed:
        return {}
    return read_test_labels(
        request.test_labels,
        request.mirror,
        request.store,
        offline=request.offline or not request.sources,
        keep=keep and bool(request.sources),
        refresh=refresh,
    )


def tarballs_of(request: Request, split: str, host: HostView) -> list[Tarball]:
    """Return the tarballs that may hold clips of the request, in id order."""
    if Split(split).is_mixed:
        return [*host.tarballs]
    if request.classes is not None:  # their tarballs bear their names: no list is needed
        return [Tarball(split, name) for name in request.classes]

    # A class that is listed without a tarball is among them: so its clips are named as missing.
    known = {tarball.name for tarball in host.tarballs} | set(host.listing)
    return [Tarball(split, name) for name in NAMES if name in known]


def wanted_names(request: Request, split: str, labels: TestLabels) -> frozenset[str] | None:
    """Return the file names asked for where that is not simply all of each tarball."""
    if not Split(split).is_mixed or request.classes is None:
        return None
    if not labels:
        raise OfflineError(
            "classes: test clips have no class without their labels, and "
            f"{public_url(request.test_labels)} cannot be had. Pass test_labels=… another path or "
            "URL of them, or leave classes out"
        )
    return names_of_classes(set(request.classes), labels)


def _places(request: Request, split: Split, *, keep: bool) -> Places:
    rows = {} if request.manifest is None else request.manifest.of(split)
    origin = {clip.candidate: row for clip, row in rows.items()}
    index = None
    if request.index is not None:
        index = IndexFile(request.index, request.mirror, request.store, request.offline, keep)
    return Places(split, request.ledger, origin, index, Ledger(request.store.ledger_path))


def _members(ledger: Ledger, split: str) -> dict[str, Sequence[ClipRow]]:
    """Return what is known of each tarball's clips, by its name, in its own order."""
    rows: Iterable[ClipRow] = ledger.clips(split)
    by_tarball = itertools.groupby(rows, key=lambda row: row.tarball.name)
    return {name: list(group) for name, group in by_tarball}

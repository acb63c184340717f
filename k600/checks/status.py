"""The status of a store: each clip of each class counted once. No network, no change.

For each clip, the first of these counts that holds:

1. The file that is here failed a later check (`kinetics600 verify`): missing, for what was found.
2. The file is here.
3. It is no good in the host's tarball, or the file that others left here is no good.
4. It is listed by the host, but not in its tarball.
5. YouTube does not give it. (It may still come from a tarball that was not read yet.)
6. It is listed, or was seen in a tarball, and is not here: `tarball_condemned` if its tarball
   failed its checks in as many loads as are enough (`k600.tarballs.reading`), else `not_fetched`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from k600.checks.verify import find_failed
from k600.dataset.clip import Listing
from k600.dataset.reasons import PASSING_REASONS, REASONS, YOUTUBE_KINDS
from k600.dataset.splits import Split
from k600.errors.text import counted
from k600.loading.request import Request
from k600.store.inventory import Folders, Inventory, is_unchanged, unknown_clips, warn_of_links
from k600.store.rows import LedgerView
from k600.store.store import META_DIR, Store
from k600.tarballs.catalog import KeptLists
from k600.tarballs.reading import is_condemned

_MAY_COME = PASSING_REASONS | {"not_encoded"}
"""Reasons of clips that the next download may bring."""

_REFUSED = frozenset(f"youtube_{kind}" for kind in YOUTUBE_KINDS)
_UNPROVED = frozenset({"not_fetched", "not_encoded"})


@dataclass(frozen=True, slots=True)
class Counts:
    """The clips of a class or a split: those that are here, and those that are not."""

    here_clips: int = 0
    here_bytes: int = 0
    sources: Mapping[str, int] = field(default_factory=dict)
    """Of those that are here: from the host's tarballs (`cvdf`), cut from YouTube (`youtube`), in
    the folder before, or brought by other tools (`local`)."""
    unchecked_clips: int = 0
    """Of `local`: those that no load has checked yet; the next one does."""
    missing: Mapping[str, int] = field(default_factory=dict)
    """Clips that cannot be used, by reason: keys of `REASONS`."""
    failed_clips: int = 0
    """Of `missing`: files that are here, and that `kinetics600 verify` found to be bad."""

    @property
    def missing_clips(self) -> int:
        return sum(self.missing.values())

    @property
    def known_clips(self) -> int:
        return self.here_clips + self.missing_clips

    def count_missing(self, reasons: Collection[str]) -> int:
        """Return how many clips are missing for any of these reasons."""
        return sum(count for reason, count in self.missing.items() if reason in reasons)

    @classmethod
    def sum(cls, several: Sequence[Counts]) -> Counts:
        sources = sum((Counter(one.sources) for one in several), Counter[str]())
        missing = sum((Counter(one.missing) for one in several), Counter[str]())
        return cls(
            sum(one.here_clips for one in several),
            sum(one.here_bytes for one in several),
            dict(sorted(sources.items())),
            sum(one.unchecked_clips for one in several),
            _in_order(missing),
            sum(one.failed_clips for one in several),
        )


@dataclass(frozen=True, slots=True)
class ClassStatus:
    """The status of one class of one split."""

    label: str
    """Class name, or `_unlabeled`. A test clip counts for the class in whose folder it is."""
    counts: Counts
    wanted_clips: int | None
    """All clips of the class; None where the host's list is not known, and for `test`."""
    tarball_state: str
    """`done`, `partial`, `started`, `damaged`, or empty: unread, or (`test`) of no one class."""
    complete: bool


@dataclass(frozen=True, slots=True)
class SplitStatus:
    """The status of one split."""

    split: str
    counts: Counts
    wanted_clips: int | None
    """All clips: those that the host lists, and any others here or in its tarballs. None where
    its list is not in the store, and for `test`, of which there is none."""
    complete: bool
    """Whether every clip that the host lists is here; for `test`, every clip of its tarballs."""
    listed_tarballs: int | None
    """How many the host has; None as long as no list of its tarballs is known."""
    tarball_states: Mapping[str, int]
    """Tarballs by each state of `k600.store.rows.TarballRow`."""
    classless_clips: int
    """Clips in flat folders that no list here gives a class; counted nowhere else."""
    other_list: bool
    """Whether the mirror's list is not known, but that of another mirror is kept here."""
    other_mirror_clips: int
    """Clips that are here as another mirror has them; counted nowhere else."""
    classes: tuple[ClassStatus, ...] = field(repr=False)
    """In id order; those of the request, else those of which something is known."""

    @property
    def settled(self) -> bool:
        """Whether a download would bring nothing more, as far as is known here."""
        if self.counts.failed_clips or self.counts.count_missing(_MAY_COME):
            return False

        read = self.tarball_states["done"] + self.tarball_states["damaged"]
        if Split(self.split).is_mixed:
            return self.listed_tarballs is not None and read >= self.listed_tarballs
        incomplete = [one for one in self.classes if not one.complete]
        return self.wanted_clips is not None and all(
            one.tarball_state in ("done", "damaged") for one in incomplete
        )

    @property
    def incomplete_classes(self) -> tuple[ClassStatus, ...]:
        """The classes that are not complete, the worst first."""

        def share(one: ClassStatus) -> tuple[float, int]:
            counts = one.counts
            return counts.here_clips / (counts.known_clips or 1), -counts.missing_clips

        return tuple(sorted((one for one in self.classes if not one.complete), key=share))


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """The status of a store."""

    data_dir: str
    exists: bool
    mirror: str
    """The mirror whose lists count, without credentials."""
    splits: tuple[SplitStatus, ...]

    @property
    def complete(self) -> bool:
        return all(split.complete for split in self.splits)


def read_status(request: Request) -> StoreStatus:
    """Return the status of a request's store, split by split; only its classes are counted."""
    store = request.store
    store.check_folder()
    splits = tuple(_read_split(request, split) for split in request.splits)
    return StoreStatus(str(store.root), store.root.is_dir(), str(request.mirror), splits)


def count_listed(request: Request) -> dict[str, dict[str, int]]:
    """Return how many clips of each class the kept lists have, for each split with lists."""
    found = {}
    for split in (split for split in request.splits if not Split(split).is_mixed):
        lists = KeptLists(request.mirror, request.store, split)
        found[split] = {label: len(names) for label, names in lists.listing().items()}
    return found


def _read_split(request: Request, split: str) -> SplitStatus:
    store, classes, mixed = request.store, request.classes, Split(split).is_mixed
    lists = KeptLists(request.mirror, store, split)
    listing = {} if mixed else lists.listing()
    tarballs = {tarball.name for tarball in lists.tarballs()} | set(listing)
    only = None if mixed else classes
    known, folders = request.ledger.view(split, sizes=True, only=only), Folders(store)
    if only is not None:
        tarballs &= set(only)

    inventory = Inventory(store, known, folders)
    labels = [folder.partition("/")[2] for folder in request.folders(split)]
    here = {label: set(inventory.names(f"{split}/{label}")) for label in labels}

    # Clips of other tools that no load has checked yet.
    unknown, classless = unknown_clips(
        store, split, request.folders(split), known, folders, lambda: listing, {}
    )
    paths = {(folder.partition("/")[2], name): path for folder, name, path in reversed(unknown)}
    for label, name in paths:
        here[label].add(name)
    warn_of_links(store, split, folders.outside_links)

    def size_of(label: str, name: str) -> int:
        try:
            return (store.root / paths.get((label, name), f"{split}/{label}/{name}")).stat().st_size
        except FileNotFoundError:  # removed just now
            return 0

    as_checked = [r for r in known.adopted if not r.problem or is_unchanged(store.root / r.path, r)]
    return count_clips(
        split,
        dataclasses.replace(known, adopted=as_checked),
        here,
        listing=listing,
        tarballs=len(tarballs) or None,
        only=classes,
        failed=find_failed(request, split),
        classless=classless,
        other_list=not mixed and not listing and _has_list(store, split),
        size_of=size_of,
    )


def _has_list(store: Store, split: str) -> bool:
    """Whether the list of any mirror is kept."""
    found = (store.root / META_DIR / "lists").glob(f"*-{split}-listing")
    return any(path.stat().st_size for path in found)


def count_clips(
    split: str,
    known: LedgerView,
    here: Mapping[str, Collection[str]],
    *,
    listing: Listing,
    tarballs: int | None,
    only: Collection[str] | None = None,
    failed: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    classless: int = 0,
    other_list: bool = False,
    size_of: Callable[[str, str], int] = lambda label, name: 0,
) -> SplitStatus:
    """Count the clips of a split. Pure.

    `known` has no adopted row with a problem whose file has gone. `here` has every class to count,
    with the file names that are here; `only` are the classes to report, None for all. `tarballs` is
    the host's number of them, if known. `failed` are the clips that `kinetics600 verify` found bad:
    reasons by class and file name. `size_of` is called for clips that no row describes.
    """
    reasons, origins = _reasons(known, here), _origins(known)
    states = Counter(row.state for row in known.tarballs.values())
    done = tarballs is not None and states["done"] >= tarballs
    mixed = Split(split).is_mixed
    seen: set[str] = set()

    def count_once(names: Iterable[str]) -> set[str]:
        """Return new names: a test clip may lie twice, as it came without its label, and with."""
        found = set(names).difference(seen)
        seen.update(found if mixed else ())
        return found

    names = {label: count_once(found) for label, found in here.items()}
    classes = []
    for label, own in names.items():
        row = known.tarballs.get(label)
        usual = "tarball_condemned" if is_condemned(row) else "not_fetched"
        why = {**dict.fromkeys(listing.get(label, ()), usual), **reasons.get(label, {})}
        lost = count_once(why.keys() - own)
        if only is not None and label not in only:
            continue

        bad = {name: why for name, why in failed.get(label, {}).items() if name in own}
        of_class = origins.get(label, {})
        good = [(name, *of_class.get(name, ("", 0))) for name in own if name not in bad]
        sources = Counter(source or "local" for _, source, _ in good)
        counts = Counts(
            len(good),
            sum(size_bytes or size_of(label, name) for name, _, size_bytes in good),
            dict(sorted(sources.items())),
            sum(not source for _, source, _ in good),
            _in_order(Counter([*(why[name] for name in lost), *bad.values()])),
            len(bad),
        )
        if counts.known_clips or row or only is not None:
            wanted = counts.known_clips if listing else None
            state = row.state if row else ""
            # Of a class that the list does not name, only its tarball tells what there is.
            proved = (mixed and done) or bool(wanted) or state == "done"
            whole = proved and not counts.missing
            classes.append(ClassStatus(label, counts, wanted, state, complete=whole))

    hidden = known.hidden()
    counts = Counts.sum([one.counts for one in classes])
    return SplitStatus(
        split,
        counts,
        counts.known_clips if listing else None,
        all(one.complete for one in classes) and (bool(listing) or (mixed and done)),
        tarballs,
        {state: states[state] for state in ("done", "partial", "started", "damaged")},
        classless,
        other_list,
        sum(len(hidden.get(f"{split}/{label}", ())) for label in here),
        tuple(classes),
    )


def _reasons(
    known: LedgerView, here: Mapping[str, Collection[str]]
) -> Mapping[str, Mapping[str, str]]:
    """Return why clips that the ledger knows are not here, by class and file name."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    nothing_said = []
    for clip in known.lost(lambda folder: here.get(folder.partition("/")[2], ())):
        if clip.reason:
            found[clip.folder.partition("/")[2]].setdefault(clip.file_name, clip.reason)
        else:
            nothing_said.append((clip.folder, clip.file_name, clip.tarball))
    for answer in known.answers:
        own = found[answer.folder.partition("/")[2]]
        if answer.kind != "have":
            own.setdefault(answer.file_name, f"youtube_{answer.kind}")
        else:
            nothing_said.append((answer.folder, answer.file_name, ""))

    condemned = {name for name, row in known.tarballs.items() if is_condemned(row)}
    for folder, name, tarball in nothing_said:
        label = folder.partition("/")[2]
        usual = "tarball_condemned" if {tarball, label} & condemned else "not_fetched"
        found[label].setdefault(name, usual)
    return found


def _origins(known: LedgerView) -> Mapping[str, Mapping[str, tuple[str, int]]]:
    """Return source and size in bytes of clips that were stored or adopted, by class and name."""
    found: dict[str, dict[str, tuple[str, int]]] = defaultdict(dict)
    for group in known.groups:
        own = found[group.folder.partition("/")[2]]
        own |= {name: (group.source, group.sizes.get(name, 0)) for name in group.names}
    for row in known.adopted:
        if not row.problem:
            found[row.folder.partition("/")[2]][row.file_name] = "local", row.size_bytes
    for folder, sizes in known.cuts.items():
        own = found[folder.partition("/")[2]]
        own |= {name: ("youtube", size_bytes) for name, size_bytes in sizes.items()}
    return found


def _in_order(missing: Mapping[str, int]) -> dict[str, int]:
    """Return counts in the order of `REASONS`, the same for every class."""
    return {reason: missing[reason] for reason in REASONS if reason in missing}


def advise(status: StoreStatus) -> Iterator[tuple[str, str, list[str]]]:
    """Yield what to do about each split that is not complete: split, reason, command. Pure.

    The command is one of `kinetics600` with options beside those that select clips; or empty.
    """
    for split in status.splits:
        if not split.complete:
            for why, *command in _advise(split, status.mirror):
                yield split.split, why, command


def _advise(split: SplitStatus, mirror: str) -> Iterator[tuple[str, ...]]:
    counts = split.counts
    if count := split.other_mirror_clips:
        yield (
            f"{counted(count, 'more clip')} here came from another mirror than {mirror}, which may "
            "have others of their names; its --mirror … shows them, and --source local loads them",
        )

    may_come = counts.count_missing(_UNPROVED | _REFUSED - {"youtube_gone", "youtube_clip"})
    if split.other_list:
        yield ("the list kept here is another mirror's; --mirror … says which",)
    elif not counts.here_clips:
        yield "what it takes to have it", "plan"
    elif may_come or not counts.missing:
        yield "go on", "download"

    if counts.count_missing(_REFUSED - {"youtube_transient"}):
        yield "what YouTube has not may be in the tarballs", "download", "--source", "cvdf"
    if counts.failed_clips:
        yield "mend the files here that verify found bad", "verify", "--repair"

    proved = counts.missing_clips - counts.failed_clips - counts.count_missing(_UNPROVED | _REFUSED)
    if proved or split.tarball_states["damaged"]:
        yield "ask again for what the host has no good file of", "download", "--retry-errors"
    if count := split.classless_clips:
        yield (f"{counted(count, 'more clip')} in flat folders, whose class no list here tells",)

"""How a store stands: every clip of every class counted once, from what is known and there. Pure.

`k600.checks.status` looks at a store and asks this file. A clip is in the first state that holds:

    corrupt   the file that is here failed a later check (`kinetics600 verify`)
    have      the file is here
    corrupt   no good in the host's tarball, or the file that others left here is no good
    absent    listed by the host, but not in its tarball
    gone      YouTube: private, removed, terminated, or without these seconds
    blocked   YouTube has it, but not for this country, account, address or yt-dlp
    missing   none of these: listed, or once seen in a tarball, and not here

A clip that is *gone* or *blocked* may still come from a tarball that was not read yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial

from k600.clip import Listing
from k600.reasons import YOUTUBE_KINDS
from k600.splits import Split
from k600.store.rows import LedgerView

__all__ = ["ClassStatus", "Counts", "SplitStatus", "StoreStatus", "TarballCounts", "count_clips"]

_TARBALL_STATES = ("done", "partial", "started", "damaged")
_STATE_OF_KIND = {"gone": "gone", "clip": "gone"} | dict.fromkeys(
    ("blocked", "auth", "client", "region"), "blocked"
)


@dataclass(frozen=True, slots=True)
class Counts:
    """Clips by state; then, of those that are here, where they came from."""

    have: int = 0
    missing: int = 0
    corrupt: int = 0
    absent: int = 0
    gone: int = 0
    blocked: int = 0
    cvdf: int = 0
    """Of `have`: from the host's tarballs."""
    youtube: int = 0
    """Of `have`: cut from YouTube."""
    local: int = 0
    """Of `have`: in the folder before, or brought by other tools."""
    unchecked: int = 0
    """Of `local`: those that no load has looked into yet; the next one does."""
    failed: int = 0
    """Of `corrupt`: files here that `kinetics600 verify` found to be no good."""
    bytes_here: int = 0
    """What the clips of `have` take on disk, in bytes."""

    @property
    def lacking(self) -> int:
        """Clips that are known of and cannot be used."""
        return self.missing + self.corrupt + self.absent + self.gone + self.blocked

    @property
    def known(self) -> int:
        """Clips that are known of at all."""
        return self.have + self.lacking

    @classmethod
    def sum(cls, several: Iterable[Counts]) -> Counts:
        """Return the sums."""
        several = list(several)
        return cls(*(sum(getattr(one, f.name) for one in several) for f in fields(cls)))


@dataclass(frozen=True, slots=True)
class ClassStatus:
    """How one class of one split stands."""

    label: str
    """Class name, or `_unlabeled`. A test clip counts for the class in whose folder it is."""
    counts: Counts
    total: int | None
    """All clips of the class; None where the host's list is not known, and for `test`."""
    tarball: str
    """`done`, `partial`, `started`, `damaged`, or empty: unread, or (`test`) of no one class."""
    complete: bool
    """Whether every clip that the host lists is here."""


@dataclass(frozen=True, slots=True)
class TarballCounts:
    """Tarballs by state; see `k600.store.ledger.TarballRow.state`."""

    listed: int | None
    """How many the host has; None as long as no list of it says."""
    done: int = 0
    partial: int = 0
    started: int = 0
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class SplitStatus:
    """How one split stands."""

    split: str
    counts: Counts
    total: int | None
    """All clips: those that the host lists, and any others here or in its tarballs. None where
    its list is not in the store, and for `test`, of which there is none."""
    complete: bool
    """Whether every clip that the host lists is here; for `test`, every clip of its tarballs."""
    tarballs: TarballCounts
    refusals: dict[str, int]
    """What YouTube said of clips that are not here: counts by kind (`k600.youtube.refusals`)."""
    classless: int
    """Clips in flat folders whose class no list that is here tells; counted nowhere else."""
    other_list: bool
    """Whether the list is not known, but that of another mirror is kept here."""
    other_mirrors: int
    """Clips that are here as another mirror has them; counted nowhere else."""
    classes: tuple[ClassStatus, ...] = field(repr=False)
    """In id order; those asked for, else those of which something is known."""

    @property
    def settled(self) -> bool:
        """Whether a download would bring nothing more, as far as is known here."""
        counts, read = self.counts, ("done", "damaged")
        if counts.missing or counts.failed or self.refusals.get("blocked"):
            return False
        if Split(self.split).is_mixed:
            proved = self.tarballs.done + self.tarballs.damaged
            return self.tarballs.listed is not None and proved >= self.tarballs.listed
        lacking = [one for one in self.classes if not one.complete]
        return self.total is not None and all(one.tarball in read for one in lacking)


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How a store stands."""

    data_dir: str
    exists: bool
    mirror: str
    """The mirror whose lists count, without credentials."""
    splits: tuple[SplitStatus, ...]

    @property
    def complete(self) -> bool:
        """Whether every clip that the host lists is here."""
        return all(split.complete for split in self.splits)


def count_clips(
    split: str,
    known: LedgerView,
    here: Mapping[str, Collection[str]],
    *,
    listing: Listing,
    tarballs: int | None,
    only: Collection[str] | None = None,
    failed: Mapping[str, Collection[str]] | None = None,
    classless: int = 0,
    other_list: bool = False,
    size_of: Callable[[str, str], int] = lambda label, name: 0,
) -> SplitStatus:
    """Count the clips of a split. Pure.

    Args:
        split: Which.
        known: What the ledger says. Of its adopted rows with a problem, those alone whose file is
            still there.
        here: File names of the clips that are here, for every class to look at.
        listing: The host's list; empty if it is not known, and for `test`.
        tarballs: How many tarballs the host has, if that is known.
        only: The classes to report; None for all.
        failed: By class, file names of clips that failed a check of `kinetics600 verify`.
        classless: Clips in flat folders that no list gives a class.
        other_list: Whether another mirror's list is kept.
        size_of: Returns the size in bytes of a clip that is here and that no row tells.
    """
    facts = {label: _Facts() for label in here}
    for row in known.clips():
        if (own := facts.get(row.folder.partition("/")[2])) is not None:
            own.take(row.file_name, row.state, row.source, row.size_bytes)
    for adopted in known.adopted:
        if (own := facts.get(adopted.folder.partition("/")[2])) is not None:
            state = "bad" if adopted.problem else "adopted"
            own.take(adopted.file_name, state, "local", adopted.size_bytes)
    for answer in known.answers:
        if (own := facts.get(answer.folder.partition("/")[2])) is not None:
            if answer.kind == "have":
                own.take(answer.file_name, "have", "youtube", answer.size_bytes)
            else:
                own.answers[answer.file_name] = answer.kind
                own.known.add(answer.file_name)
    states = Counter(row.state for row in known.tarballs.values())
    done = tarballs is not None and states["done"] >= tarballs
    refusals: Counter[str] = Counter()
    seen: set[str] = set()  # a test clip may lie twice: as it came without its label, and with
    names = {label: set(found) for label, found in here.items()}
    mixed = Split(split).is_mixed
    if mixed:
        for own_names in names.values():
            own_names -= seen
            seen |= own_names
    classes = []
    for label, own in facts.items():
        own.known.update(listing.get(label, ()))
        lost = own.known - names[label]
        if mixed:
            lost -= seen
            seen |= lost
        if only is not None and label not in only:
            continue
        bad = (failed or {}).get(label, ())
        size_here = partial(size_of, label)
        counts = own.count(names[label], lost, bad, size_here)
        refusals.update(own.answers[name] for name in lost if name in own.answers)
        tarball = known.tarballs.get(label)
        if counts.known or tarball or only is not None:
            total = counts.known if listing else None
            state = tarball.state if tarball else ""
            # Of a class that the list does not name, only its tarball tells what there is.
            proved = bool(total) or state == "done" or (mixed and done)
            complete = proved and not counts.lacking
            classes.append(ClassStatus(label, counts, total, state, complete))
    hidden = known.hidden()
    elsewhere = sum(len(hidden.get(f"{split}/{label}", ())) for label in here)
    whole = Counts.sum(one.counts for one in classes)
    return SplitStatus(
        split,
        whole,
        whole.known if listing else None,
        all(one.complete for one in classes) and (bool(listing) or (mixed and done)),
        TarballCounts(
            tarballs, **{s: states[s] for s in ("done", "partial", "started", "damaged")}
        ),
        {kind: refusals[kind] for kind in YOUTUBE_KINDS if refusals[kind]},
        classless,
        other_list,
        elsewhere,
        tuple(classes),
    )


@dataclass(slots=True)
class _Facts:
    """What is known of the clips of one class, by file name."""

    known: set[str] = field(default_factory=set)
    origin: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Source and size in bytes of those that were stored or taken in."""
    bad: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    answers: dict[str, str] = field(default_factory=dict)

    def take(self, name: str, state: str, source: str, size_bytes: int) -> None:
        if state in ("have", "adopted"):
            self.origin[name] = source, size_bytes
        elif state == "bad":
            self.bad.add(name)
        elif state == "absent":
            self.absent.add(name)
        if state != "adopted":  # one that others brought and took away again is nobody's loss
            self.known.add(name)

    def count(
        self,
        here: Collection[str],
        lost: Collection[str],
        failed: Collection[str],
        size_of: Callable[[str], int],
    ) -> Counts:
        counts: Counter[str] = Counter()
        for name in here:
            if name in failed:
                counts["corrupt"] += 1
                counts["failed"] += 1
                continue
            source, size_bytes = self.origin.get(name) or ("", 0)
            if not source:
                source = "local"
                counts["unchecked"] += 1
            counts["have"] += 1
            counts[source] += 1
            counts["bytes_here"] += size_bytes or size_of(name)
        for name in lost:
            if name in self.bad:
                counts["corrupt"] += 1
            elif name in self.absent:
                counts["absent"] += 1
            else:
                counts[_STATE_OF_KIND.get(self.answers.get(name, ""), "missing")] += 1
        return Counts(**counts)

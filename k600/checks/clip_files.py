"""Look into many clip files: which, several at a time, and what is said of them.

What is found goes into the ledger as it comes, so that a run that was stopped goes on where it was.
Nothing here changes a clip.
"""

from __future__ import annotations

import contextlib
import datetime
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from k600.ahead import map_ahead
from k600.clip import TestLabels, parse_file_name
from k600.loading.request import Request
from k600.splits import Split
from k600.store.ledger import CheckRow, Ledger, LedgerView
from k600.store.store import Store
from k600.video.probe import Probe, probe_clip

__all__ = ["FATES", "Finding", "Report", "SplitReport", "Target", "check_clips", "find_targets"]

_COMMIT_SECONDS = 2.0
_COMMIT_ROWS = 500
"""A run that is killed loses no more than this."""

FATES: dict[str, str] = {
    "reported": "it is where it was",
    "quarantined": "it was moved aside; the next load fetches it again",
    "left_out": "it belongs to another tool and stays, but is not served; a load fetches another",
    "repaired": "it was fetched again, and is good now",
    "bad_at_source": "the source has the same bytes; it is left out (retry_errors asks again)",
}
"""What may become of a bad clip, in words."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A clip that is bad or short."""

    split: str
    folder: str
    """`<split>/<class name>` that it belongs to."""
    file_name: str
    path: str
    """Where the file lies or lay, relative to the store."""
    verdict: str
    """A key of `k600.checks.clip_files.VERDICTS`."""
    detail: str
    fate: str = "reported"
    """A key of `FATES`."""
    why: str = ""
    """Why it was not put aside or repaired, where that was asked for."""


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What was found in one split."""

    split: str
    classes: Mapping[str, Mapping[str, int]]
    """How many clips of each verdict, by class, as it is after all repairs."""
    bad: tuple[Finding, ...]
    """Every clip that was found bad, repaired or not."""
    short: tuple[Finding, ...]
    reused: int
    """How many clips were not looked into, as an earlier run had done so."""

    @property
    def verdicts(self) -> Counter[str]:
        """How many clips of each verdict."""
        return sum((Counter(counts) for counts in self.classes.values()), Counter[str]())

    @property
    def clips(self) -> int:
        """How many clips there are or should be."""
        return self.verdicts.total()

    def as_plain(self) -> dict[str, Any]:
        """Return it as plain data, for JSON."""
        return {
            "split": self.split,
            "checked_clips": self.clips,
            "reused_clips": self.reused,
            "verdicts": dict(self.verdicts),
            "classes": [
                {"label": label, "verdicts": dict(counts)} for label, counts in self.classes.items()
            ],
            "bad": [asdict(finding) for finding in self.bad],
            "short": [asdict(finding) for finding in self.short],
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify_clips` found."""

    depth: str
    """`quick` or `deep`."""
    splits: tuple[SplitReport, ...]
    seconds: float
    """How long it took."""

    @property
    def bad(self) -> tuple[Finding, ...]:
        """The clips that are bad still."""
        found = [finding for split in self.splits for finding in split.bad]
        return tuple(finding for finding in found if finding.fate != "repaired")

    @property
    def clips(self) -> int:
        """How many clips there are or should be."""
        return sum(split.clips for split in self.splits)

    @property
    def reused(self) -> int:
        """How many of them were not looked into, as an earlier run had done so."""
        return sum(split.reused for split in self.splits)

    @property
    def clips_per_second(self) -> float:
        """How many clips were looked into each second."""
        return (self.clips - self.reused) / self.seconds if self.seconds else 0.0

    def as_plain(self) -> dict[str, Any]:
        """Return it as plain data, for JSON."""
        return {
            "depth": self.depth,
            "good": not self.bad,
            "checked_clips": self.clips,
            "reused_clips": self.reused,
            "seconds": round(self.seconds, 3),
            "clips_per_second": round(self.clips_per_second, 2),
            "splits": [split.as_plain() for split in self.splits],
        }


class Target(NamedTuple):
    """A file to look into."""

    folder: str
    """`<split>/<class name>` that the clip belongs to."""
    file_name: str
    path: str
    """Where the file lies, relative to the store."""

    @property
    def is_foreign(self) -> bool:
        """Whether it lies in another tool's tree: then it is never touched."""
        return self.path != f"{self.folder}/{self.file_name}"


def find_targets(
    request: Request, split: str, known: LedgerView, labels: TestLabels
) -> Iterator[Target]:
    """Yield what to look into, folder by folder: the files that are there or should be.

    Args:
        request: Says which classes, or which manifest.
        split: One of its splits.
        known: What the ledger says of it, and what others brought.
        labels: Labels of test clips.
    """
    store = request.store
    frozen = None if request.manifest is None else request.manifest.of(split).keys()
    listed = None if frozen is None else {(clip.folder, clip.file_name) for clip in frozen}
    elsewhere: dict[str, dict[str, str]] = {}
    for row in sorted(known.adopted, key=lambda row: bool(row.problem)):
        if row.path != f"{row.folder}/{row.file_name}" and store.has(row.path):
            elsewhere.setdefault(row.folder, {}).setdefault(row.file_name, row.path)
    stored: dict[str, set[str]] = {}
    begun = {name for name, row in known.tarballs.items() if row.state == "started"}
    for folder, name in (  # a row may be there before its clip, as long as its tarball is read
        *(
            (h.folder, name)
            for h in known.groups
            if h.tarball.name not in begun
            for name in h.names
        ),
        *((row.folder, row.file_name) for row in known.answers if row.kind == "have"),
    ):
        stored.setdefault(folder, set()).add(name)
    folders = request.folders(split)
    own = {folder: store.inventory(folder) for folder in folders}
    moved = set[str]().union(*own.values()) if Split(split).is_mixed else set[str]()

    def is_wanted(folder: str, name: str) -> bool:
        times = parse_file_name(name)
        label = folder.partition("/")[2]
        if times is None:
            return False
        if Split(split).is_mixed:
            label = labels.get(times) or label
        if listed is not None:
            return (f"{split}/{label}", name) in listed
        return request.classes is None or label in request.classes

    for folder in folders:
        others = elsewhere.get(folder, {})
        lost = stored.get(folder, set()) - moved  # a test clip may lie under its label by now
        for name in sorted(own[folder] | others.keys() | lost):
            if is_wanted(folder, name):
                place = f"{folder}/{name}"
                path = others.get(name, place) if name not in own[folder] else place
                yield Target(folder, name, path)


def check_clips(
    store: Store,
    split: str,
    targets: Iterable[Target],
    on_check: Callable[[Target, CheckRow, bool], object],
    *,
    deep: bool,
    again: bool,
    num_workers: int,
    record: bool = True,
) -> None:
    """Look into many files, several at a time; what was found goes into the ledger as it comes.

    A file that was looked into before, at least as deep, and has the same size and time since is
    not looked into again.

    Args:
        store: Where they are.
        split: Whose clips they are.
        targets: The files; those of a folder one after another.
        on_check: Called in the order of `targets`, with what was found and whether it is from
            an earlier run.
        deep: As for `probe_clip`.
        again: Look into all.
        num_workers: Threads, 1 or more.
        record: Whether the ledger may be written.
    """
    ledger = Ledger(store.ledger_path)
    rows: list[CheckRow] = []
    committed = time.monotonic()

    def commit() -> None:
        nonlocal committed
        if rows and record:
            ledger.record_checks(split, rows)
        rows.clear()
        committed = time.monotonic()

    checked = map_ahead(
        lambda pair: _check(store, *pair, deep, again),
        _with_earlier(ledger, split, targets),
        threads=num_workers,
        most_ahead=8 * num_workers,
        name="k600-verify",
    )
    try:
        with contextlib.closing(checked):
            for (target, _), (row, known) in checked:
                if not known and row.verdict != "vanished":
                    rows.append(row)
                on_check(target, row, known)
                if len(rows) >= _COMMIT_ROWS or time.monotonic() - committed > _COMMIT_SECONDS:
                    commit()
    finally:
        commit()


def _with_earlier(
    ledger: Ledger, split: str, targets: Iterable[Target]
) -> Iterator[tuple[Target, CheckRow | None]]:
    folder, earlier = "", dict[str, CheckRow]()
    for target in targets:
        if target.folder != folder:
            folder = target.folder
            earlier = {row.path: row for row in ledger.checks(split, folder)}
        yield target, earlier.get(target.path)


def _check(
    store: Store, target: Target, before: CheckRow | None, deep: bool, again: bool
) -> tuple[CheckRow, bool]:
    path = store.root / target.path
    size_bytes = mtime_ns = 0
    link = store.leads_out(target.path)
    if link is None:
        with contextlib.suppress(OSError):
            status = path.stat()
            size_bytes, mtime_ns = status.st_size, status.st_mtime_ns
    if (
        before is not None
        and not again
        and mtime_ns
        and (before.size_bytes, before.mtime_ns) == (size_bytes, mtime_ns)
        and (before.depth == "deep" or not deep)
        and before.verdict != "unreadable"  # that may have passed
    ):
        return before, True
    times = parse_file_name(target.file_name)
    assert times is not None  # nothing else is looked for
    if link is None:
        probe = probe_clip(path, seconds=times[2] - times[1], deep=deep)
    else:
        probe = Probe("vanished", f"the link '{link}' leads out of the store")
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    row = CheckRow(
        target.folder,
        target.file_name,
        target.path,
        size_bytes,
        mtime_ns,
        "deep" if deep else "quick",
        probe.verdict,
        probe.detail,
        round(probe.duration_seconds, 3),
        probe.width,
        probe.height,
        round(probe.fps, 3),
        now,
    )
    if probe.verdict == "vanished" and before is not None and before.moved_to:
        found = f"{before.verdict}, and was moved to {before.moved_to}"
        row = row._replace(detail=found, moved_to=before.moved_to)
    return row, False

"""Check many clip files: which, and several at a time. Nothing here changes a clip."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from k600.ahead import map_ahead
from k600.dataset.clip import TestLabels, parse_file_name
from k600.dataset.splits import Split
from k600.loading.request import Request
from k600.store.files import crc32_of
from k600.store.ledger import Ledger
from k600.store.rows import CheckRow, LedgerView
from k600.store.store import Store
from k600.video.probe import Probe, probe_clip

_COMMIT_SECONDS = 2.0
_COMMIT_ROWS = 500
"""A run that is killed loses no more than this."""


class Target(NamedTuple):
    """A file to check."""

    folder: str
    """`<split>/<class name>` that the clip belongs to."""
    file_name: str
    path: str
    """Where the file lies, relative to the store."""

    @property
    def label(self) -> str:
        """Class name, or `_unlabeled`."""
        return self.folder.partition("/")[2]

    @property
    def is_foreign(self) -> bool:
        """Whether it lies in another tool's tree: then it is never touched."""
        return self.path != f"{self.folder}/{self.file_name}"


def find_targets(
    request: Request, split: str, known: LedgerView, labels: TestLabels
) -> Iterator[Target]:
    """Yield the files to check, folder by folder: those that are there or should be."""
    store, mixed = request.store, Split(split).is_mixed
    listed = None
    if request.manifest is not None:
        listed = {(clip.folder, clip.file_name) for clip in request.manifest.of(split)}

    # Where clips of other tools lie; one that is good comes before one that is bad.
    elsewhere: dict[str, dict[str, str]] = {}
    for row in sorted(known.adopted, key=lambda row: bool(row.problem)):
        if not row.is_at_place and store.has(row.path):
            elsewhere.setdefault(row.folder, {}).setdefault(row.file_name, row.path)

    folders = request.folders(split)
    own = {folder: store.inventory(folder) for folder in folders}
    # While a tarball is being read, a row may come before its clip.
    begun = {name for name, row in known.tarballs.items() if row.state == "started"}
    groups = [group for group in known.groups if group.tarball.name not in begun]
    stored = dataclasses.replace(known, groups=groups).stored()
    moved = set[str]().union(*own.values()) if mixed else set[str]()

    def is_wanted(folder: str, name: str) -> bool:
        times = parse_file_name(name)
        label = folder.partition("/")[2]
        if times is None:
            return False
        if mixed:
            label = labels.get(times) or label
        if listed is not None:
            return (f"{split}/{label}", name) in listed
        return request.classes is None or label in request.classes

    for folder in folders:
        others = elsewhere.get(folder, {})
        # A test clip may lie under its label by now.
        lost = set[str]().union(*stored.get(folder, ())) - moved
        for name in sorted(own[folder] | others.keys() | lost):
            if is_wanted(folder, name):
                place = f"{folder}/{name}"
                path = others.get(name, place) if name not in own[folder] else place
                yield Target(folder, name, path)


def check_clips(
    store: Store,
    split: str,
    targets: Iterable[Target],
    *,
    deep: bool,
    again: bool,
    num_workers: int,
    record: bool,
) -> Generator[tuple[Target, CheckRow, bool], None, None]:
    """Yield the result for each file, and whether it is an earlier run's.

    Several are checked at a time. With `record`, the ledger gets the results as they come, the last
    ones as the generator is closed. A file that has not changed since it was checked at least as
    deeply is checked only if `again`. The targets of a folder must follow each other.
    """
    ledger = Ledger(store.ledger_path)
    rows: list[CheckRow] = []
    committed = time.monotonic()
    checked = map_ahead(
        lambda known: _check(store, *known, deep, again),
        _with_known(ledger, split, targets, checksums=deep and not store.within),
        threads=num_workers,
        most_ahead=8 * num_workers,
        name="k600-verify",
    )
    try:
        with contextlib.closing(checked):
            for (target, *_), (row, known) in checked:
                if record and not known and row.verdict != "vanished":
                    rows.append(row)
                yield target, row, known
                is_late = time.monotonic() - committed > _COMMIT_SECONDS
                if len(rows) >= _COMMIT_ROWS or (rows and is_late):
                    ledger.record_files(split, rows)
                    rows, committed = [], time.monotonic()
    finally:
        if rows:
            ledger.record_files(split, rows)


def _with_known(
    ledger: Ledger, split: str, targets: Iterable[Target], *, checksums: bool
) -> Iterator[tuple[Target, CheckRow | None, tuple[int, int] | None]]:
    """Yield each file with its earlier check, and its size and CRC-32 as it came, if there are."""
    for folder, own in itertools.groupby(targets, key=lambda target: target.folder):
        earlier = {row.path: row for row in ledger.checks(split, folder)}
        tarball = None if Split(split).is_mixed else folder.partition("/")[2]
        rows = ledger.clips(split, tarball, folder=folder) if checksums else ()
        came = {
            f"{folder}/{row.file_name}": (row.size_bytes, row.crc32)
            for row in rows
            if (row.state, row.source) == ("have", "cvdf") and row.crc32 is not None
        }
        for target in own:
            yield target, earlier.get(target.path), came.get(target.path)


def _check(
    store: Store,
    target: Target,
    before: CheckRow | None,
    came: tuple[int, int] | None,
    deep: bool,
    again: bool,
) -> tuple[CheckRow, bool]:
    """Return the result for a file, and whether it is an earlier run's."""
    path = store.root / target.path
    size_bytes = mtime_ns = 0
    link = store.outside_link(target.path)
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
        # One of another size is a user's own.
        if probe.verdict in ("ok", "short") and came is not None and came[0] == size_bytes:
            probe = _compare(path, probe, crc32=came[1])
    else:
        probe = Probe("vanished", f"the link '{link}' leads out of the store")

    detail, moved_to = probe.detail, ""
    if probe.verdict == "vanished" and before is not None and before.moved_to:
        moved_to = before.moved_to
        detail = f"{before.verdict}, and was moved to {moved_to}"

    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    row = CheckRow(
        *target,
        size_bytes,
        mtime_ns,
        "deep" if deep else "quick",
        probe.verdict,
        detail,
        round(probe.duration_seconds, 3),
        probe.width,
        probe.height,
        round(probe.fps, 3),
        now,
        moved_to,
    )
    return row, False


def _compare(path: Path, probe: Probe, *, crc32: int) -> Probe:
    """Return the result for a file that can be decoded: its bytes may have changed all the same."""
    try:
        found = crc32_of(path)
    except OSError as error:
        return dataclasses.replace(probe, verdict="unreadable", detail=str(error))
    if found == crc32:
        return probe
    detail = f"its CRC-32 is {found:08x}, not {crc32:08x}"
    return dataclasses.replace(probe, verdict="changed", detail=detail)

"""Verify the clips of a store: find those that are no good, put them aside, fetch them again.

What is found is kept in the ledger. Files that lie in another tool's tree are never moved or
changed: a bad one is noted, and not served any more.
"""

from __future__ import annotations

import contextlib
import filecmp
import logging
import os
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from k600.checks.clip_files import Target, check_clips, find_targets
from k600.checks.repair import Finding, Report, SplitReport, fetch_again, put_aside
from k600.dataset.reasons import BAD_FILE_REASONS, REASONS, reason_of_verdict
from k600.errors import NoClipsError, StoreError
from k600.loading.options import choice_error
from k600.loading.request import Request
from k600.loading.state import read_state
from k600.progress import Progress, no_progress
from k600.store.rows import CheckRow
from k600.store.store import Store
from k600.video.probe import BAD

logger = logging.getLogger("kinetics600")


def verify_clips(
    request: Request,
    *,
    deep: bool = False,
    again: bool = False,
    quarantine: bool = False,
    repair: bool = False,
    progress: Progress = no_progress,
) -> Report:
    """Check every clip that is in the store for a request, several at a time.

    A clip that is in the ledger and not in its folder is `vanished`. With neither `quarantine` nor
    `repair`, no clip is moved, and no network is used.

    Args:
        request: Its splits, classes or manifest are verified; it may have no limits.
        deep: Decode every frame of video and audio (some 50 times slower), and compare clips as
            they came from a tarball with the CRC-32 that they had there.
        again: Check also the files that are the same as when an earlier run did.
        quarantine: Move bad clips to `.kinetics600/quarantine/<split>/<class name>/`; those in
            another tool's tree stay, and are not served any more. Short ones count as good.
        repair: Do so, then fetch from where they came exactly those clips, and verify them. One
            that comes with the same bytes is bad at its source and not fetched again.
        progress: Makes the progress bar.

    Raises:
        OptionError: The request has limits.
        NoClipsError: The store has no clip of the request.
    """
    started = time.perf_counter()
    runs = [Verification(request, split, deep, progress) for split in _splits_of(request)]
    if not any(run.targets for run in runs):
        raise NoClipsError(
            f"kinetics600: there is no clip of the request in '{request.store.root}' to verify. "
            "Pass data_dir=… the folder that holds them"
        )

    record = _prepare(request.store, must=quarantine or repair)
    for run in runs:
        run.check(again=again, record=record)
        if quarantine or repair:
            run.put_aside()
        if repair:
            run.repair()
    depth, splits = "deep" if deep else "quick", tuple(run.report() for run in runs)
    return Report(depth, splits, time.perf_counter() - started)


def _splits_of(request: Request) -> Sequence[str]:
    """Return the splits of a request, if it is one that can be verified."""
    if request.limits.limited or request.exclude_overlap:
        raise choice_error(
            "whole splits or classes are verified, or the clips of a manifest; leave them out",
            but=("manifest",),
        )
    request.store.check_folder()
    return request.splits


def _prepare(store: Store, *, must: bool) -> bool:
    """Prepare a store; return whether what is found can be kept in it, which it `must` be."""
    try:
        store.prepare()
    except StoreError as error:
        if must:
            raise
        logger.warning("%s. What is found is not kept", error)
        return False
    return True


def find_failed(request: Request, split: str) -> dict[str, dict[str, str]]:
    """Return the unchanged clips that failed their last check: reasons by class and file name."""
    failed: dict[str, dict[str, str]] = {}
    for row in request.ledger.checks(split):
        if row.verdict in BAD:
            with contextlib.suppress(OSError):
                status = os.stat(request.store.root / row.path)
                if (status.st_size, status.st_mtime_ns) == (row.size_bytes, row.mtime_ns):
                    label = row.folder.partition("/")[2]
                    failed.setdefault(label, {})[row.file_name] = reason_of_verdict(row.verdict)
    return failed


@dataclass(slots=True)
class Verification:
    """The verification of one split, step by step."""

    request: Request
    split: str
    deep: bool
    progress: Progress
    targets: list[Target] = field(init=False)
    reused: int = 0
    """How many files were not checked, as an earlier run had done so."""
    verdicts: dict[Target, str] = field(default_factory=dict)
    """What was found in each file."""
    findings: dict[Target, Finding] = field(default_factory=dict)
    """More on those that are not `ok`, and what became of them."""

    def __post_init__(self) -> None:
        # Files are checked whichever mirror they came from.
        of_any_mirror = replace(self.request, source="local", offline=True)
        state = read_state(of_any_mirror, self.split, keep=False, host=False)
        self.targets = list(find_targets(self.request, self.split, state.known, state.labels))

    def check(self, *, again: bool, record: bool) -> None:
        """Check the files; `record` says whether the ledger may be written."""
        for target, row, known in self._check(self.targets, again=again, record=record):
            self.reused += known
            self.verdicts[target] = row.verdict
            if row.verdict != "ok":
                self.findings[target] = Finding(self.split, row)

    def put_aside(self) -> None:
        """Take the bad clips out of what is served."""
        store = self.request.store
        for finding in self.findings.values():
            if finding.row.verdict in BAD:
                store.check_inside(store.root / finding.row.folder)
            if finding.row.verdict in BAD - {"vanished"}:
                put_aside(self.request, finding)

    def repair(self) -> None:
        """Fetch the bad clips again that are out of the way now, and check what came."""
        todo = [
            target
            for target, found in self.findings.items()
            if found.row.verdict == "vanished" or found.fate in ("quarantined", "left_out")
        ]
        if not todo:
            return

        state = read_state(self.request, self.split, keep=True)
        came, why = fetch_again(state, todo, self.progress)
        for target, (reason, detail) in why.items():
            finding = self.findings[target]
            finding.why = ": ".join(filter(None, (REASONS.get(reason), detail)))
            if reason in BAD_FILE_REASONS:
                finding.fate = "bad_at_source"

        places = [*dict.fromkeys(came.values())]
        found = {place: row for place, row, _ in self._check(places, again=True)}
        for target, place in came.items():
            if found[place].verdict in BAD:
                self._came_bad(target, place, found[place])
                continue
            self.findings[target].fate = "repaired"
            if place != target:
                del self.verdicts[target]
            self.verdicts[place] = found[place].verdict

    def _came_bad(self, target: Target, place: Target, row: CheckRow) -> None:
        """Put a clip aside that was fetched again and is bad again; note what that means."""
        finding, anew = self.findings[target], Finding(self.split, row)
        same = self._is_same(target, place)
        put_aside(self.request, anew)
        if same:
            reason = reason_of_verdict(row.verdict)
            ledger = self.request.ledger
            ledger.mark_bad_in_tarball(self.split, place.folder, place.file_name, reason)
            finding.fate = "bad_at_source"
            return
        finding.why = f"what came instead is {row.verdict}: {row.detail}"
        if place == target:
            finding.fate = anew.fate

    def report(self) -> SplitReport:
        """Return what was found, as it is now."""
        classes: dict[str, Counter[str]] = {}
        for target, verdict in self.verdicts.items():
            classes.setdefault(target.folder.partition("/")[2], Counter())[verdict] += 1
        found = self.findings.values()
        return SplitReport(
            self.split,
            {label: dict(counts) for label, counts in classes.items()},
            tuple(finding for finding in found if finding.row.verdict in BAD),
            tuple(finding for finding in found if finding.row.verdict == "short"),
            self.reused,
        )

    def _check(
        self, targets: Collection[Target], *, again: bool, record: bool = True
    ) -> Iterator[tuple[Target, CheckRow, bool]]:
        """Yield what `check_clips` does, behind a progress bar."""
        request = self.request
        how = {"deep": self.deep, "again": again, "record": record}
        checked = check_clips(
            request.store, self.split, targets, num_workers=request.num_workers, **how
        )
        with (
            self.progress(len(targets), f"{self.split}, verifying", unit="clip") as bar,
            contextlib.closing(checked),
        ):
            for found in checked:
                yield found
                bar.update(1)

    def _is_same(self, target: Target, place: Target) -> bool:
        """Whether the file that came is, byte for byte, the one that was bad."""
        before = target.path if target.is_foreign else self.findings[target].row.moved_to
        root = self.request.store.root
        try:
            return bool(before) and filecmp.cmp(root / before, root / place.path, shallow=False)
        except OSError:
            return False

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
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from k600.checks.clip_files import Target, check_clips, find_targets
from k600.dataset.clip import Tarball
from k600.dataset.reasons import BAD_FILE_REASONS, REASONS, reason_of_verdict
from k600.errors import Kinetics600Error, NoClipsError, StoreError
from k600.errors.translate import store_error, translate_errors
from k600.loading.fetch import Load
from k600.loading.options import choice_error
from k600.loading.request import Request
from k600.loading.selection import Candidate
from k600.loading.state import State, read_state
from k600.store.files import move_into_place
from k600.store.inventory import is_as_noted
from k600.store.rows import AdoptedRow, CheckRow
from k600.store.store import QUARANTINE, Store
from k600.video.probe import BAD

logger = logging.getLogger("kinetics600")

FATES: dict[str, str] = {
    "reported": "it is where it was",
    "quarantined": "it was moved aside; the next load fetches it again",
    "left_out": "it belongs to another tool and stays, but is not served; a load fetches another",
    "repaired": "it was fetched again, and is good now",
    "bad_at_source": "the source has the same bytes; it is left out (retry_errors asks again)",
}
"""What may become of a bad clip, in words."""


@dataclass(slots=True)
class Finding:
    """A clip that is bad or short, and what became of it."""

    split: str
    row: CheckRow
    """The check; after the file was moved, with its new place."""
    fate: str = "reported"
    """A key of `FATES`."""
    why: str = ""
    """Why it was not put aside or repaired, where that was asked for."""

    def as_plain(self) -> dict[str, str]:
        names = ("folder", "file_name", "path", "verdict", "detail")
        of_check = {name: getattr(self.row, name) for name in names}
        return {"split": self.split, **of_check, "fate": self.fate, "why": self.why}


@dataclass(slots=True)
class Verification:
    """The verification of one split: its steps, and what they found."""

    request: Request
    split: str
    deep: bool
    targets: list[Target] = field(init=False)
    classes: dict[str, Counter[str]] = field(default_factory=dict)
    """How many clips of each verdict, by class, as it is after all repairs."""
    findings: dict[Target, Finding] = field(default_factory=dict)
    """More on those that are not `ok`, and what became of them."""
    reused: int = 0
    """How many clips were not checked, as an earlier run had done so."""

    def __post_init__(self) -> None:
        # Files are checked whichever mirror they came from.
        of_any_mirror = replace(self.request, source="local", offline=True)
        state = read_state(of_any_mirror, self.split, keep=False, host=False)
        self.targets = list(find_targets(self.request, self.split, state.known, state.labels))

    @property
    def bad(self) -> tuple[Finding, ...]:
        """Every clip that was found bad, repaired or not."""
        return tuple(found for found in self.findings.values() if found.row.verdict in BAD)

    @property
    def short(self) -> tuple[Finding, ...]:
        return tuple(found for found in self.findings.values() if found.row.verdict == "short")

    @property
    def verdicts(self) -> Counter[str]:
        return sum(self.classes.values(), Counter[str]())

    @property
    def clips(self) -> int:
        """How many clips there are or should be."""
        return self.verdicts.total()

    def as_plain(self) -> dict[str, Any]:
        classes = [{"label": name, "verdicts": dict(n)} for name, n in self.classes.items()]
        return {
            "split": self.split,
            "checked_clips": self.clips,
            "reused_clips": self.reused,
            "verdicts": dict(self.verdicts),
            "classes": classes,
            "bad": [finding.as_plain() for finding in self.bad],
            "short": [finding.as_plain() for finding in self.short],
        }

    def check(self, *, again: bool, record: bool) -> None:
        """Check the files; `record` says whether the ledger may be written."""
        for target, row, known in self._check(self.targets, again=again, record=record):
            self.reused += known
            self.classes.setdefault(target.label, Counter())[row.verdict] += 1
            if row.verdict != "ok":
                self.findings[target] = Finding(self.split, row)

    def put_aside(self) -> None:
        """Take the bad clips out of what is served."""
        store = self.request.store
        for finding in self.bad:
            store.check_inside(store.root / finding.row.folder)
            if finding.row.verdict != "vanished":
                put_aside(self.request, finding)

    def repair(self) -> None:
        """Fetch the bad clips again that are out of the way now, and check what came.

        A clip from YouTube comes from there again, and with `source="auto"` from its tarball if
        YouTube no longer has it. One that the ledger knows to be bad in its tarball is not fetched,
        unless `retry_errors` is given.
        """
        todo = {
            (target.label, target.file_name): target
            for target, found in self.findings.items()
            if found.row.verdict == "vanished" or found.fate in ("quarantined", "left_out")
        }
        if not todo:
            return

        state = read_state(self.request, self.split, keep=True)
        load, error = _load(state, todo)
        if error and load.state.may_ask and load.state.from_tarballs:
            without = replace(load.state.now(), may_ask=False)
            load, error = _load(without, todo)

        load.state = now = load.state.now()
        tarballs = now.places.tarballs_of(todo, now.known)
        came: dict[Target, Target] = {}
        for candidate, target in todo.items():
            folder, name = now.place_of(candidate), target.file_name
            if folder is not None:
                came[target] = Target(folder, name, f"{folder}/{name}")
            else:
                self._came_not(load, candidate, target, tarballs.get(candidate), error)

        places = [*dict.fromkeys(came.values())]
        found = {place: row for place, row, _ in self._check(places, again=True)}
        for target, place in came.items():
            if found[place].verdict in BAD:
                self._came_bad(target, place, found[place])
                continue
            finding = self.findings[target]
            finding.fate = "repaired"
            self.classes[target.label] -= Counter([finding.row.verdict])
            self.classes.setdefault(place.label, Counter())[found[place].verdict] += 1

    def _came_not(
        self,
        load: Load,
        candidate: Candidate,
        target: Target,
        tarball: Tarball | None,
        error: str,
    ) -> None:
        """Note why a clip was not fetched."""
        reason, detail = load.plan.refused.get(candidate), load.details.get(candidate, "")
        failure = load.state.host.failures.get(tarball) if tarball else None
        if reason is None and (error or tarball is None):
            detail = error or "no list says which tarball holds it; load the split"
        elif reason is None:
            reason = "not_stored"
        elif failure and failure.reason == reason:
            detail = detail or str(failure.error)

        finding = self.findings[target]
        finding.why = ": ".join(filter(None, (REASONS.get(reason or ""), detail)))
        if reason in BAD_FILE_REASONS:
            finding.fate = "bad_at_source"

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
            self.request.progress(len(targets), f"{self.split}, verifying", unit="clip") as bar,
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


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify_clips` found."""

    depth: str
    """`quick` or `deep`."""
    splits: tuple[Verification, ...]
    seconds: float

    @property
    def bad(self) -> tuple[Finding, ...]:
        """The clips that are still bad."""
        found = (finding for split in self.splits for finding in split.bad)
        return tuple(finding for finding in found if finding.fate != "repaired")

    @property
    def clips(self) -> int:
        return sum(split.clips for split in self.splits)

    @property
    def reused(self) -> int:
        return sum(split.reused for split in self.splits)

    @property
    def clips_per_second(self) -> float:
        """Of those that were checked in this run."""
        return (self.clips - self.reused) / self.seconds if self.seconds else 0.0

    def as_plain(self) -> dict[str, Any]:
        return {
            "depth": self.depth,
            "good": not self.bad,
            "checked_clips": self.clips,
            "reused_clips": self.reused,
            "seconds": round(self.seconds, 3),
            "clips_per_second": round(self.clips_per_second, 2),
            "splits": [split.as_plain() for split in self.splits],
        }


def verify_clips(
    request: Request,
    *,
    deep: bool = False,
    again: bool = False,
    quarantine: bool = False,
    repair: bool = False,
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

    Raises:
        OptionError: The request has limits.
        NoClipsError: The store has no clip of the request.
    """
    started = time.perf_counter()
    if request.limits.limited or request.exclude_overlap:
        raise choice_error(
            "whole splits or classes are verified, or the clips of a manifest; leave them out",
            but=("manifest",),
        )
    request.store.check_folder()
    runs = [Verification(request, split, deep) for split in request.splits]
    if not any(run.targets for run in runs):
        raise NoClipsError(
            f"kinetics600: there is no clip of the request in '{request.store.root}' to verify. "
            "Pass data_dir=… the folder that holds them"
        )

    if quarantine or repair:
        request.store.prepare()
    record = quarantine or repair or request.store.is_writable(make=True)
    if not record:
        logger.warning(
            "kinetics600: '%s' cannot be written to: what is found is not kept", request.store.root
        )
    for run in runs:
        run.check(again=again, record=record)
        if quarantine or repair:
            run.put_aside()
        if repair:
            run.repair()
    return Report("deep" if deep else "quick", tuple(runs), time.perf_counter() - started)


def put_aside(request: Request, finding: Finding) -> None:
    """Move a file of the store's own to the quarantine; note one that is another tool's.

    `finding` says then what became of it. No link may lead the clip's folder out of the store.
    """
    store, row = request.store, finding.row
    folder, source = store.root / row.folder, store.root / row.path
    problem = reason_of_verdict(row.verdict)
    bad = AdoptedRow(row.folder, row.file_name, row.path, row.size_bytes, row.mtime_ns, problem)
    if not bad.is_at_place:
        request.ledger.record_files(finding.split, [bad])
        # So that rows made earlier are seen to be no longer true.
        with translate_errors(store_error, folder):
            folder.mkdir(parents=True, exist_ok=True)
            os.utime(folder)
        finding.fate = "left_out"
        return

    try:
        with translate_errors(store_error, source):
            if not is_as_noted(source.stat(), row):
                finding.why = "it has changed since; verify again"
                return
            moved_to = _free_name(store, row)
            store.check_inside((store.root / moved_to).parent)
            move_into_place(source, store.root / moved_to)
    except StoreError as error:
        finding.why = str(error)
        return

    finding.row, finding.fate = row._replace(moved_to=moved_to), "quarantined"
    request.ledger.record_files(finding.split, [finding.row])


def _free_name(store: Store, row: CheckRow) -> str:
    """Return where a file goes in the quarantine; one of the same bytes is replaced there."""
    name = wanted = f"{QUARANTINE}/{row.folder}/{row.file_name}"
    number = 0
    while os.path.lexists(store.root / name):
        if filecmp.cmp(store.root / name, store.root / row.path, shallow=False):
            break
        number += 1
        name = f"{wanted}.{number}"
    return name


def _load(state: State, candidates: Mapping[Candidate, Target]) -> tuple[Load, str]:
    """Fetch clips; return the load, and the message of the error that ended it, if any."""
    load = Load(state, only=candidates)
    try:
        load.carry_out()
    except Kinetics600Error as error:
        return load, str(error)
    return load, ""


def find_failed(request: Request, split: str) -> dict[str, dict[str, str]]:
    """Return the unchanged clips that failed their last check: reasons by class and file name."""
    failed: dict[str, dict[str, str]] = {}
    for row in request.ledger.checks(split):
        if row.verdict in BAD:
            with contextlib.suppress(OSError):
                if is_as_noted(os.stat(request.store.root / row.path), row):
                    label = row.folder.partition("/")[2]
                    failed.setdefault(label, {})[row.file_name] = reason_of_verdict(row.verdict)
    return failed

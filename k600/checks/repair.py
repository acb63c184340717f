"""What a verification found, and what is done about it: clips are put aside, and fetched again."""

from __future__ import annotations

import filecmp
import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from k600.checks.clip_files import Target
from k600.dataset.reasons import reason_of_verdict
from k600.errors import Kinetics600Error, StoreError
from k600.errors.translate import store_error, translate_errors
from k600.loading.fetch import Load
from k600.loading.request import Request
from k600.loading.selection import Candidate
from k600.loading.state import State
from k600.progress import Progress
from k600.store.files import move_into_place
from k600.store.rows import AdoptedRow, CheckRow
from k600.store.store import QUARANTINE, Store

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
    """How many clips were not checked, as an earlier run had done so."""

    @property
    def verdicts(self) -> Counter[str]:
        return sum((Counter(counts) for counts in self.classes.values()), Counter[str]())

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


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify_clips` found."""

    depth: str
    """`quick` or `deep`."""
    splits: tuple[SplitReport, ...]
    seconds: float

    @property
    def bad(self) -> tuple[Finding, ...]:
        """The clips that are still bad."""
        found = [finding for split in self.splits for finding in split.bad]
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


Why = dict[Target, tuple[str, str]]
"""A key of `REASONS`, or nothing, and more words."""


def put_aside(request: Request, finding: Finding) -> None:
    """Move a file of the store's own to the quarantine; note one that is another tool's.

    `finding` says then what became of it. No link may lead the clip's folder out of the store.
    """
    store, row = request.store, finding.row
    folder, source = store.root / row.folder, store.root / row.path
    problem = reason_of_verdict(row.verdict)
    bad = AdoptedRow(row.folder, row.file_name, row.path, row.size_bytes, row.mtime_ns, problem)
    if not bad.is_at_place:
        request.ledger.adopt(finding.split, [bad])
        # So that rows made earlier are seen to be no longer true.
        with translate_errors(store_error, folder):
            folder.mkdir(parents=True, exist_ok=True)
            os.utime(folder)
        finding.fate = "left_out"
        return

    try:
        with translate_errors(store_error, source):
            status = source.stat()
            if (status.st_size, status.st_mtime_ns) != (row.size_bytes, row.mtime_ns):
                finding.why = "it has changed since; verify again"
                return
            moved_to = _free_name(store, row)
            store.check_inside((store.root / moved_to).parent)
            move_into_place(source, store.root / moved_to)
    except StoreError as error:
        finding.why = str(error)
        return

    finding.row, finding.fate = row._replace(moved_to=moved_to), "quarantined"
    request.ledger.record_checks(finding.split, [finding.row])


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


def fetch_again(
    state: State, targets: Collection[Target], progress: Progress
) -> tuple[dict[Target, Target], Why]:
    """Fetch clips into the store again; return the new place of each, and why others failed.

    None of them may be at its place. A clip from YouTube comes from there again, and with
    `source="auto"` from its tarball if YouTube no longer has it. One that the ledger knows to be
    bad in its tarball is not fetched, unless `retry_errors` is given.
    """
    candidates = {(each.folder.partition("/")[2], each.file_name): each for each in targets}
    load, error = _load(state, candidates, progress)
    if error and load.state.may_ask and load.state.from_tarballs:
        without = replace(load.state.now(), may_ask=False)
        load, error = _load(without, candidates, progress)

    now = load.state.now()
    tarballs = now.places.tarballs_of(candidates, now.known)
    came: dict[Target, Target] = {}
    why: Why = {}
    for candidate, target in candidates.items():
        folder, tarball = now.place_of(candidate), tarballs.get(candidate)
        failure = now.host.failures.get(tarball) if tarball else None

        if folder is not None:
            came[target] = Target(folder, target.file_name, f"{folder}/{target.file_name}")
        elif reason := load.plan.refused.get(candidate):
            words = str(failure.error) if failure and failure.reason == reason else ""
            why[target] = (reason, load.details.get(candidate, words))
        elif error:
            why[target] = ("", error)
        elif tarball is None:
            why[target] = ("", "no list says which tarball holds it; load the split")
        else:
            why[target] = ("not_stored", "")
    return came, why


def _load(
    state: State, candidates: Mapping[Candidate, Target], progress: Progress
) -> tuple[Load, str]:
    """Fetch clips; return the load, and the message of the error that ended it, if any."""
    load = Load(state, progress, only=candidates)
    try:
        load.carry_out()
    except Kinetics600Error as error:
        return load, str(error)
    return load, ""

"""Single clips of one request from the tarballs, each read no further than to the last wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from k600.account import Failure
from k600.candidates import clip_at, place_of
from k600.clip import Clip, Tarball
from k600.inventory import Inventory
from k600.kept_lists import KeptLists
from k600.ledger import Known, Ledger
from k600.lists import TestLabels
from k600.manifest import ManifestRow
from k600.plan import Need
from k600.progress import Progress
from k600.request import Request
from k600.run import Run, stat_tarballs
from k600.selection import Candidate

__all__ = ["FromTarballs"]


@dataclass(slots=True)
class FromTarballs:
    """Reads tarballs for clips."""

    request: Request
    split: str
    lists: KeptLists
    labels: TestLabels
    origin: Mapping[Clip, ManifestRow]
    """What a manifest says of the clips."""
    progress: Progress
    failures: dict[Tarball, Failure] = field(default_factory=dict)
    reasons: dict[Candidate, str] = field(default_factory=dict)
    """Why a clip is not there after all, by candidate: keys of `k600.reasons.REASONS`."""
    received_bytes: int = 0
    tarballs: int = 0

    def bring(self, lacking: Sequence[Candidate], known: Known, *, refetch: bool) -> None:
        """Bring clips; afterwards each is in the store or has a reason."""
        request, split = self.request, self.split
        by_tarball: dict[Tarball, set[str]] = {}
        somewhere: set[str] = set()
        broken = set() if request.retry_errors else _damaged(known)
        for candidate in lacking:
            tarball = self.tarball_of(candidate, known)
            if tarball is None:
                somewhere.add(candidate[1])
            elif tarball in broken:
                self.reasons[candidate] = "tarball_damaged"
            else:
                by_tarball.setdefault(tarball, set()).add(candidate[1])
        failed = self.read(
            [Need(t, frozenset(names), until_found=True) for t, names in by_tarball.items()],
            known,
            refetch=refetch,
        )
        if somewhere:  # of the test split, from a manifest that does not say where
            failed |= self._search(somewhere, known, refetch=refetch)
        after = Ledger(request.store.ledger_path).known(split)
        inventory = Inventory(request.store, after.adopted)
        bad = {
            (c.folder, c.file_name): c.reason for c in after.clips if c.state in ("bad", "absent")
        }
        for candidate in lacking:
            if place_of(candidate, split, inventory) is None:
                tarball = self.tarball_of(candidate, after)
                reason = bad.get((f"{split}/{candidate[0]}", candidate[1]))
                reason = reason or (failed.get(tarball) if tarball else "not_in_tarball")
                self.reasons.setdefault(candidate, reason or "not_stored")

    def tarball_of(self, candidate: Candidate, known: Known) -> Tarball | None:
        """Return the tarball that holds a clip; None if nothing says which."""
        if self.split != "test":
            return Tarball(self.split, candidate[0])
        row = self.origin.get(clip_at(candidate, "test"))
        if row is not None and row.tarball:
            return Tarball("test", row.tarball)
        states = ("have", "skipped", "bad")
        held = (c.tarball for c in known.clips if c.file_name == candidate[1] and c.state in states)
        return next(held, None)

    def read(self, needs: Sequence[Need], known: Known, *, refetch: bool) -> dict[Tarball, str]:
        """Read tarballs; return the reason for each that failed."""
        if not needs:
            return {}
        request, split = self.request, self.split
        request.store.prepare()
        ledger = Ledger(request.store.ledger_path)
        fetches, failed = stat_tarballs(request, needs)
        if fetches:
            run = Run(
                request,
                split,
                request.store,
                ledger,
                self.labels,
                self.lists.listing() if split != "test" else {},
                known.tarballs,
                refetch,
            )
            run.announce(fetches, Inventory(request.store, known.adopted).names)
            received, read = run.carry_out(fetches, failed, self.progress)
            self.received_bytes += received
            self.tarballs += read
        self.failures |= failed
        reasons = {tarball: failure.reason for tarball, failure in failed.items()}
        asked = {need.tarball for need in needs}
        damaged = _damaged(ledger.known(split)) & asked
        return {**dict.fromkeys(damaged, "tarball_damaged"), **reasons}

    def _search(self, names: set[str], known: Known, *, refetch: bool) -> dict[Tarball, str]:
        """Go through the test tarballs until all are found."""
        failed: dict[Tarball, str] = {}
        left = set(names)
        for tarball in self.lists.tarballs():
            if not left:
                break
            need = Need(tarball, frozenset(left), until_found=True, most=len(left))
            failed |= self.read([need], known, refetch=refetch)
            known = Ledger(self.request.store.ledger_path).known("test")
            left -= {c.file_name for c in known.clips if c.state in ("have", "bad")}
        return failed


def _damaged(known: Known) -> set[Tarball]:
    return {row.tarball for row in known.tarballs.values() if row.state == "damaged"}

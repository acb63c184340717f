"""Single clips of one request from the tarballs, each read no further than to the last wanted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from k600.clip import Tarball
from k600.loading.candidates import clip_at
from k600.loading.missing import Failure
from k600.loading.read_tarballs import Run, stat_tarballs
from k600.loading.request import Request
from k600.loading.selection import Candidate
from k600.loading.state import State
from k600.progress import Progress
from k600.splits import Split
from k600.tarballs.extract import TarballRead

__all__ = ["FromTarballs", "tarball_of"]


@dataclass(slots=True)
class FromTarballs:
    """Reads tarballs for clips."""

    request: Request
    split: str
    progress: Progress
    failures: dict[Tarball, Failure] = field(default_factory=dict)
    reasons: dict[Candidate, str] = field(default_factory=dict)
    """Why a clip is not there after all, by candidate: keys of `k600.reasons.REASONS`."""
    received_bytes: int = 0
    tarballs: int = 0

    def bring(self, lacking: Sequence[Candidate], state: State, *, refetch: bool) -> None:
        """Bring clips; afterwards each is in the store or has a reason."""
        split = self.split
        by_tarball: dict[Tarball, set[str]] = {}
        somewhere: set[str] = set()
        for candidate in lacking:
            tarball = tarball_of(candidate, state)
            if tarball is None:
                somewhere.add(candidate[1])
            else:
                by_tarball.setdefault(tarball, set()).add(candidate[1])
        failed = self.read(
            [TarballRead(t, frozenset(names), until_found=True) for t, names in by_tarball.items()],
            state,
            refetch=refetch,
        )
        if somewhere:  # of the test split, from a manifest that does not say where
            failed |= self._search(somewhere, state, refetch=refetch)
        after = state.now()
        bad = {(c.folder, c.file_name): c.reason for c in after.known.others if c.reason}
        for candidate in lacking:
            if after.place_of(candidate) is None:
                tarball = tarball_of(candidate, after)
                reason = bad.get((f"{split}/{candidate[0]}", candidate[1]))
                reason = reason or (failed.get(tarball) if tarball else "not_in_tarball")
                self.reasons.setdefault(candidate, reason or "not_stored")

    def read(
        self, needs: Sequence[TarballRead], state: State, *, refetch: bool = False
    ) -> dict[Tarball, str]:
        """Read tarballs; return the reason for each that failed."""
        if not needs:
            return {}
        request, split = self.request, self.split
        state.prepare()
        ledger = request.ledger
        rows = state.known.tarballs
        fetches, failed = stat_tarballs(request, needs, rows, refetch=refetch)
        remotes = {need.tarball: remote for need, remote in fetches.items()}
        known = state if refetch else state.with_same_objects(remotes.items())
        if known is not state:
            fetches = {
                need: remotes[need.tarball]
                for each in needs
                if each.tarball in remotes and (need := _narrowed(each, state, known))
            }
            state = known
        if fetches:
            run = Run(
                request,
                split,
                request.store,
                ledger,
                state.labels,
                state.lists.listing() if not Split(split).is_mixed else {},
                state.known.tarballs,
                refetch,
            )
            run.announce(fetches, state.inventory.names)
            received, read = run.carry_out(fetches, failed, self.progress)
            self.received_bytes += received
            self.tarballs += read
        self.failures |= failed
        return {tarball: failure.reason for tarball, failure in failed.items()}

    def _search(self, names: set[str], state: State, *, refetch: bool) -> dict[Tarball, str]:
        """Go through the test tarballs until all are found."""
        failed: dict[Tarball, str] = {}
        left = set(names)
        for tarball in state.lists.tarballs():
            if not left:
                break
            need = TarballRead(tarball, frozenset(left), until_found=True, most=len(left))
            failed |= self.read([need], state, refetch=refetch)
            state = state.now()
            left -= {c.file_name for c in state.known.clips() if c.state in ("have", "bad")}
        return failed


def tarball_of(candidate: Candidate, state: State) -> Tarball | None:
    """Return the tarball that holds a clip; None if nothing says which."""
    if not Split(state.split).is_mixed:
        return Tarball(state.split, candidate[0])
    row = state.origin.get(clip_at(candidate, "test"))
    if row is not None and row.tarball:
        return Tarball("test", row.tarball)
    for clip in state.known.clips():
        if clip.file_name == candidate[1] and clip.state in ("have", "skipped", "bad"):
            return clip.tarball
    return None


def _narrowed(need: TarballRead, before: State, now: State) -> TarballRead | None:
    """Return what is left of a need once more is known of its tarball; None for nothing."""
    if need.tarball.name in before.known.tarballs or need.tarball.name not in now.known.tarballs:
        return need
    if need.wanted is None:  # what it holds is known now: whoever asked chooses among that
        return None
    folders = now.request.folders(need.tarball.split)
    wanted = need.wanted.difference(*(now.inventory.names(folder) for folder in folders))
    return dataclasses.replace(need, wanted=wanted) if wanted else None

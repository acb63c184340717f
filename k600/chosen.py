"""Requests for some clips and not all: choose them, bring them, replace those not to be had."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from k600.account import Failure, raise_nothing, stored_shards, write_report
from k600.candidates import Names, clip_at, find_candidates, place_of
from k600.clip import UNLABELED, Tarball
from k600.errors import MissingDependencyError, YouTubeError
from k600.inventory import Inventory, watched_folders
from k600.kept_lists import KeptLists
from k600.ledger import Known, Ledger
from k600.lists import TestLabels
from k600.manifest import differing
from k600.outcome import Missing, Outcome
from k600.plan import Need, choose_route
from k600.progress import Progress
from k600.request import Request
from k600.run import Run, stat_tarballs
from k600.selection import Candidate, choose_clips
from k600.sources.verdicts import is_settled
from k600.walk import Walk
from k600.youtube_options import check_proxy, check_tools, yt_dlp_version

if TYPE_CHECKING:
    from k600.sources.asking import Asker

__all__ = ["fetch_chosen", "proved_bad"]

logger = logging.getLogger("kinetics600")


def fetch_chosen(
    request: Request,
    split: str,
    lists: KeptLists,
    labels: TestLabels,
    known: Known,
    progress: Progress,
    *,
    network: bool,
    youtube: bool,
    refetch: bool,
) -> Outcome:
    """Bring the clips that a request chooses; one that cannot be had is replaced.

    Each round chooses among the candidates that are left and asks one source for those that are
    not in the store: YouTube, or the tarballs, each read no further than to the last of them.

    Args:
        request: The request.
        split: One of its splits.
        lists: The host's lists.
        labels: Labels of test clips.
        known: What the ledger says of the split.
        progress: Makes the progress bar.
        network: Whether the mirror may be read.
        youtube: Whether YouTube may be asked.
        refetch: Fetch everything again.

    Raises:
        MirrorError, ListError: The mirror cannot serve the request at all.
        YouTubeError: YouTube gives nothing, and nothing else may serve.
        StoreError: The store cannot be used, or has too little room.
        NoClipsError: Not one clip can be had.
    """
    inventory = Inventory(request.store, known.adopted)
    names = find_candidates(request, split, lists, labels, inventory, network=network or youtube)
    with contextlib.ExitStack() as stack:
        fetch = _Fetch(
            request, split, lists, labels, names, progress, stack, network, youtube, refetch
        )
        return fetch.carry_out(known)


@dataclass(slots=True)
class _Fetch:
    """A request for some clips on its way, round by round."""

    request: Request
    split: str
    lists: KeptLists
    labels: TestLabels
    names: Names
    progress: Progress
    stack: contextlib.ExitStack
    network: bool
    youtube: bool
    refetch: bool
    """Whether this round is to fetch what is there, too."""
    replaced: dict[Candidate, str] = field(default_factory=dict)
    """Candidates passed over, with the reason."""
    details: dict[Candidate, str] = field(default_factory=dict)
    failures: dict[Tarball, Failure] = field(default_factory=dict)
    given_up: str = ""
    """Why YouTube is not asked any more."""
    revived: bool = False
    """Whether clips that YouTube has not may come from the tarballs: no other is left."""
    first: bool = True
    walked: bool = False
    """Whether test tarballs were walked through: then the clips are not those of a list."""
    asker: Asker | None = None
    fetched_bytes: int = 0
    fetched_tarballs: int = 0
    youtube_clips: int = 0
    youtube_bytes: int = 0
    youtube_requests: int = 0

    def carry_out(self, known: Known) -> Outcome:
        request, split = self.request, self.split
        ledger = Ledger(request.store.ledger_path)
        while True:
            folders = watched_folders(request.store, split, request.folders(split))
            stamps = request.store.stamp(folders)
            inventory = Inventory(request.store, known.adopted)
            if not (self.first and (request.retry_errors or self.refetch)):
                bad = proved_bad(request, self.names, known, youtube=not self.revived)
                self.replaced = {**bad, **self.replaced}
            chosen = self._chosen(inventory)
            lacking = [
                candidate
                for candidate in chosen
                if self.refetch or place_of(candidate, split, inventory) is None
            ]
            if not lacking and self._revive(len(chosen), known):
                continue
            if not lacking or not self._bring(lacking, known, inventory):
                break
            self.first = self.refetch = False
            known = ledger.known(split)
        self.walked = self._may_walk() and (request.source == "cvdf" or bool(lacking))
        if self.walked:
            walk = Walk(request, self.lists, self.labels, self._read)
            known, chosen = walk.find(known)
            folders = watched_folders(request.store, split, request.folders(split))
            stamps = request.store.stamp(folders)
            inventory = Inventory(request.store, known.adopted)
        return self._account(known, inventory, chosen, lacking, stamps)

    def _chosen(self, inventory: Inventory) -> list[Candidate]:
        def here(label: str) -> Collection[str]:
            return inventory.names(f"{self.split}/{label}")

        return choose_clips(self.names, self.request.limits, dead=self.replaced, here=here)

    def _bring(self, lacking: list[Candidate], known: Known, inventory: Inventory) -> bool:
        """Ask a source for clips; return whether there is reason to look again."""
        routes: dict[str, list[Candidate]] = {}
        manifest = self.request.manifest
        origin = manifest.of(self.split) if manifest else {}
        for candidate in lacking:
            row = origin.get(clip_at(candidate, self.split))
            source = self.request.source
            if row is not None and source == "auto":  # another source has other bytes
                source = "youtube" if row.source == "youtube" else "cvdf"
            route = choose_route(source, lacking=len(lacking), given_up=bool(self.given_up))
            if (route == "youtube" and not self.youtube) or (route == "cvdf" and not self.network):
                route = ""
            routes.setdefault(route, []).append(candidate)
        went = False
        if "youtube" in routes:
            went = self._from_youtube(routes["youtube"])
        elif "cvdf" in routes and not self._may_walk():
            went = self._from_tarballs(routes["cvdf"], known, inventory)
        return went

    def _from_youtube(self, lacking: list[Candidate]) -> bool:
        from k600.sources.asking import open_asker

        request = self.request
        if self.asker is None:
            check_proxy(request.youtube)
            try:
                check_tools(request.youtube)
            except MissingDependencyError as error:
                if request.source == "youtube":
                    raise
                self._give_up(str(error))
                return True
            self.asker = self.stack.enter_context(
                open_asker(
                    request.youtube,
                    request.store,
                    Ledger(request.store.ledger_path),
                    num_workers=min(request.num_workers, len(lacking)),
                    patience_seconds=(
                        request.youtube.patience_seconds if request.source == "youtube" else 0
                    ),
                )
            )
        clips = {clip_at(candidate, self.split): candidate for candidate in lacking}
        with self.progress(len(clips), f"{self.split}, from YouTube", unit=" clips") as bar:
            found = self.asker.ask(list(clips), on_clip=lambda: bar.update(1))
        self.youtube_clips += len(found.stored)
        self.youtube_bytes += found.received_bytes
        self.youtube_requests += found.requests
        for clip, refusal in found.refused.items():
            self.replaced[clips[clip]] = refusal.reason
            self.details[clips[clip]] = f"{refusal.code}: {refusal.message}"
        verdict = self.asker.given_up
        if verdict is not None:
            self._give_up(f"{verdict.kind}, {verdict.code}: {verdict.message}")
            if request.source == "youtube":
                for clip in clips.keys() - set(found.stored) - found.refused.keys():
                    self.replaced[clips[clip]] = verdict.reason
                    self.details[clips[clip]] = f"{verdict.code}: {verdict.message}"
                return False
        return True

    def _give_up(self, why: str) -> None:
        self.given_up = why
        if self.request.source == "auto":
            logger.warning(
                "kinetics600 %s: YouTube gives no clips here (%s). They come from the tarballs "
                "instead",
                self.split,
                why,
            )

    def _revive(self, chosen: int, known: Known) -> bool:
        """Let the tarballs give what YouTube has not, where the candidates do not suffice."""
        if self.request.source != "auto" or self.revived or not self.network:
            return False
        if self._may_walk():
            return False
        if self.request.manifest is not None or chosen >= self._asked():
            return False
        lost = [c for c, reason in self.replaced.items() if reason.startswith("youtube_")]
        if not lost:
            return False
        self.revived = True
        self.given_up = self.given_up or "no other candidate is left"
        bad = proved_bad(self.request, self.names, known, youtube=False)
        for candidate in lost:
            if candidate not in bad:
                del self.replaced[candidate]
        return True

    def _asked(self) -> int:
        return len(choose_clips(self.names, self.request.limits))

    def _from_tarballs(self, lacking: list[Candidate], known: Known, inventory: Inventory) -> bool:
        request, split = self.request, self.split
        by_tarball: dict[Tarball, set[str]] = {}
        for label, name in lacking:
            by_tarball.setdefault(self._tarball(label, name), set()).add(name)
        needs = [
            Need(tarball, frozenset(wanted), until_found=True)
            for tarball, wanted in by_tarball.items()
        ]
        reasons = self._read(needs, known, inventory)
        ledger = Ledger(request.store.ledger_path)
        after = ledger.known(split)
        bad = proved_bad(request, self.names, after, youtube=False)
        now = Inventory(request.store, after.adopted)
        for label, name in lacking:
            if place_of((label, name), split, now) is None:
                tarball = self._tarball(label, name)
                why = bad.get((label, name)) or reasons.get(tarball, "not_stored")
                self.replaced.setdefault((label, name), why)
        for label, names in self.names.items():  # all that a failed tarball holds is out of reach
            if (reason := reasons.get(Tarball(split, label))) and self.request.manifest is None:
                for name in set(names) - now.names(f"{split}/{label}"):
                    self.replaced.setdefault((label, name), reason)
        return True

    def _tarball(self, label: str, name: str) -> Tarball:
        manifest = self.request.manifest
        if self.split == "test" and manifest is not None:
            row = manifest.of("test")[clip_at((label, name), "test")]
            return Tarball("test", row.tarball)
        return Tarball(self.split, label)

    def _read(self, needs: list[Need], known: Known, inventory: Inventory) -> dict[Tarball, str]:
        """Read tarballs; return the reason for each that failed."""
        request, split = self.request, self.split
        ledger = Ledger(request.store.ledger_path)
        fetches, failed = stat_tarballs(request, needs)
        if fetches:
            listing = self.lists.listing() if split != "test" else {}
            run = Run(
                request,
                split,
                request.store,
                ledger,
                self.labels,
                listing,
                known.tarballs,
                self.refetch,
            )
            run.announce(fetches, inventory.names)
            more_bytes, more = run.carry_out(fetches, failed, self.progress)
            self.fetched_bytes += more_bytes
            self.fetched_tarballs += more
        self.failures |= failed
        reasons = {tarball: failure.reason for tarball, failure in failed.items()}
        for row in ledger.tarballs(split).values():
            if row.state == "damaged":
                reasons.setdefault(row.tarball, "tarball_damaged")
        return reasons

    def _may_walk(self) -> bool:
        """Whether no list says which tarball holds a clip, so that they are walked through."""
        request = self.request
        tarballs = self.network and request.source in ("auto", "cvdf")
        return self.split == "test" and tarballs and request.manifest is None

    def _account(
        self,
        known: Known,
        inventory: Inventory,
        chosen: list[Candidate],
        lacking: list[Candidate],
        stamps: dict[str, int],
    ) -> Outcome:
        request, split = self.request, self.split
        found: dict[str, set[str]] = {}
        places = {candidate: place_of(candidate, split, inventory) for candidate in chosen}
        if request.manifest is not None:
            files = {
                clip_at(candidate, split): inventory.path(folder, candidate[1])
                for candidate, folder in places.items()
                if folder is not None
            }
            for clip in differing(request.manifest.of(split), files):
                candidate = (clip.label or UNLABELED, clip.file_name)
                self.replaced[candidate] = "differs"
                places[candidate] = None
        for candidate, folder in places.items():
            if folder is not None:
                found.setdefault(folder, set()).add(candidate[1])
            elif candidate not in self.replaced:
                self.replaced[candidate] = "offline" if not self.network else "not_stored"
        shards = stored_shards(
            request, split, known, self.labels, inventory, lambda folder: found.get(folder, ())
        )
        clips = sum(map(len, found.values()))
        asked = (request.limits.max_samples or clips) if self.walked else self._asked()
        missing = [
            Missing(split, label, name, label, reason, self.details.get((label, name), ""))
            for (label, name), reason in sorted(self.replaced.items())
            if clips < asked
        ]
        if self.walked and clips < asked:
            missing = [
                Missing(split, "", "", tarball.name, failure.reason, str(failure.error))
                for tarball, failure in self.failures.items()
            ]
        if not shards:
            if self.given_up and request.source == "youtube":
                raise YouTubeError(
                    f"source: 'youtube' gives no clips here ({self.given_up}). Try again later, "
                    "pass cookies=… of an account or proxy=… another address, or use "
                    "source='cvdf'"
                )
            raise_nothing(request, split, self.failures, missing)
        network = self.network or self.youtube
        return Outcome(
            split,
            tuple(shards),
            tuple(missing),
            self.fetched_bytes,
            self.fetched_tarballs,
            stamps,
            asked=asked,
            replaced={} if missing else dict(Counter(self.replaced.values())),
            report=write_report(request.store, split, missing) if network else "",
            youtube_clips=self.youtube_clips,
            youtube_bytes=self.youtube_bytes,
        )


def proved_bad(
    request: Request, names: Names, known: Known, *, youtube: bool = True
) -> dict[Candidate, str]:
    """Return the candidates that the ledger knows not to be had, with the reason.

    Args:
        request: Says which sources count.
        names: The candidates.
        known: What the ledger says.
        youtube: Whether what YouTube has not counts as well.
    """
    asked = {label: set(found) for label, found in names.items()}
    bad = {}
    if request.source != "youtube":
        for clip in known.clips:
            label = clip.folder.partition("/")[2]
            if clip.state in ("bad", "absent") and clip.file_name in asked.get(label, ()):
                bad[label, clip.file_name] = clip.reason
    if youtube and request.source in ("auto", "youtube"):
        version = yt_dlp_version()
        for answer in known.answers:
            label = answer.folder.partition("/")[2]
            if answer.file_name in asked.get(label, ()) and is_settled(
                answer.kind,
                answer.code,
                days=answer.days,
                yt_dlp=answer.yt_dlp,
                yt_dlp_now=version,
                cookies=request.youtube.signed_in,
            ):
                bad[label, answer.file_name] = f"youtube_{answer.kind}"
    return bad

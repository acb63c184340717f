"""Requests for some clips and not all: choose them, bring them, replace those not to be had."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from k600.errors import YouTubeError
from k600.loading.ask_youtube import FromYouTube
from k600.loading.candidates import Candidates, clip_at, find_candidates, with_found
from k600.loading.from_tarballs import FromTarballs
from k600.loading.manifest import differing
from k600.loading.missing import raise_nothing, stored_shards, write_report
from k600.loading.outcome import Missing, Outcome
from k600.loading.plan import choose_route
from k600.loading.request import Request
from k600.loading.selection import Candidate, choose_clips
from k600.loading.state import State
from k600.loading.unlisted import Walk
from k600.progress import Progress
from k600.splits import UNLABELED, Split
from k600.youtube.refusals import is_settled
from k600.youtube.tools import yt_dlp_version

__all__ = ["fetch_chosen", "passed_over"]

logger = logging.getLogger("kinetics600")


def fetch_chosen(state: State, progress: Progress, *, refetch: bool) -> Outcome:
    """Bring the clips that a request chooses; one that cannot be had is replaced.

    Each round chooses among the candidates that are left and asks one source for those that are
    not in the store: YouTube, or the tarballs, each read no further than to the last of them.

    Args:
        state: The request, and how things stand.
        progress: Makes the progress bar.
        refetch: Fetch everything again.

    Raises:
        MirrorError, ListError: The mirror cannot serve the request at all.
        YouTubeError: YouTube gives nothing, and nothing else may serve.
        StoreError: The store cannot be used, or has too little room.
        NoClipsError: Not one clip can be had.
    """
    with contextlib.ExitStack() as stack:
        fetch = _Fetch(
            state.request,
            state.split,
            find_candidates(state),
            FromYouTube(state.request, state.split, progress, stack),
            FromTarballs(state.request, state.split, progress),
        )
        return fetch.carry_out(state, refetch=refetch)


@dataclass(slots=True)
class _Fetch:
    """A request for some clips on its way, round by round."""

    request: Request
    split: str
    names: Candidates
    from_youtube: FromYouTube
    from_tarballs: FromTarballs
    replaced: dict[Candidate, str] = field(default_factory=dict)
    """Candidates that are not to be had, with the reason."""
    came_from: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Where the clips came from that are to be fetched again, by folder and file name."""
    revived: bool = False
    """Whether clips that YouTube has not may come from the tarballs: no other is left."""

    def carry_out(self, before: State, *, refetch: bool) -> Outcome:
        """Go round by round until every chosen clip is there, or nobody has it."""
        request, state = self.request, before
        asked_for: set[Candidate] = set()
        self.came_from = before.sources() if refetch else {}
        first = True
        while True:
            stamps = state.stamps()
            if not (first and refetch):
                known = passed_over if first else proved_bad
                bad = known(state, self.names, youtube=not self.revived)
                self.replaced = {**bad, **self.replaced}
            chosen = self._chosen(state)
            lacking = [
                candidate
                for candidate in chosen
                if state.place_of(candidate) is None
                or (first and refetch and self._source_of(candidate, state) != "local")
            ]
            if not lacking and self._revive(len(chosen), state):
                continue
            if not lacking or not self._bring(lacking, state, refetch=first and refetch):
                break
            first = False
            state = state.now()
            if self.names and not state.origin:  # a tarball may hold more than its list names
                self.names = with_found(self.names, state)
            self._note_replaced(lacking, state, asked_for)
        short = bool(lacking) or len(chosen) < self._asked()
        if _may_walk(state) and (request.source == "cvdf" or short):
            there = [c for c in chosen if state.place_of(c) is not None]
            state, chosen = Walk(request, there).find(state, self.from_tarballs)
            stamps, self.replaced = state.stamps(), {}
        return self._account(state, chosen, stamps, before)

    def _chosen(self, state: State) -> list[Candidate]:
        def here(label: str) -> Collection[str]:
            return state.inventory.names(f"{self.split}/{label}")

        return choose_clips(self.names, self.request.limits, dead=self.replaced, here=here)

    def _asked(self) -> int:
        """Return how many clips the request means."""
        limits = self.request.limits
        return limits.max_samples or len(choose_clips(self.names, limits))

    def _bring(self, lacking: list[Candidate], state: State, *, refetch: bool) -> bool:
        """Ask one source for clips; return whether there is reason to look again."""
        routes: dict[str, list[Candidate]] = {}
        for candidate in lacking:
            route = self._route(candidate, len(lacking), state)
            routes.setdefault(route, []).append(candidate)
        if "youtube" in routes:
            before = self.from_youtube.given_up
            self.from_youtube.bring(routes["youtube"], refetch=refetch)
            if self.from_youtube.given_up is not before:
                self._say_given_up(state)
            return True
        if "cvdf" in routes and not _may_walk(state):
            self.from_tarballs.bring(routes["cvdf"], state, refetch=refetch)
            return True
        return False

    def _route(self, candidate: Candidate, lacking: int, state: State) -> str:
        row = state.origin.get(clip_at(candidate, self.split))
        # An original is not to become a cut from YouTube, whoever is asked for it again.
        original = "cvdf" if self._source_of(candidate, state) == "cvdf" else None
        given_up = self.revived or self.from_youtube.given_up is not None or not state.youtube
        route = choose_route(
            self.request.source,
            lacking=lacking,
            given_up=given_up,
            origin=row.source if row is not None else original,
        )
        return "" if route == "cvdf" and not state.network else route

    def _source_of(self, candidate: Candidate, state: State) -> str:
        """Return where a clip came from that is to be fetched again; `local` for a user's."""
        folder = state.place_of(candidate) or ""
        return self.came_from.get((folder, candidate[1]), "local")

    def _note_replaced(
        self, lacking: list[Candidate], state: State, asked_for: set[Candidate]
    ) -> None:
        """Pass over what a source did not give, unless it is there all the same."""
        alone = self.request.source == "youtube"
        for candidate in lacking:
            if state.place_of(candidate) is not None:
                continue
            route = self._route(candidate, len(lacking), state)
            if route == "" and (alone or state.origin):
                self.from_youtube.explain(candidate)
            reason = self.from_youtube.reasons.get(candidate)
            if reason is None or self.revived:
                reason = self.from_tarballs.reasons.get(candidate, reason)
            if reason is None and candidate in asked_for:
                reason = "not_stored"  # no source says why: never ask for ever
            if reason is not None:
                self.replaced[candidate] = reason
            asked_for.add(candidate)
        broken = {t: f.reason for t, f in self.from_tarballs.failures.items()}
        for label, names in self.names.items():  # all that a failed tarball holds is out of reach
            for tarball, reason in broken.items():
                if tarball.label == label and not state.origin:
                    for name in set(names) - state.inventory.names(f"{self.split}/{label}"):
                        self.replaced.setdefault((label, name), reason)

    def _say_given_up(self, state: State) -> None:
        verdict = self.from_youtube.given_up
        if verdict is not None and self.request.source == "auto":
            logger.warning(
                "kinetics600 %s: YouTube gives no clips here (%s: %s). %s",
                self.split,
                verdict.code,
                verdict.message,
                "They are missing" if state.origin else "They come from the tarballs instead",
            )

    def _revive(self, chosen: int, state: State) -> bool:
        """Let the tarballs give what YouTube has not, where the candidates do not suffice."""
        if self.request.source != "auto" or self.revived or not state.network:
            return False
        if _may_walk(state) or state.origin or chosen >= self._asked():
            return False
        bad = proved_bad(state, self.names, youtube=False)
        lost = [
            candidate
            for candidate, reason in self.replaced.items()
            if reason.startswith("youtube_") and candidate not in bad
        ]
        for candidate in lost:
            del self.replaced[candidate]
        self.revived = bool(lost)
        return self.revived

    def _account(
        self,
        state: State,
        chosen: list[Candidate],
        stamps: dict[str, int],
        before: State,
    ) -> Outcome:
        request, split = self.request, self.split
        network = state.network or state.youtube
        may_write = network and state.writable
        places = {candidate: state.place_of(candidate) for candidate in chosen}
        for candidate in self._differing(places, state):
            self.replaced[candidate], places[candidate] = "differs", None
        found: dict[str, set[str]] = {}
        for candidate, folder in places.items():
            if folder is not None:
                found.setdefault(folder, set()).add(candidate[1])
            else:
                self.replaced.setdefault(candidate, "not_stored" if network else "offline")
        shards = stored_shards(
            request,
            split,
            state.known,
            state.labels,
            state.inventory,
            lambda folder: found.get(folder, ()),
        )
        clips, asked = sum(map(len, found.values())), self._asked()
        asked = asked if self.names or request.limits.max_samples else clips
        details = self.from_youtube.details
        missing: list[Missing] = []
        if clips < asked:
            missing = [
                Missing(split, label, name, label, reason, details.get((label, name), ""))
                for (label, name), reason in sorted(self.replaced.items())
            ]
        if clips < asked and Split(split).is_mixed:
            missing += [
                Missing(split, "", "", tarball.name, failure.reason, str(failure.error))
                for tarball, failure in self.from_tarballs.failures.items()
            ]
        if not shards:
            self._raise_nothing(missing)
        passed_over = [] if missing else self._passed_over(chosen, before)
        return Outcome(
            split,
            tuple(shards),
            tuple(missing),
            self.from_tarballs.received_bytes,
            self.from_tarballs.tarballs,
            stamps,
            asked=asked,
            replaced=dict(Counter(self.replaced[candidate] for candidate in passed_over)),
            labelled=not Split(split).is_mixed or bool(state.labels or request.manifest),
            offline=not network and request.source != "local",
            report=write_report(request.store, split, missing) if may_write else "",
            youtube_clips=self.from_youtube.clips,
            youtube_bytes=self.from_youtube.received_bytes,
        )

    def _differing(self, places: Mapping[Candidate, str | None], state: State) -> list[Candidate]:
        """Return the clips whose files are not those that the manifest means."""
        files = {
            clip_at(candidate, self.split): state.inventory.path(folder, candidate[1])
            for candidate, folder in places.items()
            if folder is not None and state.origin
        }
        return [
            (clip.label or UNLABELED, clip.file_name) for clip in differing(state.origin, files)
        ]

    def _passed_over(self, chosen: Sequence[Candidate], before: State) -> list[Candidate]:
        """Return the candidates in whose places others came: those that rank before the last."""
        if not self.replaced or not self.names:
            return []
        taken, limits, more = set(chosen), self.request.limits, 0
        while True:
            most = None if limits.max_samples is None else limits.max_samples + more
            ranked = choose_clips(
                self.names,
                dataclasses.replace(limits, max_samples=most),
                here=lambda label: before.inventory.names(f"{self.split}/{label}"),
            )
            passed = [c for c in ranked if c in self.replaced and c not in taken]
            if most is None or len(passed) <= more:
                return passed
            more = len(passed)

    def _raise_nothing(self, missing: list[Missing]) -> None:
        verdict = self.from_youtube.given_up
        if verdict is not None and self.request.source == "youtube":
            raise YouTubeError(
                f"source: 'youtube' gives no clips here ({verdict.code}: {verdict.message}). Try "
                "again later, pass cookies=… of an account or proxy=… another address, or use "
                "source='cvdf'"
            )
        raise_nothing(self.request, self.split, self.from_tarballs.failures, missing)


def passed_over(state: State, names: Candidates, *, youtube: bool = True) -> dict[Candidate, str]:
    """Return the candidates that are not even asked for, with the reason.

    They are those that were proved not to be had, unless `retry_errors` asks for them again. A load
    begins so, and what only tells of it, streams it or writes it down chooses the same clips.

    Args:
        state: How things stand.
        names: The candidates.
        youtube: Whether what YouTube has not counts as well.
    """
    return {} if state.request.retry_errors else proved_bad(state, names, youtube=youtube)


def proved_bad(state: State, names: Candidates, *, youtube: bool = True) -> dict[Candidate, str]:
    """Return the candidates that the ledger knows not to be had, with the reason.

    What is in the store can be had, whatever a source says.

    Args:
        state: How things stand.
        names: The candidates.
        youtube: Whether what YouTube has not counts as well.
    """
    request, known = state.request, state.known
    asked = {label: set(found) for label, found in names.items()}
    bad: dict[Candidate, str] = {}
    if request.source != "youtube":
        for clip in known.others:
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
    return {c: reason for c, reason in bad.items() if state.place_of(c) is None}


def _may_walk(state: State) -> bool:
    """Whether no list says which tarball holds a clip, so that they are walked through."""
    tarballs = state.network and state.request.source in ("auto", "cvdf")
    return Split(state.split).is_mixed and tarballs and not state.origin

"""What of a request is here, what has to come and from where, and what cannot be had. Pure.

Loads, dry runs, streams, tables of metadata and repairs all start from the `Plan` that `make_plan`
returns, so that none of them can say anything else than the others do.

A clip whose place in its tarball is known comes by one request, before YouTube or anything else is
asked. What is to be replaced, and what is read for a stream, comes from whole tarballs.

Whether a tarball that failed its own checks is read again is decided where its ETag is known
(`ask_host`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from k600.clip import Clip, Place, Tarball, label_of
from k600.loading.candidates import Candidates, clip_at, find_candidates, proved_bad
from k600.loading.manifest import ManifestRow
from k600.loading.reads import divide, plan_reads
from k600.loading.selection import Candidate, Limits, choose_clips
from k600.loading.state import State
from k600.loading.unlisted import next_to_search, next_unlisted
from k600.store.rows import TarballRow
from k600.tarballs.extract import TarballRead

MOST_FROM_YOUTUBE = 300
"""Clips that a guest may ask YouTube for in an hour, about; more come from the tarballs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a request comes to, as far as is known by now."""

    chosen: Sequence[Candidate] = ()
    """The clips that are meant, in the order of choice; none for a request of whole classes."""
    here: Mapping[str, Collection[str]] = field(default_factory=dict)
    """File names, by store folder, of those that are there."""
    orders: Mapping[str, Any] = field(default_factory=dict)
    """What is to come from each source, by its name, in the order in which they are asked."""
    refused: Mapping[Candidate, str] = field(default_factory=dict)
    """Clips that cannot be had, and those in whose places others were chosen, with the reason: keys
    of `k600.reasons.REASONS`. (`k600.loading.missing` names those of whole classes.)"""
    wanted: int | None = None
    """How many clips are meant; None for whole classes, and as long as nothing says."""
    needs_lists: bool = False
    """Whether the host has to be asked for its lists before more can be said (`ask_host`)."""

    @property
    def first(self) -> str | None:
        """The source that is asked next, None if nothing is to come."""
        return next((source for source, order in self.orders.items() if order), None)

    @property
    def entries(self) -> Mapping[Candidate, Place]:
        """Clips that come by one request each, and where they lie."""
        return dict(self.orders.get("entries", {}))

    @property
    def youtube(self) -> Sequence[Candidate]:
        """Clips to ask YouTube for."""
        return [*self.orders.get("youtube", ())]

    @property
    def reads(self) -> Sequence[TarballRead]:
        """Tarballs to read, what of each, and how far."""
        return [*self.orders.get("cvdf", ())]

    @property
    def open_ended(self) -> bool:
        """Whether more tarballs may have to be read, one after the other until there are enough
        clips: no list says which of them holds a test clip.
        """
        return any(read.goes_on for read in self.reads)


def make_plan(
    state: State,
    *,
    refused: Mapping[Candidate, str] | None = None,
    read: Collection[Tarball] = (),
    only: Collection[Candidate] | None = None,
    refetch: bool = False,
    retry_errors: bool | None = None,
    listed_only: bool = False,
) -> Plan:
    """Plan what a request takes.

    Args:
        state: How things stand.
        refused: Clips that no source gave in this call, with the reason.
        read: Tarballs that were read in this call.
        only: Just these clips of a request without limits, each from where it came before if it
            can be had there.
        refetch: Fetch again what is there, but for what a user put there.
        retry_errors: Ask again for what was proved not to be had; by default what the request says.
        listed_only: Choose as if there were no YouTube, for rows that are not loaded.

    Raises:
        ListError, NoClipsError, ManifestError, OptionError: As `find_candidates` says.
    """
    retry = state.request.retry_errors if retry_errors is None else retry_errors
    if only is not None:
        given: dict[str, list[str]] = {}
        for label, name in only:
            given.setdefault(label, []).append(name)
        return Choice(state, given, refused or {}, only=True).plan(retry=retry)
    if not (state.request.chooses or listed_only):
        return _of_whole_classes(state, read, refused or {}, refetch=refetch, retry=retry)

    candidates = find_candidates(state)
    if candidates is None:
        return Plan(needs_lists=True)
    choice = Choice(
        state, candidates, refused or {}, read=read, refetch=refetch, listed_only=listed_only
    )
    return choice.plan(retry=retry)


def choose_route(
    sources: Collection[str],
    *,
    lacking: int,
    given_up: bool,
    origin: str | None = None,
    placed: bool = False,
) -> str:
    """Return the source that a chosen clip comes from, empty for none.

    Args:
        sources: Those that the request allows: `cvdf` (the tarballs), `youtube`.
        lacking: How many clips are to come whose places are not known.
        given_up: Whether YouTube is not to be asked.
        origin: Where the clip is known to be from: another source has other bytes.
        placed: Whether its place in its tarball is known.

    Example:
        >>> choose_route({"cvdf", "youtube"}, lacking=10, given_up=False)
        'youtube'
    """
    if len(sources) > 1 and origin is not None:
        sources = {"youtube" if origin == "youtube" else "cvdf"}
    if placed and "cvdf" in sources:
        return "cvdf"
    few = lacking <= MOST_FROM_YOUTUBE or "cvdf" not in sources
    if "youtube" in sources and not given_up and few:
        return "youtube"
    return "cvdf" if "cvdf" in sources else ""


def _of_whole_classes(
    state: State,
    read: Collection[Tarball],
    refused: Collection[Candidate],
    *,
    refetch: bool,
    retry: bool,
) -> Plan:
    """Plan a request for all clips of some classes: each tarball is read once at most."""
    request, host, network = state.request, state.host, state.network
    replace_copies = network and request.sources == {"cvdf"}
    reads = plan_reads(
        [
            tarball
            for tarball in state.tarballs
            if tarball not in read and tarball not in host.failures
        ],
        state.known,
        state.inventory.names,
        wanted=state.wanted,
        retry_errors=retry and network,
        refetch=refetch and network,
        listing=host.listing,
        copies=state.known.copies() if replace_copies else {},
    )
    few = [(read.tarball, name) for read in reads for name in read.only]
    clips = [(tarball.label or label_of(name, state.labels), name) for tarball, name in few]
    orders = divide(reads, usable_places(state, clips), refused)
    lists = bool(orders["cvdf"]) or not state.knows_tarballs
    return Plan(
        here={folder: state.inventory.names(folder) for folder in request.folders(state.split)},
        orders=orders,
        needs_lists=network and not host.fresh and lists,
    )


def usable_places(state: State, clips: Iterable[Candidate]) -> dict[Candidate, Place]:
    """Return the places of clips, as far as they are known and may be used now."""
    if not state.from_tarballs:
        return {}
    host, known = state.host, state.known
    cut = {(answer.folder, answer.file_name) for answer in known.answers if answer.kind == "have"}
    found: dict[Candidate, Place] = {}
    for clip, place in state.places.find(clips).items():
        if place.tarball in host.doubted or place.tarball in host.failures:
            continue
        if state.may_ask and (f"{state.split}/{clip[0]}", clip[1]) in cut:
            continue  # what was cut from YouTube is not to become another file
        if is_usable(place, known.tarballs.get(place.tarball.name)):
            found[clip] = place
    return found


def is_usable(place: Place, row: TarballRow | None) -> bool:
    """Return whether a clip may be taken out of a tarball, by what the ledger says of that.

    Not of one that failed its checks, however good the clip's own checksum: it may be the other
    clips' that was wrong. Nor of another object than the one that was read: all of that is read
    anew first.
    """
    object_ = (place.etag, place.tarball_bytes)
    return row is None or (not row.failures and (row.etag, row.size_bytes) == object_)


@dataclass(frozen=True, slots=True)
class Choice:
    """A plan for chosen clips: among which is chosen, and what is passed over."""

    state: State
    candidates: Candidates
    refused: Mapping[Candidate, str]
    read: Collection[Tarball] = ()
    refetch: bool = False
    listed_only: bool = False
    only: bool = False
    """Whether each comes from where it came before, whatever a manifest says."""

    @property
    def origin(self) -> Mapping[Clip, ManifestRow]:
        return {} if self.only else self.state.origin

    def plan(self, *, retry: bool) -> Plan:
        """Choose, and find out for each chosen clip where it is or comes from."""
        state = self.state
        gone = self._gone(retry=retry)
        chosen, wanted = self._choose(gone), _count(self.candidates, state.request.limits)
        lacking = self._lacking(chosen)
        given_up = not state.may_ask or self.listed_only
        if not lacking and len(chosen) < wanted and (back := self._second_choice(gone)):
            # No other candidate is left: the tarballs may give what YouTube has not.
            gone = {c: reason for c, reason in gone.items() if c not in back}
            chosen, given_up = self._choose(gone), True
            lacking = self._lacking(chosen)

        places = {} if self.refetch or self.listed_only else usable_places(state, lacking)
        routes = self._routes(lacking, places, gone, given_up=given_up)
        found = lacking.keys() <= places.keys()
        enough = self.candidates and found and len(chosen) >= wanted
        if state.is_unlisted and not (self.listed_only or routes["youtube"] or enough):
            return self._unlisted([c for c in chosen if c not in lacking])

        reads, needs_lists = self._reads(routes["cvdf"], gone)
        orders = divide(reads, places, ())
        return Plan(
            chosen=chosen,
            here=by_folder(state, chosen),
            orders={"entries": orders["entries"], "youtube": routes["youtube"], **orders},
            refused=gone,
            wanted=wanted,
            needs_lists=needs_lists,
        )

    def _gone(self, *, retry: bool) -> dict[Candidate, str]:
        """Return the candidates that are not even asked for, with the reason."""
        state = self.state
        gone = self._unreachable()
        if not (retry or self.refetch) and (state.request.chooses or self.only):
            youtube = not (self.listed_only or self.only)
            gone |= proved_bad(state, self.candidates, youtube=youtube)
        gone |= self.refused
        return {c: reason for c, reason in gone.items() if state.place_of(c) is None}

    def _choose(self, gone: Collection[Candidate]) -> list[Candidate]:
        def here(label: str) -> Collection[str]:
            return self.state.inventory.names(f"{self.state.split}/{label}")

        limits = self.state.request.limits
        return choose_clips(self.candidates, limits, dead=gone, here=here)

    def _lacking(self, chosen: Iterable[Candidate]) -> dict[Candidate, str | None]:
        """Return the clips that are to come; with `cvdf`, if no other source may give them."""
        state = self.state
        sources = state.sources() if self.refetch or self.only else {}
        found: dict[Candidate, str | None] = {}
        for clip in chosen:
            place = state.place_of(clip)
            source = sources.get((place or f"{state.split}/{clip[0]}", clip[1]), "local")
            if place is not None and (not self.refetch or source == "local"):
                continue

            # An original is not to become a cut from YouTube, whoever is asked for it again.
            again = self.only or place is not None
            found[clip] = "cvdf" if again and source != "youtube" else None
        return found

    def _unreachable(self) -> dict[Candidate, str]:
        """Return the candidates whose tarballs could not be read in this call."""
        state = self.state
        if self.origin or state.split.is_mixed:
            return {}
        return {
            (tarball.name, name): failure.reason
            for tarball, failure in state.host.failures.items()
            for name in self.candidates.get(tarball.name, ())
        }

    def _second_choice(self, gone: Mapping[Candidate, str]) -> set[Candidate]:
        """Return the candidates that YouTube has not and that the tarballs may have."""
        state = self.state
        both = len(state.request.sources) > 1 and state.from_tarballs
        if not both or state.split.is_mixed or self.origin or self.listed_only:
            return set()
        bad = self._unreachable() | proved_bad(state, self.candidates, youtube=False)
        return {c for c, why in gone.items() if why.startswith("youtube_") and c not in bad}

    def _routes(
        self,
        lacking: Mapping[Candidate, str | None],
        places: Collection[Candidate],
        gone: dict[Candidate, str],
        *,
        given_up: bool,
    ) -> Mapping[str, Sequence[Candidate]]:
        """Return the clips for each source; note in `gone` those that come from none."""
        state = self.state
        routes: dict[str, list[Candidate]] = {"youtube": [], "cvdf": []}
        for candidate, original in lacking.items():
            row = self.origin.get(clip_at(candidate, state.split))
            origin = original if row is None else row.source
            route = choose_route(
                state.request.sources,
                lacking=len(lacking) - len(places),
                given_up=given_up,
                origin=None if self.listed_only else origin,
                placed=candidate in places,
            )
            if route == "youtube" or (route and state.network):
                routes[route].append(candidate)
            elif state.place_of(candidate) is None:
                gone.setdefault(candidate, "not_stored" if state.network else "offline")
        return routes

    def _reads(
        self, packed: Iterable[Candidate], gone: dict[Candidate, str]
    ) -> tuple[list[TarballRead], bool]:
        """Return the tarballs to read for clips, and whether it takes the host's list to know."""
        state, host = self.state, self.state.host
        where = tarballs_of_clips(state, packed)
        by_tarball: dict[Tarball, set[str]] = {}
        somewhere: dict[str, Candidate] = {}
        for candidate in packed:
            tarball = where.get(candidate)
            if tarball is None:
                somewhere[candidate[1]] = candidate
            elif tarball in host.failures:
                gone.setdefault(candidate, host.failures[tarball].reason)
            else:
                by_tarball.setdefault(tarball, set()).add(candidate[1])

        reads = [
            TarballRead(t, frozenset(names), until_found=True) for t, names in by_tarball.items()
        ]
        if not somewhere or self.listed_only or self.only:
            return reads, False
        if not host.tarballs and not host.fresh:
            return reads, True
        search = next_to_search(state, frozenset(somewhere))
        if search is None:
            gone.update(dict.fromkeys(somewhere.values(), "not_in_tarball"))
            return reads, False
        return [*reads, search], False

    def _unlisted(self, there: Sequence[Candidate]) -> Plan:
        """Plan to go through tarballs until there are enough clips."""
        state = self.state
        if not state.host.tarballs and not state.host.fresh:
            return Plan(needs_lists=True)
        chosen, reads, wanted = next_unlisted(state, there, read=self.read)
        lacking = [] if self.refetch else [c for c in chosen if state.place_of(c) is None]
        orders = divide(reads, usable_places(state, lacking), self.refused)
        here = by_folder(state, chosen)
        return Plan(chosen=chosen, here=here, orders=orders, wanted=wanted)


def tarballs_of_clips(state: State, clips: Iterable[Candidate]) -> dict[Candidate, Tarball]:
    """Return the tarballs that hold clips, as far as anything says which."""
    if not state.split.is_mixed:
        return {clip: Tarball(state.split, clip[0]) for clip in clips}
    clips = [*clips]
    seen = {
        row.file_name: row.tarball
        for row in state.known.clips()
        if row.state in ("have", "skipped", "bad")
    }
    found = {clip: seen[clip[1]] for clip in clips if clip[1] in seen}
    rows = {clip: state.origin.get(clip_at(clip, state.split)) for clip in clips}
    told = {c: Tarball(state.split, row.tarball) for c, row in rows.items() if row and row.tarball}
    left = [clip for clip in clips if clip not in found and clip not in told]
    done = {name for name, row in state.known.tarballs.items() if row.state == "done"}
    for clip, tarball in {**state.places.tarballs_of(left), **told}.items():
        if tarball.name not in done:  # else it is known not to be in there, whoever says so
            found.setdefault(clip, tarball)
    return found


def by_folder(state: State, chosen: Iterable[Candidate]) -> dict[str, set[str]]:
    """Return the file names, by store folder, of those clips that are there."""
    found: dict[str, set[str]] = {}
    for candidate in chosen:
        if (folder := state.place_of(candidate)) is not None:
            found.setdefault(folder, set()).add(candidate[1])
    return found


def _count(candidates: Candidates, limits: Limits) -> int:
    """Return how many clips are meant."""
    if limits.max_samples is not None:
        return limits.max_samples
    sizes = (len(set(names)) for names in candidates.values())
    return sum(min(size, limits.max_per_class or size) for size in sizes)

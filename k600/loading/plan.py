"""What of a request is here, what has to come and from where, and what cannot be had. Pure.

Loads, dry runs, streams, tables of metadata and repairs all start from the `Plan` that `make_plan`
returns, so that none of them can say anything else than the others do.

A clip whose place in its tarball is known comes by one request, before YouTube or anything else is
asked. Chosen clips that tarballs and YouTube may give come from where they are cheaper to have
(`cheaper`), and what one way refuses by the other, before others take their places. What is to be
replaced, and what is read for a stream, comes from whole tarballs.

Whether a tarball that failed its own checks is read again is decided where its ETag is known
(`ask_host`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from k600.clip import Clip, Place, Tarball, label_of
from k600.loading.candidates import (
    Candidates,
    clip_at,
    find_candidates,
    proved_bad,
    refused_by_youtube,
)
from k600.loading.cheaper import Comparison, expected_bytes
from k600.loading.manifest import ManifestRow
from k600.loading.reads import divide, plan_reads
from k600.loading.selection import Candidate, Limits, choose_clips
from k600.loading.state import State
from k600.loading.unlisted import bytes_to_search, next_to_search, next_unlisted
from k600.store.rows import TarballRow
from k600.tarballs.extract import TarballRead


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
    needs_sizes: Collection[Tarball] = ()
    """Tarballs whose sizes it has to be asked for, so that the cheaper way can be chosen."""
    comparison: Comparison | None = None
    """What clips take that either tarballs or YouTube may give; None if there are none."""

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
        without=state.without,
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

    @property
    def asks_youtube(self) -> bool:
        """Whether YouTube may be asked, too, besides the tarballs."""
        state = self.state
        both = len(state.request.sources) > 1 and state.from_tarballs
        return both and state.may_ask and not self.listed_only

    def plan(self, *, retry: bool) -> Plan:
        """Choose, and find out for each chosen clip where it is or comes from."""
        gone, lost = self._gone(retry=retry)
        others = self._choose({*gone, *lost}) if lost and self.asks_youtube else ()
        if not lost or len(others) < self._wanted:
            return self._plan(gone, lost)

        # Others may take the places of what YouTube has lost: if it is they that are there, if they
        # cost less, or if their tarballs cannot be had.
        replaced = gone | lost
        if lost.keys().isdisjoint(self.refused) and not self._lacking(others):
            return self._plan(replaced, {})
        chosen = self._choose(gone)
        needed = [clip for clip in chosen if clip in lost]
        if not needed:
            return self._plan(replaced, {})
        places = self._places(needed)
        dear = [clip for clip in needed if clip not in places]
        if unsized := self._unsized(dear):
            return self._begin(chosen, gone, needs_sizes=unsized)
        comparison = self._compare(dear, lost=True)
        if comparison is not None and comparison.source == "youtube":
            return self._plan(replaced, {})
        return self._plan(gone, lost, comparison)

    def _plan(
        self,
        gone: dict[Candidate, str],
        lost: Collection[Candidate],
        comparison: Comparison | None = None,
    ) -> Plan:
        """Plan what is left: those that are `lost` come from tarballs only."""
        state = self.state
        chosen = self._choose(gone)
        lacking = self._lacking(chosen)
        places = self._places(lacking)
        ways = {clip: self._ways(clip, before, lost, places) for clip, before in lacking.items()}
        either = [clip for clip, allowed in ways.items() if len(allowed) > 1]
        if unsized := self._unsized(either):
            return self._begin(chosen, gone, needs_sizes=unsized)

        comparison = self._compare(either) or comparison
        routes = self._routes(ways, comparison.source if comparison else "cvdf", gone)
        found = lacking.keys() <= places.keys()
        enough = self.candidates and found and len(chosen) >= self._wanted
        if state.is_unlisted and not (self.listed_only or routes["youtube"] or enough):
            return self._unlisted([c for c in chosen if c not in lacking], comparison)

        reads, needs_lists = self._reads(routes["cvdf"], gone)
        orders = divide(reads, places, ())
        orders = {"entries": orders["entries"], "youtube": routes["youtube"], **orders}
        return self._begin(
            chosen, gone, orders=orders, needs_lists=needs_lists, comparison=comparison
        )

    def _begin(
        self, chosen: Sequence[Candidate], gone: Mapping[Candidate, str], **more: Any
    ) -> Plan:
        """Return a plan for chosen clips."""
        here = by_folder(self.state, chosen)
        return Plan(chosen=chosen, here=here, refused=gone, wanted=self._wanted, **more)

    @property
    def _wanted(self) -> int:
        return _count(self.candidates, self.state.request.limits)

    def _gone(self, *, retry: bool) -> tuple[dict[Candidate, str], dict[Candidate, str]]:
        """Return the candidates that cannot be had at all, and those that YouTube alone has not,
        with the reason.
        """
        state = self.state
        gone: dict[Candidate, str] = {}
        refused: dict[Candidate, str] = {}
        if not (retry or self.refetch) and (state.request.chooses or self.only):
            gone |= proved_bad(state, self.candidates)
            if not (self.listed_only or self.only):
                refused |= refused_by_youtube(state, self.candidates)
        for clip, reason in self.refused.items():
            (refused if reason.startswith("youtube_") else gone)[clip] = reason
        unreachable = self._unreachable()
        gone |= {c: why for c, why in unreachable.items() if not self.asks_youtube or c in refused}

        packed = self._in_tarballs(refused.keys() - gone.keys())
        gone |= {clip: reason for clip, reason in refused.items() if clip not in packed}
        lost = {clip: reason for clip, reason in refused.items() if clip in packed}
        return self._lacked(gone), self._lacked(lost)

    def _places(self, clips: Iterable[Candidate]) -> Mapping[Candidate, Place]:
        return {} if self.refetch or self.listed_only else usable_places(self.state, clips)

    def _lacked(self, clips: Mapping[Candidate, str]) -> dict[Candidate, str]:
        return {c: reason for c, reason in clips.items() if self.state.place_of(c) is None}

    def _in_tarballs(self, clips: Collection[Candidate]) -> Collection[Candidate]:
        """Return those of some clips that tarballs may give, as is known which."""
        state = self.state
        if len(state.request.sources) < 2 or not state.from_tarballs or self.listed_only:
            return ()
        if self.origin or state.split.is_mixed:
            clips = usable_places(state, clips)
        return [clip for clip in clips if self._origin(clip) != "youtube"]

    def _origin(self, clip: Candidate) -> str | None:
        """Return where a manifest says that a clip is from: another source has other bytes."""
        row = self.origin.get(clip_at(clip, self.state.split))
        return None if row is None or self.listed_only else row.source

    def _choose(self, gone: Collection[Candidate]) -> list[Candidate]:
        def here(label: str) -> Collection[str]:
            return self.state.inventory.names(f"{self.state.split}/{label}")

        limits = self.state.request.limits
        return choose_clips(self.candidates, limits, dead=gone, here=here)

    def _lacking(self, chosen: Iterable[Candidate]) -> dict[Candidate, str | None]:
        """Return the clips that are to come, and where those came from that are asked for again."""
        state = self.state
        sources = state.sources() if self.refetch or self.only else {}
        found: dict[Candidate, str | None] = {}
        for clip in chosen:
            place = state.place_of(clip)
            source = sources.get((place or f"{state.split}/{clip[0]}", clip[1]), "local")
            if place is not None and (not self.refetch or source == "local"):
                continue
            again = self.only or place is not None
            found[clip] = ("youtube" if source == "youtube" else "cvdf") if again else None
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

    def _ways(
        self,
        clip: Candidate,
        before: str | None,
        lost: Collection[Candidate],
        places: Collection[Candidate],
    ) -> frozenset[str]:
        """Return the sources that a clip may come from now."""
        state = self.state
        may_ask = state.may_ask and not self.listed_only and clip not in lost
        origin = self._origin(clip)
        if origin is None:
            # An original is not to become a cut from YouTube, whoever is asked for it again.
            origin = before if before == "cvdf" or may_ask else None
        ways = state.request.sources
        if len(ways) > 1 and origin is not None:
            ways = frozenset({"youtube" if origin == "youtube" else "cvdf"})
        if not may_ask:
            ways -= {"youtube"}
        if len(ways) > 1 and clip in places:
            return frozenset({"cvdf"})
        if len(ways) > 1 and self._is_out_of_reach(clip):
            return frozenset({"youtube"})
        return ways

    def _is_out_of_reach(self, clip: Candidate) -> bool:
        """Whether the tarball of a clip was asked for and could not be had or read."""
        tarball, host = Tarball(self.state.split, clip[0]), self.state.host
        known = not self.state.split.is_mixed
        return known and (tarball in host.failures or host.sizes.get(tarball, 0) is None)

    def _unsized(self, clips: Iterable[Candidate]) -> Collection[Tarball]:
        """Return the tarballs of clips whose sizes nobody has asked for."""
        state, host = self.state, self.state.host
        if state.split.is_mixed:
            return ()
        tarballs = dict.fromkeys(tarballs_of_clips(state, clips).values())
        return [t for t in tarballs if t not in host.sizes and t not in host.failures]

    def _compare(self, clips: Collection[Candidate], *, lost: bool = False) -> Comparison | None:
        """Compare what clips take by either way; None if there are none."""
        state, host = self.state, self.state.host
        if not clips:
            return None
        expected: float | None = None
        names: dict[Tarball, set[str]] = {}
        if state.is_unlisted:
            expected = bytes_to_search(state, len(clips))
        elif not state.split.is_mixed:
            for clip, tarball in tarballs_of_clips(state, clips).items():
                names.setdefault(tarball, set()).add(clip[1])
            sizes = {tarball: host.sizes.get(tarball) for tarball in names}
            if not any(size is None for size in sizes.values()):
                expected = sum(
                    expected_bytes(TarballRead(t, frozenset(own), until_found=True), sizes[t] or 0)
                    for t, own in names.items()
                )
        return Comparison(
            clips=len(clips),
            tarballs=len(names),
            tarball_bytes=expected,
            bytes_per_second=state.bytes_per_second,
            requests_per_hour=state.request.youtube.requests_per_hour,
            lost=lost,
        )

    def _routes(
        self,
        ways: Mapping[Candidate, Collection[str]],
        cheaper: str,
        gone: dict[Candidate, str],
    ) -> Mapping[str, Sequence[Candidate]]:
        """Return the clips for each source; note in `gone` those that come from none."""
        state = self.state
        routes: dict[str, list[Candidate]] = {"youtube": [], "cvdf": []}
        for clip, allowed in ways.items():
            route = cheaper if len(allowed) > 1 else next(iter(allowed), "")
            if route == "youtube" or (route and state.network):
                routes[route].append(clip)
            elif state.place_of(clip) is None:
                gone.setdefault(clip, "not_stored" if state.network else "offline")
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

    def _unlisted(self, there: Sequence[Candidate], comparison: Comparison | None) -> Plan:
        """Plan to go through tarballs until there are enough clips."""
        state = self.state
        if not state.host.tarballs and not state.host.fresh:
            return Plan(needs_lists=True)
        chosen, reads, wanted = next_unlisted(state, there, read=self.read)
        lacking = [] if self.refetch else [c for c in chosen if state.place_of(c) is None]
        orders = divide(reads, usable_places(state, lacking), self.refused)
        here = by_folder(state, chosen)
        return Plan(chosen=chosen, here=here, orders=orders, wanted=wanted, comparison=comparison)


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

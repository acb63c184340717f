"""What of a request has to come and from where, and what cannot be had. Pure.

Loads, dry runs and repairs all start from the `Plan` that `make_plan` returns, streams and tables
of metadata from that of `plan_rows`, which chooses alike: so they all say the same.

A clip whose place in its tarball is known comes by one request, before YouTube or anything else is
asked. Chosen clips that tarballs and YouTube may give come from where they are cheaper to have
(`cheaper`), and what one way refuses by the other, before others take their places. What is to be
replaced, and what is read for a stream, comes from whole tarballs.

Whether a tarball that failed its own checks is read again is decided where its ETag is known
(`ask_host`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from k600.dataset.clip import Place, Tarball, label_of
from k600.loading.candidates import Candidates, find_candidates, proved_bad, refused_by_youtube
from k600.loading.cheaper import Comparison, expected_bytes
from k600.loading.manifest import ManifestRow
from k600.loading.reads import divide, plan_reads, reads_of
from k600.loading.selection import Candidate, choose_clips
from k600.loading.state import State
from k600.loading.unlisted import bytes_to_search, next_to_search, next_unlisted
from k600.store.rows import TarballRow
from k600.tarballs.extract import TarballRead


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a request comes to, as far as is known by now."""

    chosen: Sequence[Candidate] = ()
    """The clips that are meant, in the order of choice; none for a request of whole classes."""
    entries: Mapping[Candidate, Place] = field(default_factory=dict)
    """Clips that come by one request each, and where they lie."""
    youtube: Sequence[Candidate] = ()
    """Clips to ask YouTube for."""
    reads: Sequence[TarballRead] = ()
    """Tarballs to read, what of each, and how far."""
    refused: Mapping[Candidate, str] = field(default_factory=dict)
    """Clips that cannot be had, and those in whose places others were chosen, with the reason: keys
    of `REASONS`. (`k600.loading.missing` names those of whole classes.)"""
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
        orders = {"entries": self.entries, "youtube": self.youtube, "cvdf": self.reads}
        return next((source for source, order in orders.items() if order), None)

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

    Raises:
        ListError, NoClipsError, ManifestError, OptionError: As `find_candidates` says.
    """
    refused = refused or {}
    retry = state.request.retry_errors if retry_errors is None else retry_errors
    again = {"refetch": refetch, "retry": retry}
    if only is not None:
        given: dict[str, list[str]] = defaultdict(list)
        for label, name in only:
            given[label].append(name)
        return Choice(state, given, refused, only=True, retry=retry).plan()
    if not state.request.chooses:
        return _of_whole_classes(state, read, refused, **again)

    candidates = find_candidates(state)
    if candidates is None:
        return Plan(needs_lists=True)
    return Choice(state, candidates, refused, read, **again).plan()


def plan_rows(state: State) -> Plan:
    """Plan rows of clips that are not stored: as if there were no YouTube, from whole tarballs.

    Raises:
        ListError, NoClipsError, ManifestError, OptionError: As `find_candidates` says.
    """
    candidates = find_candidates(state)
    return Plan(needs_lists=True) if candidates is None else Choice(state, candidates).rows()


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
    here = state.inventory.names
    copies = state.known.copies() if network and request.sources == {"cvdf"} else {}
    reads = plan_reads(
        [t for t in state.tarballs if t not in read and t not in host.failures],
        state.known,
        lambda folder: here(folder) - copies.get(folder, set()),  # these are to be replaced
        wanted=state.wanted,
        without=state.without,
        retry_errors=retry and network,
        refetch=refetch and network,
        listing=host.listing,
    )
    few = [(read.tarball, name) for read in reads for name in read.only]
    clips = [(tarball.label or label_of(name, state.labels), name) for tarball, name in few]
    entries, reads = divide(reads, usable_places(state, clips), refused)
    lists = bool(reads) or not state.knows_tarballs
    return Plan(
        entries=entries,
        reads=reads,
        needs_lists=network and not host.fresh and lists,
    )


def usable_places(state: State, clips: Iterable[Candidate]) -> dict[Candidate, Place]:
    """Return the places of clips, as far as they are known and may be used now."""
    if not state.from_tarballs:
        return {}
    host, known, cuts = state.host, state.known, state.known.cuts
    found: dict[Candidate, Place] = {}
    for clip, place in state.places.find(clips).items():
        if place.tarball in host.doubted or place.tarball in host.failures:
            continue
        if state.may_ask and clip[1] in cuts.get(f"{state.split}/{clip[0]}", ()):
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


@dataclass(frozen=True)
class Choice:
    """A plan for chosen clips: among which is chosen, and what is passed over."""

    state: State
    candidates: Candidates
    refused: Mapping[Candidate, str] = field(default_factory=dict)
    read: Collection[Tarball] = ()
    refetch: bool = False
    retry: bool = False
    only: bool = False
    """Whether each comes from where it came before, whatever a manifest says."""

    @property
    def origin(self) -> Mapping[Candidate, ManifestRow]:
        return {} if self.only else self.state.origin

    @property
    def asks_youtube(self) -> bool:
        """Whether YouTube may be asked, too, besides the tarballs."""
        state = self.state
        return len(state.request.sources) > 1 and state.from_tarballs and state.may_ask

    @cached_property
    def wanted(self) -> int:
        """How many clips are meant."""
        limits = self.state.request.limits
        if limits.max_samples is not None:
            return limits.max_samples
        sizes = (len(set(names)) for names in self.candidates.values())
        return sum(min(size, limits.max_per_class or size) for size in sizes)

    def rows(self) -> Plan:
        """Choose, and find out which tarballs to read for the clips that are not there."""
        state, request = self.state, self.state.request
        is_asked_again = request.retry_errors or not request.chooses
        gone = {} if is_asked_again else proved_bad(state, self.candidates)
        chosen = self._choose(gone)
        packed = self._lacking(chosen) if state.from_tarballs else ()
        reads = reads_of(state.places.tarballs_of(packed, state.known))
        return Plan(chosen=chosen, reads=reads, refused=gone, wanted=self.wanted)

    def plan(self) -> Plan:
        """Choose, and find out for each chosen clip where it is or comes from."""
        gone, lost = self._gone()
        others = self._choose({*gone, *lost}) if lost and self.asks_youtube else ()
        if not lost or len(others) < self.wanted:
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
            return Plan(needs_sizes=unsized)
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
            return Plan(needs_sizes=unsized)

        comparison = self._compare(either) or comparison
        cheaper = comparison.source if comparison else "cvdf"
        youtube, packed = list[Candidate](), list[Candidate]()
        for clip, allowed in ways.items():
            way = cheaper if len(allowed) > 1 else next(iter(allowed), "")
            if way == "youtube":
                youtube.append(clip)
            elif way and state.network:
                packed.append(clip)
            elif state.place_of(clip) is None:
                gone.setdefault(clip, "not_stored" if state.network else "offline")

        found = lacking.keys() <= places.keys()
        enough = self.candidates and found and len(chosen) >= self.wanted
        if state.is_unlisted and not (youtube or enough):
            return self._unlisted([c for c in chosen if c not in lacking], comparison)

        reads, needs_lists = self._reads(packed, gone)
        entries, reads = divide(reads, places, ())
        return Plan(
            chosen=chosen,
            entries=entries,
            youtube=youtube,
            reads=reads,
            refused=gone,
            wanted=self.wanted,
            needs_lists=needs_lists,
            comparison=comparison,
        )

    def _gone(self) -> tuple[dict[Candidate, str], dict[Candidate, str]]:
        """Return the candidates that cannot be had at all, and those that YouTube alone has not,
        with the reason.
        """
        state = self.state
        gone: dict[Candidate, str] = {}
        refused: dict[Candidate, str] = {}
        if not (self.retry or self.refetch):
            gone |= proved_bad(state, self.candidates)
            if not self.only:
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
        return {} if self.refetch else usable_places(self.state, clips)

    def _lacked(self, clips: Mapping[Candidate, str]) -> dict[Candidate, str]:
        return {c: reason for c, reason in clips.items() if self.state.place_of(c) is None}

    def _in_tarballs(self, clips: Collection[Candidate]) -> Collection[Candidate]:
        """Return those of some clips that tarballs may give, as is known which."""
        state = self.state
        if len(state.request.sources) < 2 or not state.from_tarballs:
            return ()
        if self.origin or state.split.is_mixed:
            clips = usable_places(state, clips)
        return [clip for clip in clips if self._origin(clip) != "youtube"]

    def _origin(self, clip: Candidate) -> str | None:
        """Return where a manifest says that a clip is from: another source has other bytes."""
        row = self.origin.get(clip)
        return None if row is None else row.source

    def _choose(self, gone: Collection[Candidate]) -> list[Candidate]:
        def here(label: str) -> Collection[str]:
            return self.state.inventory.names(f"{self.state.split}/{label}")

        limits = self.state.request.limits
        return choose_clips(self.candidates, limits, dead=gone, here=here)

    def _lacking(self, chosen: Iterable[Candidate]) -> dict[Candidate, str | None]:
        """Return the clips that are to come, and where those came from that are asked for again."""
        state = self.state
        found: dict[Candidate, str | None] = {}
        for clip in chosen:
            folder = state.place_of(clip)
            if folder is None and not self.only:
                found[clip] = None
            elif folder is None or self.refetch:
                sources = state.sources(folder or f"{state.split}/{clip[0]}", {clip[1]})
                if folder is None or sources[clip[1]] != "local":
                    found[clip] = "youtube" if sources[clip[1]] == "youtube" else "cvdf"
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
        may_ask = state.may_ask and clip not in lost
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
        host = self.state.host
        tarballs = [read.tarball for read in self._reads_of_classes(clips)]
        return [t for t in tarballs if t not in host.sizes and t not in host.failures]

    def _reads_of_classes(self, clips: Iterable[Candidate]) -> list[TarballRead]:
        """Return what would be read of tarballs for clips; none where these mix classes."""
        split = self.state.split
        return reads_of({} if split.is_mixed else {c: Tarball(split, c[0]) for c in clips})

    def _compare(self, clips: Collection[Candidate], *, lost: bool = False) -> Comparison | None:
        """Compare what clips take by either way; None if there are none."""
        state = self.state
        if not clips:
            return None
        reads = self._reads_of_classes(clips)
        sizes = {read: state.host.sizes.get(read.tarball) for read in reads}
        expected: float | None = None
        if state.is_unlisted:
            expected = bytes_to_search(state, len(clips))
        elif reads and None not in sizes.values():
            expected = sum(expected_bytes(read, size or 0) for read, size in sizes.items())
        return Comparison(
            clips=len(clips),
            tarballs=len(reads),
            tarball_bytes=expected,
            bytes_per_second=state.bytes_per_second,
            requests_per_hour=state.request.youtube.requests_per_hour,
            lost=lost,
        )

    def _reads(
        self, packed: Iterable[Candidate], gone: dict[Candidate, str]
    ) -> tuple[list[TarballRead], bool]:
        """Return the tarballs to read for clips, and whether it takes the host's list to know."""
        state, host = self.state, self.state.host
        where = state.places.tarballs_of(packed, state.known)
        failed = {clip: host.failures[t].reason for clip, t in where.items() if t in host.failures}
        for clip, reason in failed.items():
            gone.setdefault(clip, reason)
        reads = reads_of({clip: t for clip, t in where.items() if clip not in failed})

        somewhere = {clip[1]: clip for clip in packed if clip not in where}
        if not somewhere or self.only:
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
        entries, reads = divide(reads, usable_places(state, lacking), self.refused)
        return Plan(
            chosen=chosen,
            entries=entries,
            reads=reads,
            wanted=wanted,
            comparison=comparison,
        )

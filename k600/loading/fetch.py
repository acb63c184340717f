"""Carry out a request: plan, bring what the plan asks for, and plan again until it asks no more."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from k600.dataset.clip import Tarball
from k600.errors import Kinetics600Error
from k600.loading.ask_host import settle
from k600.loading.ask_youtube import YouTubeSource
from k600.loading.candidates import find_candidates
from k600.loading.missing import (
    differing_clips,
    missing_clips,
    raise_nothing,
    stored_shards,
)
from k600.loading.outcome import Missing, Outcome, missing_csv
from k600.loading.plan import Plan, make_plan
from k600.loading.read_entries import EntrySource
from k600.loading.read_tarballs import TarballSource
from k600.loading.request import Request
from k600.loading.rows import StoredShard
from k600.loading.selection import Candidate, choose_clips
from k600.loading.sources import Fetched, Source
from k600.loading.state import State, read_state

logger = logging.getLogger("kinetics600")

SOURCES: Mapping[str, type[Source]] = {
    "entries": EntrySource,
    "youtube": YouTubeSource,
    "cvdf": TarballSource,
}
"""By name. Those before the last, which reads tarballs, need not know what the host says now."""


def fetch_split(
    request: Request,
    split: str,
    *,
    refetch: bool = False,
) -> Outcome:
    """Bring a request's clips of one split into the store and say what is there.

    What the store has is used first, and if that is all, nothing else is touched. A chosen clip
    that cannot be had is replaced by another.

    Args:
        request: The request.
        split: One of its splits.
        refetch: Fetch everything again, in place of what is there.

    Raises:
        MirrorError, ListError: The mirror cannot serve the request at all.
        YouTubeError: YouTube gives nothing, and nothing else may serve.
        StoreError: The store cannot be used, or has too little room.
        NoClipsError: Not one clip can be had.
    """
    before = read_state(request, split, keep=True, refresh=refetch)
    load = Load(before, refetch=refetch)
    load.carry_out()
    return _outcome_of_chosen(load, before) if request.chooses else _outcome_of_whole_classes(load)


@dataclass(slots=True)
class Load:
    """A request on its way into the store, round by round."""

    state: State
    """How things stand by now."""
    refetch: bool = False
    only: Collection[Candidate] | None = None
    """Just these clips (`make_plan`)."""
    stamps: dict[str, int] = field(default_factory=dict)
    """When each folder last changed, taken just before it was listed."""
    fetched: Counter[str] = field(default_factory=Counter)
    """How many tarballs or clips came, by source."""
    fetched_bytes: Counter[str] = field(default_factory=Counter)
    refused: dict[Candidate, str] = field(default_factory=dict)
    """Chosen clips that no source gave, with the reason."""
    details: dict[Candidate, str] = field(default_factory=dict)
    """More words on that."""
    proved: set[Candidate] = field(default_factory=set)
    """Clips that came and are what the manifest means."""
    read: set[Tarball] = field(default_factory=set)
    """Tarballs that were read."""
    plan: Plan = field(default_factory=Plan)
    """What was planned last."""
    given_up: Kinetics600Error | None = None
    """Why a source was given up, if one was."""

    def carry_out(self) -> None:
        """Plan and fetch until the plan asks for nothing more.

        One source is asked at a time, and the next for what is still lacking then.
        """
        self.stamps = self.state.stamps()
        with contextlib.ExitStack() as stack:
            sources = {name: kind(stack) for name, kind in SOURCES.items()}
            refetch, retry_errors = self.refetch, self.state.request.retry_errors
            said = ""
            while True:
                self._make_plan(refetch=refetch, retry_errors=retry_errors)
                name = self.plan.first
                if name is None:
                    return

                way = str(self.plan.comparison or said)  # the cheaper one, and why
                if way != said:
                    logger.info("kinetics600 %s: %s", self.state.split, way)
                said = way
                fetched = sources[name].fetch(self.state, self.plan, refetch=refetch)
                self._note(name, fetched)
                refetch = retry_errors = False  # each is asked for again once

    def _make_plan(self, *, refetch: bool, retry_errors: bool) -> None:
        """Plan; if tarballs are to be read next, by what the host says now."""
        state = self.state
        make = partial(
            make_plan,
            refused=self.refused,
            read=self.read,
            only=self.only,
            refetch=refetch,
            retry_errors=retry_errors,
        )
        self.plan = plan = make(state)
        if plan.first not in (None, "cvdf"):
            return

        # That the store can take clips is proved before the host is asked for anything.
        if state.network and not state.writable and (plan.reads or plan.needs_lists):
            state.request.store.prepare()
        self.state, self.plan = settle(state, make, plan=plan, refetch=refetch)

    def _note(self, source: str, fetched: Fetched) -> None:
        """Read how things stand now, and pass over what the source did not give."""
        self.read.update(fetched.read)
        self.given_up = fetched.given_up or self.given_up
        self.fetched[source] += fetched.count
        self.fetched_bytes[source] += fetched.received_bytes
        self.details |= fetched.details
        self.proved.update(fetched.proved)
        self.stamps = self.state.stamps()
        doubted = self.state.host.doubted.union(fetched.doubted)
        state = self.state.with_host(doubted=doubted).with_failures(fetched.failures).now()
        # Where tarballs are gone through, they give all the rest.
        if fetched.given_up or (fetched.read and state.is_unlisted):
            state = dataclasses.replace(state, may_ask=False)
        self.state = state

        known = state.known.others if fetched.read else ()
        bad = {(row.folder, row.file_name): row.reason for row in known if row.reason}
        for clip in fetched.asked:
            if state.place_of(clip) is None:
                own = bad.get((f"{state.split}/{clip[0]}", clip[1]))
                reason = fetched.refused.get(clip) or own
                if reason or not fetched.given_up:
                    self.refused[clip] = reason or "not_stored"


def _outcome_of_whole_classes(load: Load) -> Outcome:
    state, failures = load.state, load.state.host.failures
    shards = stored_shards(state)
    missing = missing_clips(state)
    if not shards:
        raise_nothing(state, missing)
    reasons = {tarball.path: failure.reason for tarball, failure in failures.items()}
    return _outcome(load, shards, missing, failures=reasons)


def _outcome_of_chosen(load: Load, before: State) -> Outcome:
    state, plan = load.state, load.plan
    differing = differing_clips(state, (c for c in plan.chosen if c not in load.proved))
    refused = {**plan.refused, **dict.fromkeys(differing, "differs")}

    shards = stored_shards(state, set(plan.chosen).difference(differing))
    clips = sum(len(shard.names) for shard in shards)
    short = plan.wanted is None or clips < plan.wanted
    missing = _missing_of_chosen(load, refused) if short else []
    if not shards:
        if load.given_up is not None and len(state.request.sources) == 1:
            raise load.given_up
        raise_nothing(state, missing)
    passed_over = [] if missing else _passed_over(state, plan, refused, before)
    return _outcome(
        load,
        shards,
        missing,
        asked=plan.wanted,
        replaced=dict(Counter(refused[candidate] for candidate in passed_over)),
        offline=not state.network and bool(state.request.sources),
    )


def _outcome(
    load: Load, shards: Sequence[StoredShard], missing: Sequence[Missing], **more: Any
) -> Outcome:
    """Return the outcome of a load, and write its report."""
    state, request = load.state, load.state.request
    report, name, is_known = "", f"reports/{state.split}-missing.csv", False
    if missing:
        named = missing_csv(missing)
        is_known = request.store.read_own(name) == named
        if state.network and state.writable:
            report = str(request.store.write_own(name, named))
    return Outcome(
        state.split,
        tuple(shards),
        tuple(missing),
        load.fetched,
        load.fetched_bytes,
        load.stamps,
        labelled=not state.split.is_mixed or bool(state.labels or request.manifest),
        report=report,
        is_known=is_known,
        **more,
    )


def _missing_of_chosen(load: Load, refused: Mapping[Candidate, str]) -> list[Missing]:
    state, split = load.state, load.state.split
    missing = [
        Missing(split, label, name, label, reason, load.details.get((label, name), ""))
        for (label, name), reason in sorted(refused.items())
    ]
    if split.is_mixed:
        missing += [
            Missing(split, "", "", tarball.name, *failure.in_words)
            for tarball, failure in state.host.failures.items()
        ]
    return missing


def _passed_over(
    state: State, plan: Plan, refused: Mapping[Candidate, str], before: State
) -> list[Candidate]:
    """Return the candidates in whose places others came: those that rank before the last."""
    candidates = find_candidates(state) if refused else None
    if not candidates:
        return []
    taken, limits = set(plan.chosen), state.request.limits
    most = None if limits.max_samples is None else limits.max_samples + len(refused)
    ranked = choose_clips(
        candidates,
        dataclasses.replace(limits, max_samples=most),
        here=lambda label: before.inventory.names(f"{state.split}/{label}"),
    )
    if most is not None:
        while ranked and ranked[-1] not in taken:
            ranked.pop()
    return [c for c in ranked if c in refused and c not in taken]

"""Fetch clips of a store again, from where each came: the other half of `k600.checks.verify`."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from k600.checks.clip_files import Target
from k600.errors import Kinetics600Error
from k600.loading.ask_youtube import FromYouTube
from k600.loading.from_tarballs import FromTarballs, tarball_of
from k600.loading.selection import Candidate
from k600.loading.state import State
from k600.progress import Progress
from k600.splits import Split

__all__ = ["Why", "fetch_again"]

Why = dict[Target, tuple[str, str]]
"""A key of `k600.reasons.REASONS`, or nothing, and more words."""


def fetch_again(
    state: State, targets: Collection[Target], progress: Progress
) -> tuple[dict[Target, Target], Why]:
    """Fetch clips into the store again; none of them may be at its place.

    A clip from YouTube comes from there again, and with `source="auto"` from its tarball if YouTube
    has it no more. One that the ledger knows to be bad in its tarball is not asked for, unless
    `retry_errors` is given.

    Returns:
        Where those that came lie now, and why the others did not.
    """
    request, split, known = state.request, state.split, state.known
    network, youtube = state.network, state.youtube
    tarballs = FromTarballs(request, split, progress)
    candidates = {_candidate(target): target for target in targets}
    cut = {(a.folder, a.file_name) for a in known.answers if a.kind == "have"}
    bad = {(c.folder, c.file_name): c.reason for c in known.others if c.state in ("bad", "absent")}
    why: Why = {}
    asked: list[Candidate] = []
    packed: list[Candidate] = []
    for candidate, target in candidates.items():
        own = (target.folder, target.file_name)
        if request.source == "youtube" or (own in cut and youtube):
            if youtube:
                asked.append(candidate)
            else:
                why[target] = ("offline", "")
        elif own in bad and not request.retry_errors:
            why[target] = (bad[own] or "not_stored", "")
        elif not network:
            why[target] = ("offline", "")
        elif tarball_of(candidate, state) is None:
            why[target] = ("", "no list says which tarball holds it; load the split")
        else:
            packed.append(candidate)
    if asked:
        with contextlib.ExitStack() as stack:
            source = FromYouTube(request, split, progress, stack)
            refused = ""
            try:
                source.bring(asked, refetch=False)
            except Kinetics600Error as error:
                refused = str(error)
            there = state.now()
            for candidate in asked:
                if there.place_of(candidate) is not None:
                    continue
                if candidate not in source.reasons:
                    source.explain(candidate)
                reason = source.reasons.get(candidate, "")
                why[candidates[candidate]] = (reason, source.details.get(candidate, refused))
                if request.source == "auto" and not Split(split).is_mixed and network:
                    packed.append(candidate)
    if packed:
        try:
            tarballs.bring(packed, state, refetch=False)
        except Kinetics600Error as error:
            why |= {candidates[candidate]: ("", str(error)) for candidate in packed}
        errors = {tarball.name: str(f.error) for tarball, f in tarballs.failures.items()}
        for candidate, reason in tarballs.reasons.items():
            tarball = tarball_of(candidate, state)
            words = errors.get(tarball.name, "") if tarball is not None else ""
            why[candidates[candidate]] = (reason, words)
    there = state.now()
    came = {}
    for candidate, target in candidates.items():
        folder = there.place_of(candidate)
        if folder is not None:
            came[target] = Target(folder, target.file_name, f"{folder}/{target.file_name}")
    return came, {t: why.get(t) or ("not_stored", "") for t in targets if t not in came}


def _candidate(target: Target) -> Candidate:
    return target.folder.partition("/")[2], target.file_name

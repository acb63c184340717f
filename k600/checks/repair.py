"""Fetch clips of a store again, from where each came: the other half of `k600.checks.verify`."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from k600.checks.clip_files import Target
from k600.errors import Kinetics600Error
from k600.loading.fetch import Load
from k600.loading.plan import tarballs_of_clips
from k600.loading.selection import Candidate
from k600.loading.state import State
from k600.progress import Progress

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
    candidates = {_candidate(target): target for target in targets}
    load, error = _load(state, candidates, progress)
    if error and load.state.youtube and load.state.from_tarballs:
        without = dataclasses.replace(load.state.now(), youtube=False)
        load, error = _load(without, candidates, progress)

    now = load.state.now()
    tarballs = tarballs_of_clips(now, candidates)
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
    """Fetch clips, and return what went wrong altogether, if anything did."""
    load = Load(state, progress, only=candidates)
    try:
        load.carry_out()
    except Kinetics600Error as error:
        return load, str(error)
    return load, ""


def _candidate(target: Target) -> Candidate:
    return target.folder.partition("/")[2], target.file_name

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
    """Fetch clips into the store again; return the new place of each, and why others failed.

    None of them may be at its place. A clip from YouTube comes from there again, and with
    `source="auto"` from its tarball if YouTube no longer has it. One that the ledger knows to be
    bad in its tarball is not fetched, unless `retry_errors` is given.
    """
    candidates = {(each.folder.partition("/")[2], each.file_name): each for each in targets}
    load, error = _load(state, candidates, progress)
    if error and load.state.youtube and load.state.from_tarballs:
        without = dataclasses.replace(load.state.now(), youtube=False)
        load, error = _load(without, candidates, progress)

    now = load.state.now()
    tarballs = tarballs_of_clips(now, candidates)
    details = load.details()
    came: dict[Target, Target] = {}
    why: Why = {}
    for candidate, target in candidates.items():
        folder, tarball = now.place_of(candidate), tarballs.get(candidate)
        failure = now.host.failures.get(tarball) if tarball else None
        if folder is not None:
            came[target] = Target(folder, target.file_name, f"{folder}/{target.file_name}")
        elif reason := load.plan.refused.get(candidate):
            words = str(failure.error) if failure and failure.reason == reason else ""
            why[target] = (reason, details.get(candidate, words))
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
    """Fetch clips; return the load, and the message of the error that ended it, if any."""
    load = Load(state, progress, only=candidates)
    try:
        load.carry_out()
    except Kinetics600Error as error:
        return load, str(error)
    return load, ""

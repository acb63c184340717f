"""Single clips of one request from YouTube: tools checked first, one asker for all rounds."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from k600.disk import Space
from k600.errors import MissingDependencyError
from k600.loading.candidates import clip_at
from k600.loading.plan import YOUTUBE_CLIP_BYTES
from k600.loading.request import Request
from k600.loading.selection import Candidate
from k600.progress import Progress
from k600.youtube.options import check_proxy
from k600.youtube.refusals import Refusal
from k600.youtube.tools import check_tools

if TYPE_CHECKING:
    from k600.youtube.workers import YouTubeWorkers

__all__ = ["FromYouTube"]

logger = logging.getLogger("kinetics600")

_UNPACED = 40
"""Clips of a run that come without waiting for the pace, about."""


@dataclass(slots=True)
class FromYouTube:
    """Asks YouTube for clips, until it is given up."""

    request: Request
    split: str
    progress: Progress
    stack: contextlib.ExitStack
    """Closes the asker at the end."""
    given_up: Refusal | None = None
    """Why nothing is asked any more."""
    reasons: dict[Candidate, str] = field(default_factory=dict)
    """Why a clip was not given, by candidate: keys of `k600.reasons.REASONS`."""
    details: dict[Candidate, str] = field(default_factory=dict)
    clips: int = 0
    received_bytes: int = 0
    asker: YouTubeWorkers | None = None

    def bring(self, lacking: Sequence[Candidate], *, refetch: bool) -> None:
        """Ask for clips; afterwards each is in the store, has a reason, or YouTube is given up.

        Raises:
            OptionError: The proxy or the cookies do not serve.
            MissingDependencyError: A tool is missing, and no other source may serve.
            StoreError: The store cannot take a clip, or has too little room.
        """
        self.request.store.check_room(Space(len(lacking) * YOUTUBE_CLIP_BYTES, len(lacking)))
        asker = self.asker or self._open(len(lacking), refetch=refetch)
        if asker is None:
            return
        pace_seconds = 3600 * 2 / self.request.youtube.requests_per_hour
        minutes = max(len(lacking) - _UNPACED, 0) * pace_seconds / 60
        logger.info(
            "kinetics600 %s: asking YouTube for %s clips%s",
            self.split,
            f"{len(lacking):,}",
            f", which takes at least {minutes:.0f} minutes at the pace it allows"
            if minutes >= 1
            else "",
        )
        clips = {clip_at(candidate, self.split): candidate for candidate in lacking}
        with self.progress(len(clips), f"{self.split}, from YouTube", unit=" clips") as bar:
            found = asker.ask(list(clips), on_clip=lambda: bar.update(1))
        self.clips += len(found.stored)
        self.received_bytes += found.received_bytes
        for clip, refusal in found.refused.items():
            self._note(clips[clip], refusal)
        self.given_up = asker.given_up

    def explain(self, candidate: Candidate) -> None:
        """Say of a clip that was not asked for why that is so."""
        if self.given_up is not None:
            self._note(candidate, self.given_up)

    def _note(self, candidate: Candidate, refusal: Refusal) -> None:
        self.reasons[candidate] = refusal.reason
        self.details[candidate] = f"{refusal.code}: {refusal.message}"

    def _open(self, clips: int, *, refetch: bool) -> YouTubeWorkers | None:
        options, alone = self.request.youtube, self.request.source == "youtube"
        self.request.store.prepare()
        check_proxy(options)
        try:
            check_tools(options)
        except MissingDependencyError as error:
            if alone:
                raise
            self.given_up = Refusal("client", "tools", str(error))
            return None
        from k600.youtube.workers import YouTubeWorkers

        self.asker = self.stack.enter_context(
            YouTubeWorkers(
                options,
                self.request.store,
                self.request.ledger,
                num_workers=min(self.request.num_workers, clips),
                patience_seconds=options.patience_seconds if alone else 0,
                remember_block=not alone,
                refetch=refetch,
            )
        )
        return self.asker

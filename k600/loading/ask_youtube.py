"""Single clips of one request from YouTube: tools checked first, the same workers in all rounds."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from k600.dataset.clip import Clip
from k600.errors import MissingDependencyError, YouTubeError
from k600.errors.disk import Space
from k600.errors.text import counted, time_of
from k600.loading.cheaper import youtube_seconds
from k600.loading.plan import Plan
from k600.loading.selection import Candidate
from k600.loading.sources import Fetched, Price, Source
from k600.loading.state import State
from k600.youtube.reach import why_out_of_reach
from k600.youtube.refusals import Refusal
from k600.youtube.tools import advice, check_tools

if TYPE_CHECKING:
    from k600.youtube.workers import YouTubeWorkers

logger = logging.getLogger("kinetics600")

_MOST_WORKERS = 4
"""More would be no faster at the pace that is allowed."""
_CLIP_BYTES = 860_000
"""Mean size of a clip cut from YouTube, at 360 lines and with audio."""
_READ_BYTES = 2_500_000
"""What is read for it: from a key frame before it on, in pieces of half a megabyte."""


@dataclass(slots=True)
class YouTubeSource(Source):
    """Asks YouTube for clips, until it is given up."""

    workers: YouTubeWorkers | None = None

    @staticmethod
    def price(state: State, plan: Plan, *, bytes_per_second: float) -> Price:
        """Return what YouTube's part of a plan takes: its pace, not the line, sets the time."""
        clips = len(plan.youtube)
        return Price(
            count=clips,
            size_bytes=clips * _READ_BYTES,
            space=Space(clips * _CLIP_BYTES, clips),
            seconds=youtube_seconds(clips, state.request.youtube.requests_per_hour),
        )

    def fetch(self, state: State, plan: Plan, *, refetch: bool = False) -> Fetched:
        """Ask for clips; each is in the store then, refused, or YouTube is given up.

        Raises:
            OptionError: The proxy or the cookies do not serve.
            MissingDependencyError: A tool is missing, and no other source may serve.
            StoreError: The store cannot take a clip, or has too little room.
        """
        clips = {Clip.at(candidate, state.split): candidate for candidate in plan.youtube}
        price = self.price(state, plan, bytes_per_second=1)
        state.request.store.check_room(price.space)
        came = Fetched(asked=plan.youtube)
        refusals: dict[Candidate, Refusal] = {}
        stored: set[Clip] = set()
        given_up, what_to_do = self._open(state, len(clips), refetch=refetch)
        if self.workers is not None:
            logger.info(
                "kinetics600 %s: asking YouTube for %s, which takes about %s",
                state.split,
                counted(len(clips), "clip"),
                time_of(price.seconds),
            )
            name = f"{state.split}, from YouTube"
            with state.request.progress(len(clips), name, unit="clip") as bar:
                found = self.workers.ask(list(clips), on_clip=lambda: bar.update(1))
            came.count, came.received_bytes = len(found.stored), found.received_bytes
            refusals = {clips[clip]: refusal for clip, refusal in found.refused.items()}
            stored.update(found.stored, found.found)
            given_up, what_to_do = self.workers.given_up, self.workers.advice

        if given_up is not None:
            alone = len(state.request.sources) == 1
            says = f"gives no clips here ({given_up.code}: {given_up.message})"
            came.given_up = YouTubeError(
                f"source: 'youtube' {says}. {what_to_do}; or use source='cvdf'"
            )
            if not alone:
                then = "are missing" if state.origin else "come from the tarballs instead"
                advised = f". {what_to_do}" if what_to_do else ""
                logger.warning(
                    "kinetics600 %s: YouTube %s. They %s%s", state.split, says, then, advised
                )
            if alone or state.origin:  # no other source may serve
                left = [candidate for clip, candidate in clips.items() if clip not in stored]
                refusals = {**dict.fromkeys(left, given_up), **refusals}
        came.refused = {clip: refusal.reason for clip, refusal in refusals.items()}
        came.details = {clip: f"{why.code}: {why.message}" for clip, why in refusals.items()}
        return came

    def _open(self, state: State, clips: int, *, refetch: bool) -> tuple[Refusal | None, str]:
        """Start the workers, or return why there are none, and what to do about it: YouTube is out
        of reach, or a tool is missing and another source may serve.
        """
        if self.workers is not None:
            return None, ""
        request, options = state.request, state.request.youtube
        alone = len(request.sources) == 1
        request.store.prepare()
        if silence := why_out_of_reach(request.store, options, afresh=alone):
            refusal = Refusal("transient", "network", silence)
            return refusal, advice("transient", has_worked=False)
        try:
            check_tools(options)
        except MissingDependencyError as error:
            if alone:
                raise
            return Refusal("client", "tools", str(error)), ""

        from k600.youtube.workers import YouTubeWorkers

        self.workers = self.stack.enter_context(
            YouTubeWorkers(
                options,
                request.store,
                request.ledger,
                num_workers=min(request.num_workers, _MOST_WORKERS, clips),
                patience_seconds=options.patience_seconds if alone else 0,
                remember_block=not alone,
                refetch=refetch,
            )
        )
        return None, ""

"""Ask YouTube for clips, several at a time, and stop asking when it refuses this address."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from k600.dataset.clip import Clip
from k600.errors import Stopped
from k600.errors.text import time_of
from k600.errors.translate import store_error, translate_errors
from k600.store.files import flush, sync_folder
from k600.store.ledger import Ledger
from k600.store.store import Incoming, Store
from k600.youtube.circumstances import Circumstances
from k600.youtube.cookies import GUEST, Cookies, read_cookies
from k600.youtube.fetcher import RefusedError, VideoFetcher
from k600.youtube.options import YouTubeOptions
from k600.youtube.rate_limit import Throttle
from k600.youtube.refusals import Refusal
from k600.youtube.tools import advice, yt_dlp_version

logger = logging.getLogger("kinetics600")

_LOCKS = 512
"""Lock files that keep two processes from fetching the same clip."""

_MOST_FAILURES_IN_A_ROW = {"network": 3, "transient": 6, "client": 6, "any": 40}
"""After how many refusals without one success YouTube as a whole is given up. A third of all
videos may be gone, so forty in a row are not chance."""

_PATIENCE_SECONDS = {"rate_limit": 3600}
"""How long to wait in all unless the user says it: YouTube limits a session "for up to an hour"."""
_USUAL_PATIENCE_SECONDS = 600
_RATE_LIMIT_PAUSES = 60
"""How many first pauses to wait for a rate limit: each try in vain may prolong it."""

Answer = int | Refusal
"""Bytes received for a clip that is stored now, 0 if another process has fetched it."""


@dataclass(slots=True)
class Answers:
    """The results of `YouTubeWorkers.ask`."""

    stored: list[Clip] = field(default_factory=list)
    found: list[Clip] = field(default_factory=list)
    """Stored as well, but fetched by another process meanwhile."""
    refused: dict[Clip, Refusal] = field(default_factory=dict)
    received_bytes: int = 0


class Suspects:
    """Tells a video that YouTube gives to nobody here from an address that it refuses.

    Some videos say alone what a refused address hears for all. So after the first clip that is
    blocked another one is tried, and a third one, and only if all are blocked, it is the address.
    """

    _ENOUGH = 3

    def __init__(self) -> None:
        self._blocked: set[Clip] = set()  # since another clip passed
        self._alone: set[Clip] = set()  # blocked, when the next one was not

    def is_to_blame(self, clip: Clip) -> bool:
        """Note that a clip is blocked; return whether it is for its own sake."""
        if clip in self._alone:
            return True
        self._blocked.add(clip)
        return False

    def clear(self) -> None:
        """Note that YouTube answers this address."""
        if len(self._blocked) < self._ENOUGH:
            self._alone |= self._blocked
        self._blocked.clear()

    def can_be_told(self, todo: Iterable[Clip]) -> bool:
        """Return whether another clip is left that tells those that are blocked from the rest."""
        return len(self._blocked) < self._ENOUGH and not self._blocked.issuperset(todo)

    def take_next(self, todo: deque[Clip]) -> Clip:
        """Take the clip to try next, one that is not blocked if there is any."""
        clip = next((clip for clip in todo if clip not in self._blocked), todo[0])
        todo.remove(clip)
        return clip


@dataclass(eq=False)
class YouTubeWorkers:
    """Fetches clips with several threads, which run while its context is open."""

    options: YouTubeOptions
    store: Store
    ledger: Ledger
    """Where each answer is recorded as it comes."""
    _: KW_ONLY
    num_workers: int
    patience_seconds: float | None
    """How long to wait, in all, for a block to be lifted; None for as long as makes sense."""
    first_pause_seconds: float = 15
    """How long to wait before the first retry; then twice as long each time."""
    remember_block: bool = False
    """Ask nothing if YouTube refused this address within the last ten minutes."""
    refetch: bool = False
    """Fetch clips that are in the store again."""
    given_up: Refusal | None = field(default=None, init=False)
    """Why YouTube as a whole was given up; None as long as it was not."""

    def __post_init__(self) -> None:
        address = Circumstances(self.options)["address"]
        self._throttle = Throttle(self.store, address, self.options.requests_per_hour)
        self._stop = self._throttle.stop
        self._questions: queue.Queue[Clip | None] = queue.Queue()
        self._answers: queue.Queue[tuple[Clip, Answer | BaseException]] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._failures: deque[Refusal] = deque(maxlen=_MOST_FAILURES_IN_A_ROW["any"])
        self._suspects = Suspects()
        self._waited_seconds = 0.0
        self._has_stored = False

    @property
    def advice(self) -> str:
        """What to do about `given_up`, in words."""
        if self.given_up is None:
            return ""
        return advice(self.given_up.kind, has_worked=self._has_stored)

    def __enter__(self) -> YouTubeWorkers:
        cookies = read_cookies(self.options.cookies, self.options.cookies_from_browser)
        self._circumstances = Circumstances(self.options, account=cookies.account)
        if cookies.left_out:
            logger.warning("kinetics600: not all of the cookies are used. %s", cookies.left_out)
        if cookies.text and cookies.account == GUEST:
            _warn_signed_out("sign in no account")
        if self.remember_block and self._throttle.lately_blocked:
            self.given_up = Refusal("blocked", "lately", "it refused this address a moment ago")

        with contextlib.ExitStack() as stack:
            incoming = stack.enter_context(self.store.incoming())
            stack.callback(self._close)
            # Daemons, not a pool: Python waits for a pool at exit, and a thread may hang in a
            # socket until its timeout.
            for number in range(self.num_workers):
                thread = threading.Thread(
                    target=self._work,
                    args=(cookies, incoming),
                    name=f"k600-youtube-{number}",
                    daemon=True,
                )
                thread.start()
                self._threads.append(thread)
            self._at_exit = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._at_exit.__exit__(*error)

    def _close(self) -> None:
        """Stop the threads, without waiting for one that hangs in a socket."""
        self._stop.set()
        for _ in self._threads:
            self._questions.put(None)
        for thread in self._threads:
            thread.join(timeout=0.5 / len(self._threads))

    def ask(
        self, clips: Sequence[Clip], *, on_clip: Callable[[], object] = lambda: None
    ) -> Answers:
        """Fetch clips into the store; those in no list of the result were not asked for.

        At the first clip that is *blocked* no other is begun, until `Suspects` tell whether it is
        the address; then one clip is tried after a pause, and after ever longer ones, while
        patience lasts. A clip that fails for a passing reason is tried once more after the others.
        `on_clip` is called for each that is done.

        Raises:
            StoreError: The store cannot take a clip.
        """
        found, retried = Answers(), set[Clip]()
        todo, running, limit = deque(clips), 0, self.num_workers
        pause, blocked = self.first_pause_seconds, None

        while running or (todo and self.given_up is None):
            # Once YouTube blocks or is given up, wait for the clips that are being fetched.
            while todo and running < limit and blocked is None and self.given_up is None:
                self._questions.put(self._suspects.take_next(todo))
                running += 1
            clip, answer = self._answers.get()
            running -= 1
            if isinstance(answer, BaseException):
                raise answer
            if isinstance(answer, int):
                limit, pause = self.num_workers, self.first_pause_seconds
                self._take(clip, answer, found)
                on_clip()
            elif answer.kind == "blocked" and not self._suspects.is_to_blame(clip):
                todo.append(clip)
                blocked = answer
            else:
                self._note_failure(answer)
                if _may_pass(answer) and clip not in retried:
                    retried.add(clip)
                    todo.append(clip)
                else:
                    self._refuse(clip, answer, found)
                    on_clip()

            # What was asked before a block says nothing about it.
            if blocked is None and _is_answer(answer):
                self._suspects.clear()
            if blocked is not None and not running and self.given_up is None:
                if not self._suspects.can_be_told(todo):
                    self._wait(pause, blocked)
                    pause *= 2
                limit, blocked = 1, None
        return found

    def _take(self, clip: Clip, received_bytes: int, found: Answers) -> None:
        if not received_bytes:
            found.found.append(clip)
            return
        found.stored.append(clip)
        found.received_bytes += received_bytes
        self._has_stored = True
        self._failures.clear()

    def _work(self, cookies: Cookies, incoming: Incoming) -> None:
        """Fetch clips until there are no more; the target of each thread."""
        fetcher = VideoFetcher(self.options, cookies, self._throttle)
        with contextlib.closing(fetcher):
            while (clip := self._questions.get()) is not None:
                answer: Answer | BaseException
                try:
                    answer = self._fetch(clip, fetcher, incoming)
                except BaseException as error:  # raised again by `ask`
                    answer = error
                self._answers.put((clip, answer))

    def _fetch(self, clip: Clip, fetcher: VideoFetcher, incoming: Incoming) -> Answer:
        """Fetch one clip and give it its name."""
        target = self.store.path(clip.folder, clip.file_name)
        lock = f"youtube-{zlib.crc32(clip.key.encode()) % _LOCKS:03d}"
        with self.store.only_one(lock, self._stop):
            if self._is_here(clip) and not self.refetch:
                return 0  # another process has fetched it meanwhile

            part = incoming.new_part()
            try:
                with translate_errors(store_error, part):
                    fetched = fetcher.fetch(clip, part)
            except RefusedError as error:
                if fetcher.is_signed_out and self._circumstances["account"] != GUEST:
                    self._circumstances = Circumstances(self.options, account=GUEST)
                    _warn_signed_out("are no longer valid")
                return error.refusal
            if self._stop.is_set():
                raise Stopped("stopped")

            flush(part)
            size_bytes = part.stat().st_size
            self.ledger.record_answer(
                clip, "have", "", "", yt_dlp_version(), size_bytes=size_bytes, fps=fetched.fps
            )
            incoming.place(part, target)
            with translate_errors(store_error, target.parent):
                sync_folder(target.parent)
            return fetched.received_bytes

    def _wait(self, pause_seconds: float, blocked: Refusal) -> None:
        """Wait before YouTube is tried again, or give it up if no patience is left."""
        self._throttle.note_block()
        patience = self.patience_seconds
        if patience is None:
            patience = _PATIENCE_SECONDS.get(blocked.code, _USUAL_PATIENCE_SECONDS)
        if blocked.code == "rate_limit":
            pause_seconds *= _RATE_LIMIT_PAUSES
        pause_seconds = min(pause_seconds, patience - self._waited_seconds)
        if pause_seconds <= 0:
            self.given_up = blocked
            return
        logger.warning(
            "kinetics600: YouTube refuses this address for now (%s). Trying again in %s, "
            "%s in all at most (patience_seconds=…). %s; source='cvdf' does not need YouTube",
            blocked.message or blocked.code,
            time_of(pause_seconds),
            time_of(patience),
            advice(blocked.kind, has_worked=self._has_stored),
        )
        self._throttle.sleep(pause_seconds)
        self._waited_seconds += pause_seconds

    def _is_here(self, clip: Clip) -> bool:
        """Whether a clip is in the store, and not only as another mirror has it."""
        if not self.store.has(clip.key):
            return False
        only = None if clip.label is None else [clip.label]
        others = self.ledger.view(clip.split, only=only).hidden()
        return clip.file_name not in others.get(clip.folder, ())

    def _refuse(self, clip: Clip, refusal: Refusal, found: Answers) -> None:
        found.refused[clip] = refusal
        if refusal.kind == "blocked" or self._is_here(clip):
            return  # held against no clip; and one that was fetched again in vain stays
        self.ledger.record_answer(
            clip,
            refusal.kind,
            refusal.code,
            refusal.message,
            self._circumstances["version"],
            str(self._circumstances),
        )

    def _note_failure(self, refusal: Refusal) -> None:
        """Give up if the last refusals in a row are about YouTube and not about the clips."""
        self._failures.append(refusal)
        for group, most in _MOST_FAILURES_IN_A_ROW.items():
            last = list(self._failures)[-most:]
            if len(last) == most and all(group in _groups(each) for each in last):
                self.given_up = refusal


def _warn_signed_out(why: str) -> None:
    logger.warning(
        "kinetics600: the cookies %s: YouTube is asked as a guest. A browser that goes on using "
        "them rotates them: export them anew, from a private window that is then closed",
        why,
    )


def _is_answer(answer: Answer) -> bool:
    """Whether YouTube has answered about a video, as it would not where it refuses an address."""
    if isinstance(answer, Refusal):
        return answer.kind in ("client", "auth", "region", "gone", "clip")
    return bool(answer)  # (nothing was received of a clip that another process has fetched)


def _may_pass(refusal: Refusal) -> bool:
    """Whether to try once more in this run: a media URL may have expired, too."""
    return refusal.kind == "transient" or refusal.code == "media_http_403"


def _groups(refusal: Refusal) -> set[str]:
    """Return the keys of `_MOST_FAILURES_IN_A_ROW` that a refusal counts for."""
    is_network = refusal.code in ("network", "proxy", "media_network")
    return {"any", refusal.kind, *(["network"] if is_network else [])}

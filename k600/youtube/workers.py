"""Ask YouTube for clips, several at a time, and stop asking when it refuses this address.

What it says of a clip goes into the ledger as it comes. Nothing here decides what to ask for.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from k600.clip import Clip
from k600.errors import Stopped
from k600.store.files import flush, sync_folder
from k600.store.ledger import Ledger
from k600.store.store import Incoming, Store
from k600.translate import store_error, translate_errors
from k600.youtube.fetcher import Fetched, RefusedError, VideoFetcher
from k600.youtube.options import YouTubeOptions, cookie_text, yt_dlp_params, yt_dlp_version
from k600.youtube.rate_limit import BlockedError, Gate, RateLimiter, rate_limiter_of
from k600.youtube.refusals import Refusal

__all__ = ["Answers", "YouTubeWorkers", "open_workers"]

logger = logging.getLogger("kinetics600")

_LOCKS = 512
"""Lock files that keep two processes from asking for the same clip."""
_MOST_FAILURES_IN_A_ROW = {"network": 3, "transient": 6, "client": 6, "any": 40}
"""After how many refusals without one success YouTube as a whole is given up. A third of all
videos may be gone, so forty in a row are not chance."""

Answer = Fetched | Refusal | None
"""None: the clip was put back unasked."""


@dataclass(slots=True)
class Answers:
    """What came of asking for some clips."""

    stored: list[Clip] = field(default_factory=list)
    refused: dict[Clip, Refusal] = field(default_factory=dict)
    requests: int = 0
    received_bytes: int = 0


@contextlib.contextmanager
def open_workers(
    options: YouTubeOptions,
    store: Store,
    ledger: Ledger,
    *,
    num_workers: int,
    patience_seconds: float,
    first_pause_seconds: float = 15,
    remember_block: bool = False,
    refetch: bool = False,
) -> Iterator[YouTubeWorkers]:
    """Open an workers: threads that wait for clips to ask for. They end when it is left.

    Args:
        options: How to ask.
        store: Where clips go.
        ledger: Where answers go.
        num_workers: Threads, 1 or more.
        patience_seconds: How long to wait, in all, for a block to be lifted.
        first_pause_seconds: How long to wait before the first try; then twice as long each time.
        remember_block: Ask nothing if YouTube refused this address within the last ten minutes.
        refetch: Fetch clips that are in the store again.
    """
    cookies = cookie_text(options)
    with store.incoming() as incoming:
        limiter = rate_limiter_of(options.proxy, options.requests_per_hour)
        workers = YouTubeWorkers(
            store, ledger, incoming, limiter, patience_seconds, first_pause_seconds, refetch=refetch
        )
        if remember_block and limiter.lately_blocked:
            workers.given_up = Refusal("blocked", "lately", "it refused this address a moment ago")

        def work() -> None:
            fetcher = VideoFetcher(
                yt_dlp_params(options), cookies, workers.gate, options.short_side, options.audio
            )
            try:
                while (clip := workers.questions.get()) is not None:
                    answer: Answer | BaseException
                    try:
                        answer = workers.bring(clip, fetcher)
                    except BaseException as error:  # raised again by whoever waits for it
                        answer = error
                    workers.answers.put((clip, answer))
            finally:
                fetcher.close()

        # Daemons, not a pool: a pool is waited for at exit, and a thread may hang in a socket for
        # as long as its time-out allows.
        for number in range(num_workers):
            thread = threading.Thread(target=work, name=f"k600-youtube-{number}", daemon=True)
            thread.start()
            workers.threads.append(thread)
        try:
            yield workers
        finally:
            workers.close()


class YouTubeWorkers:
    """Fetches clips with several threads; `given_up` says why it does so no more."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        incoming: Incoming,
        limiter: RateLimiter,
        patience_seconds: float,
        first_pause_seconds: float,
        *,
        refetch: bool,
    ) -> None:
        self._stop = threading.Event()
        self._limiter, self._refetch = limiter, refetch
        self.gate = Gate(self._stop, limiter)
        self.questions: queue.Queue[Clip | None] = queue.Queue()
        self.answers: queue.Queue[tuple[Clip, Answer | BaseException]] = queue.Queue()
        self.threads: list[threading.Thread] = []
        self.given_up: Refusal | None = None
        """Why YouTube as a whole was given up; None as long as it was not."""
        self._store, self._ledger, self._incoming = store, ledger, incoming
        self._patience_left, self._first_pause = patience_seconds, first_pause_seconds
        self._failures: deque[Refusal] = deque(maxlen=_MOST_FAILURES_IN_A_ROW["any"])

    def ask(
        self, clips: Sequence[Clip], *, on_clip: Callable[[], object] = lambda: None
    ) -> Answers:
        """Fetch clips into the store; those in neither list of the result were not asked for.

        At the first clip that is *blocked* every thread stops; one clip is tried after a pause,
        and after ever longer ones, while patience lasts. A clip that fails for a passing reason
        is asked for once more after the others.

        Args:
            clips: Which.
            on_clip: Called for each that is done with.

        Raises:
            StoreError: The store cannot take a clip.
        """
        found, tried = Answers(), set[Clip]()
        todo, running, limit = deque(clips), 0, len(self.threads)
        pause = self._first_pause
        while (todo and self.given_up is None) or running:
            while todo and running < limit and self.given_up is None:
                self.questions.put(todo.popleft())
                running += 1
            blocked: Refusal | None = None
            while running:
                clip, answer = self.answers.get()
                running -= 1
                if isinstance(answer, BaseException):
                    raise answer
                if isinstance(answer, Fetched):
                    limit, pause = len(self.threads), self._first_pause
                    found.stored.append(clip)
                    found.requests += answer.requests
                    found.received_bytes += answer.received_bytes
                    self._failures.clear()
                    on_clip()
                elif answer is None or answer.kind == "blocked":
                    todo.appendleft(clip)
                    if answer is not None:
                        blocked = answer
                        self.gate.shut()
                        self._limiter.note_block()
                else:
                    self._failures.append(answer)
                    if _may_pass(answer) and clip not in tried:
                        tried.add(clip)
                        todo.append(clip)
                    else:
                        found.refused[clip] = answer
                        self._record(clip, answer)
                        on_clip()
                    if self._is_hopeless():
                        self.given_up = answer
                        self.gate.shut()
                if blocked is None and self.given_up is None:
                    break  # and hand out the next
            if blocked is not None and self.given_up is None:
                pause = min(pause, self._patience_left)
                if pause <= 0:
                    self.given_up = blocked
                    break
                self._wait(pause, blocked)
                pause, limit = pause * 2, 1
        return found

    def bring(self, clip: Clip, fetcher: VideoFetcher) -> Answer:
        """Fetch one clip and give it its name; for the threads."""
        target = self._store.path(clip.folder, clip.file_name)
        lock = f"youtube-{zlib.crc32(clip.key.encode()) % _LOCKS:03d}"
        with self._store.only_one(lock, self._stop):
            if self._is_here(clip) and not self._refetch:
                return Fetched(None, 0, 0)  # another process has brought it meanwhile
            part = self._incoming.new_part()
            try:
                with translate_errors(store_error, part):
                    fetched = fetcher.fetch(clip, part)
            except RefusedError as refused:
                return refused.refusal
            except BlockedError:
                return None
            if self._stop.is_set():
                raise Stopped("stopped")
            flush(part)
            self._ledger.record_stored(clip, part.stat().st_size, yt_dlp_version())
            self._incoming.place(part, target)
            with translate_errors(store_error, target.parent):
                sync_folder(target.parent)
            return fetched

    def close(self) -> None:
        """Stop the threads, without waiting for one that hangs in a socket."""
        self._stop.set()
        for _ in self.threads:
            self.questions.put(None)
        for thread in self.threads:
            thread.join(timeout=0.5 / len(self.threads))

    def _wait(self, pause_seconds: float, blocked: Refusal) -> None:
        logger.warning(
            "kinetics600: YouTube refuses this address for now (%s). Trying again in %.0f seconds. "
            "An account's cookies (cookies=…) or another address (proxy=…) may help; source='cvdf' "
            "does not need YouTube",
            blocked.message or blocked.code,
            pause_seconds,
        )
        self.gate.rest(pause_seconds)
        self._patience_left -= pause_seconds
        self.gate.open()

    def _is_here(self, clip: Clip) -> bool:
        """Whether a clip is in the store, and not only as another mirror has it."""
        if not self._store.has(clip.key):
            return False
        others = self._ledger.other_mirrors(clip.split, clip.label)
        return not any(
            group.folder == clip.folder and clip.file_name in group.names for group in others
        )

    def _record(self, clip: Clip, refusal: Refusal) -> None:
        if self._is_here(clip):
            return  # asked for anew, in vain: what is there stays what it is
        self._ledger.record_refused(
            clip, refusal.kind, refusal.code, refusal.message, yt_dlp_version()
        )

    def _is_hopeless(self) -> bool:
        """Whether the last refusals in a row tell of YouTube and not of the clips."""
        for group, most in _MOST_FAILURES_IN_A_ROW.items():
            last = [*self._failures][-most:]
            if len(last) == most and all(group in _groups(refusal) for refusal in last):
                return True
        return False


def _may_pass(refusal: Refusal) -> bool:
    """Whether to ask once more in this run: an address of media may have run out, too."""
    return refusal.kind == "transient" or refusal.code == "media_http_403"


def _groups(refusal: Refusal) -> tuple[str, ...]:
    """Return the keys of `_MOST_FAILURES_IN_A_ROW` that a refusal counts for."""
    network = refusal.code in ("network", "proxy", "media_network")
    return ("any", refusal.kind, *(["network"] if network else []))

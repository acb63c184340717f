"""One pass over an object of a mirror: ordered byte ranges, some of them requested ahead."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, wait
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from k600.errors import MirrorChangedError, MirrorRangesError, MirrorUnreachableError, Stopped
from k600.mirror import direct
from k600.mirror.direct import Version
from k600.mirror.source import LEAST_BLOCK_BYTES, Piece, Source

if TYPE_CHECKING:
    from k600.mirror.mirror import Mirror, RemoteFile

FIRST_BLOCK_BYTES = 512 << 10
MOST_BLOCK_BYTES = 8 << 20

AHEAD_BYTES = 40 << 20
"""Bytes requested ahead of a reader, at most. Over a link of 40 ms whose connections give 50 MB/s
each, twenty ranges of 2 MiB make 400 MB/s."""
_AHEAD_OF_FSSPEC_BYTES = 16 << 20
"""The same through the file system, which holds each block several times."""
_RANGES_AT_FIRST, _MOST_RANGES = 2, 20
_SOON_SECONDS, _LATE_SECONDS = 2.0, 6.0
"""How long a range may take for more, and for no fewer, to be requested ahead."""


class _Asked(NamedTuple):
    """A requested range."""

    start: int
    end: int
    answer: Future[Piece]
    at: float
    early: bool
    """Whether it was requested before the object was known, so that it may be of another."""


class Reader(io.RawIOBase):
    """One pass over an object. To be closed.

    Raises, from any read:
        MirrorChangedError: Another object has taken its place.
        MirrorUnreachableError: A range failed for the mirror's `patience_seconds` on end.
        Stopped: `stop` was set.
    """

    def __init__(
        self,
        mirror: Mirror,
        what: RemoteFile | str,
        *,
        start: int = 0,
        ahead_bytes: int = AHEAD_BYTES,
        most_ahead_bytes: int | None = None,
        stop: threading.Event | None = None,
        on_bytes: Callable[[int], object] | None = None,
    ) -> None:
        """Open an object, or what is at a path now, from its byte `start` to its last one.

        At most `ahead_bytes` are requested ahead: in two ranges at first, and in more and smaller
        ones while the reader waits for them. They may grow to `most_ahead_bytes`, as an eighth of
        what was read. Each block's size is passed to `on_bytes`. `Mirror.stat` raises its errors.
        """
        super().__init__()
        self._mirror, self._start = mirror, start
        self._source = Source(mirror, what if isinstance(what, str) else what.name, stop)
        self._stop, self._on_bytes = stop or threading.Event(), on_bytes or (lambda _: None)
        self._ahead_bytes, self._most_ahead_bytes = ahead_bytes, most_ahead_bytes or ahead_bytes
        self._most_ranges, self._may_be_near = _RANGES_AT_FIRST, True
        self._block, self._asked = memoryview(b""), deque[_Asked]()
        self._blocks = self._ranges() if mirror.is_network else self._whole()
        if isinstance(what, str) and self._source.is_direct:
            for begin, end in ((0, FIRST_BLOCK_BYTES), (FIRST_BLOCK_BYTES, 3 * FIRST_BLOCK_BYTES)):
                self._ask(start + begin, start + end, early=True)
        try:
            self.remote = mirror.stat(what) if isinstance(what, str) else what
        except BaseException:
            self._source.pending.end()
            raise
        self._version = Version(self.remote.etag, self.remote.size_bytes)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        target = memoryview(buffer).cast("B")
        self._fill()
        count = min(len(target), len(self._block))
        target[:count] = self._block[:count]
        self._block = self._block[count:]
        return count

    def next_block(self) -> memoryview:
        """Return the next bytes, valid until the next call; none at the end only."""
        self._fill()
        block, self._block = self._block, memoryview(b"")
        return block

    def peek(self) -> bytes:
        """Return unread bytes, at least one unless at the end."""
        self._fill()
        return bytes(self._block[:512])

    def _fill(self) -> None:
        """Get the next block if the current one is read."""
        while not self._block:
            if self._stop.is_set():
                raise Stopped("stopped")
            block = next(self._blocks, None)
            if block is None:
                return
            self._block = block
            self._on_bytes(len(block))

    @contextlib.contextmanager
    def again(self) -> Iterator[Reader]:
        """Open the same object again from its first byte; check at the end that it is the same."""
        options: dict[str, Any] = {"stop": self._stop, "on_bytes": self._on_bytes}
        with contextlib.closing(Reader(self._mirror, self.remote, **options)) as reader:
            yield reader
            reader.check_unchanged()

    def check_unchanged(self) -> None:
        """Raise `MirrorChangedError` if the object is no longer the one that was opened.

        Unless all answers had its ETag, the mirror is asked, with as much patience as for a range.
        """
        if self._source.proved and self._mirror.is_network:
            return

        look = partial(self._source.look, self._version)
        self._source.retry(0.6).call(look, MirrorUnreachableError)

    def close(self) -> None:
        self._source.pending.end()
        self._blocks.close()
        super().close()

    def _ranges(self) -> Generator[memoryview, None, None]:
        """Yield the object's blocks in order, each valid until the next one."""
        size, position, length = self.remote.size_bytes, self._start, FIRST_BLOCK_BYTES
        self._asked = deque(asked for asked in self._asked if asked.start < size)
        if self._asked:
            position, length = min(self._asked[-1].end, size), 4 * FIRST_BLOCK_BYTES
        while self._asked or position < size:
            near = self._source.near and self._may_be_near
            if near and not self._asked:
                self._may_be_near = False
                for block in self._source.straight(position, self._version):
                    position += len(block)
                    yield block
                continue
            while not near and position < size and self._may_ask(position):
                end = min(position + min(length, self._block_bytes(position)), size)
                self._ask(position, end)
                position, length = end, min(2 * length, MOST_BLOCK_BYTES)

            asked = self._asked.popleft()
            try:
                piece = self._wait(asked)
                in_full = len(piece.data) == min(asked.end, size) - asked.start
                if asked.early and not (in_full and piece.version == self._version):
                    raise MirrorChangedError("it was another object, or the connection broke")
            except MirrorRangesError:
                if asked.start > self._start:
                    raise
                yield from self._whole()
                return
            except (MirrorChangedError, *direct.ERRORS):
                if not asked.early:
                    raise
                self._asked.clear()
                position, self._most_ranges = asked.start, 1
                continue
            yield piece.data
            self._source.give_back(piece.data)

    def _whole(self) -> Generator[memoryview, None, None]:
        """Yield the object from a server that can only send all of it, or from a disk."""
        self._source.proved = False
        size, position = self.remote.size_bytes, 0
        for block in self._mirror.stream(self.remote.name, size):
            yield block[max(self._start - position, 0) :]
            position += len(block)
            if position > size:
                break
        if position != size:
            raise MirrorUnreachableError(
                f"mirror: {self.remote.url} ended after {position:,} of {size:,} bytes"
            )

    def _ask(self, start: int, end: int, *, early: bool = False) -> None:
        answer: Future[Piece] = Future()
        call = partial(self._source.read_directly, start, end)
        if not early:
            call = partial(self._source.read, start, end, self._version)

        def work() -> None:
            try:
                answer.set_result(call())
            except Exception as error:
                answer.set_exception(error)

        # A daemon: nothing waits for a server that never answers, not even Python's end.
        threading.Thread(target=work, name="k600-range", daemon=True).start()
        self._asked.append(_Asked(start, end, answer, time.monotonic(), early))

    def _wait(self, asked: _Asked) -> Piece:
        """Return a range; request more at a time where the link is far, fewer where it is slow."""
        waited = not asked.answer.done()
        while not wait((asked.answer,), timeout=0.2).done:
            if self._stop.is_set():
                raise Stopped("stopped")
        seconds = time.monotonic() - asked.at
        if waited and seconds < _SOON_SECONDS:
            most = max(self._most_bytes(asked.end) // FIRST_BLOCK_BYTES, _RANGES_AT_FIRST)
            self._most_ranges = min(2 * self._most_ranges, most, _MOST_RANGES)
        elif seconds > _LATE_SECONDS:
            self._most_ranges = max(self._most_ranges - 1, _RANGES_AT_FIRST)
        return asked.answer.result()

    def _may_ask(self, position: int) -> bool:
        """Return whether one more range may be requested, by number and size of pending ones."""
        if self._asked and self._asked[0].early and self._asked[0].start == self._start:
            return False  # whether the server is near is still to be seen
        asked_bytes = sum(asked.end - asked.start for asked in self._asked)
        room = asked_bytes + self._block_bytes(position) <= self._most_bytes(position)
        return len(self._asked) < min(self._most_ranges, _MOST_RANGES if room else _RANGES_AT_FIRST)

    def _most_bytes(self, position: int) -> int:
        """Return how much may be requested ahead: an eighth of what was read is wasted at most."""
        most = min(max(self._ahead_bytes, position // 8), self._most_ahead_bytes)
        return most if self._source.is_direct else min(most, _AHEAD_OF_FSSPEC_BYTES)

    def _block_bytes(self, position: int) -> int:
        """Return how large a block may be: a power of two, so that memory is used again."""
        share = max(self._most_bytes(position) // self._most_ranges, LEAST_BLOCK_BYTES)
        return 1 << share.bit_length() - 1


@cache
def keep_memory_of_blocks() -> None:
    """Let the C allocator keep the memory of one block, or of one clip, for the next.

    glibc returns freed memory above a threshold that follows the largest piece freed so far (at
    most 32 MiB), and then every block costs a page fault for each of its 4 KiB: 0.4 of 1.3 CPU
    seconds a GB. One large piece, never touched, raises the threshold.
    """
    bytes(31 << 20)

"""One pass over an object of a mirror: ordered byte ranges, some of them requested ahead."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from k600.errors import MirrorError, MirrorRangesError, MirrorUnreachableError
from k600.mirror.source import Source
from k600.mirror.web import LEAST_BLOCK_BYTES, Block, Version

if TYPE_CHECKING:
    from k600.mirror.mirror import Mirror, RemoteFile

FIRST_BLOCK_BYTES = 512 << 10
MOST_BLOCK_BYTES = 8 << 20

AHEAD_BYTES = 40 << 20
"""Bytes requested ahead of a reader, at most. Over a link of 40 ms whose connections give 50 MB/s
each, twenty ranges of 2 MiB make 400 MB/s."""
_RANGES_AT_FIRST, _MOST_RANGES = 2, 20
_SOON_SECONDS = 2.0
"""How long a range may take for more to be requested ahead."""


class _Asked(NamedTuple):
    """A requested range."""

    start: int
    end: int
    answer: Future[Block]
    at: float


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
        what was read. Each block's size is passed to `on_bytes`. `Mirror.head` raises its errors.
        """
        super().__init__()
        self._mirror, self._start = mirror, start
        self._source = Source(mirror, what if isinstance(what, str) else what.name, stop)
        self._stop, self._on_bytes = stop or threading.Event(), on_bytes or (lambda _: None)
        self._ahead_bytes, self._most_ahead_bytes = ahead_bytes, most_ahead_bytes or ahead_bytes
        self._most_ranges, self._position = _RANGES_AT_FIRST, start
        self._block, self._asked = memoryview(b""), deque[_Asked]()
        self._blocks = self._ranges() if mirror.is_network else self._whole()
        self.remote = self._look(what) if isinstance(what, str) else what
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
        """Return the next bytes; none at the end only."""
        self._fill()
        block, self._block = self._block, memoryview(b"")
        return block

    def _fill(self) -> None:
        """Get the next block if the current one is read."""
        while not self._block:
            self._source.go_on()
            block = next(self._blocks, None)
            if block is None:
                return
            self._block = memoryview(block)
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
        if not (self._source.proved and self._mirror.is_network):
            look = partial(self._source.look, self._version)
            self._source.retry(0.6).call(look, MirrorUnreachableError)

    def close(self) -> None:
        self._source.is_over = True
        self._blocks.close()
        super().close()

    def _look(self, path: str) -> RemoteFile:
        """Return what is at a path: its first bytes, requested at once, say so where they can."""
        if self._mirror.is_network and self._source.address():
            self._ask(self._position + FIRST_BLOCK_BYTES, Version())
            with contextlib.suppress(MirrorError):
                etag, size_bytes = version = self._wait(self._asked[0]).version
                if etag is not None and size_bytes is not None:
                    self._asked = deque(a for a in self._asked if a.start < size_bytes)
                    return self._mirror.remote(path, version)
            self._asked.clear()
            self._position = self._start
        return self._mirror.head(path)

    def _ranges(self) -> Generator[bytes, None, None]:
        """Yield the object's bytes in order."""
        size, length = self.remote.size_bytes, FIRST_BLOCK_BYTES
        may_be_near = True
        while self._asked or self._position < size:
            near = self._source.near and may_be_near
            if near and not self._asked:
                may_be_near = False
                for piece in self._source.straight(self._position, self._version):
                    self._position += len(piece)
                    yield piece
                continue
            while not near and self._position < size and self._may_ask():
                share = max(self._most_bytes() // self._most_ranges, LEAST_BLOCK_BYTES)
                self._ask(min(self._position + min(length, share), size), self._version)
                length = min(2 * length, MOST_BLOCK_BYTES)
            asked = self._asked.popleft()
            try:
                block = self._wait(asked)
            except MirrorRangesError:
                if asked.start > self._start:
                    raise
                yield from self._whole()
                return
            self._source.check(self._version, block.version)
            yield from block.pieces

    def _whole(self) -> Generator[bytes, None, None]:
        """Yield the object from a server that can only send all of it, or from a disk."""
        self._source.proved = False
        size, position = self.remote.size_bytes, 0
        for block in self._source.stream(size):
            yield block[max(self._start - position, 0) :]
            position += len(block)
            if position > size:
                break
        if position != size:
            raise MirrorUnreachableError(
                f"mirror: {self.remote.url} ended after {position:,} of {size:,} bytes"
            )

    def _ask(self, end: int, expected: Version) -> None:
        """Request what comes next, up to `end`."""
        answer = self._source.begin(self._position, end, expected)
        self._asked.append(_Asked(self._position, end, answer, time.monotonic()))
        self._position = end

    def _wait(self, asked: _Asked) -> Block:
        """Return a range; request more at a time if it was waited for, and the line is not slow."""
        was_there = asked.answer.done()
        block = self._source.result(asked.answer)
        if not was_there and time.monotonic() - asked.at < _SOON_SECONDS:
            most = max(self._most_bytes() // FIRST_BLOCK_BYTES, _RANGES_AT_FIRST)
            self._most_ranges = min(2 * self._most_ranges, most, _MOST_RANGES)
        return block

    def _may_ask(self) -> bool:
        """Return whether one more range may be requested, by number and size of pending ones."""
        pending = sum(asked.end - asked.start for asked in self._asked)
        few = len(self._asked) < min(self._most_ranges, _RANGES_AT_FIRST)
        return few or (len(self._asked) < self._most_ranges and pending < self._most_bytes())

    def _most_bytes(self) -> int:
        """Return how much may be requested ahead: an eighth of what was read is wasted at most."""
        return min(max(self._ahead_bytes, self._position // 8), self._most_ahead_bytes)


@cache
def keep_memory_of_blocks() -> None:
    """Let the C allocator keep the memory of one block, or of one clip, for the next.

    glibc returns freed memory above a threshold that follows the largest piece freed so far (at
    most 32 MiB), and then every block costs a page fault for each of its 4 KiB: 0.4 of 1.3 CPU
    seconds a GB. One large piece, never touched, raises the threshold.
    """
    bytes(31 << 20)

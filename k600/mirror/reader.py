"""One pass over an object of a mirror: ordered byte ranges, some of them requested ahead."""

from __future__ import annotations

import contextlib
import io
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from functools import cache
from typing import Any

from k600.errors import MirrorError, MirrorRangesError
from k600.mirror.identity import RemoteFile, Version
from k600.mirror.root import Root
from k600.mirror.source import LEAST_BLOCK_BYTES, Source

FIRST_BLOCK_BYTES = 512 << 10
MOST_BLOCK_BYTES = 8 << 20

AHEAD_BYTES = 40 << 20
"""Bytes requested ahead of a reader, at most. Over a link of 40 ms whose connections give 50 MB/s
each, twenty ranges of 2 MiB make 400 MB/s."""
_RANGES_AT_FIRST, _MOST_RANGES = 2, 20
_SOON_SECONDS = 2.0
"""How long a range may be waited for if more are to be requested ahead."""
_SILENT_SECONDS = 0.5
"""How long a near server is waited for that sends all by one request."""


class Reader(io.RawIOBase):
    """One pass over an object. To be closed.

    Raises, from any read:
        MirrorChangedError: Another object has taken its place.
        MirrorUnreachableError: A range failed for the mirror's `patience_seconds` on end.
        Stopped: `stop` was set.
    """

    def __init__(
        self,
        root: Root,
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
        self._root, self._position = root, start
        self._stop, self._on_bytes = stop or threading.Event(), on_bytes or (lambda _: None)
        self._ahead_bytes, self._most_ahead_bytes = ahead_bytes, most_ahead_bytes or ahead_bytes
        self._asked = deque[tuple[int, Future[list[bytes]]]]()  # (begin, answer) of each range
        self._most_ranges = _RANGES_AT_FIRST
        self._block, self._blocks = memoryview(b""), self._read_ahead()
        if isinstance(what, str):
            self._source = Source(root, what, stop=self._stop)
            what = self._look()
        else:
            version = Version(what.etag, what.size_bytes)
            self._source = Source(root, what.name, version, self._stop)
        self.remote = what

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
        with contextlib.closing(Reader(self._root, self.remote, **options)) as reader:
            yield reader
            reader.check_unchanged()

    def check_unchanged(self) -> None:
        """Raise `MirrorChangedError` if the object is no longer the one that was opened.

        Unless all answers had its ETag, the mirror is asked, with as much patience as for a range.
        """
        if not self._source.proved:
            self._source.head(math.inf)

    def close(self) -> None:
        self._source.is_over = True
        self._blocks.close()
        super().close()

    def _look(self) -> RemoteFile:
        """Return what is there: its first bytes, requested at once, say so where they can."""
        if self._source.address:
            self._ask(FIRST_BLOCK_BYTES)
            with contextlib.suppress(MirrorError):
                self._wait()
                if None not in self._source.version:
                    return self._source.remote
            self._position = self._asked.popleft()[0]
        return self._source.head()

    def _read_ahead(self) -> Generator[bytes, None, None]:
        """Yield the object's bytes in order."""
        source, size, length = self._source, self.remote.size_bytes, FIRST_BLOCK_BYTES
        may_stream = True
        while self._asked or self._position < size:
            straight = not source.has_ranges or (source.near and may_stream)
            if straight and not self._asked:
                silent = _SILENT_SECONDS if source.has_ranges else self._root.request_seconds
                try:
                    for piece in source.stream(self._position, silent_seconds=silent):
                        self._position += len(piece)
                        yield piece
                except MirrorError:
                    if not source.has_ranges:
                        raise
                    may_stream = False  # a range will come, or raise that again
                continue

            while not straight and self._position < size and self._may_ask():
                share = max(self._most_bytes() // self._most_ranges, LEAST_BLOCK_BYTES)
                self._ask(min(length, share, size - self._position))
                length = min(2 * length, MOST_BLOCK_BYTES)
            try:
                pieces = self._wait()
            except MirrorRangesError:
                self._position, _ = self._asked[0]
                self._asked.clear()
            else:
                self._asked.popleft()
                yield from pieces

    def _may_ask(self) -> bool:
        """Return whether one more range may be requested, by number and size of pending ones."""
        if len(self._asked) < _RANGES_AT_FIRST:
            return True
        pending = self._position - self._asked[0][0]
        return len(self._asked) < self._most_ranges and pending < self._most_bytes()

    def _ask(self, count: int) -> None:
        """Request the next bytes."""
        answer = self._source.begin(self._position, self._position + count)
        self._asked.append((self._position, answer))
        self._position += count

    def _wait(self) -> list[bytes]:
        """Return the first range; request more at a time if that was waited for, but not long."""
        _, answer = self._asked[0]
        was_there, begin = answer.done(), time.monotonic()
        pieces = self._source.result(answer)
        if not was_there and time.monotonic() - begin < _SOON_SECONDS:
            most = max(self._most_bytes() // FIRST_BLOCK_BYTES, _RANGES_AT_FIRST)
            self._most_ranges = min(2 * self._most_ranges, most, _MOST_RANGES)
        return pieces

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

"""One pass over an object of a mirror, by byte ranges requested ahead and resumed after failures.

Where a plain web address leads to the object, its ranges come from there
(`k600.mirror.http_ranges`) for a third of the CPU time, and otherwise from the file system.
"""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from k600.errors import MirrorChangedError, MirrorUnreachableError, Stopped
from k600.mirror.http_ranges import Line, PlainGets
from k600.mirror.mirror import ADDRESS_SECONDS, Mirror, RemoteFile
from k600.retry import Retry

FIRST_BLOCK_BYTES = 512 << 10
MOST_BLOCK_BYTES = 8 << 20
LEAST_BLOCK_BYTES = 64 << 10

AHEAD_BYTES = 40 << 20
"""Bytes requested ahead of a reader, at most. Over a link of 40 ms whose connections give 50 MB/s
each, twenty ranges of 2 MiB make 400 MB/s."""
_AHEAD_OF_FSSPEC_BYTES = 16 << 20
"""The same through the file system, which holds each block several times."""
_BLOCKS_AT_FIRST = 2
_MOST_BLOCKS = 20
_SOON_SECONDS, _LATE_SECONDS = 2.0, 6.0
"""How long a block may take for one more, and for no fewer, to be requested ahead."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A requested range."""

    start: int
    end: int
    answer: Future[Any]
    plain: PlainGets | None = None
    """Where it was requested; None for the file system."""
    early: bool = False
    """Whether it was requested before `Mirror.stat`, so that it may be of another object."""
    at: float = field(default_factory=time.monotonic)


class RangeReader(io.RawIOBase):
    """One pass over an object by ordered byte ranges, a few of them requested ahead.

    A range that fails is requested again, in halves, from the first missing byte, while the object
    keeps its ETag and the mirror's patience lasts.

    Raises, from any read:
        MirrorChangedError: Another object has taken its place.
        MirrorUnreachableError: A range failed for `patience_seconds` on end.
        Stopped: `stop` was set.
    """

    def __init__(
        self,
        mirror: Mirror,
        remote: RemoteFile,
        *,
        ahead_bytes: int = AHEAD_BYTES,
        most_ahead_bytes: int | None = None,
        stop: threading.Event | None = None,
        on_bytes: Callable[[int], object] | None = None,
    ) -> None:
        """Open an object for one pass from its first byte to its last; request nothing yet.

        At most `ahead_bytes` are requested ahead: in two ranges at first, and in more and smaller
        ones while the reader waits for them. They may grow to `most_ahead_bytes`, as an eighth of
        what was read.
        """
        super().__init__()
        self._mirror, self._remote = mirror, remote
        self._stop = stop or threading.Event()
        self._on_bytes = on_bytes or (lambda _: None)
        self._block = memoryview(b"")
        self._ahead_bytes, self._most_ahead_bytes = ahead_bytes, most_ahead_bytes or ahead_bytes
        self._blocks_ahead = _BLOCKS_AT_FIRST
        self._pending: deque[_Asked] = deque()
        self._plain: PlainGets | None = None
        self._plain_until = 0.0
        self._may_be_near = True
        self._by_ranges_alone = True
        self._blocks = self._ranges()

    @classmethod
    def at(cls, mirror: Mirror, path: str, **options: Any) -> RangeReader:
        """Open what is at a path now; where possible, request its first bytes along with its size.

        `options` are those of `RangeReader`; `Mirror.stat` raises its errors.
        """
        plain = _plain_gets(mirror, path) if mirror.is_network else None
        try:
            first = (0, FIRST_BLOCK_BYTES), (FIRST_BLOCK_BYTES, 3 * FIRST_BLOCK_BYTES)
            asked = [
                _Asked(*ends, plain.request(*ends), plain, early=True) for ends in first if plain
            ]
            reader = cls(mirror, mirror.stat(path), **options)
        except BaseException:
            if plain is not None:
                plain.close()
            raise
        if plain is not None:
            reader._use_plain(plain)
            size = reader.remote.size_bytes
            ranges = [replace(one, end=min(one.end, size)) for one in asked if one.start < size]
            reader._pending.extend(ranges)
        return reader

    @property
    def remote(self) -> RemoteFile:
        """The object."""
        return self._remote

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
            self._block = memoryview(block)
            self._on_bytes(len(block))

    @contextlib.contextmanager
    def again(self) -> Iterator[RangeReader]:
        """Open the same object again from its first byte; check at the end that it is the same."""
        options: dict[str, Any] = {"stop": self._stop, "on_bytes": self._on_bytes}
        with contextlib.closing(RangeReader(self._mirror, self._remote, **options)) as reader:
            yield reader
            reader.check_unchanged()

    def check_unchanged(self) -> None:
        """Raise `MirrorChangedError` if the object is no longer the one that was opened.

        Unless all answers had its ETag, the mirror is asked, with as much patience as for a range.
        """
        if self._by_ranges_alone and self._proved():
            return
        self._retry(first_pause_seconds=0.6).call(self._compare, MirrorUnreachableError)

    def _retry(self, *, first_pause_seconds: float) -> Retry:
        patience = self._mirror.patience_seconds
        return Retry(
            patience_seconds=patience, first_pause_seconds=first_pause_seconds, stop=self._stop
        )

    def _proved(self) -> bool:
        """Return whether all plain GETs had the ETag of the object that was opened."""
        return self._plain is not None and self._plain.etags == {self._remote.etag}

    def _compare(self) -> None:
        now = self._mirror.stat(self._remote.name)
        if now.etag != self._remote.etag or now.size_bytes != self._remote.size_bytes:
            raise MirrorChangedError(
                f"mirror: {self._remote.url} was replaced while it was read (ETag "
                f"{self._remote.etag!r}, now {now.etag!r})"
            )

    def close(self) -> None:
        self._forget_pending()
        self._blocks.close()
        if self._plain is not None:
            self._plain.close()
        super().close()

    def _ranges(self) -> Generator[bytes | memoryview, None, None]:
        if not self._mirror.is_network:
            yield from self._whole()
            return
        if self._plain is None:
            self._use_plain(_plain_gets(self._mirror, self._remote.name))
        if self._plain is None and not self._mirror.has_ranges(self._remote):
            yield from self._whole()
            return
        position = max((asked.end for asked in self._pending), default=0)
        length, size = max(position, FIRST_BLOCK_BYTES), self._remote.size_bytes
        while self._pending or position < size:
            near = self._near()
            if near is not None and not self._pending:
                position = yield from self._straight(near, position)
                continue
            while near is None and position < size and self._may_ask(position):
                end = min(position + min(length, self._block_bytes(position)), size)
                self._pending.append(self._ask(position, end))
                position, length = end, min(2 * length, MOST_BLOCK_BYTES)
            asked = self._pending.popleft()
            error = None
            block: bytes | memoryview = b""
            try:
                block = self._wait(asked)
            except MirrorUnreachableError as caught:
                error = caught
            received = len(block)
            if received and asked.early and not self._proved():
                self._forget_pending()  # the object may have been replaced in between
                position, length = asked.start, FIRST_BLOCK_BYTES
                continue
            if received:
                yield block
            if asked.plain is not None and isinstance(block, memoryview):
                asked.plain.give_back(block)
            refused = asked.plain is not None and not asked.plain.fits
            if refused and not asked.start and not self._mirror.has_ranges(self._remote):
                self._forget_pending()
                yield from self._whole()
                return
            if received < asked.end - asked.start:  # the connection broke
                self._blocks_ahead, length = _BLOCKS_AT_FIRST, FIRST_BLOCK_BYTES
                yield self._fetch_again(asked.start + received, asked.end, error)

    def _near(self) -> PlainGets | None:
        """Return where to request all the rest at once; None if ranges ahead are better."""
        self._renew_plain()
        plain = self._plain
        return plain if plain is not None and plain.near and self._may_be_near else None

    def _straight(self, plain: PlainGets, start: int) -> Generator[memoryview, None, int]:
        """Read on by one GET while that is fast; return where it ended."""
        self._may_be_near = self._by_ranges_alone = False
        end = self._remote.size_bytes
        asked = _Asked(start, end, plain.straight(start, end), plain)
        try:
            self._wait_for(asked)
            line: Line = asked.answer.result()
        except MirrorUnreachableError:
            return start  # the ranges that are asked for next will tell why
        with contextlib.closing(line):
            for piece in line.pieces():
                start += len(piece)
                yield piece
        return start

    def _forget_pending(self) -> None:
        for asked in self._pending:
            asked.answer.cancel()
        self._pending.clear()

    def _may_ask(self, position: int) -> bool:
        """Return whether one more range may be requested, by number and size of pending ones."""
        asked_bytes = sum(asked.end - asked.start for asked in self._pending)
        room = asked_bytes + self._block_bytes(position) <= self._most_bytes(position)
        return len(self._pending) < (self._blocks_ahead if room else _BLOCKS_AT_FIRST)

    def _most_bytes(self, position: int) -> int:
        """Return how much may be requested ahead: an eighth of what was read is wasted at most."""
        most = min(max(self._ahead_bytes, position // 8), self._most_ahead_bytes)
        return min(most, _AHEAD_OF_FSSPEC_BYTES) if self._plain is None else most

    def _block_bytes(self, position: int) -> int:
        """Return how large a block may be."""
        share = max(self._most_bytes(position) // self._blocks_ahead, LEAST_BLOCK_BYTES)
        return 1 << share.bit_length() - 1  # so that memory of few sizes is used again

    def _adapt(self, waited: bool, seconds: float) -> None:
        """Request more ranges at a time where the link is far, fewer where it is slow."""
        if waited and seconds < _SOON_SECONDS:
            self._blocks_ahead = min(self._blocks_ahead + 1, _MOST_BLOCKS)
        elif seconds > _LATE_SECONDS:
            self._blocks_ahead = max(self._blocks_ahead - 1, _BLOCKS_AT_FIRST)

    def _use_plain(self, plain: PlainGets | None) -> None:
        """Request ranges by plain GETs from now on, if there is an address for them."""
        self._plain = plain
        self._plain_until = time.monotonic() + ADDRESS_SECONDS
        if self._plain is None:
            keep_memory_of_blocks()

    def _ask(self, start: int, end: int) -> _Asked:
        self._renew_plain()
        if self._plain is not None:
            return _Asked(start, end, self._plain.request(start, end), self._plain)
        self._by_ranges_alone = False
        return _Asked(start, end, self._mirror.request(self._remote, start, end))

    def _renew_plain(self) -> None:
        """Give up a server that does not serve ranges; get a new address for an old one."""
        plain = self._plain
        if plain is not None and (not plain.fits or time.monotonic() > self._plain_until):
            plain.retire()
            self._plain = None
            if plain.fits:
                self._use_plain(_plain_gets(self._mirror, self._remote.name))

    def _wait(self, asked: _Asked) -> bytes | memoryview:
        """Return the bytes of a range; by plain GET perhaps only its first ones."""
        waited = not asked.answer.done()
        self._wait_for(asked)
        self._adapt(waited, time.monotonic() - asked.at)
        if asked.plain is not None:
            block: memoryview = asked.answer.result()
            return block
        return self._mirror.received(self._remote, asked.answer, asked.end - asked.start)

    def _wait_for(self, asked: _Asked) -> None:
        """Return once an answer is there; raise if stopped, or too late."""
        limit = asked.at + self._mirror.request_seconds + 1  # fsspec's own end comes first
        while not wait((asked.answer,), timeout=0.2).done:
            if self._stop.is_set():
                asked.answer.cancel()
                raise Stopped("stopped")
            if time.monotonic() > limit:
                asked.answer.cancel()
                raise MirrorUnreachableError(
                    f"mirror: {self._remote.url} did not send a range of "
                    f"{asked.end - asked.start:,} bytes in {self._mirror.request_seconds:g} s"
                )

    def _fetch_again(self, start: int, end: int, error: MirrorUnreachableError | None) -> bytes:
        """Fetch a failed range from the file system, in ever smaller pieces, after pauses."""
        self._by_ranges_alone = False
        parts: list[bytes] = []
        length = end - start
        retry = self._retry(first_pause_seconds=0.1)
        while start < end:
            if retry.is_over:
                raise MirrorUnreachableError(
                    f"{error} (given up after {retry.attempts} attempts in "
                    f"{self._mirror.patience_seconds:g} s)"
                ) from error
            retry.pause()
            length = max(length // 2, LEAST_BLOCK_BYTES)
            try:
                self._compare()
                while start < end:
                    stop = min(start + length, end)
                    answer = self._mirror.request(self._remote, start, stop)
                    parts.append(bytes(self._wait(_Asked(start, stop, answer))))
                    start = stop
                    retry.restart()
            except MirrorUnreachableError as again:
                error = again
        return b"".join(parts)

    def _whole(self) -> Iterator[memoryview]:
        self._by_ranges_alone = False
        received = 0
        for block in self._mirror.stream(self._remote):
            received += len(block)
            yield block
        if received != self._remote.size_bytes:
            raise MirrorUnreachableError(
                f"mirror: {self._remote.url} ended after {received:,} of "
                f"{self._remote.size_bytes:,} bytes"
            )


def _plain_gets(mirror: Mirror, path: str) -> PlainGets | None:
    """Return plain GETs of an object; None if there is no address for them."""
    address = mirror.plain_address(path)
    if address is None:
        return None
    seconds = mirror.request_seconds
    return PlainGets(address, f"{mirror}/{path}", lines=_MOST_BLOCKS, timeout_seconds=seconds)


@cache
def keep_memory_of_blocks() -> None:
    """Let the C allocator keep the memory of one block, or of one clip, for the next.

    glibc returns freed memory above a threshold that follows the largest piece freed so far (at
    most 32 MiB), and then every block costs a page fault for each of its 4 KiB: 0.4 of 1.3 CPU
    seconds a GB. One large piece, never touched, raises the threshold.
    """
    bytes(31 << 20)

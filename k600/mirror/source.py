"""The bytes of one object of a mirror: by plain requests where a web address leads to it.

What goes wrong there is asked of the file system at once, whose answer, or error, counts.
"""

from __future__ import annotations

import contextlib
import mmap
import ssl
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, NamedTuple

from k600.errors import (
    MirrorChangedError,
    MirrorError,
    MirrorRangesError,
    MirrorUnreachableError,
)
from k600.mirror import direct
from k600.mirror.direct import Answer, Pending, Version
from k600.retry import Retry

if TYPE_CHECKING:
    from k600.mirror.mirror import Mirror

LEAST_BLOCK_BYTES = 64 << 10
"""Fewer are not worth a request, and not worth keeping where a connection broke."""
_ADDRESS_SECONDS = 300.0
"""How long a signed address is used; the credentials may expire not much later."""
_PIECE_BYTES, _LEAST_PIECE_BYTES = 1 << 20, 256 << 10
"""Of what is read straight. (An encrypted line brings 16 KiB at a time.)"""

_NEAR_SECONDS = 0.01
"""A server that answers sooner is in the same building."""
_NEAR_BYTES_PER_SECOND = 100e6
"""Least that one connection to it brings."""
_PATIENCE_SECONDS = 0.5
"""How long one is waited for before that is judged."""


class Piece(NamedTuple):
    """Bytes of an object, and which object that was."""

    data: memoryview
    version: Version


class Source:
    """One object of a mirror. Many threads may ask it at once."""

    def __init__(
        self,
        mirror: Mirror,
        path: str,
        stop: threading.Event | None = None,
        pending: Pending | None = None,
    ) -> None:
        """Ask for nothing yet; setting `stop` ends pauses, ending `pending` all requests."""
        self.pending = Pending() if pending is None else pending
        self.near = False
        """Whether the server answers so soon that requests ahead gain nothing."""
        self.is_direct = mirror.is_network
        """Whether plain requests are answered, as far as is known."""
        self.proved = True
        """Whether all answers so far had the ETag that was expected."""
        self._mirror, self._path, self._url = mirror, path, f"{mirror}/{path}"
        self._address: str | None = None
        self._address_until = 0.0
        self._stop, self._free = stop or self.pending.over, deque[memoryview]()

    def read(self, start: int, end: int, expected: Version) -> Piece:
        """Return the bytes `[start, end)`; what fails is asked for again, in ever smaller ranges.

        Raises:
            MirrorChangedError: They are not of the `expected` object.
            MirrorRangesError: The server sends no ranges.
            MirrorError: They cannot be read.
        """
        retry, length = self.retry(0.1), end - start
        parts: list[memoryview] = []
        failed = False
        while start < end:
            until = min(start + length, end)
            try:
                if failed:
                    self.look(expected, end)
                data, version = self._read(start, until, expected)
            except MirrorUnreachableError as error:
                if retry.is_over:
                    raise MirrorUnreachableError(
                        f"{error} (given up after {retry.attempts} attempts in "
                        f"{self._mirror.patience_seconds:g} s)"
                    ) from error
                retry.pause()
                failed, length = True, max(length // 2, LEAST_BLOCK_BYTES)
                continue
            self.check(expected, version)
            expected = version if None in expected else expected
            failed = False
            parts.append(data)
            start += len(data)
            retry.restart()
        return Piece(parts[0] if len(parts) == 1 else memoryview(b"".join(parts)), version)

    def retry(self, first_pause_seconds: float) -> Retry:
        """Return how long, and after which pauses, a request may keep failing."""
        return Retry(
            patience_seconds=self._mirror.patience_seconds,
            first_pause_seconds=first_pause_seconds,
            stop=self._stop,
        )

    def check(self, expected: Version, found: Version) -> None:
        """Raise `MirrorChangedError` if these are two objects."""
        self.proved = self.proved and found.etag is not None
        if not expected.fits(found):
            raise MirrorChangedError(
                f"mirror: {self._url} was replaced: expected ETag {expected.etag!r}, "
                f"{expected.size_bytes} bytes; it is {found.etag!r}, {found.size_bytes} bytes"
            )

    def look(self, expected: Version, end: int = 0) -> None:
        """Raise `MirrorError` if what is there now is not as expected, or ends before `end`."""
        now = self._mirror.stat(self._path)
        self.check(expected, Version(now.etag, now.size_bytes))
        if now.size_bytes < end:
            raise MirrorError(f"mirror: {self._url} has {now.size_bytes:,} bytes, not {end:,}")

    def _read(self, start: int, end: int, expected: Version) -> Piece:
        """Return bytes from `start` on: up to `end`, unless a connection breaks."""
        with contextlib.suppress(*direct.ERRORS):
            return self.read_directly(start, end)
        ask, size = self._mirror.read_by_file_system, expected.size_bytes
        try:
            return Piece(*ask(self._path, start, end, size, self.pending))
        except MirrorRangesError:
            if size is None:
                raise
            ask(self._path, size - 1, size, size, self.pending)  # raises it again, if it stays
            raise MirrorUnreachableError(f"mirror: {self._url} sent no range once") from None

    def read_directly(self, start: int, end: int) -> Piece:
        """Return the bytes `[start, end)`, or some of them, by one plain request.

        It raises `direct.ERRORS`, also where no plain address leads to the object.
        """
        deadline = time.monotonic() + self._mirror.request_seconds
        with self._ask(start, end, self._mirror.request_seconds) as answer:
            block, filled = self._memory(answer.left_bytes), 0
            try:
                while filled < len(block):
                    filled += answer.readinto(block[filled:])
                    if time.monotonic() > deadline:
                        raise TimeoutError("the answer takes too long")
            except OSError:
                if filled < LEAST_BLOCK_BYTES:
                    raise
            return Piece(block[:filled], answer.version)

    def give_back(self, data: memoryview) -> None:
        """Use the memory of a piece again for the next one of its size."""
        if isinstance(data.obj, mmap.mmap):
            self._free.append(data)

    def _memory(self, size_bytes: int) -> memoryview:
        with contextlib.suppress(IndexError):
            while len(block := self._free.pop()) != size_bytes:
                pass
            return block
        return memoryview(mmap.mmap(-1, size_bytes))  # each thread would keep some of the heap's

    def straight(self, start: int, expected: Version) -> Generator[memoryview, None, None]:
        """Yield the bytes from `start` on by one request, in pieces valid until the next one.

        From a near server that is least work: no thread is woken for each range, and the memory is
        so small that it stays in the processor's cache. They end early if the server proves not to
        be near, or if anything goes wrong: a request for the next range will raise.
        """
        end, memory = expected.size_bytes or 0, memoryview(bytearray(_PIECE_BYTES))
        seconds = _PATIENCE_SECONDS
        with contextlib.suppress(*direct.ERRORS), self._ask(start, end, seconds) as answer:
            self.check(expected, answer.version)
            filled, since, waited, over = 0, 0, 0.0, False
            while answer.left_bytes and not over:
                asked, count = time.monotonic(), 0
                with contextlib.suppress(OSError):  # what came before is handed on
                    count = answer.readinto(memory[filled:])
                waited += time.monotonic() - asked
                filled, since, over = filled + count, since + count, not count
                if waited > _PATIENCE_SECONDS:
                    over = over or since < waited * _NEAR_BYTES_PER_SECOND
                    since, waited = 0, 0.0
                if filled and (over or not answer.left_bytes or filled >= _LEAST_PIECE_BYTES):
                    yield memory[:filled]
                    filled = 0

    @contextlib.contextmanager
    def _ask(self, start: int, end: int, seconds: float) -> Iterator[Answer]:
        now, pending = time.monotonic(), self.pending
        if self.is_direct and now > self._address_until:
            self._address = self._mirror.plain_address(self._path, 2 * _ADDRESS_SECONDS)
            self._address_until = now + _ADDRESS_SECONDS
            self.is_direct = self._address is not None
        try:
            if self._address is None or not self.is_direct:
                raise direct.UnfitError("no plain requests are answered here")
            with direct.get(self._address, start, end, seconds=seconds, pending=pending) as answer:
                self.near = self.near or answer.wait_seconds < _NEAR_SECONDS
                yield answer
        except (direct.UnfitError, ssl.SSLCertVerificationError):
            self.is_direct = False
            raise

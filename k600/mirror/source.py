"""One object of a mirror: what it is, and its bytes, by one request or after several failed.

Where an address of a bucket was signed, what goes wrong there is asked of s3fs from then on, whose
answer, or error, counts: it knows other regions, and how credentials are renewed.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from functools import cached_property, partial

from urllib3.exceptions import HTTPError

from k600.errors import (
    MirrorChangedError,
    MirrorError,
    MirrorRangesError,
    MirrorUnreachableError,
    Stopped,
)
from k600.errors.retry import Retry
from k600.errors.text import counted
from k600.errors.translate import mirror_error, translate_errors
from k600.mirror import web
from k600.mirror.identity import RemoteFile, Version
from k600.mirror.root import Root
from k600.mirror.web import Address, Answer

LEAST_BLOCK_BYTES = 64 << 10
"""Fewer are not worth a request, and not worth keeping where a connection broke."""
_NEAR_SECONDS = 0.01
"""A server that answers sooner is in the same building."""


class Source:
    """One object of a mirror. Many threads may ask it at once."""

    def __init__(
        self,
        root: Root,
        path: str,
        version: Version | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Ask for nothing yet; setting `stop`, or `is_over`, ends requests and pauses soon."""
        self.version = version or Version()
        """Which object it has to be; answers complete it."""
        self.proved = True
        """Whether all answers so far had an ETag."""
        self.has_ranges = root.is_network
        """Whether it is worth asking for ranges: neither of a disk, nor where all is sent."""
        self.near = False
        """Whether the server answers so soon that requests ahead gain nothing."""
        self.is_over = False
        self._root, self._path, self._url = root, path, f"{root}/{path}"
        self._stop = stop or threading.Event()

    @cached_property
    def address(self) -> Address | None:
        """Where to send plain requests; None if only fsspec reads the object."""
        with translate_errors(mirror_error, self._url):
            return self._root.address(self._path)

    @property
    def remote(self) -> RemoteFile:
        """The object, as far as `version` says which it is."""
        etag, size_bytes = self.version
        return RemoteFile(self._path, self._url, size_bytes or 0, etag or "")

    def head(self, attempts: float = 3) -> RemoteFile:
        """Return what is there now, asked for so often while the mirror cannot be reached.

        It raises `MirrorChangedError` if that is another object.
        """
        self._retry(attempts).call(self._head, MirrorUnreachableError)
        return self.remote

    def read(self, start: int, end: int) -> list[bytes]:
        """Return the bytes `[start, end)`; what fails is asked for again, in ever smaller ranges.

        There are fewer if the object ends before.

        Raises:
            MirrorChangedError: They are not of the same object.
            MirrorRangesError: The server sends no ranges.
            MirrorError: They cannot be read.
        """
        retry, length = self._retry(), end - start
        pieces: list[bytes] = []
        while start < end:
            self.go_on()
            try:
                found = self._read(start, min(start + length, end))
                pieces += found
                start += sum(map(len, found))
                retry.restart()
            except MirrorRangesError:
                if retry.attempts > 1:  # else the server may know them again
                    self.has_ranges = False
                    raise
                retry.pause()
            except MirrorUnreachableError as error:
                if retry.is_over:
                    raise MirrorUnreachableError(
                        f"{error} (given up after {counted(retry.attempts, 'attempt')} in "
                        f"{self._root.patience_seconds:g} s)"
                    ) from error
                retry.pause()
                length = max(length // 2, LEAST_BLOCK_BYTES)
                with contextlib.suppress(MirrorUnreachableError):
                    self._head()
            if self.version.size_bytes is not None:
                end = min(end, self.version.size_bytes)
        return pieces

    def begin(self, start: int, end: int) -> Future[list[bytes]]:
        """Read a range (`read`) in a thread of its own; `result` waits for it."""
        answer: Future[list[bytes]] = Future()

        def work() -> None:
            try:
                answer.set_result(self.read(start, end))
            except Exception as error:
                answer.set_exception(error)

        # A daemon: nothing waits for a server that never answers, not even Python's end.
        threading.Thread(target=work, name="k600-range", daemon=True).start()
        return answer

    def result(self, answer: Future[list[bytes]]) -> list[bytes]:
        """Return a range that was begun, or raise as `read` does; `Stopped` soon after a stop."""
        while not wait((answer,), timeout=0.2).done:
            self.go_on()
        return answer.result()

    def stream(self, start: int, *, silent_seconds: float) -> Iterator[bytes]:
        """Yield all bytes from `start` on by one request, which may be silent for so long.

        That is least work: no thread is woken for each range, and the memory is so small that it
        stays in the processor's cache. `MirrorUnreachableError` is raised if they end early.
        """
        size = self.version.size_bytes or 0
        with self._get(start, size, silent_seconds, self.go_on) as answer:
            position = 0 if answer.is_whole else start
            for part in answer.parts:
                yield part[max(start - position, 0) :]
                position += len(part)
        if position < size:
            raise MirrorUnreachableError(
                f"mirror: {self._url} ended after {position:,} of {size:,} bytes"
            )

    def go_on(self, deadline: float = math.inf) -> None:
        """Raise `Stopped` if told to stop, and `TimeoutError` after a deadline."""
        if self.is_over or self._stop.is_set():
            raise Stopped("stopped")
        if time.monotonic() > deadline:
            raise TimeoutError("the answer takes too long")

    def _retry(self, attempts: float = math.inf) -> Retry:
        patience = self._root.patience_seconds
        return Retry(attempts=attempts, patience_seconds=patience, stop=self._stop)

    def _head(self) -> None:
        with translate_errors(mirror_error, self._url):
            if self.address and not self.address.is_signed:
                found = web.head(self.address, seconds=self._root.request_seconds)
            else:
                found = self._root.info(self._path)
        self._check(found)

    def _read(self, start: int, end: int) -> list[bytes]:
        """Return what came of a range before its time was over or its connection broke."""
        pieces: list[bytes] = []
        address, seconds = self.address, self._root.request_seconds
        begin = time.monotonic()
        try:
            with self._get(start, end, seconds, partial(self.go_on, begin + seconds)) as answer:
                if answer.is_whole:
                    raise MirrorRangesError(
                        f"mirror: {self._url} serves no byte ranges (HTTP 200): it can only be "
                        "read from its beginning"
                    )
                if address and time.monotonic() - begin < _NEAR_SECONDS:
                    self.near = True
                try:
                    pieces.extend(answer.parts)
                except (OSError, HTTPError):
                    if sum(map(len, pieces)) < LEAST_BLOCK_BYTES:
                        raise
        except MirrorChangedError:
            raise
        except MirrorError:
            if address is None or not address.is_signed:
                raise
            self.address = None
            return self._read(start, end)
        if not any(pieces):
            raise MirrorUnreachableError(f"mirror: {self._url} sent nothing of a range")
        return pieces

    @contextlib.contextmanager
    def _get(
        self, start: int, end: int, seconds: float, check: Callable[[], object]
    ) -> Iterator[Answer]:
        """Request bytes of the object, and of no other."""
        with translate_errors(mirror_error, self._url), contextlib.ExitStack() as stack:
            if address := self.address:
                size_bytes = self.version.size_bytes
                get = web.get(address, start, end, size_bytes, seconds=seconds, check=check)
            else:
                get = self._root.read(self._path, start, end)
            answer = stack.enter_context(get)
            self._check(answer.version)
            yield answer

    def _check(self, found: Version) -> None:
        """Raise `MirrorChangedError` if this is another object."""
        self.proved = self.proved and found.etag is not None
        if not self.version.fits(found):
            raise MirrorChangedError(
                f"mirror: {self._url} was replaced: expected ETag {self.version.etag!r}, "
                f"{self.version.size_bytes} bytes; it is {found.etag!r}, {found.size_bytes} bytes"
            )
        self.version = self.version.completed_by(found)

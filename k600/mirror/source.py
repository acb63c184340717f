"""The bytes of one object of a mirror: by plain requests to its web address, else by fsspec.

Where an address of a bucket was signed, what goes wrong there is asked of s3fs at once, whose
answer, or error, counts: it knows other regions, and how credentials are renewed.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from functools import partial
from typing import TYPE_CHECKING, Any

from urllib3.exceptions import HTTPError

from k600.errors import (
    MirrorChangedError,
    MirrorError,
    MirrorNotFoundError,
    MirrorRangesError,
    MirrorUnreachableError,
    Stopped,
)
from k600.errors.retry import Retry
from k600.errors.text import counted
from k600.errors.translate import mirror_error, translate_errors
from k600.mirror import web
from k600.mirror.web import LEAST_BLOCK_BYTES, Address, Block, Version

if TYPE_CHECKING:
    from k600.mirror.mirror import Mirror

_ADDRESS_SECONDS = 300.0
"""How long a signed address is used; the credentials may expire not much later."""
_WITHOUT_SECONDS = 60.0
"""How long s3fs alone is asked where a signed address did not serve."""
_PART_BYTES = 512 << 10
_NEAR_SECONDS = 0.01
"""A server that answers sooner is in the same building."""
_PATIENCE_SECONDS = 0.5
"""How long one is waited for when it is read straight."""


class Source:
    """One object of a mirror. Many threads may ask it at once."""

    def __init__(self, mirror: Mirror, path: str, stop: threading.Event | None = None) -> None:
        """Ask for nothing yet; setting `stop`, or `is_over`, ends requests and pauses soon."""
        self.proved = True
        """Whether all answers so far had the ETag that was expected."""
        self.near = False
        """Whether the server answers so soon that requests ahead gain nothing."""
        self.is_over = False
        self._mirror, self._path, self._url = mirror, path, f"{mirror}/{path}"
        self._stop = stop or threading.Event()
        self._address: Address | None = None
        self._address_until = 0.0

    def head(self) -> Version:
        """Return ETag and size of what is there now, or raise `MirrorError`."""
        with translate_errors(mirror_error, self._url):
            if self._mirror.is_web and (address := self.address()):
                return web.head(address, self._url, seconds=self._mirror.request_seconds)
            return self._info()

    def read(self, start: int, end: int, expected: Version) -> Block:
        """Return the bytes `[start, end)`; what fails is asked for again, in ever smaller ranges.

        There are fewer if the object ends before, and nothing said how large it is.

        Raises:
            MirrorChangedError: They are not of the `expected` object.
            MirrorRangesError: The server sends no ranges.
            MirrorError: They cannot be read.
        """
        retry, length = self.retry(0.1), end - start
        pieces: list[bytes] = []
        failed = False
        while start < end:
            self.go_on()
            try:
                if failed:
                    self.look(expected, end)
                block = self._read(start, min(start + length, end), expected.size_bytes)
            except MirrorUnreachableError as error:
                if retry.is_over:
                    raise MirrorUnreachableError(
                        f"{error} (given up after {counted(retry.attempts, 'attempt')} in "
                        f"{self._mirror.patience_seconds:g} s)"
                    ) from error
                retry.pause()
                failed, length = True, max(length // 2, LEAST_BLOCK_BYTES)
                continue
            self.check(expected, block.version)
            expected = expected if None not in expected else block.version
            failed = False
            pieces += block.pieces
            start += sum(map(len, block.pieces))
            end = end if expected.size_bytes is None else min(end, expected.size_bytes)
            retry.restart()
        return Block(pieces, block.version)

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
        now = self.head()
        self.check(expected, now)
        if (now.size_bytes or 0) < end:
            raise MirrorError(f"mirror: {self._url} has {now.size_bytes:,} bytes, not {end:,}")

    def begin(self, start: int, end: int, expected: Version) -> Future[Block]:
        """Read a range (`read`) in a thread of its own; `result` waits for it."""
        answer: Future[Block] = Future()

        def work() -> None:
            try:
                answer.set_result(self.read(start, end, expected))
            except Exception as error:
                answer.set_exception(error)

        # A daemon: nothing waits for a server that never answers, not even Python's end.
        threading.Thread(target=work, name="k600-range", daemon=True).start()
        return answer

    def result(self, answer: Future[Block]) -> Block:
        """Return a range that was begun, or raise as `read` does; `Stopped` soon after a stop."""
        while not wait((answer,), timeout=0.2).done:
            self.go_on()
        return answer.result()

    def go_on(self, deadline: float = math.inf) -> None:
        """Raise `Stopped` if told to stop, and `TimeoutError` after a deadline."""
        if self.is_over or self._stop.is_set():
            raise Stopped("stopped")
        if time.monotonic() > deadline:
            raise TimeoutError("the answer takes too long")

    def stream(self, size_bytes: int) -> Iterator[bytes]:
        """Yield an object by one request."""
        with translate_errors(mirror_error, self._url):
            if self._mirror.is_web and (address := self.address()):
                yield from web.stream(address, seconds=self._mirror.request_seconds)
                return
            fs, full = self._mirror.connect(self._path)
            with fs.open(full, "rb", block_size=0, size=size_bytes) as file:
                while part := file.read(_PART_BYTES):
                    yield part

    def straight(self, start: int, expected: Version) -> Iterator[bytes]:
        """Yield the bytes from `start` on by one request.

        From a near server that is least work: no thread is woken for each range, and the memory is
        so small that it stays in the processor's cache. They end early if anything goes wrong, or
        nothing comes for a moment: a request for the next range will raise.
        """
        size, address = expected.size_bytes or 0, self.address()
        if address is None or start >= size:
            return
        options: dict[str, Any] = {"size_bytes": size, "check": self.go_on}
        options["seconds"] = _PATIENCE_SECONDS
        with (
            contextlib.suppress(MirrorError),
            translate_errors(mirror_error, self._url),
            web.get(address, self._url, start, size, **options) as (version, parts),
        ):
            self.check(expected, version)
            yield from parts

    def address(self) -> Address | None:
        """Return an address for plain requests, if there is one."""
        now = time.monotonic()
        if now > self._address_until:
            self._address = self._mirror.address(self._path, 2 * _ADDRESS_SECONDS)
            self._address_until = now + _ADDRESS_SECONDS
        return self._address

    def _read(self, start: int, end: int, size_bytes: int | None) -> Block:
        """Return bytes from `start` on: up to `end`, unless a connection breaks."""
        if address := self.address():
            try:
                return self._read_by_web(address, start, end, size_bytes)
            except MirrorError:
                if self._mirror.is_web:
                    raise
            self._address, self._address_until = None, time.monotonic() + _WITHOUT_SECONDS
        with translate_errors(mirror_error, self._url):
            data = self._call("cat_file", start=start, end=end)
        if len(data) != end - start:
            raise MirrorUnreachableError(
                f"mirror: {self._url} sent {len(data):,} bytes for a range of {end - start:,}"
            )
        return Block([data], Version())

    def _read_by_web(self, address: Address, start: int, end: int, size: int | None) -> Block:
        """Return what came of a range before its time was over or its connection broke."""
        pieces: list[bytes] = []
        begin, seconds = time.monotonic(), self._mirror.request_seconds
        check = partial(self.go_on, begin + seconds)
        options: dict[str, Any] = {"size_bytes": size, "seconds": seconds, "check": check}
        with translate_errors(mirror_error, self._url):
            try:
                with web.get(address, self._url, start, end, **options) as (version, parts):
                    self.near = self.near or time.monotonic() - begin < _NEAR_SECONDS
                    try:
                        pieces.extend(parts)
                    except (OSError, HTTPError):
                        if sum(map(len, pieces)) < LEAST_BLOCK_BYTES:
                            raise
                    return Block(pieces, version)
            except MirrorRangesError:
                if size is None:
                    raise
            with web.get(address, self._url, size - 1, size, **options):
                pass  # it raises that again, if it stays
        raise MirrorUnreachableError(f"mirror: {self._url} sent no range once")

    def _info(self) -> Version:
        """Return ETag and size by fsspec."""
        fresh = {"refresh": True} if self._mirror.url.startswith(("s3", "hf")) else {}
        info = self._call("info", **fresh)
        if info.get("type") != "file":
            raise MirrorNotFoundError(f"mirror: {self._url} is a folder, expected a file")
        if info.get("size") is None:
            raise MirrorError(f"mirror: {self._url} has no size, so nothing can be checked")
        etag = info.get("ETag") or info.get("blob_id") or info.get("Last-Modified")  # (hf: a blob)
        if not etag:
            etag = "-".join(str(info.get(k)) for k in ("size", "ino", "mtime"))
        return Version(str(etag).strip('"'), int(info["size"]))

    def _call(self, method: str, **options: Any) -> Any:
        """Return what a method of the file system returns for the path, in bounded time."""
        fs, full = self._mirror.connect(self._path)
        if not fs.async_impl:
            return getattr(fs, method)(full, **options)
        call = getattr(fs, f"_{method}")(full, **options)  # fsspec's asynchronous face
        bounded = asyncio.wait_for(call, self._mirror.request_seconds)
        return asyncio.run_coroutine_threadsafe(bounded, fs.loop).result()

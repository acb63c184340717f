"""Byte ranges of one web address by plain GETs, into memory that is used again.

This takes a quarter of an S3 library's CPU time: no signature for each range, no event loop, no
copy but the kernel's. Any answer but 206 with just the requested bytes is an error here, after
which the file system is used.
"""

from __future__ import annotations

import contextlib
import http.client
import mmap
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from k600.errors import MirrorUnreachableError
from k600.network import read_network

_CHUNK_BYTES = 1 << 20
_LEAST_PIECE_BYTES = 256 << 10
"""Less is not worth being handed on. (An encrypted line brings 16 KiB at a time.)"""

_NEAR_SECONDS = 0.01
"""A server that answers sooner is in the same building."""
_NEAR_BYTES_PER_SECOND = 100e6
"""Least that one connection to it brings."""
_NO_SIGN = (
    http.HTTPStatus.TOO_MANY_REQUESTS,
    http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,  # it was asked for before the size was known
)
"""Refusals that do not mean that a server cannot be asked for ranges."""
_PATIENCE_SECONDS = 0.5
"""How long one is waited for before that is judged."""


@dataclass(frozen=True, slots=True)
class _Job:
    """A range to request."""

    start: int
    end: int
    answer: Future[Any]
    fetch: Callable[[http.client.HTTPConnection, int, int], Any]


class PlainGets:
    """Fetches ranges of one object, some of them at a time. To be closed."""

    def __init__(self, address: str, shown: str, *, lines: int, timeout_seconds: float) -> None:
        """Request nothing yet; messages hold `shown` for an address that may be signed.

        `lines` is the most connections; one may be silent for `timeout_seconds`.
        """
        parts = urlsplit(address)
        network = read_network()
        self._proxy = network.proxy_for(address)
        self._tls = network.tls() if parts.scheme == "https" else None
        self._host = parts.netloc
        self._target = parts.path + (f"?{parts.query}" if parts.query else "")
        self._headers = {"Accept-Encoding": "identity"}
        if self._proxy is not None and self._tls is None:  # the proxy reads the request itself
            self._target = address
            self._headers |= self._proxy.headers
        self._shown = shown
        self._most_lines = lines
        self._timeout_seconds = timeout_seconds
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._connections: set[http.client.HTTPConnection] = set()
        self._free: list[memoryview] = []
        self._closed = False
        self.fits = True
        """Whether the server has answered as this needs it so far."""
        self.near = False
        """Whether it answers so soon that requests ahead gain nothing."""
        self.etags: set[str] = set()
        """The ETags of its answers, `""` for one without."""

    def request(self, start: int, end: int) -> Future[memoryview]:
        """Request the bytes `[start, end)`, or as many of them as the object has.

        The future raises `MirrorUnreachableError`. Its result, to be handed to `give_back`, is
        short if the connection broke.
        """
        answer: Future[memoryview] = Future()
        self._put(_Job(start, end, answer, self._fetch))
        return answer

    def straight(self, start: int, end: int) -> Future[Line]:
        """Request the bytes `[start, end)` by one GET that the caller reads; errors as above.

        From a near server that is least work: no thread is woken for each range, and the memory is
        so small that it stays in the processor's cache.
        """
        answer: Future[Line] = Future()
        self._put(_Job(start, end, answer, self._open))
        return answer

    def _put(self, job: _Job) -> None:
        self._jobs.put(job)
        if len(self._threads) < self._most_lines:
            # A daemon: nothing waits for a server that never answers, not even Python's end.
            thread = threading.Thread(target=self._work, name="k600-get", daemon=True)
            self._threads.append(thread)
            thread.start()

    def give_back(self, block: memoryview) -> None:
        """Use the memory of a range again for the next one of its size."""
        if any(len(other) != len(block) for other in self._free[-1:]):
            self._free.clear()  # ranges have another size now
        self._free.append(block)

    def retire(self) -> None:
        """Accept no further requests; pending ones are still answered."""
        for _ in self._threads:
            self._jobs.put(None)

    def close(self) -> None:
        """End pending requests."""
        self._closed = True
        self.retire()
        for connection in list(self._connections):
            with contextlib.suppress(OSError, AttributeError):  # it may end by itself just now
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _work(self) -> None:
        connection = self._connection()
        self._connections.add(connection)
        try:
            while not self._closed and (job := self._jobs.get()) is not None:
                self._serve(job, connection)
                del job  # or a thread without work would keep the memory of its last range
        finally:
            self._connections.discard(connection)
            connection.close()

    def _serve(self, job: _Job, connection: http.client.HTTPConnection) -> None:
        if job.answer.cancelled():
            return
        try:
            found = job.fetch(connection, job.start, job.end)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            explained = MirrorUnreachableError(
                f"mirror: {self._shown} cannot be read ({type(error).__name__}: {error})"
            )
            with contextlib.suppress(InvalidStateError):  # given up meanwhile
                job.answer.set_exception(explained)
        else:
            try:
                job.answer.set_result(found)
            except InvalidStateError:
                if isinstance(found, Line):
                    found.close()

    def _connection(self) -> http.client.HTTPConnection:
        proxy, seconds = self._proxy, self._timeout_seconds
        host, port = (self._host, None) if proxy is None else (proxy.host, proxy.port)
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=seconds)
        connection = http.client.HTTPSConnection(host, port, timeout=seconds, context=self._tls)
        if proxy is not None:
            connection.set_tunnel(self._host, headers=proxy.headers)
        return connection

    def _fetch(self, connection: http.client.HTTPConnection, start: int, end: int) -> memoryview:
        response = self._ask(connection, start, end)
        block = self._memory(response.length or 0)
        received = 0
        try:
            while received < len(block):
                count = response.readinto(block[received : received + _CHUNK_BYTES])
                if not count:
                    raise http.client.IncompleteRead(b"", len(block) - received)
                received += count
        except (OSError, http.client.HTTPException):
            connection.close()
            if not received:
                raise
        response.close()
        return block[:received]

    def _open(self, _: http.client.HTTPConnection, start: int, end: int) -> Line:
        connection = self._connection()  # of its own: whoever reads it may leave it at any byte
        self._connections.add(connection)
        try:
            response = self._ask(connection, start, end)
            if connection.sock is None:
                raise http.client.HTTPException("the server hangs up after each answer")
        except BaseException:
            self._connections.discard(connection)
            connection.close()
            raise
        return Line(connection, response, end - start, self._connections.discard)

    def _memory(self, size: int) -> memoryview:
        """Return used memory of this size, or new: not of the heap, which each thread keeps."""
        while True:
            try:
                block = self._free.pop()
            except IndexError:
                return memoryview(mmap.mmap(-1, size))
            if len(block) == size:
                return block

    def _ask(
        self, connection: http.client.HTTPConnection, start: int, end: int
    ) -> http.client.HTTPResponse:
        """Return the answer to a request, if it is the range, with its body unread."""
        response = self._send(connection, start, end)
        said = response.getheader("Content-Range", "")
        length = response.length or 0
        last = start + length - 1
        in_full = length == end - start or said.endswith(f"/{last + 1}")  # or to the object's end
        right = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if not right or not in_full or said.partition("/")[0] != f"bytes {start}-{last}":
            self.fits = self.fits and (response.status >= 500 or response.status in _NO_SIGN)
            raise http.client.HTTPException(f"HTTP {response.status} for a range")
        self.etags.add(response.getheader("ETag", "").strip('"'))
        return response

    def _send(
        self, connection: http.client.HTTPConnection, start: int, end: int
    ) -> http.client.HTTPResponse:
        """Send a request; once more if the server had closed a kept connection."""
        kept = connection.sock is not None
        try:
            return self._send_once(connection, start, end)
        except (ConnectionError, http.client.BadStatusLine):
            if not kept or self._closed:
                raise
            connection.close()
            return self._send_once(connection, start, end)
        except ssl.SSLError:
            self.fits = False  # the file system may have other certificates
            raise

    def _send_once(
        self, connection: http.client.HTTPConnection, start: int, end: int
    ) -> http.client.HTTPResponse:
        headers = {"Range": f"bytes={start}-{end - 1}", **self._headers}
        connection.request("GET", self._target, headers=headers)
        sent = time.monotonic()
        response = connection.getresponse()
        self.near = self.near or time.monotonic() - sent < _NEAR_SECONDS
        return response


class Line:
    """The body of an answer, to be read as it comes. To be closed."""

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        length_bytes: int,
        forget: Callable[[http.client.HTTPConnection], object],
    ) -> None:
        self._connection, self._response = connection, response
        self._socket: socket.socket = connection.sock
        self._length_bytes, self._forget = length_bytes, forget

    def pieces(self) -> Iterator[memoryview]:
        """Yield the bytes in pieces that are valid until the next one.

        They end early if the server proves not to be near, or if anything goes wrong: a request for
        the next range will raise.
        """
        memory = memoryview(bytearray(_CHUNK_BYTES))
        left, filled, since, waited = self._length_bytes, 0, 0, 0.0
        self._socket.settimeout(_PATIENCE_SECONDS)
        over = False
        while left and not over:
            asked = time.monotonic()
            try:
                count = self._read(memory[filled:], left)
            except OSError:  # what came before is kept
                count = 0
            waited += time.monotonic() - asked
            left, filled, since = left - count, filled + count, since + count
            over = not count
            if waited > _PATIENCE_SECONDS:
                over = over or since < waited * _NEAR_BYTES_PER_SECOND
                since, waited = 0, 0.0
            if filled and (over or not left or filled >= _LEAST_PIECE_BYTES):
                yield memory[:filled]
                filled = 0

    def _read(self, memory: memoryview, most: int) -> int:
        """Read what the socket has; at first, what came along with the headers."""
        if most == self._length_bytes:
            first = self._response.read1(len(memory))
            memory[: len(first)] = first
            return len(first)
        return int(self._socket.recv_into(memory, min(most, len(memory))))

    def close(self) -> None:
        """Close the connection."""
        self._forget(self._connection)
        self._connection.close()

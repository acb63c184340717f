"""Plain requests to a web address: for a quarter of the CPU time of a library for S3 or the web.

No signature for each range, no event loop, no copy but the kernel's. Any answer but the very bytes
that were asked for is an error here, after which the file system is asked.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

from k600.errors import Stopped
from k600.network import Network, Proxy, read_network

ERRORS = (OSError, http.client.HTTPException)
_MAY_PASS = (408, 416, 425, 429, 500, 502, 503, 504)
"""Statuses after which the next plain request may well be answered."""

_KEPT_SECONDS = 5.0
"""How long a connection is kept for the next request; many servers wait no longer."""


class UnfitError(http.client.HTTPException):
    """The server does not answer plain requests for ranges of this object."""


class Version(NamedTuple):
    """Which object an answer is of, as far as it says so; compared only where both say it."""

    etag: str | None = None
    """Its ETag without quotes, or else its date."""
    size_bytes: int | None = None

    def fits(self, other: Version) -> bool:
        """Return whether both may be the same."""
        return all(a == b for a, b in zip(self, other, strict=True) if None not in (a, b))


class Pending:
    """The requests that are under way for one purpose."""

    def __init__(self) -> None:
        self._ends: set[Callable[[], object]] = set()
        self.over = threading.Event()
        """Set once no more are accepted."""

    @contextlib.contextmanager
    def hold(self, end: Callable[[], object]) -> Iterator[None]:
        """Have a request ended by calling `end`; `Stopped` is raised if it is too late for one."""
        self._ends.add(end)
        try:
            self.check()
            yield
        finally:
            self._ends.discard(end)

    def check(self) -> None:
        """Raise `Stopped` if requests are not to be made any more."""
        if self.over.is_set():
            raise Stopped("stopped")

    def end(self) -> None:
        """End all requests, and accept no more."""
        self.over.set()
        for end in list(self._ends):
            end()


class _Way(NamedTuple):
    """How a host is reached, and by which process: what a kept connection may be used for."""

    process: int
    scheme: str
    host: str
    proxy: Proxy | None
    certificates: tuple[tuple[str, str], ...]


_kept: list[tuple[float, _Way, http.client.HTTPConnection]] = []


class Answer:
    """The headers of an answer, and its body, which is still to be read."""

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        wait_seconds: float,
    ) -> None:
        if response.length is None or connection.sock is None:
            raise UnfitError("no length, or the server hangs up after each answer")
        headers = response.headers
        etag = (headers.get("ETag") or headers.get("Last-Modified") or "").strip('"')
        self.range, _, total = headers.get("Content-Range", "").partition("/")
        if response.status == http.HTTPStatus.OK:
            total = headers.get("Content-Length", "")
        self.status = response.status
        self.version = Version(etag or None, int(total) if total.isdecimal() else None)
        self.left_bytes = response.length
        self.wait_seconds = wait_seconds
        self.socket: socket.socket = connection.sock
        self._response = response
        self._first = True

    def readinto(self, memory: memoryview) -> int:
        """Fill memory with what is there, at least a byte; `OSError` if no more comes."""
        if self._first:  # what came along with the headers
            data = self._response.read1(min(len(memory), self.left_bytes))
            count, self._first = len(data), False
            memory[:count] = data
        else:
            count = self.socket.recv_into(memory[: self.left_bytes])
        if not count:
            raise ConnectionError("the connection ended before the answer")
        self.left_bytes -= count
        return count


@contextlib.contextmanager
def get(
    address: str, start: int, end: int, *, seconds: float, pending: Pending
) -> Iterator[Answer]:
    """Request the bytes `[start, end)`, or as many of them as the object has.

    The connection may be silent for `seconds`. These functions raise `ERRORS`.
    """
    span = {"Range": f"bytes={start}-{end - 1}"}
    with _request("GET", address, span, seconds=seconds, pending=pending) as answer:
        last = start + answer.left_bytes - 1
        in_full = last + 1 in (end, answer.version.size_bytes)
        if answer.status != 206 or not in_full or answer.range != f"bytes {start}-{last}":
            kind = http.client.HTTPException if answer.status in _MAY_PASS else UnfitError
            raise kind(f"HTTP {answer.status} for a range")
        yield answer


def head(address: str, *, seconds: float) -> Version:
    """Return ETag and size of an object."""
    with _request("HEAD", address, {}, seconds=seconds, pending=Pending()) as answer:
        found = answer.version
        if answer.status != http.HTTPStatus.OK or None in found:
            raise http.client.HTTPException(f"HTTP {answer.status}, or no ETag, or no length")
        return found


@contextlib.contextmanager
def _request(
    method: str, address: str, headers: dict[str, str], *, seconds: float, pending: Pending
) -> Iterator[Answer]:
    parts, network = urlsplit(address), read_network()
    proxy = network.proxy_for(address)
    way = _Way(os.getpid(), parts.scheme, parts.netloc, proxy, network.certificates)
    headers = {"Accept-Encoding": "identity", **headers}
    target = f"{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}"
    if proxy is not None and parts.scheme == "http":  # the proxy reads the request itself
        target, headers = address, headers | proxy.headers

    connection = _taken(way) or _connection(way, network)
    connection.timeout = seconds
    over = False
    try:
        with pending.hold(partial(_hang_up, connection)):
            begin = time.monotonic()
            request = partial(connection.request, method, target, headers=headers)
            response = _send(connection, request, pending)
            answer = Answer(connection, response, time.monotonic() - begin)
            yield answer
            over = not answer.left_bytes
            response.close()
    finally:
        if over:
            _kept.append((time.monotonic(), way, connection))
        else:
            connection.close()


def _taken(way: _Way) -> http.client.HTTPConnection | None:
    """Return a kept connection that is to be used again, if there is one; close old ones."""
    for kept in reversed([*_kept]):
        is_old = time.monotonic() - kept[0] > _KEPT_SECONDS
        if is_old or kept[1] == way:
            with contextlib.suppress(ValueError):  # another thread has taken it
                _kept.remove(kept)
                if not is_old:
                    return kept[2]
                kept[2].close()
    return None


@atexit.register
def _close_kept() -> None:
    while _kept:
        _kept.pop()[2].close()


def _connection(way: _Way, network: Network) -> http.client.HTTPConnection:
    proxy = way.proxy
    host, port = (way.host, None) if proxy is None else (proxy.host, proxy.port)
    if way.scheme == "http":
        return http.client.HTTPConnection(host, port)
    connection = http.client.HTTPSConnection(host, port, context=network.tls())
    if proxy is not None:
        connection.set_tunnel(way.host, headers=proxy.headers)
    return connection


def _send(
    connection: http.client.HTTPConnection, request: Callable[[], None], pending: Pending
) -> http.client.HTTPResponse:
    """Send a request; once more if the server had closed a kept connection."""
    if connection.sock is not None:
        connection.sock.settimeout(connection.timeout)
        with contextlib.suppress(ConnectionError, http.client.BadStatusLine):
            request()
            return connection.getresponse()
        connection.close()
    pending.check()  # it may be that which has closed it
    connection.connect()
    pending.check()  # only from here on it can be hung up
    request()
    return connection.getresponse()


def _hang_up(connection: http.client.HTTPConnection) -> None:
    with contextlib.suppress(OSError, AttributeError):  # it may end by itself just now
        connection.sock.shutdown(socket.SHUT_RDWR)

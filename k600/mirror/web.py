"""Plain requests to the web, by urllib3: what an object is, and its bytes.

A redirect to another scheme, host or port is followed without the user's headers and cookies, even
from `http://` to `https://` of the same host; the remedy is to name the `https://` address.
"""

from __future__ import annotations

import base64
import contextlib
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from k600.errors import MirrorError, MirrorRangesError, MirrorUnreachableError, OptionError
from k600.errors.text import public_url
from k600.network import CONNECT_SECONDS, WEB_PORTS, Network, Proxy

LEAST_BLOCK_BYTES = 64 << 10
"""Fewer are not worth a request, and not worth keeping where a connection broke."""
_PART_BYTES, _LARGE_BYTES = 256 << 10, 48 << 10
"""(Reads of 64 KiB took 0.15 CPU s/GB more on loopback.)"""
_MOST_REDIRECTS = 10
_USED_OPTIONS = frozenset({"headers", "cookies", "auth", "client_kwargs", "trust_env"})


class Version(NamedTuple):
    """Which object an answer is of, as far as it says so; compared only where both say it."""

    etag: str | None = None
    """Its ETag without quotes, or else its date."""
    size_bytes: int | None = None

    def fits(self, other: Version) -> bool:
        """Return whether both may be the same."""
        return all(a == b for a, b in zip(self, other, strict=True) if None not in (a, b))


class Block(NamedTuple):
    """Bytes of an object, in pieces, and which object that was."""

    pieces: list[bytes]
    version: Version


class Address(NamedTuple):
    """Where an object is; the URL may be signed and the headers secret: not for messages."""

    url: str
    headers: Mapping[str, str]
    network: Network
    """As read once: to read the environment takes as long as the rest of a request."""


class WebError(Exception):
    """An answer that is none, with its status."""

    def __init__(self, status: int, redirected_to: str = "") -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.redirected_to = redirected_to
        """The other scheme, host and port that gave it, if any."""


def user_headers(url: str, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that an address with user and password, and fsspec options, ask for.

    `OptionError` is raised for options that cannot be kept.
    """
    client = options.get("client_kwargs") or {}
    if unknown := sorted((options.keys() | client.keys()) - _USED_OPTIONS):
        raise OptionError(
            f"mirror_options: {unknown[0]!r} is not known for {public_url(url)}. Allowed for a web "
            "server are 'headers', 'cookies' and 'auth' (user and password); proxies and "
            "certificates are those that the environment names"
        )
    headers: dict[str, str] = {}
    parts = urlsplit(url)
    if parts.username is not None:
        headers["Authorization"] = _basic(unquote(parts.username), unquote(parts.password or ""))
    for given in (client, options):
        headers |= given.get("headers") or {}
        if cookies := given.get("cookies"):
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        if auth := given.get("auth"):
            if not isinstance(auth, tuple):
                raise OptionError(
                    "mirror_options: 'auth' is not allowed, expected (user, password)"
                )
            headers["Authorization"] = _basic(*auth[:2])
    return headers


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def head(address: Address, name: str, *, seconds: float) -> Version:
    """Return ETag and size of an object; a server that packs what it sends gives none."""
    for method in ("HEAD", "GET"):  # some servers do not answer a HEAD
        try:
            with _request(method, address, seconds) as answer:
                found, encoding = _version(answer), answer.headers.get("Content-Encoding", "")
        except WebError as error:
            if method == "GET" or error.status in (404, 407):
                raise
            continue
        if found.size_bytes is not None:
            return found
    raise MirrorError(_without_length(name, encoding.replace("identity", "")))


@contextlib.contextmanager
def get(
    address: Address,
    name: str,
    start: int,
    end: int,
    *,
    size_bytes: int | None,
    seconds: float,
    check: Callable[[], object],
) -> Iterator[tuple[Version, Iterator[bytes]]]:
    """Request the bytes `[start, end)`, or as many of them as there are; they come in parts.

    The connection may be silent for `seconds`; `check` is called as they come, and may raise. What
    came before the connection broke is yielded. `name` is for messages.

    Raises:
        MirrorRangesError: The server sends the whole object, of `size_bytes`, instead.
        MirrorUnreachableError: It sends anything else.
    """
    with _request("GET", address, seconds, {"Range": f"bytes={start}-{end - 1}"}) as answer:
        version, length = _version(answer), answer.length_remaining or 0
        said, last = answer.headers.get("Content-Range", "").partition("/")[0], start + length
        right = answer.status == 206 and said == f"bytes {start}-{last - 1}"
        if right and last in (end, version.size_bytes):
            yield version, _parts(answer, check)
            return
        if answer.status == 200 and size_bytes in (None, length):
            raise MirrorRangesError(
                f"mirror: {name} serves no byte ranges (HTTP 200): it can only be read from its "
                "beginning"
            )
        raise MirrorUnreachableError(
            f"mirror: {name} sent {said[:100]!r} (HTTP {answer.status}), asked for bytes "
            f"{start}-{end - 1}"
        )


def stream(address: Address, *, seconds: float) -> Iterator[bytes]:
    """Yield all of an object by one request."""
    with _request("GET", address, seconds) as answer:
        yield from _parts(answer)


def _parts(
    answer: urllib3.BaseHTTPResponse, check: Callable[[], object] = lambda: None
) -> Iterator[bytes]:
    """Yield a body in parts, small ones joined (TLS gives 16 KiB at a time), also before an error.

    Large ones are what was read: to copy them, or to read into memory used again, costs more.
    """
    parts, size = list[bytes](), 0
    try:
        while part := answer.read1(_PART_BYTES):
            check()
            parts.append(part)
            size += len(part)
            if len(part) >= _LARGE_BYTES or size >= _PART_BYTES:
                yield b"".join(parts)  # of one part, that itself
                parts, size = [], 0
    except (OSError, HTTPError):
        yield b"".join(parts)
        raise
    yield b"".join(parts)


@contextlib.contextmanager
def _request(
    method: str, address: Address, seconds: float, span: Mapping[str, str] | None = None
) -> Iterator[urllib3.BaseHTTPResponse]:
    """Send a request, and follow where it is sent on to; `WebError` for a status of no success."""
    needed = {"Accept-Encoding": "identity", **(span or {})}
    url, headers = address.url, {**address.headers, **needed}
    for _ in range(_MOST_REDIRECTS):
        answer = _send(method, url, headers, address.network, seconds)
        try:
            location = answer.get_redirect_location()
            if not location:
                there = origin(url)
                if answer.status >= 300:
                    raise WebError(answer.status, there if there != origin(address.url) else "")
                yield answer
                return
        finally:
            if answer.length_remaining == 0:
                answer.drain_conn()  # keeps the connection for the next request
            else:
                answer.close()
            answer.release_conn()
        there = urljoin(url, location)
        if origin(there) != origin(url):
            headers = needed
        url = there
    raise HTTPError(f"{_MOST_REDIRECTS} redirects, one after another")


def _send(
    method: str, url: str, headers: Mapping[str, str], network: Network, seconds: float
) -> urllib3.BaseHTTPResponse:
    proxy = network.proxy_for(url)
    encrypted = "https" in (urlsplit(url).scheme, proxy and proxy.scheme)
    manager = _manager(os.getpid(), proxy, network.tls() if encrypted else None)
    timeout = urllib3.Timeout(connect=min(CONNECT_SECONDS, seconds), read=seconds)
    options: dict[str, Any] = {"redirect": False, "retries": False, "preload_content": False}
    try:
        return manager.urlopen(
            method, url, headers=headers, timeout=timeout, decode_content=False, **options
        )
    except HTTPError as error:
        if "Tunnel connection failed: 407" in str(error):
            raise WebError(407) from error
        raise


@cache
def _manager(process: int, proxy: Proxy | None, tls: ssl.SSLContext | None) -> urllib3.PoolManager:
    """Return the kept connections of a process: a forked one makes its own."""
    options: dict[str, Any] = {"maxsize": 64, "ssl_context": tls}
    if proxy is None:
        return urllib3.PoolManager(**options)
    options |= {"proxy_headers": proxy.headers, "proxy_ssl_context": tls}
    return urllib3.ProxyManager(str(proxy), **options)


def _version(answer: urllib3.BaseHTTPResponse) -> Version:
    headers = answer.headers
    etag = (headers.get("ETag") or headers.get("Last-Modified") or "").strip('"')
    total = (headers.get("Content-Range") or headers.get("Content-Length", "")).rpartition("/")[2]
    return Version(etag or None, int(total) if total.isdecimal() else None)


def origin(url: str) -> str:
    """Return scheme, host and port of an address."""
    parts = urlsplit(url)
    port = parts.port or WEB_PORTS.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def _without_length(name: str, encoding: str) -> str:
    if not encoding:
        return f"mirror: {name} gives no Content-Length, so nothing can be checked"
    return (
        f"mirror: {name} is sent with Content-Encoding: {encoding} and without a length: the "
        "server packs it anew for each answer, so nothing can be checked, and nothing goes on "
        "where it broke. Have it send files as they are stored"
    )

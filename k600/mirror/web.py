"""Plain requests to the web, by urllib3: what an object is, and its bytes.

A redirect to another scheme, host or port is followed without the user's headers and cookies, even
from `http://` to `https://` of the same host; the remedy is to name the `https://` address.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from k600.errors import MirrorError, OptionError
from k600.errors.text import public_url
from k600.mirror.identity import Version
from k600.network import CONNECT_SECONDS, WEB_PORTS, Network, Proxy, basic_auth

_PART_BYTES, _LARGE_BYTES = 256 << 10, 48 << 10
"""(Reads of 64 KiB took 0.15 CPU s/GB more on loopback.)"""
_MOST_REDIRECTS = 10
_USED_OPTIONS = frozenset({"headers", "cookies", "auth", "client_kwargs", "trust_env"})


class Address(NamedTuple):
    """Where an object is; the URL may be signed and the headers secret: not for messages."""

    url: str
    headers: Mapping[str, str]
    network: Network
    """As read once: to read the environment takes as long as the rest of a request."""
    is_signed: bool = False
    """Whether it is for GET alone, and s3fs may know better."""


class Answer(NamedTuple):
    """Bytes of an object, as they come."""

    version: Version
    parts: Iterator[bytes]
    is_whole: bool = False
    """Whether they are all of the object, and not what was asked for."""


class WebError(Exception):
    """An answer that is none, with its status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def user_headers(url: str, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that an address with user and password, and fsspec options, ask for.

    `OptionError` is raised for options that cannot be kept.
    """
    client, parts = options.get("client_kwargs") or {}, urlsplit(url)
    given = {**client, **options}
    unknown = sorted(given.keys() - _USED_OPTIONS)
    auth = given.get("auth")
    if auth is None and parts.username is not None:
        auth = unquote(parts.username), unquote(parts.password or "")
    if auth is not None and not isinstance(auth, tuple):
        unknown.append("auth")
    if unknown:
        raise OptionError(
            f"mirror_options: {unknown[0]!r} is not known for {public_url(url)}. Allowed for a web "
            "server are 'headers', 'cookies' and 'auth', a pair (user, password); proxies and "
            "certificates are those that the environment names"
        )
    headers = {} if auth is None else {"Authorization": basic_auth(*auth[:2])}
    if cookies := given.get("cookies"):
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return {**headers, **(client.get("headers") or {}), **(options.get("headers") or {})}


def head(address: Address, *, seconds: float) -> Version:
    """Return ETag and size of an object; a server that packs what it sends gives none."""
    for method in ("HEAD", "GET"):  # some servers do not answer a HEAD
        try:
            with _request(method, address, seconds) as answer:
                found, encoding = _version(answer), answer.headers.get("Content-Encoding")
        except WebError as error:
            if method == "GET" or error.status in (404, 407):
                raise
            continue
        if found.size_bytes is not None:
            return found
    raise MirrorError(
        f"mirror: {public_url(address.url)} comes with Content-Encoding: {encoding or 'none'} and "
        "without a length, so nothing can be checked, and nothing goes on where it broke. Have the "
        "server send files as they are stored, with a Content-Length"
    )


@contextlib.contextmanager
def get(
    address: Address,
    start: int,
    end: int,
    size_bytes: int | None,
    *,
    seconds: float,
    check: Callable[[], object],
) -> Iterator[Answer]:
    """Request the bytes `[start, end)`, or as many of them as there are; they come in parts.

    A server without ranges may send the whole object, of `size_bytes`. The connection may be silent
    for `seconds`; `check` is called as bytes come, and may raise. What came before the connection
    broke is yielded.
    """
    with _request("GET", address, seconds, {"Range": f"bytes={start}-{end - 1}"}) as answer:
        version, length = _version(answer), answer.length_remaining or 0
        said, last = answer.headers.get("Content-Range", "").partition("/")[0], start + length
        right = answer.status == 206 and said == f"bytes {start}-{last - 1}"
        is_whole = answer.status == 200 and size_bytes in (None, length)
        if not is_whole and not (right and last in (end, version.size_bytes)):
            raise WebError(f"it sent {said[:100]!r} for bytes {start}-{end - 1}", answer.status)
        yield Answer(version, _parts(answer, check), is_whole)


def _parts(answer: urllib3.BaseHTTPResponse, check: Callable[[], object]) -> Iterator[bytes]:
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
                whole, parts, size = b"".join(parts), [], 0  # of one part, that itself
                yield whole
    finally:
        if parts:
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
                if answer.status >= 300:
                    raise WebError(_refusal(answer.status, address.url, url), answer.status)
                yield answer
                return
        finally:
            if answer.length_remaining == 0:
                answer.drain_conn()  # keeps the connection for the next request
            else:
                answer.close()
            answer.release_conn()
        there = urljoin(url, location)
        if _origin(there) != _origin(url):
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
            raise WebError("HTTP 407", 407) from error
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


def _refusal(status: int, asked: str, answered: str) -> str:
    """Return the words for a status, perhaps of another host, without the user's headers."""
    if _origin(asked) == _origin(answered):
        return f"HTTP {status}"
    return (
        f"HTTP {status}; it redirects to {_origin(answered)}, which gets none of your headers and "
        "cookies, as they are for the host you named"
    )


def _origin(url: str) -> str:
    """Return scheme, host and port of an address."""
    parts = urlsplit(url)
    port = parts.port or WEB_PORTS.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"

"""Options of fsspec's file systems: proxies and certificates, limits of time, safe redirects.

A redirect to another scheme, host or port is followed without the user's headers and cookies, even
from `http://` to `https://` of the same host; the remedy is to name the `https://` address.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit

import fsspec

from k600.mirror.identity import is_public_bucket, s3_endpoint
from k600.network import CONNECT_SECONDS, READ_SECONDS, WEB_PORTS, Network, read_network

_AMAZON = "https://s3.amazonaws.com"
_SAFE = "/:%!$&'()*+,;=@~-._[]"  # not percent-encoded in a web address
_SIGNED_OPTIONS = frozenset(
    {"anon", "key", "secret", "token", "profile", "endpoint_url", "username", "password", "use_ssl"}
)


def protocol_of(url: str) -> str:
    """Return the protocol of an fsspec URL; of a chain, the first."""
    return str(fsspec.utils.get_protocol(url)).partition("::")[0]


def file_system_options(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a user's fsspec options, completed by the environment's proxies and certificates.

    If these cannot be used, `OptionError` is raised.
    """
    protocol = protocol_of(url)
    if protocol in ("http", "https"):
        return _web_options(url, options)
    if protocol in ("s3", "s3a"):
        return _s3_options(url, options)
    return dict(options)


def mirror_options(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same for a mirror, with limits of time, and anonymous for the public bucket."""
    merged = dict(options)
    if protocol_of(url) in ("s3", "s3a"):
        limits: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
        limits |= {"retries": {"total_max_attempts": 1}, "max_pool_connections": 64}
        if is_public_bucket(url, options):
            merged["anon"] = True
            limits["ignore_configured_endpoint_urls"] = True
        merged["config_kwargs"] = {**limits, **dict(merged.get("config_kwargs") or {})}
    return file_system_options(url, merged)


def web_root(url: str, options: Mapping[str, Any]) -> str | None:
    """Return the web address of a mirror's root that needs no options; None if there is none.

    A bucket that is read anonymously has one, so that nobody's AWS profile counts, and none of
    s3fs is imported.

    Example:
        >>> web_root("s3://kinetics/600", {})
        'https://kinetics.s3.amazonaws.com/600'
        >>> web_root("s3://kinetics/600", {"anon": True, "endpoint_url": "http://localhost:9"})
        'http://localhost:9/kinetics/600'
    """
    scheme, _, rest = url.rstrip("/").partition("://")
    if "@" in url or "?" in url:
        return None
    if scheme in WEB_PORTS:
        return None if options else quote(f"{scheme}://{rest}", safe=_SAFE)

    anonymous = is_public_bucket(url, options) or options.get("anon")
    if scheme not in ("s3", "s3a") or not anonymous or options.keys() - {"anon", "endpoint_url"}:
        return None
    endpoint = s3_endpoint(url, options)
    if endpoint.startswith(("http://", "https://")) and "amazonaws.com" not in endpoint:
        return f"{endpoint}/{quote(rest)}"
    bucket, _, key = rest.partition("/")
    is_amazon = is_public_bucket(url, options) and not endpoint
    return f"https://{bucket}.s3.amazonaws.com/{quote(key)}" if is_amazon else None


def can_be_signed(url: str, options: Mapping[str, Any]) -> bool:
    """Return whether an address that s3fs signs surely works with these options."""
    return protocol_of(url) in ("s3", "s3a") and _SIGNED_OPTIONS.issuperset(options)


def _web_options(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    import aiohttp

    client = dict(options.get("client_kwargs") or {})
    limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
    client = {"timeout": limits, **client}
    own_proxy = "proxy" in options or bool({"proxy", "trust_env"} & client.keys())
    make = _WebClient(_origin(url), read_network(), not own_proxy, options.get("get_client"))
    return {**options, "client_kwargs": client, "get_client": make}


async def web_info(fs: Any, url: str) -> dict[str, Any]:
    """Return `size`, `ETag`, `Last-Modified` and `encoding` of an object of a web server.

    A server that calls stored `.tar.gz` files `Content-Encoding: gzip` gives their true length; one
    that compresses its answers gives none. aiohttp's own errors are raised.
    """
    session, options = await fs.set_session(), {"allow_redirects": True, **fs.kwargs}
    for method in ("HEAD", "GET"):  # some servers do not answer a HEAD
        async with session.request(method, fs.encode_url(url), **options) as answer:
            headers = answer.headers
            if answer.ok and "Content-Length" in headers:
                break
    answer.raise_for_status()
    size = int(headers["Content-Length"]) if "Content-Length" in headers else None
    encoding = headers.get("Content-Encoding", "").replace("identity", "")
    tags = {name: headers.get(name) for name in ("ETag", "Last-Modified")}
    return {"type": "file", "size": size, "encoding": encoding, **tags}


@dataclass(frozen=True, slots=True)
class _WebClient:
    """Makes aiohttp's sessions for one host. (fsspec keeps one file system for each of these.)"""

    origin: str
    """Scheme, host and port that may get the user's headers and cookies."""
    network: Network
    proxied: bool
    """Whether to use the environment's proxies."""
    make: Callable[..., Awaitable[Any]] | None
    """The user's own `get_client`."""

    async def __call__(self, **options: Any) -> Any:
        import aiohttp

        options["auto_decompress"] = False  # a tarball is read as it is stored
        options["middlewares"] = (*options.pop("middlewares", ()), self._send)
        if self.make is not None:
            return await self.make(**options)
        if "connector" not in options:
            options["connector"] = aiohttp.TCPConnector(ssl=self.network.tls())
        return aiohttp.ClientSession(**options)

    async def _send(self, request: Any, handler: Any) -> Any:
        """Send one request of a chain of redirects."""
        import yarl

        _strip_for_others(request, self.origin)
        request.headers["Accept-Encoding"] = "identity"

        proxy = read_network().proxy_for(str(request.url)) if self.proxied else None
        if proxy is not None:
            request.update_proxy(yarl.URL(str(proxy)), None, proxy.headers)
            if not request.is_ssl():  # the proxy reads the request itself
                request.headers.update(proxy.headers)
        return await handler(request)


def _strip_for_others(request: Any, origin: str) -> None:
    """Remove the user's headers from a request to another origin."""
    from aiohttp.http import SERVER_SOFTWARE

    if _origin(str(request.url)) == origin:
        return
    needed = {"host", "range", "accept-encoding"}
    needed |= {"content-length", "content-type", "transfer-encoding"}  # of what is sent
    for name in {*request.headers}:
        if name.lower() not in needed:
            del request.headers[name]
    request.headers["User-Agent"] = SERVER_SOFTWARE


def _s3_options(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    network = read_network()
    config = dict(options.get("config_kwargs") or {})
    client = dict(options.get("client_kwargs") or {})
    config.setdefault("http_session_cls", _s3_session())
    endpoint = s3_endpoint(url, options) or (_AMAZON if options.get("anon") else "")
    if endpoint and "proxies" not in config:  # else only the AWS profile names the server
        proxy = network.proxy_for(endpoint)
        scheme = urlsplit(endpoint).scheme
        config["proxies"] = {} if proxy is None else {scheme: proxy.secret_url}
    bundle = network.bundle()
    if bundle is not None:
        client.setdefault("verify", bundle)
    return {**options, "config_kwargs": config, "client_kwargs": client}


@cache
def _s3_session() -> type:
    """Return aiobotocore's HTTP session, but with redirects without tokens and encryption keys."""
    from aiobotocore.httpsession import AIOHTTPSession

    class Session(AIOHTTPSession):
        async def _get_session(self, proxy_url: Any) -> Any:
            return _GuardedRequests(await super()._get_session(proxy_url))

    return Session


class _GuardedRequests:
    """The part of an aiohttp session that aiobotocore uses."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def request(self, method: str, *, url: Any, **options: Any) -> Any:
        origin = _origin(str(url))

        async def send(request: Any, handler: Any) -> Any:
            _strip_for_others(request, origin)
            return await handler(request)

        return await self._session.request(method, url=url, middlewares=(send,), **options)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or WEB_PORTS.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"

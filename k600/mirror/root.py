"""Where a mirror is: its address on the web if it has one, else its file system of fsspec."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlsplit

import fsspec
from fsspec.asyn import sync
from fsspec.core import url_to_fs

from k600.errors import MirrorError, MirrorNotFoundError, MirrorUnreachableError
from k600.errors.text import public_url
from k600.mirror.identity import Version, is_public_bucket, mirror_identity, s3_endpoint
from k600.mirror.web import Address, Answer, user_headers
from k600.network import CONNECT_SECONDS, READ_SECONDS, WEB_PORTS, read_network

_AMAZON = "https://s3.amazonaws.com"
_SAFE = "/:%!$&'()*+,;=@~-._[]?"  # not percent-encoded in a web address
_SIGNED_OPTIONS = frozenset(
    {"anon", "key", "secret", "token", "profile", "endpoint_url", "username", "password", "use_ssl"}
)
_SIGNED_SECONDS = 3600
"""How long a signed address is good; after it, or its credentials, s3fs is asked."""
_PART_BYTES = 512 << 10


@dataclass(frozen=True, slots=True)
class Root:
    """Where a mirror is, and how long it is waited for."""

    url: str
    """Such as `s3://kinetics/600` or `https://s3.amazonaws.com/kinetics/600`."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """fsspec storage options (keys, endpoint, ...); never shown in a message."""
    patience_seconds: float = 120.0
    """How long one byte range may keep failing before the mirror counts as unreachable."""
    request_seconds: float = 30.0
    """How long one request may take; a range that does not come in time is halved."""

    def __str__(self) -> str:
        return public_url(self.url)

    @property
    def identity(self) -> str:
        """Canonical address (`k600.mirror.identity`)."""
        return mirror_identity(self.url, self.options)

    @property
    def is_network(self) -> bool:
        """Whether bytes from here cross a network."""
        return protocol_of(self.url) not in ("file", "local", "memory")

    def address(self, path: str) -> Address | None:
        """Return an address for plain requests for the object at `path`; None if there is none.

        As it may be signed, messages must not hold it.
        """
        root = web_root(self.url, self.options)
        if root is not None:
            of_web = protocol_of(self.url) in WEB_PORTS
            headers = user_headers(self.url, self.options) if of_web else {}
            root, mark, query = root.partition("?")  # of a signed address: it is every object's
            return Address(f"{root}/{quote(path)}{mark}{query}", headers, read_network())

        # Only with these options does an address that s3fs signs surely work.
        is_s3 = protocol_of(self.url) in ("s3", "s3a")
        if not is_s3 or not _SIGNED_OPTIONS.issuperset(self.options):
            return None
        fs, full = self._connect(path)
        signed = str(fs.sign(full, expiration=_SIGNED_SECONDS))
        return Address(signed, {}, read_network(), is_signed=True)

    def info(self, path: str) -> Version:
        """Return ETag and size of an object, by fsspec."""
        fresh = {"refresh": True} if self.url.startswith(("s3", "hf")) else {}
        info = self._call("info", path, **fresh)
        if info.get("type") != "file":
            raise MirrorNotFoundError(f"mirror: {self}/{path} is a folder, expected a file")
        if info.get("size") is None:
            raise MirrorError(f"mirror: {self}/{path} has no size, so nothing can be checked")
        etag = info.get("ETag") or info.get("blob_id") or info.get("Last-Modified")  # (hf: a blob)
        if not etag:
            etag = "-".join(str(info.get(k)) for k in ("size", "ino", "mtime"))
        return Version(str(etag).strip('"'), int(info["size"]))

    @contextlib.contextmanager
    def read(self, path: str, start: int, end: int) -> Iterator[Answer]:
        """Read the bytes `[start, end)` by fsspec; over a network they come at once, or not."""
        if not self.is_network:
            fs, full = self._connect(path)
            with fs.open(full, "rb", block_size=0) as file:
                file.seek(start)
                sizes = (min(_PART_BYTES, end - at) for at in range(start, end, _PART_BYTES))
                yield Answer(Version(), map(file.read, sizes))
            return
        data = self._call("cat_file", path, start=start, end=end)
        if len(data) != end - start:
            raise MirrorUnreachableError(
                f"mirror: {self}/{path} sent {len(data):,} bytes for a range of {end - start:,}"
            )
        yield Answer(Version(), iter((data,)))

    def _call(self, method: str, path: str, **options: Any) -> Any:
        """Return what a method of the file system returns for the path, in bounded time."""
        fs, full = self._connect(path)
        if not fs.async_impl:
            return getattr(fs, method)(full, **options)
        call = getattr(fs, f"_{method}")  # fsspec's asynchronous face
        return sync(fs.loop, call, full, timeout=self.request_seconds, **options)

    def _connect(self, path: str) -> tuple[Any, str]:
        """Return this process's file system (fsspec caches it) and an object's path in it."""
        fs, root = url_to_fs(self.url, **mirror_options(self.url, self.options))
        return fs, f"{str(root).rstrip('/')}/{path}"


def web_root(url: str, options: Mapping[str, Any]) -> str | None:
    """Return the web address of a mirror's root that needs no signature; None if there is none.

    A bucket that is read anonymously has one, so that nobody's AWS profile counts, and none of
    s3fs is imported.

    Example:
        >>> web_root("s3://kinetics/600", {})
        'https://kinetics.s3.amazonaws.com/600'
        >>> web_root("s3://kinetics/600", {"anon": True, "endpoint_url": "http://localhost:9"})
        'http://localhost:9/kinetics/600'
    """
    scheme, _, rest = url.rstrip("/").partition("://")
    if scheme in WEB_PORTS:
        host, slash, path = rest.partition("/")
        return quote(f"{scheme}://{host.rpartition('@')[2]}{slash}{path}", safe=_SAFE)

    anonymous = is_public_bucket(url, options) or options.get("anon")
    if scheme not in ("s3", "s3a") or not anonymous or options.keys() - {"anon", "endpoint_url"}:
        return None
    endpoint = s3_endpoint(url, options)
    if endpoint.startswith(("http://", "https://")) and "amazonaws.com" not in endpoint:
        return f"{endpoint}/{quote(rest)}"
    bucket, _, key = rest.partition("/")
    is_amazon = is_public_bucket(url, options) and not endpoint
    return f"https://{bucket}.s3.amazonaws.com/{quote(key)}" if is_amazon else None


def protocol_of(url: str) -> str:
    """Return the protocol of an fsspec URL; of a chain, the first."""
    return str(fsspec.utils.get_protocol(url)).partition("::")[0]


def file_system_options(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a user's fsspec options, completed by the environment's proxies and certificates.

    If these cannot be used, `OptionError` is raised.
    """
    if protocol_of(url) not in ("s3", "s3a"):
        return dict(options)
    network = read_network()
    config = dict(options.get("config_kwargs") or {})
    client = dict(options.get("client_kwargs") or {})
    config.setdefault("http_session_cls", _s3_session())
    endpoint = s3_endpoint(url, options) or (_AMAZON if options.get("anon") else "")
    if endpoint and "proxies" not in config:  # else only the AWS profile names the server
        proxy = network.proxy_for(endpoint)
        scheme = urlsplit(endpoint).scheme
        config["proxies"] = {} if proxy is None else {scheme: proxy.secret_url}
    if bundle := network.bundle():
        client.setdefault("verify", bundle)
    return {**options, "config_kwargs": config, "client_kwargs": client}


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


@cache
def _s3_session() -> type:
    """Return aiobotocore's HTTP session, but one that follows no redirect, as botocore's own.

    aiohttp would take session tokens and encryption keys along to another host.
    """
    from aiobotocore.httpsession import AIOHTTPSession

    class Session(AIOHTTPSession):
        async def _get_session(self, proxy_url: Any) -> Any:
            session = await super()._get_session(proxy_url)
            return SimpleNamespace(request=partial(session.request, allow_redirects=False))

    return Session

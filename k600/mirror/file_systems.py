"""Where a mirror is on the web, and options of fsspec's file systems for what is elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit

import fsspec

from k600.mirror.identity import is_public_bucket, s3_endpoint
from k600.network import CONNECT_SECONDS, READ_SECONDS, WEB_PORTS, read_network

_AMAZON = "https://s3.amazonaws.com"
_SAFE = "/:%!$&'()*+,;=@~-._[]?"  # not percent-encoded in a web address
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


def can_be_signed(url: str, options: Mapping[str, Any]) -> bool:
    """Return whether an address that s3fs signs surely works with these options."""
    return protocol_of(url) in ("s3", "s3a") and _SIGNED_OPTIONS.issuperset(options)


@cache
def _s3_session() -> type:
    """Return aiobotocore's HTTP session, but one that follows no redirect, as botocore's own.

    aiohttp would take session tokens and encryption keys along to another host.
    """
    from aiobotocore.httpsession import AIOHTTPSession

    class Session(AIOHTTPSession):
        async def _get_session(self, proxy_url: Any) -> Any:
            return _Unredirected(await super()._get_session(proxy_url))

    return Session


class _Unredirected:
    """The part of an aiohttp session that aiobotocore uses."""

    def __init__(self, session: Any) -> None:
        self._session = session

    async def request(self, *args: Any, **options: Any) -> Any:
        return await self._session.request(*args, allow_redirects=False, **options)

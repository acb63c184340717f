"""Options of fsspec's file systems, as the environment and time ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import fsspec

from k600.mirror.identity import is_public_bucket, s3_endpoint
from k600.network import CONNECT_SECONDS, READ_SECONDS, read_network

_AMAZON = "https://s3.amazonaws.com"


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

"""Under which circumstances YouTube is asked, as facts that its answers depend on.

They are kept with each answer, and it counts for as long as those that bear on it are the same.
None of them is a secret: an account is named by a digest, and a proxy without its password.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from k600.errors.text import short_hash
from k600.youtube.cookies import read_cookies
from k600.youtube.options import YOUTUBE, YouTubeOptions
from k600.youtube.tools import usable_runtimes, yt_dlp_version

_OF_ADDRESS = ("geo_bypass", "geo_bypass_country", "geo_bypass_ip_block", "source_address")
_OF_CLIENTS = ("extractor_args", "impersonate", "remote_components")


class Circumstances(Mapping[str, str]):
    """The facts of a request at one moment, by name; each is found out when it is asked for.

    version: of yt-dlp
    address: `direct`, or a digest of the proxy and the like, by which YouTube sees a country
    clients: a digest of how YouTube is asked: players, PO tokens, plugins
    account: `guest`, or a digest of the account that is signed in
    runtime: the JavaScript runtimes that yt-dlp can use, `none` without one
    """

    def __init__(self, options: YouTubeOptions, **known: str) -> None:
        """Find out nothing yet; `known` are facts that need not be found out."""
        self._options = options
        self._known = known

    def __getitem__(self, name: str) -> str:
        if name not in self._known:
            self._known[name] = _FACTS[name](self._options)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_FACTS)

    def __len__(self) -> int:
        return len(_FACTS)

    def __str__(self) -> str:
        """Return all but the version, as the ledger keeps them; `read_facts` reads it."""
        return " ".join(f"{name}={value}" for name, value in self.items() if name != "version")


def read_facts(text: str) -> dict[str, str]:
    """Return the facts in a text as the ledger keeps it.

    Example:
        >>> read_facts("address=direct account=guest")
        {'address': 'direct', 'account': 'guest'}
    """
    return dict(part.split("=", 1) for part in text.split() if "=" in part)


def proxy_url(options: YouTubeOptions) -> str:
    """Return the URL of the proxy to YouTube, with its password; empty without one.

    Of the environment, it is the one that yt-dlp takes, which may be a SOCKS proxy.
    """
    if options.proxy is not None:
        return options.proxy
    proxies = getproxies()
    url = proxies.get("https") or proxies.get("all") or ""
    if not url or proxy_bypass(str(urlsplit(YOUTUBE).hostname)):
        return ""
    return url if "://" in url else f"http://{url}"


def _address(options: YouTubeOptions) -> str:
    parts = urlsplit(proxy_url(options))
    host = parts.netloc.rpartition("@")[2].lower()
    # A proxy's user may name the country; its password is kept out.
    facts: list[object] = [parts.scheme, host, parts.username]
    given = options.yt_dlp_options
    facts += [[name, given[name]] for name in _OF_ADDRESS if name in given]
    return short_hash(json.dumps(facts, default=str)) if any(facts) else "direct"


def _clients(options: YouTubeOptions) -> str:
    facts = {name: options.yt_dlp_options.get(name) for name in _OF_CLIENTS}
    return short_hash(json.dumps([facts, _plugins()], default=_plain, sort_keys=True))


def _plain(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, (set, frozenset)) else str(value)


def _plugins() -> list[str]:
    """Return the names of yt-dlp's plugins, such as those that get PO tokens."""
    from yt_dlp.plugins import iter_modules

    return sorted({name for _, name, _ in iter_modules("extractor")})


def _account(options: YouTubeOptions) -> str:
    if options.cookies is None and options.cookies_from_browser is not None:
        return _account_in_browser(options.cookies_from_browser)
    return read_cookies(options.cookies, None).account


@cache
def _account_in_browser(browser: tuple[str | None, ...]) -> str:
    """Return the account in a browser, which may ask its user for leave: so once in a process."""
    return read_cookies(None, browser).account


def _runtime(options: YouTubeOptions) -> str:
    return ",".join(usable_runtimes(options)).replace(" ", "") or "none"


_FACTS: Mapping[str, Callable[[YouTubeOptions], str]] = {
    "version": lambda options: yt_dlp_version(),
    "address": _address,
    "clients": _clients,
    "account": _account,
    "runtime": _runtime,
}
"""How each fact is found out; the first three cost least."""

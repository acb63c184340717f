"""How this process reaches the web, as its environment says: proxies, certificates, offline.

Only here are `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` (in either case),
`SSL_CERT_FILE`, `SSL_CERT_DIR`, `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` and `AWS_CA_BUNDLE` read,
and passed to each library, which alone would know some of them only: fsspec
(`k600.mirror.root`), the Hub's client (`k600.publish.hub`), yt-dlp.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import ipaddress
import os
import ssl
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit
from urllib.request import (  # type: ignore[attr-defined]
    getproxies,
    proxy_bypass,
    proxy_bypass_environment,
)

from k600.errors import OptionError
from k600.errors.text import public_url

WEB_PORTS = {"http": 80, "https": 443}
CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
"""How long a connection may be silent while something is fetched."""

_CERTIFICATES = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
)
OPENSSL_CERTIFICATES = frozenset({"SSL_CERT_FILE", "SSL_CERT_DIR"})
"""The variables that most libraries know by themselves, as OpenSSL does."""

OFFLINE_VARIABLES = ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""The variables that may switch the network off. The first one decides if it is set, even to
nothing; else the first of the others that is not empty."""


def is_offline() -> bool:
    """Return whether the network is off, as `datasets` decides, or would decide when imported."""
    config = sys.modules.get("datasets.config")
    if config is None:
        return offline_variable(os.environ) is not None
    return bool(config.HF_HUB_OFFLINE)  # `HF_DATASETS_OFFLINE` sets it, too


def offline_variable(environ: Mapping[str, str]) -> str | None:
    """Return the variable that switches the network off; None if it is on.

    Example:
        >>> offline_variable({"HF_HUB_OFFLINE": "1"})
        'HF_HUB_OFFLINE'
        >>> offline_variable({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "0"})
    """
    own, *hub = OFFLINE_VARIABLES
    name = own if own in environ else next(filter(environ.get, hub), None)
    is_true = name is not None and environ[name].upper() in ("1", "ON", "YES", "TRUE")
    return name if is_true else None


def basic_auth(user: str, password: str) -> str:
    """Return the value of a header that logs in."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy for HTTP and, by CONNECT, for HTTPS."""

    scheme: str
    """`http`, or `https` for one that is itself reached over TLS."""
    host: str
    port: int
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    """User and password."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """Headers for the proxy alone."""
        if self.credentials is None:
            return {}
        return {"Proxy-Authorization": basic_auth(*self.credentials)}

    @property
    def secret_url(self) -> str:
        """URL with user and password; not for messages."""
        if self.credentials is None:
            return str(self)
        user, password = (quote(part, safe="") for part in self.credentials)
        return str(self).replace("://", f"://{user}:{password}@", 1)


@dataclass(frozen=True, slots=True)
class Network:
    """Proxies and certificates of the environment at one moment."""

    proxies: Mapping[str, str] = field(repr=False)
    """URL by scheme, `all` for every other one; a URL may hold a password."""
    no_proxy: tuple[str, ...] = ()
    """Hosts that need no proxy: names with all below them, `host:port`, addresses and ranges
    of addresses (`10.0.0.0/8`), or `*`."""
    certificates: tuple[tuple[str, str], ...] = ()
    """`(variable, path)` of files and folders of trusted certificates."""

    def proxy_for(self, url: str) -> Proxy | None:
        """Return the proxy for an address, if any; `OptionError` if it cannot be used."""
        parts = urlsplit(url)
        kind = parts.scheme if self.proxies.get(parts.scheme) else "all"
        host, port = (parts.hostname or "").lower(), parts.port or WEB_PORTS.get(parts.scheme, 0)
        if not host or not self.proxies.get(kind):
            return None
        # (What Windows and macOS have set is asked last.)
        if any(_covers(entry, host, port) for entry in self.no_proxy) or proxy_bypass(host):
            return None
        return _parse_proxy(self.proxies[kind], f"{kind.upper()}_PROXY")

    def tls(self) -> ssl.SSLContext:
        """Return a TLS context that trusts the environment's certificates; cached.

        As with OpenSSL, those of `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the system's own; those
        of the other variables are added. `OptionError` is raised if one cannot be read.
        """
        return _tls(self.certificates)

    def bundle(self) -> str | None:
        """Return one file, as botocore needs it, of the environment's certificates, if any."""
        return _bundle(self.certificates) if self.certificates else None


def read_network() -> Network:
    """Read the environment, now."""
    proxies = getproxies()
    no_proxy = proxies.pop("no", "").replace(",", " ").split()
    certificates = [(name, os.environ[name]) for name in _CERTIFICATES if os.environ.get(name)]
    return Network(proxies, tuple(no_proxy), tuple(certificates))


def _parse_proxy(url: str, variable: str) -> Proxy:
    url = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or WEB_PORTS.get(parts.scheme)
    except ValueError:  # no number of a port
        host = port = None
    if not host or not port or parts.scheme not in WEB_PORTS:
        raise OptionError(
            f"{variable}: {public_url(url)!r} is set in the environment and cannot be used here, "
            "expected a proxy such as 'http://host:3128'. Set that, or name the hosts that need "
            "none in NO_PROXY"
        )
    if parts.username is None:
        return Proxy(parts.scheme, host, port)
    credentials = (unquote(parts.username), unquote(parts.password or ""))
    return Proxy(parts.scheme, host, port, credentials)


def _covers(entry: str, host: str, port: int) -> bool:
    """Return whether an entry of NO_PROXY covers a host.

    Example:
        >>> [_covers(".corp", "a.corp", 80), _covers("10.0.0.0/8", "10.1.2.3", 80)]
        [True, True]
        >>> [_covers("corp", "acorp", 80), _covers("a.corp:8080", "a.corp", 80)]
        [False, False]
    """
    with contextlib.suppress(ValueError):  # it, or the host, is no address
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return bool(proxy_bypass_environment(place, {"no": entry.lstrip("*") or "*"}))


@cache
def _tls(certificates: tuple[tuple[str, str], ...]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for each in certificates:
        bundle = _bundle((each,))  # in a folder, OpenSSL only finds files named by their hash
        try:
            context.load_verify_locations(bundle)
        except (OSError, ssl.SSLError) as error:
            raise _unreadable(*each, error) from None
    return context


@cache
def _bundle(certificates: tuple[tuple[str, str], ...]) -> str:
    if len(certificates) == 1 and Path(certificates[0][1]).is_file():
        return certificates[0][1]
    parts = []
    for variable, value in certificates:
        places = value.split(os.pathsep) if variable == "SSL_CERT_DIR" else [value]
        try:
            for place in map(Path, places):
                files = sorted(place.iterdir()) if place.is_dir() else [place]
                parts += [file.read_bytes() for file in files if file.is_file()]
        except OSError as error:
            raise _unreadable(variable, value, error) from None
    with tempfile.NamedTemporaryFile(prefix="k600-", suffix=".pem", delete=False) as file:
        file.write(b"\n".join(parts))
    atexit.register(Path(file.name).unlink, missing_ok=True)
    return file.name


def _unreadable(variable: str, value: str, error: OSError) -> OptionError:
    why = error.strerror or error
    return OptionError(
        f"{variable}: {value!r} is set in the environment and cannot be read ({why}), expected a "
        "file of certificates in PEM form, or a folder of them. Correct or unset it"
    )

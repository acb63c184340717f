"""Which mirror, as one canonical address however it is spelled, and which object of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import fsspec

from k600.errors.text import public_url
from k600.network import WEB_PORTS

PUBLIC_BUCKET = "s3://kinetics"  # CVDF's, read anonymously

_AWS = re.compile(r"(?:(?P<bucket>.+)\.)?s3(?:[.-][a-z0-9-]+)*\.amazonaws\.com")  # of any region
_ALIASES = {"s3a": "s3", "gcs": "gs"}
_PLACES = ("account_name", "host", "port")  # storage options that are a part of the address


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One object of a mirror, as it was at one moment."""

    name: str
    """Path below the mirror's root, such as `val/zumba.tar.gz`."""
    url: str
    """Address for messages, without credentials."""
    size_bytes: int
    etag: str
    """ETag, or on a local disk size, inode and time."""


def is_strong_etag(etag: str) -> bool:
    """Return whether the same ETag and size elsewhere are the same bytes: no date, not weak."""
    return not (etag.startswith("W/") or "GMT" in etag or "None" in etag)


class Version(NamedTuple):
    """Which object an answer is of, as far as it says so; compared only where both say it."""

    etag: str | None = None
    """Its ETag without quotes, or else its date."""
    size_bytes: int | None = None

    def fits(self, other: Version) -> bool:
        """Return whether both may be the same."""
        return all(a == b for a, b in zip(self, other, strict=True) if None not in (a, b))

    def completed_by(self, other: Version) -> Version:
        """Return this one, with what only the other says."""
        etag = other.etag if self.etag is None else self.etag
        size_bytes = other.size_bytes if self.size_bytes is None else self.size_bytes
        return Version(etag, size_bytes)


def mirror_identity(url: str, options: Mapping[str, Any]) -> str:
    """Return the canonical address of a mirror's root, without secrets.

    The usual spellings of one public bucket are one; the same bucket name at another endpoint is
    another mirror. A folder of this machine is its real path.

    Example:
        >>> mirror_identity("https://kinetics.s3.us-east-1.amazonaws.com/600/", {})
        's3://kinetics/600'
        >>> mirror_identity("s3://kinetics/600", {"endpoint_url": "http://localhost:8333"})
        'http://localhost:8333/kinetics/600'
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() in ("file", "local"):
        return os.path.realpath(os.path.expanduser(rest if separator else url))
    if "::" in url:
        return public_url(url)

    scheme = _ALIASES.get(scheme.lower(), scheme.lower())
    if scheme == "s3":
        bucket = public_url(f"s3://{rest}").removeprefix("s3://")
        endpoint = s3_endpoint(f"s3://{bucket}", options)
        return mirror_identity(f"{endpoint}/{bucket}", {}) if endpoint else f"s3://{bucket}"
    if scheme in WEB_PORTS:
        try:
            parts = urlsplit(f"{scheme}://{rest}")
            port = "" if parts.port in (None, WEB_PORTS[scheme]) else f":{parts.port}"
        except ValueError:  # no address at all, as a request to it will report
            return public_url(url)
        host, path = (parts.hostname or "").rstrip("."), unquote(parts.path).strip("/")
        if aws := _AWS.fullmatch(host):
            return f"s3://{'/'.join(filter(None, (aws['bucket'], path)))}"
        return f"{scheme}://{host}{port}/{path}".rstrip("/")

    places = [f"{name}={options[name]}" for name in _PLACES if name in options]
    return "#".join([public_url(f"{scheme}://{rest}"), *places])


def is_public_bucket(url: str, options: Mapping[str, Any]) -> bool:
    """Return whether this is CVDF's own bucket, and the options hold no credentials for it."""
    known = {"anon", "key", "secret", "token", "profile", "session"} & options.keys()
    return f"{url}/".startswith(f"{PUBLIC_BUCKET}/") and bool(options.get("anon") or not known)


def s3_endpoint(url: str, options: Mapping[str, Any]) -> str:
    """Return the server that s3fs uses, empty for Amazon's own or one that only a profile names.

    For the public bucket, settings of this machine do not count.
    """
    public = is_public_bucket(url, options)
    configured = {} if public else fsspec.config.conf.get("s3", {})
    for given in (options, configured):
        kwargs = given.get("client_kwargs")
        further = kwargs if isinstance(kwargs, Mapping) else {}
        if found := given.get("endpoint_url") or further.get("endpoint_url"):
            return str(found).rstrip("/")
    environment = {} if public else os.environ
    found = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    return (found or "").rstrip("/")

"""How fast tarballs came from a mirror to this machine the last time, noted beside the clips."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping

from k600.mirror.mirror import Mirror
from k600.store.store import Store

_FILE = "link-rates.json"
"""Bytes per second, by machine and mirror."""

_LEAST_BYTES = 100_000_000
"""What has to come before it tells of the link, and not of the first requests."""


def recall_rate(store: Store, mirror: Mirror) -> float | None:
    """Return the bytes per second of the last long reading, None if there was none."""
    return _read(store).get(_key(mirror))


def note_rate(store: Store, mirror: Mirror, *, received_bytes: int, seconds: float) -> None:
    """Note what a reading has shown, if it was long enough to show anything."""
    if received_bytes >= _LEAST_BYTES and seconds > 0:
        rates = {**_read(store), _key(mirror): received_bytes / seconds}
        store.write_own(_FILE, json.dumps(rates).encode())


def _key(mirror: Mirror) -> str:
    digest = hashlib.sha256(mirror.identity.encode()).hexdigest()[:16]
    return f"{platform.node()} {digest}"


def _read(store: Store) -> Mapping[str, float]:
    """Return the rates that are noted; a file that is none of ours holds none."""
    try:
        notes = {
            key: float(rate) for key, rate in json.loads(store.read_own(_FILE) or b"{}").items()
        }
    except (ValueError, TypeError, AttributeError):
        return {}
    return {key: rate for key, rate in notes.items() if 0 < rate < math.inf}

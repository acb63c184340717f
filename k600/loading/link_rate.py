"""How fast tarballs came from a mirror to this machine the last time, noted beside the clips."""

from __future__ import annotations

from k600.errors.text import short_hash
from k600.mirror.mirror import Mirror
from k600.store.notes import MachineNotes
from k600.store.store import Store

_FILE = "link-rates.json"
"""Bytes per second, by mirror."""

_LEAST_BYTES = 100_000_000
"""What has to come before it tells of the link, and not of the first requests."""


def recall_rate(store: Store, mirror: Mirror) -> float | None:
    """Return the bytes per second of the last long reading, None if there was none."""
    return MachineNotes(store, _FILE).recall(short_hash(mirror.identity))


def note_rate(store: Store, mirror: Mirror, *, received_bytes: int, seconds: float) -> None:
    """Note what a reading has shown, if it was long enough to show anything."""
    if received_bytes >= _LEAST_BYTES and seconds > 0:
        rate = received_bytes / seconds
        MachineNotes(store, _FILE).note(short_hash(mirror.identity), rate)

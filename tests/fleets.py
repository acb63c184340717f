"""What the tests of the fleet share: to look at what a run left, and to wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import fsspec

from tests.servers import S3Server


def made(folder: Path) -> dict[str, bytes]:
    """Return all that a run left, but the notes on single tarballs: these name their mirror."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "units" not in path.parts
    }


def stored(server: S3Server, place: str) -> dict[str, bytes]:
    """The same of a place in a bucket."""
    fs = fsspec.filesystem("s3", **server.options, use_listings_cache=False)
    return {
        path.removeprefix(f"{place}/"): fs.cat_file(path)
        for path in sorted(fs.find(place))
        if "/units/" not in path
    }


def wait_for(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)

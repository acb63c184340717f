"""What the tests of the fleet share: to look at what a run left, and to wait for it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow.parquet

from tests.servers import S3Server


def made(folder: Path) -> dict[str, bytes]:
    """Return all that a run left, but what is the mirror's own: notes on tarballs, and ETags."""
    return {
        path.relative_to(folder).as_posix(): of_any_mirror(path.name, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "units" not in path.parts
    }


def stored(server: S3Server, place: str) -> dict[str, bytes]:
    """The same of a place in a bucket."""
    fs = fsspec.filesystem("s3", **server.options, use_listings_cache=False)
    return {
        path.removeprefix(f"{place}/"): of_any_mirror(path, fs.cat_file(path))
        for path in sorted(fs.find(place))
        if "/units/" not in path
    }


def of_any_mirror(path: str, data: bytes) -> bytes:
    """Return a file without the tarballs' ETags, and without a digest of them."""
    if path.endswith("manifest.parquet"):
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(data))
        return repr(table.drop_columns(["tarball_etag"]).to_pylist()).encode()
    if path.endswith("done.json"):
        return re.sub(rb' "manifest_sha256": "\w+",\n', b"", data)
    return data


def wait_for(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)

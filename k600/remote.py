"""Bytes from the mirror: what lies there, and a reader that survives broken connections.

A mirror is any fsspec URL with the host's layout below it. Nothing here knows tarballs or
clips: only addresses, sizes, ETags and byte ranges. All transfers go through fsspec's public
`info` and `cat_file`, so `s3://`, `https://` and `file://` share one path.
"""

from __future__ import annotations

import io
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import fsspec
from fsspec.core import url_to_fs

from k600.errors import (
    Kinetics600Error,
    ListError,
    MirrorChangedError,
    MirrorDeniedError,
    MirrorError,
    MirrorNotFoundError,
    MirrorUnreachableError,
    OptionError,
    Stopped,
)

__all__ = ["Mirror", "RangeReader", "RemoteFile", "public_url"]

PUBLIC_BUCKET = "s3://kinetics"
"""The bucket that CVDF keeps open to everyone: read anonymously."""

FIRST_BLOCK_BYTES = 512 << 10
MOST_BLOCK_BYTES = 4 << 20
LEAST_BLOCK_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """What the mirror says of one object at one moment."""

    name: str
    """Path below the mirror's root, such as `val/zumba.tar.gz`."""
    path: str
    """Path as the file system takes it."""
    url: str
    """Address for messages, without credentials."""
    size_bytes: int
    etag: str
    """Identity of the content: the ETag, or on a local disk size, inode and time."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """The root of the host's layout, on any file system that fsspec speaks.

    Picklable, and safe to carry into another process: connections are made where they are
    used.
    """

    url: str
    """Root, such as `s3://kinetics/600` or `https://s3.amazonaws.com/kinetics/600`."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """fsspec storage options (keys, endpoint, ...); never shown in a message."""
    patience_seconds: float = 120.0
    """How long one byte range may keep failing before the mirror counts as unreachable."""

    def __str__(self) -> str:
        return public_url(self.url)

    @property
    def is_network(self) -> bool:
        """Whether bytes from here cross a network."""
        return _protocol(self.url) not in ("file", "local", "memory")

    def stat(self, path: str) -> RemoteFile:
        """Ask the mirror for the size and ETag of the object at `path` below the root.

        Raises:
            MirrorNotFoundError, MirrorDeniedError, MirrorUnreachableError: as they say.
        """
        fs, root = self._connect()
        full, url = f"{root}/{path}", f"{self}/{path}"
        try:
            info = fs.info(full, **({"refresh": True} if _protocol(self.url) == "s3" else {}))
        except Exception as error:
            raise explain(error, url) from error
        if info.get("type") != "file":
            raise MirrorNotFoundError(f"mirror: {url} is a folder, expected a file")
        if info.get("size") is None:
            raise MirrorError(f"mirror: {url} gives no Content-Length, so nothing can be checked")
        etag = info.get("ETag") or info.get("Last-Modified")
        if not etag:
            etag = "-".join(str(info.get(k)) for k in ("size", "ino", "mtime"))
        return RemoteFile(path, full, url, int(info["size"]), str(etag).strip('"'))

    def read_list(self, path: str, *, most_bytes: int = 256 << 20) -> tuple[str, str]:
        """Return `(text, etag)` of a small text object.

        Raises:
            ListError: It is shorter than the mirror announced, too large, or not UTF-8.
            MirrorError: It cannot be had.
        """
        data, etag = self.read_small(path, most_bytes=most_bytes)
        try:
            return data.decode("utf-8"), etag
        except UnicodeDecodeError as error:
            raise ListError(f"mirror: {self}/{path} is not UTF-8 text ({error})") from error

    def read_small(self, path: str, *, most_bytes: int) -> tuple[bytes, str]:
        """Return `(bytes, etag)` of an object that fits in memory; errors as `read_list`."""
        remote = self.stat(path)
        if remote.size_bytes > most_bytes:
            raise ListError(f"mirror: {remote.url} claims {remote.size_bytes:,} bytes")
        fs, _ = self._connect()
        try:
            data = bytes(fs.cat_file(remote.path))
        except Exception as error:
            raise explain(error, remote.url) from error
        if len(data) != remote.size_bytes:
            raise ListError(
                f"mirror: {remote.url} is truncated: {len(data):,} of {remote.size_bytes:,} bytes "
                "came. Call again"
            )
        return data, remote.etag

    def open(
        self,
        remote: RemoteFile,
        *,
        ahead: int = 4,
        stop: threading.Event | None = None,
        on_bytes: Callable[[int], object] | None = None,
    ) -> RangeReader:
        """Open an object for one pass from its first byte to its last.

        Args:
            remote: From `stat`; the content must still have its ETag.
            ahead: Byte ranges requested ahead of the reader, 1 or more.
            stop: Ends every wait and read with `Stopped` once set.
            on_bytes: Called with the number of bytes handed to the reader.
        """
        return RangeReader(self, remote, ahead=ahead, stop=stop, on_bytes=on_bytes)

    def fetch(self, remote: RemoteFile, start: int, end: int) -> bytes:
        """Return the bytes `[start, end)` in one request; its errors are already explained."""
        fs, _ = self._connect()
        try:
            data = bytes(fs.cat_file(remote.path, start=start, end=end))
        except Exception as error:
            raise explain(error, remote.url) from error
        if len(data) != end - start:
            raise MirrorUnreachableError(
                f"mirror: {remote.url} sent {len(data):,} bytes for a range of {end - start:,}"
            )
        return data

    def has_ranges(self, remote: RemoteFile) -> bool:
        """Whether byte ranges are served. Only a web server may not; it is asked for one."""
        if _protocol(self.url) not in ("http", "https") or remote.size_bytes < 2:
            return True
        fs, _ = self._connect()
        try:
            with fs.open(remote.path, "rb", cache_type="none", size=remote.size_bytes) as file:
                file.seek(remote.size_bytes - 1)
                return len(file.read(1)) == 1
        except ValueError:  # fsspec's word for a server that answers a range with everything
            return False
        except Exception as error:
            raise explain(error, remote.url) from error

    def stream(self, remote: RemoteFile) -> Iterator[bytes]:
        """Yield the object in one request, for servers without byte ranges; no resume."""
        fs, _ = self._connect()
        try:
            with fs.open(remote.path, "rb", block_size=0) as file:
                while block := file.read(FIRST_BLOCK_BYTES):
                    yield block
        except Kinetics600Error:
            raise
        except Exception as error:
            raise explain(error, remote.url) from error

    def _connect(self) -> tuple[fsspec.AbstractFileSystem, str]:
        """Return this process's file system (fsspec keeps one each) and the root path in it."""
        try:
            fs, root = url_to_fs(self.url, **_with_defaults(self.url, self.options))
        except Exception as error:
            raise explain(error, str(self)) from error
        return fs, str(root).rstrip("/")


class RangeReader(io.RawIOBase):
    """One pass over an object by ordered byte ranges, a few of them requested ahead.

    A range that fails is asked for again, in halves, from the first byte that is still
    missing, while the object keeps its ETag and the mirror's patience lasts.

    Raises, from any read:
        MirrorChangedError: Another object has taken its place.
        MirrorUnreachableError: A range failed for `patience_seconds` on end.
        Stopped: `stop` was set.
    """

    def __init__(
        self,
        mirror: Mirror,
        remote: RemoteFile,
        *,
        ahead: int,
        stop: threading.Event | None,
        on_bytes: Callable[[int], object] | None,
    ) -> None:
        super().__init__()
        self._mirror, self._remote = mirror, remote
        self._stop = stop or threading.Event()
        self._closing = threading.Event()
        self._on_bytes = on_bytes or (lambda _: None)
        self._block = memoryview(b"")
        self._pool = ThreadPoolExecutor(ahead, thread_name_prefix="k600-range")
        self._ahead = ahead
        self._blocks = self._ranges() if mirror.has_ranges(remote) else self._whole()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        target = memoryview(buffer).cast("B")
        if not self._block:
            if self._stop.is_set():
                raise Stopped("stopped")
            self._block = memoryview(next(self._blocks, b""))
            self._on_bytes(len(self._block))
        count = min(len(target), len(self._block))
        target[:count] = self._block[:count]
        self._block = self._block[count:]
        return count

    def peek(self) -> bytes:
        """Return the unread part of the block in hand, at least one byte unless at the end."""
        if not self._block:
            self._block = memoryview(next(self._blocks, b""))
            self._on_bytes(len(self._block))
        return bytes(self._block[:512])

    def check_unchanged(self) -> None:
        """Raise `MirrorChangedError` if the object is no longer the one that was opened."""
        now = self._mirror.stat(self._remote.name)
        if now.etag != self._remote.etag or now.size_bytes != self._remote.size_bytes:
            raise MirrorChangedError(
                f"mirror: {self._remote.url} was replaced while it was read (ETag "
                f"{self._remote.etag!r}, now {now.etag!r})"
            )

    def close(self) -> None:
        self._closing.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        super().close()

    def _ranges(self) -> Iterator[bytes]:
        pending: deque[Future[bytes]] = deque()
        position, length = 0, FIRST_BLOCK_BYTES
        while pending or position < self._remote.size_bytes:
            while position < self._remote.size_bytes and len(pending) < self._ahead:
                end = min(position + length, self._remote.size_bytes)
                pending.append(self._pool.submit(self._fetch, position, end))
                position, length = end, min(2 * length, MOST_BLOCK_BYTES)
            future = pending.popleft()
            while not wait((future,), timeout=0.5).done:
                if self._stop.is_set():
                    raise Stopped("stopped")
            yield future.result()

    def _whole(self) -> Iterator[bytes]:
        received = 0
        for block in self._mirror.stream(self._remote):
            received += len(block)
            yield block
        if received != self._remote.size_bytes:
            raise MirrorUnreachableError(
                f"mirror: {self._remote.url} ended after {received:,} of "
                f"{self._remote.size_bytes:,} bytes"
            )

    def _fetch(self, start: int, end: int) -> bytes:
        parts: list[bytes] = []
        length, attempt = end - start, 0
        deadline = time.monotonic() + self._mirror.patience_seconds
        while start < end:
            if self._stop.is_set() or self._closing.is_set():
                raise Stopped("stopped")
            try:
                if attempt:
                    self.check_unchanged()
                parts.append(self._mirror.fetch(self._remote, start, min(start + length, end)))
            except (MirrorUnreachableError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise MirrorUnreachableError(
                        f"{error} (given up after {attempt + 1} attempts in "
                        f"{self._mirror.patience_seconds:g} s)"
                    ) from error
                attempt += 1
                length = max(length // 2, LEAST_BLOCK_BYTES)
                self._stop.wait(min(0.1 * 2**attempt, 10) * (0.5 + random.random() / 2))
            else:
                start += len(parts[-1])
                deadline = time.monotonic() + self._mirror.patience_seconds
        return parts[0] if len(parts) == 1 else b"".join(parts)


def explain(error: BaseException, url: str) -> Kinetics600Error:
    """Turn whatever a file system raised into one of this project's errors, by its cause.

    fsspec's HTTP file system says "not found" of everything that went wrong, and keeps the
    real error as its cause: the innermost HTTP status decides.
    """
    if isinstance(error, Kinetics600Error):
        return error
    chain = list(_causes(error))
    status = next((s for e in reversed(chain) if (s := _http_status(e)) is not None), None)
    brief = f"{type(chain[-1]).__name__}: {chain[-1]}"[:300]
    if status == 404 or (status is None and isinstance(chain[-1], FileNotFoundError)):
        return MirrorNotFoundError(
            f"mirror: {url} does not exist. Check the mirror's address: below it, "
            "'val/k600_val_path.txt' and the like are expected"
        )
    no_credentials = type(chain[-1]).__name__.endswith("CredentialsError")  # botocore's
    refused = no_credentials or (status is None and isinstance(error, PermissionError))
    if status in (401, 403) or refused:
        return MirrorDeniedError(
            f"mirror: {url} is refused ({brief}). Pass credentials as mirror_options=…, or check "
            "the address: S3 refuses a missing object, too, where listing is not allowed"
        )
    if isinstance(chain[-1], (ImportError, ValueError, TypeError)):  # no transfer was tried
        return OptionError(
            f"mirror: {url} cannot be opened with these mirror_options ({brief}). Allowed is any "
            "fsspec URL, such as 's3://kinetics/600', 'https://…' or a folder"
        )
    return MirrorUnreachableError(
        f"mirror: {url} cannot be reached ({brief}). Check the network and the mirror's address; "
        "calling again goes on where this stopped"
    )


def public_url(url: str) -> str:
    """Return the URL without user, password and query, as it may be shown to anyone."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}".rstrip("/")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _http_status(error: BaseException) -> int | None:
    status = getattr(error, "status", None)  # aiohttp
    if not isinstance(status, int):
        response = getattr(error, "response", None)  # botocore
        metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
        status = metadata.get("HTTPStatusCode")
    return status if isinstance(status, int) else None


def _protocol(url: str) -> str:
    return fsspec.utils.get_protocol(url) if "::" not in url else url.partition("::")[0]


def _with_defaults(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the user's options: anonymous access to the public bucket, bounded time-outs."""
    merged = dict(options)
    protocol = _protocol(url)
    if protocol in ("s3", "s3a"):
        identity = {"anon", "key", "secret", "token", "profile", "session"}
        public = url == PUBLIC_BUCKET or url.startswith(PUBLIC_BUCKET + "/")
        if public and not identity & set(merged):
            merged["anon"] = True
        bounds = {"connect_timeout": 15, "read_timeout": 60, "retries": {"max_attempts": 2}}
        merged["config_kwargs"] = {**bounds, **dict(merged.get("config_kwargs") or {})}
    elif protocol in ("http", "https") and "client_kwargs" not in merged:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
        merged["client_kwargs"] = {"timeout": timeout}
    return merged

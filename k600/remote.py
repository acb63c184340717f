"""Bytes from the mirror: what lies there, and a reader that survives broken connections.

A mirror is any fsspec URL with the host's layout below it. Nothing here knows tarballs or
clips: only addresses, sizes, ETags and byte ranges. All that is asked goes through fsspec's public
`info` and `cat_file`, so `s3://`, `https://` and `file://` share one path. Where a plain web
address leads to the same object (that of `https://`, or one that s3fs signs), its ranges come from
there (`k600.plain_get`) for a third of the CPU time; what goes wrong there, the file system is
asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

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
from k600.plain_get import PlainGets

__all__ = [
    "AHEAD_BYTES",
    "Mirror",
    "RangeReader",
    "RemoteFile",
    "plain_text",
    "public_url",
]

PUBLIC_BUCKET = "s3://kinetics"
"""The bucket that CVDF keeps open to everyone: read anonymously."""

FIRST_BLOCK_BYTES = 512 << 10
MOST_BLOCK_BYTES = 8 << 20
LEAST_BLOCK_BYTES = 64 << 10

AHEAD_BYTES = 40 << 20
"""Bytes asked for ahead of a reader, at most. Over a link of 40 ms whose connections give 50 MB/s
each, twenty ranges of 2 MiB make 400 MB/s."""
_AHEAD_OF_FSSPEC_BYTES = 16 << 20
"""The same through the file system, which holds each block several times."""
_BLOCKS_AT_FIRST = 2
_MOST_BLOCKS = 20
_SOON_SECONDS, _LATE_SECONDS = 2.0, 6.0
"""How long a block may be on its way for one more, and for no fewer, to be asked for ahead."""

_SAFE = "/:%!$&'()*+,;=@~-._"
"""What stays as it is in a web address; spaces and letters beyond ASCII are percent-encoded."""
_ADDRESS_SECONDS = 300.0
"""How long a signed address serves; what signed it may be good for not much longer."""
_PLAIN_S3_OPTIONS = frozenset(
    {"anon", "key", "secret", "token", "profile", "endpoint_url", "username", "password", "use_ssl"}
)
"""Options of s3fs that say who asks whom. With any other, it asks by itself."""


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
    request_seconds: float = 30.0
    """How long one request may take; a range that does not come in time is halved."""

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
        _, root = self._connect()
        full, url = f"{root}/{path}", f"{self}/{path}"
        fresh = {"refresh": True} if _protocol(self.url) == "s3" else {}
        info = self._ask(url, "info", full, **fresh)
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
        if _protocol(self.url) in ("http", "https"):  # may send more than it has announced
            data = self._thrice(remote.url, lambda: self._bounded(remote))
        else:
            data = bytes(self._ask(remote.url, "cat_file", remote.path))
        if len(data) != remote.size_bytes:
            raise ListError(
                f"mirror: {remote.url} is truncated or another: {len(data):,} bytes came, "
                f"{remote.size_bytes:,} were announced. Call again"
            )
        return data, remote.etag

    def open(
        self,
        remote: RemoteFile,
        *,
        ahead_bytes: int = AHEAD_BYTES,
        most_ahead_bytes: int | None = None,
        stop: threading.Event | None = None,
        on_bytes: Callable[[int], object] | None = None,
    ) -> RangeReader:
        """Open an object for one pass from its first byte to its last.

        Args:
            remote: From `stat`; the content must still have its ETag.
            ahead_bytes: Bytes requested ahead of the reader at most: in two ranges at first, and
                in more and smaller ones while the reader waits for them.
            most_ahead_bytes: What that may grow to, as an eighth of what was read; by default it
                does not.
            stop: Ends every wait and read with `Stopped` once set.
            on_bytes: Called with the number of bytes handed to the reader.
        """
        return RangeReader(
            self,
            remote,
            ahead_bytes=ahead_bytes,
            most_ahead_bytes=most_ahead_bytes,
            stop=stop,
            on_bytes=on_bytes,
        )

    def request(self, remote: RemoteFile, start: int, end: int) -> Future[bytes]:
        """Ask for the bytes `[start, end)`; the answer comes through the future."""
        options: dict[str, Any] = {"start": start, "end": end}
        if _protocol(self.url) in ("http", "https"):  # goes on to aiohttp: looks before it reads
            options["raise_for_status"] = _range_check(remote, start, end)
        return self._send("cat_file", remote.path, **options)

    def received(self, remote: RemoteFile, answer: Future[bytes], length_bytes: int) -> bytes:
        """Return what a finished request brought; its errors are explained."""
        try:
            data = bytes(answer.result(0))
        except (Exception, CancelledError) as error:
            raise explain(error, remote.url) from error
        if len(data) != length_bytes:
            raise MirrorUnreachableError(
                f"mirror: {remote.url} sent {len(data):,} bytes for a range of {length_bytes:,}"
            )
        return data

    def plain_address(self, remote: RemoteFile) -> str | None:
        """Return where a plain GET finds an object, for the next minutes; None if none would.

        It may be signed with the user's key, so it is not for messages.
        """
        protocol = _protocol(self.url)
        address = None
        if protocol in ("http", "https"):
            plain = not self.options and "@" not in self.url and "?" not in self.url
            address = quote(remote.path, safe=_SAFE) if plain else None
        elif protocol in ("s3", "s3a") and _PLAIN_S3_OPTIONS.issuperset(self.options):
            fs, _ = self._connect()
            try:
                address = fs.sign(remote.path, expiration=int(2 * _ADDRESS_SECONDS))
            except Exception as error:
                raise explain(error, remote.url) from error
        if address is None:
            return None
        parts = urlsplit(address)
        proxied = parts.scheme in getproxies() and not proxy_bypass(parts.netloc)
        return None if proxied else address

    def has_ranges(self, remote: RemoteFile) -> bool:
        """Whether byte ranges are served. Only a web server may not; it is asked for one."""
        if _protocol(self.url) not in ("http", "https") or remote.size_bytes < 2:
            return True
        return bool(self._thrice(remote.url, lambda: self._serves_last_byte(remote)))

    def _serves_last_byte(self, remote: RemoteFile) -> bool:
        fs, _ = self._connect()
        try:
            with fs.open(remote.path, "rb", cache_type="none", size=remote.size_bytes) as file:
                file.seek(remote.size_bytes - 1)
                return len(file.read(1)) == 1
        except ValueError:  # fsspec's word for a server that answers a range with everything
            return False

    def stream(self, remote: RemoteFile) -> Generator[bytes, None, None]:
        """Yield the object in one request, for servers without byte ranges; no resume."""
        fs, _ = self._connect()
        try:
            with fs.open(remote.path, "rb", block_size=0, size=remote.size_bytes) as file:
                while block := file.read(FIRST_BLOCK_BYTES):
                    yield block
        except Kinetics600Error:
            raise
        except Exception as error:
            raise explain(error, remote.url) from error

    def _bounded(self, remote: RemoteFile) -> bytes:
        """Return an object of a web server, or a little more than its size of something longer."""
        data = bytearray()
        deadline = time.monotonic() + 20 * self.request_seconds
        with contextlib.closing(self.stream(remote)) as blocks:
            for block in blocks:
                data += block
                if len(data) > remote.size_bytes or time.monotonic() > deadline:
                    break
        return bytes(data)

    def _ask(self, url: str, method: str, *args: Any, **options: Any) -> Any:
        """Send a small request and wait for its answer."""
        return self._thrice(url, lambda: self._send(method, *args, **options).result())

    def _thrice(self, url: str, call: Callable[[], Any]) -> Any:
        """Return what a call brings; it is made three times if the mirror is not reached."""
        for attempt in range(1, 4):
            try:
                return call()
            except Exception as error:
                explained = explain(error, url)
                if attempt == 3 or not isinstance(explained, MirrorUnreachableError):
                    raise explained from error
                time.sleep(0.3 * attempt)
        raise AssertionError("unreachable")

    def _send(self, method: str, *args: Any, **options: Any) -> Future[Any]:
        """Start a call of the file system, bounded in time; an asynchronous one goes on alone."""
        fs, _ = self._connect()
        if fs.async_impl:
            call = getattr(fs, f"_{method}")(*args, **options)  # fsspec's asynchronous face
            return asyncio.run_coroutine_threadsafe(
                asyncio.wait_for(call, self.request_seconds), fs.loop
            )
        done: Future[Any] = Future()
        try:
            done.set_result(getattr(fs, method)(*args, **options))
        except Exception as error:
            done.set_exception(error)
        return done

    def _connect(self) -> tuple[fsspec.AbstractFileSystem, str]:
        """Return this process's file system (fsspec keeps one each) and the root path in it."""
        try:
            fs, root = url_to_fs(self.url, **_with_defaults(self.url, self.options))
        except Exception as error:
            raise explain(error, str(self)) from error
        return fs, str(root).rstrip("/")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A range on its way."""

    start: int
    end: int
    answer: Future[Any]
    plain: PlainGets | None = None
    """Who was asked; None for the file system."""
    at: float = field(default_factory=time.monotonic)


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
        ahead_bytes: int,
        most_ahead_bytes: int | None,
        stop: threading.Event | None,
        on_bytes: Callable[[int], object] | None,
    ) -> None:
        super().__init__()
        self._mirror, self._remote = mirror, remote
        self._stop = stop or threading.Event()
        self._on_bytes = on_bytes or (lambda _: None)
        self._block = memoryview(b"")
        self._ahead_bytes, self._most_ahead_bytes = ahead_bytes, most_ahead_bytes or ahead_bytes
        self._blocks_ahead = _BLOCKS_AT_FIRST
        self._pending: deque[_Asked] = deque()
        self._plain: PlainGets | None = None
        self._plain_until = 0.0
        self._blocks = self._ranges()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        target = memoryview(buffer).cast("B")
        self._fill()
        count = min(len(target), len(self._block))
        target[:count] = self._block[:count]
        self._block = self._block[count:]
        return count

    def peek(self) -> bytes:
        """Return the unread part of the block in hand, at least one byte unless at the end."""
        self._fill()
        return bytes(self._block[:512])

    def _fill(self) -> None:
        """Have an unread block in hand, unless at the end."""
        if not self._block:
            if self._stop.is_set():
                raise Stopped("stopped")
            self._block = memoryview(next(self._blocks, b""))
            self._on_bytes(len(self._block))

    def check_unchanged(self) -> None:
        """Raise `MirrorChangedError` if the object is no longer the one that was opened.

        All of it may have been read by now, so this is asked with as much patience as a range.
        """
        deadline = time.monotonic() + self._mirror.patience_seconds
        for attempt in itertools.count(1):
            try:
                self._compare()
                break
            except MirrorUnreachableError:
                if time.monotonic() > deadline:
                    raise
            if self._stop.wait(min(0.3 * 2**attempt, 10)):
                raise Stopped("stopped")

    def _compare(self) -> None:
        now = self._mirror.stat(self._remote.name)
        if now.etag != self._remote.etag or now.size_bytes != self._remote.size_bytes:
            raise MirrorChangedError(
                f"mirror: {self._remote.url} was replaced while it was read (ETag "
                f"{self._remote.etag!r}, now {now.etag!r})"
            )

    def close(self) -> None:
        self._forget_pending()
        if self._plain is not None:
            self._plain.close()
        super().close()

    def _ranges(self) -> Iterator[bytes | memoryview]:
        self._use_plain()
        if self._plain is None and not self._mirror.has_ranges(self._remote):
            yield from self._whole()
            return
        position, length, size = 0, FIRST_BLOCK_BYTES, self._remote.size_bytes
        while self._pending or position < size:
            while position < size and len(self._pending) < self._blocks_ahead:
                end = min(position + min(length, self._most_block_bytes(position)), size)
                self._pending.append(self._ask(position, end))
                position, length = end, min(2 * length, MOST_BLOCK_BYTES)
            asked = self._pending.popleft()
            error = None
            block: bytes | memoryview = b""
            try:
                block = self._wait(asked)
            except MirrorUnreachableError as caught:
                error = caught
            received = len(block)
            if received:
                yield block
            if asked.plain is not None and isinstance(block, memoryview):
                asked.plain.give_back(block)
            if not asked.start and not received and not self._mirror.has_ranges(self._remote):
                self._forget_pending()
                yield from self._whole()
                return
            if received < asked.end - asked.start:  # the connection broke
                self._blocks_ahead, length = _BLOCKS_AT_FIRST, FIRST_BLOCK_BYTES
                yield self._fetch_again(asked.start + received, asked.end, error)

    def _forget_pending(self) -> None:
        for asked in self._pending:
            asked.answer.cancel()
        self._pending.clear()

    def _most_block_bytes(self, position: int) -> int:
        """Return how large a block may be: what is asked for ahead has to be worth its memory.

        Who may stop at any clip wastes an eighth of what was read at most.
        """
        most = min(max(self._ahead_bytes, position // 8), self._most_ahead_bytes)
        if self._plain is None:
            most = min(most, _AHEAD_OF_FSSPEC_BYTES)
        share = max(most // self._blocks_ahead, LEAST_BLOCK_BYTES)
        return 1 << share.bit_length() - 1  # so that memory of few sizes is used again

    def _adapt(self, waited: bool, seconds: float) -> None:
        """Ask for more ranges at a time where the link is far, for fewer where it is slow."""
        if waited and seconds < _SOON_SECONDS:
            self._blocks_ahead = min(self._blocks_ahead + 1, _MOST_BLOCKS)
        elif seconds > _LATE_SECONDS:
            self._blocks_ahead = max(self._blocks_ahead - 1, _BLOCKS_AT_FIRST)

    def _use_plain(self) -> None:
        """Ask for ranges by plain GETs from now on, if the mirror can be asked so."""
        address = self._mirror.plain_address(self._remote)
        self._plain_until = time.monotonic() + _ADDRESS_SECONDS
        if address is None:
            _keep_memory_of_blocks()
        else:
            self._plain = PlainGets(
                address,
                self._remote.url,
                lines=_MOST_BLOCKS,
                timeout_seconds=self._mirror.request_seconds,
            )

    def _ask(self, start: int, end: int) -> _Asked:
        self._renew_plain()
        if self._plain is not None:
            return _Asked(start, end, self._plain.request(start, end), self._plain)
        return _Asked(start, end, self._mirror.request(self._remote, start, end))

    def _renew_plain(self) -> None:
        """Leave a server that does not answer as it should; have an old address signed anew."""
        plain = self._plain
        if plain is not None and (not plain.fits or time.monotonic() > self._plain_until):
            plain.retire()
            self._plain = None
            if plain.fits:
                self._use_plain()

    def _wait(self, asked: _Asked) -> bytes | memoryview:
        """Return what a range brought; by plain GET it may be a part of it."""
        waited = not asked.answer.done()
        limit = asked.at + self._mirror.request_seconds + 1  # fsspec's own end comes first
        while not wait((asked.answer,), timeout=0.2).done:
            if self._stop.is_set():
                asked.answer.cancel()
                raise Stopped("stopped")
            if time.monotonic() > limit:
                asked.answer.cancel()
                raise MirrorUnreachableError(
                    f"mirror: {self._remote.url} did not send a range of "
                    f"{asked.end - asked.start:,} bytes in {self._mirror.request_seconds:g} s"
                )
        self._adapt(waited, time.monotonic() - asked.at)
        if asked.plain is not None:
            block: memoryview = asked.answer.result()
            return block
        return self._mirror.received(self._remote, asked.answer, asked.end - asked.start)

    def _fetch_again(self, start: int, end: int, error: MirrorUnreachableError | None) -> bytes:
        """Fetch a range that failed from the file system, in ever smaller pieces, after pauses."""
        parts: list[bytes] = []
        length, attempts = end - start, 1
        deadline = time.monotonic() + self._mirror.patience_seconds
        while start < end:
            if time.monotonic() > deadline:
                raise MirrorUnreachableError(
                    f"{error} (given up after {attempts} attempts in "
                    f"{self._mirror.patience_seconds:g} s)"
                ) from error
            if self._stop.wait(min(0.05 * 2**attempts, 10) * (0.5 + random.random() / 2)):
                raise Stopped("stopped")
            attempts += 1
            length = max(length // 2, LEAST_BLOCK_BYTES)
            try:
                self._compare()
                while start < end:
                    stop = min(start + length, end)
                    answer = self._mirror.request(self._remote, start, stop)
                    parts.append(bytes(self._wait(_Asked(start, stop, answer))))
                    start, attempts = stop, 1
                    deadline = time.monotonic() + self._mirror.patience_seconds
            except MirrorUnreachableError as again:
                error = again
        return b"".join(parts)

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


def explain(error: BaseException, url: str) -> Kinetics600Error:
    """Turn whatever a file system raised into one of this project's errors, by its cause.

    fsspec's HTTP file system says "not found" of everything that went wrong, and keeps the
    real error as its cause: the innermost HTTP status decides.
    """
    if isinstance(error, Kinetics600Error):
        return error
    chain = [e for e in _causes(error) if type(e).__name__ != "CancelledError"] or [error]
    status = next((s for e in reversed(chain) if (s := _http_status(e)) is not None), None)
    brief = plain_text(f"{type(chain[-1]).__name__}: {chain[-1]}").rstrip(": ")
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
    untried = isinstance(chain[-1], (ImportError, ValueError, TypeError))
    if untried and not isinstance(chain[-1], OSError):  # a bad certificate is both
        return OptionError(
            f"mirror: {url} cannot be opened with these mirror_options ({brief}). Allowed is any "
            "fsspec URL, such as 's3://kinetics/600', 'https://…' or a folder"
        )
    return MirrorUnreachableError(
        f"mirror: {url} cannot be reached ({brief}). Check the network and the mirror's address; "
        "calling again goes on where this stopped"
    )


def _range_check(remote: RemoteFile, start: int, end: int) -> Callable[[Any], Any]:
    """Return what looks at a response before its body is read: is it the range asked for?"""

    async def check(response: Any) -> None:
        said = response.headers.get("Content-Range", "")
        if response.status == 206 and said and not said.startswith(f"bytes {start}-{end - 1}/"):
            raise MirrorUnreachableError(
                f"mirror: {remote.url} sent {said[:100]!r}, asked for bytes {start}-{end - 1}"
            )
        if response.status == 200 and end - start < remote.size_bytes:
            raise MirrorUnreachableError(
                f"mirror: {remote.url} answered the range {start}-{end - 1} with everything"
            )

    return check


@cache
def _keep_memory_of_blocks() -> None:
    """Let the C allocator keep the memory of one block for the next.

    glibc hands freed memory back above a threshold that follows the largest piece freed so far
    (at most 32 MiB), and then every block costs a page fault for each of its 4 KiB: 0.4 of 1.3
    CPU seconds a GB. One large piece, never touched, lifts the threshold; elsewhere it does
    nothing.
    """
    bytearray(31 << 20)


def public_url(url: str) -> str:
    """Return the URL without user, password and query, as it may be shown to anyone."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}".rstrip("/")


def plain_text(error: object) -> str:
    """Return one line of what an error says, without what may be a secret in it.

    Example:
        >>> plain_text(ValueError("no hf_abcdefgh at https://x.y/z?X-Amz-Signature=1 today"))
        'no hf_… at https://x.y/z?… today'
    """
    text = " ".join(str(error).split())
    text = re.sub(r"\bhf_[A-Za-z0-9]+", "hf_…", text)
    text = re.sub(r"(://)[^/\s@]+@", r"\1…@", text)
    text = re.sub(r"(https?://[^\s?'\"]+\?)[^\s'\")>]+", r"\1…", text)
    return text[:300]


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
        bounds: dict[str, Any] = {"connect_timeout": 10, "read_timeout": 30}
        bounds |= {"retries": {"total_max_attempts": 1}, "max_pool_connections": 64}
        merged["config_kwargs"] = {**bounds, **dict(merged.get("config_kwargs") or {})}
    elif protocol in ("http", "https") and "client_kwargs" not in merged:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)
        merged["client_kwargs"] = {"timeout": timeout}
    return merged

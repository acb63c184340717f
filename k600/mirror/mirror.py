"""The mirror: any fsspec URL with the host's layout below it; its objects, sizes, ETags and bytes.

All requests go through fsspec's public `info` and `cat_file`, so `s3://`, `https://` and `file://`
share one path. (Only the headers of a web server are read here: fsspec hides the size of an object
that has a Content-Encoding.)
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import fsspec
from fsspec.core import url_to_fs

from k600.errors import (
    ListError,
    MirrorChangedError,
    MirrorError,
    MirrorNotFoundError,
    MirrorRangesError,
    MirrorUnreachableError,
)
from k600.mirror.file_systems import mirror_options, protocol_of, web_info
from k600.mirror.identity import mirror_identity
from k600.network import read_network
from k600.retry import Retry
from k600.text import public_url, text_of
from k600.translate import mirror_error, translate_errors

T = TypeVar("T")

_GZIP_MAGIC = b"\x1f\x8b"
_PIECE_BYTES = 512 << 10

_SAFE = "/:%!$&'()*+,;=@~-._"  # not percent-encoded in a web address
ADDRESS_SECONDS = 300.0
"""How long a signed address is used; the credentials may expire not much later."""
_PLAIN_S3_OPTIONS = frozenset(
    {"anon", "key", "secret", "token", "profile", "endpoint_url", "username", "password", "use_ssl"}
)
"""Options of s3fs with which a signed address surely works."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One object of the mirror, as it was at one moment."""

    name: str
    """Path below the mirror's root, such as `val/zumba.tar.gz`."""
    path: str
    """Path in the file system."""
    url: str
    """Address for messages, without credentials."""
    size_bytes: int
    etag: str
    """ETag, or on a local disk size, inode and time."""

    @property
    def has_strong_etag(self) -> bool:
        """Whether an object elsewhere with this ETag and size is the same."""
        return is_strong_etag(self.etag)


def is_strong_etag(etag: str) -> bool:
    """Return whether the same ETag and size elsewhere are the same bytes: no date, not weak."""
    return not (etag.startswith("W/") or "GMT" in etag or "None" in etag)


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirror's root. Picklable: each process makes its own connections."""

    url: str
    """Such as `s3://kinetics/600` or `https://s3.amazonaws.com/kinetics/600`."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """fsspec storage options (keys, endpoint, ...); never shown in a message."""
    patience_seconds: float = 120.0
    """How long one byte range may keep failing before the mirror counts as unreachable."""
    request_seconds: float = 30.0
    """How long one request may take; a range that does not come in time is halved."""

    def __str__(self) -> str:
        return public_url(self.url)

    @property
    def identity(self) -> str:
        """Canonical address (`k600.mirror.identity`)."""
        return mirror_identity(self.url, self.options)

    @property
    def is_network(self) -> bool:
        """Whether bytes from here cross a network."""
        return protocol_of(self.url) not in ("file", "local", "memory")

    @property
    def _is_web(self) -> bool:
        return protocol_of(self.url) in ("http", "https")

    def stat(self, path: str) -> RemoteFile:
        """Return size and ETag of the object at `path` below the root, or raise `MirrorError`."""
        fs, root = self._connect()
        full, url = f"{root}/{path}", f"{self}/{path}"
        if self._is_web:
            info = self._retried(url, lambda: self._start(web_info(fs, full), fs).result())
        else:
            fresh = {"refresh": True} if protocol_of(self.url) in ("s3", "hf") else {}
            info = self._retried(url, lambda: self._send("info", full, **fresh).result())

        if info.get("type") != "file":
            raise MirrorNotFoundError(f"mirror: {url} is a folder, expected a file")
        if info.get("size") is None:
            raise MirrorError(_without_length(url, info.get("encoding", "")))

        etag = info.get("ETag") or info.get("blob_id") or info.get("Last-Modified")  # (hf: a blob)
        if not etag:
            etag = "-".join(str(info.get(k)) for k in ("size", "ino", "mtime"))
        return RemoteFile(path, full, url, int(info["size"]), str(etag).strip('"'))

    def read_list(self, path: str, *, most_bytes: int = 256 << 20) -> str:
        """Return the text of a small object, which may be gzipped.

        It raises as `read_small`; text that is not UTF-8 is a `ListError`, too.
        """
        data = self.read_small(path, most_bytes=most_bytes)
        if data[:2] == _GZIP_MAGIC:  # uploaded with Content-Encoding: gzip
            data = _unpacked(f"{self}/{path}", data, most_bytes)
        try:
            return text_of(data)
        except UnicodeDecodeError as error:
            raise ListError(f"mirror: {self}/{path} is not UTF-8 text ({error})") from error

    def read_small(self, path: str, *, most_bytes: int) -> bytes:
        """Return the bytes of an object that fits in memory, or raise `MirrorError`.

        One that is too large, or has another size than announced, is a `ListError`.
        """
        remote = self.stat(path)
        if remote.size_bytes > most_bytes:
            raise ListError(f"mirror: {remote.url} claims {remote.size_bytes:,} bytes")
        if self._is_web:  # may send more than it has announced
            data = self._retried(remote.url, lambda: self._bounded(remote))
        elif remote.size_bytes:  # as a range: s3fs would request the size of the whole once more
            limits = {"start": 0, "end": remote.size_bytes + 1}  # one more shows that it grew
            request = partial(self._send, "cat_file", remote.path, **limits)
            data = bytes(self._retried(remote.url, lambda: request().result()))
        else:
            data = b""

        if len(data) != remote.size_bytes:
            raise ListError(
                f"mirror: {remote.url} is truncated or another: {len(data):,} bytes came, "
                f"{remote.size_bytes:,} were announced. Call again"
            )
        return data

    def get_range(
        self,
        path: str,
        start: int,
        end: int,
        *,
        etag: str | None = None,
        size_bytes: int | None = None,
    ) -> bytes:
        """Return the bytes `[start, end)` of the object at `path`: one request, retried.

        `etag` and `size_bytes` say which object it has to be. Many threads may ask at once.

        Raises:
            MirrorChangedError: Another object is there now.
            MirrorRangesError: The server sends no ranges: `stream` reads the object.
            MirrorError: It cannot be read, or is shorter.
        """
        if not 0 <= start < end:
            raise ValueError(f"a range from {start} to {end} holds no byte")
        url = f"{self}/{path}"
        data = self._retried(url, lambda: self._range(path, start, end, etag, size_bytes))
        if not self._is_web and not (etag is None and size_bytes is None):
            now = self.stat(path)
            _check_same(url, etag, now.etag, size_bytes, now.size_bytes)
        return data

    def _range(
        self, path: str, start: int, end: int, etag: str | None, size_bytes: int | None
    ) -> bytes:
        _, root = self._connect()
        url = f"{self}/{path}"
        options: dict[str, Any] = {"start": start, "end": end}
        if self._is_web:
            options["raise_for_status"] = _answer_check(url, start, end, etag, size_bytes)
        data = bytes(self._send("cat_file", f"{root}/{path}", **options).result())
        if len(data) != end - start:
            raise MirrorUnreachableError(
                f"mirror: {url} sent {len(data):,} bytes for a range of {end - start:,}"
            )
        return data

    def request(self, remote: RemoteFile, start: int, end: int) -> Future[bytes]:
        """Request the bytes `[start, end)`."""
        options: dict[str, Any] = {"start": start, "end": end}
        if self._is_web:  # goes on to aiohttp, which calls it before it reads the body
            options["raise_for_status"] = _range_check(remote, start, end)
        return self._send("cat_file", remote.path, **options)

    def received(self, remote: RemoteFile, answer: Future[bytes], length_bytes: int) -> bytes:
        """Return the bytes of a finished request, or raise its error as one of ours."""
        with translate_errors(mirror_error, remote.url):
            data = bytes(answer.result(0))
        if len(data) != length_bytes:
            raise MirrorUnreachableError(
                f"mirror: {remote.url} sent {len(data):,} bytes for a range of {length_bytes:,}"
            )
        return data

    def plain_address(self, path: str) -> str | None:
        """Return an address for plain GETs of the object at `path`; None if there is none.

        It works for the next minutes. As it may be signed, messages must not hold it.
        """
        protocol = protocol_of(self.url)
        address = None
        if protocol in ("http", "https"):
            plain = not self.options and "@" not in self.url and "?" not in self.url
            address = quote(f"{self.url.rstrip('/')}/{path}", safe=_SAFE) if plain else None
        elif protocol in ("s3", "s3a") and _PLAIN_S3_OPTIONS.issuperset(self.options):
            fs, root = self._connect()
            with translate_errors(mirror_error, f"{self}/{path}"):
                address = fs.sign(f"{root}/{path}", expiration=int(2 * ADDRESS_SECONDS))
        if address is None:
            return None

        proxy = read_network().proxy_for(address)
        return address if proxy is None or proxy.scheme == "http" else None

    def has_ranges(self, remote: RemoteFile) -> bool:
        """Return whether byte ranges are served, as only a few web servers do not."""
        if not self._is_web or remote.size_bytes < 2:
            return True
        return bool(self._retried(remote.url, lambda: self._serves_last_byte(remote)))

    def _serves_last_byte(self, remote: RemoteFile) -> bool:
        fs, _ = self._connect()
        try:
            with fs.open(remote.path, "rb", cache_type="none", size=remote.size_bytes) as file:
                file.seek(remote.size_bytes - 1)
                return len(file.read(1)) == 1
        except ValueError:  # fsspec's word for a server that answers a range with everything
            return False

    def stream(self, remote: RemoteFile) -> Generator[memoryview, None, None]:
        """Yield the object by one request, in pieces that are valid until the next one."""
        fs, _ = self._connect()
        memory = memoryview(bytearray(_PIECE_BYTES))
        with translate_errors(mirror_error, remote.url):
            with fs.open(remote.path, "rb", block_size=0, size=remote.size_bytes) as file:
                while count := file.readinto(memory):
                    yield memory[:count]

    def _bounded(self, remote: RemoteFile) -> bytes:
        """Return an object of a web server; of a longer answer, not much more than its size."""
        data = bytearray()
        deadline = time.monotonic() + 20 * self.request_seconds
        with contextlib.closing(self.stream(remote)) as blocks:
            for block in blocks:
                data += block
                if len(data) > remote.size_bytes or time.monotonic() > deadline:
                    break
        return bytes(data)

    def _retried(self, url: str, call: Callable[[], T]) -> T:
        """Return the result of a small request, retried if the mirror cannot be reached."""

        def translated() -> T:
            with translate_errors(mirror_error, url):
                return call()

        return Retry(attempts=3).call(translated, MirrorUnreachableError)

    def _send(self, method: str, *args: Any, **options: Any) -> Future[Any]:
        """Call a method of the file system, in the background if it is asynchronous."""
        fs, _ = self._connect()
        if fs.async_impl:  # fsspec's asynchronous face
            return self._start(getattr(fs, f"_{method}")(*args, **options), fs)
        done: Future[Any] = Future()
        try:
            done.set_result(getattr(fs, method)(*args, **options))
        except Exception as error:
            done.set_exception(error)
        return done

    def _start(self, call: Coroutine[Any, Any, Any], fs: fsspec.AbstractFileSystem) -> Future[Any]:
        """Start a call in a file system's own loop, with a timeout."""
        bounded = asyncio.wait_for(call, self.request_seconds)
        return asyncio.run_coroutine_threadsafe(bounded, fs.loop)

    def _connect(self) -> tuple[fsspec.AbstractFileSystem, str]:
        """Return this process's file system (fsspec caches it) and the root path in it."""
        with translate_errors(mirror_error, str(self)):
            fs, root = url_to_fs(self.url, **mirror_options(self.url, self.options))
        return fs, str(root).rstrip("/")


def _answer_check(
    url: str, start: int, end: int, etag: str | None, size_bytes: int | None
) -> Callable[[Any], Any]:
    """Return a check that an answer is the range of the object, before its body is read."""

    async def check(response: Any) -> None:
        if response.status >= 400:
            response.raise_for_status()
        if response.status != 206:
            raise MirrorRangesError(
                f"mirror: {url} serves no byte ranges (HTTP {response.status}): it has to be read "
                "from its beginning"
            )
        headers = response.headers
        sent, _, total = headers.get("Content-Range", "").partition("/")
        known = int(total) if total.isdecimal() else None
        found = (headers.get("ETag") or headers.get("Last-Modified") or "").strip('"')
        _check_same(url, etag, found, size_bytes, size_bytes if known is None else known)
        if known is not None and known < end:
            raise MirrorError(f"mirror: {url} has {known:,} bytes, so none up to {end:,}")
        if sent != f"bytes {start}-{end - 1}":
            raise MirrorUnreachableError(
                f"mirror: {url} sent {sent[:100]!r}, asked for bytes {start}-{end - 1}"
            )

    return check


def _check_same(
    url: str, etag: str | None, found: str, size_bytes: int | None, found_bytes: int | None
) -> None:
    """Raise `MirrorChangedError` unless an object is the one that was meant, as far as is said."""
    if etag not in (None, found) or size_bytes not in (None, found_bytes):
        raise MirrorChangedError(
            f"mirror: {url} was replaced (ETag {etag!r} of {size_bytes} bytes, now {found!r} of "
            f"{found_bytes})"
        )


def _range_check(remote: RemoteFile, start: int, end: int) -> Callable[[Any], Any]:
    """Return a check that a response is the requested range, before its body is read."""

    async def check(response: Any) -> None:
        sent = response.headers.get("Content-Range", "")
        if response.status == 206 and sent and not sent.startswith(f"bytes {start}-{end - 1}/"):
            raise MirrorUnreachableError(
                f"mirror: {remote.url} sent {sent[:100]!r}, asked for bytes {start}-{end - 1}"
            )
        length = end - start  # (some servers send the range, but say 200)
        everything = length < remote.size_bytes and response.content_length != length
        if response.status == 200 and everything:
            raise MirrorUnreachableError(
                f"mirror: {remote.url} answered the range {start}-{end - 1} with everything"
            )

    return check


def _unpacked(name: str, data: bytes, most_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(data, most_bytes)
    except zlib.error as error:
        raise ListError(f"mirror: {name} is a broken gzip ({error})") from None
    if not unpacker.eof:
        raise ListError(f"mirror: {name} is a gzip that is cut off, or too large")
    return text


def _without_length(url: str, encoding: str) -> str:
    if encoding:
        return (
            f"mirror: {url} is sent with Content-Encoding: {encoding} and without a length: the "
            "server packs it anew for each answer, so nothing can be checked, and nothing goes on "
            "where it broke. Have it send files as they are stored"
        )
    return f"mirror: {url} gives no Content-Length, so nothing can be checked"

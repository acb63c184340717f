"""The mirror: any fsspec URL with the host's layout below it; its objects, sizes, ETags and bytes.

`stat` says what is there, `get_range` brings some bytes of it, `open` all in order. Behind them are
plain web requests (`k600.mirror.source`) and fsspec's public `info`, `cat_file` and `open`, so that
`s3://`, `https://` and `file://` share one path. (Only the headers of a web server are read here:
fsspec hides the size of an object that has a Content-Encoding.)
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import fsspec
from fsspec.core import url_to_fs

from k600.errors import (
    ListError,
    MirrorError,
    MirrorNotFoundError,
    MirrorRangesError,
    MirrorUnreachableError,
)
from k600.mirror import direct
from k600.mirror.direct import Pending, Version
from k600.mirror.file_systems import (
    can_be_signed,
    mirror_options,
    protocol_of,
    web_info,
    web_root,
)
from k600.mirror.identity import mirror_identity
from k600.mirror.reader import Reader
from k600.mirror.source import Source
from k600.network import read_network
from k600.retry import Retry
from k600.text import public_url, text_of
from k600.translate import mirror_error, translate_errors

_GZIP_MAGIC = b"\x1f\x8b"
_PIECE_BYTES = 512 << 10
_HASTE_SECONDS = 5.0
"""How long a small object may keep failing: nothing that came before would be lost."""


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

    def stat(self, path: str) -> RemoteFile:
        """Return size and ETag of the object at `path` below the root, or raise `MirrorError`."""
        url, found = f"{self}/{path}", None
        if self._web_root and (address := self.plain_address(path)):
            with contextlib.suppress(*direct.ERRORS):
                found = direct.head(address, seconds=self.request_seconds)
        if found is None:
            found = Retry(attempts=3).call(lambda: self._info(path), MirrorUnreachableError)
        return RemoteFile(path, path, url, found.size_bytes or 0, found.etag or "")

    def get_range(
        self,
        path: str,
        start: int,
        end: int,
        *,
        etag: str | None = None,
        size_bytes: int | None = None,
        pending: Pending | None = None,
    ) -> bytes:
        """Return the bytes `[start, end)` of the object at `path`: one request, retried.

        `etag` and `size_bytes` say which object it has to be. Many threads may ask at once; ending
        `pending` ends all requests that were made with it.

        Raises:
            MirrorChangedError: Another object is there now.
            MirrorRangesError: The server sends no ranges: `open` reads the object.
            MirrorError: It cannot be read, or is shorter.
            Stopped: `pending` was ended.
        """
        if not 0 <= start < end:
            raise ValueError(f"a range from {start} to {end} holds no byte")
        source, expected = Source(self, path, pending=pending), Version(etag, size_bytes)
        data, version = source.read(start, end, expected)
        if any(asked and not told for asked, told in zip(expected, version, strict=True)):
            source.look(expected)
        return bytes(data)

    def open(self, what: RemoteFile | str, **options: Any) -> Reader:
        """Open an object, or what is at a path now, for one pass; `options` are `Reader`'s.

        Where that can be, first bytes are requested along with the size of what is at a path.
        """
        return Reader(self, what, **options)

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
        hasty = replace(self, patience_seconds=min(self.patience_seconds, _HASTE_SECONDS))
        with hasty.open(remote) as reader:
            return reader.read()

    def plain_address(self, path: str, seconds: float = 60) -> str | None:
        """Return an address for plain requests for the object at `path`; None if there is none.

        It works for so many seconds. As it may be signed, messages must not hold it.
        """
        address = None
        if self._web_root:
            address = f"{self._web_root}/{quote(path)}"
        elif can_be_signed(self.url, self.options):
            fs, full = self._connect(path)
            with translate_errors(mirror_error, f"{self}/{path}"):
                address = str(fs.sign(full, expiration=int(seconds)))
        proxy = address and read_network().proxy_for(address)
        return address if not proxy or proxy.scheme == "http" else None

    def read_by_file_system(
        self, path: str, start: int, end: int, size_bytes: int | None, pending: Pending
    ) -> tuple[memoryview, Version]:
        """Return the bytes `[start, end)` of an object by fsspec, and which one it is, if known.

        `MirrorRangesError` is raised for a server that sends all of its `size_bytes` instead.
        """
        url, found = f"{self}/{path}", [Version()]
        options: dict[str, Any] = {"start": start, "end": end}
        if self._is_web:  # goes on to aiohttp, which calls it before it reads the body
            options["raise_for_status"] = _range_check(url, start, end, size_bytes, found)
        with translate_errors(mirror_error, url):
            data = memoryview(self._call("cat_file", path, pending, **options))
        if len(data) != end - start:
            raise MirrorUnreachableError(
                f"mirror: {url} sent {len(data):,} bytes for a range of {end - start:,}"
            )
        return data, found[0]

    def stream(self, path: str, size_bytes: int) -> Generator[memoryview, None, None]:
        """Yield an object by one request, in pieces that are valid until the next one."""
        fs, full = self._connect(path)
        memory = memoryview(bytearray(_PIECE_BYTES))
        with translate_errors(mirror_error, f"{self}/{path}"):
            with fs.open(full, "rb", block_size=0, size=size_bytes) as file:
                while count := file.readinto(memory):
                    yield memory[:count]

    @property
    def _web_root(self) -> str | None:
        return web_root(self.url, self.options)

    @property
    def _is_web(self) -> bool:
        return bool(self._web_root) or protocol_of(self.url) in ("http", "https")

    def _info(self, path: str) -> Version:
        """Return ETag and size by fsspec."""
        url = f"{self}/{path}"
        has_cache = protocol_of(self.url) in ("s3", "hf") and not self._is_web
        fresh = {"refresh": True} if has_cache else {}
        with translate_errors(mirror_error, url):
            info = self._call(web_info if self._is_web else "info", path, Pending(), **fresh)

        if info.get("type") != "file":
            raise MirrorNotFoundError(f"mirror: {url} is a folder, expected a file")
        if info.get("size") is None:
            raise MirrorError(_without_length(url, info.get("encoding", "")))
        etag = info.get("ETag") or info.get("blob_id") or info.get("Last-Modified")  # (hf: a blob)
        if not etag:
            etag = "-".join(str(info.get(k)) for k in ("size", "ino", "mtime"))
        return Version(str(etag).strip('"'), int(info["size"]))

    def _call(
        self, method: str | Callable[..., Any], path: str, pending: Pending, **options: Any
    ) -> Any:
        """Return what a method of the file system returns for a path, in bounded time."""
        fs, full = self._connect(path)
        if not fs.async_impl:
            return getattr(fs, str(method))(full, **options)
        if isinstance(method, str):
            call = getattr(fs, f"_{method}")(full, **options)  # fsspec's asynchronous face
        else:
            call = method(fs, full)
        bounded = asyncio.wait_for(call, self.request_seconds)
        answer = asyncio.run_coroutine_threadsafe(bounded, fs.loop)
        with pending.hold(answer.cancel):
            return answer.result()

    def _connect(self, path: str) -> tuple[fsspec.AbstractFileSystem, str]:
        """Return this process's file system (fsspec caches it) and an object's path in it."""
        url, options = self._web_root or self.url, {} if self._web_root else self.options
        with translate_errors(mirror_error, str(self)):
            fs, root = url_to_fs(url, **mirror_options(url, options))
        return fs, f"{str(root).rstrip('/')}/{quote(path) if self._web_root else path}"


def _range_check(
    url: str, start: int, end: int, size_bytes: int | None, found: list[Version]
) -> Callable[[Any], Coroutine[Any, Any, None]]:
    """Return a check that an answer is a range, before its body is read; it notes whose."""

    async def check(response: Any) -> None:
        if response.status >= 400:
            response.raise_for_status()
        headers, length = response.headers, response.content_length
        sent, _, total = headers.get("Content-Range", "").partition("/")
        etag = headers.get("ETag") or headers.get("Last-Modified") or ""
        found[0] = Version(etag.strip('"') or None, int(total) if total.isdecimal() else size_bytes)
        # (Some servers send a range, but say 200.)
        unsaid = response.status != 206 and size_bytes is not None and length == end - start
        if unsaid or (response.status == 206 and sent == f"bytes {start}-{end - 1}"):
            return
        if response.status != 206 and size_bytes in (None, length):
            raise MirrorRangesError(
                f"mirror: {url} serves no byte ranges (HTTP {response.status}): it can only be "
                "read from its beginning"
            )
        raise MirrorUnreachableError(
            f"mirror: {url} sent {sent[:100]!r} (HTTP {response.status}), asked for bytes "
            f"{start}-{end - 1}"
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
    if not encoding:
        return f"mirror: {url} gives no Content-Length, so nothing can be checked"
    return (
        f"mirror: {url} is sent with Content-Encoding: {encoding} and without a length: the server "
        "packs it anew for each answer, so nothing can be checked, and nothing goes on where it "
        "broke. Have it send files as they are stored"
    )

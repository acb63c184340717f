"""The mirror: any fsspec URL with the host's layout below it; its objects, sizes, ETags and bytes.

`head` says what is there, `get_range` brings some bytes of it, `open` all in order. Behind them
(`k600.mirror.source`) are plain web requests and fsspec's public `info`, `cat_file` and `open`.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import fsspec
from fsspec.core import url_to_fs

from k600.errors import ListError, MirrorUnreachableError
from k600.errors.retry import Retry
from k600.errors.text import public_url, text_of
from k600.errors.translate import mirror_error, translate_errors
from k600.mirror.file_systems import can_be_signed, mirror_options, protocol_of, web_root
from k600.mirror.identity import mirror_identity
from k600.mirror.reader import Reader
from k600.mirror.source import Source
from k600.mirror.web import Address, Version, user_headers
from k600.network import WEB_PORTS, read_network

_GZIP_MAGIC = b"\x1f\x8b"
_HASTE_SECONDS = 5.0
"""How long a small object may keep failing: nothing that came before would be lost."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One object of the mirror, as it was at one moment."""

    name: str
    """Path below the mirror's root, such as `val/zumba.tar.gz`."""
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

    def head(self, path: str) -> RemoteFile:
        """Return size and ETag of the object at `path` below the root, or raise `MirrorError`."""
        head = Source(self, path).head
        return self.remote(path, Retry(attempts=3).call(head, MirrorUnreachableError))

    def get_range(
        self,
        path: str,
        start: int,
        end: int,
        *,
        etag: str | None = None,
        size_bytes: int | None = None,
        stop: threading.Event | None = None,
    ) -> bytes:
        """Return the bytes `[start, end)` of the object at `path`: one request, retried.

        `etag` and `size_bytes` say which object it has to be. Many threads may ask at once,
        until `stop` is set.

        Raises:
            MirrorChangedError: Another object is there now.
            MirrorRangesError: The server sends no ranges: `open` reads the object.
            Stopped: `stop` was set.
            MirrorError: It cannot be read, or is shorter.
        """
        if not 0 <= start < end:
            raise ValueError(f"a range from {start} to {end} holds no byte")
        source, expected = Source(self, path, stop), Version(etag, size_bytes)
        pieces, version = source.result(source.begin(start, end, expected))
        data = b"".join(pieces)
        unsaid = any(asked and not told for asked, told in zip(expected, version, strict=True))
        if unsaid or len(data) < end - start:
            source.look(expected, end)
        return data

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
        remote = self.head(path)
        if remote.size_bytes > most_bytes:
            raise ListError(f"mirror: {remote.url} claims {remote.size_bytes:,} bytes")
        hasty = replace(self, patience_seconds=min(self.patience_seconds, _HASTE_SECONDS))
        with hasty.open(remote) as reader:
            return reader.read()

    @property
    def is_web(self) -> bool:
        """Whether all is asked by plain requests, and nothing of fsspec."""
        return web_root(self.url, self.options) is not None

    def remote(self, path: str, version: Version) -> RemoteFile:
        """Return an object of which ETag and size are known."""
        return RemoteFile(path, f"{self}/{path}", version.size_bytes or 0, version.etag or "")

    def address(self, path: str, seconds: float = 60) -> Address | None:
        """Return an address for plain requests for the object at `path`; None if there is none.

        It works for so many seconds. As it may be signed, messages must not hold it.
        """
        root = web_root(self.url, self.options)
        if root is not None:
            of_web = protocol_of(self.url) in WEB_PORTS
            headers = user_headers(self.url, self.options) if of_web else {}
            return Address(f"{root}/{quote(path)}", headers, read_network())
        if not can_be_signed(self.url, self.options):
            return None
        fs, full = self.connect(path)
        with translate_errors(mirror_error, f"{self}/{path}"):
            return Address(str(fs.sign(full, expiration=int(seconds))), {}, read_network())

    def connect(self, path: str) -> tuple[fsspec.AbstractFileSystem, str]:
        """Return this process's file system (fsspec caches it) and an object's path in it."""
        with translate_errors(mirror_error, str(self)):
            fs, root = url_to_fs(self.url, **mirror_options(self.url, self.options))
        return fs, f"{str(root).rstrip('/')}/{path}"


def _unpacked(name: str, data: bytes, most_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(data, most_bytes)
    except zlib.error as error:
        raise ListError(f"mirror: {name} is a broken gzip ({error})") from None
    if not unpacker.eof:
        raise ListError(f"mirror: {name} is a gzip that is cut off, or too large")
    return text

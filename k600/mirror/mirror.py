"""The mirror: any fsspec URL with the host's layout below it; its objects, sizes, ETags and bytes.

`head` says what is there, `get_range` brings some bytes of it, `open` all in order. Behind them
(`k600.mirror.source`) are plain web requests (`web`) and fsspec (`files`).
"""

from __future__ import annotations

import gzip
import io
import threading
import zlib
from dataclasses import dataclass, replace
from typing import Any

from k600.errors import ListError, MirrorError
from k600.errors.text import text_of
from k600.mirror.identity import RemoteFile, Version
from k600.mirror.reader import Reader
from k600.mirror.root import Root
from k600.mirror.source import Source

_GZIP_MAGIC = b"\x1f\x8b"
_HASTE_SECONDS = 5.0
"""How long a small object may keep failing: nothing that came before would be lost."""


@dataclass(frozen=True, slots=True)
class Mirror(Root):
    """A mirror. Picklable: each process makes its own connections."""

    def head(self, path: str) -> RemoteFile:
        """Return size and ETag of the object at `path` below the root, or raise `MirrorError`."""
        return Source(self, path).head()

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
        source = Source(self, path, Version(etag, size_bytes), stop)
        data = b"".join(source.result(source.begin(start, end)))
        if not source.proved:
            source.head()
        if len(data) < end - start:
            size = source.version.size_bytes
            raise MirrorError(f"mirror: {self}/{path} has {size:,} bytes, not {end:,}")
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
        try:
            if data[:2] == _GZIP_MAGIC:  # uploaded with Content-Encoding: gzip
                data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(most_bytes + 1)
                if len(data) > most_bytes:
                    raise ListError(f"mirror: {self}/{path} is a gzip that is too large")
            return text_of(data)
        except UnicodeDecodeError as error:
            raise ListError(f"mirror: {self}/{path} is not UTF-8 text ({error})") from error
        except (OSError, EOFError, zlib.error) as error:
            raise ListError(f"mirror: {self}/{path} is a broken gzip ({error})") from error

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

"""Serve a page of clips to a browser, here or through ssh: the page and its clips alone."""

from __future__ import annotations

import contextlib
import getpass
import re
import secrets
import socket
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any

from k600.errors import OptionError
from k600.gallery.page import make_page
from k600.values import whole_number

LOOPBACK = "127.0.0.1"


class PageServer(ThreadingHTTPServer):
    """Serves one page, below an address that cannot be guessed; `serve_forever` does the work.

    Others on the machine reach its loopback, too, and pages of the web may try to: so the address
    is a secret, as a notebook's is.
    """

    daemon_threads = True

    def __init__(
        self,
        rows: Iterable[Mapping[str, Any]],
        *,
        title: str = "Kinetics-600",
        most: int = 2000,
        host: str = LOOPBACK,
        port: int = 8600,
    ) -> None:
        """Make the page and listen.

        Args:
            rows: As of `write_gallery`, and so are title and limit. Their clips are not put into
                the page, but read from their files as they are played.
            title: Title of the page.
            most: Most clips to show.
            host: The address to listen at; others than this machine reach all but loopback.
            port: 0 for any that is free.

        Raises:
            OptionError: Nothing can listen there.
        """
        port = whole_number("port", port, least=0, most=65_535)
        self.files: dict[str, Path] = {}
        """The files of its clips, by their addresses below the page's."""

        def place_of(number: int, file: str) -> tuple[str, str]:
            address = f"clips/{number}.mp4"
            self.files[address] = Path(file)
            return file, address

        self.html = make_page(rows, title=title, embed_bytes=0, most=most, place_of=place_of)
        self.secret = secrets.token_urlsafe(12)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise OptionError(
                f"port: {port} of {host} cannot be listened at ({error.strerror}); pass another, "
                "or 0 for any that is free"
            ) from None

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name, which may take long."""
        TCPServer.server_bind(self)

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = str(self.server_address[0]), self.server_address[1]
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{port}/{self.secret}/"

    @property
    def ssh(self) -> str:
        """The command that brings the page's address to another machine."""
        port, user = self.server_address[1], "USER"
        with contextlib.suppress(KeyError, OSError, ImportError):
            user = getpass.getuser()
        return f"ssh -L {port}:{LOOPBACK}:{port} {user}@{socket.gethostname()}"


class _Handler(BaseHTTPRequestHandler):
    """Answers for the page's address and those of its clips, with ranges, so that one can seek."""

    server: PageServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        prefix, files = f"/{self.server.secret}/", self.server.files
        path = self.path.partition("?")[0]
        address = path.removeprefix(prefix)
        if path == prefix:
            self._answer(self.server.html, "text/html; charset=utf-8")
        elif path.startswith(prefix) and address in files:
            self._answer_clip(files[address])
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET  # noqa: N815

    def _answer_clip(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        begin, end = _range(self.headers.get("Range", ""), len(data))
        of = "" if end - begin == len(data) else f"bytes {begin}-{end - 1}/{len(data)}"
        self._answer(data[begin:end], "video/mp4", content_range=of)

    def _answer(self, data: bytes, kind: str, *, content_range: str = "") -> None:
        self.send_response(HTTPStatus.PARTIAL_CONTENT if content_range else HTTPStatus.OK)
        if content_range:
            self.send_header("Content-Range", content_range)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):  # a browser leaves a clip as it likes
                self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Keep quiet: the terminal shows where the page is."""


def _range(header: str, size: int) -> tuple[int, int]:
    """Return where the bytes that a request wants begin and end; of what is odd, all of them.

    Example:
        >>> _range("bytes=2-4", 10), _range("bytes=-3", 10), _range("bytes=7-", 10)
        ((2, 5), (7, 10), (7, 10))
    """
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header)
    if found is None or not any(found.groups()):
        return 0, size
    first, last = found.groups()
    begin = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    return (begin, end) if begin < end else (0, size)

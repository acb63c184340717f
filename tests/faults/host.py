"""A host of tarballs that misbehaves as it is told: over HTTP, and as S3 for s3fs."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import re
import socket
import ssl
import struct
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import serving


@dataclass
class Answer:
    """What the server is about to say; a fault changes it."""

    method: str
    path: str
    """The path asked for, without its query."""
    wanted: tuple[int, int] | None
    """The byte range `[start, end)` asked for; None for all."""
    whole: bytes
    """The object's bytes."""
    status: int
    headers: dict[str, str]
    body: bytes
    sends: int | None = None
    """How many bytes of the body are sent before the connection ends; None for all."""
    resets: bool = False
    """Whether it ends by RST and not by FIN."""
    waits: threading.Event | None = None
    """What is waited for before the rest of the body is sent."""
    piece_bytes: int = 0
    """Size of the pieces that the body comes in, each a packet; 0 for all at once."""

    @property
    def is_clips(self) -> bool:
        """Whether bytes of a tarball are asked for."""
        return (
            self.method == "GET"
            and self.path.endswith(".tar.gz")
            and self.status in (200, 206)
            and len(self.body) > 1  # a single byte is a question: do you serve ranges?
        )

    def say(self, status: int, body: bytes, **headers: str) -> None:
        """Answer something else."""
        self.status, self.body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.headers["Content-Length"] = str(len(body))


Fault = Callable[[Answer], None]


@dataclass
class Host:
    """A running server, and what it did."""

    url: str
    fault: Fault | None = None
    """Changes answers; None for an honest server."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """`(method, path)` of every request so far."""
    sent_bytes: int = 0
    """Bytes of tarballs sent so far."""
    struck: int = 0
    """Answers that the fault changed."""
    over: threading.Event = field(default_factory=threading.Event)
    """Set at the end: ends all stalls."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def mirror_of(self, protocol: str) -> dict[str, Any]:
        """Return the options of `load_dataset` that lead here."""
        if protocol == "http":
            return {"mirror": f"{self.url}/600"}
        return {"mirror": "s3://kinetics/600", "mirror_options": {"endpoint_url": self.url}}


@contextlib.contextmanager
def faulty_host(folder: Path, tls: ssl.SSLContext | None = None) -> Iterator[Host]:
    """Serve a folder that holds `600/`, also as the bucket `kinetics`, until the block ends."""

    class Handler(_Handler):
        root = folder

    with serving(Handler, tls) as url:
        Handler.host = host = Host(url)
        try:
            yield host
        finally:
            host.over.set()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    root: Path
    host: Host

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        file = self.root / path.removeprefix("/kinetics").lstrip("/")
        host = self.host
        with host.lock:
            host.requests.append((self.command, path))
        there = file.is_file()
        whole = file.read_bytes() if there else b""
        answer = Answer(self.command, path, None, whole, 200 if there else 404, {}, whole)
        if there:
            answer.headers["ETag"] = f'"{file.stat().st_mtime_ns:x}-{len(whole):x}"'
            if found := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
                start, end = int(found[1]), int(found[2]) + 1
                answer.wanted, answer.status = (start, end), 206
                answer.body = whole[start:end]
                end = start + len(answer.body)
                answer.headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(whole)}"
        answer.headers["Content-Length"] = str(len(answer.body))
        honest = dataclasses.replace(answer, headers=dict(answer.headers))
        if host.fault is not None:
            with host.lock:
                host.fault(answer)
                host.struck += answer != honest
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if answer.method == "HEAD":
            return
        body = answer.body if answer.sends is None else answer.body[: answer.sends]
        if answer.waits is not None:
            self.wfile.flush()
            answer.waits.wait()
        path_is_tarball = answer.path.endswith(".tar.gz")
        step = answer.piece_bytes or len(body) or 1
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            if path_is_tarball:
                with self.host.lock:
                    self.host.sent_bytes += len(body[start : start + step])
        if answer.sends is not None or answer.resets:
            self.close_connection = True
            if answer.resets:
                reset(self.connection)


def reset(connection: socket.socket) -> None:
    """End a connection with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()

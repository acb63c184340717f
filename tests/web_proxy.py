"""A forward proxy on loopback: whole addresses for HTTP, CONNECT for HTTPS, a user and password."""

from __future__ import annotations

import base64
import contextlib
import http.client
import http.server
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.servers import serving


@dataclass
class WebProxy:
    """What runs, and what it was asked."""

    url: str
    """Without user and password."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """`(method, host:port)` of each request that it let through."""
    refused: int = 0
    """Requests without the right user and password."""

    def with_user(self, user: str) -> str:
        """Return its URL for `user:password`, percent-encoded."""
        return self.url.replace("://", f"://{user}@")

    def hosts(self) -> set[str]:
        return {host for _, host in self.requests}


@contextlib.contextmanager
def web_proxy(hosts: Mapping[str, str], *, user: str = "") -> Iterator[WebProxy]:
    """Run a proxy until the block ends.

    Args:
        hosts: URL of the server on loopback that stands for each name; others are not found.
        user: `user:password` that it asks for; nobody's if empty.
    """

    places = {host: (urlsplit(url).hostname, urlsplit(url).port) for host, url in hosts.items()}
    wanted = f"Basic {base64.b64encode(user.encode()).decode()}" if user else ""
    handler = type("Handler", (_Handler,), {"places": places, "wanted": wanted})
    with serving(handler) as url:
        handler.proxy = proxy = WebProxy(url)
        yield proxy


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    places: Mapping[str, tuple[str, int]]
    wanted: str
    proxy: WebProxy

    def log_message(self, *_: Any) -> None:
        pass

    def _place(self, host: str | None, port: int | None) -> tuple[str, int] | None:
        if self.wanted and self.headers.get("Proxy-Authorization") != self.wanted:
            self.proxy.refused += 1
            self._refuse(407)
            return None
        self.proxy.requests.append((self.command, f"{host}:{port}"))
        if host not in self.places:
            self._refuse(502)
            return None
        return self.places[host]

    def _refuse(self, status: int) -> None:
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_CONNECT(self) -> None:
        name, _, port = self.path.rpartition(":")
        if (place := self._place(name, int(port))) is None:
            return
        self.close_connection = True
        with socket.create_connection(place) as server:
            self.send_response(200)
            self.end_headers()
            answers = threading.Thread(target=_pump, args=(server, self.connection), daemon=True)
            answers.start()
            _pump(self.connection, server)
            answers.join()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if (place := self._place(parts.hostname, parts.port or 80)) is None:
            return
        headers = {n: v for n, v in self.headers.items() if not n.lower().startswith("proxy-")}
        with contextlib.closing(http.client.HTTPConnection(*place)) as server:
            server.request(self.command, self.path[self.path.index(parts.path) :], None, headers)
            answer = server.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                self.send_header(name, value)
            self.end_headers()
            while data := answer.read(1 << 16):
                self.wfile.write(data)

    def do_HEAD(self) -> None:
        self.do_GET()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        source.shutdown(socket.SHUT_RDWR)

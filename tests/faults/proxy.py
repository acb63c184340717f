"""A bad line: a TCP proxy on loopback that does to connections what it is told."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.faults.host import reset
from tests.servers import LOOPBACK


@dataclass
class BadLine:
    """Passes connections on to a server, and spoils some of them after some bytes of answer."""

    target: str
    """URL of the server."""
    after_bytes: int
    """How many bytes of answer pass unharmed in each connection."""
    harm: str
    """`cut` (FIN), `reset` (RST), `stall` (nothing more comes) or `trickle` (byte by byte, each a
    packet, and then all the rest)."""
    most: int | None = None
    """How many connections are harmed; None for all."""
    harmed: int = 0
    """Connections harmed so far."""
    passed_bytes: int = 0
    """Bytes of answer that went through."""
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> BadLine:
        where = urlsplit(self.target)
        self._address = (where.hostname or LOOPBACK, where.port or 80)
        self._listener = socket.create_server((LOOPBACK, 0))
        self.url = f"http://{LOOPBACK}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._address)
                for run in (self._questions, self._answers):
                    threading.Thread(target=run, args=(client, server), daemon=True).start()

    def _questions(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                server.sendall(data)
        hang_up(server)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        left = self.after_bytes
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                if len(data) > left and self._may_harm():
                    client.sendall(data[:left])
                    if self._harm(client, data[left:]):
                        break
                    left = 1 << 60
                else:
                    client.sendall(data)
                    left -= len(data)
                with self._lock:
                    self.passed_bytes += len(data)
        hang_up(client)
        hang_up(server)

    def _may_harm(self) -> bool:
        with self._lock:
            if self.most is not None and self.harmed >= self.most:
                return False
            self.harmed += 1
            return True

    def _harm(self, client: socket.socket, rest: bytes) -> bool:
        """Do it; returns whether the connection is over."""
        if self.harm == "trickle":
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in rest[:500]:
                client.sendall(bytes((byte,)))
            client.sendall(rest[500:])
            return False
        if self.harm == "stall":
            self._over.wait()
        if self.harm == "reset":
            reset(client)
        return True


def hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()

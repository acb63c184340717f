"""A distant server in small: S3's plain requests over a folder, each answer late and slow.

    python -m benchmarks.paced_server '{"BUCKET": "FOLDER"}' LATENCY_MS MB_PER_S

GET (also of a byte range) and HEAD with ETags, path-style and open to everyone, so that s3fs and
wget both take it for theirs. Each answer starts `LATENCY_MS` late and then comes at `MB_PER_S` a
connection; with 0 and `inf` it is a near server that costs little, as the kernel copies the bytes.
`GET /-/sent` returns how many bytes and requests there were since it was asked last.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import math
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["PacedServer", "paced_server"]

_PIECE_BYTES, _WHOLE_BYTES = 128 << 10, 64 << 20
"""Handed to the kernel at a time, with a pace and without."""
_REFUSED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"
_ABSENT = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>"


class PacedServer:
    """A paced server in a process of its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def sent(self) -> dict[str, int]:
        """Return the bytes of bodies and the requests since the last call."""
        with urllib.request.urlopen(f"{self.url}/-/sent", timeout=10) as response:
            found: dict[str, int] = json.load(response)
        return found


@contextlib.contextmanager
def paced_server(
    buckets: Mapping[str, Path], latency_ms: float, mb_per_s: float
) -> Iterator[PacedServer]:
    """Serve folders as buckets until the block ends."""
    folders = json.dumps({name: str(folder) for name, folder in buckets.items()})
    numbers = [folders, str(latency_ms), str(mb_per_s)]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.paced_server", *numbers],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parent.parent,
    )
    try:
        assert process.stdout is not None
        yield PacedServer(process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a short body waits 40 ms for the headers' receipt
    buckets: Mapping[str, str]
    latency_s: float
    bytes_per_s: float
    lock = threading.Lock()
    sent: dict[str, int]

    def log_message(self, *args: Any) -> None: ...

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        if self.path == "/-/sent":
            with self.lock:
                data = json.dumps(self.sent).encode()
                self.sent.update(bytes=0, requests=0)
            self._small(200, data, body=True)
            return
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        with self.lock:
            self.sent["requests"] += 1
        time.sleep(self.latency_s)
        path, _, query = self.path.partition("?")
        bucket, _, key = urllib.parse.unquote(path).lstrip("/").partition("/")
        file = Path(self.buckets.get(bucket, ""), key)
        if bucket not in self.buckets or not file.is_file():
            listing = "list-type" in query or "prefix" in query
            self._small(403 if listing else 404, _REFUSED if listing else _ABSENT, body=body)
            return
        status = file.stat()
        start, end = 0, status.st_size
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and int(wanted[1]) >= end:
            self._small(416, b"", body=body)
            return
        if wanted:
            start = int(wanted[1])
            end = min(int(wanted[2] or end) + 1, end) if wanted[2] else end
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{status.st_size}")
        else:
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(max(end - start, 0)))
        etag = f"{status.st_mtime_ns:x}-{status.st_size:x}-{zlib.crc32(key.encode()):x}"
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Last-Modified", self.date_time_string(status.st_mtime))
        self.end_headers()
        if body:
            self._send(file, start, end)

    def _send(self, file: Path, start: int, end: int) -> None:
        """Send bytes no faster than the pace; the wait is for what was sent, never made up."""
        self.wfile.flush()
        out = self.connection.fileno()
        due = time.perf_counter()
        piece_bytes = _WHOLE_BYTES if math.isinf(self.bytes_per_s) else _PIECE_BYTES
        with open(file, "rb") as source:
            while start < end:
                try:
                    count = os.sendfile(out, source.fileno(), start, min(piece_bytes, end - start))
                except OSError:  # the client has left, as an early stop does
                    self.close_connection = True
                    return
                start += count
                with self.lock:
                    self.sent["bytes"] += count
                now = time.perf_counter()
                due = max(due, now - 0.02) + count / self.bytes_per_s
                if due > now:
                    time.sleep(due - now)

    def _small(self, status: int, data: bytes, *, body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def server_bind(self) -> None:
        # What lies in the kernel's buffers counts as sent: keep it little.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 256 << 10)
        super().server_bind()

    def handle_error(self, *args: Any) -> None: ...


def main() -> None:
    folders, latency_ms, mb_per_s = sys.argv[1:]
    members = {
        "buckets": json.loads(folders),
        "latency_s": float(latency_ms) / 1000,
        "bytes_per_s": float(mb_per_s) * 1e6,
        "sent": {"bytes": 0, "requests": 0},
    }
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), members))
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

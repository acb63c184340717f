"""Real servers on loopback for tests and benchmarks: S3 (SeaweedFS) and plain HTTP."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """Return a port that is free now, and low enough for SeaweedFS to derive others from it."""
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if port < 50_000:
            return port


class S3Server:
    """A SeaweedFS with an S3 gateway that lets everyone in, path-style."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def options(self) -> dict[str, Any]:
        """fsspec storage options that lead s3fs here."""
        return {"anon": True, "endpoint_url": self.url}

    def put(self, key: str, data: bytes | Path, *, encoding: str = "") -> None:
        """Store an object; `key` is `<bucket>/<path>`, `encoding` its Content-Encoding."""
        body = data.read_bytes() if isinstance(data, Path) else data
        self._call("PUT", key, body, {"Content-Encoding": encoding} if encoding else {})

    def delete(self, key: str) -> None:
        self._call("DELETE", key)

    def make_bucket(self, name: str) -> None:
        self._call("PUT", name)

    def upload(self, folder: Path, prefix: str) -> None:
        """Store every file below a folder under `<bucket>/<prefix>`."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path)

    def _call(
        self,
        method: str,
        key: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        address = f"{self.url}/{urllib.parse.quote(key)}"
        request = urllib.request.Request(address, body, headers or {}, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            response.read()


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run a SeaweedFS in `folder` until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    program = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if program is None:
        raise FileNotFoundError("no 'weed' beside this Python: pip install -e '.[test]'")
    for attempt in range(5):
        process, server = _start_weed(program, folder / str(attempt))
        if process.poll() is None:
            break
        log = (folder / str(attempt) / "log").read_text()
        # Another test's server may have taken a port between the question and the start.
        if "address already in use" not in log:
            raise RuntimeError(log[-2000:])
    else:
        raise RuntimeError(log[-2000:])
    try:
        yield server
    finally:
        process.kill()  # it has nothing to keep, and would take its time
        process.wait()


def _start_weed(program: str, folder: Path) -> tuple[subprocess.Popen[bytes], S3Server]:
    """Start a SeaweedFS; return it once it serves, or has ended."""
    folder.mkdir()
    ports = {name: str(free_port()) for name in ("master", "volume", "filer", "s3")}
    grpc = {name: str(free_port()) for name in ports}
    command = [program, "server", f"-dir={folder}", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}"]
    command += [f"-{name}.port={port}" for name, port in ports.items()]
    command += [f"-{name}.port.grpc={port}" for name, port in grpc.items()]
    command += [
        "-s3",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-volume.max=300",
        "-master.volumeSizeLimitMB=1024",
    ]
    command += ["-master.telemetry=false"]  # on by default: it would call home
    # A bucket is one volume. By default it is seven, which are made while its first object waits,
    # and for a fifth bucket there was no room: each upload to it failed after nine seconds.
    environment = {**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    server = S3Server(f"http://{LOOPBACK}:{ports['s3']}")
    for _ in range(600):
        if process.poll() is not None:
            return process, server
        with contextlib.suppress(OSError, urllib.error.HTTPError):
            server.make_bucket("kinetics")
            server.put("kinetics/ready", b"ready")
            server.delete("kinetics/ready")
            return process, server
        time.sleep(0.1)
    process.kill()
    process.wait()
    raise TimeoutError("SeaweedFS did not start within a minute")


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with 5, a busy machine turns away some of a reader's connections

    def handle_error(self, *_: Any) -> None:
        """Say nothing: a client may leave early."""


@contextlib.contextmanager
def serving(
    handler: Callable[..., http.server.BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Have a handler answer on loopback until the block ends; its URL.

    Args:
        handler: Its class. One that waits has to be released first.
        tls: For an encrypted line.
    """
    server = _Server((LOOPBACK, 0), handler)
    if tls is not None:  # a handshake is made by the thread that answers, and holds up no other
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://{LOOPBACK}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files with byte ranges and ETags, and counts what it was asked for."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a short body waits 40 ms for the headers' receipt
    ranges = True
    missing = 404
    encoding = ""
    requests: list[tuple[str, str]] = []
    hold: Callable[[str, str], object] = staticmethod(lambda method, path: None)

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        path = Path(self.translate_path(self.path))
        asked = (self.command, urllib.parse.unquote(self.path))
        self.requests.append(asked)
        self.hold(*asked)
        if not path.is_file():
            self.send_response(self.missing)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        part = data
        if wanted and self.ranges:
            start, end = int(wanted[1]), min(int(wanted[2]) + 1, len(data))
            part = data[start:end]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(part)))
        if self.encoding and path.suffix == ".gz":
            self.send_header("Content-Encoding", self.encoding)
        self.send_header("ETag", f'"{path.stat().st_mtime_ns:x}-{len(data):x}"')
        self.end_headers()
        if body:
            self.wfile.write(part)


class WebServer:
    """A web server over a folder."""

    def __init__(self, url: str, requests: list[tuple[str, str]]) -> None:
        self.url = url
        self.requests = requests
        """`(method, path)` of every request so far."""


@contextlib.contextmanager
def web_server(
    folder: Path,
    *,
    ranges: bool = True,
    missing: int = 404,
    encoding: str = "",
    hold: Callable[[str, str], object] = lambda method, path: None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[WebServer]:
    """Serve a folder by HTTP until the block ends.

    Args:
        folder: What to serve.
        ranges: False to answer every range with everything.
        missing: Status for what is not there; 403 is S3's where listing is not allowed.
        encoding: What `.gz` files are called in Content-Encoding; they are sent as they are.
        hold: Called with method and path before a request is answered; may wait.
        tls: For an encrypted line.
    """
    requests: list[tuple[str, str]] = []
    members = {"ranges": ranges, "missing": missing, "requests": requests}
    members |= {"encoding": encoding, "hold": staticmethod(hold)}
    handler = type("Handler", (_RangeHandler,), members)
    with serving(functools.partial(handler, directory=str(folder)), tls) as url:
        yield WebServer(url, requests)


class CuttingProxy:
    """Passes TCP connections on to a server, and cuts each after some bytes of answer."""

    def __init__(self, target: str, cut_after_bytes: int) -> None:
        host, _, port = target.partition("://")[2].partition(":")
        self._target = (host, int(port))
        self._cut_after_bytes = cut_after_bytes
        self.cuts = 0
        """Connections cut so far."""
        self._listener = socket.create_server((LOOPBACK, 0))
        self.url = f"http://{LOOPBACK}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> CuttingProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                for source, sink, most in (
                    (client, server, None),
                    (server, client, self._cut_after_bytes),
                ):
                    arguments = (source, sink, most)
                    threading.Thread(target=self._pump, args=arguments, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, most: int | None) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if most is not None and passed + len(data) > most:
                    sink.sendall(data[: most - passed])
                    self.cuts += 1
                    break
                sink.sendall(data)
                passed += len(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

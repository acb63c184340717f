"""Plain requests: which mirrors can be asked so, over which connections, and what is kept."""

from __future__ import annotations

import contextlib
import http.server
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from urllib3.exceptions import HTTPError

from k600.errors import MirrorUnreachableError, OptionError, Stopped
from k600.mirror import web
from k600.mirror.mirror import Mirror
from k600.mirror.web import Address
from k600.network import read_network
from tests.servers import CuttingProxy, S3Server, serving, web_server
from tests.youtube_replica import CERTIFICATE, TLS_CONTEXT

DATA = os.urandom(3_000_000)
NAME = "val/massaging person's head (é).tar.gz"
ENCODED = "massaging%20person%27s%20head%20%28%C3%A9%29.tar.gz"
BASIC = {"Authorization": "Basic dXNlcjp3b3Jk"}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a web server with `object`."""
    (tmp_path / "object").write_bytes(DATA)
    with web_server(tmp_path) as server:
        yield server.url


def test_what_signs_a_mirror_s_address_is_asked_with_for_every_object(tmp_path: Path) -> None:
    (tmp_path / "600/val").mkdir(parents=True)
    (tmp_path / "600" / NAME).write_bytes(DATA)
    with web_server(tmp_path) as server:
        mirror = Mirror(f"{server.url}/600?sv=1&sig=a%2Fb")
        assert mirror.get_range(NAME, 5, 9) == DATA[5:9]
        assert {path for _, path in server.requests} == {f"/600/{NAME}?sv=1&sig=a/b"}
        assert (mirror.identity, str(mirror)) == (Mirror(f"{server.url}/600").identity,) * 2


def get(
    url: str, start: int, end: int, *, seconds: float = 30, over: threading.Event | None = None
) -> list[bytes]:
    """Return the pieces that come before anything goes wrong."""

    def check() -> None:
        if over is not None and over.is_set():
            raise Stopped("stopped")

    found: list[bytes] = []
    with contextlib.suppress(HTTPError):
        address = Address(f"{url}/object", {}, read_network())
        with web.get(address, start, end, None, seconds=seconds, check=check) as answer:
            found.extend(answer.parts)
    return found


@pytest.mark.parametrize(
    ("url", "options", "address"),
    [
        ("s3://kinetics/600", {}, (f"https://kinetics.s3.amazonaws.com/600/val/{ENCODED}", {})),
        (
            "s3://kinetics/600",
            {"anon": True, "endpoint_url": "http://h:9"},
            (f"http://h:9/kinetics/600/val/{ENCODED}", {}),
        ),
        ("s3://kinetics/600", {"config_kwargs": {"proxies": {"https": "http://p"}}}, None),
        ("s3://kinetics/600", {"requester_pays": True}, None),
        ("https://user:word@h/600", {}, (f"https://h/600/val/{ENCODED}", BASIC)),
        (
            "https://h/600",
            {"headers": {"X-Key": "x"}, "client_kwargs": {"auth": ("user", "word")}},
            (f"https://h/600/val/{ENCODED}", {**BASIC, "X-Key": "x"}),
        ),
        (
            "https://h/600",
            {"cookies": {"a": "1", "b": "2"}},
            (f"https://h/600/val/{ENCODED}", {"Cookie": "a=1; b=2"}),
        ),
        ("https://h/my%20folder/", {}, (f"https://h/my%20folder/val/{ENCODED}", {})),
        ("https://[::1]:9/600", {}, (f"https://[::1]:9/600/val/{ENCODED}", {})),
        ("file:///600", {}, None),
    ],
)
def test_a_mirror_has_an_address_where_nothing_but_it_is_needed(
    url: str, options: dict[str, Any], address: tuple[str, dict[str, str]] | None
) -> None:
    found = Mirror(url, options).address(NAME)
    assert (found and found[:2]) == address


@pytest.mark.parametrize(
    "options", [{"get_client": print}, {"client_kwargs": {"auth": "hush"}}, {"ssl": False}]
)
def test_an_option_that_plain_requests_cannot_keep_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"mirror_options: '(get_client|auth|ssl)' is") as caught:
        Mirror("https://h/600", options).head("x")
    assert "hush" not in str(caught.value)


def test_an_address_of_a_private_bucket_is_signed_and_never_shown() -> None:
    options = {"key": "AKIAsecret", "secret": "very secret", "endpoint_url": "http://127.0.0.1:9"}
    mirror = Mirror("s3://private/600", options, patience_seconds=0.2)
    assert "Signature=" in str(mirror.address(NAME))
    with pytest.raises(MirrorUnreachableError) as caught:
        mirror.get_range(NAME, 0, 10)
    for said in (str(caught.value), repr(mirror)):
        assert "Signature" not in said
        assert "secret" not in said


@pytest.mark.parametrize("options", [{"anon": True}, {"key": "any", "secret": "any"}])
def test_ranges_are_what_the_bucket_holds(s3: S3Server, options: dict[str, Any]) -> None:
    s3.put("kinetics/plain/object", DATA)
    mirror = Mirror("s3://kinetics/plain", {**options, "endpoint_url": s3.url})
    starts = range(0, len(DATA), 300_000)
    assert b"".join(mirror.get_range("object", n, n + 300_000) for n in starts) == DATA


class _Silent(http.server.BaseHTTPRequestHandler):
    """Counts connections, and sends half of what is asked for."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    connections, whole = 0, True
    over = threading.Event()

    def setup(self) -> None:
        super().setup()
        type(self).connections += 1

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        data = DATA[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(DATA)}")
        self.end_headers()
        self.wfile.write(data if self.whole else data[: len(data) // 2])
        if not self.whole:
            self.over.wait(30)
            self.close_connection = True


def test_a_connection_is_kept_for_the_next_request() -> None:
    handler = type("Handler", (_Silent,), {})
    with serving(handler) as url:
        for start in range(0, 5000, 1000):
            assert b"".join(get(url, start, start + 1000)) == DATA[start : start + 1000]
        assert handler.connections == 1


def test_a_request_that_is_over_ends_soon_and_one_that_is_silent_in_time() -> None:
    handler = type("Handler", (_Silent,), {"whole": False, "over": threading.Event()})
    over = threading.Event()
    over.set()
    start = time.monotonic()
    with serving(handler) as url:
        with pytest.raises(Stopped):
            get(url, 0, 1000, over=over)
        assert b"".join(get(url, 0, 1000, seconds=0.5)) in (DATA[:500], b"")
        handler.over.set()
    assert time.monotonic() - start < 20


def test_a_near_server_is_read_by_one_request(tmp_path: Path, near: None) -> None:
    (tmp_path / "object").write_bytes(DATA)
    with web_server(tmp_path) as server:
        with Mirror(server.url).open("object") as reader:
            assert reader.read() == DATA
        assert len(server.requests) == 2  # one range while nothing is known, and all the rest


def test_what_one_thread_reads_another_one_may_close(tmp_path: Path, near: None) -> None:
    """As a stream does that is left half-way; the first thread's next request is its own."""
    (tmp_path / "object").write_bytes(DATA)

    def hold(method: str, path: str) -> None:
        if method == "HEAD":
            time.sleep(0.5)

    with web_server(tmp_path, hold=hold) as server, ThreadPoolExecutor(1) as pool:
        reader = Mirror(server.url).open("object")

        def begin() -> int:
            count = 0
            while count < 2_000_000:
                count += len(reader.next_block())
            return count

        assert pool.submit(begin).result() < len(DATA)
        reader.close()
        assert pool.submit(Mirror(server.url).head, "object").result().size_bytes == len(DATA)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_makes_connections_of_its_own(served: str) -> None:
    """A worker of `datasets` or a DataLoader is one, and its parent has asked before."""
    mirror = Mirror(served)
    assert mirror.get_range("object", 0, 1000) == DATA[:1000]
    read, write = os.pipe()
    if not os.fork():
        with contextlib.suppress(BaseException):
            with mirror.open("object") as reader:
                if reader.read() == DATA and mirror.get_range("object", 7, 9) == DATA[7:9]:
                    os.write(write, b"same")
        os._exit(0)
    os.close(write)
    for number in range(50):
        assert mirror.get_range("object", number, number + 9) == DATA[number : number + 9]
    with os.fdopen(read, "rb") as said:
        assert said.read() == b"same"
    os.wait()


def test_what_came_before_a_connection_broke_is_kept(served: str) -> None:
    with CuttingProxy(served, 500_000) as proxy:
        part = b"".join(get(proxy.url, 0, 2_000_000))
        assert 400_000 < len(part) < 500_000
        assert part == DATA[: len(part)]
        assert b"".join(get(proxy.url, 0, 1000)) == DATA[:1000]  # on another connection


def test_an_encrypted_line_brings_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "object").write_bytes(DATA)
    (tmp_path / "authority.pem").write_bytes(CERTIFICATE)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with web_server(tmp_path, tls=TLS_CONTEXT) as server:
        pieces = get(server.url, 0, len(DATA))
    assert b"".join(pieces) == DATA
    assert len(pieces) < 13  # and not one for each of the line's records

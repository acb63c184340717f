"""Plain requests for byte ranges: which mirrors can be asked so, and what comes of odd answers."""

from __future__ import annotations

import contextlib
import http.server
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.paced_server import paced_server
from k600.errors import MirrorUnreachableError, Stopped
from k600.mirror import direct
from k600.mirror.direct import Version
from k600.mirror.mirror import Mirror
from k600.mirror.source import Source
from tests.servers import CuttingProxy, S3Server, serving, web_server
from tests.youtube_replica import CERTIFICATE, TLS_CONTEXT

DATA = os.urandom(3_000_000)
NAME = "val/massaging person's head (é).tar.gz"
ENCODED = "massaging%20person%27s%20head%20%28%C3%A9%29.tar.gz"


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


def source(url: str, **options: Any) -> Source:
    return Source(Mirror(url, **options), "object")


def get(one: Source, start: int, end: int) -> bytes:
    return bytes(one.read_directly(start, end).data)


def straight(one: Source, start: int = 0) -> list[bytes]:
    """Return what one request brings in pieces."""
    return [bytes(piece) for piece in one.straight(start, Version(None, len(DATA)))]


@pytest.mark.parametrize(
    ("url", "options", "address"),
    [
        ("s3://kinetics/600", {}, f"https://kinetics.s3.amazonaws.com/600/val/{ENCODED}"),
        (
            "s3://kinetics/600",
            {"anon": True, "endpoint_url": "http://h:9"},
            f"http://h:9/kinetics/600/val/{ENCODED}",
        ),
        ("s3://kinetics/600", {"config_kwargs": {"proxies": {"https": "http://p"}}}, None),
        ("s3://kinetics/600", {"requester_pays": True}, None),
        ("https://user:word@h/600", {}, None),
        ("https://h/600?token=x", {}, None),
        ("https://h/600", {"headers": {"Authorization": "x"}}, None),
        ("https://h/my%20folder/", {}, f"https://h/my%20folder/val/{ENCODED}"),
        ("https://[::1]:9/600", {}, f"https://[::1]:9/600/val/{ENCODED}"),
        ("file:///600", {}, None),
    ],
)
def test_a_mirror_has_a_plain_address_where_nothing_but_it_is_needed(
    url: str, options: dict[str, Any], address: str | None
) -> None:
    assert Mirror(url, options).plain_address(NAME) == address


def test_an_address_of_a_private_bucket_is_signed_and_never_shown() -> None:
    options = {"key": "AKIAsecret", "secret": "very secret", "endpoint_url": "http://127.0.0.1:9"}
    mirror = Mirror("s3://private/600", options, patience_seconds=0.2)
    assert "Signature=" in str(mirror.plain_address(NAME))
    with pytest.raises(MirrorUnreachableError) as caught:
        mirror.get_range(NAME, 0, 10)
    for said in (str(caught.value), repr(mirror)):
        assert "Signature" not in said
        assert "secret" not in said


def test_who_goes_through_a_proxy_that_is_asked_by_tls_asks_the_file_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", "https://proxy.example:3128")
    assert Mirror("s3://kinetics/600").plain_address(NAME) is None
    monkeypatch.setenv("no_proxy", "amazonaws.com")
    assert Mirror("s3://kinetics/600").plain_address(NAME) is not None
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert Mirror("s3://kinetics/600").plain_address(NAME) is not None


@pytest.mark.parametrize("options", [{"anon": True}, {"key": "any", "secret": "any"}])
def test_ranges_are_what_the_bucket_holds(s3: S3Server, options: dict[str, Any]) -> None:
    s3.put("kinetics/plain/object", DATA)
    one = source("s3://kinetics/plain", options={**options, "endpoint_url": s3.url})
    parts = [get(one, n, n + 300_000) for n in range(0, len(DATA), 300_000)]
    assert b"".join(parts) == DATA
    assert one.is_direct


def test_a_connection_is_kept_for_the_next_request_of_the_same_way(
    served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    make = direct._connection

    def counted(*args: Any) -> Any:
        made.append(args)
        return make(*args)

    monkeypatch.setattr(direct, "_connection", counted)
    one = source(served)
    assert get(one, 0, 1000) + get(one, 1000, 2000) == DATA[:2000]
    assert len(made) == 1
    monkeypatch.setattr(direct, "_KEPT_SECONDS", 0.0)
    assert get(one, 5, 10) == DATA[5:10]
    assert len(made) == 2


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
        one = source(proxy.url)
        part = get(one, 0, 2_000_000)
        assert 400_000 < len(part) < 500_000
        assert part == DATA[: len(part)]
        assert get(one, 0, 1000) == DATA[:1000]  # on another connection
        assert one.is_direct


def test_a_near_server_is_read_straight_to_the_end(served: str, near: None) -> None:
    one = source(served)
    assert get(one, 0, 1000) == DATA[:1000]
    assert one.near
    pieces = straight(one, 1000)
    assert b"".join(pieces) == DATA[1000:]
    assert max(map(len, pieces)) <= 1 << 20


def test_an_encrypted_line_brings_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, near: None
) -> None:
    (tmp_path / "object").write_bytes(DATA)
    (tmp_path / "authority.pem").write_bytes(CERTIFICATE)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with web_server(tmp_path, tls=TLS_CONTEXT) as server:
        one = source(server.url)
        assert get(one, 0, 1_000_000) == DATA[:1_000_000]
        pieces = straight(one, 1_000_000)
        assert b"".join(pieces) == DATA[1_000_000:]
        assert len(pieces) < 12  # and not one for each of the line's records


def test_what_came_straight_before_the_connection_broke_is_kept(served: str, near: None) -> None:
    with CuttingProxy(served, 500_000) as proxy:
        part = b"".join(straight(source(proxy.url)))
        assert 400_000 < len(part) < 500_000
        assert part == DATA[: len(part)]


def test_a_line_that_proves_slow_is_left(tmp_path: Path) -> None:
    (tmp_path / "object").write_bytes(DATA)
    with paced_server({"here": tmp_path}, 0, 2) as server:
        part = b"".join(straight(source(f"{server.url}/here")))
        assert 0 < len(part) < len(DATA)
        assert part == DATA[: len(part)]


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers every request alike; stalls where the status is 0."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    status, said = 200, ""
    asked = threading.Event()
    over = threading.Event()

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.set()
        if not self.status:
            self.over.wait(20)
            self.close_connection = True
            return
        self.send_response(self.status)
        if self.said:
            self.send_header("Content-Range", self.said)
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(b"0123456789")


@pytest.fixture
def answering() -> Iterator[Callable[..., tuple[str, type[_Answers]]]]:
    with contextlib.ExitStack() as stack:

        def serve(status: int, said: str = "") -> tuple[str, type[_Answers]]:
            members = {"status": status, "said": said}
            members |= {"asked": threading.Event(), "over": threading.Event()}
            handler = type("Handler", (_Answers,), members)
            url = stack.enter_context(serving(handler))
            stack.callback(handler.over.set)
            return url, handler

        yield serve


@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        ((200, ""), False),
        ((206, "bytes 10-19/100"), False),
        ((206, ""), False),
        ((301, ""), False),
        ((403, ""), False),
        ((503, ""), True),
        ((429, ""), True),
        ((416, ""), True),
    ],
)
def test_another_answer_than_the_range_is_an_error(
    answer: tuple[int, str], fits: bool, answering: Callable[..., Any]
) -> None:
    url, _ = answering(*answer)
    one = source(url)
    with pytest.raises(direct.ERRORS):
        get(one, 0, 10)
    assert straight(one) == []
    assert one.is_direct is fits


def test_ending_ends_a_request_that_is_never_answered(answering: Callable[..., Any]) -> None:
    url, handler = answering(0)
    one = source(url)
    threading.Thread(target=lambda: (handler.asked.wait(10), one.pending.end())).start()
    start = time.monotonic()
    with pytest.raises((*direct.ERRORS, Stopped)):
        one.read_directly(0, 10)
    assert time.monotonic() - start < 10
    with pytest.raises(Stopped):
        one.read_directly(0, 10)

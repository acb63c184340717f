"""Byte ranges by plain GET: which mirrors can be asked so, and what comes of odd answers."""

from __future__ import annotations

import contextlib
import http.server
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.paced_server import paced_server
from k600.errors import MirrorUnreachableError
from k600.mirror.http_ranges import PlainGets
from k600.mirror.mirror import Mirror
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
    """The address of an object on a web server."""
    (tmp_path / "object").write_bytes(DATA)
    with web_server(tmp_path) as server:
        yield f"{server.url}/object"


def straight(plain: PlainGets, start: int = 0) -> list[bytes]:
    """Return what one GET brings in pieces."""
    with contextlib.closing(plain.straight(start, len(DATA)).result(10)) as line:
        return [bytes(piece) for piece in line.pieces()]


def gets(address: str, lines: int = 2, timeout_seconds: float = 10) -> PlainGets:
    return PlainGets(address, "shown", lines=lines, timeout_seconds=timeout_seconds)


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
        ("file:///600", {}, None),
    ],
)
def test_a_mirror_has_a_plain_address_where_nothing_but_it_is_needed(
    url: str, options: dict[str, Any], address: str | None
) -> None:
    assert Mirror(url, options).plain_address(NAME) == address


def test_a_web_address_is_encoded_and_otherwise_as_it_is() -> None:
    address = Mirror("https://h/600/").plain_address("val/tie dying (é)'.tar.gz")
    assert address == "https://h/600/val/tie%20dying%20(%C3%A9)'.tar.gz"


def test_an_address_of_a_private_bucket_is_signed_and_never_shown() -> None:
    options = {"key": "AKIAsecret", "secret": "very secret", "endpoint_url": "http://127.0.0.1:9"}
    mirror = Mirror("s3://private/600", options)
    address = mirror.plain_address(NAME)
    assert address is not None
    assert "Signature=" in address
    plain = gets(address)
    with pytest.raises(MirrorUnreachableError) as caught:
        plain.request(0, 10).result(10)
    plain.close()
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


def test_signed_ranges_are_what_the_bucket_holds(s3: S3Server) -> None:
    s3.put("kinetics/plain/object", DATA)
    options = {"key": "any", "secret": "any", "endpoint_url": s3.url}
    mirror = Mirror("s3://kinetics/plain", options)
    address = mirror.plain_address("object")
    assert address is not None
    plain = gets(address)
    answers = [plain.request(n, n + 300_000) for n in range(0, len(DATA), 300_000)]
    assert b"".join(answer.result(10) for answer in answers) == DATA
    plain.close()


def test_memory_is_used_again(served: str) -> None:
    plain = gets(served)
    first = plain.request(0, 1000).result(10)
    assert first == DATA[:1000]
    plain.give_back(first)
    second = plain.request(1000, 2000).result(10)
    assert second.obj is first.obj
    assert second == DATA[1000:2000]
    plain.close()


def test_what_came_before_a_connection_broke_is_kept(served: str) -> None:
    with CuttingProxy(served.rpartition("/")[0], 500_000) as proxy:
        plain = gets(f"{proxy.url}/object", lines=1)
        part = plain.request(0, 2_000_000).result(10)
        assert 400_000 < len(part) < 500_000
        assert part == DATA[: len(part)]
        assert plain.request(0, 1000).result(10) == DATA[:1000]  # on another connection
        assert plain.fits
        plain.close()


def test_a_near_server_is_read_straight_to_the_end(served: str, near: None) -> None:
    plain = gets(served)
    assert plain.request(0, 1000).result(10) == DATA[:1000]
    assert plain.near
    pieces = straight(plain, 1000)
    assert b"".join(pieces) == DATA[1000:]
    assert max(map(len, pieces)) <= 1 << 20
    plain.close()


def test_an_encrypted_line_brings_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, near: None
) -> None:
    (tmp_path / "object").write_bytes(DATA)
    (tmp_path / "authority.pem").write_bytes(CERTIFICATE)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with web_server(tmp_path, tls=TLS_CONTEXT) as server:
        plain = gets(f"{server.url}/object")
        assert plain.request(0, 1_000_000).result(10) == DATA[:1_000_000]
        pieces = straight(plain, 1_000_000)
        assert b"".join(pieces) == DATA[1_000_000:]
        assert len(pieces) < 12  # and not one for each of the line's records
        plain.close()


def test_what_came_straight_before_the_connection_broke_is_kept(served: str, near: None) -> None:
    with CuttingProxy(served.rpartition("/")[0], 500_000) as proxy:
        plain = gets(f"{proxy.url}/object")
        part = b"".join(straight(plain))
        assert 400_000 < len(part) < 500_000
        assert part == DATA[: len(part)]
        plain.close()


def test_a_line_that_proves_slow_is_left(tmp_path: Path) -> None:
    (tmp_path / "object").write_bytes(DATA)
    with paced_server({"here": tmp_path}, 0, 2) as server:
        plain = gets(f"{server.url}/here/object")
        part = b"".join(straight(plain))
        assert 0 < len(part) < len(DATA)
        assert part == DATA[: len(part)]
        plain.close()


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
def answering(request: pytest.FixtureRequest) -> Iterator[tuple[str, type[_Answers]]]:
    status, said = request.param
    events = {"asked": threading.Event(), "over": threading.Event()}
    handler = type("Handler", (_Answers,), {"status": status, "said": said, **events})
    with serving(handler) as url:
        yield f"{url}/object", handler
        handler.over.set()


@pytest.mark.parametrize(
    ("answering", "fits"),
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
    indirect=["answering"],
)
def test_another_answer_than_the_range_is_an_error(
    answering: tuple[str, type[_Answers]], fits: bool
) -> None:
    plain = gets(answering[0])
    with pytest.raises(MirrorUnreachableError, match="mirror: shown cannot be read"):
        plain.request(0, 10).result(10)
    with pytest.raises(MirrorUnreachableError, match="mirror: shown cannot be read"):
        plain.straight(0, 10).result(10)
    assert plain.fits is fits
    plain.close()


def test_a_line_that_is_given_up_is_hung_up(served: str) -> None:
    plain = gets(served)
    line = plain.straight(0, len(DATA)).result(10)
    pieces = line.pieces()
    assert next(pieces)
    assert len(plain._connections) == 2  # the line's, and the thread's own
    line.close()
    assert len(plain._connections) == 1
    assert [*pieces] == []
    plain.close()


@pytest.mark.parametrize("answering", [(0, "")], indirect=True)
def test_closing_ends_a_request_that_is_never_answered(
    answering: tuple[str, type[_Answers]],
) -> None:
    plain = gets(answering[0], timeout_seconds=30)
    answer = plain.request(0, 10)
    assert answering[1].asked.wait(10)
    start = time.monotonic()
    plain.close()
    with pytest.raises(MirrorUnreachableError):
        answer.result(10)
    assert time.monotonic() - start < 5

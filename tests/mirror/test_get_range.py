"""One range of an object by one request: which bytes, of which object, and what is refused."""

from __future__ import annotations

import contextlib
import http.server
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from k600.errors import (
    MirrorChangedError,
    MirrorError,
    MirrorNotFoundError,
    MirrorRangesError,
    MirrorUnreachableError,
)
from k600.mirror.mirror import Mirror
from tests.servers import S3Server, serving, web_server

DATA = os.urandom(3_000_000)
NAME = "val/massaging person's head (é).bin"


@pytest.fixture(params=["s3", "http", "file"])
def placed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Mirror, Any]]:
    """A mirror that holds the object, and what puts other bytes in its place."""
    path = tmp_path / NAME
    path.parent.mkdir()

    def put(data: bytes) -> None:
        (tmp_path / "new").write_bytes(data)
        os.replace(tmp_path / "new", path)

    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        server.put(f"kinetics/ranges/{NAME}", DATA)
        mirror = Mirror("s3://kinetics/ranges", server.options)
        yield mirror, lambda data: server.put(f"kinetics/ranges/{NAME}", data)
        return
    put(DATA)
    if request.param == "file":
        yield Mirror(str(tmp_path)), put
        return
    with web_server(tmp_path) as server:
        yield Mirror(server.url), put


def test_many_ranges_at_once_are_each_what_the_object_holds(placed: tuple[Mirror, Any]) -> None:
    mirror, _ = placed
    remote = mirror.head(NAME)
    starts = range(0, len(DATA) - 70_000, 37_123)

    def get(start: int) -> bytes:
        same = {"etag": remote.etag, "size_bytes": remote.size_bytes}
        return mirror.get_range(NAME, start, start + 70_000, **same)

    with ThreadPoolExecutor(16) as threads:
        for start, data in zip(starts, threads.map(get, starts), strict=True):
            assert data == DATA[start : start + 70_000]
    assert mirror.get_range(NAME, len(DATA) - 1, len(DATA)) == DATA[-1:]


@pytest.mark.parametrize("other", [DATA[::-1], DATA + b"x"])
def test_a_range_of_another_object_is_refused(placed: tuple[Mirror, Any], other: bytes) -> None:
    mirror, put = placed
    remote = mirror.head(NAME)
    put(other)
    with pytest.raises(MirrorChangedError, match="was replaced"):
        mirror.get_range(NAME, 5, 10, etag=remote.etag)
    if len(other) != len(DATA):
        with pytest.raises(MirrorChangedError, match="was replaced"):
            mirror.get_range(NAME, 5, 10, size_bytes=len(DATA))
    assert mirror.get_range(NAME, 5, 10) == other[5:10]
    assert mirror.get_range(NAME, 5, 10, etag=mirror.head(NAME).etag) == other[5:10]


def test_a_range_past_the_end_is_an_error(placed: tuple[Mirror, Any]) -> None:
    mirror, _ = placed
    for start in (len(DATA) - 5, len(DATA), len(DATA) + 5):
        with pytest.raises(MirrorError):
            mirror.get_range(NAME, start, len(DATA) + 10)
    with pytest.raises(MirrorNotFoundError, match="val/nothing"):
        mirror.get_range("val/nothing", 0, 5)
    with pytest.raises(ValueError, match="holds no byte"):
        mirror.get_range(NAME, 5, 5)


class _Answers(http.server.BaseHTTPRequestHandler):
    """Gives one answer after another, `(status, Content-Range)`, and the last one for ever."""

    protocol_version = "HTTP/1.1"
    answers: list[tuple[int, str]]

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        status, said = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        self.send_response(status)
        if said:
            self.send_header("Content-Range", said)
        self.send_header("Content-Length", "10")
        self.send_header("ETag", 'W/"weak"')
        self.end_headers()
        self.wfile.write(b"0123456789")


@contextlib.contextmanager
def answering(*answers: tuple[int, str]) -> Iterator[Mirror]:
    with serving(type("Handler", (_Answers,), {"answers": [*answers]})) as url:
        yield Mirror(url, patience_seconds=0.5)


RIGHT = (206, "bytes 0-9/100")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((206, "bytes 10-19/100"), MirrorUnreachableError),
        ((206, ""), MirrorUnreachableError),
        ((206, "bytes 0-10/100"), MirrorUnreachableError),
        ((200, ""), MirrorRangesError),
        ((416, ""), MirrorError),
        ((503, ""), MirrorUnreachableError),
        ((404, ""), MirrorNotFoundError),
    ],
)
def test_another_answer_than_the_range_is_an_error(
    answer: tuple[int, str], error: type[Exception]
) -> None:
    with answering(answer) as mirror, pytest.raises(error):
        mirror.get_range("object", 0, 10)


def test_a_server_that_fails_once_is_asked_again() -> None:
    with answering((503, ""), (206, "bytes 7-16/100"), RIGHT) as mirror:
        assert mirror.get_range("object", 0, 10, etag='W/"weak') == b"0123456789"


def test_a_server_without_ranges_says_so_and_its_object_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "object").write_bytes(DATA)
    with web_server(tmp_path, ranges=False) as server:
        mirror = Mirror(server.url)
        with pytest.raises(MirrorRangesError, match="read from its beginning"):
            mirror.get_range("object", 5, 10)
        with mirror.open("object") as reader:
            assert reader.read() == DATA

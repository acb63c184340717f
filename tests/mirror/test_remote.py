from __future__ import annotations

import contextlib
import http.server
import os
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k600.errors import (
    ListError,
    MirrorChangedError,
    MirrorDeniedError,
    MirrorNotFoundError,
    MirrorUnreachableError,
    OptionError,
    Stopped,
)
from k600.errors.text import public_url
from k600.errors.translate import mirror_error
from k600.mirror.identity import RemoteFile
from k600.mirror.mirror import Mirror
from k600.mirror.reader import Reader
from tests.servers import CuttingProxy, S3Server, serving, web_server

DATA = bytes(range(256)) * 40_000  # 10 MB: several ranges
NAME = "val/massaging person's head (really).bin"


@pytest.fixture(params=["s3", "http", "file"])
def mirror(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mirror]:
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        server.put(f"kinetics/bytes/{NAME}", DATA)
        yield Mirror("s3://kinetics/bytes", server.options)
        return
    path = tmp_path / NAME
    path.parent.mkdir()
    path.write_bytes(DATA)
    if request.param == "http":
        with web_server(tmp_path) as server:
            yield Mirror(server.url)
    else:
        yield Mirror(str(tmp_path))


def read(mirror: Mirror, remote: RemoteFile, **options: Any) -> bytes:
    with mirror.open(remote, **options) as raw:
        return b"".join(iter(lambda: raw.read(100_000), b""))


def test_an_object_is_read_whole_by_ranges(mirror: Mirror) -> None:
    counted: list[int] = []
    remote = mirror.head(NAME)
    assert remote.size_bytes == len(DATA)
    assert remote.etag
    assert read(mirror, remote, on_bytes=counted.append) == DATA
    assert sum(counted) == len(DATA)
    assert read(pickle.loads(pickle.dumps(mirror)), remote, ahead_bytes=1 << 20) == DATA


def test_from_far_an_object_is_read_whole_by_ranges_ahead(mirror: Mirror, far: None) -> None:
    remote = mirror.head(NAME)
    for ahead_bytes in (1 << 20, 40 << 20):
        assert read(mirror, remote, ahead_bytes=ahead_bytes) == DATA


@pytest.mark.parametrize("size", [0, 1, 300_000, 512 << 10, 600_000, 1_572_864, 1_572_865])
def test_an_object_of_any_size_is_opened_without_knowing_it(tmp_path: Path, size: int) -> None:
    (tmp_path / "object").write_bytes(DATA[:size])
    with web_server(tmp_path) as server:
        for mirror in (Mirror(server.url), Mirror(str(tmp_path))):
            with mirror.open("object") as raw:
                assert raw.remote.size_bytes == size
                assert b"".join(iter(lambda raw=raw: raw.read(100_000), b"")) == DATA[:size]
        with pytest.raises(MirrorNotFoundError, match="nothing.*does not exist"):
            Mirror(server.url).open("nothing")


def test_a_reader_that_could_not_open_its_object_closes_quietly(tmp_path: Path) -> None:
    with web_server(tmp_path) as server:
        reader = Reader.__new__(Reader)
        with pytest.raises(MirrorNotFoundError):
            Reader.__init__(reader, Mirror(server.url), "nothing")
        reader.close()  # As Python does when it is collected; from 3.13 on, errors there are said.
        assert reader.closed


@pytest.mark.parametrize("ranges", [True, False])
def test_whoever_opens_it_so_needs_no_question_of_its_own_for_the_size(
    tmp_path: Path, ranges: bool
) -> None:
    (tmp_path / "object").write_bytes(DATA)
    with web_server(tmp_path, ranges=ranges) as server:
        with Mirror(server.url).open("object") as raw:
            assert b"".join(iter(lambda: raw.read(100_000), b"")) == DATA
        methods = [method for method, path in server.requests]
        # A range while nothing is known; where there are none, what it is, and then all of it.
        assert methods.count("HEAD") == (0 if ranges else 1)
        assert ranges or len(methods) <= 14


def test_ranges_that_say_which_object_they_are_of_need_no_last_question(
    tmp_path: Path, far: None
) -> None:
    path = tmp_path / "object"
    path.write_bytes(DATA)
    with web_server(tmp_path) as server:
        mirror = Mirror(server.url)
        with mirror.open(mirror.head("object")) as raw:
            while raw.read(1 << 20):
                pass
            heads = server.requests.count(("HEAD", "/object"))
            raw.check_unchanged()
            assert server.requests.count(("HEAD", "/object")) == heads
        remote = mirror.head("object")
        path.write_bytes(DATA[::-1])
        with mirror.open(remote) as raw:
            with pytest.raises(MirrorChangedError, match="replaced"):
                raw.read(1000)


def test_ranges_of_another_object_are_noticed(tmp_path: Path, far: None) -> None:
    path, other = tmp_path / "object", tmp_path / "other"
    path.write_bytes(DATA)
    other.write_bytes(DATA[::-1])
    with web_server(tmp_path) as server:
        mirror = Mirror(server.url)
        with mirror.open(mirror.head("object"), ahead_bytes=1 << 20) as raw:
            assert raw.read(1000) == DATA[:1000]
            os.replace(other, path)
            with pytest.raises(MirrorChangedError, match="replaced"):
                while raw.read(1 << 20):
                    pass


def test_an_object_that_is_replaced_while_it_is_opened_is_not_mixed(tmp_path: Path) -> None:
    path, other = tmp_path / "object", tmp_path / "other"
    path.write_bytes(DATA)
    other.write_bytes(DATA[::-1])
    asked = threading.Semaphore(1)

    def hold(method: str, _: str) -> None:
        if not asked.acquire(blocking=False) and other.exists():
            time.sleep(0.3)
            os.replace(other, path)

    with web_server(tmp_path, hold=hold) as server:
        with pytest.raises(MirrorChangedError, match="replaced"):
            with Mirror(server.url).open("object") as raw:
                raw.read()
        with Mirror(server.url).open("object") as raw:
            assert raw.read() == DATA[::-1]


class _SilentAfter(http.server.BaseHTTPRequestHandler):
    """Answers two ranges, and then says nothing, or only headers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    headers_only = False
    over = threading.Event()

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.send_header("ETag", '"x"')
        self.end_headers()

    def do_GET(self) -> None:
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        silent = last - first > 2_000_000
        if silent and not self.headers_only:
            self.over.wait(30)
            self.close_connection = True
            return
        self.send_response(206)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(DATA)}")
        self.send_header("ETag", '"x"')
        self.end_headers()
        if silent:
            self.close_connection = True
        else:
            self.wfile.write(DATA[first : last + 1])


@contextlib.contextmanager
def silent_server(*, headers_only: bool) -> Iterator[str]:
    members = {"headers_only": headers_only, "over": threading.Event()}
    handler = type("Handler", (_SilentAfter,), members)
    with serving(handler) as url:
        yield url
        handler.over.set()


def test_a_server_that_hangs_up_after_the_headers_has_not_come_to_the_end() -> None:
    with silent_server(headers_only=True) as url:
        mirror = Mirror(url)
        assert read(mirror, mirror.head("object"), ahead_bytes=2 << 20) == DATA


def test_a_stop_ends_the_wait_for_a_near_server_that_falls_silent() -> None:
    stop = threading.Event()
    with silent_server(headers_only=False) as url:
        mirror = Mirror(url)
        with mirror.open(mirror.head("object"), stop=stop) as raw:
            threading.Timer(0.5, stop.set).start()
            start = time.monotonic()
            with pytest.raises(Stopped):
                while raw.read(1 << 20):
                    pass
            assert time.monotonic() - start < 5


def test_reading_may_end_early(mirror: Mirror) -> None:
    with mirror.open(mirror.head(NAME)) as raw:
        assert raw.read(100) == DATA[:100]
        assert raw.next_block()[:100] == DATA[100:200]


def test_what_is_not_there_is_not_found(mirror: Mirror) -> None:
    with pytest.raises(MirrorNotFoundError, match="val/nothing.*does not exist"):
        mirror.head("val/nothing")
    with pytest.raises(MirrorNotFoundError):
        mirror.read_list("val/nothing")


def test_a_web_server_without_ranges_is_read_in_one_request(tmp_path: Path) -> None:
    (tmp_path / "object").write_bytes(DATA)
    with web_server(tmp_path, ranges=False) as server:
        mirror = Mirror(server.url)
        assert read(mirror, mirror.head("object")) == DATA


@pytest.mark.parametrize("cut_after_bytes", [700_000, 3_000_000])
def test_a_connection_that_is_cut_goes_on_where_it_broke(
    s3: S3Server, cut_after_bytes: int
) -> None:
    s3.put("kinetics/bytes/cut", DATA)
    with CuttingProxy(s3.url, cut_after_bytes) as proxy:
        mirror = Mirror("s3://kinetics/bytes", {"anon": True, "endpoint_url": proxy.url})
        assert read(mirror, mirror.head("cut")) == DATA
        assert proxy.cuts >= 1


@pytest.mark.parametrize("cut_after_bytes", [200_000, 400_000, 700_000])
def test_a_connection_that_is_cut_at_once_leaves_no_hole(
    tmp_path: Path, cut_after_bytes: int
) -> None:
    """What is requested along with the size is kept only if it is whole."""
    (tmp_path / "object").write_bytes(DATA)
    with web_server(tmp_path) as server, CuttingProxy(server.url, cut_after_bytes) as proxy:
        with Mirror(proxy.url).open("object") as raw:
            assert raw.read() == DATA
        assert proxy.cuts >= 1


def test_patience_ends(s3: S3Server) -> None:
    s3.put("kinetics/bytes/cut", DATA)
    with CuttingProxy(s3.url, 20_000) as proxy:
        options = {"anon": True, "endpoint_url": proxy.url}
        mirror = Mirror("s3://kinetics/bytes", options, patience_seconds=0.5)
        with pytest.raises(MirrorUnreachableError, match=r"given up after \d+ attempts"):
            read(mirror, mirror.head("cut"), ahead_bytes=1 << 20)


def test_an_object_that_is_replaced_meanwhile_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(DATA)
    mirror = Mirror(str(tmp_path))
    with mirror.open(mirror.head("object")) as raw:
        raw.read(1000)
        other = tmp_path / "other"
        other.write_bytes(DATA)
        os.replace(other, path)
        with pytest.raises(MirrorChangedError, match="replaced"):
            raw.check_unchanged()


def test_a_range_that_fails_after_a_change_is_not_taken_from_the_new_object(
    s3: S3Server,
) -> None:
    s3.put("kinetics/bytes/changing", DATA)
    with CuttingProxy(s3.url, 600_000) as proxy:
        options = {"anon": True, "endpoint_url": proxy.url}
        mirror = Mirror("s3://kinetics/bytes", options)
        remote = mirror.head("changing")
        s3.put("kinetics/bytes/changing", DATA[::-1])
        with pytest.raises(MirrorChangedError):
            read(mirror, remote)


def test_a_stop_ends_reading(mirror: Mirror) -> None:
    stop = threading.Event()
    with mirror.open(mirror.head(NAME), stop=stop) as raw:
        raw.read(1000)
        stop.set()
        with pytest.raises(Stopped):
            while raw.read(1 << 20):
                pass


def test_a_list_must_be_text_of_the_announced_size(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"\xff\xfe\n")
    with pytest.raises(ListError, match="UTF-8"):
        Mirror(str(tmp_path)).read_list("list")
    with pytest.raises(ListError, match="claims 3 bytes"):
        Mirror(str(tmp_path)).read_list("list", most_bytes=2)
    assert Mirror(str(tmp_path)).read_small("list", most_bytes=3) == b"\xff\xfe\n"


def test_no_server_at_all_is_said_soon() -> None:
    for url, options in (
        ("http://127.0.0.1:9/600", {}),
        ("s3://kinetics/600", {"endpoint_url": "http://127.0.0.1:9"}),
    ):
        with pytest.raises(MirrorUnreachableError, match="cannot be reached.*Check the network"):
            Mirror(url, options).head("val/k600_val_path.txt")


def test_a_bad_url_or_option_is_the_user_s(tmp_path: Path) -> None:
    for mirror in (
        Mirror("nosuch://kinetics/600"),
        Mirror("s3://kinetics/600", {"endpoint_url": "not a url"}),
        Mirror("s3://kinetics/600", {"no_such_option": 3}),
    ):
        with pytest.raises(OptionError, match="mirror_options"):
            mirror.head("x")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, MirrorNotFoundError),
        (403, MirrorDeniedError),
        (401, MirrorDeniedError),
        (500, MirrorUnreachableError),
        (503, MirrorUnreachableError),
        (429, MirrorUnreachableError),
    ],
)
def test_the_innermost_http_status_decides(status: int, kind: type[Exception]) -> None:
    class ResponseError(Exception):
        pass

    inner = ResponseError("answer")
    inner.status = status  # type: ignore[attr-defined]
    outer = FileNotFoundError("fsspec says so of everything")
    outer.__cause__ = inner
    assert type(mirror_error(outer, "u")) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError("x"), MirrorNotFoundError),
        (PermissionError("x"), MirrorDeniedError),
        (ConnectionResetError("x"), MirrorUnreachableError),
        (TimeoutError("x"), MirrorUnreachableError),
        (ImportError("Install gcsfs"), OptionError),
    ],
)
def test_errors_without_a_status(error: Exception, kind: type[Exception]) -> None:
    assert type(mirror_error(error, "u")) is kind


def test_secrets_are_not_shown() -> None:
    mirror = Mirror("https://me:secret@host/600?token=secret", {"key": "secret"})
    assert str(mirror) == public_url(mirror.url) == "https://host/600"
    assert "secret" not in str(mirror)
    assert "key" not in repr(mirror)


def test_the_public_bucket_is_read_anonymously_unless_told_otherwise() -> None:
    from k600.mirror.root import mirror_options

    assert mirror_options("s3://kinetics/600", {})["anon"] is True
    assert "anon" not in mirror_options("s3://kinetics/600", {"key": "a", "secret": "b"})
    assert "anon" not in mirror_options("s3://kinetics-mine/600", {})
    assert mirror_options("s3://mine/600", {"anon": False})["anon"] is False

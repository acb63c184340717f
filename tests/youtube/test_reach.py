"""A firewall that drops what is sent to YouTube costs one quick try an hour."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from k600.errors import OptionError
from k600.loading.request import make_request
from k600.store.store import Store
from k600.youtube import reach
from k600.youtube.options import YouTubeOptions
from k600.youtube.reach import (
    find_silence,
    note_silence,
    recall_silence,
    why_out_of_reach,
)
from tests.servers import web_server
from tests.youtube_replica import youtube_replica


def options(proxy: str | None = None, **more: Any) -> YouTubeOptions:
    return make_request("train", default_data_dir="/nowhere", proxy=proxy, **more).youtube


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return str(parts.hostname), int(parts.port or 0)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "_SECONDS", 0.3)


def test_what_takes_connections_and_says_nothing_is_silent(
    silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "timed out" in find_silence(options(), address(silent_server))
    for scheme in ("http", "https", "socks4", "socks5h"):
        proxy = silent_server.replace("http", scheme)
        assert f"{proxy} does not answer (" in find_silence(options(proxy))
    monkeypatch.setenv("HTTPS_PROXY", silent_server)
    assert f"{silent_server} does not answer" in find_silence(options())
    for scheme in ("socks5h", "socks"):
        monkeypatch.setenv("HTTPS_PROXY", silent_server.replace("http", scheme))
        assert f"{scheme}://127.0.0.1" in find_silence(options())
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:none")
    assert "does not answer (it is no address)" in find_silence(options())


def test_whoever_answers_is_not_silent(tmp_path: Path) -> None:
    with youtube_replica() as youtube, web_server(tmp_path) as server:
        assert find_silence(options(youtube.url)) == ""
        assert find_silence(options(server.url)) == ""  # no proxy: for yt-dlp to say
        assert find_silence(options(), address(server.url)) == ""  # no TLS: the same
        assert youtube.requests == []


@pytest.mark.parametrize(
    ("scheme", "greeting", "reply"),
    [
        ("socks5", b"\x05\x02\x00\x02", b"\x05\x02"),
        ("socks4", b"\x04\x01\x01\xbb\0\0\0\x01\0www.youtube.com\0", bytes((0, 90, *bytes(6)))),
    ],
)
def test_a_socks_proxy_is_greeted_as_it_expects(scheme: str, greeting: bytes, reply: bytes) -> None:
    heard = []

    class Proxy(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            heard.append(self.request.recv(100))
            self.request.sendall(reply)

    with socketserver.TCPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            silence = find_silence(options(f"{scheme}://127.0.0.1:{server.server_address[1]}"))
        finally:
            server.shutdown()
            thread.join()
    assert (silence, heard) == ("", [greeting])


def test_the_try_is_made_from_the_address_that_yt_dlp_is_to_take(tmp_path: Path) -> None:
    further = {"source_address": "192.0.2.1"}  # not one of this machine
    with web_server(tmp_path) as server:
        asked = options(yt_dlp_options=further)
        assert "Cannot assign" in find_silence(asked, address(server.url))


def test_a_host_that_no_name_is_like_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^proxy: 'http://a..b:80' does not answer"):
        find_silence(options("http://a..b:80"))


def test_a_port_where_nobody_is(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = "http://127.0.0.1:1"
    assert "Connection refused" in find_silence(options(), address(nobody))
    with pytest.raises(OptionError, match=r"^proxy: 'http://127.0.0.1:1' does not answer"):
        find_silence(options(nobody))
    monkeypatch.setenv("HTTPS_PROXY", nobody)  # no option's fault
    assert "Connection refused" in find_silence(options())


def test_silence_is_remembered_for_an_hour_for_this_address_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.at(tmp_path / "clips")
    store.prepare()
    note_silence(store, options(), is_silent=True)
    assert "0 minutes ago" in recall_silence(store, options())
    assert recall_silence(store, options("http://127.0.0.1:3128")) == ""
    with monkeypatch.context() as patch:
        patch.setattr("platform.node", lambda: "another")
        assert recall_silence(store, options()) == ""
    later = time.time() + 3601
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: later)
        assert recall_silence(store, options()) == ""
    note_silence(store, options(), is_silent=False)
    assert recall_silence(store, options()) == ""


def test_only_silence_is_remembered_and_not_what_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent_server: str
) -> None:
    store = Store.at(tmp_path / "clips")
    store.prepare()
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert "Connection refused" in why_out_of_reach(store, options(), afresh=False)
    assert recall_silence(store, options()) == ""
    monkeypatch.setenv("HTTPS_PROXY", silent_server)
    assert "timed out" in why_out_of_reach(store, options(), afresh=False)
    assert "remembered for an hour" in why_out_of_reach(store, options(), afresh=False)
    assert "timed out" in why_out_of_reach(store, options(), afresh=True)


@pytest.mark.parametrize(
    "content",
    ["", "no JSON", "[1]", json.dumps({"here": "soon"}), f'{{"here": 1{"0" * 400}}}', "[" * 9000],
)
def test_notes_that_nobody_wrote_are_none(tmp_path: Path, content: str) -> None:
    store = Store.at(tmp_path / "clips")
    store.prepare()
    (tmp_path / "clips/.kinetics600/youtube-silence.json").write_text(content)
    assert recall_silence(store, options()) == ""
    note_silence(store, options(), is_silent=True)
    assert recall_silence(store, options())

"""A firewall that drops what is sent to YouTube costs one quick try an hour."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k600.errors import OptionError
from k600.loading.request import make_request
from k600.store.store import Store
from k600.youtube import reach
from k600.youtube.options import YouTubeOptions
from k600.youtube.reach import find_silence, why_out_of_reach
from tests.servers import web_server
from tests.youtube_replica import youtube_replica


def options(proxy: str | None = None, **more: Any) -> YouTubeOptions:
    return make_request("train", default_data_dir="/nowhere", proxy=proxy, **more).youtube


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "_SECONDS", 1.0)


@pytest.fixture
def page_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has another address asked in place of YouTube's."""
    return functools.partial(monkeypatch.setattr, reach, "_PAGE")


def test_what_takes_connections_and_says_nothing_is_silent(
    silent_server: str, page_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for scheme in ("http", "socks5h"):
        proxy = silent_server.replace("http", scheme)
        assert f"{proxy} does not answer (" in find_silence(options(proxy))
    monkeypatch.setenv("HTTPS_PROXY", silent_server)
    assert f"{silent_server} does not answer" in find_silence(options())
    monkeypatch.setenv("HTTPS_PROXY", silent_server.replace("http", "socks5h"))
    assert "socks5h://127.0.0.1" in find_silence(options())
    monkeypatch.delenv("HTTPS_PROXY")
    page_at(silent_server)
    assert "timed out" in find_silence(options())


def test_whoever_answers_is_not_silent(tmp_path: Path, page_at: Callable[[str], None]) -> None:
    further = {"nocheckcertificate": True}
    with youtube_replica() as youtube, web_server(tmp_path) as server:
        assert find_silence(options(youtube.url, yt_dlp_options=further)) == ""
        assert "ertificate" in find_silence(options(youtube.url))
        page_at(f"{server.url}/none")  # "not found" is an answer
        assert find_silence(options()) == ""


def test_no_password_of_a_proxy_is_told(silent_server: str, tmp_path: Path) -> None:
    with web_server(tmp_path) as server:  # one that is no proxy
        for url in (silent_server, server.url):
            silence = find_silence(options(url.replace("://", "://me:the-secret@")))
            assert f"{url} does not answer" in silence
            assert "secret" not in silence


def test_the_try_is_made_from_the_address_that_yt_dlp_is_to_take(
    tmp_path: Path, page_at: Callable[[str], None]
) -> None:
    further = {"source_address": "192.0.2.1"}  # not one of this machine
    with web_server(tmp_path) as server:
        page_at(server.url)
        assert "Cannot assign" in find_silence(options(yt_dlp_options=further))


def test_a_host_that_no_name_is_like_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^proxy: 'http://a..b:80' does not answer"):
        find_silence(options("http://a..b:80"))


def test_a_port_where_nobody_is(
    monkeypatch: pytest.MonkeyPatch, page_at: Callable[[str], None]
) -> None:
    nobody = "http://127.0.0.1:1"
    with pytest.raises(OptionError, match=r"^proxy: 'http://127.0.0.1:1' does not answer"):
        find_silence(options(nobody))
    monkeypatch.setenv("HTTPS_PROXY", nobody)  # no option's fault
    assert "Connection refused" in find_silence(options())
    monkeypatch.delenv("HTTPS_PROXY")
    page_at(nobody)
    assert "Connection refused" in find_silence(options())


def test_silence_is_remembered_for_an_hour_for_this_address_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent_server: str
) -> None:
    store = Store.at(tmp_path / "clips")
    store.prepare()
    monkeypatch.setenv("HTTPS_PROXY", silent_server)
    silent = functools.partial(why_out_of_reach, store, options(), afresh=False)
    assert "timed out" in silent()
    assert "0 minutes ago" in silent()

    monkeypatch.setattr(reach, "find_silence", lambda options: "")  # it answers again
    assert why_out_of_reach(store, options("http://127.0.0.1:3128"), afresh=False) == ""
    with monkeypatch.context() as patch:
        patch.setattr("platform.node", lambda: "another")
        assert silent() == ""
    assert "0 minutes ago" in silent()
    later = time.time() + 3601
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: later)
        assert silent() == ""
    assert silent() == ""  # and so there is nothing to remember


def test_only_silence_is_remembered_and_not_what_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent_server: str
) -> None:
    store = Store.at(tmp_path / "clips")
    store.prepare()
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert "Connection refused" in why_out_of_reach(store, options(), afresh=False)
    assert "Connection refused" in why_out_of_reach(store, options(), afresh=False)
    monkeypatch.setenv("HTTPS_PROXY", silent_server)
    assert "timed out" in why_out_of_reach(store, options(), afresh=False)
    assert "remembered for an hour" in why_out_of_reach(store, options(), afresh=False)
    assert "timed out" in why_out_of_reach(store, options(), afresh=True)


@pytest.mark.parametrize(
    "content",
    ["", "no JSON", "[1]", json.dumps({"here": "soon"}), f'{{"here": 1{"0" * 400}}}', "[" * 9000],
)
def test_notes_that_nobody_wrote_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent_server: str, content: str
) -> None:
    store = Store.at(tmp_path / "clips")
    store.prepare()
    (tmp_path / "clips/.kinetics600/youtube-silence.json").write_text(content)
    monkeypatch.setenv("HTTPS_PROXY", silent_server)
    assert "timed out" in why_out_of_reach(store, options(), afresh=False)
    assert "ago" in why_out_of_reach(store, options(), afresh=False)

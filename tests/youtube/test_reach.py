"""A firewall that drops what is sent to YouTube costs one quick try an hour."""

from __future__ import annotations

import json
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from k600.errors import OptionError
from k600.loading.request import make_request
from k600.store.store import Store
from k600.youtube import reach
from k600.youtube.options import YouTubeOptions
from k600.youtube.reach import find_silence, note_silence, recall_silence
from tests.servers import web_server
from tests.youtube_replica import youtube_replica


def options(proxy: str | None = None) -> YouTubeOptions:
    return make_request("train", default_data_dir="/nowhere", proxy=proxy).youtube


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
    assert "does not answer" in find_silence(options(silent_server))
    monkeypatch.setenv("HTTPS_PROXY", silent_server)
    assert f"{silent_server} does not answer" in find_silence(options())


def test_whoever_answers_is_not_silent(tmp_path: Path) -> None:
    with youtube_replica() as youtube, web_server(tmp_path) as server:
        assert find_silence(options(youtube.url)) == ""
        assert find_silence(options(server.url)) == ""  # no proxy: for yt-dlp to say
        assert find_silence(options(), address(server.url)) == ""  # no TLS: the same
        assert youtube.requests == []


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


@pytest.mark.parametrize("content", ["", "no JSON", "[1]", json.dumps({"here": "soon"})])
def test_notes_that_nobody_wrote_are_none(tmp_path: Path, content: str) -> None:
    store = Store.at(tmp_path / "clips")
    store.prepare()
    (tmp_path / "clips/.kinetics600/youtube-silence.json").write_text(content)
    assert recall_silence(store, options()) == ""
    note_silence(store, options(), is_silent=True)
    assert recall_silence(store, options())

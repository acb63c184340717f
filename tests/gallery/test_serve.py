"""A page is served to this machine alone, and with it no file but its clips."""

from __future__ import annotations

import http.client
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from k600.errors import OptionError
from k600.gallery.serve import PageServer
from k600.miniature import Miniature
from tests.gallery.test_gallery import CLIP, Page, on_disk, row


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    (tmp_path / "secret.txt").write_text("not for the page")
    rows = [on_disk(tmp_path / "clips" / f"{n}.mp4") for n in range(2)]
    with PageServer(rows, port=0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: PageServer, path: str, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    url = urlsplit(server.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 0, timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read()
    connection.close()
    return found


def test_the_page_and_its_clips_are_served(server: PageServer, tmp_path: Path) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{16}/", server.url)
    root = urlsplit(server.url).path
    status, headers, html = ask(server, root)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    (tmp_path / "page.html").write_bytes(html)
    links = [clip["link"] for clip in Page(tmp_path / "page.html").clips]
    assert links == ["clips/0.mp4", "clips/1.mp4"]

    status, headers, data = ask(server, root + links[1])
    assert (status, headers["Content-Type"], data) == (200, "video/mp4", CLIP)
    status, headers, data = ask(server, root + links[1], Range="bytes=4-7")
    assert (status, headers["Content-Range"]) == (206, f"bytes 4-7/{len(CLIP)}")
    assert data == CLIP[4:8]
    for odd in ("bytes=5-2", f"bytes={len(CLIP)}-", "bytes=0-1,3-4", f"bytes=1-{'9' * 5000}"):
        assert ask(server, root + links[1], Range=odd)[::2] == (200, CLIP)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/clips/0.mp4",
        "{root}clips/2.mp4",
        "{root}secret.txt",
        "{root}../secret.txt",
        "{root}clips/../../secret.txt",
        "{root}%2e%2e/secret.txt",
        "{root}clips/0.mp4/../../secret.txt",
        "{folder}/clips/0.mp4",
        "{root}{folder}/secret.txt",
        "http://127.0.0.1:1/",
    ],
)
def test_nothing_else_is(path: str, server: PageServer, tmp_path: Path) -> None:
    root = urlsplit(server.url).path
    status, _, data = ask(server, path.format(root=root, folder=tmp_path))
    assert status == 404
    assert b"not for the page" not in data


def test_a_clip_that_has_gone_is_not_found(server: PageServer, tmp_path: Path) -> None:
    (tmp_path / "clips/0.mp4").unlink()
    assert ask(server, urlsplit(server.url).path + "clips/0.mp4")[0] == 404


def test_a_port_that_is_taken_is_said_so(server: PageServer) -> None:
    taken = server.server_address[1]
    with pytest.raises(OptionError, match=f"port: {taken} of 127.0.0.1 cannot be listened at"):
        PageServer([row()], port=taken)
    with pytest.raises(OptionError, match="port: 70000 is not allowed"):
        PageServer([row()], port=70_000)


def test_the_command_says_where_the_page_is_and_ends_with_ctrl_c(
    own_miniature: Miniature, tmp_path: Path
) -> None:
    program = "from k600.cli import main; main()"
    command = ["gallery", "validation", "--source", "cvdf", "--class", "zumba", "--serve"]
    places = ["--data-dir", str(tmp_path / "clips"), "--mirror", str(own_miniature.root)]
    with subprocess.Popen(
        [sys.executable, "-c", program, *command, *places, "--port", "0"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        look_and_end(running)
    assert not (tmp_path / "gallery.html").exists()


def look_and_end(running: subprocess.Popen[str]) -> None:
    assert running.stderr is not None
    said = ""
    while "http://" not in said:
        line = running.stderr.readline()
        assert line, said
        said += line
    port = re.search(r"http://127\.0\.0\.1:(\d+)/", said)
    assert port is not None
    assert f"  ssh -L {port[1]}:127.0.0.1:{port[1]} " in said

    url = urlsplit(said.split()[-1])
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 0, timeout=20)
    connection.request("GET", url.path)
    assert b"zumba" in connection.getresponse().read()
    connection.close()

    running.send_signal(signal.SIGINT)
    rest = running.stderr.read()
    assert running.wait() == 0, rest
    assert "Traceback" not in rest


def test_the_command_opens_the_page_in_the_browser(
    own_miniature: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > "{tmp_path}/opened"\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    places = ["--data-dir", str(tmp_path / "clips"), "--mirror", str(own_miniature.root)]
    command = ["gallery", "validation", "--source", "cvdf", "--class", "zumba", "--open"]
    program = [sys.executable, "-c", "from k600.cli import main; main()"]
    subprocess.run([*program, *command, *places], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "opened").read_text().strip() == (tmp_path / "gallery.html").as_uri()

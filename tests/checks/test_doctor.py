from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import k600.cli.doctor
from k600.checks.doctor import (
    Finding,
    check_codecs,
    check_disk,
    check_environment,
    check_js_runtime,
    check_mirror,
    check_network,
    check_package,
    check_solver,
    check_torchcodec,
    check_writable,
    check_youtube,
    check_yt_dlp,
    run_checks,
)
from k600.cli import app
from k600.loading.request import make_request
from k600.miniature import Miniature
from k600.mirror.mirror import Mirror
from k600.network import Network
from k600.store.store import Store
from k600.youtube.options import YouTubeOptions, yt_dlp_params
from tests.servers import LOOPBACK, free_port, web_server
from tests.youtube_replica import CERTIFICATE, youtube_replica

DEAD = f"http://{LOOPBACK}:9"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments], catch_exceptions=False)


def states(result: Result) -> dict[str, str]:
    return {finding["name"]: finding["state"] for finding in json.loads(result.stdout)}


def test_a_machine_that_is_fit(miniature: Miniature, tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path / "clips"), "--offline")
    with web_server(miniature.root.parent) as server:
        done = run("--mirror", str(miniature.root), *where, "--json")
        findings = [Finding(**finding) for finding in json.loads(done.stdout)]
        assert [dataclasses.asdict(f) for f in findings] == json.loads(done.stdout)
        assert done.exit_code == 0
        found = states(done)
        assert found["mirror"] == "ok"  # a folder is no network
        assert found["youtube"] == "skipped"
        assert "error" not in found.values()
        assert list(found)[:3] == ["python", "datasets", "huggingface_hub"]
        assert states(run("--mirror", f"{server.url}/600", *where, "--json"))["mirror"] == "skipped"
        assert not server.requests
    assert not (tmp_path / "clips").exists()


def test_what_it_says_when_piped(miniature: Miniature, tmp_path: Path) -> None:
    done = run("--mirror", DEAD, "--proxy", DEAD, "--data-dir", str(tmp_path))
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert all(line.split()[0] in ("ok", "warning", "error", "skipped") for line in lines)
    assert all(c == "\n" or c.isprintable() for c in done.stdout)
    (mirror,) = (line for line in lines if line.startswith("error"))
    assert mirror.split()[1] == "mirror"
    assert "cannot be reached" in mirror
    (youtube,) = (line for line in lines if line.split()[1] == "youtube")
    assert youtube.startswith("warning")


def test_no_secret_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINETICS600_MIRROR", "http://me:geheim1@127.0.0.1:9/600?sig=geheim2")
    monkeypatch.setenv("KINETICS600_TOKEN", "geheim3")
    done = run("--proxy", "http://me:geheim4@127.0.0.1:9", "--data-dir", str(tmp_path), "--json")
    assert done.exit_code == 1
    assert "geheim" not in done.stdout + done.stderr
    assert "127.0.0.1:9/600" in done.stdout
    assert "KINETICS600_TOKEN is set" in done.stdout


def test_a_loader_that_does_not_start_is_a_finding(
    miniature: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ImportError("cannot import name 'Video' from 'datasets'")

    monkeypatch.setattr(k600.cli.doctor, "request_of", broken)
    done = run("--offline", "--mirror", str(miniature.root), "--data-dir", str(tmp_path), "--json")
    first = Finding(**json.loads(done.stdout)[0])
    assert (done.exit_code, first.name, first.state) == (1, "kinetics600", "error")
    assert "cannot import name 'Video'" in first.detail


def test_a_check_that_raises_or_hangs_is_a_finding() -> None:
    def raises() -> Finding:
        raise ZeroDivisionError("first line\nsecond line")

    going_on = threading.Event()

    def hangs() -> Finding:
        going_on.wait(10)
        return Finding("hangs", "ok", "")

    began = time.monotonic()
    found = run_checks(
        {"raises": raises, "hangs": hangs, "fine": lambda: Finding("fine", "ok", "http://a:b@c/d")},
        most_seconds=0.3,
    )
    going_on.set()
    assert time.monotonic() - began < 5
    assert [(one.name, one.state) for one in found] == [
        ("raises", "error"),
        ("hangs", "error"),
        ("fine", "ok"),
    ]
    assert "ZeroDivisionError: first line)" in found[0].detail
    assert "no answer within 0.3 seconds" in found[1].detail
    assert found[2].detail == "http://c/d"


def test_a_mirror_on_loopback(miniature: Miniature) -> None:
    with web_server(miniature.root.parent) as server:
        found = check_mirror(Mirror(f"{server.url}/600"))
        assert (found.state, "answers in" in found.detail) == ("ok", True)
        found = check_mirror(Mirror(f"{server.url}/elsewhere"))
        assert found.state == "error"
        assert "does not exist" in found.detail
    with web_server(miniature.root.parent, missing=403) as server:
        assert "is refused" in check_mirror(Mirror(f"{server.url}/elsewhere")).detail


def test_a_mirror_that_is_out_of_reach_or_no_mirror() -> None:
    found = check_mirror(Mirror(f"http://{LOOPBACK}:{free_port()}/600"))
    assert found.state == "error"
    assert "cannot be reached" in found.detail
    assert found.advice
    assert check_mirror(Mirror("gopher://somewhere/600")).state == "error"


def youtube(**options: Any) -> YouTubeOptions:
    return make_request("train", default_data_dir="/nowhere", **options).youtube


def test_youtube_through_the_replica_and_out_of_reach() -> None:
    with youtube_replica() as replica:
        options = youtube(proxy=replica.url, yt_dlp_options={"nocheckcertificate": True})
        found = check_youtube(yt_dlp_params(options))
        assert found.state == "ok", found
        assert "through the proxy" in found.detail
        assert any(request.path == "/robots.txt" for request in replica.requests)
        untrusted = check_youtube(yt_dlp_params(youtube(proxy=replica.url)))
        assert (untrusted.state, "ertificate" in untrusted.detail) == ("warning", True)
    found = check_youtube({**yt_dlp_params(youtube()), "proxy": DEAD})
    assert found.state == "warning"
    assert "cannot be reached" in found.detail
    assert check_youtube({}, offline=True).state == "skipped"


def test_a_torchcodec_that_is_broken_absent_or_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "torchcodec"
    package.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delitem(sys.modules, "torchcodec", raising=False)  # of a test before this one
    init = package / "__init__.py"
    init.write_text("raise RuntimeError('Could not load libtorchcodec.\\nLikely causes: …')")
    found = check_torchcodec()
    assert found.state == "warning"
    assert found.detail == "broken: RuntimeError: Could not load libtorchcodec."
    assert "ffmpeg" in found.advice
    init.write_text("import os; os.abort()")
    assert "ended the process" in check_torchcodec().detail
    init.write_text("__version__ = '0.9'")
    (package / "decoders.py").touch()
    assert check_torchcodec() == Finding("torchcodec", "ok", "0.9")
    assert "torchcodec" not in sys.modules


def test_no_javascript_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_js_runtime().state == "ok"
    assert "deno" in check_js_runtime().detail
    gone = {"deno": {"path": str(tmp_path / "deno")}}
    monkeypatch.setenv("PATH", str(tmp_path))
    found = check_js_runtime(gone)
    assert (found.state, found.advice) == ("warning", "pip install deno")
    for name, version in (("deno", "deno 1.40.0"), ("node", "v24.1.0")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {version}\n")
        (tmp_path / name).chmod(0o755)
    found = check_js_runtime(gone)
    assert found.state == "warning"
    assert f"deno 1.40.0 at {tmp_path}/deno, node 24.1.0 at {tmp_path}/node" in found.detail
    assert "{'js_runtimes': {'node': {}}}" in found.advice
    assert check_js_runtime({"node": {}}).state == "ok"


def test_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    released = datetime.date(*map(int, importlib.metadata.version("yt-dlp").split(".")[:3]))
    assert check_yt_dlp(released + datetime.timedelta(days=90)).state == "ok"
    old = check_yt_dlp(released + datetime.timedelta(days=91))
    assert (old.state, "91 days old" in old.detail) == ("warning", True)
    assert check_solver().state == "ok"
    assert check_codecs().state == "ok"
    assert check_package("no_such_package").advice == "pip install 'no_such_package'"
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("yt-dlp", "yt-dlp-ejs"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "2.1" if name in ("datasets", "s3fs") else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = check_package("datasets")
    assert found.state == "error"
    assert found.detail == "2.1, and <6,>=4.6 is needed"
    assert check_package("s3fs").state == "error"
    assert check_yt_dlp().state == "error"
    assert check_solver().state == "warning"


def test_a_codec_that_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    real = av.codec.Codec

    def codec(name: str, mode: Any) -> Any:
        if name in ("libx264", "libdav1d"):
            raise ValueError(name)
        return real(name, mode)

    monkeypatch.setattr(av.codec, "Codec", codec)
    found = check_codecs()
    assert found.state == "warning"
    assert found.detail.endswith("lacks encoder libx264, decoder av1")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    assert check_writable(Store.at(tmp_path)) == Finding("data_dir", "ok", str(tmp_path))
    new = check_writable(Store.at(tmp_path / "new" / "clips"))
    assert (new.state, "made by the first load" in new.detail) == ("ok", True)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    assert "not a folder" in check_writable(Store.at(tmp_path / "file")).detail
    assert check_writable(Store.at("/proc/clips")).state == "error"  # not even root may
    assert "SQLite takes 504" in check_writable(Store.at(tmp_path / (3 * f"{200 * 'f'}/"))).detail
    assert "File name too long" in check_writable(Store.at(tmp_path / ("f" * 300))).detail
    there = check_writable(Store.at("/proc/self"))
    assert (there.state, "can be loaded" in there.detail) == ("warning", True)


def test_a_folder_that_a_group_shares(tmp_path: Path) -> None:
    def look(mask: int) -> Finding:
        before = os.umask(mask)
        try:
            return check_writable(Store.at(tmp_path))
        finally:
            os.umask(before)

    assert look(0o077).state == "ok"  # it is for one user
    tmp_path.chmod(0o2775)
    assert look(0o002).state == "ok"
    found = look(0o022)
    assert (found.state, "your umask is 022" in found.detail) == ("warning", True)
    assert "umask 002" in found.advice
    store = Store.at(tmp_path)
    store.prepare()
    store.ledger_path.chmod(0o644)
    store.ledger_path.parent.chmod(0o755)
    found = look(0o002)
    assert (found.state, f"but not '{tmp_path}/.kinetics600'" in found.detail) == ("warning", True)


def test_room_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)

    def free(size: int) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=size))

    free(100 * 10**9)
    found = check_disk(Store.at(tmp_path / "new"))
    assert found.state == "ok"
    assert (
        "room for validation (43.0 GB), test (88.0 GB); none for train (648.0 GB)" in found.detail
    )
    real = os.statvfs(tmp_path)
    few = os.statvfs_result([*real[:5], 200_000, 100_000, 100_000, *real[8:]])
    with monkeypatch.context() as patched:
        patched.setattr(os, "statvfs", lambda path: few)
        found = check_disk(Store.at(tmp_path))
    assert found.detail.startswith("100.0 GB free, in 100,000 files at most: room for validation")
    assert "none for train (648.0 GB, about 437,837 files)" in found.detail
    free(10**9)
    found = check_disk(Store.at(tmp_path))
    assert found.state == "warning"
    assert "max_samples" in found.advice


def test_variables_are_noted() -> None:
    assert check_environment({}).state == "ok"
    found = check_environment({"HF_HUB_OFFLINE": "1", "KINETICS600_HOME": "/data"})
    assert found.state == "warning"
    assert found.detail == "KINETICS600_HOME=/data; HF_HUB_OFFLINE=1"
    assert "unset HF_HUB_OFFLINE" in found.advice
    assert check_environment({"HF_HUB_OFFLINE": "0"}).state == "ok"
    assert check_environment({"KINETICS600_MIROR": "x"}).state == "warning"


def test_the_network_of_the_environment_is_named_without_its_passwords(tmp_path: Path) -> None:
    assert check_network(Network({})).state == "ok"
    path = tmp_path / "authority.pem"
    path.write_bytes(CERTIFICATE)
    network = Network(
        {"https": "http://me:hushword@proxy.test:3128"},
        ("localhost", ".corp"),
        (("SSL_CERT_FILE", str(path)),),
    )
    found = check_network(network)
    assert found.state == "ok"
    assert found.detail == (
        "https:// through http://proxy.test:3128; not for localhost, .corp (NO_PROXY); "
        f"certificates of {path} (SSL_CERT_FILE)"
    )
    others = dataclasses.replace(network, certificates=(("CURL_CA_BUNDLE", str(path)),))
    assert check_network(others).state == "warning"
    both = dataclasses.replace(network, certificates=(*network.certificates, *others.certificates))
    assert check_network(both).detail.count("certificates of ") == 1
    assert f"certificates of {path} (SSL_CERT_FILE, CURL_CA_BUNDLE)" in check_network(both).detail
    assert "SSL_CERT_FILE" in check_network(others).advice


def test_a_network_that_cannot_be_used_is_an_error_that_names_the_variable() -> None:
    proxy = check_network(Network({"all": "socks5://me:hushword@proxy.test:1080"}))
    certificates = check_network(Network({}, certificates=(("AWS_CA_BUNDLE", "/no/such.pem"),)))
    for found, variable in ((proxy, "ALL_PROXY"), (certificates, "AWS_CA_BUNDLE")):
        assert found.state == "error"
        assert variable in found.detail
        assert "hushword" not in found.detail

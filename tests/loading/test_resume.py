"""A load that ends before its time, and what the same call makes of it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kinetics600
from k600.dataset.clip import Tarball
from k600.miniature import Miniature, make_miniature, make_tarball
from k600.mirror.mirror import Mirror
from k600.store.ledger import Ledger
from k600.store.store import Store
from tests.conftest import Load, contents, expected
from tests.servers import CuttingProxy, S3Server, WebServer, web_server

PROGRAM = """
import sys, datasets, kinetics600
datasets.disable_progress_bars()
data_dir, cache_dir, mirror = sys.argv[1:]
print("ready", flush=True)
kinetics600.load_dataset(
    "train", data_dir=data_dir, cache_dir=cache_dir, mirror=mirror, num_workers=2)
print("done", flush=True)
"""


def start(folders: dict[str, Any], mirror: str) -> subprocess.Popen[str]:
    arguments = [folders["data_dir"], folders["cache_dir"], mirror]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(kinetics600.__file__).parent,
    )


def test_killed_at_any_moment_the_same_call_ends_with_the_same_bytes(
    tmp_path: Path, folders: dict[str, Any], load: Load
) -> None:
    host = make_miniature(tmp_path / "host", clips_per_class=60, flaws=False)
    chance = random.Random(600)
    for _ in range(6):
        process = start(folders, str(host.root))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0, 0.5))  # not a wait for something: the moment of the kill
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for key, data in contents(folders["data_dir"]).items():
            assert data == expected(host, "train")[key], "half a clip is visible"
        Ledger(Store.at(folders["data_dir"]).ledger_path).clips("train")  # can be read
    load("train", mirror=str(host.root))
    assert contents(folders["data_dir"]) == expected(host, "train")
    assert not [*Path(folders["data_dir"], ".kinetics600/incoming").iterdir()]


def test_ctrl_c_ends_it_soon_and_the_next_call_goes_on(
    tmp_path: Path, folders: dict[str, Any], load: Load
) -> None:
    host = make_miniature(tmp_path / "host", clips_per_class=200, flaws=False)
    process = start(folders, str(host.root))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    while not [*Path(folders["data_dir"]).glob("train/*/*.mp4")]:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    rest, _ = process.communicate(timeout=30)
    assert time.monotonic() - asked < 10
    assert process.returncode != 0 or rest == "done\n"
    assert not [*Path(folders["data_dir"], ".kinetics600/incoming").glob("*/*")]
    load("train", mirror=str(host.root))
    assert contents(folders["data_dir"]) == expected(host, "train")


def test_done_tarballs_are_not_fetched_and_clips_at_hand_not_rewritten(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    with web_server(miniature.root.parent) as server:
        options = {"mirror": f"{server.url}/600"}
        load("train", classes=["surfing water", "springboard diving"], **options)
        root = Path(folders["data_dir"])
        before = {key: os.stat(root / key) for key in contents(root)}
        server.requests.clear()
        load("train", **options)
        fetched = {path for method, path in server.requests if path.endswith(".tar.gz")}
    assert not any("surfing" in path or "springboard" in path for path in fetched)
    assert len(fetched) == 4
    for key, status in before.items():
        now = os.stat(root / key)
        assert (now.st_ino, now.st_mtime_ns) == (status.st_ino, status.st_mtime_ns)


@pytest.fixture
def server(miniature: Miniature) -> Iterator[WebServer]:
    with web_server(miniature.root.parent) as found:
        yield found


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_is_lost_comes_back_and_nothing_else_is_read(
    data: st.DataObject,
    load: Load,
    folders: dict[str, Any],
    miniature: Miniature,
    server: WebServer,
) -> None:
    load("train", mirror=f"{server.url}/600")
    keys = sorted(expected(miniature, "train"))
    lost = data.draw(st.lists(st.sampled_from(keys), unique=True))
    for key in lost:
        Path(folders["data_dir"], key).unlink()
    server.requests.clear()
    load("train", mirror=f"{server.url}/600")
    read = {path for _, path in server.requests if path.endswith(".tar.gz")}
    assert contents(folders["data_dir"]) == expected(miniature, "train")
    assert read == {f"/600/train/{key.split('/')[1]}.tar.gz" for key in lost}


def test_a_half_clip_under_a_right_name_is_replaced(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    """As a power cut may leave it behind."""
    key, data = next(iter(expected(miniature, "train").items()))
    path = Path(folders["data_dir"], key)
    path.parent.mkdir(parents=True)
    path.write_bytes(data[: len(data) // 2])
    load("train")
    assert path.read_bytes() == data


def test_a_clip_that_was_there_before_is_kept_as_it_is(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    keys = sorted(expected(miniature, "train"))
    path = Path(folders["data_dir"], keys[0])
    path.parent.mkdir(parents=True)
    other = expected(miniature, "train")[keys[1]]
    path.write_bytes(other)
    os.utime(path, (1e9, 1e9))
    ds = load("train")["train"]
    assert path.read_bytes() == other
    sources = {row["video"]["path"]: row["source"] for row in ds}
    assert sources.pop(str(path)) == "local"
    assert set(sources.values()) == {"cvdf"}


def test_a_connection_that_keeps_breaking_brings_the_same_bytes(
    tmp_path: Path, s3: S3Server, folders: dict[str, Any], load: Load
) -> None:
    host = make_miniature(tmp_path / "host", classes=["zumba"], clips_per_class=400, flaws=False)
    s3.upload(host.root, "kinetics/breaking/600")
    size = (host.root / "train/zumba.tar.gz").stat().st_size
    with CuttingProxy(s3.url, size // 3) as proxy:
        ds = load(
            "train",
            mirror="s3://kinetics/breaking/600",
            mirror_options={"anon": True, "endpoint_url": proxy.url},
        )
        assert proxy.cuts > 0
    assert len(ds["train"]) == 400
    assert contents(folders["data_dir"]) == expected(host, "train")


def test_a_damaged_tarball_leaves_nothing_and_is_read_again_once_it_was_replaced(
    own_miniature: Miniature, load: Load, folders: dict[str, Any], lines: pytest.LogCaptureFixture
) -> None:
    path = own_miniature.root / "train/zumba.tar.gz"
    sound = path.read_bytes()
    path.write_bytes(sound[:-8] + bytes(4) + sound[-4:])
    with web_server(own_miniature.root.parent) as server:
        options = {"mirror": f"{server.url}/600"}
        assert len(load("train", **options)["train"]) == 5
        assert "5  tarball_damaged" in lines.text
        assert not [key for key in contents(folders["data_dir"]) if "zumba" in key]
        tries = [1 for method, p in server.requests if method == "HEAD" and "zumba" in p]
        assert len(tries) >= 2  # it was read twice
        path.write_bytes(sound)
        assert len(load("train", **options)["train"]) == 10
    assert contents(folders["data_dir"]) == expected(own_miniature, "train")


def test_a_bad_clip_is_asked_again_only_on_request(
    own_miniature: Miniature, load: Load, folders: dict[str, Any]
) -> None:
    clips = dict(own_miniature.clips["train"]["zumba"])
    name = next(iter(clips))
    path = own_miniature.root / "train/zumba.tar.gz"
    sound = path.read_bytes()
    path.write_bytes(make_tarball({**clips, name: clips[name][:-9]}))
    options = {"mirror": str(own_miniature.root)}
    assert len(load("train", **options)["train"]) == 9
    path.write_bytes(sound)
    assert len(load("train", **options)["train"]) == 9
    assert len(load("train", retry_errors=True, **options)["train"]) == 10


def test_a_tarball_that_is_not_there_is_asked_again_by_the_next_call(
    own_miniature: Miniature, load: Load
) -> None:
    path = own_miniature.root / "train/zumba.tar.gz"
    data = path.read_bytes()
    path.unlink()
    options = {"mirror": str(own_miniature.root)}
    assert len(load("train", **options)["train"]) == 5
    path.write_bytes(data)
    assert len(load("train", **options)["train"]) == 10


def test_a_tarball_counts_only_with_its_row_and_its_row_only_with_its_end(
    own_miniature: Miniature, load: Load, folders: dict[str, Any]
) -> None:
    load("train", mirror=str(own_miniature.root))
    ledger = Ledger(Store.at(folders["data_dir"]).ledger_path)
    row = ledger.tarball(Tarball("train", "zumba"))
    assert row is not None
    assert row.state == "done"
    remote = Mirror(str(own_miniature.root)).head("train/zumba.tar.gz")
    assert (row.etag, row.size_bytes) == (remote.etag, remote.size_bytes)
    rows = ledger.clips("train", "zumba")
    assert [clip.position for clip in rows] == list(range(5))
    assert [clip.file_name for clip in rows] == list(own_miniature.clips["train"]["zumba"])


def test_two_processes_on_one_store_do_not_fetch_twice(
    tmp_path: Path, folders: dict[str, Any]
) -> None:
    host = make_miniature(tmp_path / "host", clips_per_class=40, flaws=False)
    with web_server(host.root.parent) as server:
        mirror = f"{server.url}/600"
        other = {**folders, "cache_dir": str(tmp_path / "other-cache")}
        both = [start(folders, mirror), start(other, mirror)]
        assert [process.communicate()[0] for process in both] == ["ready\ndone\n"] * 2
        gets = [p for method, p in server.requests if method == "GET" and p.endswith(".tar.gz")]
    assert len(gets) == 6  # one range each
    assert contents(folders["data_dir"]) == expected(host, "train")


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=st.permutations(range(6)), num_workers=st.integers(1, 8), pieces=st.integers(1, 3))
def test_any_order_of_tarballs_any_workers_and_any_pieces_end_in_the_same_rows(
    order: list[int], num_workers: int, pieces: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("order")
    host = make_miniature(base / "host", clips_per_class=2)
    path = host.root / "val/k600_val_path.txt"
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{lines[index]}\n" for index in order))
    options = {
        "mirror": str(host.root),
        "data_dir": str(base / "clips"),
        "cache_dir": str(base / "cache"),
        "num_workers": num_workers,
        "on_missing": "skip",
    }
    names = list(host.clips["validation"])
    for number in range(1, pieces):  # some classes first, as separate loads
        kinetics600.load_dataset("validation", classes=[names[order[number]]], **options)
    ds = kinetics600.load_dataset("validation", **options)
    assert contents(base / "clips") == expected(host, "validation")
    rows = [(row["label"], os.path.basename(row["video"]["path"])) for row in ds]
    assert rows == sorted(rows)
    assert set(ds["source"]) == {"cvdf"}
    ledger = Ledger(Store.at(base / "clips").ledger_path)
    states = [(clip.folder, clip.file_name, clip.state) for clip in ledger.clips("validation")]
    assert len(states) == 12 + 4
    assert sum(state == "have" for _, _, state in states) == 12

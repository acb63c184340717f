"""The index: built by one pass over a host, shown, published, and used where nothing is stored."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pyarrow.parquet
import pytest

import kinetics600
from k600.dataset.clip import Tarball, file_name_of
from k600.errors import OptionError
from k600.loading.columns import place_of
from k600.miniature import CLASSES, Miniature, make_tarball
from k600.mirror.mirror import Mirror
from k600.tarballs.one_clip import read_clip
from tests.conftest import Command, contents
from tests.faults.host import faulty_host
from tests.faults.test_http import first, on_clips, spoil
from tests.hub import TOKEN, Hub, card_errors, environment, loopback_hub
from tests.servers import WebServer, web_server

ROWS_OF_IT = """
import json, zlib, datasets, kinetics600
rows = datasets.load_dataset("owner/index", "train", split="train")["crc32"][:]
options = {"shuffle_clips": True, "index": "hf://datasets/owner/index"}
stream = datasets.load_dataset("kinetics600", split="train", streaming=True, **options)
stream = stream.cast_column("video", datasets.Video(decode=False))
print(json.dumps([rows, [zlib.crc32(row["video"]["bytes"]) for row in stream]]))
"""

PROGRAM = Path(sys.executable).with_name("kinetics600")

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")


@pytest.fixture
def host(
    miniature: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WebServer]:
    """The miniature over HTTP, as the mirror of a user with an empty store."""
    monkeypatch.setenv("KINETICS600_HOME", str(tmp_path / "clips"))
    with web_server(miniature.root.parent) as server:
        monkeypatch.setenv("KINETICS600_MIRROR", f"{server.url}/600")
        yield server


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with loopback_hub() as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


def built(command: Command, *arguments: object, code: int = 0) -> dict[str, Any]:
    """Return what `index build` says, by split."""
    done = command("index", "build", *arguments, "--json")
    assert done.returncode == code, done.stderr
    return {split["split"]: split for split in json.loads(done.stdout)["splits"]}


def clips_by(table: Any, mirror: str) -> dict[tuple[str, str], bytes]:
    """Return the clips that an index places, each read by its place alone."""
    found = {}
    for row in table.to_pylist():
        place = place_of(Tarball(row["split"], row["tarball"]), row)
        name = file_name_of(row["youtube_id"], row["time_start"], row["time_end"])
        if place is not None:
            found[row["tarball"], name] = read_clip(Mirror(mirror), place, name)
    return found


def held(miniature: Miniature, split: str) -> dict[tuple[str, str], bytes]:
    packed = miniature.clips[split].items()
    return {(tarball, name): data for tarball, clips in packed for name, data in clips.items()}


def tarballs_read(server: WebServer) -> list[str]:
    gets = [path for method, path in server.requests if method == "GET"]
    return [path for path in gets if path.endswith(".tar.gz")]


def test_every_clip_comes_by_the_place_that_a_pass_over_the_host_found(
    host: WebServer, miniature: Miniature, command: Command, tmp_path: Path
) -> None:
    index = tmp_path / "index.parquet"
    splits = built(command, "--test-labels", miniature.test_labels, "--to", index)
    table: Any = pyarrow.parquet.read_table(index)
    for split, known in splits.items():
        assert known["tarballs"] == known["fetched_tarballs"] == len(miniature.clips[split])
        assert (known["missing"], known["unplaced"]) == ({}, [])
        own = table.filter(pyarrow.compute.equal(table["split"], split))
        assert known["clips"] == known["placed_clips"] == len(own)
        clips = clips_by(own, f"{host.url}/600")
        assert {key: clips[key] for key in held(miniature, split)} == held(miniature, split)
    assert contents(tmp_path / "clips") == {}  # no clip is stored
    labels = {
        file_name_of(row["youtube_id"], row["time_start"], row["time_end"]): row["label"]
        for row in table.to_pylist()
        if row["split"] == "test"
    }
    assert labels == miniature.labels
    assert {row["tarball_clips"] for row in table.to_pylist() if row["split"] == "train"} == {5}


def test_what_was_read_is_not_read_again_and_a_load_counts_as_well(
    host: WebServer, command: Command, tmp_path: Path
) -> None:
    kinetics600.load_dataset("validation", classes=CLASSES[:2], cache_dir=str(tmp_path / "cache"))
    assert built(command, "validation")["validation"]["fetched_tarballs"] == 4
    before = len(tarballs_read(host))
    again = built(command, "validation")["validation"]
    assert (again["fetched_tarballs"], again["tarballs"]) == (0, 6)
    assert len(tarballs_read(host)) == before


def test_killed_half_way_the_same_command_goes_on(
    miniature: Miniature, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fourth, go_on = threading.Event(), threading.Event()

    def hold(method: str, path: str) -> None:
        if method == "GET" and path.endswith(".tar.gz"):
            read.add(path)
            if len(read) == 4:
                fourth.set()
                go_on.wait(60)

    read: set[str] = set()
    monkeypatch.setenv("KINETICS600_HOME", str(tmp_path / "clips"))
    with web_server(miniature.root.parent, hold=hold) as server:
        monkeypatch.setenv("KINETICS600_MIRROR", f"{server.url}/600")
        words = [str(PROGRAM), "index", "build", "validation", "--workers", "1"]
        process = subprocess.Popen(words, env=os.environ, stderr=subprocess.DEVNULL)
        assert fourth.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait()
        go_on.set()
        known = built(command, "validation")["validation"]
        assert (known["fetched_tarballs"], known["tarballs"]) == (3, 6)
        assert known["placed_clips"] == 32


def test_a_load_after_it_takes_only_the_bytes_that_were_found(
    own_miniature: Miniature, tmp_path: Path
) -> None:
    """Nothing in a plain tar, nor in stored blocks before their end, shows a flipped bit."""
    clips = own_miniature.clips["train"]["zumba"]
    (own_miniature.root / "train/zumba.tar.gz").write_bytes(make_tarball(clips, gzipped=False))
    with faulty_host(own_miniature.root.parent) as host:
        here: dict[str, Any] = {"mirror": f"{host.url}/600", "data_dir": str(tmp_path / "clips")}
        kinetics600.build_index("train", **here)
        host.fault = first(1, on_clips(spoil))
        kinetics600.load_dataset(
            "train", classes="zumba", source="cvdf", cache_dir=str(tmp_path / "cache"), **here
        )
        assert host.struck == 1
    assert contents(tmp_path / "clips") == {f"train/zumba/{name}": clips[name] for name in clips}


def test_a_damaged_tarball_is_named_and_left_out(
    own_miniature: Miniature, command: Command, tmp_path: Path
) -> None:
    damaged = own_miniature.root / "val/zumba.tar.gz"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    here = ("--mirror", own_miniature.root, "--data-dir", tmp_path / "clips", "validation")
    assert built(command, *here, code=1)["validation"]["missing"] == {"tarball_damaged": 1}
    known = built(command, *here, code=3)["validation"]
    assert (known["missing"], known["tarballs"]) == ({"tarball_condemned": 1}, 1)


def test_tarballs_that_can_only_be_read_from_their_beginning_are_named(
    own_miniature: Miniature, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # They are short: of a real one, what is unpacked in front of a clip would be too much.
    monkeypatch.setattr("k600.tarballs.entries._MOST_HEAD_BYTES", 0)
    here = ("--mirror", own_miniature.root, "--data-dir", tmp_path / "clips")
    known = built(command, "train", *here, "--to", tmp_path / "index.parquet")["train"]
    assert (known["clips"], known["placed_clips"]) == (10, 0)
    assert known["unplaced"] == ["train/surfing water.tar.gz", "train/zumba.tar.gz"]
    shown = command("index", "show", tmp_path / "index.parquet")
    assert "train/zumba.tar.gz: all of it is compressed" in shown.stderr
    assert built(command, "train", *here)["train"]["fetched_tarballs"] == 0


def test_a_table_is_shown_as_the_ledger_is_and_held_against_the_mirror(
    own_miniature: Miniature, command: Command, tmp_path: Path
) -> None:
    here = ("--mirror", own_miniature.root, "--data-dir", tmp_path / "clips")
    index = tmp_path / "index.csv"
    built(command, "all", *here, "--to", index)
    shown = command("index", "show", *here, "--check", "--json")
    splits = json.loads(shown.stdout)["splits"]
    assert {split["split"]: split["placed_clips"] for split in splits} == {
        "train": 10,
        "validation": 10,
        "test": 4,
    }
    assert shown.returncode == 0
    assert command("index", "show", index, *here, "--check", "--json").stdout == shown.stdout

    changed = own_miniature.root / "train/zumba.tar.gz"
    changed.write_bytes(make_tarball(own_miniature.clips["train"]["zumba"], prefix=""))
    for what in ((), (index,)):
        shown = command("index", "show", *what, *here, "--check")
        assert shown.returncode == 1
        assert "train/zumba.tar.gz: it is not on the mirror any more" in shown.stderr
    assert built(command, "train", *here)["train"]["fetched_tarballs"] == 1


def test_published_it_serves_anywhere_and_again_nothing_is_sent(
    host: WebServer, miniature: Miniature, hub: Hub, command: Command, tmp_path: Path
) -> None:
    built(command, "train", "--test-labels", miniature.test_labels)
    done = command("index", "publish", "owner/index", "--json")
    assert done.returncode == 0, done.stderr
    (split,) = json.loads(done.stdout)["splits"]
    assert (split["split"], split["clips"], split["shards"]) == ("train", 30, 1)
    files = hub.files("owner/index")
    assert card_errors(files["README.md"].decode()) == []
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(files["data/train/index.parquet"]))
    assert clips_by(table, f"{host.url}/600") == held(miniature, "train")
    sent = len(hub.uploads)
    command("index", "publish", "owner/index")
    assert len(hub.uploads) == sent
    built(command, "validation")
    command("index", "publish", "owner/index")
    assert "data/validation/index.parquet" in hub.files("owner/index")

    elsewhere = {**environment(hub, tmp_path), "KINETICS600_MIRROR": f"{host.url}/600"}
    shown = subprocess.run(
        [PROGRAM, "index", "show", "hf://datasets/owner/index", "--check", "--json"],
        env={**elsewhere, "KINETICS600_HOME": str(tmp_path / "elsewhere")},
        capture_output=True,
        text=True,
        check=True,
    )
    splits = {split["split"]: split for split in json.loads(shown.stdout)["splits"]}
    assert {name: split["placed_clips"] for name, split in splits.items()} == {
        "train": 30,
        "validation": 32,
    }
    words, before = [sys.executable, "-c", ROWS_OF_IT], len(tarballs_read(host))
    loaded = subprocess.run(words, env=elsewhere, capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    rows, streamed = json.loads(loaded.stdout)
    assert rows == table["crc32"].to_pylist()
    assert sorted(streamed) == sorted(rows)
    assert len(tarballs_read(host)) - before == 30  # one request each


def test_what_makes_no_index_is_refused(
    own_miniature: Miniature, command: Command, tmp_path: Path
) -> None:
    here: dict[str, Any] = {
        "mirror": str(own_miniature.root),
        "data_dir": str(tmp_path / "clips"),
    }
    with pytest.raises(OptionError, match="max_samples"):
        kinetics600.build_index("train", max_samples=3, **here)
    with pytest.raises(OptionError, match="short_side, encode, crf, frame_step: not allowed"):
        kinetics600.build_index("train", short_side=128, **here)
    with pytest.raises(kinetics600.errors.OfflineError):
        kinetics600.build_index("train", source="local", **here)
    done = command("index", "publish", "./index", "--data-dir", tmp_path / "clips", cwd=tmp_path)
    assert done.returncode == 1
    assert "kinetics600 index build" in done.stderr
    found = kinetics600.build_index("train", to=tmp_path / "place", **here)
    assert [split.clips for split in found] == [10]
    assert (tmp_path / "place/data/train/index.parquet").exists()

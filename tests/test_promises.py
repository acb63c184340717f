"""Promises that are easy to break: what two loads, two mirrors or two processes make of a store."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import kinetics600
from k600.dataset.clip import Tarball
from k600.errors import MirrorUnreachableError, OptionError, StoreError
from k600.miniature import CLASSES, Miniature, make_clip, make_miniature, make_tarball
from k600.mirror.mirror import Mirror
from k600.store.ledger import Ledger
from k600.store.store import Store
from tests.conftest import Load, contents, expected
from tests.loading.test_cache import settle
from tests.servers import web_server


def ledger(folders: dict[str, Any]) -> Ledger:
    return Ledger(Store.at(folders["data_dir"]).ledger_path)


def test_rows_of_one_mirror_do_not_stand_for_another_s(
    load: Load, folders: dict[str, Any], tmp_path: Path
) -> None:
    small = make_miniature(tmp_path / "small", classes=["zumba"], flaws=False)
    large = make_miniature(tmp_path / "large", classes=["zumba", "yoga"], flaws=False)
    assert len(load("train", mirror=str(small.root))["train"]) == 5
    settle(folders)
    load("train", mirror=str(small.root))
    assert len(load("train", mirror=str(large.root))["train"]) == 10


def test_an_offline_result_does_not_stand_for_a_whole_one(
    load: Load, folders: dict[str, Any], own_miniature: Miniature, monkeypatch: Any
) -> None:
    import datasets

    for key, data in expected(own_miniature, "train").items():
        if "zumba" in key:
            path = Path(folders["data_dir"], key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    settle(folders)
    s3 = {"mirror": "s3://kinetics/600", "mirror_options": {"endpoint_url": "http://127.0.0.1:9"}}
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert len(load("train", **s3)["train"]) == 5
    with pytest.raises(kinetics600.Kinetics600Error, match="offline"):
        load("train", on_missing="raise", **s3)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    assert len(load("train", mirror=str(own_miniature.root))["train"]) == 10


def test_a_cache_that_was_moved_has_no_rows_that_point_to_the_old_place(
    tmp_path: Path, own_miniature: Miniature
) -> None:
    options = {"mirror": str(own_miniature.root)}
    kinetics600.load_dataset("train", cache_dir=str(tmp_path / "a"), **options)
    settle({"data_dir": tmp_path / "a/kinetics600-clips"})
    kinetics600.load_dataset("train", cache_dir=str(tmp_path / "a"), **options)
    shutil.move(tmp_path / "a", tmp_path / "b")
    ds = kinetics600.load_dataset("train", cache_dir=str(tmp_path / "b"), **options)
    assert all(os.path.exists(row["video"]["path"]) for row in ds)


def test_a_list_of_labels_that_changed_is_read_again(
    load: Load, folders: dict[str, Any], tmp_path: Path, miniature: Miniature, monkeypatch: Any
) -> None:
    name = next(iter(miniature.labels))
    row = f"{name[:11]},{int(name[12:18])},{int(name[19:25])}"
    table = tmp_path / "test.csv"

    def labels(label: str, where: str) -> set[int | None]:
        table.write_text(f"label,youtube_id,time_start,time_end\n{label},{row}\n")
        return set(load("test", test_labels=where)["test"]["label"])

    zumba, yoga = (kinetics600.label2id()[name] for name in ("zumba", "yoga"))
    assert labels("zumba", str(table)) == {zumba, None}
    settle(folders)
    assert labels("yoga", str(table)) == {yoga, None}
    monkeypatch.chdir(tmp_path)
    assert labels("zumba", "test.csv") == {zumba, None}


def test_a_split_whose_classes_were_loaded_first_is_still_whole(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    load("test", classes=CLASSES[4])
    states = {clip.state for clip in ledger(folders).clips("test")}
    assert states == {"have", "skipped"}
    assert len(load("test", on_missing="raise")["test"]) == 12
    assert contents(folders["data_dir"]) == expected(miniature, "test")


def test_another_process_that_wanted_less_does_not_stand_for_all(
    load: Load, folders: dict[str, Any], miniature: Miniature, monkeypatch: Any
) -> None:
    from k600.tarballs.extract import TarballExtractor

    extract, first = TarballExtractor.extract_tarball, threading.Event()

    def extract_later(self: TarballExtractor, *arguments: Any) -> Any:
        if not first.is_set():  # between plan and extraction, another load takes some classes
            first.set()
            other = {**folders, "cache_dir": folders["cache_dir"] + "-other"}
            load("test", classes=CLASSES[4], num_workers=1, **other)
        return extract(self, *arguments)

    monkeypatch.setattr(TarballExtractor, "extract_tarball", extract_later)
    assert len(load("test", on_missing="raise", num_workers=1)["test"]) == 12


def test_a_clip_that_vanished_from_disk_and_from_its_tarball_is_named(
    load: Load, own_miniature: Miniature, lines: pytest.LogCaptureFixture
) -> None:
    options = {"mirror": str(own_miniature.root)}
    ds = load("train", **options)["train"]
    path = Path(ds[0]["video"]["path"])
    clips = dict(own_miniature.clips["train"][path.parent.name])
    del clips[path.name]
    tarball = own_miniature.root / f"train/{path.parent.name}.tar.gz"
    tarball.write_bytes(make_tarball(clips))
    path.unlink()
    lines.clear()
    with pytest.raises(kinetics600.Kinetics600Error, match="1 clip .*not_in_tarball|not_in_tarba"):
        load("train", on_missing="raise", **options)
    assert "1 vanished" in lines.text
    assert len(load("train", **options)["train"]) == 9


def test_test_clips_that_came_unlabelled_do_not_come_twice(
    load: Load, folders: dict[str, Any], tmp_path: Path
) -> None:
    load("test", test_labels=str(tmp_path / "none.csv"))
    Path(folders["data_dir"], ".kinetics600/ledger.sqlite").unlink()  # as if killed before a row
    ds = load("test")["test"]
    assert len(ds) == 12
    assert len(contents(folders["data_dir"])) == 12
    assert set(ds["label"]) != {None}


def test_a_forced_download_of_a_damaged_tarball_takes_nothing_away(
    load: Load, folders: dict[str, Any], own_miniature: Miniature
) -> None:
    options = {"mirror": str(own_miniature.root)}
    load("train", **options)
    path = own_miniature.root / "train/zumba.tar.gz"
    sound = path.read_bytes()
    path.write_bytes(sound[:-8] + bytes(4) + sound[-4:])
    force = {"download_mode": "force_redownload"}
    assert len(load("train", **force, **options)["train"]) == 10
    with pytest.raises(kinetics600.Kinetics600Error, match="tarball_damaged|could not be read"):
        path.unlink()
        load("train", on_missing="raise", **force, **options)
    assert contents(folders["data_dir"]) == expected(own_miniature, "train")


def test_a_forced_download_leaves_what_came_from_elsewhere(
    load: Load, folders: dict[str, Any], own_miniature: Miniature
) -> None:
    key = next(iter(expected(own_miniature, "train")))
    path = Path(folders["data_dir"], key)
    path.parent.mkdir(parents=True)
    path.write_bytes(make_clip(77))
    os.utime(path, (1e9, 1e9))
    options = {"mirror": str(own_miniature.root)}
    load("train", **options)
    load("train", download_mode="force_redownload", **options)
    assert path.read_bytes() == make_clip(77)


def test_clips_of_a_tarball_that_broke_off_are_not_called_local(
    load: Load, folders: dict[str, Any], own_miniature: Miniature
) -> None:
    path = own_miniature.root / "train/zumba.tar.gz"
    options = {"mirror": str(own_miniature.root)}
    load("train", **options)
    store = Ledger(Store.at(folders["data_dir"]).ledger_path, str(own_miniature.root))
    row = store.tarball(Tarball("train", "zumba"))
    assert row is not None
    import dataclasses

    clips = store.clips("train", "zumba")
    store.record(dataclasses.replace(row, state="started"), clips)  # as a broken run leaves it
    path.unlink()
    ds = load("train", **options)["train"]
    assert set(ds["source"]) == {"cvdf"}


def test_a_server_that_never_answers_is_given_up_in_bounded_time(silent_server: str) -> None:
    options = {"anon": True, "endpoint_url": silent_server}
    for mirror in (
        Mirror("s3://kinetics/600", options, request_seconds=0.5),
        Mirror(f"{silent_server}/600", request_seconds=0.5),
    ):
        asked = time.monotonic()
        with pytest.raises(MirrorUnreachableError, match="TimeoutError"):
            mirror.head("val/k600_val_path.txt")
        assert time.monotonic() - asked < 10


def test_ctrl_c_ends_a_load_from_a_server_that_never_answers(
    silent_server: str, folders: dict[str, Any]
) -> None:
    program = """
import sys, kinetics600
print("ready", flush=True)
kinetics600.load_dataset("train", data_dir=sys.argv[1], mirror="s3://kinetics/600",
    mirror_options={"endpoint_url": sys.argv[2]})
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, folders["data_dir"], silent_server],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(kinetics600.__file__).parent,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    while not Path(folders["data_dir"], ".kinetics600/locks").is_dir():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert time.monotonic() - asked < 8


def test_processes_that_load_side_by_side_all_get_their_rows(
    folders: dict[str, Any], own_miniature: Miniature
) -> None:
    program = """
import sys, datasets, kinetics600
datasets.disable_progress_bars()
data_dir, cache_dir, mirror = sys.argv[1:]
for _ in range(3):
    ds = kinetics600.load_dataset("train", data_dir=data_dir, cache_dir=cache_dir, mirror=mirror)
    assert len(ds) == 10, len(ds)
"""
    arguments = [folders["data_dir"], folders["cache_dir"], str(own_miniature.root)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(kinetics600.__file__).parent,
        )
        for _ in range(5)
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 5, errors


@pytest.mark.parametrize("options", [{"streaming": True}, {"source": "local"}, {}])
def test_a_data_dir_that_is_a_file_is_the_same_error_everywhere(
    load: Load, tmp_path: Path, options: dict[str, Any]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="data_dir: .*is not a folder"):
        load("train", data_dir=str(tmp_path / "file"), **options)


def test_a_dangling_link_in_the_store_is_replaced(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    key = next(iter(expected(miniature, "train")))
    path = Path(folders["data_dir"], key)
    path.parent.mkdir(parents=True)
    path.symlink_to("/no/such/clip.mp4")
    load("train")
    assert contents(folders["data_dir"]) == expected(miniature, "train")


def test_a_second_member_of_the_name_serves_where_the_first_is_no_good(
    load: Load, own_miniature: Miniature, folders: dict[str, Any]
) -> None:
    clips = own_miniature.clips["train"]["zumba"]
    name, data = next(iter(clips.items()))
    members = {
        name: data[:50],
        f"again/{name}": data,
        **{k: v for k, v in clips.items() if k != name},
    }
    path = own_miniature.root / "train/zumba.tar.gz"
    path.write_bytes(make_tarball(members))
    options = {"mirror": str(own_miniature.root)}
    assert len(load("train", on_missing="raise", **options)["train"]) == 10
    assert contents(folders["data_dir"]) == expected(own_miniature, "train")


def test_a_stream_is_as_strict_from_the_store_as_from_the_tarball(load: Load) -> None:
    load("validation")
    with pytest.raises(kinetics600.Kinetics600Error, match="left out"):
        list(load("validation", streaming=True, on_missing="raise")["validation"])


def test_whole_classes_need_no_path_list(load: Load, own_miniature: Miniature) -> None:
    (own_miniature.root / "train/k600_train_path.txt").unlink()
    options = {"mirror": str(own_miniature.root)}
    assert len(load("train", classes="zumba", **options)["train"]) == 5


def test_a_folder_is_not_a_url(load: Load) -> None:
    with pytest.raises(OptionError, match=r"data_dir: 's3://mine/clips'.*mirror"):
        load("train", data_dir="s3://mine/clips")


def test_classes_may_come_from_an_iterator(load: Load) -> None:
    assert len(load("train", classes=iter(CLASSES[:2]))["train"]) == 10


@pytest.mark.parametrize(
    "options",
    [
        {"splits": []},
        {"splits": ["train[:2]", "train[2:]"]},
        {"split": "all[:2]"},
        {"split": "train[:2]", "streaming": True},
    ],
)
def test_splits_that_cannot_be_had_are_said_so(
    options: dict[str, Any], folders: dict[str, Any], miniature: Miniature
) -> None:
    with pytest.raises(OptionError, match="split"):
        kinetics600.load_dataset(mirror=str(miniature.root), **folders, **options)


def test_secrets_of_a_mirror_do_not_go_to_a_host_that_is_called_alike() -> None:
    from k600.loading.request import make_request
    from k600.tarballs.catalog import read_test_labels

    sent: list[Any] = []

    class Recorder(Store):
        def read_own(self, name: str) -> bytes | None:
            return None

    request = make_request(
        "test",
        default_data_dir="/nowhere",
        mirror="https://a.test",
        mirror_options={"headers": {"Authorization": "secret"}},
        test_labels="https://a.test.evil.test/test.csv",
    )
    original = Mirror.read_small
    try:
        Mirror.read_small = lambda self, *a, **k: (
            sent.append(self)
            or original(  # type: ignore
                Mirror("/nowhere"), "nothing", most_bytes=1
            )
        )
        read_test_labels(
            request.test_labels, request.mirror, Recorder(Path("/nowhere")), keep=False
        )
    finally:
        Mirror.read_small = original  # type: ignore[method-assign]
    assert [dict(mirror.options) for mirror in sent] == [{}]


def test_a_path_list_that_has_shrunk_is_followed(load: Load, own_miniature: Miniature) -> None:
    options = {"mirror": str(own_miniature.root)}
    (own_miniature.root / "train/zumba.tar.gz").unlink()
    load("train", **options)
    paths = own_miniature.root / "train/k600_train_path.txt"
    lines = paths.read_text().splitlines(keepends=True)
    paths.write_text("".join(line for line in lines if "zumba" not in line))
    listing = own_miniature.root / "annotations/train.txt"
    text = listing.read_text().replace("zumba\n", "", 1)
    start = text.index("train/zumba:")
    listing.write_text(text[:start] + text[text.index("\n\n", start) + 2 :])
    assert len(load("train", on_missing="raise", **options)["train"]) == 5


def test_a_bucket_that_refuses_what_it_does_not_have(
    load: Load, own_miniature: Miniature, lines: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """So does S3 where listing is not allowed, as probably on the public bucket."""
    (tmp_path / "kinetics").symlink_to(own_miniature.root.parent)
    (own_miniature.root / "train/zumba.tar.gz").unlink()
    (own_miniature.root / "annotations/train.txt").unlink()
    with web_server(tmp_path, missing=403) as server:
        options = {"mirror": "s3://kinetics/600", "mirror_options": {"endpoint_url": server.url}}
        assert len(list(load("train", streaming=True, **options)["train"])) == 5
        assert "train/zumba.tar.gz is left out" in lines.text
        lines.clear()
        assert len(load("train", **options)["train"]) == 5
        assert "has no list of the clips" in lines.text
        assert "tarball_denied" in lines.text
        with pytest.raises(kinetics600.Kinetics600Error, match="refused"):
            load("train", classes="yoga", **options)

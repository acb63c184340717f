"""The main job: whole splits and whole classes, from the mirror onto disk and into Arrow."""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import av
import datasets
import pytest
from tqdm.std import tqdm

import kinetics600
from k600.dataset.labels import NAMES
from k600.dataset.splits import SPLITS
from k600.errors import IncompleteError, OfflineError
from k600.miniature import CLASSES, MACOS, PLAIN, URL, Miniature, make_clip, make_tarball
from tests.conftest import Load, contents, expected
from tests.servers import web_server


@pytest.mark.parametrize("split", SPLITS)
def test_a_whole_split_comes_onto_disk_and_into_arrow(
    split: str,
    mirror_options: dict[str, Any],
    folders: dict[str, Any],
    load: Load,
    miniature: Miniature,
) -> None:
    ds = load(split, **mirror_options)[split]
    assert contents(folders["data_dir"]) == expected(miniature, split)
    assert [row["video"]["path"] for row in ds] == [
        os.path.join(folders["data_dir"], *key.split("/"))
        for key in sorted(expected(miniature, split), key=_class_then_name)
    ]
    assert ds.features == kinetics600.features()
    assert set(ds["split"]) == {split}
    assert set(ds["source"]) == {"cvdf"}
    for row in ds:
        name = os.path.basename(row["video"]["path"])
        assert row["video"]["bytes"] is None
        assert name.startswith(row["youtube_id"])
        times = f"_{row['time_start']:06d}_{row['time_end']:06d}.mp4"
        assert name == row["youtube_id"] + times
        label = miniature.labels[name] if split == "test" else row["video"]["path"].split("/")[-2]
        assert (None if row["label"] is None else NAMES[row["label"]]) == label


def _class_then_name(key: str) -> tuple[int, str]:
    _, label, name = key.split("/")
    return (NAMES.index(label) if label in NAMES else len(NAMES), name)


def test_the_clips_are_videos(load: Load) -> None:
    ds = load("train", classes=CLASSES[0])["train"]
    for row in ds:
        with av.open(row["video"]["path"]) as video:
            assert sum(1 for _ in video.decode(video=0)) == 50


def test_classes_alone_fetch_just_their_tarballs(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    with web_server(miniature.root.parent) as server:
        ds = load("validation", classes=["surfing_water", PLAIN], mirror=f"{server.url}/600")
        fetched = {path for method, path in server.requests if method == "GET"}
    assert {path for path in fetched if path.endswith(".gz")} == {
        "/600/val/surfing water.tar.gz",
        f"/600/val/{PLAIN}.tar.gz",
    }
    assert Counter(NAMES[label] for label in ds["validation"]["label"]) == {
        "surfing water": 5,
        PLAIN: 5,
    }
    assert {key.split("/")[1] for key in contents(folders["data_dir"])} == {"surfing water", PLAIN}


def test_all_is_the_three_splits(load: Load, miniature: Miniature) -> None:
    ds = load("all")
    assert isinstance(ds, datasets.DatasetDict)
    assert {split: len(rows) for split, rows in ds.items()} == {
        split: len(expected(miniature, split)) for split in SPLITS
    }


def test_an_id_in_two_classes_and_a_name_in_two_splits_are_all_kept(load: Load) -> None:
    ds = load("all")
    rows = [row for split in SPLITS for row in ds[split]]
    shared = [row for row in ds["validation"] if row["youtube_id"] == "BOTHcl4sses"]
    assert len({row["label"] for row in shared}) == len(shared) == 2
    names = Counter(
        (row["youtube_id"], row["time_start"]) for row in rows if row["split"] != "test"
    )
    assert max(names.values()) > 2
    assert len({row["video"]["path"] for row in rows}) == len(rows)


def test_what_is_missing_is_counted_and_named(
    load: Load, folders: dict[str, Any], lines: pytest.LogCaptureFixture
) -> None:
    ds = load("validation")["validation"]
    report = Path(folders["data_dir"], ".kinetics600/reports/validation-missing.csv")
    rows = list(csv.DictReader(report.read_text().splitlines()))
    assert Counter((row["reason"], row["label"]) for row in rows) == {
        ("not_in_tarball", MACOS): 2,
        ("empty", CLASSES[0]): 1,
        ("truncated", CLASSES[0]): 1,
    }
    assert {row["file_name"] for row in rows} >= {"emptyclip00_000000_000010.mp4"}
    assert len(ds) == 30
    warning = next(r.message for r in lines.records if r.levelname == "WARNING")
    assert "4 clips" in warning
    assert str(report) in warning
    for reason in ("not_in_tarball", "empty", "truncated"):
        assert reason in warning


def test_the_plan_and_the_end_are_one_line_each(
    load: Load, lines: pytest.LogCaptureFixture, miniature: Miniature
) -> None:
    load("train")
    plan, end = [record.message for record in lines.records]
    size = sum(f.stat().st_size for f in (miniature.root / "train").glob("*.gz"))
    assert f"reading 6 tarballs, {size / 1000:.1f} kB" in plan
    assert str(miniature.root) in plan
    assert "30 clips (30 from cvdf); 6 tarballs read" in end
    assert "none missing" in end


def test_on_missing_chooses_how_loud_it_is(load: Load, lines: pytest.LogCaptureFixture) -> None:
    with pytest.raises(kinetics600.Kinetics600Error, match="4 clips missing"):
        load("validation", on_missing="raise")
    lines.clear()
    assert len(load("validation", on_missing="skip")["validation"]) == 30
    assert not [record for record in lines.records if record.levelname == "WARNING"]
    assert len(load("train", on_missing="raise")["train"]) == 30
    with pytest.raises(kinetics600.Kinetics600Error, match="not_in_tarball"):
        load("validation", on_missing="raise")  # from the cache, just as loud


@pytest.mark.parametrize("num_workers", [1, 2, 7])
def test_the_rows_do_not_depend_on_the_number_of_workers(
    num_workers: int, load: Load, folders: dict[str, Any]
) -> None:
    ds = load("validation", num_workers=num_workers)["validation"]
    root = folders["data_dir"]
    rows = [{**row, "video": os.path.relpath(row["video"]["path"], root)} for row in ds]
    assert [row["video"] for row in rows] == sorted(
        (row["video"].replace(os.sep, "/") for row in rows), key=_class_then_name
    )
    assert len(rows) == 30


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_two_processes_write_the_same_dataset(load: Load, tmp_path: Path) -> None:
    one = load("train", cache_dir=str(tmp_path / "one"))["train"]
    two = load("train", cache_dir=str(tmp_path / "two"), num_proc=2)["train"]
    assert one.to_list() == two.to_list()
    assert len(two.cache_files) == 2


def test_a_class_without_a_tarball_is_named_and_the_others_come(
    own_miniature: Miniature, load: Load, lines: pytest.LogCaptureFixture
) -> None:
    (own_miniature.root / "val/zumba.tar.gz").unlink()
    ds = load("validation", mirror=str(own_miniature.root))["validation"]
    assert {NAMES[label] for label in ds["label"]} == {"surfing water"}
    assert "tarball_not_found" in lines.text
    paths = own_miniature.root / "val/k600_val_path.txt"
    paths.write_text(f"{URL}/val/surfing water.tar.gz\n")  # nor in the path list
    lines.clear()
    load("validation", mirror=str(own_miniature.root))
    assert "5 tarball_not_found" in lines.text


def test_an_empty_tarball_is_no_error_and_its_listed_clips_are_named(
    own_miniature: Miniature, load: Load, lines: pytest.LogCaptureFixture
) -> None:
    (own_miniature.root / "val/zumba.tar.gz").write_bytes(make_tarball({}))
    ds = load("validation", mirror=str(own_miniature.root))["validation"]
    assert len(ds) == 5
    assert "5  not_in_tarball" in lines.text


def test_clips_that_are_not_listed_come_all_the_same(own_miniature: Miniature, load: Load) -> None:
    clips = dict(own_miniature.clips["validation"]["zumba"])
    clips["unlistedclp_000000_000010.mp4"] = make_clip(99)
    (own_miniature.root / "val/zumba.tar.gz").write_bytes(make_tarball(clips))
    ds = load("validation", mirror=str(own_miniature.root))["validation"]
    assert len(ds) == 11
    assert "unlistedclp" in ds["youtube_id"]


def test_a_mirror_without_a_listing_is_loaded_with_a_word_about_it(
    own_miniature: Miniature, load: Load, lines: pytest.LogCaptureFixture
) -> None:
    (own_miniature.root / "annotations/val.txt").unlink()
    assert len(load("validation", mirror=str(own_miniature.root))["validation"]) == 10
    assert "has no list of the clips" in lines.text


def test_test_clips_of_some_classes_are_all_that_is_stored(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    chosen = CLASSES[4]
    names = {name for name, label in miniature.labels.items() if label == chosen}
    with web_server(miniature.root.parent) as server:
        options = {"classes": [chosen], "mirror": f"{server.url}/600"}
        ds = load("test", **options)["test"]
        assert {os.path.basename(row["video"]["path"]) for row in ds} == names
        assert {os.path.basename(key) for key in contents(folders["data_dir"])} == names
        server.requests.clear()
        load("test", **options, on_missing="raise")  # known now: nothing is read again
        assert not [path for _, path in server.requests if path.endswith(".tar.gz")]


def test_without_its_list_test_clips_have_no_label_and_get_it_later(
    load: Load, lines: pytest.LogCaptureFixture, tmp_path: Path, miniature: Miniature
) -> None:
    later = tmp_path / "labels.tar.gz"
    ds = load("test", test_labels=str(later))["test"]
    assert set(ds["label"]) == {None}
    assert "test_labels" in lines.text
    assert "label None" in lines.text
    later.write_bytes(miniature.test_labels.read_bytes())
    again = load("test", test_labels=str(later))["test"]
    assert {os.path.basename(r["video"]["path"]): r["label"] for r in again} == {
        name: None if label is None else NAMES.index(label)
        for name, label in miniature.labels.items()
    }


def test_labels_that_cannot_be_had_are_missing_as_clips_are(
    load: Load, lines: pytest.LogCaptureFixture
) -> None:
    options = {"test_labels": "http://127.0.0.1:9/kinetics600.tar.gz"}
    ds = load("test", **options)["test"]
    message = f"{len(ds)} clips with the label None, as the list of labels could not be had"
    assert message in lines.text
    lines.clear()
    load("test", **options)  # of the cache, and not silently
    assert message in lines.text
    with pytest.raises(OfflineError, match="test_labels=… another path or URL") as error:
        load("test", classes="zumba", **options)
    about = [r.getMessage() for r in lines.records if options["test_labels"] in r.getMessage()]
    assert about
    assert all("missing: " in each for each in about)  # and what to do, in a line or two
    assert max(map(len, [*about, str(error.value)])) < 230
    for more in ({}, {"streaming": True}, {"max_samples": 2, "source": "cvdf"}):
        with pytest.raises(IncompleteError, match="label None"):
            load("test", on_missing="raise", **options, **more)


def test_the_labels_of_the_test_split_may_be_a_csv(
    load: Load, tmp_path: Path, miniature: Miniature
) -> None:
    table = tmp_path / "test.csv"
    name, label = next((n, c) for n, c in miniature.labels.items() if c)
    table.write_text(
        "label,youtube_id,time_start,time_end,split\n"
        f"{label},{name[:11]},{int(name[12:18])},{int(name[19:25])},test\n"
    )
    labels = load("test", test_labels=str(table))["test"]["label"]
    assert [label for label in labels if label is not None] == [NAMES.index(label)]


def test_storage_options_reach_the_mirror(s3: Any, folders: dict[str, Any]) -> None:
    ds = datasets.load_dataset(
        "kinetics600",
        "validation",
        classes="surfing water",
        storage_options={"s3": {"anon": True, "endpoint_url": s3.url}},
        **folders,
    )
    assert len(ds["validation"]) == 5


def test_the_public_function_does_the_same(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    options = {**folders, "mirror": str(miniature.root), "test_labels": str(miniature.test_labels)}
    registered = load("train")["train"]
    assert kinetics600.load_dataset("train", **options).to_list() == registered.to_list()
    assert len(kinetics600.load_dataset(split="train[:3]", **options)) == 3
    several = kinetics600.load_dataset(splits=["train", "test"], **options)
    assert {name: len(rows) for name, rows in several.items()} == {"train": 30, "test": 12}
    assert set(kinetics600.load_dataset(splits="all", **options)) == set(SPLITS)
    streamed = kinetics600.load_dataset("train", streaming=True, **options)
    assert len(list(streamed)) == 30
    for bad in ({}, {"split": "train", "splits": ["test"]}):
        with pytest.raises(kinetics600.Kinetics600Error, match="'train', 'validation'"):
            kinetics600.load_dataset(**bad, **options)


@pytest.mark.parametrize("splits", [3, True, [], ["train", "train"]])
def test_splits_that_are_none_are_refused(splits: Any) -> None:
    with pytest.raises(kinetics600.errors.OptionError, match="splits: .* is not allowed, expected"):
        kinetics600.load_dataset(splits=splits)


def test_a_split_of_datasets_is_a_name_of_one(
    folders: dict[str, Any], miniature: Miniature
) -> None:
    options = {**folders, "mirror": str(miniature.root)}
    loaded = kinetics600.load_dataset(splits=datasets.Split.VALIDATION, **options)
    assert [*loaded] == ["validation"]


def test_progress_is_one_bar_in_bytes_by_the_switches_of_datasets(
    load: Load,
    capsys: pytest.CaptureFixture[str],
    miniature: Miniature,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    datasets.enable_progress_bars()
    try:
        load("train")
    finally:
        datasets.disable_progress_bars()
    shown = capsys.readouterr().err
    size = sum(f.stat().st_size for f in (miniature.root / "train").glob("*.gz"))
    assert "kinetics600 train: 100%" in shown
    assert f"{tqdm.format_sizeof(size)}/{tqdm.format_sizeof(size)}" in shown
    assert "B/s]" in shown
    load("validation")
    assert "kinetics600" not in capsys.readouterr().err

"""`encode="training"`: clips encoded anew as they arrive, whatever they are asked for by."""

from __future__ import annotations

import csv
import json
import os
import shlex
from pathlib import Path
from typing import Any

import datasets
import pytest

import kinetics600
from k600.dataset.clip import Clip, Tarball
from k600.errors import ManifestError, OptionError
from k600.loading.manifest import read_manifest
from k600.miniature import CLASSES, Miniature
from k600.store.ledger import Ledger
from k600.store.rows import ClipRow, TarballRow
from k600.video.encoding import Encoding
from k600.video.probe import probe_clip
from tests.conftest import Command, Load, contents, expected

TRAINING = {"encode": "training", "frame_step": 2}
FOLDER = "training_crf_23_step_2"


def clips_of(rows: Any) -> dict[str, tuple[bytes, float]]:
    """Return the clips of rows, and their rates, by class, YouTube id and start."""
    found = {}
    for row in rows:
        video = row["video"]
        data = video["bytes"] or Path(video["path"]).read_bytes()
        found[f"{row['label']} {row['youtube_id']} {row['time_start']}"] = data, row["fps"]
    return found


def test_a_load_a_stream_and_a_published_dataset_hold_the_same_clips(
    load: Load, folders: dict[str, Any], mirror_options: dict[str, Any], tmp_path: Path
) -> None:
    options = {**TRAINING, "classes": CLASSES[:2], **mirror_options}
    streamed = clips_of(load("validation", streaming=True, **options)["validation"])
    assert not os.path.exists(folders["data_dir"])
    loaded = clips_of(load("validation", **options)["validation"])
    kinetics600.publish(
        None,
        "validation",
        to=str(tmp_path / "shards"),
        kind="embedded",
        i_have_the_rights=True,
        data_dir=str(tmp_path / "nowhere"),
        **options,
    )
    files = str(tmp_path / "shards/data/validation/*.parquet")
    published = datasets.load_dataset("parquet", data_files=files, split="train")
    published = published.cast_column("video", datasets.Video(decode=False))
    assert streamed == loaded == clips_of(published)
    assert len(loaded) > 5


def test_each_encoding_has_its_own_folder_and_cached_rows(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    wanted = {path for path in expected(miniature, "train") if f"/{CLASSES[0]}/" in path}
    encodings: dict[str, dict[str, Any]] = {
        FOLDER: TRAINING,
        "training_crf_30": {"encode": "training", "crf": 30},
        "short_side_64_training_crf_23": {"encode": "training", "short_side": 64},
        "short_side_64": {"short_side": 64},
    }
    files = set()
    for folder, options in encodings.items():
        rows = load("train", classes=CLASSES[0], **options)["train"]
        there = {path for path in contents(folders["data_dir"]) if path.startswith(f"{folder}/")}
        assert there == {f"{folder}/{path}" for path in wanted}
        files.add(rows.cache_files[0]["filename"])
    assert len(files) == len(encodings)


def test_a_clip_of_an_older_version_is_never_taken(
    load: Load, folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def places() -> list[str]:
        rows = load("train", classes=CLASSES[0], **TRAINING)["train"]
        return [os.path.relpath(row["video"]["path"], folders["data_dir"]) for row in rows]

    before = places()
    assert {place.partition("/")[0] for place in before} == {FOLDER}
    monkeypatch.setattr("k600.video.encoding._VERSIONS", {None: 1, "training": 2})
    after = places()
    assert {place.partition("/")[0] for place in after} == {f"{FOLDER}_v2"}
    assert [p.partition("/")[2] for p in after] == [p.partition("/")[2] for p in before]


def test_a_manifest_and_a_shuffled_stream_say_the_rate_as_well(
    load: Load, folders: dict[str, Any], miniature: Miniature, tmp_path: Path
) -> None:
    rows = load("train", classes=CLASSES[0], **TRAINING)["train"]
    assert {*rows["fps"]} == {2.5}
    manifest = Path(kinetics600.save_manifest(rows, tmp_path / "mine.csv"))
    assert {row.fps for row in read_manifest(manifest).rows} == {2.5}

    shuffled = load("train", classes=CLASSES[0], streaming=True, shuffle_clips=True, **TRAINING)
    assert {row["fps"] for row in shuffled["train"]} == {2.5}

    manifest.write_text(manifest.read_text().replace(",2.5,", ",fast,", 1))
    with pytest.raises(ManifestError, match="row 1 of .*: fps: 'fast' is no number of frames"):
        read_manifest(manifest)


def test_a_store_of_encoded_clips_is_checked_against_its_manifest(
    command: Command, miniature: Miniature, tmp_path: Path
) -> None:
    env = {"KINETICS600_HOME": str(tmp_path), "KINETICS600_MIRROR": str(miniature.root)}
    encoding = ("--encode", "training", "--frame-step", "2")
    asked = ("train", "--class", CLASSES[0], *encoding)
    file = str(tmp_path / "mine.csv")
    command("manifest", "export", *asked, "--source", "cvdf", "--out", file, env=env)

    def check(*options: str) -> tuple[int, Any]:
        done = command("manifest", "check", file, *options, "--json", env=env)
        return done.returncode, json.loads(done.stdout)

    clips = len([path for path in contents(tmp_path) if path.startswith(f"{FOLDER}/")])
    code, found = check(*encoding)
    assert (code, found["same_clips"], found["missing"]) == (0, clips, {})
    for other in ((), ("--encode", "training")):  # other stores, in which there is nothing
        code, found = check(*other)
        assert (code, found["missing"]) == (1, {"not_fetched": clips})

    changed = next((tmp_path / FOLDER).glob("train/*/*.mp4"))
    changed.write_bytes(changed.read_bytes() + b"more")
    code, found = check(*encoding)
    assert (code, found["missing"]) == (1, {"differs": 1})


def test_commands_know_them_and_repair_brings_the_same_bytes(
    command: Command, miniature: Miniature, tmp_path: Path
) -> None:
    env = {"KINETICS600_HOME": str(tmp_path), "KINETICS600_MIRROR": str(miniature.root)}
    asked = ("train", "--class", CLASSES[0], "--encode", "training", "--frame-step", "2")

    def run(name: str, *options: str) -> Any:
        done = command(name, *asked, "--json", *options, env=env)
        found = json.loads(done.stdout)
        return found[0] if isinstance(found, list) else found["splits"][0]

    shown = command("status", *asked, env=env)
    assert shlex.join(("kinetics600", "plan", *asked)) in shown.stdout + shown.stderr
    planned = run("plan")
    assert planned["needed_bytes"] == pytest.approx(1.7 * planned["tarball_bytes"], rel=0.01)
    run("download")
    before = contents(tmp_path)
    assert {path.partition("/")[0] for path in before} == {FOLDER}
    assert run("plan")["tarball_bytes"] == 0
    assert run("status")["counts"]["here_clips"] == len(before)

    damaged = tmp_path / min(before)
    damaged.write_bytes(damaged.read_bytes()[:900])
    run("verify", "--repair")
    assert contents(tmp_path) == before
    table = run_table(command, tmp_path, env, asked)
    assert {row["fps"] for row in table} == {"2.5"}


def run_table(
    command: Command, folder: Path, env: dict[str, str], asked: tuple[str, ...]
) -> list[dict[str, str]]:
    """Return the rows of the table of clips that `manifest export` writes."""
    path = folder / "clips.csv"
    done = command("manifest", "export", *asked, "--out", path, env=env)
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def test_the_rate_goes_with_the_file_that_had_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", "mirror")
    clip, tarball = Clip("train", "zumba", "abcdefghijk", 0, 10), Tarball("train", "zumba")
    ledger.record_answer(clip, "have", "", "", "2026.8.19", size_bytes=1_000, fps=29.97)
    rate = {clip.folder: {clip.file_name: 29.97}}
    assert ledger.view("train").rates == rate

    row = TarballRow(tarball, "partial", '"etag"', 5_000)
    has = ClipRow(tarball, 0, clip.folder, clip.file_name, "have", "", "cvdf", 2_000, 7)
    ledger.record(row, [has])  # the original in place of the cut
    assert ledger.view("train").rates == {}
    ledger.record(row, [has._replace(fps=6.25)])
    ledger.record(row, [has])  # seen again, and as it was
    assert ledger.view("train").rates == {clip.folder: {clip.file_name: 6.25}}


def test_an_estimate_knows_how_large_clips_become() -> None:
    def estimate(**options: Any) -> float:
        request = kinetics600.make_request("train", **options)
        return request.stored_bytes(1_000_000) / 1e6

    assert estimate() == 1
    assert estimate(short_side=256) == pytest.approx(0.45)
    assert estimate(short_side=4_000) == 1
    small = {"short_side": 256, "encode": "training"}
    assert estimate(**small) > estimate(**small, crf=25) > estimate(short_side=256)
    assert estimate(**small) > estimate(**small, frame_step=4)


@pytest.mark.parametrize(
    ("options", "measured"),
    [
        ({}, 1.80),
        ({"crf": 18}, 2.96),
        ({"crf": 25}, 1.46),
        ({"crf": 33}, 0.68),
        ({"frame_step": 2}, 1.66),
        ({"frame_step": 3}, 1.36),
        ({"frame_step": 4}, 1.15),
        ({"short_side": 256}, 1.10),
        ({"short_side": 256, "frame_step": 4}, 0.72),
    ],
)
def test_no_forecast_promises_more_room_than_the_scene_leaves_that_grows_most(
    options: dict[str, Any], measured: float
) -> None:
    # By `benchmarks.training`: the smooth scene, of 640 x 360 pixels with `short_side`.
    share = Encoding(encode="training", **options).most_share
    assert measured <= share < 1.4 * measured


def test_every_nth_frame_of_each_clip_is_kept(load: Load) -> None:
    whole, half = (
        load("train", classes=CLASSES[0], **options)["train"] for options in ({}, TRAINING)
    )
    for one, other in zip(whole, half, strict=True):
        probes = [probe_clip(Path(row["video"]["path"]), seconds=10) for row in (one, other)]
        assert probes[1].verdict == probes[0].verdict
        assert probes[1].fps == pytest.approx(probes[0].fps / 2)
        assert (one["fps"], other["fps"]) == (None, pytest.approx(probes[1].fps))
        assert probes[1].duration_seconds == pytest.approx(probes[0].duration_seconds, abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encode": "trainng"}, "encode: 'trainng' is not allowed; did you mean 'training'"),
        ({"encode": "training", "crf": 0}, "crf: 0 is not allowed, .* from 1 to 51"),
        ({"encode": "training", "crf": 52}, "crf: 52 is not allowed, .* from 1 to 51"),
        ({"encode": "training", "frame_step": 0}, "frame_step: 0 .* from 1 to 1,000"),
        ({"encode": "training", "frame_step": 10**12}, "frame_step: 10+ is not allowed"),
        ({"crf": 25}, "crf: 25 is allowed with encode='training' only"),
        ({"short_side": 256, "frame_step": 4}, "frame_step: 4 is allowed with encode='training'"),
    ],
)
def test_what_is_not_allowed_is_said(load: Load, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        load("train", **options)

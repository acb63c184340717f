"""What `.map()` kept for some clips serves for these clips only, and for as long as they stay."""

from __future__ import annotations

import importlib.util
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import pytest
from click.testing import CliRunner

from k600.cli import app
from k600.miniature import PLAIN, Miniature, make_clip
from tests.conftest import Load

Seen = Callable[[datasets.Dataset], tuple[list[int], int]]


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    """Map rows to a sum over their clips' bytes; also return how many clips were read for it."""
    tally = tmp_path / "tally"

    def read(row: dict[str, Any], tally: str = str(tally)) -> dict[str, int]:
        with open(tally, "a") as file:
            file.write("1\n")
        with open(row["video"]["path"], "rb") as clip:
            return {"sum": sum(clip.read())}

    def map_rows(rows: datasets.Dataset) -> tuple[list[int], int]:
        tally.write_text("")
        sums = rows.map(read)["sum"]
        return list(sums), len(tally.read_text().splitlines())

    return map_rows


def true_sums(rows: datasets.Dataset) -> list[int]:
    return [sum(Path(row["video"]["path"]).read_bytes()) for row in rows]


def damage(path: Path) -> None:
    """Change bytes within the pictures and keep all else: as a bad disk would."""
    data, times = bytearray(path.read_bytes()), path.stat()
    middle = data.index(b"mdat") + 200
    data[middle : middle + 600] = bytes(600)
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_the_same_clips_are_mapped_once(load: Load, seen: Seen) -> None:
    first = load("train", classes=PLAIN, split="train")
    assert seen(first) == (true_sums(first), 5)
    load("train")  # brings other clips
    again = load("train", classes=PLAIN, split="train")
    assert seen(again) == (true_sums(first), 0)


def test_a_repaired_clip_is_mapped_anew(
    load: Load, seen: Seen, folders: dict[str, Any], miniature: Miniature
) -> None:
    rows = load("train", split="train")
    whole = true_sums(rows)
    damage(Path(rows[4]["video"]["path"]))
    broken = load("train", split="train")
    assert seen(broken)[0] == true_sums(broken) != whole
    command = ["verify", "train", "--deep", "--repair", "--mirror", str(miniature.root)]
    done = CliRunner().invoke(app, [*command, "--data-dir", folders["data_dir"]])
    assert done.exit_code == 0, done.output
    assert seen(load("train", split="train"))[0] == whole


@pytest.mark.parametrize("how", ["written over", "moved in place", "touched", "gone"])
def test_a_replaced_clip_is_noticed_at_once(load: Load, tmp_path: Path, how: str) -> None:
    rows = load("train", split="train")
    before = rows._fingerprint
    path = Path(rows[0]["video"]["path"])
    untouched = rows[5]["video"]["path"]
    if how == "written over":
        path.write_bytes(make_clip(77))
    elif how == "moved in place":
        (tmp_path / "other").write_bytes(make_clip(77))
        os.replace(tmp_path / "other", path)
    elif how == "touched":
        os.utime(path)
    else:
        path.unlink()
        shutil.copy(untouched, path)
    assert load("train", split="train")._fingerprint != before
    later = load("train", split="train[5:]")._fingerprint
    path.write_bytes(make_clip(78))
    assert load("train", split="train[5:]")._fingerprint == later  # rows that it is not among


def test_what_was_replaced_after_the_load_is_mapped_as_it_is(load: Load, seen: Seen) -> None:
    rows = load("train", split="train")
    seen(load("train", split="train"))
    Path(rows[0]["video"]["path"]).write_bytes(make_clip(77))
    assert seen(rows)[0] == true_sums(rows)


def test_decoded_rows_do_not_get_the_results_of_others(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("torchcodec") is None:  # nothing is decoded here
        for name in ("torchcodec", "torchcodec.decoders"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
    plain, decoded = load("train", split="train"), load("train", split="train", decode=True)
    assert plain.cache_files == decoded.cache_files
    for rows in (plain, decoded):
        assert (
            load("train", split="train", decode=rows is decoded)._fingerprint == rows._fingerprint
        )
    kept = [
        rows.map(lambda label: {"next": label + 1}, input_columns="label").cache_files
        for rows in (plain, decoded)
    ]
    assert kept[0] != kept[1]


def test_rows_made_of_these_notice_it_too(load: Load, tmp_path: Path) -> None:
    def made(rows: datasets.DatasetDict) -> list[str]:
        rows["train"].save_to_disk(tmp_path / "saved")
        return [
            each._fingerprint
            for each in (
                pickle.loads(pickle.dumps(rows["train"])),
                datasets.concatenate_datasets([rows["train"], rows["test"]]),
                datasets.load_from_disk(tmp_path / "saved"),
                rows["train"].with_format("numpy"),
                rows["train"].select([1, 3]),
                rows["train"].shuffle(seed=1),
                rows["train"].train_test_split(2, seed=1)["test"],
                rows["train"].cast_column("label", datasets.Value("int32")),
            )
        ]

    rows = load("all")
    before = made(rows)
    assert made(load("all")) == before
    Path(rows["train"][0]["video"]["path"]).write_bytes(make_clip(77))
    assert not set(made(load("all"))) & set(before)

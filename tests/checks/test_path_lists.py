"""Lists for other trainers: read as each of them documents, every path is a clip of its class."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path

import pandas
import pytest

from k600.dataset.labels import NAMES
from k600.miniature import Miniature
from tests.conftest import Command, expected


def at_the_blank(text: str) -> list[list[str]]:
    """As SlowFast, TimeSformer, mmaction2 and VideoMAE's pretraining do: two words a line."""
    return [line.split(" ") for line in text.splitlines()]


def at_the_last_blank(text: str) -> list[list[str]]:
    """As PyTorchVideo does."""
    return [line.rsplit(None, 1) for line in text.splitlines()]


def as_table(text: str) -> list[list[str]]:
    """As VideoMAE's fine-tuning does."""
    return pandas.read_csv(io.StringIO(text), header=None, delimiter=" ").values.tolist()


READERS = {
    "slowfast": ("val.csv", at_the_blank),
    "timesformer": ("val.csv", at_the_blank),
    "videomae": ("val.csv", as_table),
    "pytorchvideo": ("val.csv", at_the_last_blank),
    "mmaction2": ("kinetics600_val_list_videos.txt", at_the_blank),
}


def check(rows: Iterable[list[str]], miniature: Miniature, split: str) -> None:
    found = {}
    for path, label in rows:
        found[f"{NAMES[int(label)]}/{Path(path).name}"] = Path(path).read_bytes()
    there = expected(miniature, split)
    labelled = {p.partition("/")[2]: d for p, d in there.items() if "_unlabeled" not in p}
    assert found == labelled


@pytest.fixture
def home(command: Command, miniature: Miniature, tmp_path: Path) -> Path:
    """A store with a blank in its path, that holds validation and test."""
    home = tmp_path / "my clips"
    options = ("--data-dir", home, "--mirror", miniature.root)
    for split in ("validation", "test"):
        command("download", split, *options, "--test-labels", miniature.test_labels, "--quiet")
    return home


def test_each_tool_finds_every_clip_of_its_class(
    home: Path, command: Command, miniature: Miniature, tmp_path: Path
) -> None:
    for tool, (name, read) in READERS.items():
        out = tmp_path / tool
        words = ("export", "lists", "validation", "--data-dir", home, "--for", tool, "--out", out)
        for _ in range(2):  # again, over what is there
            assert command(*words).returncode == 0
            assert {path.name for path in out.iterdir()} == {name, "clips"}
            check(read((out / name).read_text()), miniature, "validation")


def test_test_clips_without_a_label_are_left_out_and_counted(
    home: Path, command: Command, miniature: Miniature, tmp_path: Path
) -> None:
    labels = ("--test-labels", miniature.test_labels)
    words = ("export", "lists", "test", "--data-dir", home, "--out", tmp_path / "lists", *labels)
    (found,) = json.loads(command(*words, "--json").stdout)
    assert found["unlabelled_clips"] > 0
    assert found["clips"] + found["unlabelled_clips"] == 12
    check(at_the_blank(Path(found["out"]).read_text()), miniature, "test")


def test_what_no_tool_could_read_is_refused(home: Path, command: Command, tmp_path: Path) -> None:
    words = ("export", "lists", "validation", "--data-dir", home)
    done = command(*words, "--out", tmp_path / "my lists")
    assert done.returncode == 2
    assert "it has a blank" in done.stderr
    done = command(*words, "--for", "slowfst")
    assert done.returncode == 2
    assert "did you mean 'slowfast'?" in done.stderr
    assert not (tmp_path / "my lists").exists()


def test_a_folder_that_cannot_be_made_is_named_by_its_option(
    home: Path, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    done = command(
        "export", "lists", "validation", "--data-dir", home, "--out", tmp_path / "file/lists"
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: --out: ")


def test_a_folder_in_the_way_of_a_link_stays(home: Path, command: Command, tmp_path: Path) -> None:
    mine = tmp_path / "lists/clips/validation/tie_dying/mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    done = command("export", "lists", "validation", "--data-dir", home, "--out", tmp_path / "lists")
    assert done.returncode == 1
    assert "in the way of a link" in done.stderr
    assert mine.read_text() == "mine"

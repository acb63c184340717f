"""The name "kinetics600" in `datasets`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

import kinetics600
from k600.miniature import Miniature
from tests.conftest import Load


def run(program: str, cwd: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path(kinetics600.__file__).parent)}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=cwd,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_the_order_of_imports_does_not_matter(tmp_path: Path, miniature: Miniature) -> None:
    program = """
import sys
from datasets import load_dataset
import kinetics600
import kinetics600 as again
ds = load_dataset("kinetics600", "train", mirror=sys.argv[1], data_dir="clips", cache_dir="cache")
print(len(ds["train"]))
"""
    assert run(program, tmp_path, str(miniature.root)) == "30\n"


def test_registering_again_changes_nothing() -> None:
    before = datasets.load.dataset_module_factory
    assert kinetics600.register()
    assert datasets.load.dataset_module_factory is before


def test_other_names_go_where_they_went(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("one\n")
    rows = datasets.load_dataset("text", data_files=str(tmp_path / "rows.txt"), split="train")
    assert rows.to_list() == [{"text": "one"}]


def test_inspection_knows_the_name(load: Load, miniature: Miniature) -> None:
    assert datasets.get_dataset_config_names("kinetics600") == [
        "train",
        "validation",
        "test",
        "all",
    ]
    names = datasets.get_dataset_split_names("kinetics600", "all", mirror=str(miniature.root))
    assert names == ["train", "validation", "test"]
    builder = datasets.load_dataset_builder("kinetics600", "test")
    assert builder.info.features == kinetics600.features()
    assert "CC BY 4.0" in builder.info.license


def test_a_level_that_was_set_before_the_import_stays(tmp_path: Path) -> None:
    program = """
import logging, sys
logging.getLogger("kinetics600").setLevel(sys.argv[1])
import kinetics600
print(logging.getLevelName(logging.getLogger("kinetics600").level))
"""
    for level, after in (("WARNING", "WARNING"), ("DEBUG", "DEBUG"), ("NOTSET", "INFO")):
        assert run(program, tmp_path, level) == f"{after}\n"


def test_without_a_place_to_register_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, lines: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(datasets.load, "dataset_module_factory")
    assert kinetics600.register() is False
    assert "kinetics600.load_dataset" in lines.text


def test_the_working_folder_does_not_matter(tmp_path: Path, miniature: Miniature) -> None:
    (tmp_path / "kinetics600").mkdir()  # as a user's results might be called
    for number in range(50):
        (tmp_path / f"{number}.mp4").touch()
    program = """
import sys, kinetics600, datasets
options = dict(mirror=sys.argv[1], data_dir="clips", cache_dir="cache", classes="surfing water")
print(len(datasets.load_dataset("kinetics600", "train", **options)["train"]))
"""
    assert run(program, tmp_path, str(miniature.root)) == "5\n"


def test_a_torchcodec_that_is_installed_but_broken_stops_only_decoding(
    tmp_path: Path, miniature: Miniature
) -> None:
    broken = tmp_path / "path/torchcodec"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text('raise RuntimeError("Could not load libtorchcodec")\n')
    program = """
import sys
sys.path.insert(0, "path")
import datasets, kinetics600
options = dict(mirror=sys.argv[1], data_dir="clips", cache_dir="cache", classes="surfing water")
assert datasets.config.TORCHCODEC_AVAILABLE
streamed = datasets.load_dataset("kinetics600", "train", streaming=True, **options)["train"]
print(len(list(streamed)))
loaded = datasets.load_dataset("kinetics600", "train", **options)["train"]
print(len(loaded.map(lambda row: {"more": 1})))
assert loaded.features["video"] == datasets.Video(decode=False)
try:
    datasets.load_dataset("kinetics600", "train", decode=True, **options)
except ImportError as error:
    print(error)
"""
    five, also_five, error = run(program, tmp_path, str(miniature.root)).splitlines()
    assert five == also_five == "5"
    assert "Could not load libtorchcodec" in error
    assert "decode=False" in error

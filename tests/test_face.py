"""`kinetics600` is the public face: what users need is reached from it, nothing else is shown."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

import k600.errors
import k600.train
import kinetics600

FILE = Path(kinetics600.__file__)


def test_all_that_is_shown_is_public_and_there() -> None:
    assert dir(kinetics600) == sorted(kinetics600.__all__)
    for name in kinetics600.__all__:
        assert getattr(kinetics600, name) is not None
        assert name == "__version__" or not name.startswith("_")


def test_errors_and_training_are_reached_from_it_and_where_they_were() -> None:
    assert kinetics600.train.ClipTransform is k600.train.ClipTransform
    assert kinetics600.errors.OptionError is k600.errors.OptionError
    assert issubclass(kinetics600.errors.OptionError, kinetics600.Kinetics600Error)
    assert kinetics600.Gallery("page.html").path == "page.html"


@pytest.mark.parametrize(
    "line",
    [
        "from kinetics600.train import ClipTransform",
        "import kinetics600.errors; kinetics600.errors.OptionError",
        "import kinetics600.train, k600.train; assert kinetics600.train is k600.train",
    ],
)
def test_errors_and_training_are_imported_from_it(line: str) -> None:
    subprocess.run([sys.executable, "-c", line], cwd=FILE.parent, check=True)


def test_the_public_face_is_thin() -> None:
    assert len(FILE.read_text("utf-8").splitlines()) <= 420


def test_to_import_it_imports_no_torch() -> None:
    program = """
import sys, kinetics600
kinetics600.train.ClipTransform
print(*sorted({"torch", "torchcodec", "transformers", "yt_dlp"} & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=FILE.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"


def test_a_copy_of_the_file_is_the_same_and_takes_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`datasets` copies a builder's file, and loads it under another name."""
    (tmp_path / "copied_builder.py").write_bytes(FILE.read_bytes())
    monkeypatch.syspath_prepend(tmp_path)
    before = datasets.load.dataset_module_factory
    copy = importlib.import_module("copied_builder")
    assert datasets.load.dataset_module_factory is before
    assert dir(copy) == dir(kinetics600)
    builder = copy.Kinetics600(cache_dir=str(tmp_path / "cache"), config_name="train")
    assert builder.info.features == kinetics600.features()

"""The examples run as they stand, in a process of their own, from an empty folder."""

from __future__ import annotations

import importlib
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(autouse=True)
def installed() -> None:
    for name in ("torch", "torchcodec.decoders", "transformers", "accelerate"):
        try:
            importlib.import_module(name)
        except (ImportError, RuntimeError, OSError) as error:
            pytest.skip(f"{name} does not work here: {str(error).partition(chr(10))[0]}")


def run(folder: Path, *words: str, program: tuple[str, ...] = ()) -> str:
    """Run an example from an empty folder; return what it printed."""
    script, *options = words
    command = [sys.executable, *program, str(EXAMPLES / script), *options]
    home = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=os.environ | home, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def losses(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"(?:first|last|loss) ([\d.]+)", text)]


@pytest.mark.parametrize("options", [["--streaming"], ["--workers", "2"]], ids=" ".join)
def test_fine_tuning_makes_the_loss_fall(options: list[str], tmp_path: Path) -> None:
    printed = run(tmp_path, "finetune_videomae.py", "--steps", "20", *options)
    first, last = losses(printed)
    assert last < 0.7 * first


def test_fine_tuning_learns_and_evaluation_over_views_says_so(tmp_path: Path) -> None:
    printed = run(tmp_path, "finetune_videomae.py", "--save", "model")
    assert losses(printed)[1] < 0.4 * math.log(4)  # of a guess
    (accuracy,) = re.findall(r"accuracy .*: (\d+)%; a guess", printed)
    assert int(accuracy) >= 75

    printed = run(tmp_path, "evaluate_views.py", "--model", "model")
    found = re.search(r"20 clips, 6 views of each: top-1 ([\d.]+)%, top-5 ([\d.]+)%", printed)
    assert found, printed
    assert float(found[1]) >= 75
    assert float(found[2]) >= float(found[1])


def test_pre_training_fills_in_what_is_hidden(tmp_path: Path) -> None:
    pytest.importorskip("torchvision", exc_type=(ImportError, RuntimeError))
    first, last = losses(run(tmp_path, "pretrain_videomae.py", "--epochs", "10"))
    assert last < 0.7 * first


@pytest.mark.timeout(600)
def test_two_processes_go_on_exactly_where_they_were_stopped(tmp_path: Path) -> None:
    program = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
    options = ("stream_shards.py", "--steps", "9", "--folder")

    whole = losses(run(tmp_path, *options, "whole", program=program))
    assert len(whole) == 9
    parts = [
        loss
        for more in (["--until", "5"], [])  # the second epoch has begun
        for loss in losses(run(tmp_path, *options, "parts", *more, program=program))
    ]
    assert parts == whole

"""The examples run as they stand, in a process of their own, from an empty folder."""

from __future__ import annotations

import importlib
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


@pytest.mark.parametrize("options", [[], ["--streaming"], ["--workers", "2"]], ids=" ".join)
def test_fine_tuning_makes_the_loss_fall(options: list[str], tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "finetune_videomae.py"), "--steps", "30", *options]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"loss: first ([\d.]+), last ([\d.]+)", done.stdout)
    assert found, done.stdout
    assert float(found[2]) < 0.7 * float(found[1])

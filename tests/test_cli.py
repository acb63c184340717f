from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("kinetics600")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PROGRAM), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
        check=False,
    )


def test_the_demo_loads_a_split_classes_and_a_stream(tmp_path: Path) -> None:
    done = run("demo", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for row in ("the whole split", "two classes", "streamed", "again"):
        assert row in done.stdout
    assert len([*tmp_path.glob("clips/validation/*/*.mp4")]) == 30
    assert len([*tmp_path.glob("clips/train/*/*.mp4")]) == 10
    assert not [*tmp_path.glob("clips/test/*")]  # a stream stores nothing
    assert "4 clips that were asked for are not there" in done.stderr


def test_the_demo_leaves_no_folder_behind(tmp_path: Path) -> None:
    before = {path.name for path in Path("/tmp").glob("kinetics600-demo-*")}
    assert run("demo").returncode == 0
    assert {path.name for path in Path("/tmp").glob("kinetics600-demo-*")} <= before


def test_help_and_version() -> None:
    assert "demo" in run("--help").stdout
    assert "Example: kinetics600 demo" in run("demo", "--help").stdout
    import kinetics600

    assert run("--version").stdout.strip() == kinetics600.__version__


def test_a_wrong_word_is_a_usage_error() -> None:
    done = run("demmo")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr

"""Completion in the shell: what `--install-completion` writes makes a real shell complete."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner, Result

from k600.cli import app
from k600.dataset.labels import class_lists

PROGRAM = Path(sys.executable).with_name("kinetics600")
STARTUP = {
    "bash": ".bashrc",
    "zsh": ".zshrc",
    "fish": ".config/fish/completions/kinetics600.fish",
}


def run(home: Path, shell: str, option: str) -> Result:
    return CliRunner(env={"HOME": str(home), "SHELL": f"/bin/{shell}"}).invoke(app, [option])


@pytest.mark.parametrize(("shell", "file"), STARTUP.items())
def test_it_is_installed_once_and_leaves_the_rest_alone(
    tmp_path: Path, shell: str, file: str
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("alias ll='ls -l'")
    for _ in range(2):
        done = run(tmp_path, shell, "--install-completion")
        assert done.exit_code == 0
        assert str(path) in done.output
    first, line = path.read_text().splitlines()
    assert first == "alias ll='ls -l'"
    assert f"_KINETICS600_COMPLETE={shell}_source kinetics600" in line


def test_it_is_shown() -> None:
    done = run(Path("/nonexistent"), "zsh", "--show-completion")
    assert done.exit_code == 0
    assert "compdef" in done.output


def test_another_shell_is_named() -> None:
    done = run(Path("/nonexistent"), "csh", "--install-completion")
    assert done.exit_code == 2
    assert "bash, zsh, fish" in done.output


@pytest.mark.parametrize(
    ("line", "start", "words"),
    [
        ("download", "val", ["validation"]),
        ("download train --source", "", ["auto", "cvdf", "youtube", "local"]),
        (
            "download train --class",
            "passing_a",
            ["passing_American_football_in_game", "passing_american_football_not_in_game"],
        ),
        ("status --class", "zum", ["zumba"]),
        ("classes", "zum", ["zumba"]),
        ("fleet train --executor", "s", ["slurm"]),
        ("fleet train --format", "web", ["webdataset"]),
    ],
)
def test_values_are_completed(line: str, start: str, words: list[str]) -> None:
    shell = BashComplete(app, {}, "kinetics600", "_KINETICS600_COMPLETE")
    found = shell.get_completions(line.split(), start)
    assert [item.value for item in found] == words


def test_all_class_names_are_completed_and_paths_by_the_shell() -> None:
    shell = BashComplete(app, {}, "kinetics600", "_KINETICS600_COMPLETE")
    found = shell.get_completions(["download", "train", "--class"], "")
    assert len({item.value for item in found} - {*class_lists()}) == 600
    for line, kind in (
        ("download train --data-dir", "dir"),
        ("download train --manifest", "file"),
        ("download train --index", "file"),
        ("publish --to", "dir"),
        ("fleet train --to", "dir"),
        ("fleet train --work", "dir"),
        ("index build --to", "file"),
    ):
        (item,) = shell.get_completions(line.split(), "some/pl")
        assert (item.value, item.type) == ("some/pl", kind)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes(tmp_path: Path) -> None:
    run(tmp_path, "bash", "--install-completion")
    script = """
source ~/.bashrc
COMP_WORDS=(kinetics600 "$1"); COMP_CWORD=1
_kinetics600_completion kinetics600
echo "${COMPREPLY[@]}"
"""
    place = {"HOME": str(tmp_path), "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
    for start, words in (
        ("pu", "publish"),
        ("d", "download delete doctor demo"),
        ("--ver", "--version"),
    ):
        done = subprocess.run(
            ["bash", "-c", script, "bash", start], env=place, capture_output=True, text=True
        )
        assert (done.stdout.split(), done.stderr) == (words.split(), "")

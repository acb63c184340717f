"""README's Python runs, its options are all there, and its commands are those of `.ci/run`."""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path
from typing import Any

import datasets
import pytest

import kinetics600
from k600.loading import request
from k600.loading.columns import ROWS, markdown_table
from k600.miniature import make_miniature
from scripts.make_readme import with_options

ROOT = Path(kinetics600.__file__).parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)
SHELL = re.findall(r"```sh\n(.*?)```", README, re.S)


def test_the_python_in_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ["springboard diving", "surfing water", "tie dying"]
    host = make_miniature(tmp_path / "host", classes=chosen, flaws=False)
    monkeypatch.setenv("KINETICS600_MIRROR", str(host.root))
    monkeypatch.setenv("KINETICS600_HOME", str(tmp_path / "clips"))
    monkeypatch.setattr(request, "DEFAULT_TEST_LABELS", str(host.test_labels))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    level = logging.getLogger("kinetics600").level
    try:
        for snippet in PYTHON:
            exec(compile(snippet, "README.md", "exec"), names)
    finally:
        logging.getLogger("kinetics600").setLevel(level)
    assert len(names["ds"]["validation"]) == 10


def test_its_parts_about_options_are_made_from_their_declaration() -> None:
    assert with_options(README) == README, "run scripts/make_readme.py"


def test_every_option_is_in_its_table() -> None:
    options = {field.name for field in dataclasses.fields(kinetics600.Kinetics600Config)}
    inherited = {field.name for field in dataclasses.fields(datasets.BuilderConfig)} - {"data_dir"}
    table = README.partition("## Options")[2].partition("## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == options - inherited


def test_its_table_of_columns_is_what_the_columns_are_declared_as() -> None:
    table = README.partition("## Rows")[2].partition("## ")[0]
    assert markdown_table(ROWS, types=True) in table
    assert [column.name for column in ROWS] == [*kinetics600.features()]


def test_it_opens_with_two_commands_and_ci_runs_the_second() -> None:
    demo, test = SHELL[:2]
    assert demo.strip() == "sh scripts/setup && .venv/bin/kinetics600 demo"
    ci = (ROOT / ".ci/run").read_text()
    for command in test.strip().split(" && "):
        assert command in ci


def test_the_packages_named_by_the_user_are_required() -> None:
    required = (ROOT / "requirements.txt").read_text()
    for package in (
        "datasets>=4.6,<6",
        "huggingface_hub",
        "yt-dlp[default]",
        "fsspec",
        "s3fs",
        "av",
    ):
        assert re.search(rf"^{re.escape(package)}", required, re.M), package


def test_every_command_and_its_options_are_documented() -> None:
    from k600.cli import app

    section = README.partition("## On the command line")[2].partition("\n## ")[0]

    def check(command: Any, name: str) -> None:
        for below, inner in getattr(command, "commands", {}).items():
            check(inner, f"{name} {below}")
        if not hasattr(command, "commands"):
            assert f"{name} " in section, name
            assert "Example: kinetics600" in (command.help or ""), name
            for option in (o for parameter in command.params for o in parameter.opts):
                words = {option, f"--no-{option[2:]}"}
                assert not option.startswith("--") or any(w in section for w in words), option

    check(app, "kinetics600")

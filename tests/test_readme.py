"""README and `docs/`: snippets run, generated parts are current, and links lead somewhere."""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

import kinetics600
from k600.loading import request
from k600.miniature import Miniature
from scripts.make_docs import PAGES, leaves, with_generated
from tests.conftest import Command

ROOT = Path(kinetics600.__file__).parent
README = (ROOT / "README.md").read_text("utf-8")
LOADING = (ROOT / "docs/loading.md").read_text("utf-8")
COMMAND_LINE = (ROOT / "docs/command_line.md").read_text("utf-8")
CI = (ROOT / ".ci/run").read_text("utf-8")
EXTRAS = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text("utf-8"), re.M))

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def snippets(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield language and code of each snippet, and the packages that the comment above it names."""
    pattern = r"(?:<!-- needs: ([\w ]+) -->\n+)?^```(python|sh)\n(.*?)^```"
    for needs, language, code in re.findall(pattern, text, re.M | re.S):
        yield language, code, needs.split()


@pytest.fixture
def place(miniature: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in which the miniature is the mirror."""
    monkeypatch.setenv("KINETICS600_MIRROR", str(miniature.root))
    monkeypatch.setenv("KINETICS600_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(request, "DEFAULT_TEST_LABELS", str(miniature.test_labels))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))  # as a shell has it
    level = logging.getLogger("kinetics600").level
    yield tmp_path
    logging.getLogger("kinetics600").setLevel(level)


@each_page
def test_every_snippet_runs(
    page: Path, place: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, Any] = {}
    for language, code, needs in snippets(page.read_text("utf-8")):
        if not all(map(works, needs)):
            continue
        if language == "sh":
            run_lines(code, command, monkeypatch)
        else:
            names = {} if page.name == "README.md" else names  # there each stands for itself
            exec(compile(code, page.name, "exec"), names)
    made = [f"{each.name}/" if each.is_dir() else each.name for each in place.iterdir()]
    ignored = {line.lstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    assert {each for each in made if each not in {"home/", "cache/"}} <= ignored


def works(package: str) -> bool:
    try:
        importlib.import_module(package)
    except (ImportError, OSError, RuntimeError):  # torchcodec without FFmpeg's libraries, say
        return False
    return True


def run_lines(code: str, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the commands of a shell; what installs, and the tests, are run by `.ci/run`."""
    for line in re.split(r"\n| && ", code.replace("\\\n", "")):
        line = os.path.expandvars(line)
        program, *words = shlex.split(line, comments=True) or [""]
        if program == "export":
            monkeypatch.setenv(*words[0].split("=", 1))
        elif program.endswith("kinetics600"):
            done = command(*words)
            good = (0, 1, 3) if words[0] == "status" else (0, 3)
            assert done.returncode in good, f"{line}\n{done.stderr}"
        elif program == "pip":
            assert words[0] == "install"
            assert set(re.findall(r"\w+", words[1].partition("[")[2])) <= EXTRAS, line
        else:
            assert line.strip() in CI, line


@each_page
def test_what_is_generated_is_current(page: Path) -> None:
    text = page.read_text("utf-8")
    assert with_generated(text) == text, "run scripts/make_docs.py"


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if not link.startswith(("https://", "http://")):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.is_file(), link
            assert not anchor or anchor in anchors_of(target), link


def test_readme_is_short_and_its_pictures_are_small() -> None:
    body = re.sub(r"\A---\n.*?\n---\n", "", README, flags=re.S)
    assert 650 <= len(body.split()) <= 950
    assert len(re.findall(r"^!\[", README, re.M)) == 2
    for picture in (ROOT / "docs/images").iterdir():
        assert picture.stat().st_size < 150_000, picture.name


def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings")
    pytest.importorskip("material")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site/index.html").is_file()


def test_every_option_is_in_its_table() -> None:
    options = {field.name for field in dataclasses.fields(kinetics600.Kinetics600Config)}
    inherited = {field.name for field in dataclasses.fields(datasets.BuilderConfig)} - {"data_dir"}
    table = LOADING.partition("## Options")[2].partition("## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.M)) == options - inherited


def test_every_command_has_an_example_and_its_options_a_help() -> None:
    for name, command in leaves():
        assert f"\n### {name}\n" in COMMAND_LINE
        assert "Example: kinetics600" in (command.help or ""), name
        for option in command.params:
            assert option.param_type_name == "argument" or getattr(option, "help", ""), option.name


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

"""The files that a repository's host, a citation manager and a container's builder read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import kinetics600
from k600.cli import app

ROOT = Path(kinetics600.__file__).parent
README = (ROOT / "README.md").read_text("utf-8")
CI = (ROOT / ".ci" / "run").read_text("utf-8")


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == kinetics600.__version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    (paper,) = citation["references"]
    assert paper["url"] in README


def test_the_container_runs_what_readme_says() -> None:
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    steps: list[tuple[str, str]] = [
        (word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word != "#"
    ]
    assert len(lines) <= 10
    assert steps[0][0] == "FROM"
    assert {word for word, _ in steps} <= {
        *("FROM", "WORKDIR", "COPY", "RUN", "ENV", "ENTRYPOINT", "CMD"),
    }

    said = dict(steps)
    command = json.loads(said["ENTRYPOINT"]) + json.loads(said["CMD"])
    install, demo = README.partition("```sh\n")[2].splitlines()[:2]
    assert install.partition("#")[0].split() == said["RUN"].replace(" --no-cache-dir", "").split()
    assert demo.partition("#")[0].split() == command


def test_the_container_gets_nothing_that_git_ignores_at_the_top() -> None:
    ignored, kept_out = (
        {line.strip("/") for line in (ROOT / name).read_text("utf-8").splitlines()}
        for name in (".gitignore", ".dockerignore")
    )
    caches = {each for each in ignored if each.startswith((".", "#", "*"))}
    assert {each.removeprefix("**/") for each in kept_out} >= ignored - caches


def test_hints_name_packages_and_not_this_project_which_no_registry_has() -> None:
    known = (ROOT / "pyproject.toml").read_text("utf-8") + (ROOT / "requirements.txt").read_text()
    hints = []
    for path in [*ROOT.glob("k600/**/*.py"), *ROOT.glob("examples/*"), ROOT / "README.md"]:
        text = re.sub(r'"\n\s*f?"', "", path.read_text("utf-8"))  # strings in several pieces
        hints += re.findall(r"pip install (?:-\S+ )?'?([\w.-]+)", text)
    assert len(hints) > 10
    for first in hints:
        assert first == "." or first in known, first
    assert "kinetics600" not in hints


def test_the_four_commands_are_those_that_the_check_runs() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    commands = page.partition("```sh\n")[2].partition("```")[0].splitlines()
    assert len(commands) == 4
    for line in commands:
        for command in line.partition("#")[0].strip().split(" && "):
            known = command.replace("ruff format .", "ruff format --check .")
            assert known == ".ci/run" or known in CI, command


FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_a_form_asks_for_something_and_names_commands_that_there_are(form: Path) -> None:
    content: dict[str, Any] = yaml.safe_load(form.read_text("utf-8"))
    assert content.keys() == {"name", "description", "labels", "body"}
    asked = content["body"]
    assert any(each.get("validations", {}).get("required") for each in asked)
    assert len({each["id"] for each in asked}) == len(asked)
    for each in asked:
        assert each["type"] in {"textarea", "input"}
        assert each["attributes"]["label"]

    for name in re.findall(r"`kinetics600 (\w+)", form.read_text("utf-8")):
        assert name in app.commands

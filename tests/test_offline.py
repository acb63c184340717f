"""Offline is decided in one place, as `datasets` decides: load, command line and doctor agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

import kinetics600
from k600.checks.doctor import check_environment
from k600.miniature import CLASSES, Miniature
from k600.network import OFFLINE_VARIABLES, is_offline, offline_variable
from tests.servers import web_server

CASES: list[tuple[dict[str, str], str | None]] = [
    ({}, None),
    ({"HF_DATASETS_OFFLINE": "1"}, "HF_DATASETS_OFFLINE"),
    ({"HF_DATASETS_OFFLINE": "on", "HF_HUB_OFFLINE": "0"}, "HF_DATASETS_OFFLINE"),
    ({"HF_DATASETS_OFFLINE": "maybe"}, None),
    ({"HF_HUB_OFFLINE": "yes"}, "HF_HUB_OFFLINE"),
    ({"HF_DATASETS_OFFLINE": "0", "HF_HUB_OFFLINE": "1"}, None),
    ({"HF_DATASETS_OFFLINE": "", "HF_HUB_OFFLINE": "1"}, None),
]


def place(variables: dict[str, str]) -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if name not in OFFLINE_VARIABLES}
    return {**others, "PYTHONPATH": str(Path(kinetics600.__file__).parent), **variables}


@pytest.mark.parametrize(("variables", "name"), CASES)
def test_it_is_what_datasets_makes_of_the_environment(
    variables: dict[str, str], name: str | None
) -> None:
    program = """
from k600.network import is_offline
before = is_offline()
import datasets
print(before, is_offline(), datasets.config.HF_HUB_OFFLINE)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=place(variables),
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [str(name is not None)] * 3
    assert offline_variable(variables) == name
    found = check_environment(variables)
    assert found.state == ("ok" if name is None else "warning")
    assert name is None or found.advice.endswith(f"unset {name}")


def test_a_program_that_switches_datasets_off_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_offline()
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert is_offline()


def test_an_offline_hub_alone_keeps_nobody_from_the_mirror(
    miniature: Miniature, tmp_path: Path
) -> None:
    """`HF_DATASETS_OFFLINE=0` has the last word: the load, its plan and the doctor all say so."""

    def run(*arguments: str) -> Any:
        program = "import sys\nfrom k600.cli import main\nmain()"
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments, "--json"],
            env=place({"HF_DATASETS_OFFLINE": "0", "HF_HUB_OFFLINE": "1", **mirror}),
            capture_output=True,
            text=True,
        )
        return json.loads(done.stdout)

    with web_server(miniature.root.parent) as server:
        mirror = {
            "KINETICS600_MIRROR": f"{server.url}/600",
            "KINETICS600_HOME": str(tmp_path / "clips"),
            "HF_HOME": str(tmp_path / "hf"),
        }
        chosen = ("train", "--class", CLASSES[1], "--source", "cvdf")
        (plan,) = run("plan", *chosen)
        assert (plan["offline"], plan["tarballs"]) == (False, 1)
        (outcome,) = run("download", *chosen)
        assert outcome["here_clips"] == 5
        states = {finding["name"]: finding["state"] for finding in run("doctor")}
        assert (states["environment"], states["mirror"]) == ("ok", "ok")

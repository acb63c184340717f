"""One name for one thing in the JSON of every command: a table in `docs/` says what each means."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kinetics600
from k600.dataset.reasons import REASONS
from k600.dataset.splits import SPLITS
from k600.miniature import Miniature
from k600.video.probe import VERDICTS
from tests.cli.test_terminals import LEAVES, is_json
from tests.conftest import Command

PAGE = (Path(kinetics600.__file__).parent / "docs/command_line.md").read_text()
SECTION = PAGE.partition("## Names in the JSON")[2]
MEANINGS = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", SECTION, re.M))
SOURCES = {"cvdf", "youtube", "local"}

KEYED_BY: dict[str, set[str] | None] = {
    "missing": {*REASONS},
    "replaced": {*REASONS},
    "sources": SOURCES,
    "verdicts": {*VERDICTS},
    "tarball_states": {"done", "partial", "started", "damaged"},
    "listed_clips": {*SPLITS},
    "unreachable": None,  # paths
}
"""Names of objects whose own keys are data, and what these may be."""

LINES = {  # in an order in which one has what the one before left
    "doctor": ["--offline"],
    "classes": ["surf"],
    "plan": ["train", "--class", "zumba", "--class", "tie dying"],
    "download": ["validation"],
    "status": ["all", "--classes"],
    "verify": ["validation", "--deep"],
    "gallery": ["validation", "--contact-sheet", "sheet.png"],
    "manifest export": ["validation"],
    "manifest check": ["manifest.csv"],
    "index build": ["validation", "--to", "index.parquet"],
    "index show": ["index.parquet", "--check"],
    "index publish": ["./index"],
    "publish": ["validation", "--to", "published", "--embed", "--i-have-the-rights"],
    "fleet": ["validation", "--to", "shards", "--workers", "1"],
    "fleet ": ["train", "--estimate"],
    "export lists": ["validation"],
    "overlap": [],
    "list": [],
    "delete": ["validation", "--yes"],
}


def names_in(value: Any) -> Iterator[str]:
    """Yield every name in some JSON, and look at the keys of those objects whose keys are data."""
    if isinstance(value, list):
        for item in value:
            yield from names_in(item)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            if name in KEYED_BY:
                allowed = KEYED_BY[name]
                assert allowed is None or inner.keys() <= allowed, (name, inner)
                inner = list(inner.values())
            yield from names_in(inner)


def test_one_name_for_one_thing(
    miniature: Miniature, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {name.strip() for name in LINES} == {name for name, c in LEAVES.items() if is_json(c)}
    monkeypatch.setenv("KINETICS600_MIRROR", str(miniature.root))
    monkeypatch.setenv("KINETICS600_HOME", str(tmp_path / "clips"))
    seen: dict[str, set[str]] = {}
    for name, arguments in LINES.items():
        if name == "verify":
            bad, gone, *_ = sorted(tmp_path.glob("clips/validation/*/*.mp4"))
            bad.write_bytes(bad.read_bytes()[:-999])
        if name == "manifest check":
            gone.unlink()
        done = command(*name.split(), *arguments, "--json", cwd=tmp_path)
        assert done.returncode in (0, 1, 3), done.stderr
        seen[name] = set(names_in(json.loads(done.stdout)))
    assert set().union(*seen.values()) == MEANINGS.keys(), seen


def test_no_two_names_mean_the_same() -> None:
    assert len(set(MEANINGS.values())) == len(MEANINGS)


def test_units_are_in_names() -> None:
    for name, meaning in MEANINGS.items():
        words = set(re.findall(r"\w+", meaning.partition(":")[0].lower()))
        assert (name.endswith("_bytes")) == ("bytes" in words), name
        assert (re.search(r"(^|_)seconds$", name) is not None) == ("seconds" in words), name

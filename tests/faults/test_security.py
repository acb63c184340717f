"""`SECURITY.md` promises nothing that no test shows."""

from __future__ import annotations

import ast
import re

from tests.faults.jobs import ROOT

TEXT = (ROOT / "SECURITY.md").read_text()
HERE = ROOT / "tests/faults"


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`([\w./]+\.py)::(\w+)`", TEXT)
    assert len(named) > 30
    for file, test in named:
        tree = ast.parse((HERE / file).read_text())
        assert test in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}, (file, test)


def test_every_promise_names_a_test() -> None:
    promises = TEXT.partition("## What is promised")[2].partition("## See for yourself")[0]
    items = re.split(r"\n- |\n### ", promises)
    for item in items[1:]:
        heading = "\n\n" not in item.strip() and item.strip() in {
            "Nothing is lost",
            "Nobody gets in",
        }
        assert heading or "::test_" in item, item


def test_every_file_of_this_suite_is_in_it() -> None:
    for path in HERE.glob("test_*.py"):
        assert path.name in (*re.findall(r"`([\w./]+\.py)::", TEXT), "test_security.py")

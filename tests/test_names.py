"""Exported names are true, errors are drawn as they are, and examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import types
from pathlib import Path

import pytest

import k600
import kinetics600
from k600 import errors

MODULES = [
    "kinetics600",
    *(module.name for module in pkgutil.walk_packages(k600.__path__, "k600.")),
]


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_documented_and_exported_ones_sorted(name: str) -> None:
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip()
    exported = getattr(module, "__all__", [])
    assert sorted(exported, key=str.casefold) == sorted(set(exported), key=str.casefold)
    own = [n for n, value in vars(module).items() if getattr(value, "__module__", None) == name]
    for public_name in {*exported, *(n for n in own if not n.startswith("_"))}:
        value = getattr(module, public_name)
        alias = isinstance(value, types.GenericAlias)  # a class, to Python 3.10
        if (inspect.isclass(value) and not alias) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{name}.{public_name} has no docstring"


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_drawn_tree_of_errors_is_the_real_one() -> None:
    drawn = re.findall(r"^    ([│ ├└─]*)(\w+)(?: \((\w+)\))? ", errors.__doc__ or "", re.M)
    assert len(drawn) > 15
    parents = ["Kinetics600Error"]
    for lines, name, builtin in drawn:
        depth = len(lines) // 4
        error = getattr(errors, name)
        parents[depth:] = [name]
        if depth:
            assert error.__mro__[1].__name__ == parents[depth - 1]
        if builtin:
            assert builtin in {kind.__name__ for kind in error.__mro__}
    kinds = {
        n for n, e in vars(errors).items() if inspect.isclass(e) and e.__module__ == "k600.errors"
    }
    assert {name for _, name, _ in drawn} | {"Kinetics600Error"} == kinds


def test_only_the_builder_its_helper_and_the_demo_know_datasets() -> None:
    for path in Path(k600.__path__[0]).rglob("*.py"):
        imports = re.findall(r"^ *(?:from|import) (datasets)\b", path.read_text(), re.M)
        assert not imports or path.name in ("hf.py", "demo.py"), path


def test_no_path_of_a_machine_is_committed() -> None:
    root = Path(kinetics600.__file__).parent
    for path in [*root.glob("*.*"), *root.glob("k600/**/*.py"), *root.glob("benchmarks/*")]:
        if path.is_file():
            text = path.read_text("utf-8", errors="ignore")
            assert not re.search(r"/(work|root|home)/\w", text), path

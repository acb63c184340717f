"""ARCHITECTURE.md is what the code is: who imports whom, and a line for every file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
FILES = [ROOT / "kinetics600.py", *sorted((ROOT / "k600").rglob("*.py"))]


def table() -> dict[str, set[str]]:
    """Return what each wing, or word, may import beside itself and words."""
    rows = re.findall(r"^\| (`k600/\w+[/.]\S*`|`kinetics600.py`|words) \|.*\| (.+) \|$", PAGE, re.M)
    names = [
        wing.strip("`").removeprefix("k600/").removesuffix(".py").strip("/") for wing, _ in rows
    ]
    found = {}
    for number, (name, (_, allowed)) in enumerate(zip(names, rows, strict=True)):
        below = {other for other in names[number + 1 :] if other != "words"}
        found[name] = (
            below if "everything below" in allowed else set(re.findall(r"`(\w+)`", allowed))
        )
    return found


def words() -> set[str]:
    (line,) = re.findall(r"^\| words \|(.*)\| nothing \|$", PAGE, re.M)
    return set(re.findall(r"`(\w+)`", line))


def room_of(module: str) -> str | None:
    """Return the wing or word that a module belongs to; None if it is none of ours."""
    first, *rest = module.split(".")
    return first if first == "kinetics600" else rest[0] if first == "k600" and rest else None


def imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "k600":
            yield from (f"k600.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_arrows_run_down_the_table_only() -> None:
    allowed = table()
    allowed |= {word: set() for word in words()}
    odd = set()
    for file in FILES:
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        room = room_of(module)
        for other in imports_of(file):
            to = room_of(other)
            if room and to and to != room and to not in words() | allowed[room]:
                odd.add(f"{module} -> {other}")
    assert odd == set()


def test_every_file_has_its_line() -> None:
    for file in FILES:
        folder = f"**`{file.relative_to(ROOT).parent.as_posix()}/`**"
        if file.parent == ROOT:
            assert "`kinetics600.py`" in PAGE
        elif file.name != "__init__.py":
            section = PAGE.partition(folder)[2].partition("\n\n**")[0]
            assert f"\n- `{file.name}`: " in section, file


def test_every_line_has_its_file() -> None:
    for folder, section in re.findall(r"\*\*`(k600\S*/)`\*\*\n\n((?:- .*\n?)+)", PAGE):
        for name in re.findall(r"^- `(\S+)`: ", section, re.M):
            assert (ROOT / folder / name).is_file(), f"{folder}{name}"


def test_what_is_no_wing_is_little() -> None:
    beside_the_wings = {path.name for path in (ROOT / "k600").glob("*.py")} - {"__init__.py"}
    assert len(beside_the_wings) <= 16

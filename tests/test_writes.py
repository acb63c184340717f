"""One place names files and writes them: `k600.store.files`, which flushes what is to last."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = [
    *sorted(path for path in (ROOT / "k600").rglob("*.py") if path.name != "files.py"),
    ROOT / "kinetics600.py",
    *sorted((ROOT / "scripts").glob("*.py")),
]

ALLOWED = {
    ("k600/video/encoder.py", "av.open"): "writes an unfinished file, which the store names",
    ("k600/cli/completion.py", "path.open"): "adds a line to the user's own shell configuration",
    ("k600/miniature/clips.py", "av.open"): "writes into memory",
    ("k600/miniature/host.py", "tarfile.open"): "writes into memory",
    ("k600/miniature/host.py", "path.write_bytes"): "makes an example host, which is no store",
    ("k600/publish/shards.py", "tarfile.open"): "writes into an unfinished file",
}
"""By module and call: why it is none that names a file."""

_NAMES = {"rename", "renames", "link", "symlink", "hardlink_to", "symlink_to"}
_COPIES = {"copy", "copy2", "copyfile", "copytree", "move"}
_WRITES = {"write_bytes", "write_text", "touch"}


def naming_calls(source: str) -> Iterator[str]:
    """Yield the calls in a source that name a file, or open one to write to it."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        function = ast.unparse(call.func)
        name = function.rpartition(".")[2]
        if (
            name in _NAMES | _WRITES
            or (name in _COPIES and function.startswith("shutil."))
            or function == "os.replace"
            # A text's `replace` takes two, a dataclass's takes keywords; a path's takes one.
            or (name == "replace" and len(call.args) == 1 and not call.keywords)
            or (name in ("open", "fdopen", "NamedTemporaryFile") and _writes(call))
        ):
            yield function


def _writes(call: ast.Call) -> bool:
    given = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
    modes = [one.value for one in given if isinstance(one, ast.Constant)]
    return any(
        isinstance(mode, str) and len(mode) < 4 and set(mode) & set("wax+") for mode in modes
    )


def test_no_other_module_names_a_file() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), call)
        for path in MODULES
        for call in naming_calls(path.read_text("utf-8"))
    }
    assert found == ALLOWED.keys()


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("os.replace(part, path)", True),
        ("part.replace(path)", True),
        ("Path(name).write_text('x')", True),
        ("open(path, 'wb')", True),
        ("path.open(mode='a')", True),
        ("shutil.move(a, b)", True),
        ("text.replace('a', 'b')", False),
        ("dataclasses.replace(row, size=1)", False),
        ("open(path, 'rb')", False),
        ("row.copy()", False),
    ],
)
def test_what_names_a_file(source: str, names: bool) -> None:
    assert bool([*naming_calls(source)]) == names

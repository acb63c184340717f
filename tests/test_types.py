"""Who writes `load_dataset` in an editor, a notebook or a typed program is helped with its options.

The programs are checked outside the checkout, against the Python that `TYPES_OF` names, or this
one: type checkers find an installed package otherwise than a file beside the program.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import kinetics600
from k600.fleet.options import FleetOptions
from k600.loading.keywords import Options
from k600.loading.options import OPTIONS, options_of
from k600.publish.options import IndexOptions, PublishOptions
from scripts.make_types import FILE, source

ROOT = Path(kinetics600.__file__).parent
OWN: dict[Any, Any] = {
    kinetics600.publish: PublishOptions,
    kinetics600.build_index: IndexOptions,
    kinetics600.fleet: FleetOptions,
}
PYTHON = os.environ.get("TYPES_OF", sys.executable)

RIGHT = """
from pathlib import Path

import datasets
import kinetics600
from kinetics600 import load_dataset
from kinetics600.errors import OptionError
from kinetics600.train import ClipTransform, collate

folder = Path("clips")
rows = load_dataset("validation", classes={"zumba"}, max_samples=3, data_dir=folder)
every = load_dataset("all", source="local", cache_dir="cache", num_proc=2)
several = load_dataset(splits=["train", "validation"], max_per_class=2, on_missing="raise")
parts = load_dataset(["train[:10%]", "train[10%:]"])
stream = load_dataset("test", streaming=True, decode=True)
streams = load_dataset(splits="all", streaming=True, mirror_options={"key": "k", "secret": "s"})
either = load_dataset("test", streaming=folder.exists())
builder = kinetics600.Kinetics600(config_name="train").of("train[:3]")
named: str | None = kinetics600.Kinetics600Config(name="train", on_missing="skip").on_missing
page: str = kinetics600.gallery(rows).path
names: list[str] = kinetics600.labels()
samples = rows.with_transform(ClipTransform(num_frames=16, stride=4))
together = collate
try:
    request = kinetics600.make_request("train", seed=3)
except (OptionError, kinetics600.errors.MirrorError):
    kinetics600.publish("me/mine", "validation", kind="embedded", mix=3, shuffle=True)
    kinetics600.fleet("place", "train", format="webdataset", logs=folder, classes="zumba")
"""

WRONG = """
import kinetics600

kinetics600.load_dataset("validation", max_sample=3)
kinetics600.load_dataset("validation", max_samples="3")
kinetics600.load_dataset("validation", source="ctdf")
kinetics600.load_dataset(splits=["train"], max_sample=3)
kinetics600.make_request("train", max_sample=3)
kinetics600.publish("me/mine", max_samples="3")
kinetics600.build_index(clases="zumba")
kinetics600.publish("me/mine", kind="clips")
kinetics600.fleet("place", "train", tasks="3")
kinetics600.pyarrow
"""
MISTAKES = set(range(4, 14))  # the lines with one

KINDS = """
assert_type(rows, datasets.Dataset)
assert_type(every, datasets.DatasetDict)
assert_type(several, datasets.DatasetDict)
assert_type(parts, list[datasets.Dataset])
assert_type(stream, datasets.IterableDataset)
assert_type(streams, datasets.IterableDatasetDict)
assert_type(either, datasets.Dataset | datasets.IterableDataset)
assert_type(builder, kinetics600.Kinetics600)
"""


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "MYPYPATH": "", "PYTHONPATH": ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy(folder: Path, program: str) -> str:
    """Return what mypy says of a program."""
    pytest.importorskip("mypy", reason="mypy is in the extra dev")
    (folder / "program.py").write_text(program)
    (folder / "mypy.ini").write_text("[mypy]\n[mypy-datasets.*]\nignore_missing_imports = true\n")
    return run(folder, sys.executable, "-m", "mypy", f"--python-executable={PYTHON}", "program.py")


def pyright(folder: Path, program: str) -> list[dict[str, Any]]:
    """Return the mistakes that pyright finds in a program."""
    command = shutil.which("pyright", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if command is None:
        pytest.skip("pyright is in the extra dev")
    if subprocess.run([command, "--version"], capture_output=True).returncode:
        pytest.skip("pyright cannot get its own program here")
    (folder / "program.py").write_text(program)
    said = run(folder, command, "--outputjson", f"--pythonpath={PYTHON}", "program.py")
    return [each for each in json.loads(said)["generalDiagnostics"] if each["severity"] == "error"]


def test_mypy_accepts_what_is_right_and_names_what_is_not(tmp_path: Path) -> None:
    assert "Success" in mypy(tmp_path, RIGHT)

    said = mypy(tmp_path, WRONG)
    lines = {int(line) for line in re.findall(r"^program.py:(\d+): error", said, re.M)}
    assert lines == MISTAKES, said
    assert '"max_sample" for "load_dataset"; did you mean "max_samples"?' in said
    assert '"max_samples" to "load_dataset" has incompatible type "str"' in said
    assert all(len(line) < 200 for line in said.splitlines())


def test_pyright_accepts_what_is_right_and_finds_what_is_not(tmp_path: Path) -> None:
    typed = f"from typing_extensions import assert_type\n{RIGHT}{KINDS}"
    assert pyright(tmp_path, typed) == []

    said = pyright(tmp_path, WRONG)
    assert {each["range"]["start"]["line"] + 1 for each in said} == MISTAKES, said


def test_types_of_the_options_are_made_from_their_declaration() -> None:
    assert FILE.read_text("utf-8") == source(), "run python scripts/make_types.py"
    assert list(Options.__annotations__) == list(OPTIONS)


def test_the_stub_is_what_there_is() -> None:
    text = (ROOT / "kinetics600-stubs" / "__init__.pyi").read_text("utf-8")
    stub: dict[str, Any] = {"MYPY": True, "__name__": "stub"}
    exec(f"from __future__ import annotations\n{text}", stub)
    assert stub["__all__"] == kinetics600.__all__
    for name in kinetics600.__all__:
        ours, theirs = getattr(kinetics600, name), stub.get(name)
        same = ours is theirs or name in ("__version__", "load_dataset", "Kinetics600Config")
        assert same or parameters(ours) == parameters(theirs), name

    *own, _ = parameters(stub["load_dataset"])
    more = [name for name in stub["_LoadOptions"].__annotations__ if name not in OPTIONS]
    assert parameters(kinetics600.load_dataset) == [*own, *more, *OPTIONS]


def test_signatures_name_every_option() -> None:
    for function in (kinetics600.load_dataset, kinetics600.make_request, kinetics600.fleet):
        shown = inspect.signature(function).parameters
        assert [*shown][-len(OPTIONS) :] == list(OPTIONS)
        assert all(shown[name].default == OPTIONS[name].default for name in OPTIONS)
    for option in OPTIONS.values():
        assert f"\n            {option.name}: {option.help}" in kinetics600.fleet.__doc__
    for function, fields in OWN.items():
        shown = inspect.signature(function).parameters
        own = options_of(fields)
        assert own.keys() <= shown.keys()
        for name in own.keys() - {"to"}:
            assert shown[name].default == own[name].default
            assert f"\n        {name}: {own[name].help}\n" in function.__doc__


@pytest.mark.parametrize("use_jedi", [False, True])
def test_ipython_completes_options_and_public_names(use_jedi: bool) -> None:
    pytest.importorskip("IPython", reason="IPython is in the extra dev")
    program = f"""
    from IPython.core.completer import provisionalcompleter
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.Completer.use_jedi = {use_jedi}
    shell.run_cell("import kinetics600")
    for line in ("kinetics600.load_dataset('train', max_", "kinetics600.", "kinetics600.train."):
        with provisionalcompleter():
            found = {{each.text for each in shell.Completer.completions(line, len(line))}}
        print(*sorted(name.lstrip(".") for name in found))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    options, names, training = done.stdout.splitlines()[-3:]
    assert options.split() == ["max_per_class=", "max_samples="]
    assert names.split() == [name for name in kinetics600.__all__ if name != "__version__"]
    assert training.split() == kinetics600.train.__all__

"""The notebook runs from its first cell to its last, and shows what it should."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parent.parent / "examples/quickstart.ipynb"


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The notebook's cells, executed in an empty folder."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: '.[docs]'")
    for name in ("nbformat", "ipykernel", "ipywidgets", "matplotlib"):
        pytest.importorskip(name, reason=f"{name} is not installed: '.[docs]'")
    import nbformat

    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as here:
        here.setenv("HF_HOME", str(folder / "hf"))
        here.setenv("TMPDIR", str(folder))
        here.setenv("PYTHONPATH", str(NOTEBOOK.parent.parent), prepend=os.pathsep)
        for name in ("KINETICS600_MIRROR", "KINETICS600_HOME"):
            here.delenv(name, raising=False)
        book = nbformat.read(NOTEBOOK, as_version=4)
        client = nbclient.NotebookClient(
            book, timeout=240, resources={"metadata": {"path": folder}}
        )
        return list(client.execute().cells)


def outputs(cells: list[Any], word: str) -> list[Any]:
    """Return what the cells show in whose code a word is."""
    return [each for cell in cells if word in cell.source for each in cell.get("outputs", [])]


def kinds(shown: list[Any]) -> set[str]:
    return {kind for each in shown for kind in each.get("data", {})}


def test_only_the_warning_is_shown_as_one(cells: list[Any]) -> None:
    shown = outputs(cells, "")
    (red,) = (each["text"] for each in shown if each.get("name") == "stderr")
    assert red.startswith("kinetics600 validation: 2 clips that were asked for are not there")
    said = "".join(each["text"] for each in shown if each.get("name") == "stdout")
    assert "kinetics600 train: 32 clips (32 from cvdf)" in said


def test_the_gallery_is_in_place(cells: list[Any]) -> None:
    (page,) = (each["data"]["text/html"] for each in outputs(cells, "gallery(validation"))
    assert page.startswith("<iframe srcdoc=")


def test_the_balance_and_with_torch_batch_loss_and_accuracy_are_shown(cells: list[Any]) -> None:
    assert "image/png" in kinds(outputs(cells, "plt.barh"))
    if importlib.util.find_spec("torch") is None:
        (said,) = outputs(cells, "import torch")
        assert "torch is not installed here" in said["text"]
        return
    assert "image/png" in kinds(outputs(cells, "ClipTransform(num_frames=8, stride=4, short_side"))
    assert "image/png" in kinds(outputs(cells, "axhline"))
    (said,) = outputs(cells, "accuracy on validation")
    assert int(said["text"].split("%")[0].split()[-1]) >= 75


def test_it_is_stored_without_results() -> None:
    assert '"outputs": []' in NOTEBOOK.read_text("utf-8")
    assert 'execution_count": 1' not in NOTEBOOK.read_text("utf-8")

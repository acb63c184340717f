"""The notebook runs from its first cell to its last and shows what it should, in a browser, too."""

from __future__ import annotations

import copy
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import start_chromium, watch

NOTEBOOK = Path(__file__).parent.parent / "examples/quickstart.ipynb"


# The text of each output, and the colour behind it.
TEXTS = """() => [...document.querySelectorAll(".jp-RenderedText")].map((text) => {
  let at = text;
  const colour = () => getComputedStyle(at).backgroundColor;
  while (at.parentElement && colour() === "rgba(0, 0, 0, 0)") at = at.parentElement;
  return [text.innerText, colour()];
})"""


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook, executed in an empty folder."""
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
        return client.execute()


@pytest.fixture(scope="module")
def cells(book: Any) -> list[Any]:
    return list(book.cells)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with start_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def html(book: Any, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The executed notebook as a page that asks the network for nothing."""
    nbconvert = pytest.importorskip("nbconvert", reason="nbconvert is not installed: '.[docs]'")
    libraries = ("require_js", "mathjax", "mermaid_js", "mermaid_layout_elk_js", "jquery")
    exporter = nbconvert.HTMLExporter(**{f"{each}_url": "" for each in libraries})
    still = copy.deepcopy(book)
    still.metadata.pop("widgets", None)  # bars would ask the network for a library
    path = tmp_path_factory.mktemp("html") / "quickstart.html"
    path.write_text(exporter.from_notebook_node(still)[0], "utf-8")
    return path


def outputs(cells: list[Any], word: str) -> list[Any]:
    """Return what the cells show in whose code a word is."""
    return [each for cell in cells if word in cell.source for each in cell.get("outputs", [])]


def kinds(shown: list[Any]) -> set[str]:
    return {kind for each in shown for kind in each.get("data", {})}


def test_only_the_warning_is_shown_as_one(cells: list[Any]) -> None:
    shown = outputs(cells, "")
    assert {each.output_type for each in shown} == {"stream", "display_data", "execute_result"}
    (red,) = (each["text"] for each in shown if each.get("name") == "stderr")
    assert red.startswith("kinetics600 validation: 2 clips missing")
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


def is_red(colour: str) -> bool:
    """Whether a colour, as `getComputedStyle` says it, is a red or a pink."""
    red, green, blue = map(int, re.findall(r"\d+", colour)[:3])
    return red > green + 20 and red > blue + 20


DECODED = """async (image) => {
    while (!image.hasAttribute("src")) await new Promise(requestAnimationFrame);
    await image.decode();
}"""
"""Returns once a picture is shown; fails for one that is none."""


@pytest.mark.parametrize("width", [1200, 700])
def test_it_looks_right_in_a_browser(width: int, html: Path, browser: Any) -> None:
    with browser.new_context(viewport={"width": width, "height": 900}) as context:
        page = context.new_page()
        wrong = watch(page)
        page.goto(html.as_uri())
        assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") == width

        texts = page.evaluate(TEXTS)
        (red,) = (text for text, colour in texts if is_red(colour))
        assert red.startswith("kinetics600 validation: 2 clips missing")
        assert any("kinetics600 train: 32 clips" in text for text, _ in texts)

        pictures = page.locator(".jp-RenderedImage img")
        assert pictures.count() == (1 if importlib.util.find_spec("torch") is None else 3)
        for each in pictures.all():  # balance, a batch as a grid, the loss
            assert each.evaluate("(image) => image.naturalWidth") > 400
            assert each.bounding_box()["width"] <= width

        frame = page.locator("iframe")
        frame.scroll_into_view_if_needed()
        gallery = frame.content_frame
        thumbnails = gallery.locator(".tile img")
        assert thumbnails.count() == 32
        for each in thumbnails.all():
            each.scroll_into_view_if_needed()  # they are loaded once they came into view
            each.evaluate(DECODED)
        # The list of classes is beside the clips or above them: open only where it has a column.
        is_open = gallery.locator("#classes").evaluate("(classes) => classes.open")
        assert is_open == (frame.bounding_box()["width"] > 900)

        gallery.locator(".tile").first.click()
        video = gallery.locator("video")
        plays = "(video) => new Promise((done) => video.addEventListener('timeupdate', done))"
        video.evaluate(plays)
        assert video.evaluate("(video) => video.currentTime") > 0
    assert wrong == []


def test_it_is_stored_without_results() -> None:
    assert '"outputs": []' in NOTEBOOK.read_text("utf-8")
    assert 'execution_count": 1' not in NOTEBOOK.read_text("utf-8")

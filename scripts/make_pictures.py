"""Make the pictures of README and `docs/`: `python scripts/make_pictures.py [plots] [gallery]`.

Plots are made of the tables that the benchmark recorded in `benchmarks/README.md`. The gallery is
photographed in Chromium, with clips of the miniature. Needs the extras `docs` and `browser`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # a checkout need not be installed yet

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs/images"
RECORD = (ROOT / "benchmarks/README.md").read_text("utf-8")

OURS, OTHERS = "#0b7285", "#b6bcc2"
CLASSES = ["canoeing or kayaking", "jogging", "skiing slalom", "surfing water", "walking the dog"]


@dataclass(frozen=True, slots=True)
class Plot:
    """Bars of one recorded table."""

    name: str
    """Name of the PNG."""
    title: str
    table: str
    """Heading of the table in `benchmarks/README.md`."""
    figure: str
    """Heading of the column to draw."""
    unit: str
    rows: dict[str, str]
    """Names of rows in the table, and what the plot calls them."""


PLOTS = (
    Plot(
        "speed",
        "1,200 clips onto the disk, on two cores: seconds",
        "Whole split to disk, a server that costs little",
        "wall s",
        "s",
        {
            "ours, http://, 2 workers": "kinetics600",
            "DownloadManager, 2 workers": "datasets' DownloadManager",
            "torchvision's loop, 2 workers": "torchvision's loop",
            "FiftyOne's loop": "FiftyOne's loop, mended",
            "CVDF's scripts": "CVDF's scripts",
        },
    ),
    Plot(
        "speed-far",
        "The same over 40 ms and 50 MB/s a connection: seconds",
        "Whole split to disk, paced link",
        "wall s",
        "s",
        {
            "ours, http://, 2 workers": "kinetics600",
            "torchvision's loop, 2 workers": "torchvision's loop",
            "DownloadManager, 2 workers": "datasets' DownloadManager",
        },
    ),
    Plot(
        "speed-stream",
        "A stream over the same link: clips a second",
        "Streaming, paced link",
        "clips/s",
        "",
        {
            "ours, http://": "kinetics600",
            "webdataset": "webdataset",
            "webdataset builder of datasets": "webdataset builder of datasets",
            "iter_archive": "iter_archive",
        },
    ),
    Plot(
        "speed-rows",
        "427,549 rows into Arrow: seconds",
        "Rows in Arrow",
        "wall s",
        "s",
        {"ours": "kinetics600", "bare builder with a Video column": "a bare builder"},
    ),
    Plot(
        "disk",
        "Disk at its peak, clips = 1",
        "Whole split to disk, a server that costs little",
        "peak disk x",
        "x",
        {
            "ours, http://, 2 workers": "kinetics600",
            "FiftyOne's loop": "FiftyOne's loop, mended",
            "torchvision's loop, 2 workers": "torchvision's loop",
            "CVDF's scripts": "CVDF's scripts",
        },
    ),
)


def recorded(plot: Plot) -> dict[str, float]:
    """Return the medians of a plot's rows, by what the plot calls them."""
    section = RECORD.partition(f"\n### {plot.table}\n")[2].partition("\n### ")[0]
    lines = [line.strip("| ").split("|") for line in section.splitlines() if line.startswith("| ")]
    table = [[cell.strip() for cell in line] for line in lines]
    column = table[0].index(plot.figure)
    values = {row[0]: row[column] for row in table[1:] if len(row) > column}
    return {
        title: float(values[name].split(" ")[0].replace(",", ""))
        for name, title in plot.rows.items()
    }


def draw(plot: Plot) -> None:
    """Draw one plot."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = recorded(plot)
    names, values = [*found], [*found.values()]
    height = 0.45 + 0.32 * len(values)
    figure = pyplot.figure(figsize=(7.2, height), dpi=140)
    axes = figure.add_axes((0.31, 0.02, 0.67, 1 - 0.36 / height))
    bars = axes.barh(names, values, color=[OURS, *[OTHERS] * (len(values) - 1)], height=0.62)
    axes.bar_label(bars, [f"{value:.3g} {plot.unit}".strip() for value in values], padding=4)
    axes.set_title(plot.title, loc="left", fontsize=10)
    axes.set_xlim(0, max(values) * 1.12)
    axes.invert_yaxis()
    axes.xaxis.set_visible(False)
    axes.tick_params(left=False)
    axes.spines[:].set_visible(False)
    for label in axes.get_yticklabels()[:1]:
        label.set_fontweight("bold")
    # No date and no version in the file: the same figures are the same bytes.
    figure.savefig(PICTURES / f"{plot.name}.png", bbox_inches="tight", metadata={"Software": None})
    pyplot.close(figure)


def photograph_gallery() -> None:
    """Write a gallery of clips of the miniature's host, and take a picture of it in Chromium."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    import kinetics600
    from k600.miniature import make_miniature

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "host")
        made = make_miniature(
            root, classes=CLASSES, clips_per_class=4, flaws=False, clip_size=(320, 240), scenes=True
        )
        ds = kinetics600.load_dataset(
            split="validation",
            mirror=str(made.root),
            data_dir=f"{folder}/clips",
            cache_dir=f"{folder}/cache",
        )
        page = kinetics600.gallery(ds, f"{folder}/gallery.html").path
        with sync_playwright() as driver:
            browser = driver.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            view = browser.new_page(viewport={"width": 1120, "height": 860})
            view.goto(f"file://{page}")
            view.wait_for_timeout(1_000)  # thumbnails are drawn as they come into view
            view.screenshot(path=f"{folder}/gallery.png")
            browser.close()
        image = Image.open(f"{folder}/gallery.png").convert("RGB")
        # 256 colours are a third of the bytes, and look the same here.
        image.quantize(256).save(PICTURES / "gallery.png", optimize=True)


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    asked = sys.argv[1:] or ["plots", "gallery"]
    if "plots" in asked:
        for each in PLOTS:
            draw(each)
    if "gallery" in asked:
        photograph_gallery()
    for path in sorted(PICTURES.glob("*.png")):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e3:.0f} kB")

"""`kinetics600 demo`: the whole thing on a miniature of the host, without a network."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from k600.cli.app import app
from k600.cli.screen import make_table, show, show_table, whole

_CALLS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("validation", "the whole split", {}),
    ("validation", "five, chosen", {"max_samples": 5, "shuffle": True}),
    ("train", "two classes", {"classes": ["springboard diving", "surfing water"]}),
    ("test", "streamed", {"streaming": True}),
    ("validation", "again", {}),
)
"""What is loaded, of which split, and by which options."""


@app.command()
@click.option(
    "--folder", type=Path, help="Work and leave everything here; default a temporary folder."
)
def demo(folder: Path | None) -> None:
    """Load a split, two classes and a stream from a miniature host. No network.

    Example: kinetics600 demo --folder /tmp/k600
    """
    if folder is not None:
        _demo(folder, keep=True)
        return
    with tempfile.TemporaryDirectory(prefix="kinetics600-demo-") as temporary:
        _demo(Path(temporary), keep=False)


def _demo(folder: Path, *, keep: bool) -> None:
    import datasets

    from k600 import api, hf
    from k600.loading.fetch import fetch_split
    from k600.miniature import make_miniature
    from k600.progress import no_progress

    hf.register()
    show("Making a miniature of the host: small made-up clips in its own layout …")
    host = make_miniature(folder / "host", scenes=True)
    store = {"data_dir": str(folder / "clips"), "mirror": str(host.root)}
    options: dict[str, Any] = {**store, "test_labels": str(host.test_labels)}
    if not keep:  # no line names a file that will be gone
        logging.getLogger("kinetics600").setLevel(logging.ERROR)

    shown: list[tuple[str | int, ...]] = []
    for split, what, more in _CALLS:
        started = time.perf_counter()
        ds = datasets.load_dataset(
            "kinetics600", split, cache_dir=str(folder / "cache"), **options, **more
        )[split]
        rows = list(ds)
        seconds = time.perf_counter() - started
        classes = {row["label"] for row in rows if row["label"] is not None}
        first = f"{rows[0]['youtube_id']} at {rows[0]['time_start']} s"
        shown.append((f"{split}: {what}", len(rows), len(classes), first, f"{seconds:.2f}"))
    columns = ("load_dataset(…)", "clips", "classes", "first clip", "seconds")
    show_table(make_table(*columns, rows=shown, text=["load_dataset(…)", "first clip"]))

    if keep:
        title = "Kinetics-600 in miniature: these are no real clips"
        page = api.gallery(ds, folder / "gallery.html", title=title).path
        show(f"The clips are in {whole(store['data_dir'])}.")
        show(f"See the clips: open {whole(page)} in a browser. See the store:")
        words = ["--data-dir", store["data_dir"], "--mirror", store["mirror"]]
        show(f"  {shlex.join(['kinetics600', 'status', *words])}")
    else:
        request = dataclasses.replace(api.make_request(split, **options), progress=no_progress)
        outcome = fetch_split(request, split)
        show(dataclasses.replace(outcome, report="").missing_text(brief=False))
        show("Nothing of it is left. To keep it all, and see the clips in a gallery:")
        show("  kinetics600 demo --folder SOMEWHERE")

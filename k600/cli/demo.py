"""`kinetics600 demo`: the whole thing on a miniature of the host, without a network."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from k600.cli.app import app
from k600.cli.screen import console, make_table

__all__ = ["demo"]


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

    import kinetics600
    from k600.loading.fetch import fetch_split
    from k600.miniature import make_miniature
    from k600.progress import no_progress

    screen = console()
    screen.print("Making a miniature of the host: small made-up clips in its own layout …")
    host = make_miniature(folder / "host")
    options: dict[str, Any] = {
        "mirror": str(host.root),
        "test_labels": str(host.test_labels),
        "data_dir": str(folder / "clips"),
        "cache_dir": str(folder / "cache"),
    }
    if not keep:  # no line names a file that will be gone
        logging.getLogger("kinetics600").setLevel(logging.ERROR)
    text = ["load_dataset(…)", "first clip"]
    table = make_table(text[0], "clips", "classes", text[1], "seconds", text=text)

    def show(call: str, load: Callable[[], Iterable[dict[str, Any]]]) -> None:
        started = time.perf_counter()
        rows = list(load())
        seconds = time.perf_counter() - started
        classes = {row["label"] for row in rows if row["label"] is not None}
        first = f"{rows[0]['youtube_id']} at {rows[0]['time_start']} s"
        table.add_row(call, str(len(rows)), str(len(classes)), first, f"{seconds:.2f}")

    def load(split: str, **more: Any) -> Iterable[dict[str, Any]]:
        found: Iterable[dict[str, Any]]
        found = datasets.load_dataset("kinetics600", split, **options, **more)[split]
        return found

    two = ["springboard diving", "surfing water"]
    show("validation: the whole split", lambda: load("validation"))
    show("validation: five, chosen", lambda: load("validation", max_samples=5, shuffle=True))
    show("train: two classes", lambda: load("train", classes=two))
    show("test: streamed", lambda: load("test", streaming=True))
    show("validation: again", lambda: load("validation"))
    screen.print(table)
    if keep:
        title = "Kinetics-600 in miniature: these are no real clips"
        page = kinetics600.gallery(load("validation"), folder / "gallery.html", title=title).path
        screen.print(f"The clips are in {options['data_dir']}.")
        screen.print(f"See the clips: open {page} in a browser. See the store:")
        at = ["--data-dir", options["data_dir"], "--mirror", str(host.root)]
        screen.print(f"  {shlex.join(['kinetics600', 'status', *at])}")
    else:
        options.pop("cache_dir")
        request = kinetics600.make_request("validation", **options)
        outcome = fetch_split(request, "validation", progress=no_progress)
        screen.print(dataclasses.replace(outcome, report="").missing_text())
        screen.print("Nothing of it is left. To keep it all, and see the clips in a gallery:")
        screen.print("  kinetics600 demo --folder SOMEWHERE")

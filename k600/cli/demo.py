"""`kinetics600 demo`: the whole thing on a miniature of the host, without a network."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from k600.cli.app import app
from k600.cli.screen import console

__all__ = ["demo"]


@app.command()
def demo(
    folder: Annotated[
        Path | None,
        typer.Option(help="Work and leave everything here; default a temporary folder."),
    ] = None,
) -> None:
    """Load a whole split, two classes and a stream from a miniature of the host. No network.

    Example: kinetics600 demo --folder /tmp/k600
    """
    if folder is not None:
        _demo(folder, keep=True)
        return
    with tempfile.TemporaryDirectory(prefix="kinetics600-demo-") as temporary:
        _demo(Path(temporary), keep=False)


def _demo(folder: Path, *, keep: bool) -> None:
    import datasets
    from rich.table import Table

    import kinetics600
    from k600.miniature import make_miniature

    screen = console()
    screen.print("Making a miniature of the host: small real H.264 clips in its own layout …")
    host = make_miniature(folder / "host")
    options: dict[str, Any] = {
        "mirror": str(host.root),
        "test_labels": str(host.test_labels),
        "data_dir": str(folder / "clips"),
        "cache_dir": str(folder / "cache"),
    }
    table = Table(title="kinetics600 demo", caption=f"clips in {options['data_dir']}")
    table.add_column("load_dataset(…)")
    table.add_column("clips", justify="right")
    table.add_column("classes", justify="right")
    table.add_column("first clip")
    table.add_column("seconds", justify="right")

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
    page = kinetics600.gallery(load("validation"), folder / "gallery.html").path
    if keep:
        screen.print(f"See the clips: open {page} in a browser. See the store:", markup=False)
        screen.print(
            f"  kinetics600 status --data-dir {options['data_dir']} --mirror {host.root}",
            markup=False,
        )
    else:
        screen.print("To see the clips in a gallery: kinetics600 demo --folder SOMEWHERE")

"""The command `kinetics600`. Prints for people; the work is done by the library's public calls."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["app", "main"]

app = typer.Typer(
    name="kinetics600",
    help="Load Kinetics-600: 600 human actions, half a million 10-second clips.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    """Load Kinetics-600: 600 human actions, half a million 10-second clips."""
    if show:
        from importlib.metadata import version as installed

        typer.echo(installed("kinetics600"))
        raise typer.Exit


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
    with tempfile.TemporaryDirectory(prefix="kinetics600-demo-") as temporary:
        _demo(folder or Path(temporary))


def _demo(folder: Path) -> None:
    import datasets
    from rich.console import Console
    from rich.table import Table

    import kinetics600
    from k600.miniature import make_miniature

    console = Console()
    console.print("Making a miniature of the host: small real H.264 clips in its own layout …")
    host = make_miniature(folder / "host")
    options: dict[str, Any] = {
        "mirror": str(host.root),
        "test_labels": str(host.test_labels),
        "data_dir": str(folder / "clips"),
        "cache_dir": str(folder / "cache"),
    }
    table = Table(title="kinetics600 demo", caption=f"clips in {options['data_dir']}")
    for column in ("call", "clips", "classes", "first clip", "seconds"):
        table.add_column(column, justify="right" if column in ("clips", "seconds") else "left")

    def show(call: str, started: float, rows: list[dict[str, Any]]) -> None:
        names = kinetics600.id2label()
        classes = sorted({names[row["label"]] for row in rows if row["label"] is not None})
        first = rows[0]
        clip = f"{first['youtube_id']} {first['time_start']}-{first['time_end']} s"
        some = ", ".join(classes[:2]) + (f" and {len(classes) - 2} more" if classes[2:] else "")
        seconds = f"{time.perf_counter() - started:.2f}"
        table.add_row(call, str(len(rows)), some, clip, seconds)

    started = time.perf_counter()
    whole = datasets.load_dataset("kinetics600", "validation", **options)["validation"]
    show('load_dataset("kinetics600", "validation")', started, list(whole))

    started = time.perf_counter()
    chosen = ["springboard diving", "surfing water"]
    some = datasets.load_dataset("kinetics600", "train", classes=chosen, **options)["train"]
    show('…, "train", classes=["springboard diving", "surfing water"])', started, list(some))

    started = time.perf_counter()
    stream = datasets.load_dataset("kinetics600", "test", streaming=True, **options)["test"]
    show('…, "test", streaming=True)', started, list(stream))

    started = time.perf_counter()
    again = datasets.load_dataset("kinetics600", "validation", **options)["validation"]
    show("the first call again: nothing is fetched", started, list(again))
    console.print(table)


def main() -> None:
    """Run the command line."""
    app()

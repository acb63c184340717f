"""`kinetics600 plan` and `kinetics600 download`: what would come, and bringing it."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from k600.cli.app import app
from k600.cli.flags import AsJson, Quiet
from k600.cli.request_options import request_of, takes_request
from k600.cli.screen import Meter, console, is_offline, print_json, say, time_of

__all__ = ["download", "plan"]


@app.command()
@takes_request
def plan(
    split: str,
    options: dict[str, Any],
    rate: Annotated[float, typer.Option(help="MB/s at which tarballs are taken to come.")] = 50.0,
    as_json: AsJson = False,
) -> None:
    """Say what a request would fetch, from where, and what it takes. Touches nothing.

    Example: kinetics600 plan validation --class "surfing water" --max-samples 10
    """
    _plan(split, options, rate, as_json=as_json)


@app.command()
@takes_request
def download(
    split: str,
    options: dict[str, Any],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only plan.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Bring clips into the store; safe to stop and to run again.

    Example: kinetics600 download validation --data-dir /data/k600 --workers 8
    """
    import logging

    from k600.fetch import fetch_split

    if dry_run:
        _plan(split, options, 50.0, as_json=as_json)
        return
    if quiet:
        logging.getLogger("kinetics600").setLevel(logging.WARNING)
    request = request_of(split, options)
    found, complete = [], True
    for each in request.splits:
        outcome = fetch_split(request, each, progress=Meter(quiet=quiet), offline=is_offline())
        complete &= not outcome.missing and outcome.is_full
        if not quiet:
            say(outcome.summary())
        if complaint := outcome.complaint():
            say(complaint)
        found.append(outcome.as_plain())
    if as_json:
        print_json(found)
    raise typer.Exit(0 if complete else 1)


def _plan(split: str, options: dict[str, Any], rate: float, *, as_json: bool) -> None:
    from rich.filesize import decimal
    from rich.table import Table

    from k600.errors import OptionError
    from k600.forecast import forecast_split

    if not rate > 0:
        raise OptionError(f"rate: {rate} is not allowed, expected MB/s above 0")
    request = request_of(split, options)
    found = [
        forecast_split(request, each, offline=is_offline(), bytes_per_second=rate * 1e6)
        for each in request.splits
    ]
    if as_json:
        print_json([{**dataclasses.asdict(f), "complete": f.complete} for f in found])
        return
    files = found[0].free_files
    room = "" if files is None else f" (room for {files:,} files)"
    table = Table(caption=f"into {found[0].store}{room}, from {found[0].mirror}")
    for column in ("split", "there", "asked for", "tarballs", "YouTube", "disk", "free", "time"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for f in found:
        size = f"{'≤ ' if f.at_most else ''}{decimal(f.tarball_bytes)}"
        table.add_row(
            f.split,
            f"{f.here_clips:,}",
            "?" if f.wanted_clips is None else f"{f.wanted_clips:,}",
            f"{f.tarballs:,} ({size})" if f.tarballs else "none",
            f"{f.youtube_clips:,} clips" if f.youtube_clips else "none",
            f"{decimal(f.needed_bytes)}\n{f.needed_files:,} files",
            decimal(f.free_bytes),
            time_of(f.seconds),
        )
    console().print(table)
    for f in found:
        for path, why in f.unreachable.items():
            say(f"{path}: {why}")
        if f.shortage:
            say(f"{f.split}: {f.shortage}")

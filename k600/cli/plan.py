"""`kinetics600 plan` and `kinetics600 download`: what would come, and bringing it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k600.cli.app import app
from k600.cli.exit_codes import AGAIN, DONE, LACKING, code_of_outcomes, worst
from k600.cli.flags import AsJson, Quiet
from k600.cli.request_options import request_of, takes_request
from k600.cli.screen import Meter, console, hush, print_json, say, time_of
from k600.network import is_offline

if TYPE_CHECKING:
    from k600.loading.estimate import Forecast

__all__ = ["download", "plan"]


@app.command()
@takes_request()
def plan(
    split: str,
    options: dict[str, Any],
    rate: Annotated[float, typer.Option(help="MB/s at which tarballs are taken to come.")] = 50.0,
    as_json: AsJson = False,
) -> None:
    """Say what a request would fetch, from where, and what it takes. Touches nothing.

    The exit code is that of the download, as far as it can be told: 0 also if clips are to come.

    Example: kinetics600 plan validation --class "surfing water" --max-samples 10
    """
    _plan(split, options, rate, as_json=as_json)


@app.command()
@takes_request()
def download(
    split: str,
    options: dict[str, Any],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only plan.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Bring clips into the store; safe to stop and to run again, until the exit code is not 1.

    Example: kinetics600 download validation --data-dir /data/k600 --workers 8
    """
    from k600.loading.fetch import fetch_split

    if dry_run:
        _plan(split, options, 50.0, as_json=as_json)
        return
    if quiet:
        hush()
    request = request_of(split, options)
    outcomes = []
    for each in request.splits:
        outcome = fetch_split(request, each, progress=Meter(quiet=quiet), offline=is_offline())
        if not quiet:
            say(outcome.summary())
        if complaint := outcome.missing_text():
            say(complaint)
        outcomes.append(outcome)
    if as_json:
        print_json([outcome.as_plain() for outcome in outcomes])
    raise typer.Exit(code_of_outcomes(outcomes))


def _plan(split: str, options: dict[str, Any], rate: float, *, as_json: bool) -> None:
    from rich import box
    from rich.filesize import decimal
    from rich.table import Table

    from k600.errors import OptionError
    from k600.loading.estimate import forecast_split

    if not rate > 0:
        raise OptionError(f"rate: {rate} is not allowed, expected MB/s above 0")
    request = request_of(split, options)
    found = [
        forecast_split(request, each, offline=is_offline(), bytes_per_second=rate * 1e6)
        for each in request.splits
    ]
    code = worst(_code_of(f) for f in found)
    if as_json:
        print_json([{**dataclasses.asdict(f), "complete": f.complete} for f in found])
        raise typer.Exit(code)
    files = found[0].free_files
    room = "" if files is None else f", which has room for {files:,} files"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("split", "here", "asked for", "tarballs", "YouTube", "disk", "free", "time"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for f in found:
        size = f"{'≤ ' if f.at_most else ''}{decimal(f.tarball_bytes)}"
        least = "≥ " if f.open_ended else ""
        table.add_row(
            f.split,
            f"{f.here_clips:,}",
            "?" if f.wanted_clips is None else f"{f.wanted_clips:,}",
            f"{least}{f.tarballs:,} ({size})" if f.tarballs else "none",
            f"{f.youtube_clips:,} clips" if f.youtube_clips else "none",
            f"{decimal(f.needed_bytes)}\n{f.needed_files:,} files",
            decimal(f.free_bytes),
            "-" if (f.unreachable or f.offline) and not f.seconds else time_of(f.seconds),
        )
    console().print(table)
    say(f"into {found[0].store}{room}, from {found[0].mirror}")
    for f in found:
        if f.open_ended:
            say(f"{f.split}: tarballs are read one after the other until there are enough clips")
        if f.offline:
            of = "an unknown number" if f.wanted_clips is None else f"{f.wanted_clips:,}"
            say(f"{f.split}: {f.here_clips:,} of {of} are here, and the network is not to be used")
            continue
        for why, paths in _by_reason(f.unreachable).items():
            more = f" and {len(paths) - 1:,} more tarballs" if len(paths) > 1 else ""
            say(f"{f.split}: cannot be had: {paths[0]}{more}: {why}")
        if f.lacking_clips:
            say(
                f"{f.split}: nothing more would come: the other {f.lacking_clips:,} clips were "
                f"proved not to be had (kinetics600 status {f.split}), or there are no more"
            )
        if f.shortage:
            say(f"{f.split}: {f.shortage}")
    raise typer.Exit(code)


def _code_of(forecast: Forecast) -> int:
    """Return the code with which the download would end, as far as it can be told."""
    from k600.reasons import PASSING_REASONS

    if forecast.offline or any(
        why.partition(":")[0] in PASSING_REASONS for why in forecast.unreachable.values()
    ):
        return AGAIN
    return LACKING if forecast.unreachable or forecast.lacking_clips else DONE


def _by_reason(unreachable: dict[str, str]) -> dict[str, list[str]]:
    """Return the tarballs' paths by the reason's words, of which one stands for all of a kind."""
    kinds: dict[str, str] = {}
    paths: dict[str, list[str]] = {}
    for path, why in unreachable.items():
        words = kinds.setdefault(why.partition(":")[0], why)
        paths.setdefault(words, []).append(path)
    return paths

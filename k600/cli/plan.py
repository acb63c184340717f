"""`kinetics600 plan` and `kinetics600 download`: what would be downloaded, and doing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal

from k600.cli.app import app, as_json, quiet
from k600.cli.exit_codes import code_of_splits
from k600.cli.request_options import fetch, request_of, with_request_options
from k600.cli.screen import answer, is_given, make_table, say, show_table, whole
from k600.errors.text import counted, time_of
from k600.values import positive

if TYPE_CHECKING:
    from rich.table import Table

    from k600.loading.estimate import Forecast
    from k600.loading.sources import Words


@app.command()
@with_request_options()
@click.option(
    "--rate", type=float, help="MB/s at which tarballs are taken to come.  [default: last time's]"
)
@as_json
def plan(split: str, options: dict[str, Any], rate: float | None) -> int:
    """Say what a request would fetch, from where, and what it takes. Touches nothing.

    The exit code is that of the download, as far as it is known: 0 also if clips are to come.

    Example: kinetics600 plan validation --class "surfing water" --max-samples 10
    """
    return _plan(split, options, rate)


@app.command()
@with_request_options()
@click.option("--dry-run", is_flag=True, help="Only plan.")
@quiet
@as_json
def download(split: str, options: dict[str, Any], dry_run: bool) -> int:
    """Download clips into the store. Safe to stop and to run again, until the exit code is not 1.

    Example: kinetics600 download validation --data-dir /data/k600 --workers 8
    """
    if dry_run:
        return _plan(split, options, None)
    outcomes = []
    for outcome in fetch(request_of(split, options)):
        if not is_given("--quiet"):
            say(outcome.summary())
        if missing := outcome.missing_text():
            say(missing)
        outcomes.append(outcome)

    answer([outcome.as_plain() for outcome in outcomes], lambda: None)
    return code_of_splits(outcomes)


def _plan(split: str, options: dict[str, Any], rate: float | None) -> int:
    """Show what a download would do, and return the code that it would have."""
    from k600.loading.estimate import forecast_split

    per_second = None if rate is None else positive("rate", rate) * 1e6
    request = request_of(split, options)
    found = [forecast_split(request, each, bytes_per_second=per_second) for each in request.splits]

    def tell() -> None:
        show_table(_table(found))
        files = found[0].free_files
        room = "" if files is None else f", which has room for {counted(files, 'file')}"
        say(f"into {whole(found[0].data_dir)}{room}, from {whole(found[0].mirror)}")
        for forecast in found:
            for line in _remarks(forecast):
                say(f"{forecast.split}: {line}")

    answer([forecast.as_plain() for forecast in found], tell)
    return code_of_splits(found)


def _table(found: list[Forecast]) -> Table:
    """Return a table of facts with a column for each split, so that it fits a narrow terminal."""
    from k600.loading.sources import WORDS

    facts: dict[str, Callable[[Forecast], str | int]] = {
        "here": lambda one: one.here_clips,
        "asked for": lambda one: "?" if one.wanted_clips is None else one.wanted_clips,
        **{words.column: partial(_cell, source, words) for source, words in WORDS.items()},
        "disk": lambda one: decimal(one.needed_bytes),
        "files": lambda one: one.needed_files,
        "free": lambda one: decimal(one.free_bytes),
        "time": _time,
    }
    rows = [(name, *map(cell, found)) for name, cell in facts.items()]
    return make_table("", *(forecast.split for forecast in found), rows=rows, text=[""])


def _time(forecast: Forecast) -> str:
    blocked = (forecast.unreachable or forecast.offline) and not forecast.seconds
    return "-" if blocked else time_of(forecast.seconds)


def _cell(source: str, words: Words, forecast: Forecast) -> str:
    """Return what would come from a source, in words."""
    price = forecast.prices[source]
    if not price.count:
        return "none"
    least = "≥ " if price.open_ended else ""
    most = "≤ " if price.at_most else ""
    return words.cell.format(
        count=f"{least}{price.count:,}",
        counted=f"{least}{counted(price.count, words.noun)}",
        size=f"{most}{decimal(price.size_bytes)}",
    )


def _remarks(forecast: Forecast) -> Iterator[str]:
    """Yield further lines about a forecast."""
    if forecast.cheaper_way:
        yield forecast.cheaper_way
    if forecast.open_ended:
        yield "tarballs are read one after the other until there are enough clips"
    if forecast.offline:
        wanted = forecast.wanted_clips
        of = "an unknown number" if wanted is None else f"{wanted:,}"
        yield f"{forecast.here_clips:,} of {of} here, and the network is not to be used"
        return

    paths: dict[str, list[str]] = {}
    for path, failure in forecast.unreachable.items():
        paths.setdefault(failure.reason, []).append(path)
    for reason, (first, *others) in paths.items():
        more = f" and {counted(len(others), 'more tarball')}" if others else ""
        yield f"cannot be had: {first}{more}: {reason}: {forecast.unreachable[first].error}"

    if forecast.missing_clips:
        yield (
            f"nothing would come for {counted(forecast.missing_clips, 'missing clip')}: proved not "
            f"to be had (kinetics600 status {forecast.split}), or there are no more"
        )
    if forecast.shortage:
        yield forecast.shortage

"""`kinetics600 fleet`: from tarballs to training shards, on many machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal

from k600.cli.app import app, as_json, quiet
from k600.cli.exit_codes import AGAIN, DONE, UNAVAILABLE
from k600.cli.request_options import as_given, request_of, with_own_options, with_request_options
from k600.cli.screen import answer, make_table, meter, say, show_table, whole
from k600.errors.text import counted, time_of
from k600.fleet.options import EstimateOptions, FleetOptions
from k600.loading.options import own_options

if TYPE_CHECKING:
    from k600.fleet.estimate import FleetEstimate
    from k600.fleet.run import Fleet
    from k600.loading.request import Request


@app.command()
@with_request_options()
@with_own_options(FleetOptions)
@click.option("--estimate", is_flag=True, help="Only say how long it takes, and what it costs.")
@with_own_options(EstimateOptions, into="assumed")
@as_json
@quiet
def fleet(
    split: str,
    options: dict[str, Any],
    how: dict[str, Any],
    estimate: bool,
    assumed: dict[str, Any],
) -> int:
    """Turn tarballs into class-mixed training shards, by many workers. Safe to run again.

    Example: kinetics600 fleet train --to s3://bucket/k600 --executor ray --workers 100
    """
    from k600 import api

    how["workers"] = options.get("num_workers")
    if estimate:
        _estimate(request_of(split, options), how, assumed)
        return DONE

    given = {"progress": meter(), **how, **as_given(options)}
    done = api.fleet(given.pop("to", None), split, **given)
    answer(done, lambda: _print_outcome(done))
    if done.submitted:
        return AGAIN
    return UNAVAILABLE if any(one.missing for one in done.splits) else DONE


def _print_outcome(done: Fleet) -> None:
    from k600.dataset.reasons import REASONS

    for one in done.splits:
        if one.state == "submitted":
            say(
                f"{one.split}: {counted(one.fetched_tarballs, 'tarball')} submitted to Slurm; once "
                "squeue shows no job any more, the same command says what came of it"
            )
            continue
        say(
            f"{one.split}: {counted(one.clips, 'clip')} in {counted(one.shards, 'shard')}, from "
            f"{counted(one.tarballs, 'tarball')}, {one.fetched_tarballs:,} of them read now"
            + (f"; {counted(one.mended_shards, 'shard')} made again" * bool(one.mended_shards))
        )
        for reason, count in one.missing.items():
            say(f"  {count:>9,}  {reason}  {REASONS.get(reason, '')}".rstrip())
    say(f"{'on its way to' if done.submitted else 'written'}: {whole(done.address)}")


def _estimate(request: Request, how: dict[str, Any], assumed: dict[str, Any]) -> None:
    """Show how long the run takes, and what it costs."""
    from k600.fleet.estimate import estimate_fleet

    wanted, _ = own_options(FleetOptions, how)
    rates, _ = own_options(EstimateOptions, assumed)
    found = estimate_fleet(request, wanted, rates)
    answer(found, lambda: _print_estimate(found))


def _print_estimate(found: FleetEstimate) -> None:
    requests = found.requests
    columns = ("workers", "time", "reading", "merging", "slowest tarball", "busy", "cost")
    caption = (
        f"{counted(found.tarballs, 'tarball')}, {decimal(found.tarball_bytes)}; hardly faster with "
        f"more than {counted(found.enough_workers, 'worker')}. In a bucket besides: about "
        f"{counted(requests.gets, 'GET')} and {counted(requests.puts, 'PUT')}, "
        f"${requests.request_dollars:,.2f}"
    )
    rows = []
    for one in found.simulations:
        times = (one.seconds, one.read_seconds, one.merge_seconds, one.slowest_tarball_seconds)
        money = f"${one.dollars:,.2f}"
        rows.append((one.workers, *map(time_of, times), f"{one.busy_share:.0%}", money))
    show_table(make_table(*columns, rows=rows, caption=caption))

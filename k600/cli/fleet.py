"""`kinetics600 fleet`: from tarballs to training shards, on many machines."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import click

from k600.cli.app import (
    app,
    as_json,
    i_have_the_rights,
    json_option,
    quiet,
    shard_size_mb,
    to_options,
)
from k600.cli.exit_codes import AGAIN, DONE, UNAVAILABLE
from k600.cli.request_options import as_given, complete_of, request_of, with_request_options
from k600.cli.screen import Meter, make_table, print_json, say, show_table
from k600.network import is_offline
from k600.progress import time_of

if TYPE_CHECKING:
    from k600.fleet.run import Fleet
    from k600.loading.request import Request


@app.command()
@with_request_options()
@click.option("--to", default="", help="Folder that all workers see, fsspec URL, or hf://.")
@to_options
@click.option("--work", help="With --to hf://USER/NAME: folder or URL for what is unfinished.")
@i_have_the_rights
@click.option(
    "--format",
    default="parquet",
    shell_complete=complete_of("parquet", "webdataset", "index"),
    help="parquet; webdataset (tar files); index (no clips).",
)
@shard_size_mb
@click.option("--shards-multiple-of", default=1, help="Make a multiple of so many shards.")
@click.option(
    "--executor",
    default="local",
    shell_complete=complete_of("local", "slurm", "ray"),
    help="local, slurm or ray.",
)
@click.option("--tasks", default=0, help="Tasks that share the tarballs; 0: one each.")
@click.option("--logs", help="Slurm: folder that all machines see, for scripts, logs.")
@json_option("--executor-options", help="More for datatrove's executor, as JSON.")
@click.option("--estimate", is_flag=True, help="Only say how long it takes, and what it costs.")
@click.option("--network", default=50.0, help="With --estimate: MB/s of one worker.")
@click.option("--price", default=0.05, help="With --estimate: dollars an hour of one worker.")
@click.option("--get-price", default=0.0004, help="With --estimate: dollars for 1,000 GETs.")
@as_json
@quiet
def fleet(
    split: str,
    options: dict[str, Any],
    to: str,
    estimate: bool,
    network: float,
    price: float,
    get_price: float,
    as_json: bool,
    quiet: bool,
    **how: Any,
) -> None:
    """Turn tarballs into class-mixed training shards, by many workers. Safe to run again.

    Example: kinetics600 fleet train --to s3://bucket/k600 --executor ray --workers 100
    """
    import kinetics600
    from k600.errors import OptionError

    workers = options.get("num_workers")
    if estimate:
        prices = {"dollars_per_hour": price, "dollars_per_1000_gets": get_price}
        rates = {"network_mb_s": network, "workers": workers, **prices}
        _estimate(request_of(split, options), how, rates, as_json=as_json)
        return

    if not to:
        raise OptionError("to: say where to: --to a folder that all workers see, or a URL")
    how |= {"workers": workers, "tasks": how["tasks"] or None, "progress": Meter(quiet=quiet)}
    done = kinetics600.fleet(to, split, **how, **as_given(options))
    if as_json:
        print_json(dataclasses.asdict(done))
    elif not quiet:
        _print_outcome(done)
    if done.submitted:
        sys.exit(AGAIN)
    sys.exit(UNAVAILABLE if any(one.missing for one in done.splits) else DONE)


def _print_outcome(done: Fleet) -> None:
    from k600.reasons import REASONS

    for one in done.splits:
        if one.state == "submitted":
            say(
                f"{one.split}: {one.fetched_tarballs:,} tarballs submitted to Slurm; once "
                "squeue shows no job any more, the same command says what came of it"
            )
            continue
        say(
            f"{one.split}: {one.clips:,} clips in {one.shards:,} shards, from "
            f"{one.tarballs:,} tarballs, {one.fetched_tarballs:,} of them read now"
            + (f"; {one.mended_shards:,} shards made again" * bool(one.mended_shards))
        )
        for reason, count in one.missing.items():
            say(f"  {count:>9,}  {reason}  {REASONS.get(reason, '')}".rstrip())
    say(f"{'on its way to' if done.submitted else 'written'}: {done.address}")


def _estimate(
    request: Request, how: dict[str, Any], rates: dict[str, Any], *, as_json: bool
) -> None:
    """Show how long the run takes, and what it costs."""
    from k600.fleet.estimate import estimate_fleet
    from k600.fleet.options import fleet_recipe

    names = ("format", "shard_size_mb", "shards_multiple_of")
    recipe = fleet_recipe(**{name: how[name] for name in names})
    found = estimate_fleet(request, recipe, offline=is_offline(), **rates)
    if as_json:
        print_json(dataclasses.asdict(found))
        return

    requests = found.requests
    columns = ("workers", "time", "reading", "merging", "slowest tarball", "busy", "cost")
    caption = (
        f"{found.tarballs:,} tarballs, {found.tarball_bytes / 1e9:,.1f} GB; more than "
        f"{found.enough_workers:,} workers hardly help. In a bucket besides: about "
        f"{requests.gets:,} GETs and {requests.puts:,} PUTs, ${requests.request_dollars:,.2f}"
    )
    table = make_table(*columns, caption=caption)
    for one in found.simulations:
        table.add_row(
            f"{one.workers:,}",
            time_of(one.seconds),
            time_of(one.read_seconds),
            time_of(one.merge_seconds),
            time_of(one.slowest_tarball_seconds),
            f"{one.busy_share:.0%}",
            f"${one.dollars:,.2f}",
        )
    show_table(table)

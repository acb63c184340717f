"""`kinetics600 fleet`: from tarballs to training shards, on many machines."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from k600.cli.app import app
from k600.cli.exit_codes import AGAIN, DONE, LACKING, worst
from k600.cli.flags import AsJson, Quiet
from k600.cli.request_options import json_options, request_of, takes_request
from k600.cli.screen import Meter, console, hush, print_json, say, time_of
from k600.network import is_offline

__all__ = ["fleet"]


@app.command()
@takes_request()
def fleet(
    split: str,
    options: dict[str, Any],
    to: Annotated[
        str, typer.Option("--to", help="Folder that all workers see, fsspec URL, or hf://.")
    ] = "",
    to_options: Annotated[
        str, typer.Option("--to-options", help="fsspec options for --to (or --work), as JSON.")
    ] = "",
    work: Annotated[
        str, typer.Option("--work", help="With --to hf://…: folder or URL for what is unfinished.")
    ] = "",
    i_have_the_rights: Annotated[
        bool, typer.Option("--i-have-the-rights", help="With hf://: you may hand the videos on.")
    ] = False,
    format_: Annotated[
        str, typer.Option("--format", help="parquet, or webdataset: tar files.")
    ] = "parquet",
    shard_size_mb: Annotated[
        int, typer.Option("--shard-size-mb", help="MB of clips in a shard.")
    ] = 500,
    shards_multiple_of: Annotated[
        int, typer.Option("--shards-multiple-of", help="Of the machines that will train.")
    ] = 1,
    executor: Annotated[str, typer.Option("--executor", help="local, slurm or ray.")] = "local",
    tasks: Annotated[
        int, typer.Option("--tasks", help="Tasks the tarballs are dealt to; 0: one each.")
    ] = 0,
    logs: Annotated[
        str, typer.Option("--logs", help="Slurm: folder that all machines see, for scripts, logs.")
    ] = "",
    executor_options: Annotated[
        str,
        typer.Option("--executor-options", help="More for datatrove's executor, as JSON."),
    ] = "",
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only say how long it takes, and what it costs.")
    ] = False,
    network: Annotated[
        float, typer.Option("--network", help="With --estimate: MB/s of one worker.")
    ] = 50.0,
    price: Annotated[
        float, typer.Option("--price", help="With --estimate: dollars an hour of one worker.")
    ] = 0.05,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Turn tarballs into class-mixed training shards, with many workers; safe to run again.

    Example: kinetics600 fleet train --to s3://bucket/k600 --executor ray --workers 100
    """
    from k600.errors import OptionError
    from k600.fleet.options import FleetRecipe, Workforce, choose_places
    from k600.fleet.run import run_fleet
    from k600.reasons import REASONS

    if quiet:
        hush()
    request = request_of(split, options)
    recipe = FleetRecipe(
        format=format_, shard_size_mb=shard_size_mb, shards_multiple_of=shards_multiple_of
    )
    if estimate:
        _estimate(request, recipe, options, network, price, as_json=as_json)
        return
    if not to:
        raise OptionError("to: say where to: --to a folder that all workers see, or a URL")
    done = run_fleet(
        request,
        choose_places(
            to,
            json_options("to_options", to_options) or {},
            work=work or None,
            i_have_the_rights=i_have_the_rights,
        ),
        recipe=recipe,
        workforce=Workforce(
            executor=executor,
            workers=options.get("num_workers"),
            tasks=tasks or None,
            logs=logs or None,
            more=json_options("executor_options", executor_options) or {},
        ),
        progress=Meter(quiet=quiet),
        offline=is_offline(),
    )
    if as_json:
        print_json(done.as_plain())
    elif not quiet:
        for one in done.splits:
            if one.state == "submitted":
                say(
                    f"{one.split}: {one.new_tarballs:,} tarballs handed in to Slurm; once squeue "
                    "shows no job any more, the same command says what came of it"
                )
                continue
            say(
                f"{one.split}: {one.clips:,} clips in {one.shards:,} shards, from "
                f"{one.tarballs:,} tarballs, {one.new_tarballs:,} of them read now"
                + (f"; {one.mended_shards:,} shards made again" * bool(one.mended_shards))
            )
            for reason, count in one.left_out.items():
                say(f"  {count:>9,}  {reason}  {REASONS.get(reason, '')}".rstrip())
        say(f"{'on its way to' if done.submitted else 'written'}: {done.address}")
    raise typer.Exit(
        worst(
            AGAIN if one.state == "submitted" else LACKING if one.left_out else DONE
            for one in done.splits
        )
    )


def _estimate(
    request: Any,
    recipe: Any,
    options: dict[str, Any],
    network: float,
    price: float,
    *,
    as_json: bool,
) -> None:
    import dataclasses

    from rich.table import Table

    from k600.fleet.estimate import estimate_fleet

    found = estimate_fleet(
        request,
        recipe,
        workers=options.get("num_workers"),
        network_mb_s=network,
        dollars_per_hour=price,
        offline=is_offline(),
    )
    if as_json:
        print_json(dataclasses.asdict(found))
        return
    table = Table(
        caption=f"{found.tarballs:,} tarballs, {found.tarball_bytes / 1e9:,.1f} GB; more than "
        f"{found.enough_workers:,} workers hardly help"
    )
    for column in ("workers", "time", "reading", "merging", "slowest tarball", "busy", "cost"):
        table.add_column(column, justify="right")
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
    console().print(table)

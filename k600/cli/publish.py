"""`kinetics600 publish`: a dataset that loads without this loader, on the Hub or anywhere."""

# No `from __future__ import annotations`: `takes_request` hands annotations on as they are. And no
# default is None: Python 3.10 would make another annotation of it.

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from k600.cli.app import app
from k600.cli.exit_codes import DONE, LACKING
from k600.cli.flags import AsJson, IHaveTheRights, Quiet, ShardSizeMb, ToOptions
from k600.cli.request_options import json_options, request_of, takes_request
from k600.cli.screen import Meter, hush, print_json, say
from k600.errors import OptionError
from k600.network import is_offline
from k600.splits import CONFIGS

__all__ = ["publish"]


def _repo_first(command: Callable[..., Any]) -> Callable[..., Any]:
    """Put the argument REPO before SPLIT, and let both be left out."""
    parameters = dict(inspect.signature(command).parameters)
    repo, split = parameters.pop("repo"), parameters.pop("split").replace(default="")
    text = f"One of {', '.join(CONFIGS)}; metadata: all."
    split = split.replace(annotation=Annotated[str, typer.Argument(help=text)])
    ordered = [repo, split, *parameters.values()]
    command.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
    return command


@app.command()
@_repo_first
@takes_request()
def publish(
    split: str,
    options: dict[str, Any],
    repo: Annotated[str, typer.Argument(help="USER/NAME on the Hub, or a folder or URL.")] = "",
    to: Annotated[
        str, typer.Option("--to", help="A folder or any fsspec URL instead of the Hub.")
    ] = "",
    to_options: ToOptions = "",
    embed: Annotated[
        bool, typer.Option("--embed", help="Publish the clips themselves, not only metadata.")
    ] = False,
    i_have_the_rights: IHaveTheRights = False,
    public: Annotated[
        bool, typer.Option("--public", help="Everyone may see the repository, clips or not.")
    ] = False,
    private: Annotated[
        bool, typer.Option("--private", help="Not everyone may; what --embed does anyway.")
    ] = False,
    shard_size_mb: ShardSizeMb = 500,
    mix: Annotated[
        int, typer.Option("--mix", help="With --embed: tarballs, so classes, in each file.")
    ] = 16,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Publish a dataset that needs no script: metadata, or the clips; safe to stop and run again.

    The Hub's token is that of 'hf auth login', or HF_TOKEN.

    Example: kinetics600 publish USER/NAME validation
    """
    from k600.publish.markers import Recipe
    from k600.publish.run import publish as carry_out

    if public and private:
        raise OptionError("public, private: only one of --public and --private is allowed")
    if to and not split and repo in CONFIGS:
        repo, split = "", repo
    if not split:
        if embed:
            raise OptionError("split: with --embed, say which: train is 648 GB, validation 43 GB")
        split = "all"
    if quiet:
        hush()
    request = request_of(split, options)
    done = carry_out(
        request,
        repo or None,
        to=to or None,
        recipe=Recipe(
            kind="embedded" if embed else "metadata", shard_size_mb=shard_size_mb, mix=mix
        ),
        i_have_the_rights=i_have_the_rights,
        private=private if public or private else None,
        to_options=json_options("to_options", to_options),
        progress=Meter(quiet=quiet),
        offline=is_offline(),
    )
    if as_json:
        print_json(done.as_plain())
    elif not quiet:
        for one in done.splits:
            say(
                f"{one.split}: {one.clips:,} clips in {one.shards:,} files, "
                f"{one.new_shards:,} of them new"
                + (f", {one.mended_shards:,} that were gone or damaged" * bool(one.mended_shards))
                + "".join(f"; left out: {n:,} {reason}" for reason, n in one.left_out.items())
            )
        say(f"published: {done.address}")
    raise typer.Exit(LACKING if any(one.left_out for one in done.splits) else DONE)

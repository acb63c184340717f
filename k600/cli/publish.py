"""`kinetics600 publish`: a dataset that loads without this loader, on the Hub or anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k600.cli.app import app, as_json, quiet
from k600.cli.exit_codes import DONE, UNAVAILABLE
from k600.cli.request_options import as_given, with_own_options, with_request_options
from k600.cli.screen import answer, counts_of, meter, say, whole
from k600.dataset.splits import CONFIGS
from k600.errors import OptionError
from k600.errors.text import counted
from k600.publish.options import PublishOptions

if TYPE_CHECKING:
    from k600.publish.run import Published


@app.command()
@click.argument("repo", required=False)
@with_request_options(needs_split=False)
@with_own_options(PublishOptions)
@click.option("--embed", is_flag=True, help="Publish the clips themselves, not only metadata.")
@click.option("--public", is_flag=True, help="Everyone may see the repository, clips or not.")
@click.option("--private", is_flag=True, help="Not everyone may; what --embed does anyway.")
@as_json
@quiet
def publish(
    repo: str | None,
    split: str | None,
    options: dict[str, Any],
    how: dict[str, Any],
    embed: bool,
    public: bool,
    private: bool,
) -> int:
    """Publish a dataset that needs no script: metadata, or the clips. Safe to run again.

    REPO is USER/NAME on the Hub, or a folder or URL. Without a split, the metadata are of all. The
    Hub's token is that of 'hf auth login', or HF_TOKEN.

    Example: kinetics600 publish USER/NAME validation
    """
    from k600 import api

    if public and private:
        raise OptionError("public, private: only one of --public and --private is allowed")
    if "to" in how and not split and repo in CONFIGS:
        repo, split = None, repo
    if embed and not split:
        raise OptionError("split: with --embed, say which: train is 648 GB, validation 43 GB")
    done = api.publish(
        repo,
        split or "all",
        kind="embedded" if embed else "metadata",
        private=private if public or private else None,
        progress=meter(),
        **how,
        **as_given(options),
    )
    answer(done, lambda: tell(done))
    return UNAVAILABLE if any(one.missing for one in done.splits) else DONE


def tell(done: Published) -> None:
    """Print what was published."""
    for one in done.splits:
        mended = f", {one.mended_shards:,} that were gone or damaged" * bool(one.mended_shards)
        missing = f"; left out: {counts_of(one.missing)}" if one.missing else ""
        say(
            f"{one.split}: {counted(one.clips, 'clip')} in {counted(one.shards, 'file')}, "
            f"{one.new_shards:,} of them new{mended}{missing}"
        )
    say(f"published: {whole(done.address)}")

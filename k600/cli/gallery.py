"""`kinetics600 gallery`: the clips of a request as one page to look at."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from k600.cli.app import app, as_json
from k600.cli.exit_codes import DONE, code_of_splits
from k600.cli.request_options import request_of, with_request_options
from k600.cli.screen import Meter, print_json, say
from k600.errors import OptionError
from k600.network import is_offline


@app.command()
@with_request_options(source="local")
@click.option("--out", type=Path, default="gallery.html", help="The page to write.")
@click.option("--contact-sheet", type=Path, help="Also a PNG with a frame of each clip.")
@click.option("--most", default=500, help="Most clips to show.")
@click.option("--title", default="Kinetics-600", help="Title of the page.")
@as_json
def gallery(
    split: str,
    options: dict[str, Any],
    out: Path,
    contact_sheet: Path | None,
    most: int,
    title: str,
    as_json: bool,
) -> None:
    """Write one self-contained page of clips, to filter and to play.

    Shows what is in the store. With --source auto (or cvdf, youtube) what is missing is fetched
    first, and the exit code is that of download.

    Example: kinetics600 gallery validation --class zumba --out zumba.html
    """
    from k600.gallery.contact_sheet import write_contact_sheet
    from k600.gallery.page import write_gallery
    from k600.loading.fetch import fetch_split

    if most < 1:
        raise OptionError(f"most: {most} is not allowed, expected a whole number of at least 1")
    request = request_of(split, options)
    fetches = request.source != "local"
    outcomes = [
        fetch_split(request, each, progress=Meter(quiet=as_json), offline=is_offline())
        for each in request.splits
    ]

    clips = sum(outcome.clips for outcome in outcomes)
    step = -(-clips // most)  # of all classes, not the first few
    shown = -(-clips // step)

    def rows() -> Iterator[dict[str, Any]]:
        shards = (shard for outcome in outcomes for shard in outcome.shards)
        records = (record for shard in shards for record in shard.records())
        return itertools.islice(records, 0, None, step)

    written = {"out": str(write_gallery(rows(), out, title=title, most=most))}
    if contact_sheet is not None:
        written["contact_sheet"] = str(write_contact_sheet(rows(), contact_sheet))
    if as_json:
        print_json({**written, "here_clips": clips, "shown_clips": shown})
    else:
        for path in written.values():
            say(f"written: {path}")
        for outcome in outcomes:
            if fetches and (missing := outcome.missing_text()):
                say(missing)
        if step > 1:
            say(f"It shows {shown:,} of {clips:,} clips; --most shows more")
    sys.exit(code_of_splits(outcomes) if fetches else DONE)

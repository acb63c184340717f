"""`kinetics600 gallery`: the clips of a request as one page to look at."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from k600.cli.app import app
from k600.cli.exit_codes import DONE, code_of_outcomes
from k600.cli.flags import AsJson
from k600.cli.request_options import request_of, takes_request
from k600.cli.screen import Meter, print_json, say
from k600.network import is_offline

__all__ = ["gallery"]


@app.command()
@takes_request(source="local")
def gallery(
    split: str,
    options: dict[str, Any],
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("gallery.html"),
    contact_sheet: Annotated[
        Path | None, typer.Option("--contact-sheet", help="Also a PNG with a picture of each clip.")
    ] = None,
    most: Annotated[int, typer.Option(help="Most clips to show.")] = 500,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Kinetics-600",
    as_json: AsJson = False,
) -> None:
    """Write one self-contained page of clips: to look at, to filter and to play.

    Shows what is in the store. With --source auto (or cvdf, youtube) what lacks is fetched first,
    and the exit code is that of download.

    Example: kinetics600 gallery validation --class zumba --out zumba.html
    """
    from k600.errors import OptionError
    from k600.gallery.page import write_contact_sheet, write_gallery
    from k600.loading.fetch import fetch_split

    if most < 1:
        raise OptionError(f"most: {most} is not allowed, expected a whole number of at least 1")
    request = request_of(split, options)
    outcomes = [
        fetch_split(request, each, progress=Meter(quiet=as_json), offline=is_offline())
        for each in request.splits
    ]

    clips = sum(outcome.clips for outcome in outcomes)
    step = -(-clips // most)  # of all classes, not the first few

    def rows() -> Iterator[dict[str, Any]]:
        shards = (shard for outcome in outcomes for shard in outcome.shards)
        records = (record for shard in shards for record in shard.records())
        return itertools.islice(records, 0, None, step)

    written = {"page": str(write_gallery(rows(), out, title=title, most=most))}
    if contact_sheet is not None:
        written["contact_sheet"] = str(write_contact_sheet(rows(), contact_sheet))
    if as_json:
        print_json({**written, "clips": clips, "shown": -(-clips // step)})
    else:
        for path in written.values():
            say(f"written: {path}")
        complaints = [outcome.missing_text() for outcome in outcomes if request.source != "local"]
        for complaint in filter(None, complaints):
            say(complaint)
        if step > 1:
            say(f"It shows {-(-clips // step):,} of {clips:,} clips; --most shows more")
    raise typer.Exit(DONE if request.source == "local" else code_of_outcomes(outcomes))

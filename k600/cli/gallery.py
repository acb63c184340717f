"""`kinetics600 gallery`: the clips of a request as one page to look at."""

from __future__ import annotations

import contextlib
import itertools
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from k600.cli.app import app, as_json
from k600.cli.exit_codes import DONE, code_of_splits
from k600.cli.request_options import request_of, with_request_options
from k600.cli.screen import Meter, console, print_json, say
from k600.errors import OptionError
from k600.network import is_offline

if TYPE_CHECKING:
    from k600.gallery.serve import PageServer


@app.command()
@with_request_options(source="local")
@click.option("--out", type=Path, help="The page to write; default gallery.html.")
@click.option("--contact-sheet", type=Path, help="Also a PNG: a frame of each clip, by class.")
@click.option("--most", default=500, help="Most clips to show.")
@click.option("--title", default="Kinetics-600", help="Title of the page.")
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
@click.option("--serve", is_flag=True, help="Serve the page, and no file but its clips.")
@click.option("--host", default="127.0.0.1", help="With --serve: the address to listen at.")
@click.option("--port", default=8600, help="With --serve: the port; 0 for any that is free.")
@as_json
def gallery(
    split: str,
    options: dict[str, Any],
    out: Path | None,
    contact_sheet: Path | None,
    most: int,
    title: str,
    opens: bool,
    serve: bool,
    host: str,
    port: int,
    as_json: bool,
) -> None:
    """Write one self-contained page of clips, to filter and to play.

    Shows what is in the store. With --source auto (or cvdf, youtube) what is missing is fetched
    first, and the exit code is that of download. Clips that are selected on the page are saved as a
    manifest, for --manifest. With --serve the page can be seen from elsewhere, through ssh: its
    address is printed, and the command for the other machine; Ctrl-C ends it.

    Example: kinetics600 gallery validation --class zumba --out zumba.html
    """
    from k600.gallery.contact_sheet import write_contact_sheet
    from k600.gallery.page import write_gallery
    from k600.gallery.serve import PageServer, make_served_page
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

    written = {}
    if out is not None or not serve:
        written["out"] = str(write_gallery(rows(), out or "gallery.html", title=title, most=most))
    if contact_sheet is not None:
        written["contact_sheet"] = str(write_contact_sheet(rows(), contact_sheet, title=title))
    server = None
    if serve:
        server = PageServer(make_served_page(rows(), title=title, most=most), host=host, port=port)
        written |= {"url": server.url, "ssh": server.ssh}

    if as_json:
        print_json({**written, "here_clips": clips, "shown_clips": shown})
    else:
        for path in (written[name] for name in ("out", "contact_sheet") if name in written):
            say(f"written: {path}")
        for outcome in outcomes:
            if fetches and (missing := outcome.missing_text()):
                say(missing)
        if step > 1:
            say(f"It shows {shown:,} of {clips:,} clips; --most shows more")
        if server is not None:
            _tell(server)
    if opens:
        _open(Path(written["out"]).as_uri() if server is None else server.url)
    if server is not None:
        with server, contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    sys.exit(code_of_splits(outcomes) if fetches else DONE)


def _tell(server: PageServer) -> None:
    screen = console(stderr=True)
    if server.server_address[0] == "127.0.0.1":
        screen.print("To see it from another machine, type there, and leave it running:")
        screen.print(f"  {server.ssh}", soft_wrap=True)
    screen.print("The page, until Ctrl-C:")
    screen.print(f"  {server.url}", soft_wrap=True)


def _open(url: str) -> None:
    if not webbrowser.open(url):
        say(f"No browser opens here: open {url} in one, or use --serve to see it from elsewhere")

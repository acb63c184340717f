"""`kinetics600 gallery`: the clips of a request as one page to look at."""

from __future__ import annotations

import contextlib
import itertools
import webbrowser
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from k600.cli.app import app, as_json
from k600.cli.exit_codes import code_of_fetch
from k600.cli.request_options import FILE, fetch, request_of, with_request_options
from k600.cli.screen import answer, console, say, whole
from k600.errors.text import counted
from k600.values import whole_number

if TYPE_CHECKING:
    from k600.gallery.serve import PageServer
    from k600.loading.outcome import Outcome


@app.command()
@with_request_options(source="local")
@click.option("--out", type=FILE, help="The page to write; default gallery.html.")
@click.option("--contact-sheet", type=FILE, help="Also a PNG: a frame of each clip, by class.")
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
    opens: bool,
    serve: bool,
    title: str,
    **address: Any,
) -> int:
    """Write one self-contained page of clips, to filter and to play.

    Shows what is in the store. With --source auto (or cvdf, youtube) what is missing is fetched
    first, and the exit code is that of download. Clips that are selected on the page are saved as a
    manifest, for --manifest. With --serve the page can be seen from elsewhere, through ssh: its
    address is printed, and the command for the other machine; Ctrl-C ends it.

    Example: kinetics600 gallery validation --class zumba --out zumba.html
    """
    from k600.gallery.contact_sheet import write_contact_sheet
    from k600.gallery.page import write_gallery
    from k600.gallery.serve import PageServer

    request, most = request_of(split, options), whole_number("most", most, least=1)
    outcomes = [*fetch(request)]
    clips = sum(outcome.clips for outcome in outcomes)
    step = -(-clips // most)  # of all classes, not the first few
    rows = partial(_rows, outcomes, step)

    done: dict[str, Any] = {"here_clips": clips, "shown_clips": -(-clips // step)}
    if out is not None or not serve:
        done["out"] = str(write_gallery(rows(), out or "gallery.html", title=title, most=most))
    if contact_sheet is not None:
        done["contact_sheet"] = str(write_contact_sheet(rows(), contact_sheet, title=title))
    server = None
    if serve:
        server = PageServer(rows(), title=title, most=most, **address)
        done |= {"url": server.url, "ssh": server.ssh}

    fetched = [] if request.source == "local" else outcomes
    answer(done, lambda: _tell(done, fetched, server))
    if opens:
        _open(Path(done["out"]).as_uri() if server is None else server.url)
    if server is not None:
        with server, contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return code_of_fetch(request, outcomes)


def _rows(outcomes: Iterable[Outcome], step: int) -> Iterator[dict[str, Any]]:
    """Return every so many of the clips that are there."""
    shards = (shard for outcome in outcomes for shard in outcome.shards)
    records = (record for shard in shards for record in shard.records())
    return itertools.islice(records, 0, None, step)


def _tell(done: dict[str, Any], fetched: Iterable[Outcome], server: PageServer | None) -> None:
    for name in ("out", "contact_sheet"):
        if name in done:
            say(f"written: {whole(done[name])}")
    for outcome in fetched:
        if missing := outcome.missing_text():
            say(missing)
    if done["shown_clips"] < done["here_clips"]:
        shown, of = done["shown_clips"], done["here_clips"]
        say(f"It shows {shown:,} of {counted(of, 'clip')}; --most shows more")
    if server is None:
        return

    screen = console(stderr=True)
    if server.server_address[0] == "127.0.0.1":
        screen.print("To see it from another machine, type there, and leave it running:")
        screen.print(f"  {server.ssh}", soft_wrap=True)
    screen.print("The page, until Ctrl-C:")
    screen.print(f"  {server.url}", soft_wrap=True)


def _open(url: str) -> None:
    if not webbrowser.open(url):
        say(f"No browser opens here: open {url} in one, or use --serve to see it from elsewhere")

"""`kinetics600 index build`, `index show` and `index publish`: where each clip lies on the host."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal

from k600.cli.app import app, as_json, quiet
from k600.cli.exit_codes import AGAIN, DONE, UNAVAILABLE
from k600.cli.publish import tell
from k600.cli.request_options import (
    as_given,
    request_of,
    with_options,
    with_own_options,
    with_request_options,
)
from k600.cli.screen import (
    answer,
    counts_of,
    make_table,
    meter,
    percent_of,
    say,
    show_table,
    whole,
)
from k600.errors.text import counted
from k600.loading.options import own_options
from k600.publish.options import IndexOptions

if TYPE_CHECKING:
    from k600.publish.index import IndexedSplit


_MOST_NAMED = 5


@app.group()
def index() -> None:
    """Make, show or publish an index: where clips lie."""


@index.command()
@with_request_options(needs_split=False)
@with_own_options(IndexOptions)
@quiet
@as_json
def build(split: str | None, options: dict[str, Any], how: dict[str, Any]) -> int:
    """Read tarballs to know where their clips lie. Stores none.

    Safe to stop and to run again: what is known is kept in --data-dir, and a tarball that was read
    to its end is not read again. From then on, loads from there get single clips by one request
    each; elsewhere, they do so with --index of what --to wrote. Without a split, all are read: 779
    GB.

    Example: kinetics600 index build validation --to index.parquet
    """
    from k600.publish.index import build_index, write_index

    request = request_of(split or "all", options)
    built = build_index(request)
    out = None
    if "to" in how and any(one.clips for one in built):
        place, _ = own_options(IndexOptions, how)
        out = write_index(request, place)

    def tell() -> None:
        _show(built)
        for one in built:
            size = decimal(one.fetched_bytes)
            say(f"{one.split}: {counted(one.fetched_tarballs, 'tarball')} read now, {size}")
        say(f"written: {whole(out)}" if out else f"kept in: {whole(request.store.root)}")

    answer({"splits": built, "out": out}, tell)
    if any(one.may_bring_more for one in built):
        return AGAIN
    return UNAVAILABLE if any(one.missing for one in built) else DONE


@index.command()
@click.argument("file", required=False)
@with_options("data_dir", "mirror", "endpoint_url")
@click.option("--check", is_flag=True, help="Ask the mirror if its tarballs are still the same.")
@as_json
def show(file: str | None, options: dict[str, Any], check: bool) -> int:
    """Show what an index holds, or --data-dir knows.

    FILE is a file, folder, URL or hf:// path, by default KINETICS600_INDEX. Exit code 1 if --check
    finds tarballs changed: read these again.

    Example: kinetics600 index show index.parquet
    """
    from k600.publish.index import show_index

    request = request_of("all", {**options, "index": file})
    found = show_index(request, check=check)
    changed = [path for one in found for path in one.changed or ()]

    def tell() -> None:
        _show(found)
        for path in changed:
            say(f"{path}: it is not on the mirror any more as it was when it was read")

    answer({"splits": found}, tell)
    return AGAIN if changed else DONE


@index.command()
@click.argument("repo")
@with_request_options(needs_split=False)
@click.option("--private", is_flag=True, help="Not everyone may see the repository.")
@quiet
@as_json
def publish(repo: str, split: str | None, options: dict[str, Any], private: bool) -> None:
    """Publish all that is known of it. Safe to run again.

    REPO is USER/NAME, or a folder or URL; `load_dataset(..., index="hf://datasets/USER/NAME")` uses
    it anywhere. The Hub's token is that of 'hf auth login', or HF_TOKEN.

    Example: kinetics600 index publish USER/NAME
    """
    from k600 import api

    done = api.publish(
        repo,
        split or "all",
        kind="index",
        private=private or None,
        progress=meter(),
        **as_given(options),
    )
    answer(done, lambda: tell(done))


def _show(found: Iterable[IndexedSplit]) -> None:
    """Print a row for each split, and what is not in it."""
    rows = []
    for one in found:
        share = f" ({percent_of(one.placed_clips / one.clips)})" if one.clips else ""
        placed = f"{one.placed_clips:,}{share}"
        rows.append((one.split, one.tarballs, decimal(one.tarball_bytes), one.clips, placed))
    columns = ("split", "tarballs", "of size", "clips", "by one request")
    show_table(make_table(*columns, rows=rows, text=["split"]))
    for one in found:
        for path in one.unplaced[:_MOST_NAMED]:
            say(f"{path}: all of it is compressed, so no clip can be read alone")
        if (more := len(one.unplaced) - _MOST_NAMED) > 0:
            say(f"{one.split}: … and {counted(more, 'more tarball')} of that kind")
        if one.missing:
            say(f"{one.split}: tarballs left out: {counts_of(one.missing)}")

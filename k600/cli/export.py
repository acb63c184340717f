"""`kinetics600 export lists`: lists of paths and labels, as other trainers read them."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click

from k600.checks.path_lists import LIST_NAMES, write_path_list
from k600.cli.app import app, as_json, quiet
from k600.cli.exit_codes import DONE, code_of_splits
from k600.cli.request_options import (
    complete_of,
    complete_path,
    request_of,
    with_request_options,
)
from k600.cli.screen import Meter, print_json, say
from k600.network import is_offline
from k600.values import choice


@app.group()
def export() -> None:
    """Write what other tools read."""


@export.command()
@with_request_options(source="local")
@click.option(
    "--for",
    "tool",
    default="slowfast",
    shell_complete=complete_of(*LIST_NAMES),
    help=f"{', '.join(LIST_NAMES)}: what the files are called.",
)
@click.option(
    "--out",
    type=Path,
    default="lists",
    shell_complete=complete_path("dir"),
    help="The folder to write them into; no blank in its path.",
)
@quiet
@as_json
def lists(
    split: str, options: dict[str, Any], tool: str, out: Path, quiet: bool, as_json: bool
) -> None:
    """Write lists of what is in the store: a line 'path label_id' for each clip.

    Label ids are those of the 600 names in order, 0 to 599. Folders whose names have blanks are
    reached by links in the folder 'clips' beside the lists. Test clips without a label are left
    out. With --source auto (or cvdf, youtube) what is missing is fetched first, and the exit code
    is that of download.

    Example: kinetics600 export lists validation --for mmaction2 --out lists
    """
    from k600.loading.fetch import fetch_split

    choice("for", tool, tuple(LIST_NAMES))
    request = request_of(split, options)
    outcomes, written = [], []
    for each in request.splits:
        meter = Meter(quiet=quiet or as_json)
        outcome = fetch_split(request, each, progress=meter, offline=is_offline())
        outcomes.append(outcome)
        written.append(write_path_list(each, outcome.shards, out, tool=tool))

    if as_json:
        print_json([dataclasses.asdict(one) for one in written])
    for one in [] if as_json or quiet else written:
        left = f"; {one.unlabelled_clips:,} without a label are left out"
        say(f"written: {one.out} ({one.clips:,} clips{left * bool(one.unlabelled_clips)})")
    sys.exit(DONE if request.source == "local" else code_of_splits(outcomes))

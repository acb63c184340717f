"""`kinetics600 export lists`: lists of paths and labels, as other trainers read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from k600.checks.path_lists import LIST_NAMES, write_path_list
from k600.cli.app import app, as_json, quiet
from k600.cli.exit_codes import code_of_fetch
from k600.cli.request_options import complete_of, fetch, request_of, with_request_options
from k600.cli.screen import answer, say, whole
from k600.errors.text import counted
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
    type=click.Path(file_okay=False, path_type=Path),
    default="lists",
    help="The folder to write them into; no blank in its path.",
)
@quiet
@as_json
def lists(split: str, options: dict[str, Any], tool: str, out: Path) -> int:
    """Write lists of what is in the store: a line 'path label_id' for each clip.

    Label ids are those of the 600 names in order, 0 to 599. Folders whose names have blanks are
    reached by links in the folder 'clips' beside the lists. Test clips without a label are left
    out. With --source auto (or cvdf, youtube) what is missing is fetched first, and the exit code
    is that of download.

    Example: kinetics600 export lists validation --for mmaction2 --out lists
    """
    choice("for", tool, tuple(LIST_NAMES))
    request = request_of(split, options)
    outcomes, written = [], []
    for outcome in fetch(request):
        outcomes.append(outcome)
        written.append(write_path_list(outcome.split, outcome.shards, out, tool=tool))

    def tell() -> None:
        for one in written:
            unlabelled = one.unlabelled_clips
            left = f"; left out: {unlabelled:,} without a label" if unlabelled else ""
            say(f"written: {whole(one.out)} ({counted(one.clips, 'clip')}{left})")

    answer(written, tell)
    return code_of_fetch(request, outcomes)

"""`kinetics600 list` and `kinetics600 delete`: what is on this machine, and making room."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.filesize import decimal

from k600.cli.app import app, as_json
from k600.cli.exit_codes import AGAIN, DONE
from k600.cli.request_options import request_of, split_argument, with_options
from k600.cli.screen import answer, make_table, meter, say, show, show_table, whole
from k600.errors import OptionError, nearest
from k600.errors.text import counted, listed
from k600.store.removal import Removal, plan_removal, remove_clips, remove_own
from k600.store.store import Store

_AS_IS = "as is"  # the encoding of clips as their source has them


@app.command("list")
@with_options("data_dir", source="local")
@as_json
def list_clips(options: dict[str, Any]) -> None:
    """List the clips on this machine, by store, split and encoding.

    Without --data-dir, the usual folders are looked at: that of KINETICS600_HOME, and the one
    beside the cache of the library.

    Example: kinetics600 list
    """
    from k600.checks.status import read_status
    from k600.hf import default_data_dir

    request = request_of("all", options)
    usual = [] if options.get("data_dir") else [Path(default_data_dir(None))]
    roots = dict.fromkeys([request.store.root, *usual])
    rows = []
    for root in roots:
        for store in Store.all_at(root):
            status = read_status(dataclasses.replace(request, store=store))
            rows += [
                {
                    "data_dir": str(root),
                    "encoding": _encoding_of(store),
                    "split": one.split,
                    "here_clips": one.counts.here_clips,
                    "here_bytes": one.counts.here_bytes,
                }
                for one in status.splits
                if one.counts.here_clips
            ]
    answer(rows, lambda: _show(rows))
    if not rows:
        say(f"There are no clips in {' or '.join(map(str, roots))}.")


def _show(rows: Sequence[dict[str, Any]]) -> None:
    """Show a table for each folder."""
    for root in dict.fromkeys(row["data_dir"] for row in rows):
        own = [
            (row["split"], row["encoding"], row["here_clips"], decimal(row["here_bytes"]))
            for row in rows
            if row["data_dir"] == root
        ]
        show(root, bold=True)
        columns = ("split", "encoding", "clips", "size")
        show_table(make_table(*columns, rows=own, text=["split", "encoding"]))


def _complete_encoding(context: click.Context, _: click.Parameter, word: str) -> list[str]:
    try:
        store = request_of("all", {"data_dir": context.params.get("data_dir")}).store
    except OptionError:
        return []
    names = map(_encoding_of, Store.all_at(store.root))
    return [name for name in names if name != _AS_IS and name.startswith(word)]


@app.command()
@split_argument()
@with_options("classes", "data_dir", source="local")
@click.option(
    "--encoding",
    shell_complete=_complete_encoding,
    help="Clips that were encoded anew, by the name that list shows.  [default: as is]",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def delete(split: str, options: dict[str, Any], encoding: str | None, yes: bool) -> int:
    """Delete downloaded clips: a split, some classes, or all.

    Says how much, and asks once. Files of yours and of other tools stay. A load that is asked for
    the clips fetches them again. Safe to stop and to run again. Exit code 1 if you say no.

    Example: kinetics600 delete train --class zumba
    """
    request = request_of(split, options)
    store = _find_store(request.store, encoding)
    removals = [plan_removal(store, each, request.classes) for each in request.splits]
    for line in _describe(store, removals):
        say(line)
    if any(one.clips for one in removals) and not yes and not _agrees():
        say("Nothing was deleted.")
        return AGAIN

    total = sum(one.clips for one in removals)
    with meter()(total, "deleting", unit="clip") as bar:
        for one in removals:
            remove_clips(store, one, on_clip=lambda: bar.update(1))
    is_all = split == "all" and request.classes is None and not any(o.others for o in removals)
    if is_all and store.ledger_path.exists():
        remove_own(store)
    deleted = [
        {
            "split": one.split,
            "deleted_clips": one.clips,
            "deleted_bytes": one.size_bytes,
            "other_clips": one.others,
        }
        for one in removals
    ]
    answer(deleted, lambda: None)
    return DONE


def _find_store(usual: Store, encoding: str | None) -> Store:
    if encoding is None or encoding == _AS_IS:
        return usual
    stores = {_encoding_of(store): store for store in Store.all_at(usual.root)}
    if encoding not in stores:
        raise OptionError(
            f"encoding: {encoding!r} is not in '{usual.root}'{nearest(encoding, stores) or '.'} "
            f"There are {listed(list(stores))}"
        )
    return stores[encoding]


def _describe(store: Store, removals: Iterable[Removal]) -> Iterator[str]:
    """Yield how much is to be deleted, in words."""
    yield f"In {whole(store.root)}:"
    for one in removals:
        stay = f"; kept: {one.others:,} not the loader's, or put aside" if one.others else ""
        yield f"{one.split}: {counted(one.clips, 'clip')}, {decimal(one.size_bytes)}{stay}"


def _agrees() -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise OptionError("yes: nobody can be asked here; pass --yes to delete them")
    return click.confirm("Delete them?", err=True)


def _encoding_of(store: Store) -> str:
    return store.root.name if store.within else _AS_IS

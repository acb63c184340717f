"""`kinetics600 classes`: find a class among the 600."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from k600.cli.app import app
from k600.cli.exit_codes import AGAIN
from k600.cli.flags import AsJson, DataDir, ListsMirror
from k600.cli.request_options import request_of
from k600.cli.screen import console, print_json, say

__all__ = ["classes", "find_classes"]


@app.command()
def classes(
    query: Annotated[str | None, typer.Argument(help="Part of a name, or an id.")] = None,
    data_dir: DataDir = None,
    mirror: ListsMirror = None,
    as_json: AsJson = False,
) -> None:
    """Search the 600 class names, in any spelling; show ids and how many clips the host lists.

    Counts are shown once the host's lists are in the store. No list counts the test clips of a
    class. Exit code 1 if no name holds the query, and none is near it.

    Example: kinetics600 classes swimming
    """
    from k600.labels import label_id
    from k600.tarballs.catalog import KeptLists

    given = {"data_dir": data_dir, "mirror": mirror}
    request = request_of("all", {name: value for name, value in given.items() if value})
    names, exact = find_classes(query or "")
    if not names:
        if as_json:
            print_json([])
        else:
            say(f"No class has {query!r} in its name, and none is near it.")
        raise typer.Exit(AGAIN)
    splits = ("train", "validation")
    counts = {
        split: {
            label: len(files)
            for label, files in KeptLists(request.mirror, request.store, split, network=False)
            .listing()
            .items()
        }
        for split in splits
    }
    rows: list[dict[str, Any]] = [
        {"id": label_id(name), "name": name, **{split: counts[split].get(name) for split in splits}}
        for name in names
    ]
    if as_json:
        print_json(rows)
    else:
        if not exact:
            say(f"No class has {query!r} in its name. The nearest:")
        _show(rows, splits if any(counts.values()) else ())


def find_classes(query: str) -> tuple[list[str], bool]:
    """Return the classes that a query means, and whether they hold it (else they are near it).

    Letter case, `_`, `-` and punctuation do not matter; a number is an id as well. Names that
    hold the query come in id order, near ones nearest first.

    Example:
        >>> find_classes("knot_not")
        (['tying knot (not on a tie)'], True)
    """
    import difflib

    from k600.labels import NAMES

    plain = {name: _plain(name) for name in NAMES}
    wanted = _plain(query)
    found = [name for name in NAMES if wanted in plain[name]] if wanted or not query else []
    if query.strip().isdecimal() and int(query) < len(NAMES) and NAMES[int(query)] not in found:
        found.append(NAMES[int(query)])
    if found or not wanted:
        return found, True
    near = {of: name for name, of in plain.items()}
    close = difflib.get_close_matches(wanted, near, n=5, cutoff=0.65)
    if not close:  # one word may be near a word of a long name
        words = {word for of in near for word in of.split()}
        alike = set(difflib.get_close_matches(wanted, words, n=5, cutoff=0.75))
        close = [of for of in near if alike & set(of.split())][:5]
    return [near[of] for of in close], False


def _plain(text: str) -> str:
    """Return a name's words alone: no letter case, no marks, single spaces."""
    kept = "".join(c if c.isalnum() else "" if c in "'’()" else " " for c in text.casefold())
    return " ".join(kept.split())


def _show(rows: list[dict[str, Any]], splits: tuple[str, ...]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("id", justify="right")
    table.add_column("class", overflow="fold")
    for split in splits:
        table.add_column(split, justify="right")
    for row in rows:
        cells = ("" if row[split] is None else f"{row[split]:,}" for split in splits)
        table.add_row(str(row["id"]), row["name"], *cells)
    screen = console()
    if not screen.is_terminal:
        screen.width = 160  # a line for each class, whatever the name
    screen.print(table)

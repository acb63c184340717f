"""`kinetics600 classes`: find a class among the 600."""

from __future__ import annotations

from typing import Any

import click

from k600.cli.app import app, as_json
from k600.cli.exit_codes import AGAIN, DONE
from k600.cli.request_options import complete_classes, request_of, with_options
from k600.cli.screen import answer, make_table, say, show_table
from k600.dataset.labels import class_lists, find_classes, label_id


@app.command()
@click.argument("query", default="", shell_complete=complete_classes)
@with_options("data_dir", "mirror")
@as_json
def classes(query: str, options: dict[str, Any]) -> int:
    """Search the 600 class names, in any spelling.

    Shows ids, and how many clips of each class the host lists, once its lists are in the store. No
    list counts the test clips of a class. QUERY is part of a name, an id, or a published subset:
    kinetics-sounds, mini-kinetics-200. Exit code 1 if no name holds it, and none is near it.

    Example: kinetics600 classes swimming
    """
    from k600.checks.status import count_listed

    request = request_of("all", options)
    names, exact = find_classes(query)
    if not names:
        answer([], lambda: say(f"No class has {query!r} in its name, and none is near it."))
        return AGAIN

    counts = count_listed(request)
    rows: list[dict[str, Any]] = [
        {
            "id": label_id(name),
            "label": name,
            "listed_clips": {split: of.get(name) for split, of in counts.items()},
        }
        for name in names
    ]

    def tell() -> None:
        if not exact:
            say(f"No class has {query!r} in its name. The nearest:")
        splits = [*counts] if any(counts.values()) else []
        cells = ((r["id"], r["label"], *(r["listed_clips"][s] for s in splits)) for r in rows)
        show_table(make_table("id", "class", *splits, rows=cells, text=["class"]))
        subset = class_lists().get(query)
        if subset is not None:
            say(f"{subset.source}. Not in Kinetics-600: {', '.join(subset.missing) or 'none'}.")

    answer(rows, tell)
    return DONE

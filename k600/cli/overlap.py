"""`kinetics600 overlap`: clips of validation and test whose videos are in train, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from k600.cli.app import app, as_json
from k600.cli.request_options import FILE, complete_of, request_of, with_options
from k600.cli.screen import answer, make_table, percent_of, say, show_table, whole
from k600.errors.text import csv_text
from k600.errors.translate import output_error, translate_errors
from k600.store.files import write_output
from k600.values import choice

_SPLITS = ("validation", "test")


@app.command()
@click.argument(
    "split",
    metavar="[{validation|test}]",
    default="validation",
    shell_complete=complete_of(*_SPLITS),
)
@with_options("data_dir", "mirror", "test_labels")
@click.option("--out", type=FILE, help="Also a CSV with a row for each such clip.")
@as_json
def overlap(split: str, options: dict[str, Any], out: Path | None) -> None:
    """Count the clips whose videos are in train, too.

    Those that have seconds in common are counted apart. By the host's lists, which are fetched if
    none are kept (some 20 MB); for the test split, by DeepMind's list and by what is known of its
    tarballs. --exclude-overlap of a load leaves these clips out.

    Example: kinetics600 overlap validation --out overlap.csv
    """
    from k600.checks.overlap import read_overlaps

    choice("split", split, _SPLITS)
    clips, found = read_overlaps(request_of(split, options), split)
    in_time = sum(one.is_in_time for one in found)
    if out is not None:
        header = ("label", "file_name", "seconds_in_common", "train_clips")
        rows = (
            (one.label, one.file_name, one.is_in_time, " ".join(one.train_clips)) for one in found
        )
        with translate_errors(output_error, out, "out"):
            write_output(out, csv_text([header, *rows]).encode())
    result = {
        "split": split,
        "known_clips": clips,
        "in_train_clips": len(found),
        "in_train_time_clips": in_time,
        "out": None if out is None else str(out),
    }

    def tell() -> None:
        shares = (f"{n:,} ({percent_of(n / clips if clips else 0)})" for n in (len(found), in_time))
        columns = ("split", "clips", "video in train", "seconds in common")
        show_table(make_table(*columns, rows=[(split, clips, *shares)], text=["split"]))
        if out is not None:
            say(f"written: {whole(out)}")

    answer(result, tell)

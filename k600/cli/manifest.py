"""`kinetics600 manifest export` and `manifest check`: the table of clips, out and against."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import click

from k600.cli.app import app, as_json, quiet
from k600.cli.exit_codes import AGAIN, DONE, code_of_fetch
from k600.cli.request_options import FILE, fetch, request_of, with_options, with_request_options
from k600.cli.screen import answer, counts_of, say, whole
from k600.dataset.clip import Clip
from k600.errors import NoClipsError
from k600.loading.options import ENCODING_OPTIONS
from k600.progress import no_progress


@app.group()
def manifest() -> None:
    """Write the table of clips, or check a store against one."""


@manifest.command()
@with_request_options(source="local")
@click.option(
    "--out", type=FILE, default="manifest.csv", help="The file to write, .csv or .parquet."
)
@click.option("--hashes/--no-hashes", default=True, help="Read every file for its SHA-256.")
@quiet
@as_json
def export(split: str, options: dict[str, Any], out: Path, hashes: bool) -> int:
    """Write a row for every clip: whether it is there, or why not.

    A row holds what proves its clip, too. Reads the store only; with --source auto (or cvdf,
    youtube) what is missing is fetched first, and the exit code is that of download. `kinetics600
    verify` first fills in durations and sizes. `load_dataset(..., manifest=FILE)` loads exactly
    the clips that are there.

    Example: kinetics600 manifest export validation --out validation.parquet
    """
    from k600.checks.clip_table import clip_table, count_rows
    from k600.loading.columns import CLIP_TABLE
    from k600.loading.manifest import write_table

    request = request_of(split, options)
    rows: list[dict[str, Any]] = []
    outcomes = []
    for outcome in fetch(request):
        outcomes.append(outcome)
        with request.progress(outcome.clips, f"{outcome.split}, reading", unit="clip") as bar:
            on_clip = functools.partial(bar.update, 1)
            rows += clip_table(request, outcome, hashes=hashes, on_clip=on_clip)

    path = write_table(rows, out, CLIP_TABLE, option="out")
    here, missing = count_rows(rows)
    answer(
        {"out": str(path), "here_clips": here, "missing": missing},
        lambda: say(f"written: {whole(path)} ({_counts(f'{here:,} here', missing)})"),
    )
    return code_of_fetch(request, outcomes)


@manifest.command()
@click.argument("file", type=FILE)
@with_options("data_dir", *ENCODING_OPTIONS, source="local")
@click.option("--most", default=20, help="Most clips to name.")
@as_json
def check(file: Path, options: dict[str, Any], most: int) -> int:
    """Compare the store with FILE, to the last byte of each clip.

    FILE is a manifest as .csv or .parquet. Exit code 0 if all are there and the same, 1 if not.
    Clips that were encoded anew are in a store of their own: pass the options that they were loaded
    with.

    Example: kinetics600 manifest check validation.parquet --data-dir /data/k600
    """
    from k600.checks.clip_table import check_manifest
    from k600.loading.fetch import fetch_split
    from k600.loading.manifest import read_manifest

    wanted = read_manifest(file)
    found: dict[Clip, str] = {}
    for split in sorted({row.clip.split for row in wanted.rows}):
        request = dataclasses.replace(
            request_of(split, options), offline=True, progress=no_progress
        )
        try:
            outcome = fetch_split(request, split)
            shards = outcome.shards
        except NoClipsError:
            shards = ()
        found |= check_manifest(wanted, split, shards)

    missing = Counter(found.values())
    same = len(wanted.rows) - len(found)
    differences = [{"clip": clip.key, "reason": why} for clip, why in found.items()]

    def tell() -> None:
        for clip, why in islice(found.items(), most):
            say(f"{why}: {clip.key}")
        if len(found) > most:
            say(f"… and {len(found) - most:,} more")
        say(f"{file}: {_counts(f'{same:,} the same', missing)}")

    answer({"same_clips": same, "missing": missing, "differences": differences}, tell)
    return AGAIN if found else DONE


def _counts(first: str, missing: dict[str, int]) -> str:
    return ", ".join(filter(None, (first, counts_of(missing))))

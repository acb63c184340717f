"""`kinetics600 manifest export` and `manifest check`: the table of clips, out and against."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from k600.cli.app import app
from k600.cli.exit_codes import AGAIN, DONE, code_of_outcomes
from k600.cli.flags import AsJson, DataDir, Quiet
from k600.cli.request_options import request_of, takes_request
from k600.cli.screen import Meter, hush, print_json, say
from k600.network import is_offline

__all__ = ["check", "export"]

manifest_app = typer.Typer(
    help="Write the table of clips, or check a store against one.", no_args_is_help=True
)
app.add_typer(manifest_app, name="manifest")


@manifest_app.command()
@takes_request(source="local")
def export(
    split: str,
    options: dict[str, Any],
    out: Annotated[Path, typer.Option("--out", help="The file to write, .csv or .parquet.")] = Path(
        "manifest.csv"
    ),
    hashes: Annotated[
        bool, typer.Option("--hashes/--no-hashes", help="Read every file for its SHA-256.")
    ] = True,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a row for every clip: what is there, what lacks and why, and what proves it.

    Looks at the store only; with --source auto (or cvdf, youtube) what lacks is fetched first, and
    the exit code is that of download. `kinetics600 verify` first fills in durations and sizes.
    `load_dataset(..., manifest=FILE)` loads exactly the clips that are there.

    Example: kinetics600 manifest export validation --out validation.parquet
    """
    from k600.checks.clip_table import clip_table
    from k600.loading.columns import CLIP_TABLE
    from k600.loading.fetch import fetch_split
    from k600.loading.manifest import write_table

    if quiet:
        hush()
    request = request_of(split, options)
    rows: list[dict[str, Any]] = []
    outcomes = []
    for each in request.splits:
        meter = Meter(quiet=quiet or as_json)
        outcome = fetch_split(request, each, progress=meter, offline=is_offline())
        outcomes.append(outcome)
        with meter(outcome.clips, f"{each}, reading", unit=" clips") as bar:
            on_clip = functools.partial(bar.update, 1)
            rows += clip_table(request, outcome, hashes=hashes, on_clip=on_clip)
    path = write_table(rows, out, CLIP_TABLE)
    counts = Counter(row["state"] for row in rows)
    if as_json:
        print_json({"path": str(path), "clips": dict(counts)})
    elif not quiet:
        say(f"written: {path} ({', '.join(f'{n:,} {state}' for state, n in counts.items())})")
    raise typer.Exit(DONE if request.source == "local" else code_of_outcomes(outcomes))


@manifest_app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A manifest, .csv or .parquet.")],
    data_dir: DataDir = None,
    most: Annotated[int, typer.Option(help="Most clips to name.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Compare the store with a manifest: each clip there, and the same to the last byte?

    Exit code 0 if so, 1 if a clip is missing or differs.

    Example: kinetics600 manifest check validation.parquet --data-dir /data/k600
    """
    from k600.checks.clip_table import check_manifest
    from k600.errors import NoClipsError
    from k600.loading.fetch import fetch_split
    from k600.loading.manifest import read_manifest

    manifest = read_manifest(file)
    options: dict[str, Any] = {"source": "local"}
    if data_dir is not None:
        options["data_dir"] = data_dir
    found = []
    splits = sorted({row.clip.split for row in manifest.rows})
    for split in splits:
        request = request_of(split, options)
        try:
            outcome = fetch_split(request, split, progress=Meter(quiet=True), offline=True)
            shards = outcome.shards
        except NoClipsError:
            shards = ()
        found += check_manifest(manifest, split, shards)
    counts = Counter(difference.reason for difference in found)
    same = len(manifest.rows) - len(found)
    if as_json:
        differences = [{"clip": d.clip.key, "reason": d.reason} for d in found]
        print_json({"same": same, **counts, "differences": differences})
    else:
        for difference in found[:most]:
            say(f"{difference.reason}: {difference.clip.key}")
        if len(found) > most:
            say(f"… and {len(found) - most:,} more")
        parts = [f"{same:,} the same", *(f"{n:,} {reason}" for reason, n in counts.items())]
        say(f"{file}: {', '.join(parts)}")
    raise typer.Exit(AGAIN if found else DONE)

"""`kinetics600 verify`: find clips that are no good, put them aside, fetch them again."""

# No `from __future__ import annotations`: `takes_request` hands annotations on as they are.

from typing import TYPE_CHECKING, Annotated, Any

import typer

from k600.cli.app import app
from k600.cli.exit_codes import AGAIN, LACKING, worst
from k600.cli.flags import AsJson
from k600.cli.request_options import request_of, takes_request
from k600.cli.screen import Meter, console, hush, print_json, say
from k600.network import is_offline

if TYPE_CHECKING:
    from k600.checks.findings import Report, SplitReport

__all__ = ["verify"]

_MOST_LINES = 50
"""Bad clips that are named on the screen; `--json` names all."""


@app.command()
@takes_request()
def verify(
    split: str,
    options: dict[str, Any],
    deep: Annotated[bool, typer.Option("--deep", help="Decode every picture and sound.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Move bad clips aside and fetch them again.")
    ] = False,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Move bad clips aside; a load fetches them.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Look also at what was verified before.")
    ] = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show nothing but what is bad.")] = False,
) -> None:
    """Look into every clip that is there; safe to stop and to run again.

    Exit code 1 if a clip is bad, and 3 if the host itself has no good one. Short clips are told,
    but are not bad.

    Example: kinetics600 verify validation --deep
    """
    from k600.checks.verify import verify_clips

    if quiet:
        hush()
    report = verify_clips(
        request_of(split, options),
        deep=deep,
        again=again,
        quarantine=quarantine,
        repair=repair,
        offline=is_offline(),
        progress=Meter(quiet=quiet),
    )
    if as_json:
        print_json(report.as_plain())
    elif not quiet or report.bad:
        _show(report)
    raise typer.Exit(
        worst(LACKING if found.fate == "bad_at_source" else AGAIN for found in report.bad)
    )


def _show(report: "Report") -> None:
    from k600.checks.findings import FATES
    from k600.video.probe import VERDICTS

    screen = console()
    for split in report.splits:
        if split.clips:
            screen.print(_table(split, report.depth))
    found = [finding for split in report.splits for finding in (*split.bad, *split.short)]
    for verdict in VERDICTS:
        if any(finding.verdict == verdict for finding in found):
            screen.print(f"{verdict}: {VERDICTS[verdict]}")
    for fate in FATES:
        if any(finding.fate == fate != "reported" for finding in found):
            screen.print(f"{fate}: {FATES[fate]}")
    for finding in found[:_MOST_LINES]:
        told = (
            finding.verdict if finding.fate == "reported" else f"{finding.verdict}, {finding.fate}"
        )
        detail = "; ".join(filter(None, (finding.detail, finding.why)))
        screen.print(f"{told}  {finding.path}  {detail}".rstrip(), soft_wrap=True)
    if len(found) > _MOST_LINES:
        screen.print(f"… and {len(found) - _MOST_LINES:,} more: --json names every one")
    say(
        f"{report.clips:,} clips that are here, {report.reused:,} of them verified before, "
        f"{len(report.bad):,} bad; {report.seconds:.1f} s, "
        f"{report.clips_per_second:,.0f} clips/s"
    )


def _table(split: "SplitReport", depth: str) -> Any:
    """Return how many clips of each verdict there are, in each class that has any but `ok`."""
    from rich.table import Table

    from k600.video.probe import BAD, VERDICTS

    seen = [verdict for verdict in VERDICTS if split.verdicts[verdict]]
    table = Table(title=f"{split.split}, {depth}", title_justify="left")
    table.add_column("class")
    for verdict in seen:
        style = "red" if verdict in BAD else "yellow" if verdict == "short" else "green"
        table.add_column(verdict, justify="right", style=style)
    for label, counts in split.classes.items():
        if set(counts) - {"ok"}:
            table.add_row(label, *(f"{counts.get(verdict, 0):,}" for verdict in seen))
    if table.row_count:
        table.add_section()
    every = f"all {len(split.classes):,} classes" if len(split.classes) != 1 else "the one class"
    table.add_row(every, *(f"{split.verdicts[verdict]:,}" for verdict in seen))
    return table

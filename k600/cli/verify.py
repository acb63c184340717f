"""`kinetics600 verify`: find clips that are no good, put them aside, fetch them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k600.cli.app import app, as_json, quiet
from k600.cli.exit_codes import AGAIN, UNAVAILABLE, worst
from k600.cli.request_options import request_of, with_request_options
from k600.cli.screen import answer, make_table, say, show, show_table
from k600.errors.text import counted

if TYPE_CHECKING:
    from rich.table import Table

    from k600.checks.verify import Report, Verification

_MOST_LINES = 50


@app.command()
@with_request_options()
@click.option("--deep", is_flag=True, help="Decode all frames and audio, and compare checksums.")
@click.option("--repair", is_flag=True, help="Move bad clips aside and fetch them again.")
@click.option("--quarantine", is_flag=True, help="Move bad clips aside; a load fetches them.")
@click.option("--again", is_flag=True, help="Check also what was verified before.")
@as_json
@quiet
def verify(split: str, options: dict[str, Any], **how: bool) -> int:
    """Check every clip in the store. Safe to stop and to run again.

    Exit code 1 if a clip is bad, and 3 if the host itself has no good one. Short clips are named,
    but are not bad.

    Example: kinetics600 verify validation --deep
    """
    from k600.checks.verify import verify_clips

    request = request_of(split, options)
    report = verify_clips(request, **how)
    answer(report.as_plain(), lambda: _show(report), matters=bool(report.bad))
    return worst(UNAVAILABLE if found.fate == "bad_at_source" else AGAIN for found in report.bad)


def _show(report: Report) -> None:
    from k600.checks.verify import FATES
    from k600.video.probe import VERDICTS

    for split in report.splits:
        if split.clips:
            show_table(_table(split, report.depth))

    found = [finding for split in report.splits for finding in (*split.bad, *split.short)]
    verdicts = {finding.row.verdict for finding in found}
    fates = {finding.fate for finding in found} - {"reported"}
    for meanings, seen in ((VERDICTS, verdicts), (FATES, fates)):
        for name in (name for name in meanings if name in seen):
            show(f"{name}: {meanings[name]}")

    for finding in found[:_MOST_LINES]:
        fate = "" if finding.fate == "reported" else f", {finding.fate}"
        detail = "; ".join(filter(None, (finding.row.detail, finding.why)))
        show(f"{finding.row.verdict}{fate}  {finding.row.path}  {detail}".rstrip())
    if len(found) > _MOST_LINES:
        show(f"… and {len(found) - _MOST_LINES:,} more: --json names every one")
    say(
        f"{counted(report.clips, 'clip')} here, {report.reused:,} of them verified before, "
        f"{len(report.bad):,} bad; {report.seconds:.1f} s, "
        f"{counted(round(report.clips_per_second), 'clip')}/s"
    )


def _table(split: Verification, depth: str) -> Table:
    """Return a table of verdicts, with a row for each class that has any but `ok`."""
    from k600.video.probe import VERDICTS

    seen = [verdict for verdict in VERDICTS if split.verdicts[verdict]]
    rows = [
        (label, *(counts.get(verdict, 0) for verdict in seen))
        for label, counts in split.classes.items()
        if set(counts) - {"ok"}
    ]
    title = f"{split.split}, {depth}"
    table = make_table("class", *seen, rows=rows, text=["class"], title=title)
    for column in table.columns[1:]:
        column.style = {"ok": "green", "short": "yellow"}.get(str(column.header), "red")
    if rows:
        table.add_section()
    every = f"all {len(split.classes):,} classes" if len(split.classes) != 1 else "the one class"
    table.add_row(every, *(f"{split.verdicts[verdict]:,}" for verdict in seen))
    return table

"""`kinetics600 doctor`: whether this machine has what a load takes, and what to do if not."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from k600.cli.app import app, as_json, data_dir
from k600.cli.exit_codes import AGAIN, DONE
from k600.cli.flag_names import with_flags
from k600.cli.request_options import as_given, request_of
from k600.cli.screen import console, print_json
from k600.errors import Kinetics600Error
from k600.network import is_offline
from k600.text import printable

if TYPE_CHECKING:
    from k600.checks.doctor import Finding
    from k600.loading.request import Request

_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red", "skipped": "dim"}


@app.command()
@data_dir
@click.option("--mirror", help="The mirror to ask.")
@click.option("--endpoint-url", help="Endpoint of an s3:// mirror of your own.")
@click.option("--proxy", help="URL of a proxy to reach YouTube by.")
@click.option("--offline", is_flag=True, help="Cross no network.")
@as_json
def doctor(offline: bool, as_json: bool, **options: str | None) -> None:
    """Check whether this machine has what a load takes. Says what to do where not.

    Fetches and changes nothing, and shows no password or key. Exit code 1 if anything is worse than
    a warning.

    Example: kinetics600 doctor --data-dir /data/k600
    """
    from k600.checks.doctor import examine

    request, broken = _request(options)
    findings = broken + examine(
        request.store, request.mirror, request.youtube, offline=offline or is_offline()
    )
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        _show(findings)
    sys.exit(AGAIN if any(finding.state == "error" for finding in findings) else DONE)


def _request(options: dict[str, Any]) -> tuple[Request, list[Finding]]:
    """Return the request, and what is wrong where the loader itself does not start."""
    from k600.checks.doctor import Finding

    try:
        return request_of("all", options), []
    except Kinetics600Error:
        raise
    except Exception as error:
        from k600.loading.request import make_request

        detail = f"does not start ({type(error).__name__}: {error})"
        advice = "Repair what it names: pip install --force-reinstall the package"
        given = as_given(options)
        request = make_request("all", default_data_dir="~/kinetics600-clips", **given)
        return request, [Finding("kinetics600", "error", detail, advice)]


def _show(findings: list[Finding]) -> None:
    findings = [
        dataclasses.replace(each, detail=with_flags(each.detail), advice=with_flags(each.advice))
        for each in findings
    ]
    screen = console()
    if not screen.is_terminal:  # a line for each, which can be searched
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            advice = f" -> {finding.advice}" if finding.advice else ""
            screen.print(f"{finding.state:<8} {finding.name:<{width}}  {finding.detail}{advice}")
        return

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        detail = Text(printable(finding.detail))
        if finding.advice:
            detail += Text(f"\n→ {printable(finding.advice)}", "cyan")
        table.add_row(Text(finding.state, _STYLES[finding.state]), finding.name, detail)
    screen.print(table)

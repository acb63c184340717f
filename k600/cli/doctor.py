"""`kinetics600 doctor`: whether this machine has what a load takes, and what to do if not."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from k600.cli.app import app, as_json, data_dir
from k600.cli.exit_codes import AGAIN, DONE
from k600.cli.flag_names import with_flags
from k600.cli.request_options import as_given, request_of
from k600.cli.screen import print_json, show_aligned
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
    show_aligned(
        (
            Text(finding.state, _STYLES[finding.state]),
            finding.name,
            Text(printable(finding.detail)) + _advice(finding),
        )
        for finding in findings
    )


def _advice(finding: Finding) -> Text:
    return Text(f"\n→ {printable(finding.advice)}" if finding.advice else "", "cyan")

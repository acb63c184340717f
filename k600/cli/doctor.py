"""`kinetics600 doctor`: whether this machine has what a load takes, and what to do if not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k600.cli.app import app, as_json
from k600.cli.exit_codes import AGAIN, DONE
from k600.cli.flag_names import with_flags
from k600.cli.request_options import as_given, request_of, with_options
from k600.cli.screen import answer, show_aligned
from k600.errors import Kinetics600Error
from k600.errors.text import printable

if TYPE_CHECKING:
    from k600.checks.doctor import Finding
    from k600.loading.request import Request

_STYLES = {
    "^ok ": "green",
    "^warning ": "yellow",
    "^error ": "bold red",
    "^skipped ": "dim",
    r"(?s)→ .*": "cyan",
}


@app.command()
@with_options("data_dir", "mirror", "endpoint_url", "proxy")
@click.option("--offline", is_flag=True, help="Cross no network.")
@as_json
def doctor(options: dict[str, Any], offline: bool) -> int:
    """Check whether this machine has what a load takes. Says what to do where not.

    Fetches and changes nothing, and shows no password or key. Exit code 1 if anything is worse than
    a warning.

    Example: kinetics600 doctor --data-dir /data/k600
    """
    from k600.checks.doctor import examine

    request, broken = _request(options)
    findings = broken + examine(
        request.store, request.mirror, request.youtube, offline=offline or request.offline
    )
    answer(findings, lambda: _show(findings))
    return AGAIN if any(finding.state == "error" for finding in findings) else DONE


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
    rows = []
    for finding in findings:
        detail, advice = (printable(with_flags(t)) for t in (finding.detail, finding.advice))
        rows.append((finding.state, finding.name, f"{detail}\n→ {advice}" if advice else detail))
    show_aligned(rows, _STYLES)

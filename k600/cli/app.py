"""The command `kinetics600` itself: what all commands share. Each command has a file of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from k600.cli.exit_codes import EXIT_CODES

__all__ = ["app"]

EXIT_CODES_TEXT = f"Exit codes: {'; '.join(f'{code} {text}' for code, text in EXIT_CODES.items())}."

app = typer.Typer(
    name="kinetics600",
    help="Load Kinetics-600: 600 human actions, half a million 10-second clips.",
    epilog=EXIT_CODES_TEXT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    """Load Kinetics-600: 600 human actions, half a million 10-second clips."""
    if show:
        from importlib.metadata import version as installed

        typer.echo(installed("kinetics600"))
        raise typer.Exit

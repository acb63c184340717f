"""The command line. Prints for people and for scripts; the work is done by the parts below."""

from __future__ import annotations

import inspect
import logging
import sys

from k600.cli import (  # noqa: F401 - each adds its command
    classes,
    demo,
    doctor,
    fleet,
    gallery,
    manifest,
    plan,
    publish,
    status,
    verify,
)
from k600.cli.app import EXIT_CODES_TEXT, app
from k600.cli.exit_codes import STOPPED, code_of_error
from k600.cli.flag_names import Command, FlagRecords
from k600.cli.screen import leave_pipe, prepare_streams, say_error
from k600.errors import Kinetics600Error

__all__ = ["app", "main"]

for command in (*app.registered_commands, *manifest.manifest_app.registered_commands):
    command.cls, command.epilog = Command, EXIT_CODES_TEXT
    # Typer keeps the line ends of all paragraphs but the first: they are the terminal's to choose.
    paragraphs = (inspect.getdoc(command.callback) or "").split("\n\n")
    command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def main() -> None:
    """Run the command line; an expected error is one line and an exit code, no traceback."""
    prepare_streams()
    logger, records = logging.getLogger("kinetics600"), FlagRecords()
    logger.addFilter(records)
    try:
        try:
            app()
        except Kinetics600Error as error:
            say_error(str(error))
            sys.exit(code_of_error(error))
        except SystemExit as ended:
            if ended.code == STOPPED:
                say_error("stopped; the same command goes on where it was")
            raise
        finally:
            if sys.stdout is not None:  # not here, if it was closed from the start
                sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has left, as `head` does
        leave_pipe()
    finally:
        logger.removeFilter(records)

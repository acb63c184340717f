"""The command line: prints for people and for scripts; the other wings do the work."""

from __future__ import annotations

import logging
import sys

import click

# Each adds its command; help lists them in this order, which is the documentation's.
# isort: off
from k600.cli import classes, plan, status, stores, verify, gallery, manifest  # noqa: F401
from k600.cli import overlap, export, publish, index, fleet, doctor, demo  # noqa: F401

# isort: on
from k600.cli.app import app
from k600.cli.exit_codes import STOPPED, code_of_error
from k600.cli.flag_names import flag_records
from k600.cli.screen import leave_full, leave_pipe, prepare_streams, say_error
from k600.errors import Kinetics600Error
from k600.errors.disk import is_full

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; an expected error is one line and an exit code, no traceback."""
    prepare_streams()
    logger = logging.getLogger("kinetics600")
    logger.addFilter(flag_records)
    try:
        try:
            code = app.main(standalone_mode=False)
        except Kinetics600Error as error:
            say_error(str(error))
            code = code_of_error(error)
        except click.ClickException as error:  # wrong usage
            error.show()
            code = error.exit_code
        except click.Abort:  # Ctrl-C
            say_error("stopped; the same command goes on where it was")
            code = STOPPED
        finally:
            if sys.stdout is not None:  # not here, if it was closed from the start
                sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has left, as `head` does
        leave_pipe()
    except OSError as error:
        if not is_full(error):
            raise
        leave_full(error)
    finally:
        logger.removeFilter(flag_records)
    if code:
        sys.exit(code)

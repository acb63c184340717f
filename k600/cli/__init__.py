"""The command line. Prints for people and for scripts; the work is done by the parts below."""

from __future__ import annotations

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
from k600.cli.app import app
from k600.cli.screen import say_error
from k600.errors import Kinetics600Error, OptionError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; an expected error is one line and an exit code, no traceback."""
    try:
        app()
    except OptionError as error:
        say_error(str(error))
        sys.exit(2)
    except Kinetics600Error as error:
        say_error(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        say_error("stopped; the same command goes on where it was")
        sys.exit(130)

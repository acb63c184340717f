"""The command `kinetics600` itself, and the options that several commands share."""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any, NoReturn

import click

from k600.cli.completion import with_completion
from k600.cli.exit_codes import DONE, EXIT_CODES
from k600.cli.flag_names import speak_flags_of
from k600.cli.screen import hush

_EXIT_CODES_TEXT = "; ".join(f"{code} {text}" for code, text in EXIT_CODES.items())


class _Command(click.Command):
    """A command whose `--help` ends with the exit codes, and whose messages name its flags.

    What its function returns is the exit code; None is 0.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **{"epilog": f"Exit codes: {_EXIT_CODES_TEXT}.", **settings})
        if self.help:  # an example is for copying: click leaves a paragraph after \b as it is
            self.help = re.sub(r"^Example: ", "\b\n\\g<0>", inspect.cleandoc(self.help), flags=re.M)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        speak_flags_of(self)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> NoReturn:
        ctx.exit(super().invoke(ctx) or DONE)


class _Group(_Command, click.Group):
    """A group of such commands."""

    command_class = _Command
    group_class = type  # a group within is of this class, too

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands]  # in the order in which they were added, not by the alphabet

    def invoke(self, ctx: click.Context) -> NoReturn:
        try:
            super().invoke(ctx)
        except KeyboardInterrupt:  # click would write an empty line first
            raise click.Abort from None


@click.group(
    cls=_Group,
    context_settings={
        "show_default": True,
        "max_content_width": 1_000,  # a help is as wide as the terminal
        "help_option_names": ["-h", "--help"],
    },
)
@click.version_option(
    package_name="kinetics600", message="%(version)s", help="Show the version and exit."
)
@with_completion
def app() -> None:
    """Load Kinetics-600: 600 human actions, half a million 10-second clips."""


def _note(context: click.Context, option: click.Parameter, is_on: bool) -> None:
    """Note how the command is to answer, where `screen.is_given` reads it."""
    context.meta[option.opts[0]] = is_on
    if is_on and option.opts[0] == "--quiet" and not context.resilient_parsing:  # of completion
        hush()


_noted = functools.partial(click.option, is_flag=True, expose_value=False, callback=_note)
as_json = _noted("--json", help="Print JSON, for scripts.")
quiet = _noted("--quiet", help="Show only errors, and what is missing or bad.")

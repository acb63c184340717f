"""Completion in the shell: shown, or installed where the shell reads it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import get_completion_class

__all__ = ["with_completion"]

_F = TypeVar("_F", bound=Callable[..., Any])

_STARTUP_FILES = {
    "bash": "~/.bashrc",
    "zsh": "~/.zshrc",
    "fish": "~/.config/fish/completions/{program}.fish",
}


def with_completion(program: str) -> Callable[[_F], _F]:
    """Give the command of a program the options that show and install its completion."""
    variable = f"_{program.upper()}_COMPLETE"

    def show(context: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted:
            completion = get_completion_class(_find_shell())
            assert completion is not None  # click has one for each of these shells
            click.echo(completion(context.command, {}, program, variable).source())
            context.exit()

    def install(context: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted:
            shell = _find_shell()
            path = Path(_STARTUP_FILES[shell].format(program=program)).expanduser()
            _add_line(path, _startup_line(shell, program, variable))
            click.echo(f"{shell} completes {program} from its next start on: see {path}")
            context.exit()

    def decorate(command: _F) -> _F:
        flag = functools.partial(click.option, is_flag=True, is_eager=True, expose_value=False)
        flag("--show-completion", callback=show, help="Show completion for this shell.")(command)
        flag("--install-completion", callback=install, help="Install it for this shell.")(command)
        return command

    return decorate


def _find_shell() -> str:
    shell = Path(os.environ.get("SHELL", "")).name
    if shell not in _STARTUP_FILES:
        known = ", ".join(_STARTUP_FILES)
        raise click.UsageError(f"SHELL is {shell!r}; there is completion for {known}")
    return shell


def _startup_line(shell: str, program: str, variable: str) -> str:
    """Return the line by which a shell reads the completion of the program that is installed."""
    if shell == "fish":
        return f"{variable}=fish_source {program} | source"
    # A program that is gone (another environment is active) is no error at each start.
    return (
        f'command -v {program} > /dev/null && eval "$({variable}={shell}_source {program})" || true'
    )


def _add_line(path: Path, line: str) -> None:
    """Add a line to a file that does not have it yet."""
    text = path.read_text("utf-8") if path.exists() else ""
    if line not in text.splitlines():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n" if text.endswith("\n") or not text else f"\n{line}\n")

"""Completion in the shell: shown, or installed where the shell reads it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import get_completion_class

_F = TypeVar("_F", bound=Callable[..., Any])

_VARIABLE = "_KINETICS600_COMPLETE"
_FISH_LINE = f"{_VARIABLE}=fish_source kinetics600 | source"
# It must not fail at each start where the program is gone, as another environment is active.
_LINE = (
    f'command -v kinetics600 > /dev/null && eval "$({_VARIABLE}={{name}}_source kinetics600)" '
    "|| true"
)
_STARTUP = {
    "bash": ("~/.bashrc", _LINE),
    "zsh": ("~/.zshrc", _LINE),
    "fish": ("~/.config/fish/completions/kinetics600.fish", _FISH_LINE),
}


def with_completion(command: _F) -> _F:
    """Give a command the options that show and install its completion."""
    flag = functools.partial(
        click.option, is_flag=True, is_eager=True, expose_value=False, callback=_answer
    )
    words = "Have this shell complete commands, options and class names."
    show = flag("--show-completion", help="Show what that installs.")
    return flag("--install-completion", help=words)(show(command))


def _answer(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    shell = _find_shell()
    if option.name == "show_completion":
        completion = get_completion_class(shell)
        assert completion is not None  # click has one for each of these shells
        click.echo(completion(context.command, {}, "kinetics600", _VARIABLE).source())
    else:
        file, line = _STARTUP[shell]
        path = Path(file).expanduser()
        _add_line(path, line.format(name=shell))
        click.echo(f"{shell} completes kinetics600 from its next start on: see {path}")
    context.exit()


def _find_shell() -> str:
    shell = Path(os.environ.get("SHELL", "")).name
    if shell not in _STARTUP:
        known = ", ".join(_STARTUP)
        raise click.UsageError(f"SHELL is {shell!r}; there is completion for {known}")
    return shell


def _add_line(path: Path, line: str) -> None:
    """Add a line to a file that does not have it yet."""
    text = path.read_text("utf-8") if path.exists() else ""
    if line not in text.splitlines():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n" if text.endswith("\n") or not text else f"\n{line}\n")

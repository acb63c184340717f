"""Messages of the library in terms of the command line: flags in place of option names.

The library names an option as `name: …` at the beginning of a message, and elsewhere as `name=…`,
`name=value`, in backticks, or plainly, if it is no English word: `data_dir`.
"""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Mapping

import click

_VALUE = r"""…|True|'[^']*'|"[^"]*"|\[…\]|\{…\}"""

# A name is not replaced within a path or quoted text.
_BEFORE = r"""(?<![\w/.'"-])"""
_AFTER = r"""(?![\w/'"`=-]|\.\w)"""

_running: dict[str, str] = {}
"""Flags of the process's command, by option."""


def speak_flags_of(command: click.Command) -> None:
    """Use the flags of this command in messages from now on."""
    _running.clear()
    _running.update(flags_of(command))


def flags_of(command: click.Command) -> dict[str, str]:
    """Return a command's flags by the library's names of options."""
    flags, options = {}, {}
    for parameter in command.params:
        flag = parameter.opts[0]
        if parameter.name is not None and flag.startswith("--"):
            flags[flag.strip("-").replace("-", "_")] = flag
            options[parameter.name.strip("_")] = flag
        elif parameter.name == "split":
            flags["name"] = "split"  # what `datasets` calls the name of a configuration
    # `status` has a flag that is called as an option of the library is: it means another.
    return flags | options


def with_flags(text: str, flags: Mapping[str, str] | None = None) -> str:
    r"""Return a message of the library with these flags, or the running command's, for options.

    Example:
        >>> flags = {"seed": "--seed", "retry_errors": "--retry-errors", "source": "--source"}
        >>> with_flags("seed: -1 is not allowed", flags)
        '--seed: -1 is not allowed'
        >>> with_flags("retry_errors=True asks again, source='local' nobody", flags)
        '--retry-errors asks again, --source local nobody'
    """
    flags = _running if flags is None else flags
    if not flags:
        return text

    def flag_of(found: re.Match[str]) -> str:
        return flags[found[1] or found[2]]

    def flag_and_value(found: re.Match[str]) -> str:
        value = found[2]
        return flags[found[1]] + (f" {shlex.quote(value[1:-1])}" if value[0] in "'\"" else "")

    names = "|".join(flags)
    no_words = "|".join(name for name in flags if "_" in name) or "(?!)"
    text = re.sub(rf"^({names})(?=: )|`({names})`", flag_of, text)
    text = re.sub(rf"{_BEFORE}({names})=({_VALUE})(?![\w/])", flag_and_value, text)
    return re.sub(rf"{_BEFORE}({no_words})(){_AFTER}", flag_of, text)


def flag_records(record: logging.LogRecord) -> bool:
    """Format a log line with flags in place of options: a filter that passes all records."""
    record.msg, record.args = with_flags(record.getMessage()), ()
    return True

"""Write what is generated in `docs/`, between its marks: `python scripts/make_docs.py`.

Options come from their declaration, columns from theirs, and commands from the command line itself.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent.parent))  # a checkout need not be installed yet

from k600.cli import app
from k600.cli.request_options import REQUEST_PARAMETERS
from k600.dataset.reasons import OPEN_REASONS, REASONS, WATCHED_REASONS
from k600.loading.columns import ROWS, markdown_table
from k600.loading.options import OPTIONS, Option
from k600.store.files import write_whole

__all__ = ["PAGES", "leaves", "with_generated"]

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def with_generated(text: str) -> str:
    """Return a page with what is between its marks made anew.

    Example:
        >>> begin, end = "<!-- columns: made by scripts/make_docs.py -->", "<!-- end of columns -->"
        >>> "| `video` |" in with_generated(begin + end)
        True
    """
    parts = {
        "options": _options,
        "reasons": _reasons,
        "columns": lambda: markdown_table(ROWS, types=True),
        "list of commands": _list_of_commands,
        "commands": _commands,
    }
    for mark, make in parts.items():
        begin, end = f"<!-- {mark}: made by scripts/make_docs.py -->", f"<!-- end of {mark} -->"
        if begin in text:
            before, _, rest = text.partition(begin)
            assert end in rest, mark
            text = f"{before}{begin}\n{make().strip()}\n{end}{rest.partition(end)[2]}"
    return text


def leaves(
    command: click.Command = app, name: str = "kinetics600"
) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with its whole name, in the order of `--help`."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    for below, inner in command.commands.items():
        yield from leaves(inner, f"{name} {below}")


def _options() -> str:
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for option in OPTIONS.values():
        names = f"`{option.name}`" + (f"<br>`{_flag(option)}`" if option.flag else "")
        meaning = " ".join(filter(None, (option.help, option.more)))
        rows.append(f"| {names} | {_default_of(option)} | {meaning} |")
    return "\n".join(rows)


def _flag(option: Option) -> str:
    flag = option.flag or ""
    return f"--no-{flag[2:]}" if option.default is True else flag


def _default_of(option: Option) -> str:
    if option.default is None:
        return option.default_text
    default = f'"{option.default}"' if isinstance(option.default, str) else option.default
    return f"`{default}`"


def _reasons() -> str:
    rows = ["| reason | meaning | asked again |", "|---|---|---|"]
    for reason, meaning in REASONS.items():
        again = "when its tarball changes" if reason in WATCHED_REASONS else "no"
        rows.append(f"| `{reason}` | {meaning} | {'yes' if reason in OPEN_REASONS else again} |")
    return "\n".join(rows)


def _list_of_commands() -> str:
    rows = ["| command | what it does |", "|---|---|"]
    for name, command in leaves():
        anchor = name.replace(" ", "-")
        rows.append(f"| [`{name}`](#{anchor}) | {_paragraphs(command)[0]} |")
    return "\n".join(rows)


def _commands() -> str:
    return "\n\n".join(_command(name, command) for name, command in leaves())


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name)
    paragraphs = _paragraphs(command)
    example = paragraphs.pop().removeprefix("Example: ")
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    lines = [f"### {name}", *paragraphs, f"```text\n{usage}\n\n{example}\n```"]

    options = [each for each in command.params if isinstance(each, click.Option)]
    if any(each.name == "source" for each in options):
        default = next(each.default for each in options if each.name == "source")
        lines.append(
            "Takes the [options of a request](loading.md#options)"
            + (f"; `--source` is `{default}` by default" if default != "auto" else "")
            + ". Besides:"
        )
        options = [each for each in options if each.name not in REQUEST_PARAMETERS]
    if options:
        rows = [_row(each, context) for each in options]
        lines.append("\n".join(["| option | meaning |", "|---|---|", *rows]))
    return "\n\n".join(lines)


def _row(option: click.Option, context: click.Context) -> str:
    context.show_default = True
    names, text = option.get_help_record(context) or ("", "")
    text = re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")
    return f"| `{names}` | {text} |"


def _paragraphs(command: click.Command) -> list[str]:
    """Return the paragraphs of a command's help, the last of which is its example."""
    text = (
        inspect.cleandoc(command.help or "")
        .replace("<", "&lt;")
        .replace("\b\n", "")
        .replace("\b\n", "")
    )
    return [re.sub(r"\s+", " ", each) for each in text.split("\n\n")]


if __name__ == "__main__":
    for page in PAGES:
        write_whole(page, with_generated(page.read_text("utf-8")).encode())

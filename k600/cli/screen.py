"""What the command line shows: tables, bars and JSON, plain where there is no terminal."""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import io
import json
import logging
import os
import re
import shlex
import sys
import textwrap
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TextIO

import click
from rich import box
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column, Table
from rich.text import Text

from k600 import progress
from k600.cli.exit_codes import AGAIN, PIPE_CLOSED
from k600.cli.flag_names import with_flags
from k600.errors.text import printable, printable_lines
from k600.progress import Bar, Lines

_WIDE = 72  # columns of a terminal that has room for a bar
_PIPED_WIDTH = 160  # columns in a file or a pipe: a row of a table is one line
_NO_BARS = ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS")

_PLAINER = str.maketrans({"…": "...", "≤": "<=", "≥": ">=", "→": "->"}) | str.maketrans(
    "–’█·━×", "-'#.-x"
)
"""Replacements for our own marks in encodings without them."""


def prepare_streams() -> None:
    """Have stdout and stderr replace characters that their encoding does not have."""
    codecs.register_error("k600.plainer", _plainer)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="k600.plainer")


def _plainer(error: UnicodeError) -> tuple[str, int]:
    """Replace what cannot be encoded by ASCII: an error handler of codecs."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_PLAINER)
    return text.encode("ascii", "backslashreplace").decode(), error.end


def hush() -> None:
    """Show no line, bar or warning of this loader or its libraries, but errors."""
    os.environ |= dict.fromkeys(_NO_BARS, "1")  # for what is imported later, or in other processes
    warnings.simplefilter("ignore")
    from k600.hf import hide_progress_bars

    hide_progress_bars()
    for name in ("kinetics600", "datasets", "huggingface_hub", "fsspec", "s3fs"):
        logging.getLogger(name).setLevel(logging.ERROR)


def leave_pipe() -> NoReturn:
    """Exit, as nobody reads the output any more."""
    _drop(sys.stdout)
    raise SystemExit(PIPE_CLOSED)


def leave_full(error: OSError) -> NoReturn:
    """Exit, as the output goes to a volume that is full."""
    _drop(sys.stdout)
    with contextlib.suppress(OSError):  # stderr may go there, too
        say_error(
            f"the output cannot be written ({error.strerror}). Make room where it goes to, and "
            "call again"
        )
    _drop(sys.stderr)
    raise SystemExit(AGAIN)


def _drop(stream: TextIO) -> None:
    """Have a stream write nowhere, for the last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Console(Console):
    """A console that shows text as it is: no markup, and no control characters."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable_lines(text), **options)

    def on_broken_pipe(self) -> None:
        leave_pipe()


def console(*, stderr: bool = False) -> Console:
    """Return a console for the current stdout or stderr."""
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    return _Console(
        stderr=stderr,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,  # lines are folded here, so that what is to be copied is not
        width=None if on_terminal or stderr else _PIPED_WIDTH,
    )


def show(text: str, *, bold: bool = False) -> None:
    """Print text on stdout."""
    show_text(text, screen=console(), style="bold" if bold else "")


def say(text: str) -> None:
    """Print a message on stderr, with flags in place of options."""
    show_text(with_flags(text), screen=console(stderr=True))


def say_error(text: str) -> None:
    """Print an error on stderr, with flags in place of options."""
    show_text(f"error: {with_flags(text)}", screen=console(stderr=True), style="bold red", most=6)


_IN_ONE = re.compile(
    r"(?:pip install|kinetics600(?! \w+:)) [^\s,;)][^,;)\n]*|(?<!\w)'[^'\n]+'|`[^`\n]+`"
    r"|(?<![^\s(])\d(?:[\d,.]*\d)? (?=\S)"
)
"""What is meant for copying, within a sentence, and a number with what it counts."""


def show_text(text: str, *, screen: Console, style: str = "", most: int | None = None) -> None:
    """Print text in lines as wide as a terminal; a style is that of its first `most` characters.

    A command or a path stays in one line (one with blanks in quotes), and so does a line that is
    indented: it stands alone to be copied, or is a row of a table.
    """
    text = printable_lines(text)
    if screen.is_terminal:
        text = "\n".join(_fold(line, screen.width) for line in text.split("\n"))
    shown = Text(text)
    shown.stylize(style, 0, most)
    screen.print(shown)


def whole(place: object) -> str:
    """Return a path or an address as a word of a shell, which no line breaks within.

    Example:
        >>> whole("my clips/a.csv"), whole("clips/a.csv")
        ("'my clips/a.csv'", 'clips/a.csv')
    """
    return shlex.quote(str(place))


def _fold(line: str, width: int) -> str:
    if line.startswith("  "):
        return line
    kept = _IN_ONE.sub(lambda found: found[0].replace(" ", "\xa0"), line)
    folded = textwrap.wrap(kept, width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(folded).replace("\xa0", " ")


def is_given(flag: str) -> bool:
    """Return whether the running command was given `--json` or `--quiet`."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(flag))


def answer(result: Any, tell: Callable[[], object], *, matters: bool = False) -> None:
    """Print a result as the command's flags ask for it: as JSON in ASCII on stdout, or in words.

    It is plain data, or dataclasses of them. `tell` prints it in words, and is not called for
    `--quiet` unless the result `matters`.
    """
    if is_given("--json"):
        try:
            print(json.dumps(result, indent=2, default=dataclasses.asdict), flush=True)
        except BrokenPipeError:
            leave_pipe()
    elif matters or not is_given("--quiet"):
        tell()


def counts_of(counts: Mapping[str, int], *, by: str = "") -> str:
    """Return counts in words.

    Example:
        >>> counts_of({"damaged": 1200, "empty": 0, "truncated": 3})
        '1,200 damaged, 3 truncated'
    """
    return ", ".join(f"{count:,} {by}{name}" for name, count in counts.items() if count)


def percent_of(share: float) -> str:
    """Return a share, 0 to 1, in percent; 100 only for all, and 0 only for none.

    Example:
        >>> percent_of(0.9999), percent_of(1), percent_of(0)
        ('99.9%', '100%', '0%')
    """
    if 0 < share < 1:
        return f"{min(max(share, 0.001), 0.999):.1%}"
    return f"{share:.0%}"


# As `box.SIMPLE_HEAD`, in place of which rich would draw a grid.
_ASCII_HEAD = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def make_table(
    *columns: str,
    rows: Iterable[Iterable[Any]] = (),
    text: Collection[str] = (),
    **facts: Any,
) -> Table:
    """Return a table of rows; columns are of numbers, except those in `text`.

    A cell is text, a whole number, or None for nothing.
    """
    table = Table(
        box=_ASCII_HEAD if console().options.ascii_only else box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        title_justify="left",
        caption_justify="left",
        **facts,
    )
    for column in columns:
        justify: JustifyMethod = "left" if column in text else "right"
        table.add_column(column, justify=justify, no_wrap=column not in text)
    for row in rows:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else cell for cell in row))
    return table


def show_table(table: Table) -> None:
    """Print a table; where it is too wide, each row as a line with the others below it.

    Numbers and words are never broken, so a table has a least width.
    """
    screen = console()
    for column in table.columns:
        cells = [str(column.header), *map(str, column.cells)]
        words = cells if column.no_wrap else " ".join(cells).split()
        column.min_width = max(map(cell_len, words), default=0)
    if screen.measure(table, options=screen.options.update_width(10_000)).minimum <= screen.width:
        screen.print(table, soft_wrap=not screen.is_terminal)
        return

    for title in filter(None, (table.title, table.caption)):
        show_text(str(title), screen=screen)
    names = [str(column.header) for column in table.columns]
    for first, *cells in zip(*(column.cells for column in table.columns), strict=True):
        screen.print(Text(str(first), "bold"))
        told = [f"{name}: {cell}" for name, cell in zip(names[1:], cells, strict=True)]
        said = ", ".join(each for each in told if not each.endswith((": ", ": ·")))
        screen.print(Padding(Text(said), (0, 0, 0, 2)), soft_wrap=False)


def show_aligned(rows: Iterable[Sequence[str]], styles: Mapping[str, str]) -> None:
    """Print lines whose beginnings are aligned; the last cell of each is folded within its column.

    Where there is no terminal, each is one line, which can be searched. `styles` are those of what
    matches a pattern in a row.
    """
    screen = console()
    cells = [[*map(printable, row[:-1]), row[-1]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in cells), strict=True)]
    for *first, last in cells:
        head = "".join(f"{c:<{width}}  " for c, width in zip(first, widths, strict=True))
        lines = [printable(line) for line in last.split("\n")]
        if screen.is_terminal:
            beside = max(1, screen.width - len(head))
            folded = "\n".join(_fold(line, beside) for line in lines)
            text = Text(head + folded.replace("\n", f"\n{' ' * len(head)}"))
        else:
            text = Text(head + " ".join(lines))
        for pattern, style in styles.items():
            text.highlight_regex(pattern, style)
        screen.print(text)


def bar_of(share: float) -> str:
    """Return a bar of a share, 0 to 1."""
    full = round(max(0.0, min(1.0, share)) * 20)
    return "█" * full + "·" * (20 - full)


def meter() -> progress.Progress:
    """Return what opens progress bars on stderr, and none with `--quiet`."""
    return progress.no_progress if is_given("--quiet") else _open_bar


@contextlib.contextmanager
def _open_bar(total: int, description: str, *, unit: str = "B") -> Iterator[Bar]:
    """Show a bar on a terminal, else a line now and then."""
    screen = console(stderr=True)
    if not screen.is_terminal or screen.is_dumb_terminal:
        yield Lines(say, total, description, unit)
        return

    whole = Column(no_wrap=True)
    name = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", markup=False, table_column=name)
    ]
    if screen.width >= _WIDE:
        columns.append(BarColumn(16))
    if unit == "B":
        columns += [DownloadColumn(table_column=whole), TransferSpeedColumn(table_column=whole)]
    else:
        columns.append(MofNCompleteColumn(table_column=whole))
    if screen.width >= _WIDE:
        columns.append(TimeRemainingColumn(table_column=whole))
    with Progress(*columns, console=screen, transient=True, expand=True) as bars:
        yield _Bars(bars, total, description)


class _Bars(Bar):
    """A bar for the total and one for each active part."""

    def __init__(self, progress: Progress, total: int, description: str) -> None:
        self._progress = progress
        self._whole = progress.add_task(description, total=total or None)
        self._parts: dict[str, TaskID] = {}

    def update(self, n: int, part: str = "") -> None:
        self._progress.advance(self._whole, n)
        if part in self._parts:
            self._progress.advance(self._parts[part], n)

    def begin(self, part: str, total: int) -> None:
        name = f"  {printable(part.rpartition('/')[2].removesuffix('.tar.gz'))}"
        self._parts[part] = self._progress.add_task(name, total=total)

    def end(self, part: str) -> None:
        self._progress.remove_task(self._parts.pop(part))

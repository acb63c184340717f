"""What the command line shows: tables, bars and JSON, plain where there is no terminal."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NoReturn

from rich import box
from rich.console import Console, JustifyMethod
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from k600.cli.exit_codes import PIPE_CLOSED
from k600.cli.flag_names import with_flags
from k600.progress import Bar
from k600.text import printable, printable_lines

_LOG_EVERY_SECONDS = 30
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
    import kinetics600  # noqa: F401 - its lines are switched on when it is imported
    from k600.hf import hide_progress_bars

    hide_progress_bars()
    for name in ("kinetics600", "datasets", "huggingface_hub", "fsspec", "s3fs"):
        logging.getLogger(name).setLevel(logging.ERROR)


def leave_pipe() -> NoReturn:
    """Exit, as nobody reads the output any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the last flush
    raise SystemExit(PIPE_CLOSED)


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
        soft_wrap=not on_terminal,
        width=None if on_terminal or stderr else _PIPED_WIDTH,
    )


def say(text: str) -> None:
    """Print a message on stderr, with flags in place of options."""
    console(stderr=True).print(with_flags(text))


def say_error(text: str) -> None:
    """Print an error on stderr, with flags in place of options."""
    text = printable_lines(with_flags(text))
    console(stderr=True).print(Text.assemble(("error: ", "bold red"), text))


def print_json(value: Any) -> None:
    """Print plain data as JSON in ASCII on stdout."""
    try:
        print(json.dumps(value, indent=2), flush=True)
    except BrokenPipeError:
        leave_pipe()


def time_of(seconds: float) -> str:
    """Return a duration for people.

    Example:
        >>> time_of(0.2), time_of(45), time_of(600), time_of(9000)
        ('< 1 s', '45 s', '10 min', '2.5 h')
    """
    if 0 < seconds < 1:
        return "< 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


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


def make_table(*columns: str, text: Collection[str] = (), **facts: Any) -> Table:
    """Return an empty table; columns are of numbers, except those in `text`."""
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title_justify="left", **facts
    )
    for column in columns:
        justify: JustifyMethod = "left" if column in text else "right"
        table.add_column(column, justify=justify, overflow="fold")
    return table


def bar_of(share: float, *, style: str) -> Text:
    """Return a bar of a share, 0 to 1."""
    full = round(max(0.0, min(1.0, share)) * 20)
    return Text.assemble(("█" * full, style), ("·" * (20 - full), "dim"))


class Meter:
    """A `k600.progress.Progress` on stderr: bars on a terminal, else a line now and then."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    @contextlib.contextmanager
    def __call__(self, total: int, description: str, *, unit: str = "B") -> Iterator[Any]:
        """Open a progress bar."""
        screen = console(stderr=True)
        if self._quiet:
            yield Bar()
        elif screen.is_terminal and not screen.is_dumb_terminal:
            columns = _columns(screen.width)
            with Progress(*columns, console=screen, transient=True, expand=True) as progress:
                yield _Bars(progress, total, description, unit)
        else:
            yield _Lines(screen, total, description, unit)


def _columns(width: int) -> list[ProgressColumn]:
    """Return the columns of a bar, which fit into one line of any terminal."""
    one_line = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    name = TextColumn("{task.description}", markup=False, table_column=one_line)
    amounts = _Amounts(table_column=Column(no_wrap=True))
    if width < _WIDE:
        return [name, amounts]
    time_left = TimeRemainingColumn(table_column=Column(no_wrap=True))
    return [SpinnerColumn("line"), name, BarColumn(16), amounts, time_left]


class _Bars(Bar):
    """A bar for the total and one for each active part."""

    def __init__(self, progress: Progress, total: int, description: str, unit: str) -> None:
        self._progress, self._unit = progress, unit
        self._whole = progress.add_task(description, total=total, unit=unit)
        self._parts: dict[str, TaskID] = {}

    def update(self, n: int, part: str = "") -> None:
        self._progress.advance(self._whole, n)
        if part in self._parts:
            self._progress.advance(self._parts[part], n)

    def begin(self, part: str, total: int) -> None:
        name = f"  {printable(part)}"
        self._parts[part] = self._progress.add_task(name, total=total, unit=self._unit)

    def end(self, part: str) -> None:
        self._progress.remove_task(self._parts.pop(part))


class _Lines(Bar):
    """A line every 30 seconds, for log files."""

    def __init__(self, screen: Console, total: int, description: str, unit: str) -> None:
        self._screen, self._total, self._description = screen, total, description
        self._unit, self._done = unit, 0
        self._started = self._shown = time.monotonic()
        self._lock = threading.Lock()

    def update(self, n: int, part: str = "") -> None:
        with self._lock:
            self._done += n
            now = time.monotonic()
            if now - self._shown < _LOG_EVERY_SECONDS:
                return
            self._shown = now
            rate = self._done / (now - self._started)
            left = (self._total - self._done) / rate if rate else 0
            self._screen.print(
                f"{self._description}: {_share(self._done, self._total, self._unit)}, "
                f"{_amount(int(rate), self._unit)}/s"
                + (f", {time_of(left)} left" if self._total else "")
            )


class _Amounts(ProgressColumn):
    """Done, total and rate in the task's unit."""

    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        done, total = int(task.completed), int(task.total or 0)
        rate = f", {_amount(int(task.speed), unit)}/s" if task.speed and unit == "B" else ""
        return Text(f"{_share(done, total, unit)}{rate}", style="cyan")


def _share(done: int, total: int, unit: str) -> str:
    """Return the amount done of a total, where 0 is unknown."""
    if not total:
        return _amount(done, unit)
    return f"{_amount(done, unit) if unit == 'B' else f'{done:,}'} of {_amount(total, unit)}"


def _amount(number: int, unit: str) -> str:
    return decimal(number) if unit == "B" else f"{number:,}{unit}"

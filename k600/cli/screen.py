"""What the command line shows: tables, bars and JSON, plain where there is no terminal."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console
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
from rich.text import Text

from k600.progress import NoBar

__all__ = ["Meter", "bar_of", "console", "is_offline", "print_json", "say", "say_error", "time_of"]

_LOG_EVERY_SECONDS = 30


def console(*, stderr: bool = False) -> Console:
    """Return a console on stdout or stderr as they are now."""
    return Console(stderr=stderr, highlight=False, soft_wrap=not sys.stdout.isatty())


def is_offline() -> bool:
    """Whether the network is switched off, as `datasets` understands it."""
    return any(
        os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")
        for name in ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE")
    )


def say(text: str) -> None:
    """Print a line for people, on stderr."""
    console(stderr=True).print(text, markup=False)


def say_error(text: str) -> None:
    """Print an error, on stderr."""
    console(stderr=True).print(Text.assemble(("error: ", "bold red"), text))


def print_json(value: Any) -> None:
    """Print plain data as JSON, on stdout; the same on a terminal and in a pipe."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def time_of(seconds: float) -> str:
    """Return a span of time for people.

    Example:
        >>> time_of(45), time_of(600), time_of(9000)
        ('45 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def bar_of(share: float, *, width: int = 20, style: str = "green") -> Text:
    """Return a bar of a share, 0 to 1."""
    full = round(max(0.0, min(1.0, share)) * width)
    return Text.assemble(("█" * full, style), ("·" * (width - full), "dim"))


class Meter:
    """Shows progress on stderr: bars on a terminal, else a line now and then.

    Called as `k600.progress.Progress` is.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        """Make a meter that shows nothing if `quiet`."""
        self._quiet = quiet

    @contextlib.contextmanager
    def __call__(self, total: int, description: str, *, unit: str = "B") -> Iterator[Any]:
        """Open a bar of a total in bytes, or in another unit."""
        screen = console(stderr=True)
        if self._quiet:
            yield NoBar()
        elif screen.is_terminal:
            with Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                _Amounts(),
                TimeRemainingColumn(),
                console=screen,
                transient=True,
            ) as progress:
                yield _Bars(progress, total, description, unit)
        else:
            yield _Lines(screen, total, description, unit)


class _Bars(NoBar):
    """A bar for the whole and one for each part that is being worked on."""

    def __init__(self, progress: Progress, total: int, description: str, unit: str) -> None:
        self._progress, self._unit = progress, unit
        self._whole = progress.add_task(f"[bold]{description}", total=total, unit=unit)
        self._parts: dict[str, TaskID] = {}

    def update(self, n: int, part: str = "") -> None:
        self._progress.advance(self._whole, n)
        if part in self._parts:
            self._progress.advance(self._parts[part], n)

    def begin(self, part: str, total: int) -> None:
        self._parts[part] = self._progress.add_task(f"  {part}", total=total, unit=self._unit)

    def end(self, part: str) -> None:
        self._progress.remove_task(self._parts.pop(part))


class _Lines(NoBar):
    """A line now and then, for log files."""

    def __init__(self, screen: Console, total: int, description: str, unit: str) -> None:
        self._screen, self._total, self._description = screen, total, description
        self._unit, self._done = unit, 0
        self._started = self._said = time.monotonic()
        self._lock = threading.Lock()

    def update(self, n: int, part: str = "") -> None:
        with self._lock:
            self._done += n
            now = time.monotonic()
            if now - self._said < _LOG_EVERY_SECONDS:
                return
            self._said = now
            rate = self._done / (now - self._started)
            left = (self._total - self._done) / rate if rate else 0
            self._screen.print(
                f"{self._description}: {_amount(self._done, self._unit)} of "
                f"{_amount(self._total, self._unit)}, {_amount(int(rate), self._unit)}/s, "
                f"{left / 60:.0f} min left",
                markup=False,
            )


class _Amounts(ProgressColumn):
    """Done, total and rate in the task's own unit."""

    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        done, total = int(task.completed), int(task.total or 0)
        rate = f", {_amount(int(task.speed), unit)}/s" if task.speed and unit == "B" else ""
        return Text(f"{_amount(done, unit)} of {_amount(total, unit)}{rate}", style="cyan")


def _amount(number: int, unit: str) -> str:
    return decimal(number) if unit == "B" else f"{number:,}{unit}"

"""`kinetics600 status`: what is in a store, what lacks and why, and what to run next."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k600.cli.app import app
from k600.cli.exit_codes import AGAIN, DONE, LACKING, worst
from k600.cli.flags import AsJson, DataDir, ListsMirror
from k600.cli.request_options import request_of
from k600.cli.screen import bar_of, console, print_json, say
from k600.text import printable

if TYPE_CHECKING:
    from rich.text import Text

    from k600.checks.counts import ClassStatus, Counts, SplitStatus, StoreStatus

__all__ = ["status"]

_LOST = {  # in the order shown
    "missing": "yellow",
    "corrupt": "red",
    "absent": "magenta",
    "gone": "magenta",
    "blocked": "yellow",
}


@app.command()
def status(
    split: Annotated[str, typer.Argument(help="train, validation, test or all.")] = "all",
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="A class, in a row of its own; repeatable.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--classes", help="A row for each incomplete class, worst first.")
    ] = False,
    data_dir: DataDir = None,
    mirror: ListsMirror = None,
    as_json: AsJson = False,
) -> None:
    """Show what is in the store and what lacks, and why. No network; touches nothing.

    A clip is: here; missing; corrupt (no good in its tarball, or here); absent (listed by the host,
    but not in its tarball); gone or blocked (as YouTube says). Exit code 1 if more clips can be
    had, or if the host's list is not known; 3 if all that is not here was proved not to be had.

    Example: kinetics600 status validation --classes
    """
    from k600.checks.status import read_status

    given = {"classes": classes or None, "data_dir": data_dir, "mirror": mirror}
    options = {name: value for name, value in given.items() if value is not None}
    request = request_of(split, options)
    found = read_status(request)
    if every:
        found = _only_incomplete(found)
    if as_json:
        print_json({**dataclasses.asdict(found), "complete": found.complete})
    else:
        _show(found, by_class=every or classes is not None)
        for hint in _hints(found, options):
            say(hint)
    raise typer.Exit(
        worst(
            DONE if split.complete else LACKING if split.settled else AGAIN
            for split in found.splits
        )
    )


def _only_incomplete(found: StoreStatus) -> StoreStatus:
    def badness(one: ClassStatus) -> tuple[float, int]:
        return (one.counts.have / (one.counts.known or 1), -one.counts.lacking)

    return dataclasses.replace(
        found,
        splits=tuple(
            dataclasses.replace(
                split,
                classes=tuple(sorted((c for c in split.classes if not c.complete), key=badness)),
            )
            for split in found.splits
        ),
    )


def _show(found: StoreStatus, *, by_class: bool) -> None:
    from rich.text import Text

    screen = console()
    if not screen.is_terminal:
        screen.width = 160  # a line for each class, whatever the name
    screen.print(Text(printable(found.data_dir), "bold"), overflow="fold")
    if not found.exists:
        screen.print("There is no such folder yet: nothing is here.")
        return
    for split in found.splits:
        _show_split(screen, split)
    rows = [(split, one) for split in found.splits for one in split.classes]
    if by_class and rows:
        _show_classes(screen, rows)


def _show_split(screen: Any, split: SplitStatus) -> None:
    from rich.filesize import decimal
    from rich.text import Text

    counts = split.counts
    first = Text(f"{split.split:<12}", "bold")
    if split.total == 0:
        first += Text("0 clips: the host lists none of these classes")
    elif split.total:
        share = counts.have / split.total
        first += bar_of(share, style="green" if split.complete else "yellow")
        first += Text(f"  {counts.have:,} of {split.total:,} clips, {_percent(share)}")
    else:
        of = "all that its tarballs hold" if split.complete else "of an unknown number"
        first += Text(f"{counts.have:,} clips, {of}")
    screen.print(first + Text(f", {decimal(counts.bytes_here)}"))
    lines = [_lost(counts, split.refusals), _sources(counts), _tarballs(split)]
    for line in filter(None, lines):
        screen.print(Text(" " * 12) + line)


def _show_classes(screen: Any, rows: Iterable[tuple[SplitStatus, ClassStatus]]) -> None:
    from rich import box
    from rich.filesize import decimal
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("class", overflow="fold", min_width=14)
    for column in ("here", "of", *_LOST, "size"):
        table.add_column(column, justify="right", no_wrap=True)
    several = len({split.split for split, _ in rows}) > 1
    for split, one in rows:
        table.add_row(
            f"{split.split}/{one.label}" if several else one.label,
            f"{one.counts.have:,}",
            "?" if one.total is None else f"{one.total:,}",
            *(_number(getattr(one.counts, state), style) for state, style in _LOST.items()),
            decimal(one.counts.bytes_here),
        )
    screen.print(table)


def _number(count: int, style: str) -> Text:
    from rich.text import Text

    return Text(f"{count:,}", style) if count else Text("·", "dim")


def _lost(counts: Counts, refusals: dict[str, int]) -> Text:
    """Say what lacks, by state."""
    from rich.text import Text

    parts = [
        Text(f"{count:,} {state}", style)
        for state, style in _LOST.items()
        if (count := getattr(counts, state))
    ]
    line = Text(", ").join(parts)
    if refusals:
        said = ", ".join(f"{count:,} {kind}" for kind, count in refusals.items())
        line += Text(f" (YouTube says: {said})")
    return line


def _sources(counts: Counts) -> Text:
    from rich.text import Text

    parts = [
        f"{count:,} from {source}"
        for source in ("cvdf", "youtube", "local")
        if (count := getattr(counts, source))
    ]
    line = ", ".join(parts)
    return Text(line + f" ({counts.unchecked:,} not checked yet)" if counts.unchecked else line)


def _tarballs(split: SplitStatus) -> Text:
    from rich.text import Text

    counts = split.tarballs
    of = "" if counts.listed is None else f" of {counts.listed:,}"
    parts = [f"{counts.done:,}{of} done"]
    parts += [
        f"{count:,} {state}"
        for state in ("partial", "started", "damaged")
        if (count := getattr(counts, state))
    ]
    known = counts.listed is not None or counts.done or len(parts) > 1
    return Text(f"tarballs: {', '.join(parts)}" if known else "")


def _percent(share: float) -> str:
    """Return a share in percent; 100 only for all, and 0 only for none."""
    if 0 < share < 1:
        share = min(max(share, 0.001), 0.999)
    return f"{share:.1%}" if 0 < share < 1 else f"{share:.0%}"


def _hints(found: StoreStatus, options: dict[str, Any]) -> list[str]:
    """Return what to run next and why, a hint each."""
    from k600.text import public_url

    flags = []
    for name in options.get("classes") or ():
        flags += ["--class", name]
    for name in ("data_dir", "mirror"):
        if name in options:
            flags += [f"--{name.replace('_', '-')}", public_url(options[name])]
    hints = []
    for split in (split for split in found.splits if not split.complete):

        def hint(why: str, command: str, *more: str, at: str = split.split) -> None:
            hints.append(
                f"{at}: {why}:\n  {shlex.join(['kinetics600', command, at, *flags, *more])}"
            )

        counts = split.counts
        settled = counts.corrupt - counts.failed + counts.absent
        if split.other_mirrors:
            hints.append(
                f"{split.split}: {split.other_mirrors:,} more clips here came from another mirror "
                f"than {found.mirror}, which may have others under their names; its --mirror … "
                "shows them, and source='local' loads them"
            )
        if split.other_list:
            hints.append(
                f"{split.split}: the list kept here is another mirror's; --mirror … says which"
            )
        elif not counts.have:
            hint("what it takes to have it", "plan")
        elif counts.missing or counts.blocked or not counts.lacking:
            hint("go on", "download")
        if counts.gone + counts.blocked:
            hint("what YouTube has not may be in the tarballs", "download", "--source", "cvdf")
        if counts.failed:
            hint("mend the files here that verify found bad", "verify", "--repair")
        if settled or split.tarballs.damaged:
            hint("ask again for what the host has no good file of", "download", "--retry-errors")
        if split.classless:
            hints.append(
                f"{split.split}: {split.classless:,} more clips lie in flat folders, and no list "
                "that is here tells their class"
            )
    return hints

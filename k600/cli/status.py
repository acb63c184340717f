"""`kinetics600 status`: what is in a store, what lacks and why, and what to run next."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k600.cli.app import app
from k600.cli.exit_codes import AGAIN, DONE, LACKING, worst
from k600.cli.flags import AsJson, DataDir, ListsMirror
from k600.cli.request_options import request_of
from k600.cli.screen import bar_of, console, print_json, say
from k600.reasons import REASONS
from k600.text import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from k600.checks.counts import ClassStatus, SplitStatus, StoreStatus

__all__ = ["status"]


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

    Clips that are not here are counted by reason, as in the report of a load; `not_fetched` are
    those that nothing is known of, but that they exist. Exit code 1 if more clips can be had, or if
    the host's list is not known; 3 if all that is not here was proved not to be had.

    Example: kinetics600 status validation --classes
    """
    from k600.checks.counts import advise
    from k600.checks.status import read_status

    given = {"classes": classes or None, "data_dir": data_dir, "mirror": mirror}
    options = {name: value for name, value in given.items() if value is not None}
    found = read_status(request_of(split, options))
    if every:
        splits = [dataclasses.replace(s, classes=s.incomplete_classes) for s in found.splits]
        found = dataclasses.replace(found, splits=tuple(splits))

    if as_json:
        print_json({**dataclasses.asdict(found), "complete": found.complete})
    else:
        _show(found, by_class=every or classes is not None)
        flags = _flags(options)
        for split, why, command in advise(found):
            first, *more = command or ("",)
            line = shlex.join(["kinetics600", first, split, *flags, *more])
            say(f"{split}: {why}" + (f":\n  {line}" if command else ""))

    raise typer.Exit(
        worst(
            DONE if split.complete else LACKING if split.settled else AGAIN
            for split in found.splits
        )
    )


def _flags(options: dict[str, Any]) -> list[str]:
    """Return the options of this call as words of a command line, without credentials."""
    from k600.text import public_url

    flags = [word for name in options.get("classes", ()) for word in ("--class", name)]
    for name in ("data_dir", "mirror"):
        if name in options:
            flags += [f"--{name.replace('_', '-')}", public_url(options[name])]
    return flags


def _show(status: StoreStatus, *, by_class: bool) -> None:
    from rich.text import Text

    screen = console()
    if not screen.is_terminal:
        screen.width = 160  # a line for each class, whatever the name
    screen.print(Text(printable(status.data_dir), "bold"), overflow="fold")
    if not status.exists:
        screen.print("There is no such folder yet: nothing is here.")
        return

    for split in status.splits:
        screen.print(_headline(split))
        for line in filter(None, _details(split)):
            screen.print(" " * 12 + line)
    rows = [(split.split, one) for split in status.splits for one in split.classes]
    if by_class and rows:
        screen.print(_class_table(rows))


def _headline(split: SplitStatus) -> Text:
    """Return how much of a split is here."""
    from rich.filesize import decimal
    from rich.text import Text

    here, wanted = split.counts.here_clips, split.wanted_clips
    line = Text(f"{split.split:<12}", "bold")
    if wanted == 0:
        line += Text("0 clips: the host lists none of these classes")
    elif wanted:
        share = here / wanted
        line += bar_of(share, style="green" if split.complete else "yellow")
        line += Text(f"  {here:,} of {wanted:,} clips, {_percent(share)}")
    else:
        of = "all that its tarballs hold" if split.complete else "of an unknown number"
        line += Text(f"{here:,} clips, {of}")
    return line + Text(f", {decimal(split.counts.here_bytes)}")


def _details(split: SplitStatus) -> Iterator[str]:
    """Yield what is missing, where the rest came from, and what became of the tarballs."""
    counts, states = split.counts, split.tarball_states
    missing = ", ".join(f"{count:,} {reason}" for reason, count in counts.missing.items())
    yield f"missing: {missing}" if missing else ""

    unchecked = f" ({counts.unchecked_clips:,} not checked yet)" * bool(counts.unchecked_clips)
    sources = ((source, counts.sources.get(source)) for source in ("cvdf", "youtube", "local"))
    yield ", ".join(f"{count:,} from {source}" for source, count in sources if count) + unchecked

    of = "" if split.listed_tarballs is None else f" of {split.listed_tarballs:,}"
    others = (("partial", states.partial), ("started", states.started), ("damaged", states.damaged))
    found = [
        f"{states.done:,}{of} done",
        *(f"{count:,} {state}" for state, count in others if count),
    ]
    yield f"tarballs: {', '.join(found)}" if of or states.done or len(found) > 1 else ""


def _class_table(rows: Collection[tuple[str, ClassStatus]]) -> Table:
    """Return a row for each class, with a column for each reason that any clip is missing for."""
    from rich import box
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    several = len({split for split, _ in rows}) > 1
    found = {reason for _, one in rows for reason in one.counts.missing}
    reasons = [reason for reason in REASONS if reason in found]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("class", overflow="fold", min_width=14)
    for column in ("here", "of", *reasons, "size"):
        table.add_column(column, justify="right", overflow="fold")
    for split, one in rows:
        counts = (one.counts.missing.get(reason, 0) for reason in reasons)
        table.add_row(
            f"{split}/{one.label}" if several else one.label,
            f"{one.counts.here_clips:,}",
            "?" if one.wanted_clips is None else f"{one.wanted_clips:,}",
            *(Text(f"{n:,}", "yellow") if n else Text("·", "dim") for n in counts),
            decimal(one.counts.here_bytes),
        )
    return table


def _percent(share: float) -> str:
    """Return a share in percent; 100 only for all, and 0 only for none."""
    if 0 < share < 1:
        return f"{min(max(share, 0.001), 0.999):.1%}"
    return f"{share:.0%}"

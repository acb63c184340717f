"""`kinetics600 status`: what is in a store, what is missing and why, and what to run next."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal
from rich.text import Text

from k600.cli.app import app, as_json
from k600.cli.exit_codes import AGAIN, UNAVAILABLE, worst
from k600.cli.request_options import request_of, shell_words, split_argument, with_options
from k600.cli.screen import (
    answer,
    bar_of,
    console,
    counts_of,
    make_table,
    percent_of,
    say,
    show,
    show_aligned,
    show_table,
    whole,
)
from k600.dataset.reasons import REASONS
from k600.errors.text import counted
from k600.loading.options import ENCODING_OPTIONS

if TYPE_CHECKING:
    from rich.table import Table

    from k600.checks.status import ClassStatus, SplitStatus, StoreStatus

_WIDE = 80  # columns of a terminal that has room for a bar beside the counts


@app.command()
@split_argument(needs_split=False, default="all")
@click.option(
    "--classes", "every", is_flag=True, help="A row for each incomplete class, worst first."
)
@with_options("classes", "data_dir", *ENCODING_OPTIONS, "mirror")
@as_json
def status(split: str, options: dict[str, Any], every: bool) -> int:
    """Show what is in the store, and what is missing and why. No network; touches nothing.

    Clips that are not here are counted by reason, as in the report of a load; `not_fetched` are
    those that nothing is known of, but that they exist. Exit code 1 if more clips can be had, or if
    the host's list is not known; 3 if all that is not here was proved not to be had.

    Example: kinetics600 status validation --classes
    """
    from k600.checks.status import advise, read_status

    found = read_status(request_of(split, options))
    if every:
        splits = [dataclasses.replace(s, classes=s.incomplete_classes) for s in found.splits]
        found = dataclasses.replace(found, splits=tuple(splits))

    def tell() -> None:
        _show(found, by_class=every or "classes" in options)
        flags = shell_words(options)
        for split, why, command in advise(found):
            first, *more = command or ("",)
            line = shlex.join(["kinetics600", first, split, *flags, *more])
            say(f"{split}: {why}" + (f":\n  {line}" if command else ""))

    answer({**dataclasses.asdict(found), "complete": found.complete}, tell)
    incomplete = [split for split in found.splits if not split.complete]
    return worst(UNAVAILABLE if split.settled else AGAIN for split in incomplete)


def _show(status: StoreStatus, *, by_class: bool) -> None:
    show(whole(status.data_dir), bold=True)
    if not status.exists:
        show("There is no such folder yet: nothing is here.")
        return

    lines = []
    for split in status.splits:
        lines.append((split.split, _headline(split, has_bar=console().width >= _WIDE)))
        lines += [("", line) for line in _details(split)]
    show_aligned(lines, {r"^\w+": "bold", "█+": "green", "·+": "dim"})
    rows = [(split.split, one) for split in status.splits for one in split.classes]
    if by_class and rows:
        show_table(_class_table(rows))


def _headline(split: SplitStatus, *, has_bar: bool) -> str:
    """Return the line of a split: how much of it is here."""
    here, wanted = split.counts.here_clips, split.wanted_clips
    if wanted == 0:
        line = "0 clips: the host lists none of these classes"
    elif wanted:
        share = here / wanted
        line = f"{here:,} of {counted(wanted, 'clip')}, {percent_of(share)}"
        if has_bar:
            line = f"{bar_of(share)}  {line}"
    else:
        of = "all that its tarballs hold" if split.complete else "of an unknown number"
        line = f"{counted(here, 'clip')}, {of}"
    return f"{line}, {decimal(split.counts.here_bytes)}"


def _details(split: SplitStatus) -> Iterator[str]:
    """Yield lines about missing clips, sources and tarballs."""
    counts = split.counts
    if counts.missing:
        yield f"missing: {counts_of(counts.missing)}"

    unchecked = f" ({counts.unchecked_clips:,} not checked yet)" * bool(counts.unchecked_clips)
    if counts.sources:
        yield counts_of(counts.sources, by="from ") + unchecked

    of = "" if split.listed_tarballs is None else f" of {split.listed_tarballs:,}"
    states = split.tarball_states
    others = counts_of({state: count for state, count in states.items() if state != "done"})
    if of or states["done"] or others:
        yield ", ".join(filter(None, (f"tarballs: {states['done']:,}{of} done", others)))


def _class_table(rows: Collection[tuple[str, ClassStatus]]) -> Table:
    """Return a table of classes, with a column for each reason for missing clips."""
    several = len({split for split, _ in rows}) > 1
    found = {reason for _, one in rows for reason in one.counts.missing}
    reasons = [reason for reason in REASONS if reason in found]
    cells = []
    for split, one in rows:
        counts = (one.counts.missing.get(reason, 0) for reason in reasons)
        row = (
            f"{split}/{one.label}" if several else one.label,
            one.counts.here_clips,
            "?" if one.wanted_clips is None else one.wanted_clips,
            *(Text(f"{n:,}", "yellow") if n else Text("·", "dim") for n in counts),
            decimal(one.counts.here_bytes),
        )
        cells.append(row)
    return make_table("class", "here", "of", *reasons, "size", rows=cells, text=["class"])
